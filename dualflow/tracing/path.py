"""Path: one recorded way through a function, compiled, and the state it reads and writes.

A call runs the graph first and writes afterwards: Variables, gradients and random states change
only when every guard has passed. A path whose guard misses has therefore done nothing. What the
graph may update in place (`Gifts`) it writes after its last guard and check.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from enum import Enum
from functools import partial
from operator import itemgetter
from typing import Any, TypeAlias

import numpy as np

import jit
from dualflow.autodiff.sweep import Sweep, is_inexact
from dualflow.core import tree
from dualflow.core.context import context, using
from dualflow.core.op import new_tensor, registry
from dualflow.core.tensor import Tensor
from dualflow.tracing.cells import ArrayCell, GradCell, TensorCell, VariableCell
from dualflow.tracing.gifts import Gifts
from dualflow.tracing.gradient import CallGradient
from dualflow.tracing.signature import VALUES
from dualflow.tracing.trace import Trace
from jit.errors import TapeError
from jit.ir.graph import Value

Accept: TypeAlias = Callable[[list[Any]], list[Any]]
NOTHING = object()  # not asked yet
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
        checks_types: Whether a call refuses tensors of other types than the recorded ones.
        ops: How many were recorded.
    """

    def __init__(self, trace: Trace, result: Any) -> None:
        self.answers = tuple(trace.answers)
        self.hits = 0
        self._entry = entry_guards(trace)
        leaves, spec = tree.flatten(result)
        self._build = builder(spec)
        outputs = Outputs()
        self._leaves: list[int | Constant] = [
            outputs.index(trace, x) if returned(trace, x) else Constant(x) for x in leaves
        ]
        self._written = written_by(trace, outputs)
        self._replaced = replaced_by(trace, outputs)
        self._tracked = [k for k, x in enumerate(leaves) if returned(trace, x) and is_tracked(x)]
        trace.graph.outputs = outputs.values
        self.ops = len(trace.graph.nodes)
        self.cells = trace.cells  # all of them: an output may have been one more input
        self._holders = [cell.holder for cell in trace.cells]
        self._variables = [c.variable for c in trace.cells if isinstance(c, VariableCell)]
        arguments = len(trace.graph.inputs) - len(trace.cells)
        self._gifts = Gifts(trace.cells, arguments, self._written)
        self.executable = jit.compile(trace.graph, ops=registry, donate=self._gifts.pairs)
        self._run = self.executable.run
        self._direct: Any = NOTHING
        self._gradient = self._call_gradient(trace) if self._tracked else None
        self.checks_types = self.executable.mode == "compiled" and self._gradient is None

    def _call_gradient(self, trace: Trace) -> CallGradient:
        slots = [self._leaves[k] for k in self._tracked]
        tracked = [slot for slot in slots if isinstance(slot, int)]
        return CallGradient(trace.graph, tracked, trace.unrecorded)

    def call(self, arguments: Sequence[Tensor], accept: Accept | None = None) -> Any:
        """Runs the path.

        Args:
            arguments: The call's tensor arguments.
            accept: Looks at what was computed before anything is written; it may raise.

        Raises:
            EntryMiss: State differs from what was recorded; nothing was done.
            GuardMiss: Python would have decided otherwise; nothing was done.
        """
        for holds in self._entry:
            if not holds():
                raise EntryMiss
        if self._gradient is not None:
            inputs = [*arguments, *[holder.tensor for holder in self._holders]]
            if self._gradient.wanted(inputs):
                return self._watched(self._gradient, inputs, accept)
            del inputs
        arrays = [x.raw for x in arguments]
        arrays += [holder.tensor.raw for holder in self._holders]
        made = accept(self._run(arrays)) if accept else self._computed(arrays)
        return self._build(self._finish(made))

    def _computed(self, arrays: list[Any]) -> list[Any]:
        """The graph's outputs, in the quickest way that these calls allow."""
        if self._gifts.pairs:
            pairs, taken = self._gifts.offer()
            made = self._run(arrays, pairs)
            del taken  # kept until now, so that nobody wrote there
            return made
        if self._direct is NOTHING:
            self._direct = self.executable.direct(arrays)
        made = None if self._direct is None else self._direct(*arrays)
        return self._run(arrays) if made is None else made

    def _watched(self, gradient: CallGradient, inputs: list[Tensor], accept: Accept | None) -> Any:
        """Runs the path for a call through which gradients flow."""
        made, attrs = gradient.forward(inputs)
        results = self._finish(accept(made) if accept else made)
        gradient.hang(inputs, attrs, [results[k] for k in self._tracked])
        return self._build(results)

    def _finish(self, made: list[Any]) -> list[Any]:
        """Writes the state of a run that is over; the leaves of the result."""
        for tape in context.tapes:
            for variable in self._variables:
                tape.saw(variable)
        for cell, index in self._written:
            array = made[index]
            if cell.holder.tensor.raw is not array:  # else it was updated in place
                cell.write(array)
        for cell, index in self._replaced:
            cell.replace(None if index is None else made[index])
        self.hits += 1
        results: list[Any] = []
        for x in self._leaves:
            if x.__class__ is Constant:
                results.append(x.value)  # type: ignore[union-attr]
            else:  # a Tensor; calling the class would take longer
                tensor = new_tensor(Tensor)
                tensor.raw = made[x]  # type: ignore[index]
                tensor.record = tensor.symbol = None
                results.append(tensor)
        return results


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


def instead_of(name: str) -> str:
    """What to do instead of returning an object that only Python can make, of a class so named."""
    if name in ("coroutine", "generator", "async_generator"):  # its body runs after the call
        return "decorate the functions that it calls"
    return "return tensors in lists, tuples and dicts, or use df.tree.register"


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
            lambda: not context.recording or all(c.tensor.record is None for c in unwatched)
        )
    checks.extend(cell.holds for cell in trace.cells if isinstance(cell, ArrayCell))
    return checks


def unwatched_cells(trace: Trace) -> list[TensorCell | VariableCell]:
    """Inputs from outside that nobody watched: the results of a path carry no gradients to them."""
    found: list[TensorCell | VariableCell] = []
    for cell in trace.cells:
        if isinstance(cell, TensorCell | VariableCell):
            tensor = cell.tensor
            if isinstance(cell, VariableCell):
                tensor = trace.before.get(cell.variable, tensor)
            if tensor.record is None and is_inexact(tensor):
                found.append(cell)
    return found


def written_by(trace: Trace, outputs: Outputs) -> list[tuple[VariableCell | GradCell, int]]:
    """What a call assigns when it is done: cells, each with the output that it is given."""
    pairs = [(v, grad) for v, grad in trace.grads.items() if grad is not None]
    owners = {id(grad): v for v, grad in pairs if v._grad is grad}
    gone = {id(grad) for v, grad in pairs if v._grad is not grad}
    writes: list[tuple[VariableCell | GradCell, int]] = []
    for variable in trace.written:
        if id(variable) not in gone:
            owner = owners.get(id(variable))
            cell = VariableCell(variable) if owner is None else GradCell(owner)
            writes.append((cell, outputs.index(trace, trace.held(variable))))
    return writes


def replaced_by(trace: Trace, outputs: Outputs) -> list[tuple[GradCell, int | None]]:
    """Which gradients are other Variables after a call: the output that each holds, or none."""
    changed = [v for v, grad in trace.grads.items() if v._grad is not grad]
    return [
        (GradCell(v), None if v._grad is None else outputs.index(trace, v._grad.tensor))
        for v in changed
    ]


def builder(spec: tree.TreeSpec) -> Callable[[list[Any]], Any]:
    """What makes a result of its leaves, without optree where it is a leaf, a list or a tuple."""
    if spec.is_leaf():
        return itemgetter(0)
    children = spec.children()
    if spec.type in (list, tuple) and all(child.is_leaf() for child in children):
        return spec.type
    return partial(tree.unflatten, spec)
