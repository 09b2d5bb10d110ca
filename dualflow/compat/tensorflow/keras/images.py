"""Keras's layers of images, whose channels come last: (batch, height, width, channels)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dualflow as df
from dualflow.compat.tensorflow.keras import activations
from dualflow.compat.tensorflow.keras.base import Layer

F = df.nn.functional


def pair(value: Any) -> tuple[int, int]:
    """One number for both directions, or one for each."""
    return (value, value) if isinstance(value, int) else tuple(value)


def channels_first(x: Any) -> Any:
    """(n, h, w, c) -> (n, c, h, w)."""
    return df.permute_dims(x, (0, 3, 1, 2))


def channels_last(x: Any) -> Any:
    """(n, c, h, w) -> (n, h, w, c)."""
    return df.permute_dims(x, (0, 2, 3, 1))


def frame(extents: Any, window: Any, strides: Any, padding: str) -> list[int]:
    """What `pad` adds: for "same" so much that a step of 1 changes no extent, more at the end.

    Raises:
        ValueError: Another word.
    """
    if padding not in ("same", "valid"):
        raise ValueError(f'padding={padding!r}: "same" or "valid"')
    widths = []
    for n, k, s in zip(reversed(extents), reversed(window), reversed(strides), strict=True):
        total = max((-(-n // s) - 1) * s + k - n, 0) if padding == "same" else 0
        widths += [total // 2, total - total // 2]
    return widths


class Conv2D(Layer):
    """A convolution of images.

    Args:
        filters: Channels of the output.
        kernel_size: Extent of the window: a number, or two.
        strides: Its steps.
        padding: "valid", or "same".
        activation: A function, or its name.
        use_bias: Add a bias.
        kernel_initializer: Of the kernel, (height, width, inputs, filters).
        bias_initializer: Of the bias.
        **options: `input_shape`, `name`.

    Example:
        >>> import dualflow as df
        >>> layer = df.compat.tensorflow.keras.layers.Conv2D(4, 3, padding="same", strides=2)
        >>> layer(df.ones((1, 8, 8, 3))).shape
        (1, 4, 4, 4)
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: str = "valid",
        activation: Any = None,
        use_bias: bool = True,  # noqa: FBT001, FBT002 - Keras's position
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        **options: Any,
    ) -> None:
        self.filters, self.kernel_size, self.strides = filters, pair(kernel_size), pair(strides)
        self.padding, self.use_bias = padding, use_bias
        self.activation = activations.get(activation)
        self._initial = (kernel_initializer, bias_initializer)
        super().__init__(**options)

    def build(self, input_shape: Any) -> None:
        """Kernel and bias."""
        kernel, bias = self._initial
        shape = (*self.kernel_size, int(input_shape[-1]), self.filters)
        self.kernel = self.add_weight(shape, kernel)
        self.bias = self.add_weight((self.filters,), bias) if self.use_bias else None

    def call(self, x: Any) -> Any:
        """(n, h, w, inputs) -> (n, h', w', filters)."""
        widths = frame(x.shape[1:3], self.kernel_size, self.strides, self.padding)
        x = F.pad(channels_first(x), widths)
        kernel = df.permute_dims(self.kernel, (3, 2, 0, 1))
        return self.activation(channels_last(F.conv2d(x, kernel, self.bias, self.strides)))


class MaxPooling2D(Layer):
    """The largest number in each window.

    Args:
        pool_size: Extent of the window: a number, or two.
        strides: Its steps; its extent when None.
        padding: "valid", or "same".
        **options: `input_shape`, `name`.
    """

    def __init__(
        self, pool_size: Any = (2, 2), strides: Any = None, padding: str = "valid", **options: Any
    ) -> None:
        self.pool_size, self.padding = pair(pool_size), padding
        self.strides = self.pool_size if strides is None else pair(strides)
        super().__init__(**options)

    def call(self, x: Any) -> Any:
        """(n, h, w, c) -> (n, h', w', c)."""
        widths = frame(x.shape[1:3], self.pool_size, self.strides, self.padding)
        x = F.pad(channels_first(x), widths, value=-float("inf"))
        return channels_last(F.max_pool2d(x, self.pool_size, self.strides))


class AveragePooling2D(MaxPooling2D):
    """The mean of the numbers in each window; a frame does not count."""

    def call(self, x: Any) -> Any:
        """(n, h, w, c) -> (n, h', w', c)."""
        widths = frame(x.shape[1:3], self.pool_size, self.strides, self.padding)

        def mean(x: Any) -> Any:
            return F.avg_pool2d(F.pad(channels_first(x), widths), self.pool_size, self.strides)

        return channels_last(mean(x) / mean(df.ones_like(x)) if any(widths) else mean(x))


class Overall(Layer):
    """One number for each channel: (n, h, w, c) -> (n, c)."""

    fold: Callable[..., Any]

    def call(self, x: Any) -> Any:
        """What is left of all places."""
        return type(self).fold(x, axis=(1, 2))


class GlobalAveragePooling2D(Overall):
    """The mean of each channel."""

    fold = staticmethod(df.mean)


class GlobalMaxPooling2D(Overall):
    """The largest number of each channel."""

    fold = staticmethod(df.max)
