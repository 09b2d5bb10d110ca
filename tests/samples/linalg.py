"""Samples of products: matmul, einsum and their kin; diagonals."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.samples.sample import Refused, Sample, integers, normal

A, B = normal(3, 4), normal(4, 5, seed=1)
BATCH_A, BATCH_B = normal(2, 3, 4), normal(2, 4, 5, seed=1)
COMPLEX = (normal(3, 4) + 1j * normal(3, 4, seed=2)).astype(np.complex64)


def einsum(spec: str, *shapes: tuple[int, ...]) -> Sample:
    """A sample of `einsum` on tensors of these shapes."""
    return Sample((spec, *(normal(*shape, seed=k) for k, shape in enumerate(shapes))), rtol=1e-5)


def last_two(function: Any) -> Any:
    """NumPy's function of the first two axes, on the last two."""

    def reference(x: Any, *, offset: int = 0, **kwargs: Any) -> Any:
        return function(x, offset, x.ndim - 2, x.ndim - 1, **kwargs)

    return reference


SAMPLES: dict[str, list[Sample]] = {
    "matmul": [
        Sample((A, B), rtol=1e-5),
        Sample((normal(4), B), rtol=1e-5),
        Sample((A, normal(4)), rtol=1e-5),
        Sample((normal(4), normal(4, seed=1)), rtol=1e-5),
        Sample((BATCH_A, BATCH_B), rtol=1e-5),
        Sample((BATCH_A, B), rtol=1e-5),
        Sample((A, BATCH_B), rtol=1e-5),
        Sample((normal(2, 1, 3, 4), normal(5, 4, 2, seed=1)), rtol=1e-5),
        Sample((normal(3, 0), normal(0, 2))),
        Sample((normal(0, 3), normal(3, 2))),
        Sample((integers(3, 4), integers(4, 2))),
        Sample((COMPLEX, COMPLEX.T), rtol=1e-5),
    ],
    "einsum": [
        einsum("ik,kj->ij", (3, 4), (4, 5)),
        einsum("ik,kj", (3, 4), (4, 5)),
        einsum("bik,bjk->bij", (2, 3, 4), (2, 5, 4)),
        einsum("ij->ji", (3, 4)),
        einsum("ij->", (3, 4)),
        einsum("ij->j", (3, 4)),
        einsum("ii->i", (3, 3)),
        einsum("ii", (3, 3)),
        einsum("iji->ij", (3, 2, 3)),
        einsum("i,j->ij", (3,), (4,)),
        einsum("ij,k->i", (3, 4), (2,)),
        einsum("ij,ji->", (3, 4), (4, 3)),
        einsum("abc,acb->ba", (3, 4, 5), (3, 5, 4)),
        einsum("ij,jk,kl->il", (2, 3), (3, 4), (4, 2)),
        einsum("ab,b,bc,c->ac", (2, 3), (3,), (3, 4), (4,)),
        einsum("...ij,...jk->...ik", (2, 1, 3, 4), (5, 4, 2)),
        einsum("...ij->...ji", (2, 3, 4)),
        einsum("b...,b...", (2, 3), (2, 3)),
        einsum("i...,...i->...", (3, 2), (2, 3)),
        einsum("...,...", (), (3,)),
        einsum("bhqd,bhkd->bhqk", (2, 2, 3, 4), (2, 2, 5, 4)),
        einsum("ij,jk->ik", (2, 0), (0, 3)),
        Sample(("ij,jk->ik", COMPLEX, COMPLEX.T), rtol=1e-5),
        Sample(("ij,j->i", integers(3, 4), integers(4))),
    ],
    "tensordot": [
        Sample((normal(2, 3, 4), normal(3, 4, 5)), rtol=1e-5),
        Sample((A, B), {"axes": 1}, rtol=1e-5),
        Sample((normal(2), normal(3)), {"axes": 0}),
        Sample((normal(2, 3, 4), normal(4, 2)), {"axes": ((2, 0), (0, 1))}, rtol=1e-5),
        Sample((normal(2, 3), normal(5, 3)), {"axes": (-1, -1)}, rtol=1e-5),
    ],
    "vecdot": [
        Sample((normal(3), normal(3, seed=1)), rtol=1e-5),
        Sample((normal(2, 1, 4), normal(3, 4, seed=1)), rtol=1e-5),
        Sample((normal(2, 3, 4), normal(2, 3, 4, seed=1)), {"axis": -2}, rtol=1e-5),
        Sample((COMPLEX, COMPLEX[::-1]), rtol=1e-5),
        Sample((integers(3), integers(3))),
    ],
    "outer": [Sample((normal(3), normal(4))), Sample((integers(2), integers(0)))],
    "diagonal": [
        Sample((x,), {"offset": offset}, last_two(np.diagonal), rtol=0.0)
        for x in (normal(3, 4), normal(2, 4, 3))
        for offset in (0, 1, -2, 5)
    ],
    "trace": [
        Sample((normal(3, 3),), {}, last_two(np.trace)),
        Sample((normal(2, 3, 4),), {"offset": 1}, last_two(np.trace)),
        Sample((integers(3, 3),), {}, last_two(np.trace)),
    ],
}

REFUSED: dict[str, list[Refused]] = {
    "matmul": [
        Refused((A, A), "ShapeError", "matmul: (3, 4) @ (3, 4): inner sizes 4 and 3 differ"),
        Refused((normal(4), A), "ShapeError", "inner sizes 4 and 3 differ"),
        Refused((normal(), A), "ShapeError", "matmul: a number has no rows"),
        Refused((BATCH_A, normal(3, 4, 5)), "ShapeError", "matmul: shapes (2,) and (3,)"),
        Refused((A > 0, B > 0), "DTypeError", "matmul: does not take"),
    ],
    "einsum": [
        Refused(("ij,jk->ik", A, A), "ShapeError", "the letter j stands for 4 and for 3"),
        Refused(("ij->ij",), "ShapeError", "one operand or more"),
        Refused(("ijk->i", A), "ShapeError", "1 operands with 2 dimensions"),
        Refused(("ij->k", A), "ShapeError", "letters of the operands"),
        Refused(("ij->ii", A), "ShapeError", "each once"),
        Refused(("ii->i", A), "ShapeError", "equal extents for i"),
        Refused(("i1->i", A), "ShapeError", "einsum: 'i1->i'"),
    ],
    "tensordot": [
        Refused((A, A), "ShapeError", "tensordot: axes [0] of (3, 4)", {"axes": [[0], [1]]}),
        Refused((A, B), "AxisError", "tensordot: axis", {"axes": 3}),
    ],
    "vecdot": [
        Refused((normal(3), normal(4)), "ShapeError", "vecdot: vectors of 3 and of 4 elements"),
        Refused((normal(3), A), "AxisError", "vecdot: axis -2", {"axis": -2}),
    ],
    "outer": [Refused((A, B), "ShapeError", "outer: shapes (3, 4) and (4, 5)")],
    "diagonal": [Refused((normal(3),), "AxisError", "diagonal: a tensor of shape (3,)")],
    "trace": [Refused((normal(3),), "AxisError", "diagonal: a tensor of shape (3,)")],
}
