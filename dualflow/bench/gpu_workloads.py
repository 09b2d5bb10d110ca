"""The workloads of `bench gpu` in dualflow: eager steps and compiled ones."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import dualflow as df
from dualflow import nn
from dualflow.bench.gpu_data import Array, Work, batch, parameters, sizes_of
from dualflow.models.gpt2 import GPT2, GPT2Config
from dualflow.models.vgg import VGG

DEVICE = "gpu:0"
MODES = ("compiled", "eager")  # in this order: a first call compiles what it needs
Step = Callable[[], Any]


def step_of(work: Work, mode: str, *, quick: bool) -> Step:
    """A step, which gives its loss, or arrays where there is none."""
    if work.kind == "norm":
        return normalised(work, mode, quick=quick)
    if work.kind in ("value", "slope"):
        return elementwise(work, mode, quick=quick)
    return training(work, mode, quick=quick)


def wrapped(mode: str, step: Callable[..., Any]) -> Callable[..., Any]:
    """A step in a mode."""
    return df.function(step) if mode == "compiled" else step


def there(work: Work, *, quick: bool) -> list[Any]:
    """What a step is given, on the device."""
    return [df.asarray(x).to(DEVICE) for x in batch(work, quick=quick)]


# ----- training -----


def training(work: Work, mode: str, *, quick: bool) -> Step:
    """A step with its update."""
    net = net_of(work, quick=quick)
    fill(net, parameters(work, quick=quick))
    net.to(DEVICE)
    x, y = there(work, quick=quick)
    optimizer = optimizer_of(work, net)
    loss_of = LOSSES[work.kind]

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        with df.autocast(work.precision) if work.precision == "bfloat16" else nullcontext():
            loss = loss_of(net, x, y)
        loss.backward()
        optimizer.step()
        return loss

    step = wrapped(mode, step)
    return lambda: step(x, y)


def net_of(work: Work, *, quick: bool) -> Any:
    """The net of a workload."""
    n = sizes_of(work, quick=quick)
    if work.kind == "mlp":
        layers = [nn.Linear(n["inputs"], n["hidden"]), nn.ReLU(), nn.Linear(n["hidden"], 10)]
        return nn.Sequential(*layers)
    if work.kind == "lenet":
        return lenet()
    if work.kind == "lstm":
        return nn.LSTM(n["width"], n["width"])
    if work.kind == "vgg":
        return VGG(16, dropout=0.0)
    names = ("vocab_size", "tokens"), ("n_positions", "length"), ("n_embd", "width")
    names += ("n_layer", "layers"), ("n_head", "heads")
    return GPT2(GPT2Config(**{ours: n[name] for ours, name in names}, dropout=0.0))


def lenet() -> Any:
    """LeNet-5 with modern parts."""
    features = [
        nn.Conv2d(1, 6, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
    ]
    head = [nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)]
    return nn.Sequential(*features, *head)


def fill(net: Any, values: list[Array]) -> None:
    """Gives parameters their first values; dense layers of `nn` hold (outputs, inputs)."""
    turned = not isinstance(net, GPT2)
    for parameter, value in zip(net.parameters(), values, strict=True):
        dense = turned and value.ndim == 2
        parameter.assign(df.asarray(value.T.copy() if dense else value))


def optimizer_of(work: Work, net: Any) -> Any:
    """What updates the parameters."""
    if work.kind == "vgg":
        return df.optim.SGD(net.parameters(), 1e-3, momentum=0.9)
    if work.kind == "gpt":
        return df.optim.AdamW(net.parameters(), 1e-4)
    return df.optim.Adam(net.parameters(), 1e-3)


def squared(net: Any, x: Any, y: Any) -> Any:
    """The mean of squared errors."""
    return ((net(x) - y) ** 2).mean()


def squared_states(net: Any, x: Any, y: Any) -> Any:
    """The same of all states of a recurrent net."""
    return ((net(x)[0] - y) ** 2).mean()


def classified(net: Any, x: Any, y: Any) -> Any:
    """Cross-entropy of labels."""
    return nn.functional.cross_entropy(net(x), y)


def told(net: Any, x: Any, y: Any) -> Any:
    """Cross-entropy of next tokens."""
    scores = net(x)
    flat = df.reshape(scores, (-1, scores.shape[-1]))
    return nn.functional.cross_entropy(flat, df.reshape(y, (-1,)))


LOSSES = {
    "mlp": squared,
    "lenet": classified,
    "lstm": squared_states,
    "vgg": classified,
    "gpt": told,
}


# ----- functions -----


def chain(x: Any) -> Any:
    """Elementwise ops one after the other."""
    return df.tanh(x) * df.exp(-x * x) + nn.functional.sigmoid(2.0 * x) * x


def elementwise(work: Work, mode: str, *, quick: bool) -> Step:
    """A chain of elementwise ops, or that and what it gives back for a cotangent."""
    x, cotangent = there(work, quick=quick)

    def both(x: Any, cotangent: Any) -> Any:
        value, pull = df.vjp(chain, x)
        return value, pull(cotangent)

    if work.kind == "slope":
        step = wrapped(mode, both)
        return lambda: step(x, cotangent)
    value = wrapped(mode, chain)
    return lambda: value(x)


def row_loss(x: Any, scale: Any, shift: Any, y: Any) -> Any:
    """Cross-entropy of rows after a layer norm."""
    return nn.functional.cross_entropy(nn.functional.layer_norm(x, x.shape[-1:], scale, shift), y)


def normalised(work: Work, mode: str, *, quick: bool) -> Step:
    """Layer norm and cross-entropy, and their gradients."""
    scale, shift = (df.asarray(v).to(DEVICE) for v in parameters(work, quick=quick))
    x, y = there(work, quick=quick)

    def loss(x: Any, scale: Any, shift: Any) -> Any:
        return row_loss(x, scale, shift, y)

    step = wrapped(mode, df.value_and_grad(loss, argnums=(0, 1, 2)))
    return lambda: step(x, scale, shift)
