"""Samples of sets, of differences of neighbours, and of what comes from other libraries."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.samples.sample import Refused, Sample, bools, integers, normal

GAPS = np.array([2.0, np.nan, -0.0, 0.0, 2.0, np.nan], np.float32)
TIES = np.array([[3, 1, 3], [2, 1, 1]])
FLOATS = np.concat([normal(90), GAPS])
BYTES = [np.arange(-128, 128).astype(t)[::-3].copy() for t in ("int8", "uint8")]
SCATTERED = np.arange(50, dtype="uint64") << 58
COMPLEX = np.array([1 + 1j, 1, 1 + 1j, 2j], np.complex64)


def unique(*parts: str, some: tuple[Any, ...] = (normal(3, 2), GAPS)) -> list[Sample]:
    """Samples of one of the four; no two elements may meet while gradients are measured."""

    def reference(x: Any) -> Any:
        return np.unique(x, equal_nan=False, **{f"return_{part}": True for part in parts})

    return [Sample((x,), {}, reference, numeric=x is not GAPS) for x in some]


SAMPLES: dict[str, list[Sample]] = {
    "unique_values": unique(some=(normal(3, 2), GAPS, TIES)),
    "unique_counts": unique("counts", some=(normal(3, 2), GAPS, TIES)),
    "unique_inverse": unique("inverse"),
    "unique_all": unique("index", "inverse", "counts", some=(normal(3, 2), TIES, integers(0))),
    "isin": [
        Sample((TIES, np.array([1, 7]))),
        Sample((GAPS, GAPS[:3]), {"invert": True}),
        Sample((COMPLEX, COMPLEX[:1])),
        Sample((TIES, integers(0))),
        Sample((np.array([1, 2], "uint64"), 2)),
        Sample((2.0, GAPS)),
        Sample((FLOATS, FLOATS[::2])),
        *(Sample((x, x[: x.size // 2])) for x in BYTES),
        Sample((np.array([2**63, 0, 2**64 - 1], "uint64"), SCATTERED)),
    ],
    "diff": [
        Sample((normal(5),)),
        Sample((normal(3, 4),), {"axis": 0, "n": 2}),
        Sample((normal(3),), {"prepend": normal(1, seed=1), "append": normal(2, seed=2)}),
        Sample((integers(3),), {"n": 4}),
    ],
    "from_dlpack": [Sample((x,), {}, lambda x: x) for x in (normal(2, 3), bools(3))],
}

REFUSED: dict[str, list[Refused]] = {
    "diff": [
        Refused((normal(3),), "AxisError", "diff: axis 1", {"axis": 1}),
        Refused((normal(3),), "ShapeError", "diff: shape (-1,)", {"n": -1}),
    ],
    "isin": [
        Refused(
            (integers(2), integers(2).astype("uint64")), "DTypeError", "no common integer dtype"
        )
    ],
    "from_dlpack": [Refused((3,), "DTypeError", "from_dlpack: int has no __dlpack__")],
}
