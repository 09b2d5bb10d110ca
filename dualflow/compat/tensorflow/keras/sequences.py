"""Keras's recurrent layers: (batch, time, features), gates in Keras's order."""

from __future__ import annotations

from typing import Any

import dualflow as df
from dualflow.compat.tensorflow.keras import activations
from dualflow.compat.tensorflow.keras.base import Layer

sigmoid = df.nn.functional.sigmoid


class Recurrent(Layer):
    """Base of layers that go along the time axis. A subclass says what a step does.

    Args:
        units: Extent of the state.
        activation: Of what is new in a state.
        return_sequences: Give the output of each step, not the last one alone.
        **options: `input_shape`, `name`.
    """

    gates = 1
    states = 1

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        *,
        return_sequences: bool = False,
        **options: Any,
    ) -> None:
        self.units, self.return_sequences = units, return_sequences
        self.activation = activations.get(activation)
        super().__init__(**options)

    def build(self, input_shape: Any) -> None:
        """The kernels of inputs and state, and the bias."""
        wide = self.gates * self.units
        self.kernel = self.add_weight((int(input_shape[-1]), wide))
        self.recurrent_kernel = self.add_weight((self.units, wide), "orthogonal")
        self.bias = self.new_bias(wide)

    def new_bias(self, wide: int) -> Any:
        """The bias at first."""
        return self.add_weight((wide,), "zeros")

    def step(self, x: Any, state: tuple[Any, ...]) -> tuple[Any, ...]:
        """The state after an input; its first part is the output."""
        raise NotImplementedError(f"{type(self).__name__} defines no step")

    def call(self, x: Any) -> Any:
        """(batch, time, features) -> (batch, units), or (batch, time, units)."""
        state = (df.zeros((x.shape[0], self.units), dtype=x.dtype),) * self.states
        outputs = []
        for k in range(int(x.shape[1])):
            state = self.step(x[:, k], state)
            outputs.append(state[0])
        return df.stack(outputs, axis=1) if self.return_sequences else state[0]


class SimpleRNN(Recurrent):
    """`h = tanh(x @ kernel + h @ recurrent_kernel + bias)`."""

    def step(self, x: Any, state: tuple[Any, ...]) -> tuple[Any, ...]:
        """The next state."""
        h = x @ self.kernel + state[0] @ self.recurrent_kernel + self.bias
        return (self.activation(h),)


class LSTM(Recurrent):
    """Long short-term memory; gates are input, forget, cell, output.

    Example:
        >>> import dualflow as df
        >>> layer = df.compat.tensorflow.keras.layers.LSTM(5, return_sequences=True)
        >>> layer(df.ones((2, 3, 4))).shape
        (2, 3, 5)
    """

    gates = 4
    states = 2

    def new_bias(self, wide: int) -> Any:
        """Zeros, and ones for the gate that forgets."""
        bias = df.zeros(wide).at[self.units : 2 * self.units].set(1.0)
        return df.nn.Parameter(bias)

    def step(self, x: Any, state: tuple[Any, ...]) -> tuple[Any, ...]:
        """Output and memory."""
        h, memory = state
        i, f, c, o = df.split(x @ self.kernel + h @ self.recurrent_kernel + self.bias, 4, axis=-1)
        memory = sigmoid(f) * memory + sigmoid(i) * self.activation(c)
        return sigmoid(o) * self.activation(memory), memory


class GRU(Recurrent):
    """Gated recurrent units; gates are update, reset, new. The reset comes after the product."""

    gates = 3

    def new_bias(self, wide: int) -> Any:
        """One for inputs, one for the state."""
        return self.add_weight((2, wide), "zeros")

    def step(self, x: Any, state: tuple[Any, ...]) -> tuple[Any, ...]:
        """The next state."""
        (h,) = state
        z, r, new = df.split(x @ self.kernel + self.bias[0], 3, axis=-1)
        from_z, from_r, old = df.split(h @ self.recurrent_kernel + self.bias[1], 3, axis=-1)
        z, r = sigmoid(z + from_z), sigmoid(r + from_r)
        return (z * h + (1.0 - z) * self.activation(new + r * old),)
