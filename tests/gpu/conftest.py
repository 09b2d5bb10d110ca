"""The machine of these tests: a stand-in for CuPy, or a real GPU where a test is marked `gpu`."""

from __future__ import annotations

import pytest

from tests.gpu import standin_kernels
from tests.gpu.standin import Installed


@pytest.fixture
def machine():
    """A machine with two devices that are none; what was asked of them is in its attributes."""
    from dualflow.core.variable import convert
    from dualflow.ops.random import default_generator

    with Installed(devices=2) as state, standin_kernels.installed():
        yield state
        convert(default_generator.state, "cpu")


@pytest.fixture
def by_cupy(machine, monkeypatch):
    """The same, where no op has a kernel: eager execution is by CuPy's functions alone."""
    from dualflow.core import gpu_kernels

    monkeypatch.setattr(gpu_kernels, "calls", {})
    monkeypatch.setattr(gpu_kernels, "has_kernel", lambda *args: False)
    return machine
