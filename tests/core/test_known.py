"""What ops compute again: types that an op has met are not looked at twice, all others are."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
from dualflow.core import kernels
from dualflow.core.known import at_hand
from dualflow.core.op import registry
from jit.errors import ShapeError
from tests.modes import bits, graphs_only


@pytest.fixture(autouse=True)
def _anew():
    """Nothing is known of other tests' calls."""
    kernels.forget()


def ones(*shape):
    return np.ones(shape, "f")


def test_what_numpy_has_computed_is_at_hand_for_the_same_types_only():
    concat, attrs = registry["concat"], {"axis": 0}
    assert at_hand(concat, [ones(2), ones(3)], attrs) is None
    df.concat([df.ones(2), df.ones(3)])
    (found,) = at_hand(concat, [ones(2), 2 * ones(3)], attrs)
    assert found.tolist() == [1, 1, 2, 2, 2]
    assert at_hand(concat, [ones(3), ones(2)], attrs) is None
    assert at_hand(concat, [ones(2), ones(3).astype("d")], attrs) is None
    assert at_hand(concat, [ones(2), ones(3)], {"axis": 1}) is None


def test_a_type_rule_is_asked_for_new_types_after_others_have_passed():
    for _ in range(2):
        df.concat([df.ones((2, 3)), df.ones((1, 3))])
        with pytest.raises(ShapeError, match="concat"):
            df.concat([df.ones((2, 3)), df.ones((1, 4))])


def test_other_attrs_are_other_calls():
    for value in (1.0, 2.0, 1.0, 2.0):
        assert df.pad(df.zeros(1), 1, constant_values=value).tolist() == [value, 0, value]


def test_zeros_of_two_signs_are_two_attrs():
    def framed(x, value):
        return df.pad(x, 1, constant_values=value)

    recorded = df.function(framed)
    for value in (0.0, -0.0, 0.0, -0.0):
        wanted = np.pad(ones(1), 1, constant_values=value)
        assert bits(framed(df.ones(1), value)) == bits(wanted)
        assert bits(recorded(df.ones(1), value)) == bits(wanted)


def test_the_pieces_of_a_split_have_the_bits_and_gradients_of_a_recorded_call():
    x = df.asarray(np.random.default_rng(0).standard_normal((3, 12), dtype="f"))

    def slopes(x):
        def total(x):
            first, second, rest = df.split(x, [2, 7], axis=1)
            (whole,) = df.split(first, 1, axis=1)
            return (whole * whole).sum() + (second * 3.0).sum() + df.exp(rest).sum()

        return df.value_and_grad(total)(x)

    eager = slopes(x)
    recorded = df.function(slopes)
    for _ in range(2):
        for found, wanted in zip(recorded(x), eager, strict=True):
            assert bits(found) == bits(wanted)
    expected = np.where(np.arange(12) < 2, 2 * x.numpy(), np.exp(x.numpy()))
    expected[:, 2:7] = 3.0
    np.testing.assert_allclose(eager[1].numpy(), expected, rtol=1e-6)


def test_a_split_into_one_piece_is_the_tensor_itself():
    x = df.ones((2, 3))
    assert df.split(x, 1)[0] is x


@graphs_only
def test_a_recording_leaves_nothing_behind_that_another_call_finds():
    x = df.asarray(np.array(1 - 2j, np.complex64))
    for function in (df.abs, df.imag):
        f = df.function(function, strict=True)
        f(x)
        f(x)
        assert f.from_graph == 1
