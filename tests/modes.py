"""One function in the mode that a test runs in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import dualflow as df
from dualflow.tracing.modes import mode

# Marks of tests that do not hold in all modes of the suite (DUALFLOW_MODE), which skip them there.
# Calls run from graphs: how many did, of which kernels, what people are told about it.
graphs_only = pytest.mark.modes("compiled", "audit")
# And Python does not run beside: where memory is, how long things live.
compiled_only = pytest.mark.modes("compiled")
# Python runs or a graph does, not one after the other: what others change meanwhile.
not_audited = pytest.mark.modes("compiled", "eager")


def if_graphs(count: int) -> int:
    """So many calls, graphs or traces; none where the suite runs with compilation off."""
    return 0 if mode() == "eager" else count


def in_mode(wanted: str, python: Callable[..., Any]) -> Callable[..., Any]:
    """`python` itself in eager mode; compiled, a Function that raises rather than run eagerly."""
    return df.function(python, strict=True) if wanted == "compiled" else python


def bits(x: Any) -> tuple[Any, ...]:
    """Shape, dtype and bytes of a tensor: equal when nothing at all differs."""
    array = np.asarray(x)
    return array.shape, array.dtype, array.tobytes()
