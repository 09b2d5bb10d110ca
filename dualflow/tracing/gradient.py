"""The gradient of a call: a forward graph that also returns what the backward graph needs.

When another tape watches the gradient itself, the call's graph is replayed as ops instead, from the
primal inputs; the replay is recorded, so gradients of every order follow.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any
from weakref import ref

import jit
from dualflow.autodiff.sweep import Sweep, Watch, pull_definition
from dualflow.core.context import context, using
from dualflow.core.op import bind, registry, wrap
from dualflow.core.record import Leaf, hang, new_record
from dualflow.core.tensor import Tensor
from dualflow.tracing.numerics import Checker, finite
from dualflow.tracing.residuals import Joint, split
from dualflow.tracing.trace import Trace
from jit.dims import (
    Dim,
    Guess,
    allowing_guesses,
    evaluate,
    free_symbols,
    recording_guesses,
    solve,
)
from jit.errors import TraceError
from jit.ir import builtin
from jit.ir.graph import Graph, Node, Value
from jit.types import TensorType, kind

PATIENCE = 2  # calls without gradients after which none are expected


class CallGradient:
    """The op of a compiled call, as records see it.

    Args:
        graph: The recorded graph.
        tracked: Which of its outputs gradients flow back from.
        unrecorded: Nodes through which none flow.
        plain: Computes the graph, for calls after which nobody asks for gradients.
    """

    differentiable = True
    vjps = None
    jvp = None

    def __init__(
        self,
        graph: Graph,
        tracked: list[int],
        unrecorded: set[Node],
        plain: Callable[[list[Any]], list[Any]],
    ) -> None:
        self.name = f"call of {graph.name}"
        self.graph = graph
        self.tracked = tracked
        self.unrecorded = unrecorded
        self._plain = plain
        self._pairs: dict[tuple[bool, ...], Pair] = {}
        self._unasked: deque[ref[Residuals]] | None = None  # since gradients were asked for

    def wanted(self, inputs: list[Tensor]) -> bool:
        """Whether somebody watches an input of the call."""
        return new_record(self, tuple(inputs), {}) is not None

    def pair(self, needed: tuple[bool, ...]) -> Pair:
        """The executables for a choice of inputs that are watched.

        Raises:
            TraceError: They would not be right for all extents.
        """
        pair = self._pairs.get(needed)
        if pair is None:
            pair = self._pairs[needed] = Pair(self, needed)
        return pair

    def forward(self, inputs: list[Tensor]) -> tuple[list[Any], dict[str, Any]]:
        """The outputs of the call, and the residuals as attrs of its record."""
        pair, residuals = self.pair(watched(inputs)), Residuals()
        arrays = [x.raw for x in inputs]
        if self._expects_to_be_asked():
            outputs, residuals.arrays = pair.run_forward(arrays)
        else:
            outputs = self._plain(arrays)
        if self._unasked is not None:
            self._unasked.append(ref(residuals))
        return outputs, {"pair": pair, "residuals": residuals}

    def _expects_to_be_asked(self) -> bool:
        """Whether gradients were asked for lately, or may still be of all the last calls."""
        unasked = self._unasked
        if unasked is None:
            return False
        return len(unasked) < PATIENCE or all(made() is not None for made in unasked)

    def hang(self, inputs: list[Tensor], attrs: dict[str, Any], outputs: list[Tensor]) -> None:
        """Records the call on those of its tracked outputs that a watched input reaches."""
        hang(self, tuple(inputs), attrs, outputs)
        reach = attrs["pair"].reach
        for k, y in enumerate(outputs):
            sources = [x.record for x, reached in zip(inputs, reach, strict=True) if k in reached]
            if not sources:
                y.record = None
            elif y.record is not None:
                y.record.rooted = any(record.rooted for record in sources)

    def connects(self, attrs: dict[str, Any], source: int, given: set[int]) -> bool:
        """Whether an input reaches one of the tracked outputs that have a cotangent."""
        return not attrs["pair"].reach[source].isdisjoint(given)

    def definition(self, *inputs: Tensor, given: set[int] | None = None, **attrs: Any) -> Any:
        """The tracked outputs (those `given` cotangents), by replaying the graph as ops."""
        outputs = replay(self.graph, list(inputs), self.unrecorded)
        kept = [outputs[k] for j, k in enumerate(self.tracked) if given is None or j in given]
        return tuple(kept) if len(kept) > 1 else kept[0]

    def pullback(
        self, g: Any, y: Any, args: tuple[Any, ...], attrs: dict[str, Any], needed: Any
    ) -> list[Any]:
        """Cotangents of the inputs."""
        symbolic = any(x.raw is None for x in args)
        if isinstance(context.trace, Checker) and not context.recording and not symbolic:
            found = self._backward(g, args, attrs)
            if finite([x.raw for x in found if x is not None]):
                return found
        if context.recording or context.trace is not None or symbolic:
            given = attrs.get("given")
            if given is not None:  # nothing comes from the others: they are no way to any input
                g = tuple(x for k, x in enumerate(g) if k in given)
            return pull_definition(self, g, args, {"given": given}, needed)
        return self._backward(g, args, attrs)

    def _backward(self, g: Any, args: tuple[Any, ...], attrs: dict[str, Any]) -> list[Any]:
        """Cotangents of the inputs, by the compiled backward graph."""
        pair, residuals = attrs["pair"], attrs["residuals"]
        self._unasked = deque(maxlen=PATIENCE)
        if residuals.arrays is None:
            residuals.arrays = pair.run_forward([x.raw for x in args])[1]
        cotangents = list(g) if isinstance(g, tuple) else [g]
        return pair.run_backward(residuals.arrays, [c.raw for c in cotangents])


def watched(inputs: Sequence[Tensor]) -> tuple[bool, ...]:
    """Which of the inputs of a call gradients are wanted for now."""
    return tuple(x.record is not None and is_inexact(x.type) for x in inputs)


class Residuals:
    """What the backward graph needs of one call.

    Attributes:
        arrays: None while nobody has asked: then they are computed from the inputs.
    """

    __slots__ = ("__weakref__", "arrays")
    __hash__ = None  # pyright: ignore[reportAssignmentType] - a form of sweep must not hold it

    def __init__(self) -> None:
        self.arrays: list[Any] | None = None


class Pair:
    """Forward and backward executables for one choice of inputs that need gradients.

    They are compiled when first used, but where extents vary: then compiling them tells which.
    """

    def __init__(self, call: CallGradient, needed: tuple[bool, ...]) -> None:
        self.guesses: list[Guess] = []
        self._shapes = [value.type.shape for value in call.graph.inputs]
        with recording_guesses(self.guesses):
            joint = differentiate(call, needed)
            if (node := unsettled(joint.graph)) is not None:
                raise TraceError(
                    f"{node.op.name}: the order of its sums depends on extents", "numbers", ""
                )
            self.needed = needed
            self.outputs = len(call.graph.outputs)
            self.reach = joint.reach
            self._joint = joint
            if any(map(free_symbols, self._shapes)):
                self.compile()

    def compile(self) -> tuple[jit.Executable, jit.Executable]:
        """The executables, compiled."""
        return self._compiled

    @cached_property
    def _compiled(self) -> tuple[jit.Executable, jit.Executable]:
        forward, backward = split(self._joint)
        return jit.compile(forward, ops=registry), jit.compile(backward, ops=registry)

    @property
    def forward(self) -> jit.Executable:
        """Computes outputs and residuals."""
        return self._compiled[0]

    @property
    def backward(self) -> jit.Executable:
        """Computes gradients, of residuals and cotangents."""
        return self._compiled[1]

    def fits(self, inputs: list[Tensor]) -> bool:
        """Whether what was guessed of extents holds for these inputs."""
        if not self.guesses:
            return True
        sizes = solve(self._shapes, [x.raw.shape for x in inputs])
        return all(guess.holds(sizes) for guess in self.guesses)

    def run_forward(self, arrays: list[Any]) -> tuple[list[Any], list[Any]]:
        """Outputs and residuals."""
        values = self.forward(arrays)
        return values[: self.outputs], values[self.outputs :]

    def run_backward(self, residuals: list[Any], cotangents: list[Any]) -> list[Any]:
        """One cotangent per input, None where no gradient was needed or none arrives."""
        found = iter(self.backward([*residuals, *cotangents]))
        return [wrap(next(found)) if outputs else None for outputs in self.reach]


def differentiate(call: CallGradient, needed: tuple[bool, ...]) -> Joint:
    """Records the graph again on symbolic tensors, and the sweep back from its tracked outputs."""
    trace = Trace(call.graph.name, closed=True)
    inputs = [trace.placeholder(v.type, v.name) for v in call.graph.inputs]
    for x, flag in zip(inputs, needed, strict=True):
        x.record = Leaf() if flag else None
    with using(trace=trace, recording=True, tapes=(Watch(),)):
        outputs = replay(call.graph, inputs, call.unrecorded)
        targets = [outputs[k] for k in call.tracked]
        swept = len(trace.graph.nodes)
        cotangents = [trace.placeholder(t.type, f"g{k}") for k, t in enumerate(targets)]
    with using(trace=trace, recording=False):
        wanted = {x.record for x in inputs if x.record is not None}
        found = Sweep(targets, lambda record: True).run(cotangents, wanted)
    graph = trace.graph
    arrived = [found.get(x.record) for x in inputs]
    gradients = [None if g is None else trace.value_of(g) for g in arrived]
    origin = origins(graph, [trace.value_of(g) for g in cotangents])
    graph.outputs = [trace.value_of(y) for y in outputs]
    graph.outputs += [g for g in gradients if g is not None]
    trace.release()
    reach = [frozenset() if g is None else origin[g] for g in gradients]
    return Joint(graph, len(inputs), len(outputs), swept, reach)


def origins(graph: Graph, cotangents: list[Value]) -> dict[Value, frozenset[int]]:
    """For every value that depends on cotangents, which of them these are."""
    found = {value: frozenset({k}) for k, value in enumerate(cotangents)}
    for node in graph.nodes:
        met = frozenset().union(*(found.get(v, ()) for v in node.inputs))
        if met:
            found.update(dict.fromkeys(node.outputs, met))
    return found


def replay(graph: Graph, inputs: list[Tensor], unrecorded: set[Node]) -> list[Tensor]:
    """Runs a graph as ops in the current context: recorded, traced or just computed.

    Args:
        graph: What to run.
        inputs: One tensor for each input.
        unrecorded: Nodes to run without recording.
    """
    tensors: dict[Value, Tensor] = dict(zip(graph.inputs, inputs, strict=True))
    recording, sizes = context.recording, sizes_of(graph, inputs)
    for node in graph.live_nodes():
        if node.op is builtin.constant:
            tensors[node.outputs[0]] = Tensor(node.attrs["value"])
            continue
        if node.op is builtin.guard:  # without a trace the path was chosen already
            if context.trace is not None:
                context.trace.ask(tensors[node.inputs[0]], node.attrs["expected"])
            continue
        context.recording = recording and node not in unrecorded
        try:
            attrs = node.attrs if sizes is None else at_sizes(node.attrs, sizes)
            out = bind(node.op, tuple(tensors[v] for v in node.inputs), attrs)  # type: ignore[arg-type]
        finally:
            context.recording = recording
        tensors.update(zip(node.outputs, out if isinstance(out, tuple) else (out,), strict=True))
    return [tensors[v] for v in graph.outputs]


def sizes_of(graph: Graph, inputs: list[Tensor]) -> dict[str, int] | None:
    """The sizes of a graph's symbols for these inputs; None where it, or they, have none."""
    shapes = [value.type.shape for value in graph.inputs]
    varies = any(free_symbols(shape) for shape in shapes)
    if not varies or any(x.raw is None for x in inputs):
        return None
    return solve(shapes, [x.raw.shape for x in inputs])


def at_sizes(attr: Any, sizes: dict[str, int]) -> Any:
    """An attr, or a dict of them, with numbers in place of extents."""
    if isinstance(attr, Dim):
        return evaluate(attr, sizes)
    if isinstance(attr, dict):
        return {name: at_sizes(inner, sizes) for name, inner in attr.items()}
    return tuple([at_sizes(x, sizes) for x in attr]) if type(attr) is tuple else attr


def unsettled(graph: Graph) -> Node | None:
    """A node that adds in another order when an extent is a symbol, so that bits may differ."""
    from jit.forms.exact import forms_of, is_settled  # loaded when something is compiled

    for node in graph.nodes:
        types = [value.type for value in node.inputs]
        symbolic = any(free_symbols(type_.shape) for type_ in types)
        if symbolic and node.op is not builtin.guard:
            with allowing_guesses():
                if not all(map(is_settled, forms_of(node.op, types, node.attrs))):
                    return node
    return None


def is_inexact(type_: TensorType) -> bool:
    """Whether values of this type can have gradients."""
    return kind(type_.dtype) in ("floating", "complex")
