"""Decorated functions called in a recording of another one: nodes, and never a stale one."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
from tests.modes import graphs_only
from tests.tracing.both import snapshot

pytestmark = graphs_only  # of calls from graphs

rng = np.random.default_rng(0)
SIZE = 6
TREES = (  # of leaves that are rows
    ((0, (1, 2)), ((3, 4), (5, 6))),
    (((((0, 1), 2), 3), 4), (5, (6, (7, 8)))),
    ((0, (1, (2, (3, 4)))), ((5, 6), (7, (8, 9)))),
)


def random(*shape):
    return (rng.standard_normal(shape) / 2).astype("float32")


ROWS, LEAF, NODE = random(10, SIZE), random(SIZE, 2 * SIZE), random(2 * SIZE, 3 * SIZE)


def plain(function):
    return function


def decorated(function):
    return df.function(strict=True)(function)


def tree_program(decorate, step=None):
    """A small Tree-LSTM over trees of Python tuples, and its state."""
    leaf_w, node_w = df.Variable(LEAF), df.Variable(NODE)

    @decorate
    def leaf(x):
        gate, value = df.split(x @ leaf_w, 2)
        return df.tanh(value) * df.exp(-gate), gate

    @decorate
    def node(left, left_c, right, right_c):
        i, f, g = df.split(df.concat([left, right]) @ node_w, 3)
        c = df.tanh(i) * left_c + df.tanh(f) * right_c
        return df.tanh(c) * g, c

    def state(tree, x):
        if isinstance(tree, int):
            return leaf(x[tree])
        return node(*state(tree[0], x), *state(tree[1], x))

    def loss_of(tree, x):
        h, _ = state(tree, x)
        return (h * h).mean()

    def training(tree, x):
        with df.GradientTape() as tape:
            loss = loss_of(tree, x)
        for w, g in zip((leaf_w, node_w), tape.gradient(loss, [leaf_w, node_w])):
            w.assign_sub(0.5 * g)
        return loss

    return (training if step is None else step(state, loss_of)), (leaf_w, node_w)


def agree(program, calls, **options):
    """The function, once it has had the bits of Python's at each call."""
    eager, eager_state = program(plain)
    python, state = program(decorated)
    f = df.function(strict=True, **options)(python)
    for k, args in enumerate(calls):
        assert snapshot(f(*args)) == snapshot(eager(*args)), f"call {k}"
        assert snapshot(state) == snapshot(eager_state), f"state after call {k}"
    return f


def count_of_calls(graph):
    return [node.op.name for node in graph.nodes].count("call")


def arguments(k):
    return TREES[k], df.asarray(ROWS)


def test_trees_are_calls_with_eager_bits():
    f = agree(tree_program, [arguments(k) for k in (0, 1, 2, 2, 1)])
    assert f.from_graph == 2
    first, second, third = map(count_of_calls, f.graphs)
    leaves, nodes = 9, 8
    assert first > 0
    assert second >= 2 * (leaves + nodes) - 1
    bodies = [
        {id(node.attrs["body"]) for node in graph.nodes if node.op.name == "call"}
        for graph in f.graphs[1:]
    ]
    assert bodies[0] & bodies[1]  # one body for all trees
    assert third > second


def with_backward(state, loss_of):
    def step(tree, x):
        loss = loss_of(tree, x)
        loss.backward()
        return loss

    return step


def without_gradients(state, loss_of):
    def step(tree, x):
        with df.no_grad():
            return state(tree, x)

    return step


def of_input(state, loss_of):
    def step(tree, x):
        return df.value_and_grad(lambda x: loss_of(tree, x))(x)

    return step


def of_gradients(state, loss_of):
    """A gradient of a gradient."""

    def step(tree, x):
        return df.grad(lambda x: (df.grad(lambda x: loss_of(tree, x))(x) ** 2).sum())(x)

    return step


def forwards(state, loss_of):
    def step(tree, x):
        return df.jvp(lambda x: state(tree, x), (x,), (df.ones_like(x),))

    return step


@pytest.mark.parametrize(
    "step", [with_backward, without_gradients, of_input, of_gradients, forwards]
)
def test_whatever_is_asked_of_them(step):
    agree(lambda decorate: tree_program(decorate, step), [arguments(0)] * 2)


def test_gradients_from_outside():
    python, (leaf_w, _) = tree_program(decorated, lambda state, loss_of: loss_of)
    eager, (eager_w, _) = tree_program(plain, lambda state, loss_of: loss_of)
    f = df.function(strict=True)(python)
    for k in (0, 0, 0):
        found = []
        for call, w in ((f, leaf_w), (eager, eager_w)):
            with df.GradientTape() as tape:
                loss = call(*arguments(k))
            found.append(tape.gradient(loss, w).numpy())
        np.testing.assert_allclose(*found, rtol=1e-5, atol=1e-7)
    assert f.from_graph == 2


class Settings:
    """What a function may read."""

    def __init__(self):
        self.flag, self.hidden = False, None


def chain(decorate, cell_of, between):
    """A cell again and again, with something done between two calls."""
    w, settings = df.Variable(random_square), Settings()
    cell = decorate(cell_of(w, settings))

    def run(x):
        for k in range(8):
            between(k, w, settings, x)
            x = cell(x)
        settings.flag, settings.hidden = False, None
        return x

    return run, w


random_square = random(SIZE, SIZE)


def by_flag(w, settings):
    return lambda x: df.tanh(x @ w) if settings.flag else df.sin(x @ w)


def by_hidden(w, settings):
    return lambda x: df.tanh(x @ w) + (x if settings.hidden is None else settings.hidden)


def twice(w, settings):
    return lambda x: (df.tanh(x @ w), df.tanh(x @ w) * 2.0)[0]


def nothing(k, w, settings, x):
    """Between two calls."""


def flips(k, w, settings, x):
    settings.flag = k % 3 == 1


def hides(k, w, settings, x):
    settings.hidden = None if k % 2 else x


def assigns(k, w, settings, x):
    w.assign(w * 0.5 + x.sum() * 0.01)


@pytest.mark.parametrize(
    ("cell_of", "between", "calls"),
    [
        (by_flag, flips, 3),
        (by_hidden, hides, 3),
        (by_hidden, nothing, 8),
        (twice, assigns, 8),
    ],
)
def test_what_lies_between_two_calls_counts(cell_of, between, calls):
    x = df.asarray(ROWS[0])
    f = agree(lambda decorate: chain(decorate, cell_of, between), [(x,), (x + 1.0,), (x,)])
    assert 0 < count_of_calls(f.graphs[-1]) <= calls


def test_every_place_that_python_keeps_values_in_counts():
    def program(decorate):
        factor, table = 1.0, {"k": 1.0}
        module = df.nn.Linear(SIZE, SIZE, bias=False)
        module.weight.assign(random_square)
        module.scale = 1.0

        @decorate
        def cell(x):
            return df.tanh(module(x) * module.scale) * factor + table["k"]

        def run(x):
            nonlocal factor
            for k in range(12):
                x = cell(x)
                factor = 2.0 if k == 5 else 1.0
                table["k"] = 3.0 if k == 7 else 1.0
                module.scale = 4.0 if k == 9 else 1.0
            return x

        return run, module.weight

    x = df.asarray(ROWS[0])
    f = agree(program, [(x,), (x + 1.0,)])
    assert count_of_calls(f.graphs[-1]) > 0


def test_arguments_tell_calls_apart():
    def program(decorate):
        w = df.Variable(random_square)

        @decorate
        def cell(x, y, scale, *, more=None):
            z = df.tanh(x @ w) * scale + y
            return z if more is None else z * more

        def run(x):
            y = x + 1.0
            for _ in range(6):
                x = cell(x, y, 2.0) + cell(x, x, 2.0) + cell(x, y, 3.0) + cell(w[0], y, 2.0)
                y = cell(y, x, 2.0, more=x) + cell(x=y, y=x, scale=2.0, more=y)
            return x, y

        return run, w

    x = df.asarray(ROWS[0])
    agree(program, [(x,), (x + 1.0,)])


def test_what_does_more_than_compute_is_python_each_time(capsys):
    def program(decorate):
        w, kept = df.Variable(random_square), df.Variable(0.0)

        @decorate
        def prints(x):
            print("here")
            return df.tanh(x @ w)

        @decorate
        def counts(x):
            kept.assign_add(1.0)
            return df.tanh(x @ w)

        @decorate
        def draws(x):
            return df.tanh(x @ w) + df.random.normal((SIZE,))

        @decorate
        def asks(x):
            return df.tanh(x @ w) if x[0] > 0.0 else df.sin(x @ w)

        @decorate
        def lists(x):
            return [df.tanh(x @ w)]

        def run(x):
            for _ in range(5):
                x = draws(asks(counts(prints(x))))
                (x,) = lists(x)
            return x

        df.random.seed(3)
        return run, (w, kept)

    x = df.asarray(ROWS[0])
    outs = []
    for decorate in (plain, decorated):
        python, state = program(decorate)
        f = df.function(python) if decorate is decorated else python
        outs.append([snapshot((f(x), state)) for _ in range(2)])
        assert capsys.readouterr().out == 10 * "here\n"
    assert outs[0] == outs[1]


def test_results_are_the_objects_that_python_gives():
    @decorated
    def same(x, y):
        return x, df.tanh(x + y)

    @df.function(strict=True)
    def run(x):
        for _ in range(6):
            y, x = same(x, x + 1.0)
            assert y is not x
            z, _ = same(x, y)
            assert z is x
        return x

    assert run(df.ones(3)).tolist() == run(df.ones(3)).tolist()


def test_a_class_of_cells_by_methods():
    class Cell(df.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = df.nn.Linear(SIZE, SIZE)
            self.scale = 2.0

        @df.function
        def forward(self, x):
            return df.tanh(self.linear(x)) * self.scale

    df.random.seed(0)
    first, second = Cell(), Cell()

    @df.function(strict=True)
    def run(x):
        for _ in range(6):
            x = first(x) + second(x)
        return x

    x = df.asarray(ROWS[0])
    with df.set_mode("eager"):
        wanted = run(x).tolist()
    assert run(x).tolist() == run(x).tolist() == wanted
    assert count_of_calls(run.graphs[0]) > 0
    first.scale = 3.0
    with df.set_mode("eager"):
        wanted = run(x).tolist()
    assert run(x).tolist() == run(x).tolist() == wanted
