"""Products of many rows and few columns: the last tile of an item stays in the item's room."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jit.dims import symbol
from jit.ir.graph import Graph
from jit.ir.op import OpDef
from jit.loops import products
from jit.types import TensorType, float32
from tests.jit.stages import Stages
from tests.jit.toy import OPS

MATMUL = OpDef(
    name="matmul",
    evaluate=lambda xp, x, y: xp.matmul(x, y),
    infer=lambda x, y: x.with_shape((x.shape[0], y.shape[1])),
    lower=lambda form, x, y: form.contract("mk,kn->mn", x, y),
)


def product(m, k, n, epilogue):
    """A graph of one product, and one op behind it where that is asked for."""
    graph = Graph("product")
    x, y = (graph.input(TensorType(s, float32), t) for s, t in (((m, k), "x"), ((k, n), "y")))
    value = graph.add(MATMUL, (x, y), {})[0]
    graph.outputs = [graph.add(OPS["tanh"], (value,), {})[0] if epilogue else value]
    return graph


def agree(graph, shapes, epilogue):
    """Every access of the loops stays inside of its buffer, and the values are right."""
    generator = np.random.default_rng(0)
    arrays = [generator.normal(size=shape).astype(np.float32) for shape in shapes]
    stages = Stages(graph)
    for stage in ("scheduled", "native"):
        (found,) = stages.run(stage, arrays)
        wanted = np.tanh(arrays[0] @ arrays[1]) if epilogue else arrays[0] @ arrays[1]
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("rows", "columns"), [(400, 5), (None, 13)], ids=str)
def test_tiles_of_narrow_strips_stay_inside_of_their_totals(rows, columns):
    m, k = rows or symbol("m", hint=200), symbol("k", hint=300)
    shapes = (rows or 397, 2), (2, columns)  # few inner indices: an interpreter runs it
    agree(product(m, k, columns, epilogue=False), shapes, epilogue=False)


@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_products_of_any_extents_stay_inside_of_their_buffers(monkeypatch, data):
    """With items of few rows, so that small products have many of them."""
    monkeypatch.setattr(products, "ROWS", data.draw(st.sampled_from([8, 20, 33])))
    sizes = [data.draw(st.integers(1, most)) for most in (70, 4, 40)]
    varies = [data.draw(st.booleans()) for _ in sizes]
    extents = [
        symbol(name, hint=max(2, size)) if free and size > 1 else size
        for name, size, free in zip("mkn", sizes, varies, strict=True)
    ]
    m, k, n = sizes
    epilogue = data.draw(st.booleans())
    agree(product(*extents, epilogue), ((m, k), (k, n)), epilogue)
