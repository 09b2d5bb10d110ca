"""`backward()` and `.grad`: PyTorch's loop on the same engine."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
from dualflow.errors import TapeError
from tests.modes import in_mode


def test_grad_is_none_then_a_variable_then_a_sum():
    w = df.Variable([1.0, 2.0], name="w")
    assert w.grad is None
    (w * w).sum().backward()
    assert isinstance(w.grad, df.Variable)
    assert not w.grad.trainable
    assert w.grad.tolist() == [2.0, 4.0]
    kept = w.grad
    (w * 3.0).sum().backward()
    assert w.grad is kept
    assert kept.tolist() == [5.0, 7.0]


def test_zeroing_and_removing():
    w = df.Variable([1.0, 2.0])
    (w * w).sum().backward()
    w.grad.zero_()
    assert w.grad.tolist() == [0.0, 0.0]
    w.grad = None
    assert w.grad is None


def test_a_gradient_that_was_set_is_added_to():
    w = df.Variable([1.0, 2.0])
    w.grad = [10.0, 10.0]
    (w * 3.0).sum().backward()
    assert w.grad.tolist() == [13.0, 13.0]


def test_only_trainable_variables_collect():
    w, fixed, x = df.Variable(2.0), df.Variable(3.0, trainable=False), df.asarray(5.0)
    (w * fixed * x).backward()
    assert w.grad.item() == 15.0
    assert fixed.grad is None
    assert x.grad is None


def test_a_variable_that_the_target_does_not_use_keeps_none():
    w, other = df.Variable(2.0), df.Variable(2.0)
    y = w * 3.0
    other * 2.0
    y.backward()
    assert other.grad is None


def test_a_variable_used_along_several_ways():
    w = df.Variable(2.0)
    (w * w + w * 3.0 - w).backward()
    assert w.grad.item() == 2 * 2.0 + 3.0 - 1.0


def test_retain_graph():
    w = df.Variable(2.0)
    y = w * w
    y.backward(retain_graph=True)
    y.backward()
    assert w.grad.item() == 8.0
    with pytest.raises(TapeError, match="released by an earlier gradient call"):
        y.backward()


def test_a_target_that_is_no_scalar_needs_a_gradient():
    w = df.Variable([1.0, 2.0])
    y = w * w
    with pytest.raises(TapeError, match=r"backward: the target has shape \(2,\)"):
        y.backward()
    y.backward(df.asarray([1.0, 10.0]))
    assert w.grad.tolist() == [2.0, 40.0]


@pytest.mark.parametrize(
    "make",
    [
        lambda w: df.asarray(1.0) * 2.0,
        lambda w: w.detach() * 2.0,
        lambda w: df.asarray(w.numpy()),
        lambda w: df.no_grad()(lambda: w * 2.0)(),
    ],
    ids=["constant", "detached", "numpy", "no_grad"],
)
def test_a_target_without_history(make):
    with pytest.raises(TapeError, match="does not depend on a trainable Variable"):
        make(df.Variable(2.0)).backward()


def test_no_grad_as_a_decorator_and_around_updates():
    w = df.Variable([1.0, 2.0])
    (w * w).sum().backward()
    with df.no_grad():
        w -= 0.5 * w.grad
    assert w.tolist() == [0.0, 0.0]
    assert w.trainable

    @df.no_grad()
    def quiet(x):
        return x * 2.0

    assert not quiet(w).requires_grad
    assert (w * 2.0).requires_grad


def test_backward_under_a_tape_leaves_the_tapes_record():
    w = df.Variable(3.0)
    with df.GradientTape() as tape:
        y = w * w
        y.backward()
    assert w.grad.item() == 6.0
    assert tape.gradient(y, w).item() == 6.0


def test_the_gradient_is_not_recorded():
    w = df.Variable(3.0)
    (w * w * w).backward()
    assert not w.grad.requires_grad


def test_a_variable_that_died_is_skipped():
    w = df.Variable(3.0)
    y = df.Variable(2.0) * w
    y.backward()
    assert w.grad.item() == 2.0


def test_switching_trainable():
    w = df.Variable(3.0)
    w.trainable = False
    assert not (w * 2.0).requires_grad
    w.requires_grad = True
    (w * 2.0).backward()
    assert w.grad.item() == 2.0


def test_complex_gradients_lead_downhill():
    """The gradient of |z|^2 is 2 z: conj of the derivative, so that z - lr * grad descends."""
    z = df.Variable(np.complex64(3 + 4j))
    (z * df.conj(z)).real.backward()
    assert z.grad.item() == 6 + 8j


def test_fifty_steps_in_both_modes(mode):
    generator = np.random.default_rng(0)
    x = df.asarray(generator.normal(size=(8, 3)).astype(np.float32))
    w = df.Variable(np.ones((3, 1), np.float32))
    expected = np.ones((3, 1))

    def step(x):
        loss = (x @ w).pow(2).mean()
        loss.backward()
        with df.no_grad():
            w.assign_sub(0.1 * w.grad)
            w.grad.zero_()
        return loss

    run = in_mode(mode, step)
    for _ in range(50):
        loss = run(x)
        values = x.numpy().astype(np.float64)
        wanted = np.mean((values @ expected) ** 2)
        expected = expected - 0.1 * 2 * values.T @ (values @ expected) / 8
        np.testing.assert_allclose(loss.item(), wanted, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(w.numpy(), expected, rtol=1e-4, atol=1e-6)
