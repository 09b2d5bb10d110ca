"""Pooling layers: the largest or the mean value in each window."""

from __future__ import annotations

from typing import Any

from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable
from dualflow.nn import functional as F  # noqa: N812
from dualflow.nn.module import Module

Extents = int | tuple[int, ...]


class _Pool(Module):
    """What pooling over any number of dimensions shares."""

    rank: int
    kernel_size: Extents

    def extra_repr(self) -> str:
        usual = {
            "stride": None,
            "padding": 0,
            "dilation": 1,
            "return_indices": False,
            "ceil_mode": False,
            "count_include_pad": True,
            "divisor_override": None,
        }
        others = [f"{n}={v}" for n, d in usual.items() if (v := getattr(self, n, d)) != d]
        return ", ".join([str(self.kernel_size), *others])


class _MaxPool(_Pool):
    """The largest value in each window."""

    def __init__(
        self,
        kernel_size: Extents,
        stride: Extents | None = None,
        padding: Extents = 0,
        dilation: Extents = 1,
        return_indices: bool = False,  # noqa: FBT001, FBT002 - PyTorch's position
        ceil_mode: bool = False,  # noqa: FBT001, FBT002
    ) -> None:
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.dilation, self.return_indices, self.ceil_mode = dilation, return_indices, ceil_mode

    def forward(self, x: Any) -> Any:
        """(n, channels, ...) -> (n, channels, fewer, ...), and the indices when wanted."""
        return (F.max_pool1d, F.max_pool2d, F.max_pool3d)[self.rank - 1](
            x,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            ceil_mode=self.ceil_mode,
            return_indices=self.return_indices,
        )


class MaxPool1d(_MaxPool):
    """The largest value in each window of sequences; arguments as in `MaxPool2d`."""

    rank = 1


class MaxPool2d(_MaxPool):
    """The largest value in each window of images.

    Args:
        kernel_size: Extent of the window.
        stride: Step of the window; its extent when None.
        padding: Rows and columns added on each side, which are never the largest.
        dilation: Distance between elements of the window.
        return_indices: Also return where the largest values stand, for `MaxUnpool2d`.
        ceil_mode: Also take a last window that reaches beyond the edge.

    Example:
        >>> import dualflow as df
        >>> df.nn.MaxPool2d(2)(df.ones((1, 3, 8, 8))).shape
        (1, 3, 4, 4)
    """

    rank = 2


class MaxPool3d(_MaxPool):
    """The largest value in each window of volumes; arguments as in `MaxPool2d`."""

    rank = 3


class _MaxUnpool(_Pool):
    """The way back."""

    def __init__(
        self, kernel_size: Extents, stride: Extents | None = None, padding: Extents = 0
    ) -> None:
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding

    def forward(self, x: Any, indices: Any, output_size: Any = None) -> Tensor:
        """(n, channels, fewer, ...) -> (n, channels, ...), zeros but for the given values."""
        return (F.max_unpool1d, F.max_unpool2d, F.max_unpool3d)[self.rank - 1](
            x, indices, self.kernel_size, self.stride, self.padding, output_size
        )


class MaxUnpool1d(_MaxUnpool):
    """Largest values of sequences back where they stood; see `MaxUnpool2d`."""

    rank = 1


class MaxUnpool2d(_MaxUnpool):
    """Largest values of images back where they stood, zeros elsewhere.

    Args:
        kernel_size: Extent of the window.
        stride: Step of the window; its extent when None.
        padding: Rows and columns that were added on each side.
    """

    rank = 2


class MaxUnpool3d(_MaxUnpool):
    """Largest values of volumes back where they stood; see `MaxUnpool2d`."""

    rank = 3


class _AvgPool(_Pool):
    """The mean of each window."""

    def __init__(
        self,
        kernel_size: Extents,
        stride: Extents | None = None,
        padding: Extents = 0,
        ceil_mode: bool = False,  # noqa: FBT001, FBT002 - PyTorch's position
        count_include_pad: bool = True,  # noqa: FBT001, FBT002
        divisor_override: int | None = None,
    ) -> None:
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad
        self.divisor_override = divisor_override

    def forward(self, x: Any) -> Tensor:
        """(n, channels, ...) -> (n, channels, fewer, ...)."""
        return (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[self.rank - 1](
            x,
            self.kernel_size,
            self.stride,
            self.padding,
            ceil_mode=self.ceil_mode,
            count_include_pad=self.count_include_pad,
            divisor_override=self.divisor_override,
        )


class AvgPool1d(_AvgPool):
    """The mean of each window of sequences; arguments as in `AvgPool2d`."""

    rank = 1


class AvgPool2d(_AvgPool):
    """The mean of each window of images.

    Args:
        kernel_size: Extent of the window.
        stride: Step of the window; its extent when None.
        padding: Zeros added on each side.
        ceil_mode: Also take a last window that reaches beyond the edge.
        count_include_pad: Whether these zeros count in the mean.
        divisor_override: What sums are divided by, instead of the number of values.
    """

    rank = 2


class AvgPool3d(_AvgPool):
    """The mean of each window of volumes; arguments as in `AvgPool2d`."""

    rank = 3


class _LPPool(_Pool):
    """The p-norm of each window."""

    def __init__(
        self, norm_type: float, kernel_size: Extents, stride: Extents | None = None
    ) -> None:
        self.norm_type, self.kernel_size, self.stride = norm_type, kernel_size, stride

    def forward(self, x: Any) -> Tensor:
        """(n, channels, ...) -> (n, channels, fewer, ...)."""
        return (F.lp_pool1d, F.lp_pool2d, F.lp_pool3d)[self.rank - 1](
            x, self.norm_type, self.kernel_size, self.stride
        )


class LPPool1d(_LPPool):
    """The p-norm of each window of sequences; arguments as in `LPPool2d`."""

    rank = 1


class LPPool2d(_LPPool):
    """The p-norm of each window of images.

    Args:
        norm_type: The exponent p.
        kernel_size: Extent of the window.
        stride: Step of the window; its extent when None.
    """

    rank = 2


class LPPool3d(_LPPool):
    """The p-norm of each window of volumes; arguments as in `LPPool2d`."""

    rank = 3


class _FractionalMaxPool(Module):
    """The largest value of windows at random distances."""

    rank: int

    def __init__(
        self,
        kernel_size: Extents,
        output_size: Extents | None = None,
        output_ratio: float | tuple[float, ...] | None = None,
        return_indices: bool = False,  # noqa: FBT001, FBT002 - PyTorch's position
        _random_samples: Any = None,
    ) -> None:
        if (output_size is None) == (output_ratio is None):
            name = type(self).__name__
            raise ValueError(f"{name}: give output_size or output_ratio, one of them")
        self.kernel_size, self.output_size = kernel_size, output_size
        self.output_ratio, self.return_indices = output_ratio, return_indices
        self._random_samples = None
        if _random_samples is not None:
            self._random_samples = Variable(_random_samples, trainable=False)

    def forward(self, x: Any) -> Any:
        """(n, channels, ...) -> (n, channels, fewer, ...), and the indices when wanted."""
        return (F.fractional_max_pool2d, F.fractional_max_pool3d)[self.rank - 2](
            x,
            self.kernel_size,
            self.output_size,
            self.output_ratio,
            return_indices=self.return_indices,
            _random_samples=self._random_samples,
        )

    def extra_repr(self) -> str:
        size = f"output_ratio={self.output_ratio}"
        return f"{self.kernel_size}, {size if self.output_size is None else self.output_size}"


class FractionalMaxPool2d(_FractionalMaxPool):
    """The largest value of windows at random distances, so that images shrink by any factor.

    Args:
        kernel_size: Extent of the window.
        output_size: The wanted height and width.
        output_ratio: Or their share of those of the image, below 1.
        return_indices: Also tell where the values stood.
        _random_samples: Numbers in [0, 1), (n, channels, 2), instead of new ones for each call.

    Example:
        >>> import dualflow as df
        >>> df.nn.FractionalMaxPool2d(2, output_ratio=0.7)(df.ones((1, 3, 10, 20))).shape
        (1, 3, 7, 14)
    """

    rank = 2


class FractionalMaxPool3d(_FractionalMaxPool):
    """The same for volumes; arguments as in `FractionalMaxPool2d`."""

    rank = 3


class _AdaptivePool(Module):
    """Pooling to given extents."""

    rank: int
    what: str

    def __init__(self, output_size: Any) -> None:
        self.output_size = output_size

    def forward(self, x: Any) -> Tensor:
        """(n, channels, ...) -> (n, channels, *output_size)."""
        return getattr(F, f"adaptive_{self.what}_pool{self.rank}d")(x, self.output_size)

    def extra_repr(self) -> str:
        return str(self.output_size)


class AdaptiveAvgPool1d(_AdaptivePool):
    """The mean of as many stretches of a sequence as wanted; see `AdaptiveAvgPool2d`."""

    rank, what = 1, "avg"


class AdaptiveAvgPool2d(_AdaptivePool):
    """The mean of as many stretches of images as wanted, whatever their size.

    Args:
        output_size: The wanted height and width; None keeps one.

    Example:
        >>> import dualflow as df
        >>> df.nn.AdaptiveAvgPool2d(1)(df.ones((1, 3, 5, 7))).shape
        (1, 3, 1, 1)
    """

    rank, what = 2, "avg"


class AdaptiveAvgPool3d(_AdaptivePool):
    """The mean of as many stretches of volumes as wanted; see `AdaptiveAvgPool2d`."""

    rank, what = 3, "avg"


class _AdaptiveMaxPool(_AdaptivePool):
    what = "max"

    def __init__(self, output_size: Any, return_indices: bool = False) -> None:  # noqa: FBT001, FBT002 - PyTorch's position
        super().__init__(output_size)
        self.return_indices = return_indices

    def forward(self, x: Any) -> Any:
        pool = getattr(F, f"adaptive_max_pool{self.rank}d")
        return pool(x, self.output_size, return_indices=self.return_indices)


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """The largest value of as many stretches of a sequence; see `AdaptiveAvgPool2d`."""

    rank = 1


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """The largest value of as many stretches of images as wanted.

    Args:
        output_size: The wanted height and width; None keeps one.
        return_indices: Also give where they stand, height and width taken as one.
    """

    rank = 2


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """The largest value of as many stretches of volumes; see `AdaptiveAvgPool2d`."""

    rank = 3
