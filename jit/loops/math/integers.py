"""Formulas of integers and bools: they wrap around; a division by zero gives zero."""

from __future__ import annotations

import numpy as np

from jit.loops.math.notation import Notation, State, Value
from jit.types import dtypes


def positive(w: Notation, x: Value) -> Value:
    """`x` itself: integers need no rounding and are real."""
    return x


def square(w: Notation, x: Value) -> Value:
    """X * x."""
    return x * x


def magnitude(w: Notation, x: Value) -> Value:
    """abs(x); the least integer has none and stays."""
    return x if x.dtype.kind == "u" else w.where(x < 0, -x, x)


def sign(w: Notation, x: Value) -> Value:
    """-1, 0 or 1."""
    one = w.number(1, x)
    positive = w.where(x > 0, one, 0)
    return positive if x.dtype.kind == "u" else w.where(x < 0, -one, positive)


def maximum(w: Notation, a: Value, b: Value) -> Value:
    """The greater one."""
    return w.where(a > b, a, b)


def minimum(w: Notation, a: Value, b: Value) -> Value:
    """The lesser one."""
    return w.where(a < b, a, b)


def never(w: Notation, x: Value) -> Value:
    """False: integers are neither NaN nor infinite."""
    return x.ne(x)


def always(w: Notation, x: Value) -> Value:
    """True: integers are finite."""
    return x.eq(x)


# ----- division -----


def floor_divide(w: Notation, a: Value, b: Value) -> Value:
    """A / b rounded down; 0 if b is 0."""
    zero, signed = b.eq(0), a.dtype.kind == "i"
    if not signed:
        found = _quotient(w, a, w.where(zero, 1, b))
        return w.where(zero, 0, found)
    flip = b.eq(-1)  # apart, for the least integer has no counterpart
    found = _quotient(w, a, w.where(zero | flip, 1, b))
    return w.where(flip, -a, w.where(zero, 0, found))


def remainder(w: Notation, a: Value, b: Value) -> Value:
    """What `floor_divide` leaves; 0 if b is 0."""
    return w.where(b.eq(0), 0, a - floor_divide(w, a, b) * b)


def _quotient(w: Notation, a: Value, b: Value) -> Value:
    """A / b rounded down, where the result exists.

    Up to 32 bits floats are faster than the machine's division: a quotient of integers is so far
    from the next integer that rounding cannot reach it.
    """
    if a.dtype.itemsize < 8:
        wide = "float64" if a.dtype.itemsize == 4 else "float32"
        return (a.astype(wide) / b.astype(wide)).floor().astype(a.dtype)
    found = w.let("quotient", a, b)
    if a.dtype.kind == "u":
        return found
    rest = a - found * b
    return w.where(rest.ne(0) & ((rest ^ b) < 0), found - 1, found)


# ----- powers and shifts -----


def power(w: Notation, a: Value, b: Value) -> Value:
    """A to the power of b by squaring; for b < 0 the true result without its fraction (0: 0)."""
    steps, exponent = a.dtype.itemsize * 8, w.known(b)
    if exponent is not None and exponent >= 0:
        return _known_power(w, a, int(exponent))

    def step(base: Value, left: Value, product: Value) -> State:
        product = w.where((left & 1).ne(0), product * base, product)
        return base * base, left >> 1, product

    one = a.eq(a).astype(a.dtype)
    *_, found = w.repeat(steps, (a, b + one * 0, one), step)
    if a.dtype.kind == "u":
        return found
    unit = w.where(a.eq(1), one, w.where(a.eq(-1), one - ((b & 1) << 1), 0))
    return w.where(b < 0, unit, found)


def _known_power(w: Notation, a: Value, exponent: int) -> Value:
    found: Value | None = None
    while exponent:
        if exponent & 1:
            found = a if found is None else found * a
        exponent >>= 1
        a = a * a if exponent else a
    return w.number(1, a) if found is None else found


def shift_left(w: Notation, x: Value, count: Value) -> Value:
    """Bits moved up; 0 if the count is not within the width."""
    within = _within(count)
    return w.where(within, x << w.where(within, count, 0), 0)


def shift_right(w: Notation, x: Value, count: Value) -> Value:
    """Bits moved down; only copies of the sign if the count is not within the width."""
    within, bits = _within(count), x.dtype.itemsize * 8
    if x.dtype.kind == "i":
        return x >> w.where(within, count, bits - 1)
    return w.where(within, x >> w.where(within, count, 0), 0)


def _within(count: Value) -> Value:
    bits = count.dtype.itemsize * 8
    return count < bits if count.dtype.kind == "u" else (count >= 0) & (count < bits)


# ----- bools -----


def less(w: Notation, a: Value, b: Value) -> Value:
    """Of bools: false is less than true."""
    return ~a & b


def less_equal(w: Notation, a: Value, b: Value) -> Value:
    """Of bools."""
    return ~a | b


def greater(w: Notation, a: Value, b: Value) -> Value:
    """Of bools."""
    return a & ~b


def greater_equal(w: Notation, a: Value, b: Value) -> Value:
    """Of bools."""
    return a | ~b


def either(w: Notation, a: Value, b: Value) -> Value:
    """The maximum of bools."""
    return a | b


def both(w: Notation, a: Value, b: Value) -> Value:
    """The minimum of bools."""
    return a & b


# ----- conversions -----


def convert(w: Notation, x: Value, dtype: np.dtype) -> Value:
    """`x` in another dtype, as NumPy on x86-64 gives it: see `_to_integer` and `_to_half`."""
    if x.dtype == dtype:
        return x
    if x.dtype in HALVES:
        return convert(w, from_half(w, x), dtype)
    if dtype in HALVES:
        return _to_half(w, x, dtype)
    if dtype == dtypes["bool"]:
        return x.ne(0)
    return _to_integer(w, x, dtype) if dtype.kind in "iu" else x.astype(dtype)


HALVES = (dtypes["float16"], dtypes["bfloat16"])


def _to_integer(w: Notation, x: Value, dtype: np.dtype) -> Value:
    """A float without its fraction.

    What int32 or int64 cannot hold, NaN too, becomes their least integer. int8, int16, uint8 and
    uint16 are the low bits of an int32, uint32 of an int64. For uint64, numbers from 2**63 on are
    converted less 2**63.
    """
    if x.dtype.kind in "biu":
        return x.astype(dtype)
    if dtype.itemsize < 4 or dtype == dtypes["int32"]:
        return _signed(w, x, "int32").astype(dtype)
    if dtype != dtypes["uint64"]:
        return _signed(w, x, "int64").astype(dtype)
    high = x >= 2.0**63
    low = _signed(w, w.where(high, x - 2.0**63, x), "int64")
    top = w.number(int(np.iinfo(np.int64).min), low)
    return w.where(high, low ^ top, low).astype(dtype)


def _signed(w: Notation, x: Value, name: str) -> Value:
    least = float(np.iinfo(name).min)
    return w.where((x >= least) & (x < -least), x, least).astype(name)


def from_half(w: Notation, x: Value) -> Value:
    """A half as float32, exactly."""
    if x.dtype == dtypes["float16"]:
        return x.astype("float32")
    return (x.bits().astype("int32") << 16).bitcast("float32")


def _to_half(w: Notation, x: Value, dtype: np.dtype) -> Value:
    """Rounded to nearest, ties to even; to bfloat16 by way of float32, as ml_dtypes does it."""
    if dtype == dtypes["float16"]:
        return _odd(w, x).astype(dtype)
    x = x.astype("float32")
    bits = x.bits()
    rounded = (bits + (((bits >> 16) & 1) + 0x7FFF)) >> 16
    nan = (bits >> 16) & -0x8000 | 0x7FC0
    return w.where(x.ne(x), nan, rounded).astype("int16").bitcast(dtype)


def _odd(w: Notation, x: Value) -> Value:
    """float32, rounded to odd from float64, so that rounding it once more rounds `x` right."""
    near = x.astype("float32")
    if x.dtype != dtypes["float64"]:
        return near
    back, bits = near.astype("float64"), near.bits()
    step = w.where(abs(back) < abs(x), w.number(1, bits), -1)
    even = (bits & 1).eq(0) & back.ne(x) & (abs(near) < float("inf"))
    return w.where(even, bits + step, bits).bitcast("float32")
