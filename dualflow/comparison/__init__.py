"""What the two modes of a program give and cost: agreement, time, memory, and the report."""

from __future__ import annotations

from dualflow.comparison.agreement import Agreement, agreement, ulp_distance
from dualflow.comparison.both import compare
from dualflow.comparison.memory import peak_bytes
from dualflow.comparison.report import Comparison
from dualflow.comparison.steps import Step, step_times
from dualflow.comparison.timing import FirstCall, Timing, break_even, interleaved
from dualflow.comparison.views import View, view

__all__ = [
    "compare",
    "Comparison",
    "Agreement",
    "agreement",
    "ulp_distance",
    "Timing",
    "FirstCall",
    "break_even",
    "interleaved",
    "Step",
    "step_times",
    "peak_bytes",
    "View",
    "view",
]
