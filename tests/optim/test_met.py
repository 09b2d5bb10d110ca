"""Optimisers that are made before anybody knows their parameters, as in Keras."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
from tests.modes import bits, in_mode

MAKERS = [
    lambda *p: df.optim.SGD(*p, momentum=0.9),
    lambda *p: df.optim.Adam(*p),
    lambda *p: df.optim.RMSprop(*p, centered=True),
]


def pair():
    return [df.Variable(df.ones((2, 3)), name="w"), df.Variable(df.zeros(3), name="b")]


def stepper(optimizer, params):
    x = df.asarray(np.random.default_rng(1).standard_normal((4, 2)), dtype="float32")

    def step():
        with df.GradientTape() as tape:
            loss = ((x @ params[0] + params[1] - 1.0) ** 2).mean()
        optimizer.apply_gradients(zip(tape.gradient(loss, params), params, strict=True))
        return loss

    return step


@pytest.mark.parametrize("make", MAKERS, ids=["sgd", "adam", "rmsprop"])
def test_parameters_are_met_at_the_first_step(mode, make):
    told = []
    for given in (lambda params: (params, 0.25), lambda params: (0.25,)):
        params = pair()
        optimizer = make(*given(params))
        step = in_mode(mode, stepper(optimizer, params))
        losses = [step().item() for _ in range(4)]
        state = [bits(v) for parts in optimizer.state.values() for v in parts.values()]
        told.append((losses, [bits(p) for p in params], state))
        assert [len(group["params"]) for group in optimizer.param_groups] == [2]
    assert told[0] == told[1]


def test_a_schedule_may_come_first():
    params, optimizer = pair(), df.optim.Adam(lr=0.5)
    schedule = df.optim.StepLR(optimizer, 1, gamma=0.1)
    stepper(optimizer, params)()
    schedule.step()
    assert optimizer.lr.item() == pytest.approx(0.05)
    assert float(optimizer.state_dict()["param_groups"][0]["lr"]) == pytest.approx(0.05)


def test_a_model_tells_its_parameters():
    x = df.random.normal((8, 2))
    weights = []
    for make in (lambda net: df.optim.Adam(0.1), lambda net: df.optim.Adam(net.parameters(), 0.1)):
        df.random.seed(3)
        net = df.nn.Linear(2, 1)
        model = df.train.Model(net)
        model.compile(make(net), "mse", mode="eager")
        model.fit(x, x.sum(axis=1), epochs=2, shuffle=False)
        weights.append([bits(p) for p in net.parameters()])
    assert weights[0] == weights[1]


def test_what_is_refused():
    params = pair()
    with pytest.raises(ValueError, match="no parameters are known"):
        df.optim.SGD(0.1).step()
    with pytest.raises(ValueError, match=r"lr=-1\.0 is not"):
        df.optim.SGD(-1.0)
    with pytest.raises(ValueError, match="is not a parameter of SGD"):
        df.optim.SGD(params[:1], 0.1).apply_gradients([(params[1], params[1])])
    with pytest.raises(TypeError, match="only Variables"):
        df.optim.SGD(0.1).apply_gradients([(df.ones(2), df.ones(2))])
    with pytest.raises(ValueError, match="one group of parameters"):
        df.optim.LBFGS(0.1)  # pyright: ignore[reportArgumentType]
