"""Repeats: where the values of a loop's body lie when it runs, and its launches as one step.

What is the same in each run lies where it lies anyway. Other inputs and outputs have slots that
move: after each run, an output that is stacked moves to its next row; one that is handed on changes
places with a second buffer, so that a run can read what the run before has written. Where nobody
knows which run is the last one, the last carries are copied to where results lie; so are rows that
would begin in the middle of what a machine's threads write at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from jit.dims import Extent, symbol
from jit.forms import nodes
from jit.ir.loop import COUNTER
from jit.loops.stacking import into_row
from jit.runtime.program import MOVING, Copy, Launch, Move, Program, Repeat, Slot
from jit.types import TensorType, int64, product

MANY = 8  # runs from which on something is done before them that saves as much in each


class Places:
    """Slots of the body of a loop.

    Args:
        form: The loop.
        slots: All slots; those of the body are appended.
        given: The slots of the loop's inputs.
        results: The slots of its outputs.
        alignment: Bytes that all rows begin at multiples of.

    Attributes:
        inputs: The slots of the body's inputs.
        outputs: The slots of its outputs.
        lasting: The values of the body that are the same in each run, if there are many.
    """

    def __init__(
        self,
        form: nodes.Loop,
        slots: list[Slot],
        given: Sequence[int],
        results: Sequence[int],
        alignment: int = 1,
    ) -> None:
        self.slots, self._form, self._alignment = slots, form, alignment
        self._copies: list[Launch] = []
        self._before: list[Move] = []
        self._between: list[Move] = []
        self._after: list[Copy] = []
        self._counter = self._new(TensorType((), int64), MOVING)
        self._before.append(Move(self._counter, None))
        self._handed = [
            self._new(x.type, MOVING) for x, _ in zip(form.program.inputs, form.carried)
        ]
        for slot, start in zip(self._handed, given):
            self._before.append(Move(slot, start))
        self.inputs = [*self._handed, *given[len(form.carried) :]]
        often = not isinstance(form.count, int) or form.count >= MANY
        self.lasting = form.program.inputs[len(form.carried) :] if often else ()
        self._shown = {*given[: len(form.carried)]}
        self._written: set[int] = set()
        self.outputs = [self._output(k, result) for k, result in enumerate(results)]
        self._between.append(Move(self._counter, self._counter, 1))

    def repeated(self, body: Program) -> tuple[list[Launch], Repeat]:
        """The launches that compute the same in each run, and all others as one step."""
        changing = {*self._handed, *self.outputs}
        same, steps = list[Launch](), list[Launch]()
        for step in body.steps:
            assert isinstance(step, Launch)
            counts = any(str(size) == COUNTER for size in step.sizes)
            if counts or not changing.isdisjoint((*body.reads(step), *body.writes(step))):
                changing.update(body.writes(step))
                steps.append(step)
            else:
                same.append(step)
        return same, self._step(steps + self._copies, body)

    def _step(self, steps: list[Launch], body: Program) -> Repeat:
        writes = self._written.union(*map(body.writes, steps))
        reads = self._shown.union(*map(body.reads, steps)) - writes
        label = "_".join(dict.fromkeys([step.label for step in steps])) or "nothing"
        going = self._form.going
        made = Repeat(
            self._form.count,
            steps,
            self._counter,
            self._before,
            self._between,
            self._still(reads),
            self._still(writes),
            next((step.source for step in steps if step.source), None),
            going=None if going is None else self._handed[going],
            after=self._after,
        )
        made.label = f"{label}_{made.often.replace(' ', '_')}"
        return made

    def _still(self, slots: set[int]) -> tuple[int, ...]:
        return tuple(sorted([slot for slot in slots if self.slots[slot].role != MOVING]))

    def _output(self, k: int, result: int) -> int:
        """The slot of an output of the body, which is a part of `result` or in turns all of it."""
        type_ = self._form.program.outputs[k].type
        readers = [x for x, source in zip(self._handed, self._form.carried) if source == k]
        if not (readers or self._form.stacked[k]):
            return result
        row = product(type_.shape) * type_.dtype.itemsize
        copied = self._form.stacked[k] and not self._is_aligned(row)
        if copied and not readers:
            return self._copied(self._new(type_), result)
        slot = self._new(type_, MOVING)
        self._written.add(result)
        self._between += [Move(reader, slot) for reader in readers]
        if copied:
            self._take_turns(slot, readers[0], self._new(type_), self._new(type_))
            return self._copied(slot, result)
        if self._form.stacked[k]:
            self._before.append(Move(slot, result))
            self._between.append(Move(slot, slot, row))
        else:
            self._take_turns(slot, readers[0], result, self._new(type_))
        return slot

    def _is_aligned(self, row: Extent) -> bool:
        return self._alignment == 1 or (isinstance(row, int) and row % self._alignment == 0)

    def _copied(self, slot: int, result: int) -> int:
        """The slot, whose value is put into its row of a result at the end of each run."""
        type_ = self.slots[slot].type
        kernel = into_row(type_.dtype, product(type_.shape), symbol(COUNTER))
        sizes = tuple([symbol(size.hint) for size in kernel.sizes])
        self._copies.append(Launch(kernel, (slot, result), sizes, label="stack"))
        return slot

    def _take_turns(self, slot: int, reader: int, result: int, spare: int) -> None:
        """Lets `slot` be `result` in the last run, `spare` in the one before, and so on."""
        self._written.add(spare)
        other = self._new(self.slots[spare].type, MOVING)
        count = None if self._form.going is not None else self._form.count
        if not isinstance(count, int):  # nobody knows now which run is the last one
            self._after.append(Copy(result, reader))
        odd = not isinstance(count, int) or count % 2
        first, second = (result, spare) if odd else (spare, result)
        self._before += [Move(slot, first), Move(other, second)]
        self._between += [Move(slot, other), Move(other, reader)]

    def _new(self, type_: TensorType, role: str = "temporary") -> int:
        self.slots.append(Slot(type_, role))
        return len(self.slots) - 1
