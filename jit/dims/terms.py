"""Polynomials as dicts, monomial -> coefficient (never 0): sums, products, long division."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from jit.dims.algebra import Atom

Monomial: TypeAlias = "frozenset[tuple[Atom, int]]"
Terms: TypeAlias = "dict[Monomial, int]"

ONE: Monomial = frozenset()


def plus(a: Terms, b: Terms, sign: int = 1) -> Terms:
    """The sum; with sign -1 the difference."""
    total = dict(a)
    for m, c in b.items():
        new = total.get(m, 0) + sign * c
        if new:
            total[m] = new
        else:
            del total[m]
    return total


def product(a: Terms, b: Terms) -> Terms:
    """The product of two polynomials."""
    total: Terms = {}
    for m, c in a.items():
        more = {times(m, n): c * d for n, d in b.items()}
        total = plus(total, more) if total else more
    return total


def times(a: Monomial, b: Monomial) -> Monomial:
    """The product of two monomials."""
    if not a or not b:
        return a or b
    powers = dict(a)
    for atom, p in b:
        powers[atom] = powers.get(atom, 0) + p
    return frozenset(powers.items())


def ratio(a: Monomial, b: Monomial) -> Monomial | None:
    """The quotient of two monomials, or None if `b` does not divide `a`."""
    powers = dict(a)
    for atom, p in b:
        left = powers.pop(atom, 0) - p
        if left < 0:
            return None
        if left:
            powers[atom] = left
    return frozenset(powers.items())


def divide(x: Terms, k: Terms) -> tuple[Terms, Terms]:
    """(q, r) with x == q*k + r: long division by the leading term of `k`.

    The constant of `r` ends between 0 and an integer `k`; other coefficients keep their signs.
    """
    order = sorted({atom for m in k for atom, _ in m}, key=str)

    def rank(m: Monomial) -> list[int]:
        powers = dict(m)
        return [powers.get(atom, 0) for atom in order]

    lead = max(k, key=rank)
    q: Terms = {}
    r: Terms = {}
    todo = dict(x)
    while todo:
        m = max(todo, key=rank)
        left = ratio(m, lead)
        count = 0 if left is None else _split(todo[m], k[lead], floor=m == ONE)
        if left is None or count == 0:
            r[m] = todo.pop(m)
        else:
            part = {left: count}
            q, todo = plus(q, part), plus(todo, product(part, k), -1)
    return q, r


def _split(c: int, k: int, *, floor: bool) -> int:
    quotient = c // k
    if not floor and quotient < 0 and quotient * k != c:
        quotient += 1
    return quotient
