"""The machine of these tests: a stand-in for CuPy, or a real GPU where a test is marked `gpu`."""

from __future__ import annotations

import pytest

from tests.gpu.standin import Installed


@pytest.fixture
def machine():
    """A machine with two devices that are none; what was asked of them is in its attributes."""
    from dualflow.core.variable import convert
    from dualflow.ops.random import default_generator

    with Installed(devices=2) as state:
        yield state
        convert(default_generator.state, "cpu")
