"""Peak memory of a call, in bytes of arrays.

NumPy reports its buffers to `tracemalloc`, and so one can see the high-water mark inside of a call
without a profiler. Python's own objects are reported there too; those that live before the call are
taken off, those of the call itself (records, tuples) are small and stay in.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np

ARRAYS = np.lib.tracemalloc_domain


def peak_bytes(build: Callable[[], Callable[[], Any]], *, warmup: int = 3) -> int:
    """The high-water mark of live arrays during one call.

    Args:
        build: Makes everything that the call works on, and returns the call. It runs under
            observation, so that parameters and optimiser state count.
        warmup: Calls before the one that is observed; a recording must be over by then.

    Returns:
        Bytes, of the state that `build` made and of what the call added at its peak.

    Example:
        >>> import numpy as np
        >>> from dualflow.comparison import peak_bytes
        >>> peak_bytes(lambda: lambda: np.ones(1000) + np.ones(1000)) // 8000
        3
    """
    running = tracemalloc.is_tracing()
    if not running:
        tracemalloc.start()
    try:
        call = build()
        for _ in range(warmup):
            call()
        gc.collect()
        objects = tracemalloc.get_traced_memory()[0] - array_bytes()
        tracemalloc.reset_peak()
        call()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        if not running:
            tracemalloc.stop()
    return max(0, peak - objects)


def array_bytes() -> int:
    """Bytes of live arrays that were made since `tracemalloc` was started."""
    snapshot = tracemalloc.take_snapshot()
    arrays = snapshot.filter_traces([tracemalloc.DomainFilter(True, ARRAYS)])  # noqa: FBT003
    return sum(trace.size for trace in arrays.traces)
