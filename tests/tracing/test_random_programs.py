"""Programs drawn at random: eager, from the graph, and differentiated, all the same."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import dualflow as df
from tests.modes import graphs_only
from tests.tracing.both import agree

UNARY = [
    df.tanh,
    df.negative,
    df.square,
    lambda a: a * 2.0,
    lambda a: 1.0 - a,
    lambda a: a[::-1],
    lambda a: a.T if a.ndim == 2 and a.shape[0] == a.shape[1] else a,
    lambda a: a - a.mean(axis=0, keepdims=True),
    lambda a: df.where(a > 0, a, 0.1 * a),
    lambda a: df.cumulative_sum(a, axis=0),
    lambda a: a.reshape(-1).reshape(a.shape),
    lambda a: df.stop_gradient(a) + a,
    lambda a: df.nn.functional.softmax(a, axis=-1),
]
BINARY = [
    df.add,
    df.multiply,
    df.maximum,
    lambda a, b: a / (2.0 + b * b),
    lambda a, b: df.tanh(a @ b),
    lambda a, b: df.concat([a, b])[: a.shape[0]],
    lambda a, b: df.where(a < b, a, b * 0.5),
]
# A step: (kind, which function, which values it takes).
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["unary", "binary", "read", "write", "ask", "loop", "slope"]),
        st.integers(0, 100),
        st.integers(0, 100),
        st.integers(0, 100),
    ),
    min_size=1,
    max_size=10,
)


def program(steps):
    """A function of a matrix, and the Variable that it uses, as `steps` say."""
    v = df.Variable(np.random.default_rng(7).normal(size=(3, 3)).astype(np.float32))

    def f(x):
        values = [x, x * 0.5]
        for kind, which, i, j in steps:
            a, b = values[i % len(values)], values[j % len(values)]
            values.append(step(kind, which, a, b, v))
        return values[-1], values[-2].sum()

    return f, v


def step(kind, which, a, b, v):
    """One more value."""
    if kind == "unary":
        return UNARY[which % len(UNARY)](a)
    if kind == "binary":
        return BINARY[which % len(BINARY)](a, b)
    if kind == "read":
        return v * a
    if kind == "write":
        v.assign(df.tanh(v + a))
        return v.read_value()
    if kind == "ask":
        return a + b if a.sum() > b.sum() else a - b
    if kind == "loop":
        while a[0, 0] > 0.5:
            a = a * 0.5
        return a
    return df.grad(lambda z: (df.tanh(z) * b).sum())(a)


def inputs():
    return [
        df.asarray(x) for x in np.random.default_rng(0).normal(size=(4, 3, 3)).astype(np.float32)
    ]


@graphs_only
@given(STEPS)
def test_the_same_results_and_state(steps):
    f = agree(lambda: program(steps), [(x,) for x in (*inputs(), *inputs())], max_paths=10_000)
    assert f.from_graph + len(f.graphs) == 8


@given(STEPS)
def test_the_same_gradients_through_the_call(steps):
    found = []
    for wrap in (lambda f: f, lambda f: df.function(f, strict=True)):
        f, v = program(steps)
        f = wrap(f)
        found.append([])
        for x in (*inputs(), *inputs()):
            with df.GradientTape() as tape:
                tape.watch(x)
                y, total = f(x)
                loss = (y * y).sum() + total
            found[-1] += tape.gradient(loss, [x, v], unconnected_gradients="none")
    for ours, theirs in zip(found[1], found[0], strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            scale = float(np.abs(theirs.numpy()).max())
            np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-5, atol=1e-5 * scale)
