"""Nets of convolutions in NumPy, gradients by hand. Channels are last inside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .numpy_training import Array, Back, Step, cross_entropy, sgd, training
from .workloads import VGG


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
        return loss, (*back_first(at_first, last=True)[1:], *of_second, *dense)

    return training(params, gradients, sgd(0.01, momentum=0.9))


def vgg_value(data: dict[str, Any]) -> Step:
    """W9, forward: the mean magnitude of the logits."""
    x, params = np.ascontiguousarray(data["x"].transpose(0, 2, 3, 1)), data["params"]

    def step() -> Array:
        flat, _ = features(x, params)
        w, w_bias, middle, middle_bias, out, out_bias = params[-6:]
        hidden = np.maximum(flat @ w + w_bias, 0)
        return np.abs(np.maximum(hidden @ middle + middle_bias, 0) @ out + out_bias).mean()

    return step


def vgg(data: dict[str, Any]) -> Step:
    """W9, training."""
    x, params = np.ascontiguousarray(data["x"].transpose(0, 2, 3, 1)), data["params"]

    def gradients() -> Any:
        flat, backs = features(x, params)
        loss, slope, dense = classified(flat, params[-6:], data["labels"])
        side = x.shape[1] // 32
        slope = slope.reshape(len(x), -1, side, side).transpose(0, 2, 3, 1)
        slopes: list[Array] = []
        for back in reversed(backs):
            slope, *found = back(slope, last=back is backs[0])
            slopes[:0] = found
        return loss, (*slopes, *dense)

    return training(params, gradients, sgd(1e-4))


def features(x: Array, params: Sequence[Array]) -> tuple[Array, list[Back]]:
    """The convolutions of VGG16, with channels first in what they give, and the ways back."""
    backs: list[Back] = []
    for width, following in zip(VGG, (*VGG[1:], 0)):
        if width:
            k = 2 * len(backs)
            x, back = convolved(x, *params[k : k + 2], padding=1, pooling=1 if following else 2)
            backs.append(back)
    return x.transpose(0, 3, 1, 2).reshape(len(x), -1), backs


def convolved(
    x: Array, w: Array, bias: Array, *, padding: int = 0, pooling: int = 2
) -> tuple[Array, Back]:
    """A convolution, relu, the largest of each block, and the way back."""
    edges = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    x = np.pad(x, edges) if padding else x
    count, height, width, channels = x.shape
    out, size = len(w), w.shape[-1]
    rows, columns = height - size + 1, width - size + 1
    flat = w.reshape(out, -1)

    def windows() -> Array:
        return sliding_window_view(x, (size, size), (1, 2)).reshape(-1, flat.shape[1])

    active = np.maximum(windows() @ flat.T + bias, 0)
    blocks = active.reshape(count, rows // pooling, pooling, columns // pooling, pooling, out)
    pooled = blocks.max((2, 4), keepdims=True)

    def back(slope: Array, *, last: bool = False) -> Any:
        chosen = (blocks == pooled) & (pooled > 0)
        spread = (chosen * slope[:, :, None, :, None]).reshape(-1, out)
        of_w, of_bias = (spread.T @ windows()).reshape(w.shape), spread.sum(0)
        if last:
            return None, of_w, of_bias
        parts = (spread @ flat).reshape(count, rows, columns, channels, size, size)
        below = np.zeros_like(x)
        for i, j in np.ndindex(size, size):
            below[:, i : i + rows, j : j + columns] += parts[..., i, j]
        return below[:, padding : height - padding, padding : width - padding], of_w, of_bias

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
