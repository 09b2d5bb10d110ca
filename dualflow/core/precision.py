"""Mixed precision: in which dtype ops compute where `autocast` is in force.

The record of an op says what its arguments become: "low" for contractions, convolutions and
attention, "full" (float32) for softmax, normalisation and losses. Reductions widen what they are
given; all other ops follow promotion. Variables stay as they are, and are converted where they are
used: the conversions are ops like others, so that gradients come back in the Variables' own dtype.
"""

from __future__ import annotations

from dataclasses import replace
from functools import wraps
from typing import Any

import numpy as np

from dualflow.core.context import context, using
from dualflow.core.convert import as_tensor
from dualflow.core.registry import functions
from dualflow.core.tensor import Tensor
from jit.config import scoped
from jit.errors import DTypeError, TraceError
from jit.types import as_dtype, bfloat16, dtypes, float32

HALVES = (bfloat16, dtypes["float16"])
NARROW = (*HALVES, float32)  # what autocast converts; float64 is there because somebody wants it
# One entry for each `autocast` in force in any thread; a plain list, because every op asks whether
# it is empty.
regions: list[np.dtype[Any]] = []


class autocast:  # noqa: N801 - PyTorch's name
    """Context manager and decorator inside which products are computed in half precision.

    Matrix products, convolutions and attention take their float32 arguments in `dtype`; softmax,
    normalisation, losses and reductions take theirs in float32; all other ops follow promotion.
    float64 stays. Backward passes compute in the dtypes of the forward pass, inside or outside.
    Parameters stay float32 and get float32 gradients, so that optimisers need no other settings;
    float16, whose smallest numbers are too large for many gradients, needs
    `df.optim.GradScaler` too.

    Args:
        dtype: `"bfloat16"` or `"float16"`.
        enabled: False: everything inside is computed as without autocast.

    Raises:
        DTypeError: Another dtype.

    Example:
        >>> import dualflow as df
        >>> with df.autocast("bfloat16"):
        ...     y = df.ones((2, 3)) @ df.ones((3, 4))
        >>> y.dtype.name, df.exp(y).dtype.name
        ('bfloat16', 'bfloat16')
    """

    def __init__(self, dtype: Any = "bfloat16", *, enabled: bool = True) -> None:
        low = as_dtype(dtype)
        if low not in HALVES:
            raise DTypeError(
                f"autocast: {low}", "bfloat16 or float16", 'df.autocast("bfloat16"), say'
            )
        self.dtype = low if enabled else None
        self._before: list[Any] = []  # a stack, so that one instance may be entered again

    def __enter__(self) -> None:
        self._before.append(context.autocast)
        context.autocast = self.dtype
        if self.dtype is not None:
            regions.append(self.dtype)

    def __exit__(self, *exc: object) -> None:
        context.autocast = self._before.pop()
        if self.dtype is not None:
            regions.remove(self.dtype)

    def __call__(self, function: Any) -> Any:
        """`function`, run inside."""

        @wraps(function)
        def cast(*args: Any, **kwargs: Any) -> Any:
            with autocast(self.dtype or "bfloat16", enabled=self.dtype is not None):
                return function(*args, **kwargs)

        return cast


class set_matmul_precision:  # noqa: N801 - reads as a function; as a context manager it ends
    """Says how GPUs multiply matrices of float32, in this thread, in both modes alike.

    Processors, and GPUs that lack what is asked for, keep every bit in any case. Backward passes
    compute in what is in force where they are asked for. `JIT_PRECISION` sets it for a process.

    Args:
        precision: "float32", as it is at first; or "tf32", which rounds the operands to 10 bits of
            their 23 and is several times as fast. Sums are of float32 in any case.

    Raises:
        ValueError: Another precision.
        TraceError: It changes in the middle of a recording: a graph has one precision.

    Example:
        >>> import dualflow as df
        >>> with df.set_matmul_precision("tf32"):
        ...     y = df.ones((2, 3)) @ df.ones((3, 4))
    """

    def __init__(self, precision: str) -> None:
        self._before = scoped.get().precision
        self._set(precision)

    def _set(self, precision: str) -> None:
        if context.trace is not None and precision != scoped.get().precision:
            raise TraceError(
                f"set_matmul_precision({precision!r}) inside a decorated function",
                "one precision for all of its products",
                "set it around the call",
            )
        scoped.set(replace(scoped.get(), precision=precision))

    def __enter__(self) -> set_matmul_precision:
        return self

    def __exit__(self, *exc: object) -> None:
        self._set(self._before)


def as_given() -> using:
    """A `with` block whose ops take their arguments as they are: what runs was decided before."""
    return using(autocast=None)


def in_precision(op: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments of an op, as its record says, where autocast is in force in this thread."""
    low, wanted = context.autocast, getattr(op, "precision", None)  # ops of `jit` have none
    if low is None or wanted is None:
        return args
    dtype = low if wanted == "low" else float32
    return tuple([converted(x, dtype) for x in args])


def converted(x: Any, dtype: np.dtype[Any]) -> Any:
    """An argument in `dtype`, if it is a tensor of narrow floating numbers."""
    if x.__class__ is not Tensor or x.dtype == dtype or x.dtype not in NARROW:
        return x
    return functions["astype"](x, dtype)


def in_full(x: Any) -> Tensor:
    """What a reduction or a loss takes: float32 for half precision, where autocast is in force."""
    x = as_tensor(x)
    return x if context.autocast is None else converted(x, float32)


def in_dtype_of(y: Tensor, bias: Any) -> Any:
    """A bias in the dtype of the product `y` that it is added to, where autocast chose that."""
    if context.autocast is None or y.dtype != context.autocast:
        return bias
    return converted(as_tensor(bias), y.dtype)
