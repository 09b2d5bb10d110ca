"""The workloads in dualflow: the same Python as it is, and under `@df.function`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import dualflow as df
from dualflow.bench.machine import version

from .workloads import CHAIN, GPT_HEADS, GPT_TOKENS, VGG

F = df.nn.functional
Params = Sequence[df.Variable]
Step = Callable[[], Any]
VERSION = version("dualflow")
BOTH = ["eager", "compiled"]


def build(workload: str, mode: str, data: dict[str, Any]) -> Step:
    """A step of a workload."""
    return MAKE[workload](data, mode)


def called(function: Callable[..., Any], mode: str, *arguments: Any) -> Step:
    """A call of a function in a mode."""
    compiled: Any = df.function(strict=True, fast=mode == "fast")
    call = function if mode == "eager" else compiled(function)
    return lambda: call(*arguments)


def training(
    loss_of: Callable[..., df.Tensor], data: dict[str, Any], optimizer: Any, mode: str
) -> Step:
    """A step of training.

    Args:
        loss_of: Of parameters, input, and target or labels.
        data: Of the workload.
        optimizer: Makes an optimiser of parameters.
        mode: Of the whole step.
    """
    params = [df.Variable(array) for array in data["params"]]
    update = optimizer(params)

    def step(x: df.Tensor, y: df.Tensor) -> df.Tensor:
        with df.GradientTape() as tape:
            loss = loss_of(params, x, y)
        update.apply_gradients(zip(tape.gradient(loss, params), params))
        return loss

    target = data["target"] if "target" in data else data["labels"]
    return called(step, mode, df.asarray(data["x"]), df.asarray(target))


def adam(params: Params) -> Any:
    """As in W2 and W4."""
    return df.optim.Adam(params, lr=1e-4)


def by_hand(data: dict[str, Any], mode: str) -> Step:
    """W1, which has no optimiser."""
    a, b = (df.Variable(array) for array in data["params"])

    def step(x: df.Tensor, target: df.Tensor) -> df.Tensor:
        with df.GradientTape() as tape:
            loss = ((F.relu(x @ a) @ b - target) ** 2).sum()
        for w, slope in zip((a, b), tape.gradient(loss, (a, b))):
            w.assign_sub(1e-6 * slope)
        return loss

    return called(step, mode, df.asarray(data["x"]), df.asarray(data["target"]))


def mlp(data: dict[str, Any], mode: str) -> Step:
    """W2."""

    def loss(p: Params, x: df.Tensor, target: df.Tensor) -> df.Tensor:
        return ((F.relu(x @ p[0] + p[1]) @ p[2] + p[3] - target) ** 2).mean()

    return training(loss, data, adam, mode)


def two_layers(data: dict[str, Any], mode: str) -> Step:
    """W3."""

    def loss(p: Params, x: df.Tensor, target: df.Tensor) -> df.Tensor:
        return ((x @ p[0] @ p[1] - target) ** 2).sum(axis=1).mean()

    return training(loss, data, lambda params: df.optim.SGD(params, lr=1e-6), mode)


def parallel(data: dict[str, Any], mode: str) -> Step:
    """W4."""

    def block(x: df.Tensor, p: Params) -> df.Tensor:
        return F.relu((x @ p[0] + p[1]) + (x @ p[2] + p[3]))

    def loss(p: Params, x: df.Tensor, target: df.Tensor) -> df.Tensor:
        return ((block(block(x, p[:4]), p[4:]) - target) ** 2).mean()

    return training(loss, data, adam, mode)


def chain(x: df.Tensor) -> df.Tensor:
    """The function of W5."""
    return (df.tanh(x) * df.exp(-x * x) + F.sigmoid(2 * x) * x).sum()


def value(data: dict[str, Any], mode: str) -> Step:
    """W5."""
    return called(chain, mode, df.asarray(data["x"]))


def gradient(data: dict[str, Any], mode: str) -> Step:
    """W5 with its gradient."""
    return called(df.value_and_grad(chain), mode, df.asarray(data["x"]))


def lenet(data: dict[str, Any], mode: str) -> Step:
    """W8."""

    def loss(p: Params, x: df.Tensor, labels: df.Tensor) -> df.Tensor:
        h = F.max_pool2d(F.relu(F.conv2d(x, p[0], p[1])), 2)
        h = F.max_pool2d(F.relu(F.conv2d(h, p[2], p[3])), 2).reshape((len(x), 256))
        h = F.relu(F.relu(h @ p[4] + p[5]) @ p[6] + p[7])
        return F.cross_entropy(h @ p[8] + p[9], labels)

    return training(loss, data, lambda params: df.optim.SGD(params, lr=0.01, momentum=0.9), mode)


def normalised(data: dict[str, Any], mode: str) -> Step:
    """W6."""
    params = [df.Variable(array) for array in data["params"]]

    def step(x: df.Tensor, labels: df.Tensor) -> Any:
        with df.GradientTape() as tape:
            tape.watch(x)
            loss = F.cross_entropy(F.layer_norm(x, (1024,), *params), labels)
        return (loss, *tape.gradient(loss, [x, *params]))

    return called(step, mode, df.asarray(data["x"]), df.asarray(data["labels"]))


def lstm(data: dict[str, Any], mode: str) -> Step:
    """W7: the cell written by hand, and a loop of Python."""

    def loss(p: Params, x: df.Tensor, target: df.Tensor) -> df.Tensor:
        w, w_hidden, bias, out, out_bias = p
        h = c = df.zeros((32, 128))
        for k in range(32):
            gates = x[k] @ w + h @ w_hidden + bias
            i, f, g, o = (gates[:, at : at + 128] for at in range(0, 512, 128))
            c = F.sigmoid(f) * c + F.sigmoid(i) * df.tanh(g)
            h = F.sigmoid(o) * df.tanh(c)
        return ((h @ out + out_bias - target) ** 2).mean()

    return training(loss, data, lambda params: df.optim.SGD(params, lr=0.1), mode)


def gpt(data: dict[str, Any], mode: str) -> Step:
    """W10."""

    def loss(p: Params, tokens: df.Tensor, labels: df.Tensor) -> df.Tensor:
        x = df.take(p[0], tokens, axis=0) + p[1]
        for k in range(2, len(p) - 3, 12):
            x = layer(x, p[k : k + 12])
        logits = F.layer_norm(x, x.shape[-1:], *p[-3:-1]) @ p[-1]
        return F.cross_entropy(logits.reshape((-1, GPT_TOKENS)), labels.reshape((-1,)))

    return training(loss, data, lambda p: df.optim.AdamW(p, lr=3e-4, weight_decay=0.01), mode)


def layer(x: df.Tensor, p: Params) -> df.Tensor:
    """One layer of the decoder."""
    batch, length, width = x.shape
    heads = (batch, length, 3, GPT_HEADS, width // GPT_HEADS)
    qkv = (F.layer_norm(x, (width,), p[0], p[1]) @ p[2] + p[3]).reshape(heads)
    q, k, v = df.permute_dims(qkv, (2, 0, 3, 1, 4))
    attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    x = x + (df.permute_dims(attended, (0, 2, 1, 3)).reshape(x.shape) @ p[4] + p[5])
    h = F.gelu(F.layer_norm(x, (width,), p[6], p[7]) @ p[8] + p[9], approximate="tanh")
    return x + (h @ p[10] + p[11])


def logits(p: Params, x: df.Tensor) -> df.Tensor:
    """What VGG16 makes of images."""
    k = 0
    for width in VGG:
        if width:
            x = F.relu(F.conv2d(x, p[k], p[k + 1], padding=1))
            k += 2
        else:
            x = F.max_pool2d(x, 2)
    x = F.relu(x.reshape((len(x), -1)) @ p[k] + p[k + 1])
    return F.relu(x @ p[k + 2] + p[k + 3]) @ p[k + 4] + p[k + 5]


def vgg_value(data: dict[str, Any], mode: str) -> Step:
    """W9, forward: nobody asks for gradients."""
    params = [df.Variable(array, trainable=False) for array in data["params"]]
    return called(lambda x: df.abs(logits(params, x)).mean(), mode, df.asarray(data["x"]))


def vgg(data: dict[str, Any], mode: str) -> Step:
    """W9, training."""

    def loss(p: Params, x: df.Tensor, labels: df.Tensor) -> df.Tensor:
        return F.cross_entropy(logits(p, x), labels)

    return training(loss, data, lambda params: df.optim.SGD(params, lr=1e-4), mode)


def trees(data: dict[str, Any], mode: str) -> Step:
    """W14: recursion of Python, one call for each tree."""
    params = [df.Variable(array) for array in data["params"]]
    optimizer = df.optim.SGD(params, lr=0.01)
    given = [(tree, df.asarray(x), df.asarray(label)) for tree, x, label in data["trees"]]

    function: Any = df.function(strict=True) if mode == "compiled" else lambda python: python
    cells = function(of_leaf), function(of_node)

    def of_tree(tree: Any, x: df.Tensor, label: df.Tensor) -> df.Tensor:
        with df.GradientTape() as tape:
            h, _ = subtree(tree, x, params, cells)
            loss = F.cross_entropy(h @ params[4] + params[5], label)
        optimizer.apply_gradients(zip(tape.gradient(loss, params), params))
        return loss

    decorate: Any = df.function(strict=True, max_traces=len(given) + 1)
    call = decorate(of_tree) if mode == "compiled" else of_tree
    return lambda: sum(float(call(*each)) for each in given)


def subtree(tree: Any, x: df.Tensor, p: Params, cells: Any) -> tuple[df.Tensor, df.Tensor]:
    """State and memory of a tree."""
    leaf, node = cells
    if isinstance(tree, int):
        return leaf(x[tree], p[0], p[1])
    left, right = (subtree(part, x, p, cells) for part in tree)
    return node(*left, *right, p[2], p[3])


def of_leaf(x: df.Tensor, w: df.Variable, b: df.Variable) -> tuple[df.Tensor, df.Tensor]:
    """The same of a leaf's vector."""
    i, o, u = df.split(x @ w + b, 3, axis=1)
    c = F.sigmoid(i) * df.tanh(u)
    return F.sigmoid(o) * df.tanh(c), c


def of_node(
    left: df.Tensor,
    left_c: df.Tensor,
    right: df.Tensor,
    right_c: df.Tensor,
    w: df.Variable,
    b: df.Variable,
) -> tuple[df.Tensor, df.Tensor]:
    """The same of those of two trees."""
    i, f, g, o, u = df.split(df.concat([left, right], axis=1) @ w + b, 5, axis=1)
    c = F.sigmoid(i) * df.tanh(u) + F.sigmoid(f) * left_c + F.sigmoid(g) * right_c
    return F.sigmoid(o) * df.tanh(c), c


def small(data: dict[str, Any], mode: str) -> Step:
    """W12 on eight numbers."""
    return called(lambda x: x * 2 + 1, mode, df.asarray(data["x"]))


def parameters(data: dict[str, Any], mode: str) -> Step:
    """W12 on fifty parameters."""
    params, slopes = ([df.asarray(a) for a in data[key]] for key in ("params", "slopes"))

    def update(params: Any, slopes: Any) -> Any:
        return [p - 0.01 * slope for p, slope in zip(params, slopes)]

    return called(update, mode, params, slopes)


OPS: dict[str, Callable[..., Any]] = {
    "add": lambda x, y: x + y,
    "exp": lambda x, _: df.exp(x),
    "matmul": lambda x, y: x @ y,
    "sum": lambda x, _: x.sum(),
    "reshape": lambda x, _: x.reshape((4, 2)),
    "index": lambda x, _: x[1:5],
}


def of_op(op: str, first: Callable[..., Any]) -> Callable[..., Step]:
    """W11, one op; what is done to a Variable is recorded."""

    def make(data: dict[str, Any], mode: str) -> Step:
        x, y, call = first(data["x"]), df.asarray(data["y"]), OPS[op]
        return lambda: call(x, y)

    return make


def chain_of_ops(data: dict[str, Any], mode: str) -> Step:
    """W11, forward and backward."""
    x, y = df.asarray(data["x"]), df.asarray(data["y"])

    def step() -> Any:
        with df.GradientTape() as tape:
            tape.watch(x)
            z = x
            for _ in range(CHAIN):
                z = (z + y) * y
            total = z.sum()
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
    "W10": gpt,
    "W12-small": small,
    "W9-inference": vgg_value,
    "W9-training": vgg,
    "W12-parameters": parameters,
    "W14": trees,
    **{f"W11-{op}": of_op(op, df.asarray) for op in OPS},
    **{f"W11-{op}-recorded": of_op(op, df.Variable) for op in OPS},
    "W11-chain": chain_of_ops,
}
MODES = {name: ["eager"] if name.startswith("W11") else BOTH for name in MAKE}
MODES.update({name: [*BOTH, "fast"] for name in MAKE if name.startswith("W9")})  # in tiles
