"""Ways that join during the life of a tape, after `backward()`, and beside gradients in `.grad`."""

from __future__ import annotations

import pytest

import dualflow as df
from tests.modes import graphs_only
from tests.tracing.both import agree
from tests.tracing.joining import vectors
from tests.tracing.test_joins import joined, needs_operands

pytestmark = [graphs_only, needs_operands]  # of calls from graphs; `with` leaves an operand
BRANCHES = 5


def made(program):
    """A program with Variables of its own: `(function, state)`, anew each time."""

    def make():
        df.random.seed(1)
        w = df.Variable(df.random.normal((BRANCHES,)), name="w")
        u = df.Variable(0.5, name="u")
        return program(w, u), [w, u]

    return make


def in_branches(w, u):
    """As many ways under a tape as there are subsets."""

    def f(x):
        with df.GradientTape() as tape:
            h = x * w
            for k in range(BRANCHES):
                if x[k] > 0:
                    h = df.tanh(h * u) + x
                else:
                    h = h * 0.5 - w
            loss = (h * h).sum()
        return loss, tape.gradient(loss, [w, u])

    return f


def with_watched_arguments(w, u):
    def f(x):
        with df.GradientTape() as tape:
            tape.watch(x)
            h = x
            while (h * h).sum() > 1.0:
                h = df.sin(h) * 0.5 * x
            y = (h * w).sum()
        gx, gw = tape.gradient(y, [x, w])
        return y, gx, gw

    return f


def unconnected(w, u):
    """Which sources the target depends on is decided by values."""

    def f(x):
        with df.GradientTape() as tape:
            h = x * 2.0
            for k in range(3):
                if x[k] > 0:
                    h = h + w
                if x[k + 1] > 0.3:
                    h = h * u
        gw, gu = tape.gradient(h.sum(), [w, u], unconnected_gradients="none")
        return gw, gu

    return f


def persistent(w, u):
    def f(x):
        with df.GradientTape(persistent=True) as tape:
            h = x * w
            for k in range(3):
                if x[k] > 0:
                    h = h * u + x
            y, z = (h * h).sum(), h.sum()
        g = tape.gradient(y, w)
        if g.sum() > 0:
            g = g + tape.gradient(z, w)
        return g, tape.gradient(z, u, unconnected_gradients="zero")

    return f


def of_second_order(w, u):
    def f(x):
        with df.GradientTape() as outer:
            with df.GradientTape() as tape:
                h = x * w
                for k in range(3):
                    if x[k] > 0:
                        h = h * h * u
                    else:
                        h = df.sin(h) + w
                y = h.sum()
            g = tape.gradient(y, w)
            if g.sum() > 1.0:
                g = g * u
            z = (g * g).sum()
        return z, outer.gradient(z, [w, u], unconnected_gradients="zero")

    return f


def clipped(w, u):
    """A step of training that clips, with a gradient in `.grad`."""

    def f(x):
        w.grad = u.grad = None
        loss = ((x * w * u - 1.0) ** 2).sum()
        for k in range(3):
            if x[k] > 0:
                loss = loss * 1.5
        loss.backward()
        norm = df.sqrt((w.grad * w.grad).sum() + u.grad * u.grad)
        if norm > 1.0:
            w.grad = w.grad / norm
            u.grad = u.grad / norm
        w.assign_sub(0.1 * w.grad)
        u.assign_sub(0.1 * u.grad)
        return loss, norm

    return f


def added_up(w, u):
    """`.grad` is there when the call begins, and keeps growing."""
    (w * u).sum().backward()

    def f(x):
        h = x * w
        while h.sum() > 1.0:
            h = h * 0.25 * u
        (h * x).sum().backward()
        if w.grad.sum() > 3.0:
            w.grad.assign(w.grad * 0.5)
        return w.grad * 1.0

    return f


def after_a_loop(w, u):
    """What the loop did is behind the gradient, and nothing of it is handed over but a sum."""

    def f(x):
        h = w * 2.0
        while h.sum() < x.sum() + 9.0:
            h = h * 2.0 + 1.0
        (h * 3.0).sum().backward()
        g, w.grad = w.grad * 1.0, None
        return g

    return f


def stopping(w, u):
    """Training inside of the function, with a step of an optimiser, until it is good enough."""
    optimizer = df.optim.SGD([w, u], lr=0.05)

    def f(x):
        w.assign(x)
        best, bad, steps = df.asarray(float("inf")), 0, 0
        while steps < 8:
            optimizer.zero_grad()
            loss = ((w * u - 0.3) ** 2).sum()
            if loss > 2.0:
                loss = loss * 0.5
            loss.backward()
            if loss < best - 0.05:
                best, bad = loss.detach(), 0
            else:
                bad += 1
                if bad == 2:
                    break
            optimizer.step()
            steps += 1
        return best, steps

    return f


def newton(w, u):
    """Steps towards a root, with a tape in each."""

    def f(x):
        t = x.sum() + 3.0
        while df.abs(t * t - 2.0) > 1e-3:
            with df.GradientTape() as tape:
                tape.watch(t)
                y = t * t - 2.0
            t = t - y / tape.gradient(y, t)
        return t

    return f


PROGRAMS = [
    in_branches,
    with_watched_arguments,
    unconnected,
    persistent,
    of_second_order,
    clipped,
    added_up,
    after_a_loop,
    stopping,
    newton,
]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_r13_gradients_are_python_s_where_ways_join(program, monkeypatch):
    monkeypatch.setattr("dualflow.tracing.entries.SINGLE", 1)  # else each has its own for long
    f = agree(made(program), vectors(16, BRANCHES))
    assert f.mode == "compiled"
    assert joined(f)
    assert f.from_graph >= 8


def test_r20_branches_under_a_tape_make_as_many_stretches_as_there_are():
    w = df.Variable(0.5, name="w")

    def f(x):
        with df.GradientTape() as tape:
            h = w * 1.0
            for k in range(20):
                if x[k] > 0:
                    h = h * 0.5
                else:
                    h = df.sin(h)
        return tape.gradient(h, w)

    f = agree(lambda g=f: (g, None), vectors(40, 20))
    assert joined(f)
    assert len(f.graphs) <= 3 * 20
    assert f.from_graph >= 20


def test_r22_steps_towards_a_root_come_from_the_graph():
    f = agree(made(newton), vectors(60, BRANCHES))
    assert joined(f)
    assert f.from_graph >= 57


def test_a_tape_is_told_of_variables_that_nothing_is_computed_from():
    """Assigning all elements reads none; Python's tapes are told all the same."""
    whole, later = df.Variable([0.25], name="whole"), df.Variable([0.5], name="later")

    def f(x):
        whole[0] = n = x.sum()
        while n > 0.0:
            n = n - 1.0
        later[0] = n

    found = []
    for g in (f, df.function(f)):
        for x in (4.0, 4.0, 0.5, -1.0):
            with df.GradientTape() as tape:
                g(df.asarray([x]))
            found.append([v.name for v in tape.watched_variables()])
    assert found == [["whole", "later"]] * 8
