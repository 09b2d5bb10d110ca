"""The workloads of `bench gpu` in PyTorch: as users write them, compiled, and captured by hand."""

# PyTorch is there, or not.
# pyright: reportMissingImports=false
from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from dualflow.bench.gpu_contest import Made
from dualflow.bench.gpu_data import VGG, Work, batch, parameters, sizes_of

Step = Callable[[], Any]


def made(work: Work, who: str, *, quick: bool) -> Made:
    """A step of a workload; `who` ends in eager, compile or graph."""
    torch.backends.cuda.matmul.allow_tf32 = work.precision == "tf32"
    torch.backends.cudnn.allow_tf32 = work.precision == "tf32"
    torch.backends.cudnn.benchmark = True
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    mode = who.split()[-1]
    kinds = {"norm": normalised, "value": elementwise, "slope": elementwise}
    step = kinds.get(work.kind, training)(work, mode, quick=quick)

    def memory() -> int:
        return torch.cuda.max_memory_allocated() - before

    return Made(captured(step) if mode == "graph" else step, torch.cuda.synchronize, memory)


def captured(step: Step) -> Step:
    """A step that replays a graph; its first calls run, as its losses are those of first steps."""
    state: dict[str, Any] = {"calls": 0}

    def run() -> Any:
        state["calls"] += 1
        if state["calls"] <= 3:
            return step()
        if "graph" not in state:
            state["graph"] = capture(step, state)
        state["graph"].replay()
        return state["result"]

    return run


def capture(step: Step, state: dict[str, Any]) -> Any:
    """The graph of a step."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        state["result"] = step()
    return graph


def compiled(function: Any, mode: str) -> Any:
    """A function as a mode has it; `graph` captures what `compile` gives where it was asked for."""
    return torch.compile(function) if mode == "compile" else function


# ----- training -----


def training(work: Work, mode: str, *, quick: bool) -> Step:
    """A step with its update."""
    last = torch.channels_last if work.kind == "vgg" else torch.contiguous_format
    net = net_of(work, quick=quick)
    fill(net, work, quick=quick)
    net = net.cuda().to(memory_format=last)
    x, y = (torch.from_numpy(a).cuda() for a in batch(work, quick=quick))
    if work.kind == "vgg":
        x = x.contiguous(memory_format=last)
    optimizer = optimizer_of(work, net, mode)
    loss_of = compiled(net, mode)

    def cast() -> Any:
        low = work.precision == "bfloat16"
        return torch.autocast("cuda", torch.bfloat16) if low else nullcontext()

    def step() -> Any:
        optimizer.zero_grad(set_to_none=True)
        with cast():
            loss = loss_of(x, y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def fill(net: Any, work: Work, *, quick: bool) -> None:
    """Gives parameters their first values."""
    values = parameters(work, quick=quick)
    tables = {m.weight for m in net.modules() if isinstance(m, nn.Embedding)}
    with torch.no_grad():
        for parameter, value in zip(net.parameters(), values, strict=True):
            dense = value.ndim == 2 and parameter not in tables
            parameter.copy_(torch.from_numpy(value.T.copy() if dense else value))


def optimizer_of(work: Work, net: Any, mode: str) -> Any:
    """What updates the parameters."""
    if work.kind == "vgg":
        return torch.optim.SGD(net.parameters(), 1e-3, momentum=0.9, fused=True)
    kind = torch.optim.AdamW if work.kind == "gpt" else torch.optim.Adam
    rate = 1e-4 if work.kind == "gpt" else 1e-3
    return kind(net.parameters(), rate, fused=True, capturable=mode == "graph")


class Squared(nn.Module):
    """Layers, and the mean of squared errors."""

    def __init__(self, *layers: Any) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Any, y: Any) -> Any:
        """The loss."""
        return functional.mse_loss(self.layers(x), y)


class Classified(nn.Module):
    """Layers, and cross-entropy."""

    def __init__(self, *layers: Any) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Any, y: Any) -> Any:
        """The loss."""
        return functional.cross_entropy(self.layers(x), y)


class Recurrent(nn.Module):
    """An LSTM by cuDNN, and the mean of squared errors."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, width)

    def forward(self, x: Any, y: Any) -> Any:
        """The loss."""
        return functional.mse_loss(self.lstm(x)[0], y)


class Block(nn.Module):
    """Attention and dense layers, each with a way around it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.ln1 = nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.ln2 = nn.LayerNorm(width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Any) -> Any:
        """The same shape."""
        n, length, width = x.shape
        parts = self.qkv(self.ln1(x)).view(n, length, 3, self.heads, width // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(n, length, width))
        return x + self.narrow(functional.gelu(self.wide(self.ln2(x)), approximate="tanh"))


class Transformer(nn.Module):
    """GPT-2, and cross-entropy of next tokens."""

    def __init__(self, n: dict[str, int]) -> None:
        super().__init__()
        self.words = nn.Embedding(n["tokens"], n["width"])
        self.places = nn.Embedding(n["length"], n["width"])
        blocks = [Block(n["width"], n["heads"]) for _ in range(n["layers"])]
        self.blocks, self.ln = nn.ModuleList(blocks), nn.LayerNorm(n["width"])

    def forward(self, ids: Any, targets: Any) -> Any:
        """The loss."""
        x = self.words(ids) + self.places.weight[: ids.shape[1]]
        for block in self.blocks:
            x = block(x)
        scores = functional.linear(self.ln(x), self.words.weight).float()
        return functional.cross_entropy(scores.view(-1, scores.shape[-1]), targets.view(-1))


def net_of(work: Work, *, quick: bool) -> Any:
    """The net of a workload, with its loss."""
    n = sizes_of(work, quick=quick)
    if work.kind == "mlp":
        layers = [nn.Linear(n["inputs"], n["hidden"]), nn.ReLU(), nn.Linear(n["hidden"], 10)]
        return Squared(*layers)
    if work.kind == "lstm":
        return Recurrent(n["width"])
    if work.kind == "gpt":
        return Transformer(n)
    if work.kind == "vgg":
        return Classified(*vgg())
    layers = [nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5)]
    layers += [nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(400, 120), nn.ReLU()]
    return Classified(*layers, nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10))


def vgg() -> list[Any]:
    """The layers of VGG-16, without dropout."""
    layers: list[Any] = []
    channels = 3
    for width in VGG:
        if width == 0:
            layers.append(nn.MaxPool2d(2))
            continue
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
        channels = width
    layers += [nn.AdaptiveAvgPool2d(7), nn.Flatten(), nn.Linear(512 * 49, 4096), nn.ReLU()]
    return [*layers, nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 1000)]


# ----- functions -----


def chain(x: Any) -> Any:
    """Elementwise ops one after the other."""
    return torch.tanh(x) * torch.exp(-x * x) + torch.sigmoid(2.0 * x) * x


def elementwise(work: Work, mode: str, *, quick: bool) -> Step:
    """A chain of elementwise ops, or that and what it gives back for a cotangent."""
    x, cotangent = (torch.from_numpy(a).cuda() for a in batch(work, quick=quick))
    function = compiled(chain, mode)
    if work.kind == "value":
        return lambda: function(x)
    x.requires_grad_()

    def both() -> Any:
        value = function(x)
        return value.detach(), torch.autograd.grad(value, [x], [cotangent])

    return both


def normalised(work: Work, mode: str, *, quick: bool) -> Step:
    """Layer norm and cross-entropy, and their gradients."""
    values = [*batch(work, quick=quick)[:1], *parameters(work, quick=quick)]
    wanted = [torch.from_numpy(a).cuda().requires_grad_() for a in values]
    labels = torch.from_numpy(batch(work, quick=quick)[1]).cuda()

    def loss(x: Any, scale: Any, shift: Any) -> Any:
        return functional.cross_entropy(
            functional.layer_norm(x, x.shape[-1:], scale, shift), labels
        )

    function = compiled(loss, mode)

    def step() -> Any:
        value = function(*wanted)
        return value.detach(), torch.autograd.grad(value, wanted)

    return step
