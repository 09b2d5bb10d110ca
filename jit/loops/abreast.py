"""Chains abreast: the naive kernels of a product of few sums, computed chain by chain.

The multiply-adds of a chain wait for each other; those of other chains do not. An item is a vector
of chains of one sum. Both operands are read along their chains, in blocks that are turned in
registers, so that the vector goes across chains:

    acc = 0
    for each few places of a chain:
        turn a block of either operand; acc += products
    store acc: for each chain its part of the sum

Another kernel adds the parts of each sum in their order, with the epilogue behind it. A part is the
chain of fused multiply-adds that a tile computes.
"""

from __future__ import annotations

from collections.abc import Callable

from jit.dims import Dim
from jit.forms.contraction import size_of
from jit.forms.expression import Access, linear
from jit.forms.placement import extent_hint
from jit.forms.sums import chain_count
from jit.loops.ir import TURN, Buffer, Operand, VType, index
from jit.loops.nests import Naive
from jit.loops.plain_products import PlainProductNest
from jit.loops.tiles import SEGMENT
from jit.target import Target

PLACE = 0.7  # of an addition: a place of a chain, read and turned as part of vectors
ADDED = 4.0  # additions that one takes which waits for the one before


class AbreastNest(PlainProductNest):
    """The kernel of the chains of a contraction."""

    def adopt(self, target: Target) -> AbreastNest:
        """Takes over the width of vectors."""
        size = self.c.dtype.itemsize
        self.lanes, self.along = target.lanes(size), SEGMENT // size
        self.each = self.chain * self._turn()
        self.length = size_of(self.c.inner)
        self.whole = self.length // self.each
        return self

    def build(self, name: str) -> Naive:
        """The kernel."""
        w, lanes, chains = self.w, index(self.lanes), chain_count(self.c)
        with self.results([-(-chains // self.lanes)]) as (group,):
            first = w.let("multiply", group, lanes)
            with w.when(w.let("less", first, w.at(self.whole))):
                self._by_count(first)
            if not (isinstance(self.length, int) and self.length % self.each == 0):
                with w.when(w.let("less_equal", w.at(chains), w.let("add", first, lanes))):
                    self._rest()
        return self.made(name, PLACE * self.lanes * self.each)

    # ----- whole chains -----

    def _by_count(self, first: Operand) -> None:
        """A vector of the whole chains, or all of them if they are fewer."""
        w, lanes, whole = self.w, index(self.lanes), self.w.at(self.whole)
        if not isinstance(self.whole, int) or self.whole >= self.lanes:
            with w.when(w.let("less_equal", lanes, whole)):
                self._full(first, w.least_of(first, w.let("subtract", whole, lanes)))
        if not isinstance(self.whole, int) or self.whole < self.lanes:
            with w.when(w.let("less", whole, lanes)):
                self._few()

    def _full(self, first: Operand, start: Operand) -> None:
        """The chains from `first` on, in a vector that begins at `start`: the last is full, too."""
        w, each = self.w, index(self.each)
        begin = w.let("multiply", start, each)
        acc = self._sums(lambda n: w.let("add", begin, w.let("multiply", n, each)))
        with w.loop(index(0), index(self.lanes), hint=self.hint("lane")) as n:
            chain = w.let("add", start, n)
            with w.when(w.let("less_equal", first, chain)):
                self._store_part(chain, w.load(acc, n))

    def _few(self) -> None:
        """All whole chains; behind the last one it is read again."""
        w, last = self.w, self.w.at(self.whole - 1)
        acc = self._sums(lambda n: w.let("multiply", w.least_of(n, last), index(self.each)))
        with w.loop(index(0), index(self.lanes), hint=self.hint("lane")) as n:
            with w.when(w.let("less_equal", n, last)):
                self._store_part(n, w.load(acc, n))

    def _sums(self, start: Callable[[Operand], Operand]) -> Buffer:
        """A vector of chains; `start` tells where each begins."""
        w, lanes = self.w, self.lanes
        acc = self._zeros(lanes)
        full = self.each // self.along * self.along
        with w.loop(index(0), index(full), self.along, self.hint("k")) as k:
            blocks = [self._turned(operand, start, k) for operand in (0, 1)]
            for i in range(self.along):
                with w.loop(index(0), index(lanes), hint=self.hint("lane")) as n:
                    at = w.let("add", index(i * lanes), n)
                    left, right = [w.load(block, at) for block in blocks]
                    w.store(acc, n, self._fma(left, right, w.load(acc, n)))
        with w.loop(index(full), index(self.each), hint=self.hint("k")) as k:
            with w.loop(index(0), index(lanes), hint=self.hint("lane")) as n:
                place = w.let("add", start(n), k)
                left, right = [self._element(operand, place) for operand in (0, 1)]
                w.store(acc, n, self._fma(left, right, w.load(acc, n)))
        return acc

    def _zeros(self, size: int) -> Buffer:
        w, room = self.w, self.alloc("acc", size, "register")
        with w.loop(index(0), index(size), hint=self.hint("lane")) as n:
            w.store(room, n, w.number(0.0, VType(room.dtype)))
        return room

    def _turned(self, operand: int, start: Callable[[Operand], Operand], k: Operand) -> Buffer:
        """A block of an operand: for each of some places, elements of neighbouring chains."""
        w, lanes = self.w, self.lanes
        block = self.alloc("block", self.along * lanes, "register")
        with w.loop(index(0), index(lanes), hint=self.hint(TURN)) as n:
            first = w.let("add", start(n), k)
            with w.loop(index(0), index(self.along), hint=self.hint("along")) as i:
                at = w.let("add", w.let("multiply", i, index(lanes)), n)
                w.store(block, at, self._element(operand, w.let("add", first, i)))
        return block

    # ----- what there is besides -----

    def _rest(self) -> None:
        """The last chain, where it is shorter than the others."""
        w, at = self.w, index(0)
        start = w.let("multiply", w.at(self.whole), index(self.each))
        with w.when(w.let("less", start, w.at(self.length))):
            acc = self._zeros(1)
            with w.loop(start, w.at(self.length), hint=self.hint("k")) as place:
                left, right = [self._element(operand, place) for operand in (0, 1)]
                w.store(acc, at, self._fma(left, right, w.load(acc, at)))
            self._store_part(w.at(self.whole), w.load(acc, at))

    def _element(self, operand: int, place: Operand) -> Operand:
        """An element at a place of the sum: its letters are as one, as operands lie in a row."""
        *before, last = self.c.inner
        with self.bound([*before, last], [*[index(0) for _ in before], place]):
            return self.w.emit(self.c.elements[operand])

    def _store_part(self, chain: Operand, part: Operand) -> None:
        w, (value,) = self.w, self.group.tasks[0].outputs
        (*_, count) = value.shape
        sums = w.at(linear(value.shape[:-1], self.c.result.indices) * count)
        w.store(w.buffer(value, "out"), w.let("add", sums, chain), part)


class TotalsNest(PlainProductNest):
    """The kernel that adds the chains of each sum, and of maps of the sums."""

    def build(self, name: str) -> Naive:
        """The kernel."""
        with self.results():
            self._sum()
        return self.made(name, ADDED * extent_hint(chain_count(self.c)))

    def _sum(self) -> None:
        w, at, (access,) = self.w, index(0), self.group.tasks[0].elements
        assert isinstance(access, Access)
        chain = access.at[-1]
        assert isinstance(chain, Dim)
        total = self.alloc("total", 1, "register")
        w.store(total, at, w.number(-0.0, VType(self.c.dtype)))
        with w.loop(index(0), w.at(access.value.shape[-1]), hint="part") as part:
            with w.bound({str(chain): part}):
                w.store(total, at, w.let("add", w.load(total, at), w.emit(access)))
        self.finish(w.load(total, at))
