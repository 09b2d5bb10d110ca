"""A Graph as forms: `lower_graph` asks each node's op to lower itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, fields
from typing import Any

import numpy as np

from jit.dataclass import dataclass
from jit.dims import recording_guesses
from jit.errors import GraphError
from jit.forms.forms import FormBuilder
from jit.forms.index import same_all
from jit.forms.nodes import Form, FormValue
from jit.ir.graph import Graph, Node
from jit.types import TensorType

UNPRINTED = ("inputs", "types", "host")


@dataclass(frozen=True, eq=False)
class FormProgram:
    """Forms in the order in which they run; `forms` holds the sources as well.

    Attributes:
        inputs: What the caller passes.
        forms: All forms.
        outputs: What the caller gets.
        origins: The node of the graph that a form came from.
    """

    inputs: tuple[FormValue, ...]
    forms: tuple[Form, ...]
    outputs: tuple[FormValue, ...]
    origins: Mapping[Form, Node] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [_format(form) for form in self.forms]
        return "\n".join([*lines, f"return {', '.join(map(str, self.outputs))}"])


def lower_graph(graph: Graph) -> FormProgram:
    """The forms of every node, in the order of the graph.

    Raises:
        GraphError: An op lowers to other types than it infers.
    """
    form = FormBuilder()
    inputs = [form.source(value.type) for value in graph.inputs]
    outputs = lower_into(form, graph, inputs)
    return FormProgram(tuple(inputs), tuple(form.forms), outputs)


def lower_into(
    form: FormBuilder, graph: Graph, inputs: Sequence[FormValue]
) -> tuple[FormValue, ...]:
    """Lower `graph` with any builder; `inputs` stand for its inputs, the result for its outputs."""
    values = dict(zip(graph.inputs, inputs, strict=True))
    # Whether dims agree was settled while the graph was built: nothing here is a new guess.
    with recording_guesses([]):
        for node in graph.nodes:
            lowered = node.op.lower(form, *[values[x] for x in node.inputs], **node.attrs)
            results = lowered if isinstance(lowered, tuple) else (lowered,)
            _check_types(node, results)
            values.update(zip(node.outputs, results, strict=True))
    return tuple([values[x] for x in graph.outputs])


def _check_types(node: Node, results: tuple[Any, ...]) -> None:
    wanted, got = [value.type for value in node.outputs], [value.type for value in results]
    if len(wanted) != len(got) or not all(map(_same_type, wanted, got)):
        raise GraphError(
            f"{node.op.name} lowers to {', '.join(map(str, got)) or 'nothing'}",
            f"the types it infers: {', '.join(map(str, wanted)) or 'none'}",
        )


def _same_type(a: TensorType, b: TensorType) -> bool:
    return a.dtype == b.dtype and same_all(a.shape, b.shape)


def _format(form: Form) -> str:
    """`%2: float32[3,4] = view(%0) map=[i1, i0]`."""
    results = ", ".join(f"{value}: {value.type}" for value in form.outputs)
    own = [key for key in (field.name for field in fields(form)) if key not in UNPRINTED]
    attrs = "".join(f" {key}={_format_attr(getattr(form, key))}" for key in own)
    call = f"{type(form).__name__.lower()}({', '.join(map(str, form.inputs))}){attrs}"
    return f"{results} = {call}" if results else call


def _format_attr(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return str(value) if value.ndim == 0 else "array"
    return str(getattr(value, "name", value))
