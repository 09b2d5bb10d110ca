"""Losses of regression, classification and ranking beyond those that are ops."""

from __future__ import annotations

import math
from typing import Any

from dualflow.core.convert import as_tensor
from dualflow.core.define import composite
from dualflow.core.devices import placed
from dualflow.core.doors import meet
from dualflow.core.tensor import Tensor
from dualflow.nn.functional.activation import logsigmoid
from dualflow.ops.activation import relu, softplus
from dualflow.ops.basic import stop_gradient
from dualflow.ops.choice import clip, maximum, where
from dualflow.ops.create import arange
from dualflow.ops.elementwise import abs, astype
from dualflow.ops.gather import gather, take_along_axis
from dualflow.ops.hot import one_hot
from dualflow.ops.losses import (
    check_labels,
    check_reduction,
    check_weight,
    paired,
    picked,
    reduced,
)
from dualflow.ops.power import square
from dualflow.ops.reduce import max, sum
from dualflow.ops.scan import cumulative_prod
from dualflow.ops.shape import expand_dims
from dualflow.ops.special import exp, log, log1p
from dualflow.ops.statistics import mean
from jit.errors import ShapeError
from jit.types import format_shape

# ----- numbers -----


@composite(tensors=2, accepts="floating", public=False)
def bent(x: Any, target: Any, delta: float) -> Tensor:
    """Half the square of a difference up to `delta`, and a straight line beyond."""
    distance = abs(x - target)
    inside = 0.5 * square(distance)
    return where(distance <= delta, inside, delta * (distance - 0.5 * delta))


def huber_loss(
    x: Any, target: Any, reduction: str = "mean", delta: float = 1.0, weight: Any = None
) -> Tensor:
    """Half the squared difference near the target, `delta` times the distance far from it.

    Args:
        x: Predictions, of any shape.
        target: Tensor of the same shape.
        reduction: "mean" or "sum" of all elements, or "none": one for each.
        delta: Where the one becomes the other (Huber, 1964).
        weight: Multiplies each loss; broadcasts. None: 1.

    Returns:
        Tensor of shape (), or of the shape of `x`.

    Raises:
        ShapeError: The shapes differ.

    Example:
        >>> import dualflow as df
        >>> df.nn.functional.huber_loss(df.asarray([0.0, 3.0]), df.asarray([1.0, 0.0])).item()
        1.5
    """
    if delta <= 0:
        raise ValueError(f"huber_loss: delta={delta} is not positive")
    losses = bent(*paired("huber_loss", x, target, reduction), delta)
    return reduced(losses if weight is None else losses * weight, reduction)


def smooth_l1_loss(x: Any, target: Any, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """`huber_loss / beta`: the distance, with a bend within `beta` of the target.

    Args:
        x: Predictions, of any shape.
        target: Tensor of the same shape.
        reduction: "mean" or "sum" of all elements, or "none": one for each.
        beta: Where the bend begins; 0: the distance itself.

    Returns:
        Tensor of shape (), or of the shape of `x`.

    Raises:
        ShapeError: The shapes differ.
        ValueError: `beta` is negative, or `reduction` another word.

    Example:
        >>> import dualflow as df
        >>> df.nn.functional.smooth_l1_loss(df.asarray([0.0, 3.0]), df.asarray([1.0, 0.0])).item()
        1.5
    """
    if beta < 0:
        raise ValueError(f"smooth_l1_loss: beta={beta} is negative")
    x, target = paired("smooth_l1_loss", x, target, reduction)
    losses = abs(x - target) if beta == 0 else bent(x, target, beta) / beta
    return reduced(losses, reduction)


def poisson_nll_loss(
    x: Any,
    target: Any,
    *,
    log_input: bool = True,
    full: bool = False,
    eps: float = 1e-8,
    reduction: str = "mean",
) -> Tensor:
    """-log of the probability of counts under Poisson distributions.

    Args:
        x: Logarithms of the expected counts, or the counts themselves.
        target: Counts, of the same shape.
        log_input: Whether `x` holds logarithms.
        full: Add Stirling's approximation of the term without `x`.
        eps: Is added to expected counts before their logarithm is taken.
        reduction: "mean" or "sum" of all elements, or "none": one for each.

    Returns:
        Tensor of shape (), or of the shape of `x`.

    Raises:
        ShapeError: The shapes differ.
        ValueError: `reduction` is another word.

    Example:
        >>> import dualflow as df
        >>> df.nn.functional.poisson_nll_loss(df.asarray([0.0]), df.asarray([2.0])).item()
        1.0
    """
    x, target = paired("poisson_nll_loss", x, target, reduction)
    losses = exp(x) - target * x if log_input else x - target * log(x + eps)
    if full:
        safe = maximum(target, 1)
        stirling = target * log(safe) - target + 0.5 * log(2 * math.pi * safe)
        losses = losses + where(target > 1, stirling, 0)
    return reduced(losses, reduction)


def gaussian_nll_loss(
    x: Any,
    target: Any,
    var: Any,
    *,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """-log of the density of targets under normal distributions (Nix and Weigend, 1994).

    Args:
        x: Their means.
        target: Tensor of the same shape.
        var: Their variances, in a shape that broadcasts.
        full: Add the constant term.
        eps: The smallest variance.
        reduction: "mean" or "sum" of all elements, or "none": one for each.

    Returns:
        Tensor of shape (), or of the shape of `x`.

    Raises:
        ShapeError: The shapes differ.
        ValueError: `reduction` is another word.

    Example:
        >>> import dualflow as df
        >>> mean, target, variance = df.asarray([0.0]), df.asarray([2.0]), df.asarray([1.0])
        >>> df.nn.functional.gaussian_nll_loss(mean, target, variance).item()
        2.0
    """
    x, target = paired("gaussian_nll_loss", x, target, reduction)
    var = as_tensor(var, x.dtype)
    if var.ndim == x.ndim - 1 and var.ndim:
        var = expand_dims(var, -1)
    var = var + stop_gradient(maximum(var, eps) - var)  # a variance that is too small still learns
    losses = 0.5 * (log(var) + square(x - target) / var)
    return reduced(losses + 0.5 * math.log(2 * math.pi) if full else losses, reduction)


# ----- probabilities -----


def binary_cross_entropy(
    x: Any, target: Any, weight: Any = None, reduction: str = "mean"
) -> Tensor:
    """-log of the probability that `x` gives to the targets; logarithms are at least -100.

    Args:
        x: Probabilities from 0 to 1, of any shape. Of logits use
            `binary_cross_entropy_with_logits`.
        target: Probabilities, of the same shape.
        weight: Multiplies each loss; broadcasts. None: 1.
        reduction: "mean" or "sum" of all elements, or "none": one for each.

    Returns:
        Tensor of shape (), or of the shape of `x`.

    Raises:
        ShapeError: The shapes differ.
        ValueError: `reduction` is another word.

    Example:
        >>> import dualflow as df
        >>> x, target = df.asarray([0.5]), df.asarray([1.0])
        >>> round(df.nn.functional.binary_cross_entropy(x, target).item(), 4)
        0.6931
    """
    x, target = paired("binary_cross_entropy", x, target, reduction)
    yes, no = clip(log(x), -100, None), clip(log1p(-x), -100, None)
    losses = (target - 1) * no - target * yes
    return reduced(losses if weight is None else losses * weight, reduction)


def kl_div(x: Any, target: Any, reduction: str = "mean", *, log_target: bool = False) -> Tensor:
    """The divergence of Kullback and Leibler of `x` from the targets, element by element.

    Args:
        x: Log-probabilities, of any shape.
        target: Probabilities, of the same shape.
        reduction: "batchmean" (the sum, by the first extent), "mean" or "sum" of all elements, or
            "none": one for each.
        log_target: Whether `target` holds log-probabilities.

    Returns:
        Tensor of shape (), or of the shape of `x`.

    Raises:
        ShapeError: The shapes differ.
        ValueError: `reduction` is another word.

    Example:
        >>> import dualflow as df
        >>> p, q = df.asarray([0.5, 0.5]), df.asarray([0.25, 0.75])
        >>> round(df.nn.functional.kl_div(df.log(q), p, "sum").item(), 4)
        0.1438
    """
    batchmean = reduction == "batchmean"
    x, target = paired("kl_div", x, target, "sum" if batchmean else reduction)
    if log_target:
        losses = exp(target) * (target - x)
    else:
        some = target > 0
        losses = where(some, target * log(where(some, target, 1)), 0) - target * x
    return sum(losses) / x.shape[0] if batchmean else reduced(losses, reduction)


def soft_margin_loss(x: Any, target: Any, reduction: str = "mean") -> Tensor:
    """`log(1 + exp(-target * x))`, for targets of 1 and -1.

    Args:
        x: Predictions, of any shape.
        target: 1 or -1, of the same shape.
        reduction: "mean" or "sum" of all elements, or "none": one for each.

    Returns:
        Tensor of shape (), or of the shape of `x`.

    Raises:
        ShapeError: The shapes differ.
        ValueError: `reduction` is another word.

    Example:
        >>> import dualflow as df
        >>> round(df.nn.functional.soft_margin_loss(df.asarray([0.0]), df.asarray([1.0])).item(), 4)
        0.6931
    """
    x, target = paired("soft_margin_loss", x, target, reduction)
    return reduced(softplus(-target * x), reduction)


# ----- margins -----


def hinge_embedding_loss(
    x: Any, target: Any, margin: float = 1.0, reduction: str = "mean"
) -> Tensor:
    """The distance `x` where the target is 1, and what it lacks of `margin` where it is -1.

    Args:
        x: Distances, of any shape.
        target: 1 or -1, of the same shape.
        margin: How far examples that do not belong together ought to be apart.
        reduction: "mean" or "sum" of all elements, or "none": one for each.

    Returns:
        Tensor of shape (), or of the shape of `x`.

    Raises:
        ShapeError: The shapes differ.
        ValueError: `reduction` is another word.

    Example:
        >>> import dualflow as df
        >>> x, target = df.asarray([0.5, 0.25]), df.asarray([1.0, -1.0])
        >>> df.nn.functional.hinge_embedding_loss(x, target, reduction="none").tolist()
        [0.5, 0.75]
    """
    x, target = paired("hinge_embedding_loss", x, target, reduction)
    apart = where(target != 1, relu(margin - x), 0)
    return reduced(apart + where(target != -1, x, 0), reduction)


def margin_ranking_loss(
    x1: Any, x2: Any, target: Any, margin: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """What the first lacks of ranking above the second by `margin` (below it for a target of -1).

    Args:
        x1: Ranks, of any shape.
        x2: Ranks, of the same shape.
        target: 1 or -1, of the same shape.
        margin: By how much they ought to differ.
        reduction: "mean" or "sum" of all elements, or "none": one for each.

    Returns:
        Tensor of shape (), or of the shape of `x1`.

    Raises:
        ShapeError: The shapes differ.
        ValueError: `reduction` is another word.

    Example:
        >>> import dualflow as df
        >>> x1, x2, target = df.asarray([1.0]), df.asarray([3.0]), df.asarray([1.0])
        >>> df.nn.functional.margin_ranking_loss(x1, x2, target).item()
        2.0
    """
    x1, x2 = paired("margin_ranking_loss", x1, x2, reduction)
    _, target = paired("margin_ranking_loss", x1, target, reduction)
    return reduced(relu(margin - target * (x1 - x2)), reduction)


@placed
def multi_margin_loss(
    x: Any,
    target: Any,
    p: int = 1,
    margin: float = 1.0,
    weight: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """How far other classes are within a margin of the right one, summed and divided by C.

    Args:
        x: Scores of shape (N, C), or (C,).
        target: Integer labels of shape (N,), or ().
        p: 1, or 2 for squares.
        margin: How far ahead the right class ought to be.
        weight: A weight for each class, of shape (C,); None: 1.
        reduction: "mean" or "sum" of all examples, or "none".

    Returns:
        Tensor of shape (), or of that of `target`.

    Raises:
        ShapeError: The shapes do not belong together.
        IndexError: There is no such class.
        ValueError: `reduction` is another word.

    Example:
        >>> import dualflow as df
        >>> x = df.asarray([[1.0, 0.5, 3.0, 0.0]])
        >>> df.nn.functional.multi_margin_loss(x, df.asarray([0])).item()
        0.875
    """
    check_reduction("multi_margin_loss", reduction)
    x, target = meet("multi_margin_loss", (as_tensor(x),), "floating")[0], as_tensor(target)
    check_labels("multi_margin_loss", x, target)
    weight = check_weight("multi_margin_loss", x, weight)
    classes = x.shape[-1]
    behind = relu(margin - expand_dims(picked(x, target), -1) + x)
    behind = square(behind) if p == 2 else behind
    if weight is not None:
        behind = behind * expand_dims(gather(weight, (target,), (0,)), -1)
    others = expand_dims(target, -1) != arange(classes)
    return reduced(sum(where(others, behind, 0), axis=-1) / classes, reduction)


@placed
def multilabel_margin_loss(x: Any, target: Any, reduction: str = "mean") -> Tensor:
    """How far wrong classes are within 1 of each right one, summed and divided by C.

    Args:
        x: Scores of shape (N, C), or (C,).
        target: Integer labels of the right classes of each example, then -1, in the same shape.
        reduction: "mean" or "sum" of all examples, or "none".

    Returns:
        Tensor of shape (), or (N,).

    Raises:
        ShapeError: The shapes differ.
        ValueError: `reduction` is another word.

    Example:
        >>> import dualflow as df
        >>> x, labels = df.asarray([[0.5, 0.0]]), df.asarray([[0, -1]])
        >>> df.nn.functional.multilabel_margin_loss(x, labels).item()
        0.25
    """
    check_reduction("multilabel_margin_loss", reduction)
    x, target = meet("multilabel_margin_loss", (as_tensor(x),), "floating")[0], as_tensor(target)
    if x.shape != target.shape:
        raise ShapeError(
            f"multilabel_margin_loss: scores of shape {format_shape(x.shape)}, "
            f"labels of shape {format_shape(target.shape)}",
            "equal shapes: labels that are missing are -1",
            "",
        )
    classes = x.shape[-1]
    named = cumulative_prod(astype(target >= 0, x.dtype), axis=-1)
    labels = where(named > 0, target, 0)
    right = max(one_hot(labels, classes, dtype=x.dtype) * expand_dims(named, -1), axis=-2)
    score = take_along_axis(x, labels, axis=-1)
    behind = relu(1 - expand_dims(score, -1) + expand_dims(x, -2))
    counted = expand_dims(named, -1) * expand_dims(1 - right, -2)
    return reduced(sum(behind * counted, axis=(-2, -1)) / classes, reduction)


def multilabel_soft_margin_loss(
    x: Any, target: Any, weight: Any = None, reduction: str = "mean"
) -> Tensor:
    """Binary cross entropy of logits, the mean over the classes.

    Args:
        x: Logits of shape (N, C), or (C,).
        target: 0 or 1, of the same shape.
        weight: Multiplies the loss of each class; broadcasts. None: 1.
        reduction: "mean" or "sum" of all examples, or "none".

    Returns:
        Tensor of shape (), or (N,).

    Raises:
        ShapeError: The shapes differ.
        ValueError: `reduction` is another word.

    Example:
        >>> import dualflow as df
        >>> x, y = df.asarray([[0.0, 0.0]]), df.asarray([[1.0, 0.0]])
        >>> round(df.nn.functional.multilabel_soft_margin_loss(x, y).item(), 4)
        0.6931
    """
    x, target = paired("multilabel_soft_margin_loss", x, target, reduction)
    losses = -(target * logsigmoid(x) + (1 - target) * logsigmoid(-x))
    return reduced(mean(losses if weight is None else losses * weight, axis=-1), reduction)


__all__ = [
    "binary_cross_entropy",
    "gaussian_nll_loss",
    "hinge_embedding_loss",
    "huber_loss",
    "kl_div",
    "margin_ranking_loss",
    "multi_margin_loss",
    "multilabel_margin_loss",
    "multilabel_soft_margin_loss",
    "poisson_nll_loss",
    "smooth_l1_loss",
    "soft_margin_loss",
]
