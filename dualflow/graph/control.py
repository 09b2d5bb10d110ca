"""Choices and loops of graphs that are built by hand: both branches, and the body, are recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dualflow.core.context import using
from dualflow.core.convert import as_tensor
from dualflow.core.registry import functions
from dualflow.core.tensor import Tensor
from dualflow.graph.build import get_default_graph, is_symbolic
from dualflow.tracing.control.branches import asked
from dualflow.tracing.control.choices import Branch, once
from dualflow.tracing.control.nests import Nest, agreed
from dualflow.tracing.control.rolling import Roll
from dualflow.tracing.trace import Trace
from jit.errors import TraceError

STEP = "before a step", "after it"
BRANCHES = "of one branch", "of the other"


def owner_of(*tensors: Tensor) -> Trace:
    """The recording of the graph that symbolic tensors belong to; of the default one for others."""
    owners = [x.symbol.owner for x in tensors if is_symbolic(x)]
    return owners[0] if owners else get_default_graph().trace


def cond(pred: Any, true_fn: Callable[[], Any], false_fn: Callable[[], Any]) -> Any:
    """One of two results, of which a run computes the one that it needs.

    Args:
        pred: A tensor of one bool.
        true_fn: Without arguments; returns a tensor or a tree of them.
        false_fn: Likewise.

    Returns:
        Symbolic tensors, in the tree that both return. Gradients flow to what branches use.

    Raises:
        ShapeError: `pred` has several elements, or the branches return other shapes.
        DTypeError: They return other dtypes.

    Example:
        >>> import dualflow as df
        >>> with df.graph.Graph().as_default(), df.graph.Session() as session:
        ...     x = df.graph.placeholder("float32", ())
        ...     y = df.graph.cond(x > 0.0, lambda: x * 2.0, lambda: -x)
        ...     [float(session.run(y, {x: number})) for number in (3.0, -4.0)]
        [6.0, 4.0]
    """
    pred = functions["astype"](asked("cond", "pred", pred), "bool")
    trace = owner_of(pred)
    first, other = (branch_of(trace, function) for function in (true_fn, false_fn))
    agreed("cond", first.result, other.result.build(other.result.tensors), BRANCHES)
    with using(trace=trace):
        full = functions["full"]
        results = [full(x.shape, 0, dtype=x.dtype) for x in first.result.tensors]
        results = once(first, pred, results)
        results = once(other, functions["logical_not"](pred), results)
    return first.result.build(results)


def branch_of(trace: Trace, function: Callable[[], Any]) -> Branch:
    """What a branch computes, and what it reads."""
    roll = Roll(trace, len(trace.graph.nodes))
    roll.begin([], [])
    try:
        nest = Nest.of(function(), "the result")
        roll.gives(nest.tensors)
    finally:
        roll.end()
    closed = roll.closed()
    if closed is None:
        raise elsewhere("cond", "a branch")
    return Branch(closed[0], closed[1], nest)


def while_loop(
    cond_fn: Callable[..., Any],
    body_fn: Callable[..., Any],
    loop_vars: Any,
    maximum_iterations: int | None = None,
) -> Any:
    """What is left of `loop_vars` when `body_fn` was applied as long as `cond_fn` holds.

    Args:
        cond_fn: Takes the variables, each as an argument; returns a bool.
        body_fn: Takes them likewise; returns the next ones, which stay alike.
        loop_vars: The first ones: a list or tuple of tensors, or one tensor.
        maximum_iterations: After how many steps it ends in any case. Gradients flow only where this
            is given.

    Returns:
        Symbolic tensors, in the structure of `loop_vars`.

    Raises:
        ShapeError: A variable changes its shape; the condition has several elements.
        DTypeError: A variable changes its dtype.

    Example:
        >>> import dualflow as df
        >>> with df.graph.Graph().as_default(), df.graph.Session() as session:
        ...     x = df.graph.placeholder("float32", ())
        ...     y = df.graph.while_loop(lambda y: y < 100.0, lambda y: y * 2.0, x)
        ...     float(session.run(y, {x: 3.0}))
        192.0
    """
    several = isinstance(loop_vars, list | tuple)
    carry = Nest.of(list(loop_vars) if several else [loop_vars], "loop_vars")
    trace = owner_of(*carry.tensors)

    def going(count: Tensor, tensors: list[Tensor]) -> Tensor:
        pred = asked("while_loop", "the condition", cond_fn(*carry.build(tensors)))
        pred = functions["astype"](pred, "bool")
        return pred if maximum_iterations is None else pred & (count < maximum_iterations)

    zero, *first = (symbolic(trace, x) for x in (as_tensor(0), *carry.tensors))
    state = [symbolic(trace, going(zero, first)), zero, *first]
    roll = Roll(trace, len(trace.graph.nodes))
    (_, count, *given), _ = roll.begin(state, [])
    try:
        after = body_fn(*carry.build(given))
        tensors = agreed("while_loop", carry, list(after) if several else [after], STEP)
        roll.gives([going(count + 1, tensors), count + 1, *tensors])
    finally:
        roll.end()
    watched = maximum_iterations is not None
    with using(trace=trace):
        made = roll.loop((), maximum_iterations, found=watched, going=0)
    if made is None:
        raise elsewhere("while_loop", "the body")
    left = carry.build(made[-len(carry.tensors) :])
    return type(loop_vars)(left) if several else left[0]


def symbolic(trace: Trace, x: Tensor) -> Tensor:
    """A tensor as one of a graph, so that nothing is computed of its values now."""
    return x if is_symbolic(x) else Tensor(None, trace.symbol(trace.value_of(x)))


def elsewhere(what: str, part: str) -> TraceError:
    """The error of a part that cannot stand by itself."""
    return TraceError(
        f"{what}: {part} uses tensors of another graph, or one in two roles",
        "what was computed in this graph",
        "build all of it inside of one `with graph.as_default():`",
    )
