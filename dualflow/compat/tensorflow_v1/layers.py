"""`tf.layers`: functions that make their variables in the default graph; channels come last."""

from __future__ import annotations

import math
from typing import Any

import dualflow as df
from dualflow.compat.tensorflow_v1 import nn
from dualflow.compat.tensorflow_v1.collected import GraphKeys, add_to_collection
from dualflow.compat.tensorflow_v1.variables import (
    get_variable,
    ones_initializer,
    variable_scope,
    zeros_initializer,
)
from dualflow.compat.translate import hints


def dense(
    inputs: Any,
    units: int,
    activation: Any = None,
    use_bias: bool = True,  # noqa: FBT001, FBT002 - TensorFlow's position
    kernel_initializer: Any = None,
    bias_initializer: Any = None,
    *,
    name: str | None = None,
    reuse: Any = None,
    **_: Any,
) -> Any:
    """`activation(inputs @ kernel + bias)`.

    Args:
        inputs: Tensor of shape (..., features).
        units: How many outputs.
        activation: A function; none by default.
        use_bias: Add a bias.
        kernel_initializer: Of the kernel, (features, units).
        bias_initializer: Of the bias; zeros by default.
        name: Of the scope of both; a new one by default.
        reuse: See `variable_scope`.
        **_: Other words of TensorFlow's change nothing.
    """
    with variable_scope(name, "dense", reuse=reuse):
        kernel = get_variable(
            "kernel", (int(inputs.shape[-1]), units), initializer=kernel_initializer
        )
        y = df.matmul(inputs, kernel)
        if use_bias:
            start = bias_initializer or zeros_initializer()
            y = y + get_variable("bias", (units,), initializer=start)
    return y if activation is None else activation(y)


def conv2d(
    inputs: Any,
    filters: int,
    kernel_size: Any,
    strides: Any = (1, 1),
    padding: str = "valid",
    *,
    activation: Any = None,
    use_bias: bool = True,
    kernel_initializer: Any = None,
    bias_initializer: Any = None,
    name: str | None = None,
    reuse: Any = None,
    **_: Any,
) -> Any:
    """A convolution of images (n, h, w, channels).

    Args:
        inputs: The images.
        filters: Channels of the output.
        kernel_size: Extent of the window: a number, or two.
        strides: Its steps.
        padding: "valid", or "same".
        activation: A function; none by default.
        use_bias: Add a bias.
        kernel_initializer: Of the kernel, (height, width, channels, filters).
        bias_initializer: Of the bias; zeros by default.
        name: Of the scope of both; a new one by default.
        reuse: See `variable_scope`.
        **_: Other words of TensorFlow's change nothing.
    """
    shape = (*nn.pair(kernel_size), int(inputs.shape[-1]), filters)
    with variable_scope(name, "conv2d", reuse=reuse):
        kernel = get_variable("kernel", shape, initializer=kernel_initializer)
        y = nn.conv2d(inputs, kernel, strides, padding)
        if use_bias:
            start = bias_initializer or zeros_initializer()
            y = y + get_variable("bias", (filters,), initializer=start)
    return y if activation is None else activation(y)


def batch_normalization(
    inputs: Any,
    axis: int = -1,
    momentum: float = 0.99,
    epsilon: float = 1e-3,
    *,
    center: bool = True,
    scale: bool = True,
    training: Any = False,
    name: str | None = None,
    reuse: Any = None,
    **_: Any,
) -> Any:
    """Batch normalisation, with the means of the batch or those that were met while training.

    What changes these means is in the collection `tf.GraphKeys.UPDATE_OPS`, for the training step
    to wait for: `with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):`.

    Args:
        inputs: The examples.
        axis: Of the features.
        momentum: How much of the means is kept in a step.
        epsilon: Added to variances.
        center: Add a bias to each feature.
        scale: Multiply each by a factor.
        training: Whether the batch's own means count: a bool, or a tensor of one.
        name: Of the scope of the variables; a new one by default.
        reuse: See `variable_scope`.
        **_: Other words of TensorFlow's change nothing.
    """
    ones, zeros = ones_initializer(), zeros_initializer()
    size, axis = int(inputs.shape[axis]), axis % inputs.ndim
    with variable_scope(name, "batch_normalization", reuse=reuse):
        gamma = get_variable("gamma", (size,), initializer=ones) if scale else None
        beta = get_variable("beta", (size,), initializer=zeros) if center else None
        mean = get_variable("moving_mean", (size,), initializer=zeros, trainable=False)
        variance = get_variable("moving_variance", (size,), initializer=ones, trainable=False)
    moments = [mean, variance]
    if training is not False:
        others = tuple(k for k in range(inputs.ndim) if k != axis)
        batch = [df.mean(inputs, axis=others), df.var(inputs, axis=others)]
        for moving, now in zip((mean, variance), batch, strict=True):
            next_ = df.where(training, moving * momentum + now * (1.0 - momentum), moving)
            add_to_collection(GraphKeys.UPDATE_OPS, df.graph.assign(moving, next_))
        moments = [df.where(training, a, b) for a, b in zip(batch, moments, strict=True)]
    shape = [size if k == axis else 1 for k in range(inputs.ndim)]
    now, spread = (df.reshape(x, shape) for x in moments)
    offset, factor = (x if x is None else df.reshape(x, shape) for x in (beta, gamma))
    return nn.batch_normalization(inputs, now, spread, offset, factor, epsilon)


def max_pooling2d(
    inputs: Any, pool_size: Any, strides: Any, padding: str = "valid", **_: Any
) -> Any:
    """The largest number in each window of images (n, h, w, channels)."""
    return nn.max_pool(inputs, pool_size, strides, padding)


def average_pooling2d(
    inputs: Any, pool_size: Any, strides: Any, padding: str = "valid", **_: Any
) -> Any:
    """The mean of each window of images (n, h, w, channels)."""
    return nn.avg_pool(inputs, pool_size, strides, padding)


def flatten(inputs: Any, **_: Any) -> Any:
    """All dimensions but the first as one."""
    return df.reshape(inputs, (inputs.shape[0], math.prod(inputs.shape[1:])))


def dropout(inputs: Any, rate: float = 0.5, *, training: Any = False, **_: Any) -> Any:
    """Elements set to 0 by chance, where `training` says so: a bool, or a tensor of one."""
    if isinstance(training, bool):
        return nn.dropout(inputs, rate=rate) if training else inputs
    return df.graph.cond(training, lambda: nn.dropout(inputs, rate=rate), lambda: inputs)


__getattr__ = hints("tensorflow_v1.layers")
