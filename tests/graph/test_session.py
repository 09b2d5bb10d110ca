"""Graphs built by hand: what a session gives is what eager code gives, and mistakes are told."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dualflow as df
import jit
from dualflow.core.op import registry
from jit.ir.text import parse
from tests.modes import bits

G = df.graph


@pytest.fixture(autouse=True)
def graph():
    with G.Graph().as_default() as graph:
        yield graph


def test_the_two_layer_net_of_1_x():
    n, d, h = 64, 1000, 100
    random = np.random.default_rng(0)
    shapes = {"x": (n, d), "y": (n, d), "w1": (d, h), "w2": (h, d)}
    places = {name: G.placeholder(df.float32, shape, name) for name, shape in shapes.items()}
    values = {name: random.standard_normal(shape) for name, shape in shapes.items()}

    def loss_of(x, y, w1, w2):
        return df.mean(df.sum((df.matmul(df.matmul(x, w1), w2) - y) ** 2, axis=1))

    loss = loss_of(**places)
    slopes = G.gradients(loss, [places["w1"], places["w2"]])
    with G.Session() as session:
        feeds = {places[name]: value for name, value in values.items()}
        found = session.run([loss, *slopes], feed_dict=feeds)
    tensors = {k: df.asarray(v, dtype="float32") for k, v in values.items()}
    with df.GradientTape() as tape:
        tape.watch([tensors["w1"], tensors["w2"]])
        wanted = loss_of(**tensors)
    wanted = [wanted, *tape.gradient(wanted, [tensors["w1"], tensors["w2"]])]
    assert [bits(a) for a in found] == [bits(b) for b in wanted]
    assert isinstance(found[1], np.ndarray)


NETS = {
    "normalised": lambda x, w: df.nn.functional.softmax(x @ w, axis=-1) * df.tanh(x @ w),
    "convolved": lambda x, w: df.nn.functional.conv1d(
        df.reshape(x, (-1, 1, 4)), df.reshape(w, (3, 1, 4)), padding=2
    ).mean(axis=-1),
    "branched": lambda x, w: df.where((x @ w) > 0, x @ w, df.exp(x @ w) - 1.0),
    "sorted": lambda x, w: df.sort(x, axis=0) @ w + df.arange(x.shape[0])[:, None],
    "sized": lambda x, w: (x @ w).sum(axis=0) / x.shape[0] + df.ones((x.shape[0], 3)) * w[0],
}


@given(name=st.sampled_from(sorted(NETS)), rows=st.integers(1, 6), order=st.integers(0, 2))
def test_open_extents_and_gradients_of_gradients(name, rows, order):
    with G.Graph().as_default():
        x = G.placeholder("float32", (None, 4), "x")
        w = G.placeholder("float32", (4, 3), "w")
        y = NETS[name](x, w)
        for _ in range(order):
            (y,) = G.gradients((y * y).sum(), [w])
        random = np.random.default_rng(rows)
        a, b = random.standard_normal((rows, 4)), random.standard_normal((4, 3))
        found = G.Session().run(y, {x: a, w: b})

    def eager(b, level):
        if level == 0:
            return NETS[name](df.asarray(a, dtype="float32"), b)
        with df.GradientTape() as tape:
            tape.watch(b)
            z = eager(b, level - 1)
            z = (z * z).sum()
        return tape.gradient(z, b)

    wanted = eager(df.asarray(b, dtype="float32"), order)
    np.testing.assert_allclose(found, wanted.numpy(), rtol=2e-6, atol=1e-6)


def test_one_graph_serves_many_sizes(graph):
    x = G.placeholder("float32", (None, 2), "x")
    y = x.sum(axis=1)
    session = G.Session()
    for rows in (5, 0, 1, 7, 1):
        assert session.run(y, {x: np.ones((rows, 2))}).tolist() == [2.0] * rows


def test_variables_live_in_sessions():
    w = G.GraphVariable([1.0, 2.0], name="w")
    double = G.assign(w, w * 2)
    both = G.group(G.assign_add(w, [1.0, 1.0]), G.assign(G.GraphVariable(0.0), w.sum()))
    one, other = G.Session(), G.Session()
    one.run(G.global_variables_initializer())
    other.run(w.initializer)
    assert one.run(double).tolist() == [2.0, 4.0]
    assert one.run(both) is None
    assert one.run([w, w * 10])[1].tolist() == [30.0, 50.0]
    assert one.run(G.global_variables()[1]) == 6.0
    assert other.run(w).tolist() == [1.0, 2.0]


def test_all_values_are_computed_before_any_is_set():
    a, b = G.GraphVariable(1.0, name="a"), G.GraphVariable(2.0, name="b")
    session = G.Session()
    session.run(G.global_variables_initializer())
    session.run([G.assign(a, b), G.assign(b, a)])
    assert session.run((a, b)) == (2.0, 1.0)


def test_results_are_the_callers_own():
    w = G.GraphVariable([1.0, 2.0])
    session = G.Session()
    session.run(w.initializer)
    session.run(w)[:] = 7.0
    assert session.run(w).tolist() == [1.0, 2.0]


def test_what_is_fetched_keeps_its_nest_and_is_computed_only_where_needed():
    x = G.placeholder("float32", (), "x")
    unfed = G.placeholder("float32", (), "unfed")
    y, _ = x + 1.0, unfed + 1.0
    nest = {"a": [x, (y, df.asarray(5))], "b": y}
    assert G.Session().run(nest, {x: 2.0}) == {"a": [2.0, (3.0, 5)], "b": 3.0}


def test_what_was_computed_can_be_fed_too():
    x = G.placeholder("float32", (2,), "x")
    h = df.exp(x)
    y = h * 3.0
    (slope,) = G.gradients(y, [h])
    session = G.Session()
    assert session.run([y, slope], {h: [1.0, 2.0]})[0].tolist() == [3.0, 6.0]
    assert session.run(slope, (x, [0.0, 0.0])).tolist() == [3.0, 3.0]


def test_modules_meet_placeholders():
    net = df.nn.Sequential(df.nn.Linear(3, 4), df.nn.ReLU(), df.nn.Linear(4, 2))
    x = G.placeholder("float32", (None, 3), "x")
    y = net(x)
    (slope,) = G.gradients(y, [x])
    session = G.Session()
    for _ in range(2):
        inputs = np.ones((5, 3), np.float32)
        assert bits(session.run(y, {x: inputs})) == bits(net(inputs))
        assert session.run(slope, {x: inputs}).shape == (5, 3)
        net[0].weight.assign_add(df.ones((4, 3)))  # read at each run
    loss = (y * y).sum()
    slopes = session.run(G.gradients(loss, list(net.parameters())), {x: inputs})
    (net(inputs) ** 2).sum().backward()
    assert [bits(g) for g in slopes] == [bits(p.grad) for p in net.parameters()]


def test_gradients_that_lead_nowhere_are_none():
    x, y = G.placeholder("float32", (), "x"), G.placeholder("float32", (), "y")
    assert G.gradients(x * 2.0, [x, y])[1] is None
    assert G.gradients(df.stop_gradient(x) * 2.0, x) == [None]


def test_the_graph_prints_parses_and_compiles(graph, golden):
    x = G.placeholder("float32", (None, 2), "x")
    w = G.GraphVariable([[1.0], [2.0]], name="w")
    loss = ((x @ w) ** 2).mean()
    (slope,) = G.gradients(loss, [w])
    part = graph.of([loss, slope])
    text = "\n".join(line.partition("  # ")[0] for line in str(part).splitlines())
    golden("graph/by_hand", text)
    again = parse(str(part), registry)
    assert again == part
    rows = np.ones((3, 2), np.float32)
    outputs = jit.compile(again, ops=registry)([rows, w.initial.raw])
    session = G.Session()
    session.run(w.initializer)
    assert [bits(x) for x in outputs] == [bits(x) for x in session.run([loss, slope], {x: rows})]
    assert "2 nodes" not in repr(graph)
    with pytest.raises(df.errors.GraphError):
        parse(text.replace("square(%0)", "square(%9)", 1), registry)  # a circle


def build():
    x = G.placeholder("float32", (None, 2), "x")
    return x, G.placeholder("float32", (None,), "y"), x.sum()


def elsewhere():
    with G.Graph().as_default():
        return build()[2]


def test_the_first_that_was_not_fed_is_told():
    with G.Graph().as_default():
        total = sum(G.placeholder("float32", (2,), f"x{i}") for i in range(20))
        total = total + sum(G.GraphVariable(1.0, name=f"v{i}") for i in range(20))
        with pytest.raises(df.errors.TraceError, match="placeholder 'x0' "):
            G.Session().run(total)


E = df.errors


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda s, x, y, z: s.run(z), E.TraceError, r"placeholder 'x' of .*\.py:\d+ was not fed"),
        (lambda s, x, y, z: s.run(z, {x: [1.0]}), E.ShapeError, r"'x' .*shape \(1,\)"),
        (lambda s, x, y, z: s.run(z, {x: [[1.0], [1.0, 2.0]]}), E.ShapeError, "'x' .* lengths"),
        (lambda s, x, y, z: s.run(z, {x: [["a", "b"]]}), E.DTypeError, "holds float32"),
        (lambda s, x, y, z: s.run(z, {x: z}), E.TraceError, "cannot run in a circle"),
        (lambda s, x, y, z: s.run(z, {z: 1j}), E.DTypeError, "fed complex128"),
        (lambda s, x, y, z: s.run(z, {"x": 1.0}), E.TraceError, "str is no tensor"),
        (lambda s, x, y, z: s.run(z, [x]), TypeError, "a mapping from placeholders"),
        (lambda s, x, y, z: s.run(elsewhere()), E.TraceError, "a tensor of another graph"),
        (lambda s, x, y, z: s.run("x:0"), E.TraceError, "a str cannot be fetched"),
        (
            lambda s, x, y, z: s.run(G.GraphVariable(1.0, name="v")),
            E.TraceError,
            "'v' has no value",
        ),
        (
            lambda s, x, y, z: s.run(z + y.sum(), {x: np.ones((3, 2)), y: [1, 2]}),
            E.ShapeError,
            "'batch' is 3 in 'x' and 2 in 'y'",
        ),
        (lambda s, x, y, z: s.close() or s.run(z), E.TraceError, "session is closed"),
        (lambda s, x, y, z: G.placeholder("float32"), E.TraceError, "no shape"),
        (lambda s, x, y, z: bool(z > 0), E.TraceError, "bool"),
        (lambda s, x, y, z: z + elsewhere(), E.TraceError, "of another graph"),
        (lambda s, x, y, z: G.gradients(df.ones(2), x), E.TraceError, "a tensor with values"),
        (lambda s, x, y, z: G.gradients(df.argmax(x), x), E.DTypeError, "int64"),
        (lambda s, x, y, z: df.Variable(1.0).assign(z), E.TraceError, "given a symbolic tensor"),
        (
            lambda s, x, y, z: G.assign(G.GraphVariable([1.0]), x[0]),
            E.ShapeError,
            r"has shape \(1,\)",
        ),
        (
            lambda s, x, y, z: G.assign(G.GraphVariable(1), z),
            E.DTypeError,
            "holds int64",
        ),
        (lambda s, x, y, z: G.reset_default_graph(), E.TraceError, "inside of as_default"),
    ],
)
def test_mistakes_are_told(call, error, words):
    with pytest.raises(error, match=words):
        call(G.Session(), *build())
