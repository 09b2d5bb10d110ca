"""A recorded graph run node by node: by eager's own kernels, or in float64."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np

from dualflow.core.backend import to_device
from dualflow.core.op import Op, values
from jit.ir.builtin import guard
from jit.ir.call import call
from jit.ir.graph import Graph, Node, Value
from jit.ir.interpret import bound
from jit.ir.loop import repeated
from jit.types import float64, kind

Arrays = dict[Value, Any]
Attrs: TypeAlias = "dict[str, Any]"
Compute: TypeAlias = "Callable[[Node, list[Any], Attrs], Sequence[Any]]"
NO_SIZES: Mapping[str, int] = MappingProxyType({})


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
    return run(graph, [widened(to_device(x, "cpu")) for x in arrays], computed_in_float64)


def run(
    graph: Graph,
    arrays: Sequence[Any],
    compute: Compute,
    sizes: Mapping[str, int] = NO_SIZES,
) -> Arrays:
    """Every value of a graph; guards are passed over.

    Args:
        graph: What runs.
        arrays: One for each input.
        compute: Gives the results of an op for arrays and attrs.
        sizes: Of symbols in attrs.
    """
    found: Arrays = dict(zip(graph.inputs, arrays, strict=True))
    for node in graph.nodes:
        if node.op is guard:
            continue
        given = [found[x] for x in node.inputs]
        if node.op.repeats:
            made = looped(given, compute, **node.attrs)
        elif node.op is call:
            body = node.attrs["body"]
            inner = run(body, given, compute, sizes)
            made = [inner[x] for x in body.outputs]
        else:
            attrs = {name: bound(x, sizes) for name, x in node.attrs.items()} if sizes else None
            made = compute(node, given, node.attrs if attrs is None else attrs)
        found.update(zip(node.outputs, made, strict=True))
    return found


def looped(arrays: list[Any], compute: Compute, *, body: Graph, **attrs: Any) -> list[Any]:
    """The results of a loop, which compilation makes of what repeats itself."""

    def once(given: Sequence[Any], sizes: Mapping[str, int]) -> list[Any]:
        values = run(body, given, compute, sizes)
        return [values[x] for x in body.outputs]

    return repeated(once, arrays, xp=np, body=body, **attrs)


def computed(node: Node, arrays: list[Any], attrs: Attrs) -> list[Any]:
    """The results of a node, with the bits of eager."""
    if isinstance(node.op, Op):
        return [x.raw for x in values(node.op, arrays, attrs)]
    return evaluated(node, arrays, attrs)


def computed_in_float64(node: Node, arrays: list[Any], attrs: Attrs) -> list[Any]:
    """The results of a node whose arguments have been widened."""
    attrs = {name: widest(x) for name, x in attrs.items()} if arrays else attrs
    return [widened(x) for x in evaluated(node, arrays, attrs)]


def evaluated(node: Node, arrays: list[Any], attrs: Attrs) -> list[Any]:
    """What the op's `evaluate` gives."""
    with np.errstate(all="ignore"):
        out = node.op.evaluate(np, *arrays, **attrs)
    return [np.asarray(x) for x in (out if isinstance(out, tuple) else (out,))]


def widest(attr: Any) -> Any:
    """An attr, float64 if it is a narrower floating dtype."""
    narrow = isinstance(attr, np.dtype) and kind(attr) == "floating"
    return float64 if narrow else attr


def widened(x: Any) -> Any:
    """An array, in float64 if it holds floats."""
    return x.astype(float64) if kind(x.dtype) == "floating" else x
