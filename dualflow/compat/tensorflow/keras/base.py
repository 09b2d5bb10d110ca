"""The base of Keras's layers: weights are made at the first call."""

from __future__ import annotations

from typing import Any

import dualflow as df
from dualflow.compat.tensorflow.keras import initializers


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
