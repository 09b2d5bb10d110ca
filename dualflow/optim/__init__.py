"""Optimisers, schedules of learning rates and what goes with them, under PyTorch's names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dualflow.core.later import loaded_later

if TYPE_CHECKING:
    from dualflow.optim.adafactor import Adafactor
    from dualflow.optim.adagrad import Adadelta, Adagrad
    from dualflow.optim.adam import Adam, AdamW
    from dualflow.optim.annealing import (
        CosineAnnealingLR,
        CosineAnnealingWarmRestarts,
        CyclicLR,
        OneCycleLR,
    )
    from dualflow.optim.averages import EMA, SWA, GradientAccumulation
    from dualflow.optim.base import Optimizer
    from dualflow.optim.clip import clip_by_global_norm, clip_by_norm, clip_by_value
    from dualflow.optim.combined import ChainedScheduler, ReduceLROnPlateau, SequentialLR
    from dualflow.optim.lbfgs import LBFGS
    from dualflow.optim.lion import LAMB, Lion
    from dualflow.optim.muon import Muon
    from dualflow.optim.nadam import NAdam, RAdam
    from dualflow.optim.rmsprop import RMSprop
    from dualflow.optim.scaling import GradScaler
    from dualflow.optim.schedules import (
        ConstantLR,
        ExponentialLR,
        LambdaLR,
        LinearLR,
        MultiplicativeLR,
        MultiStepLR,
        PolynomialLR,
        Schedule,
        StepLR,
    )
    from dualflow.optim.sgd import SGD

__getattr__, __dir__ = loaded_later(
    __name__,
    {
        "adafactor": "Adafactor",
        "adagrad": "Adadelta Adagrad",
        "adam": "Adam AdamW",
        "annealing": "CosineAnnealingLR CosineAnnealingWarmRestarts CyclicLR OneCycleLR",
        "averages": "EMA SWA GradientAccumulation",
        "base": "Optimizer",
        "clip": "clip_by_global_norm clip_by_norm clip_by_value",
        "combined": "ChainedScheduler ReduceLROnPlateau SequentialLR",
        "lbfgs": "LBFGS",
        "lion": "LAMB Lion",
        "muon": "Muon",
        "nadam": "NAdam RAdam",
        "rmsprop": "RMSprop",
        "scaling": "GradScaler",
        "schedules": "ConstantLR ExponentialLR LambdaLR LinearLR MultiplicativeLR MultiStepLR "
        "PolynomialLR Schedule StepLR",
        "sgd": "SGD",
    },
)

__all__ = [
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "EMA",
    "ExponentialLR",
    "GradScaler",
    "GradientAccumulation",
    "LAMB",
    "LBFGS",
    "LambdaLR",
    "LinearLR",
    "Lion",
    "MultiStepLR",
    "MultiplicativeLR",
    "Muon",
    "NAdam",
    "OneCycleLR",
    "Optimizer",
    "PolynomialLR",
    "RAdam",
    "RMSprop",
    "ReduceLROnPlateau",
    "SGD",
    "SWA",
    "Schedule",
    "SequentialLR",
    "StepLR",
    "clip_by_global_norm",
    "clip_by_norm",
    "clip_by_value",
]
