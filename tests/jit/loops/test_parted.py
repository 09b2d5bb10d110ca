"""Loops in parts: results stay equal, no part asks, and loops without conditions are left alone."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from jit.loops.ir import INDEX, For, Kernel, Let, Lit, VType, index, walk
from jit.loops.parted import MIRRORED, parted
from jit.loops.simplify import simplify
from jit.loops.writer import Writer
from jit.types import float32
from tests.jit.loops import kernels
from tests.jit.loops.kernels import both, floats, kernel_of, nothing, same_bits

TURNS = 40
COMPARISONS = st.tuples(
    st.sampled_from([*MIRRORED, "equal"]),
    st.sampled_from(["add", "subtract"]),
    st.integers(-5, 5),
    st.integers(-5, TURNS + 5),
    st.booleans(),
)


def conditional(
    comparisons: list[tuple[str, str, int, int, bool]], *, share: bool = False
) -> Kernel:
    """Y[i] = X[i] + 1 where all of the comparisons hold, else 7; in a share of the turns."""
    w, x, y = Writer(), kernels.given("X"), both("Y")
    sizes = [kernels.size("start"), kernels.size("stop")] if share else []
    start, stop = sizes or (index(0), index(TURNS))
    with w.loop(start, stop, hint="i") as i:
        holds = w.let("less", i, index(TURNS))
        for op, move, by, number, mirrored in comparisons:
            place, other = w.let(move, i, Lit(by, INDEX)), Lit(number, INDEX)
            args = (other, place) if mirrored else (place, other)
            holds = w.let("logical_and", holds, w.let(op, *args))
        seven = w.number(7, VType(float32))
        found = w.let("add", w.load(x, i, 1, holds), w.number(1, VType(float32)))
        w.store(y, i, w.let("where", holds, found, seven))
    return kernel_of(w, [x, y], sizes)


@settings(max_examples=60, deadline=None)
@given(st.lists(COMPARISONS, max_size=3))
def test_loops_in_parts_compute_the_same(comparisons):
    kernel = simplify(conditional(comparisons))
    same_bits(kernel, parted(kernel, lambda _: True, 1), [floats(TURNS), nothing(TURNS)])


@settings(max_examples=60, deadline=None)
@given(st.lists(COMPARISONS, max_size=3), st.integers(0, TURNS), st.integers(0, TURNS))
def test_shares_of_a_loop_in_parts_compute_the_same(comparisons, start, stop):
    kernel = simplify(conditional(comparisons, share=True))
    after = parted(kernel, lambda _: True, 1)
    same_bits(kernel, after, [floats(TURNS), nothing(TURNS)], [start, stop])


def test_an_item_walks_its_share_of_each_part():
    pieces = [("greater_equal", "add", -at, 0, False) for at in (10, 25)]
    kernel = simplify(conditional(pieces, share=True))
    after = parted(kernel, lambda _: True, 15)
    parts = [s for s in after.body if isinstance(s, For)]
    assert len(parts) == 4  # there are none beyond TURNS, but who shares out the loop may not know
    assert [a.stop for a in parts[:-1]] == [b.start for b in parts[1:]]
    assert not any(isinstance(s, Let) and s.op in MIRRORED for part in parts for s in part.body)
    assert parted(kernel, lambda _: True, 16) is kernel


def test_a_padded_row_is_a_row_between_two_numbers():
    kernel = simplify(
        conditional([("greater_equal", "add", -2, 0, False), ("less", "add", -2, 34, False)])
    )
    after = parted(kernel, lambda _: True, 16)
    parts = [s for s in after.body if isinstance(s, For)]
    assert [(s.start, s.stop) for s in parts] == [
        (index(0), index(2)), (index(2), index(36)), (index(36), index(TURNS))
    ]  # fmt: skip
    assert not any(isinstance(s, Let) and s.op in MIRRORED for s in walk(after.body))
    assert parted(kernel, lambda _: True, 35) is kernel
    assert parted(kernel, lambda _: False, 1) is kernel


def test_a_row_of_four_arrays_is_four_rows_and_more_parts_are_none_with_a_short_one():
    pieces = [("greater_equal", "add", -at, 0, False) for at in (10, 20, 30)]
    kernel = simplify(conditional(pieces))
    after = parted(kernel, lambda _: True, 10)
    same_bits(kernel, after, [floats(TURNS), nothing(TURNS)])
    parts = [s for s in after.body if isinstance(s, For)]
    assert [s.start for s in parts] == [index(0), index(10), index(20), index(30)]
    assert parted(kernel, lambda _: True, 11) is kernel
