"""`memory_limit`: temporaries fit it because some are computed again, and bits stay the same."""

from __future__ import annotations

import itertools
import warnings
from functools import cache, partial

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import dualflow as df
from dualflow import nn
from dualflow.errors import FunctionWarning
from dualflow.tracing.compiling import bytes_of
from jit.config import configure
from tests.modes import compiled_only, graphs_only

SHARES = (0.75, 0.4, 0.15)
FREE = 10_000_000_000


def draw(*shape, seed=0, scale=1.0):
    return df.asarray(np.random.default_rng(seed).standard_normal(shape).astype("float32") * scale)


def deep(depth=32, width=16, batch=64):
    """An MLP of many layers."""
    layers = [layer for _ in range(depth) for layer in (nn.Linear(width, width), nn.Tanh())]
    return nn.Sequential(*layers), draw(batch, width)


def wide():
    return nn.Sequential(nn.Linear(32, 256), nn.ReLU(), nn.Linear(256, 8), nn.GELU()), draw(64, 32)


def images():
    """Convolutions, pooling, a dense layer."""
    features = nn.Conv2d(1, 4, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 8, 5)
    head = nn.ReLU(), nn.Flatten(), nn.Linear(8 * 4 * 4, 10)
    return nn.Sequential(*features, *head), draw(8, 1, 16, 16)


def dropping():
    """Random numbers are drawn once, and are the same when they are computed again."""
    layers = [each for _ in range(6) for each in (nn.Linear(32, 32), nn.Dropout(0.3), nn.GELU())]
    return nn.Sequential(*layers), draw(64, 32)


def attentive():
    layers = [nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0) for _ in range(3)]
    return nn.Sequential(*layers), draw(4, 12, 16)


class Cell(nn.Module):
    """An LSTM of a few steps, one after the other."""

    def __init__(self):
        super().__init__()
        self.gates = nn.Linear(24, 64)

    def forward(self, x):
        h = c = df.zeros((x.shape[0], 16))
        for k in range(6):
            parts = self.gates(df.concat([x[:, k], h], axis=1))
            i, f, g, o = (parts[:, 16 * n : 16 * n + 16] for n in range(4))
            c = nn.functional.sigmoid(f) * c + nn.functional.sigmoid(i) * df.tanh(g)
            h = nn.functional.sigmoid(o) * df.tanh(c)
        return h


def recurrent():
    return Cell(), draw(16, 6, 8)


NETS = {make.__name__: make for make in (deep, wide, images, dropping, attentive, recurrent)}


def trained(make, limit, steps=3, **options):
    """The losses and parameters of some steps, and what the limit has led to."""
    df.random.seed(0)
    net, x = make()
    for k, each in enumerate(net.parameters()):
        each.assign(draw(*each.shape, seed=k, scale=0.3))
    optimizer = df.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)

    @df.function(memory_limit=limit, **options)
    def step(x):
        optimizer.zero_grad()
        loss = (net(x) ** 2).mean()
        loss.backward()
        optimizer.step()
        return loss

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FunctionWarning)
        losses = [step(x).numpy().tobytes() for _ in range(steps)]
        told = step.explain()
    values = [each.numpy().tobytes() for each in net.parameters()]
    return [*losses, *values], told


@cache
def peak(make, limit):
    """What a limit has led to, once the state of the optimiser is there."""
    return trained(make, limit)[1].recomputed[-1]


@pytest.mark.parametrize("make", NETS.values(), ids=NETS)
def test_every_bit_stays_the_same(make):
    wanted, told = trained(make, None)
    assert not told.recomputed
    for limit in (50_000, 1):
        assert trained(make, limit)[0] == wanted


@compiled_only
@pytest.mark.parametrize("make", NETS.values(), ids=NETS)
def test_a_lower_limit_never_takes_more(make):
    first = peak(make, FREE)
    assert (first.after, first.again, first.fits) == (first.before, (), True)
    found = [peak(make, int(first.before * share)) for share in SHARES]
    assert all(a.after >= b.after for a, b in itertools.pairwise([first, *found]))
    assert all(each.before == first.before for each in found)
    assert all(each.fits == (each.after <= each.limit) for each in found)


@compiled_only
def test_half_of_the_memory_of_a_deep_net_costs_few_products():
    make = partial(deep, batch=256)
    before = peak(make, FREE).before
    half, quarter = peak(make, before // 2), peak(make, before // 4)
    assert half.fits
    assert half.work < 0.25  # all products of the way forward are a third
    assert quarter.fits
    assert quarter.work < 0.5
    assert half.time == pytest.approx(half.work, rel=0.5)


@compiled_only
@settings(max_examples=4, deadline=None)
@given(depth=st.integers(4, 24), share=st.floats(0.3, 1.0))
def test_any_depth_and_limit(depth, share):
    make = partial(deep, depth)
    before = peak(make, FREE).before
    found = peak(make, int(before * share))
    assert found.after <= before
    assert trained(make, found.limit)[0] == trained(make, None)[0]


@graphs_only
def test_what_runs_again_is_told():
    told = trained(deep, 90_000)[1]
    found = told.recomputed[-1]
    assert found.again
    assert all("test_memory_limit.py" in line or "nn" in line for _, line in found.again if line)
    assert f"{len(found.again)} again, +" in str(told)
    assert len(str(told).splitlines()) <= 15
    again = [part for part in told.kernels if part.label.endswith("_again")]
    assert len(again) == sum(len(each.again) for each in told.recomputed)


@graphs_only
def test_a_limit_that_cannot_be_met_is_told():
    net, x = deep(4)

    @df.function(memory_limit=1000)
    def slopes(x):
        with df.GradientTape() as tape:
            loss = (net(x) ** 2).mean()
        return tape.gradient(loss, list(net.parameters()))

    with pytest.warns(FunctionWarning, match=r"slopes needs .* for temporaries, .*x\d \(") as told:
        slopes(x)
    assert len(told) == 1
    slopes(x)


@graphs_only
def test_a_plan_from_the_disk_keeps_its_limit(tmp_path):
    with configure(cache=tmp_path):
        first, again, free = (trained(deep, limit)[1] for limit in (90_000, 90_000, None))
    assert first.recomputed == again.recomputed
    assert not free.recomputed
    assert first.recomputed[0].again


@graphs_only
def test_gradients_from_outside_have_the_limit_too():
    net, x = deep()
    f = df.function(memory_limit=20_000)(lambda x: (net(x) ** 2).mean())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FunctionWarning)
        for _ in range(3):
            with df.GradientTape() as tape:
                tape.watch(x)
                y = f(x)
            bounded = tape.gradient(y, x)
    with df.GradientTape() as tape:
        tape.watch(x)
        y = (net(x) ** 2).mean()
    assert bounded.tolist() == tape.gradient(y, x).tolist()


@pytest.mark.parametrize(
    ("given", "size"),
    [
        (None, None),
        (12, 12),
        ("12", 12),
        ("500MB", 500_000_000),
        ("1.5 GB", 1_500_000_000),
        ("2GiB", 2 << 30),
        ("3kb", 3000),
    ],
)
def test_sizes(given, size):
    assert bytes_of(given) == size


@pytest.mark.parametrize("wrong", ["2 apples", "", "-1", 0, -5])
def test_what_is_no_size(wrong):
    with pytest.raises(ValueError, match="memory_limit="):
        df.function(memory_limit=wrong)


@pytest.mark.parametrize("wrong", [1.5, True, ["2GB"]])
def test_what_is_not_even_like_one(wrong):
    with pytest.raises(TypeError, match="a number of bytes, a text"):
        df.function(memory_limit=wrong)
