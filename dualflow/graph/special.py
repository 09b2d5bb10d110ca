"""Graphs for extents that are known: open extents of 0 and 1 are graphs of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jit.dims import Dim, evaluate, free_symbols
from jit.errors import ShapeError
from jit.ir.graph import Graph
from jit.types import format_shape


def binding_of(graph: Graph, arrays: Sequence[Any]) -> dict[str, int]:
    """The number that each open extent is.

    Raises:
        ShapeError: One extent would be two numbers.
    """
    binding: dict[str, int] = {}
    first: dict[str, str | None] = {}
    for value, array in zip(graph.inputs, arrays, strict=True):
        for extent, n in zip(value.type.shape, array.shape, strict=True):
            if not isinstance(extent, Dim):
                continue
            name = str(extent)
            if binding.setdefault(name, n) != n:
                raise ShapeError(
                    f"run: the extent {name!r} is {binding[name]} in {first[name]!r} "
                    f"and {n} in {value.name!r}, which has shape {format_shape(array.shape)}",
                    "one number for an extent, which open first extents share",
                    "feed as many rows to both, or name extents: shape=('rows', 10)",
                )
            first.setdefault(name, value.name)
    return binding


def specialised(graph: Graph, binding: Mapping[str, int]) -> Graph:
    """The graph for these extents, with all types found anew."""
    new = Graph(graph.name)
    new_of = {
        value: new.input(value.type.with_shape(known(value.type.shape, binding)), value.name)
        for value in graph.inputs
    }
    for node in graph.nodes:
        attrs = {name: known(attr, binding) for name, attr in node.attrs.items()}
        outputs = new.add(node.op, [new_of[v] for v in node.inputs], attrs, None, node.source)
        new_of.update(zip(node.outputs, outputs, strict=True))
    new.outputs = [new_of[value] for value in graph.outputs]
    return new


def known(attr: Any, binding: Mapping[str, int]) -> Any:
    """An attr or a shape with numbers for extents."""
    if isinstance(attr, Dim):
        return evaluate(attr, {symbol.name: binding[symbol.name] for symbol in free_symbols(attr)})
    return tuple(known(x, binding) for x in attr) if isinstance(attr, tuple) else attr
