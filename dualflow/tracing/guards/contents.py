"""Contents: the items of containers as guards."""

from __future__ import annotations

import types
from collections import deque
from typing import TYPE_CHECKING, Any

from dualflow.tracing.guards.check import LENIENT, Origin

if TYPE_CHECKING:
    from dualflow.tracing.guards.follow import Follower

CONTAINERS = (tuple, list, dict, set, frozenset, deque, types.MappingProxyType)
MOST_ITEMS = 5000
UNROLLED = 16  # items of a container that are compared one by one, which is quicker


def follow(follower: Follower, value: Any, place: str, origin: Origin) -> None:
    """Guards the items of a container, in order, and follows what is inside of them."""
    if len(value) > MOST_ITEMS and not isinstance(value, tuple | frozenset):
        what = f"{place} has {len(value)} items, too many to compare at each call"
        follower.refuse_value(what, origin)
        return
    if isinstance(value, dict | types.MappingProxyType):
        _dict(follower, value, place, origin)
        return
    if not isinstance(value, tuple | frozenset):
        k, items = follower.constant(value), tuple(value)
        if isinstance(value, list | deque) and len(items) <= UNROLLED:
            changed = [_item(follower, f"{k}[{n}]", x) for n, x in enumerate(items)]
        else:
            changed = [_items(follower, k, items)] if items else []
        test = " or ".join([f"len({k}) != {len(items)}", *changed])
        follower.test(test, place, origin, f"[*{k}]", follower.constant([*items]), id(value))
    for number, x in enumerate(value):
        follower.item(x, f"{place}[{number}]", origin)


def _item(follower: Follower, read: str, value: Any) -> str:
    """The expression that is true when one item is another."""
    k = follower.constant(value)
    same = f"{read} is not {k}"
    return f"{same} and differs({read}, {k})" if isinstance(value, LENIENT) else same


def _items(follower: Follower, read: str, items: tuple[Any, ...]) -> str:
    """The expression that is true when one of many items is another."""
    seen = follower.constant(items)
    return f"any(map(is_not, {read}, {seen})) and items_differ({read}, {seen})"


def _dict(follower: Follower, value: Any, place: str, origin: Origin) -> None:
    k, test = follower.constant(value), f"len({follower.constant(value)}) != {len(value)}"
    exact = type(value).__module__ in ("builtins", "collections")
    keys, items = (k, f"{k}.values()") if exact else (f"keys({k})", f"values({k})")
    if value and exact and len(value) <= UNROLLED and all(type(x) is str for x in value):
        test += f" or [*{k}] != {follower.constant([*value])}"
        test += "".join(f" or {_item(follower, f'{k}[{n!r}]', x)}" for n, x in value.items())
    elif value:
        test += f" or {_items(follower, keys, (*value,))}"
        test += f" or {_items(follower, items, (*value.values(),))}"
    follower.test(test, place, origin, f"{{**{k}}}", follower.constant({**value}), id(value))
    for key, x in value.items():
        follower.item(x, f"{place}[{key!r}]" if isinstance(key, str | int) else place, origin)
