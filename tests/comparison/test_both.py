"""`df.compare`: one call in both modes, what it says, and that it leaves nothing behind."""

from __future__ import annotations

import json
import random
import warnings
from dataclasses import replace

import numpy as np
import pytest

import dualflow as df
from dualflow import nn, optim
from dualflow.core.op import registry
from dualflow.tracing.audit import Foreseen
from dualflow.tracing.joins.joined import Joined
from tests.modes import bits, graphs_only

pytestmark = graphs_only
x, y = df.asarray(np.linspace(-1, 1, 40, dtype="float32").reshape(8, 5)), df.ones((8, 3))


@pytest.fixture
def planted():
    """Makes compiled code compute one op as another one; NumPy computes it in eager mode."""
    changed = []

    def plant(name: str, other: str) -> None:
        op = registry[name]
        changed.append((op, op.lower))
        object.__setattr__(op, "lower", registry[other].lower)

    yield plant
    for op, lower in changed:
        object.__setattr__(op, "lower", lower)


def training():
    model = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Dropout(0.25), nn.Linear(4, 3))
    optimizer = optim.Adam(model.parameters(), lr=0.01)

    def step(x, y):
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return model, optimizer, step


def test_r15_r32_the_report_of_a_two_layer_net_says_all_of_it():
    w1, w2 = df.Variable(df.randn(5, 4), name="w1"), df.Variable(df.randn(4, 3), name="w2")

    def net(x, y):
        return ((df.maximum(x @ w1, 0.0) @ w2 - y) ** 2).sum()

    found = df.compare(net, x, y, calls=8)
    names = {output.name for output in found.outputs}
    assert names == {"result", "grad x", "grad y", "grad w1", "grad w2"}
    assert found.identical
    assert found.first_difference is None
    assert 0 < found.accuracy.compiled == found.accuracy.eager < 1e-5
    assert (found.calls, found.from_graph, found.traces, found.lost) == (8, 8, 1, 0)
    assert {line.partition(":")[0] for part in found.groups for line in [part.source]} == {
        "test_both.py"
    }
    assert sum(step.share for step in found.steps) == pytest.approx(1)
    assert min(found.eager_bytes, found.compiled_bytes) > x.nbytes + w1.nbytes
    text = str(found)
    assert max(map(len, text.splitlines())) <= 80
    assert len(text.splitlines()) <= 20
    for word in ("same answer?", "against float64", "faster?", "worth it?", "memory", "1 trace"):
        assert word in text
    page = found.to_html()
    for word in ("grad w1", "calls", "eager", *[part.label for part in found.groups]):
        assert word in page
    assert json.loads(found.to_json())["groups"][0]["label"] == found.groups[0].label
    assert "<svg" in found._repr_html_()


def test_both_modes_start_from_one_state_which_is_put_back():
    model, optimizer, step = training()
    df.random.seed(3)
    before = [bits(v) for v in (*model.parameters(), df.random.get_state())]
    found = df.compare(step, x, y, calls=3)
    assert found.identical
    assert found.outputs[0].name == "result"
    left = [output for output in found.outputs if output.name.endswith("after the call")]
    assert len(left) == 4 + sum(map(len, optimizer.state.values())) + 1  # and the generator
    assert [bits(v) for v in (*model.parameters(), df.random.get_state())] == before
    assert all(v.grad is None for v in model.parameters())


def test_state_of_python_is_put_back_and_both_modes_find_it_alike():
    class Counter:
        def __init__(self):
            self.steps, self.seen = 0, []

    counter = Counter()

    def f(x):
        counter.steps += 1
        counter.seen.append(float(counter.steps))
        return x * counter.steps

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = df.compare(f, x, calls=3)
    assert found.identical
    assert (counter.steps, counter.seen) == (0, [])


def test_r32_the_report_says_why_a_compiled_call_takes_more_memory():
    def f(x):
        return x[:, ::2], x[:, 1::2]  # views in Python; what a graph returns is the caller's own

    found = df.compare(f, df.ones((300, 200)), calls=2)
    assert found.compiled_bytes > found.eager_bytes + 100_000
    line = f.__code__.co_firstlineno + 1
    text = " ".join(str(found).split())
    assert f"at its peak 240 kB of test_both.py:{line} are there, eagerly 0 bytes" in text
    assert df.compare(lambda x: df.tanh(x) + 1.0, df.ones((300, 200)), calls=2).more is None


def test_the_callers_tensors_stay_as_they_are():
    given = df.ones((2, 2))
    df.compare(lambda x: (x * x).sum(), given, calls=2)
    assert given.record is None


def test_what_a_function_prints_is_not_shown_and_none_of_it_is_lost(capsys):
    def f(x):
        print("the sum is", x.sum())
        print("that was it")
        return x + 1.0

    found = df.compare(f, x, calls=2)
    assert (found.effects, found.lost) == (2, 0)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("name", "other"), [("subtract", "add"), ("maximum", "minimum")])
def test_a_planted_wrong_op_is_the_first_difference_through_fusion(planted, name, other):
    def f(x):
        h = df.tanh(x) * 2.0
        h = h + 1.0
        h = getattr(df, name)(h, x * 0.5)
        return df.exp(h).sum(axis=1)

    planted(name, other)
    found = df.compare(f, x, calls=2)
    assert not found.same
    assert found.first_difference == f"{name} at test_both.py:{f.__code__.co_firstlineno + 3}"
    assert found.accuracy.eager < 1e-5 < found.accuracy.compiled
    assert f"first difference: {name} at" in str(found)


def test_a_wrong_op_in_the_gradient_alone_is_found(planted):
    planted("negative", "positive")  # cos(x)' is -sin(x)
    found = df.compare(lambda x: df.cos(x).sum(), x, calls=2)
    assert [output.identical for output in found.outputs] == [True, False]
    assert found.first_difference.startswith("negative at test_both.py")


def test_a_wrong_op_on_ways_that_join_is_the_first_difference_too(planted):
    def f(x):
        while x.sum() > 1.0:
            x = x * 0.5
        h = df.maximum(df.tanh(x), 0.01)
        return df.exp(h).sum()

    planted("maximum", "minimum")
    given = df.ones((8, 5)) * 100.0
    found = df.compare(f, given, calls=2, gradients=False)
    assert found.from_graph == 2
    assert found.first_difference == f"maximum at test_both.py:{f.__code__.co_firstlineno + 3}"
    blamed = df.bisect(f, given)
    assert (blamed.op, blamed.line) == tuple(found.first_difference.split(" at "))


def test_results_of_another_kind_are_told():
    found = replace(df.compare(lambda x: x * 2.0, x, calls=2), structure="a list, and a tuple")
    assert (found.same, found.identical) == (False, False)
    assert "the results differ in structure: a list, and a tuple" in str(found)


def test_numbers_of_python_are_compared_on_ways_that_join(monkeypatch):
    def collatz(n):
        steps = 0
        while n > 1:
            n = 3 * n + 1 if n % 2 == 1 else n // 2
            steps += 1
        return steps

    found = df.compare(collatz, df.asarray(5), calls=2)
    assert (found.identical, found.from_graph) == (True, 2)
    assert [(x.name, x.elements) for x in found.outputs] == [("result", 1)]
    follow, wrong = Joined.call, []

    def spoiled(self, *args):
        try:
            return follow(self, *args)
        except Foreseen as foreseen:
            raise Foreseen(replace(foreseen.outcome, result=wrong[-1])) from None

    monkeypatch.setattr(Joined, "call", spoiled)
    wrong.append(6)
    found = df.compare(collatz, df.asarray(5), calls=2)
    assert (found.same, found.worst.absolute) == (False, 1)
    wrong.append("four")
    found = df.compare(collatz, df.asarray(5), calls=2)
    assert not found.same
    assert "result: the graph gives 'four', Python 5" in " ".join(str(found).split())


def test_a_function_that_runs_in_segments_is_compared_too():
    def f(x):
        return x * float(x.sum()) + random.random()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = df.compare(f, x, calls=2)
    assert found.mode.startswith("segments")
    assert max(map(len, str(found).splitlines())) <= 80


def test_a_decorated_function_keeps_its_options_and_its_recordings():
    f = df.function(lambda x: x * 2.0, max_traces=3)
    f(x)
    found = df.compare(f, x, calls=2)
    assert (f.calls, len(f.entries)) == (1, 1)
    assert found.name == "<lambda>"


def test_what_looking_makes_is_none_of_the_users_functions():
    def looked_at(x):
        return x * 2.0

    kept = [df.compare(looked_at, x, calls=2), df.plan(looked_at, x), df.profile(looked_at, x)]
    assert len(kept) == 3
    assert "looked_at" not in df.status()


def test_break_even_is_what_the_measured_totals_say():
    found = df.compare(lambda x: df.tanh(x @ x.T).sum(), x, calls=20)
    pay = found.break_even
    if pay is None:
        assert found.compiled.median >= found.eager.median
        return
    total = lambda n: found.first.seconds + n * found.compiled.median  # noqa: E731
    assert total(pay) <= pay * found.eager.median * (1 + 1e-9)
    assert pay == 1 or total(pay - 1) > (pay - 1) * found.eager.median
