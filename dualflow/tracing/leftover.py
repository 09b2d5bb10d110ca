"""Leftover: numbers of a recording that Python has kept somewhere become plain when it is over."""

from __future__ import annotations

import gc
import sys
from collections import deque
from collections.abc import Iterable
from types import CellType, FrameType
from typing import Any

from dualflow.core.number import Number
from dualflow.tracing.guards.objects import attributes_in, slots_of

OURS = 3  # references to a number that nobody has kept: the list, the loop, the question
DEPTH = 4  # tuples within tuples


def make_plain(numbers: list[Number]) -> None:
    """Puts values in the place of numbers, in all lists, dicts, sets, closures and objects."""
    kept = []
    for x in numbers:
        if sys.getrefcount(x) > OURS:
            kept.append(x)
    for x in kept:
        replace(x, x.value, {id(numbers), id(kept)}, DEPTH)
    numbers.clear()


def replace(old: Any, new: Any, but: set[int], depth: int) -> None:
    """Puts a value in the place of another one, in all that holds it.

    Args:
        old: What is there.
        new: What shall be there.
        but: Ids of holders that stay as they are.
        depth: How many tuples may lie around it.
    """
    found = gc.get_referrers(old)
    for holder in found:
        if isinstance(holder, FrameType) or id(holder) in but:
            continue
        if type(holder) is tuple:
            if depth:
                items = tuple(in_items(holder, old, new))
                replace(holder, items, {*but, id(items), id(found)}, depth - 1)
        elif isinstance(holder, list | deque):
            for k, x in enumerate(in_items(holder, old, new)):
                holder[k] = x
        elif isinstance(holder, dict):
            in_dict(holder, old, new)
        elif isinstance(holder, set):
            holder.remove(old)
            holder.add(new)
        elif isinstance(holder, CellType):
            holder.cell_contents = new
        else:
            in_object(holder, old, new)


def in_items(holder: Iterable[Any], old: Any, new: Any) -> list[Any]:
    """The items of a holder, with the new value in the place of the old one."""
    return [new if x is old else x for x in holder]


def in_dict(holder: dict[Any, Any], old: Any, new: Any) -> None:
    """The same in a dict, which keeps its order."""
    if any(key is old for key in holder):
        items = [(new if key is old else key, x) for key, x in holder.items()]
        holder.clear()
        holder.update(items)
    for key in [key for key, x in holder.items() if x is old]:
        holder[key] = new


def in_object(holder: Any, old: Any, new: Any) -> None:
    """The same in an object with attributes."""
    if (attributes := attributes_in(holder)) is not None:
        in_dict(attributes, old, new)
    for _, slot in slots_of(type(holder)):
        try:
            found = slot.__get__(holder)
        except AttributeError:
            continue
        if found is old:
            slot.__set__(holder, new)
