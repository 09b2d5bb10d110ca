"""Samples of creation functions."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.samples.elementwise import cplx, discrete
from tests.samples.sample import Refused, Sample, bools, integers, normal

F = np.float32


def made(*args: Any, reference: Any = None, rtol: float = 0.0, **kwargs: Any) -> Sample:
    """A sample of a function that takes no tensors to differentiate by."""
    return Sample(args, kwargs, reference=reference, rtol=rtol, numeric=False)


def triangle(fold: Any) -> Any:
    """NumPy's tril or triu with a keyword `k`."""
    return lambda x, *, k=0: fold(x, k)


def rows(x: Any, num_classes: int, *, dtype: Any = F) -> Any:
    """One-hot rows, by indexing."""
    inside = (x >= 0) & (x < num_classes)
    return np.where(inside[..., None], np.eye(num_classes)[np.where(inside, x, 0)], 0).astype(dtype)


def grid(*arrays: Any, indexing: str = "xy") -> tuple[Any, ...]:
    """NumPy's meshgrid."""
    return tuple(np.meshgrid(*arrays, indexing=indexing))


def single(x: Any, *, dtype: Any = None) -> Any:
    """Numbers in lists as dualflow reads them: floats become float32."""
    made_ = np.asarray(x, dtype)
    return made_.astype(F) if isinstance(x, list | float) and made_.dtype == float else made_


def filled(fill: int) -> list[Sample]:
    """Samples of zeros, ones and empty."""

    def reference(shape: Any, *, dtype: Any = F) -> Any:
        return np.full(shape, fill, dtype)

    return [
        made((2, 3), reference=reference),
        made(4, reference=reference),
        made((), reference=reference),
        made((0, 3), reference=reference),
        made([2, 2], dtype="int8", reference=reference),
        made((2,), dtype=np.bool_, reference=reference),
        made((2,), dtype=np.complex64, reference=reference),
    ]


def filled_like(fill: int) -> list[Sample]:
    """Samples of zeros_like, ones_like and empty_like."""

    def reference(x: Any, *, dtype: Any = None) -> Any:
        return np.full_like(x, fill, dtype=dtype)

    return [
        made(normal(2, 3), reference=reference),
        made(integers(3), reference=reference),
        made(normal(), reference=reference),
        made(normal(0, 2), dtype=np.int32, reference=reference),
    ]


def number_line(start: Any, stop: Any, num: int, *, dtype: Any = F, endpoint: bool = True) -> Any:
    """NumPy's linspace, in float32 when nothing else is asked for."""
    kind = np.complex64 if isinstance(stop, complex) and dtype is F else dtype
    return np.linspace(start, stop, num, endpoint=endpoint).astype(kind)


def steps(*args: Any, dtype: Any = None) -> Any:
    """NumPy's arange, in float32 for floats."""
    values = np.arange(*args)
    return values.astype(dtype or (F if values.dtype == float else np.int64))


def corner(n: int, m: int | None = None, *, k: int = 0, dtype: Any = F) -> Any:
    """NumPy's eye."""
    return np.eye(n, m, k, dtype)


SAMPLES: dict[str, list[Sample]] = {
    "zeros": filled(0),
    "ones": filled(1),
    "empty": filled(0),
    "full": [
        made((2, 3), 1.5, reference=lambda s, v: np.full(s, v, F)),
        made(3, 7),
        made((2,), True),
        made((2,), 1 + 2j, reference=lambda s, v: np.full(s, v, np.complex64)),
        made((), -1, dtype=np.int8),
        made((2,), 3, dtype=np.float64),
        made((2,), np.float32(0.1)),
    ],
    "zeros_like": filled_like(0),
    "ones_like": filled_like(1),
    "empty_like": filled_like(0),
    "full_like": [
        made(normal(2, 3), 2.5),
        made(integers(3), 4),
        made(integers(3), 4, dtype=np.float16),
    ],
    "asarray": [
        Sample((normal(2, 3),)),
        made([1.5, 2.5], reference=single),
        made([[1, 2], [3, 4]], reference=single),
        made(2.5, reference=single),
        made([True, False]),
        made([1, 2], dtype="float64", reference=single),
        made(normal(3).astype(np.float64)),
        made(integers(3), dtype=np.float32),
    ],
    "arange": [
        made(5, reference=steps),
        made(0, reference=steps),
        made(-3, reference=steps),
        made(2, 9, reference=steps),
        made(2, 9, 3, reference=steps),
        made(9, 2, -3, reference=steps),
        made(0.5, 2.0, 0.25, reference=steps),
        made(0, 1, 0.1, reference=steps, rtol=1e-6),
        made(5.0, reference=steps),
        made(5, dtype="uint8", reference=steps),
        made(5, dtype=np.float64, reference=steps),
    ],
    "linspace": [
        made(0, 1, 5, reference=number_line),
        made(-1.0, 2.5, 7, reference=number_line, rtol=1e-6),
        made(3, 1, 3, reference=number_line),
        made(0, 1, 1, reference=number_line),
        made(0, 1, 0, reference=number_line),
        made(0, 1, 4, endpoint=False, reference=number_line),
        made(0, 1, 3, dtype=np.float64, reference=number_line),
        made(0, 1 + 2j, 3, reference=number_line),
    ],
    "eye": [
        made(3, reference=corner),
        made(2, 4, reference=corner),
        made(4, 2, k=-1, reference=corner),
        made(3, k=1, dtype=np.int64, reference=corner),
        made(0, reference=corner),
    ],
    "tril": [
        Sample((normal(3, 4),), reference=triangle(np.tril)),
        Sample((normal(2, 3, 3),), {"k": -1}, reference=triangle(np.tril)),
        Sample((normal(4, 3),), {"k": 1}, reference=triangle(np.tril)),
        discrete(integers(3, 3), reference=triangle(np.tril)),
        discrete(bools(3, 3), reference=triangle(np.tril)),
        Sample((cplx(2, 2),), reference=triangle(np.tril), numeric=False),
    ],
    "triu": [
        Sample((normal(3, 4),), reference=triangle(np.triu)),
        Sample((normal(2, 3, 3),), {"k": -1}, reference=triangle(np.triu)),
        Sample((normal(4, 3),), {"k": 1}, reference=triangle(np.triu)),
        discrete(integers(3, 3), reference=triangle(np.triu)),
        discrete(bools(3, 3), reference=triangle(np.triu)),
    ],
    "meshgrid": [
        made(normal(3), normal(2), reference=grid),
        made(normal(3), normal(2), indexing="ij", reference=grid),
        made(normal(3), normal(2), integers(4), reference=grid),
        made(normal(3), reference=grid),
    ],
    "one_hot": [
        discrete(integers(4, low=0), 6, reference=rows),
        discrete(integers(2, 3), 4, reference=rows),
        discrete(np.array([0, 255], np.uint8), 300, reference=rows),
        discrete(np.array(2), 3, kwargs={"dtype": np.int64}, reference=rows),
    ],
    "randn": [made(0, 3, reference=lambda *shape: np.empty(shape, F))],
}

REFUSED: dict[str, list[Refused]] = {
    "zeros": [
        Refused((-1,), "ShapeError", "full: shape (-1,) has a negative extent"),
        Refused(
            (2,),
            "DTypeError",
            "zeros: int64 values have",
            {"dtype": "int64", "requires_grad": True},
        ),
        Refused(
            (2,), "DeviceError", 'there is no device "tpu"'.replace('"', "'"), {"device": "tpu"}
        ),
    ],
    "full": [
        Refused(((2, -3), 1), "ShapeError", "full: shape (2, -3) has a negative extent"),
        Refused((2, 300), "DTypeError", "full: 300 does not fit uint8", {"dtype": "uint8"}),
        Refused((2, 1j), "DTypeError", "full: 1j does not fit float32", {"dtype": "float32"}),
    ],
    "asarray": [
        Refused(([[1, 2], [3]],), "DTypeError", "pad the rows"),
        Refused(("text",), "DTypeError", "cannot become a tensor"),
        Refused((-1,), "DTypeError", "-1 does not fit uint8", {"dtype": "uint8"}),
        Refused(([1, 300],), "DTypeError", "[1, 300] does not fit uint8", {"dtype": "uint8"}),
        Refused(([2**63],), "DTypeError", "does not fit int64"),
        Refused((2**63,), "DTypeError", "does not fit int64"),
    ],
    "arange": [Refused((1, 2, 0), "ShapeError", "arange: step 0")],
    "linspace": [Refused((0, 1, -1), "ShapeError", "linspace: shape (-1,)")],
    "eye": [Refused((-2,), "ShapeError", "eye: shape")],
    "tril": [Refused((normal(3),), "ShapeError", "tril: a tensor of shape (3,)")],
    "triu": [Refused((normal(3),), "ShapeError", "triu: a tensor of shape (3,)")],
    "meshgrid": [Refused((normal(2, 2),), "ShapeError", "meshgrid: shapes (2, 2)")],
    "one_hot": [Refused((normal(3), 3), "DTypeError", "one_hot: does not take float32")],
}
