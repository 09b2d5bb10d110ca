"""Leaks: a symbolic tensor that is used when its recording is over, and who has kept it.

Such a tensor has no value and never will. The message says in which function and at which line it
was made, and which global, attribute or variable holds it now.
"""

from __future__ import annotations

import gc
import sys
from collections import deque
from collections.abc import Iterator
from types import CellType, FrameType, FunctionType, ModuleType
from typing import Any

from dualflow.core.registry import functions
from dualflow.core.source import is_users
from dualflow.core.tensor import Tensor
from jit.errors import TraceError

CONTAINERS = list | tuple | set | dict | deque
DEPTH = 4  # containers within containers that are looked through


def leaked(how: str, x: Tensor) -> TraceError:
    """The error of using a symbolic tensor when its recording is over.

    Args:
        how: What was asked of it: the name of an op, or words such as `.numpy()`.
        x: The tensor.
    """
    name, line = x.symbol.value or (None, None)
    made = f" of {name}" if name else ""
    made += f", made at {line}" if line else ""
    place = next(holders(x, "", DEPTH), None)
    kept = f" It was kept in {place}." if place else ""
    return TraceError(
        f"{how}: a symbolic tensor{made}, {x.type}, was used after the recording was over.{kept}",
        "tensors that the function returned: only these get values",
        f"return it from {name or 'the function'} instead of keeping it",
    )


functions["leaked"] = leaked


def holders(thing: Any, suffix: str, depth: int) -> Iterator[str]:
    """Where the user's program holds a thing, in words, the best first.

    Args:
        thing: What is held.
        suffix: What leads from there to the tensor, such as `[0]`.
        depth: How many containers may lie in between.
    """
    yield from in_frames(thing, suffix)
    found = [x for x in gc.get_referrers(thing) if not isinstance(x, FrameType | Iterator)]
    for holder in found:
        yield from by_name(thing, holder, suffix)
    for holder in found if depth else ():
        if isinstance(holder, CONTAINERS):
            for key in keys_of(thing, holder):
                yield from holders(holder, key + suffix, depth - 1)


def in_frames(thing: Any, suffix: str) -> Iterator[str]:
    """Variables of the user's functions that are running; a lone name is no container."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if suffix and is_users(frame) and frame.f_code.co_name != "<module>":
            for name, value in frame.f_locals.items():
                if value is thing:
                    yield f"{name}{suffix} in {frame.f_code.co_name}"
        frame = frame.f_back


def by_name(thing: Any, holder: Any, suffix: str) -> Iterator[str]:
    """The name under which a module, an object, a class or a function holds a thing."""
    if isinstance(holder, CellType):
        for function in gc.get_referrers(*gc.get_referrers(holder)):
            if isinstance(function, FunctionType):
                names = dict(zip(function.__code__.co_freevars, function.__closure__ or ()))
                held = [name for name, cell in names.items() if cell is holder]
                yield from (f"{name}{suffix} of {function.__name__}" for name in held)
    elif isinstance(holder, dict):
        names = [key for key, value in holder.items() if value is thing]
        for owner in gc.get_referrers(holder):
            if getattr(owner, "__dict__", None) is holder:
                yield from (told(owner, name, suffix) for name in names)
    elif not isinstance(holder, CONTAINERS | ModuleType) and hasattr(holder, "__dict__"):
        names = [name for name, value in vars(holder).items() if value is thing]
        yield from (told(holder, name, suffix) for name in names)


def told(owner: Any, name: str, suffix: str) -> str:
    """A global, or an attribute."""
    if isinstance(owner, ModuleType):
        return f"the global {name}{suffix}"
    return f"the attribute {name}{suffix} of a {type(owner).__name__}"


def keys_of(thing: Any, holder: Any) -> list[str]:
    """Under which keys a container holds a thing."""
    if isinstance(holder, set):
        return [""]
    items = holder.items() if isinstance(holder, dict) else enumerate(holder)
    return [f"[{key!r}]" for key, value in items if value is thing]
