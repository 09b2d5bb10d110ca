"""Decompositions of matrices: records of LAPACK's, and their derivatives.

Where a derivative divides by differences of eigenvalues or singular values, equal ones give
nothing: what depends on the choice of their vectors has no derivative, all else is right. The
choice of a sign, or of a complex phase, of a vector is no part of a derivative either.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from dualflow.core.define import conjugated
from dualflow.core.inspection import complex_dtype, real_dtype
from dualflow.core.op import bind
from dualflow.core.registry import api
from dualflow.core.tensor import Tensor
from dualflow.ops.choice import where
from dualflow.ops.create import eye, tril
from dualflow.ops.elementwise import astype, real
from dualflow.ops.linalg import diagonal, matmul
from dualflow.ops.matrices import (
    adjoint,
    all_of,
    check_matrices,
    diagonal_matrix,
    gaps,
    hermitian,
    matrices,
    of_square,
    on_host,
)
from dualflow.ops.shape import expand_dims
from dualflow.ops.solving import solved
from jit.types import TensorType, bool_

# ----- of positive definite matrices -----


def _lower_half(x: Tensor) -> Tensor:
    """The lower triangle with half of the diagonal."""
    on = eye(x.shape[-1], dtype=bool_)
    return where(on, x * 0.5, tril(x))


def _cholesky_vjp(g: Any, y: Any, x: Any) -> Any:
    inner = hermitian(_lower_half(matmul(adjoint(y), g)))
    return adjoint(solved(adjoint(y), adjoint(solved(adjoint(y), inner))))


def _cholesky_jvp(tangents: Any, y: Any, x: Any) -> Any:
    inner = solved(y, adjoint(solved(y, hermitian(tangents[0]))))
    return matmul(y, _lower_half(inner))


_cholesky = on_host(
    "cholesky",
    lambda xp, x: xp.linalg.cholesky(x),
    of_square("cholesky"),
    vjps=(_cholesky_vjp,),
    jvp=_cholesky_jvp,
)


@api
def cholesky(x: Any, /, *, upper: bool = False) -> Tensor:
    """The triangular matrix that, times its conjugate transpose, makes each matrix.

    Args:
        x: Tensor of shape (..., n, n): symmetric (Hermitian), positive definite matrices. Of others
            the half that is symmetric is taken.
        upper: The upper triangle, whose conjugate transpose stands on the left of the product.

    Returns:
        Tensor of the shape of `x`: lower triangles.

    Raises:
        ShapeError: The matrices are not square.
        LinAlgError: One is not positive definite.

    Example:
        >>> import dualflow as df
        >>> df.linalg.cholesky(df.asarray([[4.0, 2.0], [2.0, 2.0]])).tolist()
        [[2.0, 0.0], [1.0, 1.0]]
    """
    (x,) = matrices("cholesky", x)
    check_matrices("cholesky", x.type, square=True)
    y = bind(_cholesky, (hermitian(x),))
    return adjoint(y) if upper else y


# ----- eigenvalues of symmetric matrices -----


class EighResult(NamedTuple):
    """What `eigh` gives."""

    eigenvalues: Tensor
    eigenvectors: Tensor


def _values_type(name: str) -> Any:
    def infer(x: TensorType) -> TensorType:
        check_matrices(name, x, square=True)
        return TensorType(x.shape[:-1], real_dtype(x.dtype))

    return infer


def _composed(v: Tensor, inner: Tensor) -> Tensor:
    """V inner V^H."""
    return matmul(v, matmul(inner, adjoint(v)))


def _eigh_pullback(g: Any, y: Any, args: Any, attrs: Any, needed: Any) -> list[Any]:
    w, v = all_of(_eigh, y, args)
    inner = diagonal_matrix(g[0]) + gaps(w) * matmul(adjoint(v), g[1])
    return [hermitian(_composed(v, inner))]


def _eigh_jvp(tangents: Any, y: Any, x: Any) -> Any:
    w, v = all_of(_eigh, y, (x,))
    inner = matmul(adjoint(v), matmul(hermitian(tangents[0]), v))
    return real(diagonal(inner)), matmul(v, gaps(w) * inner)


_eigh = on_host(
    "eigh",
    lambda xp, x: tuple(xp.linalg.eigh(x)),
    lambda x: (_values_type("eigh")(x), x),
    pullback=_eigh_pullback,
    jvp=_eigh_jvp,
)


def _eigvalsh_vjp(g: Any, y: Any, x: Any) -> Any:
    _, v = bind(_eigh, (x,))
    return _composed(v, diagonal_matrix(g))


def _eigvalsh_jvp(tangents: Any, y: Any, x: Any) -> Any:
    _, v = bind(_eigh, (x,))
    return real(diagonal(matmul(adjoint(v), matmul(hermitian(tangents[0]), v))))


_eigvalsh = on_host(
    "eigvalsh",
    lambda xp, x: xp.linalg.eigvalsh(x),
    _values_type("eigvalsh"),
    vjps=(_eigvalsh_vjp,),
    jvp=_eigvalsh_jvp,
)


@api
def eigh(x: Any, /) -> EighResult:
    """The eigenvalues and eigenvectors of symmetric (Hermitian) matrices.

    Args:
        x: Tensor of shape (..., n, n). Of other matrices the half that is symmetric is taken.

    Returns:
        Named tuple of `eigenvalues`, real, of shape (..., n), in rising order; and `eigenvectors`,
        of shape (..., n, n), in columns.

    Raises:
        ShapeError: The matrices are not square.
        LinAlgError: The iteration did not converge.

    Example:
        >>> import dualflow as df
        >>> df.linalg.eigh(df.asarray([[2.0, 0.0], [0.0, 1.0]])).eigenvalues.tolist()
        [1.0, 2.0]
    """
    (x,) = matrices("eigh", x)
    check_matrices("eigh", x.type, square=True)
    return EighResult(*bind(_eigh, (hermitian(x),)))


@api
def eigvalsh(x: Any, /) -> Tensor:
    """The eigenvalues of symmetric (Hermitian) matrices.

    Args:
        x: Tensor of shape (..., n, n). Of other matrices the half that is symmetric is taken.

    Returns:
        Tensor of real numbers of shape (..., n), in rising order.

    Raises:
        ShapeError: The matrices are not square.
        LinAlgError: The iteration did not converge.

    Example:
        >>> import dualflow as df
        >>> df.linalg.eigvalsh(df.asarray([[2.0, 0.0], [0.0, 1.0]])).tolist()
        [1.0, 2.0]
    """
    (x,) = matrices("eigvalsh", x)
    check_matrices("eigvalsh", x.type, square=True)
    return bind(_eigvalsh, (hermitian(x),))


# ----- eigenvalues of any square matrices -----


class EigResult(NamedTuple):
    """What `eig` gives."""

    eigenvalues: Tensor
    eigenvectors: Tensor


def _eig_type(x: TensorType) -> tuple[TensorType, TensorType]:
    check_matrices("eig", x, square=True)
    y = x.with_dtype(complex_dtype(x.dtype))
    return y.with_shape(x.shape[:-1]), y


def _eig_evaluate(xp: Any, x: Any) -> Any:
    w, v = xp.linalg.eig(x)
    return w.astype(complex_dtype(x.dtype)), v.astype(complex_dtype(x.dtype))


def _without_growth(v: Tensor, x: Tensor) -> Tensor:
    """The part of `x` that leaves the length of the columns of `v` as it is."""
    growth = real(diagonal(matmul(adjoint(v), x)))
    return x - v * expand_dims(growth, -2)


def _eig_pullback(g: Any, y: Any, args: Any, attrs: Any, needed: Any) -> list[Any]:
    w, v = all_of(_eig, y, args)
    inner = conjugated(gaps(w)) * matmul(adjoint(v), _without_growth(v, g[1]))
    inner = inner + diagonal_matrix(g[0])
    return [solved(adjoint(v), matmul(inner, adjoint(v)))]


def _eig_jvp(tangents: Any, y: Any, x: Any) -> Any:
    w, v = all_of(_eig, y, (x,))
    inner = solved(v, matmul(astype(tangents[0], v.dtype), v))
    return diagonal(inner), _without_growth(v, matmul(v, gaps(w) * inner))


_eig = on_host("eig", _eig_evaluate, _eig_type, pullback=_eig_pullback, jvp=_eig_jvp)


def _eigvals_vjp(g: Any, y: Any, x: Any) -> Any:
    _, v = bind(_eig, (x,))
    return solved(adjoint(v), matmul(diagonal_matrix(g), adjoint(v)))


def _eigvals_jvp(tangents: Any, y: Any, x: Any) -> Any:
    _, v = bind(_eig, (x,))
    return diagonal(solved(v, matmul(astype(tangents[0], v.dtype), v)))


_eigvals = on_host(
    "eigvals",
    lambda xp, x: xp.linalg.eigvals(x).astype(complex_dtype(x.dtype)),
    lambda x: _eig_type(x)[0],
    vjps=(_eigvals_vjp,),
    jvp=_eigvals_jvp,
)


@api
def eig(x: Any, /) -> EigResult:
    """The eigenvalues and eigenvectors of square matrices.

    Args:
        x: Tensor of shape (..., n, n); floating or complex numbers.

    Returns:
        Named tuple of `eigenvalues`, complex, of shape (..., n), in no order; and `eigenvectors`,
        complex, of shape (..., n, n), in columns of length 1.

    Raises:
        ShapeError: The matrices are not square.
        LinAlgError: The iteration did not converge.

    Example:
        >>> import dualflow as df
        >>> df.linalg.eig(df.asarray([[2.0, 0.0], [0.0, 1.0]])).eigenvalues.tolist()
        [(2+0j), (1+0j)]
    """
    return EigResult(*bind(_eig, matrices("eig", x)))


@api
def eigvals(x: Any, /) -> Tensor:
    """The eigenvalues of square matrices.

    Args:
        x: Tensor of shape (..., n, n); floating or complex numbers.

    Returns:
        Tensor of complex numbers of shape (..., n), in no order.

    Raises:
        ShapeError: The matrices are not square.
        LinAlgError: The iteration did not converge.

    Example:
        >>> import dualflow as df
        >>> df.linalg.eigvals(df.asarray([[0.0, -1.0], [1.0, 0.0]])).tolist()
        [1j, -1j]
    """
    return bind(_eigvals, matrices("eigvals", x))
