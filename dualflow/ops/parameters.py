"""Checks of the numbers that say what a distribution is; tensors are taken as they are.

What a tensor holds is not looked at: a recorded function has no numbers there.
"""

from __future__ import annotations

import operator
from typing import Any

from jit.dims import Dim
from jit.errors import DTypeError


def not_negative(name: str, **given: Any) -> None:
    """Raises ValueError if a number is below 0."""
    for what, x in given.items():
        if isinstance(x, int | float) and x < 0:
            raise ValueError(f"{name}: {what}={x} is negative")


def probability(name: str, p: Any) -> None:
    """Raises ValueError unless a number is one from 0 to 1."""
    if isinstance(p, int | float) and not 0 <= p <= 1:
        raise ValueError(f"{name}: p={p}, expected a probability from 0 to 1")


def at_most(name: str, bound: int, **given: Any) -> None:
    """Raises ValueError unless numbers are up to a bound; NaN is not."""
    for what, x in given.items():
        if isinstance(x, int | float) and not x <= bound:
            raise ValueError(f"{name}: {what}={x}, expected at most {bound}")


def whole(name: str, what: str, x: Any) -> Any:
    """A whole number as an int, or a symbolic extent as it is.

    Raises:
        DTypeError: It is a float, or a tensor of such or of several numbers.
    """
    if isinstance(x, Dim):
        return x
    try:
        return operator.index(x)
    except TypeError:
        raise DTypeError(f"{name}: {what}={x}", "one whole number", "") from None


def whole_float(name: str, **given: Any) -> None:
    """Raises ValueError for a float with a fraction."""
    for what, x in given.items():
        if isinstance(x, float) and not x.is_integer():
            raise ValueError(f"{name}: {what}={x} is no whole number")
