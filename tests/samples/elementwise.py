"""Samples of the elementwise ops."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import special

from tests.samples.sample import Refused, Sample, bools, integers, normal, positive, rng

F = np.float32
ZEROS = np.array([0.0, -0.0, 1.5, -1.5], F)
EDGES = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-15, -3e38], F)
HALF = np.array([0.5, -1.25, 2.0], np.float16)


def cplx(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """Complex64 values around 0."""
    return (normal(*shape, seed=seed) + 1j * normal(*shape, seed=seed + 50)).astype(np.complex64)


def between(low: float, high: float, *shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """Float32 values in (low, high)."""
    return rng(seed).uniform(low, high, shape).astype(F)


def unary(
    values: np.ndarray[Any, Any] | None = None,
    *,
    complex_: bool = True,
    integer: bool = True,
    rtol: float = 2e-6,
    edges: bool = True,
    reference: Any = None,
) -> list[Sample]:
    """Samples of a function of one argument, at `values` and the usual other places."""
    values = normal(3, 4) if values is None else values
    found = [
        Sample((values,), rtol=rtol, reference=reference),
        Sample((values.astype(np.float64),), reference=reference),
        Sample((values.reshape(-1)[:1].reshape(()),), rtol=rtol, reference=reference),
        Sample((values.reshape(-1)[:0].reshape(0, 3),), reference=reference),
    ]
    if edges:
        found.append(Sample((EDGES,), numeric=False, rtol=rtol, reference=reference))
    if integer:
        found.append(Sample((np.array([1, 2, 3]),), rtol=rtol, reference=reference))
    if complex_:
        found.append(Sample((cplx(2, 3),), rtol=1e-5, numeric=False, reference=reference))
    return found


def binary(
    a: np.ndarray[Any, Any] | None = None,
    b: np.ndarray[Any, Any] | None = None,
    *,
    complex_: bool = False,
    integer: bool = True,
    rtol: float = 2e-6,
    edges: bool = True,
    numeric: bool = True,
) -> list[Sample]:
    """Samples of a function of two arguments: shapes that broadcast, scalars, dtypes that meet."""
    a = normal(3, 4) if a is None else a
    b = normal(3, 4, seed=1) if b is None else b
    found = [
        Sample((a, b), rtol=rtol, numeric=numeric),
        Sample((a[:, :1], b[0]), rtol=rtol, numeric=numeric),
        Sample((a.astype(np.float64), b.astype(np.float64)), numeric=numeric),
        Sample((a[0, 0], b), rtol=rtol, numeric=numeric),
        Sample((a[:0], b[0]), numeric=numeric),
        Sample((a, 1.5), rtol=rtol, numeric=numeric),
        Sample((0.5, b), rtol=rtol, numeric=numeric),
    ]
    if edges:
        found.append(Sample((EDGES[:, None], EDGES), numeric=False, rtol=rtol))
    if integer:
        found.append(Sample((integers(3, 4), integers(4, low=1, seed=1)), rtol=rtol))
        found.append(Sample((np.array([1, 2, 3], np.int32), 2), rtol=rtol))
        found.append(Sample((b, np.array([2, 1, 3, 1])), rtol=rtol, numeric=numeric))
    if complex_:
        found.append(Sample((cplx(2, 3), cplx(3, seed=1)), numeric=False, rtol=1e-5))
        found.append(Sample((cplx(2, 3), normal(3)), numeric=False, rtol=1e-5))
    return found


def discrete(*args: Any, **kwargs: Any) -> Sample:
    """A sample of a function that has no gradient."""
    return Sample(args, numeric=False, **kwargs)


SMALL = between(-0.9, 0.9, 3, 4)
BIG = between(1.2, 3.0, 3, 4)
APART = np.array([[-2.3, -0.7, 0.4], [0.6, 1.4, 2.6]], F)
TIES = [np.array([1.0, 2.0, 3.0], F), np.array([1.0, 5.0, -3.0], F)]
REAL_STEPS = [
    discrete(APART),
    discrete(np.array([0.5, 1.5, 2.5, -0.5, -1.5], F)),
    discrete(EDGES),
    discrete(integers(3)),
    discrete(APART[0, 0]),
]
COMPARISONS = [
    discrete(integers(3, 4), integers(3, 4, seed=1)),
    discrete(normal(3, 1), normal(4, seed=1)),
    discrete(EDGES[:, None], EDGES),
    discrete(integers(4), 2),
    discrete(np.array([1, 2, 3], np.uint8), 2),
    discrete(2, integers(4)),
    discrete(normal(4), 0.5),
    discrete(normal(4), 0),
    discrete(integers(4), normal(4)),
]
EQUALITIES = [
    *COMPARISONS,
    discrete(bools(4), bools(4, seed=1)),
    discrete(bools(4), True),
    discrete(np.array([1 + 1j, 2j]), np.array([1 + 1j, 2.0])),
]
LOGIC = [
    discrete(bools(3, 4), bools(4, seed=1)),
    discrete(bools(), bools(2, seed=1)),
    discrete(bools(4), True),
]
BITS = [
    discrete(integers(3, 4), integers(4, seed=1)),
    discrete(integers(4).astype(np.uint8), integers(4, seed=1).astype(np.uint8)),
    discrete(integers(4), 3),
]
SHIFTS = [
    discrete(integers(3, 4), integers(4, low=0, seed=1)),
    discrete(np.array([1, 200], np.uint8), np.array([3, 1], np.uint8)),
    discrete(integers(4), 2),
    discrete(1, integers(4, low=0)),
]
POWERS = [
    Sample((positive(3, 4), normal(4, seed=1)), rtol=5e-6),
    Sample((positive(3, 4), normal(3, 1, seed=1).astype(np.float64)), rtol=5e-6),
    Sample((normal(3, 4), 2)),
    Sample((normal(3, 4), 2.0)),
    Sample((normal(3, 4), 3), rtol=5e-6),
    Sample((normal(3, 4), -2), rtol=5e-6),
    Sample((normal(3, 4), 1)),
    Sample((normal(3, 4), 0)),
    Sample((positive(3, 4), 0.5), rtol=5e-6),
    Sample((2.0, normal(3, 4)), rtol=5e-6),
    Sample((2, normal(3, 4)), rtol=5e-6),
    Sample((ZEROS, 2)),
    Sample((ZEROS, 1)),
    Sample((ZEROS, 0)),
    Sample((np.array([0.0, 0.0, 2.0], F), np.array([2.0, 3.0, 0.0], F)), differentiable=(0,)),
    Sample((integers(3, 4), integers(4, low=0, high=4)), rtol=0),
    Sample((integers(4, low=1).astype(np.int8), 2), rtol=0),
    Sample((2, integers(4, low=0)), rtol=0),
    Sample((integers(4, low=1), 0.5), rtol=5e-6),
    Sample((EDGES[:, None], EDGES), numeric=False, rtol=5e-6),
    Sample((cplx(2, 3), cplx(3, seed=1)), numeric=False, rtol=2e-5),
]
CLIPS = [
    Sample((normal(3, 4), -0.5, 0.5)),
    Sample((normal(3, 4),), {"min": 0.1}, reference=lambda x, min: np.maximum(x, min)),
    Sample((normal(3, 4),), {"max": 0.1}, reference=lambda x, max: np.minimum(x, max)),
    Sample((normal(3, 4),), reference=lambda x: x),
    Sample((normal(3, 4), normal(4, seed=1) - 1, normal(3, 1, seed=2) + 1)),
    Sample((normal(3, 4), 0.5, -0.5)),
    Sample((integers(4), -2, 2)),
    Sample((integers(4, low=0).astype(np.uint8), 1, 3)),
    Sample((EDGES, -1, 1), numeric=False),
    Sample((HALF, -1, 1), numeric=False),
    Sample((normal(), -0.5, 0.5)),
]
WHERES = [
    Sample((bools(3, 4), normal(3, 4), normal(3, 4, seed=1))),
    Sample((bools(3, 1), normal(4), normal(seed=1))),
    Sample((bools(4), normal(4), 0)),
    Sample((bools(4), 0.5, normal(4))),
    Sample((bools(4), 1, 2)),
    Sample((bools(4), 1.5, 2), reference=lambda c, a, b: np.where(c, F(a), F(b))),
    Sample((bools(4), integers(4), normal(4)), rtol=1e-6),
    Sample((bools(), normal(4), normal(4, seed=1))),
    Sample((bools(4), bools(4, seed=1), False)),
    Sample((bools(3), cplx(3), 0), numeric=False),
]

SAMPLES: dict[str, list[Sample]] = {
    "add": binary(complex_=True),
    "subtract": binary(complex_=True),
    "multiply": binary(complex_=True),
    "divide": binary(b=positive(3, 4, seed=1), complex_=True),
    "floor_divide": binary(numeric=False),
    "remainder": binary(a=APART.repeat(2, 1)[:, :4], b=positive(2, 4, seed=1), numeric=False)[:-3],
    "negative": unary(),
    "positive": unary(),
    "abs": [*unary(), Sample((ZEROS,), numeric=False), discrete(integers(4).astype(np.int8))],
    "sign": [discrete(ZEROS), discrete(EDGES), discrete(integers(4)), discrete(cplx(3))],
    "ceil": REAL_STEPS,
    "floor": REAL_STEPS,
    "trunc": REAL_STEPS,
    "round": [*REAL_STEPS, discrete(cplx(3))],
    "equal": EQUALITIES,
    "not_equal": EQUALITIES,
    "less": COMPARISONS,
    "less_equal": COMPARISONS,
    "greater": COMPARISONS,
    "greater_equal": COMPARISONS,
    "isfinite": [discrete(EDGES), discrete(integers(3)), discrete(cplx(3))],
    "isinf": [discrete(EDGES), discrete(integers(3)), discrete(cplx(3))],
    "isnan": [discrete(EDGES), discrete(integers(3)), discrete(cplx(3))],
    "signbit": [discrete(EDGES), discrete(HALF)],
    "logical_and": LOGIC,
    "logical_or": LOGIC,
    "logical_xor": LOGIC,
    "logical_not": [discrete(bools(3, 4)), discrete(bools())],
    "bitwise_and": [*BITS, *LOGIC],
    "bitwise_or": [*BITS, *LOGIC],
    "bitwise_xor": [*BITS, *LOGIC],
    "bitwise_left_shift": SHIFTS,
    "bitwise_right_shift": SHIFTS,
    "bitwise_invert": [discrete(integers(4)), discrete(bools(4)), discrete(np.uint8([1, 2]))],
    "conj": unary(),
    "real": unary(),
    "imag": [Sample((cplx(2, 3),), numeric=False)],
    "astype": [
        Sample((normal(3), "float64")),
        Sample((normal(3), "float16"), numeric=False, rtol=2e-3),
        Sample((normal(3), "bfloat16"), numeric=False, rtol=2e-2),
        Sample((normal(3), "complex64"), numeric=False),
        discrete(APART, "int32"),
        discrete(integers(3), "float32"),
        discrete(integers(3), "bool"),
        discrete(bools(3), "float32"),
    ],
    "where": WHERES,
    "maximum": [*binary(), Sample((*TIES,), order2=False, numeric=False)],
    "minimum": [*binary(), Sample((*TIES,), order2=False, numeric=False)],
    "clip": CLIPS,
    "exp": unary(),
    "expm1": unary(),
    "log": unary(positive(3, 4)),
    "log1p": unary(positive(3, 4)),
    "log2": unary(positive(3, 4)),
    "log10": unary(positive(3, 4)),
    "logaddexp": binary(),
    "sin": unary(edges=False),
    "cos": unary(edges=False),
    "tan": unary(SMALL, edges=False),
    "asin": unary(SMALL, integer=False),
    "acos": unary(SMALL, integer=False),
    "atan": unary(),
    "atan2": [*binary(), Sample((ZEROS[:, None], ZEROS), numeric=False)],
    "sinh": unary(),
    "cosh": unary(),
    "tanh": unary(),
    "asinh": unary(),
    "acosh": unary(BIG),
    "atanh": unary(SMALL, integer=False),
    "hypot": binary(),
    "copysign": binary(),
    "nextafter": [discrete(normal(3), normal(3, seed=1)), discrete(np.zeros(2), 1.0)],
    "square": unary(),
    "sqrt": unary(positive(3, 4)),
    "reciprocal": unary(positive(3, 4), integer=False),
    "pow": POWERS,
    "erf": unary(complex_=False, reference=special.erf),
}

REFUSED: dict[str, list[Refused]] = {
    "add": [
        Refused((normal(3), normal(4)), "ShapeError", "add: shapes (3,) and (4,) do not broadcast"),
        Refused((bools(3), bools(3)), "DTypeError", "add: does not take bool and bool"),
        Refused((np.uint8([1]), 300), "DTypeError", "300 does not fit uint8"),
        Refused((normal(3), "text"), "DTypeError", "cannot become a tensor"),
        Refused((np.uint64([1]), np.int64([1])), "DTypeError", "no common integer dtype"),
    ],
    "equal": [Refused((np.uint8([1]), 300), "DTypeError", "300 does not fit uint8")],
    "negative": [Refused((bools(3),), "DTypeError", "negative: does not take bool")],
    "less": [Refused((cplx(3), cplx(3)), "DTypeError", "less: does not take complex64")],
    "bitwise_and": [Refused((normal(3), 1), "DTypeError", "bitwise_and: does not take float32")],
    "bitwise_left_shift": [Refused((bools(3), True), "DTypeError", "bitwise_left_shift: does not")],
    "logical_not": [Refused((integers(3),), "DTypeError", "logical_not: does not take int64")],
    "imag": [Refused((normal(3),), "DTypeError", "imag: does not take float32")],
    "floor": [Refused((cplx(3),), "DTypeError", "floor: does not take complex64")],
    "erf": [Refused((cplx(3),), "DTypeError", "erf: does not take complex64")],
    "astype": [
        Refused((cplx(3), "float32"), "DTypeError", "would drop the imaginary part"),
        Refused((normal(3), "float33"), "DTypeError", "no dtype is called 'float33'"),
    ],
    "where": [
        Refused((integers(3), 1, 2), "DTypeError", "where: does not take int64"),
        Refused((bools(3), normal(2), 0), "ShapeError", "where: shapes"),
        Refused((bools(1), np.uint64([3]), -1), "DTypeError", "where: -1 does not fit uint64"),
    ],
    "clip": [
        Refused((np.uint8([1]), -5, 5), "DTypeError", "clip: -5 does not fit uint8"),
        Refused((cplx(3), 0, 1), "DTypeError", "clip: does not take complex64"),
        Refused((normal(3), normal(2), 1), "ShapeError", "clip: shapes"),
    ],
    "pow": [
        Refused((integers(3), -1), "DTypeError", "integers to the power of -1"),
        Refused((integers(3), np.array([1, -1, 2])), "DTypeError", "exponents >= 0"),
        Refused((2, np.array([1, -1, 2])), "DTypeError", "exponents >= 0"),
    ],
}
