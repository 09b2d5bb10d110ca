"""All stages of a graph agree, each with the bits or the digits that it owes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from jit.forms.exact import is_exact
from jit.forms.program import lower_graph
from jit.ir.graph import Value
from jit.types import kind
from tests.jit.stages import IN_NUMPY, IN_ORDER, Stages, bits
from tests.ops.laws import assert_close, rounding, widened

Array = np.ndarray[Any, Any]
INTERPRETED = ("naive", "scheduled", "direct")
NEAR = 64  # roundings that sums and elementary functions of NumPy may be away


def check(made: Stages, inputs: Sequence[Array], what: object, *, interpreted: bool = True) -> None:
    """Runs every stage and compares it with the machine code.

    Kernels as planned, as scheduled, in direct instructions, and their machine code give its bits;
    so does NumPy, by `evaluate` and by forms, where forms leave no choice, else nearly.

    Args:
        made: The stages.
        inputs: Arrays.
        what: For people.
        interpreted: Whether the stages in the interpreter of kernels are among them.
    """
    assert made.is_native, what
    stages = [x for x in (*IN_NUMPY, *IN_ORDER) if interpreted or x not in INTERPRETED]
    found = {stage: made.run(stage, inputs) for stage in stages}
    exact = all(map(is_exact, lower_graph(made.given).forms))
    rounded = [*map(rounding_behind, made.given.outputs)]
    for stage in stages:
        for ours, theirs, unit in zip(found["native"], found[stage], rounded, strict=True):
            sort = kind(ours.dtype)
            one_answer = sort in ("bool", "integer") or (exact and sort == "floating")
            if bits(ours) != bits(theirs):
                said = f"{what}, native and {stage}: {ours} instead of {theirs}"
                assert not one_answer, said
                assert stage not in IN_ORDER, said
                assert_close(ours, widened(theirs), NEAR * unit, said, inputs)


def rounding_behind(output: Value) -> float:
    """The coarsest rounding of what is computed for an output: a wider dtype adds no digits."""
    found, waiting = {output}, [output]
    while waiting:
        node = waiting.pop().node
        new = [x for x in (node.inputs if node is not None else ()) if x not in found]
        found.update(new)
        waiting += new
    dtypes = {x.type.dtype for x in found if x.node is not None} | {output.type.dtype}
    return max([rounding(d) for d in dtypes if kind(d) in ("floating", "complex")], default=0.0)
