"""Update rules of optimisers: composites, so that a compiler may take each as one kernel.

Formulas and their order of operations are PyTorch's (torch.optim, single-tensor form). Scalars that
depend on the step are computed in float64 and then rounded to the dtype of the parameter.
"""

from __future__ import annotations

from typing import Any

from dualflow.core.define import composite
from dualflow.core.tensor import Tensor
from dualflow.ops.elementwise import astype
from dualflow.ops.power import sqrt
from jit.errors import ShapeError
from jit.types import float64, format_shape


@composite(tensors=3, accepts=None)
def sgd_update(p: Any, g: Any, lr: Any, /, *, weight_decay: float = 0.0) -> Tensor:
    """A step of gradient descent: `p - lr * (g + weight_decay * p)`.

    Args:
        p: Parameter, of any shape; floating or complex.
        g: Its gradient, of the same shape and dtype.
        lr: Learning rate, a number.
        weight_decay: Factor of the parameter that is added to the gradient.

    Returns:
        Tensor: the new parameter.

    Raises:
        ShapeError: The gradient has another shape than the parameter.

    Example:
        >>> import dualflow as df
        >>> from dualflow.ops.updates import sgd_update
        >>> sgd_update(df.asarray([1.0]), df.asarray([2.0]), 0.25).tolist()
        [0.5]
    """
    check_shapes("sgd_update", p, g=g)
    return p - astype(lr, p.dtype) * decayed(g, p, weight_decay)


@composite(tensors=5, accepts=None)
def momentum_update(
    p: Any,
    g: Any,
    buffer: Any,
    step: Any,
    lr: Any,
    /,
    *,
    momentum: float,
    dampening: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """A step of gradient descent with momentum (Sutskever et al., 2013, as PyTorch words it).

    The buffer becomes `momentum * buffer + (1 - dampening) * g`, undampened at step 1; the
    parameter loses `lr` times the buffer, or with Nesterov's rule times `g + momentum * buffer`.

    Args:
        p: Parameter, of any shape; floating or complex.
        g: Its gradient, of the same shape and dtype.
        buffer: Running sum of gradients, of the same shape and dtype; zeros at first.
        step: Number of this step, counted from 1.
        lr: Learning rate, a number.
        momentum: Factor of the old buffer.
        dampening: Share of the gradient that does not enter the buffer.
        nesterov: Use Nesterov's rule.
        weight_decay: Factor of the parameter that is added to the gradient.

    Returns:
        The new parameter and buffer.

    Raises:
        ShapeError: The gradient or the buffer has another shape than the parameter.
    """
    check_shapes("momentum_update", p, g=g, buffer=buffer)
    g = decayed(g, p, weight_decay)
    fresh = g
    if dampening:
        fresh = astype(1.0 - dampening * astype(step > 1, float64), p.dtype) * g
    buffer = momentum * buffer + fresh
    direction = g + momentum * buffer if nesterov else buffer
    return p - astype(lr, p.dtype) * direction, buffer


@composite(tensors=6, accepts=None)
def adam_update(
    p: Any,
    g: Any,
    m: Any,
    v: Any,
    step: Any,
    lr: Any,
    /,
    *,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """A step of Adam (Kingma and Ba, 2015), or of AdamW (Loshchilov and Hutter, 2019).

    `m + (1 - beta1) (g - m)` and `beta2 v + (1 - beta2) g g` are the new means; the parameter loses
    `lr / (1 - beta1^step) * m / (sqrt(v) / sqrt(1 - beta2^step) + eps)`.

    Args:
        p: Parameter, of any shape; floating.
        g: Its gradient, of the same shape and dtype.
        m: Running mean of gradients, of the same shape and dtype; zeros at first.
        v: Running mean of squared gradients, likewise.
        step: Number of this step, counted from 1.
        lr: Learning rate, a number.
        betas: How much of the old means is kept.
        eps: Added to the denominator.
        weight_decay: Factor of the parameter that is added to the gradient.
        decoupled: AdamW: the parameter is multiplied by `1 - lr * weight_decay` instead.

    Returns:
        The new parameter, mean, and mean of squares.

    Raises:
        ShapeError: The gradient or a mean has another shape than the parameter.
    """
    check_shapes("adam_update", p, g=g, m=m, v=v)
    beta1, beta2 = betas
    count, rate = astype(step, float64), astype(lr, float64)
    if decoupled:
        p = p * astype(1.0 - rate * weight_decay, p.dtype)
    else:
        g = decayed(g, p, weight_decay)
    m = m + (1.0 - beta1) * (g - m)
    v = beta2 * v + (1.0 - beta2) * g * g
    size = astype(rate / (1.0 - beta1**count), p.dtype)
    scale = astype(sqrt(1.0 - beta2**count), p.dtype)
    return p - size * m / (sqrt(v) / scale + eps), m, v


def check_shapes(name: str, p: Tensor, **others: Tensor) -> None:
    """Raises ShapeError unless all have the parameter's shape: nothing broadcasts here."""
    for what, x in others.items():
        if x.shape != p.shape:
            raise ShapeError(
                f"{name}: {what} has shape {format_shape(x.shape)}, "
                f"the parameter {format_shape(p.shape)}",
                "the parameter's shape",
                "check the order of gradients and parameters",
            )


def decayed(g: Tensor, p: Tensor, weight_decay: float) -> Tensor:
    """The gradient of the loss plus `weight_decay / 2` times the sum of squares of `p`."""
    return g + weight_decay * p if weight_decay else g
