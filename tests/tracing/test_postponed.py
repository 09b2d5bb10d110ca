"""Recordings put ops off; nobody can tell by what they give."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import dualflow as df
from dualflow.tracing import postponed
from tests.modes import graphs_only

pytestmark = graphs_only  # of calls from graphs


@pytest.fixture
def computed(monkeypatch):
    """The ops that recordings compute by themselves, by name."""
    names: list[str] = []

    def run(steps, *rest):
        names.extend(step.kind.op.name for step in steps)
        return plain(steps, *rest)

    plain = postponed.run_op_by_op
    monkeypatch.setattr(postponed, "run_op_by_op", run)
    return names


def training(optimizer):
    """A step of training, and all of its state."""
    rng = np.random.default_rng(0)
    shapes = ((20, 10), (10,), (10, 3), (3,))
    params = [df.Variable(rng.normal(size=s).astype(np.float32)) for s in shapes]
    update = optimizer(params)

    def step(x, y):
        with df.GradientTape() as tape:
            hidden = df.nn.functional.relu(x @ params[0] + params[1])
            loss = ((hidden @ params[2] + params[3] - y) ** 2).mean()
        update.apply_gradients(zip(tape.gradient(loss, params), params, strict=True))
        return loss

    x, y = (df.asarray(rng.normal(size=(8, k)).astype(np.float32)) for k in (20, 3))
    return step, (x, y), lambda: [p.numpy().tobytes() for p in [*params, *state_of(update)]]


def state_of(update):
    return [x for x in df.tree.flatten(update.state_dict())[0] if isinstance(x, df.Tensor)]


@pytest.mark.parametrize("optimizer", [df.optim.SGD, df.optim.Adam, df.optim.RMSprop])
def test_the_first_step_of_training_is_computed_by_its_graph_alone(optimizer, computed):
    step, given, state = training(optimizer)
    python, same, wanted = training(optimizer)
    f = df.function(step, strict=True)
    for _ in range(2):
        assert f(*given).numpy().tobytes() == python(*same).numpy().tobytes()
        assert state() == wanted()
    assert computed == []


def test_what_a_step_of_the_host_takes_is_computed_and_no_more(computed):
    def python(x):
        y = x * 2.0
        for _ in range(3):
            y = df.linalg.inv(df.sin(y))
        return y + df.exp(x)

    f, x = df.function(python), df.asarray([[1.0, 0.5], [0.25, 1.0]])
    assert f(x).tolist() == python(x).tolist()
    assert computed == ["multiply", "sin", "sin", "sin"]


def test_cutting_a_tensor_asks_for_no_values(computed):
    def python(x):
        a, b = df.split(df.tanh(x), 2)
        (c, d), (e, f) = df.split(a, 2, axis=1), df.unstack(b * 2.0)
        return df.concat([c, d], axis=0).sum() + e + f

    f, x = df.function(python), df.asarray(np.arange(8.0).reshape(4, 2))
    assert f(x).tolist() == python(x).tolist()
    assert computed == []


def test_questions_compute_what_is_held(computed):
    @df.function
    def f(x):
        y = x * 2.0
        z = y + 1.0
        if y.sum() > 0:
            z = z * 3.0
        return z

    assert f(df.ones(2)).tolist() == [9.0, 9.0]
    assert computed == ["multiply", "sum", "greater", "add"]


def test_what_the_call_leaves_elsewhere_has_values(computed):
    kept = []

    def python(x):
        kept.append(df.tanh(x))
        return x + 1.0

    df.function(python)(df.ones(2))
    assert kept[0].tolist() == df.tanh(df.ones(2)).tolist()
    assert computed == ["tanh"]


def test_a_call_that_fails_leaves_what_it_had_assigned():
    v = df.Variable([1.0, 2.0])

    @df.function
    def f(x):
        v.assign_add(x * 2.0)
        raise KeyError("stop")

    with pytest.raises(KeyError):
        f(df.ones(2))
    assert v.tolist() == [3.0, 4.0]
    assert type(v.tensor) is df.Tensor


def test_code_that_asks_for_types_finds_tensors(computed):
    found = []

    def python(x):
        y = x * 2.0
        found.append(type(y) is df.Tensor)
        return kind(y + 1.0)

    def kind(x):
        return x if type(x) is df.Tensor else None

    f = df.function(python)
    for _ in range(2):
        assert f(df.ones(2)).tolist() == [3.0, 3.0]
    assert all(found)
    assert computed == []  # each op was at once


@pytest.mark.filterwarnings("ignore::dualflow.errors.FunctionWarning")
def test_other_threads_get_values_of_what_a_recording_has_assigned():
    v, inside, read = df.Variable([1.0, 2.0]), threading.Event(), threading.Event()
    seen = []

    def other():
        inside.wait()
        seen.append((v * 10.0).tolist())
        read.set()

    def python(x):
        v.assign(x * 2.0)
        if not read.is_set():
            inside.set()
            read.wait()
        return v + x

    thread = threading.Thread(target=other)
    thread.start()
    f = df.function(python)
    assert f(df.ones(2)).tolist() == [3.0, 3.0]
    thread.join()
    assert seen == [[20.0, 20.0]]


def test_a_classifier_computes_the_indices_of_its_loss_alone(computed):
    rng = np.random.default_rng(0)
    v = df.Variable(rng.normal(size=(20, 3)).astype(np.float32))

    def python(x, labels):
        with df.GradientTape() as tape:
            loss = df.nn.functional.cross_entropy(df.tanh(x @ v), labels)
        v.assign_sub(tape.gradient(loss, v))
        return loss

    x, labels = df.asarray(rng.normal(size=(4, 20)).astype(np.float32)), df.asarray([0, 2, 1, 2])
    begin, f = v.numpy().copy(), df.function(python, strict=True)
    first = f(x, labels).item(), v.tolist()
    assert {*computed} <= {"astype", "usable"}
    v.assign(begin)
    assert (python(x, labels).item(), v.tolist()) == first


@pytest.mark.parametrize("labels", [[0, 3], [-1, 0], [0, -4]])
def test_wrong_labels_are_told_at_the_line_of_the_loss(labels):
    done = []

    @df.function
    def f(x, labels):
        y = df.tanh(x)
        done.append("before")
        loss = df.nn.functional.cross_entropy(y, labels)
        done.append("after")
        return loss

    with pytest.raises(IndexError, match=r"test_postponed\.py"):
        f(df.ones((2, 3)), df.asarray(labels))
    assert done == ["before"]


def test_an_op_that_may_fail_does_so_at_its_line():
    @df.function
    def f(x, i):
        y = x * 2.0
        return y[i] + 1.0

    with pytest.raises(IndexError, match=r"test_postponed\.py"):
        f(df.ones(2), df.asarray([5]))


def test_what_only_records_hold_waits_until_a_gradient_is_asked(computed):
    x = df.asarray(np.linspace(-1.0, 1.0, 2000, dtype="float32"))
    found = []
    for decorate in (lambda python: python, df.function):
        w = df.Variable(df.full((2000,), 0.5))

        def settling(x, w=w):
            h = x
            for _ in range(4):
                h = df.tanh(h * w + x)
            return h.sum()

        halve = decorate(lambda w=w: w.assign(w * 0.5))
        y = decorate(settling)(x)
        assert computed == []  # the graph gives what is returned
        for _ in range(3):
            halve()  # in place, where nobody else has the old value
        y.backward(retain_graph=True)
        once = [*computed]
        y.backward()
        assert computed == once
        found.append([x.numpy().tobytes() for x in (w.grad, y, w)])
    assert once.count("tanh") == 4
    assert found[0] == found[1]


def test_what_somebody_holds_beside_records_is_a_tensor_like_any_other():
    def keeping():
        held = None
        while True:
            held = yield held

    w, x, holder = df.Variable(df.ones(3)), df.ones(3), keeping()
    next(holder)

    def work(x):
        h = df.tanh(x * w)
        holder.send(h)  # nobody sees where this is kept
        return (h * h).sum()

    with pytest.warns(df.errors.FunctionWarning, match="iterator"):
        y = df.function(work)(x)
    held = holder.gi_frame.f_locals["held"]
    assert type(held) is df.Tensor
    assert held.tolist() == df.tanh(x * w).tolist()
    y.backward()
    assert w.grad is not None
