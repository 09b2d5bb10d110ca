"""Ops on a million elements, eager and from a graph, beside NumPy: `bench ops`.

NumPy's call and both of ours are timed in turn. The figure is the ratio of the best times, as other
work on the machine only ever adds; where the ratios of neighbours lie on both sides of the limit, a
question mark tells so.
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import dualflow as df
from dualflow.comparison.timing import interleaved
from jit.dataclass import dataclass

SIZE = 1_000_000
LIMIT = 1.2  # times what NumPy takes
REPEATS = 15
SHORTEST = 2e-3  # seconds of a block: shorter calls are repeated within it
HEADER = f"{'':<26}{'NumPy ms':>10}{'eager':>9}{'graph':>9}"


@dataclass(frozen=True)
class Row:
    """An op and NumPy's call that does the same.

    Attributes:
        family: To which it belongs.
        name: Ours.
        ours: Of tensors.
        theirs: Of arrays.
        arrays: Their arguments.
        random: Whether they draw, so that results differ.
    """

    family: str
    name: str
    ours: Callable[..., Any]
    theirs: Callable[..., Any]
    arrays: tuple[Any, ...]
    random: bool = False


@dataclass(frozen=True)
class Ratio:
    """What a mode takes, in units of NumPy's time.

    Attributes:
        value: Of the best times.
        lower: Lower quartile of the ratios of neighbours.
        upper: Upper quartile.
    """

    value: float
    lower: float
    upper: float

    @property
    def slow(self) -> bool:
        """Whether it takes longer than the limit."""
        return self.value > LIMIT

    @property
    def unsure(self) -> bool:
        """Whether the machine was too busy to tell."""
        return self.lower < LIMIT < self.upper

    def __str__(self) -> str:
        return f"{self.value:.2f}{'!' if self.slow else ' '}{'?' if self.unsure else ' '}"


@dataclass(frozen=True)
class Timed:
    """A line of the table."""

    family: str
    name: str
    milliseconds: float
    eager: Ratio
    graph: Ratio

    def __str__(self) -> str:
        name = f"{self.family}  {self.name}"
        return f"{name:<26}{self.milliseconds:>10.3f}{self.eager!s:>9}{self.graph!s:>9}"


def measure(row: Row, repeats: int) -> Timed:
    """Times an op in both modes, and NumPy's call."""
    tensors = [df.asarray(x) for x in row.arrays]
    recorded = df.function(lambda *xs: row.ours(*xs))
    calls = [
        lambda: row.theirs(*row.arrays),
        lambda: row.ours(*tensors),
        lambda: recorded(*tensors),
    ]
    for call in calls * 2:  # the second call of a function is the first from its graph
        call()
    number = max(1, int(SHORTEST / min(interleaved(calls[:1], 3)[0])))
    gc.collect()
    blocks = [lambda c=call: [c() for _ in range(number)] for call in calls]
    with np.errstate(all="ignore"):
        theirs, *ours = (np.array(seconds) / number for seconds in interleaved(blocks, repeats))
    return Timed(row.family, row.name, 1e3 * theirs.min(), *(ratio(x, theirs) for x in ours))


def ratio(ours: Any, theirs: Any) -> Ratio:
    """The ratio of two series of times."""
    lower, upper = (float(q) for q in np.quantile(ours / theirs, (0.25, 0.75)))
    return Ratio(float(ours.min() / theirs.min()), lower, upper)


# ----- which ops -----


def rows(size: int = SIZE) -> Iterator[Row]:
    """Every op of the table.

    Args:
        size: About how many elements there are.
    """
    rng = np.random.default_rng(0)
    x = rng.uniform(0.1, 0.9, size).astype(np.float32)
    for family in (elements, whole_numbers, folds, moves, places, updates, orders):
        yield from family(x, rng)
    side = int(size**0.5)
    yield from products(rng.normal(size=(side, side)).astype(np.float32))
    yield from transforms(x)
    yield from layers(x)
    yield from made(size)


def alike(family: str, names: str, *arrays: Any) -> Iterator[Row]:
    """Ops that NumPy has under the same name."""
    for name in names.split():
        yield Row(family, name, getattr(df, name), getattr(np, name), arrays)


def elements(x: Any, rng: Any) -> Iterator[Row]:
    """Functions of each element."""
    y = x[::-1].copy()
    yield from alike("element", "add multiply divide maximum atan2 hypot pow logaddexp", x, y)
    yield from alike("element", "negative abs sqrt square reciprocal floor round sign isnan", x)
    yield from alike("element", "ceil trunc isfinite signbit", x)
    yield from alike("element", "exp expm1 log log1p log2 log10 sin cos tan asin acos atan", x)
    yield from alike("element", "sinh cosh tanh asinh atanh cbrt exp2", x)
    yield from alike("element", "acosh", x + 1)
    yield from alike("element", "less equal copysign floor_divide remainder", x, y)
    yield Row("element", "add a row", df.add, np.add, (squared(x), squared(x)[0].copy()))
    yield from alike("element", "where", x > 0.5, x, y)
    yield from alike("element", "clip", x, np.float32(0.3), np.float32(0.6))
    yield from alike("complex", "multiply divide", x + 1j * y, y + 1j * x)
    yield from alike("complex", "exp abs", x + 1j * y)
    for dtype in ("float64", "float16"):
        a, b = x.astype(dtype), y.astype(dtype)
        yield from alike(dtype, "add maximum", a, b)
        yield from alike(dtype, "sqrt exp tanh sum max argmax", a)
        yield Row(
            dtype, "sum, axis 0", partial(df.sum, axis=0), partial(np.sum, axis=0), (squared(a),)
        )


def whole_numbers(x: Any, rng: Any) -> Iterator[Row]:
    """Integers, bools, and conversions."""
    for dtype in ("int64", "int32", "uint8"):
        a = rng.integers(1, 100, x.size).astype(dtype)
        b = a[::-1].copy()
        yield from alike(dtype, "add multiply floor_divide remainder bitwise_and", a, b)
        yield from alike(dtype, "bitwise_xor bitwise_left_shift less", a, b % 7)
        yield from alike(dtype, "negative sum max", a)
    yield from alike("bool", "logical_and logical_xor", x > 0.3, x < 0.6)
    yield from alike("bool", "logical_not sum", x > 0.3)
    for dtype in ("float64", "float16", "int32", "bool"):
        kind = getattr(df, dtype)
        yield Row(
            "astype",
            dtype,
            lambda v, k=kind: df.astype(v, k),
            lambda v, k=kind: v.astype(k),
            (x,),
        )


def folds(x: Any, rng: Any) -> Iterator[Row]:
    """Reductions of everything and along each axis; scans."""
    yield from alike("fold", "sum mean var std max argmax prod", x)
    yield Row("fold", "vector_norm", df.linalg.vector_norm, np.linalg.norm, (x,))
    yield Row("fold", "logsumexp", df.logsumexp, lambda v: np.log(np.sum(np.exp(v))), (x,))
    yield from alike("fold", "any all count_nonzero", x > 2)
    square = squared(x)
    for axis in (0, 1):
        for name in ("sum", "max", "argmax", "mean"):
            ours, theirs = getattr(df, name), getattr(np, name)
            yield Row(
                "fold",
                f"{name}, axis {axis}",
                lambda v, f=ours, k=axis: f(v, axis=k),
                lambda v, f=theirs, k=axis: f(v, axis=k),
                (square,),
            )
    yield Row("scan", "cumulative_sum", lambda v: df.cumulative_sum(v), np.cumsum, (x,))
    yield Row("scan", "cumulative_prod", lambda v: df.cumulative_prod(v), np.cumprod, (x,))
    yield Row("scan", "cumulative_max", df.cumulative_max, np.maximum.accumulate, (x,))
    yield from alike("scan", "diff", x)


def squared(x: Any) -> Any:
    """The elements as a square matrix."""
    side = int(x.size**0.5)
    return x[: side * side].reshape(side, side)


def moves(x: Any, rng: Any) -> Iterator[Row]:
    """What only moves elements."""
    square = squared(x)
    yield Row("move", "transposed copy", lambda v: v.T + 0, lambda v: v.T + 0, (square,))
    for name in ("concat", "stack"):
        ours, theirs = getattr(df, name), getattr(np, name)
        yield Row("move", name, lambda *v, f=ours: f(v), lambda *v, f=theirs: f(v), (x, x))
    yield Row("move", "roll", lambda v: df.roll(v, 7), lambda v: np.roll(v, 7), (x,))
    yield Row("move", "pad", lambda v: df.pad(v, 3), lambda v: np.pad(v, 3), (square,))
    yield Row("move", "tile", lambda v: df.tile(v, (2,)), lambda v: np.tile(v, (2,)), (x,))
    yield Row("move", "repeat", lambda v: df.repeat(v, 2), lambda v: np.repeat(v, 2), (x,))
    yield from alike("move", "tril triu", square)
    yield Row("move", "every other, copied", lambda v: v[::2] + 0, lambda v: v[::2] + 0, (x,))
    yield Row("move", "flipped copy", lambda v: df.flip(v) + 0, lambda v: np.flip(v) + 0, (x,))
    yield Row(
        "move", "concat rows", lambda v: df.concat([v] * 3), lambda v: np.concat([v] * 3), (square,)
    )
    yield Row(
        "move", "concat 50", lambda *v: df.concat(v), lambda *v: np.concat(v), (*np.split(x, 50),)
    )


def places(x: Any, rng: Any) -> Iterator[Row]:
    """Indices."""
    square, at = squared(x), rng.integers(0, x.size, x.size)
    order = np.argsort(square, axis=-1)
    lines = rng.permutation(len(square))

    yield from alike("index", "take", x, at)
    yield Row(
        "index",
        "take rows",
        lambda v, i: df.take(v, i, axis=0),
        lambda v, i: np.take(v, i, axis=0),
        (square, lines),
    )
    yield Row(
        "index",
        "take_along_axis",
        df.take_along_axis,
        lambda v, i: np.take_along_axis(v, i, -1),
        (square, order),
    )
    yield Row("index", "mask", lambda v: v[v > 0.5], lambda v: v[v > 0.5], (x,))
    yield Row(
        "index", "nonzero", lambda v: df.nonzero(v)[0], lambda v: np.nonzero(v)[0], (x > 0.5,)
    )
    yield from alike("index", "searchsorted", np.sort(x[:1000]), x)


def updates(x: Any, rng: Any) -> Iterator[Row]:
    """What goes where indices say, and small tables."""
    at = rng.integers(0, x.size, x.size)

    def added(v: Any, i: Any) -> Any:
        y = np.zeros_like(v)
        np.add.at(y, i, v)
        return y

    def put(v: Any, i: Any) -> Any:
        y = np.zeros_like(v)
        y[i] = v
        return y

    few, table = at % 100, x[: x.size // 16 * 16].reshape(-1, 16)
    yield Row(
        "index", "embedding", lambda v, i: v[i], lambda v, i: v[i], (table, at[::16] % len(table))
    )
    yield Row(
        "index",
        "one_hot",
        lambda i: df.one_hot(i, 100),
        lambda i: np.eye(100, dtype=x.dtype)[i],
        (few[::100],),
    )
    yield Row(
        "index",
        "segment_sum",
        lambda v, i: df.nn.functional.segment_sum(v, i, 100),
        lambda v, i: np.bincount(i, v, 100).astype(v.dtype),
        (x, few),
    )
    yield Row(
        "index",
        "put",
        lambda v, i: df.zeros_like(v).at[i].set(v),
        put,
        (x, rng.permutation(x.size)),
    )
    yield Row("index", "at.add", lambda v, i: df.zeros_like(v).at[i].add(v), added, (x, at))


def orders(x: Any, rng: Any) -> Iterator[Row]:
    """What sorts."""
    shuffled = rng.permutation(x)
    yield Row("order", "sort", df.sort, lambda v: np.sort(v, kind="stable"), (shuffled,))
    yield Row("order", "argsort", df.argsort, lambda v: np.argsort(v, kind="stable"), (shuffled,))
    yield Row(
        "order",
        "top_k",
        lambda v: df.top_k(v, 10).values,
        lambda v: np.sort(np.partition(v, -10)[-10:])[::-1],
        (shuffled,),
    )
    few = rng.integers(0, 1000, x.size)
    yield Row("order", "unique_values", df.unique_values, np.unique, (few,))
    yield Row("order", "sort integers", df.sort, lambda v: np.sort(v, kind="stable"), (few,))
    yield from alike("order", "isin", few, np.arange(0, 1000, 7))


def products(square: Any) -> Iterator[Row]:
    """Linear algebra, on matrices of a million elements and smaller ones."""
    small = square[: len(square) // 4, : len(square) // 4].copy()
    definite = small @ small.T + len(small) * np.eye(len(small), dtype=np.float32)
    yield from alike("linear", "matmul", square, square)
    yield Row("linear", "matmul vector", df.matmul, np.matmul, (square, square[0].copy()))
    spec = "bij,bkj->bik"
    heads = square.reshape(-1)[: 16 * (square.size // 16 // 64) * 64].reshape(16, -1, 64)
    yield Row(
        "linear",
        spec,
        lambda *v: df.einsum(spec, *v),
        lambda *v: np.einsum(spec, *v, optimize=True),
        (heads, heads),
    )
    yield Row("linear", "outer", df.linalg.outer, np.outer, (square[0].copy(), square[1].copy()))
    yield Row("linear", "vecdot", df.vecdot, np.vecdot, (square, square))
    yield from alike("linear", "tensordot", square, square)
    for name in ("solve", "cholesky", "eigh", "svd", "qr", "inv", "slogdet", "det", "svdvals"):
        ours, theirs = getattr(df.linalg, name), getattr(np.linalg, name)
        arguments = (definite, definite) if name == "solve" else (definite,)
        yield Row("linear", name, ours, theirs, arguments)


def transforms(x: Any) -> Iterator[Row]:
    """Fourier transforms of a length that is a power of two."""
    length = 1 << (x.size.bit_length() - 1)
    part = x[:length]
    yield Row("fft", "fft", df.fft.fft, np.fft.fft, (part.astype(np.complex64),))
    yield Row("fft", "rfft", df.fft.rfft, np.fft.rfft, (part,))
    yield Row("fft", "fftn", df.fft.fftn, np.fft.fftn, (squared(x).astype(np.complex64),))


def layers(x: Any) -> Iterator[Row]:
    """What nets are made of, as people write it in NumPy."""
    square, f = squared(x), df.nn.functional
    side = len(square) // 2 * 2
    even = square[:side, :side].reshape(1, 1, side, side)

    def windows(v: Any) -> Any:
        return v.reshape(1, 1, side // 2, 2, side // 2, 2)

    def softmax(v: Any) -> Any:
        e = np.exp(v - v.max(-1, keepdims=True))
        return e / e.sum(-1, keepdims=True)

    def normal(v: Any) -> Any:
        return (v - v.mean(-1, keepdims=True)) / np.sqrt(v.var(-1, keepdims=True) + 1e-5)

    yield Row("nn", "relu", f.relu, lambda v: np.maximum(v, 0), (x,))
    yield Row("nn", "softmax", lambda v: f.softmax(v, axis=-1), softmax, (square,))
    yield Row("nn", "layer_norm", lambda v: f.layer_norm(v, v.shape[-1:]), normal, (square,))
    yield Row(
        "nn", "avg_pool2d", lambda v: f.avg_pool2d(v, 2), lambda v: windows(v).mean((3, 5)), (even,)
    )
    yield Row(
        "nn", "max_pool2d", lambda v: f.max_pool2d(v, 2), lambda v: windows(v).max((3, 5)), (even,)
    )
    yield Row(
        "nn",
        "interpolate",
        lambda v: f.interpolate(v, scale_factor=2),
        lambda v: v.repeat(2, 2).repeat(2, 3),
        (even[..., : side // 2, : side // 2],),
    )


def made(size: int) -> Iterator[Row]:
    """Numbers out of nothing; NumPy's random ones come from its `default_rng`."""
    rng = np.random.default_rng(0)
    yield Row("create", "ones", lambda: df.ones(size), lambda: np.ones(size, np.float32), ())
    yield Row("create", "arange", lambda: df.arange(size), lambda: np.arange(size), ())
    side = int(size**0.5)
    yield Row("create", "eye", lambda: df.eye(side), lambda: np.eye(side, dtype=np.float32), ())
    draws: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
        "uniform": (lambda: df.random.uniform(size), lambda: rng.random(size, np.float32)),
        "normal": (lambda: df.random.normal(size), lambda: rng.standard_normal(size, np.float32)),
        "randint": (lambda: df.random.randint(size, 0, 100), lambda: rng.integers(0, 100, size)),
        "exponential": (
            lambda: df.random.exponential(size),
            lambda: rng.standard_exponential(size, np.float32),
        ),
        "permutation": (lambda: df.random.permutation(size), lambda: rng.permutation(size)),
    }
    for name, (ours, theirs) in draws.items():
        yield Row("random", name, ours, theirs, (), random=True)


def main(*, path: Path | None, quick: bool) -> int:
    """Prints every line as soon as it is there.

    Args:
        path: Where the figures are written, too; nowhere when None.
        quick: Few elements and repetitions, to see whether everything runs.
    """
    size, repeats = (10_000, 3) if quick else (SIZE, REPEATS)
    print(f"What ops take on {size:,} elements: NumPy's time, and ours in units of it.")
    print("It writes nothing unless --json says where, and takes some minutes.")
    print(f"!: more than {LIMIT}; ?: the machine was too busy to tell.\n")
    print(HEADER, flush=True)
    started, found = time.perf_counter(), []
    for row in rows(size):
        found.append(measure(row, repeats))
        print(found[-1], flush=True)
    slow = sum(timed.eager.slow or timed.graph.slow for timed in found)
    print(f"\n{slow} of {len(found)} ops take more than {LIMIT} times NumPy's time in a mode;")
    print(f"all took {time.perf_counter() - started:.0f} s.")
    if path is not None:
        path.write_text(json.dumps([asdict(timed) for timed in found], indent=1), encoding="utf-8")
    return 0
