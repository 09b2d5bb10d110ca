"""Layers that are one affine map, and those that only reshape."""

from __future__ import annotations

import math
from typing import Any

from dualflow.core.axes import canonical_axis
from dualflow.core.convert import as_tensor
from dualflow.core.tensor import Tensor
from dualflow.nn import functional as F  # noqa: N812 - as everybody calls it
from dualflow.nn import init
from dualflow.nn.module import Module, Parameter
from dualflow.ops.create import zeros
from dualflow.ops.shape import reshape
from jit.types import product


class Linear(Module):
    """`x @ weight.T + bias`.

    Args:
        in_features: Length of the input's last dimension.
        out_features: Length of the output's last dimension.
        bias: Add a bias.
        dtype: Of the parameters.

    Attributes:
        weight: Shape (out_features, in_features), uniform within `1 / sqrt(in_features)`.
        bias: Shape (out_features,), from the same distribution; or None.

    Example:
        >>> import dualflow as df
        >>> df.nn.Linear(3, 2)(df.ones((5, 3))).shape
        (5, 2)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,  # noqa: FBT001, FBT002 - PyTorch's position
        *,
        dtype: Any = "float32",
    ) -> None:
        self.in_features = in_features
        self.out_features = out_features
        self.weight = Parameter(zeros((out_features, in_features), dtype=dtype))
        self.bias = Parameter(zeros(out_features, dtype=dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws new initial values."""
        draw(self.weight, self.bias)

    def forward(self, x: Any) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        return F.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        no_bias = ", bias=False" if self.bias is None else ""
        return f"{self.in_features}, {self.out_features}{no_bias}"


class Bilinear(Module):
    """`x1 @ weight[k] @ x2 + bias[k]` for each output k.

    Args:
        in1_features: Length of the first input's last dimension.
        in2_features: Length of the second input's last dimension.
        out_features: Length of the output's last dimension.
        bias: Add a bias.
        dtype: Of the parameters.

    Attributes:
        weight: Shape (out_features, in1_features, in2_features), uniform within
            `1 / sqrt(in1_features)`.
        bias: Shape (out_features,), from the same distribution; or None.
    """

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,  # noqa: FBT001, FBT002 - PyTorch's position
        *,
        dtype: Any = "float32",
    ) -> None:
        self.in1_features, self.in2_features = in1_features, in2_features
        self.out_features = out_features
        self.weight = Parameter(zeros((out_features, in1_features, in2_features), dtype=dtype))
        self.bias = Parameter(zeros(out_features, dtype=dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws new initial values."""
        bound = 1.0 / math.sqrt(self.in1_features)
        for parameter in (self.weight, self.bias):
            if parameter is not None:
                init.uniform_(parameter, -bound, bound)

    def forward(self, x1: Any, x2: Any) -> Tensor:
        """(..., in1_features) and (..., in2_features) -> (..., out_features)."""
        return F.bilinear(x1, x2, self.weight, self.bias)

    def extra_repr(self) -> str:
        no_bias = ", bias=False" if self.bias is None else ""
        return f"{self.in1_features}, {self.in2_features}, {self.out_features}{no_bias}"


def draw(weight: Parameter, bias: Parameter | None) -> None:
    """PyTorch's initial values of linear and convolution layers, uniform in `1 / sqrt(inputs)`."""
    init.kaiming_uniform_(weight, a=math.sqrt(5.0))
    if bias is not None:
        inputs = init.fans(weight)[0]
        bound = 1.0 / math.sqrt(inputs) if inputs else 0.0
        init.uniform_(bias, -bound, bound)


class Identity(Module):
    """Returns its input; takes the place of a layer that is not wanted."""

    def forward(self, x: Any) -> Tensor:
        """`x` itself."""
        return as_tensor(x)


class Flatten(Module):
    """Joins dimensions into one.

    Args:
        start_axis: The first of them; 1 keeps the batch apart.
        end_axis: The last of them.
    """

    def __init__(self, start_axis: int = 1, end_axis: int = -1) -> None:
        self.start_axis = start_axis
        self.end_axis = end_axis

    def forward(self, x: Any) -> Tensor:
        """(n, a, b, ...) -> (n, a * b * ...)."""
        x = as_tensor(x)
        start = canonical_axis("Flatten", self.start_axis, x.ndim)
        end = canonical_axis("Flatten", self.end_axis, x.ndim)
        joined = product(x.shape[start : end + 1])  # -1 would have no answer for an empty batch
        return reshape(x, (*x.shape[:start], joined, *x.shape[end + 1 :]))

    def extra_repr(self) -> str:
        return (
            ""
            if (self.start_axis, self.end_axis) == (1, -1)
            else f"{self.start_axis}, {self.end_axis}"
        )
