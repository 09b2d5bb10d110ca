"""Residuals: what a forward graph keeps for the backward graph, which computes the rest again.

Views and elementwise ops can be computed again, as they fuse with what reads them; so can what only
the sweep asks for, such as the inside of a composite, which is computed once in any case. To keep a
value costs its bytes, to compute it again a part of them for each addition. The choice that costs
least is a minimum cut of a network: values that can only be kept are on one side, what the backward
graph reads is on the other.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import NamedTuple

from dualflow.tracing.network import Network
from jit.dims import free_symbols
from jit.ir import builtin
from jit.ir.graph import Graph, Node, Value

WORK = 0.4  # bytes that an addition counts: storing and loading four bytes takes about ten of them
ARRAY = 64  # bytes that an array of its own counts besides
LARGEST = 20_000  # values in a network; beyond that, values are looked at one by one
UNBOUNDED = 1 << 62


class Joint(NamedTuple):
    """A graph that computes outputs and gradients.

    Attributes:
        graph: Inputs: primals, then cotangents of the tracked outputs. Outputs: the call's, then
            gradients.
        primals: How many inputs are primals.
        outputs: How many outputs are the call's.
        swept: The number of the first node that the sweep back has put there.
        reach: For each primal the tracked outputs that it reaches; none, and it has no gradient.
    """

    graph: Graph
    primals: int
    outputs: int
    swept: int
    reach: list[frozenset[int]]


def split(joint: Joint) -> tuple[Graph, Graph]:
    """A joint graph as a forward graph, whose further outputs are residuals, and a backward graph.

    The backward graph takes residuals, then cotangents.
    """
    graph, live = joint.graph, joint.graph.live_nodes()
    primals, cotangents = graph.inputs[: joint.primals], graph.inputs[joint.primals :]
    outputs, gradients = graph.outputs[: joint.outputs], graph.outputs[joint.outputs :]
    late = dependent(live, cotangents)
    sweep = [node for node in live if any(value in late for value in node.inputs)]
    read = [value for node in sweep for value in node.inputs if value not in late]
    read += [value for value in gradients if value not in late]
    constants = {v for node in live if node.op is builtin.constant for v in node.outputs}
    there = {*primals, *outputs}  # in any case
    kept = cheapest(read, constants | there, Prices(graph.nodes[joint.swept :]))
    again = needed(read, kept | there - constants, live)
    residuals = [v for v in primals if free_symbols(v.type.shape)]  # they tell the sizes
    residuals += [v for node in (*again, *sweep) for v in node.inputs] + gradients
    found = late.union(*(node.outputs for node in again))
    residuals = list(dict.fromkeys([value for value in residuals if value not in found]))
    early = [node for node in live if late.isdisjoint(node.outputs)]
    forward = part(f"{graph.name}_forward", primals, early, [*outputs, *residuals])
    taken, order = [*residuals, *cotangents], in_time(again, sweep)
    return forward, part(f"{graph.name}_backward", taken, order, gradients)


def part(name: str, inputs: list[Value], nodes: Iterable[Node], outputs: list[Value]) -> Graph:
    """Some nodes of a graph as a graph of their own."""
    made = Graph(name)
    new_of = {value: made.input(value.type, value.name) for value in inputs}
    for node in nodes:
        made.append_copy(node, new_of)
    made.outputs = [new_of[value] for value in outputs]
    return made


def dependent(nodes: Iterable[Node], values: Iterable[Value]) -> set[Value]:
    """All values that are computed from some of these, and these."""
    found = set(values)
    for node in nodes:
        if any(value in found for value in node.inputs):
            found.update(node.outputs)
    return found


def needed(read: Iterable[Value], kept: Collection[Value], nodes: Iterable[Node]) -> list[Node]:
    """Those of the nodes that compute what is read out of what is kept."""
    found, stack = set[Node](), list(read)
    while stack:
        value = stack.pop()
        if value not in kept and value.node is not None and value.node not in found:
            found.add(value.node)
            stack += value.node.inputs
    return [node for node in nodes if node in found]


def in_time(first: Iterable[Node], then: Iterable[Node]) -> Iterator[Node]:
    """All these nodes, the first ones only when they are read: until the last one memory holds it.

    Args:
        first: In their order; they read none of the others.
        then: In their order.
    """
    waiting = {node: at for at, node in enumerate(first)}
    for node in then:
        found, stack = set[Node](), [value.node for value in node.inputs]
        while stack:
            source = stack.pop()
            if source in waiting and source not in found:
                found.add(source)
                stack += [value.node for value in source.inputs]
        for source in sorted(found, key=waiting.__getitem__):
            del waiting[source]
            yield source
        yield node
    yield from waiting


class Prices:
    """Additions it takes more to compute an element of a node again; None where that may not be.

    Args:
        swept: What only the sweep asks for.
    """

    def __init__(self, swept: Iterable[Node]) -> None:
        self._swept = set(swept)

    def __call__(self, node: Node) -> int | None:
        from jit.forms.native import price  # loaded when something is compiled

        if not node.op.pure:
            return None
        return 0 if node in self._swept else price(node)


def cheapest(
    read: Iterable[Value], there: Collection[Value], price: Callable[[Node], int | None]
) -> set[Value]:
    """Values from which all that is read can be computed: those that cost least together.

    Args:
        read: What the backward graph reads.
        there: Values that cost nothing.
        price: What it takes to compute an element again.
    """
    choices = choices_of(read, there, price)
    if len(choices) > LARGEST:
        return {value for value, x in choices.items() if x.again >= x.kept}
    number = {value: 2 * k for k, value in enumerate(choices)}  # and one more behind it
    source, sink = 2 * len(number), 2 * len(number) + 1
    network = Network(sink + 1)
    for value, choice in choices.items():
        network.add(source, number[value], choice.again)
        network.add(number[value], number[value] + 1, choice.kept)
        for before in choice.inputs:
            network.add(number[before] + 1, number[value], UNBOUNDED)
    for value in dict.fromkeys(read):
        if value in number:
            network.add(number[value] + 1, sink, UNBOUNDED)
    behind = network.cut(source, sink)
    return {value for value, k in number.items() if k not in behind and k + 1 in behind}


class Choice(NamedTuple):
    """What may be done about a value.

    Attributes:
        kept: What it costs to keep it.
        again: What it costs to compute it again.
        inputs: What that needs, beside what is there.
    """

    kept: int
    again: int
    inputs: list[Value]


def choices_of(
    read: Iterable[Value], there: Collection[Value], price: Callable[[Node], int | None]
) -> dict[Value, Choice]:
    """The choices about all values that the backward graph might read."""
    from jit.forms.placement import size_hint  # loaded when something is compiled

    found: dict[Value, Choice] = {}
    stack = list(read)
    while stack:
        value = stack.pop()
        if value in found or value in there:
            continue
        assert value.node is not None
        size, additions = size_hint(value.type.shape), price(value.node)
        kept = size * value.type.dtype.itemsize + ARRAY
        if additions is None:
            found[value] = Choice(kept, UNBOUNDED, [])
            continue
        inputs = [x for x in value.node.inputs if x not in there]
        found[value] = Choice(kept, int(size * additions * WORK), inputs)
        stack += inputs
    return found
