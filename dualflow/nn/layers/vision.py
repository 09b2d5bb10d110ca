"""Layers without parameters that only move values: padding, shuffling, other sizes, columns."""

from __future__ import annotations

from typing import Any

from dualflow.core.axes import canonical_axis
from dualflow.core.convert import as_tensor
from dualflow.core.tensor import Tensor
from dualflow.nn import functional as F  # noqa: N812
from dualflow.nn.module import Module
from dualflow.ops.shape import reshape

Extents = int | tuple[int, ...]

# ----- padding -----


class _Pad(Module):
    """A frame around the last dimensions."""

    rank: int
    mode: str

    def __init__(self, padding: Extents) -> None:
        widths = (padding,) * (2 * self.rank) if isinstance(padding, int) else tuple(padding)
        if len(widths) != 2 * self.rank:
            raise ValueError(
                f"{type(self).__name__}: padding={padding}, expected a number, or "
                f"{2 * self.rank}: (before, after) from the last dimension on"
            )
        self.padding = widths

    def forward(self, x: Any) -> Tensor:
        """(..., extents) -> (..., larger extents)."""
        return F.pad(x, self.padding, self.mode, getattr(self, "value", 0.0))

    def extra_repr(self) -> str:
        return str(self.padding)


class _ConstantPad(_Pad):
    """A frame of one value."""

    mode = "constant"

    def __init__(self, padding: Extents, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def extra_repr(self) -> str:
        return f"{self.padding}, value={self.value}"


def _pads(base: type[_Pad], name: str, what: str, mode: str | None = None) -> list[type[_Pad]]:
    """The padding layers of one kind for one to three dimensions."""
    made = []
    for rank in (1, 2, 3):
        doc = f"""{what} around the last {rank} dimension{"s" if rank > 1 else ""}.

    Args:
        padding: A number for all sides, or (before, after) from the last dimension on.
    """
        if base is _ConstantPad:
            doc = doc.rstrip() + "\n        value: What the frame holds.\n    "
        body = {"rank": rank, "__doc__": doc, "__module__": __name__}
        made.append(type(f"{name}Pad{rank}d", (base,), body | ({"mode": mode} if mode else {})))
    return made


ConstantPad1d, ConstantPad2d, ConstantPad3d = _pads(
    _ConstantPad, "Constant", "A frame of one value"
)
ZeroPad1d, ZeroPad2d, ZeroPad3d = _pads(_Pad, "Zero", "A frame of zeros", "constant")
ReflectionPad1d, ReflectionPad2d, ReflectionPad3d = _pads(
    _Pad, "Reflection", "The values within, mirrored at the edge,", "reflect"
)
ReplicationPad1d, ReplicationPad2d, ReplicationPad3d = _pads(
    _Pad, "Replication", "The values of the edge", "replicate"
)
CircularPad1d, CircularPad2d, CircularPad3d = _pads(
    _Pad, "Circular", "The values of the other side", "circular"
)

# ----- shuffling -----


class PixelShuffle(Module):
    """Makes pixels of channels: (n, c r^2, h, w) -> (n, c, h r, w r) (Shi et al., 2016).

    Args:
        upscale_factor: r.
    """

    def __init__(self, upscale_factor: int) -> None:
        self.upscale_factor = upscale_factor

    def forward(self, x: Any) -> Tensor:
        """(..., c r^2, h, w) -> (..., c, h r, w r)."""
        return F.pixel_shuffle(x, self.upscale_factor)

    def extra_repr(self) -> str:
        return str(self.upscale_factor)


class PixelUnshuffle(Module):
    """The inverse of `PixelShuffle`.

    Args:
        downscale_factor: r.
    """

    def __init__(self, downscale_factor: int) -> None:
        self.downscale_factor = downscale_factor

    def forward(self, x: Any) -> Tensor:
        """(..., c, h r, w r) -> (..., c r^2, h, w)."""
        return F.pixel_unshuffle(x, self.downscale_factor)

    def extra_repr(self) -> str:
        return str(self.downscale_factor)


class ChannelShuffle(Module):
    """Deals channels out over groups in turn (Zhang et al., 2018).

    Args:
        groups: How many groups.
    """

    def __init__(self, groups: int) -> None:
        self.groups = groups

    def forward(self, x: Any) -> Tensor:
        """(n, channels, ...), the same shape."""
        return F.channel_shuffle(x, self.groups)

    def extra_repr(self) -> str:
        return str(self.groups)


# ----- other sizes -----


class Upsample(Module):
    """Images of another size.

    Args:
        size: The new extents, or
        scale_factor: the factors to multiply the old ones by.
        mode: "nearest", "nearest-exact", "linear", "bilinear" or "trilinear".
        align_corners: Linear: the first and last pixels keep their places.

    Example:
        >>> import dualflow as df
        >>> df.nn.Upsample(scale_factor=2, mode="bilinear")(df.ones((1, 3, 4, 4))).shape
        (1, 3, 8, 8)
    """

    def __init__(
        self,
        size: Any = None,
        scale_factor: Any = None,
        mode: str = "nearest",
        align_corners: bool | None = None,  # noqa: FBT001 - PyTorch's position
    ) -> None:
        self.size, self.scale_factor, self.mode = size, scale_factor, mode
        self.align_corners = bool(align_corners)

    def forward(self, x: Any) -> Tensor:
        """(n, channels, ...) -> (n, channels, other extents)."""
        return F.interpolate(
            x, self.size, self.scale_factor, self.mode, align_corners=self.align_corners
        )

    def extra_repr(self) -> str:
        size = self.scale_factor if self.size is None else self.size
        return f"{'scale_factor' if self.size is None else 'size'}={size}, mode={self.mode!r}"


class UpsamplingNearest2d(Upsample):
    """`Upsample` of images by repeating pixels.

    Args:
        size: The new extents, or
        scale_factor: the factors to multiply the old ones by.
    """

    def __init__(self, size: Any = None, scale_factor: Any = None) -> None:
        super().__init__(size, scale_factor, "nearest")


class UpsamplingBilinear2d(Upsample):
    """`Upsample` of images between pixels, whose corners keep their places.

    Args:
        size: The new extents, or
        scale_factor: the factors to multiply the old ones by.
    """

    def __init__(self, size: Any = None, scale_factor: Any = None) -> None:
        super().__init__(size, scale_factor, "bilinear", align_corners=True)


# ----- windows, and shapes -----


class Unfold(Module):
    """The windows of images as columns: (n, c, h, w) -> (n, c * window, windows).

    Args:
        kernel_size: Extent of the window.
        dilation: Distance between elements of the window.
        padding: Zeros added on each side.
        stride: Step of the window.
    """

    def __init__(
        self, kernel_size: Extents, dilation: Extents = 1, padding: Extents = 0, stride: Extents = 1
    ) -> None:
        self.kernel_size, self.dilation = kernel_size, dilation
        self.padding, self.stride = padding, stride

    def forward(self, x: Any) -> Tensor:
        """(n, c, h, w) -> (n, c * window, windows)."""
        return F.unfold(x, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self) -> str:
        return str(self.kernel_size)


class Fold(Module):
    """Columns added up as windows of images: the transpose of `Unfold`.

    Args:
        output_size: Height and width of the images.
        kernel_size: Extent of the window.
        dilation: Distance between elements of the window.
        padding: Zeros on each side, which are cropped.
        stride: Step of the window.
    """

    def __init__(
        self,
        output_size: Extents,
        kernel_size: Extents,
        dilation: Extents = 1,
        padding: Extents = 0,
        stride: Extents = 1,
    ) -> None:
        self.output_size, self.kernel_size = output_size, kernel_size
        self.dilation, self.padding, self.stride = dilation, padding, stride

    def forward(self, x: Any) -> Tensor:
        """(n, c * window, windows) -> (n, c, h, w)."""
        return F.fold(
            x, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride
        )

    def extra_repr(self) -> str:
        return f"{self.output_size}, {self.kernel_size}"


class Unflatten(Module):
    """Splits one dimension into several.

    Args:
        axis: The dimension.
        unflattened_size: The extents it becomes; one may be -1.

    Example:
        >>> import dualflow as df
        >>> df.nn.Unflatten(1, (2, 3))(df.ones((4, 6))).shape
        (4, 2, 3)
    """

    def __init__(self, axis: int, unflattened_size: tuple[int, ...]) -> None:
        self.axis, self.unflattened_size = axis, tuple(unflattened_size)

    def forward(self, x: Any) -> Tensor:
        """(..., a * b, ...) -> (..., a, b, ...)."""
        x = as_tensor(x)
        axis = canonical_axis("Unflatten", self.axis, x.ndim)
        return reshape(x, (*x.shape[:axis], *self.unflattened_size, *x.shape[axis + 1 :]))

    def extra_repr(self) -> str:
        return f"{self.axis}, {self.unflattened_size}"
