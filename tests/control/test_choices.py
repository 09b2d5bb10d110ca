"""cond and switch as nodes: one recording serves all ways, and only the one that is taken runs."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
from dualflow.tracing.control.pure import only_computes
from tests.modes import bits, graphs_only
from tests.tracing.both import agree, vector

W = df.asarray([[0.5, -0.25], [1.0, 0.5]])
WAYS = ([1.0, 2.0], [-1.0, -2.0], [0.5, 0.25], [-3.0, 0.0])


def either(x, w):
    return df.cond(
        x.sum() > 0, lambda x: {"a": df.exp(x @ w)}, lambda x: {"a": df.log(-x) * w[0]}, x
    )


def several(x, w):
    index = df.astype(df.floor(x.sum()), df.int64)
    return df.switch(index, [lambda x: x @ w, lambda x: x * x, lambda x: df.sin(x) + w[1]], x)


def nested(x, w):
    def inner(x):
        return df.cond(x[0] > 0.75, lambda x: x * 3, lambda x: x * w[0], x)

    return df.cond(x.sum() > 0, inner, lambda x: x - 1, x)


FUNCTIONS = [either, several]


def calls():
    return [(vector(*x), W) for x in WAYS]


def sum_of(nest):
    return df.tree.flatten(nest)[0][0].sum()


@graphs_only
@pytest.mark.parametrize("function", FUNCTIONS)
def test_one_recording_serves_all_ways_with_gradients_of_eager_in_every_bit(function):
    def both(x, w):
        return function(x, w), df.grad(lambda x, w: sum_of(function(x, w)), (0, 1))(x, w)

    f = agree(lambda: (both, ()), calls())
    assert (len(f.graphs), f.from_graph) == (1, 3)


@graphs_only
def test_choices_in_choices():
    def both(x, w):
        return nested(x, w), *df.grad(lambda x, w: nested(x, w).sum(), (0, 1))(x, w)

    f = df.function(both, strict=True)
    for x, w in calls():
        assert [y.tolist() for y in f(x, w)] == [y.tolist() for y in both(x, w)]
    assert len(f.graphs) <= 1


@pytest.mark.parametrize("inside", [True, False])
def test_what_only_another_branch_reads_has_no_gradient(inside):
    v, w = df.Variable(2.0), df.Variable(3.0)

    def choice(x):
        return df.cond(x > 0, lambda x: x * v, lambda x: x * w, x)

    def slopes(f, x):
        with df.GradientTape() as tape:
            y = f(x)
        return tape.gradient(y, [v, w], unconnected_gradients="none")

    f = df.function((lambda x: slopes(choice, x)) if inside else choice)
    for sign in (1.0, -1.0, 1.0, -1.0):
        x = df.asarray(sign)
        of_v, of_w = f(x) if inside else slopes(f, x)
        assert [g is None for g in (of_v, of_w)] == [sign < 0, sign > 0]


def second(x, w):
    return df.grad(lambda x: (df.grad(lambda x: sum_of(either(x, w)))(x) ** 2).sum())(x)


def tangents(x, w):
    return df.jvp(lambda x: either(x, w)["a"], (x,), (x + 1.0,))


@pytest.mark.parametrize("python", [second, tangents])
def test_derivatives_are_alike_in_both_modes(python):
    f = df.function(python, strict=True)
    for x, w in calls():
        pairs = zip(*(df.tree.flatten(y)[0] for y in (python(x, w), f(x, w))), strict=True)
        for a, b in pairs:
            np.testing.assert_allclose(b.numpy(), a.numpy(), rtol=2e-6, atol=1e-6)


@graphs_only
def test_a_choice_in_each_step_of_a_scan():
    def f(xs, w):
        def step(h, x):
            h = df.cond(x.sum() > 0, lambda h: h @ w + x, lambda h: h * 0.5, h)
            return h, h

        return df.scan(step, df.zeros(2), xs)

    xs = df.stack([vector(*x) for x in WAYS])
    made = agree(lambda: (f, ()), [(xs, W), (-xs, W), (xs * 0, W)])
    assert len(made.graphs) == 1


@graphs_only
def test_only_the_branch_that_is_taken_runs():
    f = df.function(lambda x: df.cond(x.sum() > 0, lambda x: x @ x, lambda x: x @ x.T @ x, x))
    x = df.ones((3, 3))
    for sign in (1, -1, 1):
        assert bits(f(x * sign)) == bits((x @ x) if sign > 0 else -(x @ x.T @ x))
    assert f.explain().host_steps == []
    assert "1 foreign call a call" in str(f.explain())


# ----- what falls back to a guard -----

kept = []
state = df.Variable([1.0, 1.0])


def appending(x):
    return df.cond(x.sum() > 0, lambda x: kept.append(1) or x, lambda x: kept.append(2) or -x, x)


def printing(x):
    return df.cond(x.sum() > 0, lambda x: x, lambda x: print("no") or -x, x)


def assigning(x):
    return df.cond(x.sum() > 0, lambda x: x, lambda x: (state.assign(x), -x)[1], x)


def unlike(x):
    return df.cond(x.sum() > 0, lambda x: x, lambda x: x[0], x)


def numbers(x):
    return df.cond(x.sum() > 0, lambda: 1, lambda: 2)


def asking(x):
    return df.cond(x.sum() > 0, lambda x: x * 2 if x[0] > 1 else x, lambda x: -x, x)


def raising(x):
    return df.cond(x.sum() > 0, lambda x: x, lambda x: x[[5]] + x, x)


def calling_itself(x):
    return df.cond(x.sum() > 0, lambda x: calling_itself(x - 1) + 1, lambda x: x * 0, x)


def looping(x):
    return df.cond(
        x.sum() > 0, lambda x: df.while_loop(lambda x: x.sum() > 0, lambda x: x - 1, x), abs, x
    )


@graphs_only
@pytest.mark.parametrize(
    "function",
    [appending, printing, assigning, unlike, numbers, asking, raising, calling_itself, looping],
)
def test_a_branch_that_does_more_than_compute_runs_only_where_it_is_taken(function, capsys):
    told = []
    for python in (function, df.function(function, strict=True)):
        del kept[:]
        state.assign([1.0, 1.0])
        found = []
        for x in (*WAYS[:3], WAYS[0]):
            try:
                found.append(df.tree.tree_map(bits, python(vector(*x))))
            except IndexError as error:
                found.append(str(error))
        told.append((str(found), list(kept), state.tolist(), capsys.readouterr().out))
    assert told[0] == told[1]


def test_code_tells_what_only_computes():
    x, scale, known = vector(1.0), df.Variable(2.0), {"w": W}
    inner = lambda y: df.nn.functional.relu(y) * scale  # noqa: E731
    for function in (inner, lambda y: inner(y) + known["w"].T[0], lambda y: (y, {"a": -y})):
        assert only_computes(function, (x,))
    layer = df.nn.Linear(1, 1)
    for function in (
        print,
        layer,
        lambda y: layer(y),
        lambda y: scale.assign(y),
        lambda y: kept.append(y),
        lambda y: df.random.normal((2,)),
        lambda y: np.add(y, y),
        lambda y: y if y > 0 else -y,
        calling_itself,
    ):
        assert not only_computes(function, (x,))
    assert not only_computes(inner, (layer,))
