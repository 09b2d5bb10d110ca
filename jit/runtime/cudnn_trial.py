"""Trials of cuDNN's plans on a device: see `jit.runtime.trials`.

Most numbers of the operands are 0, so that a sum of a million products has few that count: what it
may miss stays small, and an element in a wrong place shows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np

from jit.ir.convolution import FILTERS, FORWARD
from jit.runtime import trials
from jit.runtime.cudnn import Convolving
from jit.runtime.trials import PERIOD, numbers

SAMPLES, MOST = 64, 1 << 24  # elements of a result that are compared, and products of all of them
COUNTED = 64  # products of an element that are not 0, about
Array = np.ndarray[Any, Any]
Terms = tuple[list[Any], list[Any], Array]  # places in both operands, whether they are there


class Trial(trials.Trial):
    """Memory on the active device in which plans are tried; it goes with this object.

    Args:
        job: What they compute; with an epilogue, both it and the convolution without.
        workspace: How many bytes they need at most.

    Raises:
        OutOfMemoryError: There is no room.
    """

    def __init__(self, job: Convolving, workspace: int) -> None:
        c: Any = job.convolution
        self.convolution = c
        self.operations = 2 * c.multiplications
        self._inner = max(1, self.operations // (2 * math.prod(c.made)))
        self._operands = [sparse(job.dtype, side, self._inner) for side in (0, 1)]
        about = job.dtype, job.precision, job.epilogue, c.made[-1]
        elements = [math.prod(extents) for extents in (*c.operands, c.made)]
        super().__init__(*about, elements, workspace, self._operands)

    def samples(self) -> Iterator[tuple[int, float, float, int]]:
        """Some elements; the first and the last are among them."""
        made: Any = self.convolution.made
        rng = np.random.default_rng(3)
        count = max(2, min(SAMPLES, MOST // self._inner))
        drawn = rng.integers(0, made, (count, len(made))).tolist()
        for at in ([0] * len(made), [extent - 1 for extent in made], *drawn):
            yield int(np.ravel_multi_index(at, made)), *self._element(at)

    def _element(self, at: list[int]) -> tuple[float, float, int]:
        """An element, the sum of the absolute values that it is the sum of, how many count."""
        c = self.convolution
        *places, inside = terms_of(c, at)
        sides = []
        for place, extents, block in zip(places, c.operands, self._operands, strict=True):
            flat = linear(place, extents)
            sides.append(np.where(inside, block[flat % PERIOD].astype(np.float64), 0.0))
        terms = sides[0] * sides[1]
        return float(terms.sum()), float(np.abs(terms).sum()), int(np.count_nonzero(terms))


@cache
def sparse(dtype: str, side: int, inner: int) -> Any:
    """What an operand holds, again and again, for sums of so many products."""
    rng = np.random.default_rng(7 + side)
    counted = rng.random(PERIOD) < math.sqrt(COUNTED / inner)
    return np.where(counted, numbers(dtype, side), 0).astype(numbers(dtype, side).dtype)


def linear(at: list[Any], extents: Any) -> Array:
    """The row-major position of an index."""
    found: Any = 0
    for i, extent in zip(at, extents, strict=True):
        found = found * extent + i
    return found


def terms_of(c: Any, at: list[int]) -> Terms:
    """The products that an element of a convolution is the sum of."""
    images, filters, results, steps = c.images, c.filters, c.results, (c.stride, c.dilation, c.low)
    per_group, wide = filters[-1], results[-1] // c.groups
    first, *own, last = at
    if c.kind == FORWARD:
        *taps, channel = grid(*filters[1:])
        place = [p * s + r * d - low for p, r, s, d, low in zip(own, taps, *steps)]
        inside = all_of([(i >= 0) & (i < n) for i, n in zip(place, images[1:-1])])
        image = [first, *place, last // wide * per_group + channel]
        return image, [last, *taps, channel], inside
    if c.kind == FILTERS:
        batch, *spots = grid(*results[:-1])
        place = [p * s + r * d - low for p, r, s, d, low in zip(spots, own, *steps)]
        inside = all_of([(i >= 0) & (i < n) for i, n in zip(place, images[1:-1])])
        image = [batch, *place, first // wide * per_group + last]
        return image, [batch, *spots, first], inside
    *taps, channel = grid(*filters[1:-1], wide)
    spread = [h + low - r * d for h, r, d, low in zip(own, taps, *steps[1:])]
    spots = [x // s for x, s in zip(spread, c.stride)]
    reached = zip(spread, spots, c.stride, results[1:-1], strict=True)
    inside = all_of([(x % s == 0) & (p >= 0) & (p < n) for x, p, s, n in reached])
    of_results = last // per_group * wide + channel
    return [first, *spots, of_results], [of_results, *taps, last % per_group], inside


def grid(*extents: Any) -> list[Array]:
    """The indices of an array, one after the other."""
    return [x.reshape(-1) for x in np.indices(extents)]


def all_of(conditions: list[Array]) -> Array:
    """Where all conditions hold."""
    return np.logical_and.reduce(np.broadcast_arrays(*conditions))
