"""Divergence: the first op of a recorded graph whose value differs from eager's.

Fused code has no such values to look at. So the graph is cut off behind one of its nodes, and what
lives there is made its result; the cut graph is compiled, and held against the eager values. Some
cut is the first one that gives a difference: its last node is the op that is looked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jit
from dualflow.comparison.reference import eager_values
from dualflow.core.op import registry
from dualflow.tracing.audit import difference
from jit.blame import beginning, earliest, needed
from jit.dataclass import dataclass
from jit.errors import GuardMiss
from jit.ir.graph import Graph


@dataclass(frozen=True)
class Place:
    """An op of the user's program.

    Attributes:
        op: Its name.
        line: The user's line.
    """

    op: str
    line: str | None

    def __str__(self) -> str:
        return f"{self.op} at {self.line}" if self.line else self.op


def first_divergence(graph: Graph, arrays: Sequence[Any], *, fast: bool = False) -> Place | None:
    """The first op of a graph whose compiled value has other bits than the eager one.

    Args:
        graph: As it was recorded.
        arrays: One for each input.
        fast: As it was compiled.

    Returns:
        None where the compiled graph gives eager's bits.
    """
    wanted = eager_values(graph, arrays)

    def differs(count: int) -> bool:
        values = graph.outputs if count == len(graph.nodes) else needed(graph, count)
        try:
            made = jit.compile(beginning(graph, count), ops=registry, fast=fast)(arrays)
        except GuardMiss:
            return True
        return any(difference(x, wanted[value]) for x, value in zip(made, values, strict=True))

    if not differs(len(graph.nodes)):
        return None
    node = graph.nodes[earliest(len(graph.nodes), differs) - 1]
    return Place(node.op.name, node.source)
