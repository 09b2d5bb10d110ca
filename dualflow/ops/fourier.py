"""The records of discrete Fourier transforms, along one axis each.

`dft` takes complex numbers to complex ones, `rdft` real ones to the half of the spectrum that is
enough for them, and `irdft` that half back. Each scales as `norm` says and is linear; the transpose
of one is another with the opposite norm. Graphs run them as steps of the host.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from dualflow.core.backend import by_host
from dualflow.core.batching import along_axes
from dualflow.core.inspection import complex_dtype, real_dtype
from dualflow.core.op import Op, bind
from dualflow.core.tensor import Tensor
from dualflow.ops.basic import full
from dualflow.ops.choice import where
from dualflow.ops.create import arange
from dualflow.ops.shape import reshape
from jit.types import TensorType

OPPOSITE = {"backward": "forward", "forward": "backward", "ortho": "ortho"}


def _on_host(evaluate: Any, infer: Any) -> Any:
    """The lowering of a transform: NumPy's, as a step of its own."""

    def lower(form: Any, x: Any, **attrs: Any) -> Any:
        type_ = infer(TensorType(tuple(x.shape), x.dtype), **attrs)
        return form.extern("transform", (x,), type_, partial(evaluate, np, **attrs))

    return lower


def _transform(name: str, evaluate: Any, infer: Any, vjp: Any) -> Op:
    return Op(
        name=name,
        evaluate=by_host(evaluate),
        infer=infer,
        lower=_on_host(evaluate, infer),
        vjps=(vjp,),
        jvp="linear",
        batch=along_axes,
    )


# ----- complex to complex -----


def _dft_evaluate(xp: Any, x: Any, *, axis: int, norm: str, inverse: bool) -> Any:
    transform = xp.fft.ifft if inverse else xp.fft.fft
    return transform(x, axis=axis, norm=norm).astype(x.dtype, copy=False)


_dft = _transform(
    "dft",
    _dft_evaluate,
    lambda x, *, axis, norm, inverse: x,
    lambda g, y, x, *, axis, norm, inverse: dft(g, axis, OPPOSITE[norm], inverse=not inverse),
)


def dft(x: Tensor, axis: int, norm: str, *, inverse: bool = False) -> Tensor:
    """The transform of complex numbers along an axis."""
    return bind(_dft, (x,), {"axis": axis, "norm": norm, "inverse": inverse})


# ----- real to half of the spectrum, and back -----


def _ends(count: Any, size: Any, inner: float, dtype: Any) -> Tensor:
    """Weights for half of a spectrum of `size`: 1 for what stands in it once, `inner` otherwise."""
    k = arange(count)
    alone = (k == 0) | (2 * k == size)
    return where(alone, full((), 1.0, dtype=dtype), inner)


def _weighted(g: Tensor, axis: int, size: Any, inner: float) -> Tensor:
    weights = _ends(g.shape[axis], size, inner, real_dtype(g.dtype))
    shape = tuple(g.shape[axis] if k == axis else 1 for k in range(g.ndim))
    return g * reshape(weights, shape)


def _rdft_type(x: TensorType, *, axis: int, norm: str) -> TensorType:
    half = [d // 2 + 1 if k == axis else d for k, d in enumerate(x.shape)]
    return TensorType(tuple(half), complex_dtype(x.dtype))


_rdft = _transform(
    "rdft",
    lambda xp, x, *, axis, norm: xp.fft.rfft(x, axis=axis, norm=norm).astype(
        complex_dtype(x.dtype), copy=False
    ),
    _rdft_type,
    lambda g, y, x, *, axis, norm: irdft(
        _weighted(g, axis, x.shape[axis], 0.5), axis, x.shape[axis], OPPOSITE[norm]
    ),
)


def rdft(x: Tensor, axis: int, norm: str) -> Tensor:
    """The first half of the transform of real numbers along an axis; the other is its conjugate."""
    return bind(_rdft, (x,), {"axis": axis, "norm": norm})


def _irdft_type(x: TensorType, *, axis: int, size: Any, norm: str) -> TensorType:
    shape = tuple(size if k == axis else d for k, d in enumerate(x.shape))
    return TensorType(shape, real_dtype(x.dtype))


_irdft = _transform(
    "irdft",
    lambda xp, x, *, axis, size, norm: xp.fft.irfft(x, size, axis=axis, norm=norm).astype(
        real_dtype(x.dtype), copy=False
    ),
    _irdft_type,
    lambda g, y, x, *, axis, size, norm: _weighted(rdft(g, axis, OPPOSITE[norm]), axis, size, 2.0),
)


def irdft(x: Tensor, axis: int, size: Any, norm: str) -> Tensor:
    """The `size` real numbers of which `x`, with size // 2 + 1 extents, is half of the spectrum."""
    return bind(_irdft, (x,), {"axis": axis, "size": size, "norm": norm})
