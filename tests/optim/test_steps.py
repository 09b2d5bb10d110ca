"""Training steps in both modes: the same bits, one path, nothing stale."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
from dualflow.optim import together
from dualflow.tracing import sweeps
from tests.garbage import garbage, no_collector
from tests.modes import graphs_only

SHAPES = [(6, 5), (5,), (5, 2), (2,)]
OPTIMIZERS = {
    "sgd": lambda params: df.optim.SGD(params, lr=0.05),
    "momentum": lambda params: df.optim.SGD(params, lr=0.05, momentum=0.9, weight_decay=1e-3),
    "adam": lambda params: df.optim.Adam(params, lr=0.01),
    "adamw": lambda params: df.optim.AdamW(params, lr=0.01),
}


def batches(steps, sizes=(8,)):
    generator = np.random.default_rng(1)
    for k in range(steps):
        n = sizes[k % len(sizes)]
        x = generator.normal(size=(n, 6)).astype("float32")
        yield df.asarray(x), df.asarray(np.sin(x[:, :2]))


def parameters():
    generator = np.random.default_rng(0)
    return [df.Variable(generator.normal(size=s).astype("float32")) for s in SHAPES]


def loss_of(params, x, y):
    w1, b1, w2, b2 = params
    return ((df.tanh(x @ w1 + b1) @ w2 + b2 - y) ** 2).mean()


def clears_last(params, optimizer, set_to_none):
    def step(x, y):
        loss = loss_of(params, x, y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=set_to_none)
        return loss

    return step


def clears_first(params, optimizer, set_to_none):
    def step(x, y):
        optimizer.zero_grad(set_to_none=set_to_none)
        loss = loss_of(params, x, y)
        loss.backward()
        optimizer.step()
        return loss

    return step


def clears_between(params, optimizer, set_to_none):
    def step(x, y):
        loss = loss_of(params, x, y)
        optimizer.zero_grad(set_to_none=set_to_none)
        loss.backward()
        optimizer.step()
        return loss

    return step


def never_clears(params, optimizer, set_to_none):
    def step(x, y):
        loss = loss_of(params, x, y)
        loss.backward()
        optimizer.step()
        return loss

    return step


def uses_a_tape(params, optimizer, set_to_none):
    def step(x, y):
        with df.GradientTape() as tape:
            loss = loss_of(params, x, y)
        optimizer.apply_gradients(zip(tape.gradient(loss, params), params, strict=True))
        return loss

    return step


def uses_a_closure(params, optimizer, set_to_none):
    def step(x, y):
        def closure():
            optimizer.zero_grad(set_to_none=set_to_none)
            loss = loss_of(params, x, y)
            loss.backward()
            return loss

        return optimizer.step(closure)

    return step


ORDERS = [
    clears_last, clears_first, clears_between, never_clears, uses_a_tape, uses_a_closure
]  # fmt: skip


def train(mode, make, order=clears_last, set_to_none=True, sizes=(8,), steps=20):
    params = parameters()
    optimizer = make(params)
    step = df.function(order(params, optimizer, set_to_none), mode=mode)
    losses = [step(x, y).item() for x, y in batches(steps, sizes)]
    return losses, [p.numpy() for p in params], step


def assert_same(one, other):
    assert one[0] == other[0]
    for p, q in zip(one[1], other[1], strict=True):
        np.testing.assert_array_equal(p, q)


@graphs_only
@pytest.mark.parametrize("set_to_none", [True, False], ids=["none", "zeros"])
@pytest.mark.parametrize("order", ORDERS, ids=lambda f: f.__name__)
def test_every_order_of_a_step(order, set_to_none):
    eager = train("eager", OPTIMIZERS["adam"], order, set_to_none)
    compiled = train("compiled", OPTIMIZERS["adam"], order, set_to_none)
    assert_same(eager, compiled)
    assert eager[0][-1] < eager[0][0]
    [trace] = compiled[2].explain().traces
    assert trace.segments is None
    assert trace.paths <= 2  # where `.grad` is None before the first step, that call has its own
    assert trace.hits == 20 - trace.paths


@graphs_only
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_short_last_batch_is_a_second_trace(name):
    sizes = (8, 8, 8, 3)
    eager = train("eager", OPTIMIZERS[name], sizes=sizes)
    compiled = train("compiled", OPTIMIZERS[name], sizes=sizes)
    assert_same(eager, compiled)
    traces = compiled[2].explain().traces
    assert [t.paths for t in traces] == [1, 1]
    assert [t.hits for t in traces] == [14, 4]


def test_a_new_learning_rate_is_seen_at_once(mode):
    w = df.Variable([8.0])
    optimizer = df.optim.SGD([w], lr=0.5)

    @df.function(mode=mode)
    def step():
        optimizer.apply_gradients([(df.ones(1), w)])

    step()
    optimizer.lr = 2.0
    step()
    optimizer.param_groups[0]["lr"] = 1.0
    step()
    optimizer.lr *= 0.5
    step()
    assert w.item() == 8.0 - 0.5 - 2.0 - 1.0 - 0.5
    if mode == "compiled":
        assert [t.paths for t in step.explain().traces] == [1]


def test_other_settings_are_seen_at_once(mode):
    w = df.Variable([1.0])
    optimizer = df.optim.SGD([w], lr=1.0)

    @df.function(mode=mode)
    def step():
        optimizer.apply_gradients([(df.zeros(1), w)])

    step()
    assert w.item() == 1.0
    optimizer.param_groups[0]["weight_decay"] = 0.5
    step()
    step()
    assert w.item() == 0.25


def test_a_group_added_later_is_updated(mode):
    a, b = df.Variable([1.0]), df.Variable([1.0])
    optimizer = df.optim.SGD([a], lr=0.5)

    @df.function(mode=mode)
    def step():
        (a + b).sum().backward()
        optimizer.step()
        a.grad = b.grad = None

    step()
    optimizer.add_param_group({"params": [b], "lr": 0.25})
    step()
    assert (a.item(), b.item()) == (0.0, 0.75)


def test_frozen_parameters_stay(mode):
    a, b = df.Variable([1.0]), df.Variable([1.0])
    optimizer = df.optim.SGD([a, b], lr=0.5)

    @df.function(mode=mode)
    def step():
        (a + b).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    step()
    b.requires_grad = False
    step()
    b.requires_grad = True
    step()
    assert (a.item(), b.item()) == (-0.5, 0.0)


@pytest.mark.parametrize("seconds", [0.0, np.inf], ids=["compiled", "op by op"])
def test_steps_leave_no_record_and_no_garbage(seconds, monkeypatch):
    """Whether or not the way back, which other tests may have met often, is compiled meanwhile.

    So with the step of the optimiser.
    """
    params = parameters()
    optimizer = df.optim.Adam(params)
    step = clears_last(params, optimizer, set_to_none=True)
    data = list(batches(5))
    monkeypatch.setattr(sweeps, "SECONDS_A_RECORD", np.inf)
    monkeypatch.setattr(together, "SECONDS_A_PARAMETER", np.inf)
    sweeps.forget()
    step(*data[0])
    monkeypatch.setattr(sweeps, "SECONDS_A_RECORD", seconds)
    monkeypatch.setattr(together, "SECONDS_A_PARAMETER", seconds)
    with no_collector():
        for x, y in data:
            step(x, y)
        assert garbage() == []
    assert [form.compiled is not None for form in sweeps.forms.values()] == [seconds == 0]
    assert all(not v.requires_grad for state in optimizer.state.values() for v in state.values())


NAMES = "RMSprop Adagrad Adadelta NAdam RAdam Lion LAMB Adafactor Muon".split()
EVERY = {
    **OPTIMIZERS,
    "nesterov": lambda params: df.optim.SGD(params, lr=0.05, momentum=0.9, nesterov=True),
    **{name: lambda params, name=name: getattr(df.optim, name)(params, lr=0.01) for name in NAMES},
}


def eager_steps(make, seconds, monkeypatch, steps=4):
    """Parameters after some eager steps, from which on they are compiled after so many seconds."""
    monkeypatch.setattr(together, "SECONDS_A_PARAMETER", seconds)
    params = [p for p in parameters() if make is not EVERY["Muon"] or p.ndim == 2]
    optimizer = make(params)
    before = [p.read_value() for p in params]
    for k in range(steps):
        optimizer.apply_gradients([(df.cos(k + p), p) for p in params])
        optimizer.lr = 0.02
    state = [x for p in params for x in optimizer.state[p].values()]
    return optimizer, before, [x.numpy() for x in (*params, *state)]


@graphs_only
@pytest.mark.parametrize("name", EVERY)
def test_eager_steps_that_come_again_are_compiled(name, monkeypatch):
    """The same bits; what was read before stays."""
    _, before, wanted = eager_steps(EVERY[name], np.inf, monkeypatch)
    optimizer, kept, found = eager_steps(EVERY[name], -1.0, monkeypatch)
    [form] = together._forms[optimizer].values()
    assert form.compiled is not None
    for x, y in zip((*before, *wanted), (*kept, *found), strict=True):
        np.testing.assert_array_equal(x, y)


@graphs_only
def test_a_compiled_eager_step_sees_what_changes(monkeypatch):
    """Settings, state that is another Variable, gradients of a wrong shape, and missing ones."""
    monkeypatch.setattr(together, "SECONDS_A_PARAMETER", -1.0)
    v, w = df.Variable([1.0, 1.0]), df.Variable([1.0])
    optimizer = df.optim.SGD([v, w], lr=1.0, momentum=0.5)
    gradients = lambda *shape: [(df.ones(shape or 2), v), (df.ones(1), w)]  # noqa: E731
    for _ in range(2):
        optimizer.apply_gradients(gradients())
    assert (v.tolist(), w.tolist()) == ([-1.5, -1.5], [-1.5])
    with pytest.raises(df.errors.ShapeError, match="gradient"):
        optimizer.apply_gradients(gradients(3))
    optimizer.apply_gradients([(None, v), (df.ones(1), w)])
    assert (v.tolist(), w.tolist()) == ([-1.5, -1.5], [-3.25])
    optimizer.state[w]["momentum_buffer"] = df.Variable([0.0], trainable=False)
    optimizer.apply_gradients([(None, v), (df.ones(1), w)])
    assert w.tolist() == [-4.25]
    optimizer.param_groups[0]["momentum"] = 0.0
    optimizer.apply_gradients(gradients())
    assert (v.tolist(), w.tolist()) == ([-2.5, -2.5], [-5.25])


class Counting(df.optim.SGD):
    """An optimiser of a user's."""

    steps = 0

    def update(self, *given):
        self.steps += 1
        super().update(*given)


def test_what_a_users_optimiser_does_besides_is_done(monkeypatch):
    monkeypatch.setattr(together, "SECONDS_A_PARAMETER", -1.0)
    w = df.Variable([1.0])
    optimizer = Counting([w], lr=0.25)
    for _ in range(3):
        optimizer.apply_gradients([(df.ones(1), w)])
    assert (optimizer.steps, w.item()) == (3, 0.25)
