"""Scans over extents that vary: one recording for all lengths, with the bits of eager mode."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
from dualflow.core.op import registry
from dualflow.tracing.control import looped, loops
from jit.ir.text import parse
from tests.modes import graphs_only
from tests.tracing.both import agree

LENGTHS = (5, 6, 9, 4, 3, 2, 1, 40, 7, 150)
W = np.asarray([[0.5, -0.25, 0.75], [1.0, 0.5, -0.5], [-0.75, 0.25, 0.5]], np.float32)


def values(*shape, seed=0):
    return df.asarray(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def rnn(w):
    def step(h, x):
        h = df.tanh(h @ w + x)
        return h, h * x

    return step


def forward(xs, w):
    return df.scan(rnn(w), df.zeros(3), xs)


def backward(xs, w):
    return df.scan(rnn(w), df.zeros(3), xs, reverse=True)


def two_stacks(xs, w):
    return df.scan(lambda h, x: (df.tanh(h @ w + x[0] * x[1]), h), df.ones(3), (xs, xs + 1.0))


def by_length(xs, w):
    return df.scan(lambda h, _: (df.tanh(h @ w), h[0]), df.ones(3), length=xs.shape[0])


def numbered(xs, w):
    return df.fori_loop(0, xs.shape[0], lambda i, h: df.tanh(h @ w + xs[i]), df.zeros(3))


def exchanged(xs, w):
    """Carries that change places: which memory holds the last one depends on the length."""
    return df.scan(lambda s, x: ((s[1], df.tanh(s[0] + x)), s[0]), (w[0], w[1]), xs)


def mapped(xs, w):
    return df.map(lambda x: df.tanh(x @ w), xs)


def of_examples(xs, w):
    return df.vmap(lambda a: forward(xs * a, w))(df.asarray([1.0, -2.0]))


def unread(xs, w):
    """Gradients reach no row."""
    return df.scan(lambda h, x: (df.tanh(h @ w), x), df.ones(3), xs)[0]


def choosing(xs, w):
    """Steps with a choice, which native code does not repeat: each is one call of it."""

    def step(h, x):
        h = df.cond(df.sum(x) > 0, lambda h: df.tanh(h @ w), lambda h: h * 0.5 + x, h)
        return h, h

    return df.scan(step, df.ones(3), xs)


def in_steps(xss, w):
    """Steps that hold a scan over an extent that varies."""

    def step(h, xs):
        h, ys = df.scan(rnn(w), h, xs)
        return h * 0.5, ys.sum(axis=0)

    return df.scan(step, df.ones(3), xss)


PROGRAMS = [forward, backward, two_stacks, by_length, numbered, exchanged, mapped, of_examples]
PROGRAMS += [choosing]
WATCHED = [*PROGRAMS, unread]


def names(functions):
    return pytest.mark.parametrize("function", functions, ids=lambda f: f.__name__)


def loss(function):
    def total(xs, w):
        results = function(xs, w)
        if not isinstance(results, tuple):
            return df.sum(results * results)
        carry, ys = results
        carry = carry if isinstance(carry, tuple) else (carry,)
        return sum((df.sum(x * x) for x in carry), df.sum(ys * ys))

    return total


def calls():
    return [(values(count, 3, seed=count), df.asarray(W)) for count in (LENGTHS[0], *LENGTHS)]


@pytest.mark.filterwarnings("ignore::dualflow.errors.RetraceWarning")
@names(PROGRAMS)
def test_results_are_those_of_eager_for_all_lengths(function):
    agree(lambda: (function, ()), calls())


@pytest.mark.filterwarnings("ignore::dualflow.errors.RetraceWarning")
@names(WATCHED)
def test_gradients_are_those_of_eager_for_all_lengths(function):
    agree(lambda: (df.value_and_grad(loss(function), argnums=(0, 1)), ()), calls())


@pytest.mark.filterwarnings("ignore::dualflow.errors.RetraceWarning")
@names([forward, backward, exchanged, choosing])
def test_tangents_are_those_of_eager_for_all_lengths(function):
    def pushed(xs, w):
        return df.jvp(loss(function), (xs, w), (xs * 0.5, w * 0.25))

    agree(lambda: (pushed, ()), calls())


@graphs_only
@names(PROGRAMS)
@pytest.mark.parametrize(
    "derive", [lambda f: f, lambda f: df.grad(loss(f), argnums=1)], ids=["f", "grad"]
)
def test_one_recording_serves_all_lengths(function, derive):
    f = df.function(derive(function))
    for count in (20, 30):  # the second one shows what varies
        f(values(count, 3), df.asarray(W))
    graphs = list(f.graphs)
    assert len(graphs) == 2
    for count in (25, 300, 6):
        f(values(count, 3), df.asarray(W))
    assert f.graphs == graphs
    assert any(node.op.repeats for node in graphs[1].nodes)
    assert str(parse(str(graphs[1]), registry)) == str(graphs[1])


@graphs_only
@pytest.mark.parametrize("function", [choosing, df.grad(loss(choosing), argnums=(0, 1))])
def test_steps_that_hold_a_choice_are_code_where_lengths_vary(monkeypatch, function):
    f = df.function(function)
    for count in (120, 130):
        f(values(count, 3), df.asarray(W))
    monkeypatch.setattr(looped, "op_by_op", None)
    assert {part.label for part in f.explain().host_steps} == {"loop"}
    f(values(140, 3), df.asarray(W))


@graphs_only
def test_scans_in_a_step_of_any_length():
    """What a gradient or a tangent runs again of a step keeps the extents of the recording."""
    pulled = df.grad(loss(in_steps), argnums=(0, 1))

    def pushed(xss, w):
        return df.jvp(loss(in_steps), (xss, w), (xss * 0.5, w * 0.25))

    for function in (in_steps, pulled, pushed):
        inputs = [(values(3, n, 3, seed=n), df.asarray(W)) for n in (5, 7, 8, 20)]
        f = agree(lambda: (function, ()), inputs)  # noqa: B023
        assert len(f.graphs) == 2


def by_extent(xs, y):
    """Steps that use an extent of something that they read nothing of."""

    def step(h, x):
        grown = df.full((y.shape[0] + 1,), 0.5) * x
        return h + x, df.cond(x > 0, lambda x: df.sum(grown * x), lambda x: x, x)

    h, ys = df.scan(step, 0.0, xs)
    return df.while_loop(lambda h: h < 9.0, lambda h: h + y.shape[0], h), ys, df.sum(y)


@graphs_only
@pytest.mark.parametrize("count", [5, 120])
def test_steps_use_extents_of_what_they_do_not_read(count):
    def pulled(xs, y):
        return df.grad(lambda xs, y: sum(map(df.sum, by_extent(xs, y)[1:])), argnums=(0, 1))(xs, y)

    for function in (by_extent, pulled):
        f = agree(
            lambda: (function, ()),  # noqa: B023
            [(values(count, seed=n), values(n)) for n in (30, 31, 500)],
        )
        assert len(f.graphs) == 2


@graphs_only
def test_a_step_that_asks_for_values_is_taken_by_python():
    def halved(xs):
        return df.scan(lambda h, x: ((h / 2 if x > 0 else h + x), h), df.asarray(1.0), xs)

    f = agree(lambda: (halved, ()), [(df.ones(n),) for n in (3, 3, 4, 5)])
    assert not any(node.op.repeats for graph in f.graphs for node in graph.nodes)


def test_lengths_that_agree_in_one_call_and_differ_in_another():
    def both(xs, ys):
        return df.scan(lambda h, row: (h + row[0] * row[1], h), df.asarray(0.0), (xs, ys))

    pairs = [(4, 4), (5, 5), (6, 6), (6, 7), (8, 8)]
    agree(lambda: (both, ()), [(df.ones(n), df.ones(m)) for n, m in pairs])


@pytest.mark.filterwarnings("ignore::dualflow.errors.RetraceWarning")
def test_blocks_of_steps_of_any_length():
    def unrolled(xs, w):
        return df.scan(rnn(w), df.zeros(3), xs, unroll=4)

    agree(lambda: (unrolled, ()), calls())


@graphs_only
@pytest.mark.filterwarnings("ignore::dualflow.errors.RetraceWarning")
def test_on_a_gpu_each_length_has_a_recording(monkeypatch):
    """Its table of launches has a row for each, and cannot take turns of which nobody knows."""
    monkeypatch.setattr(loops, "device_of", lambda raw: "gpu:0")
    f = agree(lambda: (forward, ()), calls())
    counts = [node.attrs["count"] for g in f.graphs for node in g.nodes if node.op.repeats]
    assert len(counts) > 4
    assert {type(count) for count in counts} == {int}
