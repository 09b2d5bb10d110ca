"""What finds garbage finds it."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

import dualflow as df
from tests.garbage import garbage, no_collector


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
