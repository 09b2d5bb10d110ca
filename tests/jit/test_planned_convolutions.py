"""Launches of convolutions: a library may compute them, and kernels of our own have its results."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from jit.forms import convolutions, matrices
from jit.forms.native import lower_for_code
from jit.ir.convolution import FILTERS, FORWARD, IMAGES
from jit.loops.interpret import interpret
from jit.loops.ir import Mma
from jit.planner import plan
from jit.runtime.alone import Alone, innermost
from jit.runtime.cpu import host_target
from jit.runtime.cubin import linker
from jit.runtime.gpu_code import gpu_code
from jit.target import gpu
from tests.jit.forms.test_convolutions import computed, conv_graph, convs, step
from tests.jit.stages import interpreted, machine, run_program

SM90 = replace(gpu("sm_90"), products="tf32", convolutions="tf32")
HERE = replace(host_target(), convolutions="float32")
SAME = {"stride": (1, 1), "padding": ((1, 1), (1, 1)), "rhs_dilation": (1, 1)}
SAME |= {"lhs_dilation": (1, 1), "groups": 1}
VGG = (32, 256, 56, 56), (256, 256, 3, 3)


@pytest.fixture
def of_any_size(monkeypatch):
    """All convolutions are large enough."""
    monkeypatch.setattr(convolutions, "LARGE", 0)
    monkeypatch.setattr(convolutions, "NARROW", 1)


def planned(graph, target):
    """The program of a graph."""
    return plan(graph.name, lower_for_code(graph, target.units), target).program


def in_place(program):
    """The same program with kernels of our own in the place of what a library may compute."""
    steps = [each for x in program.steps for each in innermost(x)]
    return replace(program, steps=steps)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(convs())
def test_kernels_compute_what_a_library_is_told(of_any_size, drawn):
    graph = conv_graph(*drawn)
    program = planned(graph, HERE)
    rng = np.random.default_rng(0)
    arrays = [rng.integers(-4, 5, x.type.shape).astype(np.float32) for x in graph.inputs]
    wanted = run_program(planned(graph, host_target()), arrays, machine(host_target()))
    told = {x.kernel: x.convolved for x in program.launches() if x.convolved}

    def run(kernel, buffers, sizes):
        holds = interpret(kernel, buffers, sizes)
        if (x := told.get(kernel)) is not None:
            first, second = (buffers[k].astype(np.float64) for k in x.operands)
            described = computed(x.convolution, first, second)
            np.testing.assert_array_equal(buffers[x.result], described.reshape(-1))
        return holds

    for found in (
        run_program(program, arrays, run),
        run_program(in_place(program), arrays, machine(host_target())),
    ):
        np.testing.assert_array_equal(found[0].reshape(-1), wanted[0].reshape(-1))


def test_what_a_library_takes_the_place_of():
    """Copies with channels last, the convolution, and the result as it was."""
    program = planned(conv_graph(*VGG, SAME), SM90)
    images, filters, made, back = program.steps
    assert [x.convolved is None for x in (images, filters, made, back)] == [1, 1, 0, 1]
    assert made.is_for_library
    assert made.convolved.is_fixed
    assert (made.convolved.precision, made.convolved.dtype) == ("tf32", "float32")
    assert made.convolved.convolution.kind == FORWARD
    *copies, sums = made.apart
    assert any(isinstance(s, Mma) for s in sums.kernel.statements())
    assert not any(isinstance(s, Mma) for x in copies for s in x.kernel.statements())
    assert [program.slots[x].type.shape for x in made.buffers] == [
        (32, 56, 56, 256),
        (256, 3, 3, 256),
        (32, 56, 56, 1, 256),
    ]


def test_small_ones_and_other_dtypes_are_for_kernels():
    for shapes, attrs in (
        (((1, 3, 8, 8), (4, 3, 3, 3)), SAME),
        (((32, 64, 56, 56), (64, 1, 3, 3)), SAME | {"groups": 64}),
    ):
        steps = planned(conv_graph(*shapes, attrs), SM90).steps
        assert all(x.convolved is None for x in steps)
    assert not any(x.convolved for x in planned(conv_graph(*VGG, SAME), gpu("sm_90")).steps)


def test_launches_alone_are_a_program(of_any_size):
    """They read what the launch reads, write what it writes, and have no sizes that vary."""
    program = planned(step(2), HERE)
    for launch in program.launches():
        if launch.convolved is None:
            continue
        own = Alone(program, launch, {}).own
        rng, slots = np.random.default_rng(0), [own.slots[k] for k in own.inputs]
        arrays = [rng.integers(-4, 5, x.type.shape).astype(np.float32) for x in slots]
        (found,) = run_program(own, arrays, machine(host_target()))
        order = [own.inputs.index(k) for k in range(len(own.inputs))]
        given = [arrays[order[k]].astype(np.float64) for k in launch.convolved.operands]
        wanted = computed(launch.convolved.convolution, *given)
        np.testing.assert_array_equal(found.reshape(-1), wanted.reshape(-1))


@pytest.mark.skipif(linker() is None, reason="there is no nvJitLink")
@pytest.mark.parametrize("kind", [FORWARD, IMAGES, FILTERS])
def test_kernels_in_its_place_become_machine_code(kind, monkeypatch):
    monkeypatch.setattr(convolutions, "LARGE", 0)
    monkeypatch.setattr(matrices, "LARGE", 1)
    program = planned(step(1), SM90)
    (made,) = [x for x in program.steps if x.convolved and x.convolved.convolution.kind == kind]
    for launch in made.apart:
        assert gpu_code(launch.kernel, SM90).image.startswith(b"\x7fELF")


def test_kernels_for_a_gpu_have_the_bits_of_those_without_a_library(of_any_size):
    graph = conv_graph((1, 2, 5, 4), (2, 2, 3, 3), SAME)
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=x.type.shape).astype(np.float32) for x in graph.inputs]
    plain = run_program(planned(graph, gpu("sm_90")), arrays, interpreted())
    own = in_place(planned(graph, replace(gpu("sm_90"), convolutions="float32")))
    found = run_program(own, arrays, interpreted())
    assert [x.tobytes() for x in found] == [x.tobytes() for x in plain]
