"""Programs run in both modes side by side: results, state, exceptions are the same at each call."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

import dualflow as df
from dualflow.core import tree
from tests.modes import bits


def snapshot(value: Any) -> Any:
    """A result or a state as plain data that can be compared: bits of tensors and of gradients."""
    leaves, spec = tree.flatten(value)
    return [_leaf(x) for x in leaves], spec


def _leaf(x: Any) -> Any:
    if isinstance(x, df.Variable):
        return "variable", bits(x), None if x.grad is None else bits(x.grad)
    return bits(x) if isinstance(x, df.Tensor | np.ndarray) else x


def outcome(f: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """What a call gives, or the class and the text of what it raises."""
    try:
        return snapshot(f(*args))
    except Exception as error:
        return type(error), str(error)


def agree(
    program: Callable[[], tuple[Callable[..., Any], Any]],
    calls: Iterable[tuple[Any, ...]],
    **options: Any,
) -> Any:
    """Runs a program in both modes and demands equal outcomes and equal state after every call.

    Args:
        program: Makes `(function, state)` anew; both are made twice, for one mode each.
        calls: The arguments of each call.
        options: For `df.function`; `strict=True` unless it says otherwise.

    Returns:
        The Function, for questions about traces.
    """
    eager, eager_state = program()
    python, state = program()
    f = df.function(python, **{"strict": True, **options})
    for k, args in enumerate(calls):
        wanted, found = outcome(eager, args), outcome(f, args)
        assert found == wanted, f"call {k}: {found} instead of {wanted}"
        assert snapshot(state) == snapshot(eager_state), f"state after call {k}"
    return f


def vector(*values: float) -> df.Tensor:
    """A float32 vector."""
    return df.asarray(np.asarray(values, np.float32))
