"""autocast: which ops compute in which dtype, in both modes and under every transformation."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import dualflow as df
from dualflow.core.op import registry
from dualflow.core.precision import regions
from tests.modes import bits, if_graphs, in_mode

F = df.nn.functional
X = np.random.default_rng(0).standard_normal((6, 8)).astype("float32")
W = np.random.default_rng(1).standard_normal((4, 8)).astype("float32")
KERNELS = np.random.default_rng(2).standard_normal((2, 3, 2, 2)).astype("float32")
PRODUCTS = {
    "matmul": lambda x: x @ x.T,
    "einsum": lambda x: df.einsum("ij,kj->ik", x, x),
    "linear": lambda x: F.linear(x, W, W[:, 0]),
    "bilinear": lambda x: F.bilinear(x, x, np.ones((2, 8, 8), "float32"), np.ones(2, "float32")),
    "conv2d": lambda x: F.conv2d(
        x.reshape((1, 3, 4, 4)), KERNELS, np.ones(2, "float32"), padding=1
    ),
    "conv_transpose1d": lambda x: F.conv_transpose1d(
        x, np.ones((6, 2, 3), "float32"), np.ones(2, "float32")
    ),
    "attention": lambda x: F.scaled_dot_product_attention(x, x, x),
    "masked_attention": lambda x: F.scaled_dot_product_attention(
        x, x, x, df.zeros((6, 6), dtype="float32")
    ),
}
IN_FLOAT32 = {
    "sum": df.sum,
    "mean": df.mean,
    "var": df.var,
    "prod": df.prod,
    "cumulative_sum": lambda x: df.cumulative_sum(x, axis=1),
    "logsumexp": df.logsumexp,
    "softmax": F.softmax,
    "log_softmax": F.log_softmax,
    "layer_norm": lambda x: F.layer_norm(x, 8),
    "vector_norm": df.linalg.vector_norm,
    "cross_entropy": lambda x: F.cross_entropy(x, df.asarray([0, 1, 2, 3, 4, 5])),
    "mse_loss": lambda x: F.mse_loss(x, df.zeros_like(x)),
    "l1_loss": lambda x: F.l1_loss(x, df.zeros_like(x)),
    "huber_loss": lambda x: F.huber_loss(x, df.zeros_like(x), reduction="none"),
    "bce": lambda x: F.binary_cross_entropy_with_logits(x, df.zeros_like(x)),
}


def cast(function, x, low, mode):
    """The result with autocast inside, and with it around the call: they must be one."""

    def inside(x):
        with df.autocast(low):
            return function(x)

    found = in_mode(mode, inside)(x)
    with df.autocast(low):
        around = in_mode(mode, function)(x)
    assert bits(around) == bits(found)
    return found


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_are_computed_in_the_low_dtype(name, mode):
    exact = PRODUCTS[name](df.asarray(X)).numpy()
    found = cast(PRODUCTS[name], df.asarray(X), "bfloat16", mode)
    assert found.dtype == df.bfloat16
    np.testing.assert_allclose(
        found.numpy().astype("float32"), exact, atol=0.03 * np.abs(exact).max()
    )


def test_sums_and_losses_are_computed_in_float32(mode):
    def all_of_them(x):
        return [function(x) for function in IN_FLOAT32.values()]

    def inside(x):
        with df.autocast("float16"):
            return all_of_them(x)

    half = df.asarray(X).astype("float16")
    wide = all_of_them(half.astype("float32"))
    for name, found, exact in zip(IN_FLOAT32, in_mode(mode, inside)(half), wide, strict=True):
        assert bits(found) == bits(exact), name


def test_other_ops_follow_promotion():
    x = df.asarray(X)
    with df.autocast("float16"):
        low = x @ x.T
        assert (low + 1).dtype == df.exp(low).dtype == F.gelu(low).dtype == df.float16
        assert (low + x[:, :6]).dtype == df.float32
        assert df.sum(low, dtype="float16").dtype == df.float16  # as it was asked for
        wide = x.astype("float64")
        assert (wide @ wide.T).dtype == df.float64
        assert (df.asarray([[1, 2]]) @ df.asarray([[1], [2]])).dtype == df.int64


def test_every_record_says_a_word_that_is_known():
    words = {op.name: op.precision for op in registry.values()}
    assert set(words.values()) == {None, "low", "full"}
    low = {name for name, word in words.items() if word == "low"}
    assert low == {"matmul", "einsum", "conv", "attention", "masked_attention"}


def test_regions_nest_and_end(mode):
    x = df.asarray(X)

    @df.autocast("float16")
    def product(x):
        first = x @ x.T
        with df.autocast("bfloat16"):
            second = x @ x.T
        with df.autocast(enabled=False):
            third = x @ x.T
        return first, second, third, x @ x.T

    f = in_mode(mode, product)
    for _ in range(2):
        assert [y.dtype.name for y in f(x)] == ["float16", "bfloat16", "float32", "float16"]
    with pytest.raises(ZeroDivisionError), df.autocast():
        _ = 1 / 0
    assert (x @ x.T).dtype == df.float32
    assert not regions


def test_calls_are_told_apart_by_it():
    f: Any = df.function(lambda x: x @ x.T)
    x = df.asarray(X)
    for _ in range(3):
        assert f(x).dtype == df.float32
        with df.autocast("bfloat16"):
            assert f(x).dtype == df.bfloat16
            with df.autocast(enabled=False):
                assert f(x).dtype == df.float32
    assert len(f.graphs) == if_graphs(2)


def test_other_threads_see_nothing_of_it():
    x, found = df.asarray(X), []
    with df.autocast():
        thread = threading.Thread(target=lambda: found.append((x @ x.T).dtype))
        thread.start()
        thread.join()
    assert found == [df.float32]


def loss_of(x, w, b):
    hidden = F.relu(F.linear(x, w, b))
    return F.mse_loss(F.softmax(hidden @ hidden.T), df.zeros((6, 6)))


@pytest.mark.parametrize("inside", [True, False])
def test_gradients_are_float32_and_near(inside, mode):
    w, b = df.Variable(W), df.Variable(W[:, 0])

    def gradients(x):
        with df.GradientTape() as tape:
            with df.autocast("bfloat16"):
                loss = loss_of(x, w, b)
                if inside:
                    return tape.gradient(loss, [w, b])
            return tape.gradient(loss, [w, b])

    with df.GradientTape() as tape:
        loss = loss_of(df.asarray(X), w, b)
    exact = tape.gradient(loss, [w, b])
    for found, g in zip(in_mode(mode, gradients)(df.asarray(X)), exact, strict=True):
        assert found.dtype == df.float32
        assert bits(found) != bits(g)
        np.testing.assert_allclose(found.numpy(), g.numpy(), atol=0.05 * df.max(df.abs(g)).item())


@pytest.mark.slow
def test_transformations_of_what_it_casts(mode):
    w, b = df.asarray(W), df.asarray(W[:, 0])

    @df.autocast("bfloat16")
    def f(x):
        return loss_of(x, w, b)

    def all_of_them(x):
        t = df.ones_like(x)
        _, push = df.jvp(f, (x,), (t,))
        pull = df.sum(df.grad(f)(x) * t)
        second = df.grad(lambda x: df.sum(df.grad(f)(x) ** 2))(x)
        return push, pull, second, df.vmap(f)(df.stack([x, 2 * x]))

    push, pull, second, mapped = in_mode(mode, all_of_them)(df.asarray(X))
    np.testing.assert_allclose(push.item(), pull.item(), rtol=0.1, atol=1e-3)
    assert second.dtype == mapped.dtype == df.float32
    each = [f(df.asarray(X)).item(), f(df.asarray(2 * X)).item()]
    np.testing.assert_allclose(mapped.numpy(), each, rtol=0.02)


@pytest.mark.slow
def test_loops_branches_and_what_is_computed_again():
    """Their bodies hold the conversions; going back, and another call, take them as they are."""
    w = df.Variable(np.eye(6, dtype="float32") / 2)

    def float32(x):
        return x.astype("float32")

    @df.autocast("bfloat16")
    def loss_of(x):
        h = df.recompute(lambda h: float32(df.tanh(h @ w)))(x)
        h, sums = df.scan(lambda c, _: (float32(c @ w), c.sum()), h, df.zeros(3))
        h = df.cond(x.sum() > 0, lambda: h @ w, lambda: (h @ w) * 2)
        assert h.dtype == df.bfloat16
        last = df.while_loop(
            lambda s: s[0] < 3,
            lambda s: (s[0] + 1, float32(s[1] @ w)),
            (df.asarray(0), float32(h)),
        )
        return last[1].sum() + sums.sum()

    def gradient(x):
        with df.GradientTape() as tape:
            loss = loss_of(x)
        return loss, tape.gradient(loss, w)

    x, compiled = df.asarray(X[:, :6]), df.function(gradient)
    eager = [bits(y) for y in gradient(x)]
    compiled(x)
    assert [bits(y) for y in compiled(x)] == eager
    assert eager[1][1] == df.float32


def test_graphs_built_by_hand_keep_what_was_in_force():
    with df.graph.Graph().as_default(), df.graph.Session() as session:
        x = df.graph.placeholder("float32", (6, 8))
        with df.autocast("bfloat16"):
            low = x @ x.T
        plain = x @ x.T
        with df.autocast("float16"):
            found = session.run([low, plain], {x: X})
    assert [y.dtype.name for y in found] == ["bfloat16", "float32"]


@pytest.mark.slow
def test_training_in_bfloat16_goes_as_far(mode):
    losses = {}
    for low in (None, "bfloat16"):
        df.random.seed(3)
        net = df.nn.Sequential(df.nn.Linear(8, 16), df.nn.Tanh(), df.nn.Linear(16, 3))
        optimizer = df.optim.Adam(net.parameters(), lr=0.05)
        inputs = np.random.default_rng(2).standard_normal((64, 8)).astype("float32")
        labels = df.asarray(inputs[:, :3].argmax(axis=1))

        def step(x, y, net=net, optimizer=optimizer, low=low):
            with df.autocast(low or "bfloat16", enabled=low is not None):
                loss = F.cross_entropy(net(x), y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss

        run = in_mode(mode, step)
        losses[low] = [run(df.asarray(inputs), labels).item() for _ in range(30)]
        assert all(p.dtype == df.float32 for p in net.parameters())
    assert losses["bfloat16"][-1] < 0.2 * losses["bfloat16"][0]
    np.testing.assert_allclose(losses["bfloat16"][-1], losses[None][-1], atol=0.05)
    assert losses["bfloat16"] != losses[None]


def test_other_dtypes_are_refused():
    with pytest.raises(df.errors.DTypeError, match="bfloat16 or float16"):
        df.autocast("float64")


@pytest.mark.parametrize("exponent", [0, -60])
def test_products_of_bfloat16_and_their_gradients_are_equal_in_both_modes(exponent):
    """Of usual numbers and of those whose products are subnormal, where processors differ."""
    generator = np.random.default_rng(0)
    x, w, g = (
        df.asarray((generator.normal(size=s) * 2.0**exponent).astype(np.float32)).astype("bfloat16")
        for s in ((40, 300), (300, 50), (40, 50))
    )

    def slopes(x, w, g):
        y, pull = df.vjp(lambda x, w: F.relu(df.matmul(x, w)), x, w)
        return y, *pull(g)

    eager, compiled = (in_mode(mode, slopes) for mode in ("eager", "compiled"))
    compiled(x, w, g)
    for ours, theirs in zip(compiled(x, w, g), eager(x, w, g), strict=True):
        assert bits(ours) == bits(theirs)
    wide = slopes(*[value.astype("float64") for value in (x, w, g)])
    for ours, exact in zip(eager(x, w, g), wide, strict=True):
        least = 1e-2 * 2.0 ** (2 * exponent)
        np.testing.assert_allclose(ours.astype("float64"), exact, rtol=1e-2, atol=30 * least)
