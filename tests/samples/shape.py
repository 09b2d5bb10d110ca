"""Samples of ops that move data: shapes, orders, pieces, repetitions, sorting."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.samples.sample import Refused, Sample, bools, integers, normal

X = normal(2, 3, 4)
EMPTY = normal(2, 0, 3)
TIES = np.array([[3, 1, 2, 1, 3], [0, 0, 5, 5, 0]])
SHUFFLED = np.random.default_rng(0).permutation(np.array([np.nan, *range(16), np.nan], np.float32))
NANS = np.array([2.0, np.nan, -1.0, np.nan, 3.0, -0.0, 0.0], np.float32)


def exact(*args: Any, reference: Any = None, **kwargs: Any) -> Sample:
    """A sample whose result is the arguments' bits."""
    return Sample(args, kwargs, reference, rtol=0.0)


def split_reference(x: Any, cuts: Any, axis: int = 0) -> tuple[Any, ...]:
    return tuple(np.split(x, cuts, axis))


def ordered(function: Any) -> Any:
    """NumPy's sort or argsort with `descending`; equal elements keep their order."""

    def reference(x: Any, axis: int = -1, *, descending: bool = False, stable: bool = True) -> Any:
        del stable
        if not descending:
            return function(x, axis=axis, kind="stable")
        turned = function(np.flip(x, axis), axis=axis, kind="stable")
        turned = np.flip(turned, axis)
        return x.shape[axis] - 1 - turned if function is np.argsort else turned

    return reference


MANY = np.random.default_rng(3).integers(0, 200, 1100).astype(np.float32)  # most of them twice
MANY[[5, 700]] = np.nan
WHOLE = np.array([[3, -1, 2, 3], [0, 7, -5, 1]])
FRAMES = ("edge", "reflect", "symmetric", "wrap")
SORTED: list[tuple[Any, dict[str, Any]]] = [
    (X, {}),
    (X, {"axis": 0}),
    (X, {"axis": -2, "descending": True}),
    (TIES, {}),
    (TIES, {"descending": True}),
    (bools(5), {}),
    (normal(0), {}),
]


def searched(x1: Any, x2: Any, side: Any = "left", *, sorter: Any = None) -> Any:
    return np.searchsorted(x1, x2, side, sorter)


def largest(x: Any, k: int, axis: int = -1, *, mode: str = "largest") -> tuple[Any, Any]:
    """By NumPy's order of everything."""
    order = ordered(np.argsort)(x, axis, descending=mode == "largest")
    order = np.take(order, np.arange(k), axis)
    return np.take_along_axis(x, order, axis), order


SAMPLES: dict[str, list[Sample]] = {
    "reshape": [
        exact(X, (4, 6)),
        exact(X, (-1,)),
        exact(X, (2, -1, 2)),
        exact(normal(), (1, 1)),
        exact(EMPTY, (0, 5)),
        exact(integers(6), (3, 2)),
        exact(bools(6), (3, 2)),
    ],
    "expand_dims": [exact(X, 0), exact(X, -1), exact(X, (0, 2)), exact(normal(), 0)],
    "squeeze": [
        exact(normal(1, 3, 1), 0),
        exact(normal(1, 3, 1), (0, -1)),
        exact(normal(1, 3, 1)),
        exact(normal(1, 1), (0, 1)),
    ],
    "broadcast_to": [
        exact(normal(3, 1), (3, 4)),
        exact(normal(3, 1), (2, 3, 4)),
        exact(normal(), (2, 2)),
        exact(normal(1, 0), (3, 0)),
        exact(integers(3), (2, 3)),
    ],
    "broadcast_arrays": [
        exact(normal(2, 1), normal(3), reference=lambda *xs: tuple(np.broadcast_arrays(*xs))),
        exact(normal(2), reference=lambda *xs: tuple(np.broadcast_arrays(*xs))),
    ],
    "permute_dims": [
        exact(X, (2, 0, 1), reference=np.transpose),
        exact(X, (-1, 0, 1), reference=np.transpose),
        exact(normal(), (), reference=np.transpose),
    ],
    "moveaxis": [exact(X, 0, -1), exact(X, (0, 1), (-1, 0)), exact(X, 2, 0)],
    "matrix_transpose": [exact(X), exact(integers(2, 3))],
    "concat": [
        exact([X, normal(2, 1, 4, seed=1)], axis=1, reference=np.concatenate),
        exact([normal(2, 3), normal(0, 3)], reference=np.concatenate),
        exact([normal(2, 2), normal(3)], axis=None, reference=np.concatenate),
        exact([integers(2), integers(3), integers(1)], axis=-1, reference=np.concatenate),
        exact([normal(3)], reference=np.concatenate),
        exact([normal(k % 3, 2, seed=k) for k in range(11)], reference=np.concatenate),
    ],
    "stack": [
        exact([X, X + 1]),
        exact([X, X + 1, X + 2], axis=-1),
        exact([normal(), normal()]),
        exact([integers(3)], axis=1),
    ],
    "unstack": [
        exact(X, reference=lambda x: tuple(np.unstack(x))),
        exact(X, axis=-1, reference=lambda x, axis: tuple(np.unstack(x, axis=axis))),
        exact(normal(1), reference=lambda x: tuple(np.unstack(x))),
    ],
    "split": [
        exact(normal(6, 2), 3, reference=split_reference),
        exact(normal(6, 2), [1, 1, 4], reference=split_reference),
        exact(X, 2, -1, reference=split_reference),
    ],
    "flip": [exact(X), exact(X, 0), exact(X, (0, -1)), exact(normal()), exact(EMPTY)],
    "roll": [
        exact(X, 1, reference=np.roll),
        exact(X, -1, 1),
        exact(X, 5, -1),
        exact(X, (1, -2), (0, 2)),
        exact(EMPTY, 1, 0),
    ],
    "repeat": [
        exact(X, 2),
        exact(X, 3, axis=1),
        exact(X, 0, axis=-1),
        exact(integers(3), 2),
        exact(X, np.array([2, 0, 1]), axis=1),
        exact(normal(2), [3]),
        exact(normal(0), integers(0)),
    ],
    "tile": [
        exact(X, 2),
        exact(X, (2, 1, 1, 3)),
        exact(normal(3), (2, 2)),
        exact(normal(), (2,)),
        exact(normal(3), 0),
    ],
    "pad": [
        exact(X, 1),
        exact(X, (1, 2), constant_values=0.5),
        exact(normal(3), [(2, 0)], constant_values=-1),
        Sample((normal(3), 1), {"constant_values": float("-inf")}, numeric=False),
        exact(X, ((0, 0), (1, 0), (0, 2))),
        exact(integers(3), 1, constant_values=7),
        exact(EMPTY, 1),
        *(exact(X, ((0, 0), (1, 5), (2, 7)), mode) for mode in FRAMES),
        exact(normal(1, 3), ((2, 1), (0, 0)), "reflect"),
    ],
    "argsort": [
        Sample((x,), kwargs, ordered(np.argsort), numeric=False)
        for x, kwargs in [*SORTED, (NANS, {}), (NANS, {"descending": True}), (MANY, {})]
    ],
    "sort": [
        *(Sample((x,), kwargs, ordered(np.sort), rtol=0.0) for x, kwargs in SORTED),
        Sample((SHUFFLED,), {}, ordered(np.sort), rtol=0.0, numeric=False),
        *(Sample((WHOLE,), kwargs, ordered(np.sort)) for kwargs in ({}, {"descending": True})),
    ],
    "top_k": [
        Sample((x, k), kwargs, largest, rtol=0.0)
        for x, k, kwargs in [
            (X, 2, {}),
            (X, 1, {"axis": 1, "mode": "smallest"}),
            (TIES, 3, {}),
            (TIES, 5, {"mode": "smallest"}),
            (normal(3), 0, {}),
        ]
    ]
    + [
        Sample((x, 4), {"mode": mode}, largest, rtol=0.0, numeric=False)
        for x in (NANS, MANY, np.tile(MANY, 3), np.tile(WHOLE.ravel(), 3000)[:2999])
        for mode in ("largest", "smallest")
    ],
    "searchsorted": [
        Sample((np.array([1.0, 3.0, 3.0, 7.0], np.float32), normal(2, 3)), {}, searched),
        Sample((np.array([1, 3, 3, 7]), np.array([3, 0, 8])), {"side": "right"}, searched),
        Sample((np.array([1, 3, 3, 7]), np.array(3)), {}, searched),
        Sample((np.array([1, 3], "uint8"), 2), {}, searched),
        Sample((np.array([3, 1, 2]), np.array([2, 3]), "left"), {"sorter": [1, 2, 0]}, searched),
        Sample((np.sort(NANS), NANS), {"side": "right"}, searched),
        Sample((np.sort(NANS), NANS), {}, searched),
        Sample((normal(0), normal(3)), {}, searched),
        *(Sample((np.arange(n), np.arange(-1, n + 2)), {}, searched) for n in (32, 33, 67)),
        *(Sample((np.sort(MANY), MANY[:9]), {"side": s}, searched) for s in ("left", "right")),
    ],
}

REFUSED: dict[str, list[Refused]] = {
    "reshape": [
        Refused((X, (5, 5)), "ShapeError", "24 elements, which do not fill (5, 5)"),
        Refused((X, (-1, -1)), "ShapeError", "at most one extent -1"),
    ],
    "expand_dims": [Refused((X, 7), "AxisError", "expand_dims: axis 7")],
    "squeeze": [
        Refused((X, 1), "ShapeError", "squeeze: axis 1 of (2, 3, 4) has extent 3"),
        Refused((X, 5), "AxisError", "squeeze: axis 5"),
    ],
    "broadcast_to": [Refused((X, (2, 3, 5)), "ShapeError", "broadcast_to: shapes (2, 3, 4)")],
    "broadcast_arrays": [Refused((X, normal(5)), "ShapeError", "do not broadcast: 4 against 5")],
    "permute_dims": [
        Refused((X, (0, 1)), "AxisError", "permute_dims: axes (0, 1) for a tensor with 3"),
        Refused((X, (0, 0, 1)), "AxisError", "each of 0 to 2 once"),
    ],
    "moveaxis": [
        Refused((X, (0, 1), 0), "AxisError", "moveaxis: 2 axes to 1 places"),
        Refused((X, 3, 0), "AxisError", "moveaxis: axis 3"),
    ],
    "matrix_transpose": [Refused((normal(3),), "AxisError", "shape (3,)")],
    "concat": [
        Refused(([X, normal(2, 3)],), "ShapeError", "(2, 3, 4) and (2, 3) along axis 0"),
        Refused(([X, X],), "AxisError", "concat: axis 3", {"axis": 3}),
        Refused(([],), "ShapeError", "concat: no tensors"),
    ],
    "stack": [
        Refused(([X, normal(2, 3)],), "ShapeError", "stack: shapes (2, 3, 4) and (2, 3)"),
        Refused(([X],), "AxisError", "stack: axis 4", {"axis": 4}),
    ],
    "unstack": [Refused((X,), "AxisError", "unstack: axis 3", {"axis": 3})],
    "split": [
        Refused((X, 5), "ShapeError", "split: an extent of 2 into 5 pieces"),
        Refused((X, [3, 1]), "ShapeError", "rising positions from 0 to 2"),
    ],
    "flip": [Refused((X, 3), "AxisError", "flip: axis 3")],
    "roll": [
        Refused((X, 1, 3), "AxisError", "roll: axis 3"),
        Refused((X, (1, 2), 0), "ShapeError", "roll: 2 shifts for 1 axes"),
        Refused((X, 1.5), "TypeError", "'float' object cannot be interpreted as an integer"),
    ],
    "repeat": [
        Refused((X, -1), "ShapeError", "repeat: shape (-1,) has a negative extent"),
        Refused((X, [1, 2]), "ShapeError", "repeat: (2,) numbers for an extent of 24"),
        Refused((normal(2), [1, -2]), "ShapeError", "repeat: a negative number"),
        Refused((X, 2), "AxisError", "repeat: axis 3", {"axis": 3}),
    ],
    "tile": [Refused((X, (-1,)), "ShapeError", "negative extent")],
    "pad": [
        Refused((X, -1), "ShapeError", "pad: pad_width -1 is negative"),
        Refused((X, ((1, 1), (1, 1))), "ShapeError", "before and after each of 3 axes"),
        Refused((integers(3), 1), "DTypeError", "pad: 0.5 into", {"constant_values": 0.5}),
        Refused((X, 1), "DTypeError", "pad: (1, 2) into", {"constant_values": (1, 2)}),
        Refused((X, 1, "mirror"), "ValueError", "pad: mode='mirror', expected one of constant"),
        Refused((EMPTY, 1, "edge"), "ShapeError", "pad: nothing to repeat along axis 1"),
    ],
    "argsort": [
        Refused((X, 3), "AxisError", "argsort: axis 3"),
        Refused((X.astype(complex),), "DTypeError", "complex numbers have no order"),
    ],
    "sort": [Refused((X, 3), "AxisError", "sort: axis 3")],
    "top_k": [
        Refused((X, 5), "ShapeError", "top_k: 5 elements of (2, 3, 4) along axis 2"),
        Refused((X, 1), "ValueError", "top_k: mode='most'", {"mode": "most"}),
        Refused((X.astype(complex), 1), "DTypeError", "complex numbers have no order"),
    ],
    "searchsorted": [
        Refused((X, X), "ShapeError", "searchsorted: sorted values of shape (2, 3, 4)"),
        Refused((normal(3), X), "ShapeError", "side 'up'", {"side": "up"}),
    ],
}
