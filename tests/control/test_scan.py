"""scan, map and fori_loop: a Python loop's results and gradients, in both modes, as one node."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import example, given, settings

import dualflow as df
from dualflow.core.op import registry
from jit.ir.text import parse
from tests.modes import bits, graphs_only, if_graphs
from tests.tracing.both import agree

WIDTH = 3
W = np.asarray([[0.5, -0.25, 0.75], [1.0, 0.5, -0.5], [-0.75, 0.25, 0.5]], np.float32)


def values(*shape, seed=0):
    return df.asarray(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def loops_of(f):
    """The loop nodes of the only graph of a recorded function."""
    (graph,) = f.graphs
    return [node for node in graph.nodes if node.op.repeats]


def rnn(w):
    def step(h, x):
        h = df.tanh(h @ w + x)
        return h, h * x

    return step


def lstm(w):
    def step(state, x):
        h, c = state
        z = x + h @ w
        i, f, o, g = (z[..., 2 * k : 2 * k + 2] for k in range(4))
        c = df.nn.functional.sigmoid(f) * c + df.nn.functional.sigmoid(i) * df.tanh(g)
        h = df.nn.functional.sigmoid(o) * df.tanh(c)
        return (h, c), h

    return step


# What a step may hand on and stack: `a` and `b` are carries, `x` is a row, `s` is the same always.
STEPS = {
    "as it came": lambda a, b, x, s: ((a * s + x, b), a),
    "exchanged": lambda a, b, x, s: ((b, df.tanh(a + x)), (a, b)),
    "twice": lambda a, b, x, s: ((df.tanh(a * x), b + a), (a, a, x)),
    "shared": lambda a, b, x, s: ((df.tanh(a + s), df.tanh(a + s) * b), x * s),
    "from outside": lambda a, b, x, s: ((s, a + x), (s, b)),
    "left": lambda a, b, x, s: ((a + x * b, df.sin(b)), {"a": a + x * b, "none": None}),
    "views": lambda a, b, x, s: ((df.flip(a), df.flip(df.flip(b))), df.reshape(a, (WIDTH, 1))),
    "last row": lambda a, b, x, s: ((x * s, b), None),
    "numbers": lambda a, b, x, s: ((a + 2.0, b * 0.5 + x.sum()), 1.0),
}


@graphs_only
@settings(max_examples=5)
@given(
    kind=st.sampled_from(sorted(STEPS)),
    count=st.integers(2, 7),
    reverse=st.booleans(),
    unroll=st.sampled_from([1, 1, 2, 3]),
    last=st.booleans(),
)
@example(kind="last row", count=6, reverse=True, unroll=1, last=True)
def test_results_and_gradients_are_those_of_eager_in_every_bit(kind, count, reverse, unroll, last):
    xs, a, b, s = (
        values(*shape, seed=k) for k, shape in enumerate([(count, WIDTH), *[(WIDTH,)] * 3])
    )

    def loss(xs, a, b, s):
        def step(state, x):
            return STEPS[kind](*state, x, s)

        state, ys = df.scan(step, (a, b), xs, reverse=reverse, unroll=unroll)
        leaves = [y for y in df.tree.flatten((state if last else None, ys))[0] if y is not None]
        return sum([(y * y).sum() for y in leaves], (s * a).sum())

    def program():
        return df.value_and_grad(loss, (0, 1, 2, 3)), ()

    f = agree(program, [(xs, a, b, s)] * 3)
    assert f.from_graph == 2
    agree(lambda: (loss, ()), [(xs, a, b, s)] * 2)


@given(count=st.integers(1, 5), reverse=st.booleans(), unroll=st.integers(1, 3))
@settings(max_examples=6)
def test_it_is_what_a_python_loop_computes(count, reverse, unroll):
    xs, h, ys = values(count, WIDTH), values(WIDTH, seed=1), {}
    step = rnn(df.asarray(W))
    found = df.scan(step, h, {"x": xs} and xs, reverse=reverse, unroll=unroll)
    for k in sorted(range(count), reverse=reverse):
        h, ys[k] = step(h, xs[k])
    assert bits(found[0]) == bits(h)
    assert bits(found[1]) == bits(df.stack([ys[k] for k in range(count)]))


def graph_of(python, *args):
    f = df.function(python, strict=True)
    f(*args)
    (graph,) = f.graphs
    return f, graph


def trained(xs, h, w):
    def loss(w):
        (_, c), ys = df.scan(lstm(w), (h, h), xs)
        return (ys * ys).sum() + c.sum()

    return df.grad(loss)(w)


@graphs_only
@pytest.mark.parametrize("long", [120, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("python", [trained, lambda xs, h, w: df.scan(lstm(w), (h, h), xs)])
def test_what_is_compiled_does_not_depend_on_the_number_of_steps(python, long):
    h, w = values(4, 2), values(2, 8)
    made = []
    for count in (60, long):
        f, graph = graph_of(python, values(count, 4, 8), h, w)
        made.append((len(graph.nodes), len(f.explain().kernels)))
    assert made[0] == made[1]


@graphs_only
def test_a_layer_is_trained_by_one_loop_each_way():
    cell = df.nn.LSTMCell(4, 3)
    parameters = list(cell.parameters())

    def trained(xs, h):
        def step(state, x):
            h, c = cell(x, state)
            return (h, c), h

        with df.GradientTape() as tape:
            _, ys = df.scan(step, (h, h), xs)
            loss = (ys * ys).sum()
        return loss, tape.gradient(loss, parameters)

    xs, h = values(9, 2, 4), values(2, 3)
    f = df.function(trained, strict=True)
    loss, gradients = f(xs, h)
    wanted, slopes = trained(xs, h)
    assert list(map(bits, [loss, *gradients])) == list(map(bits, [wanted, *slopes]))
    assert len(loops_of(f)) == 2


@graphs_only
def test_a_loop_is_one_node_and_one_step_of_native_code():
    f = df.function(lambda xs, h: df.scan(rnn(df.asarray(W)), h, xs))
    f(values(30, WIDTH), values(WIDTH))
    assert len(loops_of(f)) == 1
    assert "30 times" in str(f.explain())
    assert f.mode == "compiled"


@graphs_only
@pytest.mark.parametrize(("outer", "inner"), [(4, 3), (2, 400), (400, 3)])
def test_of_loops_in_loops_one_is_native_code(outer, inner):
    def rows_of(h, x):
        return df.scan(lambda h, y: (df.tanh(h + y), None), h, x)[0], h.sum()

    f = agree(
        lambda: (lambda xs: df.scan(rows_of, df.zeros(2), xs), ()), [(values(outer, inner, 2),)] * 2
    )
    assert "times" in str(f.explain())
    assert f.explain().host_steps == []


@graphs_only
def test_the_graph_is_text_that_is_read_back():
    _, graph = graph_of(lambda xs, h: df.scan(rnn(df.asarray(W)), h, xs, reverse=True), *shapes())
    assert str(parse(str(graph), registry)) == str(graph)


def shapes():
    return values(5, WIDTH), values(WIDTH)


def test_gradients_agree_with_finite_differences_to_the_second_order():
    def f(xs, h, w):
        h, ys = df.scan(rnn(w), h, xs)
        return h.sum() + (ys * ys).sum()

    for python in (f, df.function(f)):
        df.testing.check_gradients(python, *shapes(), df.asarray(W))


def loss_of(xs, h):
    last, ys = df.scan(rnn(df.asarray(W)), h, xs)
    return (ys * ys).sum() + last.sum()


def tangents(xs, h):
    return df.jvp(loss_of, (xs, h), (xs, h))


def second(xs, h):
    return df.grad(lambda xs, h: (df.grad(loss_of)(xs, h) ** 2).sum(), (0, 1))(xs, h)


def products(xs, h):
    return df.hvp(loss_of, (xs, h), (xs, h))


@pytest.mark.parametrize(
    "python",
    [tangents, products, pytest.param(second, marks=pytest.mark.slow)],
)
def test_tangents_and_second_derivatives_are_alike_in_both_modes(python):
    xs, h = shapes()
    wanted, f = python(xs, h), df.function(python, strict=True)
    for _ in range(2):
        pairs = zip(*(df.tree.flatten(x)[0] for x in (wanted, f(xs, h))), strict=True)
        for a, b in pairs:
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=2e-6, atol=1e-6)
    assert f.from_graph == if_graphs(1)


@graphs_only
def test_a_tape_outside_of_the_function():
    w = df.Variable(W)

    def f(xs, h):
        return df.scan(rnn(w), h, xs)

    def gradients(f):
        xs, h = shapes()
        with df.GradientTape() as tape:
            tape.watch([xs, h])
            last, ys = f(xs, h)
            loss = (ys * last).sum()
        return [bits(g) for g in tape.gradient(loss, [w, xs, h])]

    compiled, wanted = df.function(f, strict=True), gradients(f)
    for _ in range(3):
        assert gradients(compiled) == wanted
    assert compiled.from_graph == 2


def test_vmap_and_gradients_meet():
    xs, h, w = values(2, 5, WIDTH), values(2, WIDTH), df.asarray(W)

    def loss(xs, h, w):
        return df.scan(rnn(w), h, xs)[1].sum()

    def each(xs, h, w):
        return df.vmap(df.value_and_grad(loss, (0, 1, 2)), (0, 0, None))(xs, h, w)

    def all_(xs, h, w):
        return df.grad(lambda w: df.vmap(loss, (0, 0, None))(xs, h, w).sum())(w)

    wanted = each(xs, h, w)
    for k in range(2):
        for whole, one in zip(
            df.tree.flatten(wanted)[0],
            df.tree.flatten(df.value_and_grad(loss, (0, 1, 2))(xs[k], h[k], w))[0],
            strict=True,
        ):
            np.testing.assert_allclose(whole[k].numpy(), one.numpy(), rtol=1e-5, atol=1e-6)
    for python in (each, all_):
        agree(lambda python=python: (python, ()), [(xs, h, w)] * 2)


@graphs_only
@pytest.mark.parametrize("axes", [((0, 0), 0), ((None, 0), 1), ((0, None), 0)])
def test_all_examples_of_a_batch_go_through_one_loop(axes):
    (h_axis, xs_axis), out = axes
    xs = values(4, 6, WIDTH) if xs_axis == 0 else values(6, WIDTH)
    h = values(4, WIDTH) if h_axis == 0 else values(WIDTH)

    def each(xs, h):
        both = df.vmap(lambda h, xs: df.scan(rnn(df.asarray(W)), h, xs), (h_axis, xs_axis), out)
        return both(h, xs)

    f = agree(lambda: (each, ()), [(xs, h)] * 2)
    assert len(loops_of(f)) == 1
    last, ys = each(xs, h)
    one = df.scan(
        rnn(df.asarray(W)), h if h_axis is None else h[1], xs if xs_axis is None else xs[1]
    )
    assert bits(df.moveaxis(last, out, 0)[1]) == bits(one[0])
    assert bits(df.moveaxis(ys, out, 0)[1]) == bits(one[1])


@graphs_only
def test_one_recording_serves_all_batches():
    def slope(xs, h):
        return df.grad(lambda h: df.scan(rnn(df.asarray(W)), h, xs)[1].sum())(h)

    calls = [(values(5, n, WIDTH), values(n, WIDTH)) for n in (2, 3, 4, 7)]
    f = agree(lambda: (slope, ()), calls)
    assert (f.from_graph, len(f.graphs)) == (2, 2)


# ----- what a step does besides computing -----


def appending():
    kept = []

    def f(xs, h):
        local = []

        def step(h, x):
            local.append(h)
            kept.append(0)
            return h + x, x

        return df.scan(step, h, xs), local

    return f, kept


def assigning():
    total = df.Variable(0.0)

    def f(xs, h):
        def step(h, x):
            total.assign_add(x.sum())
            return h + x * total, x

        return df.scan(step, h, xs)

    return f, total


def reading():
    scale = df.Variable(2.0)

    def f(xs, h):
        before = df.scan(lambda h, x: (h * scale + x, h), h, xs)
        scale.assign(scale * 0.5)
        return before, df.scan(lambda h, x: (h * scale + x, h), h, xs)

    return f, scale


def listing():
    """Lists of the step's own, and computing again inside of it, keep it a loop."""

    def f(xs, h):
        def step(h, x):
            known = [h]
            for _ in range(2):
                known.append(df.recompute(lambda y: df.sin(y) * x)(known[-1]))
            return df.tanh(known[-1]), known[1]

        return df.value_and_grad(lambda h: df.scan(step, h, xs)[1].sum())(h)

    return f, ()


def deciding():
    def f(xs, h):
        return df.scan(lambda h, x: (h + x if x.sum() > 0 else h - x, h), h, xs)

    return f, ()


def drawing():
    def f(xs, h):
        df.random.seed(3)
        return df.scan(lambda h, x: (h + df.random.normal((WIDTH,)), h), h, xs)

    return f, ()


def nested():
    def f(xs, h):
        def outer(h, x):
            return df.scan(lambda h, y: (df.tanh(h + y), h.sum()), h, x[:, None])

        return df.scan(outer, h, xs)

    return f, ()


def quiet():
    def f(xs, h):
        with df.no_grad():
            a = df.scan(lambda h, x: (h * x, h), h, xs)

        def step(h, x):
            with df.no_grad():
                y = h * x
            return h * y, y

        return a, df.grad(lambda h: df.scan(step, h, xs)[0].sum())(h)

    return f, ()


@pytest.mark.parametrize(
    "program", [appending, assigning, reading, listing, deciding, drawing, nested, quiet]
)
def test_a_step_that_does_more_than_compute(program):
    xs, h = shapes()
    options = {} if program is not drawing else {"strict": False}
    agree(program, [(xs, h), (xs, h), (-xs, h), (xs, h)], **options)


@graphs_only
def test_only_a_step_that_computes_becomes_a_loop():
    counts = {}
    for program in (reading, listing, appending, deciding):
        f = df.function(program()[0])
        f(*shapes())
        f(*shapes())
        counts[program] = len(loops_of(f)) if len(f.graphs) == 1 else 0
    assert counts == {reading: 2, listing: 2, appending: 0, deciding: 0}


@graphs_only
def test_rows_of_steps_that_are_taken_by_themselves_are_found_again_as_a_loop():
    kept = []

    def step(h, x):
        kept.append(0)
        return h * 0.5 + x, h

    f = df.function(lambda xs, h: df.scan(step, h, xs))
    for _ in range(2):
        f(values(80, WIDTH), values(WIDTH))
    assert "79 times" in str(f.explain())
