"""A program as arrays of numbers, in which what repeats is found without looking at each node."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any

import numpy as np

from jit.ir.graph import Node, Value

Numbers = np.ndarray[Any, np.dtype[np.int64]]

FACTOR = 0x9E3779B97F4A7C15  # odd, so that its powers have inverses
OUTPUTS = 1 << 16  # more than a node has
CHUNK = 1 << 10  # nodes that are looked at together, and then twice as many


class Spans:
    """Compares parts of a list of numbers, in a time that does not depend on their length.

    By sums over all numbers before a place: parts that differ are taken for the same by chance
    only, about once in 2**60 times.
    """

    def __init__(self, numbers: Sequence[int]) -> None:
        count = len(numbers)
        spread = np.random.default_rng(0).integers(
            1, 1 << 63, max(numbers, default=0) + 1, np.uint64
        )
        self._powers = powers(FACTOR, count + 1)
        self._sums = np.zeros(count + 1, np.uint64)
        np.cumsum(spread[list(numbers)] * self._powers[:-1], out=self._sums[1:])
        self.count = count

    def same(self, a: int, b: int, length: int) -> bool:
        """Whether the parts of this length from `a` and from `b` on, which is later, are equal."""
        if b + length > self.count:
            return False
        one, other = (int(self._sums[at + length]) - int(self._sums[at]) for at in (a, b))
        return (one * int(self._powers[b - a]) - other) % (1 << 64) == 0

    def common(self, a: int, b: int) -> int:
        """How long the parts from `a` and from `b` on are equal."""
        least, most = 0, 1
        while self.same(a, b, most):
            least, most = most, 2 * most
        while most - least > 1:
            middle = (least + most) // 2
            least, most = (middle, most) if self.same(a, b, middle) else (least, middle)
        return least

    def next_alike(self, window: int) -> list[int]:
        """For each place the next one from which on so many numbers are the same; -1 for none."""
        found = np.full(self.count, -1)
        places = self.count - window + 1
        if places > 0:
            inverse = powers(pow(FACTOR, -1, 1 << 64), places)
            words = (self._sums[window:] - self._sums[:places]) * inverse
            order = np.argsort(words, kind="stable")
            again = np.flatnonzero(words[order[:-1]] == words[order[1:]])
            found[order[again]] = order[again + 1]
        return found.tolist()


def powers(factor: int, count: int) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """1, factor, factor**2, ..., modulo 2**64."""
    made = np.full(count, factor, np.uint64)
    made[0] = 1
    return np.cumprod(made, dtype=np.uint64)


def integers(numbers: Iterable[int]) -> Numbers:
    """Numbers as an array."""
    return np.fromiter(numbers, np.int64)


class References:
    """What nodes read: a row for each input of each node.

    Args:
        nodes: In program order.
        place: The number of the node that assigns a value.
        known: A number for each value that is known, equal for equal ones.
    """

    def __init__(
        self, nodes: Sequence[Node], place: Mapping[Value, int], known: Mapping[Value, int]
    ) -> None:
        values = [value for node in nodes for value in node.inputs]
        ends = np.cumsum([len(node.inputs) for node in nodes], dtype=np.int64)
        self._starts = np.concatenate([np.zeros(1, np.int64), ends])
        places = integers(map(place.get, values, repeat(-1)))
        self._origins = places * OUTPUTS + integers([value.index for value in values])
        first: dict[int, Value] = {}
        same = {value: first.setdefault(number, value) for value, number in known.items()}
        self._names = integers(map(id, map(same.get, values, values) if same else values))
        self._attrs = integers([id(node.attrs) if node.attrs else 0 for node in nodes])
        self._pure = np.array([node.op.pure for node in nodes], bool)

    def odd(self, start: int, period: int, at: int, end: int) -> Iterator[int]:
        """Nodes in `at .. end`, in order, for which it is not plain that they repeat.

        That is plain where the node a period later has the very same attrs, and reads the same
        values from before `start`, and others from as far.
        """
        size = CHUNK
        while at < end:
            stop = min(at + size, end)
            yield from (at + self._odd(start, period, at, stop)).tolist()
            at, size = stop, 2 * size

    def _odd(self, start: int, period: int, at: int, end: int) -> Numbers:
        first, last = int(self._starts[at]), int(self._starts[end])
        apart = int(self._starts[at + period]) - first
        earlier, later = slice(first, last), slice(first + apart, last + apart)
        origins = self._origins[later]
        same = self._names[earlier] == self._names[later]
        as_far = origins - self._origins[earlier] == period * OUTPUTS
        plain = np.where(origins < start * OUTPUTS, same, as_far)
        nodes = self._attrs[at:end] == self._attrs[at + period : end + period]
        nodes &= self._pure[at + period : end + period]
        owners = np.searchsorted(self._starts, np.flatnonzero(~plain) + first, side="right") - 1
        nodes[owners - at] = False
        return np.flatnonzero(~nodes)
