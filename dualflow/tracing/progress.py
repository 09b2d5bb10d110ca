"""Progress: who waits for a compilation for more than a second sees how far it is.

One line on stderr, `compiling step: planning launches, 120 of 400`, which is gone when the
compilation is over. It is for people who wait: it needs a terminal or a notebook, and the main
thread. JIT_DEBUG=1 tells of compilations anywhere.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from jit.config import config
from jit.progress import Told, observe

PATIENCE = 1.0  # seconds
REDRAWN = 0.1  # seconds between pictures of the line
COLUMNS = 79


def show_progress() -> None:
    """From now on long compilations show how far they are."""
    observe(shown)


@contextmanager
def shown(name: str) -> Iterator[Told | None]:
    """Observes a compilation of a graph of this name."""
    stream: Any = sys.stderr
    line = Line(name, stream.write, stream.flush) if is_watched(stream) else None
    try:
        yield line
    finally:
        if line is not None:
            line.clear()


def is_watched(stream: Any) -> bool:
    """Whether a person is waiting, and reads what is written there."""
    if threading.current_thread() is not threading.main_thread() or config().debug:
        return False
    if type(stream).__module__.startswith("ipykernel"):
        return True
    isatty = getattr(stream, "isatty", None)
    return isatty is not None and not getattr(stream, "closed", False) and isatty()


class Line:
    """What is shown of one compilation; call it with a phase, items done and items in all.

    Args:
        name: Of what is compiled.
        write: Shows text.
        flush: Called after each.
        clock: Seconds.
    """

    def __init__(
        self,
        name: str,
        write: Callable[[str], Any],
        flush: Callable[[], Any] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._write, self._flush, self._clock = write, flush, clock
        self._next = clock() + PATIENCE
        self._width = 0

    def __call__(self, phase: str, done: int, total: int) -> None:
        """Shows this, if the last picture is old enough."""
        if self._clock() < self._next:
            return
        numbers = f": {phase}, {done:,} of {total:,}"
        name = f"compiling {self._name}"[: COLUMNS - len(numbers)]
        self._draw(f"{name}{numbers}")
        self._next = self._clock() + REDRAWN

    def clear(self) -> None:
        """Removes the line, if there is one."""
        if self._width:
            self._draw("")
            self._write("\r")
            self._flush()

    def _draw(self, text: str) -> None:
        self._write(f"\r{text:<{self._width}}")
        self._flush()
        self._width = len(text)
