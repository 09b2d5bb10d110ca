"""`df.plan`: what it foretells of recordings, kernels and memory is what comes."""

from __future__ import annotations

import functools
import warnings
from dataclasses import dataclass

import numpy as np
import pytest

import dualflow as df
from dualflow import nn, optim
from dualflow.comparison.planning import recordings
from tests.modes import graphs_only

pytestmark = graphs_only


@pytest.fixture(autouse=True)
def _compiled():
    with df.set_mode("compiled"):
        yield


def arithmetic(x, n):
    return x * n + n


def deciding(x, n):
    for _ in range(n):
        x = x + 1.0
    return x


def branching(x, n):
    return x * 2.0 if n > 2 else x * 3.0


def lengths(x):
    return df.tanh(x).sum() / x.shape[0]


def nested(batch, options):
    return batch["x"] * options[0] + batch["y"][1]


@dataclass
class Settings:
    rate: float = 0.5


def applied(function, x):
    return function(x)


def scaled(k, x):
    return x * k


def ones(*shape):
    return df.ones(shape)


PROGRAMS = {
    "R1 R3: ints that feed arithmetic": (arithmetic, [(ones(3), n) for n in range(10)]),
    "R3: ints that decide": (deciding, [(ones(3), n) for n in (1, 2, 3, 4, 2)]),
    "R3: a branch by a number": (branching, [(ones(3), n) for n in (1, 2, 3, 4, 1, 5)]),
    "R6: more kinds of calls than traces are kept": (deciding, [(ones(2), n) for n in range(20)]),
    "R4: a rate": (arithmetic, [(ones(3), 0.1 / (k + 1)) for k in range(6)]),
    "R5: lengths": (lengths, [(ones(n),) for n in (8, 8, 5, 3, 7, 1, 2, 1)]),
    "R5: dtypes": (lengths, [(ones(4).astype(t),) for t in ("float32", "float64", "float32")]),
    "R7: dicts and lists": (
        nested,
        [({"x": ones(2), "y": (1, ones(2))}, [k]) for k in (1, 1, 2, 3)],
    ),
    "R7: partials made anew": (
        applied,
        [(functools.partial(scaled, k), ones(2)) for k in (2.0, 2.0, 3.0, 2.0)],
    ),
    "R7: NumPy scalars": (arithmetic, [(ones(2), np.float32(k)) for k in (1, 1, 2)]),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_recordings_are_as_many_as_foretold(name):
    program, calls = PROGRAMS[name]
    function = df.function(program)
    foretold = recordings(program, calls)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for arguments in calls:
            function(*arguments)
    assert foretold == function.recordings


def test_what_each_change_costs():
    def f(x, k, n, flag):
        h = x * k
        for _ in range(n):
            h = df.tanh(h)
        return h if flag else -h

    found = {c.where: c for c in df.plan(f, ones(4, 5), 2.0, 3, True).changes}
    assert found["x.shape[0]"].cost == "1 recording more, for all others"
    assert found["k"].recordings == (1, 1, 1)
    assert found["n"].cost == "1 recording for each value"
    assert found["flag"].recordings == (1,)
    w = df.ones((5, 2))
    fixed = {c.where: c for c in df.plan(lambda x: x @ w, ones(4, 5)).changes}
    assert fixed["x.shape[1]"].cost == "it takes no other"


def test_nothing_is_compiled_and_state_is_put_back():
    v = df.Variable([1.0, 2.0], name="v")
    scale = 3.25

    def f(x):
        print("side effect")
        return v.assign_add(x * scale).sum()

    f(df.ones(2))
    before = v.tolist()
    found = df.plan(f, df.ones(2))
    assert v.tolist() == before
    decorated = df.function(f)
    decorated(df.ones(2))
    (entry,) = decorated.entries.values()
    assert entry.last.executable.code.found["in memory"] == 0  # it is made now, or read
    assert any("scale is 3.25" in guard for guard in found.guards)
    assert len(found.effects) == 1
    assert "replays: prints" in str(found) or "replays: " in str(found)


def test_kernels_and_memory_are_those_that_come():
    model = nn.Sequential(nn.Linear(300, 200), nn.ReLU(), nn.Linear(200, 10))
    optimizer = optim.Adam(model.parameters(), lr=1e-3)

    def step(x, y):
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    x, y = df.randn(64, 300), df.randn(64, 10)
    plan = df.plan(step, x, y)
    f = df.function(step)
    f(x, y), f(x, y)
    kernels = f.explain().kernels
    assert sorted(k.partition("  ")[0] for k in plan.kernels) == sorted(k.label for k in kernels)
    assert plan.ops == sum(path.ops for e in f.entries.values() for path in e.parts)
    assert plan.bytes > sum(v.numpy().nbytes for v in model.parameters())
    text = str(plan)
    assert text.startswith("step: compiled; ")
    assert max(map(len, text.splitlines())) <= 80


def test_what_runs_in_segments_is_foretold():
    found = df.plan(lambda x: x * float(x.sum()), ones(3))
    assert found.mode.startswith("segments (a value leaves for Python through float()")
