"""Maps on a CPU: where a value lies along another loop than the last one, squares of it are turned.

A transpose that goes along a row of the result reads a column: each element from a line of its own,
of which the cache has dropped the rest when the next row is due. Squares are read in rows and
turned in registers; memory is read a line at a time:

    for each band of the loop along which the value lies:
        for each vector of the last loop:
            for each few rows of the band:
                turn the square; compute and store a vector of each row
        what is left of rows and columns, as other maps
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jit.dims import Extent, same
from jit.forms.contraction import plain
from jit.forms.expression import Access
from jit.forms.placement import extent_hint
from jit.loops.elements import decoded
from jit.loops.ir import TILE, TURN, Operand, index
from jit.loops.nests import MapNest, Naive
from jit.loops.walk import Loop
from jit.types import product

SEGMENT = 16  # bytes that a processor moves within as cheaply as can be
SIZES = (4, 8)  # bytes of elements whose squares fit into registers
LINE = 64  # bytes of memory that come together: the rows of a band use all of them
COSTLY = 32  # additions of an element from which on what is read matters little; kernels stay small


class SquareNest(MapNest):
    """A group without folds; arguments as for `MapNest`."""

    def build(self, name: str) -> Naive:
        """The kernel."""
        if self.cost > COSTLY or not self.loops:
            return super().build(name)
        *outer, last = self.loops
        found = turned(self, outer, last)
        if found is None:
            return super().build(name)
        loop, self._across = found
        size = self._across[0].dtype.itemsize
        self._lanes, self._few = self.target.lanes(size), SEGMENT // size
        if self._lanes < self._few or extent_hint(last.extent) < self._lanes:
            return super().build(name)
        self._number = 0
        self._bands([x for x in outer if x is not loop], loop, last)
        return self.finish(name)

    def _bands(self, others: Sequence[Loop], loop: Loop, last: Loop) -> None:
        """Every band: an item of the grid is one."""
        w, few = self.w, self._few
        rows = LINE // SEGMENT * few
        extents = [x.extent for x in others]
        count = -(-loop.extent // rows)
        self.grid = product(extents) * count
        *rest, band = decoded(w, self.item, [*extents, count])
        first = w.let("multiply", band, index(rows))
        stop = w.least_of(w.let("add", first, index(rows)), w.at(loop.extent))
        whole = w.at(loop.extent // few * few)
        full = stop if is_multiple(loop.extent, few) else w.least_of(stop, whole)
        columns = w.at(last.extent // self._lanes * self._lanes)
        with self.at(others, rest):
            with w.loop(index(0), columns, self._lanes, self._hint("columns")) as column:
                with w.loop(first, full, few, self._hint("rows")) as row:
                    self._square(loop, row, last, column)
            if not is_multiple(last.extent, self._lanes):
                self._left(loop, (first, full), last, columns)
            if full is not stop:
                self._left(loop, (full, stop), last, index(0))

    def _left(self, loop: Loop, rows: tuple[Operand, Operand], last: Loop, column: Operand) -> None:
        """Some rows from a column on, element by element."""
        w = self.w
        with w.loop(*rows, hint=self._hint("row")) as row, self.at([loop], [row]):
            with w.loop(column, w.at(last.extent), hint=self._hint("lane")) as i:
                with self.at([last], [i]):
                    self._body()

    def _square(self, loop: Loop, row: Operand, last: Loop, column: Operand) -> None:
        """A vector of each of a few rows."""
        w, lanes = self.w, self._lanes
        rooms = [self._turned(x, loop, row, last, column) for x in self._across]
        with w.loop(index(0), index(self._few), hint=self._hint(TILE)) as k:
            with self.at([loop], [w.let("add", row, k)]):
                with w.loop(index(0), index(lanes), hint=self._hint("lane")) as n:
                    place = w.let("add", w.let("multiply", k, index(lanes)), n)
                    for x, room in zip(self._across, rooms, strict=True):
                        w.held[x.value, x.at] = room, lambda place=place: place
                    with self.at([last], [w.let("add", column, n)]):
                        self._body()
        w.held.clear()

    def _turned(self, x: Access, loop: Loop, row: Operand, last: Loop, column: Operand) -> Any:
        """What a square reads, row by row of the result."""
        w, lanes = self.w, self._lanes
        room = w.alloc(self._hint("square"), x.dtype, self._few * lanes, "register")
        with w.loop(index(0), index(lanes), hint=self._hint(TURN)) as n:
            at = w.let("add", column, n)
            with w.loop(index(0), index(self._few), hint=self._hint("along")) as k:
                with self.at([loop, last], [w.let("add", row, k), at]):
                    place = w.let("add", w.let("multiply", k, index(lanes)), n)
                    w.store(room, place, w.emit(x))
        return room

    def _hint(self, name: str) -> str:
        """A name that no other loop has."""
        self._number += 1
        return f"{name}{self._number}"


def turned(nest: MapNest, outer: Sequence[Loop], last: Loop) -> tuple[Loop, list[Access]] | None:
    """A loop along which values lie that do not lie along the last one, and what is read of them.

    Args:
        nest: Of a group without folds.
        outer: Its loops.
        last: The last one of them.
    """
    read = dict.fromkeys([x for task in nest.group.tasks for x in task.accesses()])
    across = [x for x in read if may_be_turned(nest, x, last)]
    for loop in outer:
        found = [x for x in across if same(nest.step_along(x, loop) or 0, 1)]
        found = [x for x in found if x.dtype.itemsize == found[0].dtype.itemsize]
        if found and extent_hint(loop.extent) >= SEGMENT // found[0].dtype.itemsize:
            return loop, found
    return None


def may_be_turned(nest: MapNest, access: Access, last: Loop) -> bool:
    """Whether what is read along the last loop are numbers in memory that are apart."""
    if access.dtype.itemsize not in SIZES or access.dtype.kind not in "fiu":
        return False
    if access.value in nest.group.values() or plain(access) is None:
        return False
    step = nest.step_along(access, last)
    return step is not None and not same(step, 0) and not same(step, 1)


def is_multiple(extent: Extent, of: int) -> bool:
    """Whether an extent is known to be a multiple of a number."""
    return isinstance(extent, int) and extent % of == 0
