"""Products of two inputs, and vectors looked up in bags."""

from __future__ import annotations

import math
from typing import Any

from dualflow.core.convert import as_tensor
from dualflow.core.devices import placed
from dualflow.core.doors import meet
from dualflow.core.precision import in_dtype_of
from dualflow.core.tensor import Tensor
from dualflow.ops.choice import maximum, where
from dualflow.ops.create import arange, zeros
from dualflow.ops.einsum import einsum
from dualflow.ops.elementwise import astype
from dualflow.ops.neural import check_extents, embedding
from dualflow.ops.reduce import max, sum
from dualflow.ops.shape import expand_dims
from jit.errors import ShapeError
from jit.types import format_shape


def bilinear(x1: Any, x2: Any, weight: Any, bias: Any = None) -> Tensor:
    """`x1 @ weight[k] @ x2 + bias[k]` for each output k.

    Args:
        x1: Tensor of shape (..., in1_features).
        x2: Tensor of shape (..., in2_features).
        weight: Tensor of shape (out_features, in1_features, in2_features).
        bias: Tensor of shape (out_features,), or None.

    Returns:
        Tensor of shape (..., out_features).

    Raises:
        ShapeError: The numbers of features differ.
        DTypeError: They hold no real numbers.

    Example:
        >>> import dualflow as df
        >>> x1, x2 = df.asarray([1.0, 2.0]), df.asarray([3.0])
        >>> df.nn.functional.bilinear(x1, x2, df.ones((2, 2, 1))).tolist()
        [9.0, 9.0]
    """
    x1, x2, weight = meet("bilinear", (as_tensor(x1), as_tensor(x2), as_tensor(weight)), "floating")
    if weight.ndim != 3 or (x1.shape[-1], x2.shape[-1]) != weight.shape[1:]:
        raise ShapeError(
            f"bilinear: shapes {format_shape(x1.shape)}, {format_shape(x2.shape)} and "
            f"weight of shape {format_shape(weight.shape)}",
            "(..., in1), (..., in2) and (out, in1, in2)",
            "check in1_features and in2_features",
        )
    check_extents("bilinear", "bias", bias, weight.shape[:1])
    y = einsum("...oj,...j->...o", einsum("...i,oij->...oj", x1, weight), x2)
    return y if bias is None else y + in_dtype_of(y, bias)


@placed
def embedding_bag(
    ids: Any,
    weight: Any,
    offsets: Any = None,
    *,
    mode: str = "mean",
    per_sample_weights: Any = None,
    padding_idx: int | None = None,
) -> Tensor:
    """The sum, mean or largest elements of the rows of `weight` that each bag of `ids` names.

    Args:
        ids: Integers of shape (n, bag), or (total,) with `offsets`.
        weight: Tensor of shape (num_embeddings, embedding_dim).
        offsets: Where each bag begins in a row of ids, of shape (n,).
        mode: "mean", "sum" or "max".
        per_sample_weights: Factors of the rows, in the shape of `ids`; for "sum" only.
        padding_idx: An id that does not count.

    Returns:
        Tensor of shape (n, embedding_dim); zeros for a bag of nothing.

    Raises:
        ShapeError: Ids in one row without offsets.
        IndexError: An id has no row.

    Example:
        >>> import dualflow as df
        >>> weight = df.asarray([[1.0], [2.0], [4.0]])
        >>> df.nn.functional.embedding_bag(df.asarray([[0, 1], [1, 2]]), weight).tolist()
        [[1.5], [3.0]]
        >>> df.nn.functional.embedding_bag([0, 1, 2], weight, [0, 1], mode="sum").tolist()
        [[1.0], [6.0]]
    """
    ids = as_tensor(ids)
    if (offsets is None) != (ids.ndim == 2):
        raise ShapeError(
            f"embedding_bag: ids of shape {format_shape(ids.shape)}",
            "(n, bag), or one row and the offsets of its bags",
            "",
        )
    rows = embedding(ids, weight)
    counts = ids == ids if padding_idx is None else ids != padding_idx
    if per_sample_weights is not None:
        rows = rows * expand_dims(as_tensor(per_sample_weights), -1)
    if offsets is None:
        inside = counts
    else:  # every bag looks at the whole row, and sees its own part
        begin = expand_dims(as_tensor(offsets), 1)
        at = arange(ids.shape[0])
        bag = sum(astype(begin <= at, ids.dtype), axis=0) - 1
        inside = (bag == expand_dims(arange(begin.shape[0]), 1)) & counts
        rows = expand_dims(rows, 0)
    seen = expand_dims(inside, -1)
    number = sum(astype(seen, rows.dtype), axis=1)
    if mode == "max":
        largest = max(where(seen, rows, -math.inf), axis=1)
        return where(number > 0, largest, zeros((), dtype=rows.dtype))
    total = sum(where(seen, rows, 0), axis=1)
    return total / maximum(number, 1) if mode == "mean" else total


__all__ = ["bilinear", "embedding_bag"]
