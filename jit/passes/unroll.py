"""Loops in loops: native code runs no loop within a loop, so one of both is written out.

The inner one if that is short, else the outer one; where both are long the outer one stays what it
is, a step of the host.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jit.ir.graph import Graph, Node, Value
from jit.ir.interpret import bound
from jit.ir.loop import COUNTER, stacked

MOST = 1000  # nodes that a loop may be written out in
ENDLESS = float("inf")


def flattened(graph: Graph) -> Graph:
    """A graph without loops in loops, as far as that is short; itself where there are none."""
    if not any(node.op.repeats and has_loops(node.attrs["body"]) for node in graph.nodes):
        return graph
    new = Graph(graph.name)
    new_of = {value: new.input(value.type, value.name) for value in graph.inputs}
    for node in graph.live_nodes():
        if node.op.repeats and has_loops(node.attrs["body"]):
            _flatten(node, new, new_of)
        else:
            new.append_copy(node, new_of)
    new.outputs = [new_of[value] for value in graph.outputs]
    return new


def _flatten(node: Node, new: Graph, new_of: dict[Value, Value]) -> None:
    """Appends a loop in which there are others."""
    body, inputs = flattened(node.attrs["body"]), [new_of[value] for value in node.inputs]
    attrs = {**node.attrs, "body": body}
    if size(body) <= MOST:
        attrs["body"] = without_loops(body)
    elif runs(attrs) * len(body.nodes) <= MOST:
        new_of.update(zip(node.outputs, written_out(attrs, inputs, new), strict=True))
        return
    types = tuple([value.type for value in node.outputs])
    results = new.add(node.op, inputs, attrs, types, node.source)
    new_of.update(zip(node.outputs, results, strict=True))


def has_loops(graph: Graph) -> bool:
    """Whether a loop stands in a graph."""
    return any(node.op.repeats for node in graph.nodes)


def size(graph: Graph) -> float:
    """How many nodes there are when all loops are written out."""
    return sum(
        runs(node.attrs) * size(node.attrs["body"]) if node.op.repeats else 1
        for node in graph.nodes
    )


def runs(attrs: dict[str, Any]) -> float:
    """How often a loop runs; no end where only its values tell, or its sizes."""
    count = attrs["count"]
    return count if isinstance(count, int) and attrs.get("going") is None else ENDLESS


def without_loops(graph: Graph) -> Graph:
    """A graph in which all loops are written out."""
    new = Graph(graph.name)
    new_of = {value: new.input(value.type, value.name) for value in graph.inputs}
    for node in graph.live_nodes():
        if node.op.repeats:
            attrs = {**node.attrs, "body": without_loops(node.attrs["body"])}
            results = written_out(attrs, [new_of[value] for value in node.inputs], new)
            new_of.update(zip(node.outputs, results, strict=True))
        else:
            new.append_copy(node, new_of)
    new.outputs = [new_of[value] for value in graph.outputs]
    return new


def written_out(attrs: dict[str, Any], inputs: Sequence[Value], new: Graph) -> list[Value]:
    """The results of a loop, all runs of which are appended.

    Args:
        attrs: Of the loop.
        inputs: Of the loop, in the graph.
        new: The graph.
    """
    body, carried, count = attrs["body"], attrs["carried"], attrs["count"]
    handed, same = list(inputs[: len(carried)]), inputs[len(carried) :]
    rows: list[list[Value]] = [[] for _ in body.outputs]
    nodes = body.live_nodes()
    for at in range(count):
        new_of = dict(zip(body.inputs, [*handed, *same], strict=True))
        for node in nodes:
            own = {name: bound(attr, {COUNTER: at}) for name, attr in node.attrs.items()}
            given = [new_of[value] for value in node.inputs]
            types = tuple([value.type for value in node.outputs])
            results = new.add(node.op, given, own, types, node.source)
            new_of.update(zip(node.outputs, results, strict=True))
        for kept, value in zip(rows, body.outputs, strict=True):
            kept.append(new_of[value])
        handed = [rows[k][-1] for k in carried]
    return [
        new.add(stacked, kept, {})[0] if flag else kept[-1]
        for kept, flag in zip(rows, attrs["stacked"], strict=True)
    ]
