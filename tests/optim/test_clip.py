"""Clipping, averages and accumulation: between compiled steps and inside of them."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
from tests.modes import graphs_only
from tests.reference.cases.optimizers import OPTIMIZERS, SCHEDULES
from tests.reference.test_schedules import OF_PYTHON, schedule

GRADS = [np.array([3.0, -4.0], "float32"), np.array([[12.0]], "float32")]


def with_grads():
    params = [df.Variable(np.zeros_like(g)) for g in GRADS]
    for p, g in zip(params, GRADS, strict=True):
        p.grad = df.asarray(g)
    return [*params, df.Variable([1.0])]  # one without a gradient


def test_clipping_in_place(mode):
    params = with_grads()
    clip = df.function(lambda: df.nn.utils.clip_grad_norm_(params, 6.5), mode=mode)
    assert clip().item() == 13.0
    np.testing.assert_allclose(params[0].grad.numpy(), GRADS[0] / 2, rtol=1e-6)
    assert clip().item() == pytest.approx(6.5)
    np.testing.assert_allclose(params[1].grad.numpy(), GRADS[1] / 2, rtol=1e-6)
    assert df.nn.utils.clip_grad_norm_(with_grads(), 1.0, float("inf")).item() == 12.0
    assert df.nn.utils.clip_grad_norm_(with_grads(), 1.0, 1.0).item() == pytest.approx(19.0)
    assert df.nn.utils.clip_grad_norm_(params[2:], 1.0).item() == 0.0
    params = with_grads()
    df.nn.utils.clip_grad_value_(iter(params), 3.5)
    assert [p.grad.tolist() for p in params[:2]] == [[3.0, -3.5], [[3.5]]]


def test_clipping_of_a_tapes_gradients():
    grads, norm = df.optim.clip_by_global_norm([GRADS[0], None, GRADS[1]], 1.0)
    assert norm.item() == 13.0
    assert grads[1] is None
    np.testing.assert_allclose(grads[0].numpy(), GRADS[0] / 13, rtol=1e-6)
    untouched, _ = df.optim.clip_by_global_norm(GRADS, 20.0)
    np.testing.assert_array_equal(untouched[0].numpy(), GRADS[0])
    each = df.optim.clip_by_norm(GRADS, 6.0)
    np.testing.assert_array_equal(each[0].numpy(), GRADS[0])
    np.testing.assert_allclose(each[1].numpy(), [[6.0]], rtol=1e-6)
    assert df.optim.clip_by_value([None, GRADS[0]], 3.5)[1].tolist() == [3.0, -3.5]


@pytest.mark.parametrize("kind", ["EMA", "SWA"])
def test_averages(kind, mode):
    w = df.Variable(np.array([1.0, 2.0], "float32"))
    optimizer = df.optim.SGD([w], lr=0.5)
    average = df.optim.EMA([w], 0.75) if kind == "EMA" else df.optim.SWA([w])

    @df.function(mode=mode)
    def step(g):
        optimizer.apply_gradients([(g, w)])
        average.update()

    seen = []
    for k in range(5):
        step(df.asarray(np.array([1.0, -k], "float32")))
        seen.append(w.numpy().astype("float64"))
    expected = seen[0]
    for x in seen[1:]:
        expected = 0.75 * expected + 0.25 * x
    expected = expected if kind == "EMA" else np.mean(seen, axis=0)
    with average.applied():
        np.testing.assert_allclose(w.numpy(), expected, rtol=1e-6)
    np.testing.assert_array_equal(w.numpy(), seen[-1])
    again = type(average)([w])
    again.load_state_dict(average.state_dict())
    again.copy_to_params()
    np.testing.assert_allclose(w.numpy(), expected, rtol=1e-6)
    assert w.requires_grad


def test_accumulation(mode):
    generator = np.random.default_rng(0)
    grads = generator.normal(size=(9, 3)).astype("float32")
    w, v = df.Variable(df.zeros(3)), df.Variable(df.zeros(3))
    whole, parts = df.optim.Adam([w], lr=0.1), df.optim.Adam([v], lr=0.1)
    accumulation = df.optim.GradientAccumulation(parts, steps=3)
    step = df.function(lambda g: accumulation.apply_gradients([(g, v)]), mode=mode)
    took = [step(df.asarray(g)) for g in grads]
    assert took == [False, False, True] * 3
    for k in range(0, 9, 3):
        whole.apply_gradients([(df.asarray(grads[k : k + 3].mean(0)), w)])
    np.testing.assert_allclose(v.numpy(), w.numpy(), rtol=1e-4, atol=1e-6)
    if mode == "compiled":
        assert len(step.explain().traces) == 1


INSIDE = [name for name in SCHEDULES if name not in OF_PYTHON]
FAST = ("Adam", "RMSprop")


@graphs_only
@pytest.mark.parametrize(
    ("name", "plan"),
    [
        pytest.param(name, INSIDE[k % len(INSIDE)], marks=[] if name in FAST else pytest.mark.slow)
        for k, name in enumerate(n for n in OPTIMIZERS if n != "LBFGS")
    ],
)
def test_a_thousand_steps_are_recorded_once(name, plan):
    w = df.Variable(np.random.default_rng(0).normal(size=(3, 4)).astype("float32"))
    optimizer = getattr(df.optim, name)([w])
    rates = schedule(plan, SCHEDULES[plan][0], optimizer) if plan != "OneCycleLR" else None
    rates = rates or df.optim.OneCycleLR(optimizer, max_lr=0.01, total_steps=1000)

    @df.function
    def step():
        loss = (w**2).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        rates.step(*([loss] if plan == "ReduceLROnPlateau" else []))
        return loss

    losses = [step() for _ in range(1000)]
    assert losses[-1].item() < losses[0].item()
    [trace] = step.explain().traces
    assert (trace.paths, trace.hits) == (1, 999)
