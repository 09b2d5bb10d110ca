"""Bounds of dimensions: the prover's half that knows ranges.

A polynomial is monotone in an atom if its discrete derivative (the polynomial at atom + 1 minus
itself) has one sign; then its extremes lie at the ends of that atom's range, and the atom can be
replaced by the end. Ends may be dimensions themselves (a loop index ends at n - 1); atoms that have
such ends go first. Atoms are taken as independent of each other, which can only widen the bounds.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeAlias

from jit.dims.terms import ONE

if TYPE_CHECKING:
    from jit.dims.algebra import Atom, Dim, Extent

Interval: TypeAlias = "tuple[int | None, int | None]"


def least(x: Extent) -> int | None:
    """A lower bound that holds for all values of the symbols, or None if none is known."""
    if isinstance(x, int):
        return x
    if x.cached_least is False:
        x.cached_least = _least(x)
    return x.cached_least


def greatest(x: Extent) -> int | None:
    """An upper bound, or None."""
    low = least(-x)
    return None if low is None else -low


def best_least(x: Extent, effort: int = 2) -> int | None:
    """A lower bound, also by k*x where k*atom is known better than the quotient `atom` itself.

    n - n//4 >= 0 since 4*(n - n//4) == 3*n + n%4. `effort` is how many quotients may be replaced.
    """
    low, end = least(x), extreme(x, 1)
    if end is None or isinstance(end, int) or effort == 0:
        return low
    found = [_scaled_least(end, atom, effort) for atom in end.atoms()]
    return max((b for b in [low, *found] if b is not None), default=None)


def bounds(x: Extent) -> Interval:
    """Numbers between which `x` lies for all values of its symbols; None where none is known."""
    low = best_least(-x)
    return best_least(x), None if low is None else -low


def decide(a: Extent, relation: str, b: Extent) -> bool | None:
    """The prover: whether `a == b` or `a < b` for all values of the symbols, or None if unknown."""
    gap = b - a
    if isinstance(gap, int):
        return gap == 0 if relation == "==" else gap > 0
    low = least(gap)
    if low is not None and low > 0:
        return relation == "<"
    known = _by_sign(relation, low, greatest(gap))
    if known is None and any(not a.free or _is_bounded_by_dims(a) for a in gap.atoms()):
        known = _by_sign(relation, *bounds(gap))
    if known is None and relation == "==":
        # 2*n + 4*m never equals 1: the constant is no multiple of what divides all other terms.
        step = math.gcd(*(c for m, c in gap.terms.items() if m))
        known = False if gap.terms.get(ONE, 0) % step else None
    return known


def _by_sign(relation: str, low: int | None, high: int | None) -> bool | None:
    """What the bounds of b - a say about `a relation b`."""
    if low is not None and low > 0:
        return relation == "<"
    if relation == "<":
        return False if high is not None and high <= 0 else None
    return False if high is not None and high < 0 else None


def extreme(x: Extent, sign: int) -> Extent | None:
    """A bound of `x` (below for sign 1, above for -1) over the atoms bounded by dimensions.

    What is left depends on free symbols only through plain arithmetic; None if some atom resists.
    """
    if isinstance(x, int):
        return x
    for atom in _innermost_first(x):
        if _is_bounded_by_dims(atom):
            end = _end(x, atom, sign)
            return None if end is None else extreme(end, sign)
    return x


def is_inside(x: Extent, extent: Extent) -> bool | None:
    """Whether 0 <= x < extent for all values; False if for none; None if that is not known."""
    low, gap = least(x), least(extent - 1 - x)
    if low is not None and low >= 0 and gap is not None and gap >= 0:
        return True
    high, over = greatest(x), least(x - extent)
    if (high is not None and high < 0) or (over is not None and over >= 0):
        return False
    return None


def _least(x: Extent) -> int | None:
    if isinstance(x, int):
        return x
    if (end := _linear_least(x)) is not None:
        return end
    for atom in _innermost_first(x):
        end = _end(x, atom, 1)
        if end is not None:
            return least(end)
    return _interval(x)


def _linear_least(x: Dim) -> int | None:
    """The same where each term is a multiple of one atom between numbers, as most are."""
    total = 0
    for monomial, c in x.terms.items():
        if len(monomial) > 1:
            return None
        for atom, power in monomial:
            end = atom.range()[0 if c > 0 else 1]
            if power != 1 or not isinstance(end, int):
                return None
            c *= end
        total += c
    return total


def _scaled_least(x: Extent, atom: Atom, effort: int) -> int | None:
    scaled = atom.scaled()
    if scaled is None or isinstance(x, int) or x.degree(atom) > 1:
        return None
    k, multiple = scaled
    slope, rest = x.split(atom)
    low = best_least(k * rest + slope * multiple, effort - 1)
    if low is None or (low < 0 and not isinstance(k, int)):
        return None
    return -(-low // k) if isinstance(k, int) else min(low, 1)


def _innermost_first(x: Extent) -> list[Atom]:
    """Atoms bounded by dimensions come first: their ends bring in the others."""
    return [] if isinstance(x, int) else sorted(x.atoms(), key=lambda a: not _is_bounded_by_dims(a))


def _is_bounded_by_dims(atom: Atom) -> bool:
    return any(not isinstance(end, int | None) for end in atom.range())


def _end(x: Extent, atom: Atom, sign: int) -> Extent | None:
    """`x` with `atom` at the end where sign * x is least; None if that is not known."""
    if isinstance(x, int):
        return x
    if x.degree(atom) == 1:
        step, _ = x.split(atom)
    elif all(a.free for a in x.atoms()):
        step = x.replace(atom, atom.as_dim() + 1) - x
    else:
        return None  # the step would hold only where atoms that depend on each other agree
    lo, hi = atom.range()
    if lo is not None and (low := least(sign * step)) is not None and low >= 0:
        return x.replace(atom, lo)
    if hi is not None and (low := least(-sign * step)) is not None and low >= 0:
        return x.replace(atom, hi)
    return None


def _interval(x: Extent) -> int | None:
    """Plain interval arithmetic over the terms."""
    if isinstance(x, int):
        return x
    total = 0
    for monomial, c in x.terms.items():
        interval: Interval = (1, 1)
        for atom, power in monomial:
            for _ in range(power):
                interval = _times(interval, _numbers(atom))
        part = interval[0 if c > 0 else 1]
        if part is None:
            return None
        total += c * part
    return total


def _numbers(atom: Atom) -> Interval:
    lo, hi = atom.range()
    return None if lo is None else least(lo), None if hi is None else greatest(hi)


def _times(x: Interval, y: Interval) -> Interval:
    """The product of two intervals; None is unbounded."""
    (a, b), (c, d) = x, y
    if a is not None and b is not None and c is not None and d is not None:
        corners = (a * c, a * d, b * c, b * d)
        return min(corners), max(corners)
    if a is not None and c is not None and a >= 0 and c >= 0:
        return a * c, None if b is None or d is None else b * d
    return None, None
