"""Rows on a GPU: what several passes over a row read stays near its threads, in *rooms*.

Memory is read once and written once. What rooms hold in which pass is planned (`gpu_plans`). When a
pass is the last one that reads what lies in a room, the same pass fills it anew, element by
element: what it reads of an element is read before anything is stored.

Where there are few rows, a team of warps computes what is folded, into a room; the lanes of each
warp fold that. The blocks of longer rows warps share out, and fold what they give together; what
takes long all threads compute before, into rooms and memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from jit.forms.expression import Access, Expression, linear
from jit.forms.nodes import FormValue
from jit.forms.order import BLOCK, LANES
from jit.forms.placement import extent_hint
from jit.forms.tasks import BlockTask, FoldTask, Task
from jit.loops import gpu
from jit.loops.folds import Folding, RowNest
from jit.loops.gpu_plans import Fill, RowPlan, planned
from jit.loops.ir import TEAM, VECTOR, WARP, Buffer, DType, Operand, index
from jit.loops.parts import BlockNest
from jit.loops.races import is_race
from jit.types import product

VECTOR_LANES = 4  # elements of a long row that a thread takes together
OTHERS = 4 << 10  # bytes beside a row's rooms
SHORT, BUSY = 1024, 7 << 10  # elements of rows that keep all threads busy; bytes of their rooms


class GpuRowNest(RowNest):
    """Folds along the last loop, for the threads of a warp; arguments as for `RowNest`."""

    def _level(self, level: int) -> None:
        if level == 0:
            self._rooms: list[Buffer] = []
            self._computed: dict[Expression, Buffer] = {}
            self._plan = self._planned()
        self._ready, self._read_first, self._fills = False, list[Access](), list[Fill]()
        if self._plan is not None:
            self._read_first, self._fills = self._plan.begin(level)
        super()._level(level)

    def _planned(self) -> RowPlan | None:
        """What passes find near their threads; not where rows are of any length."""
        if self.outer or not isinstance(self.length, int):
            return None
        of_blocks = any(isinstance(x, FoldTask) and x.of_blocks for x in self.group.tasks)
        return planned(self, self._most(), apart=self.length > BLOCK and not of_blocks)

    def at_level(self, level: int) -> tuple[list[Task], list[FoldTask], list[Task]]:
        """As for any nest; a map that nobody needs in memory is no task where there is a plan."""
        rows, folds, maps = super().at_level(level)
        dropped = set[Task]() if self._plan is None else self._plan.dropped
        return rows, folds, [task for task in maps if task not in dropped]

    def _stage(self, task: Task, level: int) -> None:
        """What later levels read goes through memory; what lies in rooms is no task."""
        if self.read_later(task.outputs[0], level):
            self.stored.add(task.outputs[0])

    def _folds(self, folds: Sequence[FoldTask], maps: Sequence[Task]) -> None:
        rooms = self._rooms_of(folds)
        if rooms is None:
            return super()._folds(folds, maps)
        w = self.w
        with w.loop(index(0), w.at(self.length), hint=self._lane()) as j, self.at_place(j):
            self._maps(maps)
            for x, room in rooms.items():
                w.store(room, self._place(), w.emit(x))
        self._computed, self._read_first = rooms, []
        super()._folds(folds, [])
        self._computed = {}
        return None

    def _blocks(
        self, folds: Sequence[FoldTask], maps: Sequence[Task]
    ) -> dict[FoldTask, list[Buffer]]:
        """Every block of a row, for a warp each; their results go around the lanes, as always."""
        if not isinstance(self.length, int):
            return super()._blocks(folds, maps)
        w, count = self.w, -(-self.length // BLOCK)
        if maps or self._fills:  # all threads compute, and then few fold
            self._go_along(maps)
            self._ready = True
        found = {task: self._rooms_for(self.elements[task], count) for task in folds}
        with w.loop(index(0), index(count), hint=f"{TEAM}{self.count()}") as number:
            start = w.let("multiply", number, index(BLOCK))
            made = self._block(folds, maps, start, self._end(start))
            for task in folds:
                for room, one in zip(found[task], made[task]):
                    w.store(room, number, w.load(one, index(0)))
        lanes = {task: self.room(task, LANES, "blocks") for task in folds}
        with w.loop(index(0), index(count), LANES, hint="blocks") as first:
            with self.lanes_of(LANES) as lane:
                at = w.let("add", first, lane)
                with w.when(w.let("less", at, index(count))):
                    for task in folds:
                        self.meet(task, lanes[task], lane, [w.load(x, at) for x in found[task]])
        for task in folds:
            self._halve(task, lanes[task], LANES)
        return lanes

    def _go_along(self, maps: Sequence[Task]) -> None:
        """Maps of each element; of a long row each thread takes neighbours, in vectors."""
        length = self.length
        if not isinstance(length, int) or length <= BLOCK or not self._has_vectors(length):
            return super()._go_along(maps)
        w = self.w
        with w.loop(index(0), index(length // VECTOR_LANES), hint=self._lane()) as k:
            first = w.let("multiply", k, index(VECTOR_LANES))
            with w.loop(index(0), index(VECTOR_LANES), hint=f"{VECTOR}{self.count()}") as i:
                with self.at_place(w.let("add", first, i)):
                    self._maps(maps)
        return None

    def _has_vectors(self, length: int) -> bool:
        """Whether a row is made of vectors, more than a warp has threads."""
        return len(self.inner) == 1 and length % VECTOR_LANES == 0 and length > WARP * VECTOR_LANES

    def _rooms_for(self, elements: Sequence[Expression], size: int) -> list[Buffer]:
        w = self.w
        return [w.alloc(f"found{self.count()}", x.dtype, size, "stack") for x in elements]

    def _rooms_of(self, folds: Sequence[FoldTask]) -> dict[Expression, Buffer] | None:
        """Memory for what is folded, for a team to compute; None where a warp does all."""
        rows = extent_hint(product([loop.extent for loop in self.kept]))
        if (
            self.outer
            or not isinstance(self.length, int)
            or rows > gpu.FEW
            or self.length < gpu.LONG
        ):
            return None
        one = self.length <= BLOCK or any(task.of_blocks for task in folds)
        every = dict.fromkeys([x for task in folds for x in self.elements[task]])
        size = sum(x.dtype.itemsize for x in [*every, *self._rooms])
        if not one or size * self.length > gpu.most_shared(self.target) - OTHERS:
            return None
        return dict(zip(every, self._rooms_for([*every], self.length)))

    def fold_into(self, task: Folding, rooms: Sequence[Buffer], at: Operand) -> None:
        """Folds the element at the current index."""
        if not self._computed:
            return super().fold_into(task, rooms, at)
        w, elements = self.w, self.elements[task]
        return self.meet(
            task, rooms, at, [w.load(self._computed[x], self._place()) for x in elements]
        )

    def _maps(self, maps: Sequence[Task]) -> None:
        w = self.w
        if self._computed or self._ready:
            return
        for x in self._read_first:
            w.provide(x.value, x.at, w.emit(x))
        super()._maps(maps)
        for room, x in self._fills:
            w.store(room, self._place(), w.emit(x))

    def _place(self) -> Operand:
        """Where the current element lies in a room."""
        extents = [self.group.extents[k] for k in self.group.order.inner]
        return self.w.at(linear(extents, self.inner_at))

    # ----- rooms -----

    def another_room(self, dtype: DType) -> Buffer:
        """Memory for a row: of one thread, or of a warp."""
        assert isinstance(self.length, int)
        scope = "register" if self.length < WARP else "stack"
        self._rooms.append(self.w.alloc(f"row{self.count()}", dtype, self.length, scope))
        return self._rooms[-1]

    def lay(self, value: FormValue, room: Buffer) -> None:
        """Says that the elements of a value lie in a room."""
        self.w.staged[value] = room, self._place

    def _most(self) -> int:
        """Bytes of a row's rooms: a long row has a processor of the machine for itself."""
        assert isinstance(self.length, int)
        if self.length > BLOCK:
            return gpu.most_shared(self.target) - OTHERS
        return BUSY if self.length <= SHORT else gpu.SHARED


class GpuBlockNest(BlockNest):
    """Blocks of long rows: where there are few, a team computes what a warp folds."""

    _computed: Mapping[Expression, Buffer] = MappingProxyType({})

    def _part(self, parts: list[BlockTask], maps: list[Task], number: Operand, at: Operand) -> None:
        rooms = self._rooms_of(parts)
        if rooms is None:
            return super()._part(parts, maps, number, at)
        w, start = self.w, self.w.let("multiply", number, index(BLOCK))
        size = w.let("subtract", self._end(start), start)
        with w.loop(index(0), index(BLOCK), hint=self._lane()) as j:
            with w.when(w.let("less", j, size)), self.at_place(w.let("add", start, j)):
                self._maps(maps)
                for x, room in rooms.items():
                    w.store(room, j, w.emit(x))
        self._computed = rooms
        found = self._block(parts, [], index(0), size)
        for task in parts:
            for value, room in zip(task.outputs, found[task]):
                w.store(w.buffer(value, "out"), at, w.load(room, index(0)))
        return None

    def _rooms_of(self, parts: Sequence[BlockTask]) -> dict[Expression, Buffer] | None:
        """Memory for what is folded; None where there are many blocks, or much in them."""
        every = dict.fromkeys([x for task in parts for x in self.elements[task]])
        few = isinstance(self.grid, int) and self.grid <= gpu.FEW
        size = BLOCK * sum(x.dtype.itemsize for x in every)
        if not few or size > gpu.SHARED - OTHERS or any(is_race(self, task) for task in parts):
            return None
        return {x: self.w.alloc(f"found{self.count()}", x.dtype, BLOCK, "stack") for x in every}

    def fold_into(self, task: Folding, rooms: Sequence[Buffer], at: Operand) -> None:
        """Folds the element at the current index, which a team may have computed."""
        if not self._computed:
            return super().fold_into(task, rooms, at)
        w, extents = self.w, [self.group.extents[k] for k in self.group.order.inner]
        place = w.at(linear(extents, self.inner_at))
        found = [w.load(self._computed[x], place) for x in self.elements[task]]
        return self.meet(task, rooms, at, found)
