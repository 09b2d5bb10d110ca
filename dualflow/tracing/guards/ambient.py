"""Ambient: how the interpreter is set, where results depend on it that no code names."""

from __future__ import annotations

import abc
import sys
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any

from dualflow.tracing.guards import policy

if TYPE_CHECKING:
    from dualflow.tracing.guards.check import Origin
    from dualflow.tracing.guards.follow import Follower

DECIMAL = ("decimal", "_decimal")


class Ambient:
    """What a recording relies on in settings of the interpreter; each is asked for once.

    Args:
        follower: Gets the guards.
    """

    def __init__(self, follower: Follower) -> None:
        self._follower = follower
        self._done: set[str] = set()

    def note_class(self, cls: type, place: str, origin: Origin) -> None:
        """Others may be registered for an abstract class of the user's, as `isinstance` sees."""
        if getattr(cls, "_is_protocol", False):
            members = {*vars(cls), *vars(cls).get("__annotations__", ())}
            self._follower.read_too({name for name in members if name[0] != "_"})
        if isinstance(cls, abc.ABCMeta) and policy.is_users(cls.__module__):
            what = f"what is registered for {place} and other abstract classes"
            self._rely_on(abc.get_cache_token, what, origin)

    def note(self, module: str, origin: Origin) -> None:
        """Something of this module is around: decimal numbers are rounded as their context says."""
        if module in DECIMAL:
            self._rely_on(decimal_context, "the context of decimal numbers", origin)

    def _rely_on(self, setting: Callable[[], Hashable], place: str, origin: Origin) -> None:
        if setting.__name__ in self._done:
            return
        self._done.add(setting.__name__)
        read, now = self._follower.constant(setting), self._follower.constant(setting())
        self._follower.test(f"{read}() != {now}", place, origin)


def decimal_context() -> Hashable:
    """All that decides what decimal numbers become, in this thread."""
    context: Any = sys.modules["decimal"].getcontext()
    traps = tuple(kind for kind, trapped in context.traps.items() if trapped)
    limits = context.Emin, context.Emax, context.capitals, context.clamp
    return context.prec, context.rounding, limits, traps
