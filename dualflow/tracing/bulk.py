"""Tensors in bulk: the arrays of a call are taken out of them, its results put into new ones."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import cache
from typing import Any

import numpy as np

from dualflow.core.context import context
from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable
from dualflow.tracing.cells import GradCell
from jit.runtime.boxes import At, Boxes, boxes_of, held, put_in


@cache
def tensors(array: type[Any] = np.ndarray) -> Boxes:
    """What does it in native code; `unmarked` opens those that have no record.

    Args:
        array: The class of arrays.
    """
    return boxes_of(Tensor, "raw", "record", ["symbol"], array)


@cache
def variables() -> Boxes:
    """What makes Variables around Tensors in native code, with nothing else in them."""
    return boxes_of(Variable, "tensor", "leaf", ["name", "_grad", "grad_of", "born"])


def collect(cells: Sequence[tuple[GradCell, int]], arrays: Sequence[Any]) -> None:
    """Gives Variables new gradients.

    Args:
        cells: Where they are, each with the number of its array.
        arrays: Their values.
    """
    made = variables().boxed(*tensors().boxed(*[arrays[k] for _, k in cells]))
    for (cell, _), grad in zip(cells, made, strict=True):
        if context.trace is None:
            cell.take(grad)
        else:
            cell.owner.grad = grad


def held_by(holders: Sequence[Any], alone: Collection[int]) -> Callable[[], list[Any] | None]:
    """A function that gives the arrays that Variables and other holders have now.

    It gives None where a Tensor is lent, or somebody else has it although it must be alone.

    Args:
        holders: Each has a `tensor`.
        alone: Numbers of those whose Tensor nobody else may have.
    """
    of_variables = [isinstance(x, Variable) for x in holders]
    places = [
        At(x, "tensor", k in alone) if there else None
        for k, (x, there) in enumerate(zip(holders, of_variables, strict=True))
    ]
    arrays = held(Tensor, "raw", places) if any(of_variables) else None
    others = [(k, x) for k, (x, there) in enumerate(zip(holders, of_variables)) if not there]
    if arrays is None or not others:
        return arrays or nothing

    def all_arrays() -> list[Any] | None:
        found = arrays()
        if found is not None:
            for k, holder in others:
                found[k] = holder.tensor.raw
        return found

    return all_arrays


def put_into(variables: Sequence[tuple[Variable, int]]) -> Callable[[list[Any]], int | None]:
    """A function that puts arrays into the Tensors of Variables: 1 if it has.

    It has done nothing if a Tensor is lent, is of a recording, or somebody else has it.

    Args:
        variables: Each with the number of its array.
    """
    places = [(At(x, "tensor"), k) for x, k in variables]
    if not places:
        return nothing
    return put_in(Tensor, "raw", ["symbol"], places) or nothing


def put_into_gradients(cells: Sequence[tuple[GradCell, int]]) -> Callable[[list[Any]], int | None]:
    """A function that puts arrays into gradients: 1 if it has, and they are as good as new ones.

    If a gradient is missing, or somebody has it, or its Tensor, new ones must be made.

    Args:
        cells: Where they are, each with the number of its array.
    """
    places = [(At(x.owner, "_grad"), k) for x, k in cells]
    if not places:
        return nothing
    return put_in(Tensor, "raw", ["symbol", "record"], places, (Variable, "tensor")) or nothing


def nothing(*arrays: Any) -> None:
    """Where native code cannot look."""
