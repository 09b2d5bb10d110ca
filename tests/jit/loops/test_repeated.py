"""Indices that neighbouring lanes share: a short vector is read, each element for several lanes."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
from jit.loops.ir import Load, index
from jit.loops.schedule import vectorize
from jit.loops.writer import Writer
from tests.jit.loops.kernels import floats, given, kernel_of, nothing, result, same_bits, size


def loads(kernel):
    """What is read: the lanes of each load, and of its index."""
    found = [s for s in kernel.statements() if isinstance(s, Load)]
    return [(s.var.type.lanes, s.index.type.lanes) for s in found]


def repeated(each, turns, *, start=0, shift=0):
    """Y[i] = X[(i + shift) / each + 1]"""
    w, x, y = Writer(), given("X"), result("Y")
    with w.loop(index(start), index(turns), hint="i") as i:
        at = w.let("quotient", w.let("add", i, index(shift)), index(each))
        w.store(y, i, w.load(x, w.let("add", at, index(1))))
    return kernel_of(w, [x, y])


@pytest.mark.parametrize("each", [2, 4, 8])
@pytest.mark.parametrize("turns", [8, 32, 37])
def test_neighbours_share_what_they_read(each, turns):
    before = repeated(each, turns)
    after = vectorize(before, "i", 8)
    assert (8 // each, 1) in loads(after)  # no gather, but for what is left over
    same_bits(before, after, [floats(turns // each + 3), nothing(turns)])


@pytest.mark.parametrize(("each", "start", "shift"), [(3, 0, 0), (12, 0, 0), (4, 2, 0), (4, 0, 1)])
def test_others_are_gathered(each, start, shift):
    before = repeated(each, 32, start=start, shift=shift)
    after = vectorize(before, "i", 8)
    assert all(lanes == at for lanes, at in loads(after))
    same_bits(before, after, [floats(40), nothing(32)])


def divided(size, turns, *, start=0):
    """Y[i] = X[100 (i / size) + i % size], as heads beside each other are read."""
    w, x, y = Writer(), given("X"), result("Y")
    with w.loop(index(start), index(turns), hint="i") as i:
        block = w.let("multiply", w.let("quotient", i, index(size)), index(100))
        w.store(y, i, w.load(x, w.let("add", block, w.let("rest", i, index(size)))))
    return kernel_of(w, [x, y])


@pytest.mark.parametrize("size", [8, 16, 64])
@pytest.mark.parametrize("turns", [64, 72, 67])
def test_lanes_of_one_quotient_lie_beside_each_other(size, turns):
    before = divided(size, turns)
    after = vectorize(before, "i", 8)
    assert (8, 1) in loads(after)
    assert all(at == 1 for _, at in loads(after))
    same_bits(before, after, [floats(900), nothing(turns)])


@pytest.mark.parametrize(("size", "start"), [(12, 0), (20, 0), (16, 4)])
def test_lanes_of_two_quotients_are_gathered(size, start):
    before = divided(size, 64, start=start)
    after = vectorize(before, "i", 8)
    assert (8, 8) in loads(after)
    same_bits(before, after, [floats(900), nothing(64)])


def test_blocks_that_begin_at_multiples():
    w, x, y, n = Writer(), given("X"), result("Y"), size("n")
    with w.loop(index(0), n, hint="row") as row:
        start = w.let("multiply", row, index(16))
        with w.loop(start, w.let("add", start, index(16)), hint="i") as i:
            half = w.let("quotient", i, index(2))
            both = w.let("add", w.let("multiply", half, index(2)), w.let("rest", i, index(2)))
            w.store(y, i, w.let("add", w.load(x, half), w.load(x, both)))
    before = kernel_of(w, [x, y], [n])
    after = vectorize(before, "i", 8)
    assert (4, 1) in loads(after)
    same_bits(before, after, [floats(48), nothing(48)], [3])


def test_what_is_made_of_shared_indices_is_gathered():
    w, x, y = Writer(), given("X"), result("Y")
    with w.loop(index(0), index(16), hint="i") as i:
        at = w.let("multiply", w.let("quotient", i, index(4)), index(3))
        w.store(y, i, w.load(x, w.let("subtract", index(20), at)))
    before = kernel_of(w, [x, y])
    same_bits(before, vectorize(before, "i", 8), [floats(21), nothing(16)])


@pytest.mark.parametrize("count", [2, 3, 4, 16])
def test_repeat_in_a_graph(count):
    x = np.arange(1001, dtype=np.float32)
    copied = df.function(lambda v: df.repeat(v, count) + 1)
    for _ in range(2):
        assert copied(df.asarray(x)).tolist() == (np.repeat(x, count) + 1).tolist()
