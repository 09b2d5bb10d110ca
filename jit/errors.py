"""Every exception of both packages, each with what was wrong, what was expected, what to do."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

# Tells the user's source line that is running; set by who knows which frames are the user's.
locate: Callable[[], str | None] | None = None
# Adds to a line that it told of before what stands there; set likewise.
with_text: Callable[[str], str] = str


class DualflowError(Exception):
    """Base of all errors raised on purpose.

    Args:
        what: One line: the op, the shapes or dtypes that came, and the names of the values.
        expected: One line: what would have been right.
        remedy: One line: what to do about it.

    The last line is the user's source line that was running, where `locate` knows it.
    """

    def __init__(self, what: str = "", expected: str = "", remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.expected = expected
        self.remedy = remedy
        self.location = locate() if locate is not None else None
        self.pinned = False

    def pin(self, location: str | None) -> None:
        """Sets the location to the line an op was recorded at; the innermost such line stays."""
        if location is not None and not self.pinned:
            self.location, self.pinned = with_text(location), True

    def __str__(self) -> str:
        lines = [self.what]
        if self.expected:
            lines.append(f"  expected: {self.expected}")
        if self.remedy:
            lines.append(f"  try: {self.remedy}")
        if self.location:
            lines.append(f"  at {self.location}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        state = {"location": self.location}
        return (type(self), (self.what, self.expected, self.remedy), state)


class ShapeError(DualflowError, ValueError):
    """Shapes do not fit together: `matmul` of (2, 3) and (2, 3)."""


class DTypeError(DualflowError, TypeError):
    """An op does not take this dtype, or two dtypes have no common one."""


class AxisError(DualflowError, ValueError, IndexError):
    """An axis is outside of the tensor's dimensions, or is named twice."""


class IndexError(DualflowError, IndexError):
    """An index is outside of the dimension that it indexes."""


class LinAlgError(DualflowError, np.linalg.LinAlgError):
    """A matrix has no inverse or no such decomposition, or an iteration did not converge."""


class NumericsError(DualflowError, FloatingPointError):
    """An op made a NaN or an infinity out of finite values, while somebody watched for that."""


class AuditError(DualflowError, RuntimeError):
    """A call that was run from its graph and in Python gave two answers."""


class TapeError(DualflowError, RuntimeError):
    """A record was used in a way that it cannot serve: spent, or not recording."""


class TraceError(DualflowError, RuntimeError):
    """Python asked a symbolic value for something that only a concrete one can tell."""


class DeviceError(DualflowError, RuntimeError):
    """A device does not exist, or tensors of two devices met."""


class LaunchError(DeviceError):
    """A device reports that a launch went wrong; whatever follows fails there, too."""


class OutOfMemoryError(DualflowError, MemoryError):
    """A device has not enough free memory for what was asked of it.

    Attributes:
        room: Bytes that would be there, where a function's temporaries need more.
    """

    room: int | None = None


class GraphError(DualflowError, RuntimeError):
    """A Graph breaks its own rules: the verifier or the parser found it."""


class KernelError(DualflowError, RuntimeError):
    """A Kernel breaks its own rules: the verifier, the interpreter or code generation found it."""


class ScheduleError(DualflowError, ValueError):
    """A schedule's directive does not fit the loop it names: results would change."""


class GuardMiss(Exception):  # noqa: N818 - control flow between interpreter and caller, not a failure
    """A guard saw another answer than the one its path was recorded with.

    Args:
        index: Position of the guard among the guards of the graph.
        actual: The answer that was seen: a bool or an int.
    """

    def __init__(self, index: int, actual: object) -> None:
        super().__init__(index, actual)
        self.index = index
        self.actual = actual


class LaunchFailed(Exception):  # noqa: N818 - as above
    """A check inside of a kernel did not hold; nothing outside of the run was changed.

    Args:
        step: Position of the launch among the steps of the program.
    """

    def __init__(self, step: int) -> None:
        super().__init__(step)
        self.step = step


class NoNativeCode(Exception):  # noqa: N818 - tells the compiler to use the interpreter
    """A graph that native code cannot be made of."""
