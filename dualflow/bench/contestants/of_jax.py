"""The workloads in JAX: a whole step in one `jax.jit`, whose state is given away and comes back."""

# The framework is there, or not.
# pyright: reportMissingImports=false
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import lax
from jax import numpy as jnp

from .workloads import GPT_HEADS, GPT_TOKENS, VGG, channels_last

Step = Callable[[], Any]
Optimizer = tuple[int, Callable[..., tuple[Any, Any]]]  # states of a parameter, and the update
VERSION = jax.__version__


def build(workload: str, mode: str, data: dict[str, Any]) -> Step:
    """A step of a workload."""
    return MAKE[workload](data, mode)


def training(loss_of: Callable[..., Any], data: dict[str, Any], optimizer: Optimizer) -> Step:
    """A step of training.

    Args:
        loss_of: Of parameters, input, and target or labels.
        data: Of the workload.
        optimizer: How parameters change.
    """
    states, update = optimizer
    params = [jnp.array(array) for array in data["params"]]
    x, y = (jnp.array(data[key]) for key in ("x", "target" if "target" in data else "labels"))
    state: Any = (params, [[jnp.zeros_like(p)] * states for p in params], jnp.zeros(()))

    def run(state: Any, x: Any, y: Any) -> Any:
        params, own, steps = state
        loss, slopes = jax.value_and_grad(loss_of)(params, x, y)
        steps = steps + 1
        changed = [update(*each, steps) for each in zip(params, slopes, own)]
        return ([p for p, _ in changed], [s for _, s in changed], steps), loss

    call = jax.jit(run, donate_argnums=0)
    state = jax.tree.map(jnp.array, state)  # no buffer twice: each is given away

    def step() -> Any:
        nonlocal state
        state, loss = jax.block_until_ready(call(state, x, y))
        return loss

    return step


def sgd(rate: float) -> Optimizer:
    """Down the slope."""
    return 0, lambda p, slope, state, _: (p - rate * slope, state)


def momentum(rate: float) -> Optimizer:
    """Down a running sum of slopes."""

    def update(p: Any, slope: Any, state: Any, _: Any) -> Any:
        total = 0.9 * state[0] + slope
        return p - rate * total, [total]

    return 1, update


def adam(rate: float, decay: float = 0.0) -> Optimizer:
    """Adam; AdamW where weights decay."""

    def update(p: Any, slope: Any, state: Any, steps: Any) -> Any:
        mean, square = 0.9 * state[0] + 0.1 * slope, 0.999 * state[1] + 0.001 * slope * slope
        widened = jnp.sqrt(square / (1 - 0.999**steps)) + 1e-8
        return p - rate * decay * p - rate * (mean / (1 - 0.9**steps)) / widened, [mean, square]

    return 2, update


# ----- workloads -----


def by_hand(data: dict[str, Any], mode: str) -> Step:
    """W1."""

    def loss(p: Sequence[Any], x: Any, target: Any) -> Any:
        return ((jax.nn.relu(x @ p[0]) @ p[1] - target) ** 2).sum()

    return training(loss, data, sgd(1e-6))


def mlp(data: dict[str, Any], mode: str) -> Step:
    """W2."""

    def loss(p: Sequence[Any], x: Any, target: Any) -> Any:
        return ((jax.nn.relu(x @ p[0] + p[1]) @ p[2] + p[3] - target) ** 2).mean()

    return training(loss, data, adam(1e-4))


def two_layers(data: dict[str, Any], mode: str) -> Step:
    """W3."""

    def loss(p: Sequence[Any], x: Any, target: Any) -> Any:
        return ((x @ p[0] @ p[1] - target) ** 2).sum(1).mean()

    return training(loss, data, sgd(1e-6))


def parallel(data: dict[str, Any], mode: str) -> Step:
    """W4."""

    def block(x: Any, p: Sequence[Any]) -> Any:
        return jax.nn.relu((x @ p[0] + p[1]) + (x @ p[2] + p[3]))

    def loss(p: Sequence[Any], x: Any, target: Any) -> Any:
        return ((block(block(x, p[:4]), p[4:]) - target) ** 2).mean()

    return training(loss, data, adam(1e-4))


def chain(x: Any) -> Any:
    """The function of W5."""
    return (jnp.tanh(x) * jnp.exp(-x * x) + jax.nn.sigmoid(2 * x) * x).sum()


def value(data: dict[str, Any], mode: str) -> Step:
    """W5."""
    x, call = jnp.array(data["x"]), jax.jit(chain)
    return lambda: jax.block_until_ready(call(x))


def gradient(data: dict[str, Any], mode: str) -> Step:
    """W5 with its gradient."""
    x, call = jnp.array(data["x"]), jax.jit(jax.value_and_grad(chain))
    return lambda: jax.block_until_ready(call(x))


def cross_entropy(logits: Any, labels: Any) -> Any:
    """The mean over rows."""
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1).mean()


def convolved(x: Any, w: Any, bias: Any, padding: str) -> Any:
    """A convolution with channels last, and relu."""
    order = ("NHWC", "HWIO", "NHWC")
    out = lax.conv_general_dilated(x, w, (1, 1), padding, dimension_numbers=order)
    return jax.nn.relu(out + bias)


def pooled(x: Any) -> Any:
    """The largest of 2x2."""
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def lenet(data: dict[str, Any], mode: str) -> Step:
    """W8."""

    def loss(p: Sequence[Any], x: Any, labels: Any) -> Any:
        h = pooled(convolved(x, p[0], p[1], "VALID"))
        h = pooled(convolved(h, p[2], p[3], "VALID")).reshape(len(x), -1)
        h = jax.nn.relu(jax.nn.relu(h @ p[4] + p[5]) @ p[6] + p[7])
        return cross_entropy(h @ p[8] + p[9], labels)

    return training(loss, channels_last(data, 4, 4), momentum(0.01))


def normed(x: Any, weight: Any, bias: Any) -> Any:
    """Layer norm."""
    centred = x - x.mean(-1, keepdims=True)
    scale = lax.rsqrt((centred * centred).mean(-1, keepdims=True) + 1e-5)
    return centred * scale * weight + bias


def normalised(data: dict[str, Any], mode: str) -> Step:
    """W6."""
    x, labels = jnp.array(data["x"]), jnp.array(data["labels"])
    weight, bias = (jnp.array(array) for array in data["params"])

    def loss(x: Any, weight: Any, bias: Any, labels: Any) -> Any:
        return cross_entropy(normed(x, weight, bias), labels)

    call = jax.jit(jax.value_and_grad(loss, (0, 1, 2)))

    def step() -> Any:
        loss, slopes = jax.block_until_ready(call(x, weight, bias, labels))
        return (loss, *slopes)

    return step


def lstm(data: dict[str, Any], mode: str) -> Step:
    """W7, by `lax.scan`; in the mode "unrolled" by a loop of Python."""

    def loss(p: Sequence[Any], x: Any, target: Any) -> Any:
        w, w_hidden, bias, out, out_bias = p

        def cell(state: Any, at: Any) -> Any:
            h, c = state
            i, f, g, o = jnp.split(at @ w + h @ w_hidden + bias, 4, 1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            return (jax.nn.sigmoid(o) * jnp.tanh(c), c), None

        state = (jnp.zeros((32, 128)), jnp.zeros((32, 128)))
        if mode == "unrolled":
            for k in range(32):
                state, _ = cell(state, x[k])
        else:
            state, _ = lax.scan(cell, state, x)
        return ((state[0] @ out + out_bias - target) ** 2).mean()

    return training(loss, data, sgd(0.1))


def gpt(data: dict[str, Any], mode: str) -> Step:
    """W10."""

    def loss(p: Sequence[Any], tokens: Any, labels: Any) -> Any:
        x = p[0][tokens] + p[1]
        for k in range(2, len(p) - 3, 12):
            x = layer(x, p[k : k + 12])
        logits = normed(x, *p[-3:-1]) @ p[-1]
        return cross_entropy(logits.reshape(-1, GPT_TOKENS), labels.reshape(-1))

    return training(loss, data, adam(3e-4, decay=0.01))


def layer(x: Any, p: Sequence[Any]) -> Any:
    """One layer of the decoder."""
    batch, length, width = x.shape
    depth = width // GPT_HEADS
    parts = jnp.split(normed(x, p[0], p[1]) @ p[2] + p[3], 3, 2)
    q, k, v = (a.reshape(batch, length, GPT_HEADS, depth).transpose(0, 2, 1, 3) for a in parts)
    scores = q @ k.swapaxes(-1, -2) * depth**-0.5
    seen = jnp.tril(jnp.ones((length, length), bool))
    attended = jax.nn.softmax(jnp.where(seen, scores, -1e9), -1) @ v
    x = x + (attended.transpose(0, 2, 1, 3).reshape(x.shape) @ p[4] + p[5])
    return x + (jax.nn.gelu(normed(x, p[6], p[7]) @ p[8] + p[9]) @ p[10] + p[11])


def logits(p: Sequence[Any], x: Any) -> Any:
    """What VGG16 makes of images."""
    k = 0
    for width in VGG:
        if width:
            x = convolved(x, p[k], p[k + 1], "SAME")
            k += 2
        else:
            x = pooled(x)
    x = jax.nn.relu(x.reshape(len(x), -1) @ p[k] + p[k + 1])
    return jax.nn.relu(x @ p[k + 2] + p[k + 3]) @ p[k + 4] + p[k + 5]


def vgg_value(data: dict[str, Any], mode: str) -> Step:
    """W9, forward."""
    given = channels_last(data, -6, 7)
    x, params = jnp.array(given["x"]), [jnp.array(array) for array in given["params"]]
    call = jax.jit(lambda p, x: jnp.abs(logits(p, x)).mean())
    return lambda: jax.block_until_ready(call(params, x))


def vgg(data: dict[str, Any], mode: str) -> Step:
    """W9, training."""

    def loss(p: Sequence[Any], x: Any, labels: Any) -> Any:
        return cross_entropy(logits(p, x), labels)

    return training(loss, channels_last(data, -6, 7), sgd(1e-4))


def trees(data: dict[str, Any], mode: str) -> Step:
    """W14: compiled anew for every shape of a tree."""
    params = [jnp.array(array) for array in data["params"]]
    given = [(tree, jnp.array(x), jnp.array(label)) for tree, x, label in data["trees"]]

    def of_tree(tree: Any, params: Any, x: Any, label: Any) -> Any:
        def loss(p: Sequence[Any]) -> Any:
            return cross_entropy(subtree(tree, x, p)[0] @ p[4] + p[5], label)

        value, slopes = jax.value_and_grad(loss)(params)
        return value, [p - 0.01 * slope for p, slope in zip(params, slopes)]

    call = jax.jit(of_tree, static_argnums=0)

    def step() -> float:
        nonlocal params
        total = 0.0
        for tree, x, label in given:
            loss, params = call(tree, params, x, label)
            total += float(loss)
        return total

    return step


def subtree(tree: Any, x: Any, p: Sequence[Any]) -> tuple[Any, Any]:
    """State and memory of a tree."""
    sigmoid = jax.nn.sigmoid
    if isinstance(tree, int):
        i, o, u = jnp.split(x[tree] @ p[0] + p[1], 3, 1)
        c = sigmoid(i) * jnp.tanh(u)
    else:
        (left, left_c), (right, right_c) = (subtree(part, x, p) for part in tree)
        i, f, g, o, u = jnp.split(jnp.concatenate((left, right), 1) @ p[2] + p[3], 5, 1)
        c = sigmoid(i) * jnp.tanh(u) + sigmoid(f) * left_c + sigmoid(g) * right_c
    return sigmoid(o) * jnp.tanh(c), c


def small(data: dict[str, Any], mode: str) -> Step:
    """W12 on eight numbers."""
    x, call = jnp.array(data["x"]), jax.jit(lambda x: x * 2 + 1)
    return lambda: jax.block_until_ready(call(x))


def parameters(data: dict[str, Any], mode: str) -> Step:
    """W12 on fifty parameters."""
    params, slopes = ([jnp.array(a) for a in data[key]] for key in ("params", "slopes"))

    @jax.jit
    def update(params: Any, slopes: Any) -> Any:
        return [p - 0.01 * slope for p, slope in zip(params, slopes)]

    return lambda: jax.block_until_ready(update(params, slopes))


MAKE: dict[str, Callable[[dict[str, Any], str], Step]] = {
    "W1": by_hand,
    "W2": mlp,
    "W3": two_layers,
    "W4": parallel,
    "W5-value-1M": value,
    "W5-gradient-1M": gradient,
    "W5-value-16M": value,
    "W5-gradient-16M": gradient,
    "W6": normalised,
    "W7": lstm,
    "W8": lenet,
    "W10": gpt,
    "W12-small": small,
    "W9-inference": vgg_value,
    "W9-training": vgg,
    "W12-parameters": parameters,
    "W14": trees,
}
MODES = {name: ["compiled"] for name in MAKE} | {"W7": ["compiled", "unrolled"]}
