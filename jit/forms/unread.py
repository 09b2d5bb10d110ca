"""Unread: results of lookups that nobody needs all of.

Code computes what is asked for. Of a lookup whose result is dropped, or of which a part is read, it
would look up less than the program says, and would not find an index that is out of bounds. Such a
result is made an output of the graph: then all of it is computed, and found wrong.
"""

from __future__ import annotations

from collections.abc import Hashable

from jit.dims import hint
from jit.forms import nodes
from jit.forms.native import forms_alone
from jit.forms.nodes import FormValue
from jit.forms.trial import Lookup, may_miss
from jit.ir.builtin import constant
from jit.ir.graph import Graph, Node, Value
from jit.ir.printer import is_graph
from jit.types import product

INDICES = "iu"  # kinds of dtypes


def unread(graph: Graph) -> list[Value]:
    """The results of lookups that may fail, of which the graph's outputs do not need all.

    Args:
        graph: With its outputs.
    """
    kinds = Kinds()
    failing = {node for node in graph.nodes if kinds.may_fail(node)}
    if not failing:
        return []
    found, whole = list[Value](), set(graph.outputs)
    for node in reversed(graph.nodes):
        if node in failing:
            missed = [value for value in node.outputs if value not in whole]
            found += missed
            whole.update(missed)
        if not node.op.pure or not whole.isdisjoint(node.outputs):
            parts = kinds.read_in_part(node)
            whole.update(x for k, x in enumerate(node.inputs) if k not in parts)
    return found[::-1]


class Kinds:
    """What is known of nodes, which those of one kind have in common."""

    def __init__(self) -> None:
        self._forms: dict[Hashable, list[nodes.Form]] = {}

    def may_fail(self, node: Node) -> bool:
        """Whether a node looks up what computed indices say, and may find one out of bounds."""
        tables = [x for x in node.inputs if x.type.dtype.kind in INDICES]
        if not tables or all(x.node is not None and x.node.op is constant for x in tables):
            return False
        return any(isinstance(x, Lookup) and may_miss(x) for x in self._of(node))

    def read_in_part(self, node: Node) -> set[int]:
        """The inputs of which a node reads a part, as far as sizes and indices tell."""
        sizes = [*map(_size, node.outputs), 0]
        if not any(x.type.dtype.kind in INDICES or _size(x) > max(sizes) for x in node.inputs):
            return set()
        behind: dict[FormValue, set[int]] = {}
        found, inputs = set[int](), iter(range(len(node.inputs)))
        for form in self._of(node):
            if isinstance(form, nodes.Source):
                behind[form.outputs[0]] = {next(inputs)}
                continue
            read = set[int]().union(*[behind.get(x, ()) for x in form.inputs])
            if isinstance(form, nodes.View) and (form.map.tables or _shrinks(form)):
                found |= behind.get(form.inputs[0], set())
            behind.update(dict.fromkeys(form.outputs, read))
        return found

    def _of(self, node: Node) -> list[nodes.Form]:
        if any(map(is_graph, node.attrs.values())):
            return []  # a body computes what it computes
        kind = (node.op, tuple([x.type for x in node.inputs]), tuple(node.attrs.items()))
        try:
            known = self._forms.get(kind)
        except TypeError:  # attributes that tell nobody what they equal
            return forms_alone(node)
        if known is None:
            known = self._forms[kind] = forms_alone(node)
        return known


def _shrinks(form: nodes.View) -> bool:
    return _size(form.outputs[0]) < _size(form.inputs[0])


def _size(x: Value | FormValue) -> int:
    shape = x.type.shape if isinstance(x, Value) else x.shape
    return hint(product(shape))
