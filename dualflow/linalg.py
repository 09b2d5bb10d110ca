"""Linear algebra: `df.linalg`, the array API's extension as far as it is here."""

from __future__ import annotations

from dualflow.ops.einsum import tensordot
from dualflow.ops.linalg import diagonal, matmul, outer, trace, vecdot
from dualflow.ops.shape import matrix_transpose

__all__ = ["diagonal", "matmul", "matrix_transpose", "outer", "tensordot", "trace", "vecdot"]
