"""Normalisation over a batch, over groups of channels, and by the size of vectors."""

from __future__ import annotations

from typing import Any, Never

import ml_dtypes

from dualflow.core.context import no_grad
from dualflow.core.convert import as_tensor
from dualflow.core.define import composite
from dualflow.core.doors import meet
from dualflow.core.precision import in_full
from dualflow.core.registry import refused
from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable
from dualflow.ops.choice import maximum
from dualflow.ops.elementwise import astype
from dualflow.ops.neural import check_extents, scaled_and_moved, standardize, widened
from dualflow.ops.norms import vector_norm
from dualflow.ops.pool import pool
from dualflow.ops.power import pow, sqrt, square
from dualflow.ops.shape import moveaxis, reshape
from dualflow.ops.statistics import mean, var
from jit.errors import ShapeError
from jit.types import format_shape, product, same_shape

# ----- by statistics of the channels -----


def batch_norm(
    x: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    *,
    training: bool = False,
    momentum: Any = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Mean 0 and variance 1 for each channel over batch and space (Ioffe and Szegedy, 2015).

    Args:
        x: Tensor of shape (N, C, ...).
        running_mean: The mean to use in evaluation, of shape (C,). In training, and without it,
            the batch's own is used, which a running mean that is a Variable then follows.
        running_var: The variance likewise.
        weight: Tensor of shape (C,) to multiply by, or None.
        bias: Tensor of shape (C,) to add, or None.
        training: Use the statistics of the batch.
        momentum: Weight of the batch in the running statistics.
        eps: Is added to the variance.

    Returns:
        Tensor of the shape of `x`.

    Raises:
        ShapeError: There is one value a channel to learn from.

    Example:
        >>> import dualflow as df
        >>> x = df.asarray([[1.0], [3.0]])
        >>> df.nn.functional.batch_norm(x, None, None, training=True, eps=0.0).tolist()
        [[-1.0], [1.0]]
    """
    x = as_tensor(x)
    if not training and running_mean is not None:
        return scaled_channels(x, running_mean, running_var, weight, bias, eps)
    channels = x.shape[1]
    if training and x.size == channels:
        raise ShapeError(
            f"batch_norm: {format_shape(x.shape)} has one value a channel to learn from",
            "more than one value a channel in training",
            "a larger batch, drop_last=True in the DataLoader, or model.eval()",
        )
    axes = (0, *range(2, x.ndim))
    center, spread = mean(x, axis=axes), var(x, axis=axes)
    if training and running_mean is not None:
        count = x.size // channels
        follow(running_mean, center, momentum)
        follow(running_var, spread * count / (count - 1), momentum)
    return scaled_channels(x, center, spread, weight, bias, eps)


def scaled_channels(x: Tensor, mean: Any, var: Any, weight: Any, bias: Any, eps: float) -> Tensor:
    """`(x - mean) / sqrt(var + eps) * weight + bias`, a number for each channel of axis 1."""
    scale = 1.0 / sqrt(as_tensor(var) + eps)
    scale = scale if weight is None else scale * weight
    y = (x - along_channels(mean, x.ndim)) * along_channels(scale, x.ndim)
    return y if bias is None else y + along_channels(bias, x.ndim)


def along_channels(x: Any, ndim: int) -> Tensor:
    """(channels,) as (1, channels, 1, ...)."""
    return reshape(x, (1, -1, *(1,) * (ndim - 2)))


def follow(running: Any, value: Tensor, momentum: Any) -> None:
    """Moves a running statistic, a Variable, towards that of a batch."""
    if isinstance(running, Variable):
        with no_grad():
            running.assign((1.0 - momentum) * running + momentum * value)


def instance_norm(
    x: Any,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    *,
    use_input_stats: bool = True,
    momentum: Any = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Mean 0 and variance 1 for each channel of each example (Ulyanov and others, 2016).

    Args:
        x: Tensor of shape (N, C, ...).
        running_mean: Mean over all examples, of shape (C,), which a Variable follows; or None.
        running_var: Variance likewise.
        weight: Tensor of shape (C,) to multiply by, or None.
        bias: Tensor of shape (C,) to add, or None.
        use_input_stats: Use each example's statistics rather than the running ones.
        momentum: Weight of the batch in the running statistics.
        eps: Is added to the variance.

    Returns:
        Tensor of the shape of `x`.

    Raises:
        ShapeError: There is one value for a channel of an example.

    Example:
        >>> import dualflow as df
        >>> df.nn.functional.instance_norm(df.asarray([[[1.0, 3.0]]]), eps=0.0).tolist()
        [[[-1.0, 1.0]]]
    """
    x = as_tensor(x)
    if not use_input_stats:
        return scaled_channels(x, running_mean, running_var, weight, bias, eps)
    axes = tuple(range(2, x.ndim))
    count = product(x.shape[2:])
    if x.ndim < 3 or count == 1:
        raise ShapeError(
            f"instance_norm: {format_shape(x.shape)} has one value a channel",
            "(N, C, ...) with more than one value in each channel of an example",
            "batch_norm, or layer_norm",
        )
    if running_mean is not None:
        follow(running_mean, mean(mean(x, axis=axes), axis=0), momentum)
        follow(running_var, mean(var(x, axis=axes, correction=1), axis=0), momentum)
    weight, bias = (None if p is None else along_channels(p, x.ndim) for p in (weight, bias))
    return scaled_and_moved(x, axes, eps, weight, bias)


def affine(x: Tensor, weight: Any, bias: Any) -> Tensor:
    """`x * weight + bias`, a number for each channel of axis 1, or None."""
    y = x if weight is None else x * along_channels(weight, x.ndim)
    return y if bias is None else y + along_channels(bias, x.ndim)


def group_norm(
    x: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Tensor:
    """Mean 0 and variance 1 over groups of channels and space (Wu and He, 2018).

    Args:
        x: Tensor of shape (N, C, ...).
        num_groups: How many groups the channels make.
        weight: Tensor of shape (C,) to multiply by, or None.
        bias: Tensor of shape (C,) to add, or None.
        eps: Is added to the variance.

    Returns:
        Tensor of the shape of `x`.

    Raises:
        ShapeError: The channels do not make so many groups.

    Example:
        >>> import dualflow as df
        >>> df.nn.functional.group_norm(df.asarray([[1.0, 3.0, 5.0, 7.0]]), 2, eps=0.0).tolist()
        [[-1.0, 1.0, -1.0, 1.0]]
    """
    (x,) = meet("group_norm", (as_tensor(x),), "floating")
    if x.ndim < 2 or num_groups < 1 or x.shape[1] % num_groups:
        raise ShapeError(
            f"group_norm: x of shape {format_shape(x.shape)} in {num_groups} groups",
            f"(N, C, ...) with C divisible by {num_groups}",
            "check num_groups, and that channels come second",
        )
    check_extents("group_norm", "weight", weight, x.shape[1:2])
    check_extents("group_norm", "bias", bias, x.shape[1:2])
    size = x.shape[1] // num_groups * product(x.shape[2:])
    parts = standardize(reshape(x, (x.shape[0], num_groups, size)), (2,), eps)
    return affine(reshape(parts, x.shape), weight, bias)


# ----- by size -----


@composite(accepts="floating", precision="full", public=False)
def over_size(x: Any, axes: tuple[int, ...], eps: float) -> Tensor:
    """`x` divided by the root of its mean square over `axes`, plus `eps`."""
    wide = widened(x)
    return astype(wide / sqrt(mean(square(wide), axis=axes, keepdims=True) + eps), x.dtype)


def rms_norm(x: Any, normalized_shape: Any, weight: Any = None, eps: float | None = None) -> Tensor:
    """Mean square 1 over the last dimensions (Zhang and Sennrich, 2019).

    Args:
        x: Tensor of shape (..., *normalized_shape).
        normalized_shape: The extents of the last dimensions, or of the last one alone.
        weight: Tensor of shape `normalized_shape` to multiply by, or None.
        eps: Is added to the mean square; the dtype's smallest step from 1 when None.

    Returns:
        Tensor of the shape of `x`.

    Raises:
        ShapeError: The last extents of `x`, or the shape of `weight`, are others.

    Example:
        >>> import dualflow as df
        >>> df.nn.functional.rms_norm(df.asarray([[3.0, -3.0]]), 2, eps=0.0).tolist()
        [[1.0, -1.0]]
    """
    (x,) = meet("rms_norm", (as_tensor(x),), "floating")
    several = isinstance(normalized_shape, tuple | list)
    shape = tuple(normalized_shape) if several else (normalized_shape,)
    if not same_shape(tuple(x.shape[x.ndim - len(shape) :]), shape):
        raise ShapeError(
            f"rms_norm: x of shape {format_shape(x.shape)} over {format_shape(shape)}",
            "x that ends with these extents",
            "check normalized_shape",
        )
    check_extents("rms_norm", "weight", weight, shape)
    step = float(ml_dtypes.finfo(x.dtype).eps) if eps is None else eps
    y = over_size(x, tuple(range(x.ndim - len(shape), x.ndim)), step)
    return y if weight is None else y * weight


def local_response_norm(
    x: Any, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """Each channel divided by the size of its neighbours (Krizhevsky and others, 2012).

    Args:
        x: Tensor of shape (N, C, ...).
        size: How many channels, the own one in the middle.
        alpha: Factor of their mean square.
        beta: Exponent of the divisor.
        k: Is added before.

    Returns:
        Tensor of the shape of `x`.

    Raises:
        DTypeError: `x` holds no real numbers.

    Example:
        >>> import dualflow as df
        >>> x = df.ones((1, 2, 1))
        >>> df.nn.functional.local_response_norm(x, 2, alpha=2.0, beta=1.0).flatten().tolist()
        [0.5, 0.3333333432674408]
    """
    (x,) = meet("local_response_norm", (in_full(x),), "floating")
    total = pool(
        "sum", moveaxis(square(x), 1, -1), (size,), (1,), ((size // 2, (size - 1) // 2),), (1,)
    )
    return x / pow(moveaxis(total, -1, 1) * (alpha / size) + k, beta)


def normalize(
    x: Any, p: float = 2.0, axis: Any = 1, eps: float = 1e-12, **foreign: Never
) -> Tensor:
    """Vectors along an axis divided by their p-norm.

    Args:
        x: Tensor of any shape, of floating numbers.
        p: Exponent of the norm.
        axis: The axis along which vectors lie.
        eps: The smallest divisor.

    Returns:
        Tensor of the shape of `x`.

    Raises:
        AxisError: `x` has no such axis.

    Example:
        >>> import dualflow as df
        >>> df.nn.functional.normalize(df.asarray([[3.0, 4.0]]), 1).sum().item()
        1.0
    """
    if foreign:
        raise refused("normalize", foreign)
    (x,) = meet("normalize", (in_full(x),), "floating")
    return x / maximum(vector_norm(x, axis=axis, keepdims=True, ord=p), eps)


__all__ = [
    "batch_norm",
    "group_norm",
    "instance_norm",
    "local_response_norm",
    "normalize",
    "rms_norm",
]
