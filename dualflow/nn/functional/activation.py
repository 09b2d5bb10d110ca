"""Activations beyond those that the ops know by name; each a composite, hence one kernel."""

from __future__ import annotations

from typing import Any, Never

from dualflow import random
from dualflow.core.axes import canonical_axis
from dualflow.core.convert import as_tensor
from dualflow.core.define import composite
from dualflow.core.devices import placed
from dualflow.core.registry import refused
from dualflow.core.tensor import Tensor
from dualflow.ops.activation import elu, sigmoid, softplus
from dualflow.ops.basic import stop_gradient
from dualflow.ops.choice import clip, minimum, where
from dualflow.ops.elementwise import abs
from dualflow.ops.hot import one_hot
from dualflow.ops.neural import softmax
from dualflow.ops.reduce import argmax
from dualflow.ops.shape import moveaxis
from dualflow.ops.special import exp, log, log1p, tanh
from jit.errors import ShapeError
from jit.types import format_shape

# The fixed point of mean 0 and variance 1 (Klambauer and others, 2017).
SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805


@composite(accepts="real", public=False)
def hardtanh(x: Any, /, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """Each element, or the bound that it exceeds.

    Args:
        x: Tensor of any shape.
        min_val: Lower bound.
        max_val: Upper bound.

    Returns:
        Tensor of the shape of `x`.

    Raises:
        DTypeError: `x` holds other values.

    Example:
        >>> import dualflow as df
        >>> df.nn.functional.hardtanh(df.asarray([-3.0, 0.5])).tolist()
        [-1.0, 0.5]
    """
    return clip(x, min_val, max_val)


@composite(accepts="real", public=False)
def relu6(x: Any, /) -> Tensor:
    """Each element, but at least 0 and at most 6 (Krizhevsky, 2010).

    Args:
        x: Tensor of any shape; real numbers.

    Returns:
        Tensor of the shape of `x`.

    Raises:
        DTypeError: `x` holds other values.

    Example:
        >>> import dualflow as df
        >>> df.nn.functional.relu6(df.asarray([-1.0, 3.0, 9.0])).tolist()
        [0.0, 3.0, 6.0]
    """
    return clip(x, 0, 6)


@composite(accepts="floating", public=False)
def hardsigmoid(x: Any, /) -> Tensor:
    """`relu6(x + 3) / 6`: a sigmoid of three straight lines (Courbariaux and others, 2015).

    Args:
        x: Tensor of any shape; floating numbers; integers become float32.

    Returns:
        Tensor of the shape of `x`.

    Raises:
        DTypeError: `x` holds other values.

    Example:
        >>> import dualflow as df
        >>> df.nn.functional.hardsigmoid(df.asarray([-4.0, 0.0, 4.0])).tolist()
        [0.0, 0.5, 1.0]
    """
    return clip(x + 3, 0, 6) / 6


@composite(accepts="floating", public=False)
def hardswish(x: Any, /) -> Tensor:
    """`x * hardsigmoid(x)` (Howard and others, 2019).

    Args:
        x: Tensor of any shape; floating numbers; integers become float32.

    Returns:
        Tensor of the shape of `x`.

    Raises:
        DTypeError: `x` holds other values.

    Example:
        >>> import dualflow as df
        >>> df.nn.functional.hardswish(df.asarray([0.0, 1.5, 4.0])).tolist()
        [0.0, 1.125, 4.0]
    """
    return x * (clip(x + 3, 0, 6) / 6)


@composite(accepts="floating", public=False)
def hardshrink(x: Any, /, lambd: float = 0.5) -> Tensor:
    """Each element, or 0 where it is within `lambd` of 0.

    Args:
        x: Tensor of any shape; floating numbers; integers become float32.
        lambd: Half the width of what becomes 0.

    Returns:
        Tensor of the shape of `x`.

    Raises:
        DTypeError: `x` holds other values.

    Example:
        >>> import dualflow as df
        >>> df.nn.functional.hardshrink(df.asarray([-1.0, 0.25, 2.0])).tolist()
        [-1.0, 0.0, 2.0]
    """
    return where(abs(x) > lambd, x, 0)


@composite(accepts="floating", public=False)
def softshrink(x: Any, /, lambd: float = 0.5) -> Tensor:
    """Each element moved towards 0 by `lambd`, and 0 where it is nearer.

    Args:
        x: Tensor of any shape; floating numbers; integers become float32.
        lambd: How far elements are moved.

    Returns:
        Tensor of the shape of `x`.

    Raises:
        DTypeError: `x` holds other values.

    Example:
        >>> import dualflow as df
        >>> df.nn.functional.softshrink(df.asarray([-1.0, 0.25, 2.0])).tolist()
        [-0.5, 0.0, 1.5]
    """
    return where(x > lambd, x - lambd, where(x < -lambd, x + lambd, 0 * x))


@composite(accepts="floating", public=False)
def softsign(x: Any, /) -> Tensor:
    """`x / (1 + |x|)` of each element.

    Args:
        x: Tensor of any shape; floating numbers; integers become float32.

    Returns:
        Tensor of the shape of `x`.

    Raises:
        DTypeError: `x` holds other values.

    Example:
        >>> import dualflow as df
        >>> df.nn.functional.softsign(df.asarray([-1.0, 0.0, 3.0])).tolist()
        [-0.5, 0.0, 0.75]
    """
    return x / (1 + abs(x))


@composite(accepts="floating", public=False)
def tanhshrink(x: Any, /) -> Tensor:
    """`x - tanh(x)` of each element.

    Args:
        x: Tensor of any shape; floating numbers; integers become float32.

    Returns:
        Tensor of the shape of `x`.

    Raises:
        DTypeError: `x` holds other values.

    Example:
        >>> import dualflow as df
        >>> round(df.nn.functional.tanhshrink(df.asarray([1.0])).item(), 4)
        0.2384
    """
    return x - tanh(x)


@composite(accepts="floating", public=False, vjps=(lambda g, y, x: g * sigmoid(-x),))
def logsigmoid(x: Any, /) -> Tensor:
    """The logarithm of `sigmoid(x)`, without underflow.

    Args:
        x: Tensor of any shape; floating numbers; integers become float32.

    Returns:
        Tensor of the shape of `x`.

    Raises:
        DTypeError: `x` holds other values.

    Example:
        >>> import dualflow as df
        >>> df.nn.functional.logsigmoid(df.asarray([-1000.0, 1000.0])).tolist()
        [-1000.0, 0.0]
    """
    return minimum(x, 0) - log1p(exp(-abs(x)))


@composite(accepts="floating", public=False)
def selu(x: Any, /) -> Tensor:
    """ELU with the scale that keeps mean 0 and variance 1 (Klambauer and others, 2017).

    Args:
        x: Tensor of any shape; floating numbers; integers become float32.

    Returns:
        Tensor of the shape of `x`.

    Raises:
        DTypeError: `x` holds other values.

    Example:
        >>> import dualflow as df
        >>> [round(y, 3) for y in df.nn.functional.selu(df.asarray([-1.0, 0.0, 1.0])).tolist()]
        [-1.111, 0.0, 1.051]
    """
    return SELU_SCALE * elu(x, SELU_ALPHA)


@composite(accepts="floating", public=False)
def celu(x: Any, /, alpha: float = 1.0) -> Tensor:
    """Each element, or `alpha * (exp(x / alpha) - 1)` where it is negative (Barron, 2017).

    Args:
        x: Tensor of any shape; floating numbers; integers become float32.
        alpha: How far below 0 it goes.

    Returns:
        Tensor of the shape of `x`.

    Raises:
        DTypeError: `x` holds other values.

    Example:
        >>> import dualflow as df
        >>> [round(y, 3) for y in df.nn.functional.celu(df.asarray([-1.0, 2.0]), 2.0).tolist()]
        [-0.787, 2.0]
    """
    return where(x > 0, x, alpha * elu(x / alpha))


@composite(accepts="floating", public=False)
def mish(x: Any, /) -> Tensor:
    """`x * tanh(softplus(x))` of each element (Misra, 2019).

    Args:
        x: Tensor of any shape; floating numbers; integers become float32.

    Returns:
        Tensor of the shape of `x`.

    Raises:
        DTypeError: `x` holds other values.

    Example:
        >>> import dualflow as df
        >>> round(df.nn.functional.mish(df.asarray([1.0])).item(), 4)
        0.8651
    """
    return x * tanh(softplus(x))


@composite(accepts="real", public=False)
def threshold(x: Any, /, threshold: float, value: float) -> Tensor:
    """Each element, or `value` where it is not above `threshold`.

    Args:
        x: Tensor of any shape; real numbers.
        threshold: What elements have to exceed.
        value: What stands for the others.

    Returns:
        Tensor of the shape of `x`.

    Raises:
        DTypeError: `x` holds other values.

    Example:
        >>> import dualflow as df
        >>> df.nn.functional.threshold(df.asarray([-1.0, 0.5, 2.0]), 1.0, 0.0).tolist()
        [0.0, 0.0, 2.0]
    """
    return where(x > threshold, x, value)


@composite(tensors=2, accepts="floating", public=False)
def prelu(x: Any, weight: Any, /) -> Tensor:
    """Each element, or `weight` times it where it is negative; `weight` broadcasts with `x`.

    Args:
        x: Tensor of any shape; floating numbers; integers become float32.
        weight: Tensor of slopes that broadcasts with `x`.

    Returns:
        Tensor of the shape of `x`.

    Raises:
        DTypeError: `x` holds other values.

    Example:
        >>> import dualflow as df
        >>> df.nn.functional.prelu(df.asarray([-4.0, 2.0]), 0.25).tolist()
        [-1.0, 2.0]
    """
    return where(x > 0, x, x * weight)


def glu(x: Any, axis: int = -1, **foreign: Never) -> Tensor:
    """One half of `x` times the sigmoid of the other (Dauphin and others, 2017).

    Args:
        x: Tensor with an even extent along `axis`.
        axis: The axis that is halved.

    Returns:
        Tensor with half that extent.

    Raises:
        ShapeError: The extent is odd.
        AxisError: `x` has no such axis.

    Example:
        >>> import dualflow as df
        >>> df.nn.functional.glu(df.asarray([1.0, 2.0, 0.0, 0.0])).tolist()
        [0.5, 1.0]
    """
    if foreign:
        raise refused("glu", foreign)
    x = as_tensor(x)
    axis = canonical_axis("glu", axis, x.ndim)
    half = x.shape[axis] // 2
    if half * 2 != x.shape[axis]:
        raise ShapeError(
            f"glu: shape {format_shape(x.shape)} has an odd extent along axis {axis}",
            "an even extent",
            "another axis",
        )
    before = (slice(None),) * axis
    return x[(*before, slice(None, half))] * sigmoid(x[(*before, slice(half, None))])


def softmin(x: Any, axis: int = -1, **foreign: Never) -> Tensor:
    """`softmax(-x)` along an axis: large where `x` is small.

    Args:
        x: Tensor with one dimension or more; integers become float32.
        axis: The axis along which they sum to 1.

    Returns:
        Tensor of the shape of `x`.

    Raises:
        AxisError: `x` has no such axis.

    Example:
        >>> import dualflow as df
        >>> [round(y, 3) for y in df.nn.functional.softmin(df.asarray([0.0, 1.0])).tolist()]
        [0.731, 0.269]
    """
    if foreign:
        raise refused("softmin", foreign)
    return softmax(-as_tensor(x), axis)


@placed
def rrelu(
    x: Any,
    lower: float = 1.0 / 8,
    upper: float = 1.0 / 3,
    *,
    training: bool = False,
    generator: random.Generator | None = None,
) -> Tensor:
    """Leaky relu with a random slope for each element; in evaluation with the mean slope.

    Args:
        x: Tensor of any shape, of floating numbers.
        lower: The smallest slope.
        upper: The largest slope.
        training: Whether slopes are random.
        generator: Where they come from; the default one when None.

    Returns:
        Tensor of the shape of `x`.

    Raises:
        DTypeError: `x` holds no real numbers.

    Example:
        >>> import dualflow as df
        >>> df.nn.functional.rrelu(df.asarray([-8.0, 8.0]), 0.25, 0.5).tolist()
        [-3.0, 8.0]
    """
    x = as_tensor(x)
    if not training:
        return where(x > 0, x, x * ((lower + upper) / 2))
    slope = random.uniform(x.shape, lower, upper, dtype=x.dtype, generator=generator)
    return where(x > 0, x, x * slope)


@placed
def gumbel_softmax(
    logits: Any,
    tau: float = 1.0,
    axis: int = -1,
    *,
    hard: bool = False,
    generator: random.Generator | None = None,
    **foreign: Never,
) -> Tensor:
    """A sample from the classes as nearly one-hot numbers (Jang and others, 2017).

    Args:
        logits: Tensor of unnormalised log-probabilities.
        tau: Temperature: the smaller, the nearer to one-hot.
        axis: The axis of the classes.
        hard: Return exactly one-hot numbers, with the gradients of the soft ones.
        generator: Where the chances come from; the default one when None.

    Returns:
        Tensor of the shape of `logits`.

    Raises:
        AxisError: `logits` has no such axis.

    Example:
        >>> import dualflow as df
        >>> df.random.seed(0)
        >>> y = df.nn.functional.gumbel_softmax(df.zeros((2, 3)), hard=True)
        >>> y.shape, y.sum(axis=1).tolist()
        ((2, 3), [1.0, 1.0])
    """
    if foreign:
        raise refused("gumbel_softmax", foreign)
    logits = as_tensor(logits)
    axis = canonical_axis("gumbel_softmax", axis, logits.ndim)
    # Not 0, whose logarithm is infinite: 1 - u lies in (0, 1].
    u = 1 - random.uniform(logits.shape, dtype=logits.dtype, generator=generator)
    noise = -log(-log(u * (1 - 1e-7) + 1e-10))
    soft = softmax((logits + noise) / tau, axis)
    if not hard:
        return soft
    place = one_hot(argmax(soft, axis=axis), soft.shape[axis], dtype=soft.dtype)
    return stop_gradient(moveaxis(place, -1, axis) - soft) + soft


__all__ = [
    "celu",
    "glu",
    "gumbel_softmax",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "logsigmoid",
    "mish",
    "prelu",
    "relu6",
    "rrelu",
    "selu",
    "softmin",
    "softshrink",
    "softsign",
    "tanhshrink",
    "threshold",
]
