"""Convolutions in tiles: right within a bound for all sizes, and chosen only where that may be."""

from __future__ import annotations

from fractions import Fraction
from functools import partial

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import dualflow as df
from dualflow.core.op import registry
from jit.compiler import compile as compiled
from jit.compiler import pipeline
from jit.forms.oracle import evaluate_lowered
from jit.ir.graph import Graph
from jit.ir.interpret import Program
from jit.ir.winograd import TAPS, matrices, tiled_filter, tiled_image, tiled_products, untiled
from jit.passes import winograd
from jit.passes.base import replaced
from jit.passes.winograd import Winograd, append, plan_of, plans
from jit.types import TensorType, float32, float64
from tests.modes import graphs_only

EPSILON = 2.0**-24
BOUND = {2: 4, 4: 16}  # of tiles, in units of EPSILON of the largest sum of magnitudes
PLAIN = {"stride": (1, 1), "lhs_dilation": (1, 1), "rhs_dilation": (1, 1), "groups": 1}


def convolution(x, w, padding=((1, 1), (1, 1)), dtype=float32, **attrs):
    """A graph of one convolution."""
    graph = Graph("convolution")
    values = [graph.input(TensorType(shape, dtype), name) for shape, name in ((x, "x"), (w, "w"))]
    attrs = PLAIN | {"padding": padding} | attrs
    graph.outputs = [*graph.add(registry["conv"], values, attrs)]
    return graph


def in_tiles(graph, plan):
    """The same in tiles."""
    (node,) = graph.nodes
    return replaced(graph, {node: partial(append, node, plan)})


def drawn(graph, seed=0):
    """Numbers for the inputs of a graph."""
    random = np.random.default_rng(seed)
    return [random.normal(size=x.type.shape).astype(x.type.dtype) for x in graph.inputs]


def exactly(x, w, padding):
    """A convolution in float64, and the sums of the magnitudes of its products."""
    wide = np.zeros((*x.shape[:2], *[n + a + b for n, (a, b) in zip(x.shape[2:], padding)]))
    inside = [slice(a, a + n) for n, (a, _) in zip(x.shape[2:], padding)]
    wide[(..., *inside)] = x
    found = []
    for image, filters in ((wide, w.astype(float)), (abs(wide), abs(w.astype(float)))):
        windows = np.lib.stride_tricks.sliding_window_view(image, (TAPS, TAPS), (2, 3))
        found.append(np.einsum("nchwij,ocij->nohw", windows, filters))
    return found


sizes = st.tuples(
    st.integers(1, 3), st.integers(1, 5), st.integers(3, 21), st.integers(3, 21), st.integers(1, 6)
)
paddings = st.tuples(*[st.tuples(st.integers(0, 2), st.integers(0, 2))] * 2)


@pytest.mark.parametrize("tile", winograd.TILES)
def test_the_matrices_filter_exactly(tile):
    a, b, g = matrices(tile)
    random = np.random.default_rng(0)
    line = [Fraction(int(k)) for k in random.integers(-99, 99, tile + TAPS - 1)]
    taps = [Fraction(int(k)) for k in random.integers(-99, 99, TAPS)]

    def times(matrix, xs):
        return [sum(m * x for m, x in zip(row, xs, strict=True)) for row in matrix]

    found = times(a, [x * y for x, y in zip(times(b, line), times(g, taps), strict=True)])
    assert found == [sum(line[i + k] * taps[k] for k in range(TAPS)) for i in range(tile)]


@given(sizes, paddings, st.sampled_from(winograd.TILES), st.data())
@settings(max_examples=60)
def test_tiles_are_right_whatever_the_sizes(size, padding, tile, data):
    n, c, height, width, o = size
    graph = convolution((n, c, height, width), (o, c, TAPS, TAPS), padding)
    plan = data.draw(st.sampled_from([p for p in plans(graph.nodes[0]) if p.tile == tile]))
    arrays = drawn(graph)
    (found,) = Program(in_tiles(graph, plan))(arrays)
    wanted, magnitudes = exactly(*arrays, padding)
    assert abs(found - wanted).max() <= BOUND[tile] * EPSILON * magnitudes.max()


@given(sizes, paddings, st.sampled_from(winograd.TILES), st.data())
@settings(max_examples=6)
def test_kernels_of_tiles_are_right(size, padding, tile, data):
    n, c, height, width, o = size
    graph = convolution((n, c, height, width), (o, c, TAPS, TAPS), padding)
    plan = data.draw(st.sampled_from([p for p in plans(graph.nodes[0]) if p.tile == tile]))
    arrays = drawn(graph)
    (found,) = compiled(in_tiles(graph, plan))(arrays)
    wanted, magnitudes = exactly(*arrays, padding)
    assert abs(found - wanted).max() <= BOUND[tile] * EPSILON * magnitudes.max()


def test_many_blocks_of_full_and_partial_vectors_are_right():
    graph = convolution((2, 24, 75, 90), (20, 24, TAPS, TAPS))
    arrays = drawn(graph)
    wanted, magnitudes = exactly(*arrays, ((1, 1), (1, 1)))
    for tile in winograd.TILES:
        several = [p for p in plans(graph.nodes[0]) if p.tile == tile and p.blocks > 2]
        (found,) = compiled(in_tiles(graph, several[0]))(arrays)
        assert abs(found - wanted).max() <= BOUND[tile] * EPSILON * magnitudes.max()


@pytest.mark.parametrize("tile", winograd.TILES)
def test_each_op_lowers_to_what_it_evaluates(tile):
    graph = Graph("ops")
    x, w = (
        graph.input(TensorType(shape, float32), name)
        for shape, name in (((2, 3, 9, 6), "x"), ((4, 3, TAPS, TAPS), "w"))
    )
    (u,) = graph.add(tiled_filter, (w,), {"tile": tile})
    rows = -(-8 // tile)
    attrs = {"tile": tile, "padding": ((0, 1), (2, -1)), "images": 3}
    (p,) = graph.add(tiled_image, (x,), attrs)
    attrs = {"tile": tile, "first": 1, "each": 2 * rows}
    (y,) = graph.add(tiled_products, (p, u), attrs)
    z = graph.input(TensorType((2, 4, rows * tile, 8), float32), "z")
    (image,) = graph.add(untiled, (z,), {"shape": (2, 4, 7, 6), "rows": rows * tile})
    graph.outputs = [u, p, y, image]
    arrays = drawn(graph)
    for found, wanted in zip(evaluate_lowered(graph, arrays), Program(graph)(arrays), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


LARGE = (2, 64, 56, 56), (64, 64, 3, 3)
OTHERS = {
    "a stride": convolution(*LARGE, stride=(2, 2)),
    "a dilated image": convolution(*LARGE, lhs_dilation=(2, 1)),
    "a dilated window": convolution(*LARGE, rhs_dilation=(1, 2)),
    "groups": convolution((2, 128, 56, 56), (64, 64, 3, 3), groups=2),
    "float64": convolution(*LARGE, dtype=float64),
    "another window": convolution(LARGE[0], (64, 64, 5, 5)),
    "few channels": convolution((2, 3, 224, 224), (64, 3, 3, 3)),
    "small images and large filters": convolution((1, 512, 14, 14), (512, 512, 3, 3)),
    "little to do": convolution((1, 8, 16, 16), (8, 8, 3, 3)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_convolutions_are_left(name):
    graph = OTHERS[name]
    assert plan_of(graph.nodes[0]) is None
    assert Winograd().run(graph) is graph


def test_larger_tiles_pay_where_images_are_large():
    found = plan_of(convolution(*LARGE).nodes[0])
    assert found is not None
    assert found.tile == 4
    late = plan_of(convolution((4, 512, 14, 14), (512, 512, 3, 3)).nodes[0])
    assert late is not None
    assert late.tile == 2


def test_only_fast_graphs_for_processors_have_tiles():
    def has(**how):
        return Winograd.name in [each.name for each in pipeline(native=True, **how)]

    assert has(fast=True)
    assert not has(fast=False)


@graphs_only
def test_gradients_of_a_fast_function_are_near_and_other_functions_keep_their_bits():
    random = np.random.default_rng(0)
    x, w = (df.asarray(random.normal(size=shape).astype(np.float32)) for shape in LARGE)

    def step(x, w):
        with df.GradientTape() as tape:
            tape.watch(x)
            tape.watch(w)
            y = df.nn.functional.conv2d(x, w, padding=1)
            loss = (y * y).sum() / 2
        return (y, *tape.gradient(loss, [x, w]))

    wanted = step(x, w)
    plain, fast = df.function(step), df.function(step, fast=True)
    for _ in range(2):
        same, near = plain(x, w), fast(x, w)
    assert fast.from_graph == 1
    for a, b, c in zip(wanted, same, near, strict=True):
        assert a.numpy().tobytes() == b.numpy().tobytes()
        assert a.numpy().tobytes() != c.numpy().tobytes()
        assert abs(a - c).max().item() <= 2e-5 * abs(a).max().item()


def test_nan_spreads_to_the_tiles_that_read_it():
    graph = convolution((1, 4, 40, 40), (4, 4, TAPS, TAPS))
    x, w = drawn(graph)
    x[0, 1, 21, 17] = np.nan
    plan = next(p for p in plans(graph.nodes[0]) if p.tile == 4)
    (found,) = compiled(in_tiles(graph, plan))([x, w])
    assert {tuple(at // 4) for at in np.argwhere(np.isnan(found))[:, 2:]} == {(5, 4)}
