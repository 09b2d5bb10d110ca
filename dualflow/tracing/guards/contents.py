"""Contents: the items of containers as guards."""

from __future__ import annotations

import types
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from dualflow.tracing.guards.check import LENIENT, Origin
from dualflow.tracing.guards.places import Contents, Item

if TYPE_CHECKING:
    from dualflow.tracing.guards.follow import Follower

CONTAINERS = (tuple, list, dict, set, frozenset, deque, types.MappingProxyType)
MOST_ITEMS = 5000
UNROLLED = 16  # items of a container that are compared one by one, which is quicker
WRITABLE = (list, dict, defaultdict, Counter, OrderedDict)
MOST_PLANTED = 256  # items of a container some of which differ from call to call


def follow(follower: Follower, value: Any, place: str, origin: Origin) -> None:
    """Guards the items of a container, in order, and follows what is inside of them."""
    if isinstance(value, list | deque | dict | set):
        follower.containers.append(value)
    if len(value) > MOST_ITEMS and not isinstance(value, tuple | frozenset):
        what = f"{place} has {len(value)} items, too many to compare at each call"
        if type(value) is not list:
            follower.refuse_value(what, origin)
            return
        follower.long[id(value)] = (what, origin)
        k = follower.constant(value)
        test = f"len({k}) != {len(value)}"
        seen = follower.constant([*value])
        follower.test(test, place, origin, f"[*{k}]", seen, id(value), Contents(value))
        return
    if isinstance(value, dict | types.MappingProxyType):
        _dict(follower, value, place, origin)
        return
    if not isinstance(value, tuple | frozenset):
        k, items = follower.constant(value), tuple(value)
        differ = _differing(follower, value, enumerate(items), place, origin)
        if isinstance(value, list | deque) and (differ or len(items) <= UNROLLED):
            changed = [
                _item(follower, f"{k}[{n}]", x) for n, x in enumerate(items) if n not in differ
            ]
        else:
            changed = [_items(follower, k, items)] if items else []
        test = " or ".join([f"len({k}) != {len(items)}", *changed])
        follower.test(
            test, place, origin, f"[*{k}]", follower.constant([*items]), id(value), where(value)
        )
    for number, x in enumerate(value):
        if isinstance(value, set | frozenset):
            follower.key(x)
        follower.item(x, f"{place}[{number}]", origin)


def where(value: Any) -> Contents | None:
    """The items of a container that can be put back."""
    return Contents(value) if type(value) in (*WRITABLE, set) else None


def _differing(
    follower: Follower, value: Any, items: Iterable[tuple[Any, Any]], place: str, origin: Origin
) -> set[Any]:
    """The names of items that differ from call to call, whose kinds are guarded."""
    if type(value) not in WRITABLE or len(value) > MOST_PLANTED:
        return set()
    k = follower.constant(value)
    return {
        name
        for name, x in items
        if isinstance(name, str | int)
        and follower.differs(f"{k}[{name!r}]", x, f"{place}[{name!r}]", origin, Item(value, name))
    }


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
    before = {**value}
    differ = _differing(follower, value, before.items(), place, origin)
    exact = type(value).__module__ in ("builtins", "collections")
    keys, items = (k, f"{k}.values()") if exact else (f"keys({k})", f"values({k})")
    if differ or (
        value and exact and len(value) <= UNROLLED and all(type(x) is str for x in value)
    ):
        test += f" or [*{k}] != {follower.constant([*value])}"
        test += "".join(
            f" or {_item(follower, f'{k}[{n!r}]', x)}" for n, x in before.items() if n not in differ
        )
    elif value:
        test += f" or {_items(follower, keys, (*value,))}"
        test += f" or {_items(follower, items, (*value.values(),))}"
    follower.test(
        test, place, origin, f"{{**{k}}}", follower.constant(before), id(value), where(value)
    )
    for key, x in value.items():
        follower.key(key)
        follower.item(key, f"a key of {place}", origin)
        where_ = f"{place}[{key!r}]" if isinstance(key, str | int) else place
        follower.item(x, where_, origin, (id(value), key))
