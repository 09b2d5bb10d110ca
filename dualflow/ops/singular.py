"""Singular values: svd, and what follows from them."""

from __future__ import annotations

from typing import Any, NamedTuple

from dualflow.core.convert import as_tensor
from dualflow.core.devices import placed
from dualflow.core.inspection import finfo, real_dtype
from dualflow.core.op import bind
from dualflow.core.registry import api
from dualflow.core.tensor import Tensor
from dualflow.ops.basic import full
from dualflow.ops.choice import where
from dualflow.ops.elementwise import abs, astype, imag, real
from dualflow.ops.linalg import diagonal, matmul
from dualflow.ops.matrices import (
    adjoint,
    all_of,
    check_matrices,
    diagonal_matrix,
    gaps,
    matrices,
    on_host,
    skew,
)
from dualflow.ops.orthogonal import flow_of_rest, front, least_extent, rest_of, with_rest
from dualflow.ops.reduce import max, sum
from dualflow.ops.shape import broadcast_to, expand_dims, squeeze
from jit.errors import ShapeError
from jit.types import TensorType, format_shape, int64, kind

# ----- singular values -----


class SVDResult(NamedTuple):
    """What `svd` gives."""

    U: Tensor
    S: Tensor
    Vh: Tensor


def _svd_type(*, full: bool) -> Any:
    def infer(x: TensorType) -> tuple[TensorType, ...]:
        check_matrices("svd", x)
        batch, (rows, columns), least = x.shape[:-2], x.shape[-2:], least_extent(x)
        return (
            x.with_shape((*batch, rows, rows if full else least)),
            TensorType((*batch, least), real_dtype(x.dtype)),
            x.with_shape((*batch, columns if full else least, columns)),
        )

    return infer


def _inverse(s: Tensor) -> Tensor:
    """1 / s, and 0 for 0."""
    return where(s == 0, 0, 1 / where(s == 0, 1, s))


def _svd_pullback(g: Any, y: Any, args: Any, attrs: Any, needed: Any) -> list[Any]:
    u, s, vh = all_of(_svd, y, args)
    return [_svd_flow(u, s, vh, g[0], g[1], g[2], args[0])]


def _svd_flow(u: Any, s: Any, vh: Any, g_u: Any, g_s: Any, g_vh: Any, x: Any) -> Tensor:
    v, g_v, across, down = adjoint(vh), adjoint(g_vh), expand_dims(s, -2), expand_dims(s, -1)
    turned_u, turned_v = matmul(adjoint(u), g_u), matmul(vh, g_v)
    apart = gaps(s * s)
    inner = diagonal_matrix(g_s) + apart * skew(turned_u) * across
    inner = inner + down * (apart * skew(turned_v))
    if kind(u.dtype) == "complex":
        inner = inner + diagonal_matrix(1j * (imag(diagonal(turned_u)) * _inverse(s)))
    flow = matmul(u, matmul(inner, vh))
    rows, columns = x.shape[-2:]
    if rows > columns:
        flow = flow + matmul(rest_of(u, g_u) * _inverse(across), vh)
    if columns > rows:
        flow = flow + matmul(u, adjoint(rest_of(v, g_v) * _inverse(across)))
    return flow


def _svd_jvp(tangents: Any, y: Any, x: Any) -> Any:
    u, s, vh = all_of(_svd, y, (x,))
    return _svd_tangents(u, s, vh, tangents[0])


def _svd_tangents(u: Any, s: Any, vh: Any, t: Any) -> tuple[Tensor, Tensor, Tensor]:
    v, across, down = adjoint(vh), expand_dims(s, -2), expand_dims(s, -1)
    inner = matmul(adjoint(u), matmul(t, v))
    apart = gaps(s * s)
    left, right = inner * across, down * inner
    turn_u, turn_v = apart * (left + adjoint(left)), apart * (right + adjoint(right))
    if kind(u.dtype) == "complex":
        turn_u = turn_u + diagonal_matrix(1j * (imag(diagonal(inner)) * _inverse(s)))
    t_u, t_v = matmul(u, turn_u), matmul(v, turn_v)
    rows, columns = t.shape[-2:]
    if rows > columns:
        t_u = t_u + rest_of(u, matmul(t, v)) * _inverse(across)
    if columns > rows:
        t_v = t_v + rest_of(v, matmul(adjoint(t), u)) * _inverse(across)
    return t_u, real(diagonal(inner)), adjoint(t_v)


def _full_svd_pullback(g: Any, y: Any, args: Any, attrs: Any, needed: Any) -> list[Any]:
    u, s, vh = all_of(_full_svd, y, args)
    count, v = s.shape[-1], adjoint(vh)
    g_u, g_v = flow_of_rest(g[0], u, count), flow_of_rest(adjoint(g[2]), v, count)
    reduced = front(u, count), s, adjoint(front(v, count))
    return [_svd_flow(*reduced, g_u, g[1], adjoint(g_v), args[0])]


def _full_svd_jvp(tangents: Any, y: Any, x: Any) -> Any:
    u, s, vh = all_of(_full_svd, y, (x,))
    count, v = s.shape[-1], adjoint(vh)
    reduced = front(u, count), s, adjoint(front(v, count))
    t_u, t_s, t_vh = _svd_tangents(*reduced, tangents[0])
    t_v = with_rest(adjoint(t_vh), v, count)
    return with_rest(t_u, u, count), t_s, adjoint(t_v)


_svd = on_host(
    "svd",
    lambda xp, x: tuple(xp.linalg.svd(x, full_matrices=False)),
    _svd_type(full=False),
    pullback=_svd_pullback,
    jvp=_svd_jvp,
)
_full_svd = on_host(
    "full_svd",
    lambda xp, x: tuple(xp.linalg.svd(x)),
    _svd_type(full=True),
    pullback=_full_svd_pullback,
    jvp=_full_svd_jvp,
)


@api
def svd(x: Any, /, *, full_matrices: bool = True) -> SVDResult:
    """Singular values and vectors: `x` is `U * S @ Vh`, where columns and rows have length 1.

    Args:
        x: Tensor of shape (..., m, n); floating or complex numbers.
        full_matrices: Also vectors that belong to no singular value, so that U and Vh are square.
            Gradients hold for what does not depend on which of them are chosen.

    Returns:
        Named tuple of `U`, of shape (..., m, m); `S`, real, of shape (..., k), in falling order,
        k being the smaller of m and n; and `Vh`, of shape (..., n, n). Without full matrices the
        shapes are (..., m, k) and (..., k, n).

    Raises:
        ShapeError: There are fewer than two dimensions.
        LinAlgError: The iteration did not converge.

    Example:
        >>> import dualflow as df
        >>> df.linalg.svd(df.asarray([[3.0, 0.0], [0.0, 4.0]])).S.tolist()
        [4.0, 3.0]
    """
    (x,) = matrices("svd", x)
    check_matrices("svd", x.type)
    full = full_matrices and x.shape[-1] != x.shape[-2]
    return SVDResult(*bind(_full_svd if full else _svd, (x,)))


def _svdvals_type(x: TensorType) -> TensorType:
    check_matrices("svdvals", x)
    return TensorType((*x.shape[:-2], least_extent(x)), real_dtype(x.dtype))


def _svdvals_vjp(g: Any, y: Any, x: Any) -> Any:
    u, _, vh = bind(_svd, (x,))
    return matmul(u * expand_dims(g, -2), vh)


def _svdvals_jvp(tangents: Any, y: Any, x: Any) -> Any:
    u, _, vh = bind(_svd, (x,))
    return real(diagonal(matmul(adjoint(u), matmul(tangents[0], adjoint(vh)))))


_svdvals = on_host(
    "svdvals",
    lambda xp, x: xp.linalg.svd(x, compute_uv=False),
    _svdvals_type,
    vjps=(_svdvals_vjp,),
    jvp=_svdvals_jvp,
)


@api
def svdvals(x: Any, /) -> Tensor:
    """The singular values of each matrix.

    Args:
        x: Tensor of shape (..., m, n); floating or complex numbers.

    Returns:
        Tensor of real numbers of shape (..., k), in falling order, k being the smaller of m and n.

    Raises:
        ShapeError: There are fewer than two dimensions.
        LinAlgError: The iteration did not converge.

    Example:
        >>> import dualflow as df
        >>> df.linalg.svdvals(df.asarray([[3.0, 0.0], [0.0, 4.0]])).tolist()
        [4.0, 3.0]
    """
    return bind(_svdvals, matrices("svdvals", x))


# ----- what is made of singular values -----


def _tolerance(rtol: Any, x: Tensor, largest: Tensor) -> Tensor:
    """Below which singular values count as 0."""
    real_type = real_dtype(x.dtype)
    if rtol is None:
        rows, columns = x.shape[-2:]
        rtol = (rows if rows > columns else columns) * finfo(real_type).eps
    return largest * astype(as_tensor(rtol), real_type)


@api
@placed
def matrix_rank(x: Any, /, *, rtol: Any = None) -> Tensor:
    """How many singular values of each matrix are not 0.

    Args:
        x: Tensor of shape (..., m, n); floating or complex numbers.
        rtol: Singular values up to this times the largest count as 0; a number, or a tensor of
            shape (...). The larger of m and n times the rounding of the dtype when None.

    Returns:
        Tensor of int64 of shape (...).

    Raises:
        ShapeError: There are fewer than two dimensions.

    Example:
        >>> import dualflow as df
        >>> df.linalg.matrix_rank(df.ones((3, 3))).item()
        1
    """
    (x,) = matrices("matrix_rank", x)
    s = svdvals(x)
    if s.shape[-1] == 0:
        return sum(astype(s, int64), axis=-1)
    bound = _tolerance(rtol, x, max(s, axis=-1))
    return sum(astype(s > expand_dims(bound, -1), int64), axis=-1)


def _pinv_type(x: TensorType, rtol: TensorType) -> TensorType:
    check_matrices("pinv", x)
    return x.with_shape((*x.shape[:-2], x.shape[-1], x.shape[-2]))


def _pinv_evaluate(xp: Any, x: Any, rtol: Any) -> Any:
    u, s, vh = xp.linalg.svd(x, full_matrices=False)
    large = s > rtol[..., None] * xp.max(s, axis=-1, keepdims=True, initial=0)
    inverse = xp.where(large, 1 / xp.where(large, s, 1), 0).astype(s.dtype)
    vectors = xp.conj(xp.swapaxes(vh, -1, -2)) * inverse[..., None, :]
    return xp.matmul(vectors, xp.conj(xp.swapaxes(u, -1, -2)))


def _pinv_vjp(g: Any, y: Any, x: Any, rtol: Any) -> Any:
    """Of constant rank: -Y^H g Y^H, and what moves the spaces that `x` maps between."""
    yh, gh = adjoint(y), adjoint(g)
    left, right = matmul(gh, matmul(y, yh)), matmul(matmul(yh, y), gh)
    left = left - matmul(x, matmul(y, left))
    right = right - matmul(matmul(right, y), x)
    return left + right - matmul(yh, matmul(g, yh))


def _pinv_jvp(tangents: Any, y: Any, x: Any, rtol: Any) -> Any:
    yh, th = adjoint(y), adjoint(tangents[0])
    left, right = matmul(matmul(y, yh), th), matmul(th, matmul(yh, y))
    left = left - matmul(matmul(left, x), y)
    right = right - matmul(y, matmul(x, right))
    return left + right - matmul(y, matmul(tangents[0], y))


_pinv = on_host("pinv", _pinv_evaluate, _pinv_type, vjps=(_pinv_vjp, None), jvp=_pinv_jvp)


@api
@placed
def pinv(x: Any, /, *, rtol: Any = None) -> Tensor:
    """The pseudoinverse of each matrix: it solves equations in the sense of least squares.

    Args:
        x: Tensor of shape (..., m, n); floating or complex numbers.
        rtol: Singular values up to this times the largest count as 0; a number, or a tensor of
            shape (...). The larger of m and n times the rounding of the dtype when None.

    Returns:
        Tensor of shape (..., n, m). Its gradient holds while the rank stays as it is.

    Raises:
        ShapeError: There are fewer than two dimensions.
        LinAlgError: The iteration did not converge.

    Example:
        >>> import dualflow as df
        >>> df.linalg.pinv(df.asarray([[2.0], [0.0]])).tolist()
        [[0.5, 0.0]]
    """
    (x,) = matrices("pinv", x)
    check_matrices("pinv", x.type)
    ones = full(x.shape[:-2], 1, dtype=real_dtype(x.dtype))
    return bind(_pinv, (x, broadcast_to(_tolerance(rtol, x, ones), x.shape[:-2])))


class LstsqResult(NamedTuple):
    """What `lstsq` gives."""

    x: Tensor
    residuals: Tensor
    rank: Tensor
    s: Tensor


@api
@placed
def lstsq(x1: Any, x2: Any, /, *, rtol: Any = None) -> LstsqResult:
    """What `x1` must be multiplied by to come nearest to `x2`: least squares.

    Args:
        x1: Tensor of shape (..., m, n): the coefficients; floating or complex numbers.
        x2: Tensor of shape (m,), one right side, or (..., m, k), k of them.
        rtol: Singular values of `x1` up to this times the largest count as 0, as in `pinv`.

    Returns:
        Named tuple of `x`, of shape (n,) or (..., n, k), of all such solutions the shortest;
        `residuals`, of shape (1,) or (..., k), the sum of the squares of what is left (always,
        where NumPy leaves it out for some ranks); `rank` of `x1`; and `s`, its singular values.
        The gradient holds while the rank stays as it is.

    Raises:
        ShapeError: The shapes do not suit each other.
        LinAlgError: The iteration did not converge.

    Example:
        >>> import dualflow as df
        >>> line = df.linalg.lstsq(df.asarray([[0.0, 1.0], [1.0, 1.0]]), df.asarray([1.0, 3.0]))
        >>> [round(v, 5) for v in line.x.tolist()]
        [2.0, 1.0]
    """
    a, b = matrices("lstsq", x1, x2)
    check_matrices("lstsq", a.type)
    if b.ndim == 0 or a.shape[-2] != b.shape[0 if b.ndim == 1 else -2]:
        raise ShapeError(
            f"lstsq: matrices {format_shape(a.shape)} and right sides {format_shape(b.shape)}",
            "as many rows on both sides",
            "check the sizes",
        )
    right = expand_dims(b, -1) if b.ndim == 1 else b
    x = matmul(pinv(a, rtol=rtol), right)
    missing = abs(right - matmul(a, x))
    left = sum(missing * missing, axis=-2)
    x = squeeze(x, -1) if b.ndim == 1 else x
    return LstsqResult(x, left, matrix_rank(a, rtol=rtol), svdvals(a))
