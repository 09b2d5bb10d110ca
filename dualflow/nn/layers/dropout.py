"""Dropout: of elements, of whole channels, and the kind that suits SELU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from dualflow.core.tensor import Tensor
from dualflow.nn import functional as F  # noqa: N812
from dualflow.nn.module import Module


class _Dropout(Module):
    """What all kinds share."""

    function: ClassVar[Callable[..., Tensor]]

    def __init__(self, p: float = 0.5) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"{type(self).__name__}: p={p} is not a share between 0 and 1")
        self.p = p

    def forward(self, x: Any) -> Tensor:
        """The same shape."""
        return type(self).function(x, self.p, training=self.training)

    def extra_repr(self) -> str:
        return str(self.p)


class Dropout(_Dropout):
    """In training, sets elements to zero at random and scales up the others.

    Srivastava et al., 2014: the expected values stay the same.

    Args:
        p: The share of elements that become zero.

    Example:
        >>> import dualflow as df
        >>> df.nn.Dropout(0.5).eval()(df.ones(3)).tolist()
        [1.0, 1.0, 1.0]
    """

    function = F.dropout


class Dropout1d(_Dropout):
    """In training, sets whole channels of sequences to zero; see `Dropout`.

    Args:
        p: The share of channels that become zero.
    """

    function = F.dropout1d


class Dropout2d(_Dropout):
    """In training, sets whole channels of images to zero; see `Dropout`.

    Args:
        p: The share of channels that become zero.
    """

    function = F.dropout2d


class Dropout3d(_Dropout):
    """In training, sets whole channels of volumes to zero; see `Dropout`.

    Args:
        p: The share of channels that become zero.
    """

    function = F.dropout3d


class AlphaDropout(_Dropout):
    """In training, sets elements to SELU's limit: mean 0 and variance 1 stay.

    Args:
        p: The share of elements that are replaced.
    """

    function = F.alpha_dropout


class FeatureAlphaDropout(_Dropout):
    """`AlphaDropout` of whole channels.

    Args:
        p: The share of channels that are replaced.
    """

    function = F.feature_alpha_dropout
