"""Embedding: a table of vectors, looked up one by one or in bags."""

from __future__ import annotations

from typing import Any, Self

from dualflow.core.context import no_grad
from dualflow.core.convert import as_tensor
from dualflow.core.tensor import Tensor
from dualflow.nn import functional as F  # noqa: N812
from dualflow.nn import init
from dualflow.nn.module import Module, Parameter
from dualflow.ops.create import zeros


class _Table(Module):
    """What lookups share: vectors, one of which may stand for nothing."""

    num_embeddings: int
    embedding_dim: int
    padding_idx: int | None

    def fill(self, num_embeddings: int, embedding_dim: int, padding_idx: Any, dtype: Any) -> None:
        """Makes the table and draws its initial values."""
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise ValueError(
                f"{type(self).__name__}: padding_idx={padding_idx} of {num_embeddings} vectors"
            )
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.padding_idx = None if padding_idx is None else padding_idx % num_embeddings
        self.weight = Parameter(zeros((num_embeddings, embedding_dim), dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws new initial values; the vector of `padding_idx` is 0."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            with no_grad():
                self.weight.assign(self.weight.at[self.padding_idx].set(0.0))

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"


class Embedding(_Table):
    """Looks up a vector for each integer.

    Args:
        num_embeddings: How many vectors.
        embedding_dim: Their length.
        padding_idx: A vector that is 0 at first and does not learn.
        dtype: Of the vectors.

    Attributes:
        weight: Shape (num_embeddings, embedding_dim), standard normal at first.

    Example:
        >>> import dualflow as df
        >>> df.nn.Embedding(10, 4)(df.asarray([[1, 2, 9]])).shape
        (1, 3, 4)
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        *,
        dtype: Any = "float32",
    ) -> None:
        self.fill(num_embeddings, embedding_dim, padding_idx, dtype)

    @classmethod
    def from_pretrained(cls, embeddings: Any, freeze: bool = True, **settings: Any) -> Self:  # noqa: FBT001, FBT002 - PyTorch's position
        """A layer with given vectors.

        Args:
            embeddings: Tensor of shape (num_embeddings, embedding_dim).
            freeze: They do not learn.
            **settings: Further arguments of the class.
        """
        values = as_tensor(embeddings)
        layer = cls(*map(int, values.shape), dtype=values.dtype, **settings)
        layer.weight.assign(values)
        layer.weight.requires_grad = not freeze
        return layer

    def forward(self, ids: Any) -> Tensor:
        """Integers of any shape -> that shape and (embedding_dim,)."""
        return F.embedding(ids, self.weight, self.padding_idx)


class EmbeddingBag(_Table):
    """Looks up several vectors and takes their sum, mean or largest elements.

    Args:
        num_embeddings: How many vectors.
        embedding_dim: Their length.
        mode: "mean", "sum" or "max".
        padding_idx: A vector that does not count.
        dtype: Of the vectors.

    Attributes:
        weight: Shape (num_embeddings, embedding_dim), standard normal at first.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        mode: str = "mean",
        padding_idx: int | None = None,
        *,
        dtype: Any = "float32",
    ) -> None:
        if mode not in ("mean", "sum", "max"):
            raise ValueError(f"EmbeddingBag: mode={mode!r}: mean, sum or max")
        self.mode = mode
        self.fill(num_embeddings, embedding_dim, padding_idx, dtype)

    def forward(self, ids: Any, offsets: Any = None, per_sample_weights: Any = None) -> Tensor:
        """Integers (n, bag), or one row and where bags begin in it, -> (n, embedding_dim)."""
        return F.embedding_bag(
            ids,
            self.weight,
            offsets,
            mode=self.mode,
            per_sample_weights=per_sample_weights,
            padding_idx=self.padding_idx,
        )
