"""Cells of recurrent nets: one step each."""

from __future__ import annotations

import math
from typing import Any

from dualflow.core.convert import as_tensor
from dualflow.core.devices import beside
from dualflow.core.tensor import Tensor
from dualflow.nn import functional as F  # noqa: N812
from dualflow.nn import init
from dualflow.nn.functional.recurrent import gru_gates, lstm_gates
from dualflow.nn.module import Module, Parameter
from dualflow.ops.create import zeros


class _Cell(Module):
    """What cells share: weights from the input and from the state."""

    gates: int

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,  # noqa: FBT001, FBT002 - PyTorch's position
        *,
        dtype: Any = "float32",
    ) -> None:
        self.input_size, self.hidden_size = input_size, hidden_size
        rows = self.gates * hidden_size
        self.weight_ih = Parameter(zeros((rows, input_size), dtype=dtype))
        self.weight_hh = Parameter(zeros((rows, hidden_size), dtype=dtype))
        self.bias_ih = Parameter(zeros(rows, dtype=dtype)) if bias else None
        self.bias_hh = Parameter(zeros(rows, dtype=dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws new initial values, uniform within `1 / sqrt(hidden_size)`."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size else 0.0
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def start(self, x: Tensor) -> Tensor:
        """A state of zeros for a batch."""
        with beside(x):
            return zeros((*x.shape[:-1], self.hidden_size), dtype=x.dtype)

    def extra_repr(self) -> str:
        no_bias = ", bias=False" if self.bias_ih is None else ""
        return f"{self.input_size}, {self.hidden_size}{no_bias}"


class RNNCell(_Cell):
    """`tanh(W x + b + V h + c)`.

    Args:
        input_size: Length of inputs.
        hidden_size: Length of the state.
        bias: Add biases.
        nonlinearity: "tanh" or "relu".
        dtype: Of the parameters.

    Example:
        >>> import dualflow as df
        >>> df.nn.RNNCell(3, 5)(df.ones((2, 3))).shape
        (2, 5)
    """

    gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,  # noqa: FBT001, FBT002 - PyTorch's position
        nonlinearity: str = "tanh",
        *,
        dtype: Any = "float32",
    ) -> None:
        self.nonlinearity = known(nonlinearity)
        super().__init__(input_size, hidden_size, bias, dtype=dtype)

    def forward(self, x: Any, hx: Any = None) -> Tensor:
        """(n, input_size) and the state (n, hidden_size) -> the next state."""
        x = as_tensor(x)
        h = self.start(x) if hx is None else hx
        total = F.linear(x, self.weight_ih, self.bias_ih) + F.linear(
            h, self.weight_hh, self.bias_hh
        )
        return bend(self.nonlinearity)(total)


class LSTMCell(_Cell):
    """One step of an LSTM (Hochreiter and Schmidhuber, 1997).

    Args:
        input_size: Length of inputs.
        hidden_size: Length of the state.
        bias: Add biases.
        dtype: Of the parameters.
    """

    gates = 4

    def forward(self, x: Any, hx: Any = None) -> tuple[Tensor, Tensor]:
        """(n, input_size) and (h, c), both (n, hidden_size), -> the next (h, c)."""
        x = as_tensor(x)
        h, c = (self.start(x), self.start(x)) if hx is None else hx
        gates = F.linear(x, self.weight_ih, self.bias_ih) + F.linear(
            h, self.weight_hh, self.bias_hh
        )
        return lstm_gates(gates, c)


class GRUCell(_Cell):
    """One step of a GRU (Cho et al., 2014).

    Args:
        input_size: Length of inputs.
        hidden_size: Length of the state.
        bias: Add biases.
        dtype: Of the parameters.
    """

    gates = 3

    def forward(self, x: Any, hx: Any = None) -> Tensor:
        """(n, input_size) and the state (n, hidden_size) -> the next state."""
        x = as_tensor(x)
        h = self.start(x) if hx is None else as_tensor(hx)
        from_input = F.linear(x, self.weight_ih, self.bias_ih)
        return gru_gates(from_input, F.linear(h, self.weight_hh, self.bias_hh), h)


def known(nonlinearity: str) -> str:
    """The word, or ValueError."""
    if nonlinearity not in ("tanh", "relu"):
        raise ValueError(f"RNN: nonlinearity={nonlinearity!r}: tanh or relu")
    return nonlinearity


def bend(nonlinearity: str) -> Any:
    """The function of that name."""
    return F.tanh if nonlinearity == "tanh" else F.relu
