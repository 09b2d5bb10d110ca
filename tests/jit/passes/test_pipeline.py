"""Pipelines: what they promise around each pass, and that whole pipelines change no result."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from jit.compiler import pipeline
from jit.config import configure
from jit.errors import GraphError
from jit.ir.graph import Graph
from jit.ir.interpret import Program
from jit.passes.base import GraphPass, run_passes
from jit.passes.cleanup import CommonSubexpressions, DeadCode
from jit.types import TensorType, float32
from tests.jit.toy import OPS, apply, graphs, nasty, same_bits, symbolic_graph

VECTOR = TensorType((3,), float32)
PASSES = pipeline(OPS)


@dataclass(frozen=True)
class Breaks(GraphPass):
    """Declares what is not so."""

    name = "breaks"

    def run(self, graph):
        new, new_of = graph.copy()
        new.add(OPS["abs"], (new_of[graph.inputs[0]],), {}, types=(), source="nets.py:3")
        return new


def small_graph():
    graph = Graph("small")
    x = graph.input(VECTOR, "x")
    apply(graph, "abs", x)
    graph.outputs = [apply(graph, "add", apply(graph, "negative", x), apply(graph, "negative", x))]
    return graph


def arguments(graph, seed):
    random = np.random.default_rng(seed)
    return [random.choice(nasty(float32), value.type.shape) for value in graph.inputs]


@settings(max_examples=300)
@given(graphs(most=20), st.integers(0, 9))
def test_a_pipeline_changes_no_bit(graph, seed):
    before = str(graph)
    arrays = arguments(graph, seed)
    with np.errstate(all="ignore"):
        expected = Program(graph)(arrays)
        for passes in [*[(each,) for each in PASSES], PASSES]:
            new, _ = run_passes(graph, passes)
            assert same_bits(Program(new)(arrays), expected), f"{passes}\n{graph}\n{new}"
    assert str(graph) == before, "a pass changed its argument"


@settings(max_examples=60)
@given(graphs(most=20))
def test_a_second_run_finds_nothing(graph):
    once, _ = run_passes(graph, PASSES)
    twice, _ = run_passes(once, PASSES)
    assert len(twice.nodes) <= len(once.nodes)
    assert run_passes(once, [DeadCode()])[0] == once
    assert run_passes(once, [CommonSubexpressions()])[0] == once


def test_symbolic_graphs_pass_unharmed():
    graph = symbolic_graph()
    new, _ = run_passes(graph, PASSES)
    x = np.ones((3, 4), np.float32)
    assert same_bits(Program(new)([x]), Program(graph)([x]))


def test_every_pass_is_recorded():
    graph, records = run_passes(small_graph(), PASSES)
    assert [record.name for record in records] == [each.name for each in PASSES]
    assert records[0].before == 4
    assert records[-1].after == len(graph.nodes) == 2
    assert all(record.seconds >= 0 for record in records)
    assert all(a.after == b.before for a, b in pairwise(records))


def test_passes_can_be_left_out():
    with configure(passes_off=frozenset({"common_subexpressions", "algebra"})):
        graph, records = run_passes(small_graph(), PASSES)
    assert [record.name for record in records] == ["dead_code", "fold", "dead_code"]
    assert len(graph.nodes) == 3


def test_a_pass_that_breaks_the_graph_is_named():
    with pytest.raises(GraphError, match="pass breaks made an invalid graph: node `abs") as caught:
        run_passes(small_graph(), [DeadCode(), Breaks()])
    assert "JIT_PASSES_OFF=breaks" in str(caught.value)
    assert caught.value.location == "nets.py:3"
    with configure(check=False):
        run_passes(small_graph(), [DeadCode(), Breaks()])


def test_an_invalid_graph_is_refused_before_the_first_pass():
    with pytest.raises(GraphError, match=r"^node `abs"):
        run_passes(Breaks().run(small_graph()), [])


def test_graphs_are_shown_and_dumped_around_each_pass(capsys, tmp_path):
    graph = small_graph()
    with configure(debug=3, dump=tmp_path):
        new, records = run_passes(graph, [DeadCode(), DeadCode(), CommonSubexpressions()])
    assert [record.changed for record in records] == [True, False, True]
    shown = capsys.readouterr().err
    assert shown.startswith(f"# small: given, 4 nodes\n{graph}\n# small: dead_code, 3 nodes\n")
    last = f"# small: dead_code, as before\n# small: common_subexpressions, 2 nodes\n{new}\n"
    assert shown.endswith(f"}}\n{last}")
    (folder,) = tmp_path.iterdir()
    assert folder.name.endswith("-small")
    files = sorted(folder.iterdir())
    assert [path.name for path in files] == [
        "00-given.txt",
        "01-dead_code.txt",
        "02-dead_code.txt",
        "03-common_subexpressions.txt",
    ]
    assert files[0].read_text() == f"{graph}\n"
    assert files[1].read_text() == files[2].read_text() != files[0].read_text()
    assert files[-1].read_text() == f"{new}\n"


def test_nothing_is_shown_below_that_level(capsys):
    with configure(debug=2):
        run_passes(small_graph(), PASSES)
    assert capsys.readouterr() == ("", "")


def long_graph(length):
    graph = Graph()
    x = value = graph.input(VECTOR, "x")
    for number in range(length // 4):
        two = graph.constant(np.float32(number % 5))
        value = apply(graph, "add", apply(graph, "multiply", value, two), x)
        apply(graph, "negative", value)
    graph.outputs = [value]
    return graph


def test_work_is_linear_in_the_number_of_nodes(monkeypatch):
    """Counted in appended nodes and verified types, which is where passes spend their time."""
    counts = {}
    add, infer_all = Graph.add, type(OPS["add"]).infer_all
    for length in (400, 800):
        graph = long_graph(length)
        calls = []
        monkeypatch.setattr(Graph, "add", lambda *a, calls=calls: calls.append(1) or add(*a))
        monkeypatch.setattr(
            type(OPS["add"]), "infer_all", lambda *a, calls=calls: calls.append(1) or infer_all(*a)
        )
        run_passes(graph, PASSES)
        monkeypatch.undo()
        counts[length] = len(calls)
    assert counts[400] > 400
    assert counts[800] <= 2.1 * counts[400]
