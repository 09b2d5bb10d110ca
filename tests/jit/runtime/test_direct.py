"""Direct calls: no list, no frame; what they do not do is left to ordinary calls."""

from __future__ import annotations

import gc
import sys

import numpy as np
import pytest

from jit.dims import symbol
from jit.runtime.boxes import boxes_of
from jit.runtime.native import native
from jit.runtime.program import Launch
from tests.jit.runtime.small import add, chain, executable, floats, positive

pytestmark = pytest.mark.skipif(native().direct is None, reason="arrays are laid out otherwise")


def ramp(*shape):
    return np.arange(1, 1 + np.prod(shape), dtype=np.float32).reshape(shape)


def test_values_are_those_of_a_call():
    run = chain(4)  # with temporaries
    call = run.direct([ramp(8)])
    (y,), (z,) = call(ramp(8)), run([ramp(8)])
    np.testing.assert_array_equal(y, z)
    assert y.flags.owndata


def test_what_does_not_fit_is_left_to_others():
    call = chain(1).direct([ramp(8)])
    assert call(ramp(8)) is not None
    for wrong in (ramp(9), ramp(8).astype(np.float64), ramp(16)[::2], ramp(2, 4), [1.0] * 8, None):
        assert call(wrong) is None
    assert call() is None
    assert call(ramp(8), ramp(8)) is None


def test_a_failed_check_gives_nothing():
    step = Launch(positive(), (0, 1))
    call = executable([floats(8)] * 2, [0], [step], [1]).direct([ramp(8)])
    assert call(ramp(8)) is not None
    assert call(-ramp(8)) is None
    assert call(ramp(8)) is not None


def test_arrays_may_have_another_shape_of_as_many_elements():
    n = symbol("n", hint=8)
    run = executable([floats(n)] * 3, [0, 1], [Launch(add(n), (0, 1, 2), (n,))], [2])
    call = run.direct([ramp(12)] * 2, inputs=[(3, 4), (3, 4)], outputs=[(4, 3)])
    (y,) = call(ramp(3, 4), ramp(3, 4))
    np.testing.assert_array_equal(y, 2 * ramp(4, 3))
    assert call(ramp(12), ramp(12)) is None
    assert run.direct([ramp(5)] * 2)(ramp(5), ramp(5))[0].shape == (5,)


def test_nothing_is_kept_and_nothing_is_lost():
    x, call = ramp(8), chain(2).direct([ramp(8)])
    gc.collect()  # the function alone keeps the program
    before = sys.getrefcount(x), sys.getrefcount(x.dtype), sys.getrefcount(None)
    for _ in range(2000):
        call(x)
        call(None)
    after = sys.getrefcount(x), sys.getrefcount(x.dtype), sys.getrefcount(None)
    assert before[:2] == after[:2]
    assert abs(before[2] - after[2]) < 50
    np.testing.assert_array_equal(call(x)[0], chain(2)([x])[0])


# ----- arrays in boxes -----


class Box:
    """Of the kind that a framework has."""

    __slots__ = ("array", "mark")

    def __init__(self, array, mark=None):
        self.array, self.mark = array, mark


def of_two(first=2):
    """The sum of two arrays of 8 floats, of boxes of which so many are the first."""
    run = executable([floats(8)] * 3, [0, 1], [Launch(add(8), (0, 1, 2), (8,))], [2])
    return run.direct([ramp(8)] * 2, within=(boxes_of(Box, "array", "mark"), first))


def test_results_are_in_new_boxes():
    x, y = Box(ramp(8)), Box(ramp(8) ** 2)
    (made,) = of_two()(x, y)
    assert type(made) is Box
    assert made.mark is None
    np.testing.assert_array_equal(made.array, x.array + y.array)
    assert made.array.flags.owndata


def test_boxes_that_do_not_fit_are_left_to_others():
    call, x, y = of_two(), Box(ramp(8)), Box(ramp(8))
    for wrong in (Box(ramp(9)), Box(ramp(16)[::2]), Box(None), Box([1.0]), ramp(8), None):
        assert call(x, wrong) is None
        assert call(wrong, y) is None
    assert call() is None
    assert call(x) is None
    assert call(x, y, Box(ramp(8))) is None
    assert call(x, y) is not None


@pytest.mark.parametrize("first", range(3))
def test_of_the_first_boxes_none_is_marked_or_comes_twice(first):
    call, x, marked = of_two(first), Box(ramp(8)), Box(ramp(8), "marked")
    assert (call(marked, x) is None) == (first > 0)
    assert (call(x, marked) is None) == (first > 1)
    assert (call(x, x) is None) == (first > 1)


def test_a_failed_check_gives_no_box():
    run = executable([floats(8)] * 2, [0], [Launch(positive(), (0, 1))], [1])
    call = run.direct([ramp(8)], within=(boxes_of(Box, "array", "mark"), 1))
    assert call(Box(ramp(8))) is not None
    assert call(Box(-ramp(8))) is None


def test_no_box_is_kept_and_none_is_lost():
    call, x, y = of_two(), Box(ramp(8)), Box(ramp(8))
    things = x, x.array, x.array.dtype, y, None, Box
    gc.collect()
    before = [sys.getrefcount(thing) for thing in things]
    for _ in range(500):
        call(x, y)
        call(x, x)
        call(x, None)
        call(x, Box(None))
    after = [sys.getrefcount(thing) for thing in things]
    assert all(abs(a - b) < 50 for a, b in zip(after, before, strict=True))
    (made,) = call(x, y)
    assert (sys.getrefcount(made), sys.getrefcount(made.array)) == (2, 2)


def test_boxes_of_another_layout_are_left_to_others():
    class Own(Box):
        def __new__(cls, *args):
            return object.__new__(cls)

    run = executable([floats(8)] * 2, [0], [Launch(positive(), (0, 1))], [1])
    assert run.direct([ramp(8)], within=(boxes_of(Own, "array", "mark"), 1)) is None
