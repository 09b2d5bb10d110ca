"""Summaries of times, and the call from which recording has paid off."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualflow.comparison import FirstCall, Timing, break_even, interleaved

SECONDS = st.floats(1e-9, 1e3)


def test_timing_is_median_and_quartiles():
    assert Timing.of([5.0, 1.0, 4.0, 2.0, 3.0]) == Timing(3.0, 2.0, 4.0, 5)
    with pytest.raises(ValueError, match="no calls"):
        Timing.of([])


def test_first_call_is_both_of_its_parts():
    assert FirstCall(0.25, 0.5, 1).seconds == 0.75


@pytest.mark.parametrize(
    ("cost", "eager", "compiled", "call"),
    [
        (1.0, 0.5, 0.25, 4),
        (1.1, 0.5, 0.25, 5),
        (0.0, 0.5, 0.25, 1),
        (-1.0, 0.5, 0.25, 1),
        (1.0, 0.25, 0.25, None),
        (1.0, 0.25, 0.5, None),
        (1.0, float("nan"), 0.5, None),
    ],
)
def test_break_even(cost, eager, compiled, call):
    assert break_even(cost, eager, compiled) == call


@given(SECONDS, SECONDS, SECONDS)
def test_break_even_is_the_first_call_that_pays(cost, eager, compiled):
    call = break_even(cost, eager, compiled)
    if call is None:
        assert compiled >= eager
        return
    gain = eager - compiled
    assert call >= 1
    assert call * gain >= cost * (1 - 1e-9)
    assert call == 1 or (call - 1) * gain <= cost * (1 + 1e-9)


def test_interleaved_calls_take_turns_and_change_places():
    order = []
    seconds = interleaved([lambda: order.append("a"), lambda: order.append("b")], 4)
    assert order == ["a", "b", "b", "a", "a", "b", "b", "a"]
    assert [len(taken) for taken in seconds] == [4, 4]
    assert min(map(min, seconds)) >= 0
