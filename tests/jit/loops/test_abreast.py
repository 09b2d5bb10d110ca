"""Products of few sums: chains are computed side by side, and added in the order of one loop."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jit.dims import symbol
from jit.forms import contraction
from jit.ir.graph import Graph
from jit.ir.op import OpDef
from jit.loops.fma import fma
from jit.loops.ir import TURN, For
from jit.runtime.cpu import host_target
from jit.types import TensorType, float32, float64
from tests.jit.stages import Stages, bits
from tests.jit.toy import OPS

LINES = OpDef(
    name="lines",
    evaluate=lambda xp, x, y: xp.einsum("bmk,bnk->bmn", x, y),
    infer=lambda x, y: x.with_shape((x.shape[0], x.shape[1], y.shape[1])),
    lower=lambda form, x, y: form.contract("bmk,bnk->bmn", x, y),
)

SHEETS = OpDef(
    name="sheets",
    evaluate=lambda xp, x, y: xp.einsum("mjk,njk->mn", x, y),
    infer=lambda x, y: x.with_shape((x.shape[0], y.shape[0])),
    lower=lambda form, x, y: form.contract("mjk,njk->mn", x, y),
)


def graph_of(op, left, right, dtype=float32, *, epilogue=False):
    """A product, and one op behind it where that is asked for."""
    graph = Graph("product")
    x, y = (graph.input(TensorType(s, dtype), t) for s, t in ((left, "x"), (right, "y")))
    value = graph.add(op, (x, y), {})[0]
    graph.outputs = [graph.add(OPS["tanh"], (value,), {})[0] if epilogue else value]
    return graph


def one_loop(x, y, each):
    """The sums over the last axis in the canonical order, chains of `each` elements."""
    total = np.full(np.broadcast_shapes(x.shape, y.shape)[:-1], -0.0, x.dtype)
    for first in range(0, x.shape[-1], each):
        chain = np.zeros_like(total)
        for k in range(first, min(first + each, x.shape[-1])):
            chain = fma(x[..., k], y[..., k], chain)
        total = total + chain
    return total


def is_turned(kernel):
    """Whether blocks are turned in it."""
    return any(s.var.hint.startswith(TURN) for s in kernel.statements() if isinstance(s, For))


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_chains_side_by_side_give_the_bits_of_one_loop(monkeypatch, data):
    """Chains that fill no vector, or several; the last one shorter or not; any number of them."""
    each = data.draw(st.sampled_from([4, 6, 8]))
    monkeypatch.setattr(contraction, "CONTRACT_BLOCK", each)
    k = data.draw(st.integers(3 * each + 1, 11 * each))
    b, m, n = [data.draw(st.integers(1, most)) for most in (2, 3, 2)]
    dtype = data.draw(st.sampled_from([float32, float64]))
    extent = symbol("k", hint=40) if data.draw(st.booleans()) else k
    rng = np.random.default_rng(k)
    x, y = (rng.normal(size=(b, rows, k)).astype(dtype) for rows in (m, n))
    graph = graph_of(LINES, (b, m, extent), (b, n, extent), dtype)
    stages = Stages(graph, replace(host_target(), vector_bytes=32, registers=16))
    assert [is_turned(kernel) for kernel in stages.kernels] == [True, False]
    wanted = one_loop(x[:, :, None, :], y[:, None, :, :], each)
    for stage in ("scheduled", "machine"):
        (found,) = stages.run(stage, [x, y])
        assert bits(found) == bits(wanted)


def test_letters_that_lie_in_a_row_are_as_one(monkeypatch):
    monkeypatch.setattr(contraction, "CONTRACT_BLOCK", 8)  # a chain is two turns of three
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(rows, 19, 3)).astype(np.float32) for rows in (2, 3))
    stages = Stages(graph_of(SHEETS, x.shape, y.shape))
    assert [is_turned(kernel) for kernel in stages.kernels] == [True, False]
    wanted = one_loop(x.reshape(2, 1, -1), y.reshape(1, 3, -1), 6)
    for stage in ("scheduled", "machine"):
        (found,) = stages.run(stage, [x, y])
        assert bits(found) == bits(wanted)


@pytest.mark.parametrize("size", [1000, 70_000], ids=["a few chains", "for several threads"])
def test_what_is_done_to_the_sums_is_done_as_they_are_added(size):
    rng = np.random.default_rng(0)
    x, y = (rng.uniform(-0.01, 0.01, (1, 1, size)).astype(np.float32) for _ in "xy")
    plain, mapped = (
        Stages(graph_of(LINES, x.shape, y.shape, epilogue=epilogue)) for epilogue in (False, True)
    )
    assert len(plain.kernels) == len(mapped.kernels) == 2
    (total,), (found,) = plain.run("native", [x, y]), mapped.run("native", [x, y])
    np.testing.assert_allclose(found, np.tanh(total), rtol=1e-6)
    assert bits(total) == bits(one_loop(x, y, contraction.CONTRACT_BLOCK).reshape(1, 1, 1))


def test_tiles_that_have_enough_to_do_are_left_as_they_are():
    stages = Stages(graph_of(LINES, (1, 40, 5000), (1, 40, 5000)))
    assert len(stages.kernels) == 1
