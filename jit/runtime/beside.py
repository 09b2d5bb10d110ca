"""Beside: a thread that does one piece of work after the other, while another makes the next.

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
    block in any case. The thread ends with the block.

    Example:
        >>> done = []
        >>> with Beside() as beside:
        ...     for k in range(3):
        ...         beside.do(lambda k=k: done.append(k))
        >>> done
        [0, 1, 2]
    """

    def __init__(self) -> None:
        self._work: SimpleQueue[Work | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._stopped = False

    def __enter__(self) -> Beside:
        return self

    def do(self, work: Work) -> None:
        """Has a function called behind those that were given before; at once, if need be."""
        if self._thread is None:
            run = copy_context().run  # settings are those of who asks
            thread = threading.Thread(target=run, args=(self._go,), name="dualflow-beside")
            try:
                thread.start()
            except RuntimeError:  # the process ends, or has too many
                work()
                return
            self._thread = thread
        self._work.put(work)

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        self._stopped = kind is not None
        if self._thread is not None:
            self._work.put(None)
            self._thread.join()
        if self._error is not None and kind is None:
            raise self._error

    def _go(self) -> None:
        while (work := self._work.get()) is not None:
            if self._stopped:
                continue
            try:
                work()
            except BaseException as error:  # told to who waits
                self._error, self._stopped = error, True
