"""Walk: the loops of a group, with those run together that need no index of their own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from jit.dataclass import dataclass
from jit.dims import Dim, Extent, Symbol, same
from jit.dims.algebra import Atom
from jit.forms.expression import (
    Access,
    Expression,
    extents_of,
    linear,
    loads_of,
    walk,
)
from jit.types import product


@dataclass(frozen=True)
class Loop:
    """Adjacent loops of a group, walked as one.

    Attributes:
        names: Of the loops; all but the last stay at 0.
        extents: Of the loops.
    """

    names: tuple[str, ...]
    extents: tuple[Extent, ...]

    @property
    def extent(self) -> Extent:
        """How many indices it has."""
        return product(self.extents)


def collapsed(
    extents: Sequence[Extent], kinds: Sequence[object], elements: Iterable[Expression]
) -> list[Loop]:
    """The loops of a group; neighbours of one kind are one where all index arithmetic allows it.

    That is so if every position is linear in both, and a step of the outer loop goes as far as a
    full turn of the inner one.
    """
    positions = [x for x in positions_of(elements) if isinstance(x, Dim)]
    loops: list[Loop] = []
    for k, extent in enumerate(extents):
        name = f"i{k}"
        joined = bool(loops) and kinds[k] == kinds[k - 1]
        if joined and all(runs_on(x, loops[-1].names[-1], name, extent) for x in positions):
            last = loops.pop()
            loops.append(Loop((*last.names, name), (*last.extents, extent)))
        else:
            loops.append(Loop((name,), (extent,)))
    return loops


def positions_of(elements: Iterable[Expression]) -> set[Extent]:
    """Every integer that the expressions compute from loop indices."""
    found: set[Extent] = set()
    for x in walk(*elements):
        raw = extents_of(x)
        if isinstance(x, Access):
            found.add(linear(x.value.shape, x.at))
            found.update(i for i, _ in x.guard)
        else:
            found.update(raw)
        for load in loads_of(*raw):
            table = load.table
            found.add(linear(table.shape, load.at))  # pyright: ignore[reportAttributeAccessIssue]
    return found


def runs_on(x: Dim, outer: str, inner: str, extent: Extent) -> bool:
    """Whether index expression `x` needs only outer * extent + inner, not the two by themselves."""
    steps: dict[str, Extent] = {outer: 0, inner: 0}
    for monomial, factor in x.terms.items():
        for atom, power in monomial:
            if not isinstance(atom, Symbol):
                if mentions(atom, outer) or mentions(atom, inner):
                    return False
            elif atom.name in steps:
                if power > 1:
                    return False
                rest = Dim({monomial - {(atom, 1)}: factor}) if len(monomial) > 1 else factor
                steps[atom.name] = steps[atom.name] + rest
    return same(steps[outer], steps[inner] * extent)


def mentions(atom: Atom, name: str) -> bool:
    """Whether a composite atom depends on the loop `name`, outside of table loads."""
    found: list[bool] = []

    def visit(x: Extent) -> Extent:
        for inner in x.atoms() if isinstance(x, Dim) else ():
            found.append(inner.name == name if isinstance(inner, Symbol) else False)
            inner.rebuild(visit)
        return x

    atom.rebuild(visit)
    return any(found)
