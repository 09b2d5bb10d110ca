"""Pooling layers: the largest or the mean value in each window."""

from __future__ import annotations

from typing import Any

from dualflow.core.tensor import Tensor
from dualflow.nn import functional as F  # noqa: N812
from dualflow.nn.module import Module

Extents = int | tuple[int, ...]


class MaxPool2d(Module):
    """The largest value in each window of images.

    Args:
        kernel_size: Extent of the window.
        stride: Step of the window; its extent when None.
        padding: Rows and columns added on each side, which are never the largest.
        dilation: Distance between elements of the window.

    Example:
        >>> import dualflow as df
        >>> df.nn.MaxPool2d(2)(df.ones((1, 3, 8, 8))).shape
        (1, 3, 4, 4)
    """

    def __init__(
        self,
        kernel_size: Extents,
        stride: Extents | None = None,
        padding: Extents = 0,
        dilation: Extents = 1,
    ) -> None:
        self.kernel_size, self.stride, self.padding, self.dilation = (
            kernel_size,
            stride,
            padding,
            dilation,
        )

    def forward(self, x: Any) -> Tensor:
        """(n, channels, height, width) -> (n, channels, fewer, fewer)."""
        return F.max_pool2d(x, self.kernel_size, self.stride, self.padding, self.dilation)

    def extra_repr(self) -> str:
        return window_text(self, "padding", "dilation")


class AvgPool2d(Module):
    """The mean of each window of images.

    Args:
        kernel_size: Extent of the window.
        stride: Step of the window; its extent when None.
        padding: Zeros added on each side; they count in the mean.
    """

    def __init__(
        self, kernel_size: Extents, stride: Extents | None = None, padding: Extents = 0
    ) -> None:
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding

    def forward(self, x: Any) -> Tensor:
        """(n, channels, height, width) -> (n, channels, fewer, fewer)."""
        return F.avg_pool2d(x, self.kernel_size, self.stride, self.padding)

    def extra_repr(self) -> str:
        return window_text(self, "padding")


def window_text(module: Any, *names: str) -> str:
    """The settings of a pooling layer that are not the usual ones."""
    usual = {"padding": 0, "dilation": 1}
    stride = [] if module.stride is None else [f"stride={module.stride}"]
    others = [f"{n}={v}" for n in names if (v := getattr(module, n)) != usual[n]]
    return ", ".join([str(module.kernel_size), *stride, *others])
