"""The programs' mathematics by hand, in NumPy and float64: forward, backward, update.

A net is a plan over named affine layers: a list of stages `(names, relu)`. A stage adds up what its
layers make of its input, and cuts below zero where `relu` says so.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Layers = dict[str, list[np.ndarray]]  # name -> [weight (out, in), bias (out,)]
Plan = list[tuple[tuple[str, ...], bool]]


def double(x: Any) -> np.ndarray:
    """The values of a tensor in float64."""
    return np.array(x.numpy(), np.float64)


def layers_of(model: Any) -> Layers:
    """Copies of a model's affine layers, by their names."""
    found: Layers = {}
    for name, value in model.state_dict().items():
        found.setdefault(name.rpartition(".")[0], []).append(double(value))
    return found


def mse_and_gradients(layers: Layers, plan: Plan, x: Any, y: Any) -> tuple[float, Layers]:
    """Mean squared error of a net, and its gradients; a layer that is used twice gets their sum."""
    seen = []
    for names, relu in plan:
        h = sum(x @ layers[name][0].T + layers[name][1] for name in names)
        seen.append((x, h))
        x = np.maximum(h, 0) if relu else h
    loss = np.mean((x - y) ** 2)
    g = 2 * (x - y) / x.size
    gradients = {name: [np.zeros_like(p) for p in pair] for name, pair in layers.items()}
    for (names, relu), (into, h) in zip(reversed(plan), reversed(seen), strict=True):
        g = g * (h > 0) if relu else g
        for name in names:
            gradients[name][0] += g.T @ into
            gradients[name][1] += g.sum(axis=0)
        g = sum(g @ layers[name][0] for name in names)
    return float(loss), gradients


def squares_and_gradients(x: Any, y: Any, w1: Any, w2: Any, *, relu: bool) -> tuple[Any, ...]:
    """Sum of squares of `relu(x @ w1) @ w2 - y`, and the gradients of both weights."""
    h = x @ w1
    cut = np.maximum(h, 0) if relu else h
    difference = cut @ w2 - y
    g = 2 * difference
    gh = g @ w2.T
    return np.sum(difference**2), x.T @ (gh * (h > 0) if relu else gh), cut.T @ g


class Adam:
    """Adam as published (Kingma and Ba, 2015, algorithm 1)."""

    def __init__(self, lr: float) -> None:
        self.lr, self.step, self.means = lr, 0, {}

    def update(self, layers: Layers, gradients: Layers) -> None:
        """One step, in place."""
        self.step += 1
        for name, pair in layers.items():
            for k, parameter in enumerate(pair):
                g = gradients[name][k]
                m, v = self.means.get((name, k), (0.0, 0.0))
                m, v = self.means[name, k] = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
                mean, square = m / (1 - 0.9**self.step), v / (1 - 0.999**self.step)
                parameter -= self.lr * mean / (np.sqrt(square) + 1e-8)


class SGD:
    """Plain gradient descent."""

    def __init__(self, lr: float) -> None:
        self.lr = lr

    def update(self, layers: Layers, gradients: Layers) -> None:
        """One step, in place."""
        for name, pair in layers.items():
            for parameter, g in zip(pair, gradients[name], strict=True):
                parameter -= self.lr * g


def train(layers: Layers, optimizer: Any, examples: Any) -> list[float]:
    """Losses over `examples`, which are `(plan, x, y)`; the layers change in place."""
    losses = []
    for plan, x, y in examples:
        loss, gradients = mse_and_gradients(layers, plan, x, y)
        optimizer.update(layers, gradients)
        losses.append(loss)
    return losses
