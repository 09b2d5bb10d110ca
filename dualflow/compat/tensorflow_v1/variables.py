"""Variables of a graph under TensorFlow's words: scopes, `get_variable`, initial values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import dualflow as df
from dualflow.compat.tensorflow_v1 import random

AUTO_REUSE = "AUTO_REUSE"
Initializer = Callable[..., Any]


class Scope(NamedTuple):
    """What `get_variable` finds around it.

    Attributes:
        prefix: What names begin with.
        reuse: Whether variables must be there already.
        initializer: The initial value of those that say none.
    """

    prefix: str = ""
    reuse: bool = False
    initializer: Any = None


current: ContextVar[Scope] = ContextVar("variable scope")


@contextmanager
def variable_scope(
    name_or_scope: Any,
    default_name: str | None = None,
    initializer: Any = None,
    reuse: Any = None,
) -> Iterator[Scope]:
    """Names of variables begin with a name and a slash, in a `with` block.

    Args:
        name_or_scope: A name, or what another `with` gave; None for `default_name`, numbered.
        default_name: See above.
        initializer: Of variables that say none.
        reuse: True: variables must be there already. `AUTO_REUSE` is what always holds: one that
            is there is taken, else it is made.
    """
    graph, around = df.graph.get_default_graph(), scope_now()
    if isinstance(name_or_scope, Scope):
        prefix = name_or_scope.prefix
    elif name_or_scope is None:
        with graph.scoped(around.prefix):
            prefix = f"{graph.unique(default_name or 'scope')}/"
    else:
        prefix = f"{around.prefix}{name_or_scope}/"
    must = around.reuse if reuse is None else reuse is True
    token = current.set(Scope(prefix, must, initializer or around.initializer))
    try:
        with graph.scoped(prefix):
            yield current.get()
    finally:
        current.reset(token)


def scope_now() -> Scope:
    """The scope around."""
    return current.get(Scope())


def get_variable(
    name: str,
    shape: Any = None,
    dtype: Any = "float32",
    initializer: Any = None,
    *,
    trainable: bool = True,
    **_: Any,
) -> Any:
    """The variable of this name in the default graph and the scope, made where it is not there.

    Args:
        name: Its name.
        shape: Its extents, where the initial value does not say them.
        dtype: Its dtype.
        initializer: A value, or a function of a shape; uniform within Glorot's bounds by default.
        trainable: Whether optimisers change it.
        **_: Other words of TensorFlow's change nothing.

    Raises:
        ValueError: It is not there in a scope with `reuse=True`, or has another shape.
    """
    scope = scope_now()
    full = scope.prefix + name
    for known in df.graph.global_variables():
        if known.name == full:
            if shape is not None and tuple(shape) != known.shape:
                raise ValueError(f"get_variable: {full} has shape {known.shape}, not {shape}")
            return known
    if scope.reuse:
        raise ValueError(f"get_variable: there is no {full} to reuse")
    chosen = initializer or scope.initializer or glorot_uniform_initializer()
    value = chosen(shape) if callable(chosen) else chosen
    with df.graph.get_default_graph().scoped(""):
        return df.graph.GraphVariable(value, dtype, full, trainable=trainable)


# ----- initial values -----


def zeros_initializer(**_: Any) -> Initializer:
    """Zeros."""
    return lambda shape, *_: df.zeros(shape)


def ones_initializer(**_: Any) -> Initializer:
    """Ones."""
    return lambda shape, *_: df.ones(shape)


def constant_initializer(value: Any = 0.0, **_: Any) -> Initializer:
    """One value, or the elements of a list."""
    return lambda shape, *_: df.broadcast_to(df.asarray(value, dtype="float32"), tuple(shape))


def random_normal_initializer(mean: float = 0.0, stddev: float = 1.0, **_: Any) -> Initializer:
    """Normal numbers."""
    return lambda shape, *_: random.normal(shape, mean, stddev)


def truncated_normal_initializer(mean: float = 0.0, stddev: float = 1.0, **_: Any) -> Initializer:
    """Normal numbers within two standard deviations."""
    return lambda shape, *_: random.truncated_normal(shape, mean, stddev)


def random_uniform_initializer(
    minval: float = -0.05, maxval: float = 0.05, **_: Any
) -> Initializer:
    """Uniform numbers."""
    return lambda shape, *_: random.uniform(shape, minval, maxval)


def glorot_uniform_initializer(**_: Any) -> Initializer:
    """Uniform, by inputs and outputs (Glorot and Bengio, 2010)."""

    def made(shape: Any, *_: Any) -> Any:
        inner = 1
        for extent in shape[:-2]:
            inner *= extent
        bound = (6 / max(inner * sum(shape[-2:]), 1)) ** 0.5
        return random.uniform(shape, -bound, bound)

    return made
