"""PyTorch's optimisers and schedules on the problems of the tables; part of make_torch."""

from __future__ import annotations

from typing import Any


def optimizers() -> dict[str, Any]:
    return {}


def schedules() -> dict[str, Any]:
    return {}
