"""States: Python's own values that differ from call to call, as inputs and outputs of a recording.

A counter in an attribute, the last loss in a global: once such a value was seen to change, the next
recording puts a stand-in into its place, a Number or a tensor of the graph, so that it sees what
becomes of it. When the call is over the place holds a plain value again. Each later call reads the
place, and writes what the recording has left there.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import field
from functools import partial
from operator import is_
from types import CodeType
from typing import TYPE_CHECKING, Any

from dualflow.core import tree
from dualflow.core.number import KINDS, is_number, refuses
from dualflow.core.tensor import Tensor
from dualflow.tracing.cells import StateCell
from dualflow.tracing.guards import places
from dualflow.tracing.guards.bytecode import names_of
from dualflow.tracing.guards.check import Check, Guard
from dualflow.tracing.guards.places import Key, Place
from dualflow.tracing.guards.reach import Reach
from dualflow.tracing.leaves import Read
from dualflow.tracing.ledger import replayable
from dualflow.tracing.settings import Settings
from jit.dataclass import dataclass

if TYPE_CHECKING:
    from dualflow.tracing.trace import Trace

NUMBERS = (int, float)


@dataclass
class Volatile:
    """What is known of the state of a function from its recordings so far.

    Attributes:
        places: Those that were seen to change.
        numbers: Whether numbers may have stand-ins: no code asks for their type.
        constants: What was left in some places while other threads were alive.
        locked: Places that were changed by a call that had a lock. They get no stand-ins, which
            would be taken away again without it.
    """

    places: set[Key] = field(default_factory=set)
    numbers: bool = True
    constants: dict[Key, Any] = field(default_factory=dict)
    locked: set[Key] = field(default_factory=set)

    def ran(self, codes: Iterable[CodeType]) -> None:
        """Code of a recording."""
        if any(names_of(code).types for code in codes):
            self.numbers = False


class Planted:
    """A stand-in in its place.

    Args:
        place: Where it is.
        label: What people call it.
        value: What was there.
        stand_in: It.
    """

    def __init__(self, place: Place, label: str, value: Any, stand_in: Any) -> None:
        self.place = place
        self.label = label
        self.value = value
        self.stand_in = stand_in
        self.left: Any = stand_in


class States:
    """The stand-ins of one recording.

    Args:
        volatile: Which places want one.
        trace: The recording.

    Attributes:
        learned: Whether it came out that more places want one.
        writes: Whether the call's own code writes places, and later calls do.
    """

    def __init__(self, volatile: Volatile, trace: Trace) -> None:
        self._volatile = volatile
        self._trace = trace
        self.learned = self.writes = False
        self._over = False
        self._planted: dict[Key, Planted] = {}

    @property
    def any(self) -> bool:
        """Whether there are some."""
        return bool(self._planted)

    def plant(self, place: Place, value: Any, label: str) -> Any:
        """Puts a stand-in where a value is that differs from call to call.

        Args:
            place: Where it is.
            value: What is there now.
            label: What people call it.

        Returns:
            The kind of values that may come later; None if there is no stand-in.
        """
        volatile, key = self._volatile, place.key
        if self._over or key not in volatile.places or key in volatile.locked:
            return None
        if (known := self._planted.get(key)) is not None:
            return places.kind(known.value)
        if value is None or not self._varies(value):
            return None
        stand_in = self._stand_in(place, value, label)
        if not place.swap(value, stand_in):
            return None  # another thread has put another one there: no guard on this one will hold
        self._planted[key] = Planted(place, label, value, stand_in)
        return places.kind(value)

    def _varies(self, value: Any) -> bool:
        """Whether there are stand-ins for a value, and for all that is in it."""
        if type(value) in NUMBERS:
            return self._volatile.numbers
        if value.__class__ is Tensor:
            return value.raw is not None
        return value is None or (places.is_row(value) and all(map(self._varies, value)))

    def _stand_in(self, place: Place, value: Any, label: str) -> Any:
        """What stands for a value: for a tuple one of what stands for its items."""
        if value is None:
            return None
        if type(value) in NUMBERS:
            return self._trace.scalars.state(value, place.read, label)
        if value.__class__ is Tensor:
            return self._tensor(place, value)
        items = [
            self._stand_in(places.Part(place, k), x, f"{label}[{k}]") for k, x in enumerate(value)
        ]
        stand_in = places.row_like(value, items)
        self._trace.stand_ins.add(stand_in, value, Read(place.read))
        return stand_in

    def now(self) -> list[tuple[Key, bool, Any]]:
        """The places: whether the stand-in is still there, and what is there now."""
        found = []
        for planted in self._planted.values():
            now = places.now(planted.place)
            same = now is planted.stand_in
            items = [*now] if same and places.is_row(now) else now  # it is another one in each call
            found.append((planted.place.key, same, items))
        return found

    def _tensor(self, place: Place, tensor: Tensor) -> Tensor:
        """What stands for a tensor: an input of the graph."""
        value = self._trace.input(tensor, None, StateCell(place, tensor))
        stand_in = Tensor(tensor.raw, self._trace.symbol(value), tensor.record)
        self._trace.stand_ins.add(stand_in, tensor, Read(place.read))
        return stand_in

    # ----- when the call is over -----

    def lift(self) -> None:
        """Makes all places plain again; what the call has left there is remembered."""
        if self._over:
            return
        self._over = True
        for planted in self._planted.values():
            if planted.place.swap(planted.stand_in, planted.value):
                both = zip(
                    places.inside(planted.value), places.inside(planted.stand_in), strict=True
                )
                for own, stand_in in both:
                    if isinstance(own, Tensor):  # a tape may have been told to watch it
                        own.record = own.record or stand_in.record
                continue
            left = planted.left = places.now(planted.place)
            if left is not places.MISSING and not places.is_row(left):
                planted.place.swap(left, self._plain(left))  # tuples others may have: Handback

    def restore(self) -> None:
        """Puts back what was there before the call."""
        self._over = True
        for planted in self._planted.values():
            planted.place.write(planted.value)

    def _plain(self, value: Any) -> Any:
        """A value without what belongs to the recording."""
        leaves, spec = tree.flatten(value)
        plain = list(map(self._trace.stand_ins.original, leaves))
        if all(map(is_, plain, leaves)):
            return value  # it is the object that others may hold too
        return tree.unflatten(spec, plain)

    def close(self) -> None:
        """The recording is over: nothing of it is kept, and no number of it stays anywhere."""
        self._planted.clear()
        self._trace.ledger.effects.clear()
        self._trace.scalars.close()

    def may_cause(self, error: Exception) -> str | None:
        """Whether an error may be there because a number of the state is no plain one."""
        numbers = any(is_number(planted.stand_in) for planted in self._planted.values())
        if not numbers or not refuses(error):
            return None
        self._volatile.numbers = False
        return "state"

    # ----- what later calls write -----

    def news(self, settings: Settings, check: Check | None, reach: Reach) -> str | None:
        """What makes the next call another than this one; None if later calls can do it all.

        Args:
            settings: What the recording relies on in dualflow's own objects.
            check: The guards, some of which may not hold after the call.
            reach: Knows which code has changed what.
        """
        self._volatile.ran(reach.effects.codes)
        settings.finish()
        self._learn(settings.places())
        if changed := settings.changed():
            return f"sets {changed}"
        missing = [] if check is None or check.missed() < 0 else check.missing()
        changed = self._of_changes(missing, reach) or self._of_others(settings, check, reach)
        return changed or self._writes(reach) or self._grow(reach)

    def _of_others(self, settings: Settings, check: Check | None, reach: Reach) -> str | None:
        """Notes what other threads have changed and put right again, in words.

        What the call has read in between may have been another value.
        """
        if check is None:
            return None
        own = reach.moved.may_be_own
        for guard, keys in check.exchanged():
            where = guard.where
            if where is not None and not self._planted.keys() >= {*keys} and not own(where):
                self._saw_change([(guard, keys)], reach)
                return reach.told(guard)
        for place, told in settings.exchanged():
            if not own(place):
                self._learn([place.key])
                return f"sets {told}"
        return None

    def _of_changes(self, missing: Sequence[tuple[Guard, Any]], reach: Reach) -> str | None:
        """Notes what guards found changed; what later calls cannot change as well, in words."""
        for guard, before in missing:
            if not self._is_known(guard, before) and not self._repeats(guard, reach):
                unknown = [g for g, seen in missing if not self._is_known(g, seen)]
                self._saw_change([(g, places.changed(g.where, seen)) for g, seen in missing], reach)
                return reach.told(unknown[0])
        return None

    def _saw_change(self, changes: list[tuple[Guard, list[Key]]], reach: Reach) -> None:
        """Learns of places; those which a call with a lock keeps changing are written by it."""
        for guard, keys in changes:
            if reach.locks and reach.effects.line(guard) is not None:
                self.writes = self.writes or not self._volatile.locked.isdisjoint(keys)
                self._volatile.locked.update(keys)
            self._learn(keys)

    def _learn(self, keys: Iterable[Key]) -> None:
        self.learned = self.learned or not self._volatile.places.issuperset(keys)
        self._volatile.places.update(keys)

    def _is_known(self, guard: Guard, before: Any) -> bool:
        """Whether all that a guard is about has stand-ins."""
        keys = places.changed(guard.where, before)
        return bool(keys) and all(key in self._planted for key in keys)

    def _repeats(self, guard: Guard, reach: Reach) -> bool:
        """Notes a write to a place that later calls must find as this one; whether there is one."""
        place = guard.where
        if place is None or isinstance(place, places.Contents) or reach.equals():
            return False
        value = places.now(place)
        if place.key not in self._volatile.places or not lasting(value):
            return False
        if type(value) in NUMBERS:  # there may be any number of them
            return False
        if reach.effects.line(guard) is None:  # somebody else changed it
            return False
        told, self.writes = f"sets {guard.place}", True
        plain = self._trace.ledger.note(place.write, value, told, keeps=True)
        if type(value) in KINDS:
            place.write(plain)
        return True

    def _writes(self, reach: Reach) -> str | None:
        """Notes what was left in the places; what cannot be written again, in words."""
        written = [p for p in self._planted.values() if p.left is not p.stand_in]
        for planted in written:
            new = lasting(planted.left) or is_new(planted.left, reach)
            if not new or reach.equals():  # the next call may be about another
                return f"changes {planted.label}"
            if not self._is_sure(planted, reach):
                return f"changes {planted.label}"
            act, told = planted.place.write, f"sets {planted.label}"
            self.writes = True
            self._trace.ledger.note(act, planted.left, told, keeps=True)
        return None

    def _is_sure(self, planted: Planted, reach: Reach) -> bool:
        """Whether what was left is the call's; a constant may come from another thread, once."""
        left, key = planted.left, planted.place.key
        if not reach.moved.may_be_own(planted.place):
            return False
        varies = any(type(x) in KINDS or isinstance(x, Tensor) for x in places.inside(left))
        if varies or threading.active_count() == 1:
            return True
        seen = self._volatile.constants.get(key, places.MISSING)
        self._volatile.constants[key] = left
        return type(seen) is type(left) and repr(seen) == repr(left)

    def _grow(self, reach: Reach) -> str | None:
        """Notes what was appended to lists; what cannot be appended again, in words."""
        crossings = self._trace.crossings
        alone = crossings is not None and bool(crossings.found)  # stretches share no containers
        fresh = partial(reach.fresh, alone=alone)
        for guard, before in reach.grown:
            holder = guard.where.holder  # type: ignore[union-attr]
            items = holder[len(before) :] if type(holder) is list else [*holder.difference(before)]
            if not items:
                continue
            known = reach.grew(holder, len(items)) and not reach.equals()
            if not known or not replayable(items) or not all(map(fresh, items)):
                return reach.told(guard)
            if type(holder) is set:
                told = f"adds to {guard.place}"
                self._trace.ledger.note(holder.update, items, told, keeps=True)
                continue
            told, start = f"appends to {guard.place}", len(before)
            for crossing, count in self._growth(holder, len(items)):
                new = holder[start : start + count]
                self._trace.ledger.note(holder.extend, new, told, keeps=True, crossing=crossing)
                start += count
        return None

    def _growth(self, holder: list[Any], total: int) -> Iterator[tuple[int, int]]:
        """How many items a list has got after so many crossings."""
        crossings = self._trace.crossings
        counts = [x.grown.get(id(holder), 0) for x in crossings.found] if crossings else []
        done = 0
        for crossing, count in enumerate([*counts, total]):
            if count > done:
                yield crossing, count - done
                done = count


def lasting(value: Any) -> bool:
    """Whether a later call can make a value anew: it is no container that others may hold."""
    return value is not places.MISSING and tree.flatten(value)[1].is_leaf() and replayable(value)


def is_new(value: Any, reach: Reach) -> bool:
    """Whether a later call can make a tuple anew, as nobody else has it or one that is in it."""
    rows = [x for x in places.inside(value) if not tree.is_leaf(x)]
    return all(map(places.is_row, rows)) and replayable(value) and reach.fresh(value)
