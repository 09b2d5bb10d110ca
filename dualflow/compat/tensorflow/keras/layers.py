"""`tf.keras.layers`: the layers of introductory programs; weights are made at the first call."""

from __future__ import annotations

from typing import Any

import dualflow as df
from dualflow.compat.tensorflow.keras import activations, initializers
from dualflow.compat.translate import hints


class Layer(df.nn.Module):
    """Base of layers: `build` makes weights for a shape, `call` computes.

    Args:
        input_shape: The shape of an example: the first layer of a `Sequential` tells it.
        name: For people.
        **_: Other words of Keras's change nothing.
    """

    def __init__(self, input_shape: Any = None, name: str | None = None, **_: Any) -> None:
        self.name = name
        self.example = None if input_shape is None else tuple(input_shape)
        self.built = False

    def build(self, input_shape: Any) -> None:
        """Makes weights for inputs of a shape (batch, ...)."""

    def call(self, x: Any) -> Any:
        """What the layer computes."""
        raise NotImplementedError(f"{type(self).__name__} defines no call")

    def add_weight(self, shape: Any, initializer: Any = "glorot_uniform") -> Any:
        """A new trainable weight."""
        return df.nn.Parameter(initializers.get(initializer)(shape))

    def forward(self, x: Any) -> Any:
        """Weights where there are none, and then `call`."""
        x = df.asarray(x)
        if not self.built:
            self.build(x.shape)
            self.built = True
        return self.call(x)


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


class InputLayer(Layer):
    """Says the shape of an example, and passes inputs on."""

    def call(self, x: Any) -> Any:
        """`x` itself."""
        return x


__getattr__ = hints("tensorflow.keras.layers")
