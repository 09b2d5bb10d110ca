"""Random kernels under random directives: what they compute stays the same, bit for bit."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given as hypothesis_given
from hypothesis import strategies as st

from jit.errors import ScheduleError
from jit.loops.ir import INDEX, Kernel, Operand, Var, VType, index
from jit.loops.schedule import (
    has_loop,
    hoist,
    parallel,
    reorder,
    simplify,
    split,
    unroll,
    vectorize,
)
from jit.loops.writer import Writer
from jit.types import float32, int64
from tests.jit.loops.kernels import both, floats, given, kernel_of, nothing, result, run, size

ROOM = 128
TURNS = 24  # at most; indices below stay inside of ROOM


class Body:
    """Makes up the body of a loop over i: loads, arithmetic, conditions, inner loops, stores."""

    def __init__(self, random: Random, turns: int, *, constant: bool) -> None:
        self.random, self.w = random, Writer()
        self.n, self.m = size("n"), size("m")
        self.item = Var(INDEX, "item")
        self.x, self.k = given("X"), given("K", int64)
        self.y, self.z = result("Y"), both("Z")
        self.indices: list[Operand] = [self.n, self.m, index(3)]
        self.values: list[Operand] = [self.w.number(0.5, VType(float32))]
        self.depth = 0
        if random.random() < 0.5:
            self.values.append(self.w.load(self.x, index(7)))
        stop = index(turns) if constant else self.n
        with self.w.loop(index(0), stop, hint="i") as i:
            self.i = i
            self.indices.append(i)
            for _ in range(random.randint(2, 7)):
                self.step()
            self.w.store(self.y, i, random.choice(self.values))
        self.kernel = kernel_of(self.w, [self.x, self.k, self.y, self.z], [self.n, self.m])

    def step(self) -> None:
        steps = [self.load, self.load, self.gather, self.add, self.arithmetic, self.update]
        nested = [self.condition, self.sum, self.row, self.convert]
        self.random.choice(steps if self.depth > 1 else steps + nested)()

    def place(self) -> Operand:
        """An index inside of ROOM."""
        w, x = self.w, self.random.choice(self.indices)
        which = self.random.randrange(6)
        if which == 0:
            return w.let("add", x, index(self.random.randrange(8)))
        if which == 1:
            return w.let("multiply", x, index(2))
        if which == 2:
            return w.let("subtract", index(TURNS + 8), x)
        if which == 3:
            return w.let("quotient", x, index(self.random.randint(2, 5)))
        if which == 4:
            return w.let("rest", w.let("multiply", x, x), index(11))
        return x

    def load(self) -> None:
        self.values.append(self.w.load(self.x, self.place()))

    def gather(self) -> None:
        self.indices.append(self.w.let("rest", self.w.load(self.k, self.place()), index(TURNS)))

    def add(self) -> None:
        a, b = self.random.choices(self.values, k=2)
        self.values.append(self.w.let(self.random.choice(["add", "multiply", "subtract"]), a, b))

    def convert(self) -> None:
        at = self.random.choice(self.indices)
        self.values.append(self.w.let("astype", at, dtype=float32))

    def arithmetic(self) -> None:
        """An index of the pool that stays within 0 .. TURNS."""
        a, b = self.random.choices(self.indices, k=2)
        op = self.random.choice(["add", "subtract", "multiply"])
        limited = self.w.let("remainder", self.w.let(op, a, b), index(TURNS))
        self.indices.append(limited)

    def truth(self) -> Operand:
        a, b = self.random.choices(self.indices, k=2)
        truth = self.w.let(self.random.choice(["less", "equal", "greater_equal"]), a, b)
        if self.random.random() < 0.2:
            x, y = self.random.choices(self.values, k=2)
            truth = self.w.let("logical_or", truth, self.w.let("less", x, y))
        return truth

    def update(self) -> None:
        """Z[i] changes; once in a while where a mask says so."""
        mask = self.truth() if self.random.random() < 0.3 else None
        old = self.w.load(self.z, self.i, mask=mask)
        self.w.store(self.z, self.i, self.w.let("add", old, self.random.choice(self.values)), mask)

    def nested(self) -> None:
        values, indices = len(self.values), len(self.indices)
        self.depth += 1
        for _ in range(self.random.randint(1, 3)):
            self.step()
        self.depth -= 1
        self.kept = self.random.choice(self.values)
        del self.values[values:], self.indices[indices:]

    def condition(self) -> None:
        """An `if`, perhaps with a division that only it makes possible."""
        with self.w.when(self.truth()):
            divisor = self.random.choice(self.indices)
            with self.w.when(self.w.let("not_equal", divisor, index(0))):
                self.indices.append(self.w.let("quotient", index(TURNS - 1), divisor))
                self.nested()
                self.indices.pop()
                self.w.store(self.z, self.i, self.kept)
            self.w.check(self.truth())

    def sum(self) -> None:
        """An inner loop over memory of its own."""
        acc = self.w.alloc("acc", float32, 2, self.random.choice(["register", "stack"]))
        self.w.store(acc, index(0), self.random.choice(self.values))
        self.w.store(acc, index(1), self.random.choice(self.values))
        stop = self.random.choice([index(3), self.m, index(4)])
        with self.w.loop(index(0), stop, hint="j") as j:
            self.indices.append(j)
            self.nested()
            self.indices.pop()
            at = self.random.choice([index(0), self.w.let("rest", j, index(2))])
            self.w.store(acc, at, self.w.let("add", self.w.load(acc, at), self.kept))
        self.values.append(self.w.load(acc, index(self.random.randrange(2))))

    def row(self) -> None:
        """An inner loop whose turns are independent, over a row of memory."""
        width = self.random.choice([4, 5, 8])
        acc = self.w.alloc("row", float32, width, self.random.choice(["register", "stack"]))
        for _ in range(2):
            with self.w.loop(index(0), index(width), hint="p") as p:
                self.indices.append(p)
                self.nested()
                self.indices.pop()
                self.w.store(acc, p, self.kept)
        with self.w.loop(index(0), index(width // 2), hint="p") as p:
            other = self.w.load(acc, self.w.let("add", p, index(width // 2)))
            with self.w.when(self.truth()):
                self.w.store(acc, p, self.w.let("add", self.w.load(acc, p), other))
        self.values.append(self.w.load(acc, index(self.random.randrange(width))))


DIRECTIVES = {
    "vectorize": lambda k, r: vectorize(k, "i", r.choice([2, 4, 8])),
    "vectorize p": lambda k, r: vectorize(k, "p", r.choice([2, 4])),
    "unroll": lambda k, r: unroll(k, "j"),
    "unroll p": lambda k, r: unroll(k, "p"),
    "unroll i": lambda k, r: unroll(k, "i"),
    "unroll in parts": lambda k, r: unroll(k, "i", factor=r.choice([2, 3])),
    "parallel": lambda k, r: parallel(k, "i", r.choice([1, 4, 5, 16])),
    "split": lambda k, r: split(k, "i", r.choice([1, 3, 4]), r.choice(["guard", "peel"])),
    "vectorize i_i": lambda k, r: vectorize(k, "i_i", 4),
    "parallel i_o": lambda k, r: parallel(k, "i_o", r.choice([1, 2])),
    "reorder": lambda k, r: reorder(k, "i", "j"),
    "hoist": lambda k, r: hoist(k),
    "simplify": lambda k, r: simplify(k),
}


def scheduled(kernel: Kernel, random: Random, count: int) -> tuple[Kernel, list[str]]:
    """The kernel under some directives; those that do not fit are left out."""
    done: list[str] = []
    for _ in range(count):
        name = random.choice(list(DIRECTIVES))
        try:
            kernel = DIRECTIVES[name](kernel, random)
            done.append(name)
        except ScheduleError:
            continue
    return kernel, done


def arrays(seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    keys = rng.integers(0, 1000, ROOM)
    return [floats(ROOM, seed), keys.astype(int64), nothing(ROOM), floats(ROOM, seed + 1)]


@hypothesis_given(
    seed=st.integers(0, 2**32),
    turns=st.sampled_from([0, 1, 3, 4, 5, 7, 8, 9, 16, 17, TURNS]),
    constant=st.booleans(),
    m=st.integers(0, 5),
)
def test_random_schedules_change_no_bit(seed, turns, constant, m):
    before = Body(Random(seed), turns, constant=constant).kernel
    after, done = scheduled(before, Random(seed + 1), 8)
    for x, y in zip(run(before, arrays(seed), [turns, m]), run(after, arrays(seed), [turns, m])):
        assert x.tobytes() == y.tobytes(), f"{done}\n{before}\n{after}"


@pytest.mark.parametrize("name", [n for n in DIRECTIVES if n not in ("reorder",)])
def test_each_directive_fits_some_random_kernel(name):
    fits = 0
    for seed in range(40):
        kernel = Body(Random(seed), 12, constant=True).kernel
        if "i_" in name:
            kernel = split(kernel, "i", 4)
        try:
            DIRECTIVES[name](kernel, Random(0))
        except ScheduleError:
            continue
        fits += 1
    assert fits > 1, name


def test_has_loop_tells():
    kernel = Body(Random(0), 4, constant=True).kernel
    assert has_loop(kernel, "i")
    assert not has_loop(kernel, "q")
