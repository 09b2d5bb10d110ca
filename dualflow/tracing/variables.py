"""Variables: what one recording reads of Variables from outside, and what it leaves in them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dualflow.core.op import registry
from dualflow.core.record import INEXACT
from dualflow.core.source import user_line
from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable
from dualflow.tracing.cells import GradCell, VariableCell
from dualflow.tracing.created import Created
from jit.ir.graph import Value
from jit.types import kind

if TYPE_CHECKING:
    from dualflow.tracing.trace import Trace


class Variables:
    """The Variables of one recording.

    Args:
        trace: The recording.

    Attributes:
        written: Those from outside that were assigned.
        grads: Those whose `.grad` was touched, and what it was at first.
        before: The value of each one that was read or assigned, before the call.
        creations: Those that were made in the recording.
        switched: Those whose trainability, dtype or device was changed, maybe only for a while.
    """

    def __init__(self, trace: Trace) -> None:
        self.written: dict[Variable, None] = {}
        self.grads: dict[Variable, Variable | None] = {}
        self.before: dict[Variable, Tensor] = {}
        self.switched: list[Variable] = []
        self._trace = trace
        self.creations = Created()
        self._inputs: dict[Variable, Value] = {}
        # By id of a Variable: the tensor that it holds, and what reading it gives in the graph.
        self._held: dict[int, tuple[Tensor, Tensor | None]] = {}

    # ----- what Variables tell -----

    def read(self, variable: Variable) -> Tensor:
        """What reading a Variable gives: an input of the graph at first, later what was assigned.

        The Variable keeps its own tensor: other threads may read it, or record it themselves.
        """
        tensor = variable.tensor
        held, alias = self._held.get(id(variable), (None, None))
        if held is tensor and alias is not None:
            return alias
        if variable in self.written or self.made(variable):
            alias = self._settle(variable, tensor) if kind(tensor.dtype) in INEXACT else tensor
        else:
            self._trace.settings.saw_variable(variable)
            self.before.setdefault(variable, tensor)
            symbol = self._trace.symbol(self._input(variable))
            alias = tensor.alias(symbol, tensor.record)
        if held is None or held is tensor:  # else another thread changed it: `disturbed` tells
            self._held[id(variable)] = (tensor, alias)
        return alias

    def wrote(self, variable: Variable, before: Tensor, after: Tensor) -> None:
        """A Variable was assigned."""
        if self.made(variable):
            return
        held = self._held.get(id(variable), (before, None))[0]
        self._trace.settings.saw_variable(variable)
        self.before.setdefault(variable, before)
        self.written[variable] = None
        if held is before:
            self._held[id(variable)] = (after, None)

    def created(self, variable: Variable) -> None:
        """A Variable was made while recording."""
        self.creations.add(variable)
        self._held.pop(id(variable), None)

    def asked_trainable(self, variable: Variable) -> None:
        """Python decides by a Variable's trainability."""
        if not self.made(variable):
            self._trace.settings.saw_variable(variable)

    def changed(self, variable: Variable) -> None:
        """Trainability, dtype or device of a Variable changes."""
        if not self.made(variable):
            self.switched.append(variable)

    def touched_grad(self, variable: Variable) -> None:
        """`.grad` of a Variable is read or set."""
        if not self.made(variable):
            self.grads.setdefault(variable, variable._grad)

    def read_as(self, tensor: Tensor) -> Variable | None:
        """The Variable from outside that was read as this tensor."""
        for variable in (*self._inputs, *self.written):
            if self._held.get(id(variable), (None, None))[1] is tensor:
                return variable
        return None

    # ----- in the graph -----

    def _input(self, variable: Variable) -> Value:
        """The graph's input for the value of a Variable before the call."""
        value = self._inputs.get(variable)
        if value is None:
            owner = next((v for v, grad in self.grads.items() if grad is variable), None)
            cell = VariableCell(variable) if owner is None else GradCell(owner)
            value = self._trace.input(self.before[variable], variable.name, cell)
            self._inputs[variable] = value
        return value

    def _settle(self, variable: Variable, tensor: Tensor) -> Tensor:
        """An assigned value is read: assigning cut its history, and so must the graph."""
        trace = self._trace
        value = trace.value_of(tensor)
        if tensor.record is not None and not self.made(variable):
            op, inputs = registry["assigned"], [self._input(variable), value]
        elif value.node in trace.unrecorded:
            return tensor
        else:
            op, inputs = registry["stop_gradient"], [value]
        (settled,) = trace.graph.add(op, inputs, {}, (value.type,), user_line())
        return tensor.alias(trace.symbol(settled), tensor.record)

    def forget_aliases(self) -> None:
        """What is read of assigned Variables from now on is told anew in the graph."""
        for variable in self.written:
            self._held[id(variable)] = (self.held(variable), None)
        for grad in [variable._grad for variable in self.grads]:
            if grad is not None and self.made(grad):
                self._held.pop(id(grad), None)

    # ----- when the call is over -----

    def made(self, variable: Variable) -> bool:
        """Whether the Variable was made in this recording."""
        return self.creations.has(variable)

    def survivors(self) -> list[Variable]:
        """Variables made while recording that Python still holds: the next call must see them."""
        grads = {id(v._grad) for v in self.grads}
        return [v for v in self.creations.alive() if id(v) not in grads]

    def held(self, variable: Variable) -> Tensor:
        """What the recording has left in a Variable; another thread may have assigned it since."""
        return self._held[id(variable)][0]

    def owners(self) -> dict[int, Variable]:
        """The Variables whose `.grad` a Variable is, by its id."""
        return {id(v._grad): v for v in self.grads if v._grad is not None}

    def disturbed(self) -> bool:
        """Whether another thread has assigned a Variable in between: this was no call by itself."""
        return any(self._held[id(v)][0] is not v.tensor for v in self.before)

    def foreign_grad(self) -> Variable | None:
        """A Variable whose `.grad` is another one from outside, which no graph can arrange."""
        for variable, grad in self.grads.items():
            new = variable._grad
            if new is not None and new is not grad and not self.made(new):
                return variable
        return None

    @contextmanager
    def as_before(self) -> Iterator[None]:
        """A `with` block in which every `.grad` is what it was before the call."""
        now = {variable: variable._grad for variable in self.grads}
        for variable, grad in self.grads.items():
            variable._grad = grad
        try:
            yield
        finally:
            for variable, grad in now.items():
                variable._grad = grad

    def restore(self) -> None:
        """Puts back what Variables held before the call."""
        for variable, tensor in self.before.items():
            variable.tensor = tensor
        for variable, grad in self.grads.items():
            variable._grad = grad

    def release(self, *, restorable: bool) -> None:
        """Lets go of the tensors of the recording, and maybe of what Variables held before."""
        self._held.clear()
        if not restorable:
            self.before.clear()
            self.grads.clear()
