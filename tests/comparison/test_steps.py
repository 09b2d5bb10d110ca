"""Times of the steps of a graph."""

from __future__ import annotations

import time

import numpy as np
import pytest

import dualflow as df
import jit
from dualflow.comparison import step_times
from jit.ir.op import OpDef
from tests.modes import graphs_only


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
    executable = jit.compile(graph, "interpreter")
    steps = step_times(executable, [np.zeros(2, "float32")], repeats=3)
    assert [(s.op, s.line, s.count) for s in steps] == [("nap", "a.py:2", 2), ("nap", "a.py:1", 1)]
    assert steps[0].seconds >= 0.02
    assert sum(s.share for s in steps) == pytest.approx(1)


def test_a_graph_without_steps_has_none():
    graph = jit.Graph("empty")
    assert step_times(jit.compile(graph), []) == ()


@graphs_only
def test_kernels_are_told_by_their_ops_and_lines_with_their_speed():
    x = df.random.normal((64, 64))
    f = df.function(lambda x: df.tanh(x @ x).sum())
    f(x)
    (entry,) = f.entries.values()
    steps = step_times(entry.last.executable, [x.raw], repeats=3)
    assert {s.line.partition(":")[0] for s in steps} == {"test_steps.py"}
    (product,) = [s for s in steps if "matmul" in s.op]
    assert product.flops == pytest.approx(2 * 64**3 / product.seconds)
    assert all(s.flops is None for s in steps if s is not product)
