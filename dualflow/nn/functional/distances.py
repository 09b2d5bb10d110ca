"""How far vectors are from each other, and the losses that compare such distances."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Never

from dualflow.core.convert import as_tensor
from dualflow.core.doors import meet
from dualflow.core.precision import in_full
from dualflow.core.registry import refused
from dualflow.core.tensor import Tensor
from dualflow.ops.activation import relu
from dualflow.ops.choice import maximum, minimum, where
from dualflow.ops.losses import check_reduction, reduced
from dualflow.ops.norms import vector_norm
from dualflow.ops.power import sqrt, square
from dualflow.ops.reduce import sum
from jit.errors import ShapeError
from jit.types import format_shape


def cosine_similarity(
    x1: Any, x2: Any, axis: int = 1, eps: float = 1e-8, **foreign: Never
) -> Tensor:
    """The cosine of the angle between vectors.

    Args:
        x1: Tensor of any shape.
        x2: Tensor that broadcasts with it.
        axis: The axis along which vectors lie.
        eps: The smallest length that is divided by.

    Returns:
        Tensor without this axis.

    Raises:
        AxisError: They have no such axis.
        ShapeError: The shapes do not broadcast.

    Example:
        >>> import dualflow as df
        >>> x = df.asarray([[1.0, 0.0]])
        >>> df.nn.functional.cosine_similarity(x, df.asarray([[0.0, 2.0]])).item()
        0.0
    """
    if foreign:
        raise refused("cosine_similarity", foreign)
    x1, x2 = meet("cosine_similarity", (in_full(x1), in_full(x2)), "floating")
    sizes = [maximum(vector_norm(x, axis=axis), eps) for x in (x1, x2)]
    return sum(x1 * x2, axis=axis) / (sizes[0] * sizes[1])


def pairwise_distance(
    x1: Any, x2: Any, p: float = 2.0, eps: float = 1e-6, *, keepdims: bool = False, **foreign: Never
) -> Tensor:
    """The p-norm of the difference of vectors, which lie along the last axis.

    Args:
        x1: Tensor of shape (..., D).
        x2: Tensor that broadcasts with it.
        p: Exponent of the norm.
        eps: Is added to the difference, so that the norm has a slope everywhere.
        keepdims: Keep the last axis with extent 1.

    Returns:
        Tensor of distances.

    Raises:
        ShapeError: The shapes do not broadcast.

    Example:
        >>> import dualflow as df
        >>> x, y = df.asarray([0.0, 0.0]), df.asarray([3.0, 4.0])
        >>> round(df.nn.functional.pairwise_distance(x, y).item(), 3)
        5.0
    """
    if foreign:
        raise refused("pairwise_distance", foreign)
    x1, x2 = meet("pairwise_distance", (in_full(x1), in_full(x2)), "floating")
    return vector_norm(x1 - x2 + eps, axis=-1, keepdims=keepdims, ord=p)


def triplet_margin_loss(
    anchor: Any,
    positive: Any,
    negative: Any,
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    *,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """How far the negative is not farther from the anchor than the positive, by a margin.

    Args:
        anchor: Tensor of shape (N, D).
        positive: Examples that belong to the anchors.
        negative: Examples that do not.
        margin: How much farther the negatives ought to be.
        p: Exponent of the norm.
        eps: Is added to differences.
        swap: Also take the distance of negative and positive (Balntas and others, 2016).
        reduction: "mean" or "sum" of all, or "none".

    Returns:
        Tensor of shape (), or (N,).

    Raises:
        ShapeError: The shapes do not broadcast.
        ValueError: `reduction` is another word.

    Example:
        >>> import dualflow as df
        >>> anchor, near, far = df.asarray([[0.0]]), df.asarray([[1.0]]), df.asarray([[1.5]])
        >>> round(df.nn.functional.triplet_margin_loss(anchor, near, far).item(), 3)
        0.5
    """

    def distance(x: Any, y: Any) -> Tensor:
        return pairwise_distance(x, y, p, eps)

    return triplet_margin_with_distance_loss(
        anchor,
        positive,
        negative,
        distance_function=distance,
        margin=margin,
        swap=swap,
        reduction=reduction,
    )


def triplet_margin_with_distance_loss(
    anchor: Any,
    positive: Any,
    negative: Any,
    *,
    distance_function: Callable[[Any, Any], Tensor] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """`triplet_margin_loss` with any distance.

    Args:
        anchor: Tensor of shape (N, D).
        positive: Examples that belong to the anchors.
        negative: Examples that do not.
        distance_function: (x, y) -> distances; `pairwise_distance` when None.
        margin: How much farther the negatives ought to be.
        swap: Also take the distance of negative and positive.
        reduction: "mean" or "sum" of all, or "none".

    Returns:
        Tensor of shape (), or (N,).

    Raises:
        ValueError: `reduction` is another word.

    Example:
        >>> import dualflow as df
        >>> apart = lambda x, y: df.abs(x - y).sum(axis=-1)
        >>> anchor, near, far = df.asarray([[0.0]]), df.asarray([[1.0]]), df.asarray([[1.5]])
        >>> loss = df.nn.functional.triplet_margin_with_distance_loss
        >>> loss(anchor, near, far, distance_function=apart).item()
        0.5
    """
    check_reduction("triplet_margin_loss", reduction)
    distance = pairwise_distance if distance_function is None else distance_function
    away = distance(anchor, negative)
    if swap:
        away = minimum(away, distance(positive, negative))
    return reduced(relu(distance(anchor, positive) - away + margin), reduction)


def cosine_embedding_loss(
    x1: Any, x2: Any, target: Any, margin: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """1 - cosine of pairs that belong together, and the cosine above `margin` of those that do not.

    Args:
        x1: Tensor of shape (N, D) or (D,).
        x2: Tensor of the same shape.
        target: 1 for pairs that belong together, -1 for the others, of shape (N,) or ().
        margin: The cosine that costs nothing.
        reduction: "mean" or "sum" of all, or "none".

    Returns:
        Tensor of shape (), or of that of `target`.

    Raises:
        ShapeError: The shapes do not belong together.
        ValueError: `reduction` is another word.

    Example:
        >>> import dualflow as df
        >>> x1, x2 = df.asarray([[1.0, 0.0]] * 2), df.asarray([[0.0, 1.0], [2.0, 0.0]])
        >>> loss = df.nn.functional.cosine_embedding_loss
        >>> loss(x1, x2, df.asarray([1, -1]), reduction="none").tolist()
        [1.0, 1.0]
    """
    check_reduction("cosine_embedding_loss", reduction)
    x1, x2 = meet("cosine_embedding_loss", (in_full(x1), in_full(x2)), "floating")
    target = as_tensor(target)
    if x1.shape != x2.shape or target.shape != x1.shape[:-1]:
        raise ShapeError(
            f"cosine_embedding_loss: shapes {format_shape(x1.shape)}, {format_shape(x2.shape)} "
            f"and {format_shape(target.shape)}",
            "(N, D), (N, D) and (N,)",
            "",
        )
    sizes = [sum(square(x), axis=-1) + 1e-12 for x in (x1, x2)]
    cosine = sum(x1 * x2, axis=-1) / sqrt(sizes[0] * sizes[1])
    together = where(target == 1, 1 - cosine, 0)
    return reduced(where(target == -1, relu(cosine - margin), together), reduction)


__all__ = [
    "cosine_embedding_loss",
    "cosine_similarity",
    "pairwise_distance",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
]
