"""Parts: the naive kernel of folds over many rows, a part for each block of them."""

from __future__ import annotations

from jit.forms.order import COLUMN_BLOCK
from jit.loops.elements import decoded
from jit.loops.folds import FoldNest
from jit.loops.ir import index
from jit.loops.nests import Naive
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
