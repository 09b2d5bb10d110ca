"""Updates: what a procedure assigns to Variables, recorded while it runs, as one native call.

For procedures that do nothing besides: from tensors and the values of Variables they compute what
these Variables hold afterwards, and Python decides nothing by values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jit
from dualflow.core.context import using
from dualflow.core.op import registry
from dualflow.core.tensor import Tensor
from dualflow.tracing.cells import TensorCell, VariableCell
from dualflow.tracing.gifts import Gifts, given_away, pairs_of
from dualflow.tracing.trace import Trace
from jit.collector import collector_paused
from jit.errors import DualflowError


class Update:
    """A procedure as one native call, which updates Variables in place where nobody can tell.

    Args:
        executable: What runs.
        cells: Where its inputs after the tensors are read.
        written: What it assigns, each with the number of the output.
        gifts: What it may overwrite.
    """

    def __init__(
        self,
        executable: jit.Executable,
        cells: Sequence[Any],
        written: Sequence[tuple[VariableCell, int]],
        gifts: Gifts,
    ) -> None:
        self._run = executable.run
        self._holders = [cell.holder for cell in cells]
        self._written = written
        self._gifts = gifts

    def run(self, tensors: Sequence[Tensor]) -> bool:
        """Does what the procedure does; False, and nothing, where tensors are of other types."""
        arrays = [x.raw for x in tensors]
        arrays += [holder.tensor.raw for holder in self._holders]
        try:
            made = self._gifts.used(self._run, arrays)
        except DualflowError:
            return False
        for cell, k in self._written:
            if cell.variable.tensor.raw is not made[k]:  # else it was updated in place
                cell.write(made[k])
        return True


def recorded(
    name: str, procedure: Callable[[list[Tensor]], None], tensors: list[Tensor]
) -> Update | None:
    """Runs a procedure in Python, and gives what does the same; None if there is no such thing.

    Args:
        name: For people.
        procedure: Is given the tensors.
        tensors: On one device.
    """
    with collector_paused():  # at its end goes what is left of the recording
        return _recorded(Trace(name), procedure, tensors)


def _recorded(
    trace: Trace, procedure: Callable[[list[Tensor]], None], tensors: list[Tensor]
) -> Update | None:
    given = trace.arguments(tensors)
    try:
        with using(trace=trace):
            procedure(given)
        return compiled(trace, len(tensors))
    finally:
        trace.release()


def compiled(trace: Trace, count: int) -> Update | None:
    """What a finished recording with so many arguments does, as native code."""
    told = trace.variables
    decided = trace.refusals or trace.answers or told.grads or told.switched
    if decided or told.survivors() or told.disturbed():
        return None
    if not all(isinstance(cell, VariableCell | TensorCell) for cell in trace.cells):
        return None
    if isinstance(trace.target, tuple):  # some lies elsewhere
        return None
    trace.graph.outputs = [trace.value_of(told.held(variable)) for variable in told.written]
    cells = list(trace.cells)
    written = [(VariableCell(variable), k) for k, variable in enumerate(told.written)]
    given = given_away(cells, count, written)
    executable = jit.compile(trace.graph, trace.target, ops=registry, donate=pairs_of(given))
    if executable.mode != "compiled":
        return None
    return Update(executable, cells, written, Gifts(given, count, written))
