"""Accuracy: how far both modes are from what float64 gives; either may be the worse one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dualflow.comparison.reference import float64_values
from dualflow.comparison.witness import Witness
from dualflow.core.backend import to_device
from jit.dataclass import dataclass
from jit.ir.graph import Graph
from jit.types import float64, kind


@dataclass(frozen=True)
class Accuracy:
    """The worst error of each mode: the largest difference in an array, by its largest element.

    Attributes:
        eager: Of the values that Python computed.
        compiled: Of those of the graph.
    """

    eager: float
    compiled: float


def accuracy(witness: Witness, graph: Graph | None) -> Accuracy | None:
    """How far what a call gave in both modes is from float64; None where that cannot be told.

    Args:
        witness: The call.
        graph: What was recorded of it.
    """
    if graph is None:
        return None
    values = float64_values(graph, witness.arrays)
    found = [
        (error(pair.python, exact), error(pair.graph, exact))
        for pair in witness.pairs
        if pair.output is not None and kind(pair.graph.dtype) == "floating"
        for exact in [values[graph.outputs[pair.output]]]
    ]
    if not found:
        return None
    eager, compiled = zip(*found, strict=True)
    return Accuracy(max(eager), max(compiled))


def error(x: Any, exact: Any) -> float:
    """The largest difference of two arrays, relative to the largest number in `exact`."""
    if not exact.size:
        return 0.0
    x = to_device(x, "cpu")
    with np.errstate(all="ignore"):
        apart = np.abs(x.astype(float64) - exact)
        apart = np.where(apart == apart, apart, np.inf)  # a NaN on one side is as far as can be
        apart = np.where((x == exact) | (np.isnan(x) & np.isnan(exact)), 0.0, apart)
        largest = float(np.max(np.abs(exact), initial=0.0, where=np.isfinite(exact)))
    return float(apart.max()) / (largest or 1.0)


def worst(found: Sequence[Accuracy | None]) -> Accuracy | None:
    """The worst of several."""
    known = [x for x in found if x is not None]
    if not known:
        return None
    return Accuracy(max(x.eager for x in known), max(x.compiled for x in known))
