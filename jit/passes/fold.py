"""Constant folding: what depends on constants alone is computed once, by the op's own evaluate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from jit.dataclass import dataclass
from jit.dims import Dim
from jit.ir.builtin import constant
from jit.ir.graph import Graph, Node, Value
from jit.ir.printer import attr_leaves
from jit.passes.base import GraphPass


@dataclass(frozen=True)
class FoldConstants(GraphPass):
    """Replaces pure nodes over constants by their results.

    An op that raises stays, to raise when the graph runs. So does one whose result is large, or
    repeats elements without storing them (`broadcast_to`): the node is smaller than the constant.

    Attributes:
        most: Elements that a result may have.
        foldable: Tells whether `evaluate` gives the bits that the node gives when the graph runs.
    """

    most: int = 4096
    foldable: Callable[[Node], bool] = lambda node: True

    name = "fold"

    def run(self, graph: Graph) -> Graph:
        """The graph with constants in place of what could be folded."""
        new = Graph(graph.name)
        new_of = {value: new.input(value.type, value.name) for value in graph.inputs}
        known: dict[Value, np.ndarray[Any, Any]] = {}
        for node in graph.nodes:
            if node.op is constant:
                known[node.outputs[0]] = node.attrs["value"]
            elif (arrays := self._results(node, known)) is not None:
                known.update(zip(node.outputs, arrays, strict=True))
                for value, array in zip(node.outputs, arrays, strict=True):
                    new_of[value] = new.constant(array, node.source)
                continue
            new.append_copy(node, new_of)
        new.outputs = [new_of[value] for value in graph.outputs]
        return new

    def _results(
        self, node: Node, known: dict[Value, np.ndarray[Any, Any]]
    ) -> list[np.ndarray[Any, Any]] | None:
        """What `node` computes if that is known and worth keeping."""
        if not node.op.pure or any(value not in known for value in node.inputs):
            return None
        if not all(_is_small(value, self.most) for value in node.outputs) or _is_symbolic(node):
            return None
        if not self.foldable(node):
            return None
        try:
            with np.errstate(all="ignore"):
                out = node.op.evaluate(np, *[known[value] for value in node.inputs], **node.attrs)
        except Exception:
            return None
        arrays = [np.asarray(array) for array in (out if isinstance(out, tuple) else (out,))]
        stored = all(
            array.shape == value.type.shape
            and array.dtype == value.type.dtype
            and (array.size <= 1 or 0 not in array.strides)
            for array, value in zip(arrays, node.outputs, strict=True)
        )
        return arrays if stored else None


def _is_small(value: Value, most: int) -> bool:
    shape = value.type.shape
    return not any(isinstance(extent, Dim) for extent in shape) and np.prod(shape) <= most  # pyright: ignore[reportCallIssue, reportArgumentType]


def _is_symbolic(node: Node) -> bool:
    return any(isinstance(leaf, Dim) for attr in node.attrs.values() for leaf in attr_leaves(attr))
