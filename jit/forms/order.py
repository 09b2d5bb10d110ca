"""The canonical order of folds: which elements meet in which order, by logical indices only.

Tiles, threads, vector width and layout never change it, so a fold has the same bits however it is
computed. The loops are those of the folded value's shape, without extents of 1.

*Along the last loop.* The trailing loops that are folded count as one, `j`. It is cut into blocks
of `BLOCK`; in a block, lane `l` of `LANES` folds the elements with j % LANES == l in rising order;
the lanes meet by halving (lane l with lane l + 16, then l + 8, ...). The results of the blocks are
folded in lanes in just this way, but in one block. That is done for each index of the other folded
loops, in row-major order, and these results are folded one after the other. Lanes without elements
hold the identity, so fewer lanes give the same bits; more do where order does not matter (whole
numbers, places).

*Along other loops*, when the last loop is kept: elements are folded one after the other in
row-major order, in blocks of `COLUMN_BLOCK` indices of the first folded loops (adjacent ones count
as one); the blocks are folded one after the other.

*Running folds* go strictly from one element to the next along their axis, from its start (its end
if they are reversed); the first element meets the identity.

*Updates that meet* in an element of a scatter follow in row-major order of their own indices, after
the element that was there. Sums of halves run in float32 and are rounded once.

*Products* are summed in chains of fused multiply-adds: see `jit.forms.contraction.blocks`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from jit.dataclass import dataclass

LANES = 32
BLOCK = 4096
COLUMN_BLOCK = 256
CONTRACT_BLOCK = 256
UNITS_BLOCK = 4096  # likewise, of tensor cores


@dataclass(frozen=True)
class Order:
    """How the loops of a fold are walked.

    Attributes:
        kept: The loops that stay.
        outer: The folded loops that are walked one index after the other.
        inner: The folded loops that lanes share out; empty if the last loop is kept.
    """

    kept: tuple[int, ...]
    outer: tuple[int, ...]
    inner: tuple[int, ...]

    @classmethod
    def of(cls, rank: int, axes: frozenset[int]) -> Order:
        """The order in which a fold over `axes` of `rank` loops goes."""
        first = rank
        while first - 1 in axes:
            first -= 1
        kept = tuple([k for k in range(rank) if k not in axes])
        outer = tuple([k for k in range(first) if k in axes])
        return cls(kept, outer, tuple(range(first, rank)))

    @property
    def blocked(self) -> tuple[int, ...]:
        """Of a fold whose last loop is kept: the folded loops that are cut into blocks."""
        count = 1
        while count < len(self.outer) and self.outer[count] == self.outer[0] + count:
            count += 1
        return self.outer[:count]


def halved(lanes: list[Any], merge: Callable[[Any, Any], Any], identity: Any) -> Any:
    """Lanes folded by halving, with the identity where there are too few."""
    width = 1 << max(0, len(lanes) - 1).bit_length()
    lanes = [*lanes, *[identity] * (width - len(lanes))]
    while width > 1:
        width //= 2
        lanes = [merge(lanes[k], lanes[k + width]) for k in range(width)]
    return lanes[0]


def fold_few(
    rows: Sequence[Sequence[Any]], merge: Callable[[Any, Any], Any], identity: Any, *, lanes: bool
) -> Any:
    """A fold of few elements: at most `LANES` in a row and `COLUMN_BLOCK` rows.

    Args:
        rows: For each index of the outer loops the elements of the inner ones (one if none).
        merge: How two meet.
        identity: What stands for no elements.
        lanes: Whether the last loop is folded.
    """
    total = identity
    if not lanes:
        for row in rows:
            total = merge(total, row[0])
        return merge(identity, total)
    for row in rows:
        total = merge(total, halved(list(row), merge, identity))
    return total
