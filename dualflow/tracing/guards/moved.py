"""Moved: what of Python's state the code of a recording has changed so far.

Two states of a program are alike only if this is, too. Whatever code changes it can name, and what
it can name was taken down before it ran: so it is enough to look at the guards.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from dualflow.tracing.guards import places
from dualflow.tracing.guards.check import Check, Guard
from dualflow.tracing.guards.effects import Effects
from dualflow.tracing.guards.follow import Counting, Follower
from dualflow.tracing.guards.objects import set_unseen
from dualflow.tracing.guards.places import Contents, Key, Place, Untold

GROWN = "grown"  # instead of the items of a list that was only appended to


class Moved:
    """The changes of one recording.

    Args:
        follower: Has the guards.
        effects: Knows which methods were called.
        settings: Looks at objects that count their changes.
        is_local: Tells ids of objects that the call has made.

    Attributes:
        grown: Lists that were appended to, by id; nothing but that may happen to them.
    """

    def __init__(
        self,
        follower: Follower,
        effects: Effects,
        settings: Counting,
        is_local: Callable[[int], bool],
    ) -> None:
        self.grown: dict[int, list[Any]] = {}
        self._follower = follower
        self._effects = effects
        self._settings = settings
        self._is_local = is_local
        self._checks: list[Check] = []
        self._known = 0

    def found(self, read: Collection[int]) -> list[tuple[Key, Any]]:
        """Where things are not as they were, and what is there now, in an order of its own.

        Args:
            read: Ids of lists that are not only appended to.

        Raises:
            Untold: Nobody can say what has changed.
        """
        self._look_at_new_guards()
        changes = dict(self._settings.moved())
        for check in self._checks:
            if check.missed() >= 0:
                for guard, before in check.missing():
                    key, value = self._change(guard, before, read)
                    changes[key] = value
        for attributes in [*self._follower.objects.values()]:
            changes.update(attributes.appeared())
        if self._arrays_differ():
            raise Untold
        return sorted(changes.items(), key=lambda change: tuple(map(str, change[0])))

    def can_be_undone(self) -> bool:
        """Whether all that is not as it was lies in places that can be written again."""
        self._look_at_new_guards()
        try:
            changed = any(True for _ in self._settings.moved())
        except Untold:
            return False
        appeared = any(True for x in [*self._follower.objects.values()] for _ in x.appeared())
        if changed or appeared or self._arrays_differ():
            return False
        checks = [check for check in self._checks if check.missed() >= 0]
        return all(guard.where is not None for check in checks for guard, _ in check.missing())

    def may_be_own(self, where: Place | Contents) -> bool:
        """Whether code of the call can have written what is there, and not only another thread."""
        if isinstance(where, Contents):
            return self._effects.may_store("", id(where.holder), item=True)
        follower, holder = self._follower, where.key[0]
        guard = next((guard for guard in follower.guards if guard.where is where), None)
        known = "" if guard is None or guard.origin is None else guard.origin.name
        name = getattr(where, "name", known)
        item = holder in follower.ways or not isinstance(name, str)
        own = self._effects.may_store(str(name), holder, item=item)
        return own or (not item and set_unseen(follower.hidden, name))

    def _look_at_new_guards(self) -> None:
        new = self._follower.guards[self._known :]
        self._known += len(new)
        new = [g for g in new if g.owner is None or not self._is_local(g.owner)]
        if new:
            constants = self._follower.constants
            names = {name for guard in new for name in guard.constants()}
            self._checks.append(Check(new, {name: constants[name] for name in names}))

    def _change(self, guard: Guard, before: Any, read: Collection[int]) -> tuple[Key, Any]:
        where = guard.where
        if where is None:
            raise Untold
        if not isinstance(where, Contents):
            return where.key, places.now(where)
        holder, key = where.holder, ("items", id(where.holder))
        if isinstance(holder, dict):
            return key, tuple(holder.items())
        if isinstance(holder, set):
            return key, frozenset(holder)
        new = holder[len(before) :]
        same = len(holder) > len(before) and all(map(lambda a, b: a is b, holder, before))
        same = same and type(holder) is list and id(holder) not in read
        if same and self._effects.grew(holder, len(new)):
            self.grown[id(holder)] = holder
            return key, GROWN
        return key, tuple(holder)

    def _arrays_differ(self) -> bool:
        """Whether the items of an array that is small enough to compare are others."""
        known = self._follower.arrays.values()
        return any(x.tobytes() != was for x, _, _, was in known if was is not None)
