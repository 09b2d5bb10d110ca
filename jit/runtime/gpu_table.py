"""The launch table of a GPU: for some sizes, which kernel with which parameters, in order.

A parameter is a word: a place in one of a few *bases* (the arena of temporaries, an input, an
output, a constant), or a number. Bases are all that changes from call to call, so the words of a
call are `bases[index] + offset`, at once for all launches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from jit.dataclass import dataclass
from jit.dims import evaluate
from jit.forms.convolutions import pays as pays_to_convolve
from jit.forms.matrices import pays
from jit.ir.loop import COUNTER
from jit.loops.ir import Kernel
from jit.runtime.alone import Alone
from jit.runtime.cublas import ALIGNED, Product
from jit.runtime.cublas_choice import Choice
from jit.runtime.cudnn import Convolving
from jit.runtime.gpu_code import GpuCode
from jit.runtime.library_call import LibraryCall
from jit.runtime.memory import layout, timeline, unfolded
from jit.runtime.program import (
    USED,
    Convolved,
    Epilogue,
    GuardStep,
    HostStep,
    Launch,
    Matrices,
    Move,
    Program,
    Repeat,
    Slot,
    Step,
)
from jit.runtime.tables import byte_size, ends_early, shape_of
from jit.types import dtypes

Words: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"
Place: TypeAlias = "tuple[int, int]"  # number of a base, bytes from its start

NOTHING, ARENA = 0, 1  # bases: of plain numbers, and of what lies in the arena
ALIGNMENT = 256  # of places in the arena
LEDGER = 16  # bytes of the status word, and of each scalar that a guard asks


@dataclass(frozen=True)
class Row:
    """A launch.

    Attributes:
        code: Which kernel, or the library's algorithm.
        blocks: How many blocks.
        start: Its first word.
        launch: What it is of.
    """

    code: GpuCode | LibraryCall
    blocks: tuple[int, int, int]
    start: int
    launch: Launch


@dataclass(frozen=True)
class Ask:
    """Python asks whether all checks have held, and what guards have seen."""


@dataclass(frozen=True)
class Stretch:
    """Launches without Python in between.

    Attributes:
        rows: Which launches.
        then: What Python does afterwards; None at the end.
    """

    rows: range
    then: HostStep | Ask | None


class Table:
    """A program for some sizes.

    Args:
        program: What runs.
        sizes: The value of each symbol.
        codes: The code of each kernel.
        library: How a library computes a product; None where it does not.
        convolve: Likewise a convolution, given the launches that do it otherwise.

    Attributes:
        program: What runs: launches that the library does not compute at once are apart.
        whole: The same before.
        rows: All launches; those of repeated steps again and again.
        stretches: The same with what Python does in between.
        arena: How many bytes the arena has.
        base_of: The number of the base of each slot that has one of its own.
        guards: Steps that are asked all at once, in order.
        ledger: Where the status word lies in the arena, and behind it the scalars of guards.
        ledger_bytes: How many bytes they are.
        workspace: Where the library's workspace lies in the arena, at its end.
        offsets: The places of slots in the arena.
        times: When slots are in use.
    """

    def __init__(
        self,
        program: Program,
        sizes: Mapping[str, int],
        codes: Mapping[Kernel, GpuCode],
        library: Callable[[Product], Choice | None] = lambda product: None,
        convolve: Callable[[Convolving, Alone], LibraryCall | None] = lambda job, alone: None,
    ) -> None:
        self.sizes, self._codes, self._library, self._convolve = sizes, codes, library, convolve
        self.whole = program
        self.program = program = self._with_library(program)
        self.guards = [step for step in program.steps if isinstance(step, GuardStep)]
        self._lay_out()
        self.rows: list[Row] = []
        self._index: list[int] = []
        self._offset: list[int] = []
        self._moved: dict[int, Place] = {}
        self.stretches: list[Stretch] = []
        self._write()

    def _with_library(self, program: Program) -> Program:
        """The program with those launches apart that the library does not compute at once."""
        steps = [each for step in program.steps for each in self._taken(step)]
        return program if steps == program.steps else replace(program, steps=steps)

    def _taken(self, step: Step) -> Iterator[Step]:
        """A step, or the launches that run in its place."""
        if isinstance(step, Repeat):
            inner = [each for x in step.steps for each in self._taken(x)]
            yield step if inner == step.steps else self._repeated(step, inner)
        elif not isinstance(step, Launch) or not step.apart or self._call(step) is not None:
            yield step
        else:
            for each in step.apart:
                yield from self._taken(each)

    def _repeated(self, step: Repeat, inner: list[Any]) -> Repeat:
        """Other launches again and again; they may write more memory on their way."""
        written = {slot for launch in inner for slot in self.whole.writes(launch)}
        used = {slot for slot in written if self.whole.slots[slot].role == USED}
        return replace(step, steps=inner, writes=tuple(sorted({*step.writes, *used})))

    def _call(self, launch: Launch) -> LibraryCall | None:
        """How a library computes a launch, if it does."""
        if launch.convolved is not None:
            return self._convolution(launch, launch.convolved)
        return None if launch.matrices is None else self._choice(launch.matrices, self.sizes)

    def _convolution(self, launch: Launch, x: Convolved) -> LibraryCall | None:
        """How a library computes a convolution, if it does."""
        convolution = x.convolution.at(self.sizes)
        if not pays_to_convolve(convolution):
            return None
        precision = x.precision if x.dtype == "float32" else ""
        job = Convolving(convolution, x.dtype, precision, epilogue_of(x.epilogue))
        alone = launch if x.epilogue is None else launch.apart[0]
        return self._convolve(job, Alone(self.whole, alone, self.sizes))

    # ----- memory -----

    def _lay_out(self) -> None:
        """Gives every slot a base, or a place in the arena."""
        program = self.program
        own = [k for k, slot in enumerate(program.slots) if slot.role in ("input", "constant")]
        outputs = [k for k in program.outputs if k not in own]
        self.base_of = {slot: n for n, slot in enumerate(dict.fromkeys([*own, *outputs]), 2)}
        self.times = timeline(program)
        repeats = [step for step in program.steps if isinstance(step, Repeat)]
        inner = {step: [range(k, k + 1) for k in range(len(step.steps))] for step in repeats}
        asked = [g.slot for g in self.guards if g.slot not in self.base_of]
        bytes_of = {
            slot: byte_size(program, slot, self.sizes)
            for slot in self.times.births
            if slot not in self.base_of and slot not in asked
        }
        found = layout(unfolded(program, self.times, inner), bytes_of)
        self.offsets = dict(found.offsets)
        self.ledger = -(-found.size // ALIGNMENT) * ALIGNMENT
        for number, slot in enumerate(dict.fromkeys(asked)):
            self.offsets[slot] = self.ledger + LEDGER * (number + 1)
        self.ledger_bytes = LEDGER * (1 + len(set(asked)))
        self.arena = self.ledger + self.ledger_bytes
        self.workspace = -(-self.arena // ALIGNMENT) * ALIGNMENT

    @property
    def bases(self) -> int:
        """How many bases there are."""
        return 2 + len(self.base_of)

    @cached_property
    def outputs_from(self) -> int:
        """The first base of what is computed; those before are set by what comes in."""
        roles = [self.program.slots[slot].role for slot in self.base_of]
        return 2 + sum(role in ("input", "constant") for role in roles)

    def place(self, slot: int) -> Place:
        """Where a slot lies at this moment of writing the table."""
        if slot in self._moved:
            return self._moved[slot]
        if slot in self.base_of:
            return self.base_of[slot], 0
        return ARENA, self.offsets[slot]

    def slot(self, number: int) -> Slot:
        """A slot of the program."""
        return self.program.slots[number]

    def shape(self, slot: int) -> tuple[int, ...]:
        """The shape of a slot."""
        return shape_of(self.program, slot, self.sizes)

    def bytes_of(self, slot: int) -> int:
        """How many bytes a slot has."""
        return byte_size(self.program, slot, self.sizes)

    @cached_property
    def may_fail(self) -> int:
        """The last time at which a run may end early: by then nothing of others is written."""
        return max([at for at, x in enumerate(self.program.steps) if ends_early(x)], default=-1)

    @cached_property
    def asked_after(self) -> int:
        """The last guard, or launch that may report failure; -1 if there is none."""
        steps = enumerate(self.program.steps)
        failing = [at for at, x in steps if ends_early(x) and not isinstance(x, HostStep)]
        return max(failing, default=-1)

    # ----- launches -----

    def _write(self) -> None:
        start = 0
        for at, step in enumerate(self.program.steps):
            if isinstance(step, Launch):
                self._launch(step, self.sizes)
            elif isinstance(step, Repeat):
                self._repeat(step)
            python = step if isinstance(step, HostStep) else None
            if at == self.asked_after:
                python = Ask()
            if python is not None:
                self.stretches.append(Stretch(range(start, len(self.rows)), python))
                start = len(self.rows)
        self.stretches.append(Stretch(range(start, len(self.rows)), None))
        self.index = np.array(self._index, np.int64)
        self.offset = np.array(self._offset, np.int64)

    def _launch(self, launch: Launch, sizes: Mapping[str, int]) -> None:
        if launch.convolved is not None:
            self._put(launch, *self._convolved(launch, launch.convolved))
            return
        if launch.matrices is not None and self._multiply(launch, launch.matrices, sizes):
            return
        code = self._codes[launch.kernel]
        numbers = [int(evaluate(extent, sizes)) for extent in launch.sizes]
        blocks = code.blocks(numbers)
        if 0 in blocks:
            return
        self.rows.append(Row(code, blocks, len(self._index), launch))
        places = [self.place(slot) for slot in launch.buffers]
        places += [(NOTHING, number) for number in numbers]
        self._words(*places, (ARENA, self.ledger))

    def _words(self, *places: Place) -> None:
        for base, offset in places:
            self._index.append(base)
            self._offset.append(offset)

    def _multiply(self, launch: Launch, x: Matrices, sizes: Mapping[str, int]) -> bool:
        """Has the library compute a launch, if it does."""
        size = dtypes[x.dtype].itemsize
        places = [
            (base, start + size * operand.offset)
            for operand in x.operands
            for base, start in [self.place(launch.buffers[operand.buffer])]
        ]
        places.append(self.place(launch.buffers[x.result]))
        aligned = all(offset % ALIGNED == 0 for _, offset in places)
        choice = self._choice(x, sizes) if aligned else None
        if choice is None:
            return False
        self._put(launch, choice, places, x.epilogue)
        return True

    def _convolved(
        self, launch: Launch, x: Convolved
    ) -> tuple[LibraryCall, list[Place], Epilogue | None]:
        """A launch that a library computes, with the places that it reads and writes."""
        call = self._convolution(launch, x)
        assert call is not None  # or else others were in its place
        places = [self.place(launch.buffers[k]) for k in (*x.operands, x.result)]
        return call, places, x.epilogue

    def _put(
        self, launch: Launch, call: LibraryCall, places: list[Place], epilogue: Epilogue | None
    ) -> None:
        """Has a library compute a launch; all such share a workspace."""
        self.rows.append(Row(call, (1, 1, 1), len(self._index), launch))
        places.append((ARENA, self.workspace) if call.workspace else (NOTHING, 0))
        if epilogue is not None:
            places.append(self.place(launch.buffers[epilogue.bias]))
        self._words(*places)
        if call.workspace:
            self.arena = max(self.arena, self.workspace + call.workspace)

    def _choice(self, x: Matrices, sizes: Mapping[str, int]) -> Choice | None:
        """How the library computes products, if it does."""
        numbers = [int(evaluate(extent, sizes)) for extent in x.sizes]
        wanted = pays(numbers, x.dtype, x.precision)
        return self._library(product_of(x, numbers)) if wanted else None

    def _repeat(self, step: Repeat) -> None:
        """Launches again and again, each with the places of its turn."""
        self._move(step.before)
        assert isinstance(step.count, int)  # of others there is no native code
        for turn in range(step.count):
            if turn:
                self._move(step.between)
            sizes = {**self.sizes, COUNTER: self._moved[step.counter][1]}
            for launch in step.steps:
                self._launch(launch, sizes)

    def _move(self, moves: Sequence[Move]) -> None:
        for move in moves:
            by = int(evaluate(move.by, self.sizes))
            base, offset = (NOTHING, 0) if move.source is None else self.place(move.source)
            self._moved[move.slot] = base, offset + by


def product_of(x: Matrices, sizes: Sequence[int]) -> Product:
    """The numbers of a product: what is one row, one column or one product lies as it is."""
    batch, rows, columns, inner = sizes
    flat = (rows == 1 or inner == 1, columns == 1 or inner == 1)
    left, right = x.operands
    return Product(
        x.dtype,
        x.precision if x.dtype == "float32" else "",
        (batch, rows, columns, inner),
        (left.turned and not flat[0], right.turned and not flat[1]),
        (left.shared and batch > 1, right.shared and batch > 1),
        epilogue_of(x.epilogue),
    )


def epilogue_of(x: Epilogue | None) -> str:
    """What libraries are asked for."""
    return "" if x is None else "bias_relu" if x.relu else "bias"


def words_of(table: Table, bases: Words) -> Words:
    """The parameters of all launches, for the addresses of the bases."""
    return bases[table.index] + table.offset
