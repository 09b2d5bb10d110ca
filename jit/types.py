"""TensorType, and the rules of promotion and broadcasting, stated once for eager and graphs alike.

Promotion follows the Python array API standard within a kind. Between kinds the higher kind wins
(bool < integer < floating < complex) and keeps its own width, so that integer labels never turn a
float32 computation into float64. Python scalars are weak: they take the dtype of the tensor that
they meet.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from jit.dataclass import dataclass
from jit.errors import DTypeError, ShapeError

if TYPE_CHECKING:
    from jit.dims import Dim

type_names = (
    "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 "
    "float16 float32 float64 complex64 complex128"
).split()
bfloat16 = np.dtype(ml_dtypes.bfloat16)
dtypes: dict[str, np.dtype[Any]] = {name: np.dtype(name) for name in type_names} | {
    "bfloat16": bfloat16
}

known_dtypes = frozenset(dtypes.values())
names = {dtype: name for name, dtype in dtypes.items()}  # NumPy spells a name anew for each asker

bool_ = dtypes["bool"]
int64 = dtypes["int64"]
float32 = dtypes["float32"]
float64 = dtypes["float64"]
complex64 = dtypes["complex64"]

KINDS = ("bool", "integer", "floating", "complex")


@cache
def kind(dtype: np.dtype[Any]) -> str:
    """One of KINDS: the rung of the promotion ladder that a dtype stands on."""
    if dtype == bfloat16:
        return "floating"
    return {"b": "bool", "i": "integer", "u": "integer", "f": "floating", "c": "complex"}[
        dtype.kind
    ]


def as_dtype(spec: Any) -> np.dtype[Any]:
    """`spec` (a dtype, a NumPy scalar type, a name or a Python type) as one of the known dtypes.

    Raises:
        DTypeError: Nothing known is meant by `spec`.
    """
    if isinstance(spec, np.dtype) and spec in known_dtypes:
        return spec
    if spec is float:
        return float32
    if spec is complex:
        return complex64
    if isinstance(spec, str) and spec in dtypes:
        return dtypes[spec]
    try:
        found = dtypes.get(np.dtype(spec).name)
    except TypeError:
        found = None
    if found is None:
        raise DTypeError(
            f"no dtype is called {spec!r}",
            f"one of {', '.join(dtypes)}",
            "dtype=df.float32 or 'float32'",
        )
    return found


@cache
def promote(a: np.dtype[Any], b: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype in which values of `a` and `b` meet.

    Raises:
        DTypeError: uint64 with a signed integer: no integer dtype holds both.
    """
    if a == b:
        return a
    rank_a, rank_b = KINDS.index(kind(a)), KINDS.index(kind(b))
    if {kind(a), kind(b)} == {"floating", "complex"}:
        real, cplx = (a, b) if rank_a < rank_b else (b, a)
        return dtypes["complex128"] if real == float64 else cplx
    if rank_a != rank_b:
        return a if rank_a > rank_b else b
    if bfloat16 in (a, b):
        other = a if b == bfloat16 else b
        return float32 if other == np.float16 else other
    met = np.promote_types(a, b)
    if kind(a) == "integer" and kind(met) != "integer":
        raise DTypeError(
            f"{a} and {b} have no common integer dtype",
            "two signed, two unsigned, or an unsigned one narrower than 64 bits",
            "convert one of them: x.astype(df.int64)",
        )
    return met


def weak_dtype(value: complex, met: np.dtype[Any] | None) -> np.dtype[Any]:
    """The dtype of a Python scalar that meets a tensor of dtype `met` (None: it stands alone)."""
    if isinstance(value, bool):
        own, rung = bool_, 0
    elif isinstance(value, int):
        own, rung = int64, 1
    elif isinstance(value, float):
        own, rung = float32, 2
    else:
        own, rung = complex64, 3
    if met is None:
        return own
    if KINDS.index(kind(met)) >= rung:
        return met
    return dtypes["complex128"] if rung == 3 and met == float64 else own


@dataclass(frozen=True, slots=True)
class TensorType:
    """Shape and dtype of a value; a dimension is an int or a `Dim`."""

    shape: tuple[int | Dim, ...]
    dtype: np.dtype[Any]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int | Dim:
        return product(self.shape)

    def __str__(self) -> str:
        name = names.get(self.dtype) or self.dtype.name
        return f"{name}[{','.join(map(str, self.shape))}]"

    def with_dtype(self, dtype: np.dtype[Any]) -> TensorType:
        """The same shape in another dtype."""
        return TensorType(self.shape, dtype)

    def with_shape(self, shape: Sequence[int | Dim]) -> TensorType:
        """The same dtype in another shape."""
        return TensorType(tuple(shape), self.dtype)

    def reduced(self, axes: tuple[int, ...], keepdims: bool) -> TensorType:  # noqa: FBT001 - an op's attr
        """The type after folding `axes` (canonical: sorted, not negative)."""
        if keepdims:
            return self.with_shape([1 if k in axes else d for k, d in enumerate(self.shape)])
        return self.with_shape([d for k, d in enumerate(self.shape) if k not in axes])


def product(dims: Sequence[int | Dim]) -> int | Dim:
    """The number of elements of a shape."""
    size: int | Dim = 1
    for extent in dims:
        size = size * extent
    return size


def same_shape(a: tuple[int | Dim, ...], b: tuple[int | Dim, ...]) -> bool:
    """Whether two shapes are equal; of shapes of two ranks no symbolic extent is asked."""
    return len(a) == len(b) and a == b


def broadcast_shapes(*shapes: tuple[int | Dim, ...]) -> tuple[int | Dim, ...]:
    """The common shape by NumPy's rule: aligned at the right, 1 stretches.

    Raises:
        ShapeError: Two extents differ and neither is 1.
    """
    first = shapes[0]
    # Of other ranks, dimensions that never meet must not be compared: that could be a guess.
    if all(len(s) == len(first) and s == first for s in shapes[1:]):
        return first
    rank = max(map(len, shapes))
    out: list[int | Dim] = [1] * rank
    for shape in shapes:
        for k, dim in enumerate(shape, start=rank - len(shape)):
            if isinstance(dim, int) and dim == 1:
                continue
            if isinstance(out[k], int) and out[k] == 1:
                out[k] = dim
            elif out[k] != dim:
                listed = " and ".join(map(format_shape, shapes))
                raise ShapeError(
                    f"shapes {listed} do not broadcast: {out[k]} against {dim} at axis {k - rank}",
                    "extents that are equal, or 1, counted from the right",
                    "reshape one of them, or insert an axis with x[:, None]",
                )
    return tuple(out)


def format_extent(extent: int | str | Dim | None) -> str:
    """An extent in a message; None is one that may vary."""
    return str(extent) if isinstance(extent, int | str | None) else extent.shown()


def format_shape(shape: Sequence[int | str | Dim | None]) -> str:
    """A shape in a message, as Python writes tuples."""
    inner = ", ".join(map(format_extent, shape))
    return f"({inner},)" if len(shape) == 1 else f"({inner})"


def exact_reciprocal(k: Any, dtype: np.dtype[Any]) -> float | None:
    """1/k where x / k is x * (1/k) for each x of a dtype: powers of two, but for the largest."""
    if dtype.kind != "f":
        return None
    mantissa, exponent = np.frexp(float(k))
    if abs(mantissa) != 0.5 or abs(exponent) > np.finfo(dtype).maxexp - 3:
        return None
    return 1 / float(k)
