"""Products along the rows of images, gaps included: what lies in gaps is never stored."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jit import planner
from jit.forms import contraction
from jit.ir.graph import Graph
from jit.ir.op import OpDef
from jit.loops import gapped, products, tiled
from jit.loops.ir import For
from jit.runtime.cpu import host_target
from jit.target import Target
from jit.types import TensorType, float32
from tests.jit.stages import Stages
from tests.jit.toy import OPS


def outputs(image, filters):
    """How many pixels a filter has on an image, in each direction."""
    return [n - k + 1 for n, k in zip(image[-2:], filters[-2:], strict=True)]


def evaluate(xp, x, w):
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[-2:], axis=(-2, -1))
    return np.einsum("ncpquv,ocuv->nopq", windows, w).astype(np.float32)


def lower(form, x, w):
    pixels = *outputs(x.shape, w.shape), *w.shape[-2:]
    windows = form.view(
        x, (*x.shape[:2], *pixels), lambda n, c, p, q, u, v: (n, c, p + u, q + v), fill=None
    )
    return form.contract("ncpquv,ocuv->nopq", windows, w)


FILTER = OpDef(
    name="filter",
    evaluate=evaluate,
    infer=lambda x, w: x.with_shape((x.shape[0], w.shape[0], *outputs(x.shape, w.shape))),
    lower=lower,
)


def filtered(image, filters, *, epilogue):
    graph = Graph("filtered")
    x, w = (graph.input(TensorType(s, float32), t) for s, t in ((image, "x"), (filters, "w")))
    value = graph.add(FILTER, (x, w), {})[0]
    graph.outputs = [graph.add(OPS["tanh"], (value,), {})[0] if epilogue else value]
    return graph


@pytest.fixture
def always(monkeypatch):
    """The cheapest tiling along gaps is taken wherever there is one."""

    def found(c, target, best):
        return gapped.gapped(c, target, replace(best, cost=float("inf")))

    monkeypatch.setattr(tiled, "gapped", found)
    yield
    planner.forget()


def runs_along_gaps(kernel):
    return any(s.var.hint.startswith("line") for s in kernel.statements() if isinstance(s, For))


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@pytest.mark.usefixtures("always")
@given(st.data())
def test_columns_along_gaps_are_stored_once_and_nothing_else_is(monkeypatch, data):
    """Rows shorter and longer than vectors, one chain and several, with and without an epilogue."""
    monkeypatch.setattr(contraction, "CONTRACT_BLOCK", data.draw(st.sampled_from([6, 256])))
    monkeypatch.setattr(products, "ROWS", data.draw(st.sampled_from([4, 192])))
    planner.forget()  # kernels of chains of another length
    narrow = replace(host_target(), vector_bytes=16, registers=16)
    target: Target = narrow if data.draw(st.booleans()) else host_target()
    batch, channels, out = [data.draw(st.integers(1, most)) for most in (2, 2, 9)]
    height, width = data.draw(st.integers(6, 9)), data.draw(st.sampled_from([5, 7, 19]))
    sizes = data.draw(st.integers(1, 3)), data.draw(st.integers(2, 3))
    image, filters = (batch, channels, height, width), (out, channels, *sizes)
    epilogue = data.draw(st.booleans())
    generator = np.random.default_rng(0)
    x, w = [generator.integers(-4, 5, shape).astype(np.float32) for shape in (image, filters)]
    stages = Stages(filtered(image, filters, epilogue=epilogue), target)
    (kernel,) = stages.kernels
    total = (outputs(image, filters)[0] - 1) * width + outputs(image, filters)[1]
    assert runs_along_gaps(kernel) == (total >= target.lanes(4))
    wanted = evaluate(np, x, w)
    for stage in ("scheduled", "machine"):
        (found,) = stages.run(stage, [x, w])
        if epilogue:
            np.testing.assert_allclose(found, np.tanh(wanted), rtol=1e-5, atol=1e-6)
        else:
            np.testing.assert_array_equal(found, wanted)  # integers: exact


@pytest.mark.parametrize(
    ("image", "filters", "wanted"),
    [
        (
            (8, 16, 16, 16),
            (6, 16, 5, 5),
            True,
        ),  # rows of 12: a vector would be full to three quarters
        ((2, 8, 34, 34), (8, 8, 3, 3), False),  # rows of 32 are two vectors
    ],
)
def test_gaps_are_computed_where_vectors_would_be_emptier_without(image, filters, wanted):
    target = replace(host_target(), vector_bytes=64, registers=32)
    (kernel,) = Stages(filtered(image, filters, epilogue=False), target).kernels
    assert runs_along_gaps(kernel) == wanted
