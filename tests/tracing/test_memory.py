"""Two hundred traces, and nothing left of them when their function is gone."""

from __future__ import annotations

import gc
import tracemalloc
from collections import Counter

import numpy as np
import pytest

import dualflow as df

TRACES = 200
X = df.asarray(np.ones((30, 40), np.float32))


def traced(names):
    """A function with a trace for each name; each has a graph, kernels and constants of its own."""

    def f(x, name):
        k = int(name)
        return df.tanh(x[:, k % 40 :]).sum(axis=0) * (k + 1) + df.arange(40 - k % 40)

    f = df.function(f, strict=True, max_traces=TRACES)
    for name in names:
        for _ in range(2):
            f(X, name)
    assert len(f.graphs) == f.from_graph == len(names)
    return f


def objects():
    """How many objects of ours there are, by type."""
    gc.collect()
    types = map(type, gc.get_objects())
    return Counter([t for t in types if str(t.__module__).startswith(("jit.", "dualflow."))])


@pytest.fixture(scope="module")
def names():
    """Names whose kernels have been made, and what is made once for all."""
    names = [str(k) for k in range(TRACES)]
    traced(names)
    return names


@pytest.mark.slow
def test_no_object_is_left(names):
    before = objects()
    f = traced(names)
    assert sum((objects() - before).values()) > 20 * TRACES
    del f
    assert objects() - before == Counter()


@pytest.mark.slow
def test_memory_is_given_back(names):
    gc.collect()
    tracemalloc.start()
    try:
        f = traced(names)
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
        del f
        gc.collect()
        left, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held > 1000 * TRACES
    assert left < held / 20
