"""Results of calls on a device: where they lie, when they are copied, what waits for answers."""

from __future__ import annotations

import gc

import numpy as np
import pytest

import dualflow as df
from dualflow.errors import DeviceError, IndexError
from dualflow.tracing import gifts
from jit.runtime import cuda, gpu_outputs
from tests.modes import compiled_only, graphs_only

pytestmark = graphs_only
X = np.arange(24, dtype=np.float32).reshape(4, 6)


@df.function
def several(x):
    h = df.tanh(x @ x.T)
    y = df.nn.functional.softmax(h @ h, axis=-1) @ h
    return y, (y * 2.0).sum(), x


def wanted(x):
    return [np.asarray(y.numpy()) for y in several.python(df.asarray(x))]


def same(found, x):
    for a, b in zip(found, wanted(x), strict=True):
        np.testing.assert_allclose(a.numpy(), b, rtol=1e-5)


def settled(x, calls=10):
    """Some calls; the results of each live until after the next one."""
    for _ in range(calls):
        results = several(x)
    gc.collect()
    return results


@compiled_only
def test_results_that_nobody_keeps_take_turns(machine):
    x = df.asarray(X, device="gpu")
    y, _, back = settled(x)
    places = {y.raw.data.ptr}
    for _ in range(4):
        machine.counts.clear()
        y, _, back = several(x)
        places.add(y.raw.data.ptr)
        assert machine.counts == {"replayed": 1}
        assert back.raw is x.raw
    assert len(places) <= gpu_outputs.TURNS


@compiled_only
@pytest.mark.parametrize("kept", [0, 1])
def test_what_is_kept_is_copied_and_the_rest_takes_turns(machine, kept):
    x = df.asarray(X, device="gpu")
    settled(x)
    found = [several(x)[kept] for _ in range(20)]
    machine.counts.clear()
    found.append(several(x)[kept])
    assert machine.counts == {"replayed": 1, "copied": 1, "allocated": 1}
    assert len({y.raw.data.ptr for y in found}) == len(found)
    for y in found:
        np.testing.assert_allclose(y.numpy(), wanted(X)[kept], rtol=1e-5)


def test_large_results_that_are_kept_have_memory_of_their_own(machine, monkeypatch):
    monkeypatch.setattr(gpu_outputs, "SMALL", 16)
    x, found = df.asarray(X, device="gpu"), []
    for k in range(8):
        found.append(several(df.asarray(X * (0.1 * k), device="gpu")))
        settled(x, 1)
    for k, results in enumerate(found):
        same(results, X * np.float32(0.1 * k))


def test_very_large_results_have_memory_of_their_own(machine, monkeypatch):
    monkeypatch.setattr(gpu_outputs, "IN_TURNS", 16)
    x = df.asarray(X, device="gpu")
    found = [several(x) for _ in range(6)]
    for results in found:
        same(results, X)


def test_one_array_that_comes_twice(machine):
    @df.function
    def f(x):
        y = df.tanh(x @ x.T)
        y = df.nn.functional.softmax(y @ y, axis=-1)
        return y, x, y, x

    x = df.asarray(X, device="gpu")
    for _ in range(5):
        y, a, z, b = f(x)
        assert y.tolist() == z.tolist()
        assert a.tolist() == b.tolist() == X.tolist()


@df.function
def picked(x, index):
    y = df.take(df.tanh(x), index, axis=0)
    return (y @ y.T).sum(axis=0) * 2.0


@compiled_only
def test_without_state_nothing_waits_before_all_is_launched(machine):
    x, index = df.asarray(X, device="gpu"), df.asarray([0, 3], device="gpu")
    for _ in range(4):
        picked(x, index)
    machine.log.clear()
    machine.counts.clear()
    picked(x, index)
    what = [kind for kind, *_ in machine.log]
    assert what.count("synchronise") == machine.counts["synchronised"] == 1
    assert what[-1] == "synchronise"
    assert what.index("record") < max(k for k, x in enumerate(what) if x == "launch")


def test_a_failed_check_leaves_the_next_call_as_it_was(machine):
    x, index = df.asarray(X, device="gpu"), df.asarray([0, 3], device="gpu")
    good = picked(x, index).numpy()
    for _ in range(3):
        with pytest.raises(IndexError, match=r"test_outputs\.py"):
            picked(x, df.asarray([0, 4], device="gpu"))
        np.testing.assert_array_equal(picked(x, index).numpy(), good)
    assert picked.mode == "compiled"


def failing(*args):
    raise RuntimeError("cudaErrorIllegalAddress: an illegal memory access was encountered")


@pytest.mark.parametrize("what", ["Graph.launch", "Event.synchronize"])
def test_what_the_gpu_reports_late_is_told_at_a_line_of_the_call(machine, monkeypatch, what):
    x, index = df.asarray(X, device="gpu"), df.asarray([0, 3], device="gpu")
    for _ in range(3):
        picked(x, index)
    path = next(iter(picked.entries.values())).parts[0]
    kind, method = what.split(".")
    monkeypatch.setattr(getattr(cuda.cupy().cuda, kind), method, failing)
    with pytest.raises(DeviceError, match=r"picked[\s\S]*IllegalAddress[\s\S]*test_outputs\.py"):
        path.executable([x.raw, index.raw])


@compiled_only
@pytest.mark.parametrize("alone", [True, False])
def test_state_is_replayed_whether_other_threads_are_alive_or_not(machine, monkeypatch, alone):
    monkeypatch.setattr(gifts, "alone", lambda: alone)
    large = df.Variable(df.zeros((64, 32), device="gpu"), trainable=False)
    small = df.Variable(df.zeros(3, device="gpu"), trainable=False)

    @df.function
    def step(x):
        h = df.tanh(x @ x.T)
        large.assign(large + df.nn.functional.softmax(h, axis=-1).sum() * 0.25)
        small.assign_add(df.ones(3, device="gpu"))
        return h @ h

    x = df.asarray(X, device="gpu")
    for _ in range(10):
        step(x)
    kept, places = small.read_value(), set()
    for _ in range(10):
        machine.counts.clear()
        step(x)
        places.add(large.raw.data.ptr)
    assert machine.counts == {"replayed": 1}
    assert len(places) == 1
    np.testing.assert_allclose(large.numpy(), 20.0, rtol=1e-5)
    assert (kept.tolist(), small.tolist()) == ([10.0] * 3, [20.0] * 3)
