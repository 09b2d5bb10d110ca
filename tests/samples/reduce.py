"""Samples of reductions, running folds and statistics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import special

from tests.samples.elementwise import EDGES, cplx, discrete
from tests.samples.sample import Refused, Sample, bools, integers, normal, positive

F = np.float32
ZEROS = np.array([[1.5, 0.0, 2.0], [0.0, 3.0, 0.0]], F)
TIES = np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]], F)
GAPS = np.array([1.0, np.nan, 3.0, np.nan], F)
AXES: list[dict[str, Any]] = [
    {},
    {"axis": 0},
    {"axis": -1, "keepdims": True},
    {"axis": (0, 2)},
    {"axis": (-1, 0), "keepdims": True},
    {"keepdims": True},
    {"axis": ()},
]


def over_axes(
    *extra: Sample, values: np.ndarray[Any, Any] | None = None, **common: Any
) -> list[Sample]:
    """Samples over every way to name axes, of a 3-dimensional tensor and a number."""
    values = normal(2, 3, 4) if values is None else values
    found = [Sample((values,), kwargs, **common) for kwargs in AXES]
    return [*found, Sample((values[0, 0, 0],), **common), *extra]


def empty(**kwargs: Any) -> list[Sample]:
    """Samples of what has no elements."""
    return [
        Sample((normal(0),), kwargs, numeric=False),
        Sample((normal(0, 3),), {"axis": 0, **kwargs}, numeric=False),
        Sample((normal(2, 0),), {"axis": 0, **kwargs}, numeric=False),
    ]


def places() -> list[Sample]:
    """Samples of argmax and argmin."""
    return [
        discrete(normal(3, 4)),
        discrete(normal(3, 4), kwargs={"axis": 0}),
        discrete(normal(3, 4), kwargs={"axis": -1, "keepdims": True}),
        discrete(normal(3, 4), kwargs={"keepdims": True}),
        discrete(TIES, kwargs={"axis": 1}),
        discrete(GAPS),
        discrete(EDGES),
        discrete(integers(3, 4), kwargs={"axis": 1}),
        discrete(normal()),
        discrete(normal(2, 0), kwargs={"axis": 0}),
    ]


def truths() -> list[Sample]:
    """Samples of any and all."""
    cases = [discrete(bools(2, 3, 4), kwargs=kwargs) for kwargs in AXES]
    others = [integers(3, 4), EDGES, bools(0), np.array(True), np.array([0, 1j])]
    return [*cases, *map(discrete, others)]


def records(fold: np.ufunc) -> list[Sample]:
    """Samples of running extremes; ties and NaN have kinks."""

    def reference(x: Any, axis: int = 0) -> Any:
        return fold.accumulate(x, axis=axis)

    smooth = [
        ((normal(6),), {}),
        ((normal(3, 4),), {"axis": 0}),
        ((normal(2, 3, 4),), {"axis": -2}),
    ]
    others = [(TIES, 1), (GAPS, 0), (EDGES, 0), (integers(3, 4), 1), (normal(0, 2), 0)]
    return [
        *(Sample(args, kwargs, reference=reference) for args, kwargs in smooth),
        *(Sample((x,), {"axis": k}, reference=reference, numeric=False) for x, k in others),
    ]


def running(fold: Callable[..., Any], neutral: int) -> list[Sample]:
    """Samples of a cumulative function, NumPy's being `fold`."""

    def reference(
        x: Any, axis: int = 0, dtype: Any = None, *, include_initial: bool = False
    ) -> Any:
        y = fold(x, axis=axis, dtype=dtype)
        first = np.full_like(np.take(y, [0], axis=axis), neutral) if include_initial else None
        return y if first is None else np.concatenate([first, y], axis=axis)

    cases: list[tuple[Any, dict[str, Any]]] = [
        (normal(5), {}),
        (normal(3, 4), {"axis": 0}),
        (normal(3, 4), {"axis": -1}),
        (normal(2, 3), {"axis": 1, "include_initial": True}),
        (ZEROS, {"axis": 1}),
        (ZEROS, {"axis": 0}),
        (normal(1), {}),
        (integers(4).astype(np.int8), {}),
        (integers(4, low=0).astype(np.uint8), {}),
        (normal(3), {"dtype": np.float64}),
        (bools(4), {}),
    ]
    found = [Sample((x,), kwargs, reference=reference, rtol=5e-6) for x, kwargs in cases]
    edges = [
        Sample((cplx(4),), reference=reference, numeric=False, rtol=1e-5),
        Sample((normal(0),), reference=reference, numeric=False),
        Sample((EDGES[2:5],), reference=reference, numeric=False),
    ]
    return [*found, *edges]


def deviation(name: str) -> Callable[..., Any]:
    """NumPy's var or std, which calls the correction ddof on older versions."""

    def reference(
        x: Any, axis: Any = None, *, correction: float = 0.0, keepdims: bool = False
    ) -> Any:
        return getattr(np, name)(x, axis=axis, ddof=correction, keepdims=keepdims)

    return reference


def deviations(name: str) -> list[Sample]:
    """Samples of var and std."""
    reference = deviation(name)
    return over_axes(
        Sample((normal(3, 4),), {"axis": 0, "correction": 1}, reference=reference, rtol=1e-5),
        Sample((normal(3, 4),), {"axis": 1, "correction": 0.5}, reference=reference, rtol=1e-5),
        Sample((normal(3, 4) + 1000,), {"axis": 0}, reference=reference, rtol=1e-4, numeric=False),
        Sample((integers(6),), reference=reference, rtol=1e-5),
        Sample((normal(3).astype(np.float16),), reference=reference, rtol=2e-3, numeric=False),
        Sample((cplx(4),), reference=reference, rtol=1e-5, numeric=False),
        Sample((normal(1),), {"correction": 1}, reference=reference, numeric=False),
        values=normal(2, 3, 4),
        reference=reference,
        rtol=1e-5,
        numeric=name == "var",  # at one element std has a kink
    )


SUMS = [
    Sample((integers(3, 4),), {"axis": 0}),
    Sample((integers(4).astype(np.int8),)),
    Sample((integers(4, low=0).astype(np.uint8),)),
    Sample((bools(4),)),
    Sample((normal(4),), {"dtype": np.float64}),
    Sample((integers(4),), {"dtype": np.float32}),
    Sample((normal(4).astype(np.float16),), rtol=2e-3, numeric=False),
    Sample((cplx(2, 3),), {"axis": 0}, numeric=False, rtol=1e-5),
    Sample((EDGES,), numeric=False),
    *empty(),
]

SAMPLES: dict[str, list[Sample]] = {
    "sum": over_axes(*SUMS, rtol=1e-5),
    "prod": over_axes(
        *SUMS,
        Sample((ZEROS,)),
        Sample((ZEROS,), {"axis": 1}),
        Sample((ZEROS,), {"axis": 0, "keepdims": True}),
        values=positive(2, 3, 4),
        rtol=1e-5,
    ),
    "max": over_axes(
        Sample((TIES,), {"axis": 1}, numeric=False),
        Sample((GAPS,), numeric=False),
        Sample((EDGES,), numeric=False),
        Sample((integers(3, 4),), {"axis": 1}),
        Sample((normal(2, 0),), {"axis": 0}, numeric=False),
        Sample((bools(3, 4),), {"axis": 1}),
    ),
    "min": over_axes(
        Sample((TIES,), {"axis": 1}, numeric=False),
        Sample((GAPS,), numeric=False),
        Sample((EDGES,), numeric=False),
        Sample((integers(3, 4),), {"axis": 1}),
        Sample((normal(2, 0),), {"axis": 0}, numeric=False),
        Sample((bools(3, 4),), {"axis": 0, "keepdims": True}),
    ),
    "argmax": places(),
    "argmin": places(),
    "any": truths(),
    "all": truths(),
    "cumulative_sum": running(np.cumsum, 0),
    "cumulative_prod": running(np.cumprod, 1),
    "cumulative_max": records(np.maximum),
    "cumulative_min": records(np.minimum),
    "mean": over_axes(
        Sample((integers(6),)),
        Sample((np.full(3000, 60, np.float16),), numeric=False, rtol=1e-3),
        Sample((cplx(2, 3),), {"axis": 0}, numeric=False, rtol=1e-5),
        *empty(),
        rtol=1e-5,
    ),
    "var": deviations("var"),
    "std": deviations("std"),
    "count_nonzero": [
        discrete(integers(2, 3, 4), kwargs={k: v for k, v in kwargs.items() if v != ()})
        for kwargs in AXES
    ]
    + [discrete(bools(4)), discrete(EDGES), discrete(normal(0))],
    "logsumexp": over_axes(
        Sample((normal(3) * 1000,), reference=special.logsumexp, rtol=1e-6),
        Sample((np.array([-np.inf, -np.inf], F),), reference=special.logsumexp, numeric=False),
        Sample((np.array([-np.inf, 1.0], F),), reference=special.logsumexp, numeric=False),
        Sample((integers(4),), reference=special.logsumexp, rtol=1e-6),
        reference=special.logsumexp,
        rtol=5e-6,
    ),
}

REFUSED: dict[str, list[Refused]] = {
    "sum": [
        Refused((normal(3),), "AxisError", "sum: axis 1", {"axis": 1}),
        Refused((normal(3, 3),), "AxisError", "names a dimension twice", {"axis": (0, -2)}),
    ],
    "max": [
        Refused((normal(0),), "ShapeError", "max: a tensor of shape (0,) has no elements"),
        Refused((normal(3, 0),), "ShapeError", "max: a tensor of shape (3, 0)", {"axis": 1}),
        Refused((cplx(3),), "DTypeError", "max: does not take complex64"),
    ],
    "min": [Refused((normal(0),), "ShapeError", "min: a tensor of shape (0,) has no elements")],
    "argmax": [
        Refused((normal(0),), "ShapeError", "argmax: a tensor of shape (0,) has no elements"),
        Refused((normal(3),), "AxisError", "argmax: axis 2", {"axis": 2}),
    ],
    "argmin": [Refused((normal(0),), "ShapeError", "argmin: a tensor of shape (0,)")],
    "cumulative_sum": [
        Refused((normal(3, 4),), "AxisError", "cumulative_sum: a tensor of shape (3, 4) needs"),
        Refused((normal(),), "AxisError", "cumulative_sum: a tensor of shape ()"),
    ],
    "cumulative_prod": [Refused((normal(3),), "AxisError", "axis 1", {"axis": 1})],
    "cumulative_max": [
        Refused((normal(3, 4),), "AxisError", "cumulative_max: a tensor of shape (3, 4) needs"),
        Refused((cplx(3),), "DTypeError", "cumulative_max: does not take complex64"),
    ],
    "cumulative_min": [
        Refused((normal(3),), "AxisError", "axis 1", {"axis": 1}),
        Refused((bools(3),), "DTypeError", "cumulative_min: does not take bool"),
    ],
    "count_nonzero": [Refused((normal(3),), "AxisError", "count_nonzero: axis 3", {"axis": 3})],
    "logsumexp": [
        Refused((normal(0),), "ShapeError", "no elements"),
        Refused((cplx(3),), "DTypeError", "logsumexp: does not take complex64"),
    ],
}
