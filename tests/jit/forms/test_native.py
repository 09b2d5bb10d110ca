"""What the passes ask of nodes: whether they take element by element, and whether that is light."""

from __future__ import annotations

import pytest

from jit.forms.native import is_light, is_map
from jit.ir.graph import Graph
from jit.types import TensorType, float32
from tests.jit.toy import apply

ROWS, ROW, FEW = (500, 300), (300,), (20, 30)


def node_of(name, *shapes, **attrs):
    graph = Graph("one")
    inputs = [graph.input(TensorType(shape, float32)) for shape in shapes]
    return apply(graph, name, *inputs, **attrs).node


@pytest.mark.parametrize(
    ("given", "maps", "light"),
    [
        (("add", ROWS, ROW), True, True),
        (("add", ROWS, ROWS), True, False),  # twice the bytes of its result
        (("add", FEW, FEW), True, True),  # but few of them
        (("negative", ROWS), True, True),
        (("tanh", ROWS), True, False),
        (("matmul", ROWS, (300, 20)), False, False),
    ],
)
def test_maps_and_light_ones(given, maps, light):
    node = node_of(*given)
    assert (is_map(node), is_light(node)) == (maps, light)
