"""Optimisers, schedules of learning rates and what goes with them, under PyTorch's names."""

from __future__ import annotations

from dualflow.optim.adafactor import Adafactor
from dualflow.optim.adagrad import Adadelta, Adagrad
from dualflow.optim.adam import Adam, AdamW
from dualflow.optim.base import Optimizer
from dualflow.optim.lbfgs import LBFGS
from dualflow.optim.lion import LAMB, Lion
from dualflow.optim.muon import Muon
from dualflow.optim.nadam import NAdam, RAdam
from dualflow.optim.rmsprop import RMSprop
from dualflow.optim.schedules import CosineAnnealingLR, LambdaLR, Schedule, StepLR
from dualflow.optim.sgd import SGD

__all__ = [
    "LAMB",
    "LBFGS",
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "CosineAnnealingLR",
    "LambdaLR",
    "Lion",
    "Muon",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "Schedule",
    "StepLR",
]
