"""The workloads of `bench gpu` in PyTorch and JAX, each in a process of its own; a line a row."""

# The peers are there, or not.
# pyright: reportMissingImports=false
from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from dualflow.bench.gpu import timed

Step = Callable[[], Any]


def tell(name: str, who: str, make: Callable[[], Step], wait: Callable[[], Any]) -> None:
    """Prints a row."""
    row: dict[str, Any] = {"workload": name, "who": who}
    try:
        sync, pipe = timed(make(), wait)
        row |= {"sync_ms": 1e3 * sync, "pipe_ms": 1e3 * pipe}
    except Exception as error:
        row["error"] = f"{type(error).__name__}: {error}"[:300]
    print(json.dumps(row), flush=True)


# ----- PyTorch -----


def torch_rows() -> None:
    """Eager, and a step captured as a graph by hand: the strongest that there is."""
    import torch

    wait = torch.cuda.synchronize
    for name, build, shape in (
        ("MLP 64x1000-100-10, Adam", torch_mlp, (1000,)),
        ("LeNet, batch 64, Adam", torch_lenet, (1, 28, 28)),
    ):
        tell(name, "torch eager", lambda b=build, s=shape: torch_training(b, s, "eager"), wait)
        tell(name, "torch graph", lambda b=build, s=shape: torch_training(b, s, "graph"), wait)
    tell("elementwise 64M, gradient", "torch eager", torch_elementwise, wait)
    tell("layer norm, loss 4096x1024", "torch eager", torch_normalised, wait)


def torch_mlp() -> Any:
    """A net of two layers."""
    from torch import nn

    return nn.Sequential(nn.Linear(1000, 100), nn.ReLU(), nn.Linear(100, 10))


def torch_lenet() -> Any:
    """LeNet-5 with modern parts."""
    from torch import nn

    features = [nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5)]
    features += [nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    head = [nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)]
    return nn.Sequential(*features, *head)


def torch_training(build: Callable[[], Any], shape: tuple[int, ...], mode: str) -> Step:
    """A step of training with mean squared errors."""
    import torch

    model = build().cuda()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, capturable=mode == "graph", fused=True)
    x, y = torch.randn(64, *shape, device="cuda"), torch.randn(64, 10, device="cuda")

    def step() -> None:
        optimizer.zero_grad()
        ((model(x) - y) ** 2).mean().backward()
        optimizer.step()

    if mode == "eager":
        return step
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(4):
            step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def torch_elementwise() -> Step:
    """A chain of elementwise ops, and its gradient."""
    import torch

    x = torch.linspace(-1.0, 1.0, 1 << 26, device="cuda", requires_grad=True)
    return lambda: torch.autograd.grad((torch.tanh(x * 1.5 + 0.5) * torch.exp(-(x * x))).sum(), [x])


def torch_normalised() -> Step:
    """Layer norm and cross-entropy, and their gradients."""
    import torch
    from torch.nn import functional

    x = torch.randn(4096, 1024, device="cuda", requires_grad=True)
    g = torch.ones(1024, device="cuda", requires_grad=True)
    b = torch.zeros(1024, device="cuda", requires_grad=True)
    y = torch.arange(4096, device="cuda") * 7 % 1024

    def step() -> Any:
        loss = functional.cross_entropy(functional.layer_norm(x, (1024,), g, b), y)
        return torch.autograd.grad(loss, [x, g, b])

    return step


# ----- JAX -----


def jax_rows() -> None:
    """Compiled by `jax.jit`."""
    import jax

    jax.config.update("jax_default_matmul_precision", "highest")
    last: list[Any] = []

    def kept(step: Step) -> Step:
        def run() -> None:
            last[:] = [step()]

        return run

    def wait() -> None:
        jax.block_until_ready(last)

    tell("MLP 64x1000-100-10, Adam", "jax.jit", lambda: kept(jax_mlp()), wait)
    tell("elementwise 64M, gradient", "jax.jit", lambda: kept(jax_elementwise()), wait)
    tell("layer norm, loss 4096x1024", "jax.jit", lambda: kept(jax_normalised()), wait)


def jax_mlp() -> Step:
    """A step of training with mean squared errors."""
    import jax
    from jax import numpy as jnp

    keys = jax.random.split(jax.random.key(0), 4)
    x, y = jax.random.normal(keys[0], (64, 1000)), jax.random.normal(keys[1], (64, 10))
    w = jax.random.normal(keys[2], (1000, 100)) / 32, jax.random.normal(keys[3], (100, 10)) / 10
    p = [w[0], jnp.zeros(100), w[1], jnp.zeros(10)]
    state = [p, [jnp.zeros_like(a) for a in p], [jnp.zeros_like(a) for a in p], jnp.zeros(())]

    def loss(p: Any, x: Any, y: Any) -> Any:
        hidden = jnp.maximum(x @ p[0] + p[1], 0)
        return ((hidden @ p[2] + p[3] - y) ** 2).mean()

    def step(state: Any, x: Any, y: Any) -> Any:
        p, m, v, t = state
        g, t = jax.grad(loss)(p, x, y), t + 1
        m = [0.9 * a + 0.1 * b for a, b in zip(m, g)]
        v = [0.999 * a + 0.001 * b * b for a, b in zip(v, g)]
        rate = 1e-3 * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        return [
            [a - rate * b / (jnp.sqrt(c) + 1e-8) for a, b, c in zip(p, m, v)],
            m,
            v,
            t,
        ]

    compiled = jax.jit(step, donate_argnums=0)

    def run() -> Any:
        nonlocal state
        state = compiled(state, x, y)
        return state

    return run


def jax_elementwise() -> Step:
    """A chain of elementwise ops, and its gradient."""
    import jax
    from jax import numpy as jnp

    x = jnp.linspace(-1.0, 1.0, 1 << 26)
    slope = jax.jit(jax.grad(lambda x: (jnp.tanh(x * 1.5 + 0.5) * jnp.exp(-(x * x))).sum()))
    return lambda: slope(x)


def jax_normalised() -> Step:
    """Layer norm and cross-entropy, and their gradients."""
    import jax
    from jax import numpy as jnp

    x = jax.random.normal(jax.random.key(0), (4096, 1024))
    y = jnp.arange(4096) * 7 % 1024

    def loss(x: Any, g: Any, b: Any) -> Any:
        centred = x - x.mean(-1, keepdims=True)
        z = centred / jnp.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * g + b
        return -jax.nn.log_softmax(z)[jnp.arange(4096), y].mean()

    both = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2)))
    return lambda: both(x, jnp.ones(1024), jnp.zeros(1024))


if __name__ == "__main__":
    {"torch": torch_rows, "jax": jax_rows}[sys.argv[1]]()
