"""Functions on a device: launches, memory, graphs that are captured and replayed, guards, state."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import dualflow as df
from dualflow import nn
from dualflow.errors import DeviceError, IndexError
from dualflow.tracing import gifts
from jit.config import configure
from jit.errors import OutOfMemoryError
from jit.runtime import cuda
from tests.modes import compiled_only, graphs_only

pytestmark = graphs_only


def both(function, *arrays, calls=4, device="gpu"):
    """The results of some calls, on the CPU and on a device."""
    out = []
    for place in ("cpu", device):
        df.random.seed(1)
        f = df.function(function)
        tensors = [df.asarray(x, device=place) for x in arrays]
        out.append([np.asarray(f(*tensors).numpy()) for _ in range(calls)])
    return (*out, f)


def chain(x, w):
    h = df.tanh(x @ w)
    h = df.nn.functional.softmax(h @ w.T, axis=-1)
    return (h * h).sum(axis=0) @ w


X = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
W = np.random.default_rng(1).normal(size=(4, 5)).astype(np.float32)


def test_a_graph_gives_what_the_cpu_gives(machine):
    ours, theirs, f = both(chain, X, W)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    assert f.mode == "compiled"
    assert "kernels in the graphs" in str(f.explain())


def test_calls_on_a_gpu_are_audited(machine):
    """Both results are compared on the host, whichever device holds them."""
    f = df.function(chain, audit=1.0)
    x, w = df.asarray(X, device="gpu"), df.asarray(W, device="gpu")
    for _ in range(3):
        with df.GradientTape() as tape:
            tape.watch(w)
            y = f(x, w)
        assert np.isfinite(tape.gradient(y, w).numpy()).all()
    assert f.audited >= 2


@compiled_only
def test_launches_are_captured_the_second_time_and_replayed(machine):
    f = df.function(chain)
    x, w = df.asarray(X, device="gpu"), df.asarray(W, device="gpu")
    made = []
    for _ in range(4):
        machine.counts.clear()
        f(x, w)
        made.append(dict(machine.counts))
    kernels = next(iter(f.entries.values())).parts[0].executable.kernels
    assert made[0]["launched"] == len(kernels)
    assert "captured" not in made[0]
    assert made[1]["captured"] == made[1]["replayed"] == 1
    assert made[1]["behind"] == made[0]["launched"] - 1
    assert "launched" not in made[1]
    for again in made[2:]:
        assert again["replayed"] == 1
        assert "captured" not in again
        assert "launched" not in again


def test_a_graph_reads_its_arguments_wherever_they_come(machine):
    f, g = df.function(chain), df.function(chain)
    w, w_cpu = df.asarray(W, device="gpu"), df.asarray(W)
    for k in range(30):
        x = np.float32(k) + X
        found = f(df.asarray(x, device="gpu"), w).numpy()
        np.testing.assert_allclose(found, g(df.asarray(x), w_cpu).numpy(), rtol=1e-5)
    machine.counts.clear()
    f(df.asarray(X, device="gpu"), w)
    assert machine.counts["replayed"] == 1  # what always moves is copied to one place


def train(device, wrap, steps=5):
    df.random.seed(3)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.25), nn.Linear(8, 3))
    model.to(device)
    optimizer = df.optim.Adam(model.parameters(), 1e-2)
    x, y = df.ones((5, 4), device=device), df.zeros(5, dtype=df.int64, device=device)

    def step(x, y):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    step = wrap(step)
    return [step(x, y).item() for _ in range(steps)], model, step, (x, y)


@compiled_only
@pytest.mark.parametrize("alone", [True, False])
def test_a_step_of_training_is_one_graph_over_state_in_place(machine, alone, monkeypatch):
    monkeypatch.setattr(gifts, "alone", lambda: alone)  # other threads that look at no Variable
    wanted = train("cpu", lambda f: f, 9)[0]
    losses, model, step, args = train("gpu", df.function, 9)
    assert losses == pytest.approx(wanted, rel=1e-5)
    assert step.mode == "compiled"
    places = set()
    for _ in range(4):
        machine.counts.clear()
        step(*args)
        places.add(model[0].weight.raw.data.ptr)
        assert machine.counts["launched"] == 0
    assert len(places) == 1
    assert machine.counts["synchronised"] == 1  # labels are checked


def test_kernels_that_differ_in_their_grids_only(machine):
    df.random.seed(0)
    made = [df.randn(rows, 256, device="gpu").numpy() for rows in (512, 256)]
    df.random.seed(0)
    for ours in made:
        np.testing.assert_allclose(ours, df.randn(*ours.shape).numpy(), rtol=1e-5, atol=1e-6)


def test_merged_launches_give_the_same_bits(machine):
    found = []
    for off in ("merging", ""):
        with configure(passes_off=frozenset({off})):
            losses, model, step, _ = train("gpu", df.function)
        (graph,) = next(iter(step.entries.values())).parts
        kernels = len(graph.executable.kernels)
        found.append((losses, [x.numpy().tobytes() for x in model.parameters()], kernels))
    (losses, weights, many), (ours, theirs, few) = found
    assert (ours, theirs) == (losses, weights)
    assert few < many


def test_a_failed_check_is_the_error_of_eager_at_its_line(machine):
    w = df.Variable(df.ones((3, 2), device="gpu"), trainable=False)

    @df.function
    def step(index):
        w.assign_add(df.ones((3, 2), device="gpu"))
        return df.take(w, index, axis=0).sum()

    for _ in range(3):
        step(df.asarray([0, 2], device="gpu"))
    (before, *_), _, _ = w.tolist()
    with pytest.raises(IndexError, match=r"test_compiled\.py"):
        step(df.asarray([0, 3], device="gpu"))
    assert w.tolist() == [[before + 1.0] * 2] * 3  # once, by Python
    assert step(df.asarray([0, 1], device="gpu")).item() == 4 * (before + 2.0)
    assert step.mode == "compiled"


def test_guards_choose_the_way(machine):
    @df.function
    def f(x):
        y = (x * 2.0).sum()
        return y + 1.0 if y > 0 else y - 1.0

    up, down = df.ones(3, device="gpu"), df.ones(3, device="gpu") * -1.0
    for _ in range(3):
        assert [f(up).item(), f(down).item()] == [7.0, -7.0]
    assert f.from_graph >= 3


def test_a_loop_is_launched_turn_by_turn(machine):
    def f(x):
        out = []
        for _ in range(12):
            x = df.tanh(x * 1.5) + 0.25
            out.append(x)
        return df.stack(out)

    ours, theirs, g = both(f, X)
    np.testing.assert_allclose(ours[-1], theirs[-1], rtol=1e-5)
    assert "12 times" in str(g.explain()) or len(g.graphs[0].nodes) > 12


def test_host_steps_come_in_between(machine):
    def f(x):
        y = df.sort(df.tanh(x * 2.0), axis=-1) * 2.0
        return y.sum(axis=0) + y[0]

    ours, theirs, g = both(f, X)
    np.testing.assert_allclose(ours[-1], theirs[-1], rtol=1e-5)
    assert "sort" in str(g.explain())


@compiled_only
def test_numbers_that_vary_are_copied(machine):
    @df.function
    def f(x, rate):
        return x * rate + rate

    x = df.ones(3, device="gpu")
    found = [f(x, rate).tolist()[0] for rate in (0.5, 1.5, 2.5, 3.5)]
    assert found == [1.0, 3.0, 5.0, 7.0]
    machine.counts.clear()
    for rate in (4.5, 4.5, 4.5, 5.5):
        assert f(x, rate).raw.host[0] == 2 * rate
    assert machine.counts["to device"] == 2  # those that are new
    assert len(f.graphs) <= 2


def test_sizes_that_vary_share_a_graph(machine):
    @df.function
    def f(x):
        return df.nn.functional.softmax(df.tanh(x) @ x.T, axis=-1).sum(axis=0)

    for rows in (3, 4, 5, 6, 5, 4):
        x = np.linspace(0, 1, rows * 2, dtype=np.float32).reshape(rows, 2)
        wanted = f.python(df.asarray(x)).numpy()
        found = f(df.asarray(x, device="gpu"))
        np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-5)
    assert len(f.graphs) <= 2


def test_gradients_through_a_call(machine):
    f, wanted = df.function(chain), None
    for device in ("cpu", "gpu"):
        x, w = df.asarray(X, device=device), df.Variable(df.asarray(W, device=device))
        for _ in range(3):
            with df.GradientTape() as tape:
                y = (f(x, w) ** 2).sum()
            g = tape.gradient(y, w)
        assert g.device == backend_name(device)
        wanted = g.numpy() if device == "cpu" else wanted
    np.testing.assert_allclose(g.numpy(), wanted, rtol=1e-4, atol=1e-6)


def backend_name(device):
    return "cpu" if device == "cpu" else "gpu:0"


def test_two_devices_have_traces_of_their_own(machine):
    f = df.function(chain)
    for device in ("gpu:0", "gpu:1", "cpu", "gpu:1", "gpu:0"):
        y = f(df.asarray(X, device=device), df.asarray(W, device=device))
        assert y.device == device
    assert len(f.entries) == 3
    with pytest.raises(DeviceError):
        f(df.asarray(X, device="gpu:0"), df.asarray(W))


def test_moving_inside_is_a_copy_in_the_graph(machine):
    @df.function
    def f(x):
        h = (df.tanh(x).to("gpu") * 2.0).sum(axis=0)
        return (df.tanh(h * 3.0).to("gpu:1") + 1.0).to("cpu"), h

    for _ in range(4):
        found, h = f(df.asarray(X))
        machine.counts.clear()
    wanted = 2 * np.tanh(X).sum(axis=0)
    np.testing.assert_allclose(h.numpy(), wanted, rtol=1e-5)
    np.testing.assert_allclose(found.numpy(), np.tanh(3 * wanted) + 1, rtol=1e-5)
    assert (found.device, h.device, f.mode) == ("cpu", "gpu:0", "compiled")
    told = [str(step).split()[0] for step in f.explain().placement]
    assert told == ["cpu", "gpu:0", "gpu:0", "gpu:1", "gpu:1", "cpu"]


@pytest.mark.parametrize("python", [lambda x: x, lambda x: df.flip(x, axis=())])
def test_what_comes_back_as_it_was_given(python, machine):
    f, x = df.function(python, strict=True), df.asarray(X, device="gpu")
    for _ in range(3):
        y = f(x)
        assert (y.device, y.tolist()) == ("gpu:0", x.tolist())
    assert f.from_graph == 2


def test_gradients_of_gradients_through_a_call(machine):
    f = df.function(lambda x: (df.tanh(x) * 2.0).sum())

    def second(call):
        x = df.asarray(X, device="gpu")
        with df.GradientTape() as outer:
            outer.watch(x)
            with df.GradientTape() as inner:
                inner.watch(x)
                y = call(x)
            g = (inner.gradient(y, x) ** 2).sum()
        return outer.gradient(g, x).numpy()

    for _ in range(2):
        np.testing.assert_allclose(second(f), second(f.python), rtol=1e-5)


def test_compare_tells_where_it_ran(machine):
    report = str(df.compare(chain, df.asarray(X, device="gpu"), df.asarray(W, device="gpu")))
    assert "gpu:0" in report.splitlines()[0]
    assert "failed" not in report


def test_state_that_somebody_holds_is_not_overwritten(machine):
    w = df.Variable(df.zeros(64, device="gpu"), trainable=False)

    @df.function
    def step():
        w.assign(w * 1.0 + 1.0)

    for _ in range(3):
        step()
    kept = w.read_value()
    view = w.raw[:2]
    step()
    assert kept.tolist() == [3.0] * 64
    assert view.tolist() == [3.0] * 2
    assert w.tolist() == [4.0] * 64


def test_results_outlive_later_calls(machine):
    @df.function
    def f(x):
        return x * 2.0, (x * 3.0).sum()

    big = df.ones(40_000, device="gpu")
    found = [f(big * float(k)) for k in range(8)]
    assert [float(y[7]) for y, _ in found] == [2.0 * k for k in range(8)]
    assert [s.item() for _, s in found] == [120_000.0 * k for k in range(8)]


def test_threads_have_frames_of_their_own(machine):
    f = df.function(chain)
    w = df.asarray(W, device="gpu")
    inputs = [df.asarray(X + k, device="gpu") for k in range(4)]
    wanted = [f(x, w).numpy() for x in inputs]
    found: list[list[np.ndarray]] = [[] for _ in inputs]

    def work(k):
        with df.device("gpu"):
            for _ in range(20):
                found[k].append(f(inputs[k], w).numpy())

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for k, each in enumerate(found):
        assert len(each) == 20
        assert all(np.array_equal(y, wanted[k]) for y in each)


def test_memory_that_is_not_there(machine, monkeypatch):
    x = df.ones((64, 64), device="gpu")
    f = df.function(lambda x: df.tanh(x @ x) @ x)
    f(x)
    monkeypatch.setattr(machine, "capacity", 4096)
    with pytest.raises(OutOfMemoryError, match=r"needs 16\.\d kB, and gpu:0 has") as told:
        df.tanh(x)
    assert "tanh" in str(told.value)
    assert machine.counts["pools freed"] >= 2
    monkeypatch.setattr(machine, "capacity", 1 << 40)
    assert f(x).shape == (64, 64)  # afterwards all is well


def test_a_launch_that_fails_is_told_at_its_line(machine, monkeypatch):
    f = df.function(chain)
    x, w = df.asarray(X, device="gpu"), df.asarray(W, device="gpu")
    f(x, w)

    def fail(*args):
        raise RuntimeError("CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access")

    monkeypatch.setattr(cuda.cupy().cuda.driver, "launchKernel", fail)
    path = next(iter(f.entries.values())).parts[0]
    with pytest.raises(DeviceError, match=r"ILLEGAL_ADDRESS[\s\S]*test_compiled\.py"):
        path.executable([x.raw, w.raw])


@pytest.mark.parametrize("first", [False, True])
def test_what_a_gpu_reports_is_no_reason_to_call_python_again(first, machine, monkeypatch):
    """All that follows fails there, and somewhere else than what was at fault."""
    calls, cuda_of = [], cuda.cupy().cuda

    def f(x):
        calls.append("f")
        return df.tanh(x * 2.0).sum()

    def broken(*args, **kwargs):
        raise RuntimeError("an earlier error")

    def fail(*args):
        for owner, name in ((cuda_of, "alloc"), (cuda_of.runtime, "memcpyAsync")):
            monkeypatch.setattr(owner, name, broken)
        raise RuntimeError("CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access")

    x, compiled = df.ones(3, device="gpu"), df.function(f)
    if not first:
        compiled(x)
    calls.clear()
    with monkeypatch.context() as monkeypatch:
        monkeypatch.setattr(cuda_of.driver, "launchKernel", fail)
        with pytest.raises(DeviceError, match=r"ILLEGAL_ADDRESS[\s\S]*test_compiled\.py"):
            compiled(x)
    assert len(calls) == first
    assert compiled(x).item() == pytest.approx(3 * np.tanh(2.0))


def test_a_forked_process_is_told(machine, monkeypatch):
    df.ones(2, device="gpu")
    monkeypatch.setattr(cuda, "_ready", cuda._ready)
    monkeypatch.setattr(cuda, "_forked", False)
    cuda._after_fork()
    with pytest.raises(DeviceError, match=r"forked[\s\S]*spawn"):
        df.ones(2, device="gpu")


def test_another_stream_waits_for_the_one_before(machine):
    f = df.function(chain)
    x, w = df.asarray(X, device="gpu"), df.asarray(W, device="gpu")
    for _ in range(2):
        f(x, w)
    machine.counts.clear()
    with cuda.cupy().cuda.Stream(non_blocking=True):
        f(x, w)
    assert machine.counts["waited"] == 1


PATHFINDER = """
import os

def looking(function):
    def call(*args, **kwargs):
        asked.append(os.fspath("."))
        return function(*args, **kwargs)
    return call
"""


@pytest.mark.parametrize("name", ["asarray", "cuda.alloc"])
def test_what_cupy_looks_up_where_it_is_used_first_is_not_the_functions(machine, name, monkeypatch):
    names = {"__name__": "cuda.pathfinder", "asked": (asked := [])}
    exec(compile(PATHFINDER, "pathfinder.py", "exec"), names)
    owner, _, word = name.rpartition(".")
    owner = getattr(cuda.cupy(), owner) if owner else cuda.cupy()
    x = df.ones((3, 2), device="gpu")
    monkeypatch.setattr(owner, word, names["looking"](getattr(owner, word)))

    @df.function(strict=True)
    def f(x):
        row = df.asarray([1.0, 2.0], device="gpu") * 2.0
        return row + x

    assert f(x).tolist() == [[3.0, 5.0]] * 3
    assert asked
    assert f.mode == "compiled"
