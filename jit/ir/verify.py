"""The rules that every graph obeys, checked around every pass."""

from __future__ import annotations

from typing import NoReturn

import numpy as np

from jit.dims import recording_guesses, same
from jit.errors import DualflowError, GraphError
from jit.ir.builtin import constant, guard
from jit.ir.graph import Graph, Node, Value
from jit.ir.printer import format_node, format_static, is_graph, value_names
from jit.types import TensorType


def verify(graph: Graph) -> None:
    """Check that `graph` is well formed.

    Every value is assigned once and before it is used; nodes and values know each other; stored
    types are those that `op.infer` gives; attrs can be printed; guards look at scalars.

    Raises:
        GraphError: The first rule that is broken, with the text of the node.
    """
    names = value_names(graph)
    assigned: set[Value] = set()
    for index, value in enumerate(graph.inputs):
        if value in assigned or value.node is not None or value.index != index:
            raise GraphError(
                f"{names[value]} is not input {index} of graph {graph.name}, or not only"
            )
        assigned.add(value)
    # Whether dims agree was settled while the graph was built: nothing here is a new guess.
    with recording_guesses([]):
        for node in graph.nodes:
            _verify_node(node, assigned, names)
    for value in graph.outputs:
        if value not in assigned:
            raise GraphError(f"graph {graph.name} returns a value that none of its nodes assigns")


def same_type(a: TensorType, b: TensorType) -> bool:
    """Whether both are written the same; unlike `==`, asks nothing about symbolic dimensions."""
    return a.dtype == b.dtype and len(a.shape) == len(b.shape) and all(map(same, a.shape, b.shape))


def _verify_node(node: Node, assigned: set[Value], names: dict[Value, str]) -> None:
    for value in node.inputs:
        if value not in assigned:
            _fail(
                node, names, f"input {names.get(value, 'of another graph')} is not assigned before"
            )
    for index, value in enumerate(node.outputs):
        if value in assigned:
            _fail(node, names, f"{names[value]} is assigned twice")
        if value.node is not node or value.index != index:
            _fail(
                node, names, f"{names[value]} does not know that it is output {index} of this node"
            )
        assigned.add(value)
    for name, attr in node.attrs.items():
        try:
            format_static(attr)
        except TypeError as error:
            _fail(node, names, f"{name}: {error}")
        if isinstance(attr, np.ndarray) and (node.op is not constant or attr.flags.writeable):
            _fail(node, names, f"{name} is an array that may change, or not that of a constant")
        if is_graph(attr):
            verify(attr)
    if node.op is guard and type(node.attrs.get("expected")) not in (bool, int):
        _fail(node, names, "a guard expects a bool or an int")
    _verify_types(node, names)


def _verify_types(node: Node, names: dict[Value, str]) -> None:
    try:
        types = node.op.infer_all(tuple([value.type for value in node.inputs]), node.attrs)
    except DualflowError as error:
        _fail(node, names, f"{node.op.name} refuses it: {error.what}")
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        _fail(node, names, f"{node.op.name} does not take these inputs and attrs: {error}")
    stored = [value.type for value in node.outputs]
    if len(types) != len(stored) or not all(map(same_type, types, stored)):
        listed = ", ".join(map(str, types)) or "nothing"
        _fail(node, names, f"{node.op.name} gives {listed}")


def _fail(node: Node, names: dict[Value, str], why: str) -> NoReturn:
    try:
        text = format_node(node, names)
    except TypeError:
        text = repr(node.op)
    error = GraphError(f"node `{text}` breaks a rule of graphs: {why}")
    error.location = node.source
    raise error from None
