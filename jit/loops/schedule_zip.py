"""`zip`: rows of a few elements are computed side by side, and put together as they are stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jit.loops.fold import apart
from jit.loops.ir import Alloc, Buffer, For, Kernel, Lit, Load, Operand, Store, VType, index, walk
from jit.loops.rewrite import rewrite_loops
from jit.loops.schedule_vectorize import Row, Vectorize

NAME = "zip"


def zip_rows(kernel: Kernel, loops: Mapping[str, int]) -> Kernel:
    """`vectorize` of loops whose turns store a few elements beside each other.

        for i in 0 .. n step 1 {         for i in 0 .. full step 8 {
          x = load X[i]                    x: float32x8 = load X[i]
          y = load Y[i]                    y: float32x8 = load Y[i]
          store Z[2 * i] = x        ->     z: float32x16 = shuffle(x, y)
          store Z[2 * i + 1] = y           store Z[2 * i] = z
        }                                }
                                         ...

    Args:
        kernel: Where the loops are.
        loops: The hints of their variables, and how many turns of each run together.

    Raises:
        ScheduleError: As `vectorize` does.
    """
    rewrite = _Zip(kernel, loops, "mask")
    return rewrite_loops(kernel, loops, NAME, rewrite, rewrite.spread)


class Kept(NamedTuple):
    """A store that waits."""

    at: Row
    value: Operand
    nontemporal: bool


class _Zip(Vectorize):
    """Keeps what lies beside each other until all of it is there."""

    directive = NAME

    def spread(self, s: For) -> None:
        """Writes all of a loop in lanes."""
        self.loaded = {x.buffer for x in walk(s.body) if isinstance(x, Load)}
        self.kept: dict[tuple[Buffer, Operand | None, int], dict[int, Kept]] = {}
        super().spread(s)

    def _rest(self, s: For, full: Operand, rest: Operand) -> None:
        """Turns that are left over, as a shorter vector if it is known how many these are.

        Masked, elements with others between them would be fetched and stored one by one.
        """
        if type(rest) is not Lit or any(isinstance(x, Alloc) for x in walk(s.body)):
            return super()._rest(s, full, rest)
        lanes, self.lanes = self.lanes, int(rest.value)
        self._turn(s, full)
        self.lanes = lanes
        return None

    def store(self, s: Store) -> None:
        """Stores what is complete; nobody reads what has to wait."""
        buffer, at = self._place(s.buffer, s.index)
        whole = self.running is None and s.mask is None and s.buffer not in self.loaded
        if not whole or not isinstance(at, Row) or type(at.stride) is not Lit or at.each > 1:
            return super().store(s)
        count, (first, offset) = int(at.stride.value), apart(at.base, self.made)
        if isinstance(first, Lit):
            first, offset = index(0), offset + int(first.value)
        beside = self.kept.setdefault((buffer, first, count), {})
        beside[offset] = Kept(at, self.wide(self.operand(s.value)), s.nontemporal)
        least = min(beside)
        if count > 1 and sorted(beside) == [*range(least, least + count)]:
            values = self._together([x.value for _, x in sorted(beside.items())])
            self.body.append(Store(buffer, beside[least].at.base, values, None, s.nontemporal))
            beside.clear()
        return None

    def _turn(self, s: For, base: Operand) -> None:
        super()._turn(s, base)
        for (buffer, _, _), beside in self.kept.items():
            for x in beside.values():
                at = self._address(x.at)
                self.body.append(Store(buffer, at, x.value, None, x.nontemporal))
        self.kept.clear()

    def _together(self, values: Sequence[Operand]) -> Operand:
        """The first lane of each, then the second of each, and so on."""
        count, lanes = len(values), values[0].type.lanes
        if count == 1:
            return values[0]
        if count % 2 == 0:
            pair = self._together(values[::2]), self._together(values[1::2])
            half = count // 2 * lanes
            return self._chosen(pair, [k // 2 + k % 2 * half for k in range(count * lanes)])
        *others, last = values
        total = self._chosen((others[0], others[1]), range(2 * lanes))
        for k, value in enumerate(others[2:], 2):
            total = self._joined(total, value, k)
        order = [k % count * lanes + k // count for k in range(count * lanes)]
        return self._chosen((total, self._stretched(last, total.type.lanes)), order)

    def _joined(self, total: Operand, value: Operand, count: int) -> Operand:
        """One more vector behind `count` of them."""
        lanes = (count + 1) * value.type.lanes
        return self._chosen((total, self._stretched(value, total.type.lanes)), range(lanes))

    def _stretched(self, x: Operand, lanes: int) -> Operand:
        """`x`, and any lanes behind it."""
        return self._chosen((x, x), [k % x.type.lanes for k in range(lanes)])

    def _chosen(self, pair: tuple[Operand, Operand], order: Sequence[int]) -> Operand:
        type_ = VType(pair[0].type.dtype, len(order))
        return self.value("shuffle", pair, type_, tuple(order))
