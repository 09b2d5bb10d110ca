"""What a call keeps for its gradient: few bytes, the right ones, and only if somebody asks."""

from __future__ import annotations

import itertools

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import dualflow as df
from dualflow import nn
from dualflow.tracing import residuals
from dualflow.tracing.network import Network
from tests.modes import bits, compiled_only, graphs_only

functional = nn.functional


def values(*shape, seed=0):
    return df.asarray(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def variables(*shapes):
    return [df.Variable(values(*shape, seed=k + 1)) for k, shape in enumerate(shapes)]


def attention():
    w, v = variables((16, 8), (16, 8))
    return lambda x: functional.scaled_dot_product_attention(x @ w, x @ v, x @ v), (64, 16)


def layer_norm():
    w, g, b = variables((32, 32), (32,), (32,))
    return lambda x: functional.layer_norm(x @ w, (32,), g, b) @ w, (16, 32)


def gelus():
    u, v = variables((32, 32), (32, 32))
    return lambda x: functional.gelu(functional.gelu(x @ u) @ v), (16, 32)


def convolutions():
    u, v, w = variables((4, 2, 3, 3), (4, 4, 3, 3), (64, 3))

    def net(x):
        x = functional.relu(functional.conv2d(x, u, padding=1))
        x = functional.max_pool2d(functional.relu(functional.conv2d(x, v, padding=1)), 2)
        return df.reshape(x, (2, 64)) @ w

    return net, (2, 2, 8, 8)


def elementwise():
    w, v = variables((32, 32), (32,))
    return lambda x: df.maximum((x @ w) * v + 1.0, 0.0) * v - 2.0, (16, 32)


NETS = [attention, layer_norm, gelus, convolutions, elementwise]


def step(f, x):
    """A call and its gradients, in bits."""
    with df.GradientTape() as tape:
        tape.watch(x)
        y = f(x)
        loss = (y * y).sum()
    return [bits(y), *map(bits, tape.gradient(loss, [x, *tape.watched_variables()]))]


def call_of(f):
    """The gradient of the only path of a function."""
    ((path,),) = [entry.parts for entry in f.entries.values()]
    return path._gradient


def kept(f, x):
    """How many bytes a call keeps beside its inputs, and what the largest array takes."""
    (pair,) = call_of(f)._pairs.values()
    arrays = [x.raw for x in (x, *(v.tensor for v in holders(f)))]
    own = [a.nbytes for a in pair.run_forward(arrays)[1] if all(a is not b for b in arrays)]
    return sum(own), max(own, default=0)


def holders(f):
    ((path,),) = [entry.parts for entry in f.entries.values()]
    return path.holders


def all_that_is_read(read, there, price):
    """What a call keeps if nothing is computed again."""
    return {value for value in read if value not in there}


@graphs_only
@pytest.mark.parametrize("net", NETS)
def test_fewer_bytes_are_kept_than_are_read_and_bits_stay(net, monkeypatch):
    function, shape = net()
    x, found = values(*shape), []
    for choice in (residuals.cheapest, all_that_is_read):
        monkeypatch.setattr(residuals, "cheapest", choice)
        f = df.function(function, strict=True)
        made = [step(f, x) for _ in range(3)]
        assert made == 3 * [step(function, x)]
        found.append(kept(f, x)[0])
    assert found[0] < found[1]


@graphs_only
def test_attention_keeps_no_scores():
    function, shape = attention()
    f, x = df.function(function, strict=True), values(*shape)
    step(f, x), step(f, x)
    assert kept(f, x)[1] < 64 * 64 * 4


@graphs_only
def test_what_elementwise_ops_make_of_a_product_is_computed_again():
    function, shape = elementwise()
    f, x = df.function(function, strict=True), values(*shape)
    step(f, x), step(f, x)
    assert kept(f, x)[0] == 16 * 32 * 4  # the product


@graphs_only
def test_views_of_inputs_are_not_kept():
    (w,) = variables((64, 64))
    f, x = df.function(lambda x: x @ w.T @ w.T, strict=True), values(4, 64)
    step(f, x), step(f, x)
    assert kept(f, x)[0] == 4 * 64 * 4  # the first product, not the transposed matrix


class Layer:
    """A layer that is trained, and the same one run eagerly."""

    def __init__(self):
        (self.w,) = variables((32, 32))
        self.f = df.function(self.eager, strict=True)
        self.inputs = [values(16, 32, seed=k) for k in range(6)]
        self.f(self.inputs[0])

    def eager(self, x):
        return functional.gelu(functional.gelu(x @ self.w) @ self.w)

    def gradient(self, *outputs):
        sum((y * y).sum() for y in outputs).backward()
        found, self.w.grad = self.w.grad.numpy(), None
        return found


def keeps(y):
    """Whether a call has kept what its gradient needs."""
    return y.record.attrs["residuals"].arrays is not None


@compiled_only
def test_calls_whose_gradients_nobody_wants_keep_nothing():
    layer = Layer()
    for x in layer.inputs:
        y = layer.f(x)
        assert bits(y) == bits(layer.eager(x))
        assert not keeps(y)
    (pair,) = call_of(layer.f)._pairs.values()
    assert "_compiled" not in vars(pair)


@compiled_only
def test_calls_keep_what_they_need_once_gradients_were_asked_for():
    layer = Layer()
    f, x = layer.f, layer.inputs[0]
    wanted = layer.gradient(layer.eager(x))
    np.testing.assert_array_equal(layer.gradient(f(x)), wanted)
    kept = []
    for _ in range(4):
        y = f(x)  # while the last one is still there
        kept.append(keeps(y))
    assert kept == [True, True, False, False]
    np.testing.assert_array_equal(layer.gradient(y), wanted)
    assert keeps(f(x))


@compiled_only
def test_calls_that_wait_for_their_gradients_keep_what_these_need():
    """Many calls first, and then their gradients: none of them is computed twice."""
    layer = Layer()
    layer.gradient(layer.f(layer.inputs[0]))
    outputs = [layer.f(x) for x in layer.inputs]
    assert all(map(keeps, outputs))
    wanted = layer.gradient(*map(layer.eager, layer.inputs))
    np.testing.assert_allclose(layer.gradient(*outputs), wanted, rtol=1e-4, atol=1e-3)


@graphs_only
def test_a_gradient_of_a_call_before_the_variable_was_assigned():
    """What is computed again is computed from the values of then."""
    (w,) = variables((8, 8))
    f, x = df.function(lambda x: df.tanh(x @ w) @ w, strict=True), values(4, 8)
    wanted = step(lambda x: df.tanh(x @ w) @ w, x)
    f(x)
    with df.GradientTape() as tape:
        tape.watch(x)
        y = f(x)
        loss = (y * y).sum()
    before = w.numpy()
    w.assign(df.zeros((8, 8)))
    assert [bits(y), *map(bits, tape.gradient(loss, [x, w]))] == wanted
    assert not w.numpy().any()
    assert before.any()


@st.composite
def networks(draw):
    """Edges with capacities between a few places, the first and the last of which are the ends."""
    count = draw(st.integers(3, 6))
    place = st.integers(0, count - 1)
    edges = draw(st.lists(st.tuples(place, place, st.integers(0, 9)), max_size=12))
    return count, [(a, b, c) for a, b, c in edges if a != b]


@given(networks())
def test_a_cut_is_minimal_and_next_to_the_sink(drawn):
    count, edges = drawn
    network = Network(count)
    for edge in edges:
        network.add(*edge)
    behind = network.cut(0, count - 1)
    inner = range(1, count - 1)
    sides = [
        {count - 1, *chosen}
        for size in range(count - 1)
        for chosen in itertools.combinations(inner, size)
    ]

    def capacity(side):
        return sum(c for a, b, c in edges if a not in side and b in side)

    least = min(map(capacity, sides))
    assert capacity(behind) == least
    assert all(behind <= side for side in sides if capacity(side) == least)


@graphs_only
@pytest.mark.parametrize("net", NETS)
def test_large_graphs_choose_value_by_value(net, monkeypatch):
    monkeypatch.setattr(residuals, "LARGEST", 0)
    function, shape = net()
    f, x = df.function(function, strict=True), values(*shape)
    assert [step(f, x) for _ in range(2)] == 2 * [step(function, x)]
