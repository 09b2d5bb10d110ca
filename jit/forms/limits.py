"""Limits: between which numbers the elements of an integer value lie, as its forms tell.

Indices that were clipped, or are what a division leaves, are inside of what they index: no element
needs to be checked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from jit.dims.ranges import bounds
from jit.forms import nodes
from jit.types import kind

if TYPE_CHECKING:
    from jit.forms.nodes import FormValue

Limits: TypeAlias = "tuple[int | None, int | None]"

UNKNOWN: Limits = (None, None)
DEPTH = 8  # forms that are looked through
SIZE = 1 << 20  # elements of a constant that are looked at


def limits_of(value: FormValue, depth: int = DEPTH) -> Limits:
    """The least and the greatest number that an element may be; None where that is not known."""
    own = _of_dtype(value)
    if own is None or depth == 0:
        return own or UNKNOWN
    low, high = _of_form(value, depth - 1)
    if any(x is not None and not own[0] <= x <= own[1] for x in (low, high)):
        return _short(own)  # numbers wrap around
    return _short((own[0] if low is None else low, own[1] if high is None else high))


def _of_dtype(value: FormValue) -> tuple[int, int] | None:
    if kind(value.dtype) == "bool":
        return 0, 1
    if kind(value.dtype) != "integer":
        return None
    info = np.iinfo(value.dtype)
    return int(info.min), int(info.max)


def _short(limits: Limits) -> Limits:
    """Without numbers that no index comes near: int64 is as good as unlimited."""
    low, high = limits
    far = 2**62
    return None if low is None or low < -far else low, None if high is None or high > far else high


def _of_form(value: FormValue, depth: int) -> Limits:
    form = value.form
    match form:
        case nodes.Constant(value=array) if 0 < array.size <= SIZE:
            return int(array.min()), int(array.max())
        case nodes.Index(map=map):
            return bounds(map.at[0])
        case nodes.View(fill=fill, inputs=(x, *_)):
            found = limits_of(x, depth)
            return found if fill is None else _either(found, (int(fill), int(fill)))
        case nodes.Pointwise():
            return _of_pointwise(form, depth)
        case _:
            return UNKNOWN


def _of_pointwise(form: nodes.Pointwise, depth: int) -> Limits:
    rule = RULES.get(form.scalar.name)
    return UNKNOWN if rule is None else rule(*[limits_of(x, depth) for x in form.inputs])


def _less(a: Limits, b: Limits) -> Limits:
    """Of bools: never where the least of the first is as great as any of the second."""
    return 0, int(a[0] is None or b[1] is None or a[0] < b[1])


def _chosen(condition: Limits, a: Limits, b: Limits) -> Limits:
    return b if condition == (0, 0) else _either(a, b)


def _either(a: Limits, b: Limits) -> Limits:
    low = None if a[0] is None or b[0] is None else min(a[0], b[0])
    return low, None if a[1] is None or b[1] is None else max(a[1], b[1])


def _least(a: Limits, b: Limits) -> Limits:
    low, _ = _either(a, b)
    highs = [x for x in (a[1], b[1]) if x is not None]
    return low, min(highs, default=None)


def _greatest(a: Limits, b: Limits) -> Limits:
    _, high = _either(a, b)
    lows = [x for x in (a[0], b[0]) if x is not None]
    return max(lows, default=None), high


def _sum(a: Limits, b: Limits) -> Limits:
    low = None if a[0] is None or b[0] is None else a[0] + b[0]
    return low, None if a[1] is None or b[1] is None else a[1] + b[1]


def _remainder(a: Limits, b: Limits) -> Limits:
    """What division leaves has the sign of the divisor; by 0 it leaves 0."""
    if b[0] is None or b[1] is None or b[0] < 0:
        return UNKNOWN
    return 0, max(0, b[1] - 1)


RULES: dict[str, Callable[..., Limits]] = {
    "astype": lambda a: a,
    "where": _chosen,
    "less": _less,
    "minimum": _least,
    "maximum": _greatest,
    "add": _sum,
    "remainder": _remainder,
    "positive": lambda a: a,
}
