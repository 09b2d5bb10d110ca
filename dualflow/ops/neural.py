"""What layers compute: softmax, normalisation, linear maps, embeddings, convolution.

Names and arguments are PyTorch's, with `axis` for `dim`.
"""

from __future__ import annotations

import operator
from typing import Any

from dualflow.core.axes import canonical_axis
from dualflow.core.convert import as_tensor
from dualflow.core.define import composite
from dualflow.core.doors import meet
from dualflow.core.precision import in_dtype_of
from dualflow.core.registry import api
from dualflow.core.tensor import Tensor
from dualflow.ops.basic import stop_gradient
from dualflow.ops.choice import where
from dualflow.ops.conv import conv
from dualflow.ops.elementwise import astype
from dualflow.ops.gather import as_index, gather
from dualflow.ops.linalg import matmul
from dualflow.ops.power import sqrt, square
from dualflow.ops.reduce import max, sum
from dualflow.ops.shape import expand_dims, matrix_transpose, reshape
from dualflow.ops.special import exp, log
from dualflow.ops.statistics import mean
from jit.dims import Dim
from jit.errors import IndexError, ShapeError
from jit.types import float32, format_shape, product, same_shape

# ----- softmax -----


def _softmax_flow(g: Any, y: Any, x: Any, *, axis: int) -> Tensor:
    return y * (g - sum(g * y, axis=axis, keepdims=True))


@composite(accepts="floating", vjps=(_softmax_flow,), precision="full")
def softmax(x: Any, /, axis: int = -1) -> Tensor:
    """exp(x) divided by its sum along an axis: positive numbers that sum to 1.

    Args:
        x: Tensor with one dimension or more; integers become float32.
        axis: The axis along which they sum to 1.

    Returns:
        Tensor of the shape of `x`.

    Raises:
        AxisError: `x` has no such axis.

    Example:
        >>> import dualflow as df
        >>> df.nn.functional.softmax(df.asarray([0.0, 0.0])).tolist()
        [0.5, 0.5]
    """
    axis = canonical_axis("softmax", axis, x.ndim)
    if isinstance(x.shape[axis], int) and x.shape[axis] == 0:
        return exp(x)  # of nothing
    e = exp(x - stop_gradient(max(x, axis=axis, keepdims=True)))
    return e / sum(e, axis=axis, keepdims=True)


def _log_softmax_flow(g: Any, y: Any, x: Any, *, axis: int) -> Tensor:
    return g - exp(y) * sum(g, axis=axis, keepdims=True)


@composite(accepts="floating", vjps=(_log_softmax_flow,), precision="full")
def log_softmax(x: Any, /, axis: int = -1) -> Tensor:
    """The logarithm of `softmax(x, axis)`, without underflow.

    Args:
        x: Tensor with one dimension or more; integers become float32.
        axis: The axis along which the exponentials sum to 1.

    Returns:
        Tensor of the shape of `x`.

    Raises:
        AxisError: `x` has no such axis.

    Example:
        >>> import dualflow as df
        >>> df.nn.functional.log_softmax(df.asarray([1000.0, 0.0])).tolist()
        [0.0, -1000.0]
    """
    axis = canonical_axis("log_softmax", axis, x.ndim)
    if isinstance(x.shape[axis], int) and x.shape[axis] == 0:
        return exp(x)  # of nothing
    z = x - stop_gradient(max(x, axis=axis, keepdims=True))
    return z - log(sum(exp(z), axis=axis, keepdims=True))


# ----- normalisation -----


def widened(x: Any) -> Any:
    """`x`, or in float32 where its dtype is half of that: squares of 256 are beyond float16."""
    return astype(x, float32) if x.dtype.itemsize == 2 else x


def _standardize_flow(g: Any, y: Any, x: Any, *, axes: tuple[int, ...], eps: float) -> Tensor:
    g, y, x = widened(g), widened(y), widened(x)
    centred = g - mean(g, axis=axes, keepdims=True) - y * mean(g * y, axis=axes, keepdims=True)
    spread = mean(square(x - mean(x, axis=axes, keepdims=True)), axis=axes, keepdims=True)
    return centred / sqrt(spread + eps)


@composite(accepts="floating", vjps=(_standardize_flow,), precision="full", public=False)
def standardize(x: Any, axes: tuple[int, ...], eps: float) -> Tensor:
    """`x` less its mean, divided by sqrt(variance + eps), both over `axes`."""
    wide = widened(x)
    centred = wide - mean(wide, axis=axes, keepdims=True)
    y = centred / sqrt(mean(square(centred), axis=axes, keepdims=True) + eps)
    return astype(y, x.dtype)


# The standardized values are computed again: to keep them would cost a pass over memory each way.
def _affine_flow_of_x(g: Any, y: Any, x: Any, w: Any, b: Any, *, axes: Any, eps: float) -> Tensor:
    return _standardize_flow(g * w, standardize(x, axes, eps), x, axes=axes, eps=eps)


def _affine_flow_of_weight(g: Any, y: Any, x: Any, w: Any, b: Any, **attrs: Any) -> Tensor:
    return g * standardize(x, **attrs)


@composite(
    tensors=3,
    accepts="floating",
    vjps=(_affine_flow_of_x, _affine_flow_of_weight, lambda g, *args, **attrs: g),
    precision="full",
    public=False,
)
def standardize_affine(x: Any, weight: Any, bias: Any, axes: tuple[int, ...], eps: float) -> Tensor:
    """`standardize(x, axes, eps) * weight + bias`."""
    return standardize(x, axes, eps) * weight + bias


@api
def layer_norm(
    x: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Tensor:
    """Mean 0 and variance 1 over the last dimensions (Ba, Kiros and Hinton, 2016).

    Args:
        x: Tensor of shape (..., *normalized_shape).
        normalized_shape: The extents of the last dimensions, or of the last one alone.
        weight: Tensor of shape `normalized_shape` to multiply by, or None.
        bias: Tensor of shape `normalized_shape` to add, or None.
        eps: Is added to the variance.

    Returns:
        Tensor of the shape of `x`.

    Raises:
        ShapeError: The last extents of `x`, or the shapes of the parameters, are others.

    Example:
        >>> import dualflow as df
        >>> df.nn.functional.layer_norm(df.asarray([[1.0, 3.0]]), 2, eps=0.0).tolist()
        [[-1.0, 1.0]]
    """
    x = as_tensor(x)
    shape = (
        tuple(normalized_shape)
        if isinstance(normalized_shape, tuple | list)
        else (normalized_shape,)
    )
    if not same_shape(tuple(x.shape[x.ndim - len(shape) :]), shape):
        raise ShapeError(
            f"layer_norm: x of shape {format_shape(x.shape)} over {format_shape(shape)}",
            "x that ends with these extents",
            "check normalized_shape",
        )
    check_extents("layer_norm", "weight", weight, shape)
    check_extents("layer_norm", "bias", bias, shape)
    return scaled_and_moved(x, tuple(range(x.ndim - len(shape), x.ndim)), eps, weight, bias)


def scaled_and_moved(
    x: Tensor, axes: tuple[int, ...], eps: float, weight: Any, bias: Any
) -> Tensor:
    """`standardize(x, axes, eps) * weight + bias`; weight and bias broadcast, or are None."""
    if weight is not None and bias is not None:
        weight, bias = as_tensor(weight), as_tensor(bias)
        if x.dtype == weight.dtype == bias.dtype:  # else each step rounds to a dtype of its own
            return standardize_affine(x, weight, bias, axes, eps)
    y = standardize(x, axes, eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


# ----- linear maps -----


def check_extents(name: str, what: str, value: Any, shape: tuple[Any, ...]) -> None:
    """Raises ShapeError unless a parameter is None or has this shape: nothing broadcasts here."""
    if value is None:
        return
    found = value.shape if isinstance(value, Tensor) else as_tensor(value).shape
    if not same_shape(found, shape):
        raise ShapeError(
            f"{name}: {what} of shape {format_shape(found)}",
            f"a {what} of shape {format_shape(shape)}",
            "check the shapes of the parameters",
        )


@api
def linear(x: Any, weight: Any, bias: Any = None) -> Tensor:
    """`x @ weight.T + bias`.

    Args:
        x: Tensor of shape (..., in_features).
        weight: Tensor of shape (out_features, in_features).
        bias: Tensor of shape (out_features,), or None.

    Returns:
        Tensor of shape (..., out_features).

    Raises:
        ShapeError: The numbers of features differ.

    Example:
        >>> import dualflow as df
        >>> df.nn.functional.linear(df.ones((2, 3)), df.ones((4, 3)), df.zeros(4)).shape
        (2, 4)
    """
    x, weight = as_tensor(x), as_tensor(weight)
    if weight.ndim != 2 or x.ndim == 0 or x.shape[-1] != weight.shape[1]:
        raise ShapeError(
            f"linear: x of shape {format_shape(x.shape)} and "
            f"weight of shape {format_shape(weight.shape)}",
            "(..., in_features) and (out_features, in_features)",
            "check in_features, or flatten x",
        )
    check_extents("linear", "bias", bias, weight.shape[:1])
    rows = (
        x if x.ndim == 2 else reshape(x, (product(x.shape[:-1]), x.shape[-1]))
    )  # so that weight's gradient is one product
    y = matmul(rows, matrix_transpose(weight))
    y = y if bias is None else y + in_dtype_of(y, bias)
    return y if x.ndim == 2 else reshape(y, (*x.shape[:-1], weight.shape[0]))


@api
def embedding(ids: Any, weight: Any, padding_idx: int | None = None) -> Tensor:
    """The rows of `weight` that `ids` name.

    Args:
        ids: Integers of any shape, from 0 to num_embeddings - 1.
        weight: Tensor of shape (num_embeddings, embedding_dim).
        padding_idx: The number of a row that gets no gradient; negative ones count from the end.

    Returns:
        Tensor of shape (*ids.shape, embedding_dim).

    Raises:
        IndexError: An id has no row, or `padding_idx` has none.

    Example:
        >>> import dualflow as df
        >>> df.nn.functional.embedding([1, 1], df.asarray([[1.0], [2.0]])).tolist()
        [[2.0], [2.0]]
    """
    ids, weight = as_index("embedding", ids), as_tensor(weight)
    rows = gather(weight, (ids,), (0,))
    if padding_idx is None:
        return rows
    count = weight.shape[0]
    if not -count <= padding_idx < count:
        raise IndexError(f"embedding: padding_idx={padding_idx} of {count} rows", "", "")
    fixed = expand_dims(ids == padding_idx % count, -1)
    return where(fixed, stop_gradient(rows), rows)


# ----- convolution -----


def each(name: str, value: Any, rank: int) -> tuple[int, ...]:
    """One int for each spatial dimension, from one for all or a sequence."""
    values = value if isinstance(value, tuple | list) else (value,) * rank
    if len(values) != rank:
        raise ShapeError(
            f"{name}: {value} for {rank} spatial dimensions", f"an int, or {rank} of them", ""
        )
    return tuple(d if isinstance(d, Dim) else operator.index(d) for d in values)  # type: ignore[misc]


def _convolution(
    name: str,
    rank: int,
    x: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
) -> Tensor:
    x, weight = meet(name, (as_tensor(x), as_tensor(weight)), "numeric")
    if weight.ndim != rank + 2 or x.ndim not in (rank + 1, rank + 2):
        raise ShapeError(
            f"{name}: x of shape {format_shape(x.shape)} and "
            f"weight of shape {format_shape(weight.shape)}",
            f"(batch, in_channels, {rank} extents) and "
            f"(out_channels, in_channels / groups, {rank} extents)",
            "check the number of dimensions",
        )
    check_extents(name, "bias", bias, weight.shape[:1])
    batched = x if x.ndim == rank + 2 else reshape(x, (1, *x.shape))
    strides, dilations = each(name, stride, rank), each(name, dilation, rank)
    y = conv(
        batched,
        weight,
        stride=strides,
        padding=_padding(name, padding, strides, dilations, weight.shape[2:]),
        lhs_dilation=(1,) * rank,
        rhs_dilation=dilations,
        groups=operator.index(groups),
    )
    if bias is not None:
        y = y + reshape(in_dtype_of(y, bias), (-1, *(1,) * rank))
    return y if batched is x else reshape(y, y.shape[1:])


def _padding(
    name: str, padding: Any, stride: Any, dilation: Any, window: Any
) -> tuple[tuple[Any, Any], ...]:
    """Zeros before and after, for each spatial dimension."""
    if padding == "valid":
        return ((0, 0),) * len(window)
    if padding == "same":
        if any(s != 1 for s in stride):
            raise ShapeError(
                f'{name}: padding="same" with stride {stride}',
                "stride 1",
                "padding=1, or another number",
            )
        totals = [d * (k - 1) for d, k in zip(dilation, window)]
        return tuple((total // 2, total - total // 2) for total in totals)
    if isinstance(padding, str):
        raise ShapeError(f"{name}: padding={padding!r}", '"same", "valid", or numbers', "padding=1")
    widths = each(name, padding, len(window))
    if any(isinstance(p, int) and p < 0 for p in widths):
        raise ShapeError(f"{name}: padding {padding} is negative", "0 or more", "crop x instead")
    return tuple((p, p) for p in widths)


CONV_DOC = """Convolution over {rank} spatial dimension{s}: sums of products of windows and filters.

Args:
    x: Tensor of shape (N, in_channels, {extents}), or without N.
    weight: Tensor of shape (out_channels, in_channels / groups, {window}).
    bias: Tensor of shape (out_channels,), or None.
    stride: Step of the window: an int, or one for each spatial dimension.
    padding: Zeros on both sides of each spatial dimension, or "same" or "valid" (none).
    dilation: Distance between the elements of the window.
    groups: Channels are split into so many groups that do not meet.

Returns:
    Tensor of shape (N, out_channels, {extents}), with other spatial extents.

Raises:
    ShapeError: The channels or the number of dimensions differ, or the window does not fit.

Example:
    >>> import dualflow as df
    >>> y = df.nn.functional.conv{rank}d(df.ones({x}), df.ones({w}), padding="same")
    >>> y.shape
    {x}
"""


def _conv_function(rank: int) -> Any:
    name = f"conv{rank}d"

    def convolve(
        x: Any,
        weight: Any,
        bias: Any = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Tensor:
        return _convolution(name, rank, x, weight, bias, stride, padding, dilation, groups)

    letters, window = (
        "DHW"[3 - rank :],
        ["kernel_width", "kernel_height", "kernel_depth"][:rank][::-1],
    )
    convolve.__name__ = convolve.__qualname__ = name
    convolve.__doc__ = CONV_DOC.format(
        rank=rank,
        s="" if rank == 1 else "s",
        extents=", ".join(letters),
        window=", ".join(window),
        x=(1, 2, *(8,) * rank),
        w=(2, 2, *(3,) * rank),
    )
    return api(convolve)


conv1d, conv2d, conv3d = map(_conv_function, (1, 2, 3))
