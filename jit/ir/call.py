"""Calls: a node that runs a graph which several nodes share.

  %3: float32[8], %4: float32[8] = call(%h, %x) of
    graph part(%in0: float32[8], %in1: float32[8]) {
      ...
      return %6, %5
    }

The inputs are those of the body, the outputs too. A body is never changed, so what becomes of it is
found out once, whoever calls it.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from jit.errors import GraphError
from jit.ir.graph import Graph
from jit.ir.interpret import Program
from jit.ir.op import JIT, OpDef
from jit.types import TensorType


class Body(Graph):
    """A finished graph that nodes share; unlike other graphs it can be a key, as it is no other."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    @classmethod
    def of(cls, graph: Graph) -> Body:
        """A graph as it is now."""
        made = cls(graph.name)
        made.inputs, made.nodes, made.outputs = graph.inputs, graph.nodes, graph.outputs
        return made


def _call_infer(*types: TensorType, body: Graph) -> TensorType | tuple[TensorType, ...]:
    if list(types) != [value.type for value in body.inputs]:
        raise GraphError(f"call: the body {body!r} does not take these inputs")
    out = tuple([value.type for value in body.outputs])
    return out[0] if len(out) == 1 else out


def _call_evaluate(xp: ModuleType, *arrays: Any, body: Graph) -> Any:
    results = Program(body, xp)(arrays)
    return results[0] if len(results) == 1 else tuple(results)


def _call_lower(form: Any, *xs: Any, body: Graph) -> Any:
    """The forms of the body; `jit.forms.native` has a form that keeps it whole."""
    values = dict(zip(body.inputs, xs, strict=True))
    for node in body.nodes:
        out = node.op.lower(form, *[values[x] for x in node.inputs], **node.attrs)
        values.update(zip(node.outputs, out if isinstance(out, tuple) else (out,), strict=True))
    results = tuple([values[x] for x in body.outputs])
    return results[0] if len(results) == 1 else results


call = OpDef(
    name="call",
    evaluate=_call_evaluate,
    infer=_call_infer,
    lower=_call_lower,
    calls=True,
    package=JIT,
)
