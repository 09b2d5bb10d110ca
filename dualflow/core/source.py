"""Where in the user's program we are: the innermost frame that is not ours."""

from __future__ import annotations

import linecache
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from types import CodeType, FrameType, TracebackType
from typing import Any

from jit import errors

OURS = frozenset(("dualflow", "jit"))
CALL_BACK = frozenset(("contextlib", "functools", "numpy", "optree"))  # into us, from us
PROGRAMS = "dualflow.bench.programs."  # written as users write theirs
BENCH = ("dualflow.bench.", "dualflow.__main__")  # what runs them; of who runs that nobody asks
_paths: dict[str, str] = {}  # of lines that were named
_lines: dict[tuple[str, int], str] = {}  # their names, as ops of loops come from few
_passed_over = set[str]()  # modules whose frames are neither the user's nor the bench's

DEBUG = os.environ.get("DUALFLOW_DEBUG", "0") not in ("", "0")


@lru_cache(maxsize=4096)  # asked for each frame of each op that is recorded
def _is_our_module(module: Any) -> bool:
    name = str(module)
    return name.partition(".")[0] in OURS and not name.startswith(PROGRAMS)


@lru_cache(maxsize=4096)
def _is_users_module(module: Any) -> bool:
    return str(module).partition(".")[0] not in CALL_BACK and not _is_our_module(module)


@lru_cache(maxsize=4096)
def _is_bench(module: Any) -> bool:
    return str(module).startswith(BENCH)


def _module(frame: FrameType) -> Any:
    """The name of a frame's module, also of one that `python -m` runs as `__main__`."""
    name = frame.f_globals.get("__name__")
    spec = frame.f_globals.get("__spec__") if name == "__main__" else None
    return name if spec is None else spec.name


def _is_ours(frame: FrameType) -> bool:
    return _is_our_module(_module(frame))


def is_users(frame: FrameType) -> bool:
    """Whether a frame is of the user's program."""
    return _is_users_module(_module(frame))


def user_frame() -> FrameType | None:
    """The innermost frame of the caller's outside of dualflow and jit; None in a bench."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if (name := frame.f_globals.get("__name__")) not in _passed_over:
            if is_users(frame):
                return frame
            module = _module(frame)
            if _is_bench(module):
                return None
            if module is name and isinstance(name, str):
                _passed_over.add(name)
        frame = frame.f_back
    return None


class Standing(threading.local):
    """Where the user's program stands while code of ours runs that calls none of it."""

    inside = False
    line: str | None = None


_standing = Standing()


def user_line() -> str | None:
    """`nets.py:14`, the user's line that is running; None when there is no such frame."""
    if _standing.inside:
        return _standing.line
    frame = user_frame()
    return None if frame is None else line_of(frame)


@contextmanager
def at_one_line() -> Iterator[None]:
    """A `with` block without code of the user's, whose frame is looked for once, not for each op.

    Below many frames of ours that takes as long as to record an op.
    """
    before = _standing.inside, _standing.line
    _standing.line = user_line()
    _standing.inside = True
    try:
        yield
    finally:
        _standing.inside, _standing.line = before


def line_of(frame: FrameType) -> str:
    """File and line that a frame is at; in a notebook the cell, as in `In[3]:2`."""
    path, number = frame.f_code.co_filename, frame.f_lineno
    line = _lines.get((path, number))
    if line is None:
        line = line_in(path, number)
        _paths[line] = path
        if "ipykernel_" not in path:  # a cell's path is what its number tells, not the other way
            _lines[path, number] = line
    return line


def with_text(line: str) -> str:
    """A line that was named before, followed by what stands there."""
    path = _paths.get(line)
    text = linecache.getline(path, int(line.rpartition(":")[2])).strip() if path else ""
    return f"{line}: {text}" if text else line


def line_in(path: str, line: int) -> str:
    """The same for a path and a line that were kept."""
    file = os.path.basename(path)
    if "ipykernel_" in path:  # a temporary name that says nothing to people; IPython knows the cell
        ipython = sys.modules.get("IPython")
        shell = ipython and ipython.get_ipython()
        cells = getattr(getattr(shell, "compile", None), "_filename_map", {})
        file = f"In[{cells[path]}]" if path in cells else file
    return f"{file}:{line}"


def user_place() -> str | None:
    """The user's line with its text, for the last line of an error message."""
    frame = user_frame()
    return None if frame is None else with_text(line_of(frame))


def warn_user(message: str, category: type[Warning], code: CodeType | None = None) -> None:
    """Warns at the user's line, however deep inside of us the reason was found.

    Args:
        message: What is told.
        category: Of the warning.
        code: What it is about: its first line counts where no line of the user's is running.
    """
    frame = user_frame()
    if frame is None and code is not None:
        warnings.warn_explicit(message, category, code.co_filename, code.co_firstlineno)
        return
    here, level = sys._getframe(1), 2
    while here.f_back is not None and here is not frame:
        here, level = here.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


# ----- tracebacks that end in the user's code; DUALFLOW_DEBUG=1 shows our frames as well -----


def error_place() -> str | None:
    """The last line of an error's message; our frames are marked for pytest and IPython to skip."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not DEBUG:
        if _is_ours(frame):
            frame.f_locals["__tracebackhide__"] = True
        frame = frame.f_back
    return user_place()


def shortened(error: BaseException) -> BaseException:
    """`error` without the traceback below the caller, where nothing but our frames is in it."""
    step = error.__traceback__
    while step is not None:
        if DEBUG or is_users(step.tb_frame):
            return error
        step = step.tb_next
    return error.with_traceback(None)


def without_ours(error: BaseException) -> BaseException:
    """`error` with a traceback of the user's frames only.

    Everything stays under DUALFLOW_DEBUG=1, and where the error is a fault of ours.
    """
    steps = []
    step = error.__traceback__
    while step is not None:
        steps.append(step)
        step = step.tb_next
    on_purpose = isinstance(error, errors.DualflowError)
    if DEBUG or not steps or not (on_purpose or is_users(steps[-1].tb_frame)):
        return error
    trace = None
    for step in reversed([step for step in steps if is_users(step.tb_frame)]):
        trace = TracebackType(trace, step.tb_frame, step.tb_lasti, step.tb_lineno)
    return error.with_traceback(trace)


def report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """`sys.excepthook`: what ends a program is shown without our frames."""
    shown = without_ours(error.with_traceback(trace))
    previous_hook(kind, shown, shown.__traceback__)


errors.locate, errors.with_text = error_place, with_text
previous_hook, sys.excepthook = sys.excepthook, report
