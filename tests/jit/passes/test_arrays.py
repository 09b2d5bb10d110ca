"""Programs as arrays: what they tell of repeats is what a look at each node tells."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from jit.passes.arrays import Spans

NUMBERS = st.lists(st.integers(0, 2), max_size=40)


@given(NUMBERS, st.integers(0, 40), st.integers(1, 20), st.integers(0, 40))
def test_spans_compare_parts(numbers, a, apart, length):
    spans, b = Spans(numbers), a + apart
    inside = b + length <= len(numbers)
    equal = numbers[a : a + length] == numbers[b : b + length]
    assert spans.same(a, b, length) == (inside and equal)


@given(NUMBERS, st.integers(0, 40), st.integers(1, 20))
def test_spans_tell_how_long_parts_are_equal(numbers, a, apart):
    b = a + apart
    pairs = zip(numbers[a:], numbers[b:])
    wanted = next((k for k, (x, y) in enumerate(pairs) if x != y), max(0, len(numbers) - b))
    assert Spans(numbers).common(a, b) == wanted


@given(NUMBERS, st.integers(1, 6))
def test_the_next_window_that_is_alike(numbers, window):
    found = Spans(numbers).next_alike(window)
    for at, after in enumerate(found):
        part = numbers[at : at + window]
        later = range(at + 1, len(numbers) - window + 1)
        wanted = (
            [k for k in later if numbers[k : k + window] == part] if len(part) == window else []
        )
        assert after == (wanted[0] if wanted else -1)
