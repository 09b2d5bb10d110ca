"""What optimisers take, tell, save and refuse."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import dualflow as df


def trained(optimizer, params, steps=3):
    for k in range(steps):
        grads = [df.full(p.shape, 0.5 * (k + 1)) for p in params]
        optimizer.apply_gradients(zip(grads, params, strict=True))


def pair():
    return [df.Variable(df.ones((2, 3)), name="w"), df.Variable(df.zeros(3), name="b")]


MAKERS = [
    lambda p: df.optim.SGD(p, lr=0.1),
    lambda p: df.optim.SGD(p, lr=0.1, momentum=0.9),
    lambda p: df.optim.AdamW(p, lr=0.1),
]


@pytest.mark.parametrize("make", MAKERS)
def test_a_loaded_optimizer_goes_on(make):
    whole = pair()
    first = make(whole)
    trained(first, whole)
    first.lr = 0.03
    values, saved = [p.numpy() for p in whole], first.state_dict()
    trained(first, whole)

    again = [df.Variable(x) for x in values]
    second = make(again)
    second.load_state_dict(saved)
    trained(second, again)
    for p, q in zip(whole, again, strict=True):
        np.testing.assert_array_equal(p.numpy(), q.numpy())


def test_saved_state_does_not_move_on():
    params = pair()
    optimizer = df.optim.Adam(params)
    saved = optimizer.state_dict()
    trained(optimizer, params)
    assert saved["state"][0]["step"].item() == 0
    assert saved["param_groups"][0]["lr"] == 1e-3
    assert saved["param_groups"][0]["params"] == [0, 1]


def test_state_of_numpy_arrays_and_pickles():
    params = pair()
    optimizer = df.optim.Adam(params)
    trained(optimizer, params)
    saved = pickle.loads(pickle.dumps(optimizer.state_dict()))
    arrays = {k: {n: v.numpy() for n, v in s.items()} for k, s in saved["state"].items()}
    other = df.optim.Adam(pair())
    other.load_state_dict({**saved, "state": arrays})
    assert [s["step"].item() for s in other.state.values()] == [3, 3]


def test_state_that_does_not_fit_changes_nothing():
    params = pair()
    optimizer = df.optim.Adam(params)
    with pytest.raises(df.errors.ShapeError, match=r"saved groups have \[1\] parameters"):
        optimizer.load_state_dict(df.optim.Adam(params[:1]).state_dict())
    with pytest.raises(df.errors.ShapeError, match="the state of Variable 'w'"):
        optimizer.load_state_dict(df.optim.SGD(pair(), momentum=0.9).state_dict())
    bad = df.optim.Adam(pair(), lr=0.5).state_dict()
    bad["state"][1]["exp_avg"] = df.zeros(7)
    bad["state"][0]["exp_avg"] = df.ones((2, 3))
    with pytest.raises(df.errors.ShapeError, match="the state of Variable 'b'"):
        optimizer.load_state_dict(bad)
    assert optimizer.lr.item() == 1e-3
    assert not optimizer.state[params[0]]["exp_avg"].numpy().any()


def test_a_copy_has_parameters_of_its_own():
    params = pair()
    optimizer = df.optim.Adam(params)
    trained(optimizer, params)
    twins, twin = copy.deepcopy((params, optimizer))
    before = [p.numpy() for p in params]
    trained(twin, twins)
    for p, x in zip(params, before, strict=True):
        np.testing.assert_array_equal(p.numpy(), x)
    trained(optimizer, params)
    for p, q in zip(params, twins, strict=True):
        np.testing.assert_array_equal(p.numpy(), q.numpy())


def test_a_pickled_optimizer_goes_on():
    params = pair()
    optimizer = df.optim.SGD(params, momentum=0.9)
    trained(optimizer, params)
    twins, twin = pickle.loads(pickle.dumps((params, optimizer)))
    trained(twin, twins)
    trained(optimizer, params)
    for p, q in zip(params, twins, strict=True):
        np.testing.assert_array_equal(p.numpy(), q.numpy())


def test_learning_rates_read_as_values_of_the_moment():
    optimizer = df.optim.SGD(pair(), lr=0.1)
    before = optimizer.lr
    optimizer.lr = 0.2
    assert before.item() == 0.1  # the float64 number itself
    assert optimizer.param_groups[0]["lr"].item() == 0.2
    assert repr(optimizer) == (
        "SGD(lr=0.2, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False, "
        "params=2 Variables)"
    )


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: df.optim.SGD([]), ValueError, "got no parameters"),
        (lambda: df.optim.Adam(df.nn.Linear(2, 1)), TypeError, "not the model itself"),
        (lambda: df.optim.EMA(df.nn.Linear(2, 1)), TypeError, r"EMA takes .*model\.parameters\(\)"),
        (lambda: df.optim.SGD([df.ones(2)]), TypeError, "only Variables can be updated"),
        (lambda: df.optim.SGD([np.ones(2)]), TypeError, "parameter 0 is a ndarray"),
        (lambda: df.optim.SGD(2 * [df.Variable([1.0], name="w")]), ValueError, "'w' was given twi"),
        (lambda: df.optim.SGD(pair(), lr=-1.0), ValueError, "lr=-1.0"),
        (lambda: df.optim.SGD(pair(), nesterov=True), ValueError, "needs momentum > 0"),
        (lambda: df.optim.Adam(pair(), betas=(0.9, 1.0)), ValueError, "betas"),
        (lambda: df.optim.Adam([{"params": pair(), "rho": 1}]), TypeError, "no setting 'rho'"),
    ],
)
def test_refused_arguments(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_refused_gradients():
    w, b = pair()
    optimizer = df.optim.SGD([w, b])
    with pytest.raises(
        df.errors.ShapeError, match="'w' has shape \\(2, 3\\), its gradient \\(3,\\)"
    ):
        optimizer.apply_gradients([(df.ones(3), w)])
    with pytest.raises(ValueError, match="not a parameter of SGD"):
        optimizer.apply_gradients([(df.ones(3), df.Variable(df.ones(3)))])
    with pytest.raises(df.errors.TapeError, match="none of 2 Variables has a gradient"):
        optimizer.apply_gradients([(None, w), (None, b)])


def test_a_step_without_gradients_says_so_once():
    optimizer = df.optim.SGD(pair())
    with pytest.warns(UserWarning, match="no parameter has a gradient"):
        optimizer.step()
    optimizer.step()
