"""A call from a graph that goes wrong is run again in Python, from the same inputs, state, numbers.

It stops at the user's line with real values; and what comes afterwards is what would have come if
nothing had been decorated.
"""

from __future__ import annotations

import sys

import numpy as np
import pytest

import dualflow as df
from dualflow import nn, optim
from dualflow.errors import NumericsError
from tests.modes import bits, graphs_only

pytestmark = graphs_only
STEPS, BAD = 12, (5, 8)  # calls, and those in which something happens


class Training:
    """A net with dropout, an optimiser, and a step in which things can go wrong."""

    def __init__(self, decorate):
        df.random.seed(7)
        layers = nn.Linear(4, 6), nn.Dropout(0.4), nn.Tanh(), nn.Linear(6, 2)
        self.model = nn.Sequential(*layers)
        self.optimizer = optim.Adam(self.model.parameters(), lr=0.05)
        self.count = df.Variable(0, dtype="int64", trainable=False, name="count")
        self.step = decorate(self.plain_step)

    def plain_step(self, x, limit, index):
        self.count.assign_add(1)
        noisy = x + df.random.normal(x.shape, std=0.1)
        loss = (df.log(df.abs(self.model(noisy)) + limit) ** 2).sum()
        assert x.sum() < 1e6, "the batch is broken"
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss + x[index, 0]

    def state(self):
        optimizer = [v for each in self.optimizer.state.values() for v in each.values()]
        generator = df.random.get_state()
        return [bits(v) for v in (*self.model.parameters(), *optimizer, self.count, generator)]


def batches(what):
    """Inputs of each step; in bad ones something makes the step fail."""
    generator = np.random.default_rng(0)
    for k in range(STEPS):
        x = generator.normal(size=(3, 4)).astype("float32")
        if k in BAD and what == "assertion":
            x[1, 1] = 1e7
        index = 9 if k in BAD and what == "index" else 1
        yield df.asarray(x), df.asarray(np.float32(0.5)), df.asarray(index)


def run(decorate, what):
    """All steps: results or errors, and the state after each."""
    training, found = Training(decorate), []
    for arguments in batches(what):
        try:
            result = bits(training.step(*arguments))
        except (AssertionError, IndexError) as error:
            result = (type(error), str(error).splitlines()[0], frames(error))
        found.append((result, training.state()))
    return found, training


def frames(error):
    """The line where it was raised, and a value there."""
    trace = error.__traceback__
    while trace.tb_frame.f_code.co_name != "plain_step":
        trace = trace.tb_next
    inside = trace.tb_frame.f_locals
    return trace.tb_lineno, bits(inside["x"]), bits(inside["loss"])


SLOW = pytest.param("nothing", marks=pytest.mark.slow)


@pytest.mark.parametrize("what", [SLOW, "assertion", "index"])
def test_r39_after_an_error_all_is_as_if_nothing_were_decorated(what):
    wanted, _ = run(lambda f: f, what)
    found, training = run(df.function, what)
    assert found == wanted
    failed = 0 if what == "nothing" else len(BAD)
    assert sum(isinstance(result[0], type) for result, _ in found) == failed
    assert training.step.from_graph >= STEPS - 3 - failed


def test_r39_r41_what_is_not_finite_stops_at_its_line_and_the_call_can_be_made_again():
    wanted, found = Training(lambda f: f), Training(df.function)
    for k, (x, limit, index) in enumerate(batches("nothing")):
        if k in BAD:
            before = found.state()
            made = pytest.raises(NumericsError, match=r"made -?(inf|nan)")
            with made as told, df.check_numerics():
                found.step(x, limit - 1e9, index)
            assert "test_time_travel.py" in str(told.value)
            assert found.state() == before
        state = df.random.get_state()
        a = bits(wanted.step(x, limit, index))
        df.random.set_state(state)
        assert bits(found.step(x, limit, index)) == a
        assert found.state()[:-1] == wanted.state()[:-1]


def test_r39_a_debugger_that_stops_and_goes_on_changes_nothing(monkeypatch):
    def program(training, stop):
        def step(x, limit, index):
            loss = training.plain_step(x, limit, index)
            if stop and loss > 0 and x[0, 0] > 0.5:
                breakpoint()
            return loss

        return step

    seen = []

    def hook():
        frame = sys._getframe(1)
        seen.append((frame.f_code.co_name, float(frame.f_locals["loss"])))

    monkeypatch.setattr(sys, "breakpointhook", hook)
    runs = []
    for decorate, stop in ((lambda f: f, False), (df.function, True)):
        training = Training(lambda f: f)
        step = decorate(program(training, stop))
        results = [bits(step(*arguments)) for arguments in batches("nothing")]
        runs.append((results, training.state()))
    assert runs[0] == runs[1]
    assert seen
    assert all(name == "step" for name, _ in seen)
