"""How far results of two modes lie apart: absolutely, relatively, in units of the last place."""

from __future__ import annotations

from typing import Any

import numpy as np

from dualflow.core.ulp import FARTHEST, ulp_distance
from jit.dataclass import dataclass

__all__ = ["FARTHEST", "Agreement", "agreement", "ulp_distance"]


@dataclass(frozen=True)
class Agreement:
    """How well one output agrees between the modes.

    Attributes:
        name: What people call the output.
        elements: How many numbers were compared.
        absolute: The worst absolute difference; infinite where only one side is NaN.
        relative: The worst difference relative to the larger of the two magnitudes, at most 2.
        ulp: The worst distance in units of the last place.
        identical: All bits agree. A ULP distance of 0 is less: it takes 0 and -0 for one number,
            and all NaNs for one.
    """

    name: str
    elements: int
    absolute: float
    relative: float
    ulp: int
    identical: bool


def agreement(name: str, a: Any, b: Any) -> Agreement:
    """Compares two arrays of one shape and dtype.

    Args:
        name: What people call them.
        a: Array or tensor, any dtype.
        b: Array or tensor.

    Raises:
        ShapeError: The shapes differ.
        DTypeError: The dtypes differ.

    Example:
        >>> import numpy as np
        >>> from dualflow.comparison import agreement
        >>> one = np.ones(3, "float32")
        >>> agreement("y", one, np.nextafter(one, 2)).ulp
        1
    """
    a, b = np.asarray(a), np.asarray(b)
    distance = ulp_distance(a, b)
    if distance.size == 0 or not distance.any():
        return Agreement(name, a.size, 0.0, 0.0, 0, a.tobytes() == b.tobytes())
    wide = np.complex128 if a.dtype.kind == "c" else np.float64
    x, y = a.astype(wide), b.astype(wide)
    with np.errstate(all="ignore"):
        absolute = np.where(distance == 0, 0.0, np.abs(x - y))
        size = np.maximum(np.abs(x), np.abs(y))
        relative = np.where(distance == 0, 0.0, absolute / size)
    # inf against a number divides inf by inf, NaN stays NaN: nothing is farther apart
    absolute = np.where(np.isnan(absolute), np.inf, absolute)
    relative = np.where(np.isnan(relative), 2.0, np.minimum(relative, 2.0))
    worst = float(absolute.max()), float(relative.max()), int(distance.max())
    return Agreement(name, a.size, *worst, identical=False)
