"""Epilogues: what a library does to a product before it stores it has the bits of both modes."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
from jit.config import configure
from jit.runtime import cublas_choice, cublas_trial, trials
from tests.gpu.standin_cublas import EPILOGUE, RELU_BIAS
from tests.gpu.test_products import both, random, time_as
from tests.modes import compiled_only, graphs_only

pytestmark = graphs_only
BIAS = 4
relu = df.nn.functional.relu


@pytest.fixture(autouse=True)
def nothing_remembered(tmp_path):
    """Choices are made anew in each test."""
    with configure(cache=tmp_path):
        yield


def linear(x, w, b):
    return x @ w + b


def rectified(x, w, b):
    return relu(x @ w + b)


def given():
    return random(6, 20), random(20, 12), random(12)


def epilogues(blas, since=0):
    """The epilogues of products in the order in which they were asked for."""
    return [call["told"].get(EPILOGUE, 0) for call in blas.calls[since:]]


def launched(machine, blas, f, arrays):
    """How many kernels of ours a call launches, and the epilogues of the library's products."""
    machine.log.clear()
    before = len(blas.calls)
    f(*arrays)
    names = [name for kind, name, *_ in machine.log if kind == "launch"]
    return len(names), epilogues(blas, before)


# Functions that a library computes at once, and the number of its epilogue.
AT_ONCE = {
    "bias": (linear, BIAS),
    "bias first": (lambda x, w, b: b + x @ w, BIAS),
    "relu": (rectified, RELU_BIAS),
    "turned": (lambda x, w, b: relu(x @ w.T.T + b), RELU_BIAS),
    "of a batch": (lambda x, w, b: relu(df.reshape(x, (2, 3, 20)) @ w + b), RELU_BIAS),
    "a row": (lambda x, w, b: x @ w + df.reshape(b, (1, 12)), BIAS),
}
# Functions that take a launch more: the operands of the sum are others, or somebody reads it.
APART = {
    "a column": lambda x, w, b: x @ w + df.reshape(b[:6], (6, 1)),
    "a matrix": lambda x, w, b: x @ w + df.reshape(df.concat([b] * 6), (6, 12)),
    "part of a vector": lambda x, w, b: (x @ w)[:, :8] + b[4:],
    "another function": lambda x, w, b: df.tanh(x @ w + b),
    "another bound": lambda x, w, b: df.maximum(x @ w + b, 1.0),
    "a difference": lambda x, w, b: x @ w - b,
    "read twice": lambda x, w, b: (x @ w + b, df.tanh(x @ w)),
    "a result": lambda x, w, b: (x @ w + b, x @ w),
}


@compiled_only
@pytest.mark.parametrize("name", AT_ONCE)
def test_what_is_computed_at_once(name, blas, machine):
    function, number = AT_ONCE[name]
    found, f, arrays = both(function, *given())
    wanted = function(*[df.asarray(x.numpy().astype(np.float64)) for x in arrays]).numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    assert launched(machine, blas, f, arrays) == (0, [number])


@compiled_only
@pytest.mark.parametrize("name", APART)
def test_what_takes_a_launch_more(name, blas, machine):
    function, arrays = APART[name], [df.asarray(x, device="gpu") for x in given()]
    f = df.function(function)
    wanted = df.function(function, mode="eager")(*arrays)
    for _ in range(3):
        found = f(*arrays)
    wanted, found = (x if isinstance(x, tuple) else (x,) for x in (wanted, found))
    assert [x.numpy().tobytes() for x in found] == [x.numpy().tobytes() for x in wanted]
    kernels, asked = launched(machine, blas, f, arrays)
    assert kernels > 0
    assert not any(asked)


@compiled_only
@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_dtypes_are_rounded_where_eager_rounds(dtype, blas, machine):
    arrays = [x.astype(dtype) for x in given()]
    _, f, arrays = both(rectified, *arrays)
    assert launched(machine, blas, f, arrays) == (1, [0])


def test_special_numbers(blas):
    """NaN, infinities, zeros of both signs and numbers near 0 come out as where both are apart."""
    x, w, b = given()
    x[1], x[2, 3], w[:, 5] = 0, np.inf, -0.0
    b[: len(trials.SPECIAL)] = trials.SPECIAL
    for function in (linear, rectified):
        both(function, x, w, b)


# ----- the choice -----


def computed(machine, blas, function=rectified):
    """Whether a library has computed both at once."""
    _, f, arrays = both(function, *given())
    kernels, _ = launched(machine, blas, f, arrays)
    return kernels == 0


@compiled_only
@pytest.mark.parametrize("function", [linear, rectified])
def test_other_bits_are_not_taken(function, blas, machine):
    """NaN counts as well: a library may store 0 in its place."""
    blas.quiet = True
    assert computed(machine, blas, function) is (function is linear)


@compiled_only
def test_a_library_may_refuse_the_algorithm(blas, machine):
    blas.refused = {1, 2, 3}
    assert not computed(machine, blas)


@compiled_only
@pytest.mark.parametrize(("seconds", "wanted"), [(1.0, True), (2.0, False)])
def test_an_epilogue_must_save_time(seconds, wanted, blas, machine, monkeypatch):
    def seconds_of(trial, multiply, algorithm):
        return seconds if multiply.product.epilogue else 1.0

    monkeypatch.setattr(cublas_trial.Trial, "seconds", seconds_of)
    assert computed(machine, blas) is wanted


@compiled_only
def test_the_algorithm_is_that_of_the_product(blas, machine, monkeypatch):
    time_as(monkeypatch, 3, 2, 1)
    assert computed(machine, blas)
    assert blas.calls[-1]["algorithm"] == 3


@compiled_only
@pytest.mark.parametrize("quiet", [False, True])
def test_the_choice_is_remembered(quiet, blas, machine, monkeypatch):
    blas.quiet = quiet
    assert computed(machine, blas) is not quiet
    cublas_choice.forget()  # as in another process
    monkeypatch.delattr(trials.Trial, "_run")  # nothing is tried again
    assert computed(machine, blas) is not quiet


@compiled_only
def test_without_the_library(small, machine):
    found, *_ = both(rectified, *given())
    assert found.shape == (6, 12)


@compiled_only
def test_no_room_for_a_trial(blas, machine, monkeypatch):
    """Then both are computed apart."""

    def full(product, workspace):
        raise cublas_choice.OutOfMemoryError("no room", "room", "free some")

    monkeypatch.setattr(cublas_choice, "Trial", full)
    assert not computed(machine, blas)


@compiled_only
def test_in_a_step_with_gradients(blas, machine):
    """Where the sum is a residual as well, the bits stay those of eager execution."""
    x, w, b = (df.asarray(a, device="gpu") for a in given())

    def step(x, w, b):
        with df.GradientTape() as tape:
            tape.watch([w, b])
            loss = df.sum((rectified(x, w, b) @ w.T) ** 2)
        return loss, *tape.gradient(loss, [w, b])

    wanted = [y.numpy().tobytes() for y in step(x, w, b)]
    f = df.function(step)
    for _ in range(3):
        assert [y.numpy().tobytes() for y in f(x, w, b)] == wanted
    assert RELU_BIAS in epilogues(blas)


@compiled_only
@pytest.mark.parametrize("refused", [set(), {1, 2, 3}])
def test_a_plan_from_the_disk_serves_both_ways(refused, blas, machine, monkeypatch):
    """It was made where the library computes both at once; the kernels for others are not there."""
    with configure(check=False):
        assert computed(machine, blas)
        monkeypatch.setattr(cublas_choice, "disk_cache", lambda: None)
        cublas_choice.forget()  # as in another process
        blas.refused = refused
        assert computed(machine, blas) is not bool(refused)


@compiled_only
def test_it_is_captured_with_what_stands_around_it(blas, machine):
    """The graph keeps the address of what is added, while others set theirs."""

    def net(x, w, b, v, c):
        return df.tanh(relu(x @ w + b) @ v + c) @ w

    x, w, b = given()
    _, f, arrays = both(net, x, w, b, random(12, 20), random(20))
    machine.counts.clear()
    assert launched(machine, blas, f, arrays)[1] == []
    assert RELU_BIAS in epilogues(blas)
    assert machine.counts["replayed"] == 1
    assert machine.counts["multiplied"] == machine.counts["launched"] == 0
