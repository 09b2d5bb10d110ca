"""Memory of temporaries: one arena serves all functions, a call at a time."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest

import dualflow as df
from dualflow import nn
from jit.runtime import gpu_arenas, gpu_frame
from tests.modes import graphs_only

pytestmark = graphs_only


@pytest.fixture(autouse=True)
def _shared(monkeypatch, machine):
    """Small arenas are shared, too; no test finds those of another."""
    monkeypatch.setattr(gpu_frame, "SHARED", 1)
    monkeypatch.setattr(gpu_arenas, "_free", {})


def arenas():
    return [x for free in gpu_arenas._free.values() for x in free]


def function(width):
    """A function with temporaries, and what it gives."""
    w = df.randn(width, width).to("gpu")

    @df.function
    def f(x):
        y = df.tanh(x @ w) @ w
        return (y @ w).sum() + df.tanh(y).sum()

    x = np.random.default_rng(width).normal(size=(width, width)).astype("f4")
    y = np.tanh(x @ w.numpy()) @ w.numpy()
    return f, df.asarray(x).to("gpu"), (y @ w.numpy()).sum() + np.tanh(y).sum()


def test_functions_share_an_arena():
    made = [function(width) for width in (40, 48, 64, 32)]
    for _ in range(4):
        for f, x, wanted in made:
            assert f(x).item() == pytest.approx(wanted, rel=1e-3)
    (arena,) = arenas()
    frames = [x for x in gc.get_objects() if type(x) is gpu_frame.Frame]
    assert arena.size == max(frame.table.arena for frame in frames if frame._lent is None)


def test_a_recording_for_gradients_shares_it_too():
    net = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2)).to("gpu")
    optimizer = df.optim.Adam(net.parameters(), 0.1)

    @df.function
    def step(x):
        optimizer.zero_grad()
        loss = (net(x) ** 2).mean()
        loss.backward()
        optimizer.step()
        return loss

    x = df.randn(4, 6).to("gpu")
    losses = [step(x).item() for _ in range(6)]
    assert losses == sorted(losses, reverse=True)
    assert len(step.graphs) == 2
    assert len(arenas()) == 1


def test_calls_within_calls_and_in_threads_have_their_own():
    taken = [gpu_arenas.take(256, 0, "a call", object()) for _ in range(2)]
    assert taken[0].memory.ptr != taken[1].memory.ptr
    for arena in taken:
        gpu_arenas.give(arena, 0)
    made, wrong = [function(width) for width in (24, 40, 56)], []

    def run(f, x, wanted):
        wrong.extend([y for y in (f(x).item() for _ in range(20)) if abs(y / wanted - 1) > 1e-3])

    threads = [threading.Thread(target=run, args=given) for given in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_call_keeps_its_arena_and_a_larger_one_takes_the_place_of_all():
    one, other = object(), object()
    first, second = (gpu_arenas.take(512, 0, "a call", user) for user in (one, other))
    first.user, second.user = one, other
    gpu_arenas.give(first, 0)
    gpu_arenas.give(second, 0)
    assert gpu_arenas.take(300, 0, "a call", other) is second
    gpu_arenas.give(second, 0)
    large = gpu_arenas.take(4096, 0, "a call", one)
    assert not arenas()
    gpu_arenas.give(large, 0)


def test_indices_are_looked_at_after_another_function_has_used_the_memory():
    """The word that says whether a check failed lies in the arena."""

    @df.function
    def looked_up(x, at):
        return df.take(df.tanh(x) @ x.mT @ x, at, axis=0).sum()

    f, given, wanted = function(40)
    x = df.randn(8, 5).to("gpu")
    right, wrong = (df.asarray([3, k]).to("gpu") for k in (4, 8))
    first = looked_up(x, right).item()
    for _ in range(3):
        assert f(given).item() == pytest.approx(wanted, rel=1e-3)
        assert looked_up(x, right).item() == first
        with pytest.raises(IndexError, match=r"test_arenas\.py"):
            looked_up(x, wrong)


def test_another_stream_waits_for_who_had_the_memory(machine):
    import cupy

    (f, x, wanted), (g, y, other) = function(40), function(48)
    for _ in range(3):
        f(x), g(y)
    before = machine.counts["waited"]
    with cupy.cuda.Stream(non_blocking=True):
        assert f(x).item() == pytest.approx(wanted, rel=1e-3)  # waits for its own, and for g's work
    assert machine.counts["waited"] == before + 2
    assert g(y).item() == pytest.approx(other, rel=1e-3)
    assert machine.counts["waited"] == before + 3


def deep(limit=None):
    """A step of a deep net whose temporaries lie idle for long; it gives all gradients."""
    draw = np.random.default_rng(0).standard_normal
    weights = [
        df.Variable(df.asarray(draw((64, 64)).astype("f4") * 0.1).to("gpu")) for _ in range(16)
    ]
    x = df.asarray(draw((256, 64)).astype("f4")).to("gpu")

    @df.function(memory_limit=limit)
    def step(x):
        with df.GradientTape() as tape:
            h = x
            for w in weights:
                h = df.tanh(h @ w)
            loss = (h * h).mean()
        return tape.gradient(loss, weights)

    return step, x


def bits(grads):
    return [each.numpy().tobytes() for each in grads]


def test_what_does_not_fit_a_gpu_is_computed_again(machine, monkeypatch):
    step, x = deep()
    wanted = bits(step(x))
    assert bits(step(x)) == wanted
    (arena,) = arenas()
    results = 16 * 64 * 64 * 4
    room = int(0.7 * arena.size)
    monkeypatch.setattr(gpu_arenas, "_free", {})
    monkeypatch.setattr(machine, "capacity", int((room + results) / (1 - gpu_arenas.SPARE)) + 1)
    with pytest.warns(RuntimeWarning, match=r"step\S* does not fit the GPU: .* again"):
        assert bits(step(x)) == wanted
    (told,) = step.explain().recomputed
    assert told.fits
    assert told.limit == pytest.approx(room, abs=2)
    (smaller,) = arenas()
    assert told.after < smaller.size < arena.size
    assert bits(step(x)) == wanted  # from now on nobody is told again


def test_what_never_fits_a_gpu_is_told(machine, monkeypatch):
    step, x = deep()
    wanted = bits(step(x))
    monkeypatch.setattr(gpu_arenas, "_free", {})
    monkeypatch.setattr(machine, "capacity", 16 * 64 * 64 * 4 + 100)
    for _ in range(2):
        with pytest.raises(df.errors.OutOfMemoryError, match="temporaries of step"):
            step(x)
    monkeypatch.setattr(machine, "capacity", 1 << 40)
    assert bits(step(x)) == wanted
