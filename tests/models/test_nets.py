"""Small ready nets learn, and do the same in both modes."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
from tests.modes import bits

M = df.models


def labels(n, classes):
    return df.asarray(np.random.default_rng(1).integers(0, classes, n))


def noise(*shape):
    return df.asarray(np.random.default_rng(0).standard_normal(shape, np.float32))


def classify(net, *inputs, classes=3):
    truth = labels(inputs[0].shape[0], classes)
    return lambda: df.nn.functional.cross_entropy(net(*inputs), truth)


def mlp():
    return (net := M.MLP([12, 8, 3], dropout=0.1)), classify(net, noise(6, 3, 4))


def lenet():
    return (net := M.LeNet(3, size=32)), classify(net, noise(4, 1, 32, 32))


def unet():
    net, x = M.UNet(2, 3, width=4, depth=1), noise(2, 2, 8, 8)
    truth = df.reshape(labels(128, 3), (2, 8, 8))

    def loss():
        scores = df.permute_dims(net(x), (0, 2, 3, 1))
        return df.nn.functional.cross_entropy(df.reshape(scores, (-1, 3)), df.reshape(truth, (-1,)))

    return net, loss


def vae():
    net, x = M.VAE(16, 8, 2), df.nn.functional.sigmoid(noise(5, 16))
    return net, lambda: net.loss(x)


def text_net(make):
    net = make(7, hidden=12, embedding=6)
    ids = df.asarray(np.arange(20).reshape(2, 10) % 7)

    def loss():
        scores, _ = net(ids[:, :-1])
        return df.nn.functional.cross_entropy(
            df.reshape(scores, (-1, 7)), df.reshape(ids[:, 1:], (-1,))
        )

    return net, loss


def tree():
    net = M.TreeLSTM(4, 6, 2)
    trees = df.data.random_trees(3, leaves=(1, 3), width=4)
    truth = labels(3, 2)
    return net, lambda: df.nn.functional.cross_entropy(df.stack([net(t) for t in trees]), truth)


class Both(df.nn.Module):
    """A module of two arguments."""

    def __init__(self):
        self.linear = df.nn.Linear(8, 4)

    def forward(self, a, b):
        return df.tanh(self.linear(df.concat([a, b], axis=-1)))


def modular():
    net = M.ModularNet({"both": Both(), "not": df.nn.Linear(4, 4)}, df.nn.Linear(4, 2))
    words = {"red": noise(4), "round": noise(4) * 2.0}
    plans = ["red", ("both", "red", ("not", "round")), ("not", ("both", "round", "red"))]
    truth = labels(3, 2)

    def loss():
        scores = df.stack([net(plan, words) for plan in plans])
        return df.nn.functional.cross_entropy(scores, truth)

    return net, loss


NETS = {
    "mlp": mlp,
    "lenet": lenet,
    "unet": unet,
    "vae": vae,
    "rnn": lambda: text_net(M.CharRNN),
    "lstm": lambda: text_net(M.CharLSTM),
    "tree": tree,
    "modular": modular,
}


SLOW = ("unet", "lenet")  # each kernel of theirs is compiled once


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in NETS]
)
def test_it_learns_alike_in_both_modes(name):
    told = []
    for mode in ("eager", "compiled"):
        df.random.seed(4)
        net, loss = NETS[name]()
        optimizer = df.optim.Adam(net.parameters(), lr=0.02)

        def step(loss=loss, optimizer=optimizer):
            value = loss()
            value.backward()
            optimizer.step()
            optimizer.zero_grad()
            return value

        run = df.function(step) if mode == "compiled" else step
        losses = [run().item() for _ in range(8)]
        told.append((losses, [bits(v) for v in net.state_dict().values()]))
    assert told[0] == told[1]
    assert told[0][0][-1] < told[0][0][0]


def test_writing_on():
    net = M.CharLSTM(7, hidden=8)
    start = df.asarray([[1, 2]])
    text = net.generate(start, 5, temperature=0.0)
    assert text.shape == (1, 7)
    assert text[:, :2].tolist() == [[1, 2]]
    _, state = net(start)
    rest, _ = net(text[:, 2:3], state)
    both, _ = net(text[:, :3])
    assert bits(rest[:, 0]) == bits(both[:, 2])
    assert M.VAE(16, 8, 2).sample(3).shape == (3, 16)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: M.UNet(1, 2, width=2)(df.ones((1, 1, 24, 8))), df.errors.ShapeError, "of 16"),
        (lambda: M.MLP([3]), ValueError, "at least an input and an output"),
        (lambda: M.LeNet(size=30), ValueError, "size=30"),
    ],
)
def test_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()
