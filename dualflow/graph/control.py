"""Choices and loops of graphs that are built by hand: both branches, and the body, are recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dualflow.core.context import using
from dualflow.core.registry import functions
from dualflow.core.tensor import Tensor
from dualflow.graph.build import get_default_graph, is_symbolic
from dualflow.tracing.control.branches import asked
from dualflow.tracing.control.looping import STEP
from dualflow.tracing.control.nests import Nest, agreed
from dualflow.tracing.control.unknown import recorded, rolled
from dualflow.tracing.trace import Trace


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
    holds = functions["astype"](asked("cond", "pred", pred), "bool")
    trace = owner_of(holds)
    with using(trace=trace):
        both = [holds, functions["logical_not"](holds)]
    return recorded("cond", trace, (true_fn, false_fn), both)


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

    def pred_of(tensors: list[Tensor]) -> Tensor:
        return asked("while_loop", "the condition", cond_fn(*carry.build(tensors)))

    def step(tensors: list[Tensor]) -> list[Tensor]:
        after = body_fn(*carry.build(tensors))
        return agreed("while_loop", carry, list(after) if several else [after], STEP)

    trace = owner_of(*carry.tensors)
    left = carry.build(rolled(pred_of, step, carry.tensors, maximum_iterations, trace))
    return type(loop_vars)(left) if several else left[0]
