"""What ops on matrices share: checks of shapes, LAPACK on the host, and transposes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dualflow.core.backend import by_host
from dualflow.core.batching import leading
from dualflow.core.define import composite
from dualflow.core.doors import meet
from dualflow.core.op import Op, bind
from dualflow.core.precision import in_full
from dualflow.core.record import NO_ATTRS
from dualflow.core.tensor import Tensor
from dualflow.ops.choice import where
from dualflow.ops.create import eye
from dualflow.ops.elementwise import conj
from dualflow.ops.shape import expand_dims, matrix_transpose
from jit.errors import LinAlgError, ShapeError
from jit.types import TensorType, bool_, float32, format_shape, kind


def adjoint(x: Tensor) -> Tensor:
    """The conjugate transpose of each matrix."""
    y = matrix_transpose(x)
    return conj(y) if kind(x.dtype) == "complex" else y


def on_host(name: str, evaluate: Callable[..., Any], infer: Callable[..., Any], **rules: Any) -> Op:
    """A record of LAPACK's, which graphs run as a step of the host.

    Args:
        name: Of the op.
        evaluate: `(xp, *arrays, **attrs)`; its LinAlgError becomes ours.
        infer: The type rule.
        **rules: Derivatives.
    """

    def checked(xp: Any, *arrays: Any, **attrs: Any) -> Any:
        narrow = [x.dtype for x in arrays if x.dtype.itemsize == 2]
        if narrow:  # half precision is computed in float32
            arrays = tuple(x.astype(float32) for x in arrays)
        try:
            out = evaluate(xp, *arrays, **attrs)
        except np.linalg.LinAlgError as error:
            raise failed(name, error) from None
        results = [
            y.astype(narrow[0]) if narrow and y.dtype == float32 else y for y in tuple_of(out)
        ]
        return tuple(map(xp.asarray, results)) if len(results) > 1 else xp.asarray(results[0])

    def lower(form: Any, *xs: Any, **attrs: Any) -> Any:
        types = infer(*(TensorType(tuple(x.shape), x.dtype) for x in xs), **attrs)
        return form.extern(name, xs, types, lambda *arrays: checked(np, *arrays, **attrs))

    rules = {"batch": leading} | rules
    return Op(name=name, evaluate=by_host(checked), infer=infer, lower=lower, **rules)


def tuple_of(out: Any) -> tuple[Any, ...]:
    """One result, or several, as a tuple."""
    return tuple(out) if isinstance(out, tuple) else (out,)


def all_of(op: Op, y: tuple[Any, ...], args: tuple[Any, ...], attrs: Any = NO_ATTRS) -> Any:
    """All results of an op; computed anew where nobody kept one of them."""
    return bind(op, args, attrs) if any(each is None for each in y) else y


def failed(name: str, error: Exception) -> LinAlgError:
    """The error of a matrix that LAPACK cannot take."""
    if isinstance(error, LinAlgError):
        return error
    what = str(error).rstrip(".").lower()
    return LinAlgError(f"{name}: {what}", "a matrix that has one", "check df.linalg.matrix_rank(x)")


def check_matrices(name: str, x: TensorType, *, square: bool = False) -> None:
    """Raises ShapeError unless the last two dimensions are those of a (square) matrix."""
    if x.ndim < 2 or (square and x.shape[-1] != x.shape[-2]):
        wanted = "square matrices: shape (..., n, n)" if square else "matrices: shape (..., m, n)"
        raise ShapeError(f"{name}: a tensor of shape {format_shape(x.shape)}", wanted, "")


def matrices(name: str, *xs: Any) -> tuple[Tensor, ...]:
    """Arguments as tensors of one floating or complex dtype, float32 inside `autocast`."""
    return meet(name, tuple(map(in_full, xs)), "inexact")


def of_square(name: str) -> Callable[[TensorType], TensorType]:
    """The type rule of an op from square matrices to such."""

    def infer(x: TensorType) -> TensorType:
        check_matrices(name, x, square=True)
        return x

    return infer


def diagonal_matrix(x: Tensor) -> Tensor:
    """Square matrices with the vectors `x` on their diagonals."""
    return where(eye(x.shape[-1], dtype=bool_), expand_dims(x, -1), 0)


@composite(accepts=None, public=False)
def hermitian(x: Any) -> Tensor:
    """The half of a matrix that equals its conjugate transpose."""
    return x * 0.5 + adjoint(x) * 0.5


def skew(x: Tensor) -> Tensor:
    """A matrix less its conjugate transpose."""
    return x - adjoint(x)


def gaps(w: Tensor) -> Tensor:
    """1 / (w[j] - w[i]) for each pair, and 0 for equal ones."""
    distance = expand_dims(w, -2) - expand_dims(w, -1)
    same = distance == 0
    return where(same, 0, 1 / where(same, 1, distance))
