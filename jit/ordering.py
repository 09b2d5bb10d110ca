"""Ordering: steps so that a caller's memory is overwritten late, and short ones come together.

An output may take the memory of an input (the caller says which) if the input is read no more and
no run can end early afterwards: memory given away must be found unchanged when a guard misses.
So a step that writes such an output waits for all others that read the input, and for guards, host
steps and checks.

Short launches of the same ops that nobody waits for, as the updates of small parameters are, come
last, side by side: they are then launched at once. Beyond that steps stay in their order.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

from jit.runtime.program import GuardStep, Program, Step
from jit.runtime.tables import ends_early, short_ops


def ordered(program: Program, pairs: Iterable[tuple[int, int]]) -> list[Step]:
    """The steps of `program` in another order that computes the same.

    Args:
        program: Its steps are in an order in which they can run.
        pairs: Numbers (input, output): the output may take the memory of the input.
    """
    steps = program.steps
    writers = {slot: at for at, step in enumerate(steps) for slot in program.writes(step)}
    inputs, outputs = program.inputs, program.outputs
    given: dict[int, set[int]] = {}
    for old, new in pairs:
        if outputs[new] in writers:  # else it is an input, or a constant
            given.setdefault(writers[outputs[new]], set()).add(inputs[old])
    ranks = tail(program)
    if not given and not ranks:
        return steps
    return [steps[at] for at in Ordering(program, given, ranks).order()]


def tail(program: Program) -> dict[int, tuple[int, ...]]:
    """The steps that come last, each with its rank: those of the same ops stand together.

    They are short launches whose results no other step reads, or has begun.
    """
    steps = program.steps
    ops = [short_ops(step) for step in steps]
    often = {key for key, count in Counter(ops).items() if key and count > 1}
    first = {key: at for at, key in reversed([*enumerate(ops)])}
    made = Counter(slot for step in steps for slot in {*program.writes(step)})
    taken = {slot for step in steps for slot in {*program.reads(step)} - {*program.writes(step)}}
    taken |= {slot for slot, count in made.items() if count > 1}
    return {
        at: (1, first[ops[at]], at)
        for at, step in enumerate(steps)
        if ops[at] in often and taken.isdisjoint(program.writes(step)) and not ends_early(step)
    }


def needs(reads: Sequence[set[int]], writes: Sequence[set[int]]) -> Iterator[set[int]]:
    """What each step waits for: those before it that wrote what it reads or writes, or read that.

    Args:
        reads: The slots that each step reads.
        writes: Those that each step writes.
    """
    writer: dict[int, int] = {}
    readers: dict[int, set[int]] = {}
    for at, (read, written) in enumerate(zip(reads, writes, strict=True)):
        found = {writer[x] for x in read | written if x in writer}
        for x in written:
            found |= readers.pop(x, set())
            writer[x] = at
        for x in read:
            readers.setdefault(x, set()).add(at)
        yield found - {at}


def needs_of(program: Program, donate: Iterable[tuple[int, int]]) -> list[set[int]]:
    """What each step waits for; who writes over an input waits for all who read it, too.

    Args:
        program: Its steps are in an order in which they can run.
        donate: Pairs (input, output): the output may take the memory of the input.
    """
    steps = program.steps
    reads = [set(program.reads(step)) for step in steps]
    writes = [set(program.writes(step)) for step in steps]
    found = list(needs(reads, writes))
    asking = [at for at, step in enumerate(steps) if ends_early(step)]
    for earlier, later in pairwise(asking):
        found[later].add(earlier)
    writer = {slot: at for at, written in enumerate(writes) for slot in written}
    readers: dict[int, list[int]] = {}
    for at, read in enumerate(reads):
        for slot in read:
            readers.setdefault(slot, []).append(at)
    for old, new in donate:
        at = writer.get(program.outputs[new])
        if at is not None:
            before = [*readers.get(program.inputs[old], ()), *asking]
            found[at].update([x for x in before if x < at])
    return found


def releasing(
    program: Program, donate: Iterable[tuple[int, int]], sizes: Mapping[int, int]
) -> list[Step]:
    """The steps in an order that holds less: those that free memory run as soon as they can.

    Args:
        program: Its steps are in an order in which they can run.
        donate: Pairs (input, output): the output may take the memory of the input.
        sizes: The bytes of each slot that is freed after its last use.
    """
    steps, left = program.steps, needs_of(program, donate)
    reads = [{*program.reads(step)} for step in steps]
    made = [{*program.writes(step)} for step in steps]
    readers = Counter([x for read in reads for x in read if x in sizes])
    users: list[list[int]] = [[] for _ in steps]
    for at, needed in enumerate(left):
        for x in needed:
            users[x].append(at)

    def frees(at: int) -> bool:
        """Whether a step frees as much as it takes."""
        freed = [sizes[x] for x in reads[at] if readers[x] == 1]
        return bool(freed) and sum(freed) >= sum([sizes[x] for x in made[at] if x in sizes])

    ready = {at for at, needed in enumerate(left) if not needed}
    order, done = list[int](), set[int]()
    for turn in range(len(steps)):
        stack = [] if turn in done else [turn]
        while stack:
            at = stack.pop()
            order.append(at)
            done.add(at)
            ready.discard(at)
            readers.subtract([x for x in reads[at] if x in sizes])
            for user in users[at]:
                left[user].discard(at)
                if not left[user]:
                    ready.add(user)
            stack += sorted(filter(frees, ready))[:1]
    return [steps[at] for at in order]


class Ordering:
    """One order in the making; steps are numbers.

    Args:
        program: What is ordered.
        given: For steps that write over inputs: their slots.
        ranks: For steps that come last: in which order.
    """

    def __init__(
        self,
        program: Program,
        given: dict[int, set[int]],
        ranks: dict[int, tuple[int, ...]],
    ) -> None:
        steps = program.steps
        self.given = given
        self._ranks = [ranks.get(at, (0, at)) for at in range(len(steps))]
        self.reads = [set(program.reads(step)) for step in steps]
        self.needs = list(needs(self.reads, [set(program.writes(step)) for step in steps]))
        guards = [at for at, step in enumerate(steps) if isinstance(step, GuardStep)]
        for earlier, later in pairwise(guards):  # which one misses first tells a path
            self.needs[later].add(earlier)
        self.ending = {at for at, step in enumerate(steps) if ends_early(step)} - given.keys()
        self.readers: dict[int, set[int]] = {x: set() for slots in given.values() for x in slots}
        for at, reads in enumerate(self.reads):
            for slot in self.readers.keys() & reads:
                self.readers[slot].add(at)
        for at, slots in given.items():
            for slot in slots:
                self.readers[slot].discard(at)

    def order(self) -> list[int]:
        """Always the first step that can run; those that overwrite only when they are due."""
        waiting = [len(needs) for needs in self.needs]
        users: list[list[int]] = [[] for _ in self.needs]
        for at, needs in enumerate(self.needs):
            for needed in needs:
                users[needed].append(at)
        ranks = self._ranks
        ready = sorted([ranks[at] for at, count in enumerate(waiting) if count == 0])
        late: set[int] = set()
        order: list[int] = []
        while ready or late:
            if not ready:  # none is due: the first
                ready.append(min(ranks[at] for at in late))
            elif (first := ready[0][-1]) in self.given and not self._is_due(first):
                late.add(heapq.heappop(ready)[-1])
                continue
            *_, at = heapq.heappop(ready)
            late.discard(at)
            order.append(at)
            if self._finish(at):
                for other in filter(self._is_due, [*late]):
                    late.discard(other)
                    heapq.heappush(ready, ranks[other])
            for user in users[at]:
                waiting[user] -= 1
                if waiting[user] == 0:
                    heapq.heappush(ready, ranks[user])
        return order

    def _is_due(self, at: int) -> bool:
        return not self.ending and not any(self.readers[slot] for slot in self.given[at])

    def _finish(self, at: int) -> bool:
        """Notes that a step is done; whether others may be due because of it."""
        before = bool(self.ending)
        self.ending.discard(at)
        found = before and not self.ending
        for slot in self.reads[at] & self.readers.keys():
            self.readers[slot].discard(at)
            found = found or not self.readers[slot]
        return found
