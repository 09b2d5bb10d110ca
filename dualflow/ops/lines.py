"""Number lines: evenly spaced numbers from one end to another."""

from __future__ import annotations

from typing import Any

import numpy as np

from dualflow.core.axes import canonical_shape
from dualflow.core.convert import as_tensor
from dualflow.core.define import creation
from dualflow.core.op import Op, bind
from dualflow.core.registry import api
from dualflow.core.tensor import Tensor
from dualflow.ops.choice import where
from dualflow.ops.create import arange, plain_number
from dualflow.ops.elementwise import astype
from jit.dims import Dim
from jit.errors import ShapeError
from jit.types import TensorType, as_dtype, dtypes, float64, format_shape, int64, kind, weak_dtype


def _end(what: str, x: Any) -> Any:
    """An end of what `linspace` makes: a Python number, or a tensor in double precision."""
    if not isinstance(x, Tensor):
        return plain_number(x)
    if x.ndim:
        raise ShapeError(
            f"linspace: {what} of shape {format_shape(x.shape)}",
            "a number, or a tensor without dimensions",
            "start + (stop - start) * df.linspace(0, 1, num)[:, None]",
        )
    return astype(x, dtypes["complex128"] if kind(x.dtype) == "complex" else float64)


def _linspace_evaluate(
    xp: Any, *, start: float, stop: float, extent: Any, steps: int, dtype: Any
) -> Any:
    numbers = xp.arange(extent, dtype=np.float64)
    numbers *= (stop - start) / steps
    numbers += start
    numbers[steps:] = stop  # where it is the last one
    return numbers.astype(dtype, copy=False)


def _linspace_lower(
    form: Any, *, start: float, stop: float, extent: Any, steps: int, dtype: Any
) -> Any:
    index = form.index((extent,), lambda i: i, int64)
    wide = form.pointwise("astype", index, dtype=float64)
    each = form.constant((stop - start) / steps, float64, (extent,))
    numbers = form.pointwise("multiply", wide, each)
    numbers = form.pointwise("add", numbers, form.constant(start, float64, (extent,)))
    at_end = form.pointwise("equal", index, form.constant(steps, int64, (extent,)))
    numbers = form.pointwise("where", at_end, form.constant(stop, float64, (extent,)), numbers)
    return numbers if dtype == float64 else form.pointwise("astype", numbers, dtype=dtype)


_linspace = Op(
    name="linspace",
    evaluate=_linspace_evaluate,
    infer=lambda *, start, stop, extent, steps, dtype: TensorType((extent,), dtype),
    lower=_linspace_lower,
)


@api
@creation
def linspace(
    start: Any, stop: Any, /, num: int, *, dtype: Any = None, endpoint: bool = True
) -> Tensor:
    """`num` evenly spaced numbers from `start` to `stop`, computed in float64.

    Args:
        start: The first number; gradients flow to a tensor.
        stop: The last one, exactly; likewise.
        num: How many.
        dtype: float32 when None, complex64 if an end is complex; that of tensors, if ends are such.
        endpoint: False: `stop` would be the next after the last.

    Returns:
        Tensor of shape (num,).

    Raises:
        ShapeError: An end is a tensor with dimensions.

    Example:
        >>> import dualflow as df
        >>> df.linspace(0, 1, 5).tolist()
        [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    (extent,) = canonical_shape("linspace", num)
    first, last = _end("start", start), _end("stop", stop)
    if dtype is not None:
        target = as_dtype(dtype)
    elif isinstance(first, Tensor) or isinstance(last, Tensor):
        target = (start + stop + 0.0).dtype
    else:
        target = weak_dtype(first + last + 0.0, None)
    steps = extent - 1 if endpoint else extent
    numbers = isinstance(first, int | float) and isinstance(last, int | float)
    if numbers and isinstance(steps, int) and steps > 0:
        attrs = {"start": float(first), "stop": float(last), "extent": extent, "steps": steps}
        return bind(_linspace, (), attrs | {"dtype": target})
    index = arange(extent, dtype=float64)
    if isinstance(steps, int) and steps <= 0:
        return astype(index * 0 + first, target)
    count = astype(as_tensor(steps), float64) if isinstance(steps, Dim) else steps
    values = index * ((last - first) / count) + first
    if endpoint:
        values = where(index == steps, last, values)
    return astype(values, target)
