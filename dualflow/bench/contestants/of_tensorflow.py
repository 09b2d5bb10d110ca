"""The workloads in TensorFlow: op by op, by `tf.function`, and by XLA.

`compiled` is `tf.function` as people write it, `xla` the same with `jit_compile=True`.
"""

# The framework is there, or not.
# pyright: reportMissingImports=false, reportMissingModuleSource=false
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow

from .workloads import CHAIN, GPT_HEADS, GPT_TOKENS, VGG, channels_last

Step = Callable[[], Any]
Loss = Callable[[Sequence[Any], Any, Any], Any]
Optimizer = tuple[int, Callable[..., None]]  # states of a parameter, and the update
tf: Any = tensorflow  # type checkers know a part of it
VERSION = tf.__version__


def build(workload: str, mode: str, data: dict[str, Any]) -> Step:
    """A step of a workload."""
    return MAKE[workload](data, mode)


def called(function: Callable[..., Any], mode: str) -> Callable[..., Any]:
    """A function as the mode runs it."""
    if mode == "eager":
        return function
    return tf.function(function, autograph=False, jit_compile=mode == "xla")


def training(loss_of: Loss, data: dict[str, Any], optimizer: Optimizer, mode: str) -> Step:
    """A step of training.

    Args:
        loss_of: Of parameters, input, and target or labels.
        data: Of the workload.
        optimizer: How parameters change.
        mode: One of the modes.
    """
    count, update = optimizer
    params = [tf.Variable(array) for array in data["params"]]
    states = [[tf.Variable(tf.zeros_like(p)) for _ in range(count)] for p in params]
    x, y = (tf.constant(data[key]) for key in ("x", "target" if "target" in data else "labels"))
    steps = tf.Variable(0.0)

    def run() -> Any:
        with tf.GradientTape() as tape:
            loss = loss_of(params, x, y)
        steps.assign_add(1.0)
        for p, slope, own in zip(params, tape.gradient(loss, params), states):
            update(p, tf.convert_to_tensor(slope), own, steps)
        return loss

    return called(run, mode)


def sgd(rate: float) -> Optimizer:
    """Down the slope."""
    return 0, lambda p, slope, own, steps: p.assign_sub(rate * slope)


def momentum(rate: float) -> Optimizer:
    """Down a running sum of slopes."""

    def update(p: Any, slope: Any, own: Any, steps: Any) -> None:
        p.assign_sub(rate * own[0].assign(0.9 * own[0] + slope))

    return 1, update


def adam(rate: float, decay: float = 0.0) -> Optimizer:
    """Adam; AdamW where weights decay."""

    def update(p: Any, slope: Any, own: Any, steps: Any) -> None:
        mean = own[0].assign(0.9 * own[0] + 0.1 * slope)
        square = own[1].assign(0.999 * own[1] + 0.001 * slope * slope)
        widened = tf.sqrt(square / (1 - 0.999**steps)) + 1e-8
        p.assign_sub(rate * decay * p + rate * (mean / (1 - 0.9**steps)) / widened)

    return 2, update


# ----- workloads -----


def by_hand(data: dict[str, Any], mode: str) -> Step:
    """W1."""

    def loss(p: Sequence[Any], x: Any, target: Any) -> Any:
        return tf.reduce_sum((tf.nn.relu(x @ p[0]) @ p[1] - target) ** 2)

    return training(loss, data, sgd(1e-6), mode)


def mlp(data: dict[str, Any], mode: str) -> Step:
    """W2."""

    def loss(p: Sequence[Any], x: Any, target: Any) -> Any:
        return tf.reduce_mean((tf.nn.relu(x @ p[0] + p[1]) @ p[2] + p[3] - target) ** 2)

    return training(loss, data, adam(1e-4), mode)


def two_layers(data: dict[str, Any], mode: str) -> Step:
    """W3."""

    def loss(p: Sequence[Any], x: Any, target: Any) -> Any:
        return tf.reduce_mean(tf.reduce_sum((x @ p[0] @ p[1] - target) ** 2, 1))

    return training(loss, data, sgd(1e-6), mode)


def parallel(data: dict[str, Any], mode: str) -> Step:
    """W4."""

    def block(x: Any, p: Sequence[Any]) -> Any:
        return tf.nn.relu((x @ p[0] + p[1]) + (x @ p[2] + p[3]))

    def loss(p: Sequence[Any], x: Any, target: Any) -> Any:
        return tf.reduce_mean((block(block(x, p[:4]), p[4:]) - target) ** 2)

    return training(loss, data, adam(1e-4), mode)


def chain(x: Any) -> Any:
    """The function of W5."""
    return tf.reduce_sum(tf.tanh(x) * tf.exp(-x * x) + tf.sigmoid(2 * x) * x)


def value(data: dict[str, Any], mode: str) -> Step:
    """W5."""
    x, call = tf.constant(data["x"]), called(chain, mode)
    return lambda: call(x)


def gradient(data: dict[str, Any], mode: str) -> Step:
    """W5 with its gradient."""

    def both(x: Any) -> tuple[Any, Any]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = chain(x)
        return total, tape.gradient(total, x)

    x, call = tf.constant(data["x"]), called(both, mode)
    return lambda: call(x)


def cross_entropy(logits: Any, labels: Any) -> Any:
    """The mean over rows."""
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    return tf.reduce_mean(losses)


def normed(x: Any, weight: Any, bias: Any) -> Any:
    """Layer norm."""
    mean, variance = tf.nn.moments(x, -1, keepdims=True)
    return (x - mean) * tf.math.rsqrt(variance + 1e-5) * weight + bias


def normalised(data: dict[str, Any], mode: str) -> Step:
    """W6."""
    given = [tf.constant(array) for array in (data["x"], *data["params"])]
    labels = tf.constant(data["labels"])

    def both(*given: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(given)
            loss = cross_entropy(normed(*given), labels)
        return (loss, *tape.gradient(loss, given))

    call = called(both, mode)
    return lambda: call(*given)


def lstm(data: dict[str, Any], mode: str) -> Step:
    """W7, by a loop of Python."""

    def loss(p: Sequence[Any], x: Any, target: Any) -> Any:
        w, w_hidden, bias, out, out_bias = p
        h = c = tf.zeros((32, 128))
        for k in range(32):
            i, f, g, o = tf.split(x[k] @ w + h @ w_hidden + bias, 4, 1)
            c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
            h = tf.sigmoid(o) * tf.tanh(c)
        return tf.reduce_mean((h @ out + out_bias - target) ** 2)

    return training(loss, data, sgd(0.1), mode)


def convolved(x: Any, w: Any, bias: Any, padding: str) -> Any:
    """A convolution with channels last, and relu."""
    return tf.nn.relu(tf.nn.conv2d(x, w, 1, padding) + bias)


def pooled(x: Any) -> Any:
    """The largest of 2x2."""
    return tf.nn.max_pool2d(x, 2, 2, "VALID")


def lenet(data: dict[str, Any], mode: str) -> Step:
    """W8."""

    def loss(p: Sequence[Any], x: Any, labels: Any) -> Any:
        h = pooled(convolved(x, p[0], p[1], "VALID"))
        h = tf.reshape(pooled(convolved(h, p[2], p[3], "VALID")), (x.shape[0], -1))
        h = tf.nn.relu(tf.nn.relu(h @ p[4] + p[5]) @ p[6] + p[7])
        return cross_entropy(h @ p[8] + p[9], labels)

    return training(loss, channels_last(data, 4, 4), momentum(0.01), mode)


def logits(p: Sequence[Any], x: Any) -> Any:
    """What VGG16 makes of images."""
    k = 0
    for width in VGG:
        if width:
            x = convolved(x, p[k], p[k + 1], "SAME")
            k += 2
        else:
            x = pooled(x)
    x = tf.nn.relu(tf.reshape(x, (x.shape[0], -1)) @ p[k] + p[k + 1])
    return tf.nn.relu(x @ p[k + 2] + p[k + 3]) @ p[k + 4] + p[k + 5]


def vgg_value(data: dict[str, Any], mode: str) -> Step:
    """W9, forward."""
    given = channels_last(data, -6, 7)
    x, params = tf.constant(given["x"]), [tf.Variable(array) for array in given["params"]]
    call = called(lambda x: tf.reduce_mean(tf.abs(logits(params, x))), mode)
    return lambda: call(x)


def vgg(data: dict[str, Any], mode: str) -> Step:
    """W9, training."""

    def loss(p: Sequence[Any], x: Any, labels: Any) -> Any:
        return cross_entropy(logits(p, x), labels)

    return training(loss, channels_last(data, -6, 7), sgd(1e-4), mode)


def gpt(data: dict[str, Any], mode: str) -> Step:
    """W10."""

    def loss(p: Sequence[Any], tokens: Any, labels: Any) -> Any:
        x = tf.gather(p[0], tokens) + p[1]
        for k in range(2, len(p) - 3, 12):
            x = layer(x, p[k : k + 12])
        scores = tf.tensordot(normed(x, *p[-3:-1]), p[-1], 1)
        return cross_entropy(tf.reshape(scores, (-1, GPT_TOKENS)), tf.reshape(labels, (-1,)))

    return training(loss, data, adam(3e-4, decay=0.01), mode)


def layer(x: Any, p: Sequence[Any]) -> Any:
    """One layer of the decoder."""
    batch, length, width = x.shape
    depth = width // GPT_HEADS

    def heads(a: Any) -> Any:
        return tf.transpose(tf.reshape(a, (batch, length, GPT_HEADS, depth)), (0, 2, 1, 3))

    q, k, v = map(heads, tf.split(tf.tensordot(normed(x, p[0], p[1]), p[2], 1) + p[3], 3, 2))
    seen = tf.linalg.band_part(tf.ones((length, length), tf.bool), -1, 0)
    scores = tf.matmul(q, k, transpose_b=True) * depth**-0.5
    attended = tf.nn.softmax(tf.where(seen, scores, -1e9)) @ v
    joined = tf.reshape(tf.transpose(attended, (0, 2, 1, 3)), x.shape)
    x = x + tf.tensordot(joined, p[4], 1) + p[5]
    h = tf.nn.gelu(tf.tensordot(normed(x, p[6], p[7]), p[8], 1) + p[9], approximate=True)
    return x + tf.tensordot(h, p[10], 1) + p[11]


def trees(data: dict[str, Any], mode: str) -> Step:
    """W14; `tf.function` traces every shape of a tree anew."""
    params = [tf.Variable(array) for array in data["params"]]
    given = [(tree, tf.constant(x), tf.constant(label)) for tree, x, label in data["trees"]]

    def of_tree(tree: Any, x: Any, label: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = cross_entropy(subtree(tree, x, params)[0] @ params[4] + params[5], label)
        for p, slope in zip(params, tape.gradient(loss, params)):
            p.assign_sub(0.01 * slope)
        return loss

    call = called(of_tree, mode)
    return lambda: sum(float(call(*each)) for each in given)


def subtree(tree: Any, x: Any, p: Sequence[Any]) -> tuple[Any, Any]:
    """State and memory of a tree."""
    if isinstance(tree, int):
        i, o, u = tf.split(x[tree] @ p[0] + p[1], 3, 1)
        c = tf.sigmoid(i) * tf.tanh(u)
    else:
        (left, left_c), (right, right_c) = (subtree(part, x, p) for part in tree)
        i, f, g, o, u = tf.split(tf.concat((left, right), 1) @ p[2] + p[3], 5, 1)
        c = tf.sigmoid(i) * tf.tanh(u) + tf.sigmoid(f) * left_c + tf.sigmoid(g) * right_c
    return tf.sigmoid(o) * tf.tanh(c), c


def small(data: dict[str, Any], mode: str) -> Step:
    """W12 on eight numbers."""
    x, call = tf.constant(data["x"]), called(lambda x: x * 2 + 1, mode)
    return lambda: call(x)


def parameters(data: dict[str, Any], mode: str) -> Step:
    """W12 on fifty parameters."""
    params, slopes = ([tf.constant(a) for a in data[key]] for key in ("params", "slopes"))

    def update(params: Any, slopes: Any) -> list[Any]:
        return [p - 0.01 * slope for p, slope in zip(params, slopes)]

    call = called(update, mode)
    return lambda: call(params, slopes)


OPS: dict[str, Callable[..., Any]] = {
    "add": lambda x, y: x + y,
    "exp": lambda x, _: tf.exp(x),
    "matmul": lambda x, y: tf.tensordot(x, y, 1),
    "sum": lambda x, _: tf.reduce_sum(x),
    "reshape": lambda x, _: tf.reshape(x, (4, 2)),
    "index": lambda x, _: x[1:5],
}


def of_op(op: str, *, recorded: bool) -> Callable[..., Step]:
    """W11, one op."""

    def make(data: dict[str, Any], mode: str) -> Step:
        x, y, call = tf.constant(data["x"]), tf.constant(data["y"]), OPS[op]
        if not recorded:
            return lambda: call(x, y)
        tape = tf.GradientTape(persistent=True)
        tape.__enter__()
        x = tf.Variable(x)

        def step() -> Any:
            tape.reset()
            return call(x, y)

        return step

    return make


def chain_of_ops(data: dict[str, Any], mode: str) -> Step:
    """W11, forward and backward."""
    x, y = tf.constant(data["x"]), tf.constant(data["y"])

    def step() -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            z = x
            for _ in range(CHAIN):
                z = (z + y) * y
            total = tf.reduce_sum(z)
        return tape.gradient(total, x)

    return step


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
    "W9-inference": vgg_value,
    "W9-training": vgg,
    "W10": gpt,
    "W12-small": small,
    "W12-parameters": parameters,
    "W14": trees,
    **{f"W11-{op}": of_op(op, recorded=False) for op in OPS},
    **{f"W11-{op}-recorded": of_op(op, recorded=True) for op in OPS},
    "W11-chain": chain_of_ops,
}
MODES = (
    {name: ["eager", "compiled", "xla"] for name in MAKE}
    | {name: ["eager"] for name in MAKE if name.startswith("W11")}
    | {"W14": ["eager", "compiled"]}  # XLA takes minutes for each tree
)
