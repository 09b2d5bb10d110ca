"""Dropout."""

from __future__ import annotations

from typing import Any

from dualflow.core.tensor import Tensor
from dualflow.nn import functional as F  # noqa: N812
from dualflow.nn.module import Module


class Dropout(Module):
    """In training, sets elements to zero at random and scales up the others.

    Srivastava et al., 2014: the expected values stay the same.

    Args:
        p: The share of elements that become zero.

    Example:
        >>> import dualflow as df
        >>> df.nn.Dropout(0.5).eval()(df.ones(3)).tolist()
        [1.0, 1.0, 1.0]
    """

    def __init__(self, p: float = 0.5) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"Dropout: p={p} is not a share between 0 and 1")
        self.p = p

    def forward(self, x: Any) -> Tensor:
        """The same shape."""
        return F.dropout(x, self.p, training=self.training)

    def extra_repr(self) -> str:
        return str(self.p)
