"""`tf.keras.activations`: functions by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dualflow as df

F = df.nn.functional
relu, sigmoid, tanh, softplus, gelu, elu, silu = (
    F.relu,
    F.sigmoid,
    F.tanh,
    F.softplus,
    F.gelu,
    F.elu,
    F.silu,
)


def linear(x: Any) -> Any:
    """`x` itself."""
    return x


def softmax(x: Any, axis: int = -1) -> Any:
    """Exponentials along `axis`, divided by their sum."""
    return F.softmax(x, axis=axis)


def get(identifier: Any) -> Callable[[Any], Any]:
    """A function for a name; None is `linear`, a function stays.

    Raises:
        ValueError: A name that is not known.
    """
    if identifier is None:
        return linear
    if callable(identifier):
        return identifier
    known = globals().get(str(identifier))
    if not callable(known) or identifier in ("get", "Any", "Callable"):
        raise ValueError(f"there is no activation {identifier!r}")
    return known
