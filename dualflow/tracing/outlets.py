"""Outlets: `print` and `logging` in a recorded call, which its path repeats with later values."""

from __future__ import annotations

import builtins
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import BuiltinFunctionType
from typing import Any

from dualflow.core.context import context, using
from dualflow.core.source import line_in, user_line
from dualflow.tracing.guards import policy
from dualflow.tracing.ledger import Ledger, current, replayable
from dualflow.tracing.texts import Form, filled, opened

STREAMS = ("stdout", "stderr")
LEVELS = {
    "debug": 10,
    "info": 20,
    "warning": 30,
    "warn": 30,
    "error": 40,
    "critical": 50,
    "fatal": 50,
}


class Stream:
    """One of Python's own streams, whatever it is at a later call: a notebook's cell has its own.

    Args:
        name: Of it in `sys`.
    """

    def __init__(self, name: str) -> None:
        self.name = name


# ----- print -----


def note_print(ledger: Ledger, values: tuple[Any, ...], how: dict[str, Any]) -> None:
    """Prints, and has later calls print what they find there."""
    forms = [x if type(x) is Form or replayable(x) else str(x) for x in values]  # its reads guard
    file = how.pop("file", None)
    to = next((Stream(name) for name in STREAMS if file is getattr(sys, name)), file)

    def act(given: Any) -> None:
        stream = getattr(sys, to.name) if isinstance(to, Stream) else to
        builtins.print(*filled(given[0], forms), **given[1], file=stream)

    do(ledger, act, (opened(forms), how), f"prints at {user_line()}")


def do(ledger: Ledger, act: Callable[[Any], None], value: Any, told: str) -> None:
    """Notes an entry and does it now; nothing of that is the recorded code's own."""
    value = ledger.note(act, value, told)
    with context.aside(), using(trace=None):
        act(value)


def stand_in_for_print(original: Callable[..., None]) -> Callable[..., None]:
    """What is called `print` while calls are recorded."""

    def print(*values: Any, **how: Any) -> None:
        if is_said(ledger := current()):
            return
        if ledger is None or not (is_known(how.get("file")) and replayable(how, [how.get("file")])):
            original(*values, **how)
        else:
            note_print(ledger, ledger.texts.taken(sys._getframe(1), values), how)

    return print


def is_known(file: Any) -> bool:
    """Whether later calls find what is printed to; what a call has made is gone after it."""
    standard = file is None or any(file is getattr(sys, name) for name in STREAMS)
    return standard or context.trace.existed(file)


# ----- logging -----


def note_log(
    ledger: Ledger, logger: Any, level: Any, text: Any, args: Any, extra: Any, stacklevel: int
) -> None:
    """Logs, and has later calls log what they find, at this line of the program."""
    file, line, function, _ = logger.findCaller(False, stacklevel)  # noqa: FBT003 - its signature
    forms = (level, text, *args)
    halves = opened(forms[:2]), opened(args)

    def act(given: Any) -> None:
        level, text, *args = filled((*given[0], *given[1]), forms)
        extra, args = given[2], tuple(args)
        if logger.isEnabledFor(level):
            logger.handle(
                logger.makeRecord(
                    logger.name, level, file, line, text, args, None, function, extra, None
                )
            )

    do(ledger, act, (*halves, extra), f"logs at {line_in(file, line)}")


def stand_in_for_log(original: Callable[..., None], level: int | None) -> Callable[..., None]:
    """What stands for a method of loggers while calls are recorded."""

    def method(self: Any, *args: Any, **how: Any) -> None:
        ledger, stacklevel = current(), how.pop("stacklevel", 1) + 1
        if is_said(ledger):
            return
        extra = how.get("extra")
        values = args if ledger is None else ledger.texts.taken(sys._getframe(1), args)
        of: Any = values if level is None else (level, *values)
        if ledger is not None and (how.get("exc_info") or how.get("stack_info")):
            place = line_in(*self.findCaller(False, stacklevel)[:2])  # noqa: FBT003 - as above
            what = f"it logs an exception or a stack at {place}"
            context.trace.refuse(what, policy.REMEDIES["effect"], "effect")
            with context.aside(), using(trace=None):
                original(self, *args, **how, stacklevel=stacklevel)
            return
        if ledger is None or len(of) < 2 or not replayable((opened(of), extra)):
            original(self, *args, **how, stacklevel=stacklevel)
        else:
            note_log(ledger, self, of[0], of[1], of[2:], extra, stacklevel + 1)

    return method


# ----- a call that runs again -----

_said: ContextVar[list[int]] = ContextVar("outlets.said", default=[])  # noqa: B039 - never changed


@contextmanager
def said(count: int) -> Iterator[None]:
    """A call runs again inside, and leaves out what it has printed and logged before.

    Args:
        count: How often it did.
    """
    token = _said.set([count])
    try:
        with noted:
            yield
    finally:
        _said.reset(token)


def is_said(ledger: Ledger | None) -> bool:
    """Whether this output was there before; if not, and a call is recorded, it is counted."""
    if ledger is not None:
        ledger.said += 1
        return False
    left = _said.get()
    if not left or not left[0]:
        return False
    left[0] -= 1
    return True


# ----- where they stand -----


class Noted:
    """A `with` inside which output is noted; several threads may be inside."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before: list[tuple[Any, str, Any]] = []

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._install()

    def __exit__(self, *exc: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                for owner, name, original in self._before:
                    setattr(owner, name, original)
                self._before.clear()

    def _install(self) -> None:
        if type(builtins.print) is BuiltinFunctionType:  # else it is the user's, and recorded
            self._put(builtins, "print", stand_in_for_print(builtins.print))
        if (logging := sys.modules.get("logging")) is not None:
            for name, level in (*LEVELS.items(), ("log", None)):
                method = stand_in_for_log(getattr(logging.Logger, name), level)
                self._put(logging.Logger, name, method)

    def _put(self, owner: Any, name: str, stand_in: Any) -> None:
        self._before.append((owner, name, getattr(owner, name)))
        setattr(owner, name, stand_in)


noted = Noted()
