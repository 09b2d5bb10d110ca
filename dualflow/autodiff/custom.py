"""Gradients of the user's own: `custom_gradient`."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from dualflow.core import tree
from dualflow.core.context import context
from dualflow.core.convert import as_tensor
from dualflow.core.record import hang
from dualflow.core.tensor import Tensor
from jit.errors import TapeError


class CustomRule:
    """The op of a function with its own gradient, as records see it; the rule itself is an attr."""

    differentiable = True
    vjps = definition = jvp = None

    def __init__(self, name: str) -> None:
        self.name = name

    def pullback(
        self, g: Any, y: Any, args: tuple[Any, ...], attrs: dict[str, Any], needed: Any
    ) -> list[Any]:
        """The user's cotangents, one per argument."""
        rule = attrs["rule"]
        found = rule(*g) if isinstance(g, tuple) else rule(g)
        cotangents = list(found) if isinstance(found, list | tuple) else [found]
        if len(cotangents) != len(args):
            raise TapeError(
                f"custom_gradient: {self.name} gave {len(cotangents)} gradients "
                f"for {len(args)} tensors",
                "one gradient (or None) per tensor argument",
                "return a tuple",
            )
        return [None if c is None else as_tensor(c) for c in cotangents]


def custom_gradient(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: the function brings its own gradient, for both modes.

    Args:
        function: Returns `(y, rule)`; `rule` takes a cotangent for each output and returns one (or
            None) for each tensor argument. It is recorded for gradients of gradients.

    Returns:
        A function that returns `y`.

    Example:
        >>> import dualflow as df
        >>> @df.custom_gradient
        ... def clipped(x):
        ...     return x, lambda g: df.clip(g, -1.0, 1.0)
        >>> df.grad(lambda x: (100 * clipped(x)))(df.asarray(1.0)).item()
        1.0
    """
    op = CustomRule(getattr(function, "__name__", "function"))

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        leaves, spec = tree.flatten((args, kwargs))
        tensors = [as_tensor(x) for x in leaves if isinstance(x, Tensor)]
        rest = iter(tensors)
        inner = tree.unflatten(spec, [next(rest) if isinstance(x, Tensor) else x for x in leaves])
        # Recorded like everything else: `rule` may use these values, and be differentiated itself.
        y, rule = checked(op.name, function(*inner[0], **inner[1]))
        if context.trace is not None:
            context.trace.custom_rules.append(op.name)
        outputs = [Tensor(t.raw, t.symbol) for t in (y if isinstance(y, tuple) else (y,))]
        hang(op, tuple(tensors), {"rule": rule}, outputs)
        return tuple(outputs) if isinstance(y, tuple) else outputs[0]

    return call


def checked(name: str, made: Any) -> tuple[Any, Callable[..., Any]]:
    """What the user's function returned, if it is a pair; a tensor would come apart in rows."""
    if not isinstance(made, tuple) or len(made) != 2 or not callable(made[1]):
        raise TapeError(
            f"custom_gradient: {name} returned a {type(made).__name__}",
            "a pair (y, rule)",
            "return y, lambda g: ...",
        )
    return made
