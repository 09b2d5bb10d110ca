"""Folds across memory: rows that lie side by side, element by element.

What lies with channels last is folded over its places, channel by channel. A row is then an element
here and there; elements of neighbouring rows are neighbours in memory.
"""

from __future__ import annotations

from collections.abc import Iterable

from jit.dims import Extent, same
from jit.forms.contraction import Letter, step_of
from jit.forms.expression import Access, Domain, linear
from jit.forms.order import Order
from jit.forms.placement import extent_hint
from jit.forms.tasks import BlockTask, FoldTask, MapTask, Task
from jit.types import product

MANY = 1024  # rows that are threads enough


def lie_across(tasks: Iterable[Task], domain: Domain, axes: frozenset[int]) -> bool:
    """Whether many rows that are folded lie side by side in all memory that tasks go along.

    Args:
        tasks: What goes along the rows.
        domain: The loops of all.
        axes: Those that are folded.
    """
    order = Order.of(len(domain.loops), axes)
    rows = extent_hint(product([domain.extents[k] for k in order.kept]))
    if not order.inner or not order.kept or rows < MANY:
        return False
    along, beside = (letter_of(domain, k) for k in (order.inner[-1], order.kept[-1]))
    places = [place for task in tasks for place in places_of(task, domain)]
    steps = [(step_of(x, along), step_of(x, beside)) for x in places]
    moving = [(a, b) for a, b in steps if a is None or not same(a, 0)]
    return bool(moving) and all(is_across(a, b) for a, b in moving)


def is_across(along: Extent | None, beside: Extent | None) -> bool:
    """Whether neighbours in memory belong to neighbouring rows."""
    return along is not None and beside is not None and not same(along, 1) and same(beside, 1)


def letter_of(domain: Domain, number: int) -> Letter:
    """A loop of a domain."""
    name, extent = domain.loops[number]
    (at,) = [i for i in domain.indices if str(i) == name]
    return Letter(name, extent, at)


def places_of(task: Task, domain: Domain) -> list[Extent]:
    """Where a task reads and writes as it goes along the rows."""
    found = [linear(x.value.shape, x.at) for x in task.accesses() if isinstance(x, Access)]
    if isinstance(task, MapTask) and same_loops(task.domain, domain):
        found += [linear(x.shape, Domain.of(x.shape).indices) for x in task.outputs]
    return found


def same_loops(a: Domain, b: Domain) -> bool:
    """Whether two domains have the same loops."""
    return len(a.extents) == len(b.extents) and all(map(same, a.extents, b.extents))


def folds_across(task: FoldTask | BlockTask) -> bool:
    """Whether a fold by itself goes across memory."""
    return lie_across([task], task.domain, task.axes)
