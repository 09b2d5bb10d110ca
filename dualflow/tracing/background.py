"""Background: a path that is being compiled: by a thread of its own, right away, or when it is due.

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
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from jit.collector import collector_paused
from jit.progress import telling
from jit.runtime.forks import compiling

if TYPE_CHECKING:
    from dualflow.tracing.joins.joined import Joined
    from dualflow.tracing.path import Path


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
        later: By who needs it first, see `begin`.

    Attributes:
        background: Whether a thread makes it.
        later: Whether it is not made by who recorded it.
        outcome: What came of it; None before, and where a thread is gone with its work undone, as
            in a forked process.
    """

    def __init__(
        self, make: Callable[[], Path | Joined], *, background: bool, later: bool = False
    ) -> None:
        self.background, self.later = background, later
        self.outcome: Outcome | None = None
        self._make = make if later else None
        self._run = copy_context().run  # its settings are those of who called
        self._thread: threading.Thread | None = None
        self._over = threading.Event()
        if background:
            thread = threading.Thread(target=self._run, args=(work, weakref.ref(self), make))
            try:
                thread.start()
                self._thread = thread
            except RuntimeError:  # the process ends, or has too many
                pass
        if self._thread is None and not later:
            self.outcome = done(make)

    @property
    def pending(self) -> bool:
        """Whether a thread is at work."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def begun(self) -> bool:
        """Whether somebody makes it, or has made it."""
        return self._make is None

    def begin(self) -> Callable[[], None]:
        """Gives what makes it, where that was left for later; one thread may ask at a time."""
        make, self._make = self._make, None
        if make is None:
            return lambda: None
        self._thread = threading.current_thread()
        return partial(self._go, make)

    def _go(self, make: Callable[[], Path | Joined]) -> None:
        try:
            with collector_paused():
                self.outcome = self._run(done, make)
        finally:
            self._thread = None
            self._over.set()

    def wait(self, timeout: float | None = None) -> None:
        """Waits for the thread, at most so many seconds."""
        thread = self._thread
        if thread is not None and self.background:
            thread.join(timeout)
        elif thread is not None and thread.is_alive():
            self._over.wait(timeout)


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
        with compiling:
            made: Path | Joined | Exception = make()
    except Exception as error:
        made = error
    return Outcome(made, time.perf_counter() - started)
