"""Holders: what objects of C code hold, and read when they are called."""

from __future__ import annotations

import functools
import gc
import operator
import types
import weakref
from typing import Any

import numpy as np

CACHED = (type(functools.lru_cache(lambda: None)),)
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
        return (value(),)
    return (value.__wrapped__, *remembered_by(value)) if isinstance(value, CACHED) else None


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


LINK = "_lru_list_elem"  # the class of what holds a result in the index
NO_RESULT = (type, types.FunctionType)
