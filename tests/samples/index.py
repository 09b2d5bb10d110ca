"""Samples of indexing: expressions in brackets, take, nonzero."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.samples.sample import Refused, Sample, bools, integers, normal

X = normal(3, 4, 5)
I = np.array([2, 0, -1])  # noqa: E741
J = np.array([[1], [2]])
MASK = np.array([True, False, True])


def at(index: Any, x: Any = X) -> Sample:
    """A sample of `x[index]`."""
    return Sample((x, index), {}, lambda x, index: x[index], differentiable=(0,), rtol=0.0)


def wrong(index: Any, words: str, error: str = "IndexError", x: Any = X) -> Refused:
    """A refused `x[index]`."""
    return Refused((x, index), error, words)


BASIC = [
    1,
    -1,
    (0, 1, 2),
    slice(1, None),
    slice(None, None, -1),
    (slice(None), slice(3, 0, -2)),
    (slice(10, 20), slice(-2, None)),
    (Ellipsis, 0),
    (Ellipsis, slice(1, 3)),
    (None, 1, None),
    (slice(None), None, Ellipsis, 2),
    (),
    Ellipsis,
    np.int64(2),
]
ADVANCED = [
    I,
    (slice(None), I),
    (I, I),
    (I, slice(None), I),
    (J, I),
    (0, slice(None), I),
    (0, I),
    (I, 0),
    (slice(None), I, 0),
    (slice(None), 1, I),
    (I, None, I),
    (slice(1, None), I, Ellipsis, np.array([4, 0, 1])),
    (slice(None), 0, Ellipsis, I),
    (Ellipsis, slice(None), I, 0),
    (None, I, slice(1, 3)),
    (slice(None, None, 2), slice(None), J),
    np.array(1),
    (np.array(1), slice(None), np.array(-1)),
    [2, 2, 0],
    [],
    np.array([], np.int64),
    (I.astype(np.uint8) % 3,),
]
MASKS = [
    MASK,
    ~MASK & False,
    (MASK, 0),
    (slice(None), bools(4)),
    (slice(1, 3), slice(None), bools(5)),
    bools(3, 4),
    bools(3, 4, 5),
    (Ellipsis, bools(5)),
    [True, False, True],
    (MASK, I[:2]),
    True,
    (0, np.array(False)),
    (..., np.array(True), 1),
    bools(0, 4),
]

PLACES = np.argsort(X, axis=-1)[..., :2]  # no place twice


def put(x: Any, indices: Any, values: Any, axis: int = -1) -> Any:
    """NumPy's put_along_axis on a copy."""
    y = x.copy()
    np.put_along_axis(y, np.broadcast_to(indices, _around(x, indices, axis)), values, axis)
    return y


def _around(x: Any, indices: Any, axis: int) -> tuple[int, ...]:
    """The shape of indices that broadcast with `x` but along `axis`."""
    at = axis % x.ndim
    return tuple(indices.shape[k] if k == at else d for k, d in enumerate(x.shape))


def summed(x: Any, segment_ids: Any, num_segments: int) -> Any:
    """Sums of rows with the same number."""
    y = np.zeros((num_segments, *x.shape[1:]), x.dtype)
    np.add.at(y, segment_ids, x)
    return y


SAMPLES: dict[str, list[Sample]] = {
    "getitem": [
        *map(at, BASIC),
        *map(at, ADVANCED),
        *map(at, MASKS),
        at(1, integers(3)),
        at(I, bools(3)),
        at((), normal()),
    ],
    "take": [
        Sample((X, I), {"axis": 0}, np.take, rtol=0.0),
        Sample((X, J), {"axis": -1}, np.take, rtol=0.0),
        Sample((normal(5), I), {}, np.take, rtol=0.0),
        Sample((X, np.array(1)), {"axis": 1}, np.take, rtol=0.0),
        Sample((X, []), {"axis": 1}, lambda x, i, axis: np.take(x, np.zeros(0, int), axis)),
        Sample((integers(4), np.array([3, 3])), {}, np.take),
    ],
    "take_along_axis": [
        Sample((X, integers(3, 4, 2, low=-5, high=5)), {}, np.take_along_axis, rtol=0.0),
        Sample((X, integers(3, 6, 5, low=0, high=4)), {"axis": 1}, np.take_along_axis, rtol=0.0),
        Sample((X, integers(3, 1, 1, low=0, high=4)), {"axis": 1}, np.take_along_axis, rtol=0.0),
    ],
    "put_along_axis": [
        Sample((X, PLACES, normal(3, 4, 2, seed=1)), {}, put, rtol=0.0),
        Sample((X, integers(3, 1, 5, low=-4, high=4), 2.5), {"axis": 1}, put, rtol=0.0),
        Sample((X, np.array([[[1]]]), normal(4, 1, seed=1)), {"axis": 2}, put, rtol=0.0),
        Sample((integers(2, 3), np.array([[0], [2]]), np.array([[7], [8]])), {}, put),
    ],
    "segment_sum": [
        Sample((X, np.array([2, 0, 2]), 4), {}, summed),
        Sample((normal(6), np.array([1, 1, 0, 1, 0, 1]), 2), {}, summed),
        Sample((integers(3, 2), np.array([0, 0, 0]), 1), {}, summed),
        Sample((normal(0, 2), integers(0), 2), {}, summed),
    ],
    "nonzero": [
        Sample((x,), {}, lambda x: np.nonzero(x), numeric=False)
        for x in (bools(7), bools(3, 4), integers(4, low=0, high=2), normal(0), np.zeros((2, 3)))
    ],
}

REFUSED: dict[str, list[Refused]] = {
    "getitem": [
        wrong(7, "index 7 is out of bounds for axis 0 with extent 3"),
        wrong((0, -5), "index -5 is out of bounds for axis 1 with extent 4"),
        wrong(np.array([0, 3]), "index 3 is out of bounds for axis 0 with extent 3"),
        wrong((0, slice(None), np.array([[-6]])), "index -6 is out of bounds for axis 2"),
        wrong((0, 0, 0, 0), "too many indices: 4 for a tensor with 3 dimensions"),
        wrong((Ellipsis, Ellipsis), "two ellipses"),
        wrong(np.array([0.5]), "indices of dtype float64"),
        wrong(bools(4), "a mask of shape (4,) for extents (3,)"),
        wrong("a", "an index of type str"),
        wrong(0, "too many indices: 1 for a tensor with 0 dimensions", x=normal()),
    ],
    "take": [
        Refused((X, I), "AxisError", "take: a tensor of shape (3, 4, 5) and no axis"),
        Refused((X, I), "AxisError", "take: axis 3", {"axis": 3}),
        Refused((X, np.array([4])), "IndexError", "index 4 is out of bounds", {"axis": 1}),
        Refused((X, normal(2)), "DTypeError", "take: indices of dtype float32", {"axis": 0}),
    ],
    "take_along_axis": [
        Refused((X, I), "ShapeError", "take_along_axis: indices (3,) for (3, 4, 5)"),
        Refused((normal(3), np.array([3])), "IndexError", "index 3 is out of bounds"),
    ],
    "put_along_axis": [
        Refused((X, I, 0.0), "ShapeError", "put_along_axis: indices (3,) for (3, 4, 5)"),
        Refused((integers(2), np.array([0]), 0.5), "DTypeError", "a value of float"),
        Refused((normal(3), np.array([3]), 0.0), "IndexError", "index 3 is out of bounds"),
    ],
    "segment_sum": [
        Refused((X, np.array([0, 1]), 2), "ShapeError", "segment_sum: numbers (2,) for (3, 4, 5)"),
        Refused((normal(2), np.array([0, 2]), 2), "IndexError", "index 2 is out of bounds"),
    ],
    "nonzero": [Refused((normal(),), "AxisError", "nonzero: a tensor with no dimensions")],
}
