"""Operands of products on a GPU: where an element lies, apart by what it depends on.

    place = that of its row + that of its chain + that of its number in the chain

The first is computed once, the second once a chain. The third is the same for all chains: a
multiple of the number, or else looked up in a table in shared memory, which is made at the start.
"""

from __future__ import annotations

from collections.abc import Sequence

from jit.dataclass import dataclass
from jit.dims import Dim, Extent, Symbol, same
from jit.forms.contraction import Letter, plain, step_of
from jit.forms.expression import Access, Expression, linear
from jit.loops.elements import Elements, decoded
from jit.loops.ir import Buffer, Operand
from jit.types import int64


@dataclass
class Places:
    """Where the elements of an operand lie.

    Attributes:
        access: The element.
        offset: A parameter that is added; None if there is none.
        outer: What depends on rows and batch.
        inner: What depends on inner letters.
        step: From one inner index to the next, if that is always the same.
        table: What to add for each number in a chain, if not.
        chain: What to add for the chain.
    """

    access: Access
    offset: Operand | None
    outer: Extent
    inner: Extent
    step: Extent | None
    table: Buffer | None = None
    chain: Operand | None = None

    @classmethod
    def of(
        cls, w: Elements, x: Expression, inner: Sequence[Letter], chain: Sequence[Letter]
    ) -> Places | None:
        """The places of an operand; None if they are not affine, or something is computed.

        Args:
            w: Writes them.
            x: An element.
            inner: All inner letters.
            chain: Those that differ in a chain, the last ones.
        """
        access = plain(x)
        if access is None:
            return None
        offset, place = w.apart(linear(access.value.shape, access.at))
        summed = part_of(place, {letter.name for letter in inner})
        return cls(access, offset, place - summed, summed, common_step(summed, chain))

    def _of_number(self, w: Elements, number: Operand) -> Operand:
        """What to add for a number in a chain."""
        if self.table is not None:
            return w.cast(w.load(self.table, number), int64)
        assert self.step is not None
        return w.let("multiply", number, w.at(self.step))

    def element(self, w: Elements, number: Operand) -> Operand:
        """The element of a number in the chain, of the row whose letters are bound."""
        assert self.chain is not None
        start = w.let("add", w.at(self.outer), self.chain)
        if self.offset is not None:
            start = w.let("add", start, self.offset)
        at = w.let("add", start, self._of_number(w, number))
        return w.load(w.buffer(self.access.value), at)

    def fill(self, w: Elements, table: Buffer, at: Operand, letters: Sequence[Letter]) -> None:
        """Sets the table for a number in a chain, which is that of its last letters."""
        self.table = table
        values = decoded(w, at, [x.extent for x in letters])
        with w.bound({x.name: value for x, value in zip(letters, values)}):
            names = {x.name for x in letters}
            w.store(table, at, w.cast(w.at(part_of(self.inner, names)), table.dtype))


def part_of(x: Extent, names: set[str]) -> Extent:
    """The terms of a sum in which one of these symbols is."""
    if not isinstance(x, Dim):
        return 0
    terms = {
        monomial: factor
        for monomial, factor in x.terms.items()
        if any(isinstance(atom, Symbol) and atom.name in names for atom, _ in monomial)
    }
    return Dim(terms) if terms else 0


def common_step(place: Extent, letters: Sequence[Letter]) -> Extent | None:
    """How far the next index of all letters is, in row-major order; None if that varies."""
    if not letters:
        return 0
    step = step_of(place, letters[-1])
    size: Extent = 1
    for letter in reversed(letters):
        found = step_of(place, letter)
        if step is None or found is None or not same(found, step * size):
            return None
        size = size * letter.extent
    return step
