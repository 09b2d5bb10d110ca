"""Further samplers: gumbel, laplace, categorical, permutation."""

from __future__ import annotations

from typing import Any

import numpy as np

from dualflow.core.axes import canonical_shape
from dualflow.core.convert import as_tensor
from dualflow.core.define import broadcast, composite, creation
from dualflow.core.doors import meet
from dualflow.core.registry import functions
from dualflow.core.tensor import Tensor
from dualflow.ops.choice import minimum
from dualflow.ops.elementwise import astype
from dualflow.ops.parameters import not_negative
from dualflow.ops.philox import UINT64
from dualflow.ops.random import Generator, bits_of, floating_dtype, moved, words64
from dualflow.ops.reduce import argmax
from dualflow.ops.special import log, log1p
from dualflow.ops.words import unit64
from jit.errors import ShapeError
from jit.types import as_dtype, float32, float64, format_shape, int64


def _waiting(generator: Generator | None, shape: tuple[Any, ...], dtype: Any) -> Tensor:
    """Exponentially distributed numbers, neither 0 nor infinite, in float32 or float64."""
    if dtype == float64:
        u = unit64(bits_of(generator, (*shape, 2))) + 2.0**-54
        return -log1p(-minimum(u, 1 - 2.0**-53))
    u = (astype(bits_of(generator, shape), float32) + 0.5) * 2.0**-32
    return -log1p(-minimum(u, 1 - 2.0**-24))


def _gumbel(generator: Generator | None, shape: tuple[Any, ...], dtype: np.dtype[Any]) -> Tensor:
    wide = float64 if dtype == float64 else float32
    return astype(-log(_waiting(generator, shape, wide)), dtype)


@creation
def gumbel(
    shape: Any = (),
    loc: Any = 0.0,
    scale: Any = 1.0,
    *,
    dtype: Any = float32,
    generator: Generator | None = None,
) -> Tensor:
    """Numbers distributed as the largest of many exponentially distributed ones (Gumbel, 1954).

    Args:
        shape: Of the result.
        loc: The most likely number, or a tensor that broadcasts with `shape`; gradients flow to it.
        scale: How far they are spread, likewise.
        dtype: A floating dtype.
        generator: The default one when None.

    Returns:
        Tensor of that shape. float32 numbers lie between -2.9 and 22.9, times `scale`.

    Raises:
        ValueError: `scale` is negative.

    Example:
        >>> import dualflow as df
        >>> df.random.gumbel((2, 3)).shape
        (2, 3)
    """
    not_negative("gumbel", scale=scale)
    target = floating_dtype("gumbel", dtype)
    return moved(_gumbel(generator, canonical_shape("gumbel", shape), target), loc, scale)


@creation
def laplace(
    shape: Any = (),
    loc: Any = 0.0,
    scale: Any = 1.0,
    *,
    dtype: Any = float32,
    generator: Generator | None = None,
) -> Tensor:
    """Numbers whose distances from `loc` are exponentially distributed, on either side.

    Args:
        shape: Of the result.
        loc: The mean, a number or a tensor that broadcasts with `shape`; gradients flow to it.
        scale: The mean distance, likewise.
        dtype: A floating dtype.
        generator: The default one when None.

    Returns:
        Tensor of that shape: differences of two exponentially distributed numbers.

    Raises:
        ValueError: `scale` is negative.

    Example:
        >>> import dualflow as df
        >>> df.random.laplace((2, 3)).shape
        (2, 3)
    """
    not_negative("laplace", scale=scale)
    target = floating_dtype("laplace", dtype)
    wide = float64 if target == float64 else float32
    both = _waiting(generator, (*canonical_shape("laplace", shape), 2), wide)
    return moved(astype(both[..., 0] - both[..., 1], target), loc, scale)


@creation
def categorical(
    shape: Any, logits: Any, *, dtype: Any = int64, generator: Generator | None = None
) -> Tensor:
    """Numbers of classes, each as likely as `softmax(logits)` says.

    The class whose logit is the largest after a number of Gumbel's was added to each.

    Args:
        shape: Of the result; that of `logits` without its last dimension when None.
        logits: Tensor of shape (..., classes), floating: logarithms of probabilities, up to a
            constant. All dimensions but the last broadcast with `shape`.
        dtype: An integer dtype.
        generator: The default one when None.

    Returns:
        Tensor of that shape. No gradient flows.

    Raises:
        ShapeError: `logits` does not suit `shape`, or there is no class.

    Example:
        >>> import dualflow as df
        >>> df.random.categorical(3, [-df.inf, 0.0]).tolist()
        [1, 1, 1]
    """
    (logits,) = meet("categorical", (as_tensor(logits),), "floating")
    if logits.ndim == 0 or logits.shape[-1] == 0:
        raise ShapeError(
            f"categorical: logits of shape {format_shape(logits.shape)}", "(..., classes)", ""
        )
    batch, classes = logits.shape[:-1], logits.shape[-1]
    extents = batch if shape is None else canonical_shape("categorical", shape)
    if broadcast("categorical", batch, extents) != extents:
        raise ShapeError(
            f"categorical: logits {format_shape(logits.shape)} for {format_shape(extents)}",
            f"{format_shape((*extents, classes))}, or what broadcasts to it",
            "leave out shape",
        )
    noise = _gumbel(generator, (*extents, classes), logits.dtype)
    return astype(argmax(logits + noise, axis=-1), as_dtype(dtype))


PLACES = 1 << 24  # that fit into a word beside 40 random bits


def permutation(x: Any, *, generator: Generator | None = None) -> Tensor:
    """Numbers, or the rows of a tensor, in random order.

    Args:
        x: How many numbers, from 0 on; or a tensor, whose first dimension is reordered.
        generator: The default one when None.

    Returns:
        Tensor of int64 (n,), or of the shape of `x`.

    Raises:
        ShapeError: `x` is a tensor without dimensions.

    Example:
        >>> import dualflow as df
        >>> sorted(df.random.permutation(4).tolist())
        [0, 1, 2, 3]
    """
    if isinstance(x, Tensor | np.ndarray):
        rows = as_tensor(x)
        if rows.ndim == 0:
            raise ShapeError(
                "permutation: a tensor without dimensions", "one dimension or more", ""
            )
        return functions["take"](rows, permutation(rows.shape[0], generator=generator), axis=0)
    (n,) = canonical_shape("permutation", x)
    words = words64(generator, (n,))
    if n > PLACES:
        return functions["argsort"](words)
    return places_in(functions["sort"](words_with_places(words)))


@composite(accepts=None, public=False, vjps=(None,))
def words_with_places(words: Tensor) -> Tensor:
    """Random words with their places in the lowest bits."""
    places = functions["arange"](words.shape[0], dtype=UINT64)
    return (words & ~(PLACES - 1) % 2**64) | places


@composite(accepts=None, public=False, vjps=(None,))
def places_in(words: Tensor) -> Tensor:
    """The places that words hold."""
    return astype(words & (PLACES - 1), int64)
