"""Ways that join while the call changes Python's state, prints or appends, or where sizes vary."""

from __future__ import annotations

import contextlib
import io
from types import SimpleNamespace

import numpy as np
import pytest

import dualflow as df
from tests.modes import graphs_only
from tests.tracing.both import agree, vector
from tests.tracing.joining import vectors
from tests.tracing.test_joins import joined, needs_operands

pytestmark = [graphs_only, pytest.mark.usefixtures("own_holders")]  # of calls from graphs
BRANCHES = 5


def branches(x, y):
    """As many ways as there are subsets, and what follows is the same."""
    for k in range(BRANCHES):
        if x[k] > 0:
            y = y * 0.5
        else:
            y = y + 0.25
    return y


# ----- state that is as before when the call is over: no guard sees it, and it decides -----


def a_flag_that_is_put_back():
    box = SimpleNamespace(flag=False)

    def f(x):
        if x[0] > 0:
            box.flag = True
        y = branches(x, x)
        y = y * 2.0 if box.flag else y * 3.0
        box.flag = False
        return y

    return f, lambda: box.flag


def items_that_are_put_back():
    table = {"a": 1.0, "b": 2.0}

    def f(x):
        if x[0] > 0:
            table["a"] = 5.0
        if x[1] > 0:
            table["b"] = x.sum()
        y = branches(x, x) * table["a"] + table["b"]
        table.update(a=1.0, b=2.0)
        return y

    return f, lambda: dict(table)


def a_list_that_is_emptied():
    kept = []

    def f(x):
        if x[0] > 0:
            kept.append(3.0)
        y = branches(x, x)
        return y + kept.pop() if kept else y

    return f, lambda: list(kept)


def an_attribute_that_comes_and_goes():
    box = SimpleNamespace()

    def f(x):
        if x[0] > 0:
            box.extra = x.sum()
        y = branches(x, x)
        if hasattr(box, "extra"):
            y = y + box.extra
            del box.extra
        return y

    return f, lambda: vars(box)


def a_setting_of_a_module_that_is_put_back():
    net = df.nn.Sequential(df.nn.Dropout(0.5))

    def f(x):
        net.train(x[0] > 0)
        y = branches(x, x)
        y = y * 2.0 if net.training else y * 3.0
        net.train(True)
        return y

    return f, lambda: net.training


def a_variable_of_a_closure_that_is_put_back():
    sign = 1.0

    def f(x):
        nonlocal sign
        if x[0] > 0:
            sign = -1.0
        y = branches(x, x) * sign
        sign = 1.0
        return y

    return f, lambda: sign


def an_array_that_is_put_back():
    table = np.array([1.0, 2.0])

    def f(x):
        if x[0] > 0:
            table[0] = 4.0
        y = branches(x, x)
        y = y * float(table[0])
        table[0] = 1.0
        return y

    return f, lambda: table.tolist()


PUT_BACK = [
    a_flag_that_is_put_back,
    items_that_are_put_back,
    a_list_that_is_emptied,
    an_attribute_that_comes_and_goes,
    a_setting_of_a_module_that_is_put_back,
    a_variable_of_a_closure_that_is_put_back,
    an_array_that_is_put_back,
]


@pytest.mark.parametrize("program", PUT_BACK, ids=lambda p: p.__name__)
def test_r9_r22_state_that_is_put_back_decides_meanwhile(program):
    (eager, state), (python, other) = program(), program()
    f = df.function(python)
    for (x,) in vectors(45, BRANCHES):
        assert f(x).tolist() == eager(x).tolist()
        assert str(other()) == str(state())


# ----- state that lasts -----


def a_counter_in_branches():
    box = SimpleNamespace(n=0)

    def f(x):
        y = x
        for k in range(BRANCHES):
            if x[k] > 0:
                box.n += 1
                y = y * 0.5
            else:
                y = y + 0.25
        return y * box.n

    return f, lambda: box.n


def a_counter_around_branches():
    scope = {"branches": branches}
    exec(
        "n = 0\ndef f(x):\n    global n\n    n += 1\n    y = branches(x, x * n)\n"
        "    n += 1\n    return y * n",
        scope,
    )
    return scope["f"], lambda: scope["n"]


def one_number_in_two_places():
    box = SimpleNamespace(n=1, kept=0)

    def f(x):
        m = box.n
        if x[0] > 0:
            box.n = m + 1
        if x[1] > 0:
            m = box.n * 2
        y = branches(x, x)
        box.kept = m
        return y * m + box.n

    return f, lambda: (box.n, box.kept)


def a_tensor_that_moves_along():
    box = SimpleNamespace(mean=df.zeros(BRANCHES), last=None)

    def f(x):
        y = branches(x, x)
        if y.sum() > 0:
            box.mean = box.mean * 0.5 + y
        box.last = y
        return branches(x, box.mean) + box.mean

    return f, lambda: (box.mean.tolist(), box.last.tolist())


def a_counter_in_a_module():
    class Net(df.nn.Module):
        def __init__(self):
            super().__init__()
            self.step = 0

        def forward(self, x):
            y = x
            for k in range(BRANCHES):
                if x[k] > 0:
                    self.step += 1
                    y = y * 0.5
                else:
                    y = y + 0.25
            return y * self.step

    net = Net()
    return (lambda x: net(x)), lambda: net.step


def lists_that_grow():
    log, losses = [], {"loss": []}

    def f(x):
        y = x
        for k in range(BRANCHES):
            if x[k] > 0:
                y = y * 0.5
                log.append(y.sum())
            else:
                y = y + 0.25
                losses["loss"].append((k, y))
        return y

    return f, lambda: (str(log[-3:]), len(log), str(losses["loss"][-3:]))


def output():
    def f(x):
        y = x
        for k in range(BRANCHES):
            if x[k] > 0:
                y = y * 0.5
                print("half", k, y[0])
            else:
                y = y + 0.25
                print("quarter")
        return y

    return f, lambda: None


LASTING = [
    a_counter_in_branches,
    a_counter_around_branches,
    one_number_in_two_places,
    a_tensor_that_moves_along,
    a_counter_in_a_module,
    lists_that_grow,
    output,
]


def told(f, x):
    """What a call gives and prints."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        result = f(x).tolist()
    return result, out.getvalue()


@needs_operands
@pytest.mark.parametrize("program", LASTING, ids=lambda p: p.__name__)
def test_r10_r22_calls_that_do_something_join_too(program):
    (eager, state), (python, other) = program(), program()
    f = df.function(python, strict=True)
    for (x,) in vectors(45, BRANCHES):
        assert told(f, x) == told(eager, x)
        assert other() == state()
    assert joined(f)
    assert f.from_graph >= 20
    assert f.explain().effects


def test_r10_a_call_that_comes_to_where_nobody_was_has_done_nothing():
    def program():
        box, log = SimpleNamespace(n=0), []

        def f(x):
            while x.sum() > 1.0:
                box.n += 1
                log.append(x)
                print("at", x)
                x = x * 0.5
                if x[1] > 3.0:
                    x = x - 2.0
            return x

        return f, lambda: (box.n, str(log))

    (eager, state), (python, other) = program(), program()
    f = df.function(python, strict=True)
    for k in (40.0, 9.0, 3.0, 1.5, 30.0, 20.0, 64.0, 5.0, 40.0):
        x = df.asarray([k, k / 2.0])
        assert told(f, x) == told(eager, x)
        assert other() == state()
    assert joined(f)
    assert f.from_graph >= 3


@needs_operands
def test_r13_gradients_flow_through_what_was_appended():
    w = df.Variable(np.ones(BRANCHES, np.float32))

    def program():
        log = []

        def f(x):
            y = w * x
            for k in range(BRANCHES):
                if x[k] > 0:
                    y = y * y
                    log.append(y.sum())
                else:
                    y = y + 0.25
            return y.sum()

        return f, log

    (eager, wanted), (python, found) = program(), program()
    f = df.function(python, strict=True)
    for (x,) in vectors(30, BRANCHES):
        slopes = []
        for g, log in ((eager, wanted), (f, found)):
            with df.GradientTape() as tape:
                y = g(x)
                loss = y + log[-1] if log else y
            slopes.append(tape.gradient(loss, w).tolist())
            log.clear()
        assert slopes[0] == slopes[1]
    assert joined(f)
    assert f.from_graph >= 10


# ----- sizes that vary -----


def sized(count):
    random = np.random.default_rng(0)
    rows = [random.normal(size=random.integers(4, 9)).astype(np.float32) for _ in range(count)]
    return [(df.asarray(row),) for row in rows]


def test_r5_r22_ways_join_where_sizes_vary():
    def f(x):
        y, steps = x, 0
        for k in range(3):
            y = y * 0.5 + x.shape[0] if x[k] > 0 else y + 0.25
        while y.sum() < 5.0 * x.shape[0]:
            y = y + 1.0
            if y[0] > 3.0:
                y = y * 1.25
            steps += 1
        return y / y.shape[0], x.shape[0] * 2, steps

    f = agree(lambda g=f: (g, None), sized(80))
    assert joined(f)
    assert len(f.entries) <= 2  # one for the first size, one for all others
    assert f.from_graph >= 60


def test_r5_r22_what_python_decides_by_a_size_parts_ways():
    def f(x):
        y = x
        while y.sum() < 20.0:
            y = y + 1.0 if x.shape[0] > 5 else y + 2.0
            if y[0] > 3.0:
                y = y * 1.25
        return y

    f = agree(lambda g=f: (g, None), sized(80))
    assert joined(f)
    assert f.from_graph >= 50


# ----- where nothing is recorded for gradients -----


@needs_operands
def test_r22_branches_inside_of_no_grad_join():
    def program():
        w = df.Variable(np.ones(BRANCHES, np.float32), name="w")

        def f(x):
            with df.no_grad():
                y = branches(x, w * x)
            return (y * w).sum()

        return f, w

    f = agree(program, vectors(45, BRANCHES))
    assert joined(f)
    assert f.from_graph >= 20
    (eager, w), (python, v) = program(), program()
    g = df.function(python, strict=True)
    for (x,) in vectors(30, BRANCHES):
        slopes = []
        for function, variable in ((eager, w), (g, v)):
            with df.GradientTape() as tape:
                y = function(x)
            slopes.append((y.item(), tape.gradient(y, variable).tolist()))
        assert slopes[0] == slopes[1]
    assert joined(g)


LIMITED = """
limit = 1.0

class Noted:
    left = 0

    def __enter__(self):
        return self.left

    def __exit__(self, *error):
        self.left += 1

noted = Noted()

def f(x):
    global limit
    n, low, total, before = 0, 1.0 - x, x.sum(), limit

    def inner(x):
        nonlocal n
        for _ in range(2):
            try:
                if bool(total + total > 0.0):
                    raise ValueError(f"at {n}")
            except ValueError:
                pass
            finally:
                n += 1
        return x

    if low[df.argmax(x)] < inner(x)[int(df.clip(total, 0.0, 1.0))]:
        limit = 3.0
    for _ in range(3):
        v = df.asarray(df.clip((x if limit > 1 else low).mean(), 1.0, 9.0)).astype(df.int64)
        while v != 1:
            v = v // 2 if v % 2 == 0 else 3 * v + 1
            n += 1
        continue
    with noted:
        a = x
    a = a * limit
    limit = before
    return n
"""


@needs_operands
def test_a_number_that_is_returned_is_not_one_that_is_counted():
    def program():
        scope = {"df": df}
        exec(LIMITED, scope)
        return scope["f"], []

    drawn = np.random.default_rng(0).choice([-0.5, -2.0, 2.0, 0.0, 1.0, 5.0, 9.0, 7.0], (70, 2))
    assert agree(program, [(vector(*x),) for x in drawn], strict=False).from_graph >= 40
