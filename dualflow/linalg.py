"""Linear algebra: `df.linalg`, the array API's extension."""

from __future__ import annotations

from typing import Any

from dualflow import names
from dualflow.ops.decompositions import cholesky, eig, eigh, eigvals, eigvalsh
from dualflow.ops.einsum import tensordot
from dualflow.ops.linalg import diagonal, matmul, outer, trace, vecdot
from dualflow.ops.norms import cross, matrix_norm, vector_norm
from dualflow.ops.orthogonal import qr
from dualflow.ops.shape import matrix_transpose
from dualflow.ops.singular import lstsq, matrix_rank, pinv, svd, svdvals
from dualflow.ops.solving import det, expm, inv, matrix_power, slogdet, solve


def __getattr__(name: str) -> Any:
    raise AttributeError(names.missing_function(name, "linalg"))


__all__ = [
    "cholesky",
    "cross",
    "det",
    "diagonal",
    "eig",
    "eigh",
    "eigvals",
    "eigvalsh",
    "expm",
    "inv",
    "lstsq",
    "matmul",
    "matrix_norm",
    "matrix_power",
    "matrix_rank",
    "matrix_transpose",
    "outer",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "svd",
    "svdvals",
    "tensordot",
    "trace",
    "vecdot",
    "vector_norm",
]
