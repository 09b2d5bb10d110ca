"""Replay: a recorded graph is run as ops, in whatever context is in force."""

from __future__ import annotations

from typing import Any

import numpy as np

from dualflow.core.context import context
from dualflow.core.op import bind, registry
from dualflow.core.precision import as_given
from dualflow.core.tensor import Tensor
from jit.dims import Dim, evaluate, free_symbols, same, solve
from jit.ir import builtin
from jit.ir.graph import Graph, Node, Value
from jit.runtime.hosts import anywhere


def replay(graph: Graph, inputs: list[Tensor], unrecorded: set[Node]) -> list[Tensor]:
    """Runs a graph as ops in the current context: recorded, traced or just computed.

    What autocast does is in the graph.

    Args:
        graph: What to run.
        inputs: One tensor for each input.
        unrecorded: Nodes to run without recording.
    """
    tensors: dict[Value, Tensor] = dict(zip(graph.inputs, inputs, strict=True))
    if context.autocast is not None:
        with as_given():
            return replay(graph, inputs, unrecorded)
    recording, sizes = context.recording, sizes_of(graph, inputs)
    elsewhere = any(x.raw is not None and x.raw.__class__ is not np.ndarray for x in inputs)
    for node in graph.live_nodes():
        if node.op is builtin.constant:
            array = node.attrs["value"]
            tensors[node.outputs[0]] = Tensor(anywhere(array) if elsewhere else array)
            continue
        if node.op is builtin.guard:  # without a trace the path was chosen already
            if context.trace is not None:
                context.trace.ask(tensors[node.inputs[0]], node.attrs["expected"])
            continue
        context.recording = recording and node not in unrecorded
        try:
            attrs = node.attrs if sizes is None else at_sizes(node.attrs, sizes)
            out = bind(node.op, tuple(tensors[v] for v in node.inputs), attrs)  # type: ignore[arg-type]
        finally:
            context.recording = recording
        if node.op is registry["assigned"]:  # what is read of a Variable has the Variable's record
            out.record = tensors[node.inputs[0]].record
        tensors.update(zip(node.outputs, out if isinstance(out, tuple) else (out,), strict=True))
    return [tensors[v] for v in graph.outputs]


def sizes_of(graph: Graph, inputs: list[Tensor]) -> dict[str, int] | None:
    """The sizes of a graph's symbols for these inputs; None where it, or they, have none.

    Nor has a body of the recording that goes on: its extents are what the inputs' are there. A
    number that stands for any other extent of a recording is part of the recording.
    """
    shapes = [value.type.shape for value in graph.inputs]
    varies = any(free_symbols(shape) for shape in shapes)
    if not varies or any(x.raw is None for x in inputs):
        return None
    found = [x.type.shape for x in inputs]
    pairs = zip(shapes, found, strict=True)
    if all(same(a, b) for dims, sizes in pairs for a, b in zip(dims, sizes, strict=True)):
        return None
    return solve(shapes, [[int(size) for size in sizes] for sizes in found])


def at_sizes(attr: Any, sizes: dict[str, int]) -> Any:
    """An attr, or a dict of them, with numbers in place of extents."""
    if isinstance(attr, Dim):
        return evaluate(attr, sizes)
    if isinstance(attr, dict):
        return {name: at_sizes(inner, sizes) for name, inner in attr.items()}
    return tuple([at_sizes(x, sizes) for x in attr]) if type(attr) is tuple else attr
