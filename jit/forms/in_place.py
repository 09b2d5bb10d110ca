"""In place: which values that a group reads may lose their memory to those that it writes."""

from __future__ import annotations

from collections.abc import Container, Sequence

from jit.dims import Extent, same
from jit.forms.expression import Access, Domain, linear
from jit.forms.fuse import Group
from jit.forms.nodes import FormValue
from jit.forms.tasks import MapTask, Task


def in_place(group: Group, outside: Container[FormValue]) -> list[tuple[FormValue, FormValue]]:
    """Pairs (read, written) where every element is read only to write the same one.

    A task reads before it stores, and no later one loads what was there before.

    Args:
        group: What reads and writes.
        outside: The values that somebody needs outside of it.
    """
    if group.folded or group.parts > 1:
        return []
    maps = [task for task in group.tasks if type(task) is MapTask]
    apart = {x for task in group.tasks if task not in maps for x in task.reads()}
    apart |= group.values().keys()
    reads: dict[FormValue, list[Access]] = {}
    for access in [access for task in maps for access in task.accesses()]:
        reads.setdefault(access.value, []).append(access)
    places: dict[FormValue, Extent | None] = {}
    pairs: list[tuple[FormValue, FormValue]] = []
    last = last_loads(maps)
    for number, task in enumerate(maps):
        (value,) = task.outputs
        if value not in outside:
            continue
        own = linear(value.shape, Domain.of(value.shape).indices)
        for x in task.reads():
            if x in apart or x.dtype != value.dtype or last[x] > number:
                continue
            if x not in places:
                places[x] = common_place(reads[x])
            place = places[x]
            if place is not None and same(place, own):
                pairs.append((x, value))
    return pairs


def last_loads(tasks: Sequence[Task]) -> dict[FormValue, int]:
    """The number of the last task that loads elements of a value.

    The same element under the same guard is at hand after it was loaded once. Index tables are
    loaded where they are needed, under the guards that hold there.
    """
    last: dict[FormValue, int] = {}
    at_hand: set[Access] = set()
    for number, task in enumerate(tasks):
        loaded = task.looked_up() | (task.read_directly() - at_hand)
        last.update((access.value, number) for access in loaded)
        at_hand |= task.read_directly()
    return last


def common_place(accesses: Sequence[Access]) -> Extent | None:
    """The one place in memory that all of these read, in their loops; None if they differ."""
    first, *others = (linear(x.value.shape, x.at) for x in accesses)
    return first if all(same(first, other) for other in others) else None
