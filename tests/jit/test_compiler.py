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
from jit.dims import symbol
from jit.errors import DeviceError, GraphError, NoNativeCode
from jit.report import Cost, Part, table
from jit.types import TensorType, float32
from tests.jit.toy import OPS, apply, bits

VECTOR = TensorType((3,), float32)


def example():
    graph = jit.Graph("example")
    x = graph.input(VECTOR, "x")
    one = graph.constant(np.float32(1))
    y = apply(graph, "multiply", x, one, source="nets.py:1")
    low, high = graph.add(OPS["extremes"], (apply(graph, "add", y, x, source="nets.py:2"),), {})
    graph.outputs = [low, high]
    return graph


def doubled():
    """Two kernels with a host step in between that only Python can do."""
    graph = jit.Graph("doubled")
    x = graph.input(VECTOR, "x")
    y = apply(graph, "add", x, x, source="nets.py:1")
    low, high = graph.add(OPS["extremes"], (y,), {}, source="nets.py:2")
    z = apply(graph, "subtract", x, apply(graph, "multiply", low, high, source="nets.py:3"))
    graph.outputs = [z, y]
    return graph


def test_an_executable_runs_and_reports():
    graph = example()
    executable = jit.compile(graph)
    low, high = executable([np.array([1, 2, 3], np.float32)])
    assert (low, high) == (2, 6)
    assert executable.mode == "compiled"
    assert executable.kernels == [Part("add", "nets.py:2")]
    assert executable.host_steps == [Part("extremes")]
    assert executable.foreign_calls == 2
    assert [node.op.name for node in executable.graph.nodes] == ["add", "extremes"]
    assert len(graph.nodes) == 4, "compile changed its argument"
    assert set(executable.seconds) == {"passes", "code"}
    assert sum(record.seconds for record in executable.passes) <= executable.seconds["passes"]


def test_the_interpreter_does_the_same_and_says_so():
    x = np.array([1, 2, 3], np.float32)
    compiled, interpreted = (jit.compile(doubled(), target) for target in ("cpu", "interpreter"))
    for a, b in zip(compiled([x]), interpreted([x]), strict=True):
        assert bits(a) == bits(b)
    assert (compiled.mode, interpreted.mode) == ("compiled", "interpreted")
    assert (interpreted.kernels, interpreted.foreign_calls) == ((), 0)
    assert [
        part.label for part in interpreted.host_steps
    ] == "add extremes multiply subtract".split()
    with configure(target="interpreter"):
        assert jit.compile(doubled()).mode == "interpreted"


def test_infinities_are_values_in_both():
    graph = jit.Graph()
    x = graph.input(VECTOR, "x")
    graph.outputs = [apply(graph, "divide", x, apply(graph, "subtract", x, x))]
    for target in ("cpu", "interpreter"):
        (y,) = jit.compile(graph, target)([np.array([1, -1, 0], np.float32)])
        np.testing.assert_array_equal(y, np.array([np.inf, -np.inf, np.nan], np.float32))


def test_host_steps_split_the_foreign_call():
    executable = jit.compile(doubled())
    assert executable.foreign_calls == 2
    graph = doubled()
    graph.outputs = graph.outputs[1:]
    assert jit.compile(graph).foreign_calls == 1


def test_each_part_can_be_timed():
    for target, labels in (
        ("cpu", ["add", "extremes", "multiply_subtract"]),
        ("interpreter", ["add", "extremes", "multiply", "subtract"]),
    ):
        costs = jit.compile(doubled(), target).timed([np.ones(3, np.float32)])
        assert [cost.part.label for cost in costs] == labels
        assert min(cost.seconds for cost in costs) > 0
        assert {cost.bytes for cost in costs} == ({24, 20, 32} if target == "cpu" else {None})


def test_memory_that_calls_give_away_is_used():
    graph = jit.Graph("update")
    w, x = graph.input(VECTOR, "w"), graph.input(VECTOR, "x")
    new = apply(graph, "add", w, x)
    graph.outputs = [new, apply(graph, "multiply", w, w), apply(graph, "tanh", new)]
    pairs = ((0, 0),)
    executable = jit.compile(graph, donate=pairs)
    holder = [np.ones(3, np.float32)]
    x = np.ones(3, np.float32)
    for number in range(1, 4):
        results = executable.run([*holder, x], pairs)
        assert results[0] is holder[0]
        np.testing.assert_array_equal(results[1], np.full(3, number**2))
        np.testing.assert_array_equal(results[0], np.full(3, number + 1))
        del results


def test_ops_may_be_brought_in():
    graph = jit.Graph()
    graph.outputs = [apply(graph, "divide", graph.input(VECTOR), graph.constant(np.float32(4)))]
    alone, helped = jit.compile(graph), jit.compile(graph, ops=OPS)
    assert alone.graph.nodes[-1].op is OPS["divide"]
    assert helped.graph.nodes[-1].op is OPS["multiply"]


def test_an_unknown_target_is_refused_with_what_there_is():
    with pytest.raises(DeviceError, match="no target 'tpu'\n  expected: one of 'cpu', "):
        jit.compile(example(), "tpu")


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


def told(capsys, level, *, dump=None):
    """What compiling a graph, and calling it five times, tells at a level of JIT_DEBUG."""
    with configure(debug=level, dump=dump):
        executable = jit.compile(doubled())
    for _ in range(5):
        executable([np.array([1, 2, 3], np.float32)])
    return capsys.readouterr().err


def without_numbers(text):
    """A report with `0` for every time and rate, and kernels in whatever way they were found."""
    text = re.sub(r"\(\d .*\)", "(...)", text)
    lines = [line for line in text.splitlines() if not line.startswith("# kernel ")]
    return "\n".join([re.sub(r" +\d+\.\d+", " 0", line) for line in lines])


def test_the_debug_ladder_tells_of_compilations(capsys):
    text = told(capsys, 1)
    (line,) = [line for line in text.splitlines() if not line.startswith("# kernel")]
    words = r"compiled, 4 -> 4 nodes, 2 kernels \(.*\), 1 host step"
    assert re.fullmatch(rf"# doubled: {words}, [\d.]+ ms", line)
    again = told(capsys, 1)
    assert "2 kernels (2 in memory)" in again


def test_the_debug_ladder_tells_of_passes_and_times_of_kernels(capsys, golden):
    golden("jit_debug_times", without_numbers(told(capsys, 2)))


def test_a_table_of_costs(golden):
    product = Cost(Part("matmul_add", "nets.py:1"), 1.5e-4, 1, 2_000_000, 12_000_000)
    update = Cost(Part("subtract", "nets.py:12"), 2e-6, 50, 24_000)
    golden("jit_cost_table", table([product, update, Cost(Part("sort"), 0.25)]))


def test_the_debug_ladder_tells_why_a_graph_is_interpreted(capsys, monkeypatch):
    def refuse(graph, *more):
        raise NoNativeCode("full of sizes that vary")

    monkeypatch.setattr("jit.forms.native.lower_for_code", refuse)
    n = symbol("n", hint=4)
    graph = jit.Graph("lengths")
    x = graph.input(TensorType((n,), float32), "x")
    graph.outputs = [graph.add(OPS["full"], (), {"shape": (n,), "value": 1, "dtype": float32})[0]]
    with configure(debug=1):
        executable = jit.compile(graph)
    assert executable.mode == "interpreted"
    assert "lengths: interpreted, because of full of sizes that vary" in capsys.readouterr().err
    assert executable([np.zeros(5, np.float32)])[0].tolist() == [1.0] * 5
    assert x.type.shape == (n,)


def test_stages_are_shown_and_dumped(capsys, tmp_path, golden):
    text = told(capsys, 4, dump=tmp_path)
    (folder,) = [path for path in tmp_path.iterdir() if path.name.endswith("-doubled")]
    names = [path.name for path in sorted(folder.iterdir())]
    assert names[0] == "00-given.txt"
    assert [name[3:] for name in names[-2:]] == ["forms.txt", "launches.txt"]
    for stage in ("forms", "launches"):
        (path,) = folder.glob(f"*-{stage}.txt")
        assert f"# doubled: {stage}\n{path.read_text()}" in text
        golden(f"jit_stage_{stage}", path.read_text())
    kernels = sorted((tmp_path / "kernels").iterdir())
    assert [path.name.rpartition("-")[0] for path in kernels] == ["add", "multiply_subtract"]
    assert "00-kernel.txt" in [path.name for path in kernels[0].iterdir()]
    assert "# kernel add: kernel\nkernel add(" in text
