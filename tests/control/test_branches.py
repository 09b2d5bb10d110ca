"""cond, switch and while_loop: Python decides in both modes; examples of a batch by themselves."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import dualflow as df
from tests.modes import bits, if_graphs
from tests.tracing.both import agree, vector

NUMBERS = st.lists(st.sampled_from([-4.0, -0.5, 0.0, 0.25, 3.0, 50.0]), min_size=2, max_size=4)


def either(x):
    return df.cond(x.sum() > 0, lambda x: {"a": x * 2}, lambda x: {"a": df.exp(x)}, x)


def several(x):
    index = df.astype(df.floor(x.sum()), df.int64)
    return df.switch(index, [lambda x: x + 1, lambda x: x * x, lambda x: -x], x)


def doubled(x):
    return df.while_loop(lambda x: df.max(df.abs(x)) < 100, lambda x: x * 2 + 1, x)


FUNCTIONS = [either, several, doubled]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_both_modes_take_the_same_ways(function):
    calls = [(vector(*v),) for v in ([0.5, 1.0], [-3.0, 1.0], [0.5, 1.0], [2.0, 0.25], [-3.0, 1.0])]
    agree(lambda: (function, ()), calls)
    gradient = df.grad(lambda x: sum_of(function(x)))
    agree(lambda: (gradient, ()), calls)


def sum_of(nest):
    return df.tree.flatten(nest)[0][0].sum()


@pytest.mark.parametrize("function", FUNCTIONS)
@settings(max_examples=6)
@given(numbers=NUMBERS)
def test_each_example_of_a_batch_takes_its_own_way(function, numbers):
    x = vector(*numbers)
    found = sum(df.tree.flatten(df.vmap(lambda x: function(df.stack([x, x])))(x))[0])
    wanted = [df.tree.flatten(function(df.stack([one, one])))[0][0] for one in x]
    assert bits(found) == bits(df.stack(wanted))


def test_only_the_branch_that_is_taken_runs():
    ran = []

    def branch(k):
        return lambda x: ran.append(k) or x * k

    x = df.asarray(1.0)
    df.cond(True, branch(1), branch(2), x)
    df.cond(df.asarray([0]), branch(3), branch(4), x)
    assert [df.switch(k, [branch(5), branch(6)], x).item() for k in (-7, 0, 1, 9)] == [5, 5, 6, 6]
    assert ran == [1, 4, 5, 5, 6, 6]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_gradients_of_examples(function):
    def slope(x):
        return df.grad(lambda x: sum_of(function(df.stack([x, x]))))(x)

    x = vector(0.25, 1.0, -3.0)
    found = df.vmap(slope)(x).numpy()
    np.testing.assert_allclose(found, [slope(one).item() for one in x], rtol=1e-6)


def test_vmap_in_vmap():
    x = df.asarray([[1.0, -2.0], [-3.0, 4.0]])
    both = df.vmap(df.vmap(lambda x: df.cond(x > 0, lambda x: x, lambda x: -10 * x, x)))
    assert both(x).tolist() == [[1.0, 20.0], [30.0, 4.0]]
    until = df.vmap(df.vmap(lambda x: df.while_loop(lambda x: x < 8, lambda x: x + 5, x)))
    assert until(x).tolist() == [[11.0, 8.0], [12.0, 9.0]]


def test_loops_whose_length_is_a_tensor():
    def power(x, n):
        return df.fori_loop(0, n, lambda i, y: y * x + df.astype(i, df.float32), 1.0)

    calls = [
        (df.asarray(1.5), df.asarray(n)) for n in (3, 5, 2, 7, 4, 6, 8, 3, 1, 9, 10, 11, 12, 13)
    ]
    f = agree(lambda: (power, ()), calls)
    assert f.from_graph >= if_graphs(4)
    assert df.grad(power)(df.asarray(2.0), df.asarray(3)).item() == 12.0 + 1.0


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda x: df.cond(x > 0, abs, abs, x), "cond: pred has shape (2,)"),
        (lambda x: df.switch(x, [abs], x), "switch: index has shape (2,)"),
        (lambda x: df.switch(x[0], [abs], x), "switch: index is float32"),
        (lambda x: df.switch(0, [], x), "switch: there are no branches"),
        (lambda x: df.while_loop(lambda x: x < 3, abs, x), "while_loop: the condition has shape"),
        (lambda x: df.while_loop(lambda x: True, lambda x: x[0], x), "carry has shape (2,) before"),
        (
            lambda x: df.vmap(lambda x: df.cond(x > 0, lambda x: x, lambda x: [x], x))(x),
            "cond: the result is * of one branch and [*] of another",
        ),
    ],
)
def test_mistakes_have_one_text_in_both_modes(call, text):
    told = []
    for python in (call, df.function(call)):
        with pytest.raises((df.errors.ShapeError, df.errors.DTypeError)) as caught:
            python(vector(1.0, 2.0))
        told.append(str(caught.value))
    assert told[0] == told[1]
    assert text in told[0]
