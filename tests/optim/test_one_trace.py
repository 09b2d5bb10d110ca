"""A step is one trace, whatever optimiser takes it and whatever schedule sets its rate."""

from __future__ import annotations

import pytest

import dualflow as df
from dualflow import optim
from tests.modes import bits, graphs_only

pytestmark = graphs_only  # of calls from graphs

STEPS = 30
RATES = {
    "ChainedScheduler": lambda o: optim.ChainedScheduler(
        [optim.ConstantLR(o), optim.ExponentialLR(o, 0.9)]
    ),
    "CosineAnnealingLR": lambda o: optim.CosineAnnealingLR(o, 10),
    "CosineAnnealingWarmRestarts": lambda o: optim.CosineAnnealingWarmRestarts(o, 7),
    "CyclicLR": lambda o: optim.CyclicLR(o, 0.01, 0.1, 5),
    "ExponentialLR": lambda o: optim.ExponentialLR(o, 0.9),
    "LambdaLR": lambda o: optim.LambdaLR(o, lambda k: 1 / (1 + k)),
    "MultiStepLR": lambda o: optim.MultiStepLR(o, [3, 9]),
    "MultiplicativeLR": lambda o: optim.MultiplicativeLR(o, lambda k: 0.9),
    "OneCycleLR": lambda o: optim.OneCycleLR(o, 0.1, STEPS + 1),
    "SequentialLR": lambda o: optim.SequentialLR(
        o, [optim.ConstantLR(o), optim.StepLR(o, 3)], [10]
    ),
    "StepLR": lambda o: optim.StepLR(o, 5),
}


def public(kind):
    """The names of all public classes of a kind."""
    classes = {name: getattr(optim, name) for name in dir(optim)}
    return [
        name
        for name, cls in classes.items()
        if isinstance(cls, type) and issubclass(cls, kind) and cls is not kind
    ]


def trained(make, rates, decorate):
    """The losses and the parameters of a run, and its step."""
    w = df.Variable([[1.0, -2.0], [0.5, 3.0]], name="w")
    optimizer = make([w])
    schedule = rates(optimizer)

    def loss_of(x):
        optimizer.zero_grad()
        loss = ((x @ w + 0.5) ** 2).sum()
        loss.backward()
        return loss

    def step(x):
        if isinstance(optimizer, optim.LBFGS):
            return optimizer.step(lambda: loss_of(x))
        loss = loss_of(x)
        optimizer.step()
        return loss

    step, losses = decorate(step), []
    for k in range(STEPS):
        losses.append(bits(step(df.asarray([[1.0, k / STEPS]]))))
        metric = (1.0,) if isinstance(schedule, optim.ReduceLROnPlateau) else ()
        schedule.step(*metric)
    return losses, bits(w), step


def one_trace(make, rates):
    *wanted, _ = trained(make, rates, lambda f: f)
    *found, step = trained(make, rates, df.function)
    assert found == wanted
    assert (step.mode, len(step.entries)) == ("compiled", 1)
    return step


@pytest.mark.parametrize("name", [name for name in public(optim.Optimizer) if name != "LBFGS"])
def test_r4_a_step_of_any_optimiser_is_one_trace(name):
    step = one_trace(getattr(optim, name), lambda o: optim.StepLR(o, 5))
    assert step.from_graph >= STEPS - 2


def test_r4_a_step_that_searches_a_line_is_one_trace():
    one_trace(lambda ps: optim.LBFGS(ps, max_iter=3), lambda o: optim.StepLR(o, 5))


@pytest.mark.parametrize("name", [*public(optim.Schedule), "ReduceLROnPlateau"])
def test_r4_a_step_whose_rate_any_schedule_sets_is_one_trace(name):
    rates = RATES.get(name, getattr(optim, name))
    step = one_trace(lambda ps: optim.SGD(ps, 0.05, momentum=0.9), rates)
    assert step.from_graph >= STEPS - 2
