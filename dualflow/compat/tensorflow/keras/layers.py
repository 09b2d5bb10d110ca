"""`tf.keras.layers`: the layers of introductory programs; weights are made at the first call."""

from __future__ import annotations

from typing import Any

import dualflow as df
from dualflow.compat.tensorflow.keras import activations
from dualflow.compat.tensorflow.keras.base import Layer
from dualflow.compat.tensorflow.keras.images import (
    AveragePooling2D,
    Conv2D,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    MaxPooling2D,
)
from dualflow.compat.tensorflow.keras.sequences import GRU, LSTM, SimpleRNN
from dualflow.compat.translate import hints


class Dense(Layer):
    """`activation(x @ kernel + bias)`.

    Args:
        units: The extent of the output.
        activation: A function, or its name.
        use_bias: Add a bias.
        kernel_initializer: Of the kernel, (inputs, units).
        bias_initializer: Of the bias.
        **options: `input_shape`, `name`.

    Example:
        >>> import dualflow as df
        >>> df.compat.tensorflow.keras.layers.Dense(3, activation="relu")(df.ones((2, 4))).shape
        (2, 3)
    """

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,  # noqa: FBT001, FBT002 - Keras's position
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        **options: Any,
    ) -> None:
        self.units, self.use_bias = units, use_bias
        self.activation = activations.get(activation)
        self._initial = (kernel_initializer, bias_initializer)
        super().__init__(**options)

    def build(self, input_shape: Any) -> None:
        """Kernel and bias."""
        kernel, bias = self._initial
        self.kernel = self.add_weight((int(input_shape[-1]), self.units), kernel)
        self.bias = self.add_weight((self.units,), bias) if self.use_bias else None

    def call(self, x: Any) -> Any:
        """(..., inputs) -> (..., units)."""
        y = df.matmul(x, self.kernel)
        return self.activation(y if self.bias is None else y + self.bias)


class Activation(Layer):
    """A function of each element, or along the last axis.

    Args:
        activation: It, or its name.
        **options: `input_shape`, `name`.
    """

    def __init__(self, activation: Any, **options: Any) -> None:
        self.activation = activations.get(activation)
        super().__init__(**options)

    def call(self, x: Any) -> Any:
        """The function's value."""
        return self.activation(x)


class ReLU(Activation):
    """The positive part."""

    def __init__(self, **options: Any) -> None:
        super().__init__("relu", **options)


class Softmax(Activation):
    """Probabilities along the last axis."""

    def __init__(self, **options: Any) -> None:
        super().__init__("softmax", **options)


class Flatten(Layer):
    """(batch, ...) -> (batch, rest)."""

    def call(self, x: Any) -> Any:
        """All extents but the first as one."""
        return df.reshape(x, (x.shape[0], -1))


class Dropout(Layer):
    """In training, zeros in the place of some elements.

    Args:
        rate: The share.
        **options: `input_shape`, `name`.
    """

    def __init__(self, rate: float, **options: Any) -> None:
        self.rate = rate
        super().__init__(**options)

    def call(self, x: Any) -> Any:
        """The same shape."""
        return df.nn.functional.dropout(x, self.rate, training=self.training)


class Reshape(Layer):
    """(batch, ...) -> (batch, *target_shape).

    Args:
        target_shape: The extents of an example; one of them may be -1.
        **options: `input_shape`, `name`.
    """

    def __init__(self, target_shape: Any, **options: Any) -> None:
        self.target_shape = tuple(target_shape)
        super().__init__(**options)

    def call(self, x: Any) -> Any:
        """The same numbers in other extents."""
        return df.reshape(x, (x.shape[0], *self.target_shape))


class Embedding(Layer):
    """A vector for each number.

    Args:
        input_dim: How many numbers there are.
        output_dim: Length of the vectors.
        embeddings_initializer: Of them.
        **options: `input_shape`, `name`.
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        **options: Any,
    ) -> None:
        self._table = (input_dim, output_dim), embeddings_initializer
        super().__init__(**options)

    def build(self, input_shape: Any) -> None:
        """The vectors."""
        self.embeddings = self.add_weight(*self._table)

    def call(self, x: Any) -> Any:
        """Integers (...) -> (..., output_dim)."""
        return df.nn.functional.embedding(df.astype(x, "int64"), self.embeddings)


class LayerNormalization(Layer):
    """Mean 0 and variance 1 along the last axis of each example, then scaled and moved.

    Args:
        epsilon: Is added to the variance.
        **options: `input_shape`, `name`.
    """

    def __init__(self, epsilon: float = 1e-3, **options: Any) -> None:
        self.epsilon = epsilon
        super().__init__(**options)

    def build(self, input_shape: Any) -> None:
        """Scale and offset."""
        extent = (int(input_shape[-1]),)
        self.gamma, self.beta = self.add_weight(extent, "ones"), self.add_weight(extent, "zeros")

    def call(self, x: Any) -> Any:
        """The same shape."""
        return df.nn.functional.layer_norm(x, x.shape[-1], self.gamma, self.beta, self.epsilon)


class BatchNormalization(Layer):
    """Mean 0 and variance 1 of each channel, the last axis, over the batch; then scaled and moved.

    Args:
        momentum: How much of the running statistics a batch keeps.
        epsilon: Is added to the variance.
        **options: `input_shape`, `name`.
    """

    def __init__(self, momentum: float = 0.99, epsilon: float = 1e-3, **options: Any) -> None:
        self.momentum, self.epsilon = momentum, epsilon
        super().__init__(**options)

    def build(self, input_shape: Any) -> None:
        """Scale, offset, and running statistics."""
        extent = (int(input_shape[-1]),)
        self.gamma, self.beta = self.add_weight(extent, "ones"), self.add_weight(extent, "zeros")
        self.moving_mean = df.Variable(df.zeros(extent), trainable=False)
        self.moving_variance = df.Variable(df.ones(extent), trainable=False)

    def call(self, x: Any) -> Any:
        """The same shape."""
        mean, variance = self.moving_mean, self.moving_variance
        if self.training:
            axes = tuple(range(x.ndim - 1))
            mean, variance = df.mean(x, axis=axes), df.var(x, axis=axes)
            with df.no_grad():
                for moving, now in ((self.moving_mean, mean), (self.moving_variance, variance)):
                    moving.assign(self.momentum * moving + (1.0 - self.momentum) * now)
        scale = self.gamma / df.sqrt(variance + self.epsilon)
        return (x - mean) * scale + self.beta


class InputLayer(Layer):
    """Says the shape of an example, and passes inputs on."""

    def call(self, x: Any) -> Any:
        """`x` itself."""
        return x


MaxPool2D, AvgPool2D, GlobalAvgPool2D = MaxPooling2D, AveragePooling2D, GlobalAveragePooling2D

__getattr__ = hints("tensorflow.keras.layers")
__all__ = [
    "GRU",
    "LSTM",
    "Activation",
    "AveragePooling2D",
    "BatchNormalization",
    "Conv2D",
    "Dense",
    "Dropout",
    "Embedding",
    "Flatten",
    "GlobalAveragePooling2D",
    "GlobalMaxPooling2D",
    "InputLayer",
    "Layer",
    "LayerNormalization",
    "MaxPooling2D",
    "ReLU",
    "Reshape",
    "SimpleRNN",
    "Softmax",
]
