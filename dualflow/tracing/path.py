"""Path: one recorded way through a function, compiled, and the state it reads and writes.

A call runs the graph first and writes afterwards: Variables, gradients and random states change
only when every guard has passed. A path whose guard misses has therefore done nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from enum import Enum
from typing import Any

import numpy as np

import jit
from dualflow.autodiff.sweep import Sweep, is_inexact
from dualflow.core import tree
from dualflow.core.context import context, quietly, using
from dualflow.core.op import registry, wrap
from dualflow.core.tensor import Tensor
from dualflow.tracing.cells import ArrayCell, GradCell, TensorCell, VariableCell
from dualflow.tracing.gradient import CallGradient
from dualflow.tracing.signature import VALUES
from dualflow.tracing.trace import Trace
from jit.errors import TapeError
from jit.ir.graph import Value

PLAIN = (*VALUES, Tensor, np.generic, type, Enum, range, slice, type(Ellipsis))


class EntryMiss(Exception):  # noqa: N818 - tells the caller to try another path
    """State outside of the arguments is not as it was when the path was recorded."""


class Path:
    """One recorded call, ready to run again.

    Args:
        trace: The finished recording.
        result: What the recording call returned.

    Attributes:
        answers: What the guards expect.
        hits: How many calls it has served.
        executable: The compiled graph.
        ops: How many were recorded.
    """

    def __init__(self, trace: Trace, result: Any) -> None:
        self.answers = tuple(trace.answers)
        self.hits = 0
        self.cells = trace.cells
        self._variables = [c.variable for c in trace.cells if isinstance(c, VariableCell)]
        self._entry = entry_guards(trace)
        leaves, self._spec = tree.flatten(result)
        outputs = Outputs()
        self._leaves: list[int | Constant] = [
            outputs.index(trace, x) if returned(trace, x) else Constant(x) for x in leaves
        ]
        self._writes = writes_of(trace, outputs)
        self._tracked = [k for k, x in enumerate(leaves) if returned(trace, x) and is_tracked(x)]
        trace.graph.outputs = outputs.values
        self.ops = len(trace.graph.nodes)
        self.executable = jit.compile(trace.graph, ops=registry)
        self._gradient = self._call_gradient(trace) if self._tracked else None

    def _call_gradient(self, trace: Trace) -> CallGradient:
        slots = [self._leaves[k] for k in self._tracked]
        tracked = [slot for slot in slots if isinstance(slot, int)]
        return CallGradient(trace.graph, tracked, trace.unrecorded)

    def call(self, arguments: list[Tensor]) -> Any:
        """Runs the path.

        Args:
            arguments: The call's tensor arguments.

        Raises:
            EntryMiss: State differs from what was recorded; nothing was done.
            GuardMiss: Python would have decided otherwise; nothing was done.
        """
        for holds in self._entry:
            if not holds():
                raise EntryMiss
        inputs = [*arguments, *(cell.tensor() for cell in self.cells)]
        gradient, attrs = self._gradient, {}
        if gradient is not None and gradient.wanted(inputs):
            arrays, attrs = gradient.forward(inputs)
        else:
            gradient = None
            arrays = quietly(self.executable, [x.raw for x in inputs])
        for tape in context.tapes:
            for variable in self._variables:
                tape.saw(variable)
        for write, index in self._writes:
            write(None if index is None else arrays[index])
        self.hits += 1
        results = [x.value if isinstance(x, Constant) else wrap(arrays[x]) for x in self._leaves]
        if gradient is not None:
            gradient.hang(inputs, attrs, [results[k] for k in self._tracked])
        return tree.unflatten(self._spec, results)


class Constant:
    """A leaf of the result that is no tensor of the recording: the same object at each call."""

    def __init__(self, value: Any) -> None:
        self.value = value


class Outputs:
    """The graph's outputs, each once."""

    def __init__(self) -> None:
        self.values: list[Value] = []
        self._index: dict[Value, int] = {}

    def index(self, trace: Trace, tensor: Tensor) -> int:
        """Which output stands for `tensor`."""
        value = trace.value_of(tensor)
        if value not in self._index:
            self._index[value] = len(self.values)
            self.values.append(value)
        return self._index[value]


def returned(trace: Trace, x: Any) -> bool:
    """Whether a leaf of the result is a tensor that the graph computes."""
    return x.__class__ is Tensor and trace.owns(x)


def opaque(x: Any, arguments: Collection[int]) -> bool:
    """Whether a leaf of the result may be an object that each call makes anew, with values inside.

    Args:
        x: The leaf.
        arguments: The ids of the call's arguments, which may be returned as they are.
    """
    return not isinstance(x, PLAIN) and id(x) not in arguments


def is_tracked(x: Any) -> bool:
    """Whether gradients can flow back from `x`: it has records, and nobody has released them."""
    if x.__class__ is not Tensor or x.record is None:
        return False
    try:
        with using(trace=None):
            Sweep([x], lambda record: True)
    except TapeError:
        return False
    return True


def entry_guards(trace: Trace) -> list[Callable[[], bool]]:
    """Checks of state outside of the arguments: gradients there or not, settings, types."""
    checks: list[Callable[[], bool]] = []
    for variable, grad in trace.grads.items():
        checks.append(lambda v=variable, was_none=grad is None: (v._grad is None) == was_none)
    trace.settings.finish()
    checks.append(trace.settings.hold)
    if unwatched := unwatched_cells(trace):
        checks.append(
            lambda: not context.recording or all(c.tensor().record is None for c in unwatched)
        )
    checks.extend(cell.holds for cell in trace.cells if isinstance(cell, ArrayCell))
    return checks


def unwatched_cells(trace: Trace) -> list[TensorCell | VariableCell]:
    """Inputs from outside that nobody watched: the results of a path carry no gradients to them."""
    found: list[TensorCell | VariableCell] = []
    for cell in trace.cells:
        if isinstance(cell, TensorCell | VariableCell):
            tensor = cell.tensor()
            if isinstance(cell, VariableCell):
                tensor = trace.before.get(cell.variable, tensor)
            if tensor.record is None and is_inexact(tensor):
                found.append(cell)
    return found


def writes_of(trace: Trace, outputs: Outputs) -> list[tuple[Callable[[Any], None], int | None]]:
    """What a call changes when it is done: functions, each with the output that it is given."""
    writes: list[tuple[Callable[[Any], None], int | None]] = []
    owners = {
        id(grad): v for v, grad in trace.grads.items() if grad is not None and v._grad is grad
    }
    replaced = {
        id(grad) for v, grad in trace.grads.items() if grad is not None and v._grad is not grad
    }
    for variable in trace.written:
        if id(variable) in replaced:
            continue
        owner = owners.get(id(variable))
        cell = VariableCell(variable) if owner is None else GradCell(owner)
        writes.append((cell.write, outputs.index(trace, trace.held(variable))))
    for variable, grad in trace.grads.items():
        if variable._grad is not grad:
            new = variable._grad
            writes.append(
                (
                    GradCell(variable).replace,
                    None if new is None else outputs.index(trace, new.tensor),
                )
            )
    return writes
