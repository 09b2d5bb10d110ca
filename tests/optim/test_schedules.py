"""Schedules of learning rates, between compiled calls and inside of them."""

from __future__ import annotations

import math

import pytest

import dualflow as df

SCHEDULES = {
    "step": (
        lambda o: df.optim.StepLR(o, step_size=3, gamma=0.5),
        lambda base, k: base * 0.5 ** (k // 3),
    ),
    "cosine": (
        lambda o: df.optim.CosineAnnealingLR(o, T_max=8, eta_min=0.01),
        lambda base, k: 0.01 + (base - 0.01) * (1 + math.cos(math.pi * k / 8)) / 2,
    ),
    "lambda": (
        lambda o: df.optim.LambdaLR(o, lambda k: 1 / (k + 1)),
        lambda base, k: base / (k + 1),
    ),
}


def setting():
    w = df.Variable([0.0])
    groups = [{"params": [w]}, {"params": [df.Variable([0.0])], "lr": 0.3}]
    return w, df.optim.SGD(groups, lr=0.8)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("inside", [False, True], ids=["between", "inside"])
def test_rates(name, inside, mode):
    make, rate = SCHEDULES[name]
    w, optimizer = setting()
    schedule = make(optimizer)

    @df.function(mode=mode)
    def step():
        optimizer.apply_gradients([(df.ones(1), w)])
        if inside:
            schedule.step()

    moved = 0.0
    for k in range(8):
        assert [lr.item() for lr in schedule.get_last_lr()] == pytest.approx(
            [rate(0.8, k), rate(0.3, k)], rel=1e-14
        )
        step()
        if not inside:
            schedule.step()
        moved -= rate(0.8, k)
    assert w.item() == pytest.approx(moved, rel=1e-6)
    if mode == "compiled" and (not inside or name != "lambda"):
        assert [t.paths for t in step.explain().traces] == [1]


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_loaded_schedule_goes_on(name):
    make, rate = SCHEDULES[name]
    schedule = make(setting()[1])
    for _ in range(4):
        schedule.step()
    again = make(setting()[1])
    again.load_state_dict(schedule.state_dict())
    assert again.get_last_lr()[0].item() == pytest.approx(rate(0.8, 4), rel=1e-14)
    again.step()
    assert again.get_last_lr()[1].item() == pytest.approx(rate(0.3, 5), rel=1e-14)


def test_a_function_for_each_group():
    _, optimizer = setting()
    df.optim.LambdaLR(optimizer, [lambda k: 0.5, lambda k: 2.0])
    assert [g["lr"].item() for g in optimizer.param_groups] == [0.4, 0.6]
    with pytest.raises(ValueError, match="1 functions for 2 parameter groups"):
        df.optim.LambdaLR(optimizer, [lambda k: 0.5])
