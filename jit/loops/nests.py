"""Nests: the naive kernel of a group, scalar loops that state what is computed in which order.

Loops whose hint starts with `lane` have a fixed number of independent iterations, or independent
iterations altogether: schedules turn them into vectors. `jit.forms.order` is what is written here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from jit.dataclass import dataclass
from jit.dims import Extent
from jit.forms.contraction import Letter, step_of
from jit.forms.expression import (
    Access,
    Apply,
    Checked,
    Coordinate,
    Domain,
    Expression,
    Extractor,
    Inside,
    linear,
    moved,
    walk,
)
from jit.forms.fuse import Group
from jit.forms.nodes import FormValue
from jit.forms.placement import additions, extent_hint, size_hint
from jit.forms.tasks import PartsTask, Task
from jit.loops.elements import Elements, decoded
from jit.loops.ir import INDEX, ROW, Kernel, Operand, Var, index
from jit.loops.walk import Loop, collapsed
from jit.target import Target
from jit.types import product

ADDITION = 0.15e-9  # seconds that an addition takes, as part of vectors
ITEM = 16384  # elements of an item of the grid: enough work to hand to another thread
FEWER = 16  # elements that a value has so many times less of are read from caches
ROWS = 64  # what the rows of an item are a multiple of if they are many: as many as go abreast


@dataclass
class Naive:
    """A kernel before scheduling, and what it reads and writes.

    Attributes:
        kernel: Scalar loops.
        values: The value that lies in each buffer.
        sizes: The name of each size parameter, or its value.
        work: About how many additions an item costs.
    """

    kernel: Kernel
    values: tuple[FormValue, ...]
    sizes: tuple[str | int, ...]
    work: float


class Nest:
    """What nests of maps and of folds share.

    Args:
        group: Tasks over the same loops.
        stored: The values of the group that somebody outside of it needs.
        extractor: Elements of values.
        base: The value that owns a value's memory.
        target: The machine.
    """

    def __init__(
        self,
        group: Group,
        stored: set[FormValue],
        extractor: Extractor,
        base: Callable[[FormValue], FormValue],
        target: Target,
    ) -> None:
        self.group = group
        self.stored = stored
        self.target = target
        self.lanes = target.lanes(4)
        self.w = Elements(extractor, base, target.cache)
        self.domain = Domain.of(group.extents)
        self.item = Var(INDEX, "item")
        row_at = [self.domain.indices[k] for k in group.order.kept]
        shift = Shift(row_at)
        self.elements: dict[Task, tuple[Expression, ...]] = {
            task: tuple([shift.of(x) for x in task.elements])
            if group.is_of_rows(task)
            else task.elements
            for task in group.tasks
        }
        self.row_at = tuple(row_at)
        self.read_inside = {x for task in group.tasks for x in task.reads()}
        every = [x for task in group.tasks for x in self.elements[task]]
        every += [Access(x, at, ()) for x, at in parts_of(group)]
        order = group.order
        kinds = [(k in order.inner, k in order.outer) for k in range(len(group.extents))]
        self.loops = collapsed(group.extents, kinds, every)
        self.cost = additions(*every) + 1

    def share(self, usual: int) -> int:
        """How much an item takes: `usual`, or the least where threads are cheap."""
        return 1 if self.target.is_gpu else usual

    # ----- loops -----

    def members(self, numbers: Sequence[int]) -> list[Loop]:
        """The collapsed loops made of these loops of the group."""
        names = {f"i{k}" for k in numbers}
        return [loop for loop in self.loops if loop.names[0] in names]

    @contextmanager
    def at(self, loops: Sequence[Loop], values: Sequence[Operand]) -> Iterator[None]:
        """Gives collapsed loops their values."""
        bound: dict[str, Operand] = {}
        for loop, value in zip(loops, values, strict=True):
            bound |= {name: index(0) for name in loop.names[:-1]}
            bound[loop.names[-1]] = value
        with self.w.bound(bound):
            yield

    @contextmanager
    def along(self, loops: Sequence[Loop], hint: str) -> Iterator[None]:
        """Nested loops, one for each of `loops`."""
        if not loops:
            yield
            return
        first, *rest = loops
        with self.w.loop(index(0), self.w.at(first.extent), hint=f"{hint}_{first.names[0]}") as i:
            with self.at([first], [i]), self.along(rest, hint):
                yield

    @contextmanager
    def items(self, loops: Sequence[Loop], each: int) -> Iterator[None]:
        """The outermost loops: an item runs `each` indices of all of them together."""
        w, total = self.w, product([loop.extent for loop in loops])
        self.grid = -(-total // each)
        if isinstance(total, int) and total <= each:
            start, stop = index(0), index(total)
        elif each == 1:
            start, stop = self.item, w.let("add", self.item, index(1))
        else:
            start = w.let("multiply", self.item, index(each))
            stop = w.least_of(w.let("add", start, index(each)), w.at(total))
        with w.loop(start, stop, hint=ROW) as row:
            values = decoded(w, row, [loop.extent for loop in loops])
            with self.at(loops, values):
                yield

    # ----- memory -----

    def store(self, value: FormValue, at: Sequence[Extent], operand: Operand) -> None:
        """Writes an element of `value` if somebody needs it in memory."""
        if value in self.stored:
            w = self.w
            access = "inout" if value in self.read_inside else "out"
            w.store(w.buffer(value, access), w.at(linear(value.shape, at)), operand)

    def own_indices(self, value: FormValue, at: Sequence[Extent]) -> tuple[Extent, ...]:
        """Coordinates of a value of the loops' extents, 0 where its extent is 1."""
        left = iter(at)
        return tuple(
            [0 if isinstance(i, int) else next(left) for i in Domain.of(value.shape).indices]
        )

    def map_element(self, task: Task, at: Sequence[Extent]) -> Operand:
        """Computes an element of a map, at hand from now on, and stores it."""
        (value,) = task.outputs
        if isinstance(task, PartsTask):
            operands = [self.w.emit(x) for x in self.elements[task]]
            for place, operand in zip(task.places, operands, strict=True):
                self.store(value, place, operand)
            return operands[-1]
        operand = self.w.emit(self.elements[task][0])
        own = self.own_indices(value, at)
        self.w.provide(value, own, operand)
        self.store(value, own, operand)
        return operand

    def finish(self, name: str) -> Naive:
        """The kernel that was written."""
        w = self.w
        sizes = tuple(w.sizes)
        for s in getattr(self.grid, "symbols", list)():
            w.size(s.name)
            sizes = tuple(w.sizes)
        buffers = tuple(w.buffers.values())
        kernel = Kernel(name, buffers, tuple(w.sizes.values()), self.grid, self.item, tuple(w.body))
        size = extent_hint(product(self.group.extents))
        work = self.cost * size / max(1, extent_hint(self.grid))
        return Naive(kernel, tuple(w.buffers), sizes, work)


def parts_of(group: Group) -> Iterator[tuple[FormValue, tuple[Extent, ...]]]:
    """Where the parts of values lie that a group computes part by part."""
    for task in group.tasks:
        if isinstance(task, PartsTask):
            yield from ((task.outputs[0], at) for at in task.places)


class MapNest(Nest):
    """A group without folds: each index by itself."""

    def build(self, name: str) -> Naive:
        """The kernel."""
        outer, last = self.loops[:-1], self.loops[-1:]
        if self.target.is_gpu:
            self.lanes = self.target.lanes(self.widest())
        grain = self.share(ITEM // max(1, self.cost // 8))
        grain = max(grain - grain % ROWS, min(grain, ROWS), self.lanes)
        if not last:
            self.grid = 1
            self._body()
        elif not outer or extent_hint(last[0].extent) > grain:
            self.blocks(outer, last[0], grain)
        else:
            rows = max(1, grain // extent_hint(last[0].extent))
            with self.items(outer, max(rows - rows % ROWS, min(rows, ROWS))):
                with self.w.loop(index(0), self.w.at(last[0].extent), hint="lane") as i:
                    with self.at(last, [i]):
                        self._body()
        return self.finish(name)

    def widest(self) -> int:
        """Bytes of an element of what is read and written most, 2 or 4: a thread moves 16 of it."""
        read = {x.value for task in self.group.tasks for x in task.accesses()}
        found = (read - self.group.values().keys()) | self.stored
        size = size_hint(self.group.extents)
        most = [x.dtype.itemsize for x in found if FEWER * size_hint(x.shape) > size]
        return min(max(2, *most), 4) if most else 4

    def blocks(self, outer: Sequence[Loop], last: Loop, grain: int) -> None:
        """The last loop is long: an item is a block of it."""
        count = -(-last.extent // grain)
        self.grid = product([loop.extent for loop in outer]) * count
        extents = [loop.extent for loop in outer]
        *rest, block = decoded(self.w, self.item, [*extents, count])
        with self.at(outer, rest):
            self.block(block, last, grain)

    def block(self, number: Operand, last: Loop, grain: int) -> None:
        """A block of the last loop."""
        w, extent = self.w, last.extent
        if isinstance(extent, int) and extent <= grain:
            start, stop = index(0), w.at(extent)
        else:
            start = w.let("multiply", number, index(grain))
            stop = w.let("add", start, index(grain))
            if not (isinstance(extent, int) and extent % grain == 0):
                stop = w.least_of(stop, w.at(extent))
        with w.loop(start, stop, hint="lane") as i, self.at([last], [i]):
            self._body()

    def step_along(self, access: Access, loop: Loop) -> Extent | None:
        """How far apart neighbours along a loop lie; None if that varies."""
        name = loop.names[-1]
        letter = Letter(name, loop.extent, self.domain.indices[int(name[1:])])
        return step_of(linear(access.value.shape, access.at), letter)

    def _body(self) -> None:
        for task in self.group.tasks:
            self.map_element(task, self.domain.indices)


class Shift:
    """Expressions over rows as ones over the loops of a group; what they share stays shared.

    Args:
        at: The loop of each row.
    """

    def __init__(self, at: Sequence[Extent]) -> None:
        self._at = at
        self._known: dict[Expression, Expression] = {}

    def of(self, x: Expression) -> Expression:
        """An expression over the loops."""
        for part in walk(x):  # inner ones first, so that none is met once for each way to it
            if part not in self._known:
                self._known[part] = self._made(part)
        return self._known[x]

    def _made(self, x: Expression) -> Expression:
        at = self._at
        match x:
            case Access():
                return Access(x.value, tuple([moved(i, at) for i in x.at]), self._all(x.guard))
            case Coordinate():
                return Coordinate(moved(x.at, at), x.dtype, self._all(x.guard))
            case Inside():
                return Inside(self._all(x.conditions), self._all(x.guard))
            case Checked():
                inner = self._known[x.inner]
                return Checked(inner, self._all(x.conditions), self._all(x.guard))
            case Apply():
                return Apply(x.name, tuple([self._known[arg] for arg in x.args]), x.dtype)
            case _:
                return x

    def _all(self, conditions: Any) -> Any:
        return tuple([(moved(i, self._at), n) for i, n in conditions])
