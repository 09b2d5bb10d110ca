"""Peaks of memory, from calls whose arrays can be counted by hand."""

from __future__ import annotations

import tracemalloc

import numpy as np

from dualflow.comparison import peak_bytes

MB = 1_000_000
SLACK = 20_000  # Python's own objects


def megabytes(count: int) -> np.ndarray:
    return np.ones(count * MB, "uint8")


def test_the_peak_counts_what_lives_at_once():
    def build():
        kept = megabytes(2)

        def call():
            first = megabytes(1)
            del first
            second = megabytes(3)
            return kept[0] + second[0]

        return call

    assert abs(peak_bytes(build) - 5 * MB) < SLACK


def test_python_objects_that_lived_before_do_not_count():
    def build():
        kept = [object() for _ in range(100_000)]
        return lambda: (len(kept), megabytes(1))

    assert abs(peak_bytes(build) - MB) < SLACK


def test_what_only_the_first_calls_need_does_not_count():
    calls = []

    def call():
        calls.append(None)
        return megabytes(9 if len(calls) <= 2 else 1)

    assert abs(peak_bytes(lambda: call, warmup=2) - MB) < SLACK
    assert len(calls) == 3


def test_tracing_goes_on_where_somebody_else_had_started_it():
    assert not tracemalloc.is_tracing()
    peak_bytes(lambda: lambda: None)
    assert not tracemalloc.is_tracing()
    tracemalloc.start()
    try:
        peak_bytes(lambda: lambda: None)
        assert tracemalloc.is_tracing()
    finally:
        tracemalloc.stop()


def test_recycled_blocks_of_compiled_calls_count():
    import dualflow as df

    size = 500_000  # results and temporaries of two megabytes each

    def build():
        x = df.ones(size)
        f = df.function(lambda x: df.tanh(x.reshape((1000, 500)) @ df.ones((500, 500))) * 2.0)
        return lambda: f(x)

    assert 2 * 4 * size < peak_bytes(build) < 8 * 4 * size
