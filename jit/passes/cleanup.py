"""Passes that drop work: nodes nobody needs, and nodes that compute what was computed before."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from jit.dataclass import dataclass
from jit.ir.call import Body
from jit.ir.graph import Graph, Node, Value
from jit.ir.printer import format_static
from jit.passes.base import GraphPass


@dataclass(frozen=True)
class DeadCode(GraphPass):
    """Keeps what an output or an impure op needs; inputs stay, as callers pass them."""

    name = "dead_code"

    def run(self, graph: Graph) -> Graph:
        """The graph without its dead nodes; itself, if it has none."""
        live = graph.live_nodes()
        if len(live) == len(graph.nodes):
            return graph
        new = Graph(graph.name)
        new_of = {value: new.input(value.type, value.name) for value in graph.inputs}
        for node in live:
            new.append_copy(node, new_of)
        new.outputs = [new_of[value] for value in graph.outputs]
        return new


@dataclass(frozen=True)
class CommonSubexpressions(GraphPass):
    """Computes once what pure ops compute from the same values with the same attrs.

    The first of equal nodes stays, at its place and with its source line.
    """

    name = "common_subexpressions"

    def run(self, graph: Graph) -> Graph:
        """The graph in which no two pure nodes are equal."""
        new = Graph(graph.name)
        new_of = {value: new.input(value.type, value.name) for value in graph.inputs}
        numbers = {value: number for number, value in enumerate(graph.inputs)}
        known: dict[Any, tuple[Value, ...]] = {}
        for node in graph.nodes:
            for value in node.outputs:
                numbers[value] = len(numbers)
            key = _key(node, numbers) if node.op.pure else node
            first = known.setdefault(key, node.outputs)
            if first is node.outputs:
                new.append_copy(node, new_of)
            for value, same in zip(node.outputs, first, strict=True):
                numbers[value] = numbers[same]
                new_of[value] = new_of[same]
        new.outputs = [new_of[value] for value in graph.outputs]
        return new


def _key(node: Node, numbers: dict[Value, int]) -> Any:
    """Equal for nodes that compute the same; `numbers` are equal for values that are the same."""
    inputs = [numbers[value] for value in node.inputs]
    if node.op.commutative:
        inputs[:2] = sorted(inputs[:2])
    attrs = [(name, attr_key(attr)) for name, attr in sorted(node.attrs.items())]
    return node.op, tuple(inputs), tuple(attrs)


def attr_key(attr: Any) -> str:
    """An attr as a key.

    Text, since 1 == 1.0 == True and 0.0 == -0.0 where attrs are compared by Python.
    """
    if isinstance(attr, Body):
        return f"body {id(attr)}"
    if isinstance(attr, np.ndarray):
        return f"{attr.dtype}{attr.shape}{hashlib.sha256(attr.tobytes()).hexdigest()}"
    return format_static(attr)
