"""Every schedule gives PyTorch's learning rates, between compiled steps and inside of them."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
from jit.config import configure
from tests.modes import graphs_only
from tests.reference.cases.optimizers import BASES, LOSSES, RATES, SCHEDULES
from tests.reference.run import reference

# They ask Python functions, which see the count as an int: they step between compiled calls.
OF_PYTHON = ("LambdaLR", "MultiplicativeLR")


def schedule(name, settings, optimizer):
    """The schedule, and those that it is made of."""
    make = getattr(df.optim, name)
    parts = [schedule(*part, optimizer) for part in settings.get("schedulers", ())]
    if name == "ChainedScheduler":
        return make(parts)
    others = {k: v for k, v in settings.items() if k != "schedulers"}
    return make(optimizer, *([parts] if parts else []), **others)


def setting(name, settings):
    groups = [{"params": [df.Variable([0.0])], "lr": lr} for lr in BASES]
    optimizer = df.optim.SGD(groups, lr=1.0)
    return optimizer, schedule(name, settings, optimizer)


def rates(plan):
    return [lr.item() for lr in plan.get_last_lr()]


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_same_rates_as_pytorch(name):
    for number, settings in enumerate(SCHEDULES[name]):
        _, plan = setting(name, settings)
        found = [rates(plan)]
        for k in range(RATES):
            plan.step(*([LOSSES[k]] if name == "ReduceLROnPlateau" else []))
            found.append(rates(plan))
        expected = reference()[f"{name}/{number}"]["rates"]
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12, err_msg=str(settings))


@graphs_only
@pytest.mark.parametrize("name", [n for n in SCHEDULES if n not in OF_PYTHON])
def test_a_schedule_inside_a_compiled_step(name):
    settings = SCHEDULES[name][1]
    _, plan = setting(name, settings)
    optimizer, inside = setting(name, settings)
    (w,), (v,) = (group["params"] for group in optimizer.param_groups)

    @df.function
    def step(loss):
        optimizer.apply_gradients([(df.ones(1), w), (df.ones(1), v)])
        inside.step(*([loss] if name == "ReduceLROnPlateau" else []))

    with configure(target="interpreter"):
        for k in range(RATES):
            loss = df.asarray(LOSSES[k])
            step(loss)
            plan.step(*([loss] if name == "ReduceLROnPlateau" else []))
            assert rates(inside) == rates(plan)
    assert [(t.paths, t.hits) for t in step.explain().traces] == [(1, RATES - 1)]


@graphs_only
@pytest.mark.parametrize("name", ["ReduceLROnPlateau", "SequentialLR"])
def test_a_loaded_schedule_goes_on(name):
    settings = SCHEDULES[name][0]
    _, plan = setting(name, settings)
    told = [[LOSSES[k]] if name == "ReduceLROnPlateau" else [] for k in range(RATES)]
    for k in range(9):
        plan.step(*told[k])
    optimizer, again = setting(name, settings)
    again.load_state_dict(plan.state_dict())
    for group, lr in zip(optimizer.param_groups, rates(plan), strict=True):
        group["lr"] = lr
    for k in range(9, RATES):
        plan.step(*told[k])
        again.step(*told[k])
        assert rates(again) == rates(plan)
