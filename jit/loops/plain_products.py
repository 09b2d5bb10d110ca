"""Plain products: a kernel that says what a library computes, and stands in for it where it cannot.

A thread takes an element of the result, and sums in the canonical order. Such a kernel is written
in no time: it is hardly ever run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from jit.dims import Dim, Extent
from jit.loops.elements import decoded
from jit.loops.ir import Kernel, Operand, VType, index
from jit.loops.nests import Naive
from jit.loops.products import ProductNest
from jit.types import product


class PlainProductNest(ProductNest):
    """The kernel of a contraction without maps; arguments as for `ProductNest`."""

    def build(self, name: str) -> Naive:
        """The kernel."""
        with self.results():
            self._sum()
        return self.made(name, 0.0)

    @contextmanager
    def results(self, parts: Sequence[Extent] = ()) -> Iterator[Sequence[Operand]]:
        """Every element of the result, and each of its parts, is an item."""
        every = [self.c.letters[x] for x in self.c.right]
        letters = [letter for letter in every if isinstance(letter.at, Dim)]
        extents = [*[letter.extent for letter in letters], *parts]
        self.grid = product(extents)
        at = decoded(self.w, self.item, extents)
        with self.bound(letters, at[: len(letters)]):
            yield at[len(letters) :]

    def made(self, name: str, work: float) -> Naive:
        """The kernel that was written, and what an item costs."""
        w = self.w
        buffers, sizes = tuple(w.buffers.values()), tuple(self._sizes().values())
        kernel = Kernel(name, buffers, sizes, self.grid, self.item, tuple(w.body))
        return Naive(kernel, tuple(w.buffers), tuple(w.sizes), work)

    def _sum(self) -> None:
        """An element of the result."""
        w, c, at = self.w, self.c, index(0)
        acc = totals = self.alloc("acc", 1, "register")
        if self.cut is not None:
            totals = self.alloc("totals", 1, "register")
            w.store(totals, at, w.number(-0.0, VType(c.dtype)))
        with self._chains() as chain:
            w.store(acc, at, w.number(0.0, VType(c.dtype)))
            with self._inner(chain):
                left, right = [w.cast(w.emit(x), c.dtype) for x in c.elements]
                w.store(acc, at, self._fma(left, right, w.load(acc, at)))
            if totals is not acc:
                w.store(totals, at, w.let("add", w.load(totals, at), w.load(acc, at)))
        self.finish(w.load(totals, at))
