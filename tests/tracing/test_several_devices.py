"""One program on several devices: those of the processor stand for any, and need no GPU.

Whatever is computed where, results have the bits that one device gives, in both modes.
"""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
from dualflow import nn
from dualflow.errors import DeviceError
from jit.runtime.hosts import pool_of
from tests.modes import bits, compiled_only, graphs_only

X = np.linspace(-1.0, 1.0, 12, dtype=np.float32).reshape(3, 4)
W = np.linspace(0.5, -1.0, 8, dtype=np.float32).reshape(4, 2)


def pipeline(x, w, there):
    h = df.tanh(x * 2.0)
    g = h.to(there) @ w
    return (g * g).sum(axis=0).to("cpu") + h.sum()


def executable(f):
    return next(iter(f.entries.values())).parts[0].executable


def test_ops_compute_where_their_tensors_lie():
    x = df.asarray(X).to("cpu:1")
    made = [x * 2.0, x @ x.T, df.tanh(x), x[0], x.sum(), df.concat([x, x]), df.where(x > 0, x, 1.0)]
    assert {y.device for y in made} == {"cpu:1"}
    ours = df.asarray(X)
    assert [bits(y) for y in made[:3]] == [
        bits(ours * 2.0),
        bits(ours @ ours.T),
        bits(df.tanh(ours)),
    ]
    with df.device("cpu:2"):
        assert {df.zeros(2).device, df.asarray([1.0]).device, df.randn(2).device} == {"cpu:2"}
        assert df.Variable([1.0]).device == "cpu:2"
    assert x.to("cpu:1") is x
    assert x.to("cpu:0").device == "cpu"
    assert "device=cpu:1" in repr(x)
    with pytest.raises(DeviceError, match="cpu:0 to cpu:15"):
        df.zeros(2, device="cpu:16")


def test_memory_is_that_of_the_device():
    x = df.asarray(X)
    assert not np.shares_memory(x.raw, x.to("cpu:1").raw)
    assert not np.shares_memory(x.to("cpu:1").raw, x.to("cpu:1").to("cpu").raw)


@graphs_only
def test_a_graph_on_two_devices_gives_the_bits_of_one():
    f, w = df.function(pipeline), df.asarray(W)
    wanted = bits(pipeline(df.asarray(X), w, "cpu"))
    for _ in range(3):
        y = f(df.asarray(X), w.to("cpu:1"), "cpu:1")
        assert (y.device, bits(y)) == ("cpu", wanted)
        z = f(df.asarray(X), w.to("cpu:3"), "cpu:3")
        assert bits(z) == wanted
    assert f.from_graph == 4
    assert f.mode == "compiled"


@graphs_only
def test_copies_are_nodes_and_what_runs_where_is_told(golden):
    f = df.function(pipeline)
    for _ in range(2):
        f(df.asarray(X), df.asarray(W).to("cpu:1"), "cpu:1")
    told = f.explain()
    lines = [*map(str, told.placement), str(f.graphs[0])]
    golden("two_devices", "\n".join(lines))
    assert "on cpu and cpu:1, with 2 copies" in str(told)


def test_tensors_on_two_devices_are_told_in_both_modes():
    @df.function
    def f(x, y):
        return df.tanh(x) + y

    x, y = df.ones(2), df.ones(2, device="cpu:1")
    for call in (f, f.python):
        with pytest.raises(DeviceError) as told:
            call(x, y)
        assert "argument 1, float32[2], lies on cpu; argument 2, float32[2], lies on cpu:1" in str(
            told.value
        )


class Halves(nn.Module):
    """A net whose halves lie on two devices."""

    def __init__(self, first, second):
        super().__init__()
        self.place = second
        self.first = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Dropout(0.25)).to(first)
        rest = [nn.Linear(8, 8), nn.LayerNorm(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3)]
        self.second = nn.Sequential(*rest).to(second)

    def forward(self, x):
        return self.second(self.first(x).to(self.place))


def trained(first, second, wrap):
    df.random.seed(3)
    model = Halves(first, second)
    optimizer = df.optim.Adam(model.parameters(), 1e-2)
    x = df.random.normal((5, 6), device="cpu").to(first)
    y = df.zeros(5, dtype=df.int64).to(second)

    def step(x, y):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    step = wrap(step)
    losses = [bits(step(x, y)) for _ in range(4)]
    assert {p.device for p in model.first.parameters()} == {first}
    assert {p.device for p in model.second.parameters()} == {second}
    return losses, [bits(p) for p in model.parameters()]


def test_training_over_two_devices_gives_the_bits_of_one():
    wanted = trained("cpu", "cpu", lambda f: f)
    assert trained("cpu", "cpu:1", lambda f: f) == wanted
    assert trained("cpu", "cpu:1", df.function) == wanted


@graphs_only
@pytest.mark.parametrize("twice", [False, True])
def test_gradients_go_back_over_the_copies(twice):
    f, w = df.function(pipeline), df.Variable(df.asarray(W).to("cpu:1"))

    def gradients(call):
        x = df.asarray(X)
        with df.GradientTape() as outer:
            outer.watch(x)
            with df.GradientTape() as inner:
                inner.watch(x)
                y = call(x, w, "cpu:1").sum()
            target = (inner.gradient(y, x) ** 2).sum() if twice else y
        if not twice:
            return inner.gradient(y, [x, w])
        return outer.gradient(target, [x, w])

    for _ in range(3):
        found, wanted = gradients(f), gradients(f.python)
        assert [g.device for g in found] == ["cpu", "cpu:1"]
        assert [bits(g) for g in found] == [bits(g) for g in wanted]
    assert f.mode == "compiled"


@graphs_only
def test_guards_numbers_and_what_is_made_there():
    @df.function
    def f(x, rate):
        with df.device("cpu:1"):
            ramp = df.arange(4, dtype=df.float32)
        y = x.to("cpu:1") * rate + ramp
        y = y + 1.0 if y.sum() > 6.0 else y - 1.0
        z = y.to("cpu")
        return (z * 2.0 if z.max() > 3.0 else z), y

    for rate in (0.5, -2.0, 3.5, 0.5, 4.5, -3.0, 2.5):
        found, wanted = f(df.ones(4), rate), f.python(df.ones(4), rate)
        assert [bits(y) for y in found] == [bits(y) for y in wanted]
        assert [y.device for y in found] == ["cpu", "cpu:1"]
    assert f.mode == "compiled"
    assert f.from_graph >= 2


@graphs_only
def test_calls_differ_by_which_argument_lies_where():
    f = df.function(lambda x, y: (x * 2.0, y * 3.0))
    for places in (("cpu", "cpu:1"), ("cpu:1", "cpu"), ("cpu", "cpu"), ("cpu:1", "cpu")):
        found = f(df.ones(2).to(places[0]), df.ones(2).to(places[1]))
        assert tuple([y.device for y in found]) == places
    assert len(f.entries) == 3


@compiled_only
def test_each_device_has_threads_and_memory_of_its_own():
    f = df.function(pipeline)
    for _ in range(2):
        f(df.asarray(X), df.asarray(W).to("cpu:1"), "cpu:1")
    code = executable(f).code
    runs = {step.place: part._run for step, part in code._codes.items()}
    assert runs["cpu"]._pool is pool_of(0)
    assert runs["cpu:1"]._pool is pool_of(1) is not pool_of(0)
    assert pool_of(1).block != pool_of(0).block
    assert not {id(x) for x in runs["cpu"]._only.frames} & {
        id(x) for x in runs["cpu:1"]._only.frames
    }


@graphs_only
def test_code_for_one_device_refuses_arrays_of_another():
    f = df.function(lambda x: x * 2.0)
    for _ in range(2):
        f(df.asarray(X))
    with pytest.raises(DeviceError, match="argument 0 lies on cpu:1"):
        executable(f)([df.asarray(X).to("cpu:1").raw])
