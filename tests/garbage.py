"""Work that must leave nothing which only the garbage collector can free."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

OURS = ("dualflow", "jit", "tests", "numpy")


@contextmanager
def no_collector() -> Iterator[None]:
    """Reference counts alone must free everything."""
    while gc.collect():  # what is freed may have held other rings, by weak keys or finalizers
        pass
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def garbage() -> list[str]:
    """What is ours among the rings of objects that nobody can reach, by type or name.

    Other threads of the process, such as those of the test runner, leave rings too.
    """
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        return sorted(map(described, filter(is_ours, gc.garbage)))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.collect()


def described(x: Any) -> str:
    """A function by its name, anything else by its type."""
    return getattr(x, "__qualname__", None) or type(x).__qualname__


def is_ours(x: Any) -> bool:
    """Whether an object is of one of our modules, or of a type of theirs; arrays are."""
    modules = getattr(x, "__module__", None), type(x).__module__
    return any(str(module).partition(".")[0] in OURS for module in modules)
