"""Gradients that nobody has are filled again, and all others stay as they are."""

from __future__ import annotations

import _thread

import numpy as np
import pytest

import dualflow as df
from dualflow.tracing import gifts
from tests.modes import compiled_only, graphs_only
from tests.tracing.test_in_place import THREADS, N, one, ramp


@pytest.fixture(autouse=True)
def usual_threads(monkeypatch):
    monkeypatch.setattr(gifts, "alone", lambda: _thread._count() == THREADS)


def collecting(w):
    """A step that gives `w` a new gradient, x."""

    @df.function(strict=True)
    def step(x):
        w.grad = None
        (w * x).sum().backward()

    for _ in range(3):
        step(one())
    return step


def times(number):
    return df.asarray(np.full(N, number, np.float32))


@compiled_only
def test_a_gradient_that_nobody_has_is_filled_again():
    w = ramp()
    step = collecting(w)
    before = id(w.grad), id(w.grad.tensor)
    step(times(7.0))
    assert (id(w.grad), id(w.grad.tensor)) == before
    assert w.grad.tolist() == [7.0] * N
    assert w.grad.name == "w.grad"


HOLD = {
    "gradient": lambda w: w.grad,
    "its value": lambda w: w.grad.read_value(),
    "its Tensor": lambda w: [w.grad.tensor],
    "array": lambda w: w.grad.numpy(),
}


@graphs_only
@pytest.mark.parametrize("what", HOLD)
def test_a_gradient_that_somebody_has_stays_as_it_is(what):
    w = ramp()
    step = collecting(w)
    step(times(2.0))
    kept = HOLD[what](w)
    step(times(3.0))
    kept = kept[0] if isinstance(kept, list) else kept
    assert np.asarray(kept.numpy() if isinstance(kept, df.Tensor) else kept).tolist() == [2.0] * N
    assert w.grad.tolist() == [3.0] * N
    assert w.grad is not kept
    w.grad.trainable = True
    step(times(4.0))
    assert (w.grad.tolist(), w.grad.trainable) == ([4.0] * N, False)


@graphs_only
def test_a_gradient_is_renamed_with_its_variable():
    w = ramp()
    step = collecting(w)
    w.name = "v"
    kept = w.grad
    step(one())
    assert (kept.name, w.grad.name, w.grad.grad_of) == ("w.grad", "v.grad", "Variable 'v'")
