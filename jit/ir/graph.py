"""Graph: a typed program over arrays, as a list of nodes in the order in which they run.

A `Value` is assigned once: it is an input of the graph, or an output of a node. A `Node` applies an
op to values; its attrs are static. `str(graph)` is text that `jit.ir.text.parse` reads back:

    graph step(%x: float32[64,1000], %w: float32[1000,100]) {
      %0: float32[64,100] = matmul(%x, %w)  # nets.py:15
      %1: float32[64], %2: int64[64] = top(%0) {axis=1, mode="fast"}
      %3: float32[2] = constant() {value=float32[2](0.5, -inf)}
      guard(%4) {expected=True}
      return %1, %w
    }

The grammar, where `x*` is a list of x with commas between, and `x?` an option:

    graph   = "graph" NAME symbols? "(" input* ")" "{" line... "return" value* "}"
    symbols = "[" (bounds ("hint" INT)?)* "]"     the dimensions whose extent is not known
    bounds  = NAME ">=" INT | INT "<=" NAME "<=" INT
    input   = value ":" type
    line    = ((value ":" type)* "=")? NAME "(" value* ")" ("{" attr* "}" ("of")?)? ("  # " SOURCE)?
    value   = "%" NAME | "%" NUMBER               inputs have names, results of nodes numbers
    type    = DTYPE "[" extent* "]"
    extent  = an integer expression over symbols: 4, n, 2*n + 1, n//4
    attr    = NAME "=" static
    static  = INT | FLOAT | COMPLEX | STRING | "True" | "False" | "None" | DTYPE | extent | array
            | "(" static* ","? ")"
    array   = type "(" number* ")" | type "(" "base64" STRING ")"

Below a line with "of" stands a graph: the attr `body` of a loop (`jit.ir.loop`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from jit.ir import builtin
from jit.ir.op import OpDef
from jit.ir.printer import format_graph, format_node
from jit.types import TensorType


class Value:
    """One array of a graph: an input (`node` is None) or output `index` of `node`."""

    __slots__ = ("__weakref__", "index", "name", "node", "type")

    def __init__(self, type: TensorType, node: Node | None, index: int, name: str | None) -> None:
        self.type = type
        self.node = node
        self.index = index
        self.name = name

    def __repr__(self) -> str:
        origin = (
            f"input {self.name or self.index}" if self.node is None else f"of {self.node.op.name}"
        )
        return f"<Value {self.type} {origin}>"


class Node:
    """An op applied to values. Nobody changes a node after it was added; passes build new ones.

    Attributes:
        op: What is computed.
        inputs: The values it is computed from.
        attrs: Static keyword arguments of the op.
        outputs: The values it assigns.
        source: The user's line, as "nets.py:15".
    """

    __slots__ = ("attrs", "inputs", "op", "outputs", "source")

    def __init__(
        self, op: OpDef, inputs: tuple[Value, ...], attrs: dict[str, Any], source: str | None
    ) -> None:
        self.op = op
        self.inputs = inputs
        self.attrs = attrs
        self.source = source
        self.outputs: tuple[Value, ...] = ()

    def __repr__(self) -> str:
        return f"<Node {format_node(self)}>"


class Graph:
    """A program over arrays, built by appending nodes.

    Attributes:
        name: For people: what the program computes.
        inputs: Values that a caller provides, in this order.
        nodes: In program order; a node uses only what was assigned before it.
        outputs: Values that a caller gets; set it when everything is added.
    """

    __slots__ = ("__weakref__", "inputs", "name", "nodes", "outputs")

    def __init__(self, name: str = "graph") -> None:
        self.name = name
        self.inputs: list[Value] = []
        self.nodes: list[Node] = []
        self.outputs: list[Value] = []

    def input(self, type: TensorType, name: str | None = None) -> Value:
        """A new input, after those that are there."""
        value = Value(type, None, len(self.inputs), name)
        self.inputs.append(value)
        return value

    def constant(self, array: Any, source: str | None = None) -> Value:
        """A value known now; the graph keeps its own read-only copy of `array`."""
        value = np.array(array, order="C")
        value.flags.writeable = False
        types = (TensorType(value.shape, value.dtype),)
        return self.add(builtin.constant, (), {"value": value}, types, source)[0]

    def add(
        self,
        op: OpDef,
        inputs: Sequence[Value],
        attrs: dict[str, Any],
        types: tuple[TensorType, ...] | None = None,
        source: str | None = None,
    ) -> tuple[Value, ...]:
        """Append a node and return its outputs.

        Args:
            op: What to compute.
            inputs: Values of this graph.
            attrs: Static arguments; the graph keeps this dict, so do not change it afterwards.
            types: Types of the outputs where they are known already, else `op.infer` is asked.
            source: The user's line, as "nets.py:15".

        Raises:
            DualflowError: `op.infer` refuses these types.
        """
        inputs = tuple(inputs)
        if types is None:
            types = op.infer_all(tuple([value.type for value in inputs]), attrs)
        node = Node(op, inputs, attrs, source)
        if len(types) == 1:
            outputs: tuple[Value, ...] = (Value(types[0], node, 0, None),)
        else:
            outputs = tuple([Value(type_, node, index, None) for index, type_ in enumerate(types)])
        node.outputs = outputs
        self.nodes.append(node)
        return outputs

    def guard(self, value: Value, expected: bool | int, source: str | None = None) -> None:  # noqa: FBT001
        """Demand that the scalar `value` equals `expected` when the graph runs (else GuardMiss)."""
        self.add(builtin.guard, (value,), {"expected": expected}, None, source)

    def copy(self) -> tuple[Graph, dict[Value, Value]]:
        """A graph of its own, and the map from this graph's values to the new ones."""
        new = Graph(self.name)
        new_of = {value: new.input(value.type, value.name) for value in self.inputs}
        for node in self.nodes:
            new.append_copy(node, new_of)
        new.outputs = [new_of[value] for value in self.outputs]
        return new, new_of

    def append_copy(self, node: Node, new_of: dict[Value, Value]) -> tuple[Value, ...]:
        """Append `node` of another graph, inputs renamed by `new_of`, which learns the outputs."""
        inputs = [new_of[value] for value in node.inputs]
        types = tuple([value.type for value in node.outputs])
        outputs = self.add(node.op, inputs, node.attrs, types, node.source)
        new_of.update(zip(node.outputs, outputs, strict=True))
        return outputs

    def live_nodes(self) -> list[Node]:
        """The nodes that an output or an impure op needs, in program order."""
        needed = set(self.outputs)
        live: list[Node] = []
        for node in reversed(self.nodes):
            if not node.op.pure or not needed.isdisjoint(node.outputs):
                needed.update(node.inputs)
                live.append(node)
        live.reverse()
        return live

    def users(self) -> dict[Value, list[Node]]:
        """For every value the nodes that read it, in program order, once for each time they do."""
        values: Iterable[Value] = self.inputs
        users: dict[Value, list[Node]] = {value: [] for value in values}
        for node in self.nodes:
            for value in node.inputs:
                users[value].append(node)
            for value in node.outputs:
                users[value] = []
        return users

    def __str__(self) -> str:
        return format_graph(self)

    def __repr__(self) -> str:
        return f"<Graph {self.name}: {len(self.inputs)} inputs, {len(self.nodes)} nodes>"

    def __eq__(self, other: object) -> bool:
        """The same program: names and source lines do not count, everything else does."""
        if not isinstance(other, Graph):
            return NotImplemented
        return format_graph(self, canonical=True) == format_graph(other, canonical=True)

    __hash__ = None  # pyright: ignore[reportAssignmentType] - graphs grow, so they cannot be keys
