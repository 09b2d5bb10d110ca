"""Rewriting by rules: patterns of nodes, what replaces them, and the way to the fixed point.

A graph is rewritten in one sweep. Each node is built anew over inputs in which no rule applies any
more; if a rule applies to it, its replacement is built the same way, so each new node is looked at
in turn. Patterns look from a node towards its inputs only: hence nothing is left to do when the
sweep ends, and its cost is linear in the nodes it builds. What only a replaced node has used is
left to dead code.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np

from jit.dataclass import dataclass
from jit.ir.builtin import constant
from jit.ir.graph import Graph, Node, Value
from jit.ir.op import OpDef
from jit.ir.verify import same_type
from jit.types import TensorType, kind

UNIFORM_SIZE = 4096

# From a node and the elements that its inputs consist of (None: not uniform) to that of its result.
Filler: TypeAlias = "Callable[[Node, list[Any]], Any]"


@dataclass(frozen=True)
class Var:
    """Matches any value; where a name comes twice, both times the same value."""

    name: str


@dataclass(frozen=True)
class Uniform:
    """Matches a constant whose elements all are `number` in every bit, the sign of zero included.

    Without a number it matches any constant of equal elements and binds it to `name`.
    """

    number: float | None = None
    name: str = "k"


@dataclass(frozen=True)
class Call:
    """Matches results of the op called `op` over such inputs, in both orders if they commute."""

    op: str
    inputs: tuple[Pattern, ...]


Pattern: TypeAlias = Var | Uniform | Call


def call(op: str, *inputs: Pattern) -> Call:
    """The pattern `op(*inputs)`."""
    return Call(op, inputs)


class Match:
    """A node that a rule fits, and the values that its pattern bound; builds what replaces it."""

    def __init__(self, node: Node, values: dict[str, Value], rewriter: _Rewriter) -> None:
        self.node = node
        self.type = node.outputs[0].type
        self._values = values
        self._rewriter = rewriter

    def __getitem__(self, name: str) -> Value:
        return self._values[name]

    @property
    def inner(self) -> Node:
        """The node of the first input, where the pattern has a Call."""
        node = self.node.inputs[0].node
        assert node is not None
        return node

    def number(self, name: str) -> Any:
        """The number that all elements of the constant bound to `name` are."""
        return self._rewriter.uniform[self[name]]

    def same(self, *inputs: Value, **attrs: Any) -> Value:
        """The op of the node, applied anew."""
        return self._rewriter.add(self.node.op, inputs, attrs, self.node.source)[0]

    def call(self, op: str, *inputs: Value, **attrs: Any) -> Value | None:
        """Another op applied, if the rewriter was given it."""
        record = self._rewriter.ops.get(op)
        return record and self._rewriter.add(record, inputs, attrs, self.node.source)[0]

    def constant(self, number: Any) -> Value:
        """A scalar in the dtype of the node."""
        return self._rewriter.graph.constant(np.asarray(number, self.type.dtype), self.node.source)


@dataclass(frozen=True)
class Rule:
    """One rewrite.

    Attributes:
        pattern: What it applies to.
        replace: A Var of the pattern, or a function from the Match to the value that stands for the
            node from now on (None: the rule does not apply after all).
        kinds: Kinds of the node's dtype for which old and new agree in every bit: "bool", "signed",
            "unsigned", "floating", "complex".
    """

    pattern: Call
    replace: Var | Callable[[Match], Value | None]
    kinds: tuple[str, ...]


def rewrite(
    graph: Graph,
    rules: Iterable[Rule],
    ops: Mapping[str, OpDef] = MappingProxyType({}),
    fillers: Mapping[str, Filler] = MappingProxyType({}),
) -> tuple[Graph, Counter[Rule]]:
    """`graph` with `rules` applied until none applies.

    Args:
        graph: Stays as it is.
        rules: For one node they are tried in this order.
        ops: Op records that replacements may use besides those that they replace.
        fillers: For the ops that fill an array with one element, what tells that element.

    Returns:
        The new graph, which may hold dead nodes, and how often each rule was applied.
    """
    rewriter = _Rewriter(graph, rules, ops, fillers)
    return rewriter.graph, rewriter.applied


class _Rewriter:
    """One sweep over one graph."""

    def __init__(
        self,
        old: Graph,
        rules: Iterable[Rule],
        ops: Mapping[str, OpDef],
        fillers: Mapping[str, Filler],
    ) -> None:
        self.graph = Graph(old.name)
        self.ops = ops
        self.fillers = fillers
        self.applied: Counter[Rule] = Counter()
        self.uniform: dict[Value, Any] = {}
        self.rules: dict[str, list[Rule]] = {}
        for rule in rules:
            self.rules.setdefault(rule.pattern.op, []).append(rule)
        new_of = {value: self.graph.input(value.type, value.name) for value in old.inputs}
        for node in old.nodes:
            inputs = [new_of[value] for value in node.inputs]
            types = tuple([value.type for value in node.outputs])
            outputs = self.add(node.op, inputs, node.attrs, node.source, types)
            new_of.update(zip(node.outputs, outputs, strict=True))
        self.graph.outputs = [new_of[value] for value in old.outputs]

    def add(
        self,
        op: OpDef,
        inputs: Sequence[Value],
        attrs: dict[str, Any],
        source: str | None,
        types: tuple[TensorType, ...] | None = None,
    ) -> tuple[Value, ...]:
        """Append a node, or what the rules make of it."""
        outputs = self.graph.add(op, inputs, attrs, types, source)
        self._note_uniform(self.graph.nodes[-1])
        for rule in self.rules.get(op.name, ()):
            new = self._apply(rule, self.graph.nodes[-1])
            if new is not None:
                return (new,)
        return outputs

    def _apply(self, rule: Rule, node: Node) -> Value | None:
        """What `rule` puts in the place of `node`, the last one of the graph."""
        values: dict[str, Value] = {}
        if _numeric_kind(node.outputs[0].type.dtype) not in rule.kinds or not self._fits_inputs(
            rule.pattern, node, values
        ):
            return None
        length = len(self.graph.nodes)
        match = Match(node, values, self)
        new = match[rule.replace.name] if isinstance(rule.replace, Var) else rule.replace(match)
        if new is None or not same_type(new.type, match.type):
            del self.graph.nodes[length:]
            return None
        del self.graph.nodes[length - 1]
        self.applied[rule] += 1
        return new

    def _fits(self, pattern: Pattern, value: Value, values: dict[str, Value]) -> bool:
        if isinstance(pattern, Var):
            return values.setdefault(pattern.name, value) is value
        if isinstance(pattern, Uniform):
            values[pattern.name] = value
            return self._is_uniform(value, pattern.number)
        node = value.node
        return node is not None and self._fits_inputs(pattern, node, values)

    def _fits_inputs(self, pattern: Call, node: Node, values: dict[str, Value]) -> bool:
        if node.op.name != pattern.op or len(node.inputs) != len(pattern.inputs):
            return False
        orders = [node.inputs]
        if node.op.commutative:
            orders.append((node.inputs[1], node.inputs[0], *node.inputs[2:]))
        for order in orders:
            found = dict(values)
            if all(self._fits(p, value, found) for p, value in zip(pattern.inputs, order)):
                values.update(found)
                return True
        return False

    def _note_uniform(self, node: Node) -> None:
        """Remember the element of which `node` makes all of its result, if that is known."""
        if node.op is constant:
            flat = node.attrs["value"].reshape(-1)
            if 0 < flat.size <= UNIFORM_SIZE and flat.tobytes() == flat[:1].tobytes() * flat.size:
                self.uniform[node.outputs[0]] = flat[0]
        elif (element_of := self.fillers.get(node.op.name)) is not None:
            element = element_of(node, [self.uniform.get(value) for value in node.inputs])
            if element is not None:
                self.uniform[node.outputs[0]] = element

    def _is_uniform(self, value: Value, number: float | None) -> bool:
        element = self.uniform.get(value)
        if element is None or number is None:
            return element is not None
        return np.asarray(number, element.dtype).tobytes() == element.tobytes()


def _numeric_kind(dtype: np.dtype[Any]) -> str:
    return {"i": "signed", "u": "unsigned"}.get(dtype.kind) or kind(dtype)
