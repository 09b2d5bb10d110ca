"""Choices and loops without values: all branches, and one step, are recorded, and a run decides.

In a graph that is built by hand, and in a function that is traced for types alone, nobody can tell
Python which branch it is. So each of them is called once, while the graph is built.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dualflow.core.context import using
from dualflow.core.registry import functions
from dualflow.core.tensor import Tensor
from dualflow.tracing.control.choices import Branch, once
from dualflow.tracing.control.first import is_watched
from dualflow.tracing.control.nests import Nest, agreed
from dualflow.tracing.control.rolling import Roll
from dualflow.tracing.trace import Trace
from jit.errors import TraceError

BRANCHES = "of one branch", "of another"
NONE = np.zeros((), np.int64)
Tensors = list[Tensor]


def is_unknown(x: Tensor) -> bool:
    """Whether a tensor stands for a value that only a run has."""
    return x.is_symbolic and isinstance(x.symbol.owner, Trace)


# ----- choices -----


def recorded(
    what: str,
    trace: Trace,
    branches: Sequence[Callable[..., Any]],
    holds: Sequence[Tensor],
    operands: Sequence[Any] = (),
) -> Any:
    """The result of one branch, of which a run computes no other.

    Args:
        what: The function that the user called, for messages.
        trace: The recording that it goes to.
        branches: The functions.
        holds: For each whether it is the one: tensors of a bool.
        operands: What they are given.

    Raises:
        ShapeError: The branches return other structures or shapes.
        DTypeError: They return other dtypes.
        TraceError: One uses tensors of another graph, or asks for a value.
    """
    found = [branch_of(what, trace, function, operands) for function in branches]
    first = found[0].result
    for branch in found[1:]:
        agreed(what, first, branch.result.build(branch.result.tensors), BRANCHES)
    with using(trace=trace):
        full = functions["full"]
        results = [full(x.shape, 0, dtype=x.dtype) for x in first.tensors]
        for branch, hold in zip(found, holds, strict=True):
            results = once(branch, hold, results)
    return first.build(results)


def branch_of(
    what: str, trace: Trace, function: Callable[..., Any], operands: Sequence[Any]
) -> Branch:
    """What a branch computes, and what it reads."""
    roll, answers = Roll(trace, len(trace.graph.nodes)), len(trace.answers)
    roll.begin([], [])
    try:
        nest = Nest.of(function(*operands), "the result")
        roll.gives(nest.tensors)
    finally:
        roll.end()
    closed = roll.closed() if len(trace.answers) == answers else None
    if closed is None:
        raise elsewhere(what, "a branch")
    return Branch(closed[0], closed[1], nest)


# ----- loops -----


def rolled(
    pred_of: Callable[[Tensors], Tensor],
    step: Callable[[Tensors], Tensors],
    tensors: Tensors,
    most: int | None,
    trace: Trace,
) -> Tensors:
    """The carry that is left when no step is to be taken any more.

    Args:
        pred_of: From the carry to whether there is another step.
        step: From the carry to the next one.
        tensors: The first carry.
        most: How many steps there are at most. Gradients flow only where this is given.
        trace: The recording that it goes to.

    Raises:
        TraceError: The step uses tensors of another graph, or asks for a value.
    """

    def going(count: Tensor, carry: Tensors) -> Tensor:
        pred = functions["astype"](pred_of(carry), "bool")
        return pred if most is None else functions["logical_and"](pred, count < most)

    zero = Tensor(None, trace.symbol(trace.graph.constant(NONE)))
    first = [symbolic(trace, x) for x in tensors]
    state = [symbolic(trace, going(zero, first)), zero, *first]
    roll, answers = Roll(trace, len(trace.graph.nodes)), len(trace.answers)
    (_, count, *given), _ = roll.begin(state, [])
    try:
        after = step(given)
        roll.gives([going(count + 1, after), count + 1, *after])
    finally:
        roll.end()
    if len(trace.answers) > answers:
        raise elsewhere("while_loop", "a step")
    kept = most is not None and is_watched(roll.reads())
    with using(trace=trace):
        made = roll.loop((), None if most is None else max(most, 1), found=kept, going=0)
    if made is None:
        raise elsewhere("while_loop", "a step")
    return made[-len(tensors) :] if tensors else []


def symbolic(trace: Trace, x: Tensor) -> Tensor:
    """A tensor as one of a recording, so that nothing is computed of its values now."""
    return x if x.is_symbolic else Tensor(None, trace.symbol(trace.value_of(x)), x.record)


def elsewhere(what: str, part: str) -> TraceError:
    """The error of a part that cannot stand by itself."""
    return TraceError(
        f"{what}: {part} uses tensors of another graph, or one in two roles, or asks for a value",
        "what is computed in this graph",
        "build all of it inside of one `with graph.as_default():`; df.cond where it is to decide",
    )
