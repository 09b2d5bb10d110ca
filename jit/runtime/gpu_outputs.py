"""Outputs: arrays for what calls on a GPU compute, made before and used again and again.

All results of a call lie in the arrays of a *turn*, and a few turns are there. One is taken when
nobody has an array of it any more, so launches write to the same few places all the time, and a
graph that was captured for them can be replayed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from operator import itemgetter
from sys import getrefcount
from typing import Any, NamedTuple
from weakref import getweakrefcount

import numpy as np

from jit.dataclass import dataclass
from jit.runtime.cuda import allocate, cupy, pool
from jit.runtime.gpu_entry import ONLY_OURS, unheld
from jit.runtime.gpu_table import ALIGNMENT

SMALL = 1 << 16  # bytes of an output up to which it is copied out, if somebody keeps it
IN_TURNS = 1 << 26  # bytes of an output up to which its memory is kept for later calls
TURNS = 3  # how many turns there are, at most
FEW = 2  # turns of which all are held by small outputs before these are copied


class Made(NamedTuple):
    """An output that is computed."""

    position: int
    base: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    size: int


@dataclass(frozen=True)
class Turn:
    """The arrays of one call.

    Attributes:
        number: Equal for calls with the same arrays; None: they are for one call only.
        made: What they are for.
        arrays: One for each.
        order: Makes the results of a call of these arrays and of what was there before.
    """

    number: int | None
    made: tuple[Made, ...]
    arrays: list[Any]
    order: Callable[[list[Any]], Sequence[Any]]


class Outputs:
    """Arrays for the results of a run, one call at a time.

    Args:
        made: What is computed, but for what takes the memory of an input.
        others: Where results are that are there before: position to number.
        repeated: Results that are others: position to the first one.
        name: For messages.
        fixed: Positions whose results come back as inputs.

    Attributes:
        copied: What is computed in one place, and copied out, as somebody keeps it.
    """

    def __init__(
        self,
        made: Sequence[Made],
        others: dict[int, int],
        repeated: dict[int, int],
        name: str,
        fixed: Collection[int],
    ) -> None:
        self._others, self._repeated = others, repeated
        self._name, self._fixed = name, fixed
        self._in_turns = [x for x in made if x.size <= IN_TURNS]
        self._large = [x for x in made if x.size > IN_TURNS]
        self.copied: list[Made] = []
        self._turns: list[Turn] = []
        self._next = self._numbers = 0
        self._room: Any = None
        self._unheld = unheld(cupy())

    def take(self, busy: Sequence[Made] = ()) -> Turn:
        """Arrays that nobody has.

        Args:
            busy: Outputs that were to take the memory of an input, and cannot this time.
        """
        if busy or self._large:
            return self._once(busy)
        turn = self._free()
        if turn is None and len(self._turns) >= FEW and self._set_apart():
            turn = self._free()
        if turn is None and len(self._turns) == TURNS:
            return self._once(())
        if turn is None:
            turn = self._turn(self._arrays(self._in_turns))
            self._turns.append(turn)
        return turn

    def _free(self) -> Turn | None:
        turns = self._turns
        for k in range(self._next, self._next + len(turns)):
            turn = turns[k % len(turns)]
            if self._unheld(turn.arrays):
                self._next = k % len(turns) + 1
                return turn
        return None

    def _turn(self, arrays: list[Any]) -> Turn:
        self._numbers += 1
        return Turn(self._numbers, tuple(self._in_turns), arrays, self._order(self._in_turns))

    def _once(self, busy: Sequence[Made]) -> Turn:
        """Arrays for one call."""
        made = [*self._in_turns, *self._large, *busy]
        return Turn(None, tuple(made), self._arrays(made), self._order(made))

    def _order(self, made: Sequence[Made]) -> Callable[[list[Any]], Sequence[Any]]:
        """How results are found in a list of arrays of their own, copied ones, and others."""
        new = [*made, *self.copied]
        found = {position: len(new) + k for position, k in self._others.items()}
        found.update({x.position: k for k, x in enumerate(new)})
        found.update({position: found[first] for position, first in self._repeated.items()})
        numbers = [found[position] for position in range(len(found))]
        if len(numbers) < 2:  # for which `itemgetter` gives no tuple
            return lambda arrays: [arrays[k] for k in numbers]
        return itemgetter(*numbers)

    # ----- memory -----

    def _arrays(self, made: Sequence[Made]) -> list[Any]:
        """New arrays; small ones lie side by side."""
        small = [x for x in made if x.size <= SMALL]
        beside = self._side_by_side(small)
        module = cupy()
        return [
            beside[x.position]
            if x.position in beside
            else module.ndarray(x.shape, x.dtype, self._memory(x.size))
            for x in made
        ]

    def _side_by_side(self, made: Sequence[Made]) -> dict[int, Any]:
        """Arrays in one block, by position."""
        if not made:
            return {}
        offsets, size = offsets_of(made)
        memory = self._memory(size)
        ndarray = cupy().ndarray
        return {x.position: ndarray(x.shape, x.dtype, memory + at) for x, at in zip(made, offsets)}

    def _memory(self, size: int) -> Any:
        return allocate(size, f"a result of {self._name}", pool())

    # ----- what is copied out -----

    def _set_apart(self) -> bool:
        """Has small outputs copied out from now on, of which every turn is held by somebody."""
        held = [
            x
            for k, x in enumerate(self._in_turns)
            if x.size <= SMALL
            and x.position not in self._fixed
            and all(is_held(turn.arrays, k) for turn in self._turns)
        ]
        if not held:
            return False
        rest = [k for k, x in enumerate(self._in_turns) if x not in held]
        self._in_turns = [self._in_turns[k] for k in rest]
        self.copied = [*self.copied, *held]
        self._room = self._memory(offsets_of(self.copied)[1])
        self._turns = [self._turn([turn.arrays[k] for k in rest]) for turn in self._turns]
        return True

    def places(self, turn: Turn) -> dict[int, int]:
        """Where the outputs of a turn are computed: addresses by number of the base."""
        found = {x.base: array.data.ptr for x, array in zip(turn.made, turn.arrays, strict=True)}
        for x, at in zip(self.copied, offsets_of(self.copied)[0]):
            found[x.base] = self._room.ptr + at
        return found

    def copy_out(self, stream: Any) -> list[Any]:
        """Arrays of their own for what is copied."""
        if not self.copied:
            return []
        offsets, size = offsets_of(self.copied)
        memory, runtime = self._memory(size), cupy().cuda.runtime
        kind = runtime.memcpyDeviceToDevice
        runtime.memcpyAsync(memory.ptr, self._room.ptr, size, kind, stream.ptr)
        ndarray = cupy().ndarray
        return [ndarray(x.shape, x.dtype, memory + at) for x, at in zip(self.copied, offsets)]


def offsets_of(made: Sequence[Made]) -> tuple[list[int], int]:
    """Places of outputs side by side, and how many bytes they are together."""
    offsets, size = list[int](), 0
    for x in made:
        offsets.append(size)
        size += -(-max(x.size, 1) // ALIGNMENT) * ALIGNMENT
    return offsets, size


def is_held(arrays: list[Any], number: int) -> bool:
    """Whether somebody beside this list refers to an array of it."""
    return getrefcount(arrays[number]) > ONLY_OURS or getweakrefcount(arrays[number]) > 0
