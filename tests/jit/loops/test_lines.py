"""Products whose tiles are pixels of a line: results are turned, and stored along the line."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jit import planner
from jit.forms import contraction
from jit.loops import packed, products, tiled, tiles
from jit.loops.ir import TURN, For, Prefetch
from jit.runtime.cpu import host_target
from tests.jit.loops.test_gapped import evaluate, filtered
from tests.jit.stages import Stages


@pytest.fixture
def always(monkeypatch):
    """Pixels are rows, and the cheapest tile that stays in a line is taken."""

    def chosen(c, target):
        fits = [x for x in tiles.candidates(c, target) if x.row_operand == 0]
        return min((x for x in fits if tiles.lie_in_lines(x.rows, x.height)), key=lambda x: x.cost)

    monkeypatch.setattr(products, "choose", chosen)
    monkeypatch.setattr(tiled, "gapped", lambda *_: None)
    yield
    planner.forget()


def loops_of(kernel):
    return [s.var.hint for s in kernel.statements() if isinstance(s, For)]


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@pytest.mark.usefixtures("always")
@given(st.data())
def test_pixels_of_a_line_are_stored_once_for_each_channel(monkeypatch, data):
    """Packed for several strips and for one, chains short and long, channels that fill none."""
    monkeypatch.setattr(contraction, "CONTRACT_BLOCK", data.draw(st.sampled_from([6, 256])))
    monkeypatch.setattr(products, "ROWS", data.draw(st.sampled_from([7, 14, 192])))
    for name in ("LEAST_OF_FILTERS", "FEWEST_STRIPS"):
        monkeypatch.setattr(packed, name, data.draw(st.sampled_from([1, 1 << 17])))
    planner.forget()  # kernels of chains of another length
    narrow = replace(host_target(), vector_bytes=16, registers=16)
    target = narrow if data.draw(st.booleans()) else host_target()
    batch, channels, out = [data.draw(st.integers(1, most)) for most in (2, 3, 40)]
    pixels = data.draw(st.integers(2, 4)), data.draw(st.sampled_from([2, 7, 14, 28]))
    sizes = data.draw(st.integers(1, 2)), data.draw(st.integers(1, 3))
    image = (batch, channels, *[n + k - 1 for n, k in zip(pixels, sizes, strict=True)])
    filters, epilogue = (out, channels, *sizes), data.draw(st.booleans())
    generator = np.random.default_rng(0)
    x, w = [generator.integers(-4, 5, shape).astype(np.float32) for shape in (image, filters)]
    stages = Stages(filtered(image, filters, epilogue=epilogue), target)
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
        ((1, 256, 30, 30), (512, 256, 3, 3), True),  # filters that no cache holds, short lines
        ((1, 3, 226, 226), (64, 3, 3, 3), False),  # few sums of many pixels
    ],
)
def test_lines_are_rows_where_filters_fill_vectors_better(image, filters, wanted):
    target = replace(host_target(), vector_bytes=64, registers=32)
    (kernel,) = Stages(filtered(image, filters, epilogue=False), target).kernels
    assert any(x.startswith("columns") for x in loops_of(kernel)) == wanted
    if wanted:  # two vectors of filters are turned on their way into the panel; so are results
        assert len([x for x in loops_of(kernel) if x.startswith(TURN)]) == 3
        assert any(isinstance(s, Prefetch) for s in kernel.statements())
