"""Nets whose architecture depends on the example: recurrent, recursive, modular."""

from __future__ import annotations

import numpy as np

import dualflow as df
from dualflow import nn
from tests.modes import graphs_only, in_mode
from tests.programs import closed_form
from tests.programs.closed_form import double, layers_of
from tests.programs.runs import assert_close, assert_falls, in_both_modes

pytestmark = graphs_only


def by_sgd(mode, model, lr, examples, epochs):
    """Trains `model(*inputs)` towards its targets, one example after the other."""
    optimizer = df.optim.SGD(model.parameters(), lr=lr)

    def step(inputs, y):
        loss = nn.functional.mse_loss(model(*inputs), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    run = in_mode(mode, step)
    losses = [run(inputs, y).item() for _ in range(epochs) for inputs, y in examples]
    if mode == "compiled":  # every shape was recorded once, in the first epoch
        assert run.from_graph >= len(examples) * (epochs - 1)
    return losses, list(model.state_dict().values())


def assert_epochs_fall(losses, epochs, factor):
    per_epoch = np.reshape(losses, (epochs, -1)).mean(axis=1)
    assert_falls(list(per_epoch), factor)


def gradients_of_affine(gradients, name, into, g):
    gradients[name][0] += np.outer(g, into)
    gradients[name][1] += g


# ----- recurrent: sequences of varying length -----


class RNN(nn.Module):
    def __init__(self, size, hidden):
        super().__init__()
        self.hidden = hidden
        self.input = nn.Linear(size, hidden)
        self.state = nn.Linear(hidden, hidden)
        self.output = nn.Linear(hidden, 1)

    def forward(self, sequence):
        h = df.zeros((self.hidden,))
        for x in sequence:
            h = df.tanh(self.input(x) + self.state(h))
        return self.output(h)


def rnn_by_hand(layers, sequence, y):
    (wi, bi), (ws, bs), (wo, bo) = layers.values()
    states = [np.zeros(ws.shape[0])]
    for x in sequence:
        states.append(np.tanh(wi @ x + bi + ws @ states[-1] + bs))
    out = wo @ states[-1] + bo
    gradients = {name: [np.zeros_like(p) for p in pair] for name, pair in layers.items()}
    g = 2 * (out - y) / out.size
    gradients_of_affine(gradients, "output", states[-1], g)
    g = wo.T @ g
    for x, before, h in reversed(list(zip(sequence, states, states[1:], strict=False))):
        g = g * (1 - h * h)
        gradients_of_affine(gradients, "input", x, g)
        gradients_of_affine(gradients, "state", before, g)
        g = ws.T @ g
    return np.mean((out - y) ** 2), gradients


def test_rnn_over_sequences_of_varying_length():
    lengths, epochs, lr, start = (5, 2, 7, 3, 1, 5), 15, 0.05, []

    def program(mode):
        examples = [((df.randn(n, 4),), df.randn(1)) for n in lengths]
        model = RNN(4, 16)
        start[:] = [examples, layers_of(model)]
        return by_sgd(mode, model, lr, examples, epochs)

    losses, state = in_both_modes(program)
    examples, layers = start
    expected = []
    for (sequence,), y in examples * epochs:
        loss, gradients = rnn_by_hand(layers, double(sequence), double(y))
        closed_form.SGD(lr).update(layers, gradients)
        expected.append(loss)
    assert_close([losses, *state], [expected, *(p for pair in layers.values() for p in pair)])
    assert_epochs_fall(losses, epochs, 0.5)


# ----- recursive: binary trees of random shape -----


class TreeNet(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.join = nn.Linear(2 * width, width)
        self.output = nn.Linear(width, 1)

    def embed(self, tree):
        if isinstance(tree, df.Tensor):
            return tree
        left, right = tree
        return df.tanh(self.join(df.concat([self.embed(left), self.embed(right)])))

    def forward(self, tree):
        return self.output(self.embed(tree))


def tree_by_hand(layers, tree, y):
    (wj, bj), (wo, bo) = layers["join"], layers["output"]
    gradients = {name: [np.zeros_like(p) for p in pair] for name, pair in layers.items()}

    def embed(tree):
        """The value of a tree, and what brings a cotangent back down."""
        if isinstance(tree, df.Tensor):
            return double(tree), lambda g: None
        (left, pull_left), (right, pull_right) = map(embed, tree)
        both = np.concatenate([left, right])
        h = np.tanh(wj @ both + bj)

        def pull(g):
            g = g * (1 - h * h)
            gradients_of_affine(gradients, "join", both, g)
            below = wj.T @ g
            pull_left(below[: len(left)])
            pull_right(below[len(left) :])

        return h, pull

    h, pull = embed(tree)
    out = wo @ h + bo
    g = 2 * (out - y) / out.size
    gradients_of_affine(gradients, "output", h, g)
    pull(wo.T @ g)
    return np.mean((out - y) ** 2), gradients


def test_recursive_net_over_trees_of_random_shape():
    epochs, lr, start = 12, 0.05, []

    def program(mode):
        trees = df.data.random_trees(8, seed=1, leaves=(1, 9), width=12)
        examples = [((tree,), df.randn(1)) for tree in trees]
        model = TreeNet(12)
        start[:] = [examples, layers_of(model)]
        return by_sgd(mode, model, lr, examples, epochs)

    losses, state = in_both_modes(program)
    examples, layers = start
    expected = []
    for (tree,), y in examples * epochs:
        loss, gradients = tree_by_hand(layers, tree, double(y))
        closed_form.SGD(lr).update(layers, gradients)
        expected.append(loss)
    assert_close([losses, *state], [expected, *(p for pair in layers.values() for p in pair)])
    assert_epochs_fall(losses, epochs, 0.5)


# ----- modular: the layers are chosen per example -----


class Modular(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.parts = {name: nn.Linear(width, width) for name in ("find", "filter", "relate")}
        self.answer = nn.Linear(width, 1)

    def forward(self, x, chosen):
        for name in chosen:
            x = nn.functional.relu(self.parts[name](x))
        return self.answer(x)


CHOSEN = [("find",), ("find", "filter"), ("find", "relate", "filter"), ("relate", "relate"), ()]


def test_modular_net_whose_layers_are_chosen_per_example():
    epochs, lr, start = 15, 0.1, []

    def program(mode):
        examples = [((df.randn(6, 16), chosen), df.randn(6, 1)) for chosen in CHOSEN]
        model = Modular(16)
        start[:] = [examples, layers_of(model)]
        return by_sgd(mode, model, lr, examples, epochs)

    losses, state = in_both_modes(program)
    examples, layers = start
    by_hand = [
        ([*(((f"parts.{n}",), True) for n in chosen), (("answer",), False)], double(x), double(y))
        for (x, chosen), y in examples * epochs
    ]
    expected = closed_form.train(layers, closed_form.SGD(lr), by_hand)
    assert_close([losses, *state], [expected, *(p for pair in layers.values() for p in pair)])
    assert_epochs_fall(losses, epochs, 0.9)
