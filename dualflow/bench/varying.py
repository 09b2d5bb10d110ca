"""What code for sizes that vary costs beside code that was made for one size.

Both serve the same call. One function has seen no other size; the other was recorded with sizes
that vary, and meets this one as one of many. Sizes leave remainders of vectors, tiles and blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import dualflow as df
from dualflow.bench.measured import Measured, best, ratio

SLOWER = 1.2  # times the time of specialised code, at most
WIDTH = 256
F = df.nn.functional

normal = df.random.normal


def with_matrix(f: Callable[[Any, Any], Any]) -> Callable[[Any], Any]:
    """A function of `x` and of a square matrix."""
    matrix = normal((WIDTH, WIDTH)) / 16.0
    return lambda x: f(x, matrix)


def layer_norm(x: Any) -> Any:
    """Rows less their means, over their deviations."""
    deviations = df.sqrt(df.var(x, axis=-1, keepdims=True) + 1e-5)
    return (x - df.mean(x, axis=-1, keepdims=True)) / deviations


def attention(x: Any) -> Any:
    """Each row of a sequence sees all of them."""
    weights = F.softmax(x @ df.matrix_transpose(x) / 8.0, axis=-1)
    return weights @ x


def training_step() -> Callable[[Any], Any]:
    """A layer with its gradient and update."""
    w = df.Variable(normal((WIDTH, WIDTH)) / 16.0)

    def step(x: Any) -> Any:
        with df.GradientTape() as tape:
            loss = (df.tanh(x @ w) ** 2).mean()
        w.assign_sub(1e-3 * tape.gradient(loss, w))
        return loss

    return step


def convolution() -> Callable[[Any], Any]:
    """A filter of 3 x 3."""
    filters = normal((32, 16, 3, 3)) / 12.0
    return lambda x: F.conv2d(x, filters)


def looked_up() -> Callable[[Any], Any]:
    """Rows of a table."""
    table = normal((1000, 64))
    return lambda k: table[k] * 2.0


def wide(n: int) -> list[Any]:
    """So many rows."""
    return [normal((n, WIDTH))]


def long(n: int) -> list[Any]:
    """Rows of this length."""
    return [normal((64, n))]


# What makes the function, what makes arguments of a size, the size.
CASES: dict[str, tuple[Callable[[], Callable[..., Any]], Callable[[int], Sequence[Any]], int]] = {
    "pointwise": (lambda: lambda x: df.tanh(x) * x + 1.0, lambda n: [normal(n)], 100_003),
    "sum of rows": (lambda: lambda x: df.sum(x, axis=1), long, 1000),
    "sum of columns": (lambda: lambda x: df.sum(x, axis=0), wide, 500),
    "softmax, rows": (lambda: lambda x: F.softmax(x, axis=-1), wide, 257),
    "softmax, length": (lambda: lambda x: F.softmax(x, axis=-1), long, 1000),
    "norm, rows": (lambda: layer_norm, wide, 257),
    "norm, length": (lambda: layer_norm, long, 1000),
    "product, M": (lambda: with_matrix(lambda x, w: x @ w), wide, 129),
    "product, K": (lambda: lambda x: x @ df.matrix_transpose(x), long, 257),
    "product, N": (
        lambda: with_matrix(lambda x, w: w @ x),
        lambda n: [normal((WIDTH, n))],
        129,
    ),
    "products": (lambda: lambda x: x @ x, lambda n: [normal((n, 32, 32))], 33),
    "training step": (training_step, wide, 64),
    "convolution": (convolution, lambda n: [normal((n, 16, 16, 16))], 8),
    "attention": (lambda: attention, lambda n: [normal((4, n, 64))], 129),
    "rows of a table": (looked_up, lambda n: [df.random.randint((n,), 0, 1000)], 513),
}


def run(*, repeats: int = 60) -> Iterator[Measured]:
    """Measures each case.

    Args:
        repeats: Blocks of calls.
    """
    for case in CASES:
        yield best(partial(beside, case, repeats))


def both(case: str) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """The same call of a function that knows one size, and of one that knows many."""
    build, arguments, size = CASES[case]
    python = build()
    special, general = df.function(python), df.function(python)
    for other in (size // 2, size // 3):
        general(*arguments(other))
    given = arguments(size)
    return lambda: special(*given), lambda: general(*given)


def beside(case: str, repeats: int) -> Measured:
    """The times of both, which take turns."""
    return ratio("varying", case, SLOWER, both(case), repeats)
