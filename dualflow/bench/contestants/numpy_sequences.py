"""Norms, recurrence, attention and trees in NumPy, gradients by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .numpy_training import Array, Back, Step, adam, cross_entropy, sgd, sigmoid, training
from .workloads import GPT_HEADS


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


# ----- trees -----


def trees(data: dict[str, Any]) -> Step:
    """W14: a Tree-LSTM over one tree after the other; the sum of the losses."""
    params = data["params"]
    update = sgd(0.01)

    def step() -> float:
        total = 0.0
        for tree, x, label in data["trees"]:
            slopes = [np.zeros_like(p) for p in params]
            h, _, back = subtree(tree, x, params, slopes)
            loss, slope = cross_entropy(h @ params[4] + params[5], label)
            slopes[4] += h.T @ slope
            slopes[5] += slope[0]
            back(slope @ params[4].T, 0)
            update(params, slopes)
            total += float(loss)
        return total

    return step


def subtree(tree: Any, x: Array, params: Sequence[Array], slopes: Sequence[Array]) -> Any:
    """State and memory of a tree, and the way back: it adds to the slopes of parameters."""
    if isinstance(tree, int):
        at, parts, k = x[tree], [], 0
    else:
        parts = [subtree(part, x, params, slopes) for part in tree]
        at, k = np.concatenate([h for h, _, _ in parts], 1), 2
    z = at @ params[k] + params[k + 1]
    i, *forget, o, u = np.split(z, z.shape[1] // 64, 1)
    i, o, u, *forget = sigmoid(i), sigmoid(o), np.tanh(u), *map(sigmoid, forget)
    c = i * u + sum(f * memory for f, (_, memory, _) in zip(forget, parts))
    bent = np.tanh(c)

    def back(slope: Array, at_memory: Any) -> None:
        at_c = at_memory + slope * o * (1 - bent * bent)
        kept = [at_c * memory * f * (1 - f) for f, (_, memory, _) in zip(forget, parts)]
        ends = (at_c * u * i * (1 - i), *kept, slope * bent * o * (1 - o), at_c * i * (1 - u * u))
        at_z = np.concatenate(ends, 1)
        slopes[k][...] += at.T @ at_z
        slopes[k + 1][...] += at_z[0]
        below = at_z @ params[k].T
        for number, (f, (_, _, further)) in enumerate(zip(forget, parts)):
            further(below[:, 64 * number : 64 * (number + 1)], at_c * f)

    return o * bent, c, back
