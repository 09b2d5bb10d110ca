"""GradScaler: steps with infinite gradients are left out, and the factor follows."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import dualflow as df
from tests.modes import if_graphs, in_mode

INPUTS = np.random.default_rng(0).standard_normal((32, 8)).astype("float32")
LABELS = INPUTS[:, :3].argmax(axis=1)


def parts(**settings):
    df.random.seed(1)
    net = df.models.MLP([8, 16, 3])
    return net, df.optim.Adam(net.parameters(), lr=0.02), df.optim.GradScaler(**settings)


def test_too_large_a_factor_shrinks_until_steps_are_good(mode):
    """And the whole run has the bits of eager's: the step that is left out is a way of its own."""
    net, optimizer, scaler = parts(init_scale=2.0**21, growth_interval=4)
    start = [p.numpy().copy() for p in net.parameters()]

    def step(x, y):
        with df.autocast("float16"):
            loss = 100 * df.nn.functional.cross_entropy(net(x), y)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        norm = df.nn.utils.clip_grad_norm_(net.parameters(), 10.0)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        return loss, norm

    run: Any = in_mode(mode, step)
    losses, factors, skipped = [], [], 0
    for _ in range(24):
        loss, norm = run(df.asarray(INPUTS), df.asarray(LABELS))
        losses.append(loss.item())
        factors.append(scaler.get_scale())
        if not np.isfinite(norm.item()) and skipped + 1 == len(losses):  # no good step so far
            skipped += 1
            for p, before in zip(net.parameters(), start, strict=True):
                np.testing.assert_array_equal(p.numpy(), before)
            assert factors[-1] == 2.0**21 / 2**skipped
    assert 0 < skipped < 15
    assert len(set(losses[: skipped + 1])) == 1
    assert losses[-1] < 0.7 * losses[0]
    assert any(b == 2 * a for a, b in pairwise(factors))
    if mode == "compiled":
        assert len(run.graphs) == if_graphs(2)  # with the step, and without it


@pytest.mark.slow
def test_good_steps_are_those_without_scaling(mode):
    """Powers of two change no bit of float32: the parameters end where they would have."""
    ends = {}
    for enabled in (True, False):
        net, optimizer, scaler = parts(init_scale=2.0**10, growth_interval=3, enabled=enabled)

        def step(x, y, net=net, optimizer=optimizer, scaler=scaler):
            optimizer.zero_grad()
            scaler.scale(df.nn.functional.cross_entropy(net(x), y)).backward()
            scaler.step(optimizer)
            scaler.update()

        run = in_mode(mode, step)
        for _ in range(7):
            run(df.asarray(INPUTS), df.asarray(LABELS))
        ends[enabled] = [p.numpy() for p in net.parameters()]
        assert scaler.get_scale() == (2.0**12 if enabled else 1.0)
    for a, b in zip(ends[True], ends[False], strict=True):
        np.testing.assert_array_equal(a, b)


def test_gradients_of_a_tape(mode):
    w = df.Variable([1.0, 2.0])
    optimizer, scaler = df.optim.SGD([w], lr=1.0), df.optim.GradScaler(init_scale=8.0)

    def step(factor):
        with df.GradientTape() as tape:
            loss = scaler.scale(df.sum(w * factor))
        scaler.apply_gradients(optimizer, zip(tape.gradient(loss, [w]), [w], strict=True))
        scaler.update()

    run = in_mode(mode, step)
    run(df.asarray([0.25, 0.5]))
    assert w.tolist() == [0.75, 1.5]
    run(df.asarray([np.inf, 0.5]))
    assert (w.tolist(), scaler.get_scale()) == ([0.75, 1.5], 4.0)
    run(df.asarray([0.25, 0.5]))
    assert w.tolist() == [0.5, 1.0]


def test_each_optimiser_is_judged_by_itself():
    good, bad = df.Variable([1.0]), df.Variable([1.0])
    optimizers = [df.optim.SGD([v], lr=1.0) for v in (good, bad)]
    scaler = df.optim.GradScaler(init_scale=4.0)
    good.grad, bad.grad = df.asarray([4.0]), df.asarray([np.nan])
    for optimizer in optimizers:
        scaler.step(optimizer)
    scaler.update()
    assert (good.item(), bad.item(), scaler.get_scale()) == (0.0, 1.0, 2.0)


def test_state_and_mistakes():
    _, optimizer, scaler = parts(init_scale=4.0, growth_interval=7)
    with pytest.raises(df.errors.TapeError, match="no optimiser was given"):
        scaler.update()
    next(iter(optimizer.state)).grad = df.ones((16, 8))
    scaler.step(optimizer)
    scaler.update()
    other = df.optim.GradScaler()
    other.load_state_dict(scaler.state_dict())
    assert other.state_dict() == scaler.state_dict()
    assert other.state_dict()["_growth_tracker"] == 1
    with pytest.raises(ValueError, match="growth_factor"):
        df.optim.GradScaler(growth_factor=0.5)
