"""Random kernels in direct instructions, with arrays to run them on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np

from jit.loops.ir import INDEX, Buffer, Kernel, Lit, Operand, Var, VType
from jit.loops.writer import Writer
from jit.types import bool_, dtypes, int64

Array = np.ndarray[Any, Any]
FLOATS = ("float32", "float64")
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
ELEMENTS = ("bool", *INTEGERS, *FLOATS, "float16", "bfloat16")
COMPARISONS = ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")


def elements(dtype: np.dtype[Any], count: int, rng: np.random.Generator) -> Array:
    """Random elements, limits and special numbers among them."""
    if dtype == bool_:
        return rng.integers(0, 2, count).astype(bool)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        some = rng.integers(limits.min, limits.max, count, dtype=dtype, endpoint=True)
        special = np.array([limits.min, limits.max, 0, 1], dtype)
    else:
        some = (rng.standard_normal(count) * 10.0 ** rng.integers(-3, 4, count)).astype(dtype)
        special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 0.5, 2.5, 1e-42, -3e38])
        with np.errstate(over="ignore"):
            special = special.astype(dtype)
    return np.where(rng.random(count) < 0.2, rng.choice(special, count), some)


@dataclass
class Program:
    """A kernel, arrays for its buffers, and sizes."""

    kernel: Kernel
    arrays: list[Array]
    sizes: list[int]

    def run(self, how: Callable[..., bool]) -> tuple[bool, list[Array]]:
        """What `how(kernel, arrays, sizes)` gives, on copies of the arrays."""
        arrays = [array.copy() for array in self.arrays]
        return how(self.kernel, arrays, self.sizes), arrays


def bits(array: Array) -> Array:
    """The bits of an array, all NaNs made one: sign and payload of a NaN are left open."""
    if array.dtype.kind in "biu":
        return array
    nan = np.isnan(array.astype(np.float64))
    return np.where(nan, np.array(np.nan, array.dtype), array).view(f"u{array.dtype.itemsize}")


class Builder:
    """Makes up one kernel: masked loads, gathers, loops over accumulators, then stores."""

    def __init__(self, random: Random, lanes: int, count: int, steps: int) -> None:
        self.random, self.lanes, self.count = random, lanes, count
        self.w = Writer()
        self.rng = np.random.default_rng(random.randrange(2**32))
        self.buffers: list[Buffer] = []
        self.arrays: list[Array] = []
        self.pool: dict[str, list[Operand]] = {}
        self.n, self.item = Var(INDEX, "n"), Var(INDEX, "item")
        self.start = self.w.let("multiply", self.item, Lit(lanes, INDEX))
        self.at = self.w.let("add", self.w.splat(self.start, lanes), self.w.iota(lanes))
        self.mask = self.w.let("less", self.at, self.w.splat(self.n, lanes))
        self.add(self.mask)
        for dtype in random.sample(ELEMENTS, 3):
            self.load(dtypes[dtype])
        for _ in range(steps):
            random.choice([self.step] * 6 + [self.gather, self.fold, self.convert])()
        self.finish()

    def program(self) -> Program:
        """The result."""
        grid = -(-self.count // self.lanes)
        body = tuple(self.w.body)
        kernel = Kernel("random", tuple(self.buffers), (self.n,), grid, self.item, body)
        return Program(kernel, self.arrays, [self.count])

    # ----- values -----

    def add(self, x: Operand) -> None:
        self.pool.setdefault(x.type.dtype.name, []).append(x)

    def pick(self, dtype: str) -> Operand:
        """A value of the pool, or a number."""
        known = self.pool.get(dtype, [])
        if known and self.random.random() < 0.9:
            return self.random.choice(known)
        number = elements(dtypes[dtype], 1, self.rng)[0].item()
        return Lit(number, VType(dtypes[dtype], self.lanes))

    def number(self, value: float, like: Operand) -> Lit:
        return self.w.number(value, like.type)

    def without_nan(self, x: Operand) -> Operand:
        return self.w.let("where", self.w.let("equal", x, x), x, self.number(1, x))

    # ----- steps -----

    def step(self) -> None:
        """An instruction on values of the pool."""
        dtype = self.random.choice([d for d in self.pool if d not in ("float16", "bfloat16")])
        if dtype == "bool":
            self.step_of_bools()
        elif dtype in FLOATS:
            self.step_of_floats(dtype)
        else:
            self.step_of_integers(dtype)

    def step_of_bools(self) -> None:
        one = ["logical_not", "bitwise_invert"]
        two = ["logical_and", "logical_or", "logical_xor", "bitwise_and", "bitwise_or", "equal"]
        self.apply("bool", one, [*two, "bitwise_xor", "not_equal"])

    def step_of_floats(self, dtype: str) -> None:
        one = ["sqrt", "negative", "abs", "floor", "ceil", "trunc", "round"]
        two = ["add", "subtract", "multiply", "divide", *COMPARISONS]
        which = self.random.randrange(8)
        if which == 0:
            self.add(self.w.let("fma", self.pick(dtype), self.pick(dtype), self.pick(dtype)))
        elif which == 1:
            sign = self.without_nan(self.pick(dtype))
            self.add(self.w.let("copysign", self.pick(dtype), sign))
        else:
            self.apply(dtype, one, two)

    def step_of_integers(self, dtype: str) -> None:
        two = "add subtract multiply bitwise_and bitwise_or bitwise_xor".split()
        which = self.random.randrange(6)
        a, b = self.pick(dtype), self.pick(dtype)
        if which == 0:
            safe = self.w.let("bitwise_or", b, self.number(1, b))
            if b.type.dtype.kind == "i":  # odd and at least 0
                safe = self.w.let("bitwise_and", safe, self.number(np.iinfo(dtype).max, b))
            self.add(self.w.let(self.random.choice(["quotient", "rest"]), a, safe))
        elif which == 1:
            count = self.w.let("bitwise_and", b, self.number(8 * b.type.dtype.itemsize - 1, b))
            self.add(self.w.let(self.random.choice(["shift_left", "shift_right"]), a, count))
        else:
            self.apply(dtype, ["negative", "bitwise_invert"], [*two, *COMPARISONS])

    def apply(self, dtype: str, one: list[str], two: list[str]) -> None:
        which = self.random.randrange(5)
        if which == 0:
            self.add(self.w.let("where", self.pick("bool"), self.pick(dtype), self.pick(dtype)))
        elif which == 1:
            self.add(self.w.let(self.random.choice(one), self.pick(dtype)))
        elif which == 2 and self.lanes > 1:
            order = [self.random.randrange(2 * self.lanes) for _ in range(self.lanes)]
            self.add(self.w.let("shuffle", self.pick(dtype), self.pick(dtype), immediates=order))
        elif which == 3:
            lane = self.random.randrange(self.lanes)
            one_lane = self.w.let("extract", self.pick(dtype), immediates=[lane])
            self.add(self.w.splat(one_lane, self.lanes))
        else:
            self.add(self.w.let(self.random.choice(two), self.pick(dtype), self.pick(dtype)))

    def convert(self) -> None:
        """A conversion that is one instruction."""
        x = self.pick(self.random.choice(list(self.pool)))
        name = x.type.dtype.name
        if name in ("float16", "bfloat16"):
            new = "float32" if name == "float16" else "uint16"
            self.add(self.w.let(["bitcast", "astype"][name == "float16"], x, dtype=dtypes[new]))
        elif name in FLOATS and self.random.random() < 0.5:
            plain = self.without_nan(x)
            self.add(self.w.let("bitcast", plain, dtype=np.dtype(f"i{x.type.dtype.itemsize}")))
        elif name == "float32" and self.random.random() < 0.3:
            self.add(self.w.let("astype", x, dtype=dtypes["float16"]))
        elif name in FLOATS:
            self.add(self.w.let("astype", x, dtype=dtypes[self.random.choice(FLOATS)]))
        else:
            self.add(self.w.let("astype", x, dtype=dtypes[self.random.choice(ELEMENTS[:-2])]))

    # ----- memory -----

    def buffer(self, array: Array, access: str) -> Buffer:
        buffer = Buffer(f"b{len(self.buffers)}", array.dtype, "param", access)
        self.buffers.append(buffer)
        self.arrays.append(array)
        return buffer

    def load(self, dtype: np.dtype[Any]) -> None:
        """Lanes in a row, those beyond the end masked."""
        buffer = self.buffer(elements(dtype, self.count, self.rng), "in")
        other = self.pick(dtype.name) if self.random.random() < 0.5 else None
        self.add(self.w.load(buffer, self.start, self.lanes, self.mask, other))

    def gather(self) -> None:
        """Lanes from all over a buffer, at indices that another one holds."""
        dtype = dtypes[self.random.choice(ELEMENTS)]
        size = self.random.randrange(1, 50)
        source = self.buffer(elements(dtype, size, self.rng), "in")
        indices = self.buffer(self.rng.integers(0, size, self.count), "in")
        outside = Lit(2**40, VType(int64, self.lanes))
        at = self.w.load(indices, self.start, self.lanes, self.mask, outside)
        other = self.pick(dtype.name) if self.random.random() < 0.5 else None
        self.add(self.w.load(source, at, self.lanes, self.mask, other))

    def fold(self) -> None:
        """A loop that adds up rows of a buffer in an accumulator, some of them on a condition."""
        dtype = dtypes[self.random.choice([*INTEGERS, *FLOATS])]
        like = VType(dtype, self.lanes)
        rows = self.random.randrange(5)
        source = self.buffer(elements(dtype, max(1, rows * self.lanes), self.rng), "in")
        scope = self.random.choice(["register", "stack"])
        sums = self.w.alloc(f"sums{len(self.buffers)}", dtype, self.lanes, scope)
        zero = Lit(0, INDEX)
        self.w.store(sums, zero, self.w.number(0, like))
        with self.w.loop(zero, Lit(rows * self.lanes, INDEX), self.lanes) as k:
            x = self.w.load(source, k, self.lanes)
            more = self.w.let("add", self.w.load(sums, zero, self.lanes), x)
            with self.w.when(self.w.let("less", k, self.item)):
                self.w.store(sums, zero, more, self.mask)
        self.add(self.w.load(sums, zero, self.lanes))

    def finish(self) -> None:
        """Stores the last value of each dtype, one of them in reverse, and checks a condition."""
        last = self.w.let("subtract", self.w.splat(self.n, self.lanes), Lit(1, self.at.type))
        reverse = self.w.let("subtract", last, self.at)
        for turn, known in enumerate(self.pool.values()):
            x = known[-1]
            out = self.buffer(elements(x.type.dtype, self.count, self.rng), "out")
            at = reverse if turn % 2 else self.start
            self.w.store(out, at, x, self.mask)
        self.w.check(self.pick("bool"), self.mask if self.random.random() < 0.5 else None)


def program(random: Random, lanes: int, count: int, steps: int = 12) -> Program:
    """A random program of about so many steps over `count` elements."""
    return Builder(random, lanes, count, steps).program()
