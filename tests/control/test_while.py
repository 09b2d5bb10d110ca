"""while_loop as one node: results, gradients, tangents and batches are those of Python's loop."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
import jit
from dualflow.core.op import registry
from jit.errors import GraphError
from jit.ir.text import parse
from jit.ir.verify import verify
from tests.modes import bits, graphs_only, not_audited
from tests.tracing.both import agree, vector

W = np.asarray([[0.5, -0.25], [1.0, 0.5]], np.float32)
STARTS = ([0.5, 1.0], [-0.25, 0.125], [3.0, 9.0], [0.1, 0.2])  # steps: some, many, none, some


def loops_of(f):
    """The loop nodes of the only graph of a recorded function."""
    (graph,) = f.graphs
    return [node for node in graph.nodes if node.op.repeats]


def loop(x, w, most=20):
    def step(state):
        a, b = state["a"], state["b"]
        return {"a": df.exp(a @ w) * b, "b": df.tanh(a) + b}

    def goes_on(state):
        return state["a"].sum() < 10

    return df.while_loop(goes_on, step, {"a": x, "b": x * 0.5}, maximum_iterations=most)


def loss(x, w):
    state = loop(x, w)
    return (state["a"] * state["b"]).sum()


def calls_of(starts=STARTS):
    return [(vector(*x), df.asarray(W)) for x in starts]


@graphs_only
@pytest.mark.parametrize("most", [None, 20, 1, 0])
def test_one_recording_serves_loops_of_all_lengths(most):
    f = agree(lambda: (lambda x, w: loop(x, w, most), ()), calls_of())
    if most != 0:
        assert (len(f.graphs), f.from_graph) == (1, 3)
        assert len(loops_of(f)) == 1


@graphs_only
def test_it_is_native_code_whose_size_does_not_depend_on_the_number_of_steps():
    def collatz(n):
        def step(state):
            n, count = state
            return df.where(n % 2 == 0, n // 2, 3 * n + 1), count + 1

        return df.while_loop(lambda state: state[0] != 1, step, (n, 0))[1]

    f = agree(lambda: (collatz, ()), [(df.asarray(n),) for n in (27, 1, 6, 97)])
    told = f.explain()
    assert (told.host_steps, len(loops_of(f)), f.mode) == ([], 1, "compiled")
    assert "1 foreign call a call" in str(told)
    assert str(parse(str(f.graphs[0]), registry)) == str(f.graphs[0])


@graphs_only
def test_gradients_are_those_of_eager_in_every_bit_by_a_loop_backwards():
    f = agree(lambda: (df.value_and_grad(loss, (0, 1)), ()), calls_of())
    assert (len(f.graphs), f.from_graph, len(loops_of(f))) == (1, 3, 2)


def second(x, w):
    return df.grad(lambda x: (df.grad(loss)(x, w) ** 2).sum())(x)


def tangents(x, w):
    return df.jvp(lambda x: loss(x, w), (x,), (x + 1.0,))


def endless_tangents(x, w):
    return df.jvp(lambda x: loop(x, w, None)["a"], (x,), (x + 1.0,))


def products(x, w):
    return df.hvp(lambda x: loss(x, w), (x,), (x,))


@pytest.mark.parametrize(
    "python", [tangents, endless_tangents, products, pytest.param(second, marks=not_audited)]
)
def test_tangents_and_second_derivatives_are_alike_in_both_modes(python):
    f = df.function(python, strict=True)
    for x, w in calls_of():
        pairs = zip(*(df.tree.flatten(y)[0] for y in (python(x, w), f(x, w))), strict=True)
        for a, b in pairs:
            np.testing.assert_allclose(b.numpy(), a.numpy(), rtol=2e-5, atol=1e-6)
    assert len(f.graphs) <= 1


def pulled_rows(x, w):
    with df.GradientTape() as tape:
        tape.watch(x)
        y = loop(x, w)["a"]
    return tape.jacobian(y, x)


def pulled_again(x, w):
    return df.vmap(lambda g: df.vjp(lambda x: loop(x, w)["b"], x)[1](g)[0])(df.eye(2))


def pushed_rows(x, w, most=20):
    return df.vmap(lambda t: df.jvp(lambda x: loop(x, w, most)["a"], (x,), (t,))[1])(df.eye(2))


def pushed_through_endless(x, w):
    return pushed_rows(x, w, None)


@graphs_only
@pytest.mark.parametrize(
    "function", [pulled_rows, pulled_again, pushed_rows, pushed_through_endless]
)
def test_derivatives_of_one_loop_in_many_directions_are_those_of_eager_in_every_bit(function):
    """One of a batch of directions is no body of a loop: steps are taken again, one by one."""
    agree(lambda: (function, ()), calls_of())


@graphs_only
def test_a_tape_outside_of_the_function():
    for most in (20, None):
        f = df.function(lambda x, w, most=most: loop(x, w, most), strict=True)
        for x, w in calls_of([STARTS[k] for k in (0, 1, 3, 0)]):
            found = []
            for python in (f, lambda x, w, most=most: loop(x, w, most)):
                with df.GradientTape() as tape:
                    tape.watch([x, w])
                    y = python(x, w)["b"].sum()
                found.append([bits(g) for g in tape.gradient(y, [x, w])])
            assert found[0] == found[1]


@graphs_only
def test_gradients_without_a_bound_ask_as_python_does():
    def slope(x, w):
        return df.grad(lambda x: loop(x, w, None)["a"].sum())(x)

    f = agree(lambda: (slope, ()), calls_of())
    assert all(not node.op.repeats for graph in f.graphs for node in graph.nodes)


@graphs_only
def test_examples_of_a_batch_go_through_one_loop_and_stop_by_themselves():
    def each(xs, w):
        return df.vmap(lambda x: loop(x, w, None), 0)(xs)

    xs = df.stack([vector(*x) for x in STARTS])
    f = agree(
        lambda: (each, ()), [(xs, df.asarray(W)), (xs[:2], df.asarray(W)), (xs * 2, df.asarray(W))]
    )
    assert all(len(loops_of_graph(graph)) == 1 for graph in f.graphs)
    whole = f(xs, df.asarray(W))["a"]
    for k, (x, w) in enumerate(calls_of()):
        np.testing.assert_allclose(whole[k].numpy(), loop(x, w)["a"].numpy(), rtol=1e-5)


def loops_of_graph(graph):
    return [node for node in graph.nodes if node.op.repeats]


CARRIES = {
    "exchanged": lambda a, b, s: (b, a * 2 + s),
    "one twice": lambda a, b, s: (a + b, a + b),
    "from outside": lambda a, b, s: (s * 30, a),
    "as it came": lambda a, b, s: (a + 1, b),
    "not read": lambda a, b, s: (a + s, s),
    "views": lambda a, b, s: (df.flip(a) + 1, df.flip(b)),
}


@graphs_only
@pytest.mark.parametrize("kind", sorted(CARRIES))
def test_what_is_handed_on(kind):
    def f(a, b, s):
        def run(a, b, s):
            return df.while_loop(
                lambda t: t[0].sum() < 20,
                lambda t: CARRIES[kind](*t, s),
                (a, b),
                maximum_iterations=9,
            )

        slopes = df.grad(lambda *xs: sum([(y * y).sum() for y in run(*xs)]), (0, 1, 2))(a, b, s)
        return run(a, b, s), slopes

    b, s = vector(3.0, 4.0), vector(5.0, 6.0)
    calls = [(vector(*x), b, s) for x in ([1.0, 2.0], [30.0, 1.0], [-4.0, 0.5])]
    made = agree(lambda: (f, ()), calls)
    assert (len(made.graphs), made.from_graph) == (1, 2)


# ----- what a step does besides computing -----


def appending():
    kept = []

    def f(x):
        return df.while_loop(lambda x: x.sum() < 10, lambda x: kept.append(0) or x + 1, x)

    return f, kept


def assigning():
    total = df.Variable(0.0)

    def step(x):
        total.assign_add(x.sum())
        return x + total

    return lambda x: df.while_loop(lambda x: x.sum() < 10, step, x), total


def deciding():
    def step(x):
        return x + 2 if x[0] > 1 else x * 2

    return lambda x: df.while_loop(lambda x: x.sum() < 10, step, x), ()


def asking_in_the_condition():
    seen = []
    return lambda x: df.while_loop(
        lambda x: seen.append(0) or x.sum() < 9, lambda x: x + 1, x
    ), seen


def nested():
    def row(x):
        return df.while_loop(lambda x: x.sum() < 3, lambda x: x + 0.5, x)

    return lambda x: df.while_loop(lambda x: x.sum() < 10, lambda x: row(x) * 1.5, x), ()


def in_a_scan():
    def step(x, _):
        return df.while_loop(lambda x: x.sum() < 3, lambda x: x + 0.5, x) * 0.5, x

    return lambda x: df.scan(step, x, length=5), ()


@pytest.mark.parametrize(
    "program", [appending, assigning, deciding, asking_in_the_condition, nested, in_a_scan]
)
def test_a_step_that_does_more_than_compute(program):
    agree(program, [(vector(*x),) for x in ([0.5, 1.0], [0.25, 0.5], [20.0, 0.0], [0.5, 1.0])])


def test_a_value_that_only_the_condition_knows_is_asked_for():
    f = df.function(
        lambda x: df.while_loop(lambda x: True, lambda x: x * 2, x, maximum_iterations=5)
    )
    for _ in range(3):
        assert f(vector(1.0)).tolist() == [32.0]


# ----- the node itself -----

TEXT = """graph f(%go: bool[], %a: float32[2], %b: float32[2], %w: float32[2]) {
  %0: bool[], %1: float32[2], %2: float32[2], %3: float32[4,2] = loop(%go, %a, %b, %w) {count=4, carried=(0, 1, 2), stacked=(False, False, False, True), going=0} of
    graph body(%go: bool[], %a: float32[2], %b: float32[2], %w: float32[2]) {
      %0: float32[2] = multiply(%a, %w)
      %1: float32[] = sum(%0) {axes=(0,), keepdims=False}
      %2: float32[] = constant() {value=float32[](50.0)}
      %3: bool[] = less(%1, %2)
      return %3, %0, %a, %b
    }
  return %1, %2, %3
}"""  # noqa: E501


@graphs_only
@pytest.mark.parametrize(("start", "steps"), [([1.0, 1.0], 4), ([9.0, 9.0], 2), ([9.0, 9.0], 0)])
def test_a_loop_that_asks_is_what_it_says_in_the_interpreter_and_in_machine_code(start, steps):
    graph = parse(TEXT, registry)
    verify(graph)
    w = np.array([2.0, 3.0], np.float32)
    a, b = np.array(start, np.float32), np.array([7.0, 8.0], np.float32)
    rows = []
    for _ in range(steps):
        rows.append(b)
        a, b = a * w, a
    for target in ("cpu", "interpreter"):
        made = jit.compile(graph, target)
        given = [np.array(steps > 0), np.array(start, np.float32), np.array([7.0, 8.0], np.float32)]
        found = made([*given, w])
        assert (found[0].tolist(), found[1].tolist()) == (a.tolist(), b.tolist())
        assert found[2][:steps].tolist() == [x.tolist() for x in rows]


def test_a_loop_that_asks_must_hand_on_what_it_gives():
    for wrong in ("going=1", "going=3", "carried=(0, 1, 1), going=0"):
        text = TEXT.replace("carried=(0, 1, 2), ", "") if "carried" in wrong else TEXT
        with pytest.raises(GraphError):
            verify(parse(text.replace("going=0", wrong), registry))
