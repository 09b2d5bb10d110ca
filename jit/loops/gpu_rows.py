"""Rows on a GPU: what several passes over a row read stays near its threads, in *rooms*.

Memory is read once and written once. A value that later passes read gets a room for a row: of an
input or a stored result as well as of what nobody needs in memory. When a pass is the last one that
reads what lies in a room, the same pass fills it anew, element by element: what it reads of an
element is read before anything is stored.

Where there are few rows, a team of warps computes what is folded, into a room; the lanes of each
warp fold that. The blocks of longer rows warps share out, and fold what they give together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Any

from jit.dataclass import dataclass
from jit.dims import Dim, Extent
from jit.forms.expression import Access, Expression, linear, walk
from jit.forms.nodes import FormValue
from jit.forms.order import BLOCK, LANES
from jit.forms.placement import extent_hint
from jit.forms.tasks import BlockTask, FoldTask, MapTask, Task
from jit.loops import gpu
from jit.loops.again import computed_again
from jit.loops.folds import Folding, RowNest
from jit.loops.ir import TEAM, WARP, Buffer, Operand, index
from jit.loops.parts import BlockNest
from jit.loops.races import is_race
from jit.types import product

OTHERS = 4 << 10  # bytes beside a row's rooms
NUMBER = 4  # bytes of most
SHORT, BUSY = 1024, 7 << 10  # elements of rows that keep all threads busy; bytes of their rooms
Key = tuple[FormValue, tuple[Extent, ...]]


@dataclass
class Room:
    """Memory for a row.

    Attributes:
        buffer: The memory.
        last: The last level that reads what lies there.
    """

    buffer: Buffer
    last: int


class GpuRowNest(RowNest):
    """Folds along the last loop, for the threads of a warp; arguments as for `RowNest`."""

    def _level(self, level: int) -> None:
        if level == 0:
            self._rooms: list[Room] = []
            self._computed: dict[Expression, Buffer] = {}
            if self._is_long():
                self.elements = computed_again(self)
        self._read_first, self._ready = self._held(level), False
        for task in self.at_level(level)[2]:
            self._stage(task, level)
        self._taken = {key: self._room(key[0].dtype, level, last) for key, last in self._new(level)}
        super()._level(level)
        for key, room in self._taken.items():
            if room is not None:
                self.w.held[key] = room, self._place

    def _stage(self, task: Task, level: int) -> None:
        """A room for a map that later levels read; without one it goes through memory."""
        (value,) = task.outputs
        if value in self.w.staged:
            return
        read = [at for key, levels in self._readers.items() if key[0] is value for at in levels]
        if max(read, default=0) <= level:
            return
        room = self._room(value.dtype, level, max(read))
        if room is None:
            self.stored.add(value)
        else:
            self.w.staged[value] = room, self._place

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
        if (maps or self._taken) and self._lies_ready(folds, maps):
            with w.loop(index(0), w.at(self.length), hint=self._lane()) as j, self.at_place(j):
                self._maps(maps)
            w.held.update({k: (room, self._place) for k, room in self._taken.items() if room})
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

    def _lies_ready(self, folds: Sequence[FoldTask], maps: Sequence[Task]) -> bool:
        """Whether folds find all they read in rooms or memory, once all threads have filled these.

        Then blocks are not what bounds the number of threads that compute.
        """
        w, group = self.w, self.group
        own = {w.staged[x][0] for task in maps for x in task.outputs if x in w.staged}
        filled = own | {room for room in self._taken.values() if room is not None}
        for x in walk(*[x for task in folds for x in self.elements[task]]):
            if not isinstance(x, Access):
                continue
            task, key = group.values().get(x.value), (x.value, x.at)
            held = w.staged.get(x.value) or w.held.get(key)
            if held is not None:
                if held[0] in filled and task not in maps:
                    return False  # what was there is gone by then
            elif not isinstance(task, MapTask) or group.is_of_rows(task):
                continue
            elif task not in maps or x.value not in self.stored:
                return False  # it is made where it is folded
        return True

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
        size = sum(x.dtype.itemsize for x in [*every, *[room.buffer for room in self._rooms]])
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
        for key in self._read_first:
            w.provide(*key, w.emit(Access(*key, ())))
        for key, room in self._taken.items():
            if room is not None:
                w.store(room, self._place(), w.emit(Access(*key, ())))
        super()._maps(maps)

    def _place(self) -> Operand:
        """Where the current element lies in a room."""
        extents = [self.group.extents[k] for k in self.group.order.inner]
        return self.w.at(linear(extents, self.inner_at))

    # ----- rooms -----

    def _room(self, dtype: Any, level: int, last: int) -> Buffer | None:
        """Memory from a level on: that of what is read for the last time there, or more of it."""
        if self.outer or not isinstance(self.length, int):
            return None
        for room in self._rooms:
            if room.buffer.dtype == dtype and room.last <= level:
                room.last = last
                return room.buffer
        used = sum(room.buffer.dtype.itemsize for room in self._rooms) + dtype.itemsize
        if used * self.length > self._most():
            return None
        scope = "register" if self.length < WARP else "stack"  # of one thread, or of a warp
        made = self.w.alloc(f"row{self.count()}", dtype, self.length, scope)
        self._rooms.append(Room(made, last))
        return made

    def _most(self) -> int:
        """Bytes of a row's rooms: a long row has a processor of the machine for itself."""
        assert isinstance(self.length, int)
        if self.length > BLOCK:
            return gpu.most_shared(self.target) - OTHERS
        return BUSY if self.length <= SHORT else gpu.SHARED

    def _is_long(self) -> bool:
        """Whether there is no room for two numbers of each element."""
        return isinstance(self.length, int) and 2 * NUMBER * self.length > self._most()

    def _held(self, level: int) -> list[Key]:
        """What a level reads of rooms."""
        w, read = self.w, [key for key, levels in self._readers.items() if level in levels]
        return [key for key in read if key in w.held or key[0] in w.staged]

    def _new(self, level: int) -> Iterator[tuple[Key, int]]:
        """What a level reads of memory, and later ones read again: and the last one of these."""
        for key, levels in self._readers.items():
            own = self.group.values().keys()
            if key[0] not in own and min(levels) == level < max(levels) and self._is_of_row(key):
                yield key, max(levels)

    def _is_of_row(self, key: Key) -> bool:
        """Whether each element of each row reads another one, and is sure to."""
        place = linear(key[0].shape, key[1])
        found = {s.name for s in place.symbols()} if isinstance(place, Dim) else set[str]()
        loops = {str(i) for i in self.domain.indices if isinstance(i, Dim)}
        return found >= loops and not any(x.guard for x in self._accesses if (x.value, x.at) == key)

    @cached_property
    def _readers(self) -> dict[Key, set[int]]:
        """What elements read, and in which levels."""
        found: dict[Key, set[int]] = {}
        for x, level in self._accesses.items():
            found.setdefault((x.value, x.at), set()).update(level)
        return found

    @cached_property
    def _accesses(self) -> dict[Access, set[int]]:
        """Every load of tasks that go along the row, and its levels."""
        found: dict[Access, set[int]] = {}
        for task, level in self.group.levels.items():
            for x in walk(*self.elements[task]) if not self.group.is_of_rows(task) else ():
                if isinstance(x, Access):
                    found.setdefault(x, set()).add(level)
        return found


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
