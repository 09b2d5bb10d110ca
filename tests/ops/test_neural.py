"""What the laws do not say of nn.functional: kinks, extremes, labels, dropout, masks."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
from dualflow import errors

F = df.nn.functional


def gradient(function, x):
    x = df.asarray(x)
    with df.GradientTape() as tape:
        tape.watch(x)
        y = function(x)
    return tape.gradient(y, x)


def test_relu_has_no_slope_at_zero_and_hands_on_nan():
    assert gradient(F.relu, [-1.0, 0.0, 2.0]).tolist() == [0.0, 0.0, 1.0]
    assert np.isnan(F.relu(df.asarray([np.nan])).item())
    assert F.relu(df.asarray([-2, 3])).dtype == df.int64


def test_softmax_of_extreme_numbers():
    x = df.asarray([[1e4, 0.0, -1e4], [-np.inf, 0.0, 0.0]])
    assert F.softmax(x).tolist() == [[1.0, 0.0, 0.0], [0.0, 0.5, 0.5]]
    assert F.log_softmax(x)[0].tolist() == [0.0, -1e4, -2e4]
    assert np.isfinite(gradient(lambda x: F.softmax(x)[:, 0], x).raw).all()


SMOOTH = {
    "gelu": F.gelu,
    "gelu, tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
}


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", SMOOTH)
def test_activations_of_halves_are_rounded_once(name, dtype, compiled):
    """Every number of the dtype: values and gradients are those of float32, rounded."""
    every = np.arange(1 << 16, dtype=np.uint16).view(df.asarray([0.0], dtype=dtype).raw.dtype)
    x = df.asarray(every[np.isfinite(every.astype(np.float32))])
    function, slopes = SMOOTH[name], df.asarray(x.raw[::-1].copy())

    def all_of(x, slopes):
        y, pull = df.vjp(function, x)
        return y, *pull(slopes)

    narrow = (df.function(all_of) if compiled else all_of)(x, slopes)
    wide = all_of(x.astype("float32"), slopes.astype("float32"))
    for found, wanted in zip(narrow, wide, strict=True):
        assert found.dtype == x.dtype
        with np.errstate(all="ignore"):
            wanted = wanted.astype(dtype)
        assert np.array_equal(found.numpy(), wanted.numpy(), equal_nan=True)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_layer_norm_of_halves_whose_squares_would_overflow(dtype):
    x = df.asarray([[300.0, -300.0, 300.0, -300.0]], dtype=dtype)
    y = F.layer_norm(x, 4)
    assert (y.dtype, y.tolist()) == (x.dtype, [[1.0, -1.0, 1.0, -1.0]])
    weight = df.asarray([1.0, 2.0, 3.0, 4.0], dtype=dtype)
    slopes = gradient(lambda x: (F.layer_norm(x, 4) * weight).sum(), x)
    assert np.allclose(slopes.astype("float32").raw, np.array([-1, -1, 1, 1]) / 300, rtol=1e-2)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_weight_and_bias_of_a_norm_change_no_bit_beside_the_steps_by_hand(mode, dtype):
    numbers = np.random.default_rng(3)
    x, g = (df.asarray(numbers.normal(size=(6, 40)), dtype=dtype) for _ in range(2))
    weight, bias = (df.Variable(numbers.normal(size=40), dtype=dtype) for _ in range(2))

    def gradients(norm):
        with df.GradientTape() as tape:
            tape.watch(x)
            y = norm()
        return y, *tape.gradient(y, [x, weight, bias], g)

    def by_hand():
        return F.layer_norm(x, 40) * weight + bias

    together = df.function(mode=mode)(lambda: gradients(lambda: F.layer_norm(x, 40, weight, bias)))
    steps = df.function(mode=mode)(lambda: gradients(by_hand))
    for _ in range(2):
        for one, other in zip(together(), steps()):
            assert one.dtype == other.dtype == dtype
            assert np.array_equal(one.numpy(), other.numpy())


def test_a_norm_with_weight_and_bias_of_another_dtype_is_computed_in_steps():
    x = df.asarray([[1.0, 3.0, 4.0]], dtype="bfloat16")
    weight, bias = df.asarray([1.0, 2.0, 3.0]), df.asarray([0.1, 0.2, 0.3])
    y = F.layer_norm(x, 3, weight, bias)
    assert y.dtype == df.float32
    assert y.tolist() == (F.layer_norm(x, 3) * weight + bias).tolist()


def test_gradient_of_logsumexp_at_infinity():
    x = [[-np.inf, -np.inf], [-np.inf, 1.0], [np.inf, 1.0]]
    g = gradient(lambda x: df.logsumexp(x, axis=1), x).tolist()
    assert g[:2] == [[0.0, 0.0], [0.0, 1.0]]
    assert np.isnan(g[2][0])  # inf - inf
    assert g[2][1] == 0.0


def test_a_query_that_may_see_nothing_gives_zeros_and_zero_gradients():
    x, mask = df.asarray(np.random.randn(3, 4)), np.tri(3, 3, -1, dtype=bool)
    y = F.scaled_dot_product_attention(x, x, x, mask)
    assert y[0].tolist() == [0.0] * 4
    slopes = gradient(lambda q: F.scaled_dot_product_attention(q, x, x, mask), x.numpy())
    assert slopes[0].tolist() == [0.0] * 4
    assert np.isfinite(slopes.raw).all()


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_cross_entropy_is_nll_of_log_softmax(reduction):
    x, labels = np.random.randn(6, 4), df.asarray([0, 3, -100, 2, 2, 1])
    kwargs = {"weight": df.asarray(np.array([1.0, 2.0, 0.5, 1.0])), "reduction": reduction}

    def two_steps(x):
        return F.nll_loss(F.log_softmax(x, 1), labels, **kwargs)

    def one_step(x):
        return F.cross_entropy(x, labels, **kwargs)

    assert np.allclose(one_step(df.asarray(x)).raw, two_steps(df.asarray(x)).raw)
    assert np.allclose(gradient(one_step, x).raw, gradient(two_steps, x).raw)


@pytest.mark.parametrize("label", [-1, 4])
def test_a_label_without_a_class_is_refused_in_both_modes(label):
    x, labels = df.ones((2, 4)), df.asarray([0, label])
    for loss in (F.cross_entropy, df.function(F.cross_entropy)):
        with pytest.raises(errors.IndexError, match="out of bounds for axis 1 with extent 4"):
            loss(x, labels)


def test_a_column_of_targets_does_not_broadcast_silently():
    with pytest.raises(errors.ShapeError, match="broadcasting would compare each with each"):
        F.mse_loss(df.ones((4, 1)), df.ones(4))


def test_binary_cross_entropy_of_extreme_logits():
    x = df.asarray([1000.0, -1000.0, 0.0])
    y = F.binary_cross_entropy_with_logits(x, df.asarray([0.0, 1.0, 1.0]), reduction="none")
    assert y.tolist() == [1000.0, 1000.0, pytest.approx(np.log(2))]
    slope = gradient(lambda x: F.binary_cross_entropy_with_logits(x, df.zeros(1)), [0.0])
    assert slope.tolist() == [0.5]


def test_dropout_keeps_the_mean_and_draws_the_same_in_both_modes():
    x = df.ones((100, 100))
    df.random.seed(3)
    y = F.dropout(x, 0.25)
    assert set(np.unique(y.raw)) == {0, np.float32(1 / 0.75)}
    assert abs(y.mean().item() - 1) < 0.02
    df.random.seed(3)
    assert np.array_equal(df.function(lambda x: F.dropout(x, 0.25))(x).raw, y.raw)
    assert F.dropout(x, 0.25, training=False) is x
    with pytest.raises(ValueError, match="dropout: p=2"):
        F.dropout(x, 2)


def test_a_query_does_not_see_later_keys():
    q, k, v = (df.asarray(np.random.randn(1, 5, 4)) for _ in range(3))
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    late = v.at[:, 3:].set(100.0)
    z = F.scaled_dot_product_attention(q, k.at[:, 3:].set(7.0), late, is_causal=True)
    assert np.array_equal(y[:, :3].raw, z[:, :3].raw)
    assert not np.allclose(y[:, 3:].raw, z[:, 3:].raw)


def test_gradient_of_an_embedding_adds_up_repeated_rows():
    weight = df.Variable(np.zeros((4, 2), np.float32))
    F.embedding([1, 1, 3], weight).sum().backward()
    assert weight.grad.tolist() == [[0, 0], [2, 2], [0, 0], [1, 1]]


def test_the_weight_of_a_linear_map_over_sequences_has_one_product_for_gradient():
    x, weight = df.ones((2, 3, 4)), df.Variable(np.ones((5, 4), np.float32))
    F.linear(x, weight).sum().backward()
    assert weight.grad.shape == (5, 4)
    assert weight.grad.tolist() == [[6.0] * 4] * 5


@pytest.mark.parametrize("name", F.__all__)
def test_public_functions_are_documented(name):
    """With arguments, results, errors, and an example unless it is an op of each element alone."""
    text = getattr(F, name).__doc__
    example = ">>>" in text or name in ("relu", "sigmoid", "silu", "tanh")
    assert [word for word in ("Args:", "Returns:", "Raises:") if word not in text] == []
    assert example


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_of_nothing_is_nothing(name):
    function = getattr(df.nn.functional, name)
    for call in (function, df.function(function)):
        assert call(df.zeros((2, 0))).shape == (2, 0)
        assert df.grad(lambda x, f=call: f(x).sum())(df.zeros((2, 0))).shape == (2, 0)
    assert function(df.zeros((0, 3)), axis=-1).shape == (0, 3)
