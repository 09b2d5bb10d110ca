"""Samples of matrix decompositions, solutions and norms."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import linalg

from tests.samples.sample import Refused, Sample, integers, normal

A, BATCH = normal(3, 3, seed=4), normal(2, 3, 3, seed=5)
Z = (normal(3, 3, seed=6) + 1j * normal(3, 3, seed=7)).astype(np.complex64)
TALL, WIDE = normal(4, 2, seed=8), normal(2, 2, 4, seed=9)
SQUARES = (BATCH, Z)
SHAPES = (TALL, WIDE, Z)
LOOSE = 5e-5  # LAPACK in float32, of matrices that are well conditioned


def symmetric(x: Any) -> Any:
    return (x + np.conj(np.swapaxes(x, -1, -2))) / 2


def definite(x: Any) -> Any:
    """A positive definite matrix."""
    return (x @ np.conj(np.swapaxes(x, -1, -2)) + 2 * np.eye(x.shape[-1])).astype(x.dtype)


def of(
    name: str,
    *xs: Any,
    change: Callable[..., Any] = lambda x: x,
    numeric: bool = True,
    **kwargs: Any,
) -> list[Sample]:
    """Samples of a function of one matrix; NumPy's has the same name."""

    def reference(x: Any, **words: Any) -> Any:
        found = getattr(np.linalg, name)(change(x), **words)
        return tuple(found) if isinstance(found, tuple) else found

    return [Sample((x,), kwargs, reference, rtol=LOOSE, numeric=numeric) for x in xs]


def with_vectors(found: list[Sample]) -> list[Sample]:
    """Samples of vectors whose sign or phase is a matter of choice: no finite differences."""
    return [
        Sample(s.args, s.kwargs, s.reference, rtol=s.rtol, numeric=s.args[0].dtype.kind != "c")
        for s in found
    ]


def solved(a: Any, b: Any) -> Any:
    return np.linalg.solve(a, b[..., None])[..., 0] if b.ndim == 1 else np.linalg.solve(a, b)


def nearest(a: Any, b: Any, *, rtol: Any = None) -> tuple[Any, ...]:
    """NumPy's lstsq, whose residuals are left out for some shapes and ranks."""
    x, _, rank, s = np.linalg.lstsq(a, b, rtol)
    return x, np.atleast_1d(np.sum(np.abs(b - a @ x) ** 2, axis=0)), rank, s


def norms() -> list[Sample]:
    """Samples of vector_norm."""

    def reference(x: Any, *, axis: Any = None, keepdims: bool = False, ord: float = 2) -> Any:
        return np.linalg.vector_norm(x, axis=axis, keepdims=keepdims, ord=ord)

    kinds: list[dict[str, Any]] = [
        {},
        {"axis": 0, "ord": 1},
        {"axis": (0, 2), "ord": math.inf, "keepdims": True},
        {"ord": 3},
        {"axis": 1, "ord": 0},
    ]
    found = [Sample((BATCH,), kwargs, reference, rtol=1e-5) for kwargs in kinds]
    return [*found, Sample((Z,), {}, reference, rtol=1e-5), Sample((integers(4),), {}, reference)]


def matrix_norms() -> list[Sample]:
    """Samples of matrix_norm."""
    kinds = ["fro", "nuc", 1, -2, -math.inf]
    found = [s for kind in kinds for s in of("matrix_norm", BATCH, ord=kind)]
    return [*found, *of("matrix_norm", Z, keepdims=True)]


SAMPLES: dict[str, list[Sample]] = {
    "inv": of("inv", *SQUARES),
    "det": of("det", *SQUARES),
    "slogdet": of("slogdet", *SQUARES),
    "solve": [
        Sample((a, b), {}, solved, rtol=LOOSE)
        for a, b in ((BATCH, normal(3, 2)), (Z, Z[:, :1]), (A, normal(3)))
    ],
    "matrix_power": [
        Sample((x, n), {}, np.linalg.matrix_power, rtol=LOOSE)
        for x, n in ((A, 3), (BATCH, -2), (Z, 1), (A, 0), (integers(2, 2), 5))
    ],
    "expm": [Sample((x,), {}, linalg.expm, rtol=LOOSE) for x in (4 * BATCH, Z, normal(3, 0, 0))],
    "lstsq": [
        Sample((a, b), kwargs, nearest, rtol=2e-4, numeric=not kwargs)
        for a, b, kwargs in (
            (TALL, normal(4), {}),
            (TALL - 1j * TALL[::-1], Z[:, :1].repeat(2, 0)[:4], {}),
            (TALL @ TALL.T, normal(4), {"rtol": 1e-3}),
        )
    ],
    "cholesky": [
        *of("cholesky", *map(definite, SQUARES), change=symmetric),
        *of("cholesky", definite(A), change=symmetric, upper=True),
    ],
    "eigh": with_vectors(of("eigh", *map(symmetric, SQUARES), change=symmetric)),
    "eigvalsh": of("eigvalsh", *SQUARES, change=symmetric),
    "eig": of("eig", *SQUARES, numeric=False),
    "eigvals": of("eigvals", *SQUARES),
    "svd": [
        *with_vectors(of("svd", *SHAPES, full_matrices=False)),
        *with_vectors(of("svd", A)),
        *of("svd", TALL, WIDE, numeric=False),  # which further vectors there are is a choice
    ],
    "svdvals": of("svdvals", *SHAPES),
    "qr": [
        *of("qr", *SHAPES),
        *of("qr", A, mode="complete"),
        *of("qr", TALL, mode="complete", numeric=False),
    ],
    "pinv": [*of("pinv", *SHAPES), *of("pinv", TALL @ TALL.T, rtol=1e-3)],
    "matrix_rank": [*of("matrix_rank", *SHAPES), *of("matrix_rank", TALL @ TALL.T, rtol=1e-3)],
    "vector_norm": norms(),
    "matrix_norm": matrix_norms(),
    "cross": [
        Sample((normal(3), normal(3, seed=1)), {}, np.linalg.cross, rtol=1e-5),
        Sample((normal(2, 3), normal(3, seed=1)), {}, np.linalg.cross, rtol=1e-5),
        Sample((BATCH, BATCH[::-1]), {"axis": 1}, np.linalg.cross, rtol=1e-5),
        Sample((integers(3), integers(3)), {}, np.linalg.cross),
    ],
}

SINGULAR = np.zeros((2, 2), np.float32)
NOT_SQUARE = Refused((TALL,), "ShapeError", "a tensor of shape (4, 2)")
VECTOR = Refused((normal(3),), "ShapeError", "a tensor of shape (3,)")

REFUSED: dict[str, list[Refused]] = {
    **{name: [NOT_SQUARE] for name in ("det", "slogdet", "eigh", "eigvalsh", "eig", "eigvals")},
    **{name: [VECTOR] for name in ("svd", "svdvals", "pinv", "matrix_rank")},
    "inv": [NOT_SQUARE, Refused((SINGULAR,), "LinAlgError", "inv: singular matrix")],
    "solve": [
        Refused((A, normal(4)), "ShapeError", "solve: matrices (3, 3) and right sides (4, 1)"),
        Refused((SINGULAR, normal(2)), "LinAlgError", "solve: singular matrix"),
    ],
    "cholesky": [NOT_SQUARE, Refused((SINGULAR,), "LinAlgError", "not positive definite")],
    "expm": [NOT_SQUARE],
    "lstsq": [Refused((A, normal(4)), "ShapeError", "lstsq: matrices (3, 3) and right sides (4,)")],
    "matrix_power": [Refused((TALL, 2), "ShapeError", "matrix_power: a tensor of shape (4, 2)")],
    "qr": [VECTOR, Refused((A,), "ValueError", "qr: mode='raw'", {"mode": "raw"})],
    "vector_norm": [Refused((A,), "AxisError", "vector_norm: axis 2", {"axis": 2})],
    "matrix_norm": [VECTOR, Refused((A,), "ValueError", "ord='l2'", {"ord": "l2"})],
    "cross": [Refused((normal(2), normal(2)), "ShapeError", "cross: shapes (2,) and (2,)")],
}
