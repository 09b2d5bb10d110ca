"""Values that are not stored: who reads them computes them again, from what lies in memory anyway.

    h = product + bias;  y = gelu(h);  later: z = f(h)

A kernel that is done with a value writes it for kernels that come later. Where these find all that
it is made of in memory, and read no more of that than of the value itself, they compute it, and
nobody writes it: on a GPU an element takes longer to be written and read than some instructions.
A row's elements are often stored only because a later kernel folds them over all rows: the scaled
rows that a weight's share is summed of, say. That kernel does more for each of them, as it has
little else to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from jit.forms.chains import tasks_of
from jit.forms.expression import Access, Apply, Expression, Inside, extents_of, loads_of, walk
from jit.forms.fuse import MOST, Group
from jit.forms.nodes import FormValue
from jit.forms.placement import AGAIN, Placement, additions, size_hint
from jit.forms.tasks import BlockTask, ColumnTask, FoldTask, MapTask, Task, WholeTask

COLUMNS = 64  # the cost of an element that is computed again where columns alone read it
SMALL = 16  # what has so many times fewer elements costs nothing to read, or to write
READERS = MapTask, FoldTask, BlockTask, ColumnTask  # which compute what they read


def with_less_stored(
    steps: Sequence[Group | WholeTask], placement: Placement
) -> list[Group | WholeTask]:
    """Steps in their order, in which fewer values leave the groups that compute them."""
    return Unstored(steps, placement).steps


class Unstored:
    """Steps in the making.

    Args:
        steps: As they are.
        placement: Which values lie in memory.

    Attributes:
        steps: What is left of them.
    """

    def __init__(self, steps: Sequence[Group | WholeTask], placement: Placement) -> None:
        self._placement = placement
        self._home: dict[FormValue, Group | WholeTask] = {}
        self._kept = {*map(placement.base, placement.program.outputs)}  # whoever may read them
        self._outside: dict[FormValue, dict[Group, None]] = {}  # groups that others are read by
        self._maps: dict[FormValue, MapTask] = {}
        for step in steps:
            for task in tasks_of(step):
                self._home.update(dict.fromkeys(task.outputs, step))
                if type(task) is MapTask and task.element is not None:
                    self._maps[task.outputs[0]] = task
        for step in steps:
            for task in tasks_of(step):
                self._note(step, task)
        self._costs: dict[Group, int] = {}  # of groups that compute more than before
        self._gone: set[FormValue] = set()  # what is not stored any more
        for step in steps:
            if isinstance(step, Group) and not step.is_product:
                for task in step.tasks:
                    if task.outputs[0] in self._maps and self._may_go(step, task):
                        self._gone.add(task.outputs[0])
        self.steps = [*self._left(steps)]

    def _note(self, step: Group | WholeTask, task: Task) -> None:
        """Remembers what a task reads of others: as elements, or whole and in index tables."""
        if isinstance(step, Group) and isinstance(task, READERS):
            self._kept.update([x.value for x in task.looked_up()])
            for x in task.read_directly():
                if self._home.get(x.value) is not step:
                    self._outside.setdefault(x.value, {})[step] = None
        else:
            whole = task.form.inputs if isinstance(task, WholeTask) else ()
            self._kept.update(map(self._placement.base, (*task.reads(), *whole)))

    def _may_go(self, group: Group, task: Task) -> bool:
        """Whether a value that leaves its group need not be stored."""
        (value,) = task.outputs
        readers = self._outside.get(value)
        if not readers or value in self._kept:
            return False
        element = self._again(task.elements[0])
        every = [*walk(element)]
        if loads_of(*[x for each in every for x in extents_of(each)]):
            return False
        if any(isinstance(x, Inside) or (isinstance(x, Access) and x.guard) for x in every):
            return False
        cost, most = additions(element), COLUMNS if all(x.is_parts for x in readers) else AGAIN
        costs = {reader: self._costs.get(reader, reader.cost) + cost for reader in readers}
        if cost > most or any(total > MOST for total in costs.values()):
            return False
        size, read = size_hint(value.shape), 0
        for x in every:
            if isinstance(x, Access) and SMALL * size_hint(x.value.shape) > size:
                if self._home.get(x.value) is group and not self._is_stored(x.value):
                    return False
                read += min(size, size_hint(x.value.shape)) * x.dtype.itemsize
        if read > size * value.dtype.itemsize:
            return False
        self._costs.update(costs)
        return True

    def _is_stored(self, value: FormValue) -> bool:
        """Whether a value lies in memory."""
        if value not in self._home or value in self._kept:
            return True
        return value in self._outside and value not in self._gone

    def _again(self, root: Expression, group: Group | None = None) -> Expression:
        """An expression that reads what is stored; `group` reads what it computes as well."""
        known: dict[Expression, Expression] = {}
        for x in walk(root):
            known[x] = x
            if isinstance(x, Access) and self._is_away(x.value, group):
                element = self._maps[x.value].element
                assert element is not None
                known[x] = self._again(element(x.at), group)
            elif isinstance(x, Apply):
                known[x] = replace(x, args=tuple([known[arg] for arg in x.args]))
        return known[root]

    def _is_away(self, value: FormValue, group: Group | None) -> bool:
        """Whether others compute a value, and do not store it."""
        away = value in self._maps and not self._is_stored(value)
        return away and self._home[value] is not group

    def _left(self, steps: Iterable[Group | WholeTask]) -> Iterator[Group | WholeTask]:
        """The steps that are left."""
        for step in steps:
            if not isinstance(step, Group):
                yield step
                continue
            needed = [*step.tasks]
            for task in reversed(step.tasks):
                if not self._is_needed(task, needed):
                    needed.remove(task)
            made = {task: self._reading(step, task) for task in needed}
            levels = {new: step.levels[old] for old, new in made.items()}
            if needed:
                yield replace(step, tasks=[*made.values()], levels=levels)

    def _is_needed(self, task: Task, others: Sequence[Task]) -> bool:
        """Whether somebody reads what a task of a group computes."""
        if self._gone.isdisjoint(task.outputs):
            return True
        return any(not other.reads().isdisjoint(task.outputs) for other in others)

    def _reading(self, group: Group, task: Task) -> Task:
        """A task that computes what others do not store, unless its own group does."""
        if not any(self._is_away(x, group) for x in task.reads()):
            return task
        elements = tuple([self._again(x, group) for x in task.elements])
        new = replace(task, elements=elements)
        new.extractor = task.extractor
        return new
