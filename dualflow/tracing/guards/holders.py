"""Holders: what objects of C code hold, and read when they are called."""

from __future__ import annotations

import functools
import gc
import operator
import types
import weakref
from collections import OrderedDict
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np

from dualflow.core.number import is_number

if TYPE_CHECKING:
    from types import FrameType

    from dualflow.tracing.guards.check import Origin
    from dualflow.tracing.guards.follow import Follower

CACHED = (type(functools.lru_cache(lambda: None)),)
VIEWS = tuple(
    type(view) for d in ({}, OrderedDict[Any, Any]()) for view in (d.keys(), d.values(), d.items())
)
MEMORY = (bytearray, memoryview, np.void)
OF_MEMORY = (("array", "array"), ("_ctypes", "_CData"))  # module and name of further classes
POINTERS = (("_ctypes", "_Pointer"),)
GETTERS = tuple(type(made) for made in (operator.attrgetter("a"), operator.methodcaller("a")))


def parts_of(value: Any) -> tuple[Any, ...] | None:
    """What an object of C code calls or looks up; None if it is of another kind."""
    if isinstance(value, types.MethodType):
        return (value.__func__, value.__self__)
    if isinstance(value, functools.partial):
        return (value.func, value.args, value.keywords)
    if isinstance(value, types.BuiltinFunctionType | types.MethodWrapperType):
        return (value.__self__,)
    if isinstance(value, weakref.ref):
        function = value._func_ref() if isinstance(value, weakref.WeakMethod) else None
        return (weakref.ref.__call__(value), function)
    if isinstance(value, VIEWS):
        return (value.mapping,)
    return (value.__wrapped__, *remembered_by(value)) if isinstance(value, CACHED) else None


def is_memory(value: Any) -> bool:
    """Whether an object is bytes that may be changed."""
    return isinstance(value, MEMORY) or inherits(type(value), OF_MEMORY)


def inherits(cls: type, names: Collection[tuple[str, str]]) -> bool:
    """Whether a class has a base of this module and name, which may not be imported."""
    return any((base.__module__, base.__name__) in names for base in cls.__mro__)


def random_state(generator: Any) -> str:
    """The state of one of NumPy's random generators, to be compared."""
    if hasattr(generator, "get_state"):
        return repr(
            [np.asarray(x).tobytes() for x in generator.get_state(legacy=False)["state"].values()]
        )
    return repr(generator.bit_generator.state)


def remembered_by(cached: Any) -> list[Any]:
    """The results that a function remembers; `functools` shows them to nobody but the collector."""
    parts = [x for x in gc.get_referents(cached) if x is not vars(cached)]
    if cached.cache_info().maxsize is None:
        return [v for x in parts if type(x) is dict for v in x.values()]
    index = {
        id(x)
        for x in parts
        if type(x) is dict and (not x or LINK in {type(v).__name__ for v in x.values()})
    }
    return [x for x in parts if id(x) not in index and not isinstance(x, NO_RESULT)]


def known_by(cached: Any) -> dict[int, Any]:
    """What a function remembers, by id."""
    parts = gc.get_referents(cached)
    if cached.cache_info().maxsize is None:
        parts = [v for x in parts if type(x) is dict for v in x.values()]
    return {id(x): x for x in parts}


class Generators:
    """NumPy's random generators: no graph draws from them.

    Args:
        follower: Knows which names code has.
    """

    def __init__(self, follower: Follower) -> None:
        self._follower = follower
        self._shared = ""
        self._known: dict[int, tuple[Any, str, str]] = {}

    def begin(self) -> None:
        """Notes the state of the one behind `np.random`: a call begins."""
        self._shared = random_state(np.random.mtrand._rand)

    def follow(self, generator: Any, place: str) -> None:
        """Notes the state of one that code can come to."""
        self._known[id(generator)] = (generator, random_state(generator), place)

    def drawn(self) -> list[str]:
        """Those that the call has drawn from, in words."""
        known = self._known.values()
        drawn = [place for generator, state, place in known if random_state(generator) != state]
        named = "random" in self._follower.names or self._follower.reached(np.random)
        if named and random_state(np.random.mtrand._rand) != self._shared:
            drawn.append("np.random")
        return drawn


class Memories:
    """Functions that remember results: a call holds as long as they still know what it found.

    Args:
        follower: Gets the guards.
    """

    def __init__(self, follower: Follower) -> None:
        self._follower = follower
        self._found: list[tuple[Any, str, Origin, int]] = []
        self._codes: set[int] = set()  # ids of that which they call to learn a result

    def follow(self, cached: Any, place: str, origin: Origin) -> None:
        """Guards that a function forgets nothing; it may learn more from others."""
        follower, known = self._follower, known_by(cached)
        k, then, now = map(follower.constant, (cached, known, known_by))
        follower.test(f"not {then}.keys() <= {now}({k}).keys()", f"what {place} remembers", origin)
        self._found.append((cached, place, origin, cached.cache_info().misses))
        self._codes.add(id(getattr(cached.__wrapped__, "__code__", None)))

    def learns(self, frame: FrameType) -> bool:
        """Whether a function that begins to run is to be remembered for a number of the recording.

        Nobody would find that again: `functools` has keys of its own for plain ints.
        """
        if id(frame.f_code) not in self._codes:
            return False
        return is_number([[*x.values()] if type(x) is dict else x for x in frame.f_locals.values()])

    def finish(self) -> None:
        """The call is over: one from which a function has learned is not like the next one."""
        for cached, place, origin, misses in self._found:
            if cached.cache_info().misses != misses:
                k = self._follower.constant(cached)
                test = f"{k}.cache_info().misses != {misses}"
                self._follower.test(test, f"what {place} remembers", origin)


LINK = "_lru_list_elem"  # the class of what holds a result in the index
NO_RESULT = (type, types.FunctionType)
