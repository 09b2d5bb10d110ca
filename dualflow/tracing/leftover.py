"""Leftover: numbers of a recording that Python has kept somewhere become plain when it is over."""

from __future__ import annotations

import gc
import sys
from collections import OrderedDict, deque
from collections.abc import Iterable
from types import CellType, FrameType
from typing import Any

from dualflow.core.number import Number
from dualflow.tracing.guards.objects import attributes_in, slots_of
from dualflow.tracing.guards.places import is_row, row_like

OURS = 3  # references to a number that nobody has kept: the list, the loop, the question
CONTAINERS = (OrderedDict, dict, list, deque)
DEPTH = 4  # tuples within tuples


def counts_of(numbers: list[Number]) -> dict[int, int]:
    """How many references there are to each number, by its id."""
    counts = {}
    for x in numbers:
        counts[id(x)] = sys.getrefcount(x)
    return counts


def make_plain(numbers: list[Number], before: dict[int, int]) -> None:
    """Puts values in the place of numbers, in all lists, dicts, sets, closures and objects.

    Args:
        numbers: Of a recording that is over.
        before: How many references there were before the user's code ran, for some of them.
    """
    kept = []
    for x in numbers:
        if sys.getrefcount(x) > before.get(id(x), OURS):
            kept.append(x)
    if kept:
        replace(kept, [x.number_value for x in kept], {id(numbers), id(kept)}, DEPTH)
    numbers.clear()


def replace(olds: list[Any], values: list[Any], but: set[int], depth: int) -> None:
    """Puts values in the place of others, in all that holds them: one look at all objects.

    Args:
        olds: What is there.
        values: What shall be there, in the same order.
        but: Ids of holders that stay as they are.
        depth: How many tuples may lie around it.
    """
    new = dict(zip(map(id, olds), values, strict=True))
    found = gc.get_referrers(*olds)
    but = {*but, id(olds), id(values), id(found)}
    tuples: list[tuple[Any, ...]] = []
    for holder in found:
        if isinstance(holder, FrameType) or id(holder) in but:
            continue
        if is_row(holder):
            tuples.append(holder)
        elif isinstance(holder, list | deque):
            for k, x in enumerate(in_items(holder, new)):
                builtin(holder).__setitem__(holder, k, x)
        elif isinstance(holder, dict):
            in_dict(holder, new)
        elif isinstance(holder, set):
            for old in [x for x in holder if id(x) in new]:
                set.remove(holder, old)
                set.add(holder, new[id(old)])
        elif isinstance(holder, CellType):
            holder.cell_contents = new[id(holder.cell_contents)]
        else:
            in_object(holder, new)
    if tuples and depth:
        values = [row_like(x, in_items(x, new)) for x in tuples]
        replace(tuples, values, but | {id(tuples)}, depth - 1)


def in_items(holder: Iterable[Any], new: dict[int, Any]) -> list[Any]:
    """The items of a holder, with the new values in the place of the old ones, known by id."""
    return [new.get(id(x), x) for x in holder]


def in_dict(holder: dict[Any, Any], new: dict[int, Any]) -> None:
    """The same in a dict, which keeps its order."""
    if any(id(key) in new for key, _ in items_of(holder)):
        refill(holder, [(new.get(id(key), key), x) for key, x in items_of(holder)])
    for key, x in [(key, x) for key, x in items_of(holder) if id(x) in new]:
        builtin(holder).__setitem__(holder, key, new[id(x)])


def items_of(holder: dict[Any, Any]) -> list[tuple[Any, Any]]:
    """The items of a dict in its order, whatever its class has in the place of `items`."""
    return [*builtin(holder).items(holder)]


def refill(holder: dict[Any, Any], items: Iterable[tuple[Any, Any]]) -> None:
    """Gives a dict other items. A class of the user's may have other methods, for its own use."""
    kind = builtin(holder)
    kind.clear(holder)
    for key, x in items:
        kind.__setitem__(holder, key, x)


def builtin(holder: Any) -> Any:
    """The class of Python's own that a container is of, or inherits from."""
    return next(kind for kind in CONTAINERS if isinstance(holder, kind))


def in_object(holder: Any, new: dict[int, Any]) -> None:
    """The same in an object with attributes."""
    if (attributes := attributes_in(holder)) is not None:
        in_dict(attributes, new)
    for _, slot in slots_of(type(holder)):
        try:
            found = slot.__get__(holder)
        except AttributeError:
            continue
        if id(found) in new:
            slot.__set__(holder, new[id(found)])
