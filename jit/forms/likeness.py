"""Likeness: what two groups have in common that are computed by one kernel.

The steps of an unrolled loop, and the blocks of a deep net, differ in nothing but where their
values lie. Their *likeness* is equal: the tasks in words that name values by the order in which
they are met, and slices without their offsets. A kernel is then written once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Sequence
from typing import Any

from jit.forms.expression import (
    Access,
    Apply,
    Checked,
    Coordinate,
    Expression,
    Inside,
    Number,
    extents_of,
    linear,
    loads_of,
    parted,
    walk,
)
from jit.forms.fuse import Group
from jit.forms.nodes import Contract, FormValue
from jit.forms.tasks import ProductTask, Task


class Likeness:
    """A group in words.

    Args:
        group: Of tasks that load from no index tables.
        stored: The values that somebody outside of the group needs.
        base: The value that owns a value's memory.

    Attributes:
        words: Equal for groups that are alike.
        values: Owners of memory, in the order in which they are met.
        offsets: Of slices, likewise.
    """

    def __init__(
        self,
        group: Group,
        stored: Collection[FormValue],
        base: Callable[[FormValue], FormValue],
    ) -> None:
        self.values: dict[FormValue, int] = {}
        self.offsets: dict[int, int] = {}
        self._base = base
        self._own = group.values()
        self._numbers: dict[FormValue, int] = {}
        self._parts: dict[Expression, int] = {}
        self._written: list[Hashable] = [
            group.extents,
            group.folded,
            group.is_product,
            group.is_split,
            group.parts,
        ]
        for task in group.tasks:
            self._task(task, group.levels.get(task), stored)
        self.words = tuple(self._written)

    def _task(self, task: Task, level: int | None, stored: Collection[FormValue]) -> None:
        outputs = [(self._value(x), x in stored) for x in task.outputs]
        elements = [self._expression(x) for x in task.elements]
        combiner = getattr(task, "combiner", None)
        self._written += (
            type(task),
            level,
            task.domain,
            tuple(outputs),
            tuple(elements),
            combiner,
            getattr(task, "axes", None),
            getattr(task, "of_blocks", None),
            getattr(task, "places", None),
        )
        if isinstance(task, ProductTask):
            form = task.contraction.form
            assert isinstance(form, Contract)
            types = tuple([x.type for x in form.inputs]), form.types
            self._written += (form.spec, form.apart, *types, task.contraction.units)

    def _value(self, x: FormValue) -> int:
        """The number of a value; what it is, when it is met for the first time."""
        number = self._numbers.get(x)
        if number is None:
            number = self._numbers[x] = len(self._numbers)
            owner = self._base(x)
            place = self.values.setdefault(owner, len(self.values))
            self._written += (x.type, place, owner.dtype, x in self._own)
        return number

    def _expression(self, root: Expression) -> int:
        for x in walk(root):
            if x not in self._parts:
                self._written.append(self._word(x))
                self._parts[x] = len(self._parts)
        return self._parts[root]

    def _word(self, x: Expression) -> Hashable:
        match x:
            case Number(value=value, dtype=dtype):
                return "number", repr(value), dtype
            case Apply(name=name, args=args, dtype=dtype):
                return name, tuple([self._parts[arg] for arg in args]), dtype
            case Access(value=value, at=at, guard=guard):
                number = self._value(value)
                if value in self._own:
                    return "own", number, at, guard
                offset, place = parted(linear(value.shape, at))
                moved = self.offsets.setdefault(offset, len(self.offsets)) if offset else None
                return "element", number, moved, place, guard
            case Inside(conditions=conditions):  # without loads they have no guard
                return "inside", conditions
            case Coordinate(at=at, dtype=dtype):
                return "coordinate", at, dtype
            case _:
                raise TypeError(x)


def likeness(
    group: Group, stored: Collection[FormValue], base: Callable[[FormValue], FormValue]
) -> Likeness | None:
    """The likeness of a group; None where index tables decide what it reads."""
    elements: Sequence[Any] = [x for task in group.tasks for x in task.elements]
    every = list(walk(*elements))
    if any(isinstance(x, Checked) for x in every):
        return None
    if loads_of(*[extent for x in every for extent in extents_of(x)]):
        return None
    return Likeness(group, stored, base)
