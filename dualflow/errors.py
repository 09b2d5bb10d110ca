"""Every error and warning that dualflow raises on purpose: `df.errors`."""

from __future__ import annotations

from jit.errors import (
    AuditError,
    AxisError,
    DeviceError,
    DTypeError,
    DualflowError,
    GraphError,
    IndexError,
    LinAlgError,
    NumericsError,
    OutOfMemoryError,
    ShapeError,
    TapeError,
    TraceError,
)

__all__ = [
    "AuditError",
    "AxisError",
    "DTypeError",
    "DeviceError",
    "DualflowError",
    "FileError",
    "FunctionWarning",
    "GraphError",
    "IndexError",
    "LinAlgError",
    "NumericsError",
    "OutOfMemoryError",
    "PromotionWarning",
    "RetraceWarning",
    "ShapeError",
    "TapeError",
    "TraceError",
    "UnconnectedWarning",
]


class FileError(DualflowError, ValueError):
    """A file is damaged, or not of the format that it should have."""


class FunctionWarning(UserWarning):
    """A decorated function runs in segments: the message says where, why, and what to change."""


class PromotionWarning(UserWarning):
    """float64 met float32: the result is float64. Said once in a process."""


class RetraceWarning(UserWarning):
    """A function is recorded again and again: the message says why, and what would stop it."""


class UnconnectedWarning(UserWarning):
    """A gradient is None because the source does not reach the target."""
