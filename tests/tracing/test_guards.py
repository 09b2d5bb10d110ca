"""Python decides by values of tensors: guards, other ways, and nothing done twice."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
from tests.modes import graphs_only
from tests.tracing.both import agree, vector


def share(f) -> float:
    """Which part of the calls ran from a graph."""
    return f.from_graph / f.calls


def scalars(n, low, high, seed=0):
    return [(df.asarray(int(k)),) for k in np.random.default_rng(seed).integers(low, high, size=n)]


def vectors(n, seed=0):
    return [
        (df.asarray(v),) for v in np.random.default_rng(seed).normal(size=(n, 4)).astype(np.float32)
    ]


# ----- 200 random inputs, equal to eager -----


def collatz(n):
    steps = df.asarray(0)
    while n != 1:
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        steps = steps + 1
    return steps


def if_else(x):
    if x.sum() > 0:
        y = x * 2.0
    elif x[0] > 0:
        y = x - 1.0
    else:
        y = -x
    return y + x


def early_return(x):
    for k in range(4):
        if x[k] > 1.0:
            return x[k], k
    return x.sum(), -1


def power_of_recursion(x):
    if x.pow(2).sum() < 0.5:
        return x
    return power_of_recursion(x * 0.5) + x


def newton(x):
    a = x.pow(2).sum()
    y = a * 0.5 + 0.5
    while df.abs(y * y - a) > 1e-3:
        y = 0.5 * (y + a / y)
    return y


def chained(x):
    if 0.0 < x[0] < 1.0 and not (x[1] > 0 or x[2] > 0):
        return x + 1.0
    return [v * 2.0 for v in x if v > 0]


def indexed(x):
    table = ["a", "b", "c", "d"]
    k = int(df.argmax(x))
    return x[k], table[df.argmax(x)], list(range(df.argmin(x)))


def lengths(x):
    kept = x[: int((x > 0).sum())]
    return kept.sum(), len(kept), kept.shape


PROGRAMS = {
    "collatz": (lambda: (collatz, None), scalars(200, 1, 12), 0.9),
    "if and else": (lambda: (if_else, None), vectors(200), 0.98),
    "early return": (lambda: (early_return, None), vectors(200), 0.97),
    "recursion": (lambda: (power_of_recursion, None), vectors(200), 0.97),
    "while": (lambda: (newton, None), vectors(200), 0.95),
    "and, or, not, chains": (lambda: (chained, None), vectors(200), 0.85),
    "int and index": (lambda: (indexed, None), vectors(200), 0.9),
    "lengths": (lambda: (lengths, None), vectors(200), 0.97),
}


@graphs_only
@pytest.mark.parametrize("name", PROGRAMS)
def test_two_hundred_inputs(name):
    program, calls, wanted = PROGRAMS[name]
    f = agree(program, calls)
    assert f.calls == 200
    assert share(f) >= wanted, f"{f.from_graph} of 200 calls from the graph, {len(f.graphs)} graphs"
    assert f.recordings + f.from_graph == 200


@graphs_only
def test_every_other_way_is_recorded_once():
    f = agree(lambda: (collatz, None), [(df.asarray(k),) for k in (6, 7, 1, 6, 7, 1, 3)])
    assert f.recordings + f.from_graph == 7
    assert len(f.entries) == 1


@graphs_only
def test_answers_by_variables_from_outside():
    def program():
        v = df.Variable(0)

        def f(x):
            v.assign_add(1)
            return x * 2.0 if v % 3 == 0 else x

        return f, v

    f = agree(program, [(vector(1),)] * 12)
    assert len(f.graphs) == 2


@graphs_only
def test_a_guard_on_an_argument_alone_and_on_a_constant():
    def f(x, y):
        if y:
            x = x + 1.0
        if df.asarray(1.0) > 0:
            x = x * 2.0
        while df.full((), 0.0) > 0:
            x = x * 100.0
        return x

    calls = [(vector(1), df.asarray(k)) for k in (True, False, True, False)]
    assert len(agree(lambda: (f, None), calls).graphs) == 2


@graphs_only
def test_the_same_question_twice():
    """Passes may merge what is asked, and must not mix up the answers."""

    def f(x):
        a = bool(x.sum() > 0)
        b = bool(x.sum() > 0)
        c = bool(x[0] > 0)
        d = bool(x.sum() > 0)
        return (a, b, c, d), x * float(a + 2 * c)

    f = agree(lambda g=f: (g, None), vectors(60))
    assert len(f.graphs) == 4


@graphs_only
def test_guards_that_a_pass_could_fold():
    """The first guard is on a constant; the index of a miss is counted as recorded."""

    def f(x):
        zero = df.full((), 0.0) * 1.0
        first = bool(zero > 1.0)
        second = bool(x[0] > 0)
        third = bool(x[1] > 0)
        return x * 1.0, first, second, third

    f = agree(lambda g=f: (g, None), vectors(40))
    assert len(f.graphs) == 4


@graphs_only
def test_bool_of_numbers_int_of_floats_and_nan():
    def f(x):
        return (int(x), bool(x)), x + 1.0

    calls = [(df.asarray(v),) for v in (1.5, 1.7, 0.0, -0.0, -1.2, 2.5, 1.5, 0.3)]
    f = agree(lambda g=f: (g, None), calls)
    nan = df.asarray(np.float32(np.nan))
    g = df.function(lambda x: x + 1.0 if x else x, strict=True)
    for _ in range(3):
        assert np.isnan(g(nan).item())
    assert len(g.graphs) == 1


@graphs_only
def test_questions_inside_of_a_gradient():
    def f(x):
        with df.GradientTape() as tape:
            tape.watch(x)
            y = (x * x).sum() if x.sum() > 0 else (x * 3.0).sum()
        return tape.gradient(y, x)

    f = agree(lambda g=f: (g, None), vectors(30))
    assert len(f.graphs) == 2


@graphs_only
def test_questions_under_a_tape_outside():
    def f(x):
        return (x * x).sum() if x.sum() > 0 else (x * 3.0).sum()

    g = df.function(f, strict=True)
    for (x,) in vectors(30):
        slopes = []
        for h in (f, g):
            with df.GradientTape() as tape:
                tape.watch(x)
                y = h(x)
            slopes.append(tape.gradient(y, x).tolist())
        assert slopes[0] == slopes[1]
    assert len(g.graphs) == 2


# ----- a missing guard has done nothing -----


@graphs_only
def test_writes_before_a_guard_are_done_once():
    def program():
        v, w = df.Variable([0.0]), df.Variable(0.0)

        def f(x):
            v.assign_add(x)
            w.assign_add(1.0)
            if x[0] > 0:
                v.assign(v * 2.0)
            return v.read_value()

        return f, [v, w]

    f = agree(program, [(vector(k),) for k in (1, -1, 1, -2, 3, -4)])
    assert (len(f.graphs), f.from_graph) == (2, 4)


@graphs_only
def test_gradients_before_a_guard_are_added_once():
    def program():
        w = df.Variable([1.0, 2.0])

        def f(x):
            loss = (w * x).sum()
            loss.backward()
            if loss > 0:
                w.grad.zero_()
            return loss.detach()

        return f, w

    f = agree(
        program, [(vector(a, b),) for a, b in ((1, 1), (-1, -1), (-2, 0), (3, 3), (-1, -1), (0, 1))]
    )
    assert f.from_graph >= 2


def test_a_value_that_was_written_and_then_asked():
    def program():
        v = df.Variable(0)

        def f(x):
            v.assign_add(x)
            while v > 3:
                v.assign_sub(3)
            return v * 10

        return f, v

    agree(program, [(df.asarray(k),) for k in (1, 2, 3, 4, 1, 2, 3, 4, 9, 1)])


@graphs_only
def test_a_read_before_and_after_a_write():
    def program():
        v = df.Variable([1.0])

        def f(x):
            before = v * 1.0
            v.assign(x)
            between = v * 1.0
            v.assign(v + before)
            return before, between, v.read_value()

        return f, v

    assert agree(program, [(vector(k),) for k in range(5)]).from_graph == 4


# ----- exceptions -----


class StopError(Exception):
    """The user's own."""


@graphs_only
def test_an_exception_leaves_state_as_eager_does():
    def program():
        v, w = df.Variable([0.0]), df.Variable([0.0])

        def f(x):
            v.assign_add(x)
            if x[0] > 2:
                raise StopError("too large")
            w.assign_add(x)
            return w.read_value()

        return f, [v, w]

    f = agree(program, [(vector(k),) for k in (1, 2, 3, 1, 4, 2)])
    assert f.from_graph == 3


@graphs_only
def test_an_error_of_an_op_leaves_state_as_eager_does():
    def program():
        v = df.Variable([1.0, 2.0, 3.0])
        count = df.Variable(0)

        def f(k):
            count.assign_add(1)
            value = v[k]
            v.assign(v * 2.0)
            return value

        return f, [v, count]

    good, bad = df.asarray([0, 1]), df.asarray([0, 7])
    f = agree(program, [(good,), (good,), (bad,), (good,), (bad,), (good,)])
    assert f.from_graph == 3


def test_an_exception_in_the_first_call_leaves_no_trace_behind():
    v = df.Variable([1.0])
    f = df.function(lambda x: 1 / 0, strict=True)
    with pytest.raises(ZeroDivisionError):
        f(vector(1))
    assert f.graphs == []
    y = v * 2.0
    assert y.symbol is None


def test_keyboard_interrupts_pass():
    def f(x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        df.function(f)(vector(1))
    assert (vector(1) + 1.0).symbol is None
