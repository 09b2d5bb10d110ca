"""Gradients kept small, for those that a tape gives: new lists, nothing is changed in place.

`df.nn.utils.clip_grad_norm_` and `clip_grad_value_` do the same to `.grad`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dualflow.core.convert import as_tensor
from dualflow.core.tensor import Tensor
from dualflow.ops.arrange import stack
from dualflow.ops.choice import clip, maximum
from dualflow.ops.create import zeros
from dualflow.ops.elementwise import astype
from dualflow.ops.power import sqrt, square
from dualflow.ops.reduce import sum

Gradients = list[Tensor | None]


def given(grads: Iterable[Any]) -> Gradients:
    """The gradients as tensors; None stays."""
    return [None if g is None else as_tensor(g) for g in grads]


def clip_by_value(grads: Iterable[Any], clip_value: float) -> Gradients:
    """Brings every element within `clip_value` of 0.

    Args:
        grads: Gradients; None stays None.
        clip_value: The largest size.

    Returns:
        The new gradients.

    Example:
        >>> import dualflow as df
        >>> [g.tolist() for g in df.optim.clip_by_value([df.asarray([3.0, -0.5])], 1.0)]
        [[1.0, -0.5]]
    """
    return [None if g is None else clip(g, -clip_value, clip_value) for g in given(grads)]


def clip_by_norm(grads: Iterable[Any], max_norm: float) -> Gradients:
    """Scales every gradient by itself, so that its norm is at most `max_norm`.

    Args:
        grads: Gradients; None stays None.
        max_norm: The largest norm.

    Returns:
        The new gradients.
    """
    return [None if g is None else shrunk(g, sqrt(sum(square(g))), max_norm) for g in given(grads)]


def clip_by_global_norm(grads: Iterable[Any], max_norm: float) -> tuple[Gradients, Tensor]:
    """Scales all gradients together, so that their norm as one vector is at most `max_norm`.

    Args:
        grads: Gradients; None stays None.
        max_norm: The largest norm.

    Returns:
        The new gradients, and the norm before.

    Example:
        >>> import dualflow as df
        >>> grads, norm = df.optim.clip_by_global_norm([df.asarray([3.0]), df.asarray([4.0])], 1.0)
        >>> norm.item()
        5.0
    """
    tensors = given(grads)
    there = [g for g in tensors if g is not None]
    if not there:
        return tensors, zeros(())
    norm = sqrt(sum(stack([sum(square(g)) for g in there])))
    return [None if g is None else shrunk(g, norm, max_norm) for g in tensors], norm


def shrunk(g: Tensor, norm: Tensor, max_norm: float) -> Tensor:
    """`g` times `max_norm / norm`, where the norm is larger."""
    return g * astype(max_norm / maximum(norm, max_norm), g.dtype)
