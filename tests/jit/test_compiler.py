"""jit.compile, its report, and the pictures of jit.debug."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest

import jit
from jit.config import configure
from jit.debug import dot, show
from jit.errors import DeviceError, GraphError
from jit.types import TensorType, float32
from tests.jit.toy import OPS, apply

VECTOR = TensorType((3,), float32)


def example():
    graph = jit.Graph("example")
    x = graph.input(VECTOR, "x")
    one = graph.constant(np.float32(1))
    y = apply(graph, "multiply", x, one, source="nets.py:1")
    low, high = graph.add(OPS["extremes"], (apply(graph, "add", y, x, source="nets.py:2"),), {})
    graph.outputs = [low, high]
    return graph


def test_an_executable_runs_and_reports():
    graph = example()
    executable = jit.compile(graph)
    low, high = executable([np.array([1, 2, 3], np.float32)])
    assert (low, high) == (2, 6)
    assert executable.mode == "interpreted"
    assert executable.kernels == 2
    assert [node.op.name for node in executable.graph.nodes] == ["add", "extremes"]
    assert len(graph.nodes) == 4, "compile changed its argument"
    assert set(executable.seconds) == {"passes", "program"}
    assert sum(record.seconds for record in executable.passes) <= executable.seconds["passes"]


def test_ops_may_be_brought_in():
    graph = jit.Graph()
    graph.outputs = [apply(graph, "divide", graph.input(VECTOR), graph.constant(np.float32(4)))]
    alone, helped = jit.compile(graph), jit.compile(graph, ops=OPS)
    assert alone.graph.nodes[-1].op is OPS["divide"]
    assert helped.graph.nodes[-1].op is OPS["multiply"]


def test_an_unknown_target_is_refused_with_what_there_is():
    with pytest.raises(DeviceError, match="no target 'gpu'\n  expected: one of 'interpreter'"):
        jit.compile(example(), "gpu")


def test_an_invalid_graph_is_refused():
    graph = example()
    graph.nodes.reverse()
    with pytest.raises(GraphError):
        jit.compile(graph)


def test_graphs_can_be_looked_at(golden):
    golden("jit_debug", f"{show(example())}\n\n{dot(example())}")


def test_the_front_is_small_and_loads_late():
    assert jit.OWNER == "dualflow"
    assert set(jit.__all__) <= set(dir(jit))
    with pytest.raises(AttributeError, match="no attribute 'compute'"):
        _ = jit.compute
    code = "import sys, jit; assert not {'numpy', 'jit.compiler'} & {*sys.modules}; jit.compile"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_debug_ladder_tells_of_compilations_and_passes(capsys):
    with configure(debug=1):
        jit.compile(example(), ops=OPS)
    one = capsys.readouterr().err
    assert re.fullmatch(r"# example: compiled, 4 -> \d+ nodes, [\d.]+ ms\n", one)
    with configure(debug=2):
        executable = jit.compile(example(), ops=OPS)
    two = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0].removeprefix("#   ") for line in two[1:]] == [
        each.name for each in executable.passes
    ]
