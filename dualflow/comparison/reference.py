"""A recorded graph run node by node: by eager's own kernels, or in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dualflow.core.op import Op, values
from jit.ir.builtin import guard
from jit.ir.graph import Graph, Node, Value
from jit.types import float64, kind

Arrays = dict[Value, Any]


def eager_values(graph: Graph, arrays: Sequence[Any]) -> Arrays:
    """Every value of a graph, each op computed as it is where it is called by itself.

    Args:
        graph: As it was recorded: its nodes are ops that a user can call.
        arrays: One for each input.
    """
    return run(graph, arrays, computed)


def float64_values(graph: Graph, arrays: Sequence[Any]) -> Arrays:
    """Every value of a graph, with float64 in the place of all narrower floats.

    What creates numbers, such as random ones, creates the same; they are wider from then on.

    Args:
        graph: As it was recorded.
        arrays: One for each input.
    """
    return run(graph, [widened(np.asarray(x)) for x in arrays], computed_in_float64)


def run(
    graph: Graph, arrays: Sequence[Any], compute: Callable[[Node, list[Any]], Sequence[Any]]
) -> Arrays:
    """Every value of a graph; `compute` gives the results of a node. Guards are passed over."""
    found: Arrays = dict(zip(graph.inputs, arrays, strict=True))
    for node in graph.nodes:
        if node.op is not guard:
            made = compute(node, [found[x] for x in node.inputs])
            found.update(zip(node.outputs, made, strict=True))
    return found


def computed(node: Node, arrays: list[Any]) -> list[Any]:
    """The results of a node, with the bits of eager."""
    if isinstance(node.op, Op):
        return [x.raw for x in values(node.op, arrays, node.attrs)]
    return evaluated(node, arrays)


def computed_in_float64(node: Node, arrays: list[Any]) -> list[Any]:
    """The results of a node whose arguments have been widened."""
    attrs = {name: widest(x) for name, x in node.attrs.items()} if arrays else node.attrs
    return [widened(x) for x in evaluated(node, arrays, attrs)]


def evaluated(node: Node, arrays: list[Any], attrs: dict[str, Any] | None = None) -> list[Any]:
    """What the op's `evaluate` gives."""
    with np.errstate(all="ignore"):
        out = node.op.evaluate(np, *arrays, **(node.attrs if attrs is None else attrs))
    return [np.asarray(x) for x in (out if isinstance(out, tuple) else (out,))]


def widest(attr: Any) -> Any:
    """An attr, float64 if it is a narrower floating dtype."""
    narrow = isinstance(attr, np.dtype) and kind(attr) == "floating"
    return float64 if narrow else attr


def widened(x: Any) -> Any:
    """An array, in float64 if it holds floats."""
    return x.astype(float64) if kind(x.dtype) == "floating" else x
