"""Samples of `x.at[index].set(v)` and its kin, under the names `at.set`, `at.add`, ..."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.samples.sample import Refused, Sample, bools, integers, normal

X = normal(3, 4)
ROWS = np.array([2, 0, -1])
DISTINCT = np.array([2, 0])
MASK = bools(3, 4)


def changed(combine: str) -> Any:
    """What the method means, in NumPy."""

    def python(x: Any, index: Any, v: Any) -> Any:
        y = np.array(x)
        if combine == "set":
            y[index] = v
        elif combine == "multiply":
            y[index] *= v
        else:
            {"add": np.add, "min": np.minimum, "max": np.maximum}[combine].at(y, index, v)
        return y

    return python


def samples(combine: str) -> list[Sample]:
    """An index of each kind, with values of its shape and values that broadcast."""
    repeated = ROWS if combine in ("add", "min", "max") else DISTINCT
    cases: list[tuple[Any, Any]] = [
        (1, normal(4, seed=1)),
        (slice(0, 2), normal(2, 4, seed=1)),
        ((slice(None), slice(None, None, -2)), normal(1, seed=1)),
        ((..., 0), 2.5),
        (repeated, normal(len(repeated), 4, seed=1)),
        ((slice(None), repeated), normal(len(repeated), seed=1)),
        ((repeated, 1), normal(seed=1)),
        (MASK, 0.5),
        ((), normal(3, 4, seed=1)),
    ]
    found = [Sample((X, index, v), {}, changed(combine), rtol=2e-6) for index, v in cases]
    found.append(Sample((integers(4), np.array([1, 3]), integers(2, seed=1)), {}, changed(combine)))
    return found


COMBINES = ("set", "add", "multiply", "min", "max")
SAMPLES: dict[str, list[Sample]] = {f"at.{combine}": samples(combine) for combine in COMBINES}
REFUSED: dict[str, list[Refused]] = {
    f"at.{combine}": [
        Refused((X, 3, 1.0), "IndexError", "3"),
        Refused((X, np.array([0, 5]), 1.0), "IndexError", "5"),
        Refused((X, 0, normal(3)), "ShapeError", "(3,)"),
    ]
    for combine in COMBINES
}
