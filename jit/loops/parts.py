"""Parts: the naive kernels of folds that are cut into blocks, a part for each of them."""

from __future__ import annotations

from jit.dims import Extent
from jit.forms.order import BLOCK, COLUMN_BLOCK
from jit.forms.tasks import BlockTask, Task
from jit.loops.elements import decoded
from jit.loops.folds import FoldNest, RowNest
from jit.loops.ir import Operand, index
from jit.loops.nests import Naive
from jit.loops.searches import Search
from jit.types import product


class PartsNest(FoldNest):
    """Folds over rows, a part for each block of them: an item is a column of a block."""

    def build(self, name: str) -> Naive:
        """The kernel."""
        w, order = self.w, self.group.order
        kept, down = self.members(order.kept), self.members(order.outer)
        extents, rows = ([loop.extent for loop in loops] for loops in (kept, down))
        length = product(rows)
        blocks = -(-length // COLUMN_BLOCK)
        self.grid = product([blocks, *extents])
        block, *column = decoded(w, self.item, [blocks, *extents])
        start = w.let("multiply", block, index(COLUMN_BLOCK))
        stop = w.let("add", start, index(COLUMN_BLOCK))
        if not (isinstance(length, int) and length % COLUMN_BLOCK == 0):
            stop = w.least_of(stop, w.at(length))
        rooms = {task: self.room(task, 1, "part") for task in self.columns}
        with self.at(kept, column):
            with w.loop(start, stop, hint="down") as j, self.at(down, decoded(w, j, rows)):
                for task in self.columns:
                    self.fold_into(task, rooms[task], index(0))
        for task in self.columns:
            for value, room in zip(task.outputs, rooms[task]):
                w.store(w.buffer(value, "out"), self.item, w.load(room, index(0)))
        return self.finish(name)


class BlockNest(RowNest):
    """Blocks of long rows, an item of the grid each, and maps over the same loops.

    Where one element may tell all, an item is several blocks, of which those behind it are left
    out.
    """

    def build(self, name: str) -> Naive:
        """The kernel."""
        w, order = self.w, self.group.order
        self.kept, self.inner = self.members(order.kept), self.members(order.inner)
        self.length = product([self.group.extents[k] for k in order.inner])
        self.inner_at = [self.domain.indices[k] for k in order.inner]
        count = -(-self.length // BLOCK)
        parts = [task for task in self.group.tasks if isinstance(task, BlockTask)]
        maps = [task for task in self.group.tasks if task not in parts]
        search = Search.among(self, parts, maps)
        extents = [loop.extent for loop in self.kept]
        items = -(-count // search.blocks)
        self.grid = product([*extents, items])
        *row, number = decoded(w, self.item, [*extents, items])
        with self.at(self.kept, row):
            if search.blocks == 1:
                self._part(parts, maps, number, self.item)
            else:
                self._parts(parts, search, (number, count))
        return self.finish(name)

    def _part(self, parts: list[BlockTask], maps: list[Task], number: Operand, at: Operand) -> None:
        """Folds a block."""
        w = self.w
        start = w.let("multiply", number, index(BLOCK))
        found = self._block(parts, maps, start, self._end(start))
        for task in parts:
            for value, room in zip(task.outputs, found[task]):
                w.store(w.buffer(value, "out"), at, w.load(room, index(0)))

    def _parts(self, parts: list[BlockTask], search: Search, item: tuple[Operand, Extent]) -> None:
        """Folds block after block until no further one matters; parts of these are of nothing."""
        w, (number, count) = self.w, item
        first = w.let("multiply", number, index(search.blocks))
        last = w.least_of(w.let("add", first, index(search.blocks)), w.at(count))
        row = w.let("quotient", self.item, w.at(-(-count // search.blocks)))
        before = w.let("multiply", row, w.at(count))
        with w.loop(first, last, hint="block") as block:
            rooms = {task: self.room(task, 1, "part", "stack") for task in parts}
            with search.going_on():
                start = w.let("multiply", block, index(BLOCK))
                found = self._block(parts, [], start, self._end(start))
                search.look(found)
                for task in parts:
                    self._add(task, rooms[task], index(0), found[task])
            at = w.let("add", before, block)
            for task in parts:
                for value, room in zip(task.outputs, rooms[task]):
                    w.store(w.buffer(value, "out"), at, w.load(room, index(0)))
