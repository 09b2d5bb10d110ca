"""Small naive kernels for the tests of schedules, each with arrays to run it on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jit.loops.interpret import interpret
from jit.loops.ir import INDEX, Buffer, Kernel, Operand, Var, VType, index
from jit.loops.verify import verify
from jit.loops.writer import Writer
from jit.types import float32

Array = np.ndarray[Any, Any]


def kernel_of(
    w: Writer,
    buffers: Sequence[Buffer],
    sizes: Sequence[Var] = (),
    item: Var | None = None,
    name: str = "test",
) -> Kernel:
    """What was written, as a kernel of one item."""
    return Kernel(name, tuple(buffers), tuple(sizes), 1, item or Var(INDEX, "item"), tuple(w.body))


def size(name: str) -> Var:
    """A size parameter."""
    return Var(INDEX, name)


def given(name: str, dtype: np.dtype[Any] = float32) -> Buffer:
    """A parameter that is read."""
    return Buffer(name, dtype)


def result(name: str, dtype: np.dtype[Any] = float32) -> Buffer:
    """A parameter that is written."""
    return Buffer(name, dtype, access="out")


def both(name: str, dtype: np.dtype[Any] = float32) -> Buffer:
    """A parameter that is read and written."""
    return Buffer(name, dtype, access="inout")


def affine(w: Writer, *terms: tuple[Operand, Operand | int] | Operand | int) -> Operand:
    """A sum of operands and of products."""
    total: Operand | None = None
    for term in terms:
        x, y = term if isinstance(term, tuple) else (term, 1)
        x = index(x) if isinstance(x, int) else x
        y = index(y) if isinstance(y, int) else y
        product = x if y == index(1) else w.let("multiply", x, y)
        total = product if total is None else w.let("add", total, product)
    assert total is not None
    return total


def pointwise(write: Callable[[Writer, Operand, Buffer, Buffer], None]) -> Kernel:
    """For i in 0 .. n: what `write` does with X and Y."""
    w, n, x, y = Writer(), size("n"), given("X"), result("Y")
    with w.loop(index(0), n, hint="i") as i:
        write(w, i, x, y)
    return kernel_of(w, [x, y], [n])


def row_sums(partials: int = 64) -> Kernel:
    """y[r] = the sum of x[r, :], in the canonical order: partial sums, then a halving tree."""
    w, rows, columns, x, y = Writer(), size("R"), size("C"), given("x"), result("y")
    with w.loop(index(0), rows, hint="r") as r:
        acc = w.alloc("acc", float32, partials)
        with w.loop(index(0), index(partials), hint="z") as z:
            w.store(acc, z, w.number(0, VType(float32)))
        start = w.let("multiply", r, columns)
        left = w.let("rest", columns, index(partials))
        full = w.let("subtract", columns, left)
        blocks = w.loop(index(0), full, partials, hint="b")
        lanes = w.loop(index(0), index(partials), hint="l")
        with blocks as b, lanes as lane:
            value = w.load(x, affine(w, start, b, lane))
            w.store(acc, lane, w.let("add", w.load(acc, lane), value))
        with w.loop(index(0), index(partials), hint="l2") as lane:
            at = w.let("add", full, lane)
            with w.when(w.let("less", at, columns)):
                value = w.load(x, w.let("add", start, at))
                w.store(acc, lane, w.let("add", w.load(acc, lane), value))
        half = partials // 2
        while half:
            with w.loop(index(0), index(half), hint=f"t{half}") as t:
                other = w.load(acc, w.let("add", t, index(half)))
                w.store(acc, t, w.let("add", w.load(acc, t), other))
            half //= 2
        w.store(y, r, w.load(acc, index(0)))
    return kernel_of(w, [x, y], [rows, columns], name="rowsum")


def column_sums() -> Kernel:
    """y[c] = the sum of x[:, c] in the order of rows."""
    w, rows, columns, x, y = Writer(), size("R"), size("C"), given("x"), result("y")
    with w.loop(index(0), columns, hint="c") as c:
        acc = w.alloc("acc", float32, 1)
        w.store(acc, index(0), w.number(0, VType(float32)))
        with w.loop(index(0), rows, hint="r") as r:
            value = w.load(x, affine(w, (r, columns), c))
            w.store(acc, index(0), w.let("add", w.load(acc, index(0)), value))
        w.store(y, c, w.load(acc, index(0)))
    return kernel_of(w, [x, y], [rows, columns], name="columnsum")


def product_tile(mr: int = 2, nr: int = 16) -> Kernel:
    """C = A @ B of an mr x k and a k x nr matrix, added up in registers."""
    w, k = Writer(), size("K")
    a, b, c = given("A"), given("B"), result("C")
    acc = w.alloc("acc", float32, mr * nr)
    with w.loop(index(0), index(mr * nr), hint="z") as z:
        w.store(acc, z, w.number(0, VType(float32)))
    steps, rows = w.loop(index(0), k, hint="k"), w.loop(index(0), index(mr), hint="mi")
    with steps as p, rows as mi, w.loop(index(0), index(nr), hint="ni") as ni:
        at = affine(w, (mi, nr), ni)
        x = w.load(a, affine(w, (mi, k), p))
        y = w.load(b, affine(w, (p, nr), ni))
        w.store(acc, at, w.let("fma", x, y, w.load(acc, at)))
    with w.loop(index(0), index(mr * nr), hint="s") as s:
        w.store(c, s, w.load(acc, s))
    return kernel_of(w, [a, b, c], [k], name="product")


def tree(extra: Callable[[Writer, Operand, Buffer], None]) -> Kernel:
    """One loop over an accumulator of 16, and a store of it."""
    w, y = Writer(), result("y")
    acc = w.alloc("acc", float32, 16)
    with w.loop(index(0), index(16), hint="z") as z:
        w.store(acc, z, w.let("astype", z, dtype=float32))
    with w.loop(index(0), index(15), hint="i") as i:
        extra(w, i, acc)
    with w.loop(index(0), index(16), hint="s") as s:
        w.store(y, s, w.load(acc, s))
    return kernel_of(w, [y])


def run(kernel: Kernel, arrays: Sequence[Array], sizes: Sequence[int] = ()) -> list[Array]:
    """What the buffers hold afterwards, and last whether the checks held."""
    verify(kernel)
    copies = [array.copy() for array in arrays]
    held = interpret(kernel, copies, sizes)
    return [*copies, np.array(held)]


def same_bits(
    before: Kernel, after: Kernel, arrays: Sequence[Array], sizes: Sequence[int] = ()
) -> None:
    """Fails unless both kernels leave the same bits."""
    for x, y in zip(run(before, arrays, sizes), run(after, arrays, sizes), strict=True):
        assert x.dtype == y.dtype
        assert x.tobytes() == y.tobytes(), f"{before}\n{after}"


def floats(count: int, seed: int = 0) -> Array:
    """Numbers of many magnitudes, so that another order of sums shows."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(count) * 10.0 ** rng.integers(-4, 5, count)).astype(np.float32)


def nothing(count: int) -> Array:
    """Room for results."""
    return np.full(count, -1, np.float32)
