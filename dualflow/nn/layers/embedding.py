"""Embedding: a table of vectors."""

from __future__ import annotations

from typing import Any

from dualflow.core.tensor import Tensor
from dualflow.nn import functional as F  # noqa: N812
from dualflow.nn import init
from dualflow.nn.module import Module, Parameter
from dualflow.ops.create import zeros


class Embedding(Module):
    """Looks up a vector for each integer.

    Args:
        num_embeddings: How many vectors.
        embedding_dim: Their length.
        dtype: Of the vectors.

    Attributes:
        weight: Shape (num_embeddings, embedding_dim), standard normal at first.

    Example:
        >>> import dualflow as df
        >>> df.nn.Embedding(10, 4)(df.asarray([[1, 2, 9]])).shape
        (1, 3, 4)
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, *, dtype: Any = "float32") -> None:
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.weight = Parameter(zeros((num_embeddings, embedding_dim), dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws new initial values."""
        init.normal_(self.weight)

    def forward(self, ids: Any) -> Tensor:
        """Integers of any shape -> that shape and (embedding_dim,)."""
        return F.embedding(ids, self.weight)

    def extra_repr(self) -> str:
        return f"{self.num_embeddings}, {self.embedding_dim}"
