"""What a step of a recurrent net does after its matrix products: one kernel each."""

from __future__ import annotations

from typing import Any

from dualflow.core.define import composite
from dualflow.core.tensor import Tensor
from dualflow.ops.activation import sigmoid
from dualflow.ops.special import tanh


def parts(x: Any, count: int) -> list[Tensor]:
    """`x` cut along its last axis into equal parts."""
    size = x.shape[-1] // count
    return [x[..., k * size : (k + 1) * size] for k in range(count)]


@composite(tensors=2, accepts="floating", public=False)
def lstm_gates(gates: Any, c: Any) -> tuple[Tensor, Tensor]:
    """The next h and c of an LSTM (Hochreiter and Schmidhuber, 1997).

    Args:
        gates: Sums of products for input, forget, cell and output gate, (..., 4 * hidden).
        c: The cell's memory, (..., hidden).
    """
    i, f, g, o = parts(gates, 4)
    new = sigmoid(f) * c + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(new), new


@composite(tensors=3, accepts="floating", public=False)
def gru_gates(from_input: Any, from_hidden: Any, h: Any) -> Tensor:
    """The next h of a GRU (Cho et al., 2014).

    Args:
        from_input: Sums of products with the input for reset, update and new, (..., 3 * hidden).
        from_hidden: The same of `h`.
        h: The state, (..., hidden).
    """
    r, z, n = parts(from_input, 3)
    r_h, z_h, n_h = parts(from_hidden, 3)
    update = sigmoid(z + z_h)
    new = tanh(n + sigmoid(r + r_h) * n_h)
    return (1 - update) * new + update * h
