"""Equals: arguments that count as the same because they say so, and what was read of them.

Guards look at the object that a call was recorded with. A call with another object that equals it
may follow the recording if the attributes that were read are the same, whatever `==` compares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dualflow.tracing.guards.check import MISSING, differs


class Equals:
    """The arguments of a recorded call that may come as other, equal objects.

    Args:
        arguments: (number among the leaves of the arguments, object).
        read: The attributes that were read of objects, by their ids.
    """

    def __init__(
        self, arguments: Sequence[tuple[int, Any]], read: Mapping[int, Mapping[str, Any]]
    ) -> None:
        self._arguments = arguments
        self._read = read

    def __bool__(self) -> bool:
        return bool(self._arguments)

    def other(self, leaves: Sequence[Any]) -> str | None:
        """What is another in the arguments of a call, in words; None if nothing is."""
        for number, then in self._arguments:
            if (what := self._other(leaves[number], then, type(then).__name__)) is not None:
                return what
        return None

    def _other(self, now: Any, then: Any, place: str) -> str | None:
        if not differs(now, then):
            return None
        if type(now) is not type(then) or id(then) not in self._read or not by_value(then):
            return place
        for name, value in self._read[id(then)].items():
            what = self._other(getattr(now, name, MISSING), value, f"{place}.{name}")
            if what is not None:
                return what
        return None


def by_value(thing: Any) -> bool:
    """Whether an object says itself what it equals, and may be a key."""
    cls = type(thing)
    return cls.__eq__ is not object.__eq__ and cls.__hash__ is not None
