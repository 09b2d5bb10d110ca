"""Choices and loops of which nobody has values yet: traced for types, and in graphs by hand."""

from __future__ import annotations

from typing import Any

import pytest

import dualflow as df
from tests.modes import bits
from tests.tracing.both import vector

SPEC = df.TensorSpec((2,), df.float32)
W = df.Variable([1.5, -0.25])
VALUES = ([0.5, 1.0], [-3.0, 1.0], [0.25, 70.0], [120.0, 1.0])


def either(x):
    return df.cond(x.sum() > 0, lambda x: x * W, lambda x: df.exp(x) - 1.0, x)


def several(x):
    index = df.astype(df.floor(x.sum()), df.int64)
    return df.switch(index, [lambda x: x + W, lambda x: x * x, lambda x: -x], x)


def alone(x):
    return df.switch(df.astype(x.sum(), df.int64), [lambda: x * W])


def bounded(x):
    return df.while_loop(lambda x: df.max(df.abs(x)) < 100, lambda x: x * 2 + W, x, 9)


def never(x):
    return df.while_loop(lambda x: x.sum() < 100, lambda x: x * W, x, 0)


def known_at_first(x):
    def step(state):
        count, total = state
        return count + df.astype(x.max() > 0, df.int64) + 1, total * W + x

    return df.while_loop(lambda state: state[0] < 7, step, (0, W), 8)[1]


def nested(x):
    def inner(x):
        return df.cond(x[0] > x[1], lambda: x - W, lambda: several(x))

    return df.while_loop(lambda x: df.sum(x) < 4, lambda x: inner(x) + 1.5, x, 6)


def by_example(x):
    return df.vmap(lambda x: df.while_loop(lambda x: x < 50, lambda x: 3 * x + 9, x, 5))(x)


FUNCTIONS = [either, several, alone, bounded, never, known_at_first, nested, by_example]


def eagerly(function, x):
    """The value and the gradients, with Python deciding."""
    with df.GradientTape() as tape:
        tape.watch(x)
        y = function(x)
        loss = (y * y).sum()
    return [y, *tape.gradient(loss, [x, W], unconnected_gradients="zero")]


def plain(tensors):
    """Bits; a zero has no sign, of which there are two where a branch that uses W is not taken."""
    return bits(df.stack([df.asarray(x) for x in tensors]) + 0.0)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_traced_for_types_decides_when_it_is_called(function):
    decorated: Any = df.function(function)
    traced = decorated.concrete(SPEC)
    for numbers in VALUES:
        wanted = eagerly(function, vector(*numbers))
        assert plain(eagerly(traced, vector(*numbers))) == plain(wanted)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_graph_by_hand_decides_when_it_runs(function):
    with df.graph.Graph().as_default(), df.graph.Session() as session:
        x = df.graph.placeholder("float32", (2,))
        y = function(x)
        slopes = df.graph.gradients((y * y).sum(), [x, W])
        made = [y, *[df.zeros(2) if slope is None else slope for slope in slopes]]
        for numbers in VALUES:
            wanted = eagerly(function, vector(*numbers))
            assert plain(session.run(made, {x: numbers})) == plain(wanted)


def test_a_range_whose_end_is_fed():
    with df.graph.Graph().as_default(), df.graph.Session() as session:
        x, n = df.graph.placeholder("float32", ()), df.graph.placeholder("int64", ())
        y = df.fori_loop(0, n, lambda i, y: y * 2.0 + i, x)
        assert [session.run(y, {x: 1.0, n: n_}) for n_ in (0, 1, 3)] == [1.0, 2.0, 12.0]


def test_types_of_no_rows_are_told_without_values():
    def step(total, x):
        return total + x, df.cond(x > total, lambda: x, lambda: total)

    assert df.scan(step, 1.0, df.zeros(0))[1].shape == (0,)


@pytest.mark.parametrize(
    ("function", "error", "words"),
    [
        (lambda x: df.cond(x.sum() > 0, lambda: x, lambda: x[0]), df.errors.ShapeError, "result"),
        (lambda x: df.switch(df.astype(x[0], "int64"), [lambda: 1, lambda: x]), None, "of another"),
        (
            lambda x: df.while_loop(lambda x: x.sum() < 0, lambda x: x[0], x),
            df.errors.ShapeError,
            "before a step",
        ),
        (
            lambda x: df.cond(x[0] > 0, lambda: x * (2 if W[0] > 0 else 3), lambda: x),
            df.errors.TraceError,
            "asks for a value",
        ),
    ],
)
def test_mistakes_are_told(function, error, words):
    decorated: Any = df.function(function)
    with pytest.raises(error or df.errors.DualflowError, match=words):
        decorated.concrete(SPEC)
