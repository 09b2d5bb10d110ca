"""Rows with a one at the place that an integer names."""

from __future__ import annotations

from typing import Any

from dualflow.core.axes import canonical_shape
from dualflow.core.batching import leading
from dualflow.core.convert import as_tensor
from dualflow.core.define import lower_definition
from dualflow.core.devices import placed
from dualflow.core.op import Op, bind
from dualflow.core.registry import api
from dualflow.core.tensor import Tensor
from dualflow.ops.create import arange
from dualflow.ops.elementwise import astype, equal
from dualflow.ops.shape import expand_dims
from jit.dims import Dim
from jit.errors import DTypeError
from jit.types import TensorType, as_dtype, dtypes, float32, int64, kind


def _hot(x: Any, *, classes: Any, dtype: Any) -> Tensor:
    return astype(equal(expand_dims(x, -1), arange(classes, dtype=x.dtype)), dtype)


def _one_hot_evaluate(xp: Any, x: Any, *, classes: int, dtype: Any) -> Any:
    """A 1 is written for each number that names a place; most of a row is never touched again."""
    rows = xp.zeros((x.size, classes), dtype)
    flat = x.reshape(-1)
    (named,) = xp.nonzero((flat >= 0) & (flat < classes))
    rows[named, flat[named]] = 1
    return rows.reshape(*x.shape, classes)


_one_hot = Op(
    name="one_hot",
    evaluate=_one_hot_evaluate,
    infer=lambda x, *, classes, dtype: TensorType((*x.shape, classes), dtype),
    lower=lower_definition(_hot),
    batch=leading,
)


@api
@placed
def one_hot(x: Any, /, num_classes: int | Dim, *, dtype: Any = float32) -> Tensor:
    """Rows with a 1 at the place that an integer names, and zeros elsewhere.

    Args:
        x: Tensor of integers, of any shape. A number outside of [0, num_classes) makes a row of
            zeros.
        num_classes: The length of the rows.
        dtype: Of the elements.

    Returns:
        Tensor of shape (*x.shape, num_classes).

    Raises:
        DTypeError: `x` does not hold integers.
        ShapeError: `num_classes` is negative.

    Example:
        >>> import dualflow as df
        >>> df.one_hot(df.asarray([1, 0]), 3).tolist()
        [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
    """
    x = as_tensor(x)
    if kind(x.dtype) != "integer":
        raise DTypeError(f"one_hot: does not take {x.dtype}", "integers", "x.astype(df.int64)")
    classes = astype(x, int64) if x.dtype.kind == "i" else astype(x, dtypes["uint64"])
    (extent,) = canonical_shape("one_hot", num_classes)
    attrs = {"classes": extent, "dtype": as_dtype(dtype or float32)}
    return bind(_one_hot, (classes,), attrs)
