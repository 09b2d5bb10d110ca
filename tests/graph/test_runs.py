"""What runs tell of themselves: numbers drawn anew, default sessions, names in scopes."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
from tests.modes import bits

G = df.graph


@pytest.fixture(autouse=True)
def graph():
    with G.Graph().as_default() as graph:
        yield graph


def test_each_run_draws_anew_and_one_run_draws_once():
    chance = G.generator()
    x = df.random.normal((3, 2), generator=chance)
    y = df.random.uniform((4,), dtype="float64", generator=chance)
    doubled, drawn = x * 2.0, df.random.categorical(None, y, generator=chance)
    session = G.Session()
    df.random.seed(5)
    runs = [session.run([x, doubled, y, drawn]) for _ in range(3)]
    for a, b, c, k in runs:
        assert bits(b) == bits(a * np.float32(2))
        assert 0 <= k < 4
        assert (c < 1).all()
    assert len({bits(run[0]) for run in runs}) == len({bits(run[2]) for run in runs}) == 3
    df.random.seed(5)
    again = G.Session()
    assert [bits(again.run([x, y])[0]) for _ in range(3)] == [bits(run[0]) for run in runs]
    state = df.random.get_state().tolist()
    session.run(df.ones(2) + G.GraphVariable(1.0).initial)  # nothing is drawn
    assert df.random.get_state().tolist() == state


def test_children_of_the_generator_differ():
    one, other = df.random.split(G.generator())
    parts = [df.random.uniform((8,), generator=g) for g in (one, other, G.generator())]
    found = G.Session().run(parts)
    assert len({bits(x) for x in found}) == 3
    with pytest.raises(TypeError, match=r"df.random.seed\(n\) before"):
        G.generator().seed(1)


def test_variables_begin_with_what_is_drawn():
    w = G.GraphVariable(df.random.normal((3,), generator=G.generator()), name="w")
    one, other = G.Session(), G.Session()
    for session in (one, other):
        session.run(w.initializer)
    assert bits(one.run(w)) == bits(one.run(w)) != bits(other.run(w))
    slope = G.gradients((w * w).sum(), [w])[0]
    np.testing.assert_array_equal(one.run(slope), 2 * one.run(w))


def test_the_session_around_is_asked():
    x = G.placeholder("float32", (None, 2), "x")
    w = G.GraphVariable([[1.0], [2.0]], name="w")
    y = x @ w
    add = G.assign_add(w, [[1.0], [1.0]])
    assert y.get_shape().as_list() == [None, 1]
    assert w.get_shape() == (2, 1)
    with pytest.raises(df.errors.TraceError, match="eval: there is no default session"):
        y.eval({x: [[1.0, 1.0]]})
    with G.Session() as session:
        G.global_variables_initializer().run()
        assert y.eval({x: [[1.0, 1.0]]}).tolist() == [[3.0]]
        assert add.run().tolist() == w.eval().tolist() == [[2.0], [3.0]]
        with G.Session() as inner:
            inner.run(w.initializer)
            assert w.eval().tolist() == [[1.0], [2.0]]
        assert G.get_default_session() is session
        assert w.eval().tolist() == [[2.0], [3.0]]
    assert G.get_default_session() is None
    lasting = G.Session()
    with lasting.as_default():
        w.initializer.run()
    assert w.eval(lasting).tolist() == [[1.0], [2.0]]


def test_an_interactive_session_stays():
    w = G.GraphVariable(3.0)
    session = G.InteractiveSession()
    w.initializer.run()
    assert (w * 2.0).eval() == 6.0
    session.close()
    assert G.get_default_session() is None


def test_names_in_scopes(graph):
    with G.name_scope("net"):
        a, b = G.GraphVariable(0.0, name="w"), G.placeholder("float32", (), "x")
        with G.name_scope("inner"):
            c = G.GraphVariable(0.0, name="w")
    with G.name_scope("net"):
        d = G.GraphVariable(0.0, name="w")
    names = [v.name for v in (a, c, d)]
    assert names == ["net/w", "net/inner/w", "net_1/w"]
    assert "net_x" in str(graph)
    assert b.eval({b: 2.0}, G.Session()) == 2.0
