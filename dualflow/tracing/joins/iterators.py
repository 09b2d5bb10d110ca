"""Iterators: what one of Python's own will still give, which is all that tells it from others.

What it has given already matters to nobody. So a loop over a list comes to the same state whichever
of the items, up to there, the program has kept.
"""

from __future__ import annotations

import gc
import sys
from typing import Any

OVER_DICTS = type(iter({})), type(iter({}.values())), type(iter({}.items()))
OVER_SEQUENCES = tuple(
    map(type, (iter([]), reversed([]), iter(()), iter(range(0)), iter(range(1 << 70)), iter("")))
)
BACKWARDS = type(reversed([]))
ITERATORS = (*OVER_DICTS, *OVER_SEQUENCES, enumerate, zip)


def left_of(x: Any) -> tuple[Any, ...] | None:
    """What tells an iterator from others of its class; None: nothing that can be seen.

    Args:
        x: One of `ITERATORS`.
    """
    if isinstance(x, OVER_DICTS):
        return left_of_dict(x)
    if not isinstance(x, OVER_SEQUENCES) or references(x) > ALONE:
        return x.__reduce__()[1:]  # somebody else may look at the sequence, and change it
    _, (items,), *at = x.__reduce__()
    if not at:  # it is over
        return ()
    return (items[: at[0] + 1] if isinstance(x, BACKWARDS) else items[at[0] :],)


def references(x: Any) -> int:
    """How many there are to the sequence that an iterator goes through."""
    _, (items,), *_ = x.__reduce__()
    return sys.getrefcount(items)


ALONE = references(iter([None]))  # if only the iterator has one


def left_of_dict(x: Any) -> tuple[Any, ...] | None:
    """The dict, and what is still to come of it."""
    owner = next((held for held in gc.get_referents(x) if isinstance(held, dict)), None)
    try:
        _, (left,) = x.__reduce__()
    except RuntimeError:  # it was made larger or smaller meanwhile
        return None
    return owner, left
