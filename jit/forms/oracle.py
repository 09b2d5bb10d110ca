"""Running lowered graphs and form programs on the reference executor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from jit.dims import solve
from jit.forms.program import FormProgram, lower_into
from jit.forms.reference import Array, Reference
from jit.ir.graph import Graph


def evaluate_lowered(graph: Graph, arrays: Sequence[Any]) -> list[Array]:
    """The outputs of `graph`, each op computed through its `lower`.

    Args:
        graph: Any graph.
        arrays: One array per input.

    Raises:
        ShapeError: The arrays do not fit the types of the inputs.
        GraphError: An op lowers to other types than it infers.
    """
    form = Reference(_sizes(graph.inputs, arrays))
    inputs = [form.put(array, x.type) for array, x in zip(arrays, graph.inputs)]
    return [form.arrays[out] for out in lower_into(form, graph, inputs)]


def evaluate_program(program: FormProgram, arrays: Sequence[Any]) -> list[Array]:
    """The outputs of recorded forms; arguments as for `evaluate_lowered`."""
    reference = Reference(_sizes(program.inputs, arrays))
    reference.arrays.update(zip(program.inputs, map(np.asarray, arrays), strict=True))
    sources = {x.form for x in program.inputs}
    for form in program.forms:
        if form not in sources:
            reference.run(form)
    return [reference.arrays[out] for out in program.outputs]


def _sizes(inputs: Sequence[Any], arrays: Sequence[Any]) -> dict[str, int]:
    return solve([x.type.shape for x in inputs], [np.shape(array) for array in arrays])
