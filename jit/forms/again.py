"""Computed again: what is made anew where it is read, in place of storing and loading it.

A row's elements are often stored only because a later kernel folds them over all rows: the scaled
rows that a weight's share is summed of, say. Where it reads what they are made of in their place,
that kernel makes them itself, by the same instructions: a GPU does dozens of these in the time that
an element takes to memory and back.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from jit.forms.expression import Access, Apply, Checked, Expression, walk
from jit.forms.fuse import Group
from jit.forms.nodes import FormValue
from jit.forms.placement import COSTS, size_hint
from jit.forms.tasks import MapTask, Task, WholeTask

MOST = (
    64  # additions that an element may take which columns compute: it is that of a store and loads
)
SMALL = 8  # what has so many times fewer elements than is folded counts for nothing


def cost(*roots: Expression) -> int:
    """What expressions take together, in additions."""
    return sum(COSTS.get(part.name, 1) for part in walk(*roots) if isinstance(part, Apply))


def rewritten(x: Expression, known: dict[Expression, Expression]) -> Expression:
    """An expression with others in place of some of its parts, which `known` gains more of."""
    for part in walk(x):  # inner ones first
        if part not in known:
            known[part] = _with_parts(part, known)
    return known[x]


def _with_parts(x: Expression, known: Mapping[Expression, Expression]) -> Expression:
    match x:
        case Apply():
            return Apply(x.name, tuple([known[arg] for arg in x.args]), x.dtype)
        case Checked():
            return Checked(known[x.inner], x.conditions, x.guard)
        case _:
            return x


class Columns:
    """Folds over columns that compute maps of other groups, if nobody else reads these.

    Args:
        steps: What `fuse` made.
        outputs: The values that have to be in memory at the end.
    """

    def __init__(self, steps: Sequence[Group | WholeTask], outputs: Collection[FormValue]) -> None:
        self._needed = {*outputs}
        self._maps: dict[FormValue, MapTask] = {}
        for step in steps:
            read = {x for task in tasks_of(step) for x in task.reads()}
            if not isinstance(step, Group):
                self._needed.update(read)
                continue
            own = step.values()
            maps = [(x, y) for x, y in own.items() if type(y) is MapTask and not step.is_of_rows(y)]
            self._maps.update(maps if not step.is_product else ())
            if not step.is_parts:
                self._needed.update(read.difference(own))

    def again(self, group: Group) -> Group:
        """The same columns; maps are computed if no more is read for it than of them."""
        known: dict[Expression, Expression] = {}
        tasks: list[Task] = []
        for task in group.tasks:
            elements = tuple([self._written_out(x, known) for x in task.elements])
            tasks.append(task if elements == task.elements else replace(task, elements=elements))
        every = [x for task in tasks for x in task.elements]
        more = volume(tasks) > volume(group.tasks)
        if tasks == group.tasks or more or cost(*every) > MOST:
            return group
        levels = {task: group.levels[old] for task, old in zip(tasks, group.tasks)}
        return replace(group, tasks=tasks, levels=levels)

    def _written_out(self, x: Expression, known: dict[Expression, Expression]) -> Expression:
        """An expression with the elements of maps in their place, and those of what these read."""
        for part in walk(x):
            task = self._maps.get(part.value) if isinstance(part, Access) else None
            if task is None or part in known or task.outputs[0] in self._needed:
                continue
            if part == Access(task.outputs[0], task.domain.indices, ()):
                known[part] = self._written_out(task.elements[0], known)
        return rewritten(x, known)


def with_columns_again(
    steps: Sequence[Group | WholeTask], outputs: Collection[FormValue]
) -> list[Group | WholeTask]:
    """The steps of a program, whose columns compute what would be stored only for them."""
    columns = Columns(steps, outputs)
    return [columns.again(x) if isinstance(x, Group) and x.is_parts else x for x in steps]


def tasks_of(step: Group | Task) -> Sequence[Task]:
    """The tasks of a step."""
    return step.tasks if isinstance(step, Group) else [step]


def volume(tasks: Sequence[Task]) -> int:
    """How many large values tasks read."""
    read = {x for task in tasks for x in task.reads()}
    whole = size_hint(tasks[0].domain.extents)
    return sum(SMALL * size_hint(x.shape) > whole for x in read)
