"""Remainders: the naive kernel of a product whose last columns fill a small part of a vector.

In a vector of such columns most lanes compute nothing, once for each row. Here these columns are
what rows are elsewhere, and vectors go along the rows of the product:

    for each strip of columns in full vectors, for a block of rows: as in `products`
    for the last columns, for a block of rows:
        for each chain of inner indices:
            pack the elements of the rows beside each other, unless they lie so
            one tile of all of these columns for each few vectors of rows
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from jit.dims import Extent
from jit.forms.contraction import size_of
from jit.loops.ir import Buffer, Operand, index
from jit.loops.products import ProductNest
from jit.loops.tiles import (
    HEIGHTS,
    RAGGED,
    WIDTHS,
    Tiling,
    reads_in_place,
    registers,
    tile_cycles,
    turned_at_once,
)

TURNED = 4.0  # cycles to pack a vector of rows, which are read along inner indices and turned
WORTH = 0.9  # of the time of nearly empty vectors that others may take


class RemainderNest(ProductNest):
    """The kernel of a contraction with few columns behind full vectors, and maps of its result."""

    def _in_strips(self) -> Extent:
        return full_columns(self.tiling)

    def _parts(self, strips: Extent, row_blocks: Extent) -> list[Extent]:
        self.strips = strips
        return [strips + 1, row_blocks]

    def _item(self, first: Operand, second: Operand, each: int) -> None:
        w = self.w
        with w.when(w.let("less", first, w.at(self.strips))):
            super()._item(first, second, each)
        with w.when(w.let("equal", first, w.at(self.strips))):
            self._last_columns(w.let("multiply", second, index(each)), each)

    def _last_columns(self, start: Operand, each: int) -> None:
        """The results of the last columns for a block of rows."""
        w, nest = self.w, AcrossNest(self, across(self, each), full_columns(self.tiling))
        t = nest.tiling
        whole = each // t.width * t.width
        with w.loop(index(0), index(whole), t.width, hint=self.hint("strip")) as strip:
            nest.along(w.let("add", start, strip), t.width, t.width)
        if left := each - whole:
            vectors = -(-left // t.lanes)
            nest.along(w.let("add", start, index(whole)), vectors * t.lanes, left)


class AcrossNest(ProductNest):
    """The tiles of the last columns, inside of another nest.

    Args:
        nest: The other one.
        tiling: Its operands in each other's place.
        begin: The first of these columns.
    """

    def __init__(self, nest: ProductNest, tiling: Tiling, begin: int) -> None:
        vars(self).update(vars(nest))
        self.nest, self.tiling, self.begin = nest, tiling, begin

    def along(self, first_row: Operand, width: int, count: int) -> None:
        """The tile for some rows of the product, so many of the lanes of `width`."""
        height, self.first_column = self.tiling.height, first_row
        self._strip(index(self.begin), index(self.begin + height), height, width, count)

    def hint(self, name: str) -> str:
        """A name that no other loop has."""
        return self.nest.hint(name)

    def alloc(self, *args: Any, **kwargs: Any) -> Buffer:
        """A buffer with a name that no other has."""
        return self.nest.alloc(*args, **kwargs)

    def _is_even(self, each: int) -> bool:
        """There is one tile of the columns, and no other."""
        return True


def has_remainder(nest: ProductNest) -> bool:
    """Whether the last columns of a product are better computed by an `AcrossNest`."""
    t, columns, rows = nest.tiling, size_of(nest.tiling.columns), size_of(nest.tiling.rows)
    single = len(t.columns) == len(t.rows) == 1 < t.lanes
    if not (single and isinstance(columns, int) and isinstance(rows, int)):
        return False
    if columns < t.lanes or columns % t.lanes not in HEIGHTS:
        return False
    nest.rows = rows
    each = nest._rows_of_an_item()
    if rows % each:
        return False
    vectors, found = -(-each // t.lanes), across(nest, each)
    if found.packs and not turned_at_once(nest.c, t.row_operand, t.lanes):
        return False
    tiles = vectors / (found.width // t.lanes) * tile_cycles(found.height, found.width // t.lanes)
    packing = TURNED * vectors if found.packs else 0.0
    return tiles + packing < WORTH * (each / 2 + (0.0 if t.parts else RAGGED))


def full_columns(t: Tiling) -> int:
    """How many of the columns are in full vectors."""
    columns = size_of(t.columns)
    assert isinstance(columns, int)
    return columns // t.lanes * t.lanes


def across(nest: ProductNest, each: int) -> Tiling:
    """How the last columns are computed for a block of so many rows."""
    t, columns, total = nest.tiling, size_of(nest.tiling.columns), -(-each // nest.tiling.lanes)
    assert isinstance(columns, int)
    height = columns - full_columns(t)
    most = max(v for v in WIDTHS if registers(height, v) <= nest.registers)
    vectors = -(-total // -(-total // most))
    return replace(
        t,
        row_operand=1 - t.row_operand,
        rows=t.columns,
        columns=t.rows,
        height=height,
        narrow_height=height,
        width=vectors * t.lanes,
        packs=not reads_in_place(nest.c, t.row_operand, t.rows),
        parts=False,
    )
