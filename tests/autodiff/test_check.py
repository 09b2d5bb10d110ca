"""`df.testing.check_gradients` accepts right gradients and names wrong ones."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df

X = np.array([0.3, -1.2])


def test_right_gradients_pass():
    df.testing.check_gradients(lambda x: df.tanh(x) * x, df.asarray(X))
    df.testing.check_gradients(
        lambda a, b: (a @ b).sum(), np.ones((2, 3)), np.ones((3, 2)), order=3
    )


@df.custom_gradient
def wrong(x):
    return x * x * x, lambda g: g * 3.01 * x * x


@df.custom_gradient
def wrong_at_second_order(x):
    return x * x * x, lambda g: g * 3.0 * df.stop_gradient(x) * x


def test_a_wrong_gradient_is_named():
    with pytest.raises(
        AssertionError, match=r"order 1, reverse mode gives \S+, central differences give"
    ):
        df.testing.check_gradients(wrong, X, modes=("reverse",))


def test_a_wrong_second_derivative_is_named():
    df.testing.check_gradients(wrong_at_second_order, X, order=1, modes=("reverse",))
    with pytest.raises(AssertionError, match=r"order 2, reverse mode"):
        df.testing.check_gradients(wrong_at_second_order, X, modes=("reverse",))


def test_the_forward_mode_is_checked_too():
    broken = df.exp.op
    jvp = broken.jvp
    object.__setattr__(broken, "jvp", lambda tangents, y, x: 2 * tangents[0] * y)
    try:
        with pytest.raises(AssertionError, match="order 1, forward mode"):
            df.testing.check_gradients(df.exp, X, order=1)
    finally:
        object.__setattr__(broken, "jvp", jvp)


def test_integer_results_are_refused():
    with pytest.raises(AssertionError, match="returns int64"):
        df.testing.check_gradients(lambda x: x.astype("int64"), X)
