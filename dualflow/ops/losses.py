"""Losses under PyTorch's names: how far predictions are from targets."""

from __future__ import annotations

import math
from typing import Any

from dualflow.core.convert import as_tensor
from dualflow.core.define import composite
from dualflow.core.devices import placed
from dualflow.core.doors import meet
from dualflow.core.precision import in_full
from dualflow.core.registry import api
from dualflow.core.tensor import Tensor
from dualflow.ops.activation import sigmoid, softplus
from dualflow.ops.basic import full
from dualflow.ops.choice import maximum, where
from dualflow.ops.create import arange
from dualflow.ops.elementwise import abs, astype, sign
from dualflow.ops.gather import gather, take_along_axis
from dualflow.ops.neural import log_softmax, softmax
from dualflow.ops.power import square
from dualflow.ops.reduce import sum
from dualflow.ops.shape import expand_dims, reshape
from dualflow.ops.special import exp, log1p
from dualflow.ops.statistics import mean
from jit.errors import DTypeError, ShapeError
from jit.types import format_shape, int64, kind

REDUCTIONS = ("mean", "sum", "none")


def check_reduction(name: str, reduction: str) -> None:
    """Raises ValueError unless `reduction` is one of three words."""
    if reduction not in REDUCTIONS:
        raise ValueError(
            f"{name}: reduction={reduction!r}, expected one of {', '.join(REDUCTIONS)}"
        )


def reduced(losses: Tensor, reduction: str) -> Tensor:
    """The mean, the sum, or all of them."""
    return mean(losses) if reduction == "mean" else sum(losses) if reduction == "sum" else losses


def scaled(g: Tensor, x: Tensor, reduction: str) -> Tensor:
    """The cotangent of each single loss, given that of `reduced`."""
    return g / x.size if reduction == "mean" else g


def paired(name: str, x: Any, target: Any, reduction: str) -> tuple[Any, ...]:
    """Predictions and targets in one dtype; broadcasting must not pair them wrongly.

    Raises:
        ShapeError: The shapes differ.
    """
    check_reduction(name, reduction)
    x, target = meet(name, (in_full(x), in_full(target)), "floating")
    if x.shape != target.shape:
        raise ShapeError(
            f"{name}: predictions of shape {format_shape(x.shape)}, "
            f"targets of shape {format_shape(target.shape)}",
            "equal shapes: broadcasting would compare each with each",
            "target.reshape(x.shape)",
        )
    return x, target


# ----- regression -----


@composite(
    tensors=2,
    public=False,
    vjps=(
        lambda g, y, x, t, *, reduction: (x - t) * (scaled(g, x, reduction) * 2),
        lambda g, y, x, t, *, reduction: (t - x) * (scaled(g, x, reduction) * 2),
    ),
)
def squared_error(x: Any, target: Any, reduction: str) -> Tensor:
    """The squares of the differences, reduced."""
    return reduced(square(x - target), reduction)


@api
def mse_loss(x: Any, target: Any, reduction: str = "mean") -> Tensor:
    """The squared difference of predictions and targets.

    Args:
        x: Predictions, of any shape.
        target: Tensor of the same shape.
        reduction: "mean" or "sum" of all elements, or "none": one for each.

    Returns:
        Tensor of shape (), or of the shape of `x`.

    Raises:
        ShapeError: The shapes differ.

    Example:
        >>> import dualflow as df
        >>> df.nn.functional.mse_loss(df.asarray([1.0, 2.0]), df.asarray([1.0, 4.0])).item()
        2.0
    """
    return squared_error(*paired("mse_loss", x, target, reduction), reduction)


@composite(
    tensors=2,
    accepts="floating",
    public=False,
    vjps=(
        lambda g, y, x, t, *, reduction: sign(x - t) * scaled(g, x, reduction),
        lambda g, y, x, t, *, reduction: sign(t - x) * scaled(g, x, reduction),
    ),
)
def absolute_error(x: Any, target: Any, reduction: str) -> Tensor:
    """The sizes of the differences, reduced."""
    return reduced(abs(x - target), reduction)


@api
def l1_loss(x: Any, target: Any, reduction: str = "mean") -> Tensor:
    """The absolute difference of predictions and targets.

    Args:
        x: Predictions, of any shape.
        target: Tensor of the same shape.
        reduction: "mean" or "sum" of all elements, or "none": one for each.

    Returns:
        Tensor of shape (), or of the shape of `x`.

    Raises:
        ShapeError: The shapes differ.

    Example:
        >>> import dualflow as df
        >>> df.nn.functional.l1_loss(df.asarray([1.0, 2.0]), df.asarray([1.0, 4.0])).item()
        1.0
    """
    return absolute_error(*paired("l1_loss", x, target, reduction), reduction)


# ----- yes or no -----


@composite(
    tensors=2,
    accepts="floating",
    public=False,
    vjps=(
        lambda g, y, x, t, *, reduction: (sigmoid(x) - t) * scaled(g, x, reduction),
        lambda g, y, x, t, *, reduction: x * -scaled(g, x, reduction),
    ),
)
def logistic_loss(x: Any, target: Any, reduction: str) -> Tensor:
    """-log of the probability that sigmoid(x) gives to the target, reduced."""
    return reduced(maximum(x, 0) - x * target + log1p(exp(-abs(x))), reduction)


@api
def binary_cross_entropy_with_logits(
    x: Any, target: Any, weight: Any = None, pos_weight: Any = None, reduction: str = "mean"
) -> Tensor:
    """-log of the probability that `sigmoid(x)` gives to the targets, for logits of any size.

    Args:
        x: Logits, of any shape.
        target: Probabilities from 0 to 1, of the same shape.
        weight: Multiplies each loss; broadcasts. None: 1.
        pos_weight: Multiplies the part of the positive targets; broadcasts. None: 1.
        reduction: "mean" or "sum" of all elements, or "none": one for each.

    Returns:
        Tensor of shape (), or of the shape of `x`.

    Raises:
        ShapeError: The shapes differ.

    Example:
        >>> import dualflow as df
        >>> loss = df.nn.functional.binary_cross_entropy_with_logits
        >>> loss(df.asarray([100.0, -100.0]), df.asarray([1.0, 0.0])).item() < 1e-40
        True
    """
    x, target = paired("binary_cross_entropy_with_logits", x, target, reduction)
    if weight is None and pos_weight is None:
        return logistic_loss(x, target, reduction)
    if pos_weight is None:
        losses = logistic_loss(x, target, "none")
    else:
        losses = (1 - target) * x + (1 + (pos_weight - 1) * target) * softplus(-x)
    return reduced(losses if weight is None else losses * weight, reduction)


# ----- one class of several -----


def class_axis(x: Tensor) -> int:
    """Which axis of (N, C, ...) or (C,) counts the classes."""
    return 1 if x.ndim > 1 else 0


def check_labels(name: str, x: Tensor, target: Tensor) -> None:
    """Raises unless `target` holds one integer label for each row of classes."""
    if x.ndim == 0:
        raise ShapeError(f"{name}: a number has no classes", "(N, C, ...) or (C,)", "")
    axis = class_axis(x)
    if kind(target.dtype) != "integer":
        raise DTypeError(
            f"{name}: labels of dtype {target.dtype}", "integers", "target.astype(df.int64)"
        )
    wanted = (*x.shape[:axis], *x.shape[axis + 1 :])
    if tuple(target.shape) != wanted:
        raise ShapeError(
            f"{name}: values of shape {format_shape(x.shape)} with "
            f"labels of shape {format_shape(target.shape)}",
            f"labels of shape {format_shape(wanted)}",
            "classes stand on axis 1",
        )


def check_weight(name: str, x: Tensor, weight: Any) -> Any:
    """The weights of the classes as a tensor, one for each class; None as it is.

    Raises:
        ShapeError: There are more or fewer.
    """
    if weight is None:
        return None
    weight, classes = as_tensor(weight), x.shape[class_axis(x)]
    if weight.ndim != 1 or weight.shape[0] != classes:
        raise ShapeError(
            f"{name}: weights of shape {format_shape(weight.shape)} for {classes} classes",
            f"weights of shape ({classes},)",
            "",
        )
    return weight


def picked(x: Tensor, labels: Tensor) -> Tensor:
    """The value of each label's class."""
    axis = class_axis(x)
    row = take_along_axis(x, expand_dims(labels, axis), axis)
    return reshape(row, labels.shape)


@composite(tensors=1, accepts=None, public=False, vjps=(None,))
def usable(labels: Any, classes: Any, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Labels with 0 for those to ignore, and which are not.

    A negative label is none, though a negative index would be: it is moved out of bounds.
    """
    labels = astype(labels, int64)  # ignore_index need not fit a narrower dtype
    valid = labels != ignore_index
    below = where(labels < 0, labels - classes, labels)
    return where(valid, below, 0), valid


def _softmax_loss_flow(g: Any, y: Any, x: Any, labels: Any) -> Tensor:
    axis = class_axis(x)
    row = tuple(x.shape[axis] if k == axis else 1 for k in range(x.ndim))
    hit = expand_dims(labels, axis) == reshape(arange(x.shape[axis]), row)
    p = softmax(x, axis)
    return where(hit, p - 1, p) * expand_dims(g, axis)


@composite(tensors=2, accepts=None, public=False, precision="full", vjps=(_softmax_loss_flow, None))
def softmax_loss(x: Any, labels: Any) -> Tensor:
    """-log_softmax(x) at the labels' classes."""
    return -picked(log_softmax(x, class_axis(x)), labels)


@api
@placed
def nll_loss(
    x: Any, target: Any, weight: Any = None, ignore_index: int = -100, reduction: str = "mean"
) -> Tensor:
    """Minus the log-probabilities of the labels.

    Args:
        x: Log-probabilities of shape (N, C, ...), or (C,).
        target: Integer labels from 0 to C - 1, of shape (N, ...), or ().
        weight: A weight for each class, of shape (C,); None: 1.
        ignore_index: A label that does not count.
        reduction: "mean" (weighted), "sum", or "none": one for each label.

    Returns:
        Tensor of shape (), or of the shape of `target`.

    Raises:
        ShapeError: The shapes do not belong together.
        DTypeError: Labels are not integers.
        IndexError: There is no such class.

    Example:
        >>> import dualflow as df
        >>> df.nn.functional.nll_loss(df.asarray([[-1.0, -2.0]]), df.asarray([1])).item()
        2.0
    """
    check_reduction("nll_loss", reduction)
    x, target = meet("nll_loss", (as_tensor(x),), "floating")[0], as_tensor(target)
    check_labels("nll_loss", x, target)
    weight = check_weight("nll_loss", x, weight)
    labels, valid = usable(target, x.shape[class_axis(x)], ignore_index)
    return weighted(-picked(x, labels), labels, valid, weight, reduction)


@composite(tensors=2, accepts=None, public=False, precision="full")
def mean_of_valid(losses: Any, valid: Any) -> Tensor:
    """The mean of those losses that count."""
    return sum(where(valid, losses, 0)) / sum(astype(valid, losses.dtype))


def weighted(losses: Tensor, labels: Tensor, valid: Tensor, weight: Any, reduction: str) -> Tensor:
    """The valid losses times the weights of their labels' classes, reduced."""
    if weight is None and reduction == "mean":
        return mean_of_valid(losses, valid)
    if weight is None:
        shares = astype(valid, losses.dtype)
    else:
        shares = where(valid, gather(weight, (labels,), (0,)), 0)
        losses = losses * shares
    total = reduced(where(valid, losses, 0), "none" if reduction == "none" else "sum")
    return total / sum(shares) if reduction == "mean" else total


@api
@placed
def cross_entropy(
    x: Any,
    target: Any,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """-log of the probability that `softmax(x)` gives to the targets.

    Args:
        x: Logits of shape (N, C, ...), or (C,).
        target: Integer labels from 0 to C - 1, of shape (N, ...), or (); or probabilities in the
            shape of `x`.
        weight: A weight for each class, of shape (C,); None: 1.
        ignore_index: A label that does not count.
        reduction: "mean" (weighted, for labels), "sum", or "none": one for each row of classes.
        label_smoothing: The share of each target that is spread evenly over all classes.

    Returns:
        Tensor of shape (), or of the shape of the labels.

    Raises:
        ShapeError: The shapes do not belong together.
        DTypeError: Labels are bools or complex.
        IndexError: There is no such class.
        ValueError: `label_smoothing` is no share.

    Example:
        >>> import dualflow as df
        >>> df.nn.functional.cross_entropy(df.asarray([[0.0, 0.0]]), df.asarray([1])).item()
        0.6931471824645996
    """
    check_reduction("cross_entropy", reduction)
    x, target = meet("cross_entropy", (as_tensor(x),), "floating")[0], as_tensor(target)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(
            f"cross_entropy: label_smoothing={label_smoothing}, expected a share from 0 to 1"
        )
    if x.ndim > 0:
        weight = check_weight("cross_entropy", x, weight)
    if kind(target.dtype) == "floating":
        return _soft_cross_entropy(x, target, weight, reduction, label_smoothing)
    check_labels("cross_entropy", x, target)
    axis = class_axis(x)
    labels, valid = usable(target, x.shape[axis], ignore_index)
    if not label_smoothing:
        return weighted(softmax_loss(x, labels), labels, valid, weight, reduction)
    log_p = log_softmax(x, axis)
    exact = weighted(-picked(log_p, labels), labels, valid, weight, reduction)
    even = -sum(log_p * along(weight, x), axis=axis)
    total = reduced(where(valid, even, 0), "none" if reduction == "none" else "sum")
    if reduction == "mean":
        ones = gather(weight, (labels,), (0,)) if weight is not None else astype(valid, x.dtype)
        total = total / sum(where(valid, ones, 0))
    return (1 - label_smoothing) * exact + total * label_smoothing / x.shape[axis]


def along(weight: Any, x: Tensor) -> Any:
    """Class weights in a shape that broadcasts with `x`; 1 for None."""
    if weight is None:
        return 1
    axis = class_axis(x)
    return reshape(weight, tuple(x.shape[axis] if k == axis else 1 for k in range(x.ndim)))


def _soft_cross_entropy(
    x: Tensor, target: Tensor, weight: Any, reduction: str, smoothing: float
) -> Tensor:
    """Cross entropy with a probability for each class."""
    if x.shape != target.shape or x.ndim == 0:
        raise ShapeError(
            f"cross_entropy: logits of shape {format_shape(x.shape)} with "
            f"probabilities of shape {format_shape(target.shape)}",
            "equal shapes",
            "integer labels have no axis of classes",
        )
    axis = class_axis(x)
    if smoothing:
        target = target * (1 - smoothing) + full((), smoothing, dtype=x.dtype) / x.shape[axis]
    losses = -sum(log_softmax(x, axis) * target * along(weight, x), axis=axis)
    if reduction == "mean":
        return sum(losses) / math.prod(d for k, d in enumerate(x.shape) if k != axis)
    return reduced(losses, reduction)
