"""The workloads in NumPy, gradients and updates by hand: what all others are held against.

The mode "reference" is the same in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .workloads import GPT_HEADS

Array = Any
Step = Callable[[], Any]
Back = Callable[[Array], Any]
Gradients = Callable[[], tuple[Array, Sequence[Array]]]
Update = Callable[[Sequence[Array], Sequence[Array]], None]
VERSION = np.__version__


def build(workload: str, mode: str, data: dict[str, Any]) -> Step:
    """A step of a workload."""
    return MAKE[workload](doubles(data) if mode == "reference" else data)


def doubles(data: dict[str, Any]) -> dict[str, Any]:
    """The same data in float64."""
    return {
        key: [double(a) for a in value] if isinstance(value, list) else double(value)
        for key, value in data.items()
    }


def double(array: Array) -> Array:
    """float64 for floats; integers as they are."""
    return array.astype(np.float64) if array.dtype == np.float32 else array


def training(params: list[Array], gradients: Gradients, update: Update) -> Step:
    """A step of training, which gives the loss."""

    def step() -> Array:
        loss, slopes = gradients()
        update(params, slopes)
        return loss

    return step


# ----- updates -----


def sgd(rate: float, momentum: float = 0.0) -> Update:
    """Down the slope, or down a running sum of slopes."""
    sums: list[Array] = []

    def update(params: Sequence[Array], slopes: Sequence[Array]) -> None:
        if momentum and not sums:
            sums.extend(np.zeros_like(p) for p in params)
        for total, slope in zip(sums, slopes):
            total *= momentum
            total += slope
        for p, slope in zip(params, sums or slopes):
            p -= rate * slope

    return update


def adam(rate: float, decay: float = 0.0) -> Update:
    """Adam; AdamW where weights decay."""
    state: list[tuple[Array, Array]] = []
    steps = 0

    def update(params: Sequence[Array], slopes: Sequence[Array]) -> None:
        nonlocal steps
        steps += 1
        if not state:
            state.extend((np.zeros_like(p), np.zeros_like(p)) for p in params)
        size, widen = rate / (1 - 0.9**steps), (1 - 0.999**steps) ** -0.5
        for p, slope, (mean, square) in zip(params, slopes, state):
            mean *= 0.9
            mean += 0.1 * slope
            square *= 0.999
            square += 0.001 * slope * slope
            if decay:
                p *= 1 - rate * decay
            p -= size * mean / (np.sqrt(square) * widen + 1e-8)

    return update


# ----- nets of products -----


def by_hand(data: dict[str, Any]) -> Step:
    """W1: the sum of squared errors of relu(x a) b."""
    x, target, (a, b) = data["x"], data["target"], data["params"]

    def gradients() -> Any:
        hidden = x @ a
        active = np.maximum(hidden, 0)
        error = active @ b - target
        slope = 2 * error
        return np.square(error).sum(), (x.T @ ((slope @ b.T) * (hidden > 0)), active.T @ slope)

    return training([a, b], gradients, sgd(1e-6))


def mlp(data: dict[str, Any]) -> Step:
    """W2: mean squared error, Adam."""
    x, target, params = data["x"], data["target"], data["params"]
    a, a_bias, b, b_bias = params

    def gradients() -> Any:
        hidden = x @ a + a_bias
        active = np.maximum(hidden, 0)
        error = active @ b + b_bias - target
        slope = error * (2 / error.size)
        below = (slope @ b.T) * (hidden > 0)
        return np.square(error).mean(), (x.T @ below, below.sum(0), active.T @ slope, slope.sum(0))

    return training(params, gradients, adam(1e-4))


def two_layers(data: dict[str, Any]) -> Step:
    """W3: the mean over rows of the sum of squared errors."""
    x, target, (a, b) = data["x"], data["target"], data["params"]

    def gradients() -> Any:
        hidden = x @ a
        error = hidden @ b - target
        slope = error * (2 / len(x))
        return np.square(error).sum(1).mean(), (x.T @ (slope @ b.T), hidden.T @ slope)

    return training([a, b], gradients, sgd(1e-6))


def parallel(data: dict[str, Any]) -> Step:
    """W4: relu(x a + x b), and once more."""
    x, target, params = data["x"], data["target"], data["params"]
    a, a_bias, b, b_bias, c, c_bias, d, d_bias = params

    def gradients() -> Any:
        hidden = np.maximum(x @ a + a_bias + (x @ b + b_bias), 0)
        out = np.maximum(hidden @ c + c_bias + (hidden @ d + d_bias), 0)
        error = out - target
        slope = error * (2 / error.size) * (out > 0)
        below = (slope @ c.T + slope @ d.T) * (hidden > 0)
        first, second = (x.T @ below, below.sum(0)), (hidden.T @ slope, slope.sum(0))
        return np.square(error).mean(), (*first, *first, *second, *second)

    return training(params, gradients, adam(1e-4))


# ----- elementwise -----


def sigmoid(x: Array) -> Array:
    """The logistic function."""
    return 1 / (1 + np.exp(-x))


def chain(data: dict[str, Any]) -> Step:
    """W5, the value: the sum of tanh(x) exp(-x x) + sigmoid(2 x) x."""
    x = data["x"]
    return lambda: (np.tanh(x) * np.exp(-x * x) + sigmoid(2 * x) * x).sum()


def chain_slope(data: dict[str, Any]) -> Step:
    """W5, value and gradient."""
    x = data["x"]

    def step() -> Any:
        t, e, s = np.tanh(x), np.exp(-x * x), sigmoid(2 * x)
        return (t * e + s * x).sum(), e * (1 - t * t) - 2 * x * t * e + s + 2 * x * s * (1 - s)

    return step


# ----- norms, recurrence, attention -----


def normalised(data: dict[str, Any]) -> Step:
    """W6: layer norm and cross-entropy, and their gradients."""
    x, labels, (weight, bias) = data["x"], data["labels"], data["params"]

    def step() -> Any:
        logits, back = normed(x, weight, bias)
        loss, slope = cross_entropy(logits, labels)
        return (loss, *back(slope))

    return step


def normed(x: Array, weight: Array, bias: Array) -> tuple[Array, Back]:
    """Layer norm of rows, and the way back."""
    unit = x - x.mean(1, keepdims=True)
    scale = 1 / np.sqrt(np.square(unit).mean(1, keepdims=True) + 1e-5)
    unit *= scale

    def back(slope: Array) -> Any:
        of_weight = np.einsum("ij,ij->j", slope, unit)
        below = slope * weight
        along = np.einsum("ij,ij->i", below, unit)[:, None] / x.shape[1]
        return (
            scale * (below - below.mean(1, keepdims=True) - unit * along),
            of_weight,
            slope.sum(0),
        )

    return unit * weight + bias, back


def lstm(data: dict[str, Any]) -> Step:
    """W7: a cell over all steps, a linear layer of the last state, mean squared error."""
    x, target, params = data["x"], data["target"], data["params"]
    w, w_hidden, bias, out, out_bias = params

    def gradients() -> Any:
        hidden = memory = np.zeros((x.shape[1], 128), x.dtype)
        passed = []
        for at in x:
            z = at @ w + hidden @ w_hidden + bias
            i, f, o = (sigmoid(z[:, k : k + 128]) for k in (0, 128, 384))
            g = np.tanh(z[:, 256:384])
            kept = f * memory + i * g
            bent = np.tanh(kept)
            passed.append((at, hidden, memory, i, f, g, o, bent))
            hidden, memory = o * bent, kept
        error = hidden @ out + out_bias - target
        slope = error * (2 / error.size)
        of_cell = through_time(passed, slope @ out.T, params[:3])
        return np.square(error).mean(), (*of_cell, hidden.T @ slope, slope.sum(0))

    return training(params, gradients, sgd(0.1))


def through_time(passed: Sequence[Any], slope: Array, params: Sequence[Array]) -> list[Array]:
    """Gradients of the cell's parameters."""
    of_w, of_hidden, of_bias = found = [np.zeros_like(p) for p in params]
    at_memory: Any = 0
    for at, hidden, memory, i, f, g, o, bent in reversed(passed):
        at_memory = at_memory + slope * o * (1 - bent * bent)
        gates = (
            at_memory * g * i * (1 - i),
            at_memory * memory * f * (1 - f),
            at_memory * i * (1 - g * g),
            slope * bent * o * (1 - o),
        )
        z = np.concatenate(gates, 1)
        of_w += at.T @ z
        of_hidden += hidden.T @ z
        of_bias += z.sum(0)
        slope, at_memory = z @ params[1].T, at_memory * f
    return found


def gpt(data: dict[str, Any]) -> Step:
    """W10: a decoder with causal attention, cross-entropy of the next token, AdamW."""
    tokens, labels, params = data["x"], data["labels"].reshape(-1), data["params"]
    embedding, positions, *layers, weight, bias, head = params
    batch, length = tokens.shape

    def gradients() -> Any:
        x = (embedding[tokens] + positions).reshape(batch * length, -1)
        backs = []
        for k in range(0, len(layers), 12):
            x, back = residual(x, layers[k : k + 6], lambda qkv: attended(qkv, batch))
            backs.append(back)
            x, back = residual(x, layers[k + 6 : k + 12], gelu)
            backs.append(back)
        last, back = normed(x, weight, bias)
        loss, slope = cross_entropy(last @ head, labels)
        slopes: list[Array] = []
        of_head = last.T @ slope
        slope, *of_norm = back(slope @ head.T)
        for back in reversed(backs):
            slope, *found = back(slope)
            slopes[:0] = found
        of_tokens = np.zeros_like(embedding)
        np.add.at(of_tokens, tokens.reshape(-1), slope)
        of_positions = slope.reshape(batch, length, -1).sum(0)
        return loss, (of_tokens, of_positions, *slopes, *of_norm, of_head)

    return training(params, gradients, adam(3e-4, decay=0.01))


def residual(x: Array, params: Sequence[Array], inner: Any) -> tuple[Array, Back]:
    """The sum x + linear(inner(linear(norm(x)))), and the way back: to x and to the parameters."""
    weight, bias, w, w_bias, out, out_bias = params
    unit, through_norm = normed(x, weight, bias)
    value, through = inner(unit @ w + w_bias)

    def back(slope: Array) -> Any:
        middle = through(slope @ out.T)
        below, *of_norm = through_norm(middle @ w.T)
        of_linear = (unit.T @ middle, middle.sum(0), value.T @ slope, slope.sum(0))
        return (slope + below, *of_norm, *of_linear)

    return x + (value @ out + out_bias), back


def attended(qkv: Array, batch: int) -> tuple[Array, Back]:
    """Causal attention of heads; queries, keys and values lie side by side in a row."""
    rows, width = qkv.shape[0], qkv.shape[1] // 3
    length, depth = rows // batch, width // GPT_HEADS
    parts = qkv.reshape(batch, length, 3, GPT_HEADS, depth).transpose(2, 0, 3, 1, 4)
    q, k, v = parts
    scores = q @ k.swapaxes(-1, -2) * depth**-0.5
    scores[..., np.triu(np.ones((length, length), bool), 1)] = -np.inf
    scores -= scores.max(-1, keepdims=True)
    share = np.exp(scores)
    share /= share.sum(-1, keepdims=True)

    def back(slope: Array) -> Array:
        at_value = slope.reshape(batch, length, GPT_HEADS, depth).transpose(0, 2, 1, 3)
        at_share = at_value @ v.swapaxes(-1, -2)
        at_score = share * (at_share - (at_share * share).sum(-1, keepdims=True)) * depth**-0.5
        found = (at_score @ k, at_score.swapaxes(-1, -2) @ q, share.swapaxes(-1, -2) @ at_value)
        return np.stack(found).transpose(1, 3, 0, 2, 4).reshape(rows, 3 * width)

    return (share @ v).transpose(0, 2, 1, 3).reshape(rows, width), back


def gelu(x: Array) -> tuple[Array, Back]:
    """GELU by tanh, and the way back."""
    slant = (2 / np.pi) ** 0.5
    bent = np.tanh(slant * (x + 0.044715 * x * x * x))

    def back(slope: Array) -> Array:
        inner = slant * (1 + 3 * 0.044715 * x * x)
        return slope * (0.5 * (1 + bent) + 0.5 * x * (1 - bent * bent) * inner)

    return 0.5 * x * (1 + bent), back


# ----- convolutions -----


def lenet(data: dict[str, Any]) -> Step:
    """W8: two convolutions and three linear layers; channels are last inside."""
    labels, params = data["labels"], data["params"]
    images = np.ascontiguousarray(data["x"].transpose(0, 2, 3, 1))
    count = len(images)

    def gradients() -> Any:
        first, back_first = convolved(images, *params[:2])
        second, back_second = convolved(first, *params[2:4])
        flat = second.transpose(0, 3, 1, 2).reshape(count, -1)
        loss, at_flat, dense = classified(flat, params[4:], labels)
        at_second = at_flat.reshape(count, 16, 4, 4).transpose(0, 2, 3, 1)
        at_first, *of_second = back_second(at_second)
        return loss, (*back_first(at_first, inner=False)[1:], *of_second, *dense)

    return training(params, gradients, sgd(0.01, momentum=0.9))


def convolved(x: Array, w: Array, bias: Array) -> tuple[Array, Callable[..., Any]]:
    """A convolution, relu, the largest of 2x2, and the way back."""
    count, height, width, channels = x.shape
    out, size = len(w), w.shape[-1]
    rows, columns = height - size + 1, width - size + 1
    windows = sliding_window_view(x, (size, size), (1, 2)).reshape(-1, channels * size * size)
    flat = w.reshape(out, -1)
    active = np.maximum(windows @ flat.T + bias, 0)
    blocks = active.reshape(count, rows // 2, 2, columns // 2, 2, out)
    pooled = blocks.max((2, 4), keepdims=True)

    def back(slope: Array, *, inner: bool = True) -> Any:
        chosen = (blocks == pooled) & (pooled > 0)
        spread = (chosen * slope[:, :, None, :, None]).reshape(-1, out)
        of_w = (spread.T @ windows).reshape(w.shape)
        if not inner:
            return None, of_w, spread.sum(0)
        parts = (spread @ flat).reshape(count, rows, columns, channels, size, size)
        below = np.zeros_like(x)
        for i, j in np.ndindex(size, size):
            below[:, i : i + rows, j : j + columns] += parts[..., i, j]
        return below, of_w, spread.sum(0)

    return pooled[:, :, 0, :, 0], back


def classified(
    x: Array, params: Sequence[Array], labels: Array
) -> tuple[Array, Array, list[Array]]:
    """Linear layers with relu between them and the mean cross-entropy; gradients of all."""
    inputs = [x]
    layers = list(zip(params[::2], params[1::2]))
    for w, bias in layers[:-1]:
        inputs.append(np.maximum(inputs[-1] @ w + bias, 0))
    w, bias = layers[-1]
    loss, slope = cross_entropy(inputs[-1] @ w + bias, labels)
    slopes: list[Array] = []
    for (w, _), below in zip(reversed(layers), reversed(inputs)):
        slopes[:0] = [below.T @ slope, slope.sum(0)]
        slope = slope @ w.T
        if below is not x:
            slope *= below > 0
    return loss, slope, slopes


def cross_entropy(logits: Array, labels: Array) -> tuple[Array, Array]:
    """The mean over rows, and its gradient."""
    rows = np.arange(len(labels))
    shifted = logits - logits.max(1, keepdims=True)
    powers = np.exp(shifted)
    sums = powers.sum(1, keepdims=True)
    loss = (np.log(sums[:, 0]) - shifted[rows, labels]).mean()
    powers /= sums
    powers[rows, labels] -= 1
    powers *= 1 / len(labels)
    return loss, powers


# ----- calls -----


def small(data: dict[str, Any]) -> Step:
    """W12 on eight numbers."""
    x = data["x"]
    return lambda: x * 2 + 1


def parameters(data: dict[str, Any]) -> Step:
    """W12 on fifty parameters."""
    params, slopes = data["params"], data["slopes"]
    return lambda: [p - 0.01 * slope for p, slope in zip(params, slopes)]


MAKE: dict[str, Callable[[dict[str, Any]], Step]] = {
    "W1": by_hand,
    "W2": mlp,
    "W3": two_layers,
    "W4": parallel,
    "W5-value-1M": chain,
    "W5-gradient-1M": chain_slope,
    "W5-value-16M": chain,
    "W5-gradient-16M": chain_slope,
    "W6": normalised,
    "W7": lstm,
    "W8": lenet,
    "W10": gpt,
    "W12-small": small,
    "W12-parameters": parameters,
}
MODES = {name: ["eager"] for name in MAKE}
