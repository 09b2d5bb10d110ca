"""Contraction: the loops of a `contract` form, and how its operands lie in them.

Letters of the result that both operands have are *batch*; those of one operand are *rows* or
*columns*; letters that the result lacks are *inner*. Columns are what vectors go along: they are of
the operand for which vectors fill best.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from jit.dataclass import dataclass
from jit.dims import Dim, Extent, Symbol, same
from jit.forms import nodes
from jit.forms.expression import Access, Domain, Expression, Extractor, linear
from jit.forms.order import CONTRACT_BLOCK, UNITS_BLOCK
from jit.forms.scalar import accumulator
from jit.types import product


@dataclass(frozen=True)
class Letter:
    """One loop of a contraction.

    Attributes:
        name: Of its loop symbol.
        extent: How many indices it has.
        at: The symbol, or 0 where there is one index.
    """

    name: str
    extent: Extent
    at: Extent


class Contraction:
    """A contract form of two operands, seen as a product of matrices.

    Args:
        form: The form.
        extractor: Elements of its operands.

    Attributes:
        units: In what tensor cores multiply elements, if these compute it: "tf32", or the dtype
            of the operands.
        letters: By letter of the spec.
        result: The domain of the result.
        elements: An element of each operand, in the letters' symbols.
    """

    def __init__(self, form: nodes.Contract, extractor: Extractor) -> None:
        self.form, self.extractor, self.units = form, extractor, ""
        left, _, right = form.spec.partition("->")
        self.terms = left.split(",")
        extents = dict(zip("".join(self.terms), [d for x in form.inputs for d in x.shape]))
        self.result = Domain.of([extents[letter] for letter in right])
        self.letters: dict[str, Letter] = {}
        for letter, at in zip(right, self.result.indices):
            self.letters[letter] = Letter(str(at), extents[letter], at)
        number = len(self.result.loops)
        for letter, extent in extents.items():
            if letter not in self.letters:
                fixed = isinstance(extent, int) and extent <= 1
                at = 0 if fixed else Symbol(f"i{number}", None, 0, extent - 1).as_dim()
                self.letters[letter] = Letter(str(at), extent, at)
                number += not fixed
        self.elements = [
            extractor.element(x, tuple([self.letters[letter].at for letter in term]))
            for term, x in zip(self.terms, form.inputs)
        ]
        self.right = right
        self.dtype = accumulator(form.types[0].dtype)

    def free(self, operand: int) -> list[Letter]:
        """The letters of the result that only this operand has."""
        mine = self.terms[operand]
        other = self.terms[1 - operand] if len(self.terms) > 1 else ""
        return self._listed(x for x in self.right if x in mine and x not in other)

    @cached_property
    def batch(self) -> list[Letter]:
        """The letters of the result that both operands have."""
        return self._listed(x for x in self.right if all(x in term for term in self.terms))

    @cached_property
    def inner(self) -> list[Letter]:
        """The letters that the result lacks, in the order in which the operands name them."""
        names = dict.fromkeys("".join(self.terms))
        return self._listed(x for x in names if x not in self.right)

    @property
    def blocks(self) -> Blocks:
        """The canonical blocks of its inner letters; of one `apart` as its form says."""
        if not self.form.apart:
            return blocks(self.inner, UNITS_BLOCK if self.units else CONTRACT_BLOCK)
        first, *turns = self.inner
        return [], first, 1, turns

    def _listed(self, names: object) -> list[Letter]:
        found = [self.letters[x] for x in names]  # type: ignore[attr-defined]
        return [letter for letter in found if isinstance(letter.at, Dim)]


Blocks = tuple[list[Letter], "Letter | None", int, list[Letter]]


def blocks(inner: Sequence[Letter], most: int = CONTRACT_BLOCK) -> Blocks:
    """The canonical blocks of the inner letters.

    The elements of a product are summed in chains of fused multiply-adds, in row-major order of the
    inner letters, and the chains are added one after the other. A chain is as many whole turns of
    the last letters as have at most `most` elements together. Tensor cores have longer chains, and
    an order of their own inside.

    Returns:
        Letters that stand before; the letter that is cut; how many of its indices a chain has; the
        letters of whole turns.
    """
    turns: list[Letter] = []
    rest = list(inner)
    size = 1
    while rest and isinstance(rest[-1].extent, int) and size * rest[-1].extent <= most:
        size *= rest[-1].extent
        turns.insert(0, rest.pop())
    if not rest:
        return [], None, 0, turns
    cut = rest.pop()
    return rest, cut, max(1, most // max(1, size)), turns


def step_of(x: Extent, letter: Letter) -> Extent | None:
    """How far a position moves when a letter's index rises by one; None if that varies."""
    if not isinstance(x, Dim) or not isinstance(letter.at, Dim):
        return 0
    (atom,) = letter.at.atoms()
    total: Extent = 0
    for monomial, factor in x.terms.items():
        for inner, power in monomial:
            if inner == atom and power == 1:
                total = total + (
                    Dim({monomial - {(atom, 1)}: factor}) if len(monomial) > 1 else factor
                )
            elif not isinstance(inner, Symbol):
                return None
    return total


def plain(x: Expression) -> Access | None:
    """The element that an expression just reads, if its place is affine and always inside."""
    if not isinstance(x, Access) or x.guard:
        return None
    place = linear(x.value.shape, x.at)
    atoms = place.terms if isinstance(place, Dim) else {}
    affine = all(isinstance(atom, Symbol) for monomial in atoms for atom, _ in monomial)
    return x if affine else None


def run_along(c: Contraction, operand: int) -> int:
    """How many of the last inner letters a column lies along as if they were one."""
    access, count, size = plain(c.elements[operand]), 0, 1
    if access is None:
        return 0
    place = linear(access.value.shape, access.at)
    for letter in reversed(c.inner):
        if not same(step_of(place, letter) or 0, size):
            break
        count, size = count + 1, size * letter.extent
    return count


def size_of(letters: Sequence[Letter]) -> Extent:
    """How many indices letters have together."""
    return product([letter.extent for letter in letters])
