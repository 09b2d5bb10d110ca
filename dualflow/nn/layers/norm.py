"""Layers that bring values to mean 0 and variance 1, and then to a learned scale."""

from __future__ import annotations

from typing import Any

from dualflow.core.axes import canonical_shape
from dualflow.core.context import no_grad
from dualflow.core.convert import as_tensor
from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable
from dualflow.nn import functional as F  # noqa: N812
from dualflow.nn.module import Module, Parameter
from dualflow.ops.create import ones, zeros
from dualflow.ops.elementwise import astype
from dualflow.ops.power import sqrt
from dualflow.ops.shape import reshape
from jit.errors import ShapeError
from jit.types import format_shape, int64


class LayerNorm(Module):
    """Normalises each example over its last dimensions (Ba et al., 2016).

    Args:
        normalized_shape: The extents of these dimensions, or of the last one.
        eps: Added to the variance.
        elementwise_affine: Learn a weight and a bias.
        bias: Learn a bias.
        dtype: Of the parameters.

    Example:
        >>> import dualflow as df
        >>> df.nn.LayerNorm(2)(df.asarray([[1.0, 3.0]])).shape
        (1, 2)
    """

    def __init__(
        self,
        normalized_shape: int | tuple[int, ...],
        eps: float = 1e-5,
        elementwise_affine: bool = True,  # noqa: FBT001, FBT002 - PyTorch's position
        bias: bool = True,  # noqa: FBT001, FBT002
        *,
        dtype: Any = "float32",
    ) -> None:
        self.normalized_shape = canonical_shape("LayerNorm", normalized_shape)
        self.eps = eps
        shape = self.normalized_shape
        self.weight = Parameter(ones(shape, dtype=dtype)) if elementwise_affine else None
        self.bias = Parameter(zeros(shape, dtype=dtype)) if elementwise_affine and bias else None

    def forward(self, x: Any) -> Tensor:
        """The same shape."""
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return format_shape(self.normalized_shape)


class BatchNorm2d(Module):
    """Normalises each channel of images over batch and space (Ioffe and Szegedy, 2015).

    In training by the batch's own mean and variance, which the running ones follow; in evaluation
    by the running ones.

    Args:
        num_features: Channels.
        eps: Added to the variance.
        momentum: Weight of a batch in the running statistics; None: their mean over all batches.
        affine: Learn a weight and a bias for each channel.
        track_running_stats: Keep running statistics; otherwise evaluation is as training.
        dtype: Of parameters and statistics.

    Example:
        >>> import dualflow as df
        >>> norm = df.nn.BatchNorm2d(3)
        >>> norm(df.ones((2, 3, 4, 4))).shape
        (2, 3, 4, 4)
        >>> norm.num_batches_tracked.item()
        1
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,  # noqa: FBT001, FBT002 - PyTorch's position
        track_running_stats: bool = True,  # noqa: FBT001, FBT002
        *,
        dtype: Any = "float32",
    ) -> None:
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.weight = Parameter(ones(num_features, dtype=dtype)) if affine else None
        self.bias = Parameter(zeros(num_features, dtype=dtype)) if affine else None
        self.track_running_stats = track_running_stats
        if track_running_stats:
            self.running_mean = Variable(zeros(num_features, dtype=dtype), trainable=False)
            self.running_var = Variable(ones(num_features, dtype=dtype), trainable=False)
            self.num_batches_tracked = Variable(0, int64, trainable=False)

    def forward(self, x: Any) -> Tensor:
        """(n, channels, height, width), the same shape."""
        x = as_tensor(x)
        if x.ndim != 4 or x.shape[1] != self.num_features:
            raise ShapeError(
                f"BatchNorm2d: an input of shape {format_shape(x.shape)}",
                f"(n, {self.num_features}, height, width)",
                "check num_features, and that channels come second",
            )
        mean, var = self._statistics(x)
        scale = 1.0 / sqrt(var + self.eps)
        if self.weight is not None:
            scale = scale * self.weight
        y = (x - along_channels(mean)) * along_channels(scale)
        return y if self.bias is None else y + along_channels(self.bias)

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of each channel: the batch's, or in evaluation the running ones."""
        if self.track_running_stats and not self.training:
            return as_tensor(self.running_mean), as_tensor(self.running_var)
        if self.training and x.size == self.num_features:
            raise ShapeError(
                f"BatchNorm2d: {format_shape(x.shape)} has one value a channel to learn from",
                "more than one value a channel in training",
                "a larger batch, drop_last=True in the DataLoader, or model.eval()",
            )
        mean, var = x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3))
        if self.track_running_stats:
            self._follow(mean, var, x.size // self.num_features)
        return mean, var

    def _follow(self, mean: Tensor, var: Tensor, count: Any) -> None:
        """Moves the running statistics; the running variance is the unbiased one."""
        with no_grad():
            tracked = self.num_batches_tracked.assign_add(1)
            share: Any = self.momentum
            if share is None:
                share = 1.0 / astype(tracked, mean.dtype)
            unbiased = var * count / (count - 1)
            self.running_mean.assign((1.0 - share) * self.running_mean + share * mean)
            self.running_var.assign((1.0 - share) * self.running_var + share * unbiased)

    def extra_repr(self) -> str:
        return str(self.num_features)


def along_channels(x: Any) -> Tensor:
    """(channels,) as (1, channels, 1, 1)."""
    return reshape(x, (1, -1, 1, 1))
