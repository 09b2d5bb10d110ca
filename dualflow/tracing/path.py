"""Path: one recorded way through a function, compiled, and the state it reads and writes.

A call runs the graph first and writes afterwards: Variables, gradients and random states change
only when every guard has passed. A path whose guard misses has therefore done nothing. What the
graph may update in place (`Gifts`) it writes after its last guard and check.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import field, replace
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

import jit
from dualflow.core import tree
from dualflow.core.context import context
from dualflow.core.op import new_tensor
from dualflow.core.record import Record
from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable
from dualflow.tracing.bulk import collect, held_by, tensors
from dualflow.tracing.cells import ArrayCell, NumberCell, VariableCell
from dualflow.tracing.gifts import Gifts, Pairs, given_away, pairs_of
from dualflow.tracing.guards.places import Key
from dualflow.tracing.leaves import (
    EARLY,
    Again,
    Computed,
    Constant,
    Given,
    Grad,
    Handed,
    Read,
    Standing,
)
from dualflow.tracing.parts import VALUES
from dualflow.tracing.passed import Own
from dualflow.tracing.recorded import Recorded
from dualflow.tracing.scalars import Prologue
from jit.dataclass import dataclass
from jit.dims import free_symbols, recording_guesses
from jit.errors import TraceError
from jit.runtime.hosts import anywhere

if TYPE_CHECKING:
    from dualflow.tracing.gradient import CallGradient

# Is given what a graph has computed, and what tells the outcome of the call, None in the middle of
# one; it may raise.
Accept: TypeAlias = Callable[[list[Any], "Callable[[], Outcome] | None"], None]
KEPT = 64  # shapes for which there is a quickest way
PLAIN = (*VALUES, Tensor, np.generic, type, Enum, range, slice, type(Ellipsis), Own, Standing)


def no_way(*arrays: Any) -> None:
    """Instead of a quickest way."""


class EntryMiss(Exception):  # noqa: N818 - tells the caller to try another path
    """The path is not for this call, as numbers or state around it are; nothing was done."""


class StateMiss(EntryMiss):
    """State outside of the arguments is not as it was when the path was recorded.

    Args:
        reason: Says what has changed.
        places: Says where values are others than recorded.
    """

    def __init__(
        self, reason: Callable[[], str], places: Callable[[], Iterable[Key]] = tuple
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.places = places


class ExtentsMiss(EntryMiss):
    """The path is not good for extents that vary after all; nothing was done."""


@dataclass
class Output:
    """An array that a graph has computed, and the user's line that it comes from."""

    array: Any
    line: str | None


@dataclass
class Outcome:
    """What a call gives.

    Attributes:
        result: With an `Output` in the place of each tensor.
        written: The Variables that it assigns.
        replaced: The Variables whose `.grad` is another one afterwards, or None.
        tracked: By leaf of the result a tensor through which gradients flow.
        standing: Nodes of the result that were there before, and are leaves here.
    """

    result: Any
    written: dict[Variable, Output]
    replaced: dict[Variable, Output | None]
    tracked: dict[int, Tensor] = field(default_factory=dict)
    standing: Sequence[Any] = ()


def compiled(recorded: Recorded, donate: Pairs) -> jit.Executable:
    """The recorded graph as code, which may write results over what is donated."""
    with recording_guesses(recorded.guesses):
        return recorded.compiling.compile(recorded.graph, recorded.target, donate)


class Path:
    """One recorded call, ready to run again.

    Args:
        recorded: The finished recording.

    Attributes:
        answers: What the guards expect.
        decided: What it relies on of numbers and extents that vary, in words.
        hits: How many calls it has served.
        executable: The compiled graph.
        build: Does the effects, and makes the result of its leaves.
        holders: What has the tensors that it reads beyond its arguments.
        variables: Those that it reads.
        checks_types: Whether a call refuses tensors of other types than the recorded ones.
        ops: How many were recorded.
        check: What asks whether state outside of the arguments is as it was.
        effects: What a call does besides computing, in words.
        gives_numbers: Whether it returns Python numbers that it has computed.
    """

    def __init__(self, recorded: Recorded) -> None:
        self.answers = recorded.answers
        self.decided = recorded.decided
        self.hits = 0
        self.check = recorded.check
        self._missed = self.check.missed
        self._equals = recorded.equals
        self.build, self._bare = recorded.build, recorded.bare or recorded.build
        self.effects = recorded.effects
        self._leaves = recorded.leaves
        self.gives_numbers = any(isinstance(x, Computed) for x in self._leaves)
        self._written = recorded.written
        self._replaced = recorded.replaced
        self._dropped = [cell for cell, k in self._replaced if k is None]
        self._collected = [(cell, k) for cell, k in self._replaced if k is not None]
        self._tracked, self._spent = recorded.tracked, recorded.spent
        self.ops = len(recorded.graph.nodes)
        self.cells = recorded.cells
        self.holders = [cell.holder for cell in self.cells]
        self.variables = [c.variable for c in self.cells if isinstance(c, VariableCell)]
        arguments = len(recorded.graph.inputs) - len(self.cells)
        self._numbers = [
            (k, cell.index)
            for k, cell in enumerate(self.cells, arguments)
            if isinstance(cell, NumberCell)
        ]
        given = given_away(self.cells, arguments, self._written)
        self.executable = compiled(recorded, pairs_of(given))
        # Not before: native code for it is made while something is planned for the first time.
        self._gifts = Gifts(given, arguments, self._written, self._collected)
        self._held = held_by(self.holders, self._gifts.numbers)
        self._prologue = recorded.finish()
        self._states, self._settings, self._cuts = recorded.states, recorded.settings, recorded.cuts
        self._run = self.executable.run
        self._varies = any(free_symbols(x.type.shape) for x in recorded.graph.inputs)
        self._direct: dict[Any, Callable[..., Any] | None] = {}  # by shapes, where these vary
        self._divided = isinstance(recorded.target, tuple)
        self._anywhere = [
            k for k, cell in enumerate(self.cells, arguments) if isinstance(cell, ArrayCell)
        ]
        self._gradient = self._call_gradient(recorded) if self._tracked else None
        self.checks_types = self.executable.mode == "compiled" and self._gradient is None
        self._early = [x for x in self._leaves if isinstance(x, EARLY)]
        self._opened, self._boxed = self._in_bulk()

    def _in_bulk(self) -> tuple[Callable[..., Any] | None, Callable[..., Any] | None]:
        """What opens all arguments, and what puts all results into tensors, in native code."""
        if not self.checks_types:
            return None, None
        computed = all(x.__class__ is int for x in self._leaves)
        return tensors().opened, tensors().boxed if computed else None

    def _call_gradient(self, found: Recorded) -> CallGradient:
        from dualflow.tracing.gradient import CallGradient  # loaded where gradients may flow

        slots = [self._leaves[k] for k in self._tracked]
        tracked = [slot for slot in slots if isinstance(slot, int)]
        given = found.graph, tracked, found.unrecorded, self._run
        return CallGradient(*given, found.target, compiling=found.compiling)

    @property
    def parts(self) -> list[Path]:
        """Itself, which was compiled as a whole."""
        return [self]

    @property
    def is_plain(self) -> bool:
        """Whether its calls only make tensors of tensors, of which none is of another type."""
        more = self._written, self._replaced, self._spent, self.effects, self._prologue
        alike = self._boxed and self._leaves and not (self._divided or self._varies)
        return bool(alike) and not any(more)

    @property
    def donated(self) -> Sequence[tuple[int, int]]:
        """Pairs (input, output): state that is read there and assigned from there."""
        return self._gifts.pairs

    def texts(self) -> list[str]:
        """The guards on values, in words."""
        return self.check.texts()

    def foresee(self, needed: tuple[bool, ...]) -> None:
        """Compiles gradients for a choice of inputs, before a call wants them.

        Args:
            needed: For each input of the graph, whether it is watched.
        """
        if self._gradient is not None and any(needed):
            with suppress(TraceError):  # a call tells
                self._gradient.foresee(needed)

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
        whole: Sequence[Tensor] | None = None,
    ) -> Any:
        """Runs the path.

        Args:
            arguments: The call's tensor arguments, or what a stretch is given.
            given: Those of its Python numbers that vary.
            accept: Looks at what was computed before anything is written; it may raise.
            whole: The call's tensor arguments, if this is a stretch of it.

        Raises:
            EntryMiss: State differs from what was recorded; nothing was done.
            GuardMiss: Python would have decided otherwise; nothing was done.
        """
        if (missed := self._missed()) >= 0:
            raise StateMiss(partial(self.check.reason, missed), self._changed)
        numbers, computed = (), ()
        known = self._early and self._known(arguments, whole)
        if self._prologue is not None:
            numbers, computed = self._computed_numbers(self._prologue, arguments, given)
        if self._gradient is not None:
            inputs = [*arguments, *[holder.tensor for holder in self.holders]]
            if self._gradient.wanted(inputs):
                if self._prologue is not None:
                    self._check_extents(self._gradient, inputs)
                for place, index in self._numbers:
                    inputs[place] = Tensor(self._number(numbers[index]))
                for place in self._anywhere:
                    inputs[place] = Tensor(self._number(inputs[place].raw))
                return self._watched(self._gradient, inputs, computed, known, accept)
            del inputs
        opened = self._opened and self._opened(*arguments)
        arrays = opened or [x.raw for x in arguments]
        held = self._held()
        unshared = held is not None
        arrays += held if unshared else [holder.tensor.raw for holder in self.holders]
        del held  # another reference would tell that somebody has what is there
        if numbers:
            for place, index in self._numbers:
                arrays[place] = self._number(numbers[index])
        if self._divided:
            for place in self._anywhere:
                arrays[place] = self._number(arrays[place])
        made = self._run(arrays) if accept else self._computed(arrays, unshared=unshared)
        if accept is not None:
            accept(made, partial(self._outcome, made, computed, known))
        results = self._finish(made, computed, known, unshared=unshared)
        if self._spent:
            self._spend(results)
        return self.build(results)

    def _known(self, arguments: Sequence[Tensor], whole: Sequence[Tensor] | None) -> dict[Any, Any]:
        """What is returned as it was before the call, or before this stretch of it."""
        given = arguments if whole is None else whole
        return {
            x: x.read()
            if isinstance(x, Read)
            else (given if isinstance(x, Given) else arguments)[x.number]
            for x in self._early
        }

    def _spend(self, results: list[Any]) -> None:
        """Gives results whose records the call has released what says so to a sweep."""
        for k, released, rooted in self._spent:
            results[k].record = record = Record(released.op, (), {}, rooted=rooted)
            record.inputs = None

    def inputs(self, arguments: Sequence[Tensor], given: Sequence[Any] = ()) -> list[Any]:
        """What a call gives to the graph: an array for each of its inputs."""
        arrays = [x.raw for x in (*arguments, *[holder.tensor for holder in self.holders])]
        if self._prologue is not None:
            numbers, _ = self._computed_numbers(self._prologue, arguments, given)
            for place, index in self._numbers:
                arrays[place] = self._number(numbers[index])
        for place in self._anywhere:
            arrays[place] = self._number(arrays[place])
        return arrays

    def _number(self, array: Any) -> Any:
        """A number for the graph: of several devices any one takes it."""
        return anywhere(array) if self._divided else array

    def foreseen(self) -> Outcome:
        """What a call returns and assigns, with the number of an output for each array.

        That is -1 - k for argument k. It must not give numbers of Python's own.
        """
        known = {
            x: x.read() if isinstance(x, Read) else Output(-1 - x.number, None) for x in self._early
        }
        return self._outcome(list(range(len(self.executable.graph.outputs))), (), known)

    def _outcome(self, made: list[Any], computed: Sequence[Any], known: Any) -> Outcome:
        """What a call that has computed this is about to return and to assign."""
        nodes = [value.node for value in self.executable.graph.outputs]
        outputs = [Output(x, node and node.source) for x, node in zip(made, nodes)]
        written = {cell.variable: outputs[k] for cell, k in self._written}
        replaced = {cell.owner: None if k is None else outputs[k] for cell, k in self._replaced}
        leaves: list[Any] = []
        tracked: dict[int, Tensor] = {}
        for x in self._leaves:
            if isinstance(x, int):
                leaves.append(outputs[x])
            elif isinstance(x, Handed):
                leaves.append(Output(known[x].raw, None))
                if known[x].record is not None:
                    tracked[len(leaves) - 1] = known[x]
            elif isinstance(x, Constant) and x.made:
                leaves.append(Output(x.value.raw, None))
            elif isinstance(x, Grad):
                grad = x.owner._grad
                leaves.append(replaced[x.owner] if x.owner in replaced else written.get(grad, grad))  # type: ignore[arg-type]
            else:
                leaves.append(self._found(x, leaves, computed, known))
        constants = [x.value for x in self._leaves if isinstance(x, Constant)]
        nodes = [x for x in constants if not tree.is_leaf(x)]
        return Outcome(self._bare(leaves), written, replaced, tracked, nodes)

    @staticmethod
    def _check_extents(gradient: CallGradient, inputs: list[Tensor]) -> None:
        """Gradients may ask more of extents than the call itself."""
        try:
            fits = gradient.expected(inputs).fits(inputs)
        except TraceError as error:
            raise ExtentsMiss(str(error)) from None
        if not fits:
            raise EntryMiss

    def _changed(self) -> set[Key]:
        """Where Python keeps values that are others than recorded."""
        return {*self.check.places(), *self._settings.places()}

    def _computed_numbers(
        self, prologue: Prologue, arguments: Sequence[Tensor], numbers: Any
    ) -> Any:
        """What the prologue gives: arrays for the graph, and numbers of the result."""
        try:
            found = prologue(numbers, arguments)
        except Exception:  # as Python would raise: it does when the call is recorded again
            found = None
        if found is None and self._states:
            raise StateMiss(f"what Python decides by {', '.join(self._states)}".format)
        if found is None:
            raise EntryMiss
        return found

    def _computed(self, arrays: list[Any], *, unshared: bool) -> list[Any]:
        """The graph's outputs, in the quickest way that these calls allow."""
        if self._gifts.pairs:
            return self._gifts.used(self._run, arrays, unshared=unshared)
        shapes = tuple([array.shape for array in arrays]) if self._varies else None
        direct = self._direct.get(shapes) or self._quickest(shapes, arrays)
        made = direct(*arrays)
        return self._run(arrays) if made is None else made

    def _quickest(self, shapes: Any, arrays: list[Any]) -> Callable[..., Any]:
        """The quickest way for arrays of such shapes, from the second time that they come."""
        if shapes not in self._direct and self._varies:
            if len(self._direct) >= KEPT:
                self._direct.clear()
            self._direct[shapes] = None
            return no_way
        direct = self._direct[shapes] = self.executable.direct(arrays) or no_way
        return direct

    def _watched(
        self,
        gradient: CallGradient,
        inputs: list[Tensor],
        computed: Any,
        known: Any,
        accept: Accept | None,
    ) -> Any:
        """Runs the path for a call through which gradients flow."""
        made, attrs = gradient.forward(inputs)
        if accept is not None:

            def outcome() -> Outcome:
                found = self._outcome(made, computed, known)
                return replace(found, tracked=found.tracked | hung())

            def hung() -> dict[int, Tensor]:
                tensors = {k: Tensor(made[self._leaves[k]]) for k in self._tracked}  # type: ignore[index]
                gradient.hang(inputs, attrs, list(tensors.values()))
                return tensors

            accept(made, outcome)
        results = self._finish(made, computed, known)
        gradient.hang(inputs, attrs, [results[k] for k in self._tracked])
        if self._spent:
            self._spend(results)
        return self.build(results)

    def _finish(
        self, made: list[Any], computed: Sequence[Any], known: Any, *, unshared: bool = False
    ) -> list[Any]:
        """Writes the state of a run that is over; the leaves of the result."""
        for tape in context.tapes:
            tape.saw_call(self.variables, self._cuts)
        written = self._written
        if written and unshared and self._gifts.put(made):
            written = self._gifts.rest
        for cell, index in written:
            array, tensor = made[index], cell.holder.tensor
            if tensor.raw is not array or tensor.symbol is not None:  # else it was updated in place
                cell.write(array)
        for cell in self._dropped:
            cell.replace(None)
        if self._collected and not (unshared and self._gifts.refill(made)):
            collect(self._collected, made)
        self.hits += 1
        if self._boxed:
            return self._boxed(*[made[x] for x in self._leaves])  # type: ignore[index]
        results: list[Any] = []
        for x in self._leaves:
            if x.__class__ is int:  # a Tensor; calling the class would take longer
                tensor = new_tensor(Tensor)
                tensor.raw = made[x]  # type: ignore[index]
                tensor.record = tensor.symbol = None
                results.append(tensor)
            else:
                results.append(self._found(x, results, computed, known))
        return results

    @staticmethod
    def _found(x: Any, results: list[Any], computed: Sequence[Any], known: Any) -> Any:
        """A leaf that the graph does not compute; all before it are among the results."""
        if isinstance(x, Constant):
            return x.found()
        if isinstance(x, Computed):
            return computed[x.index]
        if isinstance(x, Again):
            return results[x.index]
        return x.owner._grad if isinstance(x, Grad) else known[x]


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
