"""A row's plan: what each pass over it computes where some values lie in rooms, and are not stored.

Maps that nobody needs in memory are no tasks any more: they are parts of what reads them, and a
room holds what is worth it, be it the value of a map or something between two of them.
"""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

from jit.dims import Dim
from jit.forms import nodes
from jit.forms.expression import Access, Apply, Expression, extents_of, rewritten, walk
from jit.forms.nodes import FormValue
from jit.forms.placement import COSTS
from jit.forms.tasks import FoldTask, MapTask, Task
from jit.loops.gpu_rooms import Pass, Rooms
from jit.loops.ir import Buffer
from jit.types import TensorType, float32

if TYPE_CHECKING:
    from jit.loops.gpu_rows import GpuRowNest

LOAD, NEAR = 6, 2  # additions that it takes to load what is each row's own, and what all rows share
FAR = 10  # either, of long rows, which leave no cache to a processor
STORED = 24  # additions that it takes to store a value of each element
MOST = 3  # rooms

Fill: TypeAlias = tuple[Buffer, Expression]  # a room, and what a pass leaves in it


class RowPlan:
    """The passes of a nest.

    Args:
        nest: Folds along known rows.
        most: Bytes of its rooms.
        apart: Whether few of the threads fold, once all have filled rooms.

    Attributes:
        contents: Of the rooms, for each pass.
        dropped: The maps that are no tasks any more.
    """

    def __init__(self, nest: GpuRowNest, most: int, *, apart: bool) -> None:
        self.nest, self.apart = nest, apart
        self.group, self.levels = nest.group, nest.group.levels
        self._found: dict[Expression, tuple[int, bool]] = {}
        self._names: dict[Expression, Access] = {}
        self._buffers: dict[int, Buffer] = {}
        self.dropped: dict[Task, Expression] = {}
        self.roots = self._written_out()
        passes = [self._pass(level) for level in range(nest.depth)]
        self._rooms = Rooms(passes, self._since, self._price, apart=apart)
        found = [x for one in passes for x in walk(*one.folds, *one.maps) if self._may_lie(x)]
        dtypes = Counter(x.dtype for x in dict.fromkeys(found))
        self.dtype = max(dtypes, key=lambda x: dtypes[x], default=float32)
        assert isinstance(nest.length, int)
        count = min(MOST, most // max(1, nest.length * self.dtype.itemsize))
        alike = [x for x in found if x.dtype == self.dtype]
        self.contents = self._rooms.planned(count, alike)

    def _maps(self) -> list[MapTask]:
        """The maps of each element of a row."""
        every = [x for x in self.group.tasks if isinstance(x, MapTask)]
        return [x for x in every if not self.group.is_of_rows(x)]

    def _own(self, task: Task) -> Access:
        """The element of a map at an index of the loops."""
        (value,) = task.outputs
        return Access(value, self.nest.own_indices(value, self.nest.domain.indices), ())

    def _written_out(self) -> dict[Task, tuple[Expression, ...]]:
        """The elements of folds and of maps that are stored, made of nothing that is dropped."""
        known: dict[Expression, Expression] = {}
        gone: dict[FormValue, Expression] = {}
        found: dict[Task, tuple[Expression, ...]] = {}
        maps, stored = self._maps(), self.nest.stored
        for task in sorted(self.group.tasks, key=lambda task: self.levels[task]):
            if self.group.is_of_rows(task):
                continue
            read = [x for x in walk(*self.nest.elements[task]) if isinstance(x, Access)]
            known.update({x: gone[x.value] for x in read if x.value in gone})  # each its own row's
            elements = tuple([rewritten(x, known) for x in self.nest.elements[task]])
            if task in maps and task.outputs[0] not in stored:
                self.dropped[task] = gone[task.outputs[0]] = elements[0]
            else:
                found[task] = elements
        return found

    def dear(self) -> set[FormValue]:
        """What takes longer to compute again in later passes than to store and to load."""
        found = set[FormValue]()
        for task, x in self.dropped.items():
            passes = enumerate(self.contents)
            again = [self._rooms.again(x, k, content.held.values()) for k, content in passes]
            spent = sum(cost - FAR for cost in again[self.levels[task] + 1 :] if cost > FAR)
            if spent > STORED:
                found.update(task.outputs)
        return found

    def _pass(self, level: int) -> Pass:
        tasks = [task for task in self.roots if self.levels[task] == level]
        maps = [task for task in tasks if isinstance(task, MapTask)]
        return Pass(
            [x for task in tasks if task not in maps for x in self.roots[task]],
            [x for task in maps for x in self.roots[task]],
            [self._own(task) for task in maps],
        )

    # ----- expressions -----

    @cached_property
    def _inner(self) -> set[str]:
        return {str(i) for i in self.nest.inner_at if isinstance(i, Dim)}

    def _goes_along(self, x: Expression) -> bool:
        """Whether an expression itself reads another element at each index of the row."""
        every = [at for at in extents_of(x) if isinstance(at, Dim)]
        return any(s.name in self._inner for at in every for s in at.symbols())

    def _since(self, x: Expression) -> int:
        """From which pass on it can be computed."""
        return self._known(x)[0]

    def _known(self, x: Expression) -> tuple[int, bool]:
        """From which pass on it is, and whether it is another number for each element."""
        for part in walk(x):
            if part not in self._found:
                inner = [self._found[y] for y in part.children]
                first = max([self._first(part), *[since for since, _ in inner]])
                self._found[part] = first, self._goes_along(part) or any(y for _, y in inner)
        return self._found[x]

    def _first(self, x: Expression) -> int:
        """The first pass in which a value of the group is known."""
        task = self.group.values().get(x.value) if isinstance(x, Access) else None
        return 0 if task is None else self.levels[task] + isinstance(task, FoldTask)

    def _price(self, x: Expression) -> int:
        """What an expression takes once its parts are there, in additions."""
        if not self._known(x)[1]:
            return 0
        if isinstance(x, Access):
            return FAR if self.apart else LOAD if self._is_of_row(x) else NEAR
        return COSTS.get(x.name, 1) if isinstance(x, Apply) else 0

    def _is_of_row(self, x: Access) -> bool:
        """Whether each row has its own."""
        symbols = {s.name for at in x.at if isinstance(at, Dim) for s in at.symbols()}
        return bool(symbols - self._inner)

    def _may_lie(self, x: Expression) -> bool:
        """Whether a room may hold an expression."""
        plain = isinstance(x, Apply) or (isinstance(x, Access) and not x.guard)
        return plain and self._known(x)[1]

    # ----- what is written -----

    def begin(self, level: int) -> tuple[list[Access], list[Fill]]:
        """Gives tasks the elements of a pass.

        Returns:
            What is to be read before anything is stored, and what rooms are filled with.
        """
        content = self.contents[level]
        held = {x: self._named(x, room) for room, x in content.held.items()}
        filled = [(self._room(room), rewritten(x, {**held})) for room, x in content.filled.items()]
        after = {x: self._named(x, room) for room, x in content.after.items()}
        for task, roots in self.roots.items():
            if self.levels[task] == level:
                folds = self.apart and not isinstance(task, MapTask)
                known: dict[Expression, Expression] = {**(after if folds else held)}
                self.nest.elements[task] = tuple([rewritten(x, known) for x in roots])
        return [held[x] for room, x in content.held.items() if room in content.filled], filled

    def _named(self, x: Expression, room: int) -> Access:
        """An expression as a value that lies in a room."""
        if x not in self._names:
            value = nodes.Source((), (TensorType(self.group.extents, x.dtype),)).outputs[0]
            self._names[x] = Access(value, self.nest.domain.indices, ())
        self.nest.lay(self._names[x].value, self._room(room))
        return self._names[x]

    def _room(self, room: int) -> Buffer:
        if room not in self._buffers:
            self._buffers[room] = self.nest.another_room(self.dtype)
        return self._buffers[room]


def planned(nest: GpuRowNest, most: int, *, apart: bool) -> RowPlan:
    """The plan of a nest with rooms of so many bytes; what is dear to compute again is stored."""
    plan = RowPlan(nest, most, apart=apart)
    while found := plan.dear():
        nest.stored.update(found)
        plan = RowPlan(nest, most, apart=apart)
    return plan
