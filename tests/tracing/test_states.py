"""Python values that differ from call to call: read by each compiled call, and written by it."""

from __future__ import annotations

import contextlib
import decimal
import gc
import io
import json
import threading
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dualflow as df
from dualflow.core.number import KINDS
from dualflow.errors import NumericsError
from tests.modes import graphs_only
from tests.tracing.both import vector
from tests.tracing.state_programs import program

pytestmark = graphs_only  # of calls from graphs

in_segments = pytest.mark.filterwarnings("ignore:.*runs in segments")


class Counter:
    """Something with a number in it."""

    def __init__(self, n=0):
        self.n = n


def test_r4_r10_a_thousand_steps_that_count_are_recorded_three_times_at_most():
    class Net(df.nn.Module):
        def __init__(self):
            self.step = 0
            self.linear = df.nn.Linear(2, 1)

        def forward(self, x):
            self.step += 1
            return self.linear(x) / (1.0 + self.step)

    net = Net()
    optimizer = df.optim.SGD(net.parameters(), lr=0.1)

    @df.function(strict=True)
    def train(x):
        loss = (net(x) ** 2).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    x = df.ones((3, 2))
    for _ in range(1000):
        train(x)
    assert net.step == 1000
    assert type(net.step) is int
    assert train.recordings <= 3
    assert train.from_graph >= 997


def test_r9_a_number_from_outside_that_differs_at_each_call_is_an_input():
    scope = program("k = 0\ndef f(x): return x * k").scope
    f = df.function(scope["f"], strict=True)
    for k in (*range(20), 0.5, 1.5, 2.5, 7):
        scope["k"] = k
        assert f(vector(1)).tolist() == [k]
    assert f.recordings <= 3
    assert "users_module.py:2: global k is float" in f.explain().traces[0].guards


def test_r9_a_tensor_from_outside_that_differs_at_each_call_is_an_input():
    scope = program("k = df.ones(2)\ndef f(x): return x * k").scope
    f = df.function(scope["f"], strict=True)
    for k in range(6):
        scope["k"] = vector(k, k)
        assert f(vector(1, 2)).tolist() == [k, 2 * k]
    for k in range(3):
        scope["k"] = vector(k)  # of another shape
        assert f(vector(1, 2)).tolist() == [k, 2 * k]
    assert f.recordings <= 3


@given(st.lists(st.sampled_from([0, 1, 2.5, -3, True, None, "a"]), min_size=6, max_size=14))
def test_r9_whatever_comes_from_outside_is_seen(values):
    c = Counter()

    def python(x):
        return x * (c.n if isinstance(c.n, int | float) else 7)

    f = df.function(python)
    for value in values:
        c.n = value
        assert f(vector(1)).tolist() == python(vector(1)).tolist()
        assert c.n is value or c.n == value


@given(
    st.lists(
        st.sampled_from(
            [
                "c.n += 1",
                "c.n = c.n * 2 - 1",
                "c.m = c.n",
                "c.n, c.m = c.m, c.n",
                "d['k'] = c.n + d['k']",
                "c.m = d['k'] % 5",
                "x = x * c.n + d['k']",
                "c.t = c.t * 0.5 + x",
                "x = x + c.t",
                "c.t, c.s = c.s, c.t",
                "if c.n > 3: c.n = 0",
                "c.n = 1.0",
                "print(c.n, c.m, c.t)",
                "if x.sum() > 1.0: c.m += 2",
            ]
        ),
        min_size=1,
        max_size=6,
    )
)
def test_r10_any_order_of_changes(lines):
    body = "\n".join(f"    {line}" for line in lines)
    source = (
        "class C: pass\nc, d = C(), {'k': 1}\nc.n, c.m, c.t, c.s = 0, 5, df.zeros(1), df.ones(1)\n"
        f"def f(x):\n{body}\n    return x * 1.0\n"
        "def state(): return c.n, c.m, d, c.t.tolist(), c.s.tolist()"
    )
    results = []
    for compiled in (False, True):
        python, _, scope = program(source)
        f = df.function(python) if compiled else python
        with contextlib.redirect_stdout(io.StringIO()) as out:
            found = [(f(vector(k % 3)).tolist(), repr(scope["state"]())) for k in range(8)]
        results.append((found, out.getvalue()))
    assert results[0] == results[1]
    assert f.mode == "compiled"


@in_segments
def test_no_number_of_a_recording_stays_anywhere():
    c, kept, table = Counter(), [], {}

    def python(x):
        c.n += 1
        kept.append(c.n)
        table["n"] = (c.n, [c.n + 1])
        c.other = c.n * 2
        return x * c.n

    f = df.function(python)
    for _ in range(6):
        f(vector(1))
    found = [c.n, c.other, *kept, table["n"][0], *table["n"][1]]
    assert all(type(x) is int for x in found)
    assert kept == [1, 2, 3, 4, 5, 6]
    assert not any(type(x) in KINDS for x in found)


def test_r10_an_error_leaves_what_python_leaves():
    def make():
        c = Counter()

        def f(x, i):
            c.n += 1
            y = x[i] * c.n
            c.n += 10
            return y

        return c, f

    (a, eager), (b, python) = make(), make()
    f = df.function(python, strict=True)
    for i in (0, 1, 0, 7, 1, 7, 0):
        i = df.asarray(i)
        with contextlib.suppress(IndexError):
            wanted = None
            wanted = eager(vector(1, 2), i)
        with contextlib.suppress(IndexError):
            found = None
            found = f(vector(1, 2), i)
        assert (found is None) == (wanted is None)
        assert found is None or found.tolist() == wanted.tolist()
        assert (a.n, type(b.n)) == (b.n, int)
    assert f.from_graph >= 2


def test_r10_an_error_while_recording_leaves_plain_values():
    c = Counter()

    def python(x):
        c.n += 1
        if c.n == 3:
            raise KeyError(c.n)
        return x * c.n

    f = df.function(python, strict=True)
    for _ in range(2):
        f(vector(1))
    with pytest.raises(KeyError, match="3"):
        f(vector(1))
    assert (c.n, type(c.n)) == (3, int)
    assert f(vector(1)).tolist() == [4.0]


@in_segments
def test_code_that_takes_no_stand_in_runs_all_the_same():
    c, log = Counter(), []

    def python(x):
        log.append("before")
        c.n += 1
        return x * float(decimal.Decimal(c.n)) * len(json.dumps(c.n))

    f = df.function(python)
    for k in range(1, 7):
        assert f(vector(1)).tolist() == [k]
        assert len(log) == c.n == k


@in_segments
def test_code_that_asks_for_the_type_gets_it():
    c = Counter()

    def python(x):
        c.n += 1
        return x * c.n if type(c.n) is int else x * 0.0

    f = df.function(python)
    for k in range(1, 8):
        assert f(vector(1)).tolist() == [k]


def test_r10_r13_gradients_flow_through_what_is_kept():
    """Like everything that a call computes, what it leaves in an attribute has a history."""
    w = df.Variable([2.0])

    def make():
        c = Counter()

        def f(x):
            c.n += 1
            c.last = w * x * c.n
            return (c.last * 3.0).sum()

        return c, f

    (a, eager), (b, python) = make(), make()
    f = df.function(python, strict=True)
    for k in range(1, 6):
        grads = []
        for c, g in ((a, eager), (b, f)):
            with df.GradientTape(persistent=True) as tape:
                loss = g(vector(k))
                other = (c.last * c.last).sum()
            grads.append([tape.gradient(y, w).tolist() for y in (loss, other)])
        assert grads[0] == grads[1]
    assert f.from_graph >= 2


def test_r13_what_a_call_replaces_keeps_no_history_alive():
    w, kept = df.Variable(0.5), [None]

    @df.function
    def f():
        kept[0] = w * 2.0

    replaced = []
    for _ in range(6):
        f()
        kept[0].backward()  # which goes back to `w`, not through what was there before
        replaced.append(weakref.ref(kept[0]))
    assert w.grad.item() == 12.0
    gc.collect()
    assert all(made() is None for made in replaced[2:-1])


def test_r41_a_call_that_is_not_finite_leaves_what_was_before():
    c = Counter()

    def python(x):
        c.n += 1
        return df.log(x) * c.n

    f = df.function(python, strict=True)
    for _ in range(4):
        f(vector(1))
    with df.check_numerics():
        f(vector(1))
        with pytest.raises(NumericsError):
            f(vector(0))
    assert type(c.n) is int
    assert f(vector(1)).tolist() == [0.0]


class Named:
    """Equal by name."""

    def __init__(self, name):
        self.name = name
        self.n = 0

    def __eq__(self, other):
        return self.name == other.name

    def __hash__(self):
        return hash(self.name)


@in_segments
def test_an_argument_that_equals_another_is_changed_itself():
    def python(x, s):
        s.n += 1
        return x * s.n

    f = df.function(python)
    a, b = Named("a"), Named("a")
    for s in (a, a, a, b, b, a, b):
        f(vector(1), s)
    assert (a.n, b.n) == (4, 3)


def test_other_threads_see_numbers_that_are_none_of_the_recording():
    c = Counter()
    inside, over, seen = threading.Event(), threading.Event(), []

    def other():
        inside.wait()
        seen.append(c.n + 1)
        over.set()

    def wait():
        if c.n == 2:
            inside.set()
            over.wait()

    def python(x):
        y = x * c.n
        df.function(wait)()
        c.n += 1
        return y

    f = df.function(python)
    thread = threading.Thread(target=other)
    thread.start()
    for _ in range(6):
        f(vector(1))
    thread.join()
    assert seen == [3]
    assert type(seen[0]) is int
    assert c.n == 6


def test_two_functions_count_in_one_module():
    class Net(df.nn.Module):
        def __init__(self):
            self.step = 0
            self.by = 1.0

        def forward(self, x):
            self.step += 1
            return x * self.step * self.by

    net = Net()
    train = df.function(lambda x: net(x), strict=True)
    look = df.function(lambda x: x * net.step * net.by, strict=True)
    for k in range(1, 8):
        net.by = 2.0 if k > 4 else 1.0
        assert train(vector(1)).tolist() == look(vector(1)).tolist() == [k * net.by]
    assert train.from_graph >= 4
    assert look.from_graph >= 4


def test_r10_a_number_that_is_an_argument_may_be_kept():
    c = Counter()

    def python(x, k):
        c.n = k * 2
        return x * k

    f = df.function(python, strict=True)
    for k in range(1, 9):
        assert f(vector(1), k).tolist() == [k]
        assert (c.n, type(c.n)) == (2 * k, int)
    assert f.from_graph >= 4


def test_r10_a_constant_is_left_while_other_threads_live():
    """It may be another thread's, so it must be seen twice."""
    c, over = Counter(), threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()

    def python(x):
        y = x * c.n
        c.n += 1
        if c.n > 2:
            c.n = 0
        return y

    f = df.function(python, strict=True)
    found = [f(vector(1)).tolist()[0] for _ in range(12)]
    over.set()
    thread.join()
    assert found == [0.0, 1.0, 2.0] * 4
    assert f.mode == "compiled"
    assert f.from_graph >= 4
