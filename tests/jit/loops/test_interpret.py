"""The interpreter of kernels: what statements mean, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from jit.errors import KernelError
from jit.loops import interpret_rounds
from jit.loops.interpret import interpret
from jit.loops.ir import INDEX, Buffer, Kernel, Lit, Var, VType, index
from jit.loops.writer import Writer
from jit.types import bool_, dtypes, float32, int64
from tests.jit.loops.samples import oddments, row_sums

X, Y = Buffer("x", float32), Buffer("y", float32, access="inout")
AT = Buffer("at", int64)


def run(build, items=1, size=8, at=()):
    """The array `y` after a kernel over x = 0, 1, 2, ..., and whether checks held."""
    item, w = Var(INDEX, "i"), Writer()
    build(w, item)
    kernel = Kernel("k", (X, Y, AT), (), items, item, tuple(w.body))
    arrays = [np.arange(size, dtype=np.float32), np.full(size, -1, np.float32), np.array(at, int64)]
    holds = interpret(kernel, arrays)
    return arrays[1].tolist(), holds


def lits(values, dtype=float32):
    return [Lit(v, VType(dtype)) for v in values]


def test_row_sums():
    x = np.arange(20 * 3, dtype=np.float32)
    y = np.full(20, -1, np.float32)
    assert not interpret(row_sums(), [x, y], [20, 3])
    assert y.tolist() == x.reshape(20, 3).sum(1).tolist()


def test_checks_hold_where_every_lane_of_the_mask_does():
    x, y = np.ones(20 * 3, np.float32), np.zeros(20, np.float32)
    assert interpret(row_sums(), [x, y], [20, 3])
    assert not interpret(row_sums(), [x * 34, y], [20, 3])


def test_only_some_items():
    x, y = np.ones(20 * 3, np.float32), np.zeros(20, np.float32)
    interpret(row_sums(), [x, y], [20, 3], items=[2, 0])
    assert y.tolist() == [3.0] * 8 + [0.0] * 8 + [3.0] * 4


def test_oddments():
    flags, y = np.array([False, True, True]), np.array([1, 2, 3], np.float32)
    assert not interpret(oddments(), [flags, y])
    assert y.tolist() == [np.inf, 6.0, 9.0]
    assert interpret(oddments(), [flags[1:], y[1:]], items=range(2))


def test_lanes_in_a_row_and_at_indices():
    def build(w, item):
        at = w.load(AT, index(0), 3)
        w.store(Y, index(4), w.load(X, at, 3))
        w.store(Y, at, w.load(X, index(5), 3))

    y, _ = run(build, at=[2, 0, 1])
    assert y == [6.0, 7.0, 5.0, -1.0, 2.0, 0.0, 1.0, -1.0]


def test_lanes_that_are_masked_keep_other_or_0():
    def build(w, item):
        mask = w.let("less", w.iota(4), Lit(2, VType(int64, 4)))
        plain = w.load(X, index(6), 4, mask)
        w.store(Y, index(0), plain)
        w.store(Y, index(4), w.load(X, index(6), 4, mask, w.number(9, plain.type)))

    y, _ = run(build)
    assert y == [6.0, 7.0, 0.0, 0.0, 6.0, 7.0, 9.0, 9.0]


def test_lanes_are_moved():
    def build(w, item):
        x = w.load(X, index(0), 4)
        w.store(Y, index(0), w.let("shuffle", x, w.load(X, index(4), 4), immediates=[7, 0, 1, 4]))
        w.store(Y, index(4), w.splat(w.let("extract", x, immediates=[3]), 4))

    y, _ = run(build)
    assert y == [7.0, 0.0, 1.0, 4.0, 3.0, 3.0, 3.0, 3.0]


def test_loops_and_conditions():
    def build(w, item):
        with w.loop(index(1), index(8), 3) as k:
            last = w.let("greater", k, index(4))
            with w.when(last):
                w.store(Y, k, w.load(X, k))
            with w.when(w.let("logical_not", last)):
                w.store(Y, k, w.number(0, VType(float32)))

    y, _ = run(build)
    assert y == [-1.0, 0.0, -1.0, -1.0, 0.0, -1.0, -1.0, 7.0]


# ----- what is refused -----


def division(op, a, b):
    return lambda w, item: w.let(op, *lits((a, b), dtypes["int8"]))


def unwritten(w, item):
    room = w.alloc("room", float32, 4)
    w.store(room, index(0), w.number(1, VType(float32, 2)))
    w.load(room, index(1), 2)


def written_in_the_last_round(w, item):
    with w.loop(index(0), index(2)) as k:
        room = w.alloc("room", float32, 1)
        with w.when(w.let("equal", k, index(0))):
            w.store(room, index(0), w.number(1, VType(float32)))
        w.load(room, index(0))


def scattered_to_one(w, item):
    w.store(Y, Lit(3, VType(int64, 2)), w.load(X, index(0), 2))


REFUSED = [
    (lambda w, item: w.load(X, index(8)), "`v0: float32 = load x[8]` reaches element 8 of 8"),
    (lambda w, item: w.load(X, index(5), 4), "reaches element 8 of 8"),
    (lambda w, item: w.load(X, index(-1)), "reaches element -1 of 8"),
    (lambda w, item: w.store(Y, index(8), w.load(X, index(0))), "reaches element 8 of 8"),
    (lambda w, item: w.load(X, Lit(9, VType(int64, 2)), 2), "reaches element 9 of 8"),
    (unwritten, "reads an element that was never written"),
    (written_in_the_last_round, "reads an element that was never written"),
    (scattered_to_one, "stores several lanes to one element"),
    (division("quotient", 1, 0), "divides by 0"),
    (division("rest", 1, 0), "divides by 0"),
    (division("quotient", -128, -1), "divides the least integer by -1"),
    (division("shift_left", 1, 8), "shifts by a count"),
    (division("shift_right", 1, -1), "shifts by a count"),
]


@pytest.mark.parametrize(("build", "what"), REFUSED)
def test_what_machine_code_may_not_do_is_refused(build, what):
    with pytest.raises(KernelError) as caught:
        run(build)
    assert what in str(caught.value)


def test_masked_lanes_may_point_anywhere():
    def build(w, item):
        never = Lit(False, VType(bool_, 2))
        x = w.load(X, index(100), 2, never)
        w.load(X, Lit(-7, VType(int64, 2)), 2, never)
        w.store(Y, index(-9), x, never)

    y, holds = run(build)
    assert set(y) == {-1.0}
    assert holds


# ----- rounds at once -----


def each_for_itself(w, k):
    """A round reads what it writes, with a mask, and nothing of others."""
    mask = w.let("less", w.let("rest", k, index(3)), index(2))
    old = w.load(Y, k, mask=mask)
    w.store(Y, k, w.let("add", old, w.load(X, w.let("subtract", index(7), k))), mask=mask)


def lanes_of_each(w, k):
    """Lanes are moved within a round; some of what they hold is the same in all rounds."""
    place = w.let("multiply", k, index(2))
    pair = w.load(X, place, 2)
    both = w.let("shuffle", pair, w.splat(w.load(X, index(3)), 2), immediates=[1, 2])
    w.store(Y, place, both, mask=w.let("less", w.splat(place, 2), Lit(8, VType(int64, 2))))


def what_the_last_one_stored(w, k):
    w.store(Y, k, w.let("add", w.load(Y, w.load(AT, k)), w.load(X, k)))


def what_all_store_to(w, k):
    w.store(Y, index(2), w.let("add", w.load(Y, index(2)), w.load(X, k)))


def stored_and_loaded(w, k):
    w.store(Y, k, w.load(X, k))
    w.store(Y, w.load(AT, k), w.let("add", w.load(Y, k), w.load(X, k)))


def checked(w, k):
    w.check(w.let("less", k, index(3)), w.let("greater", w.load(AT, k), index(4)))


ROUNDS = [
    (each_for_itself, range(8), True),
    (lanes_of_each, range(4), True),
    (checked, range(8), True),
    (what_the_last_one_stored, [0, 0, 1, 2, 3, 4, 5, 6], False),
    (what_the_last_one_stored, range(8), True),  # nothing of others, as it turns out
    (what_all_store_to, range(8), False),
    (stored_and_loaded, range(8), False),
]


@pytest.mark.parametrize(("body", "at", "taken"), ROUNDS)
def test_rounds_at_once_give_what_they_give_in_turn(body, at, taken, monkeypatch):
    def build(w, item):
        with w.loop(index(0), index(4 if body is lanes_of_each else 8)) as k:
            body(w, k)

    done = []
    take = interpret_rounds.taken_at_once
    monkeypatch.setattr(
        interpret_rounds, "taken_at_once", lambda *x: done.append(take(*x)) or done[-1]
    )
    found = run(build, at=at)
    monkeypatch.setattr(interpret_rounds, "taken_at_once", lambda *x: 0)
    assert found == run(build, at=at)
    assert (done[0] > 0) is taken


def test_rounds_that_are_refused_are_told_of_as_in_turn():
    def build(w, item):
        with w.loop(index(0), index(8)) as k:
            w.store(Y, w.load(AT, k), w.load(X, k))

    with pytest.raises(KernelError, match="reaches element 9 of 8"):
        run(build, at=[1, 9, 2, 8, 0, 0, 0, 0])


def test_rounds_find_what_was_never_written():
    def build(w, item):
        room = w.alloc("room", float32, 8)
        with w.loop(index(0), index(5)) as k:
            w.store(room, k, w.load(X, k))
        with w.loop(index(0), index(6)) as k:
            w.store(Y, k, w.load(room, k))

    with pytest.raises(KernelError, match="never written"):
        run(build)


def test_many_rounds_are_taken_part_by_part(monkeypatch):
    """What one part stores, the next one may load."""

    def build(w, item):
        with w.loop(index(0), index(6)) as k:
            at = w.let("add", k, index(2))
            w.store(Y, at, w.let("add", w.load(Y, k), w.load(X, k)))

    wanted = run(build)
    monkeypatch.setattr(interpret_rounds, "MOST", 2)
    assert run(build) == wanted
    assert wanted[0] == [-1.0, -1.0, -1.0, 0.0, 1.0, 3.0, 5.0, 8.0]


def rows_of_a_table(w, k):
    """What a round has loaded is the same in each round of the loop inside."""
    x = w.load(X, w.let("add", k, k))
    with w.loop(index(0), index(2)) as j:
        at = w.let("add", w.let("multiply", k, index(2)), j)
        w.store(Y, at, w.let("add", w.load(Y, at), w.let("add", x, w.load(X, at))))


def rows_that_overlap(w, k):
    with w.loop(index(0), index(2)) as j:
        w.store(Y, w.let("add", k, j), w.load(X, k))


def rows_of_the_round_before(w, k):
    x = w.load(Y, k)
    with w.loop(index(0), index(2)) as j:
        w.store(Y, w.let("add", w.let("multiply", k, index(2)), j), w.let("add", x, w.load(X, j)))


def triangle(w, k):
    with w.loop(index(0), k) as j:
        w.store(Y, w.let("add", w.let("multiply", k, index(2)), j), w.load(X, j))


NESTS = [
    (rows_of_a_table, [4]),
    (rows_that_overlap, [0, 0, 0, 0, 0]),
    (rows_of_the_round_before, [0, 0, 0, 0, 0]),
    (triangle, [0, 0, 0, 0, 0]),
]


@pytest.mark.parametrize(("body", "taken"), NESTS)
def test_loops_inside_of_others_are_taken_at_once_with_them(body, taken, monkeypatch):
    def build(w, item):
        with w.loop(index(0), index(4)) as k:
            body(w, k)

    done = []
    take = interpret_rounds.taken_at_once
    monkeypatch.setattr(
        interpret_rounds, "taken_at_once", lambda *x: done.append(take(*x)) or done[-1]
    )
    found = run(build, size=9)
    monkeypatch.setattr(interpret_rounds, "taken_at_once", lambda *x: 0)
    assert found == run(build, size=9)
    assert done == taken
