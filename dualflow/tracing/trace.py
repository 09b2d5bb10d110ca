"""Trace: records the ops of a Python call into a Graph while they run.

Recording is running: every op is appended *and* computed, at once or when somebody looks at its
value (`dualflow.tracing.postponed`), so results, effects and exceptions of a recording call are
eager's own. When Python asks a tensor for a bool or an int, the
known answer is noted as a guard. Values that leave for Python otherwise are escapes: such a call
cannot be replayed. With symbolic arguments the same trace only infers types.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from dualflow.core.backend import to_device
from dualflow.core.context import checks_ops, context
from dualflow.core.number import KINDS, Number, plain, value_of
from dualflow.core.op import Op, Symbol, argument_types, array_types, dtype_of, registry, values
from dualflow.core.record import clock, hang
from dualflow.core.source import user_frame, user_line
from dualflow.core.tensor import Tensor
from dualflow.tracing.attrs import agreed, at_hint, has_dim, make_plain, settled, varying_types
from dualflow.tracing.captured import Captured
from dualflow.tracing.cells import ArrayCell, Cell, NumberCell, StateCell, TensorCell, read_of
from dualflow.tracing.compiling import DEFAULT
from dualflow.tracing.guards.check import Check
from dualflow.tracing.guards.equals import Equals
from dualflow.tracing.guards.hook import Watch
from dualflow.tracing.guards.reach import Reach
from dualflow.tracing.joins.crossings import Crossings
from dualflow.tracing.leaves import Given
from dualflow.tracing.ledger import Ledger
from dualflow.tracing.passed import Passed
from dualflow.tracing.postponed import Postponing
from dualflow.tracing.refusal import Refusal
from dualflow.tracing.scalars import Scalars
from dualflow.tracing.settings import Settings
from dualflow.tracing.states import States, Volatile
from dualflow.tracing.variables import Variables
from jit.dims import symbol
from jit.errors import TraceError
from jit.ir.graph import Graph, Node, Value
from jit.types import TensorType

TEXTS = "hand tensors to print and to loggers, or f-strings of them right away"
NOTHING_VARIES: Mapping[int, Sequence[int | str]] = {}


class Trace(Postponing):
    """One recording.

    Args:
        name: Of the graph.
        closed: Tensors from outside become constants, so that the graph has no further inputs.
        known: Which state differs from call to call.

    Attributes:
        graph: What was recorded so far.
        cells: Where the arrays of the graph's inputs beyond the arguments are read at a call.
        answers: What the guards expect, in program order.
        stopped: The line of a breakpoint that Python came to.
        refusals: Why no graph can do what the call did.
        unrecorded: Nodes that ran inside `no_grad`, through which no gradient may flow.
        custom_rules: Functions with a gradient of their own, which the graph does not show.
        variables: What it reads of Variables, and what it leaves in them.
        settings: What the recording relies on in Modules, optimisers and Variables.
        check: What asks whether Python state is as it was, once the call is over.
        equals: The arguments that may come as other objects.
        scalars: The Python numbers and extents that may be others in later calls.
        fixed: Why extents that vary are fixed after all; None if they are not.
        ledger: What the call does besides computing.
        crossings: Notes where ways may join; None where they shall not.
        extents: By name of an extent that varies the argument and the axis where it is found.
        existed: Tells whether something was there before the call.
        varies: Whether extents do.
        nested: Serves calls of decorated functions; None where Python runs them.
        passed: What it is given, for a call that may change it.
        noted: What ops are given, by its value in the graph, where somebody wants to know.
    """

    runs = False  # other calls will run without Python

    def __init__(self, name: str, known: Volatile | None = None, *, closed: bool = False) -> None:
        super().__init__()
        self.graph = Graph(name)
        self._closed = closed
        self.cells: list[Cell] = []
        self.answers: list[bool | int] = []
        self.stopped: str | None = None
        self.refusals: list[Refusal] = []
        self.start = next(clock)
        self.unrecorded: set[Node] = set()
        self.custom_rules: list[str] = []
        self.settings, self.equals = Settings(), Equals((), {})
        self.check: Check | None = None
        self.scalars = Scalars(user_line, self.formats)
        self.states = States(known or Volatile(), self)
        reach = Reach(
            self.refuse, self.settings, self.states.plant, self.entered, self.can_be_undone
        )
        self.ledger = Ledger()
        self.fixed: str | None = None
        self.crossings: Crossings | None = None
        self.extents: dict[str, tuple[Tensor, int]] = {}
        self._reach, self.existed, self.reached = reach, reach.existed, reach.containers
        self.kept, self.fixed_tensors, self.mixes = reach.kept, reach.fixed, reach.mixes
        self.foresee, self.writable, self.anew = reach.foresee, reach.writable, reach.made_anew
        self.growth, self.drawn = reach.effects.growth, reach.drawn
        self.varies, self.compiling = False, DEFAULT
        self.nested: Any = None
        self.passed: Passed | None = None
        self.noted: list[tuple[Value, Tensor]] | None = None
        self._records: list[Any] = []
        self.variables = told = Variables(self)  # what they tell this thread goes straight there
        self.read, self.wrote, self.created = told.read, told.wrote, told.created
        self.asked_trainable, self.touched_grad = told.asked_trainable, told.touched_grad
        self.changed = told.changed
        self._symbols: list[Symbol] = []
        self._captured: dict[int, tuple[Any, Value]] = {}
        self._arrays = Captured(lambda cell, x: self.symbol(self.input(x, None, cell)))
        self._constants: dict[tuple[Any, ...], Value] = {}
        self._numbers: dict[tuple[str, Any], Value] = {}

    # ----- ops -----

    def bind(self, op: Op, args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        """Runs `op` (or infers its types, when an argument is symbolic) and appends its node."""
        with context.aside():  # no code of the user's runs in here
            return self._bound(op, args, attrs)

    def _bound(self, op: Op, args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        dtype = dtype_of(args)
        inputs = [self.value_of(x, dtype) for x in args]
        if self.noted is not None:
            self._note(args, inputs, dtype)
        attrs, elsewhere = {name: settled(attr) for name, attr in attrs.items()}, None
        open_ = not self.varies and bool(attrs) and any(map(has_dim, attrs.values()))
        if open_ or any(isinstance(x, Tensor) and x.is_symbolic for x in args):
            types = op.infer_all(argument_types(args), attrs)
            outputs = [Tensor(None, Symbol(type_, self)) for type_ in types]
        else:
            types = varying_types(self, op, args, attrs) if self.varies else None
            if types is None:
                attrs = {name: at_hint(attr) for name, attr in attrs.items()}
            late = None if self.varies else self.postponed(op, args, attrs)
            outputs = late or self._evaluate(op, args, attrs)
            elsewhere = self.saw(op, attrs, outputs)
            found = tuple([y.type for y in outputs])
            types = found if types is None else agreed(self, op, types, found)
        made = self.append(op, inputs, attrs, types)
        if elsewhere is not None and not any(isinstance(x, Tensor) for x in args):
            made = tuple([self._sent(value, elsewhere) for value in made])
        for y, value in zip(outputs, made, strict=True):
            y.symbol = self.symbol(value)
        hang(op, args, attrs, outputs)
        if checks_ops() and outputs[0].raw is not None:
            context.checker.check(op, args, tuple(outputs))
        if self.scalars.used:
            self._records += [y.record for y in outputs if y.record is not None]
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def _sent(self, value: Value, place: str) -> Value:
        """A value that was made of no tensors, on the device where it was made."""
        attrs = {"device": place, "source": next(iter(self.devices))}
        return self.append(registry["to_device"], [value], attrs, (value.type,))[0]

    def _note(self, args: tuple[Any, ...], inputs: list[Value], dtype: Any) -> None:
        """Keeps tensors, and numbers as tensors, with their values."""
        assert self.noted is not None
        for x, v in zip(args, inputs, strict=True):
            if isinstance(x, Tensor):
                self.noted.append((v, x))
            elif type(x) in KINDS:
                self.noted.append((v, self.number(x, context.run(np.array, x.number_value, dtype))))

    def _evaluate(self, op: Op, args: tuple[Any, ...], attrs: dict[str, Any]) -> list[Tensor]:
        """Runs an op. If it raises because of values and Python goes on, that is no path."""
        arrays = [x.raw if isinstance(x, Tensor) else value_of(x) for x in args]
        now = {name: at_hint(attr) for name, attr in attrs.items()} if self.varies else attrs
        try:
            return values(op, arrays, now)
        except Exception as error:
            op.infer(*array_types(arrays), **now)  # what it raises depends on types alone
            self.refuse(
                f"{op.name} raised {type(error).__name__} at {user_line()}, which was caught",
                "decide by a comparison instead",
            )
            raise

    def fix_extents(self, why: str) -> None:
        """Extents do not vary any more: what is recorded is good for this call only."""
        self.fixed, self.varies = self.fixed or why, False
        for known in self._symbols:
            known.varies = False

    def seen(self, shape: tuple[Any, ...], now: tuple[int, ...]) -> tuple[Any, ...]:
        """A shape as Python sees it: numbers, which may be others in later calls."""
        return tuple(map(self.scalars.of_dim, shape, now))

    def append(
        self, op: Any, inputs: list[Value], attrs: dict[str, Any], types: tuple[TensorType, ...]
    ) -> tuple[Value, ...]:
        """Appends a node at the user's line; remembers whether gradients may pass."""
        values = self.graph.add(op, inputs, attrs, types, user_line())
        if not context.recording:
            self.unrecorded.add(self.graph.nodes[-1])
        return values

    def symbol(self, value: Value) -> Symbol:
        """What a tensor carries that stands for `value`."""
        known = Symbol(value.type, self, value, varies=self.varies and has_dim(value.type.shape))
        self._symbols.append(known)
        return known

    def owns(self, tensor: Tensor) -> bool:
        """Whether the tensor was computed in this recording."""
        return tensor.symbol is not None and tensor.symbol.owner is self

    def computed(self, tensor: Tensor) -> Any:
        """The Value of a tensor that was computed here; the Variable or array that it was read of.

        Raises:
            Opaque: It was a Python number.
        """
        if not self.owns(tensor):
            return None
        value = tensor.symbol.value
        k = value.index - len(self.graph.inputs) + len(self.cells)
        if value.node is not None or k < 0 or isinstance(self.cells[k], StateCell):
            return value
        return read_of(self.cells[k])

    def value_of(self, x: Any, dtype: Any = None) -> Value:
        """The Value of an op's argument: recorded before, captured now, or a constant."""
        if type(x) in KINDS and x.number_owner is self.scalars:
            return self._number(x, context.run(np.array, x.number_value, dtype))
        if not isinstance(x, Tensor):
            return self._constant(plain(x), dtype)
        if self.owns(x):
            return x.symbol.value
        if x.raw is None:
            raise TraceError(
                "a symbolic tensor of another graph was used in this one",
                "tensors of this graph, or concrete ones",
                "pass it as an argument",
            )
        known = self._captured.get(id(x))
        if known is None:
            if self._closed:
                value = self.graph.constant(to_device(x.raw, "cpu"))
            else:
                value = self.input(x, None, TensorCell(x))
            known = self._captured[id(x)] = (x, value)
        return known[1]

    def _constant(self, x: Any, dtype: Any) -> Value:
        key = (type(x), repr(x), dtype)
        value = self._constants.get(key)
        if value is None:
            array = context.run(np.asarray, x, dtype)
            value = self._constants[key] = self.graph.constant(array, user_line())
        return value

    def _number(self, x: Number, array: Any) -> Value:
        """The graph's input for a number that has become an array."""
        key, tensor = (x.number_name, array.dtype), Tensor(array)
        if key not in self._numbers:
            cell = NumberCell(self.scalars.input(x, array.dtype), tensor)
            self._numbers[key] = self.input(tensor, None, cell)
        return self._numbers[key]

    def number(self, x: Number, array: Any) -> Tensor:
        """A number as a tensor; `array` is what it is now, in the dtype wanted."""
        if x.number_owner is not self.scalars:
            return Tensor(np.array(x.number_fixed(), array.dtype))
        return Tensor(array, self.symbol(self._number(x, array)))

    def input(self, tensor: Tensor, name: str | None, cell: Cell) -> Value:
        """An input of the graph, which each call reads from a cell; it is `tensor` in this one."""
        self.cells.append(cell)
        value = self.graph.input(tensor.type, name)
        if isinstance(cell, NumberCell | ArrayCell):
            self.free.add(value)
        else:
            self.lies(tensor)
        self.given[value] = tensor
        return value

    # ----- state -----

    def publish(self, tensor: Tensor) -> None:
        """A tensor without data will be assigned: symbolic traces put everything back."""

    def news(self) -> str | None:
        """What makes the next call another than this one, such as state created; or None."""
        if survivors := self.variables.survivors():
            return f"creates {survivors[0].label()}"
        news = self.states.news(self.settings, self.check, self._reach)
        if self._reach.locks and (self.states.writes or self.variables.written):
            what = f"it changes state while it has a lock, {self._reach.locks[0]}"
            self.refuse(what, "take the lock around the call", "effect")
        if self.crossings is not None:
            self.crossings.check_grown(self._reach)
        switched = self.variables.switched
        return news or (f"switches {switched[0].label()}" if switched else None)

    def can_be_undone(self) -> bool:
        """Whether `restore` puts back all that the call has done, so that it may be run again."""
        lasting = self.refusals or self.variables.switched or self.drawn()
        return not lasting and self._reach.moved.can_be_undone()

    def relies_on(self, owner: Any, attribute: str) -> None:
        """What is recorded holds while `owner.attribute` equals what it is now."""
        self.settings.rely_on(owner, attribute)

    def saw_module(self, module: Any) -> None:
        """A Module was called; its attributes decide what it does."""
        self.settings.saw_module(module)

    def capture_array(self, array: Any) -> Tensor:
        """A NumPy array (or nested lists with arrays in them) is an input, read anew at each call.

        Args:
            array: What an op was given.
        """
        self._reach.given.note(array)
        return self._arrays.capture(array)

    def check_state(self) -> None:
        """Refuses at the end what a graph, which reads once and writes once, cannot do."""
        if (variable := self.variables.foreign_grad()) is not None:
            self.refuse(f"the .grad of {variable.label()} is made another Variable", "copy it")
        for x, line in self.ledger.texts.lost():
            if type(x) in KINDS:
                x.number_fixed()
            else:
                self.refuse(f"a value leaves for Python through an f-string at {line}", TEXTS)
        if not self._arrays.same():
            self.refuse("a NumPy array changes while the call uses it", "use a Variable for it")

    # ----- what Python asks, and its state -----

    def ask(self, tensor: Tensor, answer: bool | int) -> None:  # noqa: FBT001
        """Python decides by a value: the path holds as long as the answer is the same."""
        if not self.owns(tensor):
            return
        self.settle()  # what looks at the state finds values
        value = tensor.symbol.value
        if value.type.shape:
            scalar = (TensorType((), value.type.dtype),)
            value = self.append(registry["reshape"], [value], {"shape": ()}, scalar)[0]
        if self.crossings is not None:
            with context.aside():  # what looks at the state is no code of the user's
                self.crossings.note(self, value, answer, len(self.graph.nodes))
        self.graph.guard(value, answer, user_line())
        self.answers.append(answer)

    def escape(self, tensor: Tensor, how: str) -> None:
        """A value leaves for Python as a plain object, which no graph can replay."""
        if self.owns(tensor):
            self.refuse(
                f"a value leaves for Python through {how} at {user_line()}",
                "keep it a tensor inside the function, and convert the result",
            )

    def formats(self, x: Any, spec: str, text: str) -> bool:
        """A tensor or number is made text; whether that is printed only, as far as can be told."""
        return self.runs_here(x) and self.ledger.texts.note(user_frame(), x, spec, text)

    def runs_here(self, x: Any) -> bool:
        """Whether a tensor or a number belongs to this recording."""
        return x.number_owner is self.scalars if type(x) in KINDS else self.owns(x)

    def refuse(self, reason: str, remedy: str, kind: str = "escape") -> None:
        """The call did what no graph can replay; it goes on, and segments take over."""
        self.refusals.append(Refusal(reason, remedy, kind))

    def used_tape(self, tape: Any, how: str = "", given: Sequence[Any] = ()) -> None:
        """A tape is used: one from outside sees nothing of a replay.

        Args:
            tape: The tape.
            how: What changes in it: "start", "stop", "watch" and others; empty if nothing does.
            given: What it is given to watch.
        """
        if how and self.crossings is not None:
            with context.aside():
                self.crossings.note_tape(self, tape, how, given)
        if tape.born < self.start:
            self.refuse(
                f"a tape from outside is used inside, at {user_line()}",
                "make the tape inside, or use it outside only",
            )

    def swept(self, record: Any) -> None:
        """A gradient goes back through a record: one from before the call is not in the graph."""
        if record.tick < self.start:
            self.refuse(
                f"a gradient goes back through work done before the call, at {user_line()}",
                "compute what you differentiate inside the function",
            )

    def sweeps(
        self, sweep: Any, cotangents: Sequence[Tensor], sources: Sequence[Any] | None, tape: Any
    ) -> Any:
        """Gradients are asked for; what is to be told them, or None."""
        if self.crossings is None:
            return None
        with context.aside():
            return self.crossings.note_sweep(self, sweep, cotangents, sources, tape)

    def watch(self, python: Any, arguments: dict[str, Any]) -> Watch:
        """Notes in a `with` block what a call can read; `arguments` are its leaves by name."""
        return self._reach.watch(python, arguments)

    def changes(self, read: Collection[int]) -> list[tuple[Any, Any]]:
        """What of Python's state is not as it was before the call: where, and what is there now.

        Args:
            read: Ids of lists that are not only appended to.

        Raises:
            Untold: Nobody can say.
        """
        return self._reach.moved.found(read)

    def watched(self, *passing: Any) -> None:
        """The call is over; `passing` are trees of arguments and results."""
        if self._reach.ended is not None:  # code has caught it
            raise self._reach.ended
        self.states.lift()
        self.settings.forget_temporaries()
        self.check = self._reach.finish(passing, self._arrays.arrays())
        self.equals = self._reach.equals()

    # ----- arguments, and the end -----

    def arguments(
        self,
        tensors: list[Tensor],
        varying: Mapping[int, Sequence[int | str]] = NOTHING_VARIES,
        names: Sequence[str] = (),
    ) -> list[Tensor]:
        """Arguments as inputs of the graph: aliases, so the caller's tensors stay as they are.

        Args:
            tensors: The arguments.
            varying: By argument the shapes in which extents vary, those under a name.
            names: What people call the arguments.
        """
        aliases: dict[int, Tensor] = {}
        self.varies = bool(varying)
        for k, x in enumerate(tensors):
            type_ = x.type
            for axis, name in enumerate(varying.get(k, ())):
                if isinstance(name, str):
                    extents = list(type_.shape)
                    extents[axis] = symbol(name, hint=x.raw.shape[axis])
                    type_ = type_.with_shape(extents)
                    self.scalars.extent(name, (k, axis), names[k])
            value = self.graph.input(type_, f"x{k}")
            self.lies(x)
            alias = aliases.setdefault(id(x), Tensor(x.raw, self.symbol(value), x.record))
            self.given[value] = alias
            self.stand_ins.add(alias, x, Given(k))
            for axis, name in enumerate(varying.get(k, ())):
                if isinstance(name, str):
                    self.extents.setdefault(name, (aliases[id(x)], axis))
        return [aliases[id(x)] for x in tensors]

    def placeholder(self, type_: TensorType, name: str | None) -> Tensor:
        """An argument of which only the type is known."""
        return Tensor(None, self.symbol(self.graph.input(type_, name)))

    def restore(self, *, python: bool = False) -> None:
        """Puts back what Variables, or all that was looked at in `python`, held before the call."""
        self.states.restore()
        if python:
            self._reach.undo()
        self.variables.restore()

    def release(self, *, restorable: bool = False) -> None:
        """Lets go of its tensors, which become plain ones; but for what Variables may get back."""
        self.states.lift()
        for known in self._symbols:
            node = known.value.node
            known.owner = None  # what it was stays, for the message of who uses it
            known.value = (self.graph.name, node and node.source)
            known.varies = False
        for record in self._records:
            make_plain(record)
        self.crossings = self.nested = self.passed = None  # which know frames, and tensors
        self.ledger.texts.clear()
        for kept in (self._records, self._captured, self._arrays, self.given, self.stand_ins):
            kept.clear()
        self.variables.release(restorable=restorable)
        self.states.close()
        self.leave(self.start)  # what is still held is the user's, or waits for gradients
