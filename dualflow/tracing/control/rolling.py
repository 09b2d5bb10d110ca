"""Rolling: one step of a loop is recorded, and the nodes that it left become the body of a loop.

The step runs as any code does in a recording, with the values of this call. If all that it did was
to compute, the other steps compute the same of other values: so they need no Python. What it did
besides, such as asking for a value, assigning a Variable, or changing a list, other steps may do
otherwise: then Python goes on step by step, and the compiler finds out what repeats.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dualflow.autodiff.sweep import detached
from dualflow.core.backend import device_of
from dualflow.core.context import context
from dualflow.core.op import bind, registry
from dualflow.core.record import INEXACT, clock
from dualflow.core.registry import functions
from dualflow.core.tensor import Tensor
from dualflow.tracing.control.looped import looped
from dualflow.tracing.guards.places import Untold
from dualflow.tracing.joins.crossings import around_frames
from dualflow.tracing.joins.frames import Opaque
from dualflow.tracing.joins.keys import State
from dualflow.tracing.residuals import dependent
from dualflow.tracing.trace import Trace
from jit.dims import Extent, free_symbols
from jit.ir import builtin
from jit.ir.builtin import builtin_ops
from jit.ir.call import Body
from jit.ir.graph import Graph, Node, Value
from jit.ir.loop import COUNTER, row
from jit.ir.printer import static_dims
from jit.types import kind

Step = Callable[[list[Tensor], list[Tensor]], tuple[list[Tensor], list[Tensor]]]


def recording() -> Trace | None:
    """Who records ops now, where that is a graph which other calls run from."""
    trace = context.trace
    return trace if isinstance(trace, Trace) else None


def may_decide(trace: Trace, asked: Tensor) -> bool:
    """Whether native code can decide by what Python was told just now; a GPU's cannot."""
    told = trace.owns(asked) and trace.graph.nodes[-1].op is builtin.guard
    return told and (asked.raw is None or device_of(asked.raw) == "cpu")


class Deeds:
    """What a recording has done besides computing, as far as it can be told.

    Args:
        trace: The recording.
        function: The user's, whose variables are looked into.
    """

    def __init__(self, trace: Trace, function: Any) -> None:
        self._trace, self._function = trace, function
        self._lists = trace.growth()  # those that the step itself makes concern nobody else
        self._start = next(clock)
        self._before = self._now()

    def nothing_since(self) -> bool:
        """Whether nothing was added since this was made."""
        return self._before is not None and self._before == self._now()

    def _now(self) -> Any:
        trace = self._trace
        lists = trace.answers, trace.refusals, trace.ledger.effects, trace.custom_rules
        told = trace.variables
        counts = [*map(len, lists), *map(len, (told.grads, told.switched, told.creations))]
        uses = trace.crossings.uses if trace.crossings else ()
        counts.append(sum(tick < self._start for tick in uses))  # of tapes from around the step
        growth = trace.growth()
        grown = [growth.get(key) for key in self._lists]
        try:
            with context.aside():
                state = State(trace.computed, trace.scalars, trace.existed)
                parts = state.part(self._function), around_frames(trace, state, ())
        except (Opaque, Untold):
            return None
        # Slots tell what is alike; here it counts whether a value is the very one that it was.
        slots = list(state.tensors), list(state.numbers)
        return counts, trace.ledger.said, trace.stopped, grown, parts, slots


class Roll:
    """One step that is recorded, and the loop that becomes of it.

    Args:
        trace: The recording.
        start: How many nodes there were before what only the step needs.

    Attributes:
        is_of_trace: Whether all that the step gave belongs to the recording.
    """

    def __init__(self, trace: Trace, start: int) -> None:
        self._trace, self._start = trace, start
        self.is_of_trace = False

    def step(self, step: Step, carry: Sequence[Tensor], rows: Sequence[Tensor]) -> Any:
        """What the first step gives, of this carry and these rows."""
        given = self.begin(carry, rows)
        try:
            made = step(*given)
            self.gives([*made[0], *made[1]])
        finally:
            self.end()
        return made

    def begin(self, carry: Sequence[Tensor], rows: Sequence[Tensor]) -> Any:
        """What the first step is given, which starts now."""
        trace, identity = self._trace, functions["identity"]
        self._carry = list(carry)
        self._given = [identity(x) for x in carry], [identity(x) for x in rows]
        self._first, self._outer = len(trace.graph.nodes), trace.noted
        self._noted = trace.noted = []
        return self._given

    def gives(self, results: Sequence[Tensor]) -> None:
        """Takes what the step gives: its carry, and what is stacked of it."""
        self.is_of_trace = all(map(self._is_of_trace, results))
        if self.is_of_trace:
            self._results = [self._trace.value_of(x) for x in results]
            self._noted += zip(self._results, results, strict=True)

    def end(self) -> None:
        """The step is over, whatever came of it."""
        self._trace.noted = self._outer
        if self._outer is not None:
            self._outer += self._noted

    def reads(self) -> list[Tensor]:
        """Its first carry, and what it was given besides."""
        return [*self._carry, *[x for _, x in self._noted]]

    def _is_of_trace(self, x: Tensor) -> bool:
        """Whether a tensor is not that of a batch, or of another graph."""
        return not x.is_symbolic or x.symbol.owner is self._trace

    def loop(
        self,
        stacks: Sequence[tuple[Tensor, Extent]],
        count: Extent | None,
        *,
        found: bool = True,
        **attrs: Any,
    ) -> list[Any] | None:
        """All steps as a node: carries as they came in, as they are at last, and what is stacked.

        Args:
            stacks: What the rows are of, and which row it is in each step.
            count: How many steps.
            found: Whether carries as they came in are among the results.
            **attrs: What else the loop has.

        Returns:
            None where the step cannot be a body; the graph is as it was.
        """
        closed = self.closed(stacks)
        if closed is None:
            return None
        body, tensors, late = closed
        size, nodes = len(self._carry), self._trace.graph.nodes
        body.outputs = [*(body.inputs[:size] if found else ()), *body.outputs]
        nodes[self._start :] = self._left(late)
        if not body.outputs:
            return []
        last = range(size, 2 * size) if found else range(size)
        attrs = {
            "count": count,
            "carried": tuple(last),
            "stacked": tuple([k not in last for k in range(len(body.outputs))]),
            **attrs,
            "body": Body.of(body),
        }
        made = bind(looped, (*self._carry, *tensors), attrs)  # pyright: ignore[reportArgumentType]
        return list(made) if isinstance(made, tuple) else [made]

    def closed(
        self, stacks: Sequence[tuple[Tensor, Extent]] = ()
    ) -> tuple[Graph, list[Tensor], set[Value]] | None:
        """What the step has computed as a graph of its own.

        Args:
            stacks: As above.

        Returns:
            The graph, of the carry, of what comes from outside, and of the stacks that it reads;
            these two; and the values that depend on the carry and the rows. None where there is no
            such graph.
        """
        if not self.is_of_trace:
            return None
        trace, nodes = self._trace, self._trace.graph.nodes
        carries, rows = [[trace.value_of(x) for x in xs] for xs in self._given]
        late = dependent(nodes[self._first :], [*carries, *rows])
        inside = [x for x in nodes[self._first :] if self._belongs(x, late)]
        own = {*carries, *rows, *[value for node in inside for value in node.outputs]}
        outside = self._outside(inside, own)
        if outside is None:
            return None
        needed = live(inside, self._results)
        read = {*self._results, *[x for node in needed for x in node.inputs]}
        body = Graph("body")
        new_of = {x: body.input(x.type) for x in [*carries, *outside.values]}
        for node in outside.constants:
            body.append_copy(node, new_of)
        pairs = [(x, *pair) for x, pair in zip(rows, stacks, strict=True) if x in read]
        for value, stack, at in pairs:
            given = body.input(stack.type)
            (new_of[value],) = body.add(row, (given,), {"at": at}, (value.type,))
        for node in needed:
            self._copy(node, body, new_of)
        body.outputs = [new_of[x] for x in self._results]
        body.nodes = body.live_nodes()
        tensors = [*outside.tensors, *[stack for _, stack, _ in pairs]]
        return body, [*tensors, *self._telling(body)], late

    def _telling(self, body: Graph) -> list[Tensor]:
        """What the body is given besides, to tell the extents of the recording that it uses."""
        told = {str(extent) for value in body.inputs for extent in value.type.shape}
        used = {str(s) for s in free_symbols(static_dims(body))} - told - {COUNTER}
        given = {id(x): x for name, (x, _) in self._trace.extents.items() if name in used}
        tensors = [detached(x) for x in given.values()]
        for x in tensors:
            body.input(x.type)
        return tensors

    @staticmethod
    def _belongs(node: Node, late: set[Value]) -> bool:
        """Whether a node is one of the step's; what it reads of Variables was there before.

        What is the same in each step belongs to it too, so that gradients are summed step by step.
        """
        before = node.op in (registry["assigned"], registry["stop_gradient"])
        return node.op.name not in builtin_ops and not (before and late.isdisjoint(node.outputs))

    def _left(self, late: set[Value]) -> list[Node]:
        """The nodes that stay in the graph: what somebody else may have seen, and constants."""
        nodes = self._trace.graph.nodes
        own = [x for x in nodes[self._start : self._first] if x.op is builtin.constant]
        return own + [x for x in nodes[self._first :] if late.isdisjoint(x.outputs)]

    def _copy(self, node: Node, body: Graph, new_of: dict[Value, Value]) -> None:
        """Appends a node to the body; no gradient flows through what ran without recording."""
        body.append_copy(node, new_of)
        if node not in self._trace.unrecorded or not context.recording:
            return
        for value in node.outputs:
            if kind(value.type.dtype) in INEXACT:
                cut = registry["stop_gradient"], (new_of[value],), {}, (value.type,), node.source
                (new_of[value],) = body.add(*cut)

    def _outside(self, inside: list[Node], own: set[Value]) -> Outside | None:
        """What the step has read from outside; None where that cannot be told."""
        found = dict.fromkeys([x for node in inside for x in node.inputs] + self._results)
        found = dict.fromkeys([x for x in found if x not in own])
        made = Outside()
        known: dict[Value, Tensor] = {}
        for value, tensor in self._noted:
            other = value in found and known.setdefault(value, tensor).record is not tensor.record
            if other and context.recording:
                return None  # one value in two roles
        for value in found:
            if value.node is not None and value.node.op is builtin.constant:
                made.constants.append(value.node)
            elif value in known:
                made.values.append(value)
                made.tensors.append(known[value])
            else:
                return None
        return made


def live(nodes: Sequence[Node], results: Sequence[Value]) -> list[Node]:
    """Those of the nodes that the results need."""
    needed, found = set(results), list[Node]()
    for node in reversed(nodes):
        if not (node.op.pure and needed.isdisjoint(node.outputs)):
            needed.update(node.inputs)
            found.append(node)
    return found[::-1]


class Outside:
    """What a body reads from outside.

    Attributes:
        constants: Nodes, of which it has its own.
        values: All others.
        tensors: The same as tensors.
    """

    def __init__(self) -> None:
        self.constants: list[Node] = []
        self.values: list[Value] = []
        self.tensors: list[Tensor] = []
