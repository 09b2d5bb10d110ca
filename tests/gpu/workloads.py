"""Programs built from forms, small and large: what kernels are tried on where only `jit` is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jit.ir.graph import Graph
from jit.types import TensorType
from tests.jit.loops.whole import graph_of

Shapes = Sequence[tuple[int, ...]]


@dataclass(frozen=True)
class Workload:
    """A program.

    Attributes:
        build: Makes forms.
        small: The shapes of its arguments, for interpreters.
        large: Those for a device.
        high: Its last argument holds integers below this, one for each size; None: floats.
    """

    build: Callable[..., Any]
    small: Shapes
    large: Shapes
    high: tuple[int, int] | None = None

    def arrays(self, *, large: bool) -> list[Any]:
        """Random arguments."""
        rng = np.random.default_rng(1)
        shapes = self.large if large else self.small
        arrays: list[Any] = [rng.random(shape, np.float32) * 2 - 1 for shape in shapes]
        if self.high is not None:
            arrays[-1] = rng.integers(0, self.high[large], shapes[-1])
        return arrays

    def graph(self, *, large: bool) -> Graph:
        """The program for arguments of these shapes."""
        shapes = self.large if large else self.small
        types = [TensorType(tuple(shape), np.dtype(np.float32)) for shape in shapes]
        if self.high is not None:
            types[-1] = types[-1].with_dtype(np.dtype(np.int64))
        return graph_of(self.build, types)


def add(form: Any, x: Any, y: Any) -> Any:
    return form.pointwise("add", x, y)


def chain(form: Any, x: Any) -> Any:
    """tanh(x) exp(-x x) + x sigmoid(2 x)."""
    bell = form.pointwise("exp", form.pointwise("negative", form.pointwise("multiply", x, x)))
    two, one = (form.broadcast(form.constant(n, x.dtype), x.shape) for n in (-2.0, 1.0))
    low = form.pointwise("exp", form.pointwise("multiply", two, x))
    sigmoid = form.pointwise("divide", x, form.pointwise("add", one, low))
    return add(form, form.pointwise("multiply", form.pointwise("tanh", x), bell), sigmoid)


def bias(form: Any, x: Any, b: Any) -> Any:
    return form.pointwise("maximum", add(form, x, form.broadcast(b, x.shape)), x)


def transpose(form: Any, x: Any) -> Any:
    m, n = x.shape
    return abs_of(form, form.view(x, (n, m), lambda i, j: (j, i)))


def rows(form: Any, x: Any) -> Any:
    return form.reduce("sum", x, (1,))


def columns(form: Any, x: Any) -> Any:
    return form.reduce("sum", x, (0,))


def channels(form: Any, x: Any) -> Any:
    return form.reduce("sum", x, (0, 2)), *form.reduce("logsumexp", (x, abs_of(form, x)), (0, 2))


def abs_of(form: Any, x: Any) -> Any:
    return form.pointwise("abs", x)


def everything(form: Any, x: Any) -> Any:
    return form.reduce("sum", form.pointwise("multiply", x, x), (0,))


def softmax(form: Any, x: Any) -> Any:
    def spread(combine: str, y: Any) -> Any:
        return form.broadcast(form.reduce(combine, y, (1,), keepdims=True), x.shape)

    e = form.pointwise("exp", form.pointwise("subtract", x, spread("max", x)))
    return form.pointwise("divide", e, spread("sum", e))


def normed(form: Any, x: Any, weight: Any, shift: Any) -> Any:
    """Each row less its mean, over its deviation, scaled and shifted."""
    count = form.constant(float(x.shape[1]), x.dtype, (x.shape[0], 1))

    def mean(y: Any) -> Any:
        total = form.reduce("sum", y, (1,), keepdims=True)
        return form.broadcast(form.pointwise("divide", total, count), x.shape)

    centred = form.pointwise("subtract", x, mean(x))
    scale = form.pointwise("sqrt", mean(form.pointwise("multiply", centred, centred)))
    normal = form.pointwise("divide", centred, scale)
    scaled = form.pointwise("multiply", normal, form.broadcast(weight, x.shape))
    return add(form, scaled, form.broadcast(shift, x.shape))


def product(form: Any, a: Any, b: Any, c: Any) -> Any:
    """relu(a b + c)."""
    total = form.contract("mk,kn->mn", a, b)
    zero = form.broadcast(form.constant(0.0, total.dtype), total.shape)
    return form.pointwise("maximum", add(form, total, form.broadcast(c, total.shape)), zero)


def turned_product(form: Any, a: Any, b: Any) -> Any:
    return form.contract("km,nk->mn", a, b)


def batched(form: Any, a: Any, b: Any) -> Any:
    return form.contract("bmk,bnk->bmn", a, b)


def row_products(form: Any, a: Any, b: Any) -> Any:
    """The sum of products of rows, with its own order of sums."""
    return form.contract("tkm,tkn->mn", a, b, apart=True)


def gates(form: Any, x: Any, w: Any, b: Any, state: Any) -> Any:
    """A cell that keeps, adds and shows, each by columns of its own of one product."""
    m, n = state.shape
    total = form.contract("mk,nk->mn", x, w)
    total = add(form, total, form.broadcast(b, total.shape))
    keeps, adds, new, shows = (
        form.pointwise("tanh", form.view(total, (m, n), lambda i, j, k=k: (i, j + k * n)))
        for k in range(4)
    )
    kept = form.pointwise("multiply", keeps, state)
    state = add(form, kept, form.pointwise("multiply", adds, new))
    return total, form.pointwise("multiply", shows, state), state


def convolution(form: Any, x: Any, w: Any) -> Any:
    """3 x 3 with a margin of zeros; channels last."""
    n, h, wide, channels = x.shape

    def place(b: Any, i: Any, j: Any, u: Any, v: Any, c: Any) -> Any:
        return b, i + u - 1, j + v - 1, c

    windows = form.view(x, (n, h, wide, 3, 3, channels), place, fill=0)
    return form.contract("bijuvc,uvco->bijo", windows, w)


def running(form: Any, x: Any) -> Any:
    return form.scan("sum", x, 0), form.scan("sum", x, 1)


def gather(form: Any, x: Any, at: Any) -> Any:
    count, width = at.shape[0], x.shape[1]
    taken = form.view(x, (count, width), lambda i, j: (form.load(at, i), j))
    return form.pointwise("multiply", taken, taken)


def scatter(form: Any, into: Any, updates: Any, at: Any) -> Any:
    return form.scatter("add", into, updates, lambda i, j: (form.load(at, i), j))


WORKLOADS = {
    "add": Workload(add, [(7, 9)] * 2, [(1 << 26,)] * 2),
    "chain": Workload(chain, [(131,)], [(1 << 26,)]),
    "bias": Workload(bias, [(5, 12), (12,)], [(1 << 14, 1 << 12), (1 << 12,)]),
    "transpose": Workload(transpose, [(20, 9)], [(8192, 8192)]),
    "rows": Workload(rows, [(5, 100)], [(1 << 16, 1024)]),
    "columns": Workload(columns, [(300, 37)], [(1 << 16, 1024)]),
    "channels": Workload(channels, [(3, 4, 50)], [(64, 256, 56 * 56)]),
    "everything": Workload(everything, [(5000,)], [(1 << 26,)]),
    "softmax": Workload(softmax, [(3, 70)], [(1 << 14, 4096)]),
    "normed": Workload(normed, [(3, 96), (96,), (96,)], [(1 << 15, 1024), (1024,), (1024,)]),
    "product": Workload(product, [(3, 32), (32, 5), (5,)], [(4096, 4096)] * 2 + [(4096,)]),
    "product_small": Workload(product, [(3, 19), (19, 2), (2,)], [(64, 1000), (1000, 100), (100,)]),
    "turned_product": Workload(turned_product, [(18, 5), (7, 18)], [(2048, 2048)] * 2),
    "batched": Workload(batched, [(2, 5, 8), (2, 7, 8)], [(96, 1024, 64)] * 2),
    "row_products": Workload(row_products, [(5, 6, 4), (5, 6, 3)], [(32, 32, 128), (32, 32, 512)]),
    "gates": Workload(
        gates,
        [(5, 40), (24, 40), (24,), (5, 6)],
        [(32, 128), (512, 128), (512,), (32, 128)],
    ),
    "convolution": Workload(
        convolution, [(1, 2, 3, 16), (3, 3, 16, 3)], [(32, 56, 56, 128), (3, 3, 128, 128)]
    ),
    "running": Workload(running, [(4, 9)], [(4096, 4096)]),
    "gather": Workload(gather, [(6, 5), (9,)], [(50_000, 768), (1 << 14,)], (6, 50_000)),
    "scatter": Workload(
        scatter, [(6, 5), (9, 5), (9,)], [(50_000, 768), (1 << 13, 768), (1 << 13,)], (6, 50_000)
    ),
}
