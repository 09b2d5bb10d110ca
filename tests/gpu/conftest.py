"""The machine of these tests: a stand-in for CuPy, or a real GPU where a test is marked `gpu`."""

from __future__ import annotations

import pytest

from jit.forms import matrices
from tests.gpu import standin_cublas, standin_cudnn, standin_kernels
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


@pytest.fixture
def small(machine, monkeypatch):
    """Products of any size from 2 rows and columns on are for the library; no op is known."""
    from dualflow.core import gpu_kernels, kernels

    monkeypatch.setattr(matrices, "LARGE", 1)
    monkeypatch.setattr(matrices, "MANY", 1)
    monkeypatch.setattr(matrices, "NARROW", 2)
    monkeypatch.setattr(gpu_kernels, "calls", {})
    monkeypatch.setattr(kernels, "families", {})


@pytest.fixture
def blas(small):
    """The stand-in for the library."""
    with standin_cublas.installed() as library:
        yield library


@pytest.fixture
def convolver(small, monkeypatch):
    """The stand-in for the library that convolves; convolutions of any size are for it."""
    from jit.forms import convolutions

    monkeypatch.setattr(convolutions, "LARGE", 1)
    monkeypatch.setattr(convolutions, "NARROW", 1)
    with standin_cudnn.installed() as library:
        yield library
