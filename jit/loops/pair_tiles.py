"""Tiles of products that multiply two inner indices at a time: see `jit.loops.pairs`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from jit.forms.contraction import Contraction, Letter, size_of
from jit.forms.placement import extent_hint
from jit.loops.tiles import (
    HEIGHTS,
    ROWS,
    WIDTHS,
    Tiling,
    cycles,
    lies_along,
    registers,
    run_of,
    stores,
)
from jit.target import Target
from jit.types import bfloat16

COLUMNS = 256  # of an item, at most: what they take as words is in the second cache with its sums
BLOCKS = 3  # of rows of an item, at most
ITEMS = 4  # so many at least, for threads to share, as long as that leaves some rows
SHARED = 32  # rows of such an item: each makes words of the same columns
LEAST_ROWS, LEAST_COLUMNS, LEAST_INNER = 16, 32, 32  # from which on words are worth it
LATENCY = 6  # cycles of an instruction
BESIDE, ALONG, APART = 4.0, 6.0, 40.0  # cycles to make a vector of words


def rows_of_an_item(rows: int, columns: int, outer: int) -> int:
    """How many rows have the words of columns made once for them, tiles aside."""
    others = outer * -(-columns // COLUMNS)
    parts = max(-(-rows // (BLOCKS * ROWS)), min(-(-ITEMS // others), rows // SHARED), 1)
    return -(-rows // parts)


def paired(c: Contraction, target: Target) -> Tiling | None:
    """How a product of bfloat16 is cut, if a `PairNest` computes it better than other loops do."""
    halves = all(x.dtype == bfloat16 for x in c.form.inputs)
    if not target.pairs or not halves or len(c.inner) != 1:
        return None
    if extent_hint(c.inner[0].extent) < LEAST_INNER:
        return None
    return min(candidates(c, target), key=lambda tiling: tiling.cost, default=None)


def candidates(c: Contraction, target: Target) -> Iterator[Tiling]:
    """Tilings with either operand as rows, and the tiles that fit the registers."""
    lanes = target.lanes(c.dtype.itemsize)
    for operand in (0, 1):
        rows, free = c.free(operand), c.free(1 - operand)
        columns = run_of(c, 1 - operand, free)
        outer = [*c.batch, *free[: len(free) - len(columns)]]
        m, n, k, times = (extent_hint(size_of(x)) for x in (rows, columns, c.inner, outer))
        if m < LEAST_ROWS or n < LEAST_COLUMNS:
            continue
        once = rows_of_an_item(m, n, times)
        copied = -(-m // lanes) * copying(c, operand, rows) * -(-n // COLUMNS)
        for height in HEIGHTS:
            for vectors in WIDTHS:
                if registers(height, vectors) > target.registers:
                    break
                tile, packed = (height, vectors, height, lanes), copying(c, 1 - operand, columns)
                inner = cycles(m, n, tile, packed, once, LATENCY) + copied
                yield Tiling(
                    row_operand=operand,
                    outer=outer,
                    rows=rows,
                    columns=columns,
                    lanes=lanes,
                    height=height,
                    width=vectors * lanes,
                    narrow_height=height,
                    packs=True,
                    cost=inner * k / 2 * times + stores(c, rows, columns),
                )


def copying(c: Contraction, operand: int, letters: Sequence[Letter]) -> float:
    """Cycles that a vector of words takes to make."""
    if lies_along(c, operand, letters[-1]):
        return BESIDE
    return ALONG if lies_along(c, operand, c.inner[0]) else APART
