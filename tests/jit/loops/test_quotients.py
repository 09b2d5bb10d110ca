"""Quotients: threads divide by one number with its inverse, where that rounds the same."""

from __future__ import annotations

import numpy as np
import pytest

from jit.loops.early_loads import early_loads
from jit.loops.expand import expand
from jit.loops.interpret import interpret
from jit.loops.ir import INDEX, WARP, Buffer, If, Kernel, Let, Var, index
from jit.loops.math.basics import MODERATE
from jit.loops.math.table import FLOATS
from jit.loops.schedule import unrolled
from jit.loops.values import Arrays, Value
from jit.loops.verify import verify
from jit.loops.writer import Writer
from jit.types import float32

X, Y, D = Buffer("x", float32), Buffer("y", float32, access="out"), Buffer("d", float32)
ROW = Buffer("row", float32, access="inout")


def kernel_of(build, turns=8):
    """A loop of turns of each thread, eight of them in one."""
    w, item, thread = Writer(), Var(INDEX, "item"), Var(INDEX, "thread")
    d = w.load(D, index(0))
    first = w.let("multiply", thread, index(turns))
    with w.loop(index(0), index(turns), hint="turn") as k:
        build(w, w.let("add", first, k), d)
    made = Kernel("k", (X, Y, D, ROW), (), 1, item, tuple(w.body), threads=WARP, thread=thread)
    return early_loads(unrolled(made, lambda loop, trip: 8, lambda loop: True))


def scaled(w, k, d):
    w.store(Y, k, w.let("divide", w.load(X, k), d))


def run(kernel, x, d):
    verify(kernel)
    x = np.resize(np.array(x, "f"), WARP * len(x))
    y, row = np.zeros_like(x), x.copy()
    with np.errstate(all="ignore"):
        assert interpret(kernel, [x, y, np.array([d], "f"), row])
    return y.tobytes(), row.tobytes()


def ways(kernel):
    return [s for s in kernel.statements() if isinstance(s, If)]


def inverses(kernel):
    return [s for s in kernel.statements() if isinstance(s, Let) and s.op == "inverse"]


@pytest.mark.parametrize("turns", [8, 24])
@pytest.mark.parametrize("d", [3.0, -0.1, 1e-30, 0.0, np.inf, np.nan])
def test_both_ways_give_the_quotients(turns, d):
    before = kernel_of(scaled, turns)
    after = expand(before)
    assert len(ways(after)) == len(inverses(after)) == 1
    rng = np.random.default_rng(0)
    x = rng.normal(size=turns).astype("f")
    assert run(after, x, d) == run(before, x, d)
    x[3:7] = 0.0, np.nan, -np.inf, 1e-42
    assert run(after, x, d) == run(before, x, d)


def test_what_is_divided_may_be_divided_again():
    """Other than by a schedule, which would have to know what comes first."""

    def build(w, k, d):
        once = w.let("divide", w.load(X, k), d)
        w.store(Y, k, w.let("divide", w.let("add", once, d), d))

    before = kernel_of(build)
    after = expand(before)
    assert len(ways(after)) == len(inverses(after)) == 1
    for d in (7.0, -1e-25, 0.0):
        assert run(after, np.arange(8), d) == run(before, np.arange(8), d)


def test_what_is_divided_may_be_replaced_by_the_quotient():
    def build(w, k, d):
        w.store(ROW, k, w.let("divide", w.let("add", w.load(ROW, k), d), d))

    before = kernel_of(build)
    after = expand(before)
    assert len(ways(after)) == 1
    assert run(after, np.arange(8), 7.0) == run(before, np.arange(8), 7.0)


def test_turns_that_need_each_other_divide_as_they_did():
    def build(w, k, d):
        before = w.let(
            "where", w.let("less", k, index(1)), index(0), w.let("subtract", k, index(1))
        )
        w.store(ROW, k, w.let("divide", w.load(ROW, before), d))

    def by_itself(w, k, d):
        x = w.load(X, k)
        w.store(Y, k, w.let("divide", d, w.let("add", x, x)))

    for each in (build, by_itself):
        assert not ways(expand(kernel_of(each)))


def test_the_sequence_rounds_as_a_division():
    """The instructions of the fast way, on numbers whose quotients are hard to round."""
    rng = np.random.default_rng(7)
    size = 1 << 16
    low, high = np.log2(MODERATE)
    for near in (0, 1, 2):
        whole = rng.integers(1 << 23, 1 << 24, (2, size))
        if near:  # mantissas just above 1, or just below 2
            whole[1] = (1 << 22 + near) + (3 - 2 * near) * rng.integers(0, 99, size)
        x, d = (whole * 2.0 ** (rng.integers(low, high - 1, (2, size)) - 23)).astype("f")
        w = Arrays()
        w.shared_inverse = lambda d: 1.0 / d
        w.counts_on = lambda condition: bool(condition().x.all())
        found = FLOATS["divide"](w, Value(w, x, float32), Value(w, d, float32))
        assert found.x.tobytes() == (x / d).tobytes()
