"""Times of the steps of a graph."""

from __future__ import annotations

import time

import numpy as np
import pytest

import dualflow as df
import jit
from dualflow.comparison import step_times
from jit.ir.op import OpDef


def nap(xp, x, *, seconds):
    time.sleep(seconds)
    return x


NAP = OpDef(name="nap", evaluate=nap, infer=lambda x, *, seconds: x, lower=None)


def test_steps_of_one_op_and_line_are_one_entry_and_the_slowest_is_first():
    graph = jit.Graph("naps")
    x = graph.input(jit.TensorType((2,), df.float32), "x")
    value = x
    for seconds, line in ((0.001, "a.py:1"), (0.01, "a.py:2"), (0.01, "a.py:2")):
        (value,) = graph.add(NAP, (value,), {"seconds": seconds}, source=line)
    graph.outputs = [value]
    steps = step_times(graph, [np.zeros(2, "float32")], repeats=3)
    assert [(s.op, s.line, s.count) for s in steps] == [("nap", "a.py:2", 2), ("nap", "a.py:1", 1)]
    assert steps[0].seconds >= 0.02
    assert sum(s.share for s in steps) == pytest.approx(1)


def test_a_graph_without_steps_has_none():
    graph = jit.Graph("empty")
    assert step_times(graph, []) == ()
