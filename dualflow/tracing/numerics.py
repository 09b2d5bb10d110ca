"""`df.check_numerics`: which op made the first NaN or infinity out of finite values, and where.

Op by op where Python runs. A compiled call runs as ever, and only what it gives is looked at: if
that is not finite, nothing is written, and the call runs again in Python, which stops at the line.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from types import FrameType
from typing import Any

import numpy as np

from dualflow.autodiff.sweep import Sweep
from dualflow.core.context import context, using
from dualflow.core.hints import name_of
from dualflow.core.op import Op, evaluate
from dualflow.core.record import INEXACT
from dualflow.core.source import is_users, user_line
from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable
from dualflow.tracing.unrecorded import Unrecorded
from jit.errors import NumericsError, TraceError
from jit.types import kind

KEPT = 100_000  # ops whose lines are remembered for the way back


class NotFinite(Exception):  # noqa: N818 - tells the caller to run the call in Python
    """A compiled call gave a NaN or an infinity; it has changed nothing."""


class Checker(Unrecorded):
    """Looks at what every op gives; it stands where a recording would stand.

    Attributes:
        in_python: Whether decorated functions run in Python, because one of them is replayed.
    """

    runs = False  # sweeps go op by op
    checks_ops = True

    def __init__(self) -> None:
        super().__init__()
        self.in_python = False
        self._lines: OrderedDict[int, str | None] = OrderedDict()  # by tick of the record
        self._before: list[dict[Variable, tuple[Tensor, Variable | None]]] = []

    # ----- ops -----

    def bind(self, op: Op, args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        """Computes an op and looks at the result."""
        out = evaluate(op, args, attrs)
        self.check(op, args, out)
        return out

    def check(self, op: Op, args: tuple[Any, ...], out: Any) -> None:
        """Looks at the result of an op.

        Raises:
            NumericsError: It is not finite though the arguments are.
        """
        outputs = out if isinstance(out, tuple) else (out,)
        if (record := outputs[0].record) is not None:
            self._lines[record.tick] = line_now()
            if len(self._lines) > KEPT:
                self._lines.popitem(last=False)
        arrays = [x.raw if isinstance(x, Tensor) else np.asarray(x) for x in args]
        if not finite([y.raw for y in outputs]) and finite(arrays):
            bad = next(y.raw for y in outputs if not finite([y.raw]))
            raise self._error(op, args, bad)

    def _error(self, op: Op, args: tuple[Any, ...], bad: Any) -> NumericsError:
        record = next((f.f_locals["record"] for f in frames() if f.f_code in PULLS), None)
        way = "forward"
        if record is not None:
            line = self._lines.get(record.tick)
            way = f"backward, in the gradient of {record.op.name}" + (f" at {line}" if line else "")
        places = np.argwhere(~np.isfinite(bad))
        first = tuple(map(int, places[0]))
        what = f"{bad[first]}" + (f" at {list(first)}" if first else "")
        error = NumericsError(
            f"{op.name} ({way}) made {what} out of finite values, "
            f"{len(places)} of {bad.size}: {', '.join(map(described, args))}",
            "finite results of finite operands",
            "keep its operands away from there: df.clip, df.where, an epsilon, a smaller step",
        )
        if (line := replayed()) is not None:
            error.pin(line)
        return error

    # ----- calls of decorated functions -----

    def follow(self, path: Any, tensors: list[Tensor], numbers: Sequence[Any]) -> Any:
        """Runs a compiled path; nothing is written unless all that it gives is finite."""
        return path.call(tensors, numbers, accept)

    def replay(self, python: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Runs a call in Python, op by op; an error leaves the state from before the call."""
        before, in_python = dict[Variable, tuple[Tensor, Variable | None]](), self.in_python
        self._before.append(before)
        self.in_python = True
        try:
            with using(trace=self, checker=None):
                return python(*args, **kwargs)
        except NumericsError:
            for variable, (tensor, grad) in before.items():
                variable.tensor, variable._grad = tensor, grad
            raise
        finally:
            self.in_python = in_python
            self._before.pop()

    def wrote(self, variable: Variable, before: Tensor, after: Tensor) -> None:
        """A Variable was assigned."""
        for state in self._before:
            state.setdefault(variable, (before, variable._grad))

    def touched_grad(self, variable: Variable) -> None:
        """`.grad` of a Variable is read or set."""
        for state in self._before:
            state.setdefault(variable, (variable.tensor, variable._grad))


def accept(made: list[Any], outcome: Any) -> None:
    """Looks at what a compiled call, or a stretch of one, gives: it must be finite."""
    if not finite(made):
        raise NotFinite


def finite(arrays: Iterable[Any]) -> bool:
    """Whether there is no NaN and no infinity in arrays; a sum tells in most cases."""
    for array in arrays:
        if array is not None and kind(array.dtype) in INEXACT:
            total = context.run(np.sum, array)
            if not np.isfinite(total) and not np.isfinite(array).all():
                return False
    return True


def described(x: Any) -> str:
    """An operand: its name, type, and range of values."""
    if not isinstance(x, Tensor):
        return repr(x)
    name = name_of(x)
    array = x.raw
    inside = ""
    if array.size and kind(array.dtype) != "complex":
        low, high = array.min(), array.max()
        inside = f" = {low}" if low == high else f" in [{low}, {high}]"
    return f"{name + ': ' if name else ''}{x.type}{inside}"


PULLS = (Sweep._pull.__code__,)


def frames() -> Iterable[FrameType]:
    """The frames that are running, innermost first."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back


def replayed() -> str | None:
    """The line of the node that is run as an op, below the user's frame; None if none is."""
    for frame in frames():
        if is_users(frame):
            return None
        if frame.f_code.co_name == "replay" and "node" in frame.f_locals:
            return frame.f_locals["node"].source
    return None


def line_now() -> str | None:
    """The user's line of the op that is running."""
    return replayed() or user_line()


class check_numerics:  # noqa: N801 - reads as a function; as a context manager it puts things back
    """Looks for the first NaN or infinity that an op makes out of finite values, in this thread.

    Args:
        enable: False stops looking.

    Raises:
        NumericsError: There was one: the message names the op, your line, forward or backward, and
            the ranges of the operands. A call of a decorated function has then changed no state.

    Example:
        >>> import dualflow as df
        >>> try:
        ...     with df.check_numerics():
        ...         df.log(df.asarray([1.0, 0.0]))
        ... except df.errors.NumericsError as error:
        ...     print(error.what)
        log (forward) made -inf at [1] out of finite values, 1 of 2: float32[2] in [0.0, 1.0]
    """

    def __init__(self, *, enable: bool = True) -> None:
        self._before = context.trace
        if not isinstance(self._before, Checker | None):
            raise TraceError(
                "check_numerics() inside of a decorated function",
                "calls of functions inside of `with df.check_numerics():`",
                "put it around the call",
            )
        context.trace = Checker() if enable else None

    def __enter__(self) -> check_numerics:
        return self

    def __exit__(self, *exc: Any) -> None:
        context.trace = self._before
