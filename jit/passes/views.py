"""Views beside their readers: what lies in the memory of something else is looked at anew.

A loop stacks what later loops read of each iteration. A view of what is stacked anyway, or of what
comes from outside, has no memory of its own that could be a row: its readers take the view
themselves.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable

from jit.ir.graph import Graph, Node, Value
from jit.passes.stretches import word


def beside_readers(graph: Graph, views: Collection[Hashable]) -> Graph:
    """A graph in which each node that reads a view has it to itself, right before it.

    Args:
        graph: Stays as it is.
        views: The words of nodes with one output.
    """
    made = Graph(graph.name)
    new_of = {value: made.input(value.type, value.name) for value in graph.inputs}
    waiting = dict[Value, Node]()

    def take(value: Value) -> None:
        """Appends the views that a value is reached by."""
        node = waiting.get(value)
        if node is not None:
            for each in node.inputs:
                take(each)
            made.append_copy(node, new_of)

    for node in graph.nodes:
        if word(node) in views:
            waiting[node.outputs[0]] = node
        else:
            for value in dict.fromkeys(node.inputs):
                take(value)
            made.append_copy(node, new_of)
    for value in dict.fromkeys(graph.outputs):
        take(value)
    made.outputs = [new_of[value] for value in graph.outputs]
    return made
