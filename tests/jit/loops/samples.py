"""A few kernels that are written out by hand."""

from __future__ import annotations

from jit.dims import symbol
from jit.loops.ir import INDEX, Buffer, Kernel, Lit, Var, VType, index
from jit.loops.writer import Writer
from jit.types import bool_, dtypes, float32, int64

LANES = 8
WIDE = VType(float32, LANES)


def row_sums() -> Kernel:
    """Sums of `n` rows of `m` elements, eight rows side by side; each must be below 100."""
    n, m = Var(INDEX, "n"), Var(INDEX, "m")
    item = Var(INDEX, "tile")
    x, y = Buffer("x", float32), Buffer("y", float32, access="out")
    w = Writer()
    first = w.let("multiply", item, index(LANES))
    row = w.let("add", w.splat(first, LANES), w.iota(LANES))
    row.hint = "row"
    inside = w.let("less", row, w.splat(n, LANES))
    starts = w.let("multiply", row, w.splat(m, LANES))
    sums = w.alloc("sums", float32, LANES)
    w.store(sums, index(0), w.number(0, WIDE))
    with w.loop(index(0), m, hint="k") as k:
        at = w.let("add", starts, w.splat(k, LANES))
        more = w.let("add", w.load(sums, index(0), LANES), w.load(x, at, LANES, inside))
        w.store(sums, index(0), more)
    total = w.load(sums, index(0), LANES)
    w.check(w.let("less", total, w.number(100, WIDE)), inside)
    w.store(y, first, total, inside)
    grid = (symbol("n", hint=20) + LANES - 1) // LANES
    return Kernel("row_sums", (x, y), (n, m), grid, item, tuple(w.body))


def oddments() -> Kernel:
    """What `row_sums` does not show: scalars, conditions, bools, shuffles, lone numbers."""
    item = Var(INDEX, "i")
    flags, y = Buffer("flags", bool_), Buffer("y", float32, access="inout")
    w = Writer()
    flag = w.load(flags, item)
    with w.when(flag):
        old = w.load(y, item, 1, flag, w.number(-0.0, VType(float32)))
        new = w.let("fma", old, w.let("astype", Lit(2, VType(int64)), dtype=float32), old)
        w.store(y, item, new, flag)
    room = w.alloc("room", bool_, 4, "stack")
    w.store(room, index(0), Lit(True, VType(bool_, 4)))
    four = w.load(room, index(0), 4)
    mixed = w.let("shuffle", four, w.splat(flag, 4), immediates=[0, 5, 2, 7])
    w.check(w.let("extract", mixed, immediates=[3]))
    bits = w.let("bitcast", w.number(1.5, VType(dtypes["float16"])), dtype=dtypes["uint16"])
    with w.when(w.let("equal", bits, w.number(0x3E00, bits.type))):
        w.store(y, index(0), w.number(float("inf"), VType(float32)))
    w.prefetch(y, index(1000))  # far behind its end
    return Kernel("oddments", (flags, y), (), 3, item, tuple(w.body))
