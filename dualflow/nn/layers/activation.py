"""Activations as modules, for chains; each calls the function of its name."""

from __future__ import annotations

from typing import Any

from dualflow.core.tensor import Tensor
from dualflow.nn import functional as F  # noqa: N812
from dualflow.nn.module import Module


class ReLU(Module):
    """Each element, or 0 where it is negative."""

    def forward(self, x: Any) -> Tensor:
        """The same shape."""
        return F.relu(x)


class Tanh(Module):
    """Hyperbolic tangent of each element."""

    def forward(self, x: Any) -> Tensor:
        """The same shape."""
        return F.tanh(x)


class Sigmoid(Module):
    """1 / (1 + exp(-x)) of each element."""

    def forward(self, x: Any) -> Tensor:
        """The same shape."""
        return F.sigmoid(x)


class SiLU(Module):
    """x * sigmoid(x) of each element."""

    def forward(self, x: Any) -> Tensor:
        """The same shape."""
        return F.silu(x)


class GELU(Module):
    """x times the probability that a normal number lies below it (Hendrycks and Gimpel, 2016).

    Args:
        approximate: "none", or "tanh" for the paper's approximation.
    """

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = approximate

    def forward(self, x: Any) -> Tensor:
        """The same shape."""
        return F.gelu(x, self.approximate)

    def extra_repr(self) -> str:
        return "" if self.approximate == "none" else f"approximate={self.approximate!r}"


class LeakyReLU(Module):
    """Each element, or `negative_slope` times it where it is negative.

    Args:
        negative_slope: The slope below 0.
    """

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = negative_slope

    def forward(self, x: Any) -> Tensor:
        """The same shape."""
        return F.leaky_relu(x, self.negative_slope)

    def extra_repr(self) -> str:
        return str(self.negative_slope)


class ELU(Module):
    """Each element, or `alpha * (exp(x) - 1)` where it is negative.

    Args:
        alpha: Minus the limit at minus infinity.
    """

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = alpha

    def forward(self, x: Any) -> Tensor:
        """The same shape."""
        return F.elu(x, self.alpha)

    def extra_repr(self) -> str:
        return str(self.alpha)


class Softplus(Module):
    """log(1 + exp(beta * x)) / beta of each element.

    Args:
        beta: Sharpness of the bend.
    """

    def __init__(self, beta: float = 1.0) -> None:
        self.beta = beta

    def forward(self, x: Any) -> Tensor:
        """The same shape."""
        return F.softplus(x, self.beta)

    def extra_repr(self) -> str:
        return str(self.beta)


class Softmax(Module):
    """exp(x) divided by its sum along an axis.

    Args:
        axis: The axis.
    """

    def __init__(self, axis: int = -1) -> None:
        self.axis = axis

    def forward(self, x: Any) -> Tensor:
        """The same shape."""
        return F.softmax(x, self.axis)

    def extra_repr(self) -> str:
        return f"axis={self.axis}"


class LogSoftmax(Module):
    """Logarithm of the softmax along an axis.

    Args:
        axis: The axis.
    """

    def __init__(self, axis: int = -1) -> None:
        self.axis = axis

    def forward(self, x: Any) -> Tensor:
        """The same shape."""
        return F.log_softmax(x, self.axis)

    def extra_repr(self) -> str:
        return f"axis={self.axis}"
