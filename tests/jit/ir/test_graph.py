"""Building graphs, copying them, and what their text leaves in and out of equality."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from jit.errors import ShapeError
from jit.ir.graph import Graph
from jit.types import TensorType, float32
from tests.jit.toy import OPS, apply, graphs

VECTOR = TensorType((3,), float32)


def test_add_infers_types_and_links_values_to_their_node():
    graph = Graph("f")
    x = graph.input(VECTOR, "x")
    low, high = graph.add(OPS["extremes"], (x,), {}, source="nets.py:3")
    node = graph.nodes[0]
    assert (low.node, low.index, high.node, high.index) == (node, 0, node, 1)
    assert low.type == TensorType((), float32)
    assert (node.inputs, node.source, x.node) == ((x,), "nets.py:3", None)


def test_add_refuses_what_infer_refuses_and_stays_as_it_was():
    graph = Graph()
    x, y = graph.input(VECTOR), graph.input(TensorType((4,), float32))
    with pytest.raises(ShapeError, match="do not broadcast"):
        graph.add(OPS["add"], (x, y), {})
    assert graph.nodes == []


def test_a_constant_is_a_read_only_copy():
    array = np.ones(3, np.float32)
    graph = Graph()
    kept = graph.constant(array).node.attrs["value"]
    array[0] = 7
    assert kept.tolist() == [1, 1, 1]
    assert not kept.flags.writeable


def test_a_guard_wants_a_scalar():
    graph = Graph()
    with pytest.raises(ShapeError, match="has no single answer"):
        graph.guard(graph.input(VECTOR), True)
    assert graph.nodes == []


def test_live_nodes_are_what_outputs_and_impure_ops_need():
    graph = Graph()
    x = graph.input(VECTOR, "x")
    needed = apply(graph, "negative", x)
    apply(graph, "add", needed, x)
    noted = apply(graph, "abs", x)
    apply(graph, "note", noted)
    graph.outputs = [needed]
    assert [node.op.name for node in graph.live_nodes()] == ["negative", "abs", "note"]


def test_users_come_once_for_each_use():
    graph = Graph()
    x = graph.input(VECTOR, "x")
    y = apply(graph, "add", x, x)
    z = apply(graph, "multiply", x, y)
    first, second = graph.nodes
    assert graph.users() == {x: [first, first, second], y: [second], z: []}


def test_equality_sees_the_program_and_not_its_names():
    def build(name, source, axes=(0,), order=(0, 1)):
        graph = Graph(name)
        xs = [graph.input(VECTOR, f"{name}_{k}") for k in range(2)]
        y = apply(graph, "add", xs[order[0]], xs[order[1]], source=source)
        graph.outputs = [apply(graph, "sum", y, axes=axes, keepdims=False)]
        return graph

    assert build("f", "a.py:1") == build("g", None)
    assert build("f", None) != build("f", None, axes=())
    assert build("f", None) != build("f", None, order=(1, 0))
    assert build("f", None) != "graph"
    with pytest.raises(TypeError, match="unhashable"):
        hash(build("f", None))


@given(graphs())
def test_a_copy_is_equal_and_its_own(graph):
    copy, new_of = graph.copy()
    assert copy == graph
    assert str(copy) == str(graph)
    assert [new_of[value] for value in graph.outputs] == copy.outputs
    assert set(copy.inputs).isdisjoint(graph.inputs)
    before = str(graph)
    copy.outputs = [apply(copy, "negative", copy.outputs[0])]
    assert str(graph) == before
    assert copy != graph


def test_text_shows_the_whole_grammar(golden):
    graph = Graph("step")
    x = graph.input(TensorType((4, 2), float32), "x")
    w = graph.input(TensorType((4, 2), float32), "x")
    bare = graph.input(TensorType((), float32))
    y = apply(graph, "multiply", x, w, source="nets.py:15")
    low, _ = graph.add(OPS["extremes"], (y,), {}, source="nets.py:16")
    half = graph.constant(np.array([[0.5, -np.inf]], np.float32))
    long = graph.constant(np.arange(32, dtype=np.int8))
    tag = apply(graph, "label", y, on=True, mode='fast "1"', rate=0.1, to=float32, none=None)
    graph.guard(apply(graph, "equal", low, bare), True, "nets.py:18")
    graph.outputs = [tag, half, long, x]
    golden("jit_graph_text", str(graph))
