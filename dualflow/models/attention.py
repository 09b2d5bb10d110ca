"""Vectors in heads, and back."""

from __future__ import annotations

from dualflow.core.tensor import Tensor
from dualflow.ops.shape import permute_dims, reshape


def heads_of(x: Tensor, heads: int) -> Tensor:
    """(n, length, width) -> (n, heads, length, width / heads)."""
    n, length, width = x.shape
    return permute_dims(reshape(x, (n, length, heads, width // heads)), (0, 2, 1, 3))


def joined(x: Tensor) -> Tensor:
    """(n, heads, length, width) -> (n, length, heads * width)."""
    n, heads, length, width = x.shape
    return reshape(permute_dims(x, (0, 2, 1, 3)), (n, length, heads * width))
