"""Products whose tiles are pixels of a line, or taps of filters: they are stored along these."""

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
from jit.loops import packed, products, tiled, tiles
from jit.loops.ir import TURN, For, Prefetch
from jit.runtime.cpu import host_target
from jit.types import TensorType, float32
from tests.jit.loops.test_gapped import evaluate, filtered
from tests.jit.stages import Stages


@pytest.fixture
def always(monkeypatch):
    """Pixels are rows, and the cheapest tile that stays in a line is taken."""

    def chosen(c, target):
        fits = [x for x in tiles.candidates(c, target) if x.row_operand == 0]
        lines = [x for x in fits if tiles.lie_in_lines(x.rows, x.height)]
        return min(lines or fits, key=lambda x: x.cost)

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
    most = data.draw(st.sampled_from([7, 14, 192]))
    for module in (products, packed):
        monkeypatch.setattr(module, "ROWS", most)
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


@pytest.mark.parametrize(
    ("extents", "height", "wanted"),
    [
        ((4, 28, 28), 14, [14]),  # half of a line
        ((4, 28, 28), 13, []),
        ((64, 3, 3), 9, [3, 3]),  # all taps of a filter
        ((64, 3, 3), 3, [3]),
        ((64, 3, 3), 12, []),
        ((64, 2, 2), 12, []),  # of three channels, which do not divide 64
        ((63, 2, 2), 12, [3, 2, 2]),
        ((4, 7, 7), 14, []),
        ((64,), 8, []),  # one letter: rows lie alike anyway
    ],
)
def test_rows_of_a_tile_lie_alike(extents, height, wanted):
    rows = [contraction.Letter(f"i{k}", extent, 0) for k, extent in enumerate(extents)]
    assert tiles.lie_in_lines(rows, height) == wanted


def gradient(np_, x, g):
    """What flows to filters that were moved over images."""
    sizes = [n - p + 1 for n, p in zip(x.shape[2:], g.shape[2:], strict=True)]
    windows = np.lib.stride_tricks.sliding_window_view(x, sizes, axis=(-2, -1))
    return np.einsum("ncpquv,nopq->ocuv", windows, g).astype(np.float32)


def lower_gradient(form, x, g):
    sizes = [n - p + 1 for n, p in zip(x.shape[2:], g.shape[2:], strict=True)]
    shape = (*x.shape[:2], *g.shape[2:], *sizes)
    windows = form.view(x, shape, lambda n, c, p, q, u, v: (n, c, p + u, q + v), fill=None)
    return form.contract("ncpquv,nopq->ocuv", windows, g)


GRADIENT = OpDef(
    name="gradient_of_filters",
    evaluate=gradient,
    infer=lambda x, g: x.with_shape(
        (g.shape[1], x.shape[1], *[n - p + 1 for n, p in zip(x.shape[2:], g.shape[2:])])
    ),
    lower=lower_gradient,
)


def lower_added(form, x, w):
    def place(*at):
        return [0 if n == 1 else i for n, i in zip(w.shape, at[x.ndim - w.ndim :], strict=True)]

    return form.pointwise("add", x, form.view(w, x.shape, place, fill=None))


ADDED = OpDef(
    name="added", evaluate=lambda xp, x, w: x + w, infer=lambda x, w: x, lower=lower_added
)


def gradient_graph(image, cotangent, added):
    """The gradient of filters, and perhaps something of another shape added to it."""
    graph = Graph("gradient")
    given = {"x": image, "g": cotangent, **({} if added is None else {"w": added})}
    x, g, *others = [graph.input(TensorType(tuple(s), float32), name) for name, s in given.items()]
    value = graph.add(GRADIENT, (x, g), {})[0]
    for w in others:
        value = graph.add(ADDED, (value, w), {})[0]
    graph.outputs = [value]
    return graph


@pytest.mark.parametrize("kept", [None, (0, 1, 2, 3), (3,), (1,), ()])
@settings(
    max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@pytest.mark.usefixtures("always")
@given(st.data())
def test_taps_of_filters_are_stored_as_one_line_where_all_lies_so(monkeypatch, kept, data):
    """Filters of few taps and of many, chains short and long; what is added has some axes, too."""
    monkeypatch.setattr(contraction, "CONTRACT_BLOCK", data.draw(st.sampled_from([6, 256])))
    monkeypatch.setattr(products, "LONG_ROWS", data.draw(st.sampled_from([9, 18, 768])))
    monkeypatch.setattr(products, "ROWS", data.draw(st.sampled_from([7, 192])))
    planner.forget()
    batch, channels, out = [data.draw(st.integers(1, most)) for most in (2, 6, 40)]
    sizes = data.draw(st.sampled_from([(3, 3), (2, 2), (1, 4), (3, 2)]))
    pixels = data.draw(st.integers(1, 4)), data.draw(st.integers(2, 7))
    image = (batch, channels, *[n + k - 1 for n, k in zip(pixels, sizes, strict=True)])
    cotangent, shape = (batch, out, *pixels), (out, channels, *sizes)
    added = None if kept is None else [n if k in kept else 1 for k, n in enumerate(shape)]
    generator = np.random.default_rng(0)
    shapes = [image, cotangent, *([] if added is None else [added])]
    arrays = [generator.integers(-4, 5, each).astype(np.float32) for each in shapes]
    wanted = gradient(np, *arrays[:2]) + (0 if added is None else arrays[2])
    stages = Stages(gradient_graph(image, cotangent, added), host_target())
    for stage in ("scheduled", "machine"):
        (found,) = stages.run(stage, arrays)
        np.testing.assert_array_equal(found, wanted)  # integers: exact


def test_taps_are_rows_of_tiles_where_many_pixels_are_summed():
    """Nine rows at constant distances: one address for all, and stores of whole filters."""
    target = replace(host_target(), vector_bytes=64, registers=32)
    image, cotangent = (4, 64, 16, 16), (4, 256, 14, 14)
    *_, kernel = Stages(gradient_graph(image, cotangent, None), target).kernels
    assert any(x.startswith("columns") for x in loops_of(kernel))
    steps = {s.step for s in kernel.statements() if isinstance(s, For) and "rows" in s.var.hint}
    assert steps == {9}
