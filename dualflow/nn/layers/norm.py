"""Layers that bring values to mean 0 and variance 1, and then to a learned scale."""

from __future__ import annotations

from typing import Any

from dualflow.core.axes import canonical_shape
from dualflow.core.convert import as_tensor
from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable
from dualflow.nn import functional as F  # noqa: N812
from dualflow.nn.module import Module, Parameter
from dualflow.ops.create import ones, ones_like, zeros
from dualflow.ops.elementwise import astype
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


class RMSNorm(Module):
    """Divides each example by the root of its mean square (Zhang and Sennrich, 2019).

    Args:
        normalized_shape: The extents of the last dimensions, or of the last one.
        eps: Added to the mean square; the dtype's smallest step from 1 when None.
        elementwise_affine: Learn a weight.
        dtype: Of the weight.
    """

    def __init__(
        self,
        normalized_shape: int | tuple[int, ...],
        eps: float | None = None,
        elementwise_affine: bool = True,  # noqa: FBT001, FBT002 - PyTorch's position
        *,
        dtype: Any = "float32",
    ) -> None:
        self.normalized_shape = canonical_shape("RMSNorm", normalized_shape)
        self.eps = eps
        shape = self.normalized_shape
        self.weight = Parameter(ones(shape, dtype=dtype)) if elementwise_affine else None

    def forward(self, x: Any) -> Tensor:
        """The same shape."""
        return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return format_shape(self.normalized_shape)


class GroupNorm(Module):
    """Normalises groups of channels of each example (Wu and He, 2018).

    Args:
        num_groups: How many groups the channels make.
        num_channels: Channels.
        eps: Added to the variance.
        affine: Learn a weight and a bias for each channel.
        dtype: Of the parameters.

    Example:
        >>> import dualflow as df
        >>> df.nn.GroupNorm(2, 4)(df.ones((1, 4, 8, 8))).shape
        (1, 4, 8, 8)
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,  # noqa: FBT001, FBT002 - PyTorch's position
        *,
        dtype: Any = "float32",
    ) -> None:
        if num_channels % num_groups:
            raise ValueError(
                f"GroupNorm: num_groups={num_groups} does not divide num_channels={num_channels}"
            )
        self.num_groups, self.num_channels, self.eps = num_groups, num_channels, eps
        self.weight = Parameter(ones(num_channels, dtype=dtype)) if affine else None
        self.bias = Parameter(zeros(num_channels, dtype=dtype)) if affine else None

    def forward(self, x: Any) -> Tensor:
        """(n, channels, ...), the same shape."""
        return F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_groups}, {self.num_channels}"


class LocalResponseNorm(Module):
    """Divides each channel by the size of its neighbours (Krizhevsky et al., 2012).

    Args:
        size: How many channels, the own one in the middle.
        alpha: Factor of their mean square.
        beta: Exponent of the divisor.
        k: Is added before.
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, x: Any) -> Tensor:
        """(n, channels, ...), the same shape."""
        return F.local_response_norm(x, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


# ----- with statistics that run along -----


class _Running(Module):
    """What batch and instance normalisation share: parameters and running statistics."""

    ranks: tuple[int, ...]

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
        self.running_mean = self.running_var = self.num_batches_tracked = None
        if track_running_stats:
            self.running_mean = Variable(zeros(num_features, dtype=dtype), trainable=False)
            self.running_var = Variable(ones(num_features, dtype=dtype), trainable=False)
            self.num_batches_tracked = Variable(0, int64, trainable=False)

    def reset_running_stats(self) -> None:
        """Running statistics as they were at first."""
        if self.track_running_stats:
            self.running_mean.zero_()  # type: ignore[union-attr]
            self.running_var.assign(ones_like(self.running_var))  # type: ignore[arg-type]
            self.num_batches_tracked.zero_()  # type: ignore[union-attr]

    def check(self, x: Tensor) -> None:
        """Raises ShapeError unless the input has the channels and dimensions of this layer."""
        if x.ndim not in self.ranks or x.shape[1] != self.num_features:
            extents = ["", ", length", ", height, width", ", depth, height, width"]
            raise ShapeError(
                f"{type(self).__name__}: an input of shape {format_shape(x.shape)}",
                f"(n, {self.num_features}{extents[self.ranks[-1] - 2]})",
                "check num_features, and that channels come second",
            )

    def share(self, dtype: Any) -> Any:
        """The weight of this batch in the running statistics; it counts the batch."""
        if self.num_batches_tracked is None or not self.training:
            return 0.0 if self.momentum is None else self.momentum
        tracked = self.num_batches_tracked.assign_add(1)
        return 1.0 / astype(tracked, dtype) if self.momentum is None else self.momentum

    def extra_repr(self) -> str:
        return str(self.num_features)


class _BatchNorm(_Running):
    """Batch normalisation over any number of dimensions."""

    def forward(self, x: Any) -> Tensor:
        """(n, channels, ...), the same shape."""
        x = as_tensor(x)
        self.check(x)
        return F.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            training=self.training,
            momentum=self.share(x.dtype),
            eps=self.eps,
        )


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of (n, channels) or (n, channels, length); see `BatchNorm2d`."""

    ranks = (2, 3)


class BatchNorm2d(_BatchNorm):
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

    ranks = (4,)


class BatchNorm3d(_BatchNorm):
    """Batch normalisation of (n, channels, depth, height, width); see `BatchNorm2d`."""

    ranks = (5,)


class _InstanceNorm(_Running):
    """Instance normalisation over any number of dimensions."""

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,  # noqa: FBT001, FBT002 - PyTorch's position
        track_running_stats: bool = False,  # noqa: FBT001, FBT002
        *,
        dtype: Any = "float32",
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, dtype=dtype)

    def forward(self, x: Any) -> Tensor:
        """(n, channels, ...), the same shape."""
        x = as_tensor(x)
        self.check(x)
        return F.instance_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            use_input_stats=self.training or not self.track_running_stats,
            momentum=self.momentum,
            eps=self.eps,
        )


class InstanceNorm1d(_InstanceNorm):
    """Instance normalisation of (n, channels, length); see `InstanceNorm2d`."""

    ranks = (3,)


class InstanceNorm2d(_InstanceNorm):
    """Normalises each channel of each image over its space (Ulyanov et al., 2016).

    Args:
        num_features: Channels.
        eps: Added to the variance.
        momentum: Weight of a batch in the running statistics.
        affine: Learn a weight and a bias for each channel.
        track_running_stats: Keep running statistics, and use them in evaluation.
        dtype: Of parameters and statistics.
    """

    ranks = (4,)


class InstanceNorm3d(_InstanceNorm):
    """Instance normalisation of (n, channels, depth, height, width); see `InstanceNorm2d`."""

    ranks = (5,)
