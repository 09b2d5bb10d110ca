"""Orthogonal columns: qr, and what derivatives of those of svd share with it."""

from __future__ import annotations

from typing import Any, NamedTuple

from dualflow.core.op import bind
from dualflow.core.registry import api
from dualflow.core.tensor import Tensor
from dualflow.ops.arrange import concat
from dualflow.ops.choice import where
from dualflow.ops.create import eye, tril, triu, zeros_like
from dualflow.ops.elementwise import imag
from dualflow.ops.linalg import diagonal, matmul
from dualflow.ops.matrices import (
    adjoint,
    all_of,
    check_matrices,
    diagonal_matrix,
    matrices,
    on_host,
)
from dualflow.ops.slicing import part
from dualflow.ops.solving import solved
from jit.types import TensorType, bool_, kind

# ----- columns -----


def least_extent(x: TensorType) -> Any:
    """The smaller extent of matrices."""
    rows, columns = x.shape[-2:]
    return rows if rows < columns else columns


def front(x: Tensor, count: Any) -> Tensor:
    """The first columns."""
    return part(x, x.ndim - 1, 0, count)


def behind(x: Tensor, count: Any) -> Tensor:
    """The columns behind the first ones."""
    return part(x, x.ndim - 1, count, x.shape[-1] - count)


def flow_of_rest(g: Tensor, q: Tensor, count: Any) -> Tensor:
    """The cotangent of the first columns of `q` that does what one of all columns does.

    The others span what is left, and turn as little as they can: t_rest = -q t^H rest.
    """
    first, rest = front(q, count), behind(q, count)
    return front(g, count) - matmul(rest, matmul(adjoint(behind(g, count)), first))


def with_rest(t: Tensor, q: Tensor, count: Any) -> Tensor:
    """The tangent of all columns of `q`, from that of the first ones."""
    turned = matmul(front(q, count), matmul(adjoint(t), behind(q, count)))
    return concat([t, -turned], axis=-1)


def rest_of(q: Tensor, x: Tensor) -> Tensor:
    """The part of the columns of `x` that is orthogonal to those of `q`."""
    return x - matmul(q, matmul(adjoint(q), x))


# ----- orthogonal and triangular -----


class QRResult(NamedTuple):
    """What `qr` gives."""

    Q: Tensor
    R: Tensor


def _qr_type(*, complete: bool) -> Any:
    def infer(x: TensorType) -> tuple[TensorType, TensorType]:
        check_matrices("qr", x)
        batch, (rows, columns) = x.shape[:-2], x.shape[-2:]
        inner = rows if complete else least_extent(x)
        return x.with_shape((*batch, rows, inner)), x.with_shape((*batch, inner, columns))

    return infer


def _square(x: Tensor) -> tuple[Tensor, Tensor]:
    """Wide matrices cut behind their square part."""
    return front(x, x.shape[-2]), behind(x, x.shape[-2])


def _qr_pullback(g: Any, y: Any, args: Any, attrs: Any, needed: Any) -> list[Any]:
    q, r = all_of(_qr, y, args)
    rows, columns = args[0].shape[-2:]
    if rows >= columns:
        return [_qr_flow(g[0], g[1], q, r)]
    # Of a wide matrix [X Y] the factors are those of X; R ends in Q^H Y.
    _, behind = _square(args[0])
    g_front, g_behind = _square(g[1])
    g_q = g[0] + matmul(behind, adjoint(g_behind))
    flow = _qr_flow(g_q, g_front, q, _square(r)[0])
    return [concat([flow, matmul(q, g_behind)], axis=-1)]


def _qr_flow(g_q: Tensor, g_r: Tensor, q: Tensor, r: Tensor) -> Tensor:
    """(gQ + Q M) R^-H, M being Hermitian with the upper triangle of gR R^H - Q^H gQ."""
    upper = triu(matmul(g_r, adjoint(r)) - matmul(adjoint(q), g_q))
    whole = upper + adjoint(upper)
    mirrored = where(eye(whole.shape[-1], dtype=bool_), whole * 0.5, whole)
    return adjoint(solved(r, adjoint(g_q + matmul(q, mirrored))))


def _qr_jvp(tangents: Any, y: Any, x: Any) -> Any:
    q, r = all_of(_qr, y, (x,))
    rows, columns = x.shape[-2:]
    if rows >= columns:
        return _qr_tangents(tangents[0], q, r)
    front, behind = _square(tangents[0])
    t_q, t_r = _qr_tangents(front, q, _square(r)[0])
    t_behind = matmul(adjoint(t_q), _square(x)[1]) + matmul(adjoint(q), behind)
    return t_q, concat([t_r, t_behind], axis=-1)


def _qr_tangents(t: Tensor, q: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
    scaled = adjoint(solved(adjoint(r), adjoint(t)))  # t R^-1
    inner = matmul(adjoint(q), scaled)
    below = tril(inner, k=-1)
    turn = below - adjoint(below)
    if kind(q.dtype) == "complex":
        turn = turn + diagonal_matrix(1j * imag(diagonal(inner)))
    return matmul(q, turn) + rest_of(q, scaled), matmul(inner - turn, r)


_qr = on_host(
    "qr",
    lambda xp, x: tuple(xp.linalg.qr(x)),
    _qr_type(complete=False),
    pullback=_qr_pullback,
    jvp=_qr_jvp,
)


def _above(r: Tensor) -> Tensor:
    """The square part of a triangle that has zeros below it."""
    return part(r, r.ndim - 2, 0, r.shape[-1])


def _complete_qr_pullback(g: Any, y: Any, args: Any, attrs: Any, needed: Any) -> list[Any]:
    q, r = all_of(_complete_qr, y, args)
    count = r.shape[-1]
    g_q = flow_of_rest(g[0], q, count)
    return [_qr_flow(g_q, _above(g[1]), front(q, count), _above(r))]


def _complete_qr_jvp(tangents: Any, y: Any, x: Any) -> Any:
    q, r = all_of(_complete_qr, y, (x,))
    count = r.shape[-1]
    t_q, t_r = _qr_tangents(tangents[0], front(q, count), _above(r))
    below = part(r, r.ndim - 2, count, r.shape[-2] - count)
    return with_rest(t_q, q, count), concat([t_r, zeros_like(below)], axis=-2)


_complete_qr = on_host(
    "complete_qr",
    lambda xp, x: tuple(xp.linalg.qr(x, mode="complete")),
    _qr_type(complete=True),
    pullback=_complete_qr_pullback,
    jvp=_complete_qr_jvp,
)


@api
def qr(x: Any, /, *, mode: str = "reduced") -> QRResult:
    """Each matrix as a product of one with orthogonal columns of length 1, and a triangle.

    Args:
        x: Tensor of shape (..., m, n); floating or complex numbers.
        mode: "reduced", or "complete" for a square Q. Gradients hold for what does not depend on
            which further columns are chosen.

    Returns:
        Named tuple of `Q`, of shape (..., m, k), and `R`, the upper triangle of shape (..., k, n):
        k is the smaller of m and n, or m when complete.

    Raises:
        ShapeError: There are fewer than two dimensions.
        ValueError: There is no such mode.

    Example:
        >>> import dualflow as df
        >>> df.linalg.qr(df.ones((3, 2))).Q.shape
        (3, 2)
    """
    if mode not in ("reduced", "complete"):
        raise ValueError(f'qr: mode={mode!r}, which is neither "reduced" nor "complete"')
    (x,) = matrices("qr", x)
    check_matrices("qr", x.type)
    complete = mode == "complete" and x.shape[-2] > x.shape[-1]
    return QRResult(*bind(_complete_qr if complete else _qr, (x,)))
