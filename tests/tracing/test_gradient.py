"""Gradients through compiled calls: the tape inside, outside, both; orders one to three."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
from dualflow.errors import TapeError
from tests.modes import bits, graphs_only, if_graphs
from tests.tracing.both import agree, vector

GENERATOR = np.random.default_rng(0)
INPUTS = [df.asarray(v) for v in GENERATOR.normal(size=(5, 3)).astype(np.float32)]
CLOSED = df.asarray(GENERATOR.normal(size=(3, 3)).astype(np.float32))


def variable():
    return df.Variable(np.random.default_rng(1).normal(size=(3,)).astype(np.float32), name="w")


def net(w):
    """Uses an argument, a Variable by closure and a tensor by closure, several times each."""

    def f(x):
        hidden = df.tanh(CLOSED @ x + w)
        return (hidden * w * 0.5 + 3.0 * x * x).sum() + (hidden / (2.0 + w * w)).sum()

    return f


def slopes(f, sources, order):
    """Gradients of increasing order of `f()` by all sources, each summed before the next."""
    tapes = [df.GradientTape(persistent=True) for _ in range(order)]
    for tape in tapes:
        tape.__enter__()
        tape.watch(sources)
    y = f()
    found = []
    for tape in reversed(tapes):
        tape.__exit__(None, None, None)
        g = tape.gradient(y, sources, unconnected_gradients="zero")
        found.append(g)
        y = sum((part.sum() for part in g), df.asarray(0.0))
    return found


@graphs_only
@pytest.mark.parametrize("order", [1, 2, 3])
def test_r13_a_tape_outside(order):
    w = variable()
    eager = net(w)
    f = df.function(eager, strict=True)
    for x in INPUTS:
        wanted = slopes(lambda x=x: eager(x), [x, w, CLOSED], order)
        found = slopes(lambda x=x: f(x), [x, w, CLOSED], order)
        for level, (a, b) in enumerate(zip(found, wanted, strict=True), 1):
            for ours, theirs in zip(a, b, strict=True):
                if level == 1 and order == 1:
                    np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
                np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=2e-5, atol=1e-5)
    assert f.from_graph == 4


@graphs_only
@pytest.mark.parametrize("order", [1, 2, 3])
def test_r13_a_tape_inside(order):
    def program():
        w = variable()
        body = net(w)
        return (lambda x: slopes(lambda: body(x), [x, w, CLOSED], order)), w

    assert agree(program, [(x,) for x in INPUTS]).from_graph == 4


@graphs_only
def test_r13_a_tape_inside_and_one_outside():
    """The gradient penalty: the outer tape differentiates a gradient that the graph computes."""
    w = variable()
    body = net(w)

    def penalty(x):
        with df.GradientTape() as tape:
            tape.watch(x)
            y = body(x)
        return (tape.gradient(y, x) ** 2).sum() + y

    f = df.function(penalty, strict=True)
    for x in INPUTS:
        found = []
        for g in (penalty, f):
            with df.GradientTape() as tape:
                tape.watch(x)
                loss = g(x)
            found.append([g.numpy() for g in tape.gradient(loss, [w, x])])
        for ours, theirs in zip(*found, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=1e-6)
    assert f.from_graph == 4


def test_the_outer_gradient_of_an_intermediate_watch_inside():
    w = variable()

    def f(x):
        hidden = x * w
        with df.GradientTape() as tape:
            tape.watch(hidden)
            y = (hidden * hidden).sum()
        return tape.gradient(y, hidden)

    agree(lambda: (f, w), [(x,) for x in INPUTS])


def test_several_outputs_some_unused_some_twice():
    w = variable()

    def f(x):
        a = x * w
        return a, a.sum(), {"n": df.argmax(x), "b": (a * a, a)}

    g = df.function(f, strict=True)
    for x in INPUTS:
        found = []
        for h in (f, g):
            with df.GradientTape(persistent=True) as tape:
                tape.watch(x)
                a, total, rest = h(x)
                y = a.sum() * 2.0 + rest["b"][0].sum()
            found.append(
                [
                    bits(t)
                    for target in (y, total, rest["b"][1])
                    for t in tape.gradient(target, [x, w])
                ]
            )
        assert found[0] == found[1]


def test_functions_of_functions_differentiated():
    """Calls of two Functions, one feeding the other, under one tape."""
    w = variable()
    first, second = (lambda x: df.tanh(x * w)), (lambda h: (h * h * w).sum())
    compiled = df.function(first, strict=True), df.function(second, strict=True)
    for x in INPUTS:
        found = []
        for a, b in ((first, second), compiled):
            with df.GradientTape() as tape:
                tape.watch(x)
                y = b(a(x))
            found.append([bits(t) for t in tape.gradient(y, [x, w])])
        assert found[0] == found[1]


def test_only_some_inputs_are_watched():
    f = df.function(lambda x, y: (x * y * y).sum(), strict=True)
    x, y = INPUTS[:2]
    for _ in range(2):
        for watched in ([x], [y], [x, y], []):
            with df.GradientTape() as tape:
                tape.watch(watched)
                z = f(x, y)
            g = tape.gradient(z, [x, y], unconnected_gradients="none")
            wanted = [(y * y).tolist(), (2 * x * y).tolist()]
            for source, found, expected in zip((x, y), g, wanted, strict=True):
                if any(source is s for s in watched):
                    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)
                else:
                    assert found is None


def test_no_grad_and_stop_gradient_inside():
    w = variable()

    def f(x):
        with df.no_grad():
            scale = (w * x).sum()
        return (w * scale).sum() + (df.stop_gradient(w) * w).sum() + (w.detach() * x).sum()

    g = df.function(f, strict=True)
    for x in INPUTS:
        found = []
        for h in (f, g):
            with df.GradientTape() as tape:
                tape.watch(x)
                y = h(x)
            found.append([bits(t) for t in tape.gradient(y, [w, x])])
        assert found[0] == found[1]


def test_integers_and_bools_among_the_arguments():
    f = df.function(lambda x, i, mask: (df.where(mask, x, 0.0)[i] * 2.0).sum(), strict=True)
    x, i, mask = INPUTS[0], df.asarray([0, 0, 2]), df.asarray([True, False, True])
    for _ in range(3):
        with df.GradientTape() as tape:
            tape.watch(x)
            y = f(x, i, mask)
        assert tape.gradient(y, x).tolist() == [4.0, 0.0, 2.0]


def test_a_persistent_tape_asks_twice():
    f = df.function(lambda x: (x * x * x).sum(), strict=True)
    for x in INPUTS:
        with df.GradientTape(persistent=True) as tape:
            tape.watch(x)
            y = f(x)
        assert bits(tape.gradient(y, x)) == bits(tape.gradient(y, x))


def test_jacobian_and_forward_mode_through_a_call():
    def f(x):
        return df.tanh(CLOSED @ x) * x

    g = df.function(f, strict=True)
    for x in INPUTS[:3]:
        np.testing.assert_allclose(
            df.jacobian(g)(x).numpy(), df.jacobian(f)(x).numpy(), rtol=1e-6, atol=1e-7
        )
        ours, theirs = (df.jvp(h, [x], [vector(1, 2, 3)])[1].numpy() for h in (g, f))
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-7)


def test_r13_the_hessian_of_a_compiled_function():
    def f(x):
        return (x * x * x).sum()

    g = df.function(f, strict=True)
    for x in INPUTS[:3]:
        np.testing.assert_allclose(df.hessian(g)(x).numpy(), np.diag(6 * x.numpy()), rtol=1e-6)


def test_backward_through_calls_that_share_a_variable():
    w = variable()
    f = df.function(lambda x: (x * w).sum(), strict=True)
    for _ in range(3):
        w.grad = None
        (f(INPUTS[0]) * f(INPUTS[1])).backward()
        a, b = (x.numpy() for x in INPUTS[:2])
        values = w.numpy()
        np.testing.assert_allclose(w.grad.numpy(), a * (b @ values) + b * (a @ values), rtol=1e-5)


def test_a_call_that_assigns_the_variable_it_reads():
    """The gradient is by the value that was read before the assignment."""

    def program():
        w = variable()

        def f(x):
            y = (w * w * x).sum()
            w.assign_add(x)
            return y

        return f, w

    eager, eager_w = program()
    python, w = program()
    f = df.function(python, strict=True)
    for x in INPUTS:
        with df.GradientTape() as tape:
            y = eager(x)
        wanted = tape.gradient(y, eager_w)
        with df.GradientTape() as tape:
            y = f(x)
        assert bits(tape.gradient(y, w)) == bits(wanted)


def test_an_unconnected_output_of_a_call():
    w = variable()
    f = df.function(lambda x: (x * 2.0, w * x), strict=True)
    for x in INPUTS[:3]:
        with df.GradientTape() as tape:
            y, _ = f(x)
        assert tape.gradient(y, w, unconnected_gradients="none") is None


@graphs_only
@pytest.mark.parametrize("kind", ["tensor", "variable that is not trainable"])
def test_a_closure_that_is_watched_only_later(kind):
    """The first graph carries no gradient to it, so the call that wants one is recorded anew."""
    c = vector(1, 2, 3)
    if kind != "tensor":
        c = df.Variable(c, trainable=False)
    f = df.function(lambda x: (c * c * x).sum(), strict=True)
    for _ in range(3):
        with df.GradientTape():
            f(INPUTS[0])
    for _ in range(3):
        with df.GradientTape() as tape:
            tape.watch(c)
            y = f(INPUTS[0])
        g = tape.gradient(y, c)
        np.testing.assert_allclose(g.numpy(), (2 * c * INPUTS[0]).numpy(), rtol=1e-6)
    assert len(f.graphs) == 2


def test_long_programs_are_differentiated_in_linear_time():
    def f(x):
        for _ in range(2000):
            x = x * 1.0001 + 0.001
        return x.sum()

    g = df.function(f, strict=True)
    found = []
    for h in (f, g, g):
        with df.GradientTape() as tape:
            x = vector(1, 2)
            tape.watch(x)
            y = h(x)
        found.append(bits(tape.gradient(y, x)))
    assert found[0] == found[1] == found[2]


def assigned_then_read(v, ema, x):
    """Reads before and after assignments, with and without gradients."""
    before = (v * x).sum()
    hidden = df.tanh(v * x)
    v.assign(hidden)
    after = (v * v).sum() + (hidden * x).sum()
    ema.assign(0.9 * ema + 0.1 * hidden)
    with df.no_grad():
        v.assign_sub(0.1 * x)
        v.read_value()
    return before + after + (v * ema).sum()


@graphs_only
def test_assigning_cuts_history_in_the_graph_too():
    def program():
        return variable(), df.Variable(np.ones(3, np.float32), trainable=False)

    eager_state, state = program(), program()
    f = df.function(lambda x: assigned_then_read(*state, x), strict=True)
    for x in INPUTS:
        found = []
        for (v, ema), call in (
            (eager_state, lambda x: assigned_then_read(*eager_state, x)),
            (state, f),
        ):
            with df.GradientTape() as tape:
                tape.watch([x, ema])
                y = call(x)
            found.append([y, *tape.gradient(y, [x, v, ema], unconnected_gradients="zero")])
        for ours, theirs in zip(found[1], found[0], strict=True):
            np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-5, atol=1e-6)
        assert [bits(s) for s in state] == [bits(s) for s in eager_state]
    assert f.from_graph == 4


def test_r13_a_result_whose_records_the_call_released_says_so():
    w, x = df.Variable([0.5, -1.0]), df.asarray([1.0, 2.0])

    def used(x):
        y = (x + w) * 2.0
        y.sum().backward()
        return y * 3.0, x * w

    f, texts = df.function(used), set()
    for call in (used, f, f, f):
        w.grad = None
        spent, good = call(x)
        good.sum().backward()
        assert w.grad.tolist() == [3.0, 4.0]
        with pytest.raises(TapeError, match="multiply was released by an earlier") as caught:
            spent.sum().backward()
        texts.add(str(caught.value))
    assert len(texts) == 1
    assert f.from_graph == if_graphs(2)
