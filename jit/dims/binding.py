"""Dimensions whose symbols have values: evaluation, substitution, and solving for the values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from jit.dims.algebra import Atom, Dim, Extent, Symbol, same
from jit.dims.guesses import hinted
from jit.errors import ShapeError


def evaluate(x: Extent, binding: Mapping[str, Any]) -> Any:
    """`x` for these values of its symbols: integers, or NumPy arrays of them, elementwise.

    Raises:
        KeyError: A symbol has no value.
    """
    return x.evaluate(binding) if isinstance(x, Dim) else x


def hint(x: Extent) -> int:
    """The value of `x` that was seen.

    Raises:
        TraceError: A symbol has no hint.
    """
    return hinted(x, "its value")


def rewrite(x: Extent, by: Callable[[Atom], Extent | None]) -> Extent:
    """`x` with `by(atom)` for each atom, inside of other atoms too; None keeps the atom.

    An atom that is kept is rebuilt from its rewritten parts, so simplification happens again.
    """

    def value(atom: Atom) -> Extent:
        new = by(atom)
        return atom.rebuild(lambda inner: rewrite(inner, by)) if new is None else new

    return x.fold(value) if isinstance(x, Dim) else x


def substitute(x: Extent, values: Mapping[str, Extent]) -> Extent:
    """`x` with other dimensions or integers for the symbols of these names."""
    return rewrite(x, lambda atom: values.get(atom.name) if isinstance(atom, Symbol) else None)


def free_symbols(x: Extent | Iterable[Extent]) -> list[Symbol]:
    """The symbols of a dimension, or of several (a shape), by name."""
    several = [x] if isinstance(x, int | Dim) else list(x)
    return sorted({s for d in several if isinstance(d, Dim) for s in d.symbols()}, key=str)


def solve(expected: Sequence[Sequence[Extent]], actual: Sequence[Sequence[int]]) -> dict[str, int]:
    """The sizes of all symbols, read from concrete shapes.

    A symbol is bound by the first dimension that is just this symbol; all others are checked.

    Args:
        expected: Shapes, whose dimensions may be symbolic.
        actual: As many concrete shapes.

    Raises:
        ShapeError: A rank, an extent or a range does not fit, or a symbol stands nowhere by itself.
    """
    binding: dict[str, int] = {}
    pairs = list(zip(expected, actual, strict=True))
    for position, (dims, sizes) in enumerate(pairs):
        if len(dims) != len(sizes):
            raise _misfit(position, dims, sizes, f"{len(sizes)} dimensions instead of {len(dims)}")
        for dim, size in zip(dims, sizes, strict=True):
            for s in free_symbols(dim)[:1]:
                if same(dim, s.as_dim()):
                    binding.setdefault(s.name, int(size))
    for position, (dims, sizes) in enumerate(pairs):
        for axis, (dim, size) in enumerate(zip(dims, sizes, strict=True)):
            for s in free_symbols(dim):
                if why := _symbol_misfit(s, binding):
                    raise _misfit(position, dims, sizes, why)
            if (value := evaluate(dim, binding)) != size:
                why = f"axis {axis} has {size} where {dim} is {value}"
                raise _misfit(position, dims, sizes, why)
    return binding


def _symbol_misfit(s: Symbol, binding: Mapping[str, int]) -> str:
    if s.name not in binding:
        return f"the size of {s} is not given by any dimension"
    value = binding[s.name]
    if value < s.lo:
        return f"{s} is {value}, less than {s.lo}"
    return f"{s} is {value}, more than {s.hi}" if isinstance(s.hi, int) and value > s.hi else ""


def _misfit(position: int, dims: Sequence[Extent], sizes: Sequence[int], why: str) -> ShapeError:
    shown = "(" + ", ".join(map(str, dims)) + ")"
    return ShapeError(
        f"argument {position} of shape {tuple(sizes)} does not fit: {why}",
        f"shape {shown}",
        "pass an array of that shape, or widen the signature",
    )
