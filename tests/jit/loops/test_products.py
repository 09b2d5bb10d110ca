"""Products of many rows and few columns: the last tile of an item stays in the item's room."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jit import planner
from jit.dims import symbol
from jit.forms import contraction, sums
from jit.ir.graph import Graph
from jit.ir.op import OpDef
from jit.loops import ahead, packed, products, streams, turned, wide
from jit.loops.fma import fma
from jit.loops.interpret import Run
from jit.loops.ir import TURN, For, Prefetch, index
from jit.runtime.cpu import host_target
from jit.types import TensorType, float32
from tests.jit.stages import Stages, bits
from tests.jit.toy import OPS

MATMUL = OpDef(
    name="matmul",
    evaluate=lambda xp, x, y: xp.matmul(x, y),
    infer=lambda x, y: x.with_shape((x.shape[0], y.shape[1])),
    lower=lambda form, x, y: form.contract("mk,kn->mn", x, y),
)


TURNED = OpDef(
    name="turned_matmul",
    evaluate=lambda xp, x, y: xp.matmul(x.T, y),
    infer=lambda x, y: x.with_shape((x.shape[1], y.shape[1])),
    lower=lambda form, x, y: form.contract("km,kn->mn", x, y),
)


ALONG = OpDef(
    name="matmul_along",
    evaluate=lambda xp, x, y: xp.matmul(x, y.T),
    infer=lambda x, y: x.with_shape((x.shape[0], y.shape[0])),
    lower=lambda form, x, y: form.contract("mk,nk->mn", x, y),
)


FILTERED = OpDef(
    name="filtered",
    evaluate=lambda xp, x, y: xp.tensordot(x, y, 2),
    infer=lambda x, y: x.with_shape((x.shape[0], y.shape[2])),
    lower=lambda form, x, y: form.contract("mkj,kjn->mn", x, y),
)


def product(m, k, n, epilogue, *, turned=False):
    """A graph of one product, and one op behind it where that is asked for."""
    graph = Graph("product")
    left = (k, m) if turned else (m, k)
    x, y = (graph.input(TensorType(s, float32), t) for s, t in ((left, "x"), ((k, n), "y")))
    value = graph.add(TURNED if turned else MATMUL, (x, y), {})[0]
    graph.outputs = [graph.add(OPS["tanh"], (value,), {})[0] if epilogue else value]
    return graph


def along(m, k, n):
    """A graph of one product whose operands both lie along the inner index."""
    graph = Graph("along")
    x, y = (graph.input(TensorType((s, k), float32), t) for s, t in ((m, "x"), (n, "y")))
    graph.outputs = [graph.add(ALONG, (x, y), {})[0]]
    return graph


def agree(graph, shapes, epilogue, *, turned=False, target=None):
    """Every access of the loops stays inside of its buffer, and the values are right."""
    generator = np.random.default_rng(0)
    arrays = [generator.normal(size=shape).astype(np.float32) for shape in shapes]
    stages = Stages(graph, target or host_target())
    for stage in ("scheduled", "native"):
        (found,) = stages.run(stage, arrays)
        wanted = (arrays[0].T if turned else arrays[0]) @ arrays[1]
        wanted = np.tanh(wanted) if epilogue else wanted
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
    agree(product(*extents, epilogue=epilogue), ((m, k), (k, n)), epilogue)


@settings(
    max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_products_that_caches_do_not_hold_stay_inside_of_their_buffers(monkeypatch, data):
    """With short chains and small items, so that small products have several of both."""
    for name, value in {"LEAST": 1, "COLUMNS": 32, "FEWEST_STRIPS": 1}.items():
        monkeypatch.setattr(packed, name, value)
    monkeypatch.setattr(contraction, "CONTRACT_BLOCK", data.draw(st.sampled_from([2, 5])))
    monkeypatch.setattr(products, "ROWS", data.draw(st.sampled_from([8, 20])))
    m, k, n = [data.draw(st.integers(low, high)) for low, high in ((2, 30), (6, 9), (17, 50))]
    varies, turned, epilogue = [data.draw(st.booleans()) for _ in range(3)]
    graph = product(symbol("m", hint=20) if varies else m, k, n, epilogue, turned=turned)
    agree(graph, ((k, m) if turned else (m, k), (k, n)), epilogue, turned=turned)


@settings(
    max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_products_over_two_indices_are_packed_as_those_over_one(monkeypatch, data):
    for name, value in {"LEAST_OF_FILTERS": 1, "COLUMNS": 32, "FEWEST_STRIPS": 1}.items():
        monkeypatch.setattr(packed, name, value)
    monkeypatch.setattr(contraction, "CONTRACT_BLOCK", 8)
    monkeypatch.setattr(products, "ROWS", data.draw(st.sampled_from([8, 20])))
    m, k, n = [data.draw(st.integers(low, high)) for low, high in ((2, 30), (3, 7), (17, 50))]
    shapes = (m, k, 3), (k, 3, n)
    generator = np.random.default_rng(0)
    x, y = arrays = [generator.integers(-4, 5, shape).astype(np.float32) for shape in shapes]
    graph = Graph("filtered")
    inputs = [graph.input(TensorType(s, float32), t) for s, t in zip(shapes, "xy", strict=True)]
    graph.outputs = [graph.add(FILTERED, tuple(inputs), {})[0]]
    stages = Stages(graph)
    for stage in ("scheduled", "native"):
        (found,) = stages.run(stage, arrays)
        np.testing.assert_array_equal(found, np.tensordot(x, y, 2))  # integers: exact


@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_columns_that_lie_along_inner_indices_are_turned_on_their_way(monkeypatch, data):
    """Blocks that fill no vector, inner indices that fill no block, one chain and several."""
    monkeypatch.setattr(contraction, "CONTRACT_BLOCK", data.draw(st.sampled_from([6, 256])))
    monkeypatch.setattr(products, "ROWS", 8)
    if data.draw(st.booleans()):
        for name, value in {"LEAST": 1, "COLUMNS": 32, "FEWEST_STRIPS": 1}.items():
            monkeypatch.setattr(packed, name, value)
    m, k, n = [data.draw(st.integers(low, high)) for low, high in ((7, 20), (4, 11), (2, 50))]
    varies = data.draw(st.booleans())
    generator = np.random.default_rng(0)
    x, y = [generator.integers(-4, 5, shape).astype(np.float32) for shape in ((m, k), (n, k))]
    graph = along(m, k, symbol("n", hint=20) if varies else n)
    narrow = replace(host_target(), vector_bytes=16, registers=16)
    stages = Stages(graph, narrow if data.draw(st.booleans()) else None)
    (kernel,) = stages.kernels
    assert any(s.var.hint.startswith(TURN) for s in kernel.statements() if isinstance(s, For))
    for stage in ("scheduled", "machine"):
        (found,) = stages.run(stage, [x, y])
        np.testing.assert_array_equal(found, x @ y.T)  # integers: exact


@pytest.mark.parametrize(
    ("columns", "chain"), [(19, 256), (21, 21), (37, 27), (9, 32)]
)  # blocks leave some of 21 and 27; the last of 38 chains of 27 is shorter than that beside it
@pytest.mark.parametrize(("rows", "width"), [(1, 64), (2, 64), (1, 32)])
def test_columns_that_lie_pages_apart_are_read_by_whole_vectors(
    monkeypatch, rows, width, columns, chain
):
    monkeypatch.setattr(contraction, "CONTRACT_BLOCK", chain)
    monkeypatch.setattr(turned, "NEAR", 1)  # what follows is asked for
    planner.forget()
    generator = np.random.default_rng(0)
    x, y = [generator.normal(size=(n, 1024)).astype(np.float32) for n in (rows, columns)]
    target = replace(host_target(), vector_bytes=width, registers=width // 2)
    stages = Stages(along(rows, 1024, columns), target)
    (kernel,) = stages.kernels
    loops = [s for s in kernel.statements() if isinstance(s, For)]
    stops = [s.stop for s in loops if s.var.hint.startswith("along")]
    assert index(width // 4) in stops
    wanted = np.full((rows, columns), -0.0, np.float32)
    for first in range(0, 1024, chain):
        total = np.zeros((rows, columns), np.float32)
        for k in range(first, min(first + chain, 1024)):
            total = fma(x[:, None, k], y[None, :, k], total)
        wanted = wanted + total
    for stage in ("scheduled", "machine"):
        (found,) = stages.run(stage, [x, y])
        assert bits(found) == bits(wanted)


def test_all_but_the_first_chains_of_columns_that_lie_pages_apart_are_asked_for(monkeypatch):
    """Row by row of the matrix, each line once, while the chains before them are added up."""
    monkeypatch.setattr(turned, "NEAR", 1)
    planner.forget()
    columns, inner, line = 48, 1024, 16
    target = replace(host_target(), vector_bytes=64, registers=32)
    (kernel,) = Stages(along(1, inner, columns), target).kernels
    asked = []
    arrays = [np.ones(columns * inner, x.dtype) for x in kernel.buffers]
    run = Run(kernel, arrays, [])
    run.rules[Prefetch] = lambda s: asked.append(run.number_of(s.index) // line)
    for strip in range(columns // 16):
        run.item(strip)
    lines = np.arange(columns * inner // line).reshape(columns, -1)
    first = lines[:16, : 2 * 256 // line]
    assert {*lines.flat} - {*first.flat} <= {*asked}
    assert len(asked) == lines.size
    steps = np.diff(asked[: first.size])
    assert np.count_nonzero(steps != 1) == 15  # from row to row


@pytest.mark.parametrize(("inner", "items"), [(300, 1), (3000, 2)])
def test_two_threads_share_much_work_on_the_only_strip(inner, items):
    rows, columns = 150, 13
    generator = np.random.default_rng(0)
    shapes = (rows, inner), (columns, inner)
    x, y = [generator.integers(-4, 5, shape).astype(np.float32) for shape in shapes]
    target = replace(host_target(), vector_bytes=64, registers=32)
    stages = Stages(along(rows, inner, columns), target)
    (kernel,) = stages.kernels
    assert kernel.grid == items
    (found,) = stages.run("machine", [x, y])
    np.testing.assert_array_equal(found, x @ y.T)  # integers: exact


@pytest.mark.parametrize(
    ("shape", "items"),
    [((64, 300, 100), 8), ((64, 300, 128), 4), ((64, 20, 100), 4), ((63, 300, 100), 4)],
    ids=str,
)
def test_items_are_halved_where_the_last_of_a_few_strips_would_be_waited_for(shape, items):
    m, k, n = shape
    target = replace(host_target(), vector_bytes=64, registers=32)
    generator = np.random.default_rng(0)
    x, y = [generator.integers(-4, 5, s).astype(np.float32) for s in ((m, k), (k, n))]
    stages = Stages(product(m, k, n, epilogue=False), target)
    (kernel,) = stages.kernels
    assert kernel.grid == items
    (found,) = stages.run("machine", [x, y])
    np.testing.assert_array_equal(found, x @ y)  # integers: exact


@pytest.mark.parametrize("turned", [False, True])
def test_large_products_are_read_ahead_and_each_sum_is_one_chain_after_the_other(turned):
    m, k, n = 261, 300, 147
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(m, k)).astype(np.float32), rng.normal(size=(k, n)).astype(np.float32)
    stages = Stages(product(m, k, n, epilogue=False, turned=turned))
    (kernel,) = stages.kernels
    assert any(isinstance(s, Prefetch) for s in kernel.statements())
    (found,) = stages.run("native", [np.ascontiguousarray(x.T) if turned else x, y])
    wanted = np.full((m, n), -0.0, np.float32)
    for first in range(0, k, contraction.CONTRACT_BLOCK):
        total = np.zeros((m, n), np.float32)
        for j in range(first, min(k, first + contraction.CONTRACT_BLOCK)):
            total = fma(*np.broadcast_arrays(x[:, j : j + 1], y[j], total))
        wanted += total
    assert bits(found) == bits(wanted)


@pytest.mark.parametrize("far", [True, False])
def test_rows_of_a_stream_are_asked_for_ahead_where_no_cache_holds_them(monkeypatch, far):
    monkeypatch.setattr(streams, "LEAST", 1)
    monkeypatch.setattr(streams, "FAR", 1 if far else 1 << 22)
    planner.forget()
    graph = product(2, 21, 600, epilogue=False)  # two whole passes, a rest, and a narrow strip
    (kernel,) = Stages(graph, replace(host_target(), vector_bytes=16)).kernels
    assert any(isinstance(s, Prefetch) for s in kernel.statements()) == far
    agree(graph, ((2, 21), (21, 600)), epilogue=False)


def test_what_an_epilogue_needs_of_large_arrays_is_asked_for_before_its_products(monkeypatch):
    def asked(k, cache=0):
        graph = Graph("update")
        shapes = (40, k), (k, 70), (40, 70)
        x, y, w = (graph.input(TensorType(s, float32), t) for s, t in zip(shapes, "xyw"))
        (value,) = graph.add(MATMUL, (x, y), {})
        graph.outputs = [*graph.add(OPS["subtract"], (w, value), {})]
        stages = Stages(graph, replace(host_target(), cache=cache))
        (kernel,) = stages.kernels
        generator = np.random.default_rng(0)
        arrays = [generator.integers(-9, 9, s).astype(np.float32) for s in shapes]
        (found,) = stages.run("native", arrays)
        np.testing.assert_array_equal(found, arrays[2] - arrays[0] @ arrays[1])
        return {s.buffer.name for s in kernel.statements() if isinstance(s, Prefetch)}

    asked_at_all = asked(300)  # arrays lie in a cache
    monkeypatch.setattr(ahead, "FAR", 1)
    planner.forget()
    assert len(asked(300) - asked_at_all) == 2  # what is read, and where results go
    assert not asked(ahead.LONG - 1)  # to ask would take longer than the products
    planner.forget()
    assert len(asked(300, cache=1) - asked_at_all) == 1  # results go past the caches


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("shape", [(1, 21, 70), (3, 20, 64), (2, None, 35), (2, 17, None)], ids=str)
def test_chains_of_a_matrix_that_no_cache_holds_are_items(monkeypatch, shape, turned):
    """Sums are chains of multiply-adds, added in order from -0.0 on, whoever computes them."""
    monkeypatch.setattr(contraction, "CONTRACT_BLOCK", 5)  # one pass, and a rest
    monkeypatch.setattr(streams, "SUMS", 96)
    for name, value in {"WIDE": 32, "FAR": 1}.items():
        monkeypatch.setattr(sums, name, value)
    planner.forget()
    m, k, n = [size or symbol(x, hint=40) for x, size in zip("mkn", shape, strict=True)]
    x, y = [s.astype(np.float32) for s in np.random.default_rng(0).normal(size=(2, 41, 70))]
    rows, inner, columns = [size or 37 for size in shape]
    x, y = np.ascontiguousarray(x.T[:inner, :rows]), np.ascontiguousarray(y[:inner, :columns])
    x[:, 0] = -0.0
    x = x if turned else np.ascontiguousarray(x.T)
    target = replace(host_target(), vector_bytes=16)
    stages = Stages(product(m, k, n, epilogue=turned, turned=turned), target)
    assert len(stages.kernels) == 2
    terms = x.T if turned else x
    wanted = np.full((rows, columns), -0.0, np.float32)
    for first in range(0, inner, 5):
        total = np.zeros_like(wanted)
        for j in range(first, min(inner, first + 5)):
            total = fma(*np.broadcast_arrays(terms[:, j : j + 1], y[j], total))
        wanted += total
    for stage in ("scheduled", "machine"):
        (found,) = stages.run(stage, [x, y])
        if turned:
            np.testing.assert_allclose(found, np.tanh(wanted), rtol=1e-6)
        else:
            assert bits(found) == bits(wanted)


@pytest.mark.parametrize(
    ("shape", "turned", "epilogue"),
    [((9, 3, 70), True, True), ((8, 1, 64), False, False), ((None, 5, 83), False, True)],
)
def test_few_rows_of_a_large_result_are_computed_from_end_to_end(
    monkeypatch, shape, turned, epilogue
):
    monkeypatch.setattr(wide, "LEAST", 1)
    planner.forget()
    target = replace(host_target(), vector_bytes=16, registers=16)
    rows, k, n = shape
    m = rows or symbol("m", hint=20)
    graph = product(m, k, n, epilogue, turned=turned)
    (kernel,) = Stages(graph, target).kernels
    assert any(s.var.hint.startswith("strip") for s in kernel.statements() if isinstance(s, For))
    rows = rows or 21
    shapes = ((k, rows) if turned else (rows, k), (k, n))
    agree(graph, shapes, epilogue, turned=turned, target=target)
