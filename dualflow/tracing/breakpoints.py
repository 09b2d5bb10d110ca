"""Breakpoints: in a decorated function they stop at every call, with real values.

`breakpoint()` is seen by the hook that Python has for it, `pdb.set_trace()` and debuggers made of
Python's by the watch over code that runs. A call that came to one is not kept as a path, so the
next such call is recorded again. Recording is running: the debugger sees an eager call, with the
inputs, the state and the random numbers of now.
"""

from __future__ import annotations

import os
import sys
import threading
from types import FrameType
from typing import Any

from dualflow.core.context import context
from dualflow.core.source import line_of, user_line


class Hook:
    """Stands before `sys.breakpointhook` and tells the recording of this thread.

    Debuggers look for the frame that called them. Here that is the user's: `__call__` is a
    property, so what is called is the hook itself, when our frame is over.

    Args:
        hook: What was there.
    """

    def __init__(self, hook: Any) -> None:
        self.hook = hook

    @property
    def __call__(self) -> Any:
        if context.trace is not None and not (self.hook is sys.__breakpointhook__ and is_off()):
            context.trace.stopped = user_line()
        return self.hook


def entered(frame: FrameType) -> None:
    """Code begins to run in a recording; it may be that by which debuggers stop."""
    if frame.f_code.co_name == "set_trace" and frame.f_globals.get("__name__") == "bdb":
        stopped = frame.f_locals.get("frame") or frame.f_back
        if context.trace is not None and stopped is not None:
            context.trace.stopped = line_of(stopped)


def is_off() -> bool:
    """Whether the environment switches Python's own hook off."""
    return os.environ.get("PYTHONBREAKPOINT") == "0"


class Noted:
    """A `with` inside which breakpoints are noted; several threads may be inside."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if type(sys.breakpointhook) is not Hook:
                sys.breakpointhook = Hook(sys.breakpointhook)

    def __exit__(self, *exc: object) -> None:
        with self._lock:
            self._inside -= 1
            hook: Any = sys.breakpointhook
            if self._inside == 0 and type(hook) is Hook:
                sys.breakpointhook = hook.hook


noted = Noted()
