"""Products of many rows and few columns: the last tile of an item stays in the item's room."""

from __future__ import annotations

import numpy as np
import pytest

from jit.dims import symbol
from jit.ir.graph import Graph
from jit.ir.op import OpDef
from jit.types import TensorType, float32
from tests.jit.stages import Stages

MATMUL = OpDef(
    name="matmul",
    evaluate=lambda xp, x, y: xp.matmul(x, y),
    infer=lambda x, y: x.with_shape((x.shape[0], y.shape[1])),
    lower=lambda form, x, y: form.contract("mk,kn->mn", x, y),
)
INNER = 2  # few: an interpreter runs it


@pytest.mark.parametrize(("rows", "columns"), [(400, 5), (None, 13)], ids=str)
def test_tiles_of_narrow_strips_stay_inside_of_their_totals(rows, columns):
    m, k = rows or symbol("m", hint=200), symbol("k", hint=300)
    graph = Graph("product")
    x, y = (graph.input(TensorType(s, float32), n) for s, n in (((m, k), "x"), ((k, columns), "y")))
    graph.outputs = [graph.add(MATMUL, (x, y), {})[0]]
    generator = np.random.default_rng(0)
    shapes = (rows or 397, INNER), (INNER, columns)
    arrays = [generator.normal(size=shape).astype(np.float32) for shape in shapes]
    stages = Stages(graph)
    for stage in ("scheduled", "native"):
        (found,) = stages.run(stage, arrays)
        np.testing.assert_allclose(found, arrays[0] @ arrays[1], rtol=1e-5, atol=1e-6)
