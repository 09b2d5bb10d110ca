"""What the laws do not say of convolution and pooling: dilated inputs, transposes, ties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import dualflow as df
from dualflow.ops.conv import conv
from dualflow.ops.pool import fold, pool, windows
from jit.forms.oracle import evaluate_lowered
from tests.modes import graphs_only, if_graphs

F = df.nn.functional


@st.composite
def convolutions(draw):
    """Shapes of images and filters, and attrs."""
    rank = draw(st.integers(1, 2))
    ints = st.integers(1, 3)
    batch, channels, outputs, groups = (draw(st.integers(1, n)) for n in (6, 2, 2, 2))
    image = tuple(draw(st.integers(2, 6)) for _ in range(rank))
    window = tuple(draw(ints) for _ in range(rank))
    pads = st.integers(-1, 2)
    attrs = {name: tuple(draw(ints) for _ in range(rank)) for name in ("stride", "lhs_dilation")}
    attrs["rhs_dilation"] = tuple(draw(st.integers(1, 2)) for _ in range(rank))
    attrs["padding"] = tuple((draw(pads), draw(pads)) for _ in range(rank))
    shapes = (batch, channels * groups, *image), (outputs * groups, channels, *window)
    return *shapes, {**attrs, "groups": groups}


def by_hand(x, w, stride, padding, lhs_dilation, rhs_dilation, groups):
    """Convolution by its definition, one output at a time; None if the window does not fit."""
    rank = x.ndim - 2
    full = [(n - 1) * d + 1 for n, d in zip(x.shape[2:], lhs_dilation)]
    spread = np.zeros((*x.shape[:2], *full))
    spread[(..., *(slice(None, None, d) for d in lhs_dilation))] = x
    reach = [(k - 1) * d + 1 for k, d in zip(w.shape[2:], rhs_dilation)]
    room = [n + low + high - r for n, (low, high), r in zip(full, padding, reach)]
    if min(room) < 0:
        return None
    counts = [r // s + 1 for r, s in zip(room, stride)]
    y = np.zeros((x.shape[0], w.shape[0], *counts))
    per_group = w.shape[0] // groups
    for o, *at in np.ndindex(w.shape[0], *counts):
        for k in np.ndindex(*w.shape[1:]):
            place = [
                at[d] * stride[d] + k[d + 1] * rhs_dilation[d] - padding[d][0] for d in range(rank)
            ]
            if all(0 <= p < n for p, n in zip(place, full)):
                channel = o // per_group * w.shape[1] + k[0]
                y[(slice(None), o, *at)] += spread[(slice(None), channel, *place)] * w[(o, *k)]
    return y


@given(convolutions())
def test_convolution_and_its_transposes(case):
    x_shape, w_shape, attrs = case
    x, w, tx, tw = (np.random.randn(*shape) for shape in (x_shape, w_shape, x_shape, w_shape))
    expected = by_hand(x, w, **attrs)
    assume(expected is not None)
    apply = df.function(lambda x, w: conv(x, w, **attrs))
    tensors = [df.asarray(x), df.asarray(w)]
    with df.GradientTape() as tape:
        tape.watch(tensors)
        y = apply(*tensors)
    assert y.shape == expected.shape
    assert np.allclose(y.raw, expected)
    assert len(apply.graphs) == if_graphs(1)
    for graph in apply.graphs:
        (lowered,) = evaluate_lowered(graph, [x, w])
        assert np.allclose(lowered, expected)
    g = np.random.randn(*expected.shape)
    dx, dw = tape.gradient(y, tensors, output_gradients=df.asarray(g))
    assert np.isclose(np.sum(g * by_hand(tx, w, **attrs)), np.sum(dx.raw * tx))
    assert np.isclose(np.sum(g * by_hand(x, tw, **attrs)), np.sum(dw.raw * tw))


@graphs_only
def test_the_gradient_of_a_convolution_is_made_of_convolutions():
    @df.function
    def gradients(x, w):
        with df.GradientTape() as tape:
            tape.watch([x, w])
            y = F.conv2d(x, w, stride=2, padding=1)
        return tape.gradient(y, [x, w])

    gradients(df.ones((2, 3, 6, 6)), df.ones((4, 3, 3, 3)))
    names = [node.op.name for node in gradients.graphs[0].nodes]
    assert names.count("conv") >= 2
    assert not [name for name in names if "conv" in name and name != "conv"]


@given(st.integers(1, 3), st.integers(1, 3), st.integers(0, 1), st.integers(1, 2))
def test_windows_and_fold_are_transposes(window, stride, padding, dilation):
    attrs = {
        "window": (window, 2),
        "stride": (stride, 1),
        "padding": ((padding, 0), (0, padding)),
        "dilation": (dilation, 1),
    }
    x = np.random.randn(2, 6, 5)
    laid_out = windows(df.asarray(x), **attrs)
    u = np.random.randn(*laid_out.shape)
    back = fold(df.asarray(u), (6, 5), **attrs)
    assert np.isclose(np.sum(laid_out.raw * u), np.sum(back.raw * x))


@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d"])
def test_second_derivatives_through_a_pool(name):
    def curved(x):  # so that the gradient of `fold` is taken, too
        return df.square(getattr(F, name)(df.square(x), 3, stride=2, padding=1))

    df.testing.check_gradients(curved, np.random.randn(2, 2, 6, 5) + 3, order=2)


def test_the_first_of_equal_maxima_has_the_gradient():
    x = df.asarray([[[[1.0, 3.0, 0.0, 0.0], [3.0, 3.0, 0.0, 0.0]]]])
    with df.GradientTape() as tape:
        tape.watch(x)
        y = F.max_pool2d(x, 2)
    assert tape.gradient(y, x).tolist() == [[[[0, 1, 1, 0], [0, 0, 0, 0]]]]


def test_a_nan_is_the_maximum():
    x = df.asarray([[1.0, np.nan, 3.0, np.nan, 5.0, 6.0]])[None]
    assert np.isnan(F.max_pool1d(x, 2).raw).tolist() == [[[True, True, False]]]
    attrs = {"window": (3,), "stride": (3,), "padding": ((0, 0),), "dilation": (1,)}
    assert pool("argmax", x, **attrs).tolist() == [[[1, 0]]]


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_half_precision(name):
    x, w = df.asarray(np.random.randn(2, 3, 6, 6)), df.asarray(np.random.randn(4, 3, 3, 3))
    y = F.conv2d(x.astype(name), w.astype(name), padding=1)
    assert y.dtype == getattr(df, name)
    wide = F.conv2d(x, w, padding=1)
    assert np.allclose(y.astype("float64").raw, wide.raw, atol=0.3, rtol=0.05)
    assert F.max_pool2d(y, 2).dtype == y.dtype


def test_a_channel_by_itself_where_extents_are_equal():
    """Recorded ops are compiled for any extents: a number of groups may then divide a symbol."""
    x, w = df.randn((2, 32, 32, 32)), df.randn((32, 1, 3, 3))

    def convolve(x, w):
        return df.nn.functional.conv2d(x, w, padding=1, groups=32)

    assert np.array_equal(df.function(convolve)(x, w), convolve(x, w))
