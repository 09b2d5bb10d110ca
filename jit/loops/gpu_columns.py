"""Columns on a GPU: what is folded over rows, where an element takes many instructions.

Rows of a block meet one after the other, which keeps few threads busy. So the threads of a block
compute elements side by side, of many rows at once, and leave them in shared memory, where a thread
for each column folds them:

    for part in 0 .. 256 step 64 {              rows of a block
      for lane in 0 .. 64 * 32 step 1 {         each thread: some rows, of each some columns
        store found[lane] = ...
      }
      for lane in 0 .. 128 step 1 {             each thread: a column
        for row in 0 .. 64 step 1 { total = add(total, found[...]) }
      }
    }

A thread's columns have their rows in common: what is made of these alone is made once for all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack

from jit.dims import Dim
from jit.forms.expression import Expression, Number, extents_of, walk
from jit.forms.fuse import Group
from jit.forms.order import COLUMN_BLOCK
from jit.forms.placement import additions
from jit.forms.tasks import ColumnTask
from jit.loops import gpu
from jit.loops.elements import decoded
from jit.loops.ir import TOGETHER, WARP, Buffer, Operand, index
from jit.loops.nests import Naive
from jit.loops.parts import PartsNest
from jit.types import product

CHEAP = 4  # additions of an element that the thread which folds it computes as well
EACH = 4  # columns of a thread, at most
HIGH, LOW = 64, 32  # rows that are computed together, if there are few blocks and if there are many
ROOM = 64 << 10  # bytes of what was computed and is not folded yet


def are_for_team(group: Group) -> bool:
    """Whether the elements of folds over rows are worth many threads, which put them together."""
    columns = product(group.rows)
    rows = product([group.extents[k] for k in group.order.outer])
    if not (isinstance(columns, int) and isinstance(rows, int)):
        return False
    return (
        columns >= WARP and additions(*[x for task in group.tasks for x in task.elements]) > CHEAP
    )


class GpuColumnsNest(PartsNest):
    """A block of rows, and as many columns as a warp goes along a few times; as `PartsNest`.

    Attributes:
        height: How many rows are computed together.
        width: How many columns.
        first: The first of these.
    """

    def build(self, name: str) -> Naive:
        """The kernel."""
        w, order = self.w, self.group.order
        self.across, self.down = self.members(order.kept), self.members(order.outer)
        sizes = [product([x.extent for x in loops]) for loops in (self.across, self.down)]
        self.total, self.length = [x for x in sizes if isinstance(x, int)]
        every = dict.fromkeys([x for task in self.columns for x in self.elements[task]])
        blocks = -(-self.length // COLUMN_BLOCK)
        self.height, each = self._sizes(blocks, sum(x.dtype.itemsize for x in every))
        self.width = each * WARP
        tiles = -(-self.total // self.width)
        self.grid = blocks * tiles
        block, tile = decoded(w, self.item, [blocks, tiles])
        self.first = w.let("multiply", tile, index(self.width))
        totals = {task: self.room(task, self.width, "part", "stack") for task in self.columns}
        size = self.height * self.width
        found = {x: w.alloc(f"found{self.count()}", x.dtype, size, "stack") for x in every}
        start = w.let("multiply", block, index(COLUMN_BLOCK))
        stop = w.let("add", start, index(COLUMN_BLOCK))
        if self.length % COLUMN_BLOCK:
            stop = w.least_of(stop, index(self.length))
        with w.loop(start, stop, self.height, hint="rows") as row:
            self._compute(row, found)
            self._fold(row, stop, found, totals)
        self._store(block, totals)
        return self.finish(name)

    def _sizes(self, blocks: int, size: int) -> tuple[int, int]:
        """How many rows are computed together, and how many columns by a thread of theirs."""
        each = min(EACH, -(-self.total // WARP))
        few = blocks * -(-self.total // (WARP * each)) <= gpu.FEW
        height = HIGH if few else LOW
        while height * each * WARP * size > ROOM:
            height //= 2
        return height, each

    def _compute(self, row: Operand, found: Mapping[Expression, Buffer]) -> None:
        """The elements of some rows, each of which a warp goes along; behind the last any."""
        w, each = self.w, self.height * WARP
        names = {name for loop in self.down for name in loop.names}
        with w.loop(index(0), index(each), hint=f"{TOGETHER}{self.count()}") as lane:
            at = w.let("add", row, w.let("quotient", lane, index(WARP)))
            if self.length % self.height:
                at = w.least_of(at, index(self.length - 1))
            begin = w.let("add", self.first, w.let("rest", lane, index(WARP)))
            with self.at(self.down, decoded(w, at, [loop.extent for loop in self.down])):
                for x in made_of(names, [*found]):
                    w.emit(x)
                for k in range(self.width // WARP):
                    column = w.let("add", begin, index(k * WARP))
                    if self.total % self.width:
                        column = w.least_of(column, index(self.total - 1))
                    extents = [loop.extent for loop in self.across]
                    with self.at(self.across, decoded(w, column, extents)):
                        for x, room in found.items():
                            w.store(room, w.let("add", lane, index(k * each)), w.emit(x))

    def _fold(
        self,
        row: Operand,
        stop: Operand,
        found: Mapping[Expression, Buffer],
        totals: Mapping[ColumnTask, Sequence[Buffer]],
    ) -> None:
        """What was computed, one row after the other, by a thread for each column."""
        w, count = self.w, index(self.height)
        if self.length % self.height:
            count = w.least_of(count, w.let("subtract", stop, row))
        with self.lanes_of(self.width) as lane:
            own = {
                task: [w.alloc(f"own{self.count()}", x.dtype, 1) for x in rooms]
                for task, rooms in totals.items()
            }
            for task, rooms in totals.items():
                for room, one in zip(rooms, own[task]):
                    w.store(one, index(0), w.load(room, lane))
            part = w.let("quotient", lane, index(WARP))
            begin = w.let("multiply", part, index(self.height * WARP))
            begin = w.let("add", begin, w.let("rest", lane, index(WARP)))
            with w.loop(index(0), count, hint="row") as k:
                at = w.let("add", begin, w.let("multiply", k, index(WARP)))
                for task, rooms in own.items():
                    values = [w.load(found[x], at) for x in self.elements[task]]
                    self.meet(task, rooms, index(0), values)
            for task, rooms in totals.items():
                for room, one in zip(rooms, own[task]):
                    w.store(room, lane, w.load(one, index(0)))

    def _store(self, block: Operand, totals: Mapping[ColumnTask, Sequence[Buffer]]) -> None:
        """The parts of the columns, one for each block of rows."""
        w = self.w
        begin = w.let("multiply", block, index(self.total))
        with self.lanes_of(self.width) as lane, ExitStack() as stack:
            column = w.let("add", self.first, lane)
            if self.total % self.width:
                stack.enter_context(w.when(w.let("less", column, index(self.total))))
            at = w.let("add", begin, column)
            for task, rooms in totals.items():
                for value, room in zip(task.outputs, rooms):
                    w.store(w.buffer(value, "out"), at, w.load(room, lane))


def made_of(names: Collection[str], elements: Sequence[Expression]) -> Iterator[Expression]:
    """The parts of elements that are made of these loops alone, inner ones first."""
    found = set[Expression]()
    for x in walk(*elements):
        symbols = {s.name for at in extents_of(x) if isinstance(at, Dim) for s in at.symbols()}
        if symbols <= {*names} and all(y in found for y in x.children):
            found.add(x)
            if not isinstance(x, Number):
                yield x
