"""Pair: the forward and the backward graph of a call, for what gradients are asked for.

The backward graph adds to what has arrived at an input already, in the order in which eager would:
bits of a sum depend on it. A result that nobody uses is left out, for zero times infinity is not 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from weakref import WeakKeyDictionary

import numpy as np

import jit
from dualflow.autodiff.sweep import Sweep, Watch
from dualflow.core.context import using
from dualflow.core.op import registry, wrap
from dualflow.core.record import Leaf
from dualflow.core.source import at_one_line
from dualflow.core.tensor import Tensor
from dualflow.tracing.compiling import CompileOptions
from dualflow.tracing.replay import replay
from dualflow.tracing.residuals import Joint, split
from dualflow.tracing.trace import Trace
from jit.dims import Guess, allowing_guesses, free_symbols, recording_guesses, solve
from jit.errors import TraceError
from jit.ir import builtin
from jit.ir.call import Body
from jit.ir.graph import Graph, Node, Value
from jit.types import TensorType, kind

if TYPE_CHECKING:
    from jit.compiler import Device


NOWHERE = frozenset[int]()


class Asked(NamedTuple):
    """Which gradients are asked for.

    Attributes:
        sources: For each input that is watched the first input that has the same record, else None.
        given: Which of the tracked outputs have a cotangent.
    """

    sources: tuple[int | None, ...]
    given: tuple[int, ...]


class Recorded(Protocol):
    """What a pair is made for: a graph, its tracked outputs, nodes through which nothing flows."""

    graph: Graph
    tracked: list[int]
    unrecorded: set[Node]
    target: Device | None
    compiling: CompileOptions


class Pair:
    """Forward and backward executables.

    They are compiled when first used, but where extents vary: then compiling them tells which.

    Raises:
        TraceError: They would not be right for all extents.
    """

    def __init__(self, call: Recorded, asked: Asked) -> None:
        self.guesses: list[Guess] = []
        self.asked = asked
        self._compile = partial(call.compiling.compile, target=call.target)
        self._shapes = [value.type.shape for value in call.graph.inputs]
        self._backwards: dict[frozenset[int], jit.Executable] = {}
        with recording_guesses(self.guesses):
            joint = differentiate(call, asked)
            if (node := unsettled(joint.graph)) is not None:
                raise TraceError(
                    f"{node.op.name}: the order of its sums depends on extents", "numbers", ""
                )
            self.outputs = len(call.graph.outputs)
            self.reach = joint.reach
            self.reached = [k for k, outputs in enumerate(joint.reach) if outputs]
            self._joint = joint
            if any(map(free_symbols, self._shapes)):
                self.compile()

    def compile(self) -> None:
        """Makes what calls need first."""
        _ = self.forward, self.backward(frozenset())

    @cached_property
    def _graphs(self) -> tuple[Graph, Graph]:
        return split(self._joint)

    @cached_property
    def forward(self) -> jit.Executable:
        """Computes outputs and residuals."""
        return self._compile(self._graphs[0])

    def backward(self, summed: frozenset[int]) -> jit.Executable:
        """Computes gradients, of residuals, cotangents, and what has arrived at some inputs."""
        found = self._backwards.get(summed)
        if found is None:
            graph = self._graphs[1]
            sums = graph.inputs[len(graph.inputs) - len(self.reached) :]
            absent = {v for k, v in zip(self.reached, sums, strict=True) if k not in summed}
            graph = without_sums(graph, absent) if absent else graph
            found = self._backwards[summed] = self._compile(graph)
        return found

    def fits(self, inputs: Sequence[Tensor]) -> bool:
        """Whether what was guessed of extents holds for these inputs."""
        if not self.guesses:
            return True
        sizes = solve(self._shapes, [x.raw.shape for x in inputs])
        return all(guess.holds(sizes) for guess in self.guesses)

    def run_forward(self, arrays: list[Any]) -> tuple[list[Any], list[Any]]:
        """Outputs and residuals."""
        values = self.forward(arrays)
        return values[: self.outputs], values[self.outputs :]

    def run_backward(
        self, residuals: list[Any], cotangents: list[Any], sums: Mapping[int, Any]
    ) -> dict[int, Tensor]:
        """What has arrived at the inputs afterwards, those with one record under the first one.

        Args:
            residuals: Of the forward run.
            cotangents: Of the outputs that have one.
            sums: What has arrived before, at those of the `reached` inputs where something has.
        """
        before = [sums[k] for k in self.reached if k in sums]
        found = self.backward(frozenset(sums))([*residuals, *cotangents, *before])
        return dict(zip(self.reached, map(wrap, found), strict=True))


def differentiate(call: Recorded, asked: Asked) -> Joint:
    """Records the graph again on symbolic tensors, and the sweep back from its tracked outputs.

    What repeats in the graph becomes a loop first. The graph's last inputs are what has arrived at
    the inputs that are reached.
    """
    from dualflow.tracing.folding import folded  # loaded when something is compiled

    graph, unrecorded = folded(call.graph, call.unrecorded, asked.sources)
    trace = Trace(call.graph.name, closed=True)
    inputs = [trace.placeholder(v.type, v.name) for v in call.graph.inputs]
    leaves = {k: Leaf() for k in asked.sources if k is not None}
    for x, source in zip(inputs, asked.sources, strict=True):
        x.record = None if source is None else leaves[source]
    with at_one_line(), using(trace=trace, recording=True, tapes=(Watch(),)):
        outputs = replay(graph, inputs, unrecorded)
        targets = [outputs[call.tracked[k]] for k in asked.given]
        swept = len(trace.graph.nodes)
        cotangents = [
            trace.placeholder(t.type, f"g{k}") for k, t in zip(asked.given, targets, strict=True)
        ]
        before = {k: trace.placeholder(inputs[k].type, f"sum{k}") for k in leaves}
    with at_one_line(), using(trace=trace, recording=False):
        sums = {leaves[k]: x for k, x in before.items()}
        found = Sweep(targets, lambda record: True).run(cotangents, set(leaves.values()), sums)
    graph, value_of = trace.graph, trace.value_of
    reached = {k: value_of(found[leaves[k]]) for k in leaves if found[leaves[k]] is not before[k]}
    origin = origins(graph, dict(zip(asked.given, map(value_of, cotangents), strict=True)))
    graph.outputs = [value_of(y) for y in outputs] + [*reached.values()]
    unused = {value_of(x) for k, x in before.items() if k not in reached}
    graph.inputs = [value for value in graph.inputs if value not in unused]
    trace.release()
    reach = [origin[reached[k]] if k in reached else NOWHERE for k in range(len(inputs))]
    return Joint(graph, len(inputs), len(outputs), swept, reach)


def origins(graph: Graph, cotangents: Mapping[int, Value]) -> dict[Value, frozenset[int]]:
    """For every value that depends on cotangents, which of them these are."""
    found = {value: frozenset({k}) for k, value in cotangents.items()}
    spread(graph, found)
    return found


def spread(graph: Graph, found: dict[Value, frozenset[int]]) -> None:
    """Adds for every value of a graph what it depends on; `found` says it of the inputs."""
    for node in graph.nodes:
        if node.op.repeats and node.attrs.get("going") is None:
            origin = spread_by_loop(node, [found.get(value, NOWHERE) for value in node.inputs])
        else:
            met = NOWHERE.union(*(found.get(v, NOWHERE) for v in node.inputs))
            origin = [met] * len(node.outputs)
        found.update((v, met) for v, met in zip(node.outputs, origin, strict=True) if met)


def spread_by_loop(node: Node, given: list[frozenset[int]]) -> list[frozenset[int]]:
    """The same of what a loop gives: a step may depend on any that was before."""
    body, carried = node.attrs["body"], node.attrs["carried"]
    while True:
        inside = dict(zip(body.inputs, given, strict=True))
        spread(body, inside)
        made = [inside.get(value, NOWHERE) for value in body.outputs]
        after = [given[j] | made[k] for j, k in enumerate(carried)]
        if after == given[: len(carried)]:
            return made
        given = [*after, *given[len(carried) :]]


def without_sums(graph: Graph, absent: set[Value]) -> Graph:
    """A backward graph for inputs at which nothing has arrived: what is added first is the sum.

    Args:
        graph: Its inputs hold sums, each of which is read once, to add to it; or it is what a loop
            begins to add to. There it is -0.0, which changes no sum.
        absent: Those that there are not.
    """
    made = Graph(graph.name)
    inputs = [value for value in graph.inputs if value not in absent]
    new_of = {value: made.input(value.type, value.name) for value in inputs}
    for node in graph.nodes:
        if node.op.repeats:
            new_of.update({value: nothing(made, value) for value in absent & {*node.inputs}})
        if node.op.repeats or absent.isdisjoint(node.inputs):
            made.append_copy(node, new_of)
        elif node.op.calls:
            given = [new_of[value] for value in node.inputs if value not in absent]
            places = frozenset([k for k, value in enumerate(node.inputs) if value in absent])
            body, types = body_without(node.attrs["body"], places), [x.type for x in node.outputs]
            results = made.add(node.op, given, {"body": body}, tuple(types), node.source)
            new_of.update(zip(node.outputs, results, strict=True))
        else:
            (added,) = [value for value in node.inputs if value not in absent]
            new_of[node.outputs[0]] = new_of[added]
    made.outputs = [new_of[value] for value in graph.outputs]
    return made


def body_without(body: Body, places: frozenset[int]) -> Body:
    """The same of what a node calls: for the inputs in these places nothing has arrived."""
    known = _without.setdefault(body, {})
    if places not in known:
        known[places] = Body.of(without_sums(body, {body.inputs[k] for k in places}))
    return known[places]


_without: WeakKeyDictionary[Body, dict[frozenset[int], Body]] = WeakKeyDictionary()


def nothing(graph: Graph, like: Value) -> Value:
    """What changes no sum, not even the sign of a zero, in a graph."""
    zero = graph.constant(-np.zeros((), like.type.dtype))
    return graph.add(registry["broadcast_to"], (zero,), {"shape": like.type.shape})[0]


def unsettled(graph: Graph) -> Node | None:
    """A node that adds in another order when an extent is a symbol, so that bits may differ."""
    from jit.forms.exact import forms_of, is_settled  # loaded when something is compiled

    if not any(free_symbols(value.type.shape) for value in graph.inputs):
        return None
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
