"""Linear forms of indices: which elements the statements of a loop touch, and how far apart.

A form is a constant plus multiples of atoms: variables that are not made by integer arithmetic,
and products of two of them. Forms come from walking backwards through a kernel's definitions.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import field
from typing import Any, TypeAlias

from jit.dataclass import dataclass
from jit.loops.ir import (
    INDEX,
    Alloc,
    Buffer,
    For,
    Kernel,
    Let,
    Lit,
    Load,
    Operand,
    Statement,
    Store,
    Var,
    walk,
)

Atom: TypeAlias = "Var | tuple[Var, Var]"


@dataclass(slots=True)
class Form:
    """constant + the sum of factor * atom."""

    constant: int = 0
    terms: dict[Atom, int] = field(default_factory=dict)

    def plus(self, other: Form, times: int = 1) -> Form:
        """The sum self + times * other."""
        terms = dict(self.terms)
        for atom, factor in other.terms.items():
            terms[atom] = terms.get(atom, 0) + times * factor
            if terms[atom] == 0:
                del terms[atom]
        return Form(self.constant + times * other.constant, terms)

    def scaled(self, times: int) -> Form:
        """The multiple times * self."""
        return Form().plus(self, times)


class Forms:
    """The forms of a kernel's scalar indices.

    Attributes:
        made: How each variable is made: a Let, a Load, or the loop it counts.
    """

    def __init__(self, kernel: Kernel) -> None:
        self.made: dict[Var, Let | Load | For] = {
            s.var: s for s in walk(kernel.body) if isinstance(s, Let | Load | For)
        }
        self._forms: dict[Var, Form] = {}

    def of(self, x: Operand) -> Form:
        """The form of an index."""
        if isinstance(x, Lit):
            return Form(int(x.value))
        found = self._forms.get(x)
        if found is None:
            found = self._forms[x] = self._made(x)
        return found

    def _made(self, x: Var) -> Form:
        let = self.made.get(x)
        if isinstance(let, Let) and x.type == INDEX:
            match let.op, let.args:
                case "add", (a, b):
                    return self.of(a).plus(self.of(b))
                case "subtract", (a, b):
                    return self.of(a).plus(self.of(b), -1)
                case "negative", (a,):
                    return self.of(a).scaled(-1)
                case "multiply", (a, b):
                    return _product(self.of(a), self.of(b)) or Form(0, {x: 1})
                case _:
                    pass
        return Form(0, {x: 1})

    def difference(self, x: Operand, y: Operand) -> int | None:
        """How much `x` is more than `y`, where that is constant."""
        gap = self.of(x).plus(self.of(y), -1)
        return None if gap.terms else gap.constant

    def trip(self, loop: For) -> int | None:
        """How many turns a loop makes, if that is constant."""
        gap = self.difference(loop.stop, loop.start)
        return None if gap is None else max(0, -(-gap // loop.step))

    def multiple(self, x: Operand, of: int) -> bool:
        """Whether `x` is surely divisible; products with a multiple are, and turns of loops."""
        return self.divides(of, self.of(x))

    def divides(self, of: int, form: Form) -> bool:
        """Whether every term of a form is a multiple."""
        terms = form.terms.items()
        return form.constant % of == 0 and all(self.divides_term(of, *term) for term in terms)

    def divides_term(self, of: int, atom: Atom, factor: int) -> bool:
        """Whether a term is a multiple: by its factor, or by the steps of a loop."""
        if factor % of == 0:
            return True
        loop = self.made.get(atom) if isinstance(atom, Var) else None
        if not isinstance(loop, For) or loop.step * factor % of:
            return False
        return self.divides(of, self.of(loop.start).scaled(factor))

    def interval(self, x: Operand, turns: dict[Var, int]) -> tuple[int, int] | None:
        """Least and greatest value of an index, if loops with constant bounds tell.

        Args:
            x: The index.
            turns: How many turns a loop is counted with, in place of its own number.
        """
        form = self.of(x)
        low = high = form.constant
        for atom, factor in form.terms.items():
            loop = self.made.get(atom) if isinstance(atom, Var) else None
            if not isinstance(loop, For) or not isinstance(loop.start, Lit):
                return None
            trip = turns.get(loop.var, self.trip(loop))
            if trip is None:
                return None
            first = factor * int(loop.start.value)
            last = first + factor * loop.step * max(0, trip - 1)
            low, high = low + min(first, last), high + max(first, last)
        return low, high


def _product(a: Form, b: Form) -> Form | None:
    """The product as a form; None if there is no such form."""
    if not a.terms:
        return b.scaled(a.constant)
    if not b.terms:
        return a.scaled(b.constant)
    total = Form(a.constant * b.constant)
    total = total.plus(Form(0, a.terms), b.constant).plus(Form(0, b.terms), a.constant)
    for x, factor in a.terms.items():
        for y, times in b.terms.items():
            if isinstance(x, tuple) or isinstance(y, tuple):
                return None
            pair = (x, y) if id(x) <= id(y) else (y, x)
            total = total.plus(Form(0, {pair: factor * times}))
    return total


Reach: TypeAlias = "Mapping[Var, float]"


def encounters(
    body: tuple[Statement, ...], forms: Forms, reach: Reach
) -> Iterator[tuple[Store, dict[Var, int]]]:
    """Where two accesses of statements, one of them a store, may touch one element.

    Args:
        body: The statements; memory that they allocate themselves is left out.
        forms: Of the kernel.
        reach: As for `meeting`; what the statements define is added.

    Yields:
        The store, and what `meeting` says of the differences between variables.
    """
    statements = list(walk(body))
    reach = _reaches(statements, forms, reach)
    own = {s.buffer for s in statements if isinstance(s, Alloc)}
    stores = {s.buffer: s for s in statements if isinstance(s, Store)}
    groups: dict[Buffer, dict[Any, list[tuple[Form, bool]]]] = {}
    for s in statements:
        if isinstance(s, Load | Store) and s.buffer in stores and s.buffer not in own:
            form = forms.of(s.index) if s.index.type == INDEX else Form()
            terms = frozenset(form.terms.items()) if s.index.type == INDEX else None
            group = groups.setdefault(s.buffer, {}).setdefault(terms, [])
            group.append((form, isinstance(s, Store)))
    for buffer, alike in groups.items():
        if len(alike) > 1 or None in alike:  # forms of different shapes: nothing is known
            yield stores[buffer], {}
        for members in alike.values():
            written = {form.constant for form, is_store in members if is_store}
            touched = {form.constant for form, _ in members}
            for distance in sorted({b - a for a in written for b in touched}):
                met = meeting(members[0][0].terms, distance, reach)
                if met is not None:
                    yield stores[buffer], met


def meeting(terms: Mapping[Atom, int], distance: int, reach: Reach) -> dict[Var, int] | None:
    """When two accesses touch one element: by how much the variables of loops differ then.

    Args:
        terms: Of the form that both indices have.
        distance: The constant of the second less that of the first.
        reach: Variables that may differ between the two -> by how much at most (inf: unknown).

    Returns:
        None if they never do. Otherwise the differences that are certain; a variable that is left
        out may differ. Atoms that are not in `reach` have one value.
    """
    sure: dict[Var, int] = {}
    if any(isinstance(x, tuple) and (x[0] in reach or x[1] in reach) for x in terms):
        return sure
    moving = [(x, f) for x, f in terms.items() if isinstance(x, Var) and x in reach]
    moving.sort(key=lambda term: -abs(term[1]))
    for position, (x, factor) in enumerate(moving):
        rest = sum(abs(f) * reach[y] for y, f in moving[position + 1 :])
        if rest == math.inf:
            return sure
        sign = 1 if factor > 0 else -1
        low = max(-reach[x], math.ceil((-rest - sign * distance) / abs(factor)))
        high = min(reach[x], math.floor((rest - sign * distance) / abs(factor)))
        if low > high:
            return None
        if low != high:
            return sure
        sure[x] = int(low)
        distance += factor * int(low)
    return sure if distance == 0 else None


def _reaches(statements: Iterable[Statement], forms: Forms, reach: Reach) -> Reach:
    """`reach` and by how much the variables that the statements define may differ."""
    found = dict(reach)
    for s in statements:
        if isinstance(s, Let | Load):
            found[s.var] = math.inf
        elif isinstance(s, For) and s.var not in reach:
            trip = None if s.start in found else forms.trip(s)
            found[s.var] = math.inf if trip is None else max(0, trip - 1) * s.step
    return found


def is_written_once(buffer: Buffer, loaded: Container[Buffer]) -> bool:
    """Whether a buffer is a result that is only stored to: once an element, by its nature."""
    return buffer.scope == "param" and buffer.access == "out" and buffer not in loaded


def from_data(x: Operand, forms: Forms) -> bool:
    """Whether an index was computed from loaded values."""
    made = forms.made.get(x) if isinstance(x, Var) else None
    if isinstance(made, Let):
        return any(from_data(y, forms) for y in made.args)
    return isinstance(made, Load)
