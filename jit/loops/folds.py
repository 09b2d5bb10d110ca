"""Folds: the naive kernels of groups that fold, in the canonical order of `jit.forms.order`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property
from typing import Any

from jit.dims import Extent, decide
from jit.forms.expression import linear
from jit.forms.nodes import FormValue
from jit.forms.order import BLOCK, COLUMN_BLOCK, LANES
from jit.forms.placement import extent_hint
from jit.forms.tasks import BlockTask, ColumnTask, FoldTask, Task
from jit.loops.elements import decoded
from jit.loops.ir import Buffer, Lit, Operand, VType, index
from jit.loops.nests import ITEM, Naive, Nest
from jit.loops.races import Race, is_race
from jit.loops.searches import Search
from jit.loops.side_by_side import fold_segments, is_cut, lane_count
from jit.types import product

UNROLLED = 24  # lanes of cheaper bodies are unrolled and kept in registers
Folding = FoldTask | BlockTask | ColumnTask

ROW_MEMORY = 8192  # elements of a row that are kept on the stack for later passes over it


class FoldNest(Nest):
    """What both kinds of folds share: levels, accumulators, results."""

    @cached_property
    def depth(self) -> int:
        """How many levels there are."""
        return 1 + max(self.group.levels.values())

    @cached_property
    def columns(self) -> list[ColumnTask]:
        """Tasks that fold over the rows."""
        return [task for task in self.group.tasks if isinstance(task, ColumnTask)]

    def at_level(self, level: int) -> tuple[list[Task], list[FoldTask], list[Task]]:
        """Tasks of rows, folds, and maps of a level; what folds columns counts as a map."""
        tasks = [task for task in self.group.tasks if self.group.levels[task] == level]
        rows = [task for task in tasks if self.group.is_of_rows(task)]
        folds = [task for task in tasks if isinstance(task, FoldTask)]
        return rows, folds, [task for task in tasks if task not in rows and task not in folds]

    def read_later(self, value: FormValue, level: int) -> bool:
        """Whether a later level reads a value of the group."""
        later = (task for task, own in self.group.levels.items() if own > level)
        return any(value in task.reads() for task in later)

    # ----- accumulators: one buffer for each value of the tuple that a fold runs over -----

    def room(self, task: Folding, size: int, name: str, scope: str = "") -> list[Buffer]:
        """Accumulators for `size` folds side by side, set to the identity."""
        w, dtypes = self.w, [x.dtype for x in self.elements[task]]
        cheap = self.cost <= UNROLLED or size == 1
        scope = scope or ("register" if cheap else "stack")
        number = self.group.tasks.index(task)
        rooms = [
            w.alloc(f"{name}{number}_{k}_{self.count()}", dtype, size, scope)
            for k, dtype in enumerate(dtypes)
        ]
        with self.lanes_of(size) as t:
            for room, start in zip(rooms, task.combiner.identity(*dtypes)):
                w.store(room, t, w.number(start, VType(room.dtype)))
        return rooms

    def count(self) -> int:
        """A number that was not given before."""
        self._count = getattr(self, "_count", -1) + 1
        return self._count

    @contextmanager
    def lanes_of(self, size: int) -> Iterator[Operand]:
        """Independent iterations 0 to size - 1."""
        if size == 1:
            yield index(0)
            return
        with self.w.loop(index(0), index(size), hint=f"lane{self.count()}") as t:
            yield t

    def meet(
        self,
        task: Folding,
        rooms: Sequence[Buffer],
        at: Operand,
        values: Sequence[Operand],
    ) -> None:
        """Folds a tuple of values into the accumulators at `at`."""
        w = self.w
        old = [w.load(room, at) for room in rooms]
        for room, value in zip(rooms, self.merged(task, old, values)):
            w.store(room, at, value)

    def merged(
        self, task: Folding, a: Sequence[Operand], b: Sequence[Operand]
    ) -> tuple[Operand, ...]:
        """The merge of two tuples."""
        return task.combiner.merge(self.apply, tuple(a), tuple(b))

    def apply(self, name: str, *xs: Any) -> Operand:
        """An instruction, as combiners write it: numbers have the type of the others."""
        like = next(x.type for x in xs if not isinstance(x, bool | int | float))
        args = [self.w.number(x, like) if isinstance(x, bool | int | float) else x for x in xs]
        return self.w.let(name, *args)

    def fold_into(self, task: Folding, rooms: Sequence[Buffer], at: Operand) -> None:
        """Folds the element at the current index."""
        values = [self.w.emit(x) for x in self.elements[task]]
        self.meet(task, rooms, at, values)

    def result(self, task: FoldTask, rooms: Sequence[Buffer], at: Operand) -> None:
        """Stores what was folded, and keeps it at hand."""
        w = self.w
        for value, room in zip(task.outputs, rooms):
            own = self.own_indices(value, self.row_at)
            operand = w.cast(w.load(room, at), value.dtype)
            w.provide(value, own, operand)
            self.store(value, own, operand)


class RowNest(FoldNest):
    """Folds along the last loop: lanes go along a row."""

    def build(self, name: str) -> Naive:
        """The kernel."""
        order, group = self.group.order, self.group
        self.kept = self.members(order.kept)
        self.outer = self.members(order.outer)
        self.inner = self.members(order.inner)
        self.length = product([group.extents[k] for k in order.inner])
        self.inner_at = [self.domain.indices[k] for k in order.inner]
        row = extent_hint(self.length) * extent_hint(product([x.extent for x in self.outer]))
        each = max(1, self.share(ITEM * 8) // (max(8, self.cost) * max(1, row)))
        if self.columns:
            each = COLUMN_BLOCK
            self._start_columns()
        with self.items(self.kept, each):
            for level in range(self.depth):
                self._level(level)
        return self.finish(name)

    def _level(self, level: int) -> None:
        rows, folds, maps = self.at_level(level)
        for task in rows:
            self.map_element(task, self.row_at)
        for task in maps:
            if not isinstance(task, ColumnTask):
                self._stage(task, level)
        if folds:
            self._folds(folds, maps)
        elif maps:
            with self.along(self.outer, "outer"):
                self._go_along(maps)

    def _go_along(self, maps: Sequence[Task]) -> None:
        """Maps of each element of the row."""
        with self.w.loop(index(0), self.w.at(self.length), hint=self._lane()) as j:
            with self.at_place(j):
                self._maps(maps)

    def _lane(self) -> str:
        return f"lane{self.count()}"

    def _stage(self, task: Task, level: int) -> None:
        """Room for a row of a map that later levels read and nobody needs in memory."""
        (value,) = task.outputs
        if value in self.stored or not self.read_later(value, level):
            return
        length = self.length
        if self.outer or not isinstance(length, int) or length > ROW_MEMORY:
            self.stored.add(value)
            return
        room = self.w.alloc(f"row{self.count()}", value.dtype, length, "stack")
        extents = [self.group.extents[k] for k in self.group.order.inner]
        at = linear(extents, self.inner_at)
        self.w.staged[value] = room, lambda: self.w.at(at)

    @contextmanager
    def at_place(self, j: Operand) -> Iterator[None]:
        """Element number `j` of the row."""
        extents = [loop.extent for loop in self.inner]
        position = linear(extents, [self.domain.indices[int(x.names[-1][1:])] for x in self.inner])
        values = decoded(self.w, j, extents)
        with self.at(self.inner, values), self.w.running(position, j):
            yield

    def _start_columns(self) -> None:
        """Sets this block's parts of the folds over rows to the identity."""
        w = self.w
        self.part = w.let("multiply", self.item, w.at(self.length))
        for task in self.columns:
            dtypes = [x.dtype for x in task.outputs]
            starts = task.combiner.identity(*dtypes)
            with w.loop(index(0), w.at(self.length), hint=self._lane()) as j:
                at = w.let("add", self.part, j)
                for value, start in zip(task.outputs, starts):
                    number = w.number(start, VType(value.dtype))
                    w.store(w.buffer(value, "inout"), at, number)

    def _column(self, task: ColumnTask) -> None:
        """Folds the current element into its column's part."""
        w = self.w
        extents = [self.group.extents[k] for k in self.group.order.inner]
        at = w.let("add", self.part, w.at(linear(extents, self.inner_at)))
        rooms = [w.buffer(value, "inout") for value in task.outputs]
        self.meet(task, rooms, at, [w.emit(x) for x in self.elements[task]])

    def _maps(self, maps: Sequence[Task]) -> None:
        for task in maps:
            if isinstance(task, ColumnTask):
                self._column(task)
                continue
            operand = self.map_element(task, self.domain.indices)
            (value,) = task.outputs
            if value in self.w.staged:
                room, at = self.w.staged[value]
                self.w.store(room, at(), operand)

    def _folds(self, folds: Sequence[FoldTask], maps: Sequence[Task]) -> None:
        """Blocks of each row, lanes within a block, a tree over the lanes."""
        w = self.w
        totals = {task: self.room(task, 1, "total") for task in folds}
        one_block = isinstance(self.length, int) and self.length <= BLOCK
        with self.along(self.outer, "outer"):
            if one_block or any(task.of_blocks for task in folds):
                found = self._block(folds, maps, index(0), w.at(self.length))
            else:
                found = self._blocks(folds, maps)
            for task in folds:
                self._add(task, totals[task], index(0), found[task])
        for task in folds:
            self.result(task, totals[task], index(0))

    def _blocks(
        self, folds: Sequence[FoldTask], maps: Sequence[Task]
    ) -> dict[FoldTask, list[Buffer]]:
        """Every block of a row; their results go around the lanes, and meet by halving."""
        w = self.w
        lanes = {task: self.room(task, LANES, "blocks", "stack") for task in folds}
        search = Search.among(self, folds, maps)
        with w.loop(index(0), w.at(self.length), BLOCK, hint="block") as start, search.going_on():
            found = self._block(folds, maps, start, self._end(start))
            search.look(found)
            number = w.let("quotient", start, index(BLOCK))
            for task in folds:
                self._add(task, lanes[task], w.let("rest", number, index(LANES)), found[task])
        with nullcontext() if isinstance(self.length, int) else self._of_several_blocks():
            for task in folds:
                self._halve(task, lanes[task], LANES)
        return lanes

    def _of_several_blocks(self) -> AbstractContextManager[None]:
        """Where a row has more than one block: the result of a single one needs no tree."""
        w = self.w
        return w.when(w.let("less", index(BLOCK), w.at(self.length)))

    def _add(
        self,
        task: FoldTask | BlockTask,
        rooms: Sequence[Buffer],
        at: Operand,
        found: Sequence[Buffer],
    ) -> None:
        """Folds what lies at the start of the buffers `found` into `rooms`."""
        self.meet(task, rooms, at, [self.w.load(room, index(0)) for room in found])

    def _block(
        self,
        folds: Sequence[FoldTask | BlockTask],
        maps: Sequence[Task],
        start: Operand,
        stop: Operand,
    ) -> dict[Any, list[Buffer]]:
        """One block: lanes, and what is left at its end; the results lie in the first lanes."""
        w, cheap = self.w, self.cost <= UNROLLED
        count = lane_count(self, folds, cheap=cheap)
        races = {task: Race(self, task, count) for task in folds if is_race(self, task)}
        lanes = {task: self.room(task, count, "lane") for task in folds}
        full = self._whole_part(start, stop, count)
        if is_cut(self, folds, count, cheap=cheap):
            start = fold_segments(self, folds, maps, lanes, start, full)
        with w.loop(start, full, count, hint="chunk") as first:
            for race in races.values():
                race.turn(first, start)
            with self.lanes_of(count) as lane, self.at_place(w.let("add", first, lane)):
                self.fold_lane(folds, maps, lanes, lane, races)
        if full != stop:
            for race in races.values():
                race.turn(full, start)
            with self.lanes_of(count) as lane:
                j = w.let("add", full, lane)
                with w.when(w.let("less", j, stop)), self.at_place(j):
                    self.fold_lane(folds, maps, lanes, lane, races)
        for task in folds:
            if task in races:
                races[task].finish(lanes[task], start, stop)
            self._halve(task, lanes[task], count)
        return lanes

    def fold_lane(
        self,
        folds: Sequence[FoldTask | BlockTask],
        maps: Sequence[Task],
        lanes: dict[Any, list[Buffer]],
        lane: Operand,
        races: dict[Any, Race],
    ) -> None:
        """Folds the current element into a lane of each fold."""
        self._maps(maps)
        for task in folds:
            if task in races:
                races[task].take(lane)
            else:
                self.fold_into(task, lanes[task], lane)

    def _end(self, start: Operand) -> Operand:
        """Where a block ends that begins at `start`."""
        stop = self.w.let("add", start, index(BLOCK))
        return stop if self._is_multiple(BLOCK) else self.w.least_of(stop, self.w.at(self.length))

    def _is_multiple(self, of: int) -> bool:
        return isinstance(self.length, int) and self.length % of == 0

    def _whole_part(self, start: Operand, stop: Operand, count: int) -> Operand:
        """Where the last full turn of the lanes ends; blocks are of a whole number of turns."""
        if self._is_multiple(count):
            return stop
        if isinstance(start, Lit) and isinstance(stop, Lit):
            return index(int(start.value) + (int(stop.value) - int(start.value)) // count * count)
        w = self.w
        length = w.let("subtract", stop, start)
        turns = w.let("quotient", length, index(count))
        return w.let("add", start, w.let("multiply", turns, index(count)))

    def _halve(self, task: Folding, rooms: Sequence[Buffer], count: int) -> None:
        w = self.w
        while count > 1:
            count //= 2
            with self.lanes_of(count) as t:
                other = w.let("add", t, index(count))
                self.meet(task, rooms, t, [w.load(room, other) for room in rooms])


class ColumnNest(FoldNest):
    """Folds along other loops: lanes go across a tile of the last loop, which is kept."""

    def build(self, name: str) -> Naive:
        """The kernel."""
        order, w = self.group.order, self.w
        *self.rows, self.last = self.members(order.kept)
        self.blocked = self.members(order.blocked)
        self.rest = self.members([k for k in order.outer if k not in order.blocked])
        self.length = product([loop.extent for loop in self.blocked])
        self.tile = self._tile()
        width = self.last.extent
        tiles = -(-width // self.tile)
        self.grid = product([loop.extent for loop in self.rows]) * tiles
        *rows, number = decoded(w, self.item, [*(loop.extent for loop in self.rows), tiles])
        self.first = w.let("multiply", number, index(self.tile))
        end = w.let("add", self.first, index(self.tile))
        with self.at(self.rows, rows):
            if self.tile == 1:
                self._levels(masked=False)
            elif decide(self.tile - 1, "<", width) is not False:
                with w.when(w.let("less_equal", end, w.at(width))):
                    self._levels(masked=False)
            if self.tile > 1 and not (isinstance(width, int) and width % self.tile == 0):
                with w.when(w.let("greater", end, w.at(width))):
                    self._levels(masked=True)
        return self.finish(name)

    def _tile(self) -> int:
        if self.target.is_gpu:
            return 1
        wide = self.lanes * (4 if self.cost <= UNROLLED else 2)
        width = self.last.extent
        if isinstance(width, int) and width < wide:
            return max(2, 1 << (width - 1).bit_length())
        return wide

    @contextmanager
    def _across(self, *, masked: bool) -> Iterator[Operand]:
        """Every column of the tile; those behind the last one are left out."""
        w = self.w
        with self.lanes_of(self.tile) as t:
            self.lane = t
            column = w.let("add", self.first, t)
            if not masked:
                with self.at([self.last], [column]):
                    yield t
                return
            with w.when(w.let("less", column, w.at(self.last.extent))):
                with self.at([self.last], [column]):
                    yield t

    def _levels(self, *, masked: bool) -> None:
        self.w.staged.clear()
        for level in range(self.depth):
            rows, folds, maps = self.at_level(level)
            for task in maps:
                if self.read_later(task.outputs[0], level):
                    self.stored.add(task.outputs[0])
            if rows:
                self._rows(rows, masked=masked)
            if folds or maps:
                self._pass(folds, maps, masked=masked)

    def _keep(self, value: FormValue, name: str, *, masked: bool) -> Buffer:
        """Room for an element of each column; those behind the last one are set once, to 0."""
        room = self.w.alloc(f"{name}{self.count()}", value.dtype, self.tile)
        if masked:
            with self.lanes_of(self.tile) as t:
                self.w.store(room, t, self.w.number(0, VType(value.dtype)))
        self.w.staged[value] = room, lambda: self.lane
        return room

    def _rows(self, rows: Sequence[Task], *, masked: bool) -> None:
        rooms = [self._keep(task.outputs[0], "row", masked=masked) for task in rows]
        for task in rows:
            del self.w.staged[task.outputs[0]]
        with self._across(masked=masked) as t:
            operands = [self.map_element(task, self.row_at) for task in rows]
            for room, operand in zip(rooms, operands):
                self.w.store(room, t, operand)
        for room, task in zip(rooms, rows):
            self.w.staged[task.outputs[0]] = room, lambda: self.lane

    def _pass(self, folds: Sequence[FoldTask], maps: Sequence[Task], *, masked: bool) -> None:
        w = self.w
        totals = {task: self.room(task, self.tile, "total") for task in folds}
        known = isinstance(self.length, int) and self.length <= COLUMN_BLOCK
        if known or any(task.of_blocks for task in folds):
            self._block(folds, maps, totals, index(0), w.at(self.length), masked=masked)
        else:
            with w.loop(index(0), w.at(self.length), COLUMN_BLOCK, hint="block") as start:
                stop = w.least_of(w.let("add", start, index(COLUMN_BLOCK)), w.at(self.length))
                self._block(folds, maps, totals, start, stop, masked=masked)
        for task in folds:
            self._results(task, totals[task], masked=masked)

    def _results(self, task: FoldTask, rooms: Sequence[Buffer], *, masked: bool) -> None:
        kept = [self._keep(value, "fold", masked=masked) for value in task.outputs]
        for value in task.outputs:
            del self.w.staged[value]
        with self._across(masked=masked) as t:
            for value, room, own in zip(task.outputs, rooms, kept):
                operand = self.w.cast(self.w.load(room, t), value.dtype)
                self.w.store(own, t, operand)
                self.store(value, self.own_indices(value, self.row_at), operand)
        for value, own in zip(task.outputs, kept):
            self.w.staged[value] = own, lambda: self.lane

    def _block(
        self,
        folds: Sequence[FoldTask],
        maps: Sequence[Task],
        totals: dict[FoldTask, list[Buffer]],
        start: Operand,
        stop: Operand,
        *,
        masked: bool,
    ) -> None:
        w = self.w
        rooms = {task: self.room(task, self.tile, "column") for task in folds}
        with w.loop(start, stop, hint=f"down{self.count()}") as j:
            extents: list[Extent] = [loop.extent for loop in self.blocked]
            with self.at(self.blocked, decoded(w, j, extents)), self.along(self.rest, "rest"):
                with self._across(masked=masked) as t:
                    for task in maps:
                        self.map_element(task, self.domain.indices)
                    for task in folds:
                        self.fold_into(task, rooms[task], t)
        for task in folds:
            with self.lanes_of(self.tile) as t:
                self.meet(task, totals[task], t, [w.load(room, t) for room in rooms[task]])
