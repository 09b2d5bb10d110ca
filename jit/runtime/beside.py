"""Beside: threads that do one piece of work after the other, while another makes the next.

LLVM computes without Python's lock, so that code is made of a kernel while Python writes the text
of the next one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import copy_context
from queue import SimpleQueue
from types import TracebackType
from typing import TypeAlias

Work: TypeAlias = "Callable[[], object]"


class Beside:
    """A `with` block that other work goes on beside; all of it is done when the block ends.

    Where the block fails nothing more is begun, and the first error of the work comes out of the
    block in any case. The threads end with the block.

    Args:
        threads: How many there may be; one does the work in the order in which it was given.

    Example:
        >>> done = []
        >>> with Beside() as beside:
        ...     for k in range(3):
        ...         beside.do(lambda k=k: done.append(k))
        >>> done
        [0, 1, 2]
    """

    def __init__(self, threads: int = 1) -> None:
        self._work: SimpleQueue[Work | None] = SimpleQueue()
        self._most, self._threads = threads, list[threading.Thread]()
        self._error: BaseException | None = None
        self._stopped = False

    def __enter__(self) -> Beside:
        return self

    def do(self, work: Work) -> None:
        """Has a function called behind those that were given before; at once, if need be."""
        if len(self._threads) < self._most and not self._started() and not self._threads:
            work()  # the process ends, or has too many threads
        else:
            self._work.put(work)

    def _started(self) -> bool:
        """Whether there is one more thread."""
        run = copy_context().run  # settings are those of who asks
        thread = threading.Thread(target=run, args=(self._go,), name="dualflow-beside")
        try:
            thread.start()
        except RuntimeError:
            return False
        self._threads.append(thread)
        return True

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        self._stopped = kind is not None
        for _ in self._threads:
            self._work.put(None)
        for thread in self._threads:
            thread.join()
        if self._error is not None and kind is None:
            raise self._error

    def _go(self) -> None:
        while (work := self._work.get()) is not None:
            if self._stopped:
                continue
            try:
                work()
            except BaseException as error:  # told to who waits
                self._error, self._stopped = self._error or error, True
