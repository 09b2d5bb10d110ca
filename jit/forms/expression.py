"""Expressions: what one element of a form value is, as scalar instructions over loads.

`Extractor.element(value, at)` follows a value back through pointwise forms and views until it
meets a *boundary*: something that lies in memory, or that a loop computes. Index maps are composed
on the way, so that a transpose, a broadcast or a slice costs nothing by itself. The coordinates are
extents over the symbols of a domain (`Domain`), to which loops give values later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from jit.dataclass import dataclass
from jit.dims import Dim, Extent, Symbol, decide, rewrite
from jit.dims.algebra import Atom
from jit.dims.terms import ONE
from jit.forms import nodes
from jit.forms.index import Condition, Load, is_inside
from jit.forms.nodes import FormValue
from jit.types import bool_

DType = np.dtype[Any]
Guard: TypeAlias = "tuple[Condition, ...]"


@dataclass(frozen=True, eq=False)
class Number:
    """A number known now; equal to another if that is spelled alike, as 0.0 and -0.0 are not."""

    value: Any
    dtype: DType

    @cached_property
    def _spelled(self) -> tuple[str, DType]:
        return repr(self.value), self.dtype

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Number) and self._spelled == other._spelled

    def __hash__(self) -> int:
        return hash(self._spelled)

    @property
    def children(self) -> tuple[Expression, ...]:
        return ()


@dataclass(frozen=True)
class Coordinate:
    """An integer expression over the loops, as a number of `dtype`; `guard` as `Inside` has it."""

    at: Extent
    dtype: DType
    guard: Guard = ()

    @property
    def children(self) -> tuple[Expression, ...]:
        return ()


@dataclass(frozen=True)
class Access:
    """An element of a value at the boundary; only where `guard` holds is it read."""

    value: FormValue
    at: tuple[Extent, ...]
    guard: Guard

    @property
    def dtype(self) -> DType:
        return self.value.dtype

    @property
    def children(self) -> tuple[Expression, ...]:
        return ()


@dataclass(frozen=True)
class Inside:
    """Whether all conditions hold; only where `guard` holds do they load from tables.

    A guard that keeps no load back is left out, so that the same question is asked once.
    """

    conditions: Guard
    guard: Guard = ()
    dtype: DType = bool_

    @property
    def children(self) -> tuple[Expression, ...]:
        return ()


@dataclass(frozen=True)
class Checked:
    """`inner`, after demanding `conditions` where `guard` holds."""

    inner: Expression
    conditions: Guard
    guard: Guard

    @property
    def dtype(self) -> DType:
        return self.inner.dtype

    @property
    def children(self) -> tuple[Expression, ...]:
        return (self.inner,)


@dataclass(frozen=True, eq=False)
class Apply:
    """A scalar instruction."""

    name: str
    args: tuple[Expression, ...]
    dtype: DType

    @property
    def children(self) -> tuple[Expression, ...]:
        return self.args

    def __eq__(self, other: object) -> bool:
        """Whether both compute the same; equal ones have one tuple of arguments from then on.

        What two expressions use several times would else be compared once for each way to it.
        """
        if self is other:
            return True
        if other.__class__ is not Apply or hash(self) != hash(other):
            return False
        assert isinstance(other, Apply)
        if (self.name, self.dtype) != (other.name, other.dtype):
            return False
        if self.args is not other.args:
            if self.args != other.args:
                return False
            object.__setattr__(other, "args", self.args)
        return True

    def __hash__(self) -> int:  # shared parts are hashed once: a chain would cost its square
        cached = self.__dict__.get("_hash")
        if cached is None:
            cached = hash((self.name, self.args, self.dtype))
            object.__setattr__(self, "_hash", cached)
        return cached


Expression: TypeAlias = "Number | Coordinate | Access | Inside | Checked | Apply"


@dataclass(frozen=True)
class Domain:
    """The loops that something is computed in: one symbol per axis, 0 where the extent is 1.

    Attributes:
        shape: The extent of each axis.
        indices: The loop symbol of each axis.
    """

    shape: tuple[Extent, ...]
    indices: tuple[Extent, ...]

    @classmethod
    def of(cls, shape: Sequence[Extent], prefix: str = "i") -> Domain:
        """The domain of a shape; only axes with more than one index are numbered."""
        indices: list[Extent] = []
        for extent in shape:
            number = sum(isinstance(i, Dim) for i in indices)
            fixed = isinstance(extent, int) and extent <= 1
            indices.append(
                0 if fixed else Symbol(f"{prefix}{number}", None, 0, extent - 1).as_dim()
            )
        return cls(tuple(shape), tuple(indices))

    @property
    def loops(self) -> tuple[tuple[str, Extent], ...]:
        """Name and extent of each loop."""
        pairs = zip(self.indices, self.shape)
        return tuple([(str(i), extent) for i, extent in pairs if isinstance(i, Dim)])

    @property
    def extents(self) -> tuple[Extent, ...]:
        """The shape without extents of 1."""
        pairs = zip(self.indices, self.shape)
        return tuple([extent for i, extent in pairs if isinstance(i, Dim)])

    @property
    def is_empty(self) -> bool:
        """Whether an extent is 0."""
        return has_no_element(self)


class Extractor:
    """Elements of form values as expressions.

    Args:
        is_boundary: Which values are read from memory or given by a loop.
    """

    def __init__(self, is_boundary: Callable[[FormValue], bool]) -> None:
        self._is_boundary = is_boundary
        self._known: dict[tuple[Any, ...], Expression] = {}

    def element(self, value: FormValue, at: tuple[Extent, ...], guard: Guard = ()) -> Expression:
        """`value[at]`, which is needed where `guard` holds only.

        That is nowhere if there is no element: nothing has written it, so nothing may read it.
        """
        if has_no_element(value):
            return Number(value.dtype.type(0), value.dtype)
        if self._is_boundary(value):
            return Access(value, at, guard)
        return self.inlined(value, at, guard)

    def inlined(self, value: FormValue, at: tuple[Extent, ...], guard: Guard = ()) -> Expression:
        """The same, following the form of `value` itself even if it is a boundary."""
        key = (value, at, guard)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._follow(value, at, guard)
        return found

    def _follow(self, value: FormValue, at: tuple[Extent, ...], guard: Guard) -> Expression:
        form = value.form
        match form:
            case nodes.Constant():
                return Number(form.value[()], value.dtype)
            case nodes.Index():
                place = moved(form.map.at[0], at)
                return Coordinate(place, value.dtype, for_loads(guard, place))
            case nodes.Pointwise():
                args = tuple([self.element(x, at, guard) for x in form.inputs])
                return Apply(form.scalar.name, args, value.dtype)
            case nodes.View():
                return self._view(form, at, guard)
            case _:
                return Access(value, at, guard)

    def _view(self, form: nodes.View, at: tuple[Extent, ...], guard: Guard) -> Expression:
        source = form.inputs[0]
        coordinates = tuple([moved(x, at) for x in form.map.at])
        conditions = [(moved(x, at), n) for x, n in form.map.where]
        pairs = zip(coordinates, source.shape)
        if form.fill is None:  # the map promises to stay inside, but for what it loads
            loaded = tuple([p for p in pairs if loads_of(p[0]) and is_inside(*p) is not True])
            inner = self.element(source, coordinates, unique((*guard, *loaded)))
            return Checked(inner, loaded, guard) if loaded else inner
        wanted = tuple([p for p in (*conditions, *pairs) if is_inside(*p) is not True])
        inner = self.element(source, coordinates, unique((*guard, *wanted)))
        if not wanted:
            return inner
        fill = Number(np.asarray(form.fill, source.dtype)[()], source.dtype)
        inside = Inside(wanted, for_loads(guard, *[x for x, _ in wanted]))
        return Apply("where", (inside, inner, fill), source.dtype)


def has_no_element(x: FormValue | Domain) -> bool:
    """Whether an extent is known to be 0."""
    return any(isinstance(extent, int) and extent == 0 for extent in x.shape)


def unique(guard: Guard) -> Guard:
    """Each condition once."""
    return tuple(dict.fromkeys(guard))


def for_loads(guard: Guard, *extents: Extent) -> Guard:
    """The guard, if index arithmetic loads from tables; none else: then it may run anywhere."""
    return guard if guard and loads_of(*extents) else ()


def moved(x: Extent, at: Sequence[Extent]) -> Extent:
    """`x` with the coordinates `at` for the loop indices of an index map."""

    def by(atom: Atom) -> Extent | None:
        name = atom.name if isinstance(atom, Symbol) else ""
        return at[int(name[1:])] if name[:1] == "i" and name[1:].isdigit() else None

    return rewrite(x, by) if isinstance(x, Dim) else x


def linear(shape: Sequence[Extent], at: Sequence[Extent]) -> Extent:
    """The row-major position of an index."""
    steps: list[Extent] = []
    stride: Extent = 1
    for i, extent in zip(reversed(at), reversed(shape)):
        steps.append(i * stride)
        stride = stride * extent
    return sum(reversed(steps), 0)


def parted(x: Extent) -> tuple[int, Extent]:
    """(offset, rest) of a place: what it is at least, if that is as far as it moves; 0 else."""
    offset = x.terms.get(ONE, 0) if isinstance(x, Dim) else x
    if offset <= 0 or (isinstance(x, Dim) and decide(x, "<", 2 * offset + 1) is not True):
        return 0, x
    return offset, x - offset


def walk(*roots: Expression) -> Iterator[Expression]:
    """Every expression below the roots once, inner ones first."""
    seen: set[Expression] = set()
    stack: list[tuple[Expression, bool]] = [(root, False) for root in reversed(roots)]
    while stack:
        expression, done = stack.pop()
        if done:
            yield expression
        elif expression not in seen:
            seen.add(expression)
            stack.append((expression, True))
            stack += [(child, False) for child in reversed(expression.children)]


def extents_of(expression: Expression) -> list[Extent]:
    """The index arithmetic that an expression itself does."""
    match expression:
        case Access(at=at, guard=guard):
            return [*at, *(x for x, _ in guard)]
        case Coordinate(at=at, guard=guard):
            return [at, *(x for x, _ in guard)]
        case (
            Inside(conditions=conditions, guard=guard) | Checked(conditions=conditions, guard=guard)
        ):
            return [x for x, _ in (*conditions, *guard)]
        case _:
            return []


def loads_of(*extents: Extent) -> list[Load]:
    """The loads from tables inside of index arithmetic."""
    found: dict[Load, None] = {}

    def visit(atom: Atom) -> None:
        if isinstance(atom, Load):
            found[atom] = None

    for extent in extents:
        if isinstance(extent, Dim) and not is_plain(extent):
            rewrite(extent, visit)
    return list(found)


def is_plain(x: Dim) -> bool:
    """Whether index arithmetic has symbols only, no divisions and no loads."""
    return all(type(atom) is Symbol for monomial in x.terms for atom, _ in monomial)


def accesses(roots: Sequence[Expression], extractor: Extractor | None) -> Iterator[Access]:
    """Every element that expressions read, those that make up their index tables included."""
    for expression in walk(*roots):
        if isinstance(expression, Access):
            yield expression
        yield from lookups(expression, extractor)


def lookups(expression: Expression, extractor: Extractor | None) -> Iterator[Access]:
    """The elements of index tables that an expression itself reads for its index arithmetic."""
    for load in loads_of(*extents_of(expression)):
        table: Any = load.table
        if extractor is None:
            yield Access(table, load.at, ())
        else:
            yield from accesses([extractor.element(table, load.at)], extractor)


def rewritten(x: Expression, known: dict[Expression, Expression]) -> Expression:
    """An expression with others in place of some of its parts, which `known` gains more of."""
    for part in walk(x):  # inner ones first
        if part not in known:
            known[part] = _with_parts(part, known)
    return known[x]


def _with_parts(x: Expression, known: Mapping[Expression, Expression]) -> Expression:
    match x:
        case Apply():
            return Apply(x.name, tuple([known[arg] for arg in x.args]), x.dtype)
        case Checked():
            return Checked(known[x.inner], x.conditions, x.guard)
        case _:
            return x
