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
BASES = (0.8, 0.3)  # learning rates of two groups

SCHEDULES: dict[str, list[Settings]] = {
    "StepLR": [{"step_size": 3}, {"step_size": 7, "gamma": 0.5}, {"step_size": 1, "gamma": 0.9}],
    "MultiStepLR": [
        {"milestones": [3, 9]},
        {"milestones": [5], "gamma": 0.5},
        {"milestones": [2, 4, 20], "gamma": 2.0},
    ],
    "ExponentialLR": [{"gamma": g} for g in (0.9, 0.5, 1.1)],
    "ConstantLR": [{}, {"factor": 0.1, "total_iters": 9}, {"factor": 0.5, "total_iters": 1}],
    "LinearLR": [
        {},
        {"start_factor": 0.1, "total_iters": 10},
        {"start_factor": 1.0, "end_factor": 0.2, "total_iters": 20},
    ],
    "PolynomialLR": [{}, {"total_iters": 20, "power": 2.0}, {"total_iters": 40, "power": 0.5}],
    "CosineAnnealingLR": [{"T_max": 24}, {"T_max": 30, "eta_min": 0.05}, {"T_max": 10}],
    "CosineAnnealingWarmRestarts": [
        {"T_0": 5},
        {"T_0": 3, "T_mult": 2},
        {"T_0": 2, "T_mult": 3, "eta_min": 0.01},
    ],
    "OneCycleLR": [
        {"max_lr": 1.0, "total_steps": 26},
        {"max_lr": [1.0, 2.0], "epochs": 5, "steps_per_epoch": 6, "anneal_strategy": "linear"},
        {"max_lr": 0.5, "total_steps": 30, "three_phase": True, "pct_start": 0.25},
    ],
    "CyclicLR": [
        {"base_lr": 0.1, "max_lr": 1.0, "step_size_up": 4},
        {
            "base_lr": 0.1,
            "max_lr": 1.0,
            "step_size_up": 4,
            "step_size_down": 2,
            "mode": "triangular2",
        },
        {"base_lr": 0.1, "max_lr": 1.0, "step_size_up": 5, "mode": "exp_range", "gamma": 0.9},
    ],
    "LambdaLR": [
        {"lr_lambda": lambda k: 0.9**k},
        {"lr_lambda": lambda k: min(1.0, (k + 1) / 10)},
        {"lr_lambda": [lambda k: 1.0, lambda k: 1 / (k + 1)]},
    ],
    "MultiplicativeLR": [
        {"lr_lambda": lambda k: 0.9},
        {"lr_lambda": lambda k: 0.5 if k % 5 == 0 else 1.0},
        {"lr_lambda": [lambda k: 0.99, lambda k: 1.01]},
    ],
    "ChainedScheduler": [
        {"schedulers": [("ConstantLR", {"factor": 0.1}), ("ExponentialLR", {"gamma": 0.9})]},
        {"schedulers": [("LinearLR", {}), ("CosineAnnealingLR", {"T_max": 30})]},
        {"schedulers": [("StepLR", {"step_size": 4}), ("MultiStepLR", {"milestones": [6]})]},
    ],
    "SequentialLR": [
        {
            "schedulers": [("LinearLR", {"total_iters": 6}), ("CosineAnnealingLR", {"T_max": 20})],
            "milestones": [6],
        },
        {
            "schedulers": [("ConstantLR", {}), ("ExponentialLR", {"gamma": 0.9})],
            "milestones": [10],
        },
        {
            "schedulers": [
                ("ExponentialLR", {"gamma": 0.5}),
                ("ConstantLR", {"factor": 0.7, "total_iters": 4}),
                ("StepLR", {"step_size": 2}),
            ],
            "milestones": [3, 9],
        },
    ],
    "ReduceLROnPlateau": [
        {"patience": 1},
        {"mode": "max", "factor": 0.5, "patience": 2, "cooldown": 2, "threshold_mode": "abs"},
        {"factor": 0.3, "patience": 0, "min_lr": [0.05, 0.01], "threshold": 0.05},
    ],
}
LOSSES = [*(3.0, 2.5, 2.6, 2.4, 2.4, 2.39, 2.5, 2.6, 2.3, 2.3, 2.3, 2.3, 2.3, 1.0, 1.1, 1.2)]
LOSSES += [0.9, 0.9, 0.95, 0.9, 0.9, 0.91, 0.2, 0.3, 0.1]


def starts(name: str) -> list[np.ndarray[Any, Any]]:
    """The parameters that an optimiser begins with."""
    return MATRICES if name == "Muon" else STARTS
