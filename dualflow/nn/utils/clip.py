"""Gradients kept small, in place: `.grad` of parameters."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from dualflow.core.context import no_grad
from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable
from dualflow.ops.arrange import stack
from dualflow.ops.choice import clip, minimum
from dualflow.ops.create import zeros
from dualflow.ops.elementwise import abs, astype
from dualflow.ops.power import pow, sqrt, square
from dualflow.ops.reduce import max, sum


def with_grads(parameters: Any) -> list[Variable]:
    """The gradients that there are."""
    given = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    return [g for p in given if (g := p.grad) is not None]


def get_total_norm(tensors: Iterable[Any], norm_type: float = 2.0) -> Tensor:
    """The norm of all tensors taken as one vector.

    Args:
        tensors: Gradients, for instance.
        norm_type: Exponent of the norm; infinity for the largest element.

    Returns:
        Tensor of shape (); 0 for no tensors.
    """
    found = list(tensors)
    if not found:
        return zeros(())
    if norm_type == math.inf:
        return max(stack([max(abs(g)) for g in found]))
    if norm_type == 2:
        return sqrt(sum(stack([sum(square(g)) for g in found])))
    return pow(sum(stack([sum(pow(abs(g), norm_type)) for g in found])), 1.0 / norm_type)


def clip_grad_norm_(parameters: Any, max_norm: float, norm_type: float = 2.0) -> Tensor:
    """Scales all gradients together, so that their norm is at most `max_norm`.

    Args:
        parameters: Variables whose `.grad` is to be scaled; a generator will do.
        max_norm: The largest norm.
        norm_type: Exponent of the norm; infinity for the largest element.

    Returns:
        The norm before.

    Example:
        >>> import dualflow as df
        >>> w = df.Variable([3.0, 4.0])
        >>> (w * w).sum().backward()
        >>> df.nn.utils.clip_grad_norm_([w], 1.0).item()
        10.0
        >>> w.grad.numpy().round(3).tolist()
        [0.6000000238418579, 0.800000011920929]
    """
    with no_grad():
        grads = with_grads(parameters)
        norm = get_total_norm(grads, norm_type)
        factor = minimum(max_norm / (norm + 1e-6), 1.0)
        for g in grads:
            g.assign(g * astype(factor, g.dtype))
    return norm


def clip_grad_value_(parameters: Any, clip_value: float) -> None:
    """Brings every element of the gradients within `clip_value` of 0.

    Args:
        parameters: Variables whose `.grad` is to be clipped; a generator will do.
        clip_value: The largest size.
    """
    with no_grad():
        for g in with_grads(parameters):
            g.assign(clip(g, -clip_value, clip_value))
