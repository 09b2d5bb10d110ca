"""The tables that the native loop reads: a program with numbers in place of names and symbols."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np

from jit.dims import Extent, evaluate
from jit.loops.ir import Check, Kernel
from jit.runtime.kernel_code import guard_name
from jit.runtime.memory import Layout, layout, timeline
from jit.runtime.program import Array, GuardStep, HostStep, Launch, Program, Step
from jit.runtime.threads_code import SHARE, WAKE

SHARED_SECONDS = 5e-6  # work of a launch from which on threads share it, if they are awake
WAKING_SECONDS = 30e-6  # and from which on it is worth waking them
DETACHED_SECONDS = 20e-6  # work of a run from which on it gives up Python's lock

Words: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"


def address(array: Array) -> int:
    """Where the memory of an array starts."""
    return array.ctypes.data


@dataclass(eq=False)
class Numbering:
    """What holds for a program whatever the sizes: the native number of everything.

    `slots[0]` is the status, then come the slots of the program, then sizes.

    Attributes:
        program: What is numbered.
        functions: The address of each kernel.
        native: Addresses of guard kernels and of the kernel that runs a batch.
        sizes: Extents that kernels ask for; their numbers follow those of the slots.
        times: What happens when.
        constants: The values of slots, in memory that kernels can read.
    """

    program: Program
    functions: Mapping[Kernel, int]
    native: Mapping[str, int]

    def __post_init__(self) -> None:
        program = self.program
        self.sizes: list[Extent] = []
        self._size_numbers: dict[str, int] = {}
        steps = [self._step(step) for step in program.steps]
        self._functions = [function for function, _ in steps]
        self._records = np.array([word for _, record in steps for word in record], np.int64)
        starts = accumulate([len(record) for _, record in steps], initial=0)
        self._starts = [address(self._records) + 8 * start for start in starts]
        self.times = timeline(program, batches(program, self._functions))
        self.constants = {
            slot: np.asarray(each.value, each.type.dtype, order="C").reshape(each.type.shape)
            for slot, each in enumerate(program.slots)
            if each.role == "constant"
        }

    def _step(self, step: Step) -> tuple[int, list[int]]:
        """The function of a step, 0 if Python does it, and its record."""
        if isinstance(step, Launch):
            numbers = [slot + 1 for slot in step.buffers]
            return self.functions[step.kernel], numbers + [self._size(x) for x in step.sizes]
        if isinstance(step, GuardStep):
            dtype = self.program.slots[step.slot].type.dtype
            if name := guard_name(dtype, step.expected):
                return self.native[name], [step.slot + 1, int(step.expected)]
        return 0, []

    def _size(self, extent: Extent) -> int:
        number = self._size_numbers.get(str(extent))
        if number is None:
            number = 1 + len(self.program.slots) + len(self.sizes)
            self._size_numbers[str(extent)] = number
            self.sizes.append(extent)
        return number

    @property
    def count(self) -> int:
        """How many words the slots of a call are."""
        return 1 + len(self.program.slots) + len(self.sizes)

    def launches(self, binding: Mapping[str, int]) -> Launches:
        """The launch table for these sizes: a row for each moment."""
        rows, records, total = list[tuple[int, ...]](), list[Words](), 0.0
        for moment in self.times.moments:
            work = [self._work(at, binding) for at in moment.steps]
            items, seconds = sum(x for x, _ in work), sum(x for _, x in work)
            first = moment.steps.start
            function, record = self._functions[first], self._starts[first]
            if len(work) > 1:
                ends = accumulate([x for x, _ in work], initial=0)
                starts = self._starts[first : moment.steps.stop]
                records.append(np.array([function, len(work), *starts, *ends], np.int64))
                function, record = self.native["batch"], address(records[-1])
            rows.append((function, record, items, _sharing(items, seconds)))
            total += seconds
        return Launches(np.array(rows, np.int64).reshape(len(rows), 4), records, total)

    def _work(self, at: int, binding: Mapping[str, int]) -> tuple[int, float]:
        """How many items a step has, and the seconds that they take."""
        step = self.program.steps[at]
        if not isinstance(step, Launch):
            return 1, 0.0
        items = grid_size(step, binding)
        return items, items * step.cost

    @cached_property
    def may_fail(self) -> int:
        """The last time at which a run may end early; -1 if there is none."""
        steps = self.program.steps
        times = range(len(self.times.moments))
        failing = [at for at in times if ends_early(steps[self.times.moments[at].steps[0]])]
        return failing[-1] if failing else -1

    @cached_property
    def from_host(self) -> frozenset[int]:
        """Slots whose memory comes from host steps."""
        steps = [step for step in self.program.steps if isinstance(step, HostStep)]
        return frozenset(slot for step in steps for slot in step.outputs)

    @property
    def by_python(self) -> list[Step]:
        """The steps that native code stops for."""
        pairs = zip(self.program.steps, self._functions, strict=True)
        return [step for step, function in pairs if not function]

    def arena(self, binding: Mapping[str, int]) -> Layout:
        """Places of the temporaries that do not leave."""
        kept = self.from_host.union(self.program.outputs)
        sizes = {
            slot: byte_size(self.program, slot, binding)
            for slot in self.times.births
            if slot not in kept
        }
        return layout(self.times, sizes)


@dataclass(frozen=True)
class Launches:
    """The launch table for some sizes.

    Attributes:
        rows: Function, record, items, how threads share them.
        records: Of batches; kept because the rows point there.
        seconds: How much work it is.
    """

    rows: Words
    records: list[Words]
    seconds: float


def batches(program: Program, functions: Sequence[int]) -> list[range]:
    """All steps; launches of one kernel that do not wait for each other come together.

    So the updates of fifty small variables are one launch, which threads can share.
    """
    found: list[range] = []
    reads, writes = set[int](), set[int]()
    for at, step in enumerate(program.steps):
        new_reads, new_writes = set(program.reads(step)), set(program.writes(step))
        apart = new_reads.isdisjoint(writes) and new_writes.isdisjoint(reads | writes)
        same = at > 0 and functions[at] == functions[at - 1] != 0
        if same and apart and not ends_early(step):
            found[-1] = range(found[-1].start, at + 1)
            reads |= new_reads
            writes |= new_writes
        else:
            found.append(range(at, at + 1))
            reads, writes = new_reads, new_writes
    return found


def ends_early(step: Step) -> bool:
    """Whether a run may end at this step."""
    return not isinstance(step, Launch) or _checks(step.kernel)


def shape_of(program: Program, slot: int, binding: Mapping[str, int]) -> tuple[int, ...]:
    """The shape of a slot for these sizes."""
    return tuple([int(evaluate(extent, binding)) for extent in program.slots[slot].type.shape])


def byte_size(program: Program, slot: int, binding: Mapping[str, int]) -> int:
    """How many bytes a slot has for these sizes."""
    return math.prod(shape_of(program, slot, binding)) * program.slots[slot].type.dtype.itemsize


def grid_size(launch: Launch, binding: Mapping[str, int]) -> int:
    """How many items a launch has for these sizes."""
    if isinstance(launch.kernel.grid, int):
        return launch.kernel.grid
    names = [var.hint for var in launch.kernel.sizes]
    values = [int(evaluate(extent, binding)) for extent in launch.sizes]
    return int(evaluate(launch.kernel.grid, dict(zip(names, values, strict=True))))


def array_rows(
    entries: Sequence[tuple[tuple[int, ...], np.dtype[Any], tuple[int, ...]]],
) -> tuple[Words, Words]:
    """A table with a row (*head, dtype's address, rank, address of dims) for each entry.

    Args:
        entries: Of each array its head, its dtype and its shape.

    Returns:
        The table, and the dims, which must live as long.
    """
    dims = np.array([extent for *_, shape in entries for extent in shape] or [0], np.int64)
    at, rows = address(dims), list[tuple[int, ...]]()
    for head, dtype, shape in entries:
        rows.append((*head, id(dtype), len(shape), at))
        at += 8 * len(shape)
    return np.array(rows, np.int64), dims


def _sharing(items: int, seconds: float) -> int:
    if items < 2 or seconds < SHARED_SECONDS:
        return 0
    return WAKE if seconds >= WAKING_SECONDS else SHARE


_known_checks: WeakKeyDictionary[Kernel, bool] = WeakKeyDictionary()


def _checks(kernel: Kernel) -> bool:
    if (known := _known_checks.get(kernel)) is None:
        known = any(isinstance(statement, Check) for statement in kernel.statements())
        _known_checks[kernel] = known
    return known
