"""The programs of the main job: ordinary training code, the same for both modes."""

from __future__ import annotations

from dualflow.bench.programs.digits import DIGITS
from dualflow.bench.programs.dynamic import DYNAMIC
from dualflow.bench.programs.static import STATIC

WORKLOADS = {workload.name: workload for workload in (STATIC, DIGITS, DYNAMIC)}
