"""Where temporaries lie: lifetimes, and one block of memory that they share."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from jit.dataclass import dataclass
from jit.runtime.program import Launch, Program, Repeat, Step

ALIGNMENT = 64  # a cache line, and the widest vector


@dataclass(frozen=True)
class Layout:
    """Places in one block.

    Attributes:
        offsets: Of each slot that lies in the block.
        size: Of the block, in bytes.
    """

    offsets: Mapping[int, int]
    size: int


@dataclass(frozen=True)
class Moment:
    """What happens at one time: a step, or several launches at once.

    Attributes:
        steps: Their numbers, one after the other.
        reads: Slots.
        writes: Slots.
        in_place: Pairs (slot read, slot written) that may share memory.
    """

    steps: range
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    in_place: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Timeline:
    """When slots are in use; times are numbers of moments.

    Attributes:
        moments: What happens, in order.
        births: The first time at which a slot is written.
        deaths: The last time at which it is read or written.
    """

    moments: Sequence[Moment]
    births: Mapping[int, int]
    deaths: Mapping[int, int]


def timeline(program: Program, batches: Iterable[range] | None = None) -> Timeline:
    """The lifetime of each slot that a step touches.

    Args:
        program: Whose steps they are.
        batches: All steps in order, those together that are done at once; by default one by one.
    """
    if batches is None:
        batches = (range(at, at + 1) for at in range(len(program.steps)))
    return _lifetimes([_moment(program, program.steps, batch) for batch in batches])


def unfolded(
    program: Program, times: Timeline, inner: Mapping[Repeat, Iterable[range]]
) -> Timeline:
    """The lifetimes in which a run of repeated steps is moments of its own.

    What is written and read within a run only lives between these; all else that repeated steps
    touch lives as long as they are repeated.

    Args:
        program: Whose steps they are.
        times: The lifetimes in which repeated steps are one moment.
        inner: For repeated steps which ones are done at once.
    """
    if not inner:
        return times
    moments: list[Moment] = []
    for at, moment in enumerate(times.moments):
        step = program.steps[moment.steps.start]
        if not isinstance(step, Repeat):
            moments.append(moment)
            continue
        made = {slot for launch in step.steps for slot in program.writes(launch)}
        own = {x for x in made if times.births.get(x) == times.deaths.get(x) == at}
        own = own.difference(program.outputs)
        around = tuple([x for x in (*moment.reads, *moment.writes) if x not in own])
        moments.append(Moment(moment.steps, (), around))
        moments += [_moment(program, step.steps, batch) for batch in inner[step]]
        moments.append(Moment(moment.steps, around, ()))
    return _lifetimes(moments)


def _lifetimes(moments: Sequence[Moment]) -> Timeline:
    births: dict[int, int] = {}
    deaths: dict[int, int] = {}
    for at, moment in enumerate(moments):
        for slot in moment.writes:
            births.setdefault(slot, at)
        deaths.update(dict.fromkeys((*moment.reads, *moment.writes), at))
    return Timeline(moments, births, deaths)


def _moment(program: Program, every: Sequence[Step], batch: range) -> Moment:
    steps = every[batch.start : batch.stop]
    reads = [slot for step in steps for slot in dict.fromkeys(program.reads(step))]
    writes = [slot for step in steps for slot in program.writes(step)]
    pairs = [pair for step in steps if isinstance(step, Launch) for pair in step.in_place]
    if len(steps) > 1:  # others may still read what one of them is done with
        readers = Counter(reads)
        pairs = [pair for pair in pairs if readers[pair[0]] == 1]
    return Moment(batch, tuple(reads), tuple(writes), tuple(pairs))


class Heap:
    """The free places of a block that grows; best fit, neighbours merge."""

    def __init__(self) -> None:
        self.size = 0
        self.starts: dict[int, int] = {}  # of free places, to their ends
        self.ends: dict[int, int] = {}
        self.by_size: list[tuple[int, int]] = []

    def take(self, size: int) -> int:
        """The offset of `size` bytes that are free from now on no more."""
        at = bisect_left(self.by_size, (size, 0))
        if at < len(self.by_size):
            room, start = self.by_size[at]
            self._remove(start, start + room)
        else:  # grow: the free place at the end, if any, is part of it
            start = self.ends.get(self.size, self.size)
            if start < self.size:
                self._remove(start, self.size)
            room = size
            self.size = start + size
        if room > size:
            self._add(start + size, start + room)
        return start

    def give(self, start: int, size: int) -> None:
        """Frees what `take` gave."""
        end = start + size
        if (before := self.ends.get(start)) is not None:
            self._remove(before, start)
            start = before
        if (after := self.starts.get(end)) is not None:
            self._remove(end, after)
            end = after
        self._add(start, end)

    def _add(self, start: int, end: int) -> None:
        self.starts[start], self.ends[end] = end, start
        insort(self.by_size, (end - start, start))

    def _remove(self, start: int, end: int) -> None:
        del self.starts[start], self.ends[end]
        del self.by_size[bisect_left(self.by_size, (end - start, start))]


def layout(times: Timeline, sizes: Mapping[int, int]) -> Layout:
    """Places for temporaries, so that no two that live at the same time overlap.

    Args:
        times: When they live.
        sizes: Bytes of each slot that shall lie in the block; others are left out.
    """
    heap, offsets, held = Heap(), dict[int, int](), dict[int, int]()
    for at, moment in enumerate(times.moments):
        touched = dict.fromkeys([s for s in (*moment.reads, *moment.writes) if s in sizes])
        dying = [slot for slot in touched if times.deaths[slot] == at]
        for old, new in moment.in_place:
            fits = new in touched and new not in offsets
            if fits and old in dying and _rounded(sizes[new]) <= held.get(old, 0):
                offsets[new], held[new] = offsets[old], held.pop(old)
        for slot in touched:
            if slot not in offsets:
                held[slot] = _rounded(sizes[slot])
                offsets[slot] = heap.take(held[slot])
        for slot in dying:
            if slot in held:
                heap.give(offsets[slot], held.pop(slot))
    return Layout(offsets, heap.size)


def donors(
    program: Program, pairs: Iterable[tuple[int, int]], times: Timeline, may_fail: int
) -> dict[int, int]:
    """Which inputs may hold which outputs, by the order of the steps.

    Args:
        program: Whose steps read the inputs.
        pairs: Numbers (input, output) that the caller offers.
        times: The lifetimes of the slots.
        may_fail: The last time at which a run may end early: by then no input may be lost.

    Returns:
        Number of an output to that of the input whose memory it may take.
    """
    granted: dict[int, int] = {}
    taken: set[int] = set()
    for given, wanted in pairs:
        old, new = program.inputs[given], program.outputs[wanted]
        fresh = old not in program.outputs and program.outputs.index(new) == wanted
        late = times.births.get(new, -1) > may_fail
        if fresh and late and old not in taken and _in_time(times, old, new):
            granted[wanted] = given
            taken.add(old)
    return granted


def _in_time(times: Timeline, old: int, new: int) -> bool:
    """Whether `old` is read no more once `new` is written, except in place."""
    birth, death = times.births[new], times.deaths.get(old, -1)
    return death < birth or (death == birth and (old, new) in times.moments[birth].in_place)


def _rounded(size: int) -> int:
    return -(-max(size, 1) // ALIGNMENT) * ALIGNMENT
