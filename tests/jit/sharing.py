"""Launches that threads share whatever they cost, for tests of results on several threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

import pytest

from jit import launches, planner
from jit.loops import folds, nests, products, scans, scatters
from jit.runtime import tables, threads


@contextmanager
def sharing(item: int | None = None) -> Iterator[None]:
    """Threads share every launch inside; the number of threads is put back behind.

    Args:
        item: Elements of an item of the grid, so that small launches have several; None: as usual.
    """
    count = threads.num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "SHARED_SECONDS", 0.0)
        patch.setattr(tables, "WAKING_SECONDS", 0.0)
        if item is not None:
            for module in (nests, folds, scans, scatters):
                patch.setattr(module, "ITEM", item)
            patch.setattr(products, "ROWS", 4)
            patch.setattr(launches, "plan_key", lambda *args: None)
            patch.setattr(planner, "_plans", WeakKeyDictionary())
            patch.setattr(planner, "_kernels", {})  # those that were written have usual items
        yield
    threads.set_num_threads(count)
