"""What repeats is folded before it is differentiated: few nodes, gradients with eager's bits."""

from __future__ import annotations

from operator import attrgetter

import numpy as np
import pytest

import dualflow as df
from dualflow.tracing import folding
from tests.modes import bits, graphs_only

STEPS = 70
LONGER = 100
RNG = np.random.default_rng(0)


def array(*shape):
    return RNG.standard_normal(shape).astype(np.float32) / 2


X, START, ROWS = array(3, 4), array(3, 4), array(LONGER, 3, 4)
W, U = array(4, 4), array(4, 4)
V = array(4)


def states(w, u, x, steps, h=0.0):
    """The states of a recurrent net."""
    found = []
    for _ in range(steps):
        h = df.tanh(x @ w + h * u[0])
        found.append(h)
    return found


def last(w, u, v, x, start, rows, steps):
    return (states(w, u, x, steps)[-1] ** 2).sum()


def stacked(w, u, v, x, start, rows, steps):
    return (df.stack(states(w, u, x, steps)) * 0.5).sum()


def joined_along_rows(w, u, v, x, start, rows, steps):
    return df.tanh(df.concat([x, *states(w, u, x, steps, start)])).sum()


def stacked_and_last(w, u, v, x, start, rows, steps):
    found = states(w, u, x, steps)
    return df.stack(found).sum() + df.sin(found[-1]).sum()


def last_is_used_often(w, u, v, x, start, rows, steps):
    found = states(w, u, x, steps)
    h = found[-1]
    return (h * h * h).sum() + df.tanh(df.stack(found)).sum() + (df.cos(h) * h).sum()


def stacked_backwards(w, u, v, x, start, rows, steps):
    return (df.stack(states(w, u, x, steps)[::-1]) * v).sum()


def one_of_the_middle(w, u, v, x, start, rows, steps):
    found = states(w, u, x, steps)
    return df.stack(found).sum() + df.sqrt(df.abs(found[7])).sum()


def two_of_them(w, u, v, x, start, rows, steps):
    found = states(w, u, x, steps)
    return found[3].sum() * found[-1].sum()


def layers(w, u, v, x, start, rows, steps):
    """A second loop reads each state of the first one twice."""
    first, h = states(w, u, x, steps), start
    for state in first:
        h = df.tanh(state @ u + state * h)
    return h.sum()


def layers_and_stack(w, u, v, x, start, rows, steps):
    first, h, found = states(w, u, x, steps), start, []
    for state in first:
        h = df.tanh(state @ u + h * v + state * 0.3)
        found.append(h)
    return df.stack(found).sum() + df.tanh(df.stack(first)).sum()


def residual(w, u, v, x, start, rows, steps):
    """Each state is read once by the second loop, once by a stack."""
    first, h = states(w, u, x, steps), start
    for state in first:
        h = df.tanh(state + h * v)
    return h.sum() + df.sin(df.stack(first)).sum()


def backwards(w, u, v, x, start, rows, steps):
    first, h = states(w, u, x, steps), start
    for state in reversed(first):
        h = df.tanh(state + h * v)
    return h.sum()


def gates(w, u, v, x, start, rows, steps):
    """Two carries that begin as one tensor, of which one is differentiated."""
    h = c = df.zeros((3, 4))
    for _ in range(steps):
        g = df.tanh(x @ w + h @ u)
        c = c * 0.9 + g * v
        h = df.tanh(c) * g
    return h.sum() + c.sum()


def starts_with_a_weight(w, u, v, x, start, rows, steps):
    h = w
    for _ in range(steps):
        h = df.tanh(h @ w + u * h)
    return h.sum()


def starts_alike(w, u, v, x, start, rows, steps):
    a = b = w
    for _ in range(steps):
        a, b = df.tanh(a * u), df.sin(b + a)
    return (a + b).sum()


def rows_of_data(w, u, v, x, start, rows, steps):
    h = start
    for t in range(steps):
        h = df.tanh(rows[t] @ w + h @ u)
    return h.sum()


def rows_of_what_is_computed(w, u, v, x, start, rows, steps):
    embedded, h = rows @ w, start
    for t in range(steps):
        h = df.tanh(embedded[t] + h @ u)
    return h.sum()


def numbers_that_differ(w, u, v, x, start, rows, steps):
    h, total = start, 0.0
    for t in range(steps):
        h = df.tanh(h @ w + v) * (1.0 - 0.01 * t)
        total = total + h.mean() * 0.5**t
    return total


def without_recording(w, u, v, x, start, rows, steps):
    h, seen = start, 0.0
    for _ in range(steps):
        h = df.tanh(h @ w + v)
        with df.no_grad():
            seen = seen + (h * v).sum()
    return h.sum() * seen


def infinite_slopes(w, u, v, x, start, rows, steps):
    h = df.zeros((3, 4))
    for _ in range(steps):
        h = df.sqrt(h * h) * w[0] + x @ u
    return h.sum()


def in_a_loop(w, u, v, x, start, rows, steps):
    h = start
    for _ in range(steps // 10):
        for _ in range(10):
            h = df.tanh(h * v)
        h = h @ w + 0.1
    return h.sum()


def masked(w, u, v, x, start, rows, steps):
    h = start
    for _ in range(steps):
        h = df.where(h > 0, h * v, x @ w)
    return h.sum()


def trained(w, u, v, x, start, rows, steps):
    """Steps of training, and what they have trained is used."""
    for _ in range(steps):
        with df.GradientTape() as tape:
            loss = ((x @ v - 1.0) ** 2).mean()
        v.assign_sub(0.05 * tape.gradient(loss, v))
    return (v * v).sum() + (x @ w @ v).sum()


def trained_and_summed(w, u, v, x, start, rows, steps):
    """What each step reads of a Variable goes back to that Variable, in its order."""
    total = 0.0
    for _ in range(steps):
        total = total + (x * v * v).sum()
        v.assign(v * 0.9 + u[0] * 0.01)
    return total + (v * v * v).sum()


def averaged(w, u, v, x, start, rows, steps):
    """Two Variables that depend on each other."""
    for _ in range(steps):
        u.assign_sub(0.1 * df.tanh(u @ w))
        v.assign(v * 0.9 + u[0] * 0.1)
    return (u * v).sum() + w.sum()


FOLDED = [
    last,
    stacked,
    joined_along_rows,
    stacked_and_last,
    layers,
    residual,
    backwards,
    gates,
    rows_of_data,
    rows_of_what_is_computed,
    numbers_that_differ,
    without_recording,
    infinite_slopes,
    masked,
    trained,
    trained_and_summed,
    averaged,
]
LEFT = [
    last_is_used_often,
    stacked_backwards,
    one_of_the_middle,
    two_of_them,
    layers_and_stack,
    starts_with_a_weight,
    starts_alike,
]


name_of = attrgetter("__name__")


def variables():
    return [df.Variable(x, name=name) for name, x in (("w", W), ("u", U), ("v", V))]


def gradients(program, steps, function, calls=3):
    """Losses, gradients and Variables of some calls."""
    weights, found = variables(), []
    run = function(program)
    for _ in range(calls):
        with df.GradientTape() as tape:
            loss = run(*weights, df.asarray(X), df.asarray(START), df.asarray(ROWS), steps)
            whole = loss * 0.5 + (weights[0] * weights[1] * weights[2]).sum()
        found += [loss, *tape.gradient(whole, weights), *[x.read_value() for x in weights]]
    return [None if x is None else bits(x) for x in found]


@pytest.fixture
def sizes(monkeypatch):
    """How many nodes are differentiated."""
    found = []

    def noted(*args):
        graph, unrecorded = folded(*args)
        found.append(len(graph.nodes))
        return graph, unrecorded

    folded = folding.folded
    monkeypatch.setattr(folding, "folded", noted)
    return found


@pytest.mark.parametrize("program", [*FOLDED, *LEFT, in_a_loop], ids=name_of)
def test_gradients_of_loops_have_the_bits_of_eager(program):
    eager = gradients(program, STEPS, lambda f: f)
    assert gradients(program, STEPS, df.function) == eager


@graphs_only
@pytest.mark.parametrize("program", FOLDED, ids=name_of)
def test_what_is_differentiated_does_not_grow_with_the_number_of_steps(program, sizes):
    gradients(program, STEPS, df.function, calls=2)
    gradients(program, LONGER, df.function, calls=2)
    few, many = sizes[0], sizes[-1]
    assert few == many < 60


def test_what_a_weight_does_not_reach_is_not_tracked():
    """One loop computes both: a state, and a sum of data beside it."""

    def both(w, x, steps):
        h, total = x, x * 0.0
        for _ in range(steps):
            h, total = df.tanh(h @ w), total + x * 0.5
        return h, total

    for run in (both, df.function(both)):
        w = df.Variable(W)
        for _ in range(3):
            h, total = run(w, df.asarray(X), STEPS)
            assert (h.requires_grad, total.requires_grad) == (True, False)
            with df.GradientTape() as tape:
                total = run(w, df.asarray(X), STEPS)[1].sum()
            assert tape.gradient(total, w, unconnected_gradients="none") is None


def size_of_graph(program, steps):
    """How many nodes the graph of a step of training has, with its tape inside."""

    @df.function
    def step(*given):
        with df.GradientTape() as tape:
            loss = program(*given)
            whole = loss + (given[0] * given[1] * given[2]).sum()
        return loss, *tape.gradient(whole, given[:3])

    step(*variables(), df.asarray(X), df.asarray(START), df.asarray(ROWS), steps)
    return len(step.graphs[0].nodes)


@graphs_only
@pytest.mark.parametrize(
    "program", [*[f for f in FOLDED if f is not trained_and_summed], *LEFT[3:]], ids=name_of
)
def test_the_graph_with_gradients_does_not_grow_with_the_number_of_steps(program):
    assert size_of_graph(program, STEPS) == size_of_graph(program, LONGER) < 150


@graphs_only
def test_a_loop_in_a_loop_is_one_backwards_too():
    """Each of its own steps looks alike, but it reads what another place of the outer one left."""
    assert size_of_graph(in_a_loop, 100) == size_of_graph(in_a_loop, 150) < 150


@graphs_only
def test_loops_that_spare_little_are_made_where_another_needs_them():
    """A stack's gradient is taken apart row by row, which the loop backwards then reads."""
    assert size_of_graph(stacked, 20) == size_of_graph(stacked, 30) < 60
