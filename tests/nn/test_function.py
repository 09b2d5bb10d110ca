"""Modules under @function: what is changed between calls is seen, and nothing is left stale."""

from __future__ import annotations

import numpy as np

import dualflow as df
from dualflow import nn
from tests.modes import graphs_only

X = df.asarray(np.random.default_rng(0).normal(size=(3, 4)).astype("float32"))


def same(found, expected):
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-6)


def test_a_module_a_method_and_a_lambda():
    class Net(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(4, 2)

        @df.function
        def forward(self, x):
            return self.layer(x)

    net, other = Net(), Net()
    for function in (net, df.function(net.layer), df.function(lambda x: net.layer(x))):
        for _ in range(3):
            same(function(X), net.layer(X))
    same(other(X), other.layer(X))
    assert not np.array_equal(other(X).numpy(), net(X).numpy())


@graphs_only
def test_layers_made_at_the_first_call():
    class Lazy(nn.Module):
        layer = None

        @df.function
        def forward(self, x):
            if self.layer is None:
                self.layer = nn.Linear(x.shape[-1], 2)
            return self.layer(x)

    net = Lazy()
    first = net(X)
    for _ in range(3):
        same(net(X), first)
    assert Lazy.__dict__["forward"].explain().from_graph == 2


@graphs_only
def test_a_layer_that_is_replaced():
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    function = df.function(lambda x: net(x))
    function(X)
    function(X)
    setattr(net, "1", nn.Tanh())
    same(function(X), df.tanh(net[0](X)))
    same(function(X), df.tanh(net[0](X)))
    net.append(nn.Linear(4, 1))
    assert function(X).shape == (3, 1)
    assert [t.paths for t in function.explain().traces] == [3]


@graphs_only
def test_settings_that_are_changed():
    layer = nn.LeakyReLU(0.5)
    function = df.function(layer)
    x = df.asarray([-1.0])
    assert [function(x).item() for _ in range(2)] == [-0.5, -0.5]
    layer.negative_slope = 0.25
    assert [function(x).item() for _ in range(2)] == [-0.25, -0.25]
    layer.negative_slope = 0.5
    assert function(x).item() == -0.5
    assert [t.paths for t in function.explain().traces] == [2]
    assert function.explain().from_graph == 3


@graphs_only
def test_other_modules_do_not_disturb():
    layer = nn.Linear(4, 2)
    function = df.function(layer)
    function(X)
    nn.Linear(4, 2).eval()
    layer.in_features = 4
    function(X)
    assert function.explain().from_graph == 1


@graphs_only
def test_attributes_set_at_every_call_are_set():
    class Counter(nn.Module):
        def __init__(self):
            self.calls = 0

        def forward(self, x):
            self.calls += 1
            self.last = x + self.calls
            return self.last * 2

    net = Counter()
    function = df.function(net)
    x = df.asarray(1.0)
    found = [function(x).item() for _ in range(8)]
    assert found == [4.0, 6.0, 8.0, 10.0, 12.0, 14.0, 16.0, 18.0]
    assert (net.calls, net.last.item()) == (8, 9.0)
    assert function.mode == "compiled"
    assert function.from_graph >= 4


@graphs_only
def test_state_in_variables_is_replayed():
    class Counter(nn.Module):
        def __init__(self):
            self.calls = df.Variable(0.0, trainable=False)

        def forward(self, x):
            self.calls += 1
            return x + self.calls

    net = Counter()
    function = df.function(net)
    assert [function(df.asarray(1.0)).item() for _ in range(4)] == [2.0, 3.0, 4.0, 5.0]
    assert function.explain().from_graph == 3


def test_gradients_from_outside():
    net = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1))
    function = df.function(net)
    parameters = list(net.parameters())
    with df.GradientTape() as tape:
        loss = (net(X) ** 2).mean()
    expected = tape.gradient(loss, parameters)
    for _ in range(3):
        with df.GradientTape() as tape:
            loss = (function(X) ** 2).mean()
        for g, e in zip(tape.gradient(loss, parameters), expected, strict=True):
            same(g, e)
        net.zero_grad()
        (function(X) ** 2).mean().backward()
        for p, e in zip(parameters, expected, strict=True):
            same(p.grad, e)
    net[0].requires_grad_(False)
    net.zero_grad()
    (function(X) ** 2).mean().backward()
    assert net[0].weight.grad is None
    same(net[2].weight.grad, expected[2])
