"""Gapped columns: the naive kernel of a product whose columns lie in rows with gaps between them.

A convolution reads an image with a border: the pixels of a row lie beside each other, and those of
the next row follow behind a gap. A vector that ends with the row would be half empty where rows are
short. Here columns are counted as they lie, gaps included, and vectors run on from row to row: what
is computed in gaps is not stored.

    for each tile of rows:
        accumulators = 0; inner loop of fused multiply-adds; add to totals
        after the last chain, for each row of the image in the strip: the epilogue, and stores

The last strip overlaps the one before, so that nothing behind the last column is read; what both
compute is stored by one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from jit.dataclass import dataclass
from jit.dims import Extent, same
from jit.forms.contraction import Contraction, Letter, plain, size_of, step_of
from jit.forms.expression import linear
from jit.forms.placement import extent_hint
from jit.loops.ir import Operand, index
from jit.loops.products import ProductNest
from jit.loops.tiles import HEIGHTS, WIDTHS, Tiling, cycles, registers, run_of
from jit.target import Target

STORE = 15.0  # cycles to store a piece of an image's row, beside the inner loop


@dataclass(frozen=True)
class Gapped:
    """How a contraction is cut along columns with gaps.

    Attributes:
        tiling: Its columns are two letters: rows of an image, and what lies in one.
        pitch: From a row of the image to the next, in elements.
        total: How many columns there are, gaps included.
    """

    tiling: Tiling
    pitch: int
    total: int


class GappedNest(ProductNest):
    """The kernel of a contraction along columns with gaps, and maps of its result."""

    def adopt(self, found: Gapped) -> GappedNest:
        """Takes over what `gapped` found."""
        self.tiling, self.pitch, self.total = found.tiling, found.pitch, found.total
        return self

    def _column_count(self) -> Extent:
        return self.total

    def _keeps_totals(self) -> bool:
        return True

    def _by_width(self, start: Operand, stop: Operand, each: int) -> None:
        width = self.tiling.width
        self.begin = self.first_column
        self.first_column = self.w.least_of(self.begin, index(self.total - width))
        self._strip(start, stop, each, width, width)

    def _column_element(self, n: Operand) -> Operand:
        """An element of the column operand, as far behind the first row's beginning as it lies."""
        w, t = self.w, self.tiling
        with self.bound(t.columns, [index(0), w.let("add", self.first_column, n)]):
            return w.cast(w.emit(self.c.elements[1 - t.row_operand]), self.c.dtype)

    @contextmanager
    def _stored_columns(self) -> Iterator[Operand]:
        """Every column that is none of a gap, and that no other strip stores: row by row."""
        w, pitch, (line, pixel) = self.w, index(self.pitch), self.tiling.columns
        end = w.let("add", self.first_column, index(self.width))
        lines = w.let("quotient", self.begin, pitch), w.let("quotient", end, pitch)
        last = w.least_of(w.let("add", lines[1], index(1)), w.at(line.extent))
        with w.loop(lines[0], last, hint=self.hint("line")) as y:
            start = w.let("multiply", y, pitch)
            first = w.let("where", w.let("less", start, self.begin), self.begin, start)
            stop = w.least_of(w.let("add", start, w.at(pixel.extent)), end)
            skipped = w.let("subtract", first, start)
            before = w.let("subtract", first, self.first_column)
            with w.loop(index(0), w.let("subtract", stop, first), hint=self.hint("lane")) as n:
                with self.bound([line, pixel], [y, w.let("add", skipped, n)]):
                    yield w.let("add", before, n)


def gapped(c: Contraction, target: Target, best: Tiling) -> Gapped | None:
    """How a contraction is cut along columns with gaps, if that is cheaper than `best`."""
    found = min(candidates(c, target), key=lambda x: x.tiling.cost, default=None)
    return found if found and found.tiling.cost < best.cost else None


def candidates(c: Contraction, target: Target) -> Iterator[Gapped]:
    """The tilings along columns with gaps whose tiles fit the registers."""
    lanes = target.lanes(c.dtype.itemsize)
    for operand in (0, 1):
        free = c.free(operand)
        pitch = pitch_of(c, operand, free)
        if not pitch or plain(c.elements[1 - operand]) is None:
            continue
        (line, pixel), rows = free[-2:], c.free(1 - operand)
        assert isinstance(line.extent, int)
        assert isinstance(pixel.extent, int)
        total, outer = (line.extent - 1) * pitch + pixel.extent, [*c.batch, *free[:-2]]
        m, k, times = (max(1, extent_hint(size_of(x))) for x in (rows, c.inner, outer))
        for height in HEIGHTS:
            for vectors in WIDTHS:
                width = vectors * lanes
                if registers(height, vectors) > target.registers or width > total:
                    break
                strips = -(-total // width)
                inner = cycles(m, strips * width, (height, vectors, height, lanes), 0.0) * k
                pieces = strips + line.extent
                cost = times * (inner + STORE * m * pieces)
                letters = [line, pixel]
                yield Gapped(
                    Tiling(
                        row_operand=1 - operand,
                        outer=outer,
                        rows=rows,
                        columns=letters,
                        lanes=lanes,
                        height=height,
                        width=width,
                        narrow_height=height,
                        packs=False,
                        cost=cost,
                    ),
                    pitch,
                    total,
                )


def pitch_of(c: Contraction, operand: int, free: list[Letter]) -> int:
    """How far apart the rows of an image lie, if an operand's last two letters go along one."""
    access = plain(c.elements[operand])
    if access is None or len(free) < 2 or access.value.dtype != c.dtype:
        return 0
    (line, pixel), place = free[-2:], linear(access.value.shape, access.at)
    known = all(isinstance(x.extent, int) for x in (line, pixel))
    if not known or len(run_of(c, operand, free)) > 1:
        return 0
    pitch = step_of(place, line)
    if not same(step_of(place, pixel) or 0, 1) or not isinstance(pitch, int):
        return 0
    return pitch if pitch > extent_hint(pixel.extent) else 0
