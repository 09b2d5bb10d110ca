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


MAKE: dict[str, Callable[[dict[str, Any], str], Step]] = {
    "W1": by_hand,
    "W2": mlp,
    "W3": two_layers,
    "W4": parallel,
    "W5-value-1M": value,
    "W5-gradient-1M": gradient,
    "W5-value-16M": value,
    "W5-gradient-16M": gradient,
    "W8": lenet,
}
MORE = {"W1": ["whole"], "W2": ["fused", "whole"], "W8": ["whole"]}
MODES = {name: ["eager", "compiled", *MORE.get(name, ())] for name in MAKE}
