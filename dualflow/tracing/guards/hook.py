"""Hook: sees the Python code that runs in this thread, and the C functions that it calls."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from contextlib import nullcontext
from itertools import repeat
from types import CodeType, FrameType, TracebackType
from typing import Any, Protocol

from dualflow.core.context import context
from dualflow.core.number import PlainWanted
from dualflow.tracing.guards import policy

REMEMBERED = 20_000
SKIPPED, WATCHED, LIBRARY, IMPORT = 0, 1, 2, 3
_known: dict[int, tuple[CodeType, int]] = {}  # by id of code, which is kept: its id stays its own
IMPORTS = ("_find_and_load", "importlib._bootstrap")


class Observer(Protocol):
    """What is told of code that runs."""

    def entered(self, frame: FrameType) -> None:
        """Code of the user's begins to run."""
        ...

    def called(self, frame: FrameType, function: Any) -> None:
        """Code of the user's calls a C function."""
        ...

    def extended(self, function: Any) -> None:
        """A list's method `extend` has returned."""
        ...

    def failed(self, error: Exception) -> None:
        """The observer itself raised."""
        ...


class Watch:
    """Tells an observer what runs in this thread, for a `with` block; an older hook goes on.

    Args:
        observer: Is told.

    Attributes:
        possible: False where a profiler is active that cannot be called from here.
    """

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._older: Any = sys.getprofile()
        self.possible = self._older is None or callable(self._older)

    def __enter__(self) -> Watch:
        if self.possible:
            hook, self._before = self._hook(), context.aside
            context.aside = repeat(Aside(self._older, hook)).__next__  # no frame that would be seen
            sys.setprofile(hook)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: Any, trace: TracebackType | None
    ) -> None:
        if self.possible:
            sys.setprofile(self._older)
            context.aside = self._before

    def _hook(self) -> Callable[[FrameType, str, Any], None]:
        older, remembered, decide = self._older, _known, decision
        for callback in gc.callbacks:  # they run at any time, on behalf of nobody
            if (code := getattr(callback, "__code__", None)) is not None:
                remembered[id(code)] = (code, SKIPPED)
        observer = self._observer
        entered, called, failed = observer.entered, observer.called, observer.failed
        extended = observer.extended

        importing: FrameType | None = None

        def hook(frame: FrameType, event: str, arg: Any) -> None:
            nonlocal importing
            if older is not None:
                older(frame, event, arg)
            if importing is not None:  # of what a module does when it is imported nothing is read
                if frame is importing and event == "return":
                    importing = None
                return
            code = frame.f_code
            _, what = remembered.get(id(code)) or decide(frame)
            if what == SKIPPED or (what == LIBRARY and not for_users(frame)):
                return
            if what == IMPORT:
                importing = frame if event == "call" else None
                return
            try:
                if event == "call":
                    entered(frame)
                elif event == "c_call":
                    called(frame, arg)
                elif event == "c_return" and arg.__name__ == "extend":
                    extended(arg)
            except PlainWanted:  # which ends the call where it is
                raise
            except Exception as error:
                failed(error)

        return hook


class Aside:
    """A `with` block of which only the older hook is told.

    Args:
        older: That hook.
        hook: Goes on behind the block.
    """

    __slots__ = ("_hook", "_older")

    def __init__(self, older: Any, hook: Any) -> None:
        self._older, self._hook = older, hook

    def __enter__(self) -> None:
        sys.setprofile(self._older)
        context.aside = nullcontext

    def __exit__(self, *error: object) -> None:
        context.aside = repeat(self).__next__
        sys.setprofile(self._hook)


def decision(frame: FrameType) -> tuple[CodeType, int]:
    """Whether the code of a frame is looked at; remembered."""
    code = frame.f_code
    if len(_known) >= REMEMBERED:
        _known.clear()
    module = frame.f_globals.get("__name__")
    if (code.co_name, module) == IMPORTS:
        known = _known[id(code)] = (code, IMPORT)
        return known
    watched = policy.is_users(module) and not policy.looks_up(code, module)
    watched = watched or policy.touches_files(code, module)
    what = SKIPPED if not watched else LIBRARY if policy.is_library(module) else WATCHED
    known = _known[id(code)] = (code, what)
    return known


def for_users(frame: FrameType) -> bool:
    """Whether code of the standard library runs, in the end, for code that is looked at."""
    caller = frame.f_back
    while caller is not None:
        _, what = _known.get(id(caller.f_code)) or decision(caller)
        passes = what == SKIPPED and policy.is_library(caller.f_globals.get("__name__"))
        if what != LIBRARY and not passes:
            return what == WATCHED
        caller = caller.f_back
    return True
