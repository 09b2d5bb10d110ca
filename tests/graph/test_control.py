"""Choices and loops of graphs by hand: values and gradients are those of Python's own."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df

G = df.graph
X = np.array([1.0, 2.0, 3.0], np.float32)


@pytest.fixture(autouse=True)
def graph():
    with G.Graph().as_default() as graph:
        yield graph


def test_only_the_branch_that_is_taken_counts():
    x, w = G.placeholder("float32", (3,), "x"), G.GraphVariable([1.0, 2.0, 4.0])
    y = G.cond(
        x.sum() > 0, lambda: {"a": x * x + w, "b": df.ones(2)}, lambda: {"a": -x, "b": w[:2]}
    )
    slopes = G.gradients(y["a"].sum(), [x, w])
    session = G.Session()
    session.run(w.initializer)
    found, *given = session.run([y, *slopes], {x: X})
    assert [v.tolist() for v in found.values()] == [[2.0, 6.0, 13.0], [1.0, 1.0]]
    assert [v.tolist() for v in given] == [[2.0, 4.0, 6.0], [1.0, 1.0, 1.0]]
    found, *given = session.run([y, *slopes], {x: -X})
    assert [v.tolist() for v in found.values()] == [[1.0, 2.0, 3.0], [1.0, 2.0]]
    assert [v.tolist() for v in given] == [[-1.0] * 3, [0.0] * 3]
    nested = G.cond(x[0] > 0, lambda: G.cond(x[1] > 0, lambda: w * 2, lambda: w), lambda: w * 3)
    signs = [(1, 1, 1), (1, -1, 1), (-1, 1, 1)]
    assert [session.run(nested, {x: X * s})[0] for s in signs] == [2.0, 1.0, 3.0]


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_loops_of_which_values_tell_how_long(steps):
    x, n = G.placeholder("float32", (3,), "x"), G.placeholder("int64", (), "n")
    w = G.GraphVariable([1.0, 2.0, 3.0])

    def body(i, y):
        return i + 1, y * w

    i, y = G.while_loop(lambda i, y: i < n, body, (df.asarray(0), x))
    _, z = G.while_loop(lambda i, y: i < n, body, [0, x], maximum_iterations=10)
    slopes = G.gradients(z.sum(), [x, w])
    session = G.Session()
    session.run(w.initializer)
    count, last, same, to_x, to_w = session.run([i, y, z, *slopes], {x: X, n: steps})
    powers = X**steps
    assert count == steps
    for found, wanted in (
        (last, X * powers),
        (same, X * powers),
        (to_x, powers),
        (to_w, steps * X ** max(steps - 1, 0) * X if steps else 0 * X),
    ):
        np.testing.assert_allclose(found, wanted, rtol=1e-6)
    _, cut = G.while_loop(lambda i, y: i < n, body, [0, x], maximum_iterations=2)
    np.testing.assert_allclose(session.run(cut, {x: X, n: steps}), X * X ** min(steps, 2))


def test_a_loop_of_one_variable_draws_in_each_run():
    n = G.placeholder("float32", (), "n")
    y = G.while_loop(lambda y: y < n, lambda y: y + df.random.uniform(generator=G.generator()), 0.0)
    session = G.Session()
    found = [session.run(y, {n: 5.0}).item() for _ in range(3)]
    assert len(set(found)) == 3
    assert all(5.0 <= x < 6.0 for x in found)


def elsewhere():
    with G.Graph().as_default():
        return G.placeholder("float32", ())


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x: G.cond(x > 0, lambda: x, lambda: x[0]), df.errors.ShapeError, "cond: pred"),
        (
            lambda x: G.cond(x[0] > 0, lambda: x, lambda: x[0]),
            df.errors.ShapeError,
            "of one branch",
        ),
        (lambda x: G.cond(x[0] > 0, lambda: x, lambda: 1), df.errors.ShapeError, "has shape"),
        (
            lambda x: G.cond(x[0] > 0, lambda: x[0], elsewhere),
            df.errors.TraceError,
            "another graph",
        ),
        (
            lambda x: G.while_loop(lambda y: y[0] < 9, lambda y: y[:2], x),
            df.errors.ShapeError,
            r"has shape \(3,\) before a step and \(2,\) after it",
        ),
    ],
)
def test_mistakes_are_told(call, error, words):
    with pytest.raises(error, match=words):
        call(G.placeholder("float32", (3,), "x"))
