"""Recomputation: results of launches that are computed again, so that temporaries fit a limit.

A program may hold what its first half computes until its second half reads it. Where that is
more than a limit, steps that free memory run as soon as they can (`jit.ordering.releasing`). Where
that is not enough, some values are not held: they are *dropped* after their last use of the first
half, and the launches that computed them run again right before the next use. A launch gives the
same bits whenever it runs, so results stay what they are. Launches that may end a run, add to what
they read, or read an input after it was written over, are never run twice.

What to drop is the choice of one plan among a family that does not depend on the limit: the
cheapest that fits, or the one that needs least; hence a lower limit never takes more memory. A plan
drops the first part of the values, ordered by what they cost for each byte and step in which they
lie idle, or by their idleness alone [1], and keeps all that crosses a few cuts in between, so that
only what lies between two cuts is there again at a time: of a chain of n about sqrt(n) [2].
Where no plan fits, the smallest one becomes the program of a second family, and so on, as far as
that helps [3].

1. Kirisame et al., Dynamic tensor rematerialization, ICLR 2021.
2. Chen et al., Training deep nets with sublinear memory cost, 2016; its algorithm 3.
3. Jain et al., Checkmate, MLSys 2020, chooses the best plan of all by integer programming, for
   minutes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import accumulate, pairwise

from jit.dataclass import dataclass
from jit.forms.placement import extent_hint
from jit.ordering import releasing
from jit.report import Held, Recomputed
from jit.runtime.memory import layout, timeline, unfolded
from jit.runtime.program import USED, HostStep, Launch, Program, Repeat, Step
from jit.runtime.tables import batches, ends_early
from jit.target import Target
from jit.types import product

AGAIN = "_again"  # what labels of launches end in that run once more
SHORTEST = 4  # steps in which a value must lie idle
SHARES = 12  # how many parts of the values are tried
CUTS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 24, 32, 48, 64, 96)  # into how many pieces
ROUNDS = 4  # families, each of the smallest program of the one before
BYTES = 5e-11  # seconds that a byte of memory takes, at least
GPU_BYTES, GPU_NODE, GPU_OPERATIONS = 3.3e-13, 1.35e-6, 4e-15  # of an H100; a launch, a product
LARGEST = 5  # lines that hold memory at the peak, so many are told


def fitted(
    program: Program, donate: Iterable[tuple[int, int]], target: Target, limit: int
) -> tuple[Program, Recomputed]:
    """A program whose temporaries fit a limit, as far as that can be, and what it has led to.

    Args:
        program: Its steps are in the order in which they run.
        donate: Pairs (input, output): the output may take the memory of the input.
        target: The machine.
        limit: Bytes.
    """
    pairs = [*donate]
    before = size = arena_of(program, target)
    best, starts = Variant(program, ()), [Variant(program, ())]
    if size > limit:
        starts.append(Variant(released(program, pairs), ()))
    for _ in range(ROUNDS):
        if size <= limit:
            break
        found, room = best_of(starts, pairs, target, limit, size)
        if found is None:
            break
        best, size, starts = found, room, [found]
    seconds = sum(seconds_of(x, program, target) for x in program.launches())
    work = operations_of(program.launches())
    return best.program, Recomputed(
        limit,
        before,
        size,
        tuple([(x.label.removesuffix(AGAIN), x.source) for x in best.again]),
        best.seconds(target) / seconds if best.again else 0.0,
        operations_of(best.again) / max(work, 1),
        held_at_peak(best.program),
    )


def released(program: Program, donate: Sequence[tuple[int, int]]) -> Program:
    """The program in an order in which steps that free memory run as soon as they can."""
    sizes = sizes_of(program)
    own = {x: sizes[x] for x in temporaries(program)}
    return replace(program, steps=releasing(program, donate, own))


def best_of(
    starts: Sequence[Variant],
    donate: Sequence[tuple[int, int]],
    target: Target,
    limit: int,
    size: int,
) -> tuple[Variant | None, int]:
    """The cheapest program of some families that fits a limit, or the smallest one; its bytes.

    Args:
        starts: What the families are made of.
        donate: As `fitted` takes it.
        target: The machine.
        limit: Bytes.
        size: What is needed without: no larger one is asked for.
    """
    best, least = None, size
    flows = [(start, Flow(start.program, donate, target)) for start in starts]
    found = [*starts, *[each for start, flow in flows for each in family(start, flow)]]
    for each in sorted(found, key=lambda x: x.seconds(target)):
        room = arena_of(each.program, target)
        if room < least:
            best, least = each, room
        if room <= limit:
            break
    return best, least


def family(start: Variant, flow: Flow) -> Iterator[Variant]:
    """Programs that hold less than another; no two that drop and keep the same.

    Args:
        start: The other one.
        flow: Of its program.
    """
    met = set[tuple[frozenset[int], frozenset[int]]]()
    for order in (flow.by_price, flow.by_idleness):
        sizes = [*accumulate([flow.bytes[x] for x in order])]
        for share in range(1, SHARES + 1) if order else ():
            few = bisect_left(sizes, sizes[-1] * share / SHARES) + 1
            dropped = frozenset(order[:few])
            for pieces in CUTS:
                kept = flow.kept(dropped, sizes[few - 1] / pieces)
                chosen = dropped - kept, kept
                if chosen not in met:
                    met.add(chosen)
                    made = Dropping(flow, *chosen)
                    yield Variant(made.program, (*start.again, *made.again))


@dataclass(frozen=True)
class Variant:
    """A program that holds less than another.

    Attributes:
        program: It.
        again: The launches of it that run once more.
    """

    program: Program
    again: tuple[Launch, ...]

    def seconds(self, target: Target) -> float:
        """What it costs."""
        return sum(seconds_of(x, self.program, target) for x in self.again)


class Flow:
    """Who computes and who reads the values of a program; steps are numbers.

    Attributes:
        reads: The slots that each step reads.
        writes: Those that each step writes.
        own: The slots that lie in the block of temporaries.
        bytes: Of each slot.
        makers: The launch that computes a slot, for those that one launch computes for itself.
        uses: The steps that read each slot.
        idle: For slots of its own the last use before it lies idle longest, and the next one.
    """

    def __init__(self, program: Program, donate: Iterable[tuple[int, int]], target: Target) -> None:
        self.program, self.target = program, target
        steps = program.steps
        self.reads = [frozenset(program.reads(step)) for step in steps]
        self.writes = [program.writes(step) for step in steps]
        self.own = temporaries(program)
        self.bytes = sizes_of(program)
        self.uses: dict[int, list[int]] = {}
        self.writers: dict[int, list[int]] = {}
        for at in range(len(steps)):
            for x in self.reads[at]:
                self.uses.setdefault(x, []).append(at)
            for x in self.writes[at]:
                self.writers.setdefault(x, []).append(at)
        # from which step on an input may be another: its memory has been given away
        self._lost: dict[int, int] = {}
        for old, new in donate:
            (at, *_) = self.writers.get(program.outputs[new], (len(steps),))
            slot = program.inputs[old]
            self._lost[slot] = min(at, self._lost.get(slot, at))
        self.makers = {
            x: at
            for at, step in enumerate(steps)
            for x in self.writes[at]
            if x in self.own and isinstance(step, Launch) and self._runs_twice(at)
        }
        self.idle = {x: self._idle(x) for x in self.own if x in self.uses}
        self._numbers = {x: k for k, x in enumerate(self.writers)}  # as they are computed

    def _runs_twice(self, at: int) -> bool:
        """Whether a launch may run again, as far as its kernel and what it reads and writes tell.

        All that it reads stays as it is.
        """
        if ends_early(self.program.steps[at]) or not self.reads[at].isdisjoint(self.writes[at]):
            return False
        if any(self.writers[x] != [at] for x in self.writes[at]):
            return False
        return all(self.writers.get(x, [-1])[-1] < at for x in self.reads[at])

    def runs_at(self, maker: int, at: int) -> bool:
        """Whether a launch that runs twice may do so before a step: its inputs are there."""
        return all(self._lost.get(x, at) >= at for x in self.reads[maker])

    def _idle(self, x: int) -> tuple[int, int]:
        times = [self.writers[x][-1], *[at for at in self.uses[x] if at > self.writers[x][-1]]]
        return max(pairwise([*times, times[-1]]), key=lambda pair: pair[1] - pair[0])

    @cached_property
    def droppable(self) -> list[int]:
        """The slots that lie idle for long, and can be there again when they are read."""
        found = []
        for x, (last, then) in self.idle.items():
            late = [at for at in self.uses[x] if at >= then]
            launched = all(isinstance(self.program.steps[at], Launch) for at in late)
            if then - last >= SHORTEST and x in self.makers and launched:
                found.append(x)
        return found

    @cached_property
    def by_idleness(self) -> list[int]:
        """Those of them that lie idle longest first."""
        return sorted(self.droppable, key=lambda x: (-self._idleness(x), self._numbers[x]))

    @cached_property
    def by_price(self) -> list[int]:
        """Those of them first that cost least, for each byte and step in which they lie idle."""
        return sorted(self.droppable, key=lambda x: (self._price(x), self._numbers[x]))

    def _idleness(self, x: int) -> int:
        last, then = self.idle[x]
        return then - last

    def _price(self, x: int) -> float:
        launch = self.program.steps[self.makers[x]]
        assert isinstance(launch, Launch)
        seconds = seconds_of(launch, self.program, self.target)
        return seconds / (max(self.bytes[x], 1) * self._idleness(x))

    def kept(self, dropped: frozenset[int], piece: float) -> frozenset[int]:
        """What crosses the cuts that leave about so many bytes of what is dropped between them.

        A cut is where fewest bytes cross it, of the second half of the places that it may have.
        """
        if not dropped:
            return frozenset()
        born: dict[int, int] = {}
        for x in dropped:
            at = self.makers[x]
            born[at] = born.get(at, 0) + self.bytes[x]
        kept, met, half, end = set[int](), 0.0, None, max(born)
        places = sorted(born)
        for at in places:
            met += born[at]
            if half is None and met > piece / 2:
                half = at
            if met > piece and at < end:
                assert half is not None
                cut = min(range(half, at + 1), key=lambda c: (self._crossing[c], -c))
                kept.update(self._across(cut))
                met, half = sum(born.get(c, 0) for c in range(cut + 1, at + 1)), None
        return frozenset(kept)

    @cached_property
    def _spans(self) -> dict[int, tuple[int, int]]:
        """From which step to which a slot is there before it lies idle."""
        return {x: (self.writers[x][0], last) for x, (last, _) in self._early.items()}

    @cached_property
    def _early(self) -> dict[int, tuple[int, int]]:
        """As `idle`; slots that never lie idle for long are read until their last use."""
        whole = {x: (self.uses[x][-1], self.uses[x][-1]) for x in self.idle}
        long = {x: pair for x, pair in self.idle.items() if pair[1] - pair[0] >= SHORTEST}
        return whole | long

    @cached_property
    def _crossing(self) -> list[int]:
        """For each step how many bytes that it, or one before, has made are read soon behind it."""
        changes = [0] * (len(self.reads) + 1)
        for x, (start, end) in self._spans.items():
            if end > start:
                changes[start] += self.bytes[x]
                changes[end] -= self.bytes[x]
        return [*accumulate(changes)]

    def _across(self, cut: int) -> list[int]:
        return [x for x, (start, end) in self._spans.items() if start <= cut < end]


class Dropping:
    """A program in the making that drops some values and computes them again.

    Args:
        flow: Of the program that holds them.
        dropped: The slots of these values.
        kept: Slots that are there to compute others from.
    """

    def __init__(self, flow: Flow, dropped: frozenset[int], kept: frozenset[int]) -> None:
        self.flow, self.dropped, self.kept = flow, dropped, kept
        self.slots = [*flow.program.slots]
        self.steps: list[Step] = []
        self.again: list[Launch] = []
        self._copy_of: dict[int, int] = {}
        for at, step in enumerate(flow.program.steps):
            self.steps.append(self._step(at, step))

    @property
    def program(self) -> Program:
        """The program."""
        return replace(self.flow.program, slots=self.slots, steps=self.steps)

    def _step(self, at: int, step: Step) -> Step:
        """A step, behind the launches that compute again what it reads."""
        if not isinstance(step, Launch):
            return step
        late = [x for x in self.flow.reads[at] & self.dropped if at >= self.flow.idle[x][1]]
        if not late:
            return step
        needed = set[int]()
        for x in late:
            if x not in self._copy_of:
                self._need(x, at, needed)
        for maker in sorted(needed):
            self._run_again(maker, at)
        return step.on({x: self._copy_of[x] for x in late if x in self._copy_of})

    def _need(self, x: int, at: int, needed: set[int]) -> None:
        """Notes the launches that compute a value, and what is not there before a step."""
        stack = [x]
        while stack:
            x = stack.pop()
            if self._is_there(x, at) or x in self._copy_of:
                continue
            maker = self.flow.makers.get(x)
            if maker is not None and maker not in needed and self.flow.runs_at(maker, at):
                needed.add(maker)
                stack.extend(self.flow.reads[maker])

    def _is_there(self, x: int, at: int) -> bool:
        """Whether a slot holds its value before a step, or is to hold it that long."""
        flow = self.flow
        if x not in flow.own or x in self.kept:
            return True
        return at <= (flow.idle[x][0] if x in self.dropped else flow.uses[x][-1])

    def _run_again(self, maker: int, at: int) -> None:
        launch = self.flow.program.steps[maker]
        assert isinstance(launch, Launch)
        new_of = {
            x: self._copy_of[x]
            for x in self.flow.reads[maker]
            if x in self._copy_of and not self._is_there(x, at)
        }
        for x in self.flow.writes[maker]:
            self.slots.append(self.slots[x])
            new_of[x] = self._copy_of[x] = len(self.slots) - 1
        again = launch.on(new_of)
        if not again.label.endswith(AGAIN):
            again.label += AGAIN
        self.steps.append(again)
        self.again.append(again)


# ----- what programs need -----


def sizes_of(program: Program) -> list[int]:
    """The bytes of each slot; sizes that vary count as they were first met."""
    return [
        extent_hint(product(slot.type.shape)) * slot.type.dtype.itemsize for slot in program.slots
    ]


def temporaries(program: Program) -> frozenset[int]:
    """The slots that lie in the block of temporaries."""
    hosts = [step for step in program.steps if isinstance(step, HostStep)]
    elsewhere = {*program.outputs, *[x for step in hosts for x in step.outputs]}
    written = {x for step in program.steps for x in program.writes(step)}
    return frozenset([x for x in written - elsewhere if program.slots[x].role == USED])


def arena_of(program: Program, target: Target) -> int:
    """The bytes of the block of temporaries."""
    together, inner = None, {}
    if not target.is_gpu:
        together = at_once(program, program.steps)
    for step in program.steps:
        if isinstance(step, Repeat):
            single = [range(k, k + 1) for k in range(len(step.steps))]
            inner[step] = single if target.is_gpu else at_once(program, step.steps)
    times = unfolded(program, timeline(program, together), inner)
    sizes, own = sizes_of(program), temporaries(program)
    return layout(times, {x: sizes[x] for x in times.births if x in own}).size


def at_once(program: Program, steps: Sequence[Step]) -> list[range]:
    """Which steps a processor does at once."""
    functions = [id(step.kernel) if isinstance(step, Launch) else 0 for step in steps]
    return batches(program, steps, functions)


def held_at_peak(program: Program) -> tuple[Held, ...]:
    """The largest temporaries when there are most of them."""
    times, sizes, own = timeline(program), sizes_of(program), temporaries(program)
    changes = [0] * (len(times.moments) + 1)
    for x in own:
        changes[times.births[x]] += sizes[x]
        changes[times.deaths[x] + 1] -= sizes[x]
    sums = [*accumulate(changes)]
    peak = max(range(len(sums)), key=sums.__getitem__)
    found: dict[tuple[str, str | None], list[int]] = {}
    for x in own:
        if times.births[x] <= peak <= times.deaths[x]:
            step = program.steps[times.births[x]]
            about = getattr(step, "label", "").removesuffix(AGAIN), getattr(step, "source", None)
            found.setdefault(about, []).append(sizes[x])
    largest = sorted(found, key=lambda x: (-sum(found[x]), x[0]))[:LARGEST]
    return tuple([Held(*about, sum(found[about]), len(found[about])) for about in largest])


def seconds_of(launch: Launch, program: Program, target: Target) -> float:
    """What a launch takes, roughly."""
    types = [program.slots[x].type for x in launch.buffers]
    size = sum(extent_hint(product(x.shape)) * x.dtype.itemsize for x in types)
    if target.is_gpu:
        work = extent_hint(launch.operations or 0)
        return max(GPU_NODE, size * GPU_BYTES, work * GPU_OPERATIONS)
    grid = launch.kernel.grid
    return max(launch.cost * (grid if isinstance(grid, int) else 1), size * BYTES)


def operations_of(launches: Iterable[Launch]) -> int:
    """Additions and multiplications of products."""
    return sum(extent_hint(launch.operations or 0) for launch in launches)
