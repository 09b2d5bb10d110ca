"""Lookups of which a program needs a part: all of them are looked up."""

from __future__ import annotations

import numpy as np
import pytest

from dualflow.core.op import registry
from jit.compiler import compile
from jit.errors import IndexError
from jit.forms.unread import unread
from jit.ir.graph import Graph
from jit.types import TensorType, dtypes, float32

ROWS = TensorType((3, 4), float32)


def looked_up(*ops):
    """A graph that looks rows up and goes on with the last result; the lookup, and the graph."""
    graph = Graph("lookup")
    x, i = graph.input(ROWS, "x"), graph.input(TensorType((2,), dtypes["int64"]), "i")
    (found,) = value = graph.add(registry["gather"], (x, i), {"axes": (0,)})
    for name, attrs in ops:
        value = graph.add(registry[name], value, attrs)
    graph.outputs = [*value]
    return graph, found


TANH, SUM = ("tanh", {}), ("sum", {"axes": (0, 1), "keepdims": False})
TURNED = ("permute_dims", {"axes": (1, 0)})
FIRST = ("slice", {"starts": (0, 0), "shape": (1, 4), "steps": (1, 1)})


@pytest.mark.parametrize(
    ("ops", "missed"),
    [
        ([], False),
        ([TANH, SUM], False),
        ([TURNED], False),
        ([FIRST], True),
        ([TANH, FIRST], True),
    ],
)
def test_what_is_read_in_part_is_told(ops, missed):
    graph, found = looked_up(*ops)
    assert unread(graph) == ([found] if missed else [])


def test_what_nobody_reads_is_told_and_then_found_wrong():
    graph, found = looked_up(TANH)
    graph.outputs = [graph.inputs[0]]
    assert unread(graph) == [found]
    arrays = [np.ones((3, 4), np.float32), np.array([0, 3])]
    compile(graph, ops=registry)(arrays)
    graph.outputs += unread(graph)
    assert unread(graph) == []
    with pytest.raises(IndexError, match="index 3 is out of bounds"):
        compile(graph, ops=registry)(arrays)


def test_constant_indices_were_right_when_they_were_recorded():
    graph = Graph("constant")
    x, i = graph.input(ROWS, "x"), graph.constant(np.array([0, 2]))
    graph.add(registry["gather"], (x, i), {"axes": (0,)})
    graph.outputs = [x]
    assert unread(graph) == []
