"""What users of other frameworks ask for, where it goes through several parts at once."""

from __future__ import annotations

import datetime
import io
import os
import pathlib
import random
import time

import numpy as np
import pytest

import dualflow as df
from dualflow.comparison import agreement, ulp_distance
from dualflow.errors import FunctionWarning, TraceError
from tests.modes import bits, graphs_only
from tests.tracing.both import agree, vector

UNARY = """abs acos acosh asin asinh atan atanh ceil cos cosh erf exp expm1 floor log log1p log2
log10 negative reciprocal round sign sin sinh sqrt square tan tanh trunc""".split()
EDGES = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    1e-30,
    -1e-30,
    1e-42,
    1e30,
    88.0,
    -104.0,
    np.inf,
    -np.inf,
    np.nan,
]


def batches(*sizes):
    """Inputs and labels, some of other sizes."""
    generator = np.random.default_rng(0)
    for n in sizes:
        x = generator.normal(size=(n, 6)).astype(np.float32)
        yield df.asarray(x), df.asarray((x.sum(axis=1) > 0).astype(np.int64))


@graphs_only
def test_r14_a_hundred_steps_of_a_net_with_dropout_draw_the_same_numbers():
    """With a branch by a value that draws, and batches of another size in between."""

    def train(decorate):
        df.random.seed(5)
        layers = df.nn.Linear(6, 8), df.nn.ReLU(), df.nn.Dropout(0.3), df.nn.Linear(8, 2)
        net = df.nn.Sequential(*layers)
        optimizer = df.optim.SGD(net.parameters(), lr=0.1)

        def step(x, labels):
            if x[0, 0] > 0:
                x = x + df.random.normal(x.shape, std=0.1)
            loss = df.nn.functional.cross_entropy(net(x), labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss

        step = decorate(step)
        sizes = [3 if k % 10 == 9 else 8 for k in range(100)]
        losses = [bits(step(x, labels)) for x, labels in batches(*sizes)]
        return [*losses, *map(bits, net.parameters()), bits(df.random.normal((3,)))], step

    wanted, _ = train(lambda f: f)
    found, step = train(lambda f: df.function(f, strict=True))
    assert found == wanted
    assert step.from_graph >= 90


def test_r15_differences_of_both_modes_are_told_and_there_are_none():
    """For each output and gradient: absolute, relative, in ULP; and a difference is found."""
    f = df.function(lambda x, w: df.log1p(df.exp(x @ w)).sum(axis=0), strict=True)
    x, w = (df.asarray(np.random.default_rng(k).normal(size=(9, 9))) for k in range(2))
    values = []
    for call in (f.python, f, f):
        with df.GradientTape() as tape:
            tape.watch([x, w])
            y = call(x, w)
        values.append([y, *tape.gradient(y, [x, w])])
    for name, eager, compiled in zip(("y", "dx", "dw"), values[0], values[2], strict=True):
        found = agreement(name, eager, compiled)
        assert (found.identical, found.ulp, found.absolute) == (True, 0, 0.0)
        other = agreement(name, eager, np.nextafter(compiled.numpy(), np.inf))
        assert (other.identical, other.ulp) == (False, 1)
        assert 0 < other.relative < 1e-15


RNG = np.random.default_rng(0)
BY_DRAWING, BY_PASSING = "draw random numbers by df.random", "pass what it gives as an argument"
IMPURE = {
    "numpy": (lambda: np.random.rand(), BY_DRAWING),
    "a generator": (lambda: RNG.random(), BY_DRAWING),
    "random": (lambda: random.random(), BY_DRAWING),
    "time": (lambda: time.time() % 1.0, BY_PASSING),
    "date": (lambda: datetime.datetime.now().microsecond, BY_PASSING),
    "the system": (lambda: os.urandom(1)[0], BY_PASSING),
    "a file": (lambda: len(pathlib.Path(os.devnull).read_text()), BY_PASSING),
    "input": (lambda: float(input()), BY_PASSING),
}


@graphs_only
@pytest.mark.parametrize("name", IMPURE)
def test_r11_what_differs_from_call_to_call_is_told_with_its_line_and_a_replacement(
    name, monkeypatch
):
    read, remedy = IMPURE[name]
    monkeypatch.setattr("sys.stdin", io.StringIO("1\n2\n3\n4\n"))
    place = f"test_requirements.py:{read.__code__.co_firstlineno}"

    f = df.function(lambda x: x * read())
    with pytest.warns(FunctionWarning, match=f"{place}. To compile it whole, {remedy}"):
        f(vector(1))
    assert f.mode.startswith("segments (")
    with pytest.raises(TraceError, match=f"(?s)at {place}.*{remedy}"):
        df.function(lambda x: x * read(), strict=True)(vector(1))


@pytest.mark.parametrize("name", UNARY)
def test_r16_both_modes_are_right_at_the_edges(name):
    function = getattr(df, name)
    x = df.asarray(np.float32(EDGES))
    f = df.function(lambda x: function(x), strict=True)
    f(x)
    eager, compiled = function(x), f(x)
    assert bits(eager) == bits(compiled)
    if name != "erf":  # NumPy has none
        with np.errstate(all="ignore"):
            exact = getattr(np, name)(x.numpy().astype(np.float64)).astype(np.float32)
        assert ulp_distance(eager.numpy(), exact).max() <= 4


@graphs_only
@pytest.mark.parametrize("first", [0, 2])
def test_r25_layers_and_two_optimisers_created_inside_on_any_call(first):
    """They are made once, at the first call that comes to them."""

    class Trainer:
        net = None
        calls = 0

        def step(self, x, labels, start):
            if start and self.net is None:
                df.random.seed(3)
                self.net = df.nn.Linear(6, 4), df.nn.Linear(4, 2)
                self.optimizers = (
                    df.optim.Adam(self.net[0].parameters(), lr=0.1),
                    df.optim.SGD(self.net[1].parameters(), lr=0.1, momentum=0.9),
                )
            if self.net is None:
                return x.sum()
            loss = df.nn.functional.cross_entropy(self.net[1](df.tanh(self.net[0](x))), labels)
            loss.backward()
            for optimizer in self.optimizers:
                optimizer.step()
                optimizer.zero_grad()
            return loss

    calls = [(*batch, k >= first) for k, batch in enumerate(batches(*[8] * 10))]
    eager, compiled = Trainer(), Trainer()
    step = df.function(compiled.step, strict=True)
    for args in calls:
        assert bits(step(*args)) == bits(eager.step(*args))
    for ours, theirs in zip(compiled.net, eager.net, strict=True):
        assert list(map(bits, ours.parameters())) == list(map(bits, theirs.parameters()))
    assert step.mode == "compiled"
    assert step.from_graph >= 5


@graphs_only
def test_r25_a_variable_for_each_place_and_instance():
    class Counter:
        def __init__(self):
            self.counts = {}

        def add(self, x, name):
            if name not in self.counts:
                self.counts[name] = df.Variable(df.zeros_like(x), name=name)
            self.counts[name].assign_add(x)
            return self.counts[name] * 1.0

    def program():
        counters = Counter(), Counter()
        return (lambda x, which, name: counters[which].add(x, name)), None

    calls = [(vector(k, 1), k % 2, name) for k in range(8) for name in ("a", "b")]
    assert agree(program, calls).from_graph >= 4
