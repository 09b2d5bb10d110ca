"""Loops whose rounds need nothing of each other, interpreted with all rounds at once.

Each value has a row for each round, so that NumPy is called once where it would be called for every
round. Nothing is changed before it is known that one round after the other gives the same: no two
rounds store to one element, and none loads what another one stores. Where that does not hold, or a
round does what is refused, the rounds are left to the interpreter, which takes them in turn.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np

from jit.loops.interpret import Refused, Run
from jit.loops.ir import Buffer, Check, For, Let, Load, Prefetch, Store, VType
from jit.types import bool_, int64

Array = np.ndarray[Any, Any]
Touched: TypeAlias = "tuple[Array, Array]"  # elements, and the rounds that they are touched in

STATEMENTS = (Let, Load, Store, Check, Prefetch)
FEWEST, MOST = 4, 4096  # rounds that are taken at once


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
        run.in_turn[loop] = not all(isinstance(s, STATEMENTS) for s in loop.body)
    return not run.in_turn[loop]


class Rounds(Run):
    """Some rounds of a loop: arrays of (rounds, lanes), or of (lanes,) where all are alike.

    Args:
        outer: What runs the loop.
        loop: The loop.
        rounds: The values of its variable.
    """

    def __init__(self, outer: Run, loop: For, rounds: range) -> None:
        self.outer, self.count = outer, len(rounds)
        self.numbers = np.arange(self.count)[:, None]
        self.kernel, self.holds, self.literals = outer.kernel, True, outer.literals
        self.memory, self.written = outer.memory, outer.written
        self.values = {**outer.values, loop.var: np.array(rounds, int64)[:, None]}
        self.stores: dict[Buffer, list[tuple[Store, Array, Array]]] = {}
        self.loads: dict[Buffer, list[tuple[Array, Array]]] = {}
        self.rules = {
            Let: self._let,
            Load: self._load,
            Store: self._store,
            Check: self._check,
            Prefetch: lambda _: None,
        }

    def take(self, loop: For) -> None:
        """Runs the rounds.

        Raises:
            Refused: They have to be taken in turn; nothing was changed.
        """
        for statement in loop.body:
            self.rules[type(statement)](statement)
        for buffer, stores in self.stores.items():
            self._require_apart(stores, self.loads.get(buffer, []))
        for stores in self.stores.values():
            for store, at, mask in stores:
                self._write(store, at, mask)
        self.outer.holds &= self.holds

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
        owner = self.outer.owner(load.buffer)
        if owner in self.stores:
            raise Refused("loads what may have been stored")
        written = self.written.get(load.buffer)
        if written is not None and not written[at[mask]].all():
            raise Refused("reads an element that was never written")
        result = np.empty(at.shape, load.var.type.dtype)
        result[...] = self._lanes(load.other, load.var.type, 0)
        result[mask] = self.memory[load.buffer][at[mask]]
        self.values[load.var] = result
        self.loads.setdefault(owner, []).append((at, mask))

    def _store(self, store: Store) -> None:
        at, mask = self.place(store, store.value.type)
        shape = self.count, at.shape[-1]
        found = store, stretched(at, shape), stretched(mask, shape)
        self.stores.setdefault(self.outer.owner(store.buffer), []).append(found)

    def _write(self, store: Store, at: Array, mask: Array) -> None:
        value = stretched(self.value(store.value), at.shape)
        self.memory[store.buffer][at[mask]] = value[mask]
        if store.buffer in self.written:
            self.written[store.buffer][at[mask]] = True

    def _require_apart(
        self, stores: list[tuple[Store, Array, Array]], loads: list[tuple[Array, Array]]
    ) -> None:
        """Demands that rounds may be taken in any order, as far as one buffer goes."""
        at, rounds = joined(self._touched([(at, mask) for _, at, mask in stores]))
        order = np.argsort(at)
        at, rounds = at[order], rounds[order]
        if (at[1:] == at[:-1]).any():
            raise Refused("stores twice to one element")
        if not len(at):
            return
        for loaded, taken in self._touched(loads):
            place = np.minimum(np.searchsorted(at, loaded), len(at) - 1)
            if ((at[place] == loaded) & (rounds[place] != taken)).any():
                raise Refused("loads what another round stores")

    def _touched(self, places: list[tuple[Array, Array]]) -> Iterator[Touched]:
        """Which elements are touched, and in which rounds."""
        for at, mask in places:
            shape = self.count, at.shape[-1]
            mask = stretched(mask, shape)
            yield stretched(at, shape)[mask], stretched(self.numbers, shape)[mask]


def joined(touched: Iterator[Touched]) -> Touched:
    """Several of them as one."""
    first, *others = touched
    if not others:
        return first
    at, rounds = zip(first, *others)
    return np.concatenate(at), np.concatenate(rounds)


def stretched(x: Array, shape: tuple[int, ...]) -> Array:
    """`x` in a shape that it broadcasts to."""
    return x if x.shape == shape else np.broadcast_to(x, shape)
