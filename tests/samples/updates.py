"""Samples of the update rules of optimisers."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.samples.sample import Refused, Sample, normal, positive

P, G, M, V = normal(3, 4), normal(3, 4, seed=1), normal(3, 4, seed=2), positive(3, 4, seed=3)
ONE, SEVEN = np.array(1), np.array(7)
LR = np.array(0.05)


def sgd(p: Any, g: Any, lr: Any, *, weight_decay: float = 0.0) -> Any:
    return p - lr * (g + weight_decay * p)


def momentum(
    p: Any,
    g: Any,
    buffer: Any,
    step: Any,
    lr: Any,
    *,
    momentum: float,
    dampening: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> Any:
    g = g + weight_decay * p
    buffer = momentum * buffer + (g if step == 1 else (1 - dampening) * g)
    return p - lr * (g + momentum * buffer if nesterov else buffer), buffer


def adam(
    p: Any,
    g: Any,
    m: Any,
    v: Any,
    step: Any,
    lr: Any,
    *,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled: bool = False,
) -> Any:
    if decoupled:
        p = p * (1 - lr * weight_decay)
    else:
        g = g + weight_decay * p
    m = betas[0] * m + (1 - betas[0]) * g
    v = betas[1] * v + (1 - betas[1]) * g**2
    m_hat, v_hat = m / (1 - betas[0] ** step), v / (1 - betas[1] ** step)
    return p - lr * m_hat / (np.sqrt(v_hat) + eps), m, v


SAMPLES: dict[str, list[Sample]] = {
    "sgd_update": [
        Sample((P, G, LR), reference=sgd),
        Sample((P, G, 0.05), {"weight_decay": 0.1}, sgd, differentiable=(0, 1)),
        Sample((P[0, 0, ...], G[0, 0, ...], LR), reference=sgd),
        Sample((P[:0], G[:0], LR), reference=sgd),
        Sample((P.astype(np.float64), G.astype(np.float64), LR), reference=sgd),
    ],
    "momentum_update": [
        Sample((P, G, M, SEVEN, LR), {"momentum": 0.9}, momentum),
        Sample((P, G, M, ONE, LR), {"momentum": 0.9, "dampening": 0.5}, momentum),
        Sample((P, G, M, SEVEN, LR), {"momentum": 0.9, "dampening": 0.5}, momentum),
        Sample(
            (P, G, M, SEVEN, LR),
            {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
            momentum,
        ),
    ],
    "adam_update": [
        Sample((P, G, M, V, SEVEN, LR), reference=adam),
        Sample((P, G, 0 * M, 0 * V, ONE, LR), reference=adam, numeric=False),
        Sample((P, G, M, V, SEVEN, LR), {"weight_decay": 0.1, "eps": 1e-3}, adam),
        Sample((P, G, M, V, ONE, LR), {"weight_decay": 0.1, "decoupled": True}, adam),
        Sample(
            (P[0, 0, ...], G[0, 0, ...], M[0, 0, ...], V[0, 0, ...], ONE, LR),
            {"betas": (0.5, 0.75)},
            adam,
        ),
    ],
}

REFUSED: dict[str, list[Refused]] = {
    "sgd_update": [Refused((P, G[0], LR), "ShapeError", "has shape")],
    "momentum_update": [
        Refused((P, G, M[:2], ONE, LR), "ShapeError", "has shape", {"momentum": 0.9})
    ],
    "adam_update": [Refused((P, G, M, V[:2], ONE, LR), "ShapeError", "has shape")],
}
