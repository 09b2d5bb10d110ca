"""Loops whose rounds need nothing of each other, interpreted with all rounds at once.

Each value has a row for each round, so that NumPy is called once where it would be called for every
round; a loop inside of such a loop has rows for the rounds of both. Nothing is changed before it is
known that one round after the other gives the same: no two rounds store to one element, and none
loads what another one stores. Where that does not hold, or a round does what is refused, the rounds
are left to the interpreter, which takes them in turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import Any

import numpy as np

from jit.dataclass import dataclass
from jit.loops.interpret import Refused, Run
from jit.loops.ir import Buffer, Check, For, Let, Lit, Load, Operand, Prefetch, Store, VType
from jit.types import bool_, int64

Array = np.ndarray[Any, Any]

STATEMENTS = (Let, Load, Store, Check, Prefetch)
FEWEST, MOST = 4, 4096  # rounds that are taken at once
ROWS = 1 << 16  # rows of a loop inside of another


def taken_at_once(run: Run, loop: For, rounds: range) -> int:
    """Runs the first rounds of a loop, as many as can be taken at once; how many these are."""
    done = 0
    while len(rounds) - done >= FEWEST and can_be_taken(run, loop):
        part = rounds[done : done + MOST]
        try:
            Rounds(run, loop, part).take(loop)
        except Refused:
            run.in_turn[loop] = True
            break
        done += len(part)
    return done


def can_be_taken(run: Run, loop: For) -> bool:
    """Whether a loop has statements for all rounds at once, and was not refused before."""
    if loop not in run.in_turn:
        run.in_turn[loop] = not is_plain(loop)
    return not run.in_turn[loop]


def is_plain(loop: For) -> bool:
    """Whether a loop, and those inside of it, have no memory of their own and no conditions."""
    return all(is_plain(s) if isinstance(s, For) else isinstance(s, STATEMENTS) for s in loop.body)


@dataclass(eq=False)
class Touched:
    """What the rounds of a loop, and of those inside of it, touch.

    Attributes:
        stores: By buffer.
        loads: Likewise.
        rows: How many rows there have been so far: each has a number.
    """

    stores: dict[Buffer, list[Place]] = field(default_factory=dict)
    loads: dict[Buffer, list[Place]] = field(default_factory=dict)
    rows: int = 0


@dataclass(eq=False)
class Place:
    """What a statement touches in all rounds."""

    run: Rounds
    access: Load | Store
    at: Array
    mask: Array

    def elements(self) -> tuple[Array, Array]:
        """Elements, and the number of the row that touches each."""
        shape = self.run.count, self.at.shape[-1]
        mask = stretched(self.mask, shape)
        return stretched(self.at, shape)[mask], stretched(self.run.numbers, shape)[mask]


class Rounds(Run):
    """Some rounds of a loop: arrays of (rows, lanes), or of (lanes,) where all are alike.

    Args:
        outer: What runs the loop; itself `Rounds`, if the loop is inside of another.
        loop: The loop.
        rounds: The values of its variable, for each row outside.
    """

    def __init__(self, outer: Run, loop: For, rounds: range) -> None:
        inside = isinstance(outer, Rounds)
        self.outer, self.often = outer, len(rounds)
        self.count = self.often * (outer.count if inside else 1)
        self.kernel, self.holds, self.literals = outer.kernel, True, outer.literals
        self.memory, self.written = outer.memory, outer.written
        numbers = np.tile(np.array(rounds, int64), self.count // self.often)
        self.values = {loop.var: numbers[:, None]}
        self.touched = outer.touched if inside else Touched()
        self.numbers = self.touched.rows + np.arange(self.count)[:, None]
        self.touched.rows += self.count
        self.rules = {
            Let: self._let,
            Load: self._load,
            Store: self._store,
            For: self._for,
            Check: self._check,
            Prefetch: lambda _: None,
        }

    def take(self, loop: For) -> None:
        """Runs the rounds.

        Raises:
            Refused: They have to be taken in turn; nothing was changed.
        """
        self._each(loop)
        for buffer, stores in self.touched.stores.items():
            require_apart(stores, self.touched.loads.get(buffer, []))
        for stores in self.touched.stores.values():
            for place in stores:
                place.run.write(place)
        self.outer.holds &= self.holds

    def _each(self, loop: For) -> None:
        for statement in loop.body:
            self.rules[type(statement)](statement)

    def value(self, x: Operand) -> Array:
        """An operand's lanes, in each row."""
        if isinstance(x, Lit):
            return super().value(x)
        found = self.values.get(x)
        if found is None:
            found = self.outer.value(x)
            if found.ndim > 1:
                found = np.repeat(found, self.often, axis=0)
            self.values[x] = found
        return found

    def owner(self, buffer: Buffer) -> Buffer:
        """As outside."""
        return self.outer.owner(buffer)

    def place(self, access: Load | Store, type_: VType) -> tuple[Array, Array]:
        """The index and the mask of each lane, of one shape."""
        at = self.value(access.index)
        if at.shape[-1] == 1:
            at = at + np.arange(type_.lanes)
        mask = self._lanes(access.mask, VType(bool_, type_.lanes), default=True)
        if (mask & ((at < 0) | (at >= len(self.memory[access.buffer])))).any():
            raise Refused("reaches an element that is not there")
        shape = at.shape if at.ndim > mask.ndim else mask.shape
        return stretched(at, shape), stretched(mask, shape)

    def _load(self, load: Load) -> None:
        at, mask = self.place(load, load.var.type)
        owner = self.owner(load.buffer)
        if owner in self.touched.stores:
            raise Refused("loads what may have been stored")
        written = self.written.get(load.buffer)
        if written is not None and not written[at[mask]].all():
            raise Refused("reads an element that was never written")
        result = np.empty(at.shape, load.var.type.dtype)
        result[...] = self._lanes(load.other, load.var.type, 0)
        result[mask] = self.memory[load.buffer][at[mask]]
        self.values[load.var] = result
        self.touched.loads.setdefault(owner, []).append(Place(self, load, at, mask))

    def _store(self, store: Store) -> None:
        at, mask = self.place(store, store.value.type)
        shape = self.count, at.shape[-1]
        place = Place(self, store, stretched(at, shape), stretched(mask, shape))
        self.touched.stores.setdefault(self.owner(store.buffer), []).append(place)

    def write(self, place: Place) -> None:
        """Stores what was put off."""
        store, at, mask = place.access, place.at, place.mask
        assert isinstance(store, Store)
        value = stretched(self.value(store.value), at.shape)
        self.memory[store.buffer][at[mask]] = value[mask]
        if store.buffer in self.written:
            self.written[store.buffer][at[mask]] = True

    def _for(self, loop: For) -> None:
        bounds = self.value(loop.start), self.value(loop.stop)
        if any(bound.ndim > 1 for bound in bounds):
            raise Refused("has another number of rounds each time")
        start, stop = (int(bound[0]) for bound in bounds)
        rounds = range(start, stop, loop.step)
        if len(rounds) * self.count > ROWS:
            raise Refused("has too many rounds")
        if rounds:
            inner = Rounds(self, loop, rounds)
            inner._each(loop)
            self.holds &= inner.holds


def require_apart(stores: Sequence[Place], loads: Sequence[Place]) -> None:
    """Demands that rounds may be taken in any order, as far as one buffer goes.

    Raises:
        Refused: They may not.
    """
    touched = [place.elements() for place in stores]
    at, rows = touched[0] if len(touched) == 1 else map(np.concatenate, zip(*touched))
    order = np.argsort(at)
    at, rows = at[order], rows[order]
    if (at[1:] == at[:-1]).any():
        raise Refused("stores twice to one element")
    if not len(at):
        return
    for load in loads:
        loaded, row = load.elements()
        place = np.minimum(np.searchsorted(at, loaded), len(at) - 1)
        if ((at[place] == loaded) & (rows[place] != row)).any():
            raise Refused("loads what another round stores")


def stretched(x: Array, shape: tuple[int, ...]) -> Array:
    """`x` in a shape that it broadcasts to."""
    return x if x.shape == shape else np.broadcast_to(x, shape)
