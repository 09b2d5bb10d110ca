"""Room for temporaries: programs take turns with it, and calls at a time have room each."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from jit.runtime import binding
from jit.runtime.program import HostStep, Launch
from tests.jit.runtime.small import add, executable, floats, plus


def ramp(size):
    return np.arange(size, dtype=np.float32)


WIDE, WIDER = 10_000, 20_000  # floats: too many for a program to keep room for


def test_programs_take_turns_with_room_for_temporaries(monkeypatch):
    monkeypatch.setattr(binding, "_rooms", [])

    def run(size):
        steps = [plus(1, k, k + 1, size) for k in range(3)]
        call = executable([floats(size)] * 4, [0], steps, [3])
        np.testing.assert_array_equal(call([ramp(size)])[0], ramp(size) + 3)
        assert all(frame.room is None for frame in call._only.frames)
        return [room.base for room in binding._rooms]

    first, again = run(WIDE), run(WIDE - 1)
    assert again == first
    assert len(first) == 1
    larger = run(WIDER)
    assert len(larger) == 1  # in the place of the other
    assert run(WIDE) == larger


def test_who_counts_bytes_finds_those_of_a_call(monkeypatch):
    monkeypatch.setattr(binding, "_rooms", [binding.Room(4 * WIDER)])
    call = executable([floats(WIDE)] * 4, [0], [plus(1, k, k + 1, WIDE) for k in range(3)], [3])
    x = ramp(WIDE)
    call([x])
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        call([x])
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before >= call._only.arena + x.nbytes
    assert peak - before < 4 * WIDER + x.nbytes
    assert after - before < x.nbytes
    assert len(binding._rooms) == 1


def test_calls_at_a_time_and_calls_that_fail_each_have_room(monkeypatch):
    monkeypatch.setattr(binding, "_rooms", [])
    inner = executable([floats(WIDE)] * 4, [0], [plus(1, k, k + 1, WIDE) for k in range(3)], [3])

    def step(arrays):
        if arrays[0][0] < 0:
            raise ZeroDivisionError
        return [inner([arrays[0]])[0] * 2]

    steps = [plus(1, 0, 1, WIDE), HostStep(step, (1,), (2,)), Launch(add(WIDE), (1, 2, 3))]
    outer = executable([floats(WIDE)] * 4, [0], steps, [3])
    for _ in range(2):
        x = ramp(WIDE) + 1
        np.testing.assert_array_equal(outer([x])[0], x + 1 + 2 * (x + 4))
        with pytest.raises(ZeroDivisionError):
            outer([x - 10])
    assert len({room.base for room in binding._rooms}) == len(binding._rooms) == 2
