"""Systems of linear equations: inverses, solutions, determinants, powers."""

from __future__ import annotations

import operator
from typing import Any, NamedTuple

from dualflow.core.batching import aligned
from dualflow.core.convert import as_tensor
from dualflow.core.define import broadcast, conjugated
from dualflow.core.devices import placed
from dualflow.core.doors import meet
from dualflow.core.inspection import real_dtype
from dualflow.core.op import bind
from dualflow.core.registry import api, functions
from dualflow.core.tensor import Tensor
from dualflow.ops.arrange import concat
from dualflow.ops.create import eye, zeros_like
from dualflow.ops.elementwise import imag, real
from dualflow.ops.linalg import matmul, trace
from dualflow.ops.matrices import (
    adjoint,
    all_of,
    check_matrices,
    matrices,
    of_square,
    on_host,
)
from dualflow.ops.shape import broadcast_to, expand_dims, squeeze
from dualflow.ops.slicing import part
from jit.errors import ShapeError
from jit.types import TensorType, format_shape, kind

# ----- inverses -----


def _inv_vjp(g: Any, y: Any, x: Any) -> Any:
    return -matmul(adjoint(y), matmul(g, adjoint(y)))


_inv = on_host(
    "inv",
    lambda xp, x: xp.linalg.inv(x),
    of_square("inv"),
    vjps=(_inv_vjp,),
    jvp=lambda tangents, y, x: -matmul(y, matmul(tangents[0], y)),
)


@api
def inv(x: Any, /) -> Tensor:
    """The inverse of each matrix.

    Args:
        x: Tensor of shape (..., n, n); floating or complex numbers.

    Returns:
        Tensor of the shape of `x`.

    Raises:
        ShapeError: The matrices are not square.
        LinAlgError: One has no inverse.

    Example:
        >>> import dualflow as df
        >>> df.linalg.inv(df.asarray([[2.0, 0.0], [0.0, 4.0]])).tolist()
        [[0.5, 0.0], [0.0, 0.25]]
    """
    return bind(_inv, matrices("inv", x))


def _solve_type(a: TensorType, b: TensorType) -> TensorType:
    check_matrices("solve", a, square=True)
    if b.ndim < 2 or a.shape[-1] != b.shape[-2]:
        raise ShapeError(
            f"solve: matrices {format_shape(a.shape)} and right sides {format_shape(b.shape)}",
            "as many rows on both sides",
            "check the sizes",
        )
    batch = broadcast("solve", a.shape[:-2], b.shape[:-2])
    return TensorType((*batch, *b.shape[-2:]), a.dtype)


def _solve_pullback(g: Any, y: Any, args: Any, attrs: Any, needed: Any) -> list[Any]:
    a, _ = args
    b_flow = solved(adjoint(a), g)
    return [-matmul(b_flow, adjoint(y)) if needed[0] else None, b_flow]


def _solve_jvp(tangents: Any, y: Any, a: Any, b: Any) -> Any:
    t_a, t_b = tangents
    moved = t_b if t_a is None else -matmul(t_a, y) if t_b is None else t_b - matmul(t_a, y)
    return solved(a, moved)


_solve = on_host(
    "solve",
    lambda xp, a, b: xp.linalg.solve(a, b),
    _solve_type,
    pullback=_solve_pullback,
    jvp=_solve_jvp,
    batch=aligned(2),
)


def solved(a: Tensor, b: Tensor) -> Tensor:
    """What `a` must be multiplied by to give the matrices `b`, of one dtype."""
    return bind(_solve, (a, b))


@api
def solve(x1: Any, x2: Any, /) -> Tensor:
    """The solutions of systems of linear equations: what `x1` must be multiplied by to give `x2`.

    Args:
        x1: Tensor of shape (..., n, n): the coefficients.
        x2: Tensor of shape (n,), one right side, or (..., n, k), k of them; the other dimensions
            broadcast with those of `x1`.

    Returns:
        Tensor of shape (..., n) for a vector, otherwise (..., n, k).

    Raises:
        ShapeError: The matrices are not square, or the shapes do not suit each other.
        LinAlgError: A matrix has no inverse.

    Example:
        >>> import dualflow as df
        >>> df.linalg.solve(df.asarray([[2.0, 0.0], [0.0, 4.0]]), df.asarray([2.0, 2.0])).tolist()
        [1.0, 0.5]
    """
    a, b = matrices("solve", x1, x2)
    if b.ndim != 1:
        return solved(a, b)
    return squeeze(solved(a, expand_dims(b, -1)), -1)


# ----- determinants -----


def _numbers_of(name: str) -> Any:
    def infer(x: TensorType) -> TensorType:
        check_matrices(name, x, square=True)
        return x.with_shape(x.shape[:-2])

    return infer


def _spread(g: Tensor) -> Tensor:
    """A number for each matrix, as matrices of one element."""
    return expand_dims(g, (-2, -1))


def _cofactors_evaluate(xp: Any, x: Any) -> Any:
    """The determinant times the inverse; of singular matrices, by their singular values."""
    if x.size == 0:
        return x
    det = xp.linalg.det(x)[..., None, None]
    singular = det == 0
    found = det * xp.linalg.inv(xp.where(singular, xp.eye(x.shape[-1], dtype=x.dtype), x))
    if xp.any(singular):
        u, s, vh = xp.linalg.svd(x)
        others = xp.where(xp.eye(s.shape[-1], dtype=bool), 1, s[..., None, :])
        scale = xp.prod(others, axis=-1)[..., None, :]
        turn = (xp.linalg.det(u) * xp.linalg.det(vh))[..., None, None]
        adjugate = turn * xp.matmul(
            xp.conj(vh.swapaxes(-1, -2)) * scale, xp.conj(u.swapaxes(-1, -2))
        )
        found = xp.where(singular, adjugate, found)
    return xp.conj(found.swapaxes(-1, -2)).astype(x.dtype)


def _cofactors_vjp(g: Any, y: Any, x: Any) -> Any:
    inverse = adjoint(inv(x))
    return _spread(trace(matmul(adjoint(g), inverse))) * y - matmul(y, matmul(adjoint(g), inverse))


def _cofactors_jvp(tangents: Any, y: Any, x: Any) -> Any:
    moved = adjoint(solved(x, tangents[0]))  # t^H X^-H
    return _spread(trace(moved)) * y - matmul(y, matmul(adjoint(tangents[0]), adjoint(inv(x))))


# What a determinant changes by with each element, conjugated: singular matrices have that, too.
_cofactors = on_host(
    "cofactors",
    _cofactors_evaluate,
    of_square("cofactors"),
    vjps=(_cofactors_vjp,),
    jvp=_cofactors_jvp,
)


def _det_jvp(tangents: Any, y: Any, x: Any) -> Any:
    return functions["sum"](conjugated(bind(_cofactors, (x,))) * tangents[0], axis=(-2, -1))


_det = on_host(
    "det",
    lambda xp, x: xp.linalg.det(x),
    _numbers_of("det"),
    vjps=(lambda g, y, x: _spread(g) * bind(_cofactors, (x,)),),
    jvp=_det_jvp,
)


@api
def det(x: Any, /) -> Tensor:
    """The determinant of each matrix.

    Args:
        x: Tensor of shape (..., n, n); floating or complex numbers.

    Returns:
        Tensor of shape (...). Its second derivative asks for matrices that have an inverse.

    Raises:
        ShapeError: The matrices are not square.

    Example:
        >>> import dualflow as df
        >>> df.linalg.det(df.asarray([[2.0, 1.0], [0.0, 4.0]])).item()
        8.0
    """
    return bind(_det, matrices("det", x))


class SlogdetResult(NamedTuple):
    """What `slogdet` gives."""

    sign: Tensor
    logabsdet: Tensor


def _slogdet_type(x: TensorType) -> tuple[TensorType, TensorType]:
    sign = _numbers_of("slogdet")(x)
    return sign, sign.with_dtype(real_dtype(x.dtype))


def _slogdet_pullback(g: Any, y: Any, args: Any, attrs: Any, needed: Any) -> list[Any]:
    (x,) = args
    g_sign, g_log = g
    if kind(x.dtype) == "complex":
        sign, _ = all_of(_slogdet, y, args)
        g_log = g_log + 1j * imag(g_sign * conjugated(sign))
    return [_spread(g_log) * adjoint(inv(x))]


def _slogdet_jvp(tangents: Any, y: Any, x: Any) -> Any:
    sign, _ = all_of(_slogdet, y, (x,))
    t = trace(solved(x, tangents[0]))
    if kind(x.dtype) != "complex":
        return zeros_like(sign), t
    return sign * (1j * imag(t)), real(t)


_slogdet = on_host(
    "slogdet",
    lambda xp, x: tuple(xp.linalg.slogdet(x)),
    _slogdet_type,
    pullback=_slogdet_pullback,
    jvp=_slogdet_jvp,
)


@api
def slogdet(x: Any, /) -> SlogdetResult:
    """The determinant of each matrix as its sign, and the logarithm of its absolute value.

    Args:
        x: Tensor of shape (..., n, n); floating or complex numbers.

    Returns:
        Named tuple of `sign` and `logabsdet`, tensors of shape (...): the determinant is
        `sign * exp(logabsdet)`. Of complex matrices the sign is a complex number of size 1. Its
        gradient asks for matrices that have an inverse.

    Raises:
        ShapeError: The matrices are not square.

    Example:
        >>> import dualflow as df
        >>> df.linalg.slogdet(df.asarray([[0.0, 1.0], [1.0, 0.0]])).sign.item()
        -1.0
    """
    return SlogdetResult(*bind(_slogdet, matrices("slogdet", x)))


# ----- powers -----


@api
@placed
def matrix_power(x: Any, n: int, /) -> Tensor:
    """Each matrix multiplied with itself.

    Args:
        x: Tensor of shape (..., m, m); numbers.
        n: How often it stands in the product; negative: its inverse does.

    Returns:
        Tensor of the shape of `x`.

    Raises:
        ShapeError: The matrices are not square.
        LinAlgError: `n` is negative, and one has no inverse.

    Example:
        >>> import dualflow as df
        >>> df.linalg.matrix_power(df.asarray([[1, 1], [0, 1]]), 3).tolist()
        [[1, 3], [0, 1]]
    """
    n = operator.index(n)
    (x,) = meet("matrix_power", (as_tensor(x),), "numeric") if n >= 0 else (inv(x),)
    check_matrices("matrix_power", x.type, square=True)
    power, count = None, abs(n)
    while count:
        if count % 2:
            power = x if power is None else matmul(power, x)
        count //= 2
        x = matmul(x, x) if count else x
    return broadcast_to(eye(x.shape[-1], dtype=x.dtype), x.shape) if power is None else power


# N. J. Higham, "The scaling and squaring method for the matrix exponential revisited", SIAM Journal
# on Matrix Analysis and Applications 26 (2005) 1179-1193: Pade's approximant of degree 13 holds for
# norms up to LARGEST_NORM.
PADE = (
    64764752532480000, 32382376266240000, 7771770303897600, 1187353796428800, 129060195264000,
    10559470521600, 670442572800, 33522128640, 1323241920, 40840800, 960960, 16380, 182, 1,
)  # fmt: skip
LARGEST_NORM = 5.371920351148152


def _expm_evaluate(xp: Any, x: Any) -> Any:
    """Computed in float64 or complex128."""
    wide = x.astype(xp.result_type(x.dtype, xp.float64))
    norm = xp.max(xp.sum(xp.abs(wide), axis=-2), axis=-1, initial=0)
    bounded = xp.isfinite(norm)
    halvings = xp.ceil(xp.log2(xp.where(bounded, xp.maximum(norm / LARGEST_NORM, 1), 1)))
    scaled = xp.where(bounded, 0.5**halvings, xp.nan)[..., None, None] * wide
    y = _pade(xp, scaled)
    for k in range(int(xp.max(halvings, initial=0))):
        y = xp.where((halvings > k)[..., None, None], xp.matmul(y, y), y)
    return y.astype(x.dtype)


def _pade(xp: Any, x: Any) -> Any:
    one = xp.eye(x.shape[-1], dtype=x.dtype)
    two = xp.matmul(x, x)
    four = xp.matmul(two, two)
    powers = [one, two, four, xp.matmul(four, two)]
    odd, even = (
        xp.matmul(powers[3], _sum_of(powers[1:], PADE[8 + k :: 2])) + _sum_of(powers, PADE[k:8:2])
        for k in (1, 0)
    )
    odd = xp.matmul(x, odd)
    return xp.linalg.solve(even - odd, even + odd)


def _sum_of(powers: list[Any], factors: tuple[int, ...]) -> Any:
    return sum(float(c) * power for c, power in zip(factors, powers, strict=True))


def _slope_of_expm(x: Tensor, t: Tensor) -> Tensor:
    """The derivative at `x` in a direction: a block of the exponential of [[x, t], [0, x]]."""
    n = x.shape[-1]
    above = concat([x, t], axis=-1)
    below = concat([zeros_like(x), x], axis=-1)
    whole = bind(_expm, (concat([above, below], axis=-2),))
    return part(part(whole, x.ndim - 1, n, n), x.ndim - 2, 0, n)


_expm = on_host(
    "expm",
    _expm_evaluate,
    of_square("expm"),
    vjps=(lambda g, y, x: _slope_of_expm(adjoint(x), g),),
    jvp=lambda tangents, y, x: _slope_of_expm(x, tangents[0]),
)


@api
def expm(x: Any, /) -> Tensor:
    """The exponential of each matrix: the sum of `matrix_power(x, k) / k!` over all k.

    Args:
        x: Tensor of shape (..., n, n); floating or complex numbers.

    Returns:
        Tensor of the shape of `x`; NaN where an element of a matrix is not finite.

    Raises:
        ShapeError: The matrices are not square.

    Example:
        >>> import dualflow as df
        >>> df.linalg.expm(df.asarray([[0.0, 1.0], [0.0, 0.0]])).tolist()
        [[1.0, 1.0], [0.0, 1.0]]
    """
    return bind(_expm, matrices("expm", x))
