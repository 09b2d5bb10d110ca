"""Kernels that come to the GPU while others end: they wait first of all, and are launched so."""

from __future__ import annotations

import ctypes

import pytest

from jit.config import configure
from jit.runtime import cubin, programmatic
from jit.runtime.cubin import linker, ptx
from jit.runtime.gpu_code import image_of, written
from jit.target import gpu
from tests.jit.examples import EXAMPLES, example
from tests.jit.stages import Stages

SM90 = gpu("sm_90")
FEW = ("softmax", "product")


def made(kernel, target):
    """What the driver is given of a kernel."""
    return image_of(written("0" * 64, kernel, target)[1], target)


@pytest.fixture
def codes(monkeypatch):
    """The PTX of all kernels that are made."""
    found = []

    def kept(text, target):
        found.append(ptx(text, target).decode())
        return found[-1].encode()

    monkeypatch.setattr(cubin, "ptx", kept)
    monkeypatch.setattr(cubin, "cubin", lambda code, target: None)
    return found


@pytest.mark.parametrize(
    "name", [pytest.param(x, marks=[] if x in FEW else pytest.mark.slow) for x in EXAMPLES]
)
def test_a_kernel_waits_before_all_else(codes, name):
    for kernel in Stages(example(name).graph, SM90).kernels:
        made(kernel, SM90)
    assert codes
    for code in codes:
        lines = [line.strip() for line in code.partition("{")[2].splitlines()]
        first = next(x for x in lines if x and not x.startswith((".", "//")))
        assert first == "griddepcontrol.wait;"


def test_older_machines_do_not_know_it(codes):
    for name in ("sm_80", "sm_89"):
        (kernel, *_) = Stages(example("softmax").graph, gpu(name)).kernels
        made(kernel, gpu(name))
    assert not any("griddepcontrol" in code for code in codes)


@pytest.mark.skipif(linker() is None, reason="nvidia-nvjitlink is not installed")
def test_it_is_machine_code_of_newer_ones():
    for name in ("sm_90", "sm_100", "sm_120"):
        (kernel, *_) = Stages(example("softmax").graph, gpu(name)).kernels
        assert b"\x7fELF" in made(kernel, gpu(name))


class Driver:
    """Stands for the driver's library."""

    def __init__(self, status):
        self.status, self.given = status, []

    def cuLaunchKernelEx(self, config, function, parameters, extra):  # noqa: N802 - its name
        given = ctypes.cast(config, ctypes.POINTER(programmatic.Config)).contents
        attribute = given.attributes.contents
        sizes = [getattr(given, name) for name in ("gx", "gy", "gz", "bx", "by", "bz", "shared")]
        self.given = [function.value, sizes, given.stream, parameters.value, extra.value]
        assert (given.count, attribute.id, attribute.value) == (1, 6, 1)
        return self.status


def test_what_the_driver_is_told(monkeypatch):
    library = Driver(0)
    monkeypatch.setattr(programmatic, "driver", lambda: library)
    programmatic.launch(16, 5, 1, 1, 128, 1, 1, 64, 99, 4096, 0)
    assert library.given == [16, [5, 1, 1, 128, 1, 1, 64], 99, 4096, None]
    assert ctypes.sizeof(programmatic.Attribute) == 72
    library.status = 1
    with pytest.raises(RuntimeError, match="status 1"):
        programmatic.launch(16, 5, 1, 1, 128, 1, 1, 64, 99, 4096, 0)


def test_machines_that_cannot_launch_as_usual(monkeypatch):
    monkeypatch.setattr(programmatic, "driver", lambda: Driver(0))
    for name, wanted in (("sm_90", programmatic.launch), ("sm_89", None)):
        monkeypatch.setattr(programmatic, "gpu_target", lambda device, name=name: gpu(name))
        assert programmatic.launcher(0) is wanted
        with configure(passes_off=frozenset({programmatic.NAME})):
            assert programmatic.launcher(0) is None
    monkeypatch.setattr(programmatic, "driver", lambda: None)
    assert programmatic.launcher(0) is None
