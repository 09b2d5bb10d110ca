"""Typical programs, small and large: what fusion, targets and proof kernels are shown on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

import dualflow as df
from tests.ops.laws import Recorded, recorded

F = df.nn.functional
Shapes = Sequence[tuple[int, ...]]


@dataclass(frozen=True)
class Example:
    """A program.

    Attributes:
        call: A function of tensors.
        small: The shapes of its arguments for interpreters.
        large: Those for machine code.
        high: Its last argument holds integers below this; None: floats as well.
    """

    call: Callable[..., Any]
    small: Shapes
    large: Shapes
    high: Callable[[Shapes], int] | None = None

    def arrays(self, shapes: Shapes) -> list[Any]:
        """Random arguments."""
        rng = np.random.default_rng(len(shapes))
        arrays: list[Any] = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
        if self.high is not None:
            arrays[-1] = rng.integers(0, self.high(shapes), shapes[-1])
        return arrays


def with_gradients(function: Callable[..., Any]) -> Callable[..., Any]:
    """The result of a function and the gradients of its sum of squares, for all arguments."""

    def both(*xs: df.Tensor) -> Any:
        with df.GradientTape() as tape:
            tape.watch(list(xs))
            y = function(*xs)
        return y, tape.gradient(y, list(xs), df.cos(y))

    return both


def w5(x: df.Tensor) -> df.Tensor:
    """One number of many elements."""
    return df.sum(df.tanh(x) * df.exp(-x * x) + F.sigmoid(2.0 * x) * x)


def layer_norm(x: df.Tensor, weight: df.Tensor, bias: df.Tensor) -> df.Tensor:
    """Each row on its own."""
    return F.layer_norm(x, x.shape[-1:], weight, bias)


def two_layers(
    x: df.Tensor, y: df.Tensor, w1: df.Tensor, b1: df.Tensor, w2: df.Tensor, b2: df.Tensor
) -> Any:
    """One step of gradient descent of a net with a hidden layer."""
    weights = [w1, b1, w2, b2]
    with df.GradientTape() as tape:
        tape.watch(weights)
        hidden = F.relu(x @ w1 + b1)
        error = F.mse_loss(hidden @ w2 + b2, y)
    slopes = tape.gradient(error, weights)
    return error, [w - 0.1 * slope for w, slope in zip(weights, slopes)]


def convolution(x: df.Tensor, w: df.Tensor, b: df.Tensor) -> df.Tensor:
    """With bias and relu."""
    return F.relu(F.conv2d(x, w, b, padding=1))


def cross_entropy(logits: df.Tensor, labels: df.Tensor) -> Any:
    """The value and its gradient."""
    with df.GradientTape() as tape:
        tape.watch(logits)
        error = F.cross_entropy(logits, labels)
    return error, tape.gradient(error, logits)


def gather(x: df.Tensor, at: df.Tensor) -> Any:
    """Rows, and where their gradients go: a deterministic scatter-add."""
    with df.GradientTape() as tape:
        tape.watch(x)
        rows = df.take(x, at, axis=0)
    return rows, tape.gradient(rows, x, rows * 2.0)


def rows_of_first(shapes: Shapes) -> int:
    return shapes[0][0]


def columns_of_first(shapes: Shapes) -> int:
    return shapes[0][1]


EXAMPLES = {
    "softmax": Example(lambda x: F.softmax(x, axis=-1), [(3, 37)], [(512, 1000)]),
    "layer_norm": Example(layer_norm, [(3, 20), (20,), (20,)], [(600, 768), (768,), (768,)]),
    "layer_norm_backward": Example(
        with_gradients(layer_norm), [(5, 20), (20,), (20,)], [(600, 768), (768,), (768,)]
    ),
    "w5": Example(df.value_and_grad(w5), [(100,)], [(300_000,)]),
    "two_layers": Example(
        two_layers,
        [(4, 6), (4, 3), (6, 9), (9,), (9, 3), (3,)],
        [(64, 1000), (64, 10), (1000, 100), (100,), (100, 10), (10,)],
    ),
    "product": Example(
        lambda a, b, bias: F.relu(a @ b + bias),
        [(5, 7), (7, 18), (18,)],
        [(257, 255), (255, 259), (259,)],
    ),
    "convolution": Example(
        convolution, [(1, 2, 5, 4), (3, 2, 3, 3), (3,)], [(2, 16, 28, 28), (32, 16, 3, 3), (32,)]
    ),
    "convolution_backward": Example(
        with_gradients(convolution),
        [(1, 2, 4, 3), (2, 2, 3, 3), (2,)],
        [(2, 16, 28, 28), (32, 16, 3, 3), (32,)],
    ),
    "cross_entropy": Example(
        cross_entropy, [(4, 7), (4,)], [(500, 1000), (500,)], columns_of_first
    ),
    "attention": Example(F.scaled_dot_product_attention, [(2, 5, 4)] * 3, [(4, 200, 32)] * 3),
    "attention_backward": Example(
        with_gradients(F.scaled_dot_product_attention), [(1, 5, 4)] * 3, [(4, 200, 32)] * 3
    ),
    "argmax": Example(lambda x: df.argmax(x, axis=-1), [(4, 40)], [(300, 1000)]),
    "argmax_of_all": Example(df.argmax, [(70,)], [(100_000,)]),
    "cumulative_sum": Example(
        lambda x: (df.cumulative_sum(x, axis=-1), df.cumulative_sum(x, axis=0)),
        [(4, 9)],
        [(300, 1000)],
    ),
    "gather": Example(gather, [(6, 5), (9,)], [(1000, 64), (3000,)], rows_of_first),
}


@cache
def example(name: str, *, large: bool = False) -> Recorded:
    """The graph of an example, and arguments for it."""
    this = EXAMPLES[name]
    arrays = this.arrays(this.large if large else this.small)
    return recorded(this.call, [df.asarray(x) for x in arrays])
