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
from dualflow.core.context import Epoch, context, using
from dualflow.core.number import Number
from dualflow.core.op import new_tensor, registry
from dualflow.core.tensor import Tensor
from dualflow.tracing.cells import ArrayCell, GradCell, NumberCell, TensorCell, VariableCell
from dualflow.tracing.gifts import Gifts
from dualflow.tracing.gradient import CallGradient
from dualflow.tracing.guards.check import Check, Guard
from dualflow.tracing.parts import VALUES
from dualflow.tracing.scalars import Prologue
from dualflow.tracing.trace import Trace
from jit.dims import recording_guesses
from jit.errors import TapeError, TraceError
from jit.ir.graph import Value

Accept: TypeAlias = Callable[[list[Any]], list[Any]]
NOTHING = object()  # not asked yet
PLAIN = (*VALUES, Tensor, np.generic, type, Enum, range, slice, type(Ellipsis))


class EntryMiss(Exception):  # noqa: N818 - tells the caller to try another path
    """The path is not for this call, as numbers or state around it are; nothing was done."""


class StateMiss(EntryMiss):
    """State outside of the arguments is not as it was when the path was recorded.

    Args:
        reason: Says what has changed.
    """

    def __init__(self, reason: Callable[[], str]) -> None:
        super().__init__(reason)
        self.reason = reason


class ExtentsMiss(EntryMiss):
    """The path is not good for extents that vary after all; nothing was done."""


class Path:
    """One recorded call, ready to run again.

    Args:
        trace: The finished recording.
        result: What the recording call returned.

    Attributes:
        answers: What the guards expect.
        decided: What it relies on of numbers and extents that vary, in words.
        hits: How many calls it has served.
        executable: The compiled graph.
        checks_types: Whether a call refuses tensors of other types than the recorded ones.
        ops: How many were recorded.
        check: What asks whether state outside of the arguments is as it was.
    """

    def __init__(self, trace: Trace, result: Any) -> None:
        self.answers = tuple(trace.answers)
        self.decided = tuple(trace.scalars.decided())
        self.hits = 0
        self.check = entry_check(trace)
        self._missed = self.check.missed
        self._equals = trace.equals
        leaves, spec = tree.flatten(result)
        self._build = builder(spec)
        outputs = Outputs()
        self._leaves: list[int | Constant | Computed] = [leaf_of(trace, outputs, x) for x in leaves]
        self._written = written_by(trace, outputs)
        self._replaced = replaced_by(trace, outputs)
        self._tracked = [k for k, x in enumerate(leaves) if returned(trace, x) and is_tracked(x)]
        trace.graph.outputs = outputs.values
        self.ops = len(trace.graph.nodes)
        self.cells = trace.cells  # all of them: an output may have been one more input
        self._holders = [cell.holder for cell in trace.cells]
        self._variables = [c.variable for c in trace.cells if isinstance(c, VariableCell)]
        arguments = len(trace.graph.inputs) - len(trace.cells)
        self._numbers = [
            (k, cell.index)
            for k, cell in enumerate(trace.cells, arguments)
            if isinstance(cell, NumberCell)
        ]
        self._gifts = Gifts(trace.cells, arguments, self._written)
        with recording_guesses(trace.scalars.guesses):
            self.executable = jit.compile(trace.graph, ops=registry, donate=self._gifts.pairs)
        self._prologue = trace.scalars.finish()
        self._run = self.executable.run
        self._direct: Any = NOTHING
        self._gradient = self._call_gradient(trace) if self._tracked else None
        self.checks_types = self.executable.mode == "compiled" and self._gradient is None

    def _call_gradient(self, trace: Trace) -> CallGradient:
        slots = [self._leaves[k] for k in self._tracked]
        tracked = [slot for slot in slots if isinstance(slot, int)]
        return CallGradient(trace.graph, tracked, trace.unrecorded)

    def admit(self, leaves: Sequence[Any]) -> None:
        """Looks at arguments that are not the recorded objects, but equal them.

        Args:
            leaves: Of all arguments.

        Raises:
            StateMiss: They differ in something that was read.
        """
        if self._equals and (what := self._equals.other(leaves)) is not None:
            raise StateMiss(f"{what} is another".format)

    def call(
        self,
        arguments: Sequence[Tensor],
        given: Sequence[Any] = (),
        accept: Accept | None = None,
    ) -> Any:
        """Runs the path.

        Args:
            arguments: The call's tensor arguments.
            given: Those of its Python numbers that vary.
            accept: Looks at what was computed before anything is written; it may raise.

        Raises:
            EntryMiss: State differs from what was recorded; nothing was done.
            GuardMiss: Python would have decided otherwise; nothing was done.
        """
        if (missed := self._missed()) >= 0:
            raise StateMiss(partial(self.check.reason, missed))
        numbers, computed = (), ()
        if self._prologue is not None:
            numbers, computed = self._computed_numbers(self._prologue, arguments, given)
        if self._gradient is not None:
            inputs = [*arguments, *[holder.tensor for holder in self._holders]]
            if self._gradient.wanted(inputs):
                if self._prologue is not None:
                    self._check_extents(self._gradient, inputs)
                for place, index in self._numbers:
                    inputs[place] = Tensor(numbers[index])
                return self._watched(self._gradient, inputs, computed, accept)
            del inputs
        arrays = [x.raw for x in arguments]
        arrays += [holder.tensor.raw for holder in self._holders]
        if numbers:
            for place, index in self._numbers:
                arrays[place] = numbers[index]
        made = accept(self._run(arrays)) if accept else self._computed(arrays)
        return self._build(self._finish(made, computed))

    @staticmethod
    def _check_extents(gradient: CallGradient, inputs: list[Tensor]) -> None:
        """Gradients may ask more of extents than the call itself."""
        try:
            fits = gradient.pair(inputs).fits(inputs)
        except TraceError as error:
            raise ExtentsMiss(str(error)) from None
        if not fits:
            raise EntryMiss

    @staticmethod
    def _computed_numbers(prologue: Prologue, arguments: Sequence[Tensor], numbers: Any) -> Any:
        """What the prologue gives: arrays for the graph, and numbers of the result."""
        try:
            found = prologue(numbers, arguments)
        except Exception:  # as Python would raise: it does when the call is recorded again
            found = None
        if found is None:
            raise EntryMiss
        return found

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

    def _watched(
        self, gradient: CallGradient, inputs: list[Tensor], computed: Any, accept: Accept | None
    ) -> Any:
        """Runs the path for a call through which gradients flow."""
        made, attrs = gradient.forward(inputs)
        results = self._finish(accept(made) if accept else made, computed)
        gradient.hang(inputs, attrs, [results[k] for k in self._tracked])
        return self._build(results)

    def _finish(self, made: list[Any], computed: Sequence[Any]) -> list[Any]:
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
            elif x.__class__ is Computed:
                results.append(computed[x.index])  # type: ignore[union-attr]
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


class Computed:
    """A leaf of the result that is a Python number, computed by the prologue of each call."""

    def __init__(self, index: int) -> None:
        self.index = index


def leaf_of(trace: Trace, outputs: Outputs, x: Any) -> int | Constant | Computed:
    """Where a leaf of the result comes from."""
    if returned(trace, x):
        return outputs.index(trace, x)
    if type(x) is Number:
        return Computed(trace.scalars.result(x)) if x.owner is trace.scalars else Constant(x.value)
    return Constant(x)


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


def entry_check(trace: Trace) -> Check:
    """Asks whether state outside of the arguments is as it was: Python's, and what dualflow keeps.

    Of dualflow's own objects that is: gradients there or not, settings, types of arrays.
    """
    settings = trace.settings
    settings.finish()
    constants: dict[str, Any] = {"Epoch": Epoch, "settings": settings, "context": context}
    guards: list[Guard] = []

    def guard(differs: str, told: Callable[[], str], *things: Any) -> None:
        names = [f"own{len(constants) + k}" for k in range(len(things))]
        constants.update(zip(names, things, strict=True))
        guards.append(Guard(differs.format(*names), names[0], told=told))

    for variable, grad in trace.grads.items():
        sign, now = ("not ", "there") if grad is None else ("", "None")
        told = partial("the .grad of {} is {} now".format, variable.label(), now)
        guard(f"{{}}._grad is {sign}None", told, variable)
    moved = "Epoch.number != settings.epoch and not {}()"
    guard(moved, lambda: f"{settings.changed()} changed", settings.hold)
    if unwatched := unwatched_cells(trace):
        watched = " or ".join(["{}.tensor.record is not None"] * len(unwatched))
        holders = [cell.holder for cell in unwatched]
        told = "gradients to a tensor from outside are wanted now".format
        guard(f"context.recording and ({watched})", told, *holders)
    for cell in trace.cells:
        if isinstance(cell, ArrayCell):
            guard(
                "not {}()", lambda: "an array from outside changed its shape or dtype", cell.holds
            )
    assert trace.check is not None
    return trace.check.extended(guards, constants)


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
