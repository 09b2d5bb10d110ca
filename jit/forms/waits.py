"""Waits: which step of a program waits for which, kept free of circles while steps grow.

A step has a rank that is greater than those of all steps it waits for. To wait for one more it may
have to rise, and with it what waits for it: where that meets the step waited for, it would be a
circle. Steps grow shortly after they began, when little waits for them, so this is quick.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

FAR = 200  # a rise that more steps take part in is not made

Step = TypeVar("Step")


class Waits(Generic[Step]):
    """Steps in the order in which they began, each with the steps that it waits for."""

    def __init__(self) -> None:
        self._needs: dict[Step, dict[Step, None]] = {}
        self._needed_by: dict[Step, dict[Step, None]] = {}
        self._rank: dict[Step, int] = {}

    def begin(self, step: Step) -> None:
        """A step that waits for nothing yet."""
        self._needs[step], self._needed_by[step], self._rank[step] = {}, {}, 0

    def needs(self, step: Step) -> Iterable[Step]:
        """What a step waits for."""
        return self._needs[step].keys()

    def may_wait(self, step: Step, needed: Iterable[Step]) -> bool:
        """Whether a step may wait for others; False where that takes long to find out."""
        return self._risen(step, needed) is not None

    def wait(self, step: Step, needed: Iterable[Step]) -> None:
        """Lets a step wait for others, if it may."""
        risen = self._risen(step, needed, math.inf)
        assert risen is not None
        self._rank.update(risen)
        for other in needed:
            self._needs[step][other] = None
            self._needed_by[other][step] = None

    def unite(self, first: Step, second: Step) -> None:
        """Lets `first` stand for `second` as well, if it may wait for what `second` waits for."""
        needed, followers = self._needs.pop(second), self._needed_by.pop(second)
        del self._rank[second]
        for other in needed:
            del self._needed_by[other][second]
        for other in followers:
            del self._needs[other][second]
        self.wait(first, [other for other in needed if other is not first])
        for other in followers:
            self.wait(other, [first])

    def _risen(
        self, step: Step, needed: Iterable[Step], far: float = FAR
    ) -> dict[Step, int] | None:
        """The new ranks if `step` waits for others as well."""
        goal = set(needed)
        rising = [(step, 1 + max([self._rank[other] for other in goal], default=-1))]
        risen: dict[Step, int] = {}
        while rising:
            follower, rank = rising.pop()
            if follower in goal or len(risen) == far:
                return None
            if rank > risen.get(follower, self._rank[follower]):
                risen[follower] = rank
                rising += [(other, rank + 1) for other in self._needed_by[follower]]
        return risen

    def in_order(self) -> Iterator[Step]:
        """Every step after those it waits for, otherwise as they began."""
        done: set[Step] = set()
        for first in self._needs:
            stack = [first]
            while stack:
                step = stack[-1]
                left = [other for other in self._needs[step] if other not in done]
                if left:
                    stack += reversed(left)
                    continue
                stack.pop()
                if step not in done:
                    done.add(step)
                    yield step
