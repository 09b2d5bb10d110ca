"""Hoisting: what a loop's body computes in the same way each time is computed before the loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from jit.dims import Dim
from jit.ir.graph import Graph, Node, Value
from jit.ir.loop import COUNTER
from jit.ir.printer import attr_leaves


def hoisted(
    body: Graph, handed: int, costs: Callable[[Node], bool]
) -> tuple[Graph, list[Node], list[Value]]:
    """A body without what is the same in each run and costs something.

    Args:
        body: Stays as it is; its first inputs differ from run to run.
        handed: How many do.
        costs: Whether to compute a node again costs something; views do not.

    Returns:
        The body that is left; nodes of the given body to be computed before the loop; and for each
        input that does not differ what it is: an input of the given body, or a result of these
        nodes.
    """
    same = _same(body, body.inputs[handed:])
    returned = set(body.outputs)
    costly = [x for x in same if returned.isdisjoint(x.outputs) and costs(x)]
    moved, rest, read = set(costly), list[Node](), set(body.outputs)
    for node in reversed(body.nodes):
        if node not in moved and not read.isdisjoint(node.outputs):
            rest.append(node)
            read.update(node.inputs)
    values = [*body.inputs[handed:], *[x for node in costly for x in node.outputs]]
    values = [value for value in values if value in read]
    left = Graph(body.name)
    new_of = {x: left.input(x.type, x.name) for x in (*body.inputs[:handed], *values)}
    for node in reversed(rest):
        left.append_copy(node, new_of)
    left.outputs = [new_of[value] for value in body.outputs]
    return left, _needed(same, values), values


def settled(
    body: Graph, handed: int, numbers: Iterable[int]
) -> tuple[dict[int, Value], list[Node]]:
    """Outputs of a body that are the same in each run.

    Args:
        body: Its first inputs differ from run to run.
        handed: How many do.
        numbers: Of the outputs that are asked about.

    Returns:
        These outputs by their numbers, and the nodes that compute them.
    """
    same = _same(body, body.inputs[handed:])
    known = {*body.inputs[handed:], *[value for node in same for value in node.outputs]}
    found = {k: body.outputs[k] for k in numbers if body.outputs[k] in known}
    return found, _needed(same, found.values())


def _same(body: Graph, inputs: Iterable[Value]) -> list[Node]:
    """The nodes that compute the same in each run."""
    known, found = set(inputs), list[Node]()
    for node in body.nodes:
        if node.op.pure and _all_in(node.inputs, known) and not _counts(node):
            known.update(node.outputs)
            found.append(node)
    return found


def _counts(node: Node) -> bool:
    """Whether an attr holds the number of the run."""
    leaves = [leaf for attr in node.attrs.values() for leaf in attr_leaves(attr)]
    return any(str(s) == COUNTER for x in leaves if isinstance(x, Dim) for s in x.symbols())


def _all_in(values: Sequence[Value], known: set[Value]) -> bool:
    return all(value in known for value in values)


def _needed(nodes: Sequence[Node], values: Iterable[Value]) -> list[Node]:
    """Those of `nodes` that values depend on."""
    needed, found = set(values), list[Node]()
    for node in reversed(nodes):
        if not needed.isdisjoint(node.outputs):
            needed.update(node.inputs)
            found.append(node)
    return found[::-1]
