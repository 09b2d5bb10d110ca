"""Optimisers and schedules of learning rates, under PyTorch's names."""

from __future__ import annotations

from dualflow.optim.adam import Adam, AdamW
from dualflow.optim.base import Optimizer
from dualflow.optim.schedules import CosineAnnealingLR, LambdaLR, Schedule, StepLR
from dualflow.optim.sgd import SGD

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "CosineAnnealingLR",
    "LambdaLR",
    "Optimizer",
    "Schedule",
    "StepLR",
]
