"""Attention by scaled dot products."""

from __future__ import annotations

import math
from typing import Any

from dualflow.core.convert import as_tensor
from dualflow.core.define import composite
from dualflow.core.doors import meet
from dualflow.core.registry import api
from dualflow.core.tensor import Tensor
from dualflow.ops.choice import where
from dualflow.ops.create import arange
from dualflow.ops.linalg import matmul
from dualflow.ops.neural import softmax
from dualflow.ops.shape import expand_dims, matrix_transpose
from jit.errors import ShapeError
from jit.types import bool_, format_shape


def causal(rows: Any, columns: Any) -> Tensor:
    """Bools of shape (rows, columns): whether the column is not after the row."""
    return expand_dims(arange(rows), 1) >= arange(columns)


@composite(tensors=3, accepts="floating", public=False)
def attention(query: Any, key: Any, value: Any, is_causal: bool, scale: float) -> Tensor:  # noqa: FBT001
    """softmax(query @ key.mT * scale) @ value, without a mask or with the causal one."""
    scores = matmul(query * scale, matrix_transpose(key))
    if is_causal:
        scores = where(causal(*scores.shape[-2:]), scores, -math.inf)
    return matmul(softmax(scores), value)


@composite(tensors=4, accepts=None, public=False)
def masked_attention(query: Any, key: Any, value: Any, mask: Any, scale: float) -> Tensor:
    """softmax(query @ key.mT * scale + mask) @ value; false in a mask of bools forbids."""
    scores = matmul(query * scale, matrix_transpose(key))
    if mask.dtype != bool_:
        return matmul(softmax(scores + mask), value)
    shares = softmax(where(mask, scores, -math.inf))
    return matmul(where(mask, shares, 0), value)  # a row that may see nothing would be NaN


@api
def scaled_dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    *,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """For each query the mean of the values, weighted by the softmax of its products with the keys.

    The formula is that of "Attention Is All You Need" (Vaswani and others, 2017).

    Args:
        query: Tensor of shape (..., L, E).
        key: Tensor of shape (..., S, E).
        value: Tensor of shape (..., S, V).
        attn_mask: Broadcasts to (..., L, S): bools, where false forbids, or numbers to add to the
            products; None allows everything. A query that bools forbid every key gets zeros.
        is_causal: Query i sees the keys up to i; not together with `attn_mask`.
        scale: What the products are multiplied by; 1 / sqrt(E) when None.

    Returns:
        Tensor of shape (..., L, V).

    Raises:
        ShapeError: The extents differ, or there are two masks.

    Example:
        >>> import dualflow as df
        >>> q = k = v = df.ones((1, 3, 4))
        >>> df.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True).shape
        (1, 3, 4)
    """
    query, key, value = meet(
        "scaled_dot_product_attention",
        (as_tensor(query), as_tensor(key), as_tensor(value)),
        "floating",
    )
    shapes = [tuple(x.shape) for x in (query, key, value)]
    if (
        min(map(len, shapes)) < 2
        or shapes[0][-1] != shapes[1][-1]
        or shapes[1][-2] != shapes[2][-2]
    ):
        raise ShapeError(
            "scaled_dot_product_attention: query, key, value of shapes "
            + ", ".join(map(format_shape, shapes)),
            "(..., L, E), (..., S, E) and (..., S, V)",
            "check the extents",
        )
    factor = 1 / math.sqrt(int(query.shape[-1])) if scale is None else scale
    if attn_mask is None:
        return attention(query, key, value, is_causal, factor)
    if is_causal:
        raise ShapeError(
            "scaled_dot_product_attention: attn_mask and is_causal",
            "one of the two",
            "put the causal mask into attn_mask",
        )
    return masked_attention(query, key, value, attn_mask, factor)
