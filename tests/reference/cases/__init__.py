"""What is compared with PyTorch: settings and inputs of each layer, loss, optimiser and schedule.

Plain data under dualflow's words; neither framework is imported here.
"""

from __future__ import annotations

from tests.reference.cases.case import Case, translated
from tests.reference.cases.layers import LAYERS
from tests.reference.cases.losses import LOSSES
from tests.reference.cases.sequences import SEQUENCES

MODULES: dict[str, list[Case]] = {**LAYERS, **SEQUENCES, **LOSSES}

__all__ = ["LAYERS", "LOSSES", "MODULES", "SEQUENCES", "Case", "translated"]
