"""Choices as nodes: `cond` and `switch` in a recorded function.

Each branch is a loop of one step or none, so that only the one runs that is taken, and derivatives
are those of loops. The branch that this call takes runs as it always does. The others are recorded
too, if their code tells that all they can do is to compute; a graph of their own holds what they
have computed, and none of it is left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dualflow.autodiff.tape import GradientTape
from dualflow.core import tree
from dualflow.core.context import checks_ops, context
from dualflow.core.op import bind
from dualflow.core.record import Pick, clock
from dualflow.core.registry import functions
from dualflow.core.tensor import Tensor
from dualflow.tracing.control.first import is_watched, take_back
from dualflow.tracing.control.looped import looped
from dualflow.tracing.control.nests import Nest
from dualflow.tracing.control.pure import only_computes
from dualflow.tracing.control.rolling import Deeds, Roll, may_decide, recording
from dualflow.tracing.control.until import keeping
from dualflow.tracing.trace import Trace
from jit.dataclass import dataclass
from jit.errors import DualflowError
from jit.ir import builtin
from jit.ir.call import Body
from jit.ir.graph import Graph
from jit.types import TensorType, int64

LASTING = ("assigned", "stop_gradient")  # what is read of Variables
FALSE, ONE = np.zeros((), np.bool_), np.ones((), np.int64)


@dataclass(frozen=True)
class Branch:
    """What a branch computes.

    Attributes:
        graph: Of what it reads from outside.
        given: These tensors.
        result: The tree that it returns.
        sources: The records from outside to which gradients flow that may be missed.
    """

    graph: Graph
    given: list[Tensor]
    result: Nest
    sources: frozenset[Any] = frozenset()


class Choice:
    """A choice between functions, which is recorded.

    Args:
        trace: The recording, which was told just now which one is taken.
        branches: The functions.
        operands: What they are given.
    """

    def __init__(
        self, trace: Trace, branches: Sequence[Callable[..., Any]], operands: Sequence[Any]
    ) -> None:
        self._trace, self._branches, self._operands = trace, branches, operands
        self._asked = len(trace.graph.nodes) - 1

    def of(self, taken: int, holds: Callable[[], list[Tensor]]) -> Any:
        """The result.

        Args:
            taken: The number of the branch that this call takes.
            holds: Gives for each branch whether it is the one.
        """
        start = len(self._trace.graph.nodes)
        result, own = self._record(taken)
        if own is None:
            return result
        found: list[Branch] = []
        for k in range(len(self._branches)):
            other = own if k == taken else self._quietly(k)
            if other is None or not alike(own.result, other.result):
                return result
            if other.sources != own.sources:  # Python has no gradient where a node has zeros
                return result
            found.append(other)
        nodes = self._trace.graph.nodes
        nodes[start:] = [x for x in nodes[start:] if stays(x)]
        take_back(self._trace, self._asked)
        return self._joined(found, holds())

    def _record(self, k: int) -> tuple[Any, Branch | None]:
        """What a branch returns, and what it has computed, if that is all."""
        trace, branch = self._trace, self._branches[k]
        deeds, roll = Deeds(trace, branch), Roll(trace, len(trace.graph.nodes))
        start = next(clock)
        roll.begin([], [])
        try:
            result = branch(*self._operands)
            nest = tensors_of(result)
            if nest is not None and deeds.nothing_since():
                roll.gives(nest.tensors)
        finally:
            roll.end()
        closed = roll.closed()
        if closed is None or nest is None:
            return result, None
        return result, Branch(closed[0], closed[1], nest, sources(nest.tensors, start))

    def _quietly(self, k: int) -> Branch | None:
        """What a branch would compute; nothing else is left of it."""
        trace = self._trace
        nodes, answers, refusals = map(len, (trace.graph.nodes, trace.answers, trace.refusals))
        try:
            found = self._record(k)[1]
        except (DualflowError, ArithmeticError, LookupError, TypeError, ValueError):
            found = None
        if found is None:
            kept = [x for x in trace.graph.nodes[nodes:] if stays(x)]
            trace.graph.nodes[nodes:] = kept
            del trace.answers[answers:], trace.refusals[refusals:]
            if trace.crossings is not None:
                trace.crossings.take_back(trace, nodes)
        return found

    def _joined(self, found: list[Branch], holds: list[Tensor]) -> Any:
        """The result of the branch that is taken, by a loop for each."""
        first = found[0].result
        full = functions["full"]
        results = [full(x.shape, 0, dtype=x.dtype) for x in first.tensors]
        for branch, hold in zip(found, holds, strict=True):
            results = once(branch, hold, results)
        return first.build(results)


def once(branch: Branch, hold: Tensor, before: list[Tensor]) -> list[Tensor]:
    """What a branch gives where `hold` holds, else what was there before."""
    size = len(before)
    body = Graph("branch")
    for type_ in (hold.type, TensorType((), int64), *[x.type for x in before]):
        body.input(type_)
    new_of = {x: body.input(x.type) for x in branch.graph.inputs}
    for node in branch.graph.nodes:
        body.append_copy(node, new_of)
    never, one = body.constant(FALSE), body.constant(ONE)
    body.outputs = [never, one, *[new_of[x] for x in branch.graph.outputs]]
    attrs: dict[str, Any] = {
        "count": 1,
        "carried": tuple(range(size + 2)),
        "stacked": (False,) * (size + 2),
        "going": 0,
        "body": Body.of(body),
    }
    if is_watched([*before, *branch.given]):
        attrs = keeping(attrs)
    given = (hold, functions["zeros"]((), dtype="int64"), *before, *branch.given)
    return list(bind(looped, given, attrs)[-size:])  # pyright: ignore[reportArgumentType]


def told(
    pred: Tensor,
    branches: Sequence[Callable[..., Any]],
    operands: Sequence[Any],
) -> Choice | None:
    """A choice that may become a node, because Python was told `pred` just now."""
    trace = recording()
    if trace is None or checks_ops() or not may_decide(trace, pred):
        return None
    quiet = all(only_computes(x, operands) for x in branches)
    return Choice(trace, branches, operands) if quiet else None


def tensors_of(result: Any) -> Nest | None:
    """The tensors of a result; None where it holds something else, or nothing."""
    nest = Nest.of(result, "the result") if is_of_tensors(result) else None
    return nest if nest is not None and nest.tensors else None


def is_of_tensors(result: Any) -> bool:
    """Whether a tree has tensors for leaves, and None."""
    return all(x is None or isinstance(x, Tensor) for x in tree.flatten(result)[0])


def alike(first: Nest, other: Nest) -> bool:
    """Whether two results have one structure, and tensors of the same types."""
    if not first.is_like(other):
        return False
    pairs = zip(first.tensors, other.tensors, strict=True)
    return all(a.dtype == b.dtype and a.shape == b.shape for a, b in pairs)


def sources(tensors: Sequence[Tensor], start: int) -> frozenset[Any]:
    """The records from before a tick to which gradients of tensors flow, and may be missed.

    Tapes and `backward` have no gradient where nothing flows; `df.grad` and its like have zeros.
    """
    taped = any(isinstance(x, GradientTape) and not x.fills for x in context.tapes)
    found: set[Any] = set()
    seen: set[Any] = {None}
    waiting = [x.record for x in tensors]
    while waiting:
        record = waiting.pop()
        if record in seen:
            continue
        seen.add(record)
        if not (taped or record.rooted):
            continue
        if record.tick < start:
            found.add(record)
            continue
        made = record.bundle if isinstance(record, Pick) else record
        waiting += [x.record for x in made.inputs or () if isinstance(x, Tensor)]
    return frozenset(found)


def stays(node: Any) -> bool:
    """Whether others may refer to a node: a constant, or what is read of a Variable."""
    return node.op is builtin.constant or node.op.name in LASTING
