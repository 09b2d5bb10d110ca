"""Channels last: what is between convolutions lies as these read it, and has the same bits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import dualflow as df
from dualflow import nn
from jit.compiler import compile
from jit.forms import across, convolutions, nodes
from jit.forms.convolutions import convolved
from jit.forms.native import lower_for_code
from jit.planner import plan
from jit.runtime.alone import innermost
from jit.runtime.cpu import host_target
from jit.target import gpu
from tests.jit.forms.test_convolutions import Described
from tests.jit.stages import interpreted, machine, run_program

SM90 = replace(gpu("sm_90"), products="tf32", convolutions="tf32")


@pytest.fixture(autouse=True)
def of_any_size(monkeypatch):
    """All convolutions are large enough."""
    monkeypatch.setattr(convolutions, "LARGE", 0)
    monkeypatch.setattr(convolutions, "NARROW", 1)


def plain(x, v, w, b):
    """Two layers."""
    h = df.nn.functional.relu(df.nn.functional.conv2d(x, v, padding=1) + b[:, None, None])
    return df.nn.functional.conv2d(h, w)


def pooled(x, v, w, b):
    """With windows in between."""
    h = df.nn.functional.relu(df.nn.functional.conv2d(x, v, padding=1, bias=b))
    h = df.nn.functional.max_pool2d(h, 2)
    return df.nn.functional.avg_pool2d(df.nn.functional.conv2d(h, w, padding=1), 2)


def joined(x, v, w, b):
    """With what goes past a layer, and readers of other kinds."""
    h = df.nn.functional.conv2d(x, v, padding=1)
    y = df.nn.functional.conv2d(h, w, padding=1) + df.tanh(h)
    return y * df.mean(y, axis=(2, 3), keepdims=True) + b[:, None, None]


def line(x, v, w, b):
    """One dimension of places, turned round in between."""
    h = df.nn.functional.relu(df.nn.functional.conv1d(x[:, :, 0], v[:, :, 0], padding=1))
    turned = df.permute_dims(h, (0, 2, 1)) + b
    return df.nn.functional.conv1d(df.permute_dims(turned, (0, 2, 1)), w[:, :, 0])


NETS = {"plain": plain, "pooled": pooled, "joined": joined, "line": line}
SHAPES = (2, 3, 8, 8), (4, 3, 3, 3), (4, 4, 3, 3), (4,)


def with_gradients(net):
    """A result, and the gradients of its sum of squares."""

    def both(*xs):
        with df.GradientTape() as tape:
            tape.watch(list(xs))
            y = net(*xs)
            z = (y * y).sum()
        return y, *tape.gradient(z, list(xs))

    return both


def forms_of(function, shapes=SHAPES):
    """The forms of a function after all passes."""
    specs = [df.TensorSpec(shape, df.float32) for shape in shapes]
    return lower_for_code(compile(df.function(function).concrete(*specs).graph).graph)


@pytest.mark.parametrize("name", NETS)
def test_all_is_computed_as_before(name):
    before = forms_of(with_gradients(NETS[name]))
    after = convolved(before)
    assert any(isinstance(form, nodes.Convolve) for form in after.forms)
    rng = np.random.default_rng(0)
    arrays = [rng.integers(-2, 3, x.shape).astype(np.float32) for x in before.inputs]
    found = []
    for program in (before, after):
        reference = Described()
        reference.arrays.update(zip(program.inputs, arrays, strict=True))
        for form in program.forms:
            if not isinstance(form, nodes.Source):
                reference.run(form)
        found.append([reference.arrays[x] for x in program.outputs])
    for wanted, got in zip(*found, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


def launches(function, shapes=SHAPES):
    """What is launched, and the shapes that it writes."""
    program = plan("net", forms_of(function, shapes), SM90).program
    return [
        (step.convolved is not None, step.label, *[program.slots[x].type.shape for x in written])
        for step in program.steps
        for written in [program.writes(step)]
    ]


def test_a_layer_finds_its_operand_where_the_one_before_has_put_it():
    assert launches(plain) == [
        (False, "conv", (2, 8, 8, 3)),  # the image
        (False, "conv", (4, 3, 3, 3)),  # weights
        (True, "conv_add_relu", (2, 8, 8, 4)),  # which lies as it is read
        (False, "conv", (4, 3, 3, 4)),
        (True, "conv", (2, 6, 6, 1, 4)),
        (False, "conv", (2, 1, 4, 6, 6)),  # the result, as it was
    ]


def test_nothing_is_turned_round_between_layers():
    """Forwards and back: of what has places, only the image and the result are copied."""
    net = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()),
        *(nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(16 * 4 * 4, 10)),
    )

    def step(x):
        with df.GradientTape() as tape:
            loss = (net(x) ** 2).sum()
        return loss, tape.gradient(loss, list(net.parameters()))

    made = launches(step, [(4, 3, 16, 16)])
    assert sum(is_one for is_one, *_ in made) == 8  # 3 forwards, 2 and 3 back
    every = [(label, x) for is_one, label, *shapes in made if not is_one for x in shapes]
    wide = [(label, x) for label, x in every if len(x) == 4 and x[0] == 4]
    assert sum(label == "conv_add_relu" for _, label, *_ in made) == 3
    assert [x for label, x in wide if label == "conv"] == [(4, 16, 16, 3)]  # the image
    assert not [x for _, x in wide if x[2] == x[3] and x[1] != x[2]]  # channels in between


def test_results_of_a_program_lie_as_they_were():
    """Rows of a result are in the order of its axes, whoever else reads it."""

    def both(x, v, w, b):
        h = df.tanh(df.nn.functional.conv2d(x, v, padding=1))
        return h, df.nn.functional.conv2d(h, w)

    made = launches(both)
    assert (2, 4, 8, 8) in [shape for *_, shape in made]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plain", "pooled"])
def test_kernels_for_a_gpu_have_the_bits_of_a_processor(name, monkeypatch):
    """Forwards and back, with kernels of our own in the place of the library."""
    monkeypatch.setattr(across, "MANY", 2)
    shapes = (1, 2, 6, 6), (3, 2, 3, 3), (2, 3, 3, 3), (3,)
    forms = forms_of(with_gradients(NETS[name]), shapes)
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
    here = plan("net", forms, host_target()).program
    there = plan("net", forms, replace(gpu("sm_90"), convolutions="float32")).program
    assert any(launch.convolved for launch in there.launches())
    steps = [each for step in there.steps for each in innermost(step)]
    found = run_program(replace(there, steps=steps), arrays, interpreted())
    wanted = run_program(here, arrays, machine(host_target()))
    assert [x.tobytes() for x in found] == [x.tobytes() for x in wanted]
