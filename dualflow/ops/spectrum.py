"""Fourier transforms for users: `df.fft`, the array API's extension.

Along several axes they are made one after the other. `numpy.fft` has the same names and arguments.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from dualflow.core.axes import canonical_axes, canonical_axis
from dualflow.core.convert import as_tensor
from dualflow.core.define import creation
from dualflow.core.doors import meet
from dualflow.core.inspection import complex_dtype
from dualflow.core.registry import api
from dualflow.core.tensor import Tensor
from dualflow.ops.arrange import concat, roll
from dualflow.ops.create import arange
from dualflow.ops.elementwise import astype, conj
from dualflow.ops.fourier import OPPOSITE, dft, irdft, rdft
from dualflow.ops.shape import ordered_axes
from dualflow.ops.slicing import pad, part
from jit.errors import ShapeError
from jit.types import as_dtype, float32, float64, format_extent

Axes = int | tuple[int, ...] | None

ONE = """
Args:
    x: Tensor with one dimension or more.
    n: The number of points; `x` is cut or filled up with zeros. None: as many as there are, in
        the spectrum that belongs to `x`.
    axis: The axis to transform.
    norm: What is scaled: "backward" the inverse transform, by 1 / n; "forward" the other one;
        "ortho" both, by 1 / sqrt(n).
"""
MANY = """
Args:
    x: Tensor with one dimension or more.
    s: The number of points along each axis, as `n` of the transform along one.
    axes: The axes to transform; all when None, or the last ones if there are numbers in `s`.
    norm: What is scaled: "backward" the inverse transform, by 1 / n; "forward" the other one;
        "ortho" both, by 1 / sqrt(n).
"""
RAISES = """
Raises:
    AxisError: `x` has no such axis.
    ShapeError: There are no points.
    DTypeError: `x` holds bools, or complex numbers where real ones are wanted.

"""


def transform(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Decorator: makes a transform public, and adds what all of them share to its docstring."""
    text = inspect.cleandoc(function.__doc__ or "")
    head, returns, rest = text.partition("\n\nReturns:")
    result, example, shown = rest.partition("\n\nExample:")
    arguments = MANY if "axes" in inspect.signature(function).parameters else ONE
    between = f"\n{arguments}{returns[1:]}{result}\n{RAISES}{example[2:]}"
    function.__doc__ = head + between + shown
    return api(function)


# ----- arguments -----


def complex_numbers(name: str, x: Any) -> Tensor:
    """`x` as complex numbers; of half precision as complex64."""
    (x,) = meet(name, (as_tensor(x),), "inexact")
    return astype(x, complex_dtype(x.dtype))


def real_numbers(name: str, x: Any) -> Tensor:
    """`x` as real numbers, of float32 or float64."""
    (x,) = meet(name, (as_tensor(x),), "floating")
    return astype(x, float32) if x.dtype.itemsize == 2 else x


def scale(name: str, norm: str) -> str:
    """`norm`, after checking that it is one of the three words.

    Raises:
        ValueError: It is another.
    """
    if norm not in OPPOSITE:
        raise ValueError(f"{name}: norm={norm!r}, which is none of {', '.join(OPPOSITE)}")
    return norm


def resized(name: str, x: Tensor, axis: int, extent: Any) -> Tensor:
    """`x` cut, or filled up with zeros, to an extent.

    Raises:
        ShapeError: It is below 1.
    """
    old = x.shape[axis]
    if isinstance(extent, int) and extent < 1:
        raise ShapeError(f"{name}: n={extent} points", "one or more", "check x.shape")
    if extent == old:
        return x
    if extent < old:
        return part(x, axis, 0, extent)
    return pad(x, tuple((0, extent - old if k == axis else 0) for k in range(x.ndim)))


def sizes(name: str, x: Tensor, s: Any, axes: Any) -> list[tuple[Any, int]]:
    """The numbers of points (None: as many as there are), each with its axis, in order.

    Raises:
        ShapeError: There is not one for each axis.
    """
    if axes is None:
        axes = range(x.ndim) if s is None else range(-len(s), 0)
    axes = ordered_axes(name, tuple(axes), x.ndim)
    extents = [None] * len(axes) if s is None else list(s)
    if len(extents) != len(axes):
        raise ShapeError(
            f"{name}: {len(extents)} sizes for {len(axes)} axes", "a size for each axis", "s=None"
        )
    return list(zip(extents, axes, strict=True))


def along(name: str, x: Tensor, n: Any, axis: int, norm: str, *, inverse: bool = False) -> Tensor:
    """A complex transform along one axis."""
    axis = canonical_axis(name, axis, x.ndim)
    x = resized(name, x, axis, x.shape[axis] if n is None else n)
    return dft(x, axis, scale(name, norm), inverse=inverse)


def half(name: str, x: Tensor, n: Any, axis: int, norm: str) -> Tensor:
    """The first half of the spectrum of real numbers along one axis."""
    axis = canonical_axis(name, axis, x.ndim)
    x = resized(name, x, axis, x.shape[axis] if n is None else n)
    return rdft(x, axis, scale(name, norm))


def whole(name: str, x: Tensor, n: Any, axis: int, norm: str) -> Tensor:
    """Real numbers from half of their spectrum along one axis."""
    axis = canonical_axis(name, axis, x.ndim)
    size = 2 * (x.shape[axis] - 1) if n is None else n
    if isinstance(size, int) and size < 1:
        raise ShapeError(
            f"{name}: n={format_extent(size)} points", "one or more", "n= says how many there were"
        )
    return irdft(resized(name, x, axis, size // 2 + 1), axis, size, scale(name, norm))


# ----- complex numbers -----


@transform
def fft(x: Any, /, *, n: Any = None, axis: int = -1, norm: str = "backward") -> Tensor:
    """The discrete Fourier transform along an axis.

    Returns:
        Tensor of complex numbers, with `n` of them along the axis.

    Example:
        >>> import dualflow as df
        >>> df.fft.fft(df.asarray([1.0, 2.0])).tolist()
        [(3+0j), (-1+0j)]
    """
    return along("fft", complex_numbers("fft", x), n, axis, norm)


@transform
def ifft(x: Any, /, *, n: Any = None, axis: int = -1, norm: str = "backward") -> Tensor:
    """The inverse of `fft`.

    Returns:
        Tensor of complex numbers, with `n` of them along the axis.

    Example:
        >>> import dualflow as df
        >>> df.fft.ifft(df.asarray([3.0, -1.0])).tolist()
        [(1+0j), (2+0j)]
    """
    return along("ifft", complex_numbers("ifft", x), n, axis, norm, inverse=True)


@transform
def fftn(x: Any, /, *, s: Any = None, axes: Any = None, norm: str = "backward") -> Tensor:
    """The discrete Fourier transform along several axes.

    Returns:
        Tensor of complex numbers, with as many along each axis as `s` says.

    Example:
        >>> import dualflow as df
        >>> df.fft.fftn(df.ones((2, 2))).tolist()
        [[(4+0j), 0j], [0j, 0j]]
    """
    x = complex_numbers("fftn", x)
    for n, axis in reversed(sizes("fftn", x, s, axes)):
        x = along("fftn", x, n, axis, norm)
    return x


@transform
def ifftn(x: Any, /, *, s: Any = None, axes: Any = None, norm: str = "backward") -> Tensor:
    """The inverse of `fftn`.

    Returns:
        Tensor of complex numbers, with as many along each axis as `s` says.

    Example:
        >>> import dualflow as df
        >>> df.fft.ifftn(df.ones((2, 2))).tolist()
        [[(1+0j), 0j], [0j, 0j]]
    """
    x = complex_numbers("ifftn", x)
    for n, axis in reversed(sizes("ifftn", x, s, axes)):
        x = along("ifftn", x, n, axis, norm, inverse=True)
    return x


# ----- real numbers -----


@transform
def rfft(x: Any, /, *, n: Any = None, axis: int = -1, norm: str = "backward") -> Tensor:
    """The discrete Fourier transform of real numbers along an axis: its first half.

    Returns:
        Tensor of complex numbers, with n // 2 + 1 of them along the axis.

    Example:
        >>> import dualflow as df
        >>> df.fft.rfft(df.asarray([1.0, 2.0, 3.0])).shape
        (2,)
    """
    return half("rfft", real_numbers("rfft", x), n, axis, norm)


@transform
def irfft(x: Any, /, *, n: Any = None, axis: int = -1, norm: str = "backward") -> Tensor:
    """The inverse of `rfft`; `n`, when None, is the even number that suits.

    Returns:
        Tensor of real numbers, with `n` of them along the axis.

    Example:
        >>> import dualflow as df
        >>> df.fft.irfft(df.asarray([3.0, -1.0])).tolist()
        [1.0, 2.0]
    """
    return whole("irfft", complex_numbers("irfft", x), n, axis, norm)


@transform
def rfftn(x: Any, /, *, s: Any = None, axes: Any = None, norm: str = "backward") -> Tensor:
    """The discrete Fourier transform of real numbers along several axes: half along the last.

    Returns:
        Tensor of complex numbers, with n // 2 + 1 of them along the last of the axes.

    Example:
        >>> import dualflow as df
        >>> df.fft.rfftn(df.ones((4, 4))).shape
        (4, 3)
    """
    x = real_numbers("rfftn", x)
    *others, (n, axis) = sizes("rfftn", x, s, axes)
    x = half("rfftn", x, n, axis, norm)
    for n, axis in reversed(others):
        x = along("rfftn", x, n, axis, norm)
    return x


@transform
def irfftn(x: Any, /, *, s: Any = None, axes: Any = None, norm: str = "backward") -> Tensor:
    """The inverse of `rfftn`; the last number of points, when None, is the even one that suits.

    Returns:
        Tensor of real numbers, with as many along each axis as `s` says.

    Example:
        >>> import dualflow as df
        >>> df.fft.irfftn(df.ones((4, 3))).shape
        (4, 4)
    """
    x = complex_numbers("irfftn", x)
    *others, (size, last) = sizes("irfftn", x, s, axes)
    for n, axis in others:
        x = along("irfftn", x, n, axis, norm, inverse=True)
    return whole("irfftn", x, size, last, norm)


@transform
def hfft(x: Any, /, *, n: Any = None, axis: int = -1, norm: str = "backward") -> Tensor:
    """The transform, real, of numbers whose other half are their conjugates in reverse.

    Returns:
        Tensor of real numbers, with `n` of them along the axis.

    Example:
        >>> import dualflow as df
        >>> df.fft.hfft(df.asarray([1.0, 2.0])).tolist()
        [3.0, -1.0]
    """
    norm = OPPOSITE[scale("hfft", norm)]
    return whole("hfft", conj(complex_numbers("hfft", x)), n, axis, norm)


@transform
def ihfft(x: Any, /, *, n: Any = None, axis: int = -1, norm: str = "backward") -> Tensor:
    """The inverse of `hfft`.

    Returns:
        Tensor of complex numbers, with n // 2 + 1 of them along the axis.

    Example:
        >>> import dualflow as df
        >>> df.fft.ihfft(df.asarray([3.0, -1.0])).tolist()
        [(1-0j), (2-0j)]
    """
    norm = OPPOSITE[scale("ihfft", norm)]
    return conj(half("ihfft", real_numbers("ihfft", x), n, axis, norm))


# ----- frequencies -----


@api
@creation
def fftfreq(n: Any, /, *, d: float = 1.0, dtype: Any = None) -> Tensor:
    """The frequencies that the numbers of a transform belong to.

    Args:
        n: The number of points.
        d: The distance between points.
        dtype: float32 when None.

    Returns:
        Tensor of shape (n,): first those from 0 up, then the negative ones, in cycles by unit of
        distance.

    Raises:
        ShapeError: There are no points.

    Example:
        >>> import dualflow as df
        >>> df.fft.fftfreq(4).tolist()
        [0.0, 0.25, -0.5, -0.25]
    """
    check_points("fftfreq", n)
    above = (n - 1) // 2 + 1
    steps = concat([arange(above), arange(n - above) - n // 2])
    return frequencies(steps, n, d, dtype)


@api
@creation
def rfftfreq(n: Any, /, *, d: float = 1.0, dtype: Any = None) -> Tensor:
    """The frequencies that the numbers of a transform of real numbers belong to.

    Args:
        n: The number of points that are transformed.
        d: The distance between points.
        dtype: float32 when None.

    Returns:
        Tensor of shape (n // 2 + 1,), in cycles by unit of distance.

    Raises:
        ShapeError: There are no points.

    Example:
        >>> import dualflow as df
        >>> df.fft.rfftfreq(4).tolist()
        [0.0, 0.25, 0.5]
    """
    check_points("rfftfreq", n)
    return frequencies(arange(n // 2 + 1), n, d, dtype)


def check_points(name: str, n: Any) -> None:
    """Raises the error of a transform of nothing."""
    if isinstance(n, int) and n < 1:
        raise ShapeError(f"{name}: n={n} points", "one or more", "check x.shape")


def frequencies(steps: Tensor, n: Any, d: float, dtype: Any) -> Tensor:
    """Whole numbers of cycles in `n` points, by unit of distance; computed in float64."""
    return astype(astype(steps, float64) / (n * d), float32 if dtype is None else as_dtype(dtype))


@api
def fftshift(x: Any, /, *, axes: Axes = None) -> Tensor:
    """The frequencies of a transform in rising order: 0 comes to the middle.

    Args:
        x: Tensor of any shape and dtype.
        axes: One axis, a tuple of them, or None for all.

    Returns:
        Tensor of the shape of `x`.

    Raises:
        AxisError: `x` has no such axis.

    Example:
        >>> import dualflow as df
        >>> df.fft.fftshift(df.asarray([0, 1, 2, -2, -1])).tolist()
        [-2, -1, 0, 1, 2]
    """
    x = as_tensor(x)
    moved = canonical_axes("fftshift", axes, x.ndim)
    return roll(x, tuple(x.shape[k] // 2 for k in moved), moved)


@api
def ifftshift(x: Any, /, *, axes: Axes = None) -> Tensor:
    """The inverse of `fftshift`: 0 comes to the front.

    Args:
        x: Tensor of any shape and dtype.
        axes: One axis, a tuple of them, or None for all.

    Returns:
        Tensor of the shape of `x`.

    Raises:
        AxisError: `x` has no such axis.

    Example:
        >>> import dualflow as df
        >>> df.fft.ifftshift(df.asarray([-2, -1, 0, 1, 2])).tolist()
        [0, 1, 2, -2, -1]
    """
    x = as_tensor(x)
    moved = canonical_axes("ifftshift", axes, x.ndim)
    return roll(x, tuple(-(x.shape[k] // 2) for k in moved), moved)
