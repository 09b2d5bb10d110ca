"""Functions of `nn.functional` beside PyTorch's figures, and where chance plays a part."""

from __future__ import annotations

import math

import numpy as np
import pytest

import dualflow as df
from tests.modes import bits, in_mode

F = df.nn.functional


def image():
    """Whole numbers from 0 to 10, with ties."""
    return df.asarray((np.arange(40.0, dtype="float32") * 7 % 11).reshape(1, 2, 5, 4))


SMALLER = [  # (3, 9) of the first channel, by PyTorch
    [1.8487145, 2.5853057, 3.9852967, 5.1968579, 5.0723395, 5.0383573, 6.503549, 8.19736, 9.088067],
    [
        0.2393285,
        2.0740743,
        5.8058996,
        8.0933208,
        7.03125,
        4.339549,
        2.0615592,
        0.5046291,
        -0.4346714,
    ],
    [
        3.5894566,
        4.326045,
        5.7260346,
        6.9540701,
        7.5196733,
        7.0592151,
        5.4127345,
        3.4827683,
        2.4727376,
    ],
]
LARGER = [  # two rows of (7, 6) of the second channel, with aligned corners
    [8.0, 5.9839997, 2.7440007, -0.0639997, 2.2840016, 7.0],
    [3.9074087, 7.2520747, 8.4617796, 5.6537776, 3.5520728, 2.9074087],
]
AREA = [[3.75, 5.25, 6.75], [4.5, 6.0, 5.6666665], [5.25, 6.75, 5.5]]


def test_cubic_interpolation_and_means_of_areas(mode):
    def all_of(x):
        return (
            F.interpolate(x, (3, 9), mode="bicubic")[0, 0],
            F.interpolate(x, (7, 6), mode="bicubic", align_corners=True)[0, 1, :2],
            F.interpolate(x, 3, mode="area")[0, 0],
        )

    found = in_mode(mode, all_of)(image())
    for y, wanted in zip(found, (SMALLER, LARGER, AREA), strict=True):
        np.testing.assert_allclose(y.numpy(), wanted, atol=2e-5)
    with pytest.raises(ValueError, match="mode='bicubic' for 1 spatial"):
        F.interpolate(df.ones((1, 2, 3)), 2, mode="bicubic")


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("extent", [1, 2, 3, 4, 6, 9, 12, 18, 30])
def test_nearest_pixels(mode, extent, exact):
    """As PyTorch finds them: places are rounded in float32, also those that come regularly."""
    word = "nearest-exact" if exact else "nearest"
    x = df.asarray(np.arange(12, dtype=np.float32).reshape(1, 2, 6))
    at = np.floor((np.arange(extent, dtype="f") + np.float32(exact / 2)) * np.float32(6 / extent))
    found = in_mode(mode, lambda x: F.interpolate(x, extent, mode=word))(x)
    assert found.tolist() == x.numpy()[..., at.astype(int)].tolist()
    df.testing.check_gradients(lambda x: F.interpolate(x, extent, mode=word), x.astype(df.float64))


@pytest.mark.parametrize("mode", ["bicubic", "area"])
def test_gradients_of_other_sizes(mode):
    x = df.asarray(np.random.default_rng(1).standard_normal((1, 2, 5, 4)))
    df.testing.check_gradients(lambda x: F.interpolate(x, (3, 6), mode=mode), x)


@pytest.mark.parametrize("sizes", [(3, 3), (5, 2), (2, 4)])
def test_places_of_adaptive_maxima(mode, sizes):
    pool = in_mode(mode, lambda x: F.adaptive_max_pool2d(x, sizes, return_indices=True))
    y, places = pool(image())
    assert bits(y) == bits(F.adaptive_max_pool2d(image(), sizes))
    flat = df.reshape(image(), (1, 2, 20))
    assert bits(df.take_along_axis(flat, df.reshape(places, (1, 2, -1)))) == bits(
        df.reshape(y, (1, 2, -1))
    )
    if sizes == (3, 3):  # of equal ones the first in rows, as in PyTorch
        assert places[0, 0].tolist() == [[1, 6, 3], [9, 14, 14], [17, 14, 14]]
    layer = df.nn.AdaptiveMaxPool2d(sizes, return_indices=True)
    assert bits(layer(image())[1]) == bits(places)


def test_the_padding_row_gets_no_gradient(mode):
    weight, ids = df.random.normal((4, 3)), df.asarray([0, 3, 3, 1])
    slope = in_mode(mode, df.grad(lambda w: F.embedding(ids, w, padding_idx=-1).sum()))(weight)
    assert slope.tolist() == [[1.0] * 3, [1.0] * 3, [0.0] * 3, [0.0] * 3]


def test_weights_of_attention_are_dropped(mode):
    df.random.seed(3)
    q, k = df.random.normal((2, 4, 8)), df.random.normal((2, 6, 8))
    shares = F.softmax(q @ k.mT / math.sqrt(8))
    df.random.seed(9)
    wanted = F.dropout(shares, 0.25) @ k
    df.random.seed(9)
    found = in_mode(mode, lambda q, k: F.scaled_dot_product_attention(q, k, k, dropout_p=0.25))
    np.testing.assert_allclose(found(q, k).numpy(), wanted.numpy(), rtol=1e-5, atol=1e-6)
    values = df.ones((2, 6, 1))
    mean = df.mean(F.scaled_dot_product_attention(q, k, values, None, 0.25))
    assert mean.item() != pytest.approx(1.0, abs=1e-6)
    assert F.scaled_dot_product_attention(q, k, values, None, 1.0).sum().item() == 0.0


@pytest.mark.parametrize(
    "call",
    [
        lambda x, a: F.elu(x, a),
        lambda x, a: F.leaky_relu(x, a),
        lambda x, a: F.layer_norm(x, (3,), eps=a),
        lambda x, a: F.huber_loss(x, x * 9, delta=a),
    ],
    ids=["elu", "leaky_relu", "layer_norm", "huber_loss"],
)
def test_a_setting_that_is_a_tensor_is_refused_in_both_modes(call):
    """It has no gradient, and a graph would hold its first value for good."""
    x, a = df.asarray([[0.5, -1.0, 2.0], [1.5, 0.25, -0.5]]), df.asarray(0.5)
    by_setting = df.grad(lambda a, x: call(x, a).sum())
    by_x = df.grad(lambda a, x: call(x, a).sum(), argnums=1)
    for f in (lambda a, x: call(x, a), by_setting, by_x):
        for g in (f, df.function(f)):
            for _ in range(2):
                with pytest.raises(
                    TypeError, match=r"(alpha|negative_slope|eps|delta) is a tensor"
                ):
                    g(a, x)


def test_the_scale_of_attention_may_be_learned(mode):
    def f(x, scale):
        return (F.scaled_dot_product_attention(x, x * 2, x, is_causal=True, scale=scale) ** 2).sum()

    x = df.asarray(np.sin(np.arange(24.0)).reshape(2, 3, 4))
    g = in_mode(mode, df.grad(f, argnums=1))
    for scale in (0.5, 1.5):
        number, step = df.asarray(scale, dtype="float64"), 1e-6
        slope = (f(x, scale + step) - f(x, scale - step)).item() / (2 * step)
        np.testing.assert_allclose(g(x, number).item(), slope, rtol=1e-6)
        assert bits(f(x, number)) == bits(f(x, scale))


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0, math.inf])
def test_vectors_of_length_0_have_gradients(p, mode):
    """They are divided by `eps`, or have no direction."""
    x = df.asarray([[0.0, 0.0], [3.0, -4.0]])
    g = in_mode(
        mode, df.grad(lambda x: (F.normalize(x, p, eps=0.5) * df.asarray([1.0, 2.0])).sum())
    )
    length = in_mode(mode, df.grad(lambda x: df.linalg.vector_norm(x, axis=1, ord=p).sum()))
    for _ in range(2):
        assert g(x).tolist()[0] == [2.0, 4.0]
        assert np.isfinite(g(x).numpy()).all()
        assert length(x).tolist()[0] == [0.0, 0.0]
    alike = in_mode(mode, df.grad(lambda x: F.cosine_similarity(x, x[::-1]).sum()))
    assert np.isfinite(alike(x).numpy()).all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x: F.conv2d(x, df.ones((3, 2, 2, 2)), stride=0), r"conv: stride \(0, 0\)"),
        (lambda x: F.conv2d(x, df.ones((3, 2, 2, 2)), dilation=0), r"conv: dilation \(0, 0\)"),
        (
            lambda x: F.conv_transpose2d(x, df.ones((2, 3, 2, 2)), stride=0),
            r"conv_transpose2d: stride \(0, 0\)",
        ),
        (lambda x: F.fold(df.ones((1, 8, 9)), (4, 4), 2, stride=0), r"fold: stride \(0, 0\)"),
        (lambda x: F.group_norm(x, 0), r"group_norm: x of shape \(1, 2, 5, 4\) in 0 groups"),
        (lambda x: F.pixel_shuffle(x, 0), r"pixel_shuffle: shape \(1, 2, 5, 4\) with factor 0"),
        (lambda x: F.avg_pool2d(x, 2, stride=0), r"pool: stride \(0, 0\)"),
        (
            lambda x: F.adaptive_avg_pool2d(x, 0),
            r"adaptive_avg_pool2d: a result of extents \(0, 0\)",
        ),
        (lambda x: F.interpolate(x, size=(0, 3)), r"interpolate: a result of extents \(0, 3\)"),
        (
            lambda x: F.interpolate(x, scale_factor=0.1),
            r"interpolate: a result of extents \(0, 0\)",
        ),
    ],
)
def test_steps_and_extents_are_positive(call, words, mode):
    with pytest.raises(df.errors.ShapeError, match=words):
        in_mode(mode, call)(image())


def test_a_convolution_to_no_channel(mode):
    f = in_mode(mode, lambda x: F.conv2d(x, df.ones((0, 2, 2, 2))))
    assert [f(image()).shape for _ in range(2)] == [(1, 0, 4, 3)] * 2
