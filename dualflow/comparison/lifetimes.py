"""Lifetimes: which values live when, in either mode; what is alive at the peak, and why.

Both modes are told in one way: moments, one after the other, and values that live from one to
another. Of the eager mode each op is a moment, and a value lives as long as its memory; of the
compiled mode each launch is one, and the memory plan tells the rest.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from functools import cached_property
from typing import Any

import numpy as np

from dualflow.core.context import using
from dualflow.core.op import Op, bind
from dualflow.core.tensor import Tensor
from dualflow.tracing.numerics import line_now
from dualflow.tracing.unrecorded import Unrecorded
from jit.dataclass import dataclass
from jit.runtime.memory import Timeline
from jit.runtime.program import HostStep, Launch, Program, Repeat
from jit.runtime.tables import byte_size

GIVEN = "arguments and state"
UNKNOWN = "no line of yours"


@dataclass
class Value:
    """Something that takes memory for a while.

    Attributes:
        line: The user's line that made it.
        what: The op, or the kernel.
        bytes: How much it takes.
        birth: The moment at which it is made; -1: it was there before.
        death: The last moment at which it is there.
        uses: The moments at which something reads it.
    """

    line: str
    what: str
    bytes: int
    birth: int
    death: int
    uses: list[int] = field(default_factory=list)

    def is_alive(self, at: int) -> bool:
        """Whether it takes memory at a moment."""
        return self.birth <= at <= self.death

    def gap(self, at: int) -> tuple[int, int]:
        """The moments around `at` at which nobody looks at it, the first and the last one."""
        before = [x for x in (self.birth, *self.uses) if x <= at]
        behind = [x for x in (*self.uses, self.death + 1) if x > at]
        return max(before) + 1, min(behind) - 1


@dataclass(frozen=True)
class Saving:
    """What it would bring not to keep a value, and to make it again where it is read.

    Attributes:
        line: The line that makes it.
        what: The op, or the kernel.
        bytes: By how much the peak would be lower.
    """

    line: str
    what: str
    bytes: int


@dataclass(frozen=True)
class Track:
    """The memory of one mode.

    Attributes:
        moments: What happens, and on which line.
        values: All that takes memory.
    """

    moments: tuple[tuple[str, str], ...]
    values: tuple[Value, ...]

    @cached_property
    def live(self) -> tuple[int, ...]:
        """Bytes at each moment."""
        return alive(self.values, len(self.moments))

    @property
    def peak(self) -> int:
        """The most of them."""
        return max(self.live, default=sum(x.bytes for x in self.values))

    @property
    def at(self) -> int:
        """The moment of the peak."""
        return self.live.index(self.peak) if self.live else -1

    def by_line(self) -> Mapping[str, int]:
        """Bytes that are alive at the peak, by the line that made them, most first."""
        found: dict[str, int] = {}
        for x in self.values:
            if x.is_alive(self.at):
                found[x.line] = found.get(x.line, 0) + x.bytes
        return dict(sorted(found.items(), key=lambda pair: -pair[1]))

    def savings(self) -> tuple[Saving, ...]:
        """What making each of the values at the peak again would save, the most first."""
        found = []
        for k, x in enumerate(self.values):
            if x.birth < 0 or not x.is_alive(self.at):
                continue
            first, last = x.gap(self.at)
            if not first <= self.at <= last or last == x.death:
                continue
            halves = [replace(x, death=first - 1), replace(x, birth=last + 1)]
            rest = alive([*self.values[:k], *halves, *self.values[k + 1 :]], len(self.moments))
            if (saved := self.peak - max(rest)) > 0:
                found.append(Saving(x.line, x.what, saved))
        return tuple(sorted(found, key=lambda saving: -saving.bytes))


def alive(values: Sequence[Value], moments: int) -> tuple[int, ...]:
    """Bytes that values take at each moment."""
    change = np.zeros(moments + 1, np.int64)
    for x in values:
        if x.death >= x.birth:
            change[max(0, x.birth)] += x.bytes
            change[min(moments, x.death + 1)] -= x.bytes
    return tuple(np.cumsum(change)[:moments].tolist())


# ----- eager -----


def of_eager(call: Callable[[], Any], given: Callable[[], Iterable[Any]]) -> Track:
    """The memory of a call in Python, as it runs.

    Args:
        call: The call.
        given: Tells the arrays that are there before; nobody may hold those that it replaces.
    """
    watch = Watch()
    for array in given():
        watch.note(array, GIVEN, GIVEN, -1)
        del array
    with using(trace=watch):
        result = call()
    watch.end()
    del result
    return Track(tuple(watch.moments), tuple(watch.values))


class Watch(Unrecorded):
    """Notes each op of a call in Python, and how long its results live."""

    runs = False  # sweeps go op by op

    def __init__(self) -> None:
        super().__init__()
        self.moments: list[tuple[str, str]] = []
        self.values: list[Value] = []
        self._living: dict[int, Value] = {}  # by the array that owns the memory
        self._ends: list[weakref.ref[Any]] = []

    def bind(self, op: Op, args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        """Computes an op."""
        line = line_now() or UNKNOWN
        at = len(self.moments)
        self.moments.append((op.name, line))
        for x in args:
            if isinstance(x, Tensor) and (value := self._living.get(id(owner(x.raw)))):
                value.uses.append(at)
        with using(trace=None):
            out = bind(op, args, attrs)
        for y in out if isinstance(out, tuple) else (out,):
            self.note(y.raw, line, op.name, at)
        return out

    def note(self, array: Any, line: str, what: str, at: int) -> None:
        """An array is there from now on; one that shows memory of another takes none."""
        held = owner(array)
        key = id(held)
        if key in self._living or not held.nbytes:
            return
        value = Value(line, what, held.nbytes, at, at)
        self.values.append(value)
        self._living[key] = value

        def gone(_: Any) -> None:
            if self._living.pop(key, None) is not None:
                value.death = len(self.moments) - 1

        self._ends.append(weakref.ref(held, gone))

    def end(self) -> None:
        """The call is over; what is there stays."""
        for value in self._living.values():
            value.death = len(self.moments)
        self._living.clear()


def owner(array: Any) -> Any:
    """The array whose memory an array shows."""
    while isinstance(base := getattr(array, "base", None), np.ndarray):
        array = base
    return array


# ----- compiled -----


def of_program(program: Program, times: Timeline, taken: Mapping[int, int]) -> Track:
    """The memory of a call from a graph, as it is planned.

    Args:
        program: Whose extents are all known.
        times: What happens when.
        taken: Outputs that take the memory of an input: which one.
    """
    made = dict(writers(program))
    last = len(times.moments)
    kept = {slot for number, slot in enumerate(program.outputs) if number not in taken}
    free = {program.outputs[number] for number in taken} - kept
    values: dict[int, Value] = {}
    for slot, held in enumerate(program.slots):
        if (held.role not in ("input", "constant") and slot not in times.births) or slot in free:
            continue
        what, line = made.get(slot, (GIVEN, GIVEN))
        birth = times.births.get(slot, -1) if slot in made else -1
        death = last if birth < 0 or slot in kept else times.deaths[slot]
        uses = [at for at, moment in enumerate(times.moments) if slot in moment.reads]
        values[slot] = Value(line, what, byte_size(program, slot, {}), birth, death, uses)
    for at, moment in enumerate(times.moments):
        for old, new in moment.in_place:
            x, y = values.get(old), values.get(new)
            if x is not None and y is not None and x.birth >= 0 and x.death == y.birth == at:
                x.death -= y.bytes <= x.bytes  # the second takes the memory of the first
    steps = [program.steps[moment.steps.start] for moment in times.moments]
    return Track(tuple([(told(step), line_of(step)) for step in steps]), tuple(values.values()))


def writers(program: Program) -> Iterator[tuple[int, tuple[str, str]]]:
    """Which step makes each slot: its label, and its line."""
    for step in program.steps:
        for slot in program.writes(step):
            yield slot, (told(step), line_of(step))


def told(step: Any) -> str:
    """What a step is called."""
    return step.label if isinstance(step, Launch | Repeat | HostStep) else "guard"


def line_of(step: Any) -> str:
    """The user's line of a step."""
    return getattr(step, "source", None) or UNKNOWN
