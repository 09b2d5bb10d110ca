"""Labels: what the keys of dicts that are passed are, where they are more than plain values.

Code may read what such a key holds, which its equality need not tell. So they are looked at like
arguments. Dicts are compared by their keys: where a key says of no other whether it equals it, as a
tensor does, calls that pass it are not told apart, and run in Python.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from dualflow.core.tensor import Tensor
from dualflow.core.tree import Orders
from dualflow.core.variable import Variable

PLAIN = frozenset({str, int, float, complex, bool, bytes, type(None)})
NOT_COMPARED = (Tensor, Variable, np.ndarray)


def labels_in(orders: Iterable[Orders]) -> list[Any]:
    """What keys of dicts are, or tuples and sets among them hold, that is no plain value.

    Args:
        orders: The keys of each dict, and their types.
    """
    tables = [table for order in orders for table in order]
    odd = [x for x in tables if not PLAIN.issuperset(x[len(x) // 2 :])]
    return [x for table in odd for key in table[: len(table) // 2] for x in _opened(key)]


def _opened(key: Any) -> Iterator[Any]:
    if isinstance(key, tuple | frozenset):
        for item in key:
            yield from _opened(item)
        if hasattr(key, "__dict__"):
            yield key
    elif type(key) not in PLAIN:
        yield key


def compares(label: Any) -> bool:
    """Whether it says what it equals: by a bool, or as nothing but itself."""
    if isinstance(label, NOT_COMPARED):
        return False
    if type(label).__eq__ is object.__eq__:
        return True
    try:
        return isinstance(label == label, bool)
    except Exception:  # whatever code of the user's raises
        return False
