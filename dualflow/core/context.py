"""What is in force in this thread: the current trace, the recording tapes, the device, quiet NumPy.

Dispatch is by context, not by subclass: an op asks here whether somebody traces or watches.
"""

from __future__ import annotations

import contextvars
import threading
from contextlib import nullcontext
from functools import wraps
from typing import Any

import numpy as np


class Epoch:
    """Counts changes of Modules, optimisers and Variables that assignments do not show.

    Attributes set, parameters frozen, dtypes converted: recordings rely on them, and look again
    only when the number has moved.
    """

    number = 0


class Counted:
    """Base of objects whose attributes are set by `=` only: `Epoch` counts every change of them."""

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        Epoch.number += 1  # afterwards: who has seen this number has seen the change

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        Epoch.number += 1


class Context(threading.local):
    """State of one thread.

    Attributes:
        trace: The trace that ops are appended to, or None.
        checker: Who looks at the results of decorated functions, or None.
        recording: False inside `no_grad`: no op leaves a record.
        tapes: The tapes that record now, innermost last.
        autocast: The dtype of products inside `autocast`, or None.
        device: Where new tensors are created.
        once: Whether what runs is not likely to run often: kernels that are made serve all sizes.
        alike: Seconds of what ran `once` that a graph would take too: products, and what has no
            code.
        aside: Makes a `with` block of which a recording's watch sees nothing: compiling calls a
            hundred thousand functions.
        run: Calls a function with NumPy's floating-point warnings off. An infinity is a value here,
            not a warning; a `contextvars` context costs 0.03 us where `np.errstate` costs 1.
    """

    def __init__(self) -> None:
        self.trace: Any = None
        self.checker: Any = None
        self.recording = True
        self.tapes: tuple[Any, ...] = ()
        self.autocast: Any = None
        self.device = "cpu"
        self.once = False
        self.alike = 0.0
        self.aside: Any = nullcontext
        quiet = contextvars.copy_context()
        quiet.run(np.seterr, all="ignore")
        self.run = quiet.run


context = Context()


def checks_ops() -> bool:
    """Whether somebody looks at what each op of a recording gives, so that none may be left out."""
    return context.checker is not None and context.checker.checks_ops


@np.errstate(all="ignore")
def quietly(function: Any, *args: Any) -> Any:
    """Calls a function of many steps with NumPy's warnings off; it may call `run` inside."""
    return function(*args)


class using:  # noqa: N801 - reads as a statement
    """Sets attributes of the thread's context for a `with` block and puts them back."""

    __slots__ = ("changes", "before")

    def __init__(self, **changes: Any) -> None:
        self.changes = changes

    def __enter__(self) -> None:
        state = context.__dict__  # this thread's; at once, because composites come here often
        self.before = {name: state[name] for name in self.changes}
        state.update(self.changes)

    def __exit__(self, *exc: object) -> None:
        context.__dict__.update(self.before)


class no_grad:  # noqa: N801 - PyTorch's name
    """Context manager and decorator inside which nothing is recorded for gradients.

    Example:
        >>> import dualflow as df
        >>> w = df.Variable([1.0, 2.0])
        >>> with df.no_grad():
        ...     w -= 0.5 * w
        >>> w.tolist()
        [0.5, 1.0]
    """

    def __init__(self) -> None:
        self._before: list[bool] = []  # a stack, so that one instance may be entered again

    def __enter__(self) -> None:
        self._before.append(context.recording)
        context.recording = False

    def __exit__(self, *exc: object) -> None:
        context.recording = self._before.pop()

    def __call__(self, function: Any) -> Any:
        """`function`, run without recording."""

        @wraps(function)
        def quiet(*args: Any, **kwargs: Any) -> Any:
            with no_grad():
                return function(*args, **kwargs)

        return quiet
