"""Initial values: distributions, and the same values for the same seed in both modes."""

from __future__ import annotations

import math

import numpy as np
import pytest

import dualflow as df
from dualflow import nn
from tests.modes import graphs_only

SHAPE = (60, 50, 3, 3)
INPUTS, OUTPUTS = 450, 540
UNIFORM = {
    "kaiming_uniform_": ({}, math.sqrt(6 / INPUTS)),
    "kaiming_uniform_ sqrt5": ({"a": math.sqrt(5)}, 1 / math.sqrt(INPUTS)),
    "kaiming_uniform_ out": ({"mode": "fan_out", "nonlinearity": "relu"}, math.sqrt(6 / OUTPUTS)),
    "xavier_uniform_": ({"gain": 2.0}, 2 * math.sqrt(6 / (INPUTS + OUTPUTS))),
}
NORMAL = {
    "kaiming_normal_": ({"nonlinearity": "tanh"}, 5 / 3 / math.sqrt(INPUTS)),
    "xavier_normal_": ({}, math.sqrt(2 / (INPUTS + OUTPUTS))),
    "normal_": ({"std": 0.3}, 0.3),
}


def drawn(name, **settings):
    variable = nn.Parameter(df.zeros(SHAPE))
    assert getattr(nn.init, name.split()[0])(variable, **settings) is variable
    assert variable.requires_grad
    return variable.numpy()


@pytest.mark.parametrize("name", UNIFORM)
def test_uniform(name):
    settings, bound = UNIFORM[name]
    x = drawn(name, **settings)
    assert np.abs(x).max() <= bound * (1 + 1e-6)
    assert np.abs(x).max() > bound * 0.999
    assert abs(x.std() / (bound / math.sqrt(3)) - 1) < 0.02
    assert abs(x.mean()) < bound * 0.02


@pytest.mark.parametrize("name", NORMAL)
def test_normal(name):
    settings, std = NORMAL[name]
    x = drawn(name, **settings)
    assert abs(x.std() / std - 1) < 0.02
    assert abs(x.mean()) < std * 0.02
    assert np.abs(x).max() > 3 * std


def test_constants():
    weight = nn.Parameter(df.zeros((2, 2)))
    assert nn.init.ones_(weight).tolist() == [[1.0, 1.0], [1.0, 1.0]]
    assert nn.init.constant_(weight, 3.0).tolist() == [[3.0, 3.0], [3.0, 3.0]]
    assert nn.init.zeros_(weight).tolist() == [[0.0, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize(
    ("make", "inputs"),
    [
        (lambda: nn.Linear(100, 50), 100),
        (lambda: nn.Conv2d(8, 20, 5), 200),
        (lambda: nn.Conv2d(8, 20, 5, groups=4), 50),
        (lambda: nn.Conv1d(40, 20, 3), 120),
    ],
)
def test_layers_start_as_in_pytorch(make, inputs):
    layer = make()
    bound = 1 / math.sqrt(inputs)
    for parameter in layer.parameters():
        assert np.abs(parameter.numpy()).max() <= bound * (1 + 1e-6)
        assert np.abs(parameter.numpy()).max() > bound * 0.8


def test_an_embedding_starts_standard_normal():
    weight = nn.Embedding(200, 50).weight.numpy()
    assert abs(weight.std() - 1) < 0.03


def test_the_seed_decides():
    def made():
        df.random.seed(3)
        return nn.Linear(4, 3).state_dict()

    one, other = made(), made()
    assert all(np.array_equal(one[n].numpy(), other[n].numpy()) for n in one)
    assert not np.array_equal(one["weight"].numpy(), nn.Linear(4, 3).weight.numpy())


def test_generators_of_ones_own():
    values = []
    for _ in range(2):
        variable = nn.Parameter(df.zeros((3, 3)))
        nn.init.xavier_normal_(variable, generator=df.random.Generator(5))
        values.append(variable.numpy())
    np.testing.assert_array_equal(*values)


@graphs_only
def test_new_values_inside_a_function():
    layer = nn.Linear(4, 3)
    df.random.seed(2)
    layer.reset_parameters()
    layer.reset_parameters()
    expected = layer.weight.numpy()
    df.random.seed(2)
    renew = df.function(layer.reset_parameters)
    renew()
    renew()
    np.testing.assert_array_equal(layer.weight.numpy(), expected)
    assert renew.explain().from_graph == 1


@pytest.mark.parametrize("shape", [(6, 6), (4, 9), (9, 4), (3, 2, 2, 2)])
def test_orthogonal(shape):
    x = nn.init.orthogonal_(nn.Parameter(df.zeros(shape)), gain=2.0).numpy().reshape(shape[0], -1)
    short = x @ x.T if x.shape[0] <= x.shape[1] else x.T @ x
    np.testing.assert_allclose(short, 4 * np.eye(len(short)), atol=1e-5)
    other = nn.init.orthogonal_(nn.Parameter(df.zeros(shape)), gain=2.0).numpy()
    assert not np.allclose(other.reshape(x.shape), x)


def test_truncated_normal():
    x = nn.init.trunc_normal_(nn.Parameter(df.zeros((200, 200))), 1.0, 0.5, 0.5, 2.0).numpy()
    assert 0.5 <= x.min() < 0.51
    assert 1.99 < x.max() <= 2.0


def test_identities():
    assert nn.init.eye_(nn.Parameter(df.ones((2, 3)))).tolist() == np.eye(2, 3).tolist()
    conv = nn.Conv2d(3, 5, 3, padding=1, bias=False)
    nn.init.dirac_(conv.weight)
    x = df.random.normal((2, 3, 4, 4))
    np.testing.assert_array_equal(conv(x).numpy()[:, :3], x.numpy())
    assert (conv(x).numpy()[:, 3:] == 0).all()
    grouped = nn.Conv1d(4, 4, 3, padding=1, bias=False, groups=2)
    nn.init.dirac_(grouped.weight, groups=2)
    x = df.random.normal((2, 4, 5))
    np.testing.assert_array_equal(grouped(x).numpy(), x.numpy())
