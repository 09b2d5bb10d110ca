"""Steps of the optimisers against their formulas, written again in NumPy."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
from tests.samples.updates import adam, momentum, sgd

STEPS = 25


def gradient(p):
    """Of a sum that no optimiser minimises at once."""
    return 4 * p**3 + np.cos(p)


def tape_gradient(w):
    with df.GradientTape() as tape:
        loss = (w**4 + df.sin(w)).sum()
    return tape.gradient(loss, w)


def start():
    return np.random.default_rng(0).normal(size=(5, 3))


def run(optimizer, w, mode):
    @df.function(mode=mode)
    def step():
        optimizer.apply_gradients([(tape_gradient(w), w)])

    for _ in range(STEPS):
        step()
    return w.numpy()


def check(make, reference, mode, dtype):
    w = df.Variable(start().astype(dtype))
    found = run(make([w]), w, mode)
    assert found.dtype == dtype
    tolerance = 2e-5 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(found, reference(start()), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_plain_sgd(mode, dtype, weight_decay):
    def reference(p):
        for _ in range(STEPS):
            p = sgd(p, gradient(p), 0.01, weight_decay=weight_decay)
        return p

    def make(params):
        return df.optim.SGD(params, lr=0.01, weight_decay=weight_decay)

    check(make, reference, mode, dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "settings",
    [
        {"momentum": 0.9},
        {"momentum": 0.8, "dampening": 0.3},
        {"momentum": 0.9, "nesterov": True},
        {"momentum": 0.9, "weight_decay": 0.1},
    ],
    ids=str,
)
def test_sgd_with_momentum(mode, dtype, settings):
    def reference(p):
        buffer = np.zeros_like(p)
        for t in range(1, STEPS + 1):
            p, buffer = momentum(p, gradient(p), buffer, t, 0.01, **settings)
        return p

    check(lambda params: df.optim.SGD(params, lr=0.01, **settings), reference, mode, dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "settings", [{}, {"betas": (0.5, 0.9), "eps": 1e-3}, {"weight_decay": 0.1}], ids=str
)
@pytest.mark.parametrize("decoupled", [False, True], ids=["Adam", "AdamW"])
def test_adam(mode, dtype, settings, decoupled):
    def reference(p):
        m, v = np.zeros_like(p), np.zeros_like(p)
        decay = {"weight_decay": 0.01} if decoupled else {}
        for t in range(1, STEPS + 1):
            p, m, v = adam(
                p, gradient(p), m, v, t, 0.02, decoupled=decoupled, **{**decay, **settings}
            )
        return p

    kind = df.optim.AdamW if decoupled else df.optim.Adam
    check(lambda params: kind(params, lr=0.02, **settings), reference, mode, dtype)


def test_groups_have_their_own_settings():
    a, b = df.Variable([1.0, 2.0]), df.Variable([3.0])
    optimizer = df.optim.SGD(
        [{"params": a}, {"params": [b], "lr": 0.5, "weight_decay": 1.0}], lr=0.25
    )
    optimizer.apply_gradients([(df.asarray([4.0, 4.0]), a), (df.asarray([1.0]), b)])
    assert a.tolist() == [0.0, 1.0]
    assert b.tolist() == [3.0 - 0.5 * (1.0 + 3.0)]


def test_parameters_without_gradient_stay_and_do_not_age():
    used, unused = df.Variable([1.0]), df.Variable([1.0])
    optimizer = df.optim.Adam([used, unused], lr=0.5)
    (used * 3).sum().backward()
    optimizer.step()
    assert used.tolist() == [0.5]
    assert unused.tolist() == [1.0]
    assert optimizer.state[unused]["step"].item() == 0
    optimizer.zero_grad()
    (unused * 3).sum().backward()
    optimizer.step()
    assert unused.tolist() == [0.5]  # its own first step, with the first step's correction
