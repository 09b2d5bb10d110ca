"""Background: a path that is being compiled, by a thread of its own or right away.

A thread ends with its work, as Variables are updated in place only where there is no other thread.
Nobody waits for it: where the path is not wanted any more, its function being gone or the process
about to end, it stops at the next step of the compilation.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from typing import NamedTuple

from dualflow.tracing.joins.joined import Joined
from dualflow.tracing.path import Path
from jit.progress import telling


class Abandoned(BaseException):
    """Nobody wants what is compiled."""


class Outcome(NamedTuple):
    """What came of it.

    Attributes:
        made: The path, or why there is none.
        seconds: What it took.
    """

    made: Path | Joined | Exception
    seconds: float

    @property
    def is_path(self) -> bool:
        """Whether calls can use it."""
        return not isinstance(self.made, Exception)


class Compiling:
    """A path on its way.

    Args:
        make: Makes it.
        background: By a thread.

    Attributes:
        background: Whether a thread makes it.
        outcome: What came of it; None before, and where a thread is gone with its work undone, as
            in a forked process.
    """

    def __init__(self, make: Callable[[], Path | Joined], *, background: bool) -> None:
        self.background = background
        self.outcome: Outcome | None = None
        self._thread: threading.Thread | None = None
        if background:
            run = copy_context().run  # its settings are those of who called
            self._thread = threading.Thread(target=run, args=(work, weakref.ref(self), make))
            try:
                self._thread.start()
            except RuntimeError:  # the process ends, or has too many
                self._thread = None
        if self._thread is None:
            self.outcome = done(make)

    @property
    def pending(self) -> bool:
        """Whether a thread is at work."""
        return self._thread is not None and self._thread.is_alive()

    def wait(self, timeout: float | None = None) -> None:
        """Waits for the thread, at most so many seconds."""
        if self._thread is not None:
            self._thread.join(timeout)


def work(compiling: weakref.ref[Compiling], make: Callable[[], Path | Joined]) -> None:
    """What a thread does: `make`, as long as somebody wants it."""

    def ask(*_: object) -> None:
        if compiling() is None or not threading.main_thread().is_alive():
            raise Abandoned

    with suppress(Abandoned), telling(ask):
        outcome = done(make)
        owner = compiling()
        if owner is not None:
            owner.outcome = outcome


def done(make: Callable[[], Path | Joined]) -> Outcome:
    """What comes of `make`."""
    started = time.perf_counter()
    try:
        made: Path | Joined | Exception = make()
    except Exception as error:
        made = error
    return Outcome(made, time.perf_counter() - started)
