"""`Dim`: canonical integer polynomials over atoms, their arithmetic and simplification.

Atoms are named symbols, floor divisions and remainders that nothing simpler says, and whatever
else a package adds by a subclass of `Atom` (index maps add loads from tables).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from jit.dataclass import dataclass
from jit.dims.guesses import guess, guessing, hinted
from jit.dims.ranges import decide, extreme, greatest, is_inside, least
from jit.dims.terms import ONE, Terms, divide, plus, product
from jit.dims.text import format_dim, operand

Extent: TypeAlias = "int | Dim"
Range: TypeAlias = "tuple[Extent | None, Extent | None]"


class Atom:
    """What a polynomial treats as a variable; two are equal if their parts are written the same.

    Attributes:
        free: Its value does not depend on other atoms.
        tight: Its text needs no parentheses within a product.
    """

    free = False
    tight = True

    @property
    def parts(self) -> tuple[Any, ...]:
        """The arguments of its class, which tell this atom from others."""
        raise NotImplementedError

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, type(self)) or len(self.parts) != len(other.parts):
            return False
        return all(map(same, self.parts, other.parts))

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), self.parts  # without cached hashes, which hold in one process only

    @cached_property
    def _hash(self) -> int:
        return hash((type(self).__name__, *map(apart, self.parts)))

    def range(self) -> Range:
        """Least and greatest value, None where unknown; an end may itself be a dimension."""
        return None, None

    def scaled(self) -> tuple[Extent, Extent] | None:
        """(k, x) with k * atom == x for a positive k, if this atom is a quotient."""
        return None

    def rebuild(self, recurse: Callable[[Extent], Any]) -> Any:
        """This atom's value from `recurse` of the expressions inside of it."""
        del recurse
        return self.as_dim()

    def as_dim(self) -> Dim:
        """The dimension that is just this atom."""
        return Dim({frozenset({(self, 1)}): 1})


@dataclass(frozen=True, eq=False)
class Symbol(Atom):
    """A named integer; `hint` is the value seen, `lo` and `hi` (None: unbounded) bound it."""

    name: str
    hint: int | None = None
    lo: int = 2
    hi: Extent | None = None

    free = True

    @property
    def parts(self) -> tuple[Any, ...]:
        return self.name, self.hint, self.lo, self.hi

    def range(self) -> Range:
        return self.lo, self.hi

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, eq=False)
class FloorDiv(Atom):
    """`x // k` for a positive `k`."""

    x: Extent
    k: Extent

    tight = False

    @property
    def parts(self) -> tuple[Any, ...]:
        return self.x, self.k

    def range(self) -> Range:
        return self._range

    @cached_property
    def _range(self) -> Range:
        low, high = extreme(self.x, 1), extreme(self.x, -1)
        if low is not None and high is not None and not same(low, self.x):
            return _floordiv(low, self.k), _floordiv(high, self.k)
        lo, hi, k_lo, k_hi = least(self.x), greatest(self.x), least(self.k), greatest(self.k)
        if lo is not None:
            widest = k_hi if lo >= 0 else k_lo
            lo = 0 if widest is None else lo // widest
        if hi is not None:
            widest = k_lo if hi >= 0 else k_hi
            hi = -1 if widest is None else hi // widest
        return lo, hi

    def scaled(self) -> tuple[Extent, Extent]:
        return self.k, self.x - _mod(self.x, self.k)

    def rebuild(self, recurse: Callable[[Extent], Any]) -> Any:
        return recurse(self.x) // recurse(self.k)

    def __str__(self) -> str:
        return f"{operand(self.x)}//{operand(self.k)}"


@dataclass(frozen=True, eq=False)
class Mod(Atom):
    """`x % k` for a positive `k`."""

    x: Extent
    k: Extent

    tight = False

    @property
    def parts(self) -> tuple[Any, ...]:
        return self.x, self.k

    def range(self) -> Range:
        return 0, self.k - 1

    def rebuild(self, recurse: Callable[[Extent], Any]) -> Any:
        return recurse(self.x) % recurse(self.k)

    @cached_property
    def multiple(self) -> Terms:
        """k*(x//k), which together with this atom is x."""
        return product(_terms(_floordiv(self.x, self.k)), _terms(self.k))

    def __str__(self) -> str:
        return f"{operand(self.x)}%{operand(self.k)}"


class Dim:
    """An integer polynomial over atoms that is not constant; immutable.

    Hashes by structure, so dims are dict keys. `==` is the prover's answer and may guess where the
    structure differs; `same` compares structure and never guesses.
    """

    __array_ufunc__ = None  # NumPy scalars leave the arithmetic to us
    __slots__ = ("cached_hash", "cached_least", "terms")

    def __init__(self, terms: Terms) -> None:
        """From canonical terms; everybody else builds dims by `symbol` and arithmetic."""
        self.terms = terms
        self.cached_hash: int | None = None
        self.cached_least: int | bool | None = False  # False: not asked yet

    def __reduce__(self) -> tuple[object, ...]:
        return Dim, (self.terms,)

    def __hash__(self) -> int:
        if self.cached_hash is None:
            self.cached_hash = hash(frozenset([(m, apart(c)) for m, c in self.terms.items()]))
        return self.cached_hash

    def __str__(self) -> str:
        return format_dim(self)

    def __repr__(self) -> str:
        return f"Dim({self})"

    def shown(self) -> str:
        """In a message: people know the value where guesses are recorded, else the formula."""
        return str(hinted(self, "a message") if guessing() else self)

    def atoms(self) -> list[Atom]:
        """The atoms of the polynomial (not those inside of them), by name."""
        return sorted({atom for m in self.terms for atom, _ in m}, key=str)

    def symbols(self) -> list[Symbol]:
        """All symbols, also those inside of other atoms, by name."""
        found: set[Symbol] = set()

        def visit(x: Extent) -> Extent:
            for atom in [] if isinstance(x, int) else x.atoms():
                if isinstance(atom, Symbol):
                    found.add(atom)
                else:
                    atom.rebuild(visit)
            return x

        visit(self)
        return sorted(found, key=str)

    def degree(self, atom: Atom) -> int:
        """The highest power of `atom`."""
        return max((p for m in self.terms for a, p in m if a == atom), default=0)

    def fold(self, value: Callable[[Atom], Any]) -> Any:
        """The polynomial with `value(atom)` for each atom."""
        total: Any = 0
        for m, c in self.terms.items():
            part: Any = c
            for atom, power in m:
                found = value(atom) if power == 1 else value(atom) ** power
                one = part.__class__ is int and part == 1 and found.__class__ is Dim
                part = found if one else part * found
            total = part if total.__class__ is int and total == 0 else total + part
        return total

    def split(self, atom: Atom) -> tuple[Extent, Extent]:
        """(slope, rest) with self == slope*atom + rest, where the degree in `atom` is at most 1."""
        slope = {m - {(atom, 1)}: c for m, c in self.terms.items() if (atom, 1) in m}
        rest = {m: c for m, c in self.terms.items() if (atom, 1) not in m}
        return _constant_or_dim(slope), _constant_or_dim(rest)

    def replace(self, atom: Atom, by: Extent) -> Extent:
        """The polynomial with `by` for `atom`, but not inside of other atoms."""
        if self.degree(atom) > 1:
            return self.fold(lambda a: by if a == atom else a.as_dim())
        slope, rest = self.split(atom)
        return slope * by + rest

    def evaluate(self, binding: Mapping[str, Any]) -> Any:
        """The value for these values (integers or integer arrays) of the symbols.

        Raises:
            KeyError: A symbol has no value.
        """

        def value(atom: Atom) -> Any:
            return binding[atom.name] if isinstance(atom, Symbol) else atom.rebuild(inner)

        def inner(x: Extent) -> Any:
            return x if isinstance(x, int) else x.fold(value)

        return inner(self)

    def __add__(self, other: object) -> Any:
        return _lifted(other, lambda y: _build(plus(self.terms, _terms(y))))

    __radd__ = __add__

    def __sub__(self, other: object) -> Any:
        return _lifted(other, lambda y: _build(plus(self.terms, _terms(y), -1)))

    def __rsub__(self, other: object) -> Any:
        return _lifted(other, lambda y: _build(plus(_terms(y), self.terms, -1)))

    def __neg__(self) -> Dim:
        return Dim({m: -c for m, c in self.terms.items()})

    def __pos__(self) -> Dim:
        return self

    def __mul__(self, other: object) -> Any:
        if other.__class__ is int and other:  # the usual: nothing new can be joined
            return Dim({m: c * other for m, c in self.terms.items()})  # type: ignore[operator]
        return _lifted(other, lambda y: _build(product(self.terms, _terms(y))))

    __rmul__ = __mul__

    def __pow__(self, power: object) -> Any:
        if not isinstance(power, int) or power < 0:
            return NotImplemented
        return math.prod([self] * power)  # pyright: ignore[reportArgumentType, reportCallIssue]

    def __floordiv__(self, other: object) -> Any:
        return _lifted(other, lambda k: _quotient(self, k))

    def __rfloordiv__(self, other: object) -> Any:
        return _lifted(other, lambda x: _quotient(x, self))

    def __mod__(self, other: object) -> Any:
        return _lifted(other, lambda k: _remainder(self, k))

    def __rmod__(self, other: object) -> Any:
        return _lifted(other, lambda x: _remainder(x, self))

    def __divmod__(self, other: Extent) -> tuple[Extent, Extent]:
        return self // other, self % other

    def __rdivmod__(self, other: Extent) -> tuple[Extent, Extent]:
        return other // self, other % self

    def __eq__(self, other: object) -> Any:
        return _lifted(other, lambda y: _ask(self, "==", y))

    def __ne__(self, other: object) -> Any:
        return _lifted(other, lambda y: not _ask(self, "==", y))

    def __lt__(self, other: object) -> Any:
        return _lifted(other, lambda y: _ask(self, "<", y))

    def __ge__(self, other: object) -> Any:
        return _lifted(other, lambda y: not _ask(self, "<", y))

    def __gt__(self, other: object) -> Any:
        return _lifted(other, lambda y: _ask(y, "<", self))

    def __le__(self, other: object) -> Any:
        return _lifted(other, lambda y: not _ask(y, "<", self))

    def __bool__(self) -> bool:
        return not _ask(self, "==", 0)

    def __int__(self) -> int:
        value = hinted(self, f"int({self})")
        if not _ask(self, "==", value):
            raise AssertionError(f"{self} has the hint {value}, outside of its range")
        return value

    __index__ = __int__


def apart(part: Any) -> Any:
    """A part of a dimension as it is hashed: -1 and -2 have one hash in Python.

    Who looks for one dimension would meet the other, and ask the prover whether they are equal.
    """
    if isinstance(part, tuple):
        return tuple(map(apart, part))
    return 2 * part + 1 if type(part) is int else part


def symbol(name: str, *, hint: int | None = None, lo: int = 2, hi: Extent | None = None) -> Dim:
    """The dimension called `name`.

    Args:
        name: An identifier, but not `i0`, `i1`, ...: so are the loop indices of index maps called.
        hint: The value seen, from which unprovable questions are answered.
        lo: Least value. 0 and 1 are never symbolic unless the caller says so.
        hi: Greatest value; None if unbounded.

    Raises:
        ValueError: The name is no identifier or is a loop index, or the hint is out of range.
    """
    if not name.isidentifier() or (name[0] == "i" and name[1:].isdigit()):
        raise ValueError(f"a dimension's name is an identifier other than i0, i1...; got {name!r}")
    if hint is not None and (hint < lo or (hi is not None and hint > hi)):
        raise ValueError(f"the hint {hint} of dimension {name} is outside of its range {lo}..{hi}")
    return Symbol(name, hint, lo, hi).as_dim()


def same(a: Any, b: Any) -> bool:
    """Whether both are written the same. Never guesses, unlike `==`."""
    if isinstance(a, Dim) and isinstance(b, Dim):
        return a is b or a.terms == b.terms
    return not isinstance(a, Dim) and not isinstance(b, Dim) and a == b


def _ask(a: Extent, relation: str, b: Extent) -> bool:
    if relation == "==" and same(a, b):
        return True
    known = decide(a, relation, b)
    return guess(a, relation, b) if known is None else known


def _lifted(other: object, then: Callable[[Extent], Any]) -> Any:
    """`then(other)` for a dimension or any integer; NotImplemented for everything else."""
    if isinstance(other, Dim):
        return then(other)
    if isinstance(other, int | np.integer):
        return then(int(other))
    return NotImplemented


def _terms(x: Extent) -> Terms:
    if isinstance(x, Dim):
        return x.terms
    return {ONE: x} if x else {}


def _build(terms: Terms) -> Extent:
    """A polynomial of any terms without zeros."""
    return _constant_or_dim(_joined(terms))


def _constant_or_dim(terms: Terms) -> Extent:
    if not terms or (len(terms) == 1 and ONE in terms):
        return terms.get(ONE, 0)
    return Dim(terms)


def _joined(terms: Terms) -> Terms:
    """k*(x//k) + x%k -> x, wherever both parts have the same factor."""
    for m, c in terms.items():
        for atom, power in m:
            if isinstance(atom, Mod) and power == 1:
                factor = {m - {(atom, 1)}: c}
                multiple = product(factor, atom.multiple)
                if all(terms.get(n) == d for n, d in multiple.items()):
                    rest = plus(plus(terms, multiple, -1), {m: c}, -1)
                    return _joined(plus(rest, product(factor, _terms(atom.x))))
    return terms


def _quotient(x: Extent, k: Extent) -> Extent:
    """Floor division by any k that is not 0."""
    return _floordiv(x, k) if _is_positive(k) else _floordiv(-x, -k)


def _remainder(x: Extent, k: Extent) -> Extent:
    """The remainder, which has the sign of k, for any k that is not 0."""
    return _mod(x, k) if _is_positive(k) else -_mod(-x, -k)


def _is_positive(k: Extent) -> bool:
    """Whether k > 0; a k of 0 raises."""
    known = decide(0, "<", k)
    if not known and _ask(k, "==", 0):
        raise ZeroDivisionError(f"{k} is 0 and divides a dimension")
    return _ask(0, "<", k) if known is None else known


def _split(x: Extent, k: Extent) -> tuple[Extent, Extent]:
    q, r = divide(_terms(x), _terms(k))
    return _build(q), _build(r)


def _floordiv(x: Extent, k: Extent) -> Extent:
    """Floor division by a positive k."""
    q, r = _split(x, k)  # (q*k + r)//k -> q + r//k
    if isinstance(r, int) and isinstance(k, int):
        return q + r // k
    if is_inside(r, k):  # 0 <= r < k: r//k -> 0
        return q
    if is_inside(r + k, k):  # -k <= r < 0: r//k -> -1
        return q - 1
    for g, inner in _factors(r, k):  # (g*y + s)//(g*inner) -> y//inner, where 0 <= s < g
        y, s = _split(r, g)
        if not same(y, 0) and is_inside(s, g):
            return q + _floordiv(y, inner)
    if isinstance(r, Dim):
        for atom in r.atoms():  # (y//j + c)//k -> (y + c*j)//(j*k)
            rest = r - atom.as_dim()
            if isinstance(atom, FloorDiv) and isinstance(rest, int):
                return q + _floordiv(atom.x + rest * atom.k, atom.k * k)
        if all(c < 0 for m, c in r.terms.items() if m != ONE):  # (-y)//k -> -((y + k - 1)//k)
            return q - _floordiv(k - 1 - r, k)
    return q + FloorDiv(r, k).as_dim()


def _mod(x: Extent, k: Extent) -> Extent:
    """The remainder for a positive k."""
    _, r = _split(x, k)  # (q*k + r)%k -> r%k
    if isinstance(r, int) and isinstance(k, int):
        return r % k
    if is_inside(r, k):  # 0 <= r < k: r%k -> r
        return r
    if is_inside(r + k, k):  # -k <= r < 0: r%k -> r + k
        return r + k
    for g, inner in _factors(r, k):  # (g*y + s)%(g*inner) -> g*(y%inner) + s, where 0 <= s < g
        y, s = _split(r, g)
        if not same(y, 0) and is_inside(s, g):
            return g * _mod(y, inner) + s
    if isinstance(r, Dim):
        for atom in r.atoms():  # (y%(j*k) + c)%k -> (y + c)%k
            if isinstance(atom, Mod) and same(_split(atom.k, k)[1], 0):
                return _mod(r.replace(atom, atom.x), k)
    return Mod(r, k).as_dim()


def _factors(r: Extent, k: Extent) -> list[tuple[Extent, Extent]]:
    """Positive divisors g of `k` that divide some terms of `r` as well, each with k//g."""
    if isinstance(k, int):
        common = {math.gcd(c, k) for m, c in _terms(r).items() if m != ONE} - {1}
        return [(g, k // g) for g in sorted(common, reverse=True)]
    content = math.gcd(*k.terms.values())
    tried: list[Extent] = [atom.as_dim() for atom in k.atoms()] + ([content] if content > 1 else [])
    found: list[tuple[Extent, Extent]] = []
    for g in tried:
        inner, left = _split(k, g)
        if same(left, 0) and (low := least(g)) is not None and low > 0:
            found.append((g, inner))
    return found
