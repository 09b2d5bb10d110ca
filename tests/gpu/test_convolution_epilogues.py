"""Bias and activation by the library that convolves: as both apart, bit by bit, or not at all."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest

import dualflow as df
from dualflow import nn
from jit.config import configure
from jit.runtime import cudnn_choice, trials
from jit.runtime.cudnn_choice import Convolved
from jit.runtime.gpu import GpuExecutable
from tests.gpu.test_products import both, random
from tests.modes import compiled_only, graphs_only

pytestmark = [graphs_only, compiled_only]
F = nn.functional


@pytest.fixture(autouse=True)
def nothing_remembered(tmp_path):
    """Choices are made anew in each test."""
    with configure(cache=tmp_path):
        yield


def biased(x, w, b):
    return F.conv2d(x, w, b, padding=1)


def rectified(x, w, b):
    return F.relu(biased(x, w, b))


def read(function):
    """What a function gives, read by another convolution: so it lies with channels last."""
    return lambda x, w, b, v: F.conv2d(function(x, w, b), v)


def given_four(dtype=np.float32):
    shapes = (2, 3, 12, 12), (16, 3, 3, 3), (16,), (4, 16, 3, 3)
    return [random(*shape, dtype=dtype) for shape in shapes]


def launched(f, arrays):
    """How many kernels of ours a call launches, and what follows the library's convolutions."""
    path = next(iter(f.entries.values())).parts[0]
    table = path.executable.code._run.binding([x.raw for x in arrays]).table
    calls = [row.code for row in table.rows if isinstance(row.code, Convolved)]
    return len(table.rows) - len(calls), [call.convolve.epilogue for call in calls]


AT_ONCE = {
    "bias": (biased, ("bias",)),
    "relu": (rectified, ("bias", "relu")),
    "steps": (lambda x, w, b: F.relu(F.conv2d(x, w, b, stride=2)), ("bias", "relu")),
    "a row": (lambda x, w, b: F.conv2d(x, w) + df.reshape(b, (1, 16, 1, 1)), ("bias",)),
}
APART = {
    "another function": lambda x, w, b: df.tanh(biased(x, w, b)),
    "a bias of places": lambda x, w, b: F.conv2d(x, w, padding=1) + b[:12],
    "a difference": lambda x, w, b: F.conv2d(x, w, padding=1) - b[:, None, None],
    "read twice": lambda x, w, b: biased(x, w, b) * df.tanh(F.conv2d(x, w, padding=1)),
    "transposed": lambda x, w, b: F.relu(
        F.conv_transpose2d(x, df.permute_dims(w, (1, 0, 2, 3)), b, stride=2)
    ),
}


@pytest.mark.parametrize("name", AT_ONCE)
def test_what_is_computed_at_once(name, convolver):
    function, epilogue = AT_ONCE[name]
    found, *_ = both(read(function), *(arrays := given_four()))
    exact = read(function)(*[df.asarray(x.astype(np.float64)) for x in arrays]).numpy()
    np.testing.assert_allclose(found, exact, rtol=1e-3, atol=1e-3)
    assert epilogue in {call.epilogue for call in convolver.calls}
    assert [call.epilogue for call in convolver.calls[-2:]] == [epilogue, ()]


@pytest.mark.parametrize("name", APART)
def test_what_takes_a_launch_more(name, convolver):
    both(read(APART[name]), *given_four())
    assert {call.epilogue for call in convolver.calls} == {()}


def test_a_launch_is_saved(convolver):
    _, f, arrays = both(read(rectified), *given_four())
    kernels, epilogues = launched(f, arrays)
    assert epilogues == ["bias_relu", ""]
    convolver.other = True
    cudnn_choice.forget()
    with configure(cache="off"):
        _, f, arrays = both(read(rectified), *given_four())
        assert launched(f, arrays) == (kernels + 1, ["", ""])


def test_halves_are_rounded_where_eager_rounds(convolver):
    both(read(rectified), *given_four(np.float16))
    assert {call.epilogue for call in convolver.calls} == {()}


def test_special_numbers(convolver):
    """NaN, infinities and numbers near 0 come out as where both are apart."""
    x, w, b, v = given_four()
    x[1], x[0, 2, 3], w[5] = 0, np.inf, -0.0
    b[: len(trials.SPECIAL)] = trials.SPECIAL
    given = [df.asarray(a, device="gpu") for a in (x, w, b, v)]
    for function in map(read, (biased, rectified)):
        compiled = df.function(function)
        found = [compiled(*given).numpy() for _ in range(3)][-1]
        np.testing.assert_array_equal(found, function(*given).numpy())


@pytest.mark.parametrize(("seconds", "wanted"), [(1.0, True), (2.0, False)])
def test_an_epilogue_must_not_take_long(seconds, wanted, convolver, monkeypatch):
    def seconds_of(trial, job, way):
        return seconds if job.epilogue else 1.0

    monkeypatch.setattr(trials.Trial, "seconds", seconds_of)
    monkeypatch.setattr(GpuExecutable, "_seconds", lambda run, program: 9.0)
    both(read(rectified), *given_four())
    assert (convolver.calls[-2].epilogue != ()) is wanted


@pytest.mark.parametrize("other", [False, True])
def test_the_choice_is_remembered(other, convolver, monkeypatch):
    convolver.other = other
    both(read(rectified), *given_four())
    assert (convolver.calls[-2].epilogue != ()) is not other
    cudnn_choice.forget()  # as in another process
    monkeypatch.delattr(trials.Trial, "_run")  # nothing is tried again
    both(read(rectified), *given_four())
    assert (convolver.calls[-2].epilogue != ()) is not other


@pytest.mark.parametrize("wrong", [set(), {0, 1, 2}])
def test_a_plan_from_the_disk_serves_all_ways(wrong, convolver, monkeypatch):
    """At once, apart, or by kernels of our own: their code is made when it is needed."""
    with configure(check=False, timing=False):
        wanted, _, given = both(read(rectified), *given_four())
        cudnn_choice.forget()  # as in another process
        convolver.other, convolver.wrong = True, wrong
        monkeypatch.setattr(cudnn_choice, "disk_cache", lambda: None)
        f = df.function(read(rectified))
        with pytest.warns(RuntimeWarning, match="cuDNN") if wrong else nullcontext():
            found = f(*given)
        assert launched(f, given)[1] == ([] if wrong else ["", ""])
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-4, atol=1e-4)


def test_a_net_with_gradients(convolver, machine):
    """One graph; the bits are those of eager execution, whatever lies in which order."""

    def step(x, w, b, v):
        with df.GradientTape() as tape:
            tape.watch([w, b, v])
            h = F.max_pool2d(rectified(x, w, b), 2)
            loss = (F.conv2d(h, v) ** 2).sum()
        found = [loss, *tape.gradient(loss, [w, b, v])]
        return df.concat([df.reshape(y, (-1,)) for y in found])

    _, f, arrays = both(step, *given_four())
    assert ("bias", "relu") in {call.epilogue for call in convolver.calls}
    assert {call.kind for call in convolver.calls} >= {"forward", "filters"}
    machine.counts.clear()
    f(*arrays)
    assert machine.counts["replayed"] == 1
    assert machine.counts["convolved"] == machine.counts["launched"] == 0
