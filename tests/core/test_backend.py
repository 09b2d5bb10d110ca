"""Devices: names, and what a machine without a GPU says."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import dualflow as df
from dualflow.core import backend
from dualflow.errors import DeviceError


@pytest.fixture
def no_cupy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)


@pytest.mark.parametrize(
    "move",
    [
        lambda: df.asarray([1.0], device="gpu"),
        lambda: df.asarray([1.0]).to("gpu:0"),
        lambda: df.full((2,), 1.0, device="cuda"),
        lambda: df.asarray(1.0).to("gpu:1"),
    ],
)
def test_without_a_gpu_the_error_says_what_to_do(no_cupy, move):
    with pytest.raises(
        DeviceError, match=r"no GPU can be used here[\s\S]*pip install dualflow\[gpu\]"
    ):
        move()


@pytest.mark.parametrize("name", ["tpu", "gpu:x", "cpu:99", ""])
def test_unknown_devices(name):
    with pytest.raises(DeviceError, match="there is no device"):
        backend.canonical_device(name)


def test_the_cpu_by_its_names():
    x = df.asarray([1.0, 2.0])
    for name in ("cpu", "cpu:0"):
        assert x.to(name) is x
        assert df.asarray([1.0], device=name).device == "cpu"
    assert backend.canonical_device(None) == "cpu"


def test_to_also_takes_dtypes():
    assert df.asarray([1.0]).to("float64").dtype == np.float64
    assert df.asarray([1.0]).to(df.int64).dtype == np.int64


HEAVY = ("cupy", "llvmlite", "scipy", "matplotlib", "sklearn", "torch", "pandas")


def test_import_is_light():
    """Nothing heavy or optional is imported before it is used; the CPU never needs CuPy."""
    code = (
        "import sys, dualflow as df\n"
        "x = df.asarray([1.0]) * 2\n"
        f"print(*[m for m in {HEAVY} if m in sys.modules])"
    )
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stdout.strip()) == (0, ""), ran.stderr


def test_a_tensor_without_elements_is_exported_without_a_copy():
    """A graph may hold it as a constant, which nobody may write into."""
    f = df.function(lambda: df.zeros((0, 2), dtype=df.complex64))
    for _ in range(3):
        assert f().__dlpack__(copy=False) is not None
