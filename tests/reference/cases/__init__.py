"""What is compared with PyTorch: settings and inputs of each layer, loss, optimiser and schedule.

Plain data under dualflow's words; neither framework is imported here.
"""

from __future__ import annotations

from typing import Any

from tests.reference.cases.case import Case, translated
from tests.reference.cases.layers import LAYERS
from tests.reference.cases.losses import LOSSES
from tests.reference.cases.optimizers import OPTIMIZERS, SCHEDULES
from tests.reference.cases.sequences import SEQUENCES

KINDS = {
    "Layers": {**LAYERS, **SEQUENCES},
    "Losses": LOSSES,
    "Optimisers": OPTIMIZERS,
    "Schedules": SCHEDULES,
}


def settings_of() -> dict[str, dict[str, list[str]]]:
    """The settings of all cases as text, by kind and class."""
    return {
        kind: {name: [told(found) for found in cases] for name, cases in table.items()}
        for kind, table in KINDS.items()
    }


def told(found: Case | dict[str, Any]) -> str:
    """The settings of one case."""
    if isinstance(found, Case):
        return found.text()
    return ", ".join(f"{k}={setting(v)}" for k, v in found.items())


def setting(value: Any) -> str:
    """A setting of an optimiser or a schedule; functions and schedules by their names."""
    if callable(value):
        return "function"
    if isinstance(value, list):
        return f"[{', '.join(map(setting, value))}]"
    if isinstance(value, tuple) and value and isinstance(value[0], str):
        return f"{value[0]}({told(value[1])})"
    return repr(value)


MODULES: dict[str, list[Case]] = {**LAYERS, **SEQUENCES, **LOSSES}

__all__ = ["KINDS", "LAYERS", "LOSSES", "MODULES", "SEQUENCES", "Case", "settings_of", "translated"]
