"""The workloads in PyTorch.

`compiled` is the usual way: `torch.compile` of the loss and of the optimiser's step, and
`backward()` between them. `whole` is the whole step in one `torch.compile`, by `torch.func`.
"""

# The framework is there, or not.
# pyright: reportMissingImports=false
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812

from .workloads import CHAIN, GPT_HEADS, GPT_TOKENS, VGG

Loss = Callable[[Sequence[Any]], Any]
Step = Callable[[], Any]
VERSION = torch.__version__


def build(workload: str, mode: str, data: dict[str, Any]) -> Step:
    """A step of a workload."""
    return MAKE[workload](data, mode)


def tensor(array: Any, *, grad: bool = False) -> Any:
    """A tensor of its own."""
    return torch.from_numpy(array).clone().requires_grad_(grad)


def compiled(function: Any, mode: str) -> Any:
    """A function as the mode runs it."""
    return torch.compile(function) if mode == "compiled" else function


def training(loss_of: Loss, params: Sequence[Any], optimizer: Any, mode: str) -> Step:
    """A step with one of PyTorch's optimisers."""
    forward, update = compiled(loss_of, mode), compiled(optimizer.step, mode)

    def step() -> Any:
        loss = forward(params)
        loss.backward()
        update()
        optimizer.zero_grad()
        return loss.detach()

    return step


def whole(loss_of: Loss, data: dict[str, Any], update: Any, states: int) -> Step:
    """All of a step in one compiled function.

    Args:
        loss_of: Of parameters.
        data: Of the workload.
        update: Changes a parameter and its states by a gradient, in place, at the step that it is.
        states: How many each parameter has.
    """
    params = [tensor(array) for array in data["params"]]
    state = [[torch.zeros_like(p) for _ in range(states)] for p in params]
    slopes_and_loss = torch.func.grad_and_value(loss_of)
    steps = torch.zeros(())

    @torch.compile
    def run(params: Any, state: Any, steps: Any) -> Any:
        slopes, loss = slopes_and_loss(params)
        for p, slope, own in zip(params, slopes, state):
            update(p, slope, own, steps)
        return loss

    def step() -> Any:
        with torch.no_grad():
            steps.add_(1)
            return run(params, state, steps)

    return step


def adam(p: Any, slope: Any, state: Any, steps: Any) -> None:
    """Adam for `whole`."""
    mean, square = state
    mean.mul_(0.9).add_(slope, alpha=0.1)
    square.mul_(0.999).addcmul_(slope, slope, value=0.001)
    widened = (square / (1 - 0.999**steps)).sqrt() + 1e-8
    p.sub_(1e-4 * (mean / (1 - 0.9**steps)) / widened)


def momentum(p: Any, slope: Any, state: Any, steps: Any) -> None:
    """SGD with momentum for `whole`."""
    state[0].mul_(0.9).add_(slope)
    p.sub_(0.01 * state[0])


# ----- workloads -----


def by_hand(data: dict[str, Any], mode: str) -> Step:
    """W1."""
    x, target = tensor(data["x"]), tensor(data["target"])

    def loss_of(p: Sequence[Any]) -> Any:
        return ((torch.relu(x @ p[0]) @ p[1] - target) ** 2).sum()

    if mode == "whole":
        return whole(loss_of, data, lambda p, slope, *_: p.sub_(1e-6 * slope), 0)
    params = [tensor(array, grad=True) for array in data["params"]]
    forward = compiled(loss_of, mode)

    def step() -> Any:
        loss = forward(params)
        loss.backward()
        with torch.no_grad():
            for p in params:
                p -= 1e-6 * p.grad
                p.grad = None
        return loss.detach()

    return step


def mlp(data: dict[str, Any], mode: str) -> Step:
    """W2."""
    x, target = tensor(data["x"]), tensor(data["target"])

    def loss_of(p: Sequence[Any]) -> Any:
        return F.mse_loss(torch.relu(x @ p[0] + p[1]) @ p[2] + p[3], target)

    if mode == "whole":
        return whole(loss_of, data, adam, 2)
    params = [tensor(array, grad=True) for array in data["params"]]
    optimizer = torch.optim.Adam(params, lr=1e-4, fused=mode == "fused")
    return training(loss_of, params, optimizer, mode)


def two_layers(data: dict[str, Any], mode: str) -> Step:
    """W3."""
    x, target = tensor(data["x"]), tensor(data["target"])
    params = [tensor(array, grad=True) for array in data["params"]]

    def loss_of(p: Sequence[Any]) -> Any:
        return ((x @ p[0] @ p[1] - target) ** 2).sum(1).mean()

    return training(loss_of, params, torch.optim.SGD(params, lr=1e-6), mode)


def parallel(data: dict[str, Any], mode: str) -> Step:
    """W4."""
    x, target = tensor(data["x"]), tensor(data["target"])
    params = [tensor(array, grad=True) for array in data["params"]]

    def block(x: Any, p: Sequence[Any]) -> Any:
        return torch.relu((x @ p[0] + p[1]) + (x @ p[2] + p[3]))

    def loss_of(p: Sequence[Any]) -> Any:
        return F.mse_loss(block(block(x, p[:4]), p[4:]), target)

    return training(loss_of, params, torch.optim.Adam(params, lr=1e-4), mode)


def chain(x: Any) -> Any:
    """The function of W5."""
    return (torch.tanh(x) * torch.exp(-x * x) + torch.sigmoid(2 * x) * x).sum()


def value(data: dict[str, Any], mode: str) -> Step:
    """W5."""
    x, call = tensor(data["x"]), compiled(chain, mode)

    def step() -> Any:
        with torch.no_grad():
            return call(x)

    return step


def gradient(data: dict[str, Any], mode: str) -> Step:
    """W5 with its gradient."""
    x, call = tensor(data["x"], grad=True), compiled(chain, mode)

    def step() -> Any:
        x.grad = None
        y = call(x)
        y.backward()
        return y.detach(), x.grad

    return step


def lenet(data: dict[str, Any], mode: str) -> Step:
    """W8."""
    x, labels = tensor(data["x"]), tensor(data["labels"])

    def loss_of(p: Sequence[Any]) -> Any:
        h = F.max_pool2d(torch.relu(F.conv2d(x, p[0], p[1])), 2)
        h = F.max_pool2d(torch.relu(F.conv2d(h, p[2], p[3])), 2).flatten(1)
        h = torch.relu(torch.relu(h @ p[4] + p[5]) @ p[6] + p[7])
        return F.cross_entropy(h @ p[8] + p[9], labels)

    if mode == "whole":
        return whole(loss_of, data, momentum, 1)
    params = [tensor(array, grad=True) for array in data["params"]]
    return training(loss_of, params, torch.optim.SGD(params, lr=0.01, momentum=0.9), mode)


def normalised(data: dict[str, Any], mode: str) -> Step:
    """W6."""
    leaves = [tensor(array, grad=True) for array in (data["x"], *data["params"])]
    labels = tensor(data["labels"])

    def loss_of(x: Any, weight: Any, bias: Any) -> Any:
        return F.cross_entropy(F.layer_norm(x, (1024,), weight, bias, 1e-5), labels)

    call = compiled(loss_of, mode)

    def step() -> Any:
        for leaf in leaves:
            leaf.grad = None
        loss = call(*leaves)
        loss.backward()
        return (loss.detach(), *(leaf.grad for leaf in leaves))

    return step


def lstm(data: dict[str, Any], mode: str) -> Step:
    """W7: the cell written by hand; in the mode "nn.LSTM" the library's own."""
    x, target = tensor(data["x"]), tensor(data["target"])
    params = [tensor(array, grad=True) for array in data["params"]]
    if mode == "nn.LSTM":
        return library_lstm(x, target, params)

    def loss_of(p: Sequence[Any]) -> Any:
        w, w_hidden, bias, out, out_bias = p
        h = c = torch.zeros(32, 128)
        for k in range(32):
            i, f, g, o = (x[k] @ w + h @ w_hidden + bias).chunk(4, 1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
        return F.mse_loss(h @ out + out_bias, target)

    return training(loss_of, params, torch.optim.SGD(params, lr=0.1), mode)


def library_lstm(x: Any, target: Any, params: Sequence[Any]) -> Step:
    """W7 by `torch.nn.LSTM`, one of whose two biases is zero and stays so."""
    module = torch.nn.LSTM(64, 128)
    with torch.no_grad():
        module.weight_ih_l0.copy_(params[0].T)
        module.weight_hh_l0.copy_(params[1].T)
        module.bias_ih_l0.copy_(params[2])
        module.bias_hh_l0.zero_()
    module.bias_hh_l0.requires_grad = False
    trained = [*(p for p in module.parameters() if p.requires_grad), *params[3:]]

    def loss_of(p: Sequence[Any]) -> Any:
        return F.mse_loss(module(x)[1][0][0] @ p[3] + p[4], target)

    return training(loss_of, trained, torch.optim.SGD(trained, lr=0.1), "eager")


def gpt(data: dict[str, Any], mode: str) -> Step:
    """W10."""
    tokens, labels = tensor(data["x"]), tensor(data["labels"]).view(-1)
    params = [tensor(array, grad=True) for array in data["params"]]

    def loss_of(p: Sequence[Any]) -> Any:
        x = p[0][tokens] + p[1]
        for k in range(2, len(p) - 3, 12):
            x = layer(x, p[k : k + 12])
        logits = F.layer_norm(x, x.shape[-1:], *p[-3:-1]) @ p[-1]
        return F.cross_entropy(logits.view(-1, GPT_TOKENS), labels)

    fused = mode == "fused"
    optimizer = torch.optim.AdamW(params, lr=3e-4, weight_decay=0.01, fused=fused)
    return training(loss_of, params, optimizer, mode)


def layer(x: Any, p: Sequence[Any]) -> Any:
    """One layer of the decoder."""
    batch, length, width = x.shape
    heads = (batch, length, GPT_HEADS, width // GPT_HEADS)
    qkv = (F.layer_norm(x, (width,), p[0], p[1]) @ p[2] + p[3]).split(width, 2)
    q, k, v = (part.view(heads).transpose(1, 2) for part in qkv)
    attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    x = x + (attended.transpose(1, 2).reshape(x.shape) @ p[4] + p[5])
    h = F.gelu(F.layer_norm(x, (width,), p[6], p[7]) @ p[8] + p[9], approximate="tanh")
    return x + (h @ p[10] + p[11])


def logits(p: Sequence[Any], x: Any) -> Any:
    """What VGG16 makes of images."""
    k = 0
    for width in VGG:
        if width:
            x = torch.relu(F.conv2d(x, p[k], p[k + 1], padding=1))
            k += 2
        else:
            x = F.max_pool2d(x, 2)
    x = torch.relu(x.flatten(1) @ p[k] + p[k + 1])
    return torch.relu(x @ p[k + 2] + p[k + 3]) @ p[k + 4] + p[k + 5]


def vgg_value(data: dict[str, Any], mode: str) -> Step:
    """W9, forward."""
    x, params = tensor(data["x"]), [tensor(array) for array in data["params"]]
    call = compiled(lambda p, x: logits(p, x).abs().mean(), mode)

    def step() -> Any:
        with torch.no_grad():
            return call(params, x)

    return step


def vgg(data: dict[str, Any], mode: str) -> Step:
    """W9, training."""
    x, labels = tensor(data["x"]), tensor(data["labels"])
    params = [tensor(array, grad=True) for array in data["params"]]

    def loss_of(p: Sequence[Any]) -> Any:
        return F.cross_entropy(logits(p, x), labels)

    return training(loss_of, params, torch.optim.SGD(params, lr=1e-4), mode)


def trees(data: dict[str, Any], mode: str) -> Step:
    """W14: recursion of Python."""
    params = [tensor(array, grad=True) for array in data["params"]]
    given = [(tree, tensor(x), tensor(label)) for tree, x, label in data["trees"]]
    optimizer = torch.optim.SGD(params, lr=0.01)

    def step() -> float:
        total = 0.0
        for tree, x, label in given:
            h, _ = subtree(tree, x, params)
            loss = F.cross_entropy(h @ params[4] + params[5], label)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            total += loss.item()
        return total

    return step


def subtree(tree: Any, x: Any, p: Sequence[Any]) -> tuple[Any, Any]:
    """State and memory of a tree."""
    if isinstance(tree, int):
        i, o, u = (x[tree] @ p[0] + p[1]).chunk(3, 1)
        c = torch.sigmoid(i) * torch.tanh(u)
    else:
        (left, left_c), (right, right_c) = (subtree(part, x, p) for part in tree)
        i, f, g, o, u = (torch.cat((left, right), 1) @ p[2] + p[3]).chunk(5, 1)
        c = torch.sigmoid(i) * torch.tanh(u)
        c = c + torch.sigmoid(f) * left_c + torch.sigmoid(g) * right_c
    return torch.sigmoid(o) * torch.tanh(c), c


def small(data: dict[str, Any], mode: str) -> Step:
    """W12 on eight numbers."""
    x, call = tensor(data["x"]), compiled(lambda x: x * 2 + 1, mode)
    return lambda: call(x)


def parameters(data: dict[str, Any], mode: str) -> Step:
    """W12 on fifty parameters."""
    params, slopes = ([tensor(a) for a in data[key]] for key in ("params", "slopes"))

    def update(params: Any, slopes: Any) -> Any:
        return [p - 0.01 * slope for p, slope in zip(params, slopes)]

    call = compiled(update, mode)
    return lambda: call(params, slopes)


OPS: dict[str, Callable[..., Any]] = {
    "add": lambda x, y: x + y,
    "exp": lambda x, _: torch.exp(x),
    "matmul": lambda x, y: x @ y,
    "sum": lambda x, _: x.sum(),
    "reshape": lambda x, _: x.reshape((4, 2)),
    "index": lambda x, _: x[1:5],
}


def of_op(op: str, *, grad: bool) -> Callable[..., Step]:
    """W11, one op."""

    def make(data: dict[str, Any], mode: str) -> Step:
        x, y, call = tensor(data["x"], grad=grad), tensor(data["y"]), OPS[op]
        return lambda: call(x, y)

    return make


def chain_of_ops(data: dict[str, Any], mode: str) -> Step:
    """W11, forward and backward."""
    x, y = tensor(data["x"], grad=True), tensor(data["y"])

    def step() -> Any:
        x.grad = None
        z = x
        for _ in range(CHAIN):
            z = (z + y) * y
        z.sum().backward()
        return x.grad

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
    **{f"W11-{op}": of_op(op, grad=False) for op in OPS},
    **{f"W11-{op}-recorded": of_op(op, grad=True) for op in OPS},
    "W11-chain": chain_of_ops,
}
MORE = {
    "W1": ["whole"],
    "W2": ["fused", "whole"],
    "W7": ["nn.LSTM"],
    "W8": ["whole"],
    "W10": ["fused"],
}
NOT_COMPILED = ("W9-training", "W11", "W14")  # of trees it takes hours
MODES = {
    name: ["eager", *["compiled"] * (not name.startswith(NOT_COMPILED)), *MORE.get(name, ())]
    for name in MAKE
}
