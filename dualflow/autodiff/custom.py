"""Derivatives of the user's own: `custom_gradient` and `custom_jvp`.

The one brings a rule for cotangents, the other one for tangents. Each is linear, so that its
transpose is the other: both modes of differentiation work with either.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from dualflow.autodiff.sweep import Sweep, Watch, fitted, twin
from dualflow.core import tree
from dualflow.core.context import context, using
from dualflow.core.convert import as_tensor
from dualflow.core.record import INEXACT, Leaf, clock, hang
from dualflow.core.registry import functions
from dualflow.core.tensor import Tensor
from jit.errors import TapeError
from jit.types import kind


def transposed(linear: Callable[..., Any], like: list[Tensor], values: list[Any]) -> list[Any]:
    """What the transpose of a linear function gives.

    Args:
        linear: Of tensors, to a list of tensors (or None).
        like: Tensors like its arguments.
        values: For each result of `linear` a tensor, or None for zeros.

    Returns:
        A tensor for each argument; None where none of the results depends on it.
    """
    recording = context.recording and bool(context.tapes)
    watch = Watch()
    with using(recording=True, tapes=(*context.tapes, watch) if recording else (watch,)):
        points = [functions["zeros_like"](x) for x in like]
        for x in points:
            x.record = Leaf()
        start = next(clock)
        results = linear(*points)
    pairs = [
        (y, fitted(v, y))
        for y, v in zip(results, values, strict=True)
        if y is not None and v is not None and y.record is not None
    ]
    sweep = Sweep([y for y, _ in pairs], lambda record: record.tick > start)
    found = sweep.run([v for _, v in pairs], {x.record for x in points})
    return [found.get(x.record) for x in points]


def outputs_of(y: Any) -> list[Any]:
    """One result or several, as a list."""
    return list(y) if isinstance(y, tuple | list) else [y]


class CustomRule:
    """The op of a function with its own gradient, as records see it; the rule itself is an attr."""

    differentiable = True
    vjps = definition = None

    def __init__(self, name: str) -> None:
        self.name = name

    def pullback(
        self, g: Any, y: Any, args: tuple[Any, ...], attrs: dict[str, Any], needed: Any
    ) -> list[Any]:
        """The user's cotangents, one per argument."""
        rule = attrs["rule"]
        cotangents = outputs_of(rule(*g) if isinstance(g, tuple) else rule(g))
        if len(cotangents) != len(args):
            raise TapeError(
                f"custom_gradient: {self.name} gave {len(cotangents)} gradients "
                f"for {len(args)} tensors",
                "one gradient (or None) per tensor argument",
                "return a tuple",
            )
        return [None if c is None else as_tensor(c) for c in cotangents]

    def jvp(self, tangents: Any, y: Any, *args: Any, rule: Any, like: Any) -> Any:
        """The tangents that belong to the user's cotangents."""

        def pulled(*gs: Tensor) -> list[Any]:
            g = gs[0] if len(gs) == 1 else gs
            return self.pullback(g, y, args, {"rule": rule}, None)

        found = transposed(pulled, like, list(tangents))
        return tuple(found) if isinstance(y, tuple) else found[0]


class CustomPush:
    """The op of a function with tangents of its own; `push` is an attr of each record."""

    differentiable = True
    vjps = definition = None

    def __init__(self, name: str) -> None:
        self.name = name

    def jvp(self, tangents: Any, y: Any, *args: Any, push: Any) -> Any:
        """The user's tangents, one per result."""
        zeros = functions["zeros_like"]
        made = outputs_of(
            push(*(zeros(x) if t is None else t for x, t in zip(args, tangents, strict=True)))
        )
        count = len(y) if isinstance(y, tuple) else 1
        if len(made) != count:
            raise TapeError(
                f"custom_jvp: {self.name} gave {len(made)} tangents for {count} results",
                "one tangent per result",
                "return a tuple",
            )
        return tuple(map(as_tensor, made)) if isinstance(y, tuple) else as_tensor(made[0])

    def pullback(
        self, g: Any, y: Any, args: tuple[Any, ...], attrs: dict[str, Any], needed: Any
    ) -> list[Any]:
        """The cotangents that belong to the user's tangents."""
        moving = [k for k, x in enumerate(args) if kind(x.dtype) in INEXACT]

        def pushed(*tangents: Tensor) -> list[Any]:
            given: list[Any] = [None] * len(args)
            for k, t in zip(moving, tangents, strict=True):
                given[k] = t
            return outputs_of(self.jvp(given, y, *args, push=attrs["push"]))

        found = dict(
            zip(moving, transposed(pushed, [args[k] for k in moving], outputs_of(g)), strict=True)
        )
        return [found.get(k) for k in range(len(args))]


def with_rule(
    op: Any, word: str, function: Callable[..., Any], attrs_of: Callable[..., dict[str, Any]]
) -> Callable[..., Any]:
    """`function`, which returns a result and a rule, as one that returns the result.

    Args:
        op: What its records hold.
        word: The decorator, for messages.
        function: The user's.
        attrs_of: Rule and results to attrs of the record.
    """

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        leaves, spec = tree.flatten((args, kwargs))
        tensors = [as_tensor(x) for x in leaves if isinstance(x, Tensor)]
        rest = iter(tensors)
        inner = tree.unflatten(spec, [next(rest) if isinstance(x, Tensor) else x for x in leaves])
        # Recorded like everything else: the rule may use these values, and be differentiated.
        y, rule = checked(word, op.name, function(*inner[0], **inner[1]))
        if context.trace is not None:
            context.trace.custom_rules.append(op.name)
        outputs = [twin(t) for t in (y if isinstance(y, tuple) else (y,))]
        hang(op, tuple(tensors), attrs_of(rule, outputs), outputs)
        return tuple(outputs) if isinstance(y, tuple) else outputs[0]

    return call


def custom_gradient(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: the function brings its own gradient, for both modes.

    Args:
        function: Returns `(y, rule)`; `rule` takes a cotangent for each output and returns one (or
            None) for each tensor argument. It is recorded for gradients of gradients. In forward
            mode its transpose counts.

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

    def attrs_of(rule: Any, outputs: list[Tensor]) -> dict[str, Any]:
        return {"rule": rule, "like": list(map(twin, outputs))}

    return with_rule(op, "custom_gradient", function, attrs_of)


def custom_jvp(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: the function brings its own derivative in a direction, for both modes.

    Args:
        function: Returns `(y, push)`; `push` takes a tangent for each tensor argument, is linear in
            them, and returns one for each output. It is recorded for derivatives of derivatives. In
            reverse mode its transpose counts.

    Returns:
        A function that returns `y`.

    Example:
        >>> import dualflow as df
        >>> @df.custom_jvp
        ... def doubled(x):
        ...     return x * 2, lambda t: t * 5
        >>> df.grad(doubled)(df.asarray(1.0)).item()
        5.0
    """
    op = CustomPush(getattr(function, "__name__", "function"))
    return with_rule(op, "custom_jvp", function, lambda push, outputs: {"push": push})


def checked(word: str, name: str, made: Any) -> tuple[Any, Callable[..., Any]]:
    """What the user's function returned, if it is a pair; a tensor would come apart in rows."""
    if not isinstance(made, tuple) or len(made) != 2 or not callable(made[1]):
        raise TapeError(
            f"{word}: {name} returned a {type(made).__name__}",
            "a pair (y, rule)",
            "return y, lambda g: ...",
        )
    return made
