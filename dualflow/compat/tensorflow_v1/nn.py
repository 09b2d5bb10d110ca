"""`tf.nn`: activations, dropout, images, and the losses of classes, with TensorFlow 1's words."""

from __future__ import annotations

from typing import Any

import dualflow as df
from dualflow.compat.tensorflow.keras.images import (
    AveragePooling2D,
    MaxPooling2D,
    channels_first,
    channels_last,
    frame,
)
from dualflow.compat.tensorflow.nn import log_softmax, relu, sigmoid, softmax, tanh
from dualflow.compat.translate import hints

F = df.nn.functional
elu, leaky_relu, relu6, softplus = F.elu, F.leaky_relu, F.relu6, F.softplus


def softmax_cross_entropy_with_logits(*, labels: Any, logits: Any) -> Any:
    """The loss of each example, against probabilities of classes."""
    return -df.sum(labels * log_softmax(logits), axis=-1)


softmax_cross_entropy_with_logits_v2 = softmax_cross_entropy_with_logits


def sparse_softmax_cross_entropy_with_logits(*, labels: Any, logits: Any) -> Any:
    """The loss of each example, against the numbers of the right classes."""
    return df.nn.functional.cross_entropy(logits, labels, reduction="none")


def sigmoid_cross_entropy_with_logits(*, labels: Any, logits: Any) -> Any:
    """The loss of each element, against 0 and 1."""
    return df.nn.functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")


def dropout(x: Any, keep_prob: Any = None, *, rate: Any = None, **_: Any) -> Any:
    """Elements set to 0 by chance, anew in each run; the others grow so that the mean stays.

    Args:
        x: A tensor.
        keep_prob: The probability with which one stays: a number, or a placeholder.
        rate: Or that with which one is dropped.
        **_: Other words of TensorFlow's change nothing.

    Raises:
        ValueError: Both or none of them.
    """
    if (keep_prob is None) == (rate is None):
        raise ValueError("dropout: give either keep_prob or rate")
    kept = df.asarray(1.0 - rate if keep_prob is None else keep_prob, dtype=x.dtype)
    chance = df.random.uniform(x.shape, dtype=x.dtype, generator=df.graph.generator())
    return df.where(chance < kept, x / kept, 0.0)


def pair(value: Any) -> tuple[int, int]:
    """Steps or extents in both directions: of one number, two, or four for (n, h, w, channels)."""
    if isinstance(value, int):
        return value, value
    return tuple(value[1:3]) if len(value) == 4 else tuple(value)  # pyright: ignore[reportReturnType]


def conv2d(input: Any, filter: Any, strides: Any = 1, padding: str = "SAME", **_: Any) -> Any:
    """A convolution of images (n, h, w, inputs) with a kernel (height, width, inputs, outputs)."""
    steps = pair(strides)
    widths = frame(input.shape[1:3], filter.shape[:2], steps, padding.lower())
    x = F.pad(channels_first(input), widths)
    return channels_last(F.conv2d(x, df.permute_dims(filter, (3, 2, 0, 1)), None, steps))


def max_pool(value: Any, ksize: Any, strides: Any, padding: str = "SAME", **_: Any) -> Any:
    """The largest number in each window of images (n, h, w, channels)."""
    return MaxPooling2D(pair(ksize), pair(strides), padding.lower())(value)


def avg_pool(value: Any, ksize: Any, strides: Any, padding: str = "SAME", **_: Any) -> Any:
    """The mean of each window of images (n, h, w, channels)."""
    return AveragePooling2D(pair(ksize), pair(strides), padding.lower())(value)


def bias_add(value: Any, bias: Any) -> Any:
    """Adds a number to each channel, the last dimension."""
    return value + bias


def moments(x: Any, axes: Any, keep_dims: bool = False, **_: Any) -> tuple[Any, Any]:  # noqa: FBT001, FBT002
    """Mean and variance along some dimensions."""
    along = tuple(axes)
    return df.mean(x, axis=along, keepdims=keep_dims), df.var(x, axis=along, keepdims=keep_dims)


def batch_normalization(
    x: Any, mean: Any, variance: Any, offset: Any, scale: Any, variance_epsilon: float, **_: Any
) -> Any:
    """`(x - mean) / sqrt(variance + epsilon)`, times `scale` plus `offset` where there are any."""
    factor = 1.0 / df.sqrt(variance + variance_epsilon)
    y = (x - mean) * (factor if scale is None else factor * scale)
    return y if offset is None else y + offset


def embedding_lookup(params: Any, ids: Any) -> Any:
    """The rows of a table that `ids` name."""
    return F.embedding(ids, params)


def xw_plus_b(x: Any, weights: Any, biases: Any) -> Any:
    """`x @ weights + biases`."""
    return df.matmul(x, weights) + biases


def top_k(input: Any, k: int = 1) -> tuple[Any, Any]:
    """The largest numbers of each row, and where they are."""
    values, indices = df.top_k(input, k)
    return values, df.astype(indices, "int32")


def in_top_k(predictions: Any, targets: Any, k: int) -> Any:
    """Whether the class that is right is among the `k` with the largest scores."""
    chosen = df.take_along_axis(predictions, df.expand_dims(targets, axis=-1), axis=-1)
    return df.sum(df.astype(predictions > chosen, "int32"), axis=-1) < k


def l2_normalize(x: Any, axis: Any = None, epsilon: float = 1e-12) -> Any:
    """`x` divided by its length along `axis`."""
    total = df.sum(x * x, axis=axis, keepdims=True)
    return x / df.sqrt(df.maximum(total, epsilon))


def l2_loss(t: Any) -> Any:
    """Half the sum of squares."""
    return df.sum(t * t) / 2.0


__getattr__ = hints("tensorflow_v1.nn")
__all__ = ["log_softmax", "relu", "sigmoid", "softmax", "tanh"]
