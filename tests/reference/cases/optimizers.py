"""Settings of optimisers and schedules that are compared with PyTorch's."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.reference.cases.case import normal

STEPS = 12
# Of the problem: a matrix, a vector, a filter; for Muon matrices alone.
STARTS = [normal(4, 3), normal(3, seed=1), normal(2, 3, 2, 2, seed=2)]
MATRICES = [normal(4, 3), normal(3, 5, seed=1)]

Settings = dict[str, Any]

OPTIMIZERS: dict[str, list[Settings]] = {
    "SGD": [
        {"lr": 0.05},
        {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.1},
        {"lr": 0.05, "momentum": 0.9, "nesterov": True},
        {"lr": 0.05, "momentum": 0.8, "dampening": 0.3},
    ],
    "Adam": [{"lr": 0.05}, {"betas": (0.5, 0.9), "eps": 1e-3}, {"weight_decay": 0.1, "lr": 0.1}],
    "AdamW": [{"lr": 0.05}, {"betas": (0.5, 0.9), "eps": 1e-3}, {"weight_decay": 0.2, "lr": 0.1}],
    "RMSprop": [
        {"lr": 0.05},
        {"momentum": 0.9, "alpha": 0.9},
        {"centered": True, "weight_decay": 0.1, "eps": 1e-4},
        {"centered": True, "momentum": 0.5},
    ],
    "Adagrad": [
        {"lr": 0.1},
        {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1},
        {"lr": 0.1, "initial_accumulator_value": 0.5, "eps": 1e-3},
    ],
    "Adadelta": [{}, {"rho": 0.5, "eps": 1e-3}, {"lr": 0.5, "weight_decay": 0.1}],
    "NAdam": [
        {"lr": 0.05},
        {"lr": 0.05, "weight_decay": 0.1, "momentum_decay": 0.1},
        {"lr": 0.05, "weight_decay": 0.1, "decoupled_weight_decay": True, "betas": (0.5, 0.9)},
    ],
    "RAdam": [
        {"lr": 0.05},
        {"lr": 0.05, "weight_decay": 0.1, "betas": (0.8, 0.9)},
        {"lr": 0.05, "weight_decay": 0.1, "decoupled_weight_decay": True},
    ],
    "Lion": [{"lr": 0.01}, {"lr": 0.01, "betas": (0.5, 0.7)}, {"lr": 0.02, "weight_decay": 0.5}],
    "LAMB": [{"lr": 0.05}, {"lr": 0.05, "betas": (0.5, 0.9)}, {"lr": 0.02, "weight_decay": 0.1}],
    "Adafactor": [
        {},
        {"lr": 0.5, "weight_decay": 0.1, "d": 2.0},
        {"lr": 0.1, "beta2_decay": -0.5, "eps": (1e-3, 0.1)},
    ],
    "Muon": [
        {},
        {"lr": 0.05, "nesterov": False, "weight_decay": 0.0},
        {"lr": 0.02, "momentum": 0.5, "adjust_lr_fn": "match_rms_adamw", "ns_steps": 3},
    ],
    "LBFGS": [
        {"lr": 0.5, "max_iter": 3, "history_size": 10},
        {"lr": 1.0, "max_iter": 4, "history_size": 2},
        {"lr": 0.3, "max_iter": 5, "max_eval": 3, "history_size": 4, "tolerance_grad": 1e-3},
    ],
}

RATES = 25  # steps of each schedule
SCHEDULES: dict[str, list[Settings]] = {}


def starts(name: str) -> list[np.ndarray[Any, Any]]:
    """The parameters that an optimiser begins with."""
    return MATRICES if name == "Muon" else STARTS
