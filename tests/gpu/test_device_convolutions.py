"""Convolutions by cuDNN on a GPU: both modes have the same bits, which are near float64's."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
from jit.config import configure
from jit.forms import convolutions
from jit.ir.convolution import FORWARD
from jit.runtime import cudnn, cudnn_choice
from jit.runtime.cudnn import Convolve, Convolving
from jit.runtime.cudnn_trial import Trial
from jit.types import dtypes
from tests.gpu.device import available
from tests.gpu.test_convolution_epilogues import APART, AT_ONCE, given_four, read
from tests.gpu.test_convolutions import FORMS, gradients
from tests.gpu.test_cudnn_plans import DTYPES, KINDS, LENET, VGG16, layer
from tests.gpu.test_device_products import check
from tests.gpu.test_products import random

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not available(), reason="there is no CuPy, or no device"),
    pytest.mark.skipif(cudnn.frontend() is None, reason="there is no cuDNN with its frontend"),
]
NEAR = {"float32": 1e-5, "float16": 1e-2, "bfloat16": 5e-2}


@pytest.fixture
def every(monkeypatch):
    """Convolutions of any size are for the library; no op is known."""
    from dualflow.core import gpu_kernels, kernels

    monkeypatch.setattr(convolutions, "LARGE", 1)
    monkeypatch.setattr(convolutions, "NARROW", 1)
    monkeypatch.setattr(gpu_kernels, "calls", {})
    monkeypatch.setattr(kernels, "families", {})


@pytest.mark.parametrize("dtype", NEAR)
@pytest.mark.parametrize("name", FORMS)
def test_forms(name, dtype, every):
    function, shapes = FORMS[name]
    check(function, [random(*shape, dtype=dtypes[dtype]) for shape in shapes], NEAR[dtype])


@pytest.mark.parametrize("timing", [True, False])
@pytest.mark.parametrize("name", FORMS)
def test_gradients(name, timing, every):
    """Where plans are timed, kernels of our own may be quicker; else the library computes."""
    function, shapes = FORMS[name]
    with configure(timing=timing):
        check(gradients(function), [random(*shape) for shape in shapes], 1e-4)


@pytest.mark.parametrize("precision", ["float32", "tf32"])
@pytest.mark.parametrize("name", [*AT_ONCE, *APART])
def test_epilogues(name, precision, every):
    """Whether the library computes both at once or not: the bits are those of eager execution."""
    function = read((AT_ONCE | {name: (x, ()) for name, x in APART.items()})[name][0])
    with df.set_matmul_precision(precision), configure(timing=False):
        check(function, given_four(), 1e-4 if precision == "float32" else 5e-3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("dtype", "precision"), DTYPES)
@pytest.mark.parametrize("sizes", [*VGG16[::3], *LENET])
def test_every_plan_is_right(kind, dtype, precision, sizes):
    """What the library proposes is near float64, and can be captured."""
    job = Convolving(layer(kind, *sizes), dtype, precision)
    convolve = Convolve(job, 0)
    plans = convolve.plans()[:4]
    trial = Trial(job, max(plan.workspace for plan in plans))
    for plan in plans:
        assert trial.is_right(convolve, plan), plan
        assert 0 < trial.seconds(convolve, plan) < 1


@pytest.mark.parametrize("sizes", VGG16[1:4])
def test_the_library_is_quicker_than_our_kernels(sizes):
    """At layers of VGG16 in TF32; the choice says so."""
    n, c, extent, k, window, around = sizes
    with df.set_matmul_precision("tf32"), configure(cache="off"):
        x = df.asarray(random(n, c, extent, extent), device="gpu")
        w = df.asarray(random(k, c, window, window), device="gpu")
        cudnn_choice.forget()
        df.nn.functional.conv2d(x, w, padding=around)
        (choice,) = cudnn_choice._choices.values()
    assert choice is not None
    assert choice.convolve.job.convolution.kind == FORWARD


def test_a_net_in_both_modes():
    """Channels lie last between layers; the loss and all gradients have the bits of eager mode."""

    def step(x, w, b, v):
        with df.GradientTape() as tape:
            tape.watch([w, b, v])
            h = df.nn.functional.conv2d(x, w, b, padding=1)
            h = df.nn.functional.max_pool2d(df.nn.functional.relu(h), 2)
            loss = (df.nn.functional.conv2d(h, v, padding=1) ** 2).mean()
        found = [loss, *tape.gradient(loss, [w, b, v])]
        return df.concat([df.reshape(y, (-1,)) for y in found])

    arrays = [random(16, 32, 56, 56), random(64, 32, 3, 3), random(64), random(64, 64, 3, 3)]
    for precision, near in (("float32", 1e-4), ("tf32", 1e-2)):
        with df.set_matmul_precision(precision):
            given = [df.asarray(x / 8, device="gpu") for x in arrays]
            f = df.function(step)
            found = [f(*given).numpy() for _ in range(3)][-1]
            assert found.tobytes() == step(*given).numpy().tobytes()
        wanted = step(*[df.asarray(x.astype(np.float64) / 8) for x in arrays]).numpy()
        assert np.abs(found - wanted).max() <= near * np.abs(wanted).max()
