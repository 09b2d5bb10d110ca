"""Activations as modules, for chains; each calls the function of its name."""

from __future__ import annotations

from typing import Any

from dualflow.core.convert import as_tensor
from dualflow.core.tensor import Tensor
from dualflow.nn import functional as F  # noqa: N812
from dualflow.nn.module import Module, Parameter
from dualflow.ops.basic import full
from dualflow.ops.shape import reshape


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


class ReLU6(Module):
    """Each element, but at least 0 and at most 6 (Krizhevsky, 2010)."""

    def forward(self, x: Any) -> Tensor:
        """The same shape."""
        return F.relu6(x)


class SELU(Module):
    """ELU with the scale that keeps mean 0 and variance 1 (Klambauer et al., 2017)."""

    def forward(self, x: Any) -> Tensor:
        """The same shape."""
        return F.selu(x)


class Mish(Module):
    """x * tanh(softplus(x)) of each element (Misra, 2019)."""

    def forward(self, x: Any) -> Tensor:
        """The same shape."""
        return F.mish(x)


class Hardsigmoid(Module):
    """A sigmoid of three straight lines (Courbariaux et al., 2015)."""

    def forward(self, x: Any) -> Tensor:
        """The same shape."""
        return F.hardsigmoid(x)


class Hardswish(Module):
    """x * hardsigmoid(x) of each element (Howard et al., 2019)."""

    def forward(self, x: Any) -> Tensor:
        """The same shape."""
        return F.hardswish(x)


class LogSigmoid(Module):
    """The logarithm of the sigmoid of each element."""

    def forward(self, x: Any) -> Tensor:
        """The same shape."""
        return F.logsigmoid(x)


class Softsign(Module):
    """x / (1 + |x|) of each element."""

    def forward(self, x: Any) -> Tensor:
        """The same shape."""
        return F.softsign(x)


class Tanhshrink(Module):
    """x - tanh(x) of each element."""

    def forward(self, x: Any) -> Tensor:
        """The same shape."""
        return F.tanhshrink(x)


class CELU(Module):
    """ELU whose slope has no jump (Barron, 2017).

    Args:
        alpha: Minus the limit at minus infinity.
    """

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = alpha

    def forward(self, x: Any) -> Tensor:
        """The same shape."""
        return F.celu(x, self.alpha)

    def extra_repr(self) -> str:
        return str(self.alpha)


class Hardtanh(Module):
    """Each element, or the bound that it exceeds.

    Args:
        min_val: Lower bound.
        max_val: Upper bound.
    """

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0) -> None:
        self.min_val, self.max_val = min_val, max_val

    def forward(self, x: Any) -> Tensor:
        """The same shape."""
        return F.hardtanh(x, self.min_val, self.max_val)

    def extra_repr(self) -> str:
        return f"{self.min_val}, {self.max_val}"


class Hardshrink(Module):
    """Each element, or 0 where it is near 0.

    Args:
        lambd: How near.
    """

    def __init__(self, lambd: float = 0.5) -> None:
        self.lambd = lambd

    def forward(self, x: Any) -> Tensor:
        """The same shape."""
        return F.hardshrink(x, self.lambd)

    def extra_repr(self) -> str:
        return str(self.lambd)


class Softshrink(Module):
    """Each element moved towards 0, and 0 where it is near.

    Args:
        lambd: By how much.
    """

    def __init__(self, lambd: float = 0.5) -> None:
        self.lambd = lambd

    def forward(self, x: Any) -> Tensor:
        """The same shape."""
        return F.softshrink(x, self.lambd)

    def extra_repr(self) -> str:
        return str(self.lambd)


class Threshold(Module):
    """Each element, or `value` where it is not above `threshold`.

    Args:
        threshold: The threshold.
        value: What stands for elements below it.
    """

    def __init__(self, threshold: float, value: float) -> None:
        self.threshold, self.value = threshold, value

    def forward(self, x: Any) -> Tensor:
        """The same shape."""
        return F.threshold(x, self.threshold, self.value)

    def extra_repr(self) -> str:
        return f"{self.threshold}, {self.value}"


class GLU(Module):
    """One half of the input times the sigmoid of the other (Dauphin et al., 2017).

    Args:
        axis: The axis that is halved.
    """

    def __init__(self, axis: int = -1) -> None:
        self.axis = axis

    def forward(self, x: Any) -> Tensor:
        """Half the extent along the axis."""
        return F.glu(x, self.axis)

    def extra_repr(self) -> str:
        return f"axis={self.axis}"


class Softmin(Module):
    """The softmax of -x along an axis.

    Args:
        axis: The axis.
    """

    def __init__(self, axis: int = -1) -> None:
        self.axis = axis

    def forward(self, x: Any) -> Tensor:
        """The same shape."""
        return F.softmin(x, self.axis)

    def extra_repr(self) -> str:
        return f"axis={self.axis}"


class Softmax2d(Module):
    """Softmax over the channels of images."""

    def forward(self, x: Any) -> Tensor:
        """(n, channels, height, width) or without n, the same shape."""
        return F.softmax(x, axis=-3)


class RReLU(Module):
    """Leaky relu whose slope is random in training, and the mean slope in evaluation.

    Args:
        lower: The smallest slope.
        upper: The largest slope.
    """

    def __init__(self, lower: float = 1.0 / 8, upper: float = 1.0 / 3) -> None:
        self.lower, self.upper = lower, upper

    def forward(self, x: Any) -> Tensor:
        """The same shape."""
        return F.rrelu(x, self.lower, self.upper, training=self.training)

    def extra_repr(self) -> str:
        return f"{self.lower}, {self.upper}"


class PReLU(Module):
    """Each element, or a learned multiple of it where it is negative (He et al., 2015).

    Args:
        num_parameters: One slope for all, or one for each channel of axis 1.
        init: Its value at first.
        dtype: Of the slopes.

    Attributes:
        weight: Shape (num_parameters,).
    """

    def __init__(
        self, num_parameters: int = 1, init: float = 0.25, *, dtype: Any = "float32"
    ) -> None:
        self.num_parameters = num_parameters
        self.weight = Parameter(full(num_parameters, init, dtype=dtype))

    def forward(self, x: Any) -> Tensor:
        """The same shape."""
        x = as_tensor(x)
        slope = reshape(self.weight, (1, -1, *(1,) * (x.ndim - 2))) if x.ndim > 1 else self.weight
        return F.prelu(x, slope)

    def extra_repr(self) -> str:
        return str(self.num_parameters)
