"""Records die with their tensors: training leaves no garbage, whatever the style and the mode."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

import dualflow as df
from tests.garbage import garbage, no_collector
from tests.modes import in_mode


def live_bytes() -> tuple[int, int]:
    """How many tensors there are, and the bytes of the arrays that they hold."""
    tensors = [x for x in gc.get_objects() if type(x) is df.Tensor]
    arrays = {id(x.raw): x.raw for x in tensors if x.raw is not None}
    return len(tensors), sum(a.nbytes for a in arrays.values())


def data():
    generator = np.random.default_rng(0)
    x = df.asarray(generator.normal(size=(8, 4)).astype(np.float32))
    w1 = df.Variable(generator.normal(size=(4, 5)).astype(np.float32))
    w2 = df.Variable(generator.normal(size=(5, 1)).astype(np.float32))
    return x, w1, w2


def loss_of(x, w1, w2):
    return (df.tanh(x @ w1) @ w2).pow(2).mean()


def tape_style(x, w1, w2):
    with df.GradientTape() as tape:
        loss = loss_of(x, w1, w2)
    for w, g in zip((w1, w2), tape.gradient(loss, [w1, w2]), strict=True):
        w.assign_sub(0.01 * g)
    return loss


def tape_style_inside(x, w1, w2):
    with df.GradientTape() as tape:
        loss = loss_of(x, w1, w2)
        gradients = tape.gradient(loss, [w1, w2])
        for w, g in zip((w1, w2), gradients, strict=True):
            w -= 0.01 * g
    return loss


def backward_style(x, w1, w2):
    loss = loss_of(x, w1, w2)
    loss.backward()
    with df.no_grad():
        for w in (w1, w2):
            w -= 0.01 * w.grad
            w.grad = None
    return loss


def second_order_style(x, w1, w2):
    with df.GradientTape() as outer:
        with df.GradientTape() as inner:
            loss = loss_of(x, w1, w2)
        g = inner.gradient(loss, w1)
        penalty = loss + (g * g).sum()
    w1.assign_sub(0.001 * outer.gradient(penalty, w1))
    return loss


STYLES = [tape_style, tape_style_inside, backward_style, second_order_style]


@pytest.mark.parametrize("style", STYLES, ids=lambda style: style.__name__)
def test_a_thousand_steps_leave_no_garbage(mode, style):
    x, w1, w2 = data()
    step = in_mode(mode, lambda x: style(x, w1, w2))
    for _ in range(3):  # caches fill up, traces are made
        step(x)
    with no_collector():
        seen = []
        for k in range(1, 1001):
            loss = step(x)
            if k in (10, 1000):
                seen.append(live_bytes())
        assert garbage() == []
    assert seen[0] == seen[1]
    assert np.isfinite(loss.item())


@pytest.mark.parametrize("style", STYLES, ids=lambda style: style.__name__)
def test_a_list_of_losses_keeps_no_graphs(mode, style):
    x, w1, w2 = data()
    step = in_mode(mode, lambda x: style(x, w1, w2))
    losses = [step(x) for _ in range(13)]
    count, size = live_bytes()
    losses += [step(x) for _ in range(10)]
    assert live_bytes() == (count + 10, size + 40)


def test_running_sums_of_detached_losses_and_right_answers_keep_nothing():
    x, w1, w2 = data()
    total, right = df.asarray(0.0), df.asarray(0)
    seen = []
    for _ in range(4):
        loss = loss_of(x, w1, w2)
        total = total + loss.detach()
        right = right + (df.tanh(x @ w1) > 0.0).sum()
        loss.backward()
        del loss
        seen.append(live_bytes()[0])
    assert seen[1] == seen[3]
    assert not total.requires_grad
    assert not right.requires_grad


def test_a_record_dies_with_its_result():
    w = df.Variable(np.ones(3, np.float32))
    with no_collector():
        middle = w * 2.0
        gone = weakref.ref(middle)
        y = middle + 1.0
        del middle
        assert gone() is not None
        del y
        assert gone() is None


def test_a_tape_keeps_nothing_alive():
    w = df.Variable(np.ones(3, np.float32))
    with no_collector(), df.GradientTape(persistent=True):
        middle = w * 2.0
        gone = weakref.ref(middle)
        del middle
        assert gone() is None


def test_a_spent_tape_frees_what_the_target_held():
    w = df.Variable(np.ones(3, np.float32))
    with no_collector():
        with df.GradientTape() as tape:
            middle = w * 2.0
            gone = weakref.ref(middle)
            y = (middle * middle).sum()
            del middle
        tape.gradient(y, w)
        assert gone() is None
        assert y.item() == 12.0


def test_models_die():
    with no_collector():
        w = df.Variable(np.ones(3, np.float32))
        gone = weakref.ref(w)
        (w * w).sum().backward()
        del w
        assert gone() is None
        assert garbage() == []


def test_functions_let_go_of_their_arguments():
    w = df.Variable(np.ones(3, np.float32))
    f = df.function(lambda x: x * w, strict=True)
    with no_collector():
        x = df.asarray([1.0, 2.0, 3.0])
        gone = weakref.ref(x)
        for _ in range(3):  # graphs are made here, and those are rings of values and nodes
            f(x)
        del x
        assert gone() is None
        gc.collect()
        x = df.asarray([1.0, 2.0, 3.0])
        f(x)
        del x
        assert garbage() == []
