"""Binding: a program for one set of sizes: its tables, and frames for its calls."""

from __future__ import annotations

import ctypes
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from jit.dims import evaluate
from jit.runtime import blocks
from jit.runtime.boxes import Boxes
from jit.runtime.memory import ALIGNMENT, donors
from jit.runtime.native import native
from jit.runtime.program import Array, Launch, Repeat
from jit.runtime.tables import (
    DETACHED_SECONDS,
    Numbering,
    Words,
    address,
    array_rows,
    byte_size,
    shape_of,
)

Pairs = tuple[tuple[int, int], ...]
Shapes = Sequence[tuple[int, ...]]
Within: TypeAlias = "tuple[Boxes, int]"
OWN = 1 << 14  # bytes of temporaries that a program has room for by itself
ON_STACK = 1 << 14  # bytes of temporaries that a direct call may have
LAUNCHES, DETACHED = 1, 8  # words of a plan: how many moments; whether without Python's lock


def fits(array: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    """Whether the memory of an array can be used as it is."""
    return (
        type(array) is np.ndarray
        and array.dtype == dtype
        and array.shape == shape
        and array.flags.c_contiguous
        and array.flags.aligned
    )


class Room:
    """Memory for the temporaries of one call at a time.

    Attributes:
        size: How many bytes there are at least.
        memory: As an array.
        start: Where in it temporaries begin, so that they are aligned.
        base: The address of that place.
    """

    __slots__ = ("base", "memory", "size", "start")

    def __init__(self, size: int) -> None:
        self.size = size
        self.memory: Array
        if size < blocks.RECYCLED:
            self.memory = np.empty(size + ALIGNMENT, np.uint8)
            self.start = -address(self.memory) % ALIGNMENT
        else:
            self.memory, self.start = blocks.take(size), 0
        self.base = address(self.memory) + self.start


_rooms: list[Room] = []  # those that wait for a call of any program, each larger than `OWN`


def room_for(size: int) -> Room:
    """Room that nobody uses: there are as many as calls at a time, whatever number of programs."""
    if size >= blocks.RECYCLED or tracemalloc.is_tracing():
        return Room(size)
    try:
        room = _rooms.pop()
    except IndexError:
        return Room(size)
    return room if room.size >= size else Room(size)


def leave(room: Room) -> None:
    """Lets others have room again; blocks go back by themselves.

    Where somebody counts bytes, each call has room of just its size, and nothing is left.
    """
    if room.size < blocks.RECYCLED and not tracemalloc.is_tracing():
        _rooms.append(room)


class Frame:
    """What one call at a time uses: the slots, and room for small temporaries.

    Attributes:
        words: The slots.
        slots: Their address.
        room: For temporaries; None if each call asks for it.
    """

    __slots__ = ("room", "slots", "words")

    def __init__(self, template: Array, size: int) -> None:
        self.words = template.copy()
        self.slots = address(self.words)
        self.room = Room(size) if size <= OWN else None


class Binding:
    """A program for one set of sizes.

    Args:
        numbering: Of the program.
        sizes: The value of each symbol.
        pairs: (input, output): the memory of the one may hold the other, if nobody else sees it.
        pool: Address of the control block of the threads.

    Attributes:
        enter: Reads arguments and runs: `enter(arrays, results, frame.slots, base)`.
        end: What `enter` gives when all ran: the number of moments.
        frames: Free ones.
        results: The start of a list of results: constants, and None.
        large: (position, shape, dtype) of results that come from recycled blocks.
        passed: (position, input) of results that are arguments.
        repeated: (position, earlier position) of results that are there already.
        makes_all: Whether all results are made by steps, or constants.
        shares: Whether a launch is worth starting threads.
        arena: How many bytes the temporaries need.
    """

    def __init__(
        self, numbering: Numbering, sizes: Mapping[str, int], pairs: Pairs, pool: int
    ) -> None:
        self.program = numbering.program
        self.numbering, self.sizes = numbering, sizes
        self._alive: list[Any] = []  # what native code has the addresses of
        self.end = len(numbering.times.moments)
        self.frames: list[Frame] = []
        self._sort_outputs(pairs)
        launches = numbering.launches(sizes, pool)
        self.shares = launches.shares
        self.layout = numbering.arena(sizes)
        self.arena = self.layout.size
        self._launches, self._pool = launches, pool
        self._fill_template()
        self._words = self._plan()
        functions = native()
        plan = address(self._words)
        self.enter = functions.enter(plan) if functions.enter else self.fill_and_run
        self.resume = functions.resume(plan)

    def _sort_outputs(self, pairs: Pairs) -> None:
        """Which results are made, and which are there already."""
        program, numbering = self.program, self.numbering
        self.results: list[Any] = [None] * len(program.outputs)
        passed, repeated, large, made = [], [], [], list[tuple[tuple[int, ...], int]]()
        fit = [pair for pair in pairs if self._alike(*pair)]
        given = donors(program, fit, numbering.times, numbering.may_fail) if fit else {}
        for position, slot in enumerate(program.outputs):
            first = program.outputs.index(slot)
            if program.slots[slot].role == "constant":
                self.results[position] = numbering.constants[slot]
            elif program.slots[slot].role == "input":
                passed.append((position, program.inputs.index(slot)))
            elif first < position:
                repeated.append((position, first))
            elif slot not in numbering.from_host:
                made.append(((position, slot + 1, given.get(position, -1)), slot))
                if byte_size(program, slot, self.sizes) >= blocks.RECYCLED:
                    large.append((position, self.shape(slot), self.dtype(slot)))
        self.passed, self.repeated, self.large = tuple(passed), tuple(repeated), tuple(large)
        self.makes_all = not (passed or repeated)
        self._made = made

    def _alike(self, given: int, wanted: int) -> bool:
        program = self.program
        old, new = program.inputs[given], program.outputs[wanted]
        return self.shape(old) == self.shape(new) and self.dtype(old) == self.dtype(new)

    def _plan(self, inputs: Shapes | None = None, outputs: Shapes | None = None) -> Words:
        """What native code reads, for arrays of these shapes."""
        program, launches = self.program, self._launches
        given = zip(program.inputs, inputs or map(self.shape, program.inputs), strict=True)
        outputs = outputs or [self.shape(slot) for slot in program.outputs]
        places = [(slot + 1, offset) for slot, offset in self.layout.offsets.items()]
        input_rows, input_dims = array_rows(
            [((slot + 1,), self.dtype(slot), shape) for slot, shape in given]
        )
        output_rows, output_dims = array_rows(
            [(head, self.dtype(slot), outputs[head[0]]) for head, slot in self._made]
        )
        tables = launches.rows, input_rows, output_rows, np.array(places, np.int64)
        words = [word for table in tables for word in (address(table), len(table))]
        words += [int(launches.seconds >= DETACHED_SECONDS), self._pool]
        words += [address(self._template), len(self._template), self.arena]
        self._alive.append((tables, input_dims, output_dims))
        return np.array(words, np.int64)

    @cached_property
    def _is_direct(self) -> bool:
        """Whether a call needs nothing but native code."""
        program = self.program
        return (
            all(isinstance(step, Launch | Repeat) for step in program.steps)
            and len(self._made) == len(program.outputs)
            and not self.large
            and self.arena <= ON_STACK
        )

    def direct(
        self,
        inputs: Shapes | None = None,
        outputs: Shapes | None = None,
        within: Within | None = None,
    ) -> Callable[..., list[Any] | None] | None:
        """`direct(*arrays)`: a list of the results, a tenth of a microsecond beside the kernels.

        Args:
            inputs: Shapes of the arrays, if they are not the program's: as many elements each.
            outputs: Shapes of the results, likewise.
            within: In which boxes arrays come and results go, and how many come first (see
                `Boxes.within`).

        Returns:
            A builtin function, which gives None where an array does not fit or a check failed;
            None if calls need more than native code.
        """
        maker = native().direct
        if maker is None or not self._is_direct:
            return None
        words = self._plan(inputs, outputs)
        plan = address(words), (self, words)
        return maker(*plan) if within is None else within[0].within(plan, within[1])

    def _fill_template(self) -> None:
        """Slots as every call finds them: constants and sizes."""
        self._template = np.zeros(self.numbering.count, np.int64)
        for slot, value in self.numbering.constants.items():
            self._template[slot + 1] = address(value)
        start = 1 + len(self.program.slots)
        for at, extent in enumerate(self.numbering.sizes, start):
            self._template[at] = evaluate(extent, self.sizes)

    def fill_and_run(self, arrays: list[Array], results: list[Any], slots: int, base: int) -> int:
        """What `enter` does, in Python: where the layout of NumPy's arrays is not known."""
        misfit = self.fill(arrays, results, slots, base)
        return misfit or self.resume(slots, 0)

    def fill(self, arrays: list[Array], results: list[Any], slots: int, base: int) -> int:
        """All that comes before the first step; 0, or -1 - number of an array that does not fit."""
        words = np.ctypeslib.as_array((ctypes.c_int64 * self.numbering.count).from_address(slots))
        for number, (array, slot) in enumerate(zip(arrays, self.program.inputs, strict=True)):
            if not fits(array, self.shape(slot), self.dtype(slot)):
                return -1 - number
            words[slot + 1] = address(array)
        for (position, number, _), slot in self._made:
            if results[position] is None:
                results[position] = np.empty(self.shape(slot), self.dtype(slot))
            words[number] = address(results[position])
        for slot, offset in self.layout.offsets.items():
            words[slot + 1] = base + offset
        return 0

    def stepwise(self) -> tuple[Callable[..., int], list[Callable[..., int]]]:
        """An `enter` that runs nothing, and for each moment a `resume` that stops behind it."""
        functions, plans = native(), [self._words.copy() for _ in range(self.end + 1)]
        for count, words in enumerate(plans):
            words[LAUNCHES], words[DETACHED] = count, 0
        self._alive_stepwise = plans
        start, *rest = map(address, plans)
        enter = functions.enter(start) if functions.enter else self.fill
        return enter, [functions.resume(plan) for plan in rest]

    def shape(self, slot: int) -> tuple[int, ...]:
        """Of a slot."""
        return shape_of(self.program, slot, self.sizes)

    def dtype(self, slot: int) -> np.dtype[Any]:
        """Of the elements of a slot."""
        return self.program.slots[slot].type.dtype

    def new_frame(self) -> Frame:
        """A frame beside those that are in use."""
        return Frame(self._template, self.arena)
