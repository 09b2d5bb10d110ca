"""First calls on a GPU: the graph computes them, and no op has a kernel of its own."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
from dualflow import nn
from dualflow.core import gpu_kernels
from dualflow.errors import DeviceError, IndexError
from dualflow.tracing import postponed
from jit import launches
from jit.config import configure
from jit.forms import matrices
from jit.runtime import cublas_choice
from tests.gpu import standin_cublas
from tests.modes import bits, graphs_only

pytestmark = graphs_only

X = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
LABELS = np.array([0, 2, 1, 1, 0, 2])


@pytest.fixture
def computed(monkeypatch):
    """The ops that recordings have a GPU compute by themselves, by name."""
    names: list[str] = []

    def run(steps, given, *rest):
        if any(x.__class__ is not np.ndarray and hasattr(x, "data") for _, x in given):
            names.extend(step.kind.op.name for step in steps)
        return plain(steps, given, *rest)

    plain = postponed.run_op_by_op
    monkeypatch.setattr(postponed, "run_op_by_op", run)
    return names


def training(place):
    """A step of training, and all of its state."""
    df.random.seed(3)
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).to(place)
    optimizer = df.optim.Adam(model.parameters(), 1e-2)

    def step(ids, labels):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(ids) * 0.5, df.reshape(labels, (-1,)))
        loss.backward()
        optimizer.step()
        return loss

    ids, labels = (df.asarray(x, device=place) for x in (LABELS + 1, LABELS.reshape(2, 3)))
    state = [*model.parameters()]
    return step, (ids, labels), lambda: [bits(p.numpy()) for p in state]


def test_numbers_beside_halves_ask_for_no_values(machine, computed):
    """They are tensors there, which lie where the others lie."""
    model = nn.Sequential(nn.Linear(4, 6), nn.GELU("tanh"), nn.Linear(6, 3)).to("gpu")

    @df.function(strict=True)
    def step(x, y):
        with df.autocast("bfloat16"):
            loss = nn.functional.mse_loss(1.5 + 0.1 * model(x), y)
        loss.backward()
        return loss

    x, y = (df.asarray(X[:, :n].copy(), device="gpu") for n in (4, 3))
    step(x, y)
    assert not computed


def test_the_first_step_of_training_is_computed_by_its_graph_alone(machine, computed):
    step, given, state = training("gpu")
    python, same, wanted = training("gpu")
    f = df.function(step, strict=True)
    before = {op: len(ways) for op, ways in gpu_kernels.calls.items()}
    for k in range(4):
        loss = f(*given)
        if k == 0:
            assert {op: len(ways) for op, ways in gpu_kernels.calls.items()} == before
        assert loss.device == "gpu:0"
        assert bits(loss.numpy()) == bits(python(*same).numpy())
        assert state() == wanted()
    assert computed == []


def test_later_calls_run_in_the_memory_of_the_first(machine):
    """One arena, although the first call must not write over the state of before."""
    step, given, _ = training("gpu")
    f = df.function(step, strict=True)
    for _ in range(3):
        f(*given)
    (code,) = {x.code for entry in f.entries.values() for x in [entry.parts[0].executable]}
    assert len(code._run._bound) == 1


@pytest.mark.parametrize("labels", [[0, 3], [0, -4]])
def test_wrong_indices_are_told_at_their_line(machine, labels):
    done = []

    @df.function
    def f(x, labels):
        y = df.tanh(x)
        done.append("before")
        z = df.take(y, labels + 0, axis=1)
        done.append("after")
        return z

    with pytest.raises(IndexError, match=r"test_first_calls\.py"):
        f(df.ones((2, 3), device="gpu"), df.asarray(labels, device="gpu"))
    assert done == ["before"]


def test_indices_that_are_made_of_numbers_with_fractions_are_computed_there(machine, computed):
    def python(x):
        order = df.astype(df.abs(x[:, 0]) * 1.5, df.int64)
        return df.take(x, order, axis=0) + 1.0

    x = df.asarray(X, device="gpu")
    assert bits(df.function(python)(x).numpy()) == bits(python(x).numpy())
    assert computed == ["slice", "reshape", "abs", "multiply", "astype"]


def test_questions_compute_what_is_held(machine, computed):
    def python(x):
        y = x * -0.0 + 2
        z = y + True
        if y.sum() > 0:
            z = z * 3.0
        return z, y.device

    x = df.asarray(X, device="gpu")
    (found, place), (wanted, _) = df.function(python)(x), python(x)
    assert bits(found.numpy()) == bits(wanted.numpy())
    assert place == "gpu:0"
    assert computed == ["multiply", "add", "sum", "greater", "add"]


def test_what_waits_on_one_device_does_not_meet_what_lies_on_another(machine):
    @df.function
    def f(x, y):
        return df.tanh(x) + df.exp(y)

    with pytest.raises(DeviceError, match=r"gpu:0.*cpu"):
        f(df.asarray(X, device="gpu"), df.asarray(X))


def test_ops_on_several_devices_wait_side_by_side(machine, computed):
    def python(x, y):
        return (df.tanh(x) * 2.0).to("cpu") + df.exp(y)

    given = df.asarray(X, device="gpu"), df.asarray(X)
    assert bits(df.function(python)(*given).numpy()) == bits(python(*given).numpy())
    assert computed == ["tanh", "multiply"]  # as what moves is computed at once


@pytest.fixture
def planned(monkeypatch, tmp_path):
    """The graphs that are planned from now on, by name; nothing is on the disk before."""
    names: list[str] = []

    def noted(name, *rest):
        names.append(name)
        return plan(name, *rest)

    plan = launches.plan
    monkeypatch.setattr(launches, "plan", noted)
    with configure(cache=tmp_path, check=False):
        yield names


def test_what_is_recorded_again_is_planned_once(machine, planned):
    """The second recording is of another state, gradients that are there, but the same graph."""
    step, given, state = training("gpu")
    python, same, wanted = training("gpu")
    f = df.function(step, strict=True)
    planned.clear()
    for _ in range(4):
        found = bits(f(*given).numpy())
        assert planned == ["step"]
        with configure(cache="off"):
            assert found == bits(python(*same).numpy())
        planned[:] = ["step"]
    assert state() == wanted()
    (entry,) = f.entries.values()
    assert len(entry.parts) == 2


def test_kernels_that_a_library_refuses_after_all_are_planned_again(machine, planned, monkeypatch):
    """Their code was not needed when the plan was kept."""
    for name, value in (("LARGE", 1), ("MANY", 1), ("NARROW", 2)):
        monkeypatch.setattr(matrices, name, value)
    given = [df.asarray(x, device="gpu") for x in (X, X.T.copy())]

    def run():
        def product(x, y):
            return df.tanh(x) @ y

        f = df.function(product, strict=True)
        return f(*given).numpy()

    with standin_cublas.installed() as library:
        run()
        used = len(library.calls)
        library.proposed = 0
        cublas_choice.forget()
        found = run()
    assert planned == ["product", "product"]  # compiled; its code asked for
    assert len(library.calls) == used > 0
    np.testing.assert_allclose(found, np.tanh(X) @ X.T, rtol=1e-5)


def test_what_is_computed_later_has_the_precision_of_its_call(machine, computed, monkeypatch):
    """Backward passes outside ask for what only records hold."""
    for name, value in (("LARGE", 1), ("MANY", 1), ("NARROW", 2)):
        monkeypatch.setattr(matrices, name, value)
    x, w = df.asarray(X, device="gpu"), df.Variable(df.asarray(X.T.copy(), device="gpu"))
    f = df.function(lambda x: df.tanh(df.tanh(x @ w) * x[:, :1]).sum(), strict=True)
    with standin_cublas.installed() as library:
        with df.set_matmul_precision("tf32"):
            loss = f(x)
        del library.calls[:]
        loss.backward()
        forward = [call for call in library.calls if call["layouts"][2]["rows"] == len(X)]
    assert "matmul" in computed
    assert [call["told"]["sums"] for call in forward] == [77]
