"""Arenas: memory for the temporaries of one call at a time on a GPU, shared by all functions.

Functions that are called in turns need their memory one after the other. So a call takes an arena
that is free, preferably the one that it had, and leaves it when all is launched: what is launched
later runs later. Where no arena is large enough, those that are free make room for a new one. Small
ones stay with whom they were made for.
"""

from __future__ import annotations

import threading
from typing import Any

from jit.dataclass import dataclass
from jit.errors import OutOfMemoryError
from jit.runtime.cuda import allocate, cupy, pool

SHARED = 1 << 24  # bytes from which on
SPARE = 0.03  # of what a device has left: for graphs, and for what lies between blocks

_lock = threading.Lock()
_free: dict[int, list[Arena]] = {}  # by device


@dataclass(eq=False)
class Arena:
    """A block of memory.

    Attributes:
        memory: The block.
        size: In bytes.
        stream: Where it was used last.
        user: A token of who used it last.
    """

    memory: Any
    size: int
    stream: Any
    user: object = None


def behind(before: Any, stream: Any) -> Any:
    """A stream, on which what comes waits for the work that another one has by now."""
    if before.ptr != stream.ptr:
        stream.wait_event(before.record())
    return stream


def take(size: int, device: int, what: str, user: object, beside: int = 0) -> Arena:
    """An arena that nobody else has.

    Args:
        size: How many bytes it has at least.
        device: The number of the GPU, which is the active one.
        what: It is for, in messages.
        user: A token of who asks; which one it had last is remembered.
        beside: Bytes that the call needs apart from it.

    Raises:
        OutOfMemoryError: There is no room; it says how much there is.
    """
    with _lock:
        free = _free.setdefault(device, [])
        fitting = [x for x in free if x.size >= size]
        if fitting:
            best = min(fitting, key=lambda x: (x.user is not user, x.size))
            free.remove(best)
            return best
        while free:
            free.pop().stream.synchronize()
    try:
        memory = allocate(size, what, pool())
    except OutOfMemoryError as error:
        left, _ = cupy().cuda.runtime.memGetInfo()
        error.room = int(left * (1 - SPARE)) - beside
        raise
    return Arena(memory, size, cupy().cuda.get_current_stream())


def give(arena: Arena, device: int) -> None:
    """Leaves an arena to others, who begin behind what was launched."""
    with _lock:
        _free.setdefault(device, []).append(arena)
