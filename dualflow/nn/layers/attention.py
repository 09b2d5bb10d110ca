"""Attention with several heads."""

from __future__ import annotations

import math
from functools import reduce
from operator import add, and_
from typing import Any

from dualflow.core.convert import as_tensor
from dualflow.core.devices import placed
from dualflow.core.tensor import Tensor
from dualflow.nn import functional as F  # noqa: N812
from dualflow.nn import init
from dualflow.nn.layers.linear import Linear
from dualflow.nn.module import Module, Parameter
from dualflow.ops.attention import causal as causal_mask
from dualflow.ops.choice import where
from dualflow.ops.create import zeros
from dualflow.ops.linalg import matmul
from dualflow.ops.shape import expand_dims, matrix_transpose, moveaxis, permute_dims, reshape
from dualflow.ops.statistics import mean
from jit.errors import ShapeError
from jit.types import bool_, format_shape


class MultiheadAttention(Module):
    """Attention that looks for several things at once (Vaswani et al., 2017).

    Args:
        embed_dim: Length of queries and outputs.
        num_heads: How many heads share it.
        dropout: Share of the attention weights that is dropped in training.
        bias: Add biases.
        kdim: Length of keys; that of queries when None.
        vdim: Length of values; that of queries when None.
        batch_first: Inputs and outputs are (n, length, ...).
        dtype: Of the parameters.

    Attributes:
        in_proj_weight: Shape (3 * embed_dim, embed_dim), for query, key and value; or None, and
            `q_proj_weight`, `k_proj_weight`, `v_proj_weight`, where lengths differ.
        in_proj_bias: Shape (3 * embed_dim,), or None.
        out_proj: A `Linear` layer.

    Example:
        >>> import dualflow as df
        >>> attention = df.nn.MultiheadAttention(8, 2, batch_first=True)
        >>> x = df.ones((1, 5, 8))
        >>> y, weights = attention(x, x, x)
        >>> y.shape, weights.shape
        ((1, 5, 8), (1, 5, 5))
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,  # noqa: FBT001, FBT002 - PyTorch's position
        *,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        dtype: Any = "float32",
    ) -> None:
        if embed_dim % num_heads:
            raise ValueError(
                f"MultiheadAttention: num_heads={num_heads} does not divide embed_dim={embed_dim}"
            )
        self.embed_dim, self.num_heads, self.dropout = embed_dim, num_heads, dropout
        self.kdim, self.vdim, self.batch_first = kdim or embed_dim, vdim or embed_dim, batch_first
        self.in_proj_weight = None
        if (self.kdim, self.vdim) == (embed_dim, embed_dim):
            self.in_proj_weight = Parameter(zeros((3 * embed_dim, embed_dim), dtype=dtype))
        else:
            for name, width in zip("qkv", (embed_dim, self.kdim, self.vdim)):
                weight = Parameter(zeros((embed_dim, width), dtype=dtype))
                setattr(self, f"{name}_proj_weight", weight)
        self.in_proj_bias = Parameter(zeros(3 * embed_dim, dtype=dtype)) if bias else None
        self.out_proj = Linear(embed_dim, embed_dim, bias, dtype=dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws new initial values."""
        for name in ("in_proj", "q_proj", "k_proj", "v_proj"):
            if (weight := getattr(self, f"{name}_weight", None)) is not None:
                init.xavier_uniform_(weight)
        for bias in (self.in_proj_bias, self.out_proj.bias):
            if bias is not None:
                init.zeros_(bias)

    def forward(
        self,
        query: Any,
        key: Any,
        value: Any,
        key_padding_mask: Any = None,
        need_weights: bool = True,  # noqa: FBT001, FBT002 - PyTorch's position
        attn_mask: Any = None,
        average_attn_weights: bool = True,  # noqa: FBT001, FBT002
        is_causal: bool = False,  # noqa: FBT001, FBT002
    ) -> tuple[Tensor, Tensor | None]:
        """For each query the means of the values, weighted by how much it heeds their keys.

        Args:
            query: Tensor of shape (L, n, embed_dim), (n, L, embed_dim) with `batch_first`, or
                (L, embed_dim).
            key: Tensor of shape (S, n, kdim), likewise.
            value: Tensor of shape (S, n, vdim), likewise.
            key_padding_mask: Shape (n, S), or (S,): bools, where true forbids, or numbers to add.
            need_weights: Also return the weights; without them one kernel does all.
            attn_mask: Shape (L, S) or (n * heads, L, S): bools, where true forbids, or numbers to
                add.
            average_attn_weights: Return the mean of the heads' weights.
            is_causal: Query i sees keys up to i; `attn_mask` is not read then.

        Returns:
            The outputs, and weights of shape (n, L, S), or (n, heads, L, S), or None.
        """
        q, k, v = as_tensor(query), as_tensor(key), as_tensor(value)
        single = q.ndim == 2
        if single:
            q, k, v = (expand_dims(x, 0) for x in (q, k, v))
        elif not self.batch_first:
            q, k, v = (moveaxis(x, 0, 1) for x in (q, k, v))
        if q.ndim != 3 or q.shape[-1] != self.embed_dim:
            raise ShapeError(
                f"MultiheadAttention: a query of shape {format_shape(q.shape)}",
                f"(..., {self.embed_dim}) with 2 or 3 dimensions",
                "check embed_dim",
            )
        mask = self._mask(attn_mask, key_padding_mask, q, k, is_causal)
        q_heads, k_heads, v_heads = (self._split(x) for x in self._projected(q, k, v))
        y, weights = self._attend(q_heads, k_heads, v_heads, mask, need_weights, is_causal)
        y = self.out_proj(reshape(permute_dims(y, (0, 2, 1, 3)), q.shape))
        if single:
            y = y[0]
        elif not self.batch_first:
            y = moveaxis(y, 0, 1)
        if weights is None:
            return y, None
        weights = mean(weights, axis=1) if average_attn_weights else weights
        return y, weights[0] if single else weights

    def _projected(self, q: Tensor, k: Tensor, v: Tensor) -> list[Tensor]:
        """Query, key and value times their weights."""
        size = self.embed_dim
        cuts = [slice(j * size, (j + 1) * size) for j in range(3)]
        biases = [None if self.in_proj_bias is None else self.in_proj_bias[cut] for cut in cuts]
        if self.in_proj_weight is None:
            weights = [getattr(self, f"{name}_proj_weight") for name in "qkv"]
        else:
            weights = [self.in_proj_weight[cut] for cut in cuts]
        return [F.linear(x, w, b) for x, w, b in zip((q, k, v), weights, biases)]

    def _split(self, x: Tensor) -> Tensor:
        """(n, length, embed_dim) -> (n, heads, length, embed_dim / heads)."""
        size = self.embed_dim // self.num_heads
        return permute_dims(
            reshape(x, (x.shape[0], x.shape[1], self.num_heads, size)), (0, 2, 1, 3)
        )

    def _mask(
        self,
        attn_mask: Any,
        key_padding_mask: Any,
        q: Tensor,
        k: Tensor,
        is_causal: bool,  # noqa: FBT001
    ) -> Tensor | None:
        """Both masks as one, of bools where true allows, or of numbers to add; None for none."""
        masks = []
        if attn_mask is not None and not is_causal:
            mask = as_tensor(attn_mask)
            if mask.ndim == 3:
                mask = reshape(mask, (q.shape[0], self.num_heads, q.shape[1], k.shape[1]))
            masks.append(mask)
        if is_causal and key_padding_mask is not None:
            masks.append(~causal(q, k))
        if key_padding_mask is not None:
            padding = as_tensor(key_padding_mask)
            masks.append(reshape(padding, (-1, 1, 1, padding.shape[-1])))
        if all(mask.dtype == bool_ for mask in masks):
            allowed = [~mask for mask in masks]
            return reduce(and_, allowed) if allowed else None
        numbers = [where(m, -math.inf, 0.0) if m.dtype == bool_ else m for m in masks]
        return reduce(add, numbers)

    def _attend(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        mask: Tensor | None,
        need_weights: bool,  # noqa: FBT001
        is_causal: bool,  # noqa: FBT001
    ) -> tuple[Tensor, Tensor | None]:
        """The heads' outputs, and their weights when wanted."""
        drops = self.dropout if self.training else 0.0
        plain = is_causal and mask is None
        if not need_weights:
            return F.scaled_dot_product_attention(q, k, v, mask, drops, is_causal=plain), None
        scores = matmul(q * (1 / math.sqrt(int(q.shape[-1]))), matrix_transpose(k))
        if plain:
            mask = causal(q, k)
        if mask is not None:
            scores = where(mask, scores, -math.inf) if mask.dtype == bool_ else scores + mask
        weights = F.softmax(scores)
        weights = F.dropout(weights, drops)
        return matmul(weights, v), weights

    def extra_repr(self) -> str:
        return f"{self.embed_dim}, {self.num_heads}"


@placed
def causal(q: Tensor, k: Tensor) -> Tensor:
    """Bools of shape (L, S): whether the key is not after the query."""
    return causal_mask(q.shape[-2], k.shape[-2])
