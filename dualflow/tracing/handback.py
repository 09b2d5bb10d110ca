"""Handback: what Python has kept of a recorded call becomes the caller's own.

While a call is recorded, the caller's tensors have stand-ins, and its lists and dicts copies. Code
may leave these anywhere: in what was there before, which guards look after, and in what it has
made. When the call is over each one gives way to what it stands for. Lists and objects of the call
are changed and not copied, as they may be in several places.
"""

from __future__ import annotations

import types
from collections import deque
from collections.abc import Callable, Iterable
from contextvars import Context, copy_context
from functools import partial
from operator import is_
from typing import Any

from dualflow.core.number import KINDS, plain
from dualflow.tracing.guards import places, policy
from dualflow.tracing.guards.objects import attributes_in, slots_of
from dualflow.tracing.guards.places import MISSING, Closure, Contents, Place, Slot
from dualflow.tracing.joins import frames
from dualflow.tracing.joins.iterators import OVER_SEQUENCES
from dualflow.tracing.leftover import items_of, refill

SIMPLE = frozenset((int, float, complex, bool, str, bytes, type(None)))
FIXED = (tuple, frozenset, types.MethodType)
FILLED = (list, deque, dict, set)
GENERATORS = (types.GeneratorType, types.CoroutineType)
HOLDING = (*FILLED, *GENERATORS, types.FunctionType, partial, BaseException)
PASSING = (*OVER_SEQUENCES, enumerate, zip, map, filter)  # iterators that can be made anew


class Handback:
    """Puts the caller's own things where others stand for them.

    Args:
        own: Gives what Python has without the recording in the place of a thing, or the thing.
        existed: Whether a thing was there before the call, so that its places are known.
    """

    def __init__(self, own: Callable[[Any], Any], existed: Callable[[Any], bool]) -> None:
        self._own = own
        self._existed = existed
        self._seen: dict[int, tuple[Any, Any]] = {}  # with what each becomes, by id
        self._waiting: list[Any] = []

    def of(self, x: Any) -> Any:
        """What a thing is without the recording; what it holds is put right."""
        found = self._of(x)
        while self._waiting:
            self._inside(self._waiting.pop())
        return found

    def all(self, where: Iterable[Place | Contents]) -> None:
        """Puts places right, and all that some lists, dicts and sets hold."""
        for place in where:
            if isinstance(place, Contents):
                self._inside(place.holder)
            else:
                self._at(place)
        self.of(None)

    def variables(self, before: Context) -> None:
        """Puts right the variables of the context that the call has set.

        Args:
            before: The context as it was then.
        """
        for variable, now in copy_context().items():
            if before.get(variable, MISSING) is not now and (own := self.of(now)) is not now:
                variable.set(own)

    def _at(self, place: Place) -> None:
        now = places.now(place)
        if (own := self._of(now)) is not now:
            place.swap(now, own)  # another thread may write there meanwhile

    def _of(self, x: Any) -> Any:
        if type(x) in KINDS:
            return self._own(x)
        if x.__class__ in SIMPLE or x is MISSING:
            return x
        if type(x) is slice:
            return plain(x)
        if (own := self._own(x)) is not x:
            return own
        if (known := self._seen.get(id(x))) is not None:
            return known[1]
        found = x
        if isinstance(x, FIXED):
            found = self._of_fixed(x)
        elif type(x) in PASSING:
            found = self._of_iterator(x)
        elif not is_looked_into(x) or self._existed(x):
            return x
        else:
            self._waiting.append(x)
        self._seen[id(x)] = x, found
        return found

    def _of_fixed(self, x: Any) -> Any:
        """What cannot be changed is made anew, where it holds something that is another."""
        bound = isinstance(x, types.MethodType)
        parts = [x.__func__, x.__self__] if bound else [*x]
        found = [*map(self._of, parts)]
        if all(map(is_, parts, found)):
            return x
        if bound:
            return types.MethodType(*found)
        kind: Any = tuple if isinstance(x, tuple) else frozenset
        return kind.__new__(type(x), found)

    def _of_iterator(self, x: Any) -> Any:
        """An iterator that goes on at the same place through what is the caller's."""
        make, parts, *state = x.__reduce__()
        found = [*map(self._of, parts)]
        if all(map(is_, parts, found)):
            return x
        made = make(*found)
        if state:
            made.__setstate__(*state)
        return made

    def _inside(self, x: Any) -> None:
        """Puts right what a thing holds."""
        if isinstance(x, list | deque):
            write: Any = list.__setitem__ if isinstance(x, list) else deque.__setitem__
            for k, item in enumerate([*x]):
                if (own := self._of(item)) is not item:
                    write(x, k, own)  # a class may have another method
        elif isinstance(x, dict):
            self._in_dict(x)
        elif isinstance(x, set):
            items = [*x]
            found = [*map(self._of, items)]
            if not all(map(is_, items, found)):
                set.clear(x)
                set.update(x, found)
        if type(x) not in FILLED:
            self._in_object(x)

    def _in_object(self, x: Any) -> None:
        """The same for its attributes, and what its kind has besides."""
        if isinstance(x, GENERATORS):
            self._in_generator(x)
        elif isinstance(x, types.FunctionType):
            for cell in x.__closure__ or ():
                self._at(Closure(cell))
        elif isinstance(x, BaseException):
            x.args = self._of(x.args)
        elif isinstance(x, partial):
            held: Any = x  # of which types do not say that its arguments can be set
            held.__setstate__((x.func, self._of(x.args), self._of(x.keywords), vars(x)))
        self._in_dict(attributes_in(x) or {})
        for _, slot in slots_of(type(x)):
            self._at(Slot(slot, x))

    def _in_generator(self, x: Any) -> None:
        """The same for the variables of one that waits."""
        if isinstance(x, types.GeneratorType):
            frame, runs = x.gi_frame, x.gi_running
        else:
            frame, runs = x.cr_frame, x.cr_running
        if frame is None or runs:  # it is over, or somebody else's
            return
        now = [(name, item, self._of(item)) for name, item in frame.f_locals.items()]
        if new := {name: own for name, item, own in now if own is not item}:
            frames.plant(frame, new)

    def _in_dict(self, x: dict[Any, Any]) -> None:
        items = items_of(x)
        for name, item in items:
            if (own := self._of(item)) is not item:
                dict.__setitem__(x, name, own)
        names = [name for name, _ in items]
        found = [*map(self._of, names)]
        if not all(map(is_, names, found)):
            refill(x, [(own, item) for own, (_, item) in zip(found, items_of(x), strict=True)])


def is_looked_into(x: Any) -> bool:
    """Whether it may hold what the call was given: a container, a function, or an object."""
    if isinstance(x, HOLDING):
        return True
    held = attributes_in(x) is not None or hasattr(type(x), "__slots__")
    module = type(x).__module__
    known = policy.is_users(module) or policy.is_library(module)
    return held and known and not isinstance(x, type | types.ModuleType)
