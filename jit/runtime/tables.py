"""The tables that the native loop reads: a program with numbers in place of names and symbols."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import accumulate
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np

from jit.dataclass import dataclass
from jit.dims import Extent, evaluate
from jit.ir.loop import COUNTER
from jit.loops.ir import Check, Kernel
from jit.runtime.kernel_code import guard_name
from jit.runtime.memory import Layout, layout, timeline, unfolded
from jit.runtime.program import UNKNOWN, Array, GuardStep, HostStep, Launch, Program, Repeat, Step
from jit.runtime.threads_code import SHARE, WAKE

ANY = (1 << 63) - 1  # how often something may run at most whose end is asked for
SHARED_SECONDS = 5e-6  # work of a launch from which on threads share it, if they are awake
WAKING_SECONDS = 30e-6  # and from which on it is worth waking them
LONG_SECONDS = 1.0  # work of repeated steps from which on somebody may want to interrupt them
LOOK_SECONDS = 0.1  # of work between two looks at whether somebody does
MOST_RUNS = 1 << 20  # and how often steps run between these at most
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
        self._steps = self._recorded(program.steps)
        repeats = [step for step in program.steps if isinstance(step, Repeat)]
        self._repeated = {step: self._recorded(step.steps, step.counter) for step in repeats}
        self.times = timeline(program, self._steps.batches)
        inner = {step: recorded.batches for step, recorded in self._repeated.items()}
        self._unfolded = unfolded(program, self.times, inner)
        self.constants = {
            slot: np.asarray(each.value, each.type.dtype, order="C").reshape(each.type.shape)
            for slot, each in enumerate(program.slots)
            if each.role == "constant"
        }

    def _recorded(self, steps: Sequence[Step], counter: int | None = None) -> Recorded:
        pairs = [self._step(step, counter) for step in steps]
        functions = [function for function, _ in pairs]
        records = np.array([word for _, record in pairs for word in record], np.int64)
        starts = accumulate([len(record) for _, record in pairs], initial=0)
        addresses = [address(records) + 8 * start for start in starts]
        together = batches(self.program, steps, functions)
        return Recorded(steps, functions, records, addresses, together)

    def _step(self, step: Step, counter: int | None) -> tuple[int, list[int]]:
        """The function of a step, 0 if Python does it, and its record."""
        if isinstance(step, Launch):
            numbers = [slot + 1 for slot in step.buffers]
            sizes = [self._size(x, counter) for x in step.sizes]
            return self.functions[step.kernel], numbers + sizes
        if isinstance(step, Repeat):
            return self.native["repeat"], []  # its record holds sizes
        if isinstance(step, GuardStep):
            dtype = self.program.slots[step.slot].type.dtype
            if name := guard_name(dtype, step.expected):
                return self.native[name], [step.slot + 1, int(step.expected)]
        return 0, []

    def _size(self, extent: Extent, counter: int | None) -> int:
        if counter is not None and str(extent) == COUNTER:
            return counter + 1
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

    def launches(self, binding: Mapping[str, int], pool: int) -> Launches:
        """The launch table for these sizes: a row for each moment.

        Args:
            binding: The value of each symbol.
            pool: Address of the control block of the threads.
        """
        return self._table(self._steps, {**binding, COUNTER: 0}, pool)

    def _table(self, recorded: Recorded, binding: Mapping[str, int], pool: int) -> Launches:
        made = Launches()
        for batch in recorded.batches:
            first, step = batch.start, recorded.steps[batch.start]
            function, record = recorded.functions[first], recorded.addresses[first]
            if isinstance(step, Repeat):
                inner = self._table(self._repeated[step], binding, pool)
                record = made.keep(self._repeat(step, inner, binding, pool))
                made.join(inner, step.expected)
                made.add(function, record, 1, 0.0)
                continue
            work = [_work(each, binding) for each in recorded.steps[first : batch.stop]]
            items, seconds = sum(x for x, _ in work), sum(x for _, x in work)
            if len(work) > 1:
                ends = accumulate([x for x, _ in work], initial=0)
                members = slice(first, batch.stop)
                functions, records = recorded.functions[members], recorded.addresses[members]
                record = made.keep([len(work), *functions, *records, *ends])
                function = self.native["batch"]
            made.add(function, record, items, seconds)
        return made

    def _repeat(
        self, step: Repeat, inner: Launches, binding: Mapping[str, int], pool: int
    ) -> list[int]:
        """The record of what runs again and again."""
        count = ANY if step.count is None else evaluate(step.count, binding)
        words = [count, address(inner.rows), len(inner.rows)]
        for moves in (step.before, step.between):
            table = [
                (x.slot + 1, 0 if x.source is None else x.source + 1, evaluate(x.by, binding))
                for x in moves
            ]
            words += [inner.keep([word for move in table for word in move]), len(table)]
        copies = [
            (x.slot + 1, x.source + 1, byte_size(self.program, x.slot, binding)) for x in step.after
        ]
        table = inner.keep([word for copy in copies for word in copy])
        going = 0 if step.going is None else step.going + 1
        patience = 0
        if may_be_long(step):
            patience = max(1, int(LOOK_SECONDS / max(inner.seconds, LOOK_SECONDS / MOST_RUNS)))
        return [*words, pool, going, table, len(copies), patience]

    @cached_property
    def may_fail(self) -> int:
        """The last time at which a run may end early; -1 if there is none."""
        steps = self.program.steps
        times = range(len(self.times.moments))
        firsts = [steps[moment.steps[0]] for moment in self.times.moments]
        failing = [at for at in times if ends_early(firsts[at]) or may_be_long(firsts[at])]
        return failing[-1] if failing else -1

    @cached_property
    def from_host(self) -> frozenset[int]:
        """Slots whose memory comes from host steps."""
        steps = [step for step in self.program.steps if isinstance(step, HostStep)]
        return frozenset(slot for step in steps for slot in step.outputs)

    @property
    def by_python(self) -> list[Step]:
        """The steps that native code stops for."""
        pairs = zip(self.program.steps, self._steps.functions, strict=True)
        return [step for step, function in pairs if not function]

    def arena(self, binding: Mapping[str, int]) -> Layout:
        """Places of the temporaries that do not leave."""
        kept = self.from_host.union(self.program.outputs)
        sizes = {
            slot: byte_size(self.program, slot, binding)
            for slot in self.times.births
            if slot not in kept
        }
        return layout(self._unfolded, sizes)


@dataclass(frozen=True)
class Recorded:
    """Steps, numbered.

    Attributes:
        steps: What they are.
        functions: The address of the kernel of each, 0 if Python does it.
        records: What kernels are called with, all in one.
        addresses: Where the record of each step begins.
        batches: Which ones are launched at once.
    """

    steps: Sequence[Step]
    functions: Sequence[int]
    records: Words
    addresses: Sequence[int]
    batches: Sequence[range]


class Launches:
    """The launch table for some sizes.

    Attributes:
        seconds: How much work it is.
        shares: Whether threads share a launch.
    """

    def __init__(self) -> None:
        self.seconds, self.shares = 0.0, False
        self._rows: list[tuple[int, int, int, int]] = []
        self._kept: list[object] = []

    def add(self, function: int, record: int, items: int, seconds: float) -> None:
        """A row."""
        sharing = _sharing(items, seconds)
        self._rows.append((function, record, items, sharing))
        self.seconds += seconds
        self.shares = self.shares or sharing > 0

    def keep(self, words: list[int]) -> int:
        """The address of words that a row points to."""
        array = np.array(words or [0], np.int64)
        self._kept.append(array)
        return address(array)

    def join(self, inner: Launches, count: int) -> None:
        """Takes in a table that runs `count` times within this one."""
        self._kept.append(inner)
        self.seconds += count * inner.seconds
        self.shares = self.shares or inner.shares

    @cached_property
    def rows(self) -> Words:
        """Function, record, items, how threads share them."""
        return np.array(self._rows, np.int64).reshape(len(self._rows), 4)


def batches(program: Program, steps: Sequence[Step], functions: Sequence[int]) -> list[range]:
    """All steps; launches of one kernel that do not wait for each other come together.

    So do short ones of the same ops over other shapes: the updates of fifty small variables are one
    launch, which threads can share.
    """
    found: list[range] = []
    reads, writes = set[int](), set[int]()
    ops = [short_ops(step) for step in steps]
    for at, step in enumerate(steps):
        new_reads, new_writes = set(program.reads(step)), set(program.writes(step))
        apart = new_reads.isdisjoint(writes) and new_writes.isdisjoint(reads | writes)
        same = at > 0 and functions[at] == functions[at - 1] != 0
        same = same or (at > 0 and ops[at] == ops[at - 1] != ())
        if same and apart and isinstance(step, Launch) and not ends_early(step):
            found[-1] = range(found[-1].start, at + 1)
            reads |= new_reads
            writes |= new_writes
        else:
            found.append(range(at, at + 1))
            reads, writes = new_reads, new_writes
    return found


def short_ops(step: Step) -> tuple[str, ...]:
    """The ops that a launch computes if it is too short to be shared out by itself; else none."""
    if not isinstance(step, Launch) or not isinstance(step.kernel.grid, int):
        return ()
    if step.kernel.grid * step.cost >= SHARED_SECONDS:
        return ()
    return tuple([name for name, _ in step.made])


def ends_early(step: Step) -> bool:
    """Whether a run may end at this step."""
    if isinstance(step, Repeat):
        return any(map(ends_early, step.steps))
    return not isinstance(step, Launch) or _checks(step.kernel)


def may_be_long(step: Step) -> bool:
    """Whether a step may take so long that it can be interrupted, and then has changed nothing."""
    if not isinstance(step, Repeat):
        return False
    grids = [(launch, launch.kernel.grid) for launch in step.steps]
    cost = sum(x.cost * (grid if isinstance(grid, int) else UNKNOWN) for x, grid in grids)
    return not isinstance(step.count, int) or step.count * cost >= LONG_SECONDS


def shape_of(program: Program, slot: int, binding: Mapping[str, int]) -> tuple[int, ...]:
    """The shape of a slot for these sizes."""
    return tuple([int(evaluate(extent, binding)) for extent in program.slots[slot].type.shape])


def byte_size(program: Program, slot: int, binding: Mapping[str, int]) -> int:
    """How many bytes a slot has for these sizes."""
    return math.prod(shape_of(program, slot, binding)) * program.slots[slot].type.dtype.itemsize


def _work(step: Step, binding: Mapping[str, int]) -> tuple[int, float]:
    """How many items a step has, and the seconds that they take."""
    if not isinstance(step, Launch):
        return 1, 0.0
    items = grid_size(step, binding)
    return items, items * step.cost


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
