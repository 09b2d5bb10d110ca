"""Index maps: from the indices of a loop nest to an index of a value.

Each coordinate is a `Dim` over the loop symbols `i0`, `i1`, ... and over the sizes in shapes:
quasi-affine in the loops (+ - *, // and % by positive sizes), possibly with loads from integer
tables. Dims do the simplification; a composition is a substitution.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any, Protocol

import numpy as np

from jit.dataclass import dataclass
from jit.dims import Atom, Dim, Extent, Symbol, decide, rewrite, same
from jit.dims.algebra import Range
from jit.errors import IndexError
from jit.types import TensorType, product

KEPT = 1024  # maps that are remembered
Condition = tuple[Extent, Extent]  # (x, n): 0 <= x < n


class Table(Protocol):
    """A form value that index expressions load integers from."""

    @property
    def type(self) -> TensorType: ...

    @property
    def limits(self) -> tuple[int | None, int | None]: ...


@dataclass(frozen=True, eq=False)
class Load(Atom):
    """`table[at]`: an integer that is known when the program runs."""

    table: Table
    at: tuple[Extent, ...]

    @property
    def parts(self) -> tuple[Any, ...]:
        return self.table, *self.at

    def __reduce__(self) -> tuple[object, ...]:
        return Load, (self.table, self.at)

    def range(self) -> Range:
        return self.table.limits

    def rebuild(self, recurse: Callable[[Extent], Any]) -> Any:
        return Load(self.table, tuple([recurse(x) for x in self.at])).as_dim()

    def __str__(self) -> str:
        return f"{self.table}[{', '.join(map(str, self.at))}]"


def loop(axis: int, extent: Extent) -> Extent:
    """The index that runs over `axis`, from 0 to extent - 1; just 0 where there is one index."""
    if isinstance(extent, int) and extent <= 1:
        return 0
    return Symbol(f"i{axis}", None, 0, extent - 1).as_dim()


@dataclass(frozen=True)
class IndexMap:
    """Where each index of a loop nest reads or writes.

    Attributes:
        shape: The extents of the loops.
        at: One coordinate per axis of the value that is indexed.
        where: Conditions under which the index counts as inside, besides every coordinate's own.
    """

    shape: tuple[Extent, ...]
    at: tuple[Extent, ...]
    where: tuple[Condition, ...] = ()

    @classmethod
    def of(
        cls,
        shape: Sequence[Extent],
        at: Callable[..., Any],
        where: Callable[..., Sequence[Condition]] | None = None,
    ) -> IndexMap:
        """The map that the functions `at` and `where` describe, called with the loop indices."""
        loops = [loop(axis, extent) for axis, extent in enumerate(shape)]
        coordinates = at(*loops)
        conditions = () if where is None else tuple(where(*loops))
        return cls(tuple(shape), tuple(coordinates), conditions)

    @cached_property
    def tables(self) -> tuple[Any, ...]:
        """The values that the map loads from, each once."""
        found: dict[Any, None] = {}

        def visit(atom: Atom) -> None:
            if isinstance(atom, Load):
                found[atom.table] = None

        self.rewritten(visit)
        return tuple(found)

    def rewritten(self, by: Callable[[Atom], Extent | None]) -> IndexMap:
        """The same map with atoms replaced, in coordinates and conditions."""
        at = [rewrite(x, by) for x in self.at]
        where = [(rewrite(x, by), n) for x, n in self.where]
        return IndexMap(self.shape, tuple(at), tuple(where))

    def then(self, inner: IndexMap, *, outside: bool = False) -> IndexMap:
        """The map that goes through this one and then through `inner`.

        Args:
            inner: A map whose loops run over what this map indexes.
            outside: This map may leave that value (it has a fill); leaving it then leaves the
                composition too.
        """
        coordinates = {f"i{axis}": x for axis, x in enumerate(self.at)}

        def by(atom: Atom) -> Extent | None:
            return coordinates.get(atom.name) if isinstance(atom, Symbol) else None

        moved = inner.rewritten(by)
        conditions = list(self.where)
        if outside:
            conditions += [
                pair for pair in zip(self.at, inner.shape) if is_inside(*pair) is not True
            ]
        return IndexMap(self.shape, moved.at, (*conditions, *moved.where))

    def is_identity(self, shape: Sequence[Extent]) -> bool:
        """Whether the map leaves every index of a value of `shape` as it is."""
        loops = [loop(axis, extent) for axis, extent in enumerate(shape)]
        return not self.where and same_all(self.shape, shape) and same_all(self.at, loops)

    def unproven(self, extents: Sequence[Extent]) -> tuple[Condition, ...]:
        """The conditions that have to be checked at run time for a value of these extents."""
        pairs = [*zip(self.at, extents), *self.where]
        return tuple(pair for pair in pairs if is_inside(*pair) is not True)

    def binding(self, sizes: Mapping[str, int]) -> dict[str, Any]:
        """The value of each symbol: sizes, and the loop indices as NumPy's open grid."""
        shape = [evaluate(extent, sizes, {}) for extent in self.shape]
        grid = np.ogrid[tuple(slice(n) for n in shape)] if shape else ()
        return {**sizes, **{f"i{axis}": index for axis, index in enumerate(grid)}}

    def evaluate(
        self,
        extents: Sequence[int],
        sizes: Mapping[str, int],
        tables: Mapping[Any, Any],
        *,
        checked: bool,
    ) -> tuple[tuple[Any, ...], Any]:
        """Index arrays into a value of `extents`, and which of them are inside.

        Args:
            extents: The concrete shape of the value that is indexed.
            sizes: The value of each symbol in shapes.
            tables: The array of each value that the map loads from.
            checked: Leaving the value where all conditions hold is an error.

        Returns:
            Integer arrays, one per coordinate, clipped to the value, and a bool array; all
            broadcast to the loops' shape.

        Raises:
            IndexError: A coordinate is `checked` and outside, or a load leaves its table.
        """
        binding = self.binding(sizes)
        inside: Any = np.bool_(all(evaluate(n, sizes, {}) for n in self.shape))  # any index at all?
        for x, n in self.where:  # what one condition keeps out, the loads of the next may miss
            x = np.asarray(evaluate(x, binding, tables, inside))
            inside = inside & (x >= 0) & (x < evaluate(n, binding, tables))
        at = [np.asarray(evaluate(x, binding, tables, inside)) for x in self.at]
        if checked:
            require_inside(at, extents, inside)
        for x, n in zip(at, extents):
            inside = inside & (x >= 0) & (x < n)
        return clipped(at, extents), inside

    def __str__(self) -> str:
        text = f"[{', '.join(map(str, self.at))}]"
        return text + "".join(f" where 0 <= {x} < {n}" for x, n in self.where)


def row_major(source: tuple[Extent, ...], shape: tuple[Extent, ...]) -> IndexMap:
    """The map of a shape to one of as many elements in the same order."""
    if all(isinstance(extent, int) for extent in (*source, *shape)):
        return known_row_major(source, shape)
    return made_row_major(source, shape)


def made_row_major(source: tuple[Extent, ...], shape: tuple[Extent, ...]) -> IndexMap:
    """The same, made anew."""
    strides = [product(shape[k + 1 :]) for k in range(len(shape))]

    def unravel(*loops: Extent) -> list[Extent]:
        linear = sum((i * stride for i, stride in zip(loops, strides)), 0)
        at: list[Extent] = []
        for k, extent in enumerate(source):
            stride = product(source[k + 1 :])
            if isinstance(stride, int) and stride == 0:
                return [0] * len(source)  # there are no elements, and nothing to divide by
            inner = linear // stride
            at.append(inner % extent if k else inner)
        return at

    return IndexMap.of(shape, unravel)


known_row_major = lru_cache(KEPT)(made_row_major)  # of numbers: others are no keys


def same_all(a: Sequence[Extent], b: Sequence[Extent]) -> bool:
    """Whether two shapes or indices are written the same. Never guesses, unlike `==`."""
    return len(a) == len(b) and all(map(same, a, b))


def is_inside(x: Extent, n: Extent) -> bool | None:
    """Whether 0 <= x < n always holds; False if never, None if that is not known. No guesses."""
    low, high = decide(-1, "<", x), decide(x, "<", n)
    if low is False or high is False:
        return False
    return True if low and high else None


def evaluate(
    x: Any, binding: Mapping[str, Any], tables: Mapping[Any, Any], needed: Any = np.True_
) -> Any:
    """An index expression on integer arrays, loads included.

    Raises:
        IndexError: A load leaves its table where it is `needed`.
    """

    def value(atom: Atom) -> Any:
        if isinstance(atom, Symbol):
            return binding[atom.name]
        if isinstance(atom, Load):
            table = tables[atom.table]
            at = [np.asarray(evaluate(i, binding, tables, needed)) for i in atom.at]
            require_inside(at, table.shape, needed)
            return table[clipped(at, table.shape)].astype(np.int64) if table.size else np.int64(0)
        return atom.rebuild(lambda inner: evaluate(inner, binding, tables, needed))

    return x.fold(value) if isinstance(x, Dim) else x


def clipped(at: Sequence[Any], extents: Sequence[int]) -> tuple[Any, ...]:
    """The nearest indices inside of `extents`."""
    return tuple([np.clip(index, 0, max(extent - 1, 0)) for index, extent in zip(at, extents)])


def require_inside(at: Sequence[Any], extents: Sequence[int], needed: Any) -> None:
    """Refuse indices outside of `extents` where they are `needed`.

    Raises:
        IndexError: An index is outside of its axis.
    """
    for axis, (index, extent) in enumerate(zip(at, extents)):
        outside = ((index < 0) | (index >= extent)) & needed
        if outside.any():
            first = np.broadcast_to(index, outside.shape)[outside][0]
            raise IndexError(
                f"index {first} is outside of axis {axis}, which has {extent} elements",
                f"indices from 0 to {extent - 1}" if extent else "no index: the axis is empty",
                "check the values of the index tensor",
            )
