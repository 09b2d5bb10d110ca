"""What finds garbage finds it."""

from __future__ import annotations

import gc
import subprocess
import sys
from contextlib import nullcontext

import pytest

import dualflow as df
from dualflow.errors import FunctionWarning
from jit.collector import collector_paused
from tests.garbage import garbage, no_collector
from tests.modes import graphs_only


class Ring:
    def __init__(self, inner=None):
        self.ring, self.inner = self, inner


def ring_of_a_function():
    def loop():
        """Holds itself."""

    loop.itself = loop


@pytest.mark.slow  # a minute in a process that holds many objects
def test_rings_are_told_by_what_is_ours_in_them():
    with no_collector():
        Ring(df.ones(3))
        ring_of_a_function()
        foreign = [[]]
        foreign[0].append(foreign)
        del foreign
        assert garbage() == ["Ring", "Tensor", "ring_of_a_function.<locals>.loop"]
        assert garbage() == []
    assert gc.isenabled()
    assert gc.garbage == []


LOADING = """
import gc
import dualflow as df

collected = []
gc.callbacks.append(lambda phase, about: collected.append(about["generation"]))
for name in ("function", "optim", "nn"):
    getattr(df, name)
    print(gc.isenabled(), end=" ")
gc.disable()
df.train
print(gc.isenabled(), max(collected, default=0))
"""


def test_loading_what_is_asked_for_first_visits_no_old_objects():
    ran = subprocess.run(
        [sys.executable, "-c", LOADING], capture_output=True, text=True, check=True
    )
    assert ran.stdout.split() == ["True", "True", "True", "False", "0"]


VISITED = """
import gc
import dualflow as df

if {freeze}:
    gc.freeze()
visits = []
gc.callbacks.append(lambda phase, about: visits.append(phase))
df.function
print(len(visits), gc.get_freeze_count() > 2000, gc.get_count()[0] < 2000)
"""


@pytest.mark.parametrize("frozen", [False, True])
def test_modules_grow_old_unvisited_where_the_program_froze_nothing(frozen):
    code = VISITED.format(freeze=frozen)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    visits, stays, few = ran.stdout.split()
    assert (int(visits) > 0) is frozen
    assert (stays, few) == (str(frozen), "True")


@graphs_only
@pytest.mark.parametrize("enabled", [True, False])
def test_a_recording_pauses_the_collector_and_leaves_its_switch_alone(enabled):
    found = []

    @df.function
    def f(x):
        found.append((gc.get_threshold()[0], gc.isenabled()))
        return x + 1

    before = gc.get_threshold()
    assert before[0] > 0
    with nullcontext() if enabled else no_collector():
        with pytest.warns(FunctionWarning, match="gc.get_threshold"):  # no graph can do that
            f(df.ones(3))
        assert found[0] == (0, enabled)
        assert gc.isenabled() is enabled
    assert gc.get_threshold() == before


def test_what_the_program_does_to_the_collector_meanwhile_lasts():
    before = gc.get_threshold()
    try:
        with collector_paused():
            gc.disable()
        assert not gc.isenabled()
        assert gc.get_threshold() == before
        with collector_paused(), collector_paused():
            gc.enable()
            gc.set_threshold(500, 5, 5)
        assert gc.isenabled()
        assert gc.get_threshold() == (500, 5, 5)
    finally:
        gc.enable()
        gc.set_threshold(*before)
