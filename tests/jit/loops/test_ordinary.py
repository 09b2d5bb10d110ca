"""Ordinary numbers: formulas that do for those give the bits of the others, and others are met."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jit.loops.expand import expand
from jit.loops.interpret import interpret
from jit.loops.ir import INDEX, Buffer, If, Kernel, Let, Var, VType, index
from jit.loops.math.basics import is_moderate
from jit.loops.math.notation import Value
from jit.loops.math.table import FLOATS
from jit.loops.values import Arrays, apply
from jit.loops.verify import verify
from jit.loops.writer import Writer
from jit.types import float32, float64
from tests.jit.loops.programs import bits

THREADS = 32
EXTREME = (0.0, -0.0, np.inf, -np.inf, np.nan, 1e-40, -1e-40, 3e38, -3e38, 88.0, -88.0, 104.0)
ASKING = ("exp", "exp2", "log", "sin", "cos", "tan")  # whose formulas count on something


class Counting(Arrays):
    """Counts on all that formulas ask for, and remembers it."""

    def __init__(self):
        self.conditions = []

    def counts_on(self, condition):
        self.conditions.append(condition().x)
        return True

    def rarely(self, where, usual, inputs, unusual):
        self.conditions.append(~where.x)
        return usual


def numbers(dtype, count=2000):
    """Of each size and sign, and those at the ends."""
    rng, limits = np.random.default_rng(3), np.finfo(dtype)
    sizes = 2.0 ** rng.uniform(limits.minexp - limits.nmant, limits.maxexp - 0.01, count)
    near = rng.uniform(-130, 130, count)
    with np.errstate(over="ignore"):
        return np.concatenate([sizes, -sizes, near, 8 * near, EXTREME]).astype(dtype)


@pytest.mark.parametrize("dtype", [float32, float64])
@pytest.mark.parametrize("name", [*ASKING, "tanh", "erf", "expm1", "erfinv"])
def test_ordinary_numbers_have_the_bits_of_all(name, dtype):
    x = numbers(dtype)
    w = Counting()
    with np.errstate(all="ignore"):
        found = FLOATS[name](w, Value(w, x, dtype)).x
    holds = np.logical_and.reduce(np.broadcast_arrays(True, *w.conditions))
    expected = apply(name, [x], VType(dtype))
    np.testing.assert_array_equal(bits(found[holds]), bits(expected[holds]))
    if name in ASKING:
        assert 0.1 < holds.mean() < 1


def test_inverses_are_quotients():
    x, w = numbers(float32), Counting()
    one = w.number(1.0, Value(w, x, float32))
    w.known = lambda x: 1.0 if x is one else None
    with np.errstate(all="ignore"):
        FLOATS["divide"](w, one, Value(w, x, float32))
        (holds,), size = w.conditions, abs(x)
        np.testing.assert_array_equal(holds, (size >= 2.0**-126) & (size < 2.0**126))


@pytest.mark.parametrize("divisor", [3.0, -0.1, 1e18, 1e-18, *EXTREME])
def test_products_with_inverses_are_quotients(divisor):
    x, w = numbers(float32), Counting()
    b = np.full_like(x, divisor)
    w.shared_inverse = lambda b: w.conditions.append(is_moderate(b).x) or 1.0 / b
    with np.errstate(all="ignore"):
        found = FLOATS["divide"](w, Value(w, x, float32), Value(w, b, float32)).x
        expected = x / b
    holds = np.logical_and.reduce(w.conditions)
    np.testing.assert_array_equal(bits(found[holds]), bits(expected[holds]))
    assert holds.any() == (2.0**-60 <= abs(divisor) <= 2.0**60)


# ----- in kernels -----


def kernel_of(build, lanes, count=1):
    """Threads that compute something of so many vectors each."""
    w, item, thread = Writer(), Var(INDEX, "item"), Var(INDEX, "thread")
    x, y = Buffer("x", float32), Buffer("y", float32, access="out")
    at = w.let("multiply", thread, index(lanes * count))
    places = [w.let("add", at, index(k * lanes)) for k in range(count)]
    values = [w.load(x, place, lanes) for place in places]
    for place, value in zip(places, values):
        w.store(y, place, build(w, value))
    body = tuple(w.body)
    return Kernel("k", (x, y), (), 1, item, body, threads=THREADS, thread=thread)


def squashed(w, x):
    """1 / (1 + exp(-x)) + tanh(exp(x))."""
    grown = w.let("exp", x)
    e = w.let("exp", w.let("negative", x))
    one = w.number(1.0, x.type)
    low = w.let("divide", one, w.let("add", one, e))
    return w.let("add", low, w.let("tanh", grown))


def divided(w, x):
    return w.let("divide", w.number(1.0, x.type), w.let("log", x))


def run(kernel, x):
    y = np.zeros_like(x)
    with np.errstate(all="ignore"):
        assert interpret(kernel, [x, y], [])
    return y


@pytest.mark.parametrize("build", [squashed, divided])
@pytest.mark.parametrize(("lanes", "count"), [(4, 1), (4, 2), (1, 4), (1, 1)])
def test_threads_meet_every_number(build, lanes, count):
    kernel = kernel_of(build, lanes, count)
    made = expand(kernel)
    verify(made)
    x = np.resize(np.array(EXTREME, np.float32), THREADS * lanes * count)
    x[::3] = np.random.default_rng(1).normal(size=x[::3].size)
    np.testing.assert_array_equal(bits(run(made, x)), bits(run(kernel, x)))
    asked = [s for s in made.statements() if isinstance(s, If)]
    assert len(asked) == (lanes * count > 1)  # once for all of them


@pytest.mark.parametrize(("times", "count"), [(2, 2), (3, 1), (5, 1)])
def test_what_is_divided_by_often_is_inverted_once(times, count):
    """Quotients of each number, by one that the thread loads."""

    divisor = Buffer("d", float32)

    def build(w, x):
        d = w.load(divisor, index(0))
        every = [w.let("divide", w.let("add", x, w.number(k, x.type)), d) for k in range(times)]
        total = every[0]
        for y in every[1:]:
            total = w.let("subtract", total, y)
        return total

    kernel = kernel_of(build, 1, count)
    kernel = replace(kernel, buffers=(*kernel.buffers, divisor))
    made = expand(kernel)
    verify(made)
    inverses = [s for s in made.statements() if isinstance(s, Let) and s.op == "inverse"]
    assert len(inverses) == (times > 2)
    x = np.resize(np.array(EXTREME, np.float32), THREADS * count)
    x[::2] = np.random.default_rng(1).normal(size=x[::2].size)
    for number in (3.0, *EXTREME):
        d, found, wanted = np.array([number], "f"), np.zeros_like(x), np.zeros_like(x)
        with np.errstate(all="ignore"):
            assert interpret(made, [x, found, d], [])
            assert interpret(kernel, [x, wanted, d], [])
        np.testing.assert_array_equal(bits(found), bits(wanted))


def test_vectors_are_divided_by_one_number_with_its_inverse():
    """But not by as many numbers as they have lanes."""

    def inverses(divisor):
        made = expand(kernel_of(lambda w, x: w.let("divide", x, divisor(w, x)), 4))
        return [s.var.type.lanes for s in made.statements() if is_inverse(s)]

    def is_inverse(s):
        return isinstance(s, Let) and s.op == "inverse"

    assert inverses(lambda w, x: w.splat(w.let("extract", x, immediates=(0,)), 4)) == [1]
    assert inverses(lambda w, x: w.let("add", x, x)) == []


def test_what_is_known_of_a_sum_is_not_asked_for():
    def asked(build):
        made = expand(kernel_of(build, 4))
        return sum(isinstance(s, Let) and s.op == "bitwise_and" for s in made.statements())

    assert asked(squashed) == 1  # of two exponentials, not of the inverse
    assert asked(divided) == 1


def test_processors_compute_what_does_for_all():
    w, item = Writer(), Var(INDEX, "item")
    x, y = Buffer("x", float32), Buffer("y", float32, access="out")
    w.store(y, index(0), squashed(w, w.load(x, index(0), 4)))
    made = expand(Kernel("k", (x, y), (), 1, item, tuple(w.body)))
    assert not any(isinstance(s, If) for s in made.statements())


def test_places_that_depend_on_such_numbers_are_read_where_they_are():
    """A load at an index made of an exponential is not moved: nothing is written twice."""

    def build(w, x):
        at = w.let(
            "astype", w.let("minimum", w.let("exp", x), w.number(3.0, x.type)), dtype=INDEX.dtype
        )
        return w.load(x_buffer, at)

    w, item, thread = Writer(), Var(INDEX, "item"), Var(INDEX, "thread")
    x_buffer, y = Buffer("x", float32), Buffer("y", float32, access="out")
    values = [build(w, w.load(x_buffer, w.let("add", thread, index(k)))) for k in range(4)]
    for k, value in enumerate(values):
        w.store(y, w.let("add", w.let("multiply", thread, index(4)), index(k)), value)
    kernel = Kernel("k", (x_buffer, y), (), 1, item, tuple(w.body), threads=THREADS, thread=thread)
    made = expand(kernel)
    verify(made)
    x = np.random.default_rng(2).normal(size=THREADS * 4).astype("f")
    np.testing.assert_array_equal(run(made, x), run(kernel, x))
