"""The verifier passes what is built by the rules, and names the node that breaks one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from jit.errors import GraphError
from jit.ir import builtin
from jit.ir.graph import Graph, Value
from jit.ir.verify import verify
from jit.types import TensorType, float32
from tests.jit.toy import OPS, apply, graphs, symbolic_graph

VECTOR = TensorType((3,), float32)


@given(graphs())
def test_what_is_built_by_add_is_valid(graph):
    verify(graph)


def test_symbolic_dimensions_are_compared_as_they_are_written():
    verify(symbolic_graph())


def wrong_input(graph, x):
    apply(graph, "negative", Value(VECTOR, None, 1, "z"))


def used_before(graph, x):
    apply(graph, "negative", apply(graph, "abs", x))
    graph.nodes.reverse()


def assigned_twice(graph, x):
    apply(graph, "abs", x)
    graph.nodes.append(graph.nodes[0])


def foreign_output(graph, x):
    apply(graph, "abs", x)
    graph.nodes[0].outputs = (Value(VECTOR, None, 0, None),)


def wrong_type(graph, x):
    graph.add(OPS["abs"], (x,), {}, types=(TensorType((4,), float32),))


def wrong_dtype(graph, x):
    graph.add(OPS["abs"], (x,), {}, types=(x.type.with_dtype(np.dtype("int32")),))


def wrong_count(graph, x):
    graph.add(OPS["extremes"], (x,), {}, types=(TensorType((), float32),))


def unprintable(graph, x):
    apply(graph, "label", x, axes=[1, 2])


def array_attr(graph, x):
    apply(graph, "label", x, table=np.ones(2))


def writable_constant(graph, x):
    graph.constant(np.ones(2)).node.attrs["value"] = np.ones(2)


def missing_attr(graph, x):
    graph.add(OPS["sum"], (x,), {}, types=(VECTOR,))


def refused(graph, x):
    graph.add(OPS["reshape"], (x,), {"shape": (4,)}, types=(TensorType((4,), float32),))


def guard_on_vector(graph, x):
    graph.add(builtin.guard, (x,), {"expected": True}, types=())


def guard_on_text(graph, x):
    graph.guard(graph.constant(np.float32(1)), "yes")


@pytest.mark.parametrize(
    ("build", "what"),
    [
        (wrong_input, r"`%0: float32\[3\] = negative\(%\?\)` .* not assigned before"),
        (used_before, r"`.*negative\(%1\)` .* %1 is not assigned before"),
        (assigned_twice, r"`%\d: .*abs.* is assigned twice"),
        (foreign_output, "does not know that it is output 0"),
        (wrong_type, r"abs gives float32\[3\]"),
        (wrong_dtype, r"abs gives float32\[3\]"),
        (wrong_count, r"extremes gives float32\[\], float32\[\]"),
        (unprintable, r"axes: attr \[1, 2\] is a list"),
        (array_attr, "table is an array"),
        (writable_constant, "value is an array that may change"),
        (missing_attr, "sum does not take these inputs and attrs"),
        (refused, "reshape refuses it"),
        (guard_on_vector, "guard refuses it"),
        (guard_on_text, "a guard expects a bool or an int"),
    ],
)
def test_a_broken_rule_is_named_with_its_node(build, what):
    graph = Graph("f")
    x = graph.input(VECTOR, "x")
    graph.outputs = [x]
    verify(graph)
    build(graph, x)
    with pytest.raises(GraphError, match=what):
        verify(graph)


def test_outputs_must_be_assigned():
    graph, other = Graph("f"), Graph("g")
    graph.outputs = [other.input(VECTOR, "x")]
    with pytest.raises(GraphError, match="returns a value that none of its nodes assigns"):
        verify(graph)


def test_an_input_knows_its_place():
    graph = Graph("f")
    graph.input(VECTOR, "x")
    graph.inputs.append(graph.inputs[0])
    with pytest.raises(GraphError, match="is not input 1"):
        verify(graph)


def test_the_error_ends_at_the_users_line():
    graph = Graph("f")
    x = graph.input(VECTOR, "x")
    graph.add(OPS["abs"], (x,), {}, types=(), source="nets.py:7")
    with pytest.raises(GraphError) as caught:
        verify(graph)
    assert str(caught.value).endswith("at nets.py:7")
