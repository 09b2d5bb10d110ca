"""Graphs of the law tests, whole and node by node, with the values that eager execution gives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import dualflow as df
import jit
from dualflow.core.context import using
from dualflow.core.op import bind, registry
from jit.ir.builtin import builtin_ops
from jit.ir.graph import Graph, Node, Value
from jit.ir.printer import format_graph
from tests.ops.laws import ALL, Recorded
from tests.samples import SAMPLES

Array = np.ndarray[Any, Any]
Example = tuple[Graph, list[Array], list[Array]]  # a graph, its inputs, the outputs wanted
KEPT = 1024  # executables; samples of one op, and gradients of all, have many nodes in common

made: dict[str, jit.Executable] = {}


def executable_of(graph: Graph) -> jit.Executable:
    """The graph compiled, once for all graphs with the same text."""
    text = format_graph(graph, canonical=True)
    if text not in made:
        if len(made) >= KEPT:
            made.clear()
        made[text] = jit.compile(graph, ops=registry)
    return made[text]


def forget() -> None:
    """Drops all executables."""
    made.clear()


def examples(call: Recorded, name: str = "") -> Iterator[Example]:
    """The graph of a call of a function, and nodes of it as graphs of their own.

    Of ops that are other functions there are such graphs already: their samples; LAWS=all has them
    here, too. A kernel that is wrong shows in any case: kernels of one node give what is wanted.
    """
    values = dict(zip(call.graph.inputs, call.inputs, strict=True))
    for node in call.graph.nodes:
        values.update(zip(node.outputs, eagerly(node, values), strict=True))
    yield call.graph, call.inputs, [values[v] for v in call.graph.outputs]
    for node in call.graph.nodes if len(call.graph.nodes) > 1 else ():
        elsewhere = node.op.name in SAMPLES and node.op.name != name
        if node.op not in builtin_ops.values() and (ALL or not elsewhere):
            graph, given = Graph(node.op.name), list(dict.fromkeys(node.inputs))
            names = {v: graph.input(v.type) for v in given}
            graph.outputs = list(graph.append_copy(node, names))
            yield graph, [values[v] for v in given], [values[v] for v in node.outputs]


def eagerly(node: Node, values: dict[Value, Array]) -> tuple[Array, ...]:
    """What a node gives when its op is applied by itself."""
    if node.op in builtin_ops.values():
        return tuple([node.attrs["value"] for _ in node.outputs])
    with using(trace=None, recording=False):
        out = bind(node.op, tuple([df.Tensor(values[v]) for v in node.inputs]), node.attrs)  # type: ignore[arg-type]
    return tuple([y.raw for y in (out if isinstance(out, tuple) else (out,))])
