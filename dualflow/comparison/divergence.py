"""Divergence: the first op of a recorded graph whose value differs from eager's.

Fused code has no such values to look at. So the graph is cut off behind one of its nodes, and what
lives there is made its result; the cut graph is compiled, and held against the eager values. Some
cut is the first one that gives a difference: its last node is the op that is looked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jit
from dualflow.comparison.reference import Arrays, eager_values
from dualflow.core.op import registry
from dualflow.tracing.audit import difference
from jit.errors import GuardMiss
from jit.ir.graph import Graph, Node, Value


@dataclass(frozen=True)
class Place:
    """An op of the user's program.

    Attributes:
        op: Its name.
        line: The user's line.
        what: What both modes gave there.
        number: Its position among the recorded ops.
    """

    op: str
    line: str | None
    what: str = ""
    number: int = -1

    def __str__(self) -> str:
        return f"{self.op} at {self.line}" if self.line else self.op


def first_divergence(graph: Graph, arrays: Sequence[Any]) -> Place | None:
    """The first op of a graph whose compiled value has other bits than the eager one.

    Args:
        graph: As it was recorded.
        arrays: One for each input.

    Returns:
        None where the compiled graph gives eager's bits.
    """
    wanted = eager_values(graph, arrays)

    def differing(count: int) -> str | None:
        part = cut(graph, count)
        try:
            made = jit.compile(part.graph, ops=registry)(arrays)
        except GuardMiss:
            return "a guard sees another answer"
        return first_difference(part.values, made, wanted)

    if (what := differing(len(graph.nodes))) is None:
        return None
    number, what = earliest(len(graph.nodes), differing, what)
    node = graph.nodes[number - 1]
    return Place(node.op.name, node.source, what, number - 1)


def earliest(last: int, differing: Callable[[int], str | None], what: str) -> tuple[int, str]:
    """A number that differs while the one before does not, and how; `last` differs, 0 does not."""
    good = 0
    while last - good > 1:
        middle = (good + last) // 2
        if (found := differing(middle)) is None:
            good = middle
        else:
            last, what = middle, found
    return last, what


@dataclass(frozen=True)
class Part:
    """The first nodes of a graph, as a graph.

    Attributes:
        graph: It.
        values: For each of its outputs the value of the whole graph.
    """

    graph: Graph
    values: list[Value]


def cut(graph: Graph, count: int) -> Part:
    """The first `count` nodes; what later nodes or the outputs need of them is their result."""
    if count == len(graph.nodes):
        return Part(graph, list(graph.outputs))
    needed = set(graph.outputs).union(*[node.inputs for node in graph.nodes[count:]])
    return taken(graph, graph.nodes[:count], needed)


def taken(graph: Graph, nodes: Sequence[Node], needed: set[Value]) -> Part:
    """Some nodes from the beginning of a graph, which give what is `needed` of them."""
    new = Graph(graph.name)
    new_of = {value: new.input(value.type, value.name) for value in graph.inputs}
    for node in nodes:
        new.append_copy(node, new_of)
    kept = [value for node in nodes for value in node.outputs if value in needed]
    new.outputs = [new_of[value] for value in kept]
    return Part(new, kept)


def first_difference(values: Sequence[Value], made: Sequence[Any], wanted: Arrays) -> str | None:
    """How the first array that differs does so, in words."""
    found = (difference(x, wanted[value]) for x, value in zip(made, values, strict=True))
    return next((what for what in found if what is not None), None)
