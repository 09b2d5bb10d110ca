"""Progress: a compilation tells how far it is, if somebody has asked.

The loops that take long run over `each(phase, items)`, which knows what is done and what is to
come. Who wants to be told calls `observe` with a function of the graph's name that gives a context
manager: it is entered when a compilation begins, left when it ends, and what it gives is told of
each item.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import TypeAlias, TypeVar

T = TypeVar("T")
Told: TypeAlias = Callable[[str, int, int], None]  # the phase, items done, items in all
Observe: TypeAlias = Callable[[str], AbstractContextManager[Told | None]]

_observe: Observe | None = None
_told: ContextVar[Told | None] = ContextVar("jit.progress", default=None)


def observe(observer: Observe | None) -> Observe | None:
    """From now on `observer` is told of compilations; gives the one before."""
    global _observe
    before, _observe = _observe, observer
    return before


@contextmanager
def compilation(name: str) -> Iterator[None]:
    """A block in which a graph of this name is compiled; inner ones belong to the outermost."""
    if _observe is None or _told.get() is not None:
        yield
        return
    with _observe(name) as told, telling(told):
        yield


@contextmanager
def telling(told: Told | None) -> Iterator[None]:
    """A block whose compilations tell nobody but `told`, which may raise to end them."""
    token = _told.set(told)
    try:
        yield
    finally:
        _told.reset(token)


def each(phase: str, items: Sequence[T]) -> Iterable[T]:
    """The items, one after the other; before each it is told how many are done."""
    told = _told.get()
    return items if told is None else _telling(told, phase, items)


def _telling(told: Told, phase: str, items: Sequence[T]) -> Iterator[T]:
    for done, item in enumerate(items):
        told(phase, done, len(items))
        yield item
