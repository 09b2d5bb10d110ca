"""Dropout: elements, whole channels, or elements replaced so that mean and variance stay."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from dualflow import random
from dualflow.core.devices import placed
from dualflow.core.tensor import Tensor
from dualflow.nn.functional.activation import SELU_ALPHA, SELU_SCALE
from dualflow.ops.choice import where
from dualflow.ops.dropping import checked, dropped
from jit.errors import ShapeError
from jit.types import format_shape


def dropout(
    x: Any,
    p: float = 0.5,
    *,
    training: bool = True,
    generator: random.Generator | None = None,
) -> Tensor:
    """Each element set to 0 with probability `p`; the others grow so that the mean stays.

    Args:
        x: Tensor of any shape, of floating numbers.
        p: The probability, from 0 to 1.
        training: Nothing happens when False.
        generator: Where the chances come from; the default one when None.

    Returns:
        Tensor of the shape of `x`.

    Raises:
        ValueError: `p` is no probability.

    Example:
        >>> import dualflow as df
        >>> df.nn.functional.dropout(df.ones(2), 0.9, training=False).tolist()
        [1.0, 1.0]
    """
    x = checked("dropout", x, p)
    return dropped(x, p, x.shape, generator) if training else x


def _of_channels(rank: int) -> Callable[..., Tensor]:
    name = f"dropout{rank}d"

    def drop(
        x: Any,
        p: float = 0.5,
        *,
        training: bool = True,
        generator: random.Generator | None = None,
    ) -> Tensor:
        x = checked(name, x, p)
        if x.ndim not in (rank + 1, rank + 2):
            raise ShapeError(
                f"{name}: a tensor of shape {format_shape(x.shape)}",
                f"(batch, channels, {rank} extents), or without the batch",
                "check the number of dimensions",
            )
        return dropped(x, p, channels(x, rank), generator) if training else x

    drop.__name__ = drop.__qualname__ = name
    drop.__doc__ = f"""Whole channels over {rank} spatial dimensions set to 0 with probability `p`.

    Args:
        x: Tensor of shape (N, C, ...), or without N.
        p: The probability, from 0 to 1.
        training: Nothing happens when False.
        generator: Where the chances come from; the default one when None.

    Returns:
        Tensor of the shape of `x` (Tompson and others, 2015).

    Raises:
        ValueError: `p` is no probability.
        ShapeError: The number of dimensions is another.

    Example:
        >>> import dualflow as df
        >>> x = df.ones({(1, 4, *(2,) * rank)})
        >>> y = df.nn.functional.{name}(x)
        >>> all(len(set(channel.tolist())) == 1 for channel in y.reshape((4, -1)))
        True
    """
    return drop


def channels(x: Tensor, rank: int) -> tuple[Any, ...]:
    """The shape of `x` with an extent of 1 for each spatial dimension."""
    return (*x.shape[: x.ndim - rank], *(1,) * rank)


dropout1d, dropout2d, dropout3d = map(_of_channels, (1, 2, 3))


def alpha_dropout(
    x: Any,
    p: float = 0.5,
    *,
    training: bool = False,
    generator: random.Generator | None = None,
) -> Tensor:
    """Elements set to SELU's limit with probability `p`, then scaled: mean and variance stay.

    Args:
        x: Tensor of any shape, of floating numbers of mean 0 and variance 1.
        p: The probability, from 0 to 1.
        training: Nothing happens when False.
        generator: Where the chances come from; the default one when None.

    Returns:
        Tensor of the shape of `x` (Klambauer and others, 2017).

    Raises:
        ValueError: `p` is no probability.

    Example:
        >>> import dualflow as df
        >>> df.nn.functional.alpha_dropout(df.asarray([1.0, -1.0]), 0.5).tolist()
        [1.0, -1.0]
    """
    x = checked("alpha_dropout", x, p)
    return replaced(x, p, x.shape, generator) if training else x


def feature_alpha_dropout(
    x: Any,
    p: float = 0.5,
    *,
    training: bool = False,
    generator: random.Generator | None = None,
) -> Tensor:
    """`alpha_dropout` of whole channels (Klambauer and others, 2017).

    Args:
        x: Tensor of shape (N, C, ...), of floating numbers of mean 0 and variance 1.
        p: The probability, from 0 to 1.
        training: Nothing happens when False.
        generator: Where the chances come from; the default one when None.

    Returns:
        Tensor of the shape of `x`.

    Raises:
        ValueError: `p` is no probability.

    Example:
        >>> import dualflow as df
        >>> x = df.ones((1, 2, 3))
        >>> y = df.nn.functional.feature_alpha_dropout(x, 0.5, training=True)
        >>> [len(set(channel)) for channel in y[0].tolist()]
        [1, 1]
    """
    x = checked("feature_alpha_dropout", x, p)
    return replaced(x, p, channels(x, x.ndim - 2), generator) if training else x


@placed
def replaced(x: Tensor, p: float, shape: Any, generator: random.Generator | None) -> Tensor:
    """`x` with SELU's limit instead of dropped elements, brought back to mean 0 and variance 1."""
    if p == 0:
        return x
    if p == 1:
        return where(False, x, 0)  # noqa: FBT003 - a condition, not a switch
    limit = -SELU_ALPHA * SELU_SCALE
    scale = 1 / math.sqrt((1 - p) * (1 + p * limit**2))
    kept = random.bernoulli(shape, 1 - p, generator=generator)
    return where(kept, x, limit) * scale - scale * p * limit


__all__ = [
    "alpha_dropout",
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "feature_alpha_dropout",
]
