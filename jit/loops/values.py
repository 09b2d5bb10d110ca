"""What each elementwise instruction of a kernel means, in NumPy: `apply`.

Direct instructions are rows of a table; all others are computed by their formulas
(`jit.loops.math`), hence step by step as the machine does. Generated code gives these very bits,
but for the sign and payload of NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jit.loops.direct import COMPARISONS, is_direct
from jit.loops.fma import fma
from jit.loops.ir import WARP, VType
from jit.loops.math.notation import Notation, State, Value
from jit.loops.math.table import formula
from jit.types import bool_

DType = np.dtype[Any]
Array = np.ndarray[Any, DType]

UPPER = np.uint32(0xFFFF0000)  # half of a word
FAR = np.float32(2**24)  # away from subnormal numbers


def _quotient(a: Array, b: Array) -> Array:
    """Towards zero; where the IR leaves the result open it is 0, or the dividend."""
    safe = np.where(b == 0, np.ones_like(b), b)
    down = np.floor_divide(a, safe)
    inexact = down * safe != a
    return np.where(b == 0, np.zeros_like(a), down + (inexact & ((a < 0) != (safe < 0))))


def _rest(a: Array, b: Array) -> Array:
    return a - _quotient(a, b) * b


def _tf32(x: Array) -> Array:
    """Half of the last place that stays is added; NaN stays NaN."""
    rounded = (x.view(np.uint32) + np.uint32(1 << 12)).view(np.float32)
    return np.where(np.isnan(x), x, _cut(rounded))


def _pairs(a: Array, b: Array, c: Array) -> Array:
    """The upper halves come first."""
    for bits in (0, 16):
        x, y = [_normal((word << bits & UPPER).view(np.float32)) for word in (a, b)]
        c = _normal(c)
        # Whether a sum is subnormal shows when it is rounded as if there were no such numbers.
        first = np.abs(x) < np.abs(y)
        larger = fma(np.where(first, x * FAR, x), np.where(first, y, y * FAR), c * FAR)
        c = _normal(fma(x, y, c), larger.astype(np.float64) / FAR)
    return c


def _normal(x: Array, exact: Array | None = None) -> Array:
    """float32 with zeros in place of what is subnormal, by itself or as `exact` says."""
    small = np.abs(x if exact is None else exact) < np.finfo(np.float32).tiny
    return np.where(small, np.copysign(np.float32(0), x), x)


def _cut(x: Array) -> Array:
    """float32 without what tensor cores do not read."""
    return (x.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)


def _near_exp2(x: Array) -> Array:
    """Rounded; the machine may decide otherwise on the last bits."""
    y = np.exp2(x.astype(np.float64))
    return np.where(y < 2.0**-126, 0.0, y)


def mma(a: Array, b: Array, c: Array) -> Array:
    """What `Mma` gives for threads, 32 after the other; each operand is (threads, lanes)."""
    groups = len(a) // WARP
    per = a.shape[1] // 4
    # Thread 4 g + t: axes (group, g, t, second inner half, second row half, in a word).
    rows = np.ascontiguousarray(a).reshape(groups, 8, 4, 2, 2, per).transpose(0, 4, 1, 3, 2, 5)
    columns = np.ascontiguousarray(b).reshape(groups, 8, 4, 2, per).transpose(0, 3, 2, 4, 1)
    rows, columns = rows.reshape(groups, 16, 8 * per), columns.reshape(groups, 8 * per, 8)
    if a.dtype == np.float32:
        rows, columns = map(_cut, (rows, columns))
    made = np.matmul(rows.astype(np.float64), columns.astype(np.float64))
    halves = made.reshape(groups, 2, 8, 4, 2).transpose(0, 2, 3, 1, 4)
    return np.asarray(c + halves.reshape(-1, 4), np.float32)


def _where(condition: Array, a: Array, b: Array) -> Array:
    return np.where(condition, a, b)


# Instructions whose NumPy function has another name, or none.
SPECIAL: dict[str, Callable[..., Array]] = {
    "fma": fma,
    "pairs": _pairs,
    "tf32": _tf32,
    "larger": np.fmax,
    "near_exp2": _near_exp2,
    "inverse": np.reciprocal,
    "quotient": _quotient,
    "rest": _rest,
    "shift_left": np.left_shift,
    "shift_right": np.right_shift,
    "where": _where,
    "round": np.rint,
}


def direct(op: str, args: Sequence[Array], dtype: DType) -> Array:
    """The direct instruction `op` on arrays of one shape; the result has this dtype."""
    if op == "astype":
        return args[0].astype(dtype)
    if op == "bitcast":
        return np.ascontiguousarray(args[0]).view(dtype).reshape(args[0].shape)
    return np.asarray((SPECIAL.get(op) or getattr(np, op))(*args), dtype)


class Arrays(Notation):
    """Formulas on arrays of one shape."""

    def instruction(self, op: str, args: Sequence[Value], dtype: DType | None) -> Value:
        """Computes `op`."""
        given = dtype or (bool_ if op in COMPARISONS else args[-1].dtype)
        return Value(self, direct(op, [x.x for x in args], given), given)

    def number(self, value: float, like: Value) -> Value:
        """An array of no dimensions: it meets any."""
        return Value(self, np.asarray(value, like.dtype), like.dtype)

    def rarely(
        self, where: Value, usual: State, inputs: State, unusual: Callable[..., State]
    ) -> State:
        """Computes both, if any element needs it."""
        if not np.any(where.x):
            return usual
        return tuple(self.where(where, b, a) for a, b in zip(usual, unusual(*inputs)))

    def repeat(self, count: int, state: State, step: Callable[..., State]) -> State:
        """A loop."""
        for _ in range(count):
            state = step(*state)
        return state


def apply(
    op: str, args: Sequence[Array], type: VType, immediates: Sequence[int] = ()
) -> np.ndarray[Any, Any]:
    """Instruction `op` on arrays.

    Args:
        op: A scalar instruction or one of `jit.loops.ir.EXTRAS`.
        args: One array per operand, all of one shape; for `splat`, `extract` and `shuffle` the last
            axis is that of the lanes.
        type: Of the result.
        immediates: For `extract` and `shuffle`.
    """
    args = [np.asarray(x) for x in args]
    if op in LANES:
        return LANES[op](args, type, tuple(immediates))
    with np.errstate(all="ignore"):
        source = args[-1].dtype
        if is_direct(op, source, type.dtype):
            return direct(op, args, type.dtype)
        w = Arrays()
        found = formula(op, source, type.dtype)(w, *(Value(w, x, x.dtype) for x in args))
    assert found.dtype == type.dtype, (op, found.dtype, type.dtype)
    shape = args[0].shape if len(args) == 1 else np.broadcast_shapes(*(x.shape for x in args))
    return found.x if found.x.shape == shape else np.broadcast_to(found.x, shape)


def _splat(args: Sequence[Array], type: VType, _: tuple[int, ...]) -> Array:
    return np.broadcast_to(np.asarray(args[0])[..., None], (*args[0].shape, type.lanes))


def _iota(args: Sequence[Array], type: VType, _: tuple[int, ...]) -> Array:
    return np.arange(type.lanes, dtype=type.dtype)


def _extract(args: Sequence[Array], type: VType, immediates: tuple[int, ...]) -> Array:
    return np.asarray(args[0][..., immediates[0]])


def _shuffle(args: Sequence[Array], type: VType, immediates: tuple[int, ...]) -> Array:
    return np.concatenate(args, axis=-1)[..., list(immediates)]


LANES: dict[str, Callable[[Sequence[Array], VType, tuple[int, ...]], Array]] = {
    "splat": _splat,
    "iota": _iota,
    "extract": _extract,
    "shuffle": _shuffle,
}
