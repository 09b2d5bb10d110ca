"""Staging: operands of a contraction that are copied before, so that its loops can read them.

Four copies pay. *Padding*: an operand that reads a fill outside of its source is copied with the
fill around it; then all its places are affine. *Rows*: an operand that is read often, and in rows
across the axes of its memory, is copied with these in the order of the rows. *Order*: the smaller
operand, if its inner letters do not follow each other in memory, is copied in the order in which
the loops take them; of windows that overlap a copy would be larger than what they are read from,
and the other operand is copied if it is read often. *Turning*: where neither operand has columns
that lie beside each other, as in the product with a transposed weight, one that is the same in each
run of a loop is copied so that it does, once, before the loop. And if no operand is read at affine
places, the smaller one is copied as it is: rows have to be.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise, permutations

from jit.dataclass import dataclass
from jit.dims import Dim, Extent, Symbol, same
from jit.dims.algebra import FloorDiv
from jit.dims.ranges import greatest, least
from jit.forms import nodes
from jit.forms.attention import lies_in_chunks
from jit.forms.contraction import Contraction, Letter, plain, size_of, step_of
from jit.forms.expression import (
    Access,
    Apply,
    Domain,
    Expression,
    Extractor,
    Inside,
    Number,
    linear,
)
from jit.forms.index import is_inside
from jit.forms.nodes import FormValue
from jit.forms.placement import extent_hint
from jit.types import TensorType, float32, product

SAVING = 8  # a copy must be so many times smaller than the products it serves
OFTEN = 64  # and this where memory has axes in another order than letters
MOST_AXES = 6  # of such memory
SAVING_MORE = 256  # and this where it is the larger operand: loops read it a few times as it lies
FEW_ROWS = 128  # up to which it costs more to copy columns in each run than to multiply them


@dataclass(frozen=True)
class Copy:
    """A value made for a contraction.

    Attributes:
        value: What is made.
        domain: Its loops.
        element: Its elements.
    """

    value: FormValue
    domain: Domain
    element: Expression


def staging(c: Contraction, lasting: Collection[FormValue] = ()) -> Iterator[Copy]:
    """Copies that pay; the contraction reads them afterwards.

    Args:
        c: It is computed in a loop, or once.
        lasting: The values that are the same in each run of the loop.
    """
    for operand in (0, 1):
        if plain(c.elements[operand]) is None:
            copy, element = padded(c.elements[operand])
            if copy is not None:
                c.elements[operand] = element
                yield copy
    smaller = min((0, 1), key=lambda k: extent_hint(size_of(letters_of(c, k))))
    if all(plain(x) is None for x in c.elements):
        copy, c.elements[smaller] = as_it_is(c, smaller)
        yield copy
    for operand in (0, 1):
        if (gathered := in_rows(c, operand)) is not None:
            copy, c.elements[operand] = gathered
            yield copy
    for operand in (0, 1):
        if lasts(c, operand, lasting) and all(lies_across(c, k) for k in (0, 1)):
            letters = [*c.batch, *c.inner, *c.free(operand)]
            copy, c.elements[operand] = ordered(c, operand, letters)
            yield copy
    copied, saving = (1 - smaller, SAVING_MORE) if overlaps(c, smaller) else (smaller, SAVING)
    if plain(c.elements[copied]) is not None and not in_order(c, copied):
        products, elements = size_of(list(c.letters.values())), size_of(letters_of(c, copied))
        pays = extent_hint(products) >= saving * extent_hint(elements)
        if pays and not overlaps(c, copied):
            copy, c.elements[copied] = ordered(c, copied, letters_of(c, copied))
            yield copy


def as_it_is(c: Contraction, operand: int) -> tuple[Copy, Expression]:
    """A copy of an operand."""
    x = c.form.inputs[operand]
    value, domain = memory_of(x.type), Domain.of(x.shape)
    at = tuple([c.letters[letter].at for letter in c.terms[operand]])
    copy = Copy(value, domain, c.extractor.element(x, domain.indices))
    return copy, Access(value, at, ())


def in_rows(c: Contraction, operand: int) -> tuple[Copy, Expression] | None:
    """A copy of an operand of which memory has the axes in another order than the letters.

    So lie heads of attention that stand side by side in a row. Loops read neither along such memory
    nor in tiles of its rows; in the copy each letter has its axes behind each other.

    Returns:
        The copy and an element of it; None where the operand is affine, or read too seldom.
    """
    x = c.elements[operand]
    if not isinstance(x, Access) or x.guard or plain(x) is not None:
        return None
    axes = [k for k, place in enumerate(x.at) if isinstance(place, Dim)]
    shape, elements = x.value.shape, size_of(letters_of(c, operand))
    often = extent_hint(size_of(list(c.letters.values()))) >= OFTEN * extent_hint(elements)
    if not often or len(axes) > MOST_AXES or not same(product([shape[k] for k in axes]), elements):
        return None
    *others, last = axes  # which stays: the copy goes along what it reads
    for order in permutations(others):
        order = (*order, last)
        value = memory_of(x.value.type.with_shape([shape[k] for k in order]))
        element = Access(value, tuple([x.at[k] for k in order]), ())
        if plain(element) is not None:
            domain = Domain.of(value.shape)
            at = dict(enumerate(x.at)) | dict(zip(order, domain.indices))
            return Copy(value, domain, Access(x.value, tuple(at.values()), ())), element
    return None


def letters_of(c: Contraction, operand: int) -> list[Letter]:
    """The letters of an operand that have more than one index: batch, free, inner."""
    mine = {c.letters[x].name for x in c.terms[operand]}
    listed = [*c.batch, *c.free(operand), *c.inner]
    return [letter for letter in listed if letter.name in mine]


def padded(x: Expression) -> tuple[Copy | None, Expression]:
    """A copy of what `x` reads with the fill around it, and `x` as an element of the copy.

    An axis that is read at e // d where e % d == 0 gets the fill between its elements as well.
    """
    match x:
        case Apply("where", (Inside(conditions), Access() as access, Number() as fill)):
            pass
        case _:
            return None, x
    steps = [undivided(place) for place in access.at]
    known = {*zip(access.at, access.value.shape), *((e % d, 1) for e, d in steps if d > 1)}
    if not known.issuperset(conditions) or not all(is_affine(e) for e, _ in steps):
        return None, x
    ends = [(least(e), greatest(e)) for e, _ in steps]
    shape = [None if low is None or high is None else high - low + 1 for low, high in ends]
    if None in shape:
        return None, x
    value = memory_of(access.value.type.with_shape(shape))  # type: ignore[arg-type]
    domain = Domain.of(value.shape)
    spread = [i + low for i, (low, _) in zip(domain.indices, ends)]  # type: ignore[operator]
    at = tuple([e // d for e, (_, d) in zip(spread, steps)])
    pairs = [*zip(at, access.value.shape), *((e % d, 1) for e, (_, d) in zip(spread, steps))]
    guard = tuple([pair for pair in pairs if is_inside(*pair) is not True])
    element: Expression = Access(access.value, at, guard)
    if guard:
        element = Apply("where", (Inside(guard), element, fill), fill.dtype)
    moved = tuple([e - low for (e, _), (low, _) in zip(steps, ends)])  # type: ignore[operator]
    return Copy(value, domain, element), Access(value, moved, ())


def undivided(x: Extent) -> tuple[Extent, int]:
    """(e, d) with x == e // d."""
    for atom in x.atoms() if isinstance(x, Dim) else ():
        rest = x - atom.as_dim()
        if isinstance(atom, FloorDiv) and isinstance(atom.k, int) and isinstance(rest, int):
            return atom.x + rest * atom.k, atom.k
    return x, 1


def lasts(c: Contraction, operand: int, lasting: Collection[FormValue]) -> bool:
    """Whether an operand is the same in each run, and read by few rows of the other one."""
    access = plain(c.elements[operand])
    if access is None or access.value not in lasting:
        return False
    names = {letter.name for letter in letters_of(c, operand)}
    same_place = all(
        str(atom) in names for x in access.at if isinstance(x, Dim) for atom in x.atoms()
    )
    return same_place and extent_hint(size_of(c.free(1 - operand))) <= FEW_ROWS


def lies_across(c: Contraction, operand: int) -> bool:
    """Whether the columns of an operand are apart from each other in memory."""
    access, free = plain(c.elements[operand]), c.free(operand)
    if access is None or not free:
        return False
    return not same(step_of(linear(access.value.shape, access.at), free[-1]) or 0, 1)


def ordered(c: Contraction, operand: int, letters: Sequence[Letter]) -> tuple[Copy, Expression]:
    """A copy of an operand with its letters in this order."""
    domain = Domain.of([letter.extent for letter in letters])
    access = c.elements[operand]
    assert isinstance(access, Access)
    value = memory_of(access.value.type.with_shape(domain.shape))
    names = {letter.name: i for letter, i in zip(letters, domain.indices)}
    places = tuple([renamed(place, names) for place in access.at])
    element = Access(access.value, places, ())
    return Copy(value, domain, element), Access(value, tuple([x.at for x in letters]), ())


def in_order(c: Contraction, operand: int) -> bool:
    """Whether the operand's inner letters follow each other in memory, as one long loop."""
    access = plain(c.elements[operand])
    assert access is not None
    place = linear(access.value.shape, access.at)
    mine = {c.letters[x].name for x in c.terms[operand]}
    inner = [letter for letter in c.inner if letter.name in mine]
    for outer, last in pairwise(inner):
        long, short = step_of(place, outer), step_of(place, last)
        if long is None or short is None or not same(long, short * last.extent):
            return False
    return True


def overlaps(c: Contraction, operand: int) -> bool:
    """Whether an operand reads elements several times, as windows that overlap do."""
    access = plain(c.elements[operand])
    if access is None:
        return False
    memory = extent_hint(product(access.value.shape))
    return extent_hint(size_of(letters_of(c, operand))) > memory


def renamed(x: Extent, names: dict[str, Extent]) -> Extent:
    """An affine expression with other symbols."""
    if not isinstance(x, Dim):
        return x
    return x.fold(lambda a: names.get(str(a), a.as_dim()))


def is_affine(x: Extent) -> bool:
    """Whether an expression has no quotients, remainders or loads."""
    terms = x.terms if isinstance(x, Dim) else {}
    return all(isinstance(atom, Symbol) for monomial in terms for atom, _ in monomial)


def memory_of(type_: TensorType) -> FormValue:
    """A new value that lies in memory."""
    return nodes.Source((), (type_,)).outputs[0]


def in_chunks(
    form: nodes.Attention | nodes.AttentionFlow, extractor: Extractor
) -> tuple[list[Copy], tuple[Expression, ...]]:
    """Copies of operands that threads cannot read in chunks, and an element of each operand."""
    copies, elements = list[Copy](), list[Expression]()
    for x in form.inputs:
        domain = Domain.of(x.shape)
        element = extractor.element(x, domain.indices)
        access = plain(element)
        if access is None or (x.dtype != float32 and not lies_in_chunks(access, domain)):
            copies.append(Copy(memory_of(x.type), domain, element))
            element = Access(copies[-1].value, domain.indices, ())
        elements.append(element)
    return copies, tuple(elements)
