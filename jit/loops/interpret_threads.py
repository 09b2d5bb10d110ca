"""The meaning of kernels whose items several threads run together.

Threads take turns: each runs up to where it waits for others. What would depend on which of them
is faster is refused: an element that one thread stores and another one touches, with no `sync`
of both in between; a `sync` or an `exchange` that not all threads come to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from jit.loops.interpret import Refused, Run
from jit.loops.ir import (
    WARP,
    Alloc,
    Buffer,
    Exchange,
    For,
    If,
    Kernel,
    Load,
    Mma,
    Statement,
    Store,
    Sync,
)
from jit.loops.values import mma
from jit.types import int64

Array = np.ndarray[Any, Any]
Meeting = Sync | Exchange | Mma


class ThreadsRun(Run):
    """All threads of an item.

    Attributes:
        shared: Memory of the item.
        seen: Who touched which element when, and what is known of it.
        met: When a group of threads waited for each other the last time: (size, number) -> time.
        now: Counts meetings.
    """

    def __init__(self, kernel: Kernel, arrays: Sequence[Array], sizes: Sequence[int]) -> None:
        super().__init__(kernel, arrays, sizes)
        self.arrays, self.sizes = arrays, sizes

    def item(self, item: int) -> None:
        """Runs all threads for one item."""
        self.touched: dict[tuple[Buffer, int], tuple[int, int, bool]] = {}
        self.met: dict[tuple[int, int], int] = {}
        self.now = 0
        self.shared: dict[Buffer, tuple[Array, Array]] = {}
        threads = [_Thread(self, number) for number in range(self.kernel.threads)]
        running = [thread.start(item) for thread in threads]
        waiting = [next(steps, None) for steps in running]
        while any(waiting):
            group = self._ready(waiting)
            self._meet(group, [threads[k] for k in group], waiting[group[0]])
            for k in group:
                waiting[k] = next(running[k], None)
        self.holds &= all(thread.holds for thread in threads)

    def _ready(self, waiting: Sequence[Meeting | None]) -> range:
        """Threads that all wait at the same place."""
        for first, at in enumerate(waiting):
            if at is not None:
                size = at.threads if isinstance(at, Sync) else WARP
                group = range(first // size * size, first // size * size + size)
                if all(waiting[k] is at for k in group):
                    return group
        at = next(x for x in waiting if x is not None)
        self.refuse(at, "is not reached by all threads")

    def _meet(self, group: range, threads: list[_Thread], at: Meeting | None) -> None:
        if isinstance(at, Sync):
            self.now += 1
            self.met[len(group), group.start] = self.now
        elif isinstance(at, Exchange):
            values = [thread.value(at.value) for thread in threads]
            for thread in threads:
                thread.values[at.var] = values[thread.number_of(at.thread) % WARP]

        elif isinstance(at, Mma):
            operands = [
                np.stack([thread.value(x) for thread in threads]) for x in (at.a, at.b, at.c)
            ]
            for thread, made in zip(threads, mma(*operands)):
                thread.values[at.var] = made

    def touch(self, buffer: Buffer, at: Array, thread: int, *, stores: bool) -> None:
        """Notes that a thread touches elements.

        Raises:
            Refused: Another thread has, and nobody can tell which of them is first.
        """
        for element in at.tolist():
            key = buffer, element
            other, when, stored = self.touched.get(key, (thread, 0, False))
            if other != thread and (stored or stores) and not self._apart(thread, other, when):
                raise Refused(f"races with thread {other} for element {element}")
            if stores or not stored or self._apart(thread, other, when):
                self.touched[key] = thread, self.now, stores

    def _apart(self, a: int, b: int, when: int) -> bool:
        """Whether two threads have waited for each other since a time."""
        for (size, start), time in self.met.items():
            if time > when and start <= a < start + size and start <= b < start + size:
                return True
        return False


class _Thread(Run):
    """One thread, which has values and memory of its own beside what is shared."""

    def __init__(self, item: ThreadsRun, number: int) -> None:
        super().__init__(item.kernel, item.arrays, item.sizes)
        self.all, self.number = item, number

    def start(self, item: int) -> Iterator[Meeting]:
        """Runs the body, stopping where threads meet."""
        assert self.kernel.thread is not None
        self.values[self.kernel.item] = np.array([item], int64)
        self.values[self.kernel.thread] = np.array([self.number], int64)
        return self.steps(self.kernel.body)

    def steps(self, body: tuple[Statement, ...]) -> Iterator[Meeting]:
        """Runs statements."""
        for s in body:
            match s:
                case For():
                    bounds = self.number_of(s.start), self.number_of(s.stop)
                    for k in range(*bounds, s.step):
                        self.values[s.var] = np.array([k], int64)
                        yield from self.steps(s.body)
                case If():
                    if self.value(s.condition)[0]:
                        yield from self.steps(s.body)
                case Sync() | Exchange() | Mma():
                    yield s
                case _:
                    self.statement(s)

    def alloc(self, alloc: Alloc) -> None:
        """Memory of the thread, or of all of them."""
        buffer = alloc.buffer
        if buffer.scope != "shared":
            return super().alloc(alloc)
        if buffer not in self.all.shared:
            super().alloc(alloc)
            self.all.shared[buffer] = self.memory[buffer], self.written[buffer]
        self.memory[buffer], self.written[buffer] = self.all.shared[buffer]
        return None

    def place(self, access: Load | Store, type_: Any) -> tuple[Array, Array]:
        """An index and a mask; who touches what is noted."""
        at, mask = super().place(access, type_)
        buffer = self.owner(access.buffer)
        if buffer.scope in ("param", "shared") and buffer.access != "in":
            self.all.touch(buffer, at[mask], self.number, stores=isinstance(access, Store))
        return at, mask
