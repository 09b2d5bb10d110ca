"""Cases of losses, and of the distances beside them."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.reference.cases.case import Case, bools, case, integers, normal, signs, uniform

X, Y = normal(4, 5), normal(4, 5, seed=1)
P, CLASSES = uniform(4, 5, seed=2), integers(4, high=5)
WEIGHT = uniform(5, seed=3)
REDUCTIONS: list[dict[str, Any]] = [{}, {"reduction": "sum"}, {"reduction": "none"}]


def over(inputs: tuple[Any, ...], *settings: dict[str, Any], **more: Any) -> list[Case]:
    """One case for each reduction, and for each further setting."""
    return [case(*inputs, kwargs=s, **more) for s in (*REDUCTIONS, *settings)]


LOG_P = np.log(P / P.sum(1, keepdims=True)).astype(np.float32)
SHARES = (uniform(4, 5, seed=4) / uniform(4, 5, seed=4).sum(1, keepdims=True)).astype(np.float32)
GAP = CLASSES.copy()
GAP[1] = -100
TRIPLE = (normal(4, 6), normal(4, 6, seed=1), normal(4, 6, seed=2))
LABELS = np.array([[1, 3, -1, 0, 2], [0, -1, 2, 1, 4], [4, 2, 1, 3, 0], [-1, 0, 0, 0, 0]])
SPOKEN = (normal(6, 3, 5), integers(3, 3, high=3) + 1, np.array([6, 5, 6]), np.array([3, 2, 1]))

REGRESSION = {
    "MSELoss": over((X, Y)),
    "L1Loss": over((X, Y)),
    "HuberLoss": over((X, Y), {"delta": 0.3}),
    "SmoothL1Loss": over((X, Y), {"beta": 0.5}, {"beta": 0.0}),
    "PoissonNLLLoss": [
        *over((X, uniform(4, 5) * 4), {"full": True}, {"log_input": False, "eps": 0.01})[:4],
        case(P, uniform(4, 5) * 4, kwargs={"log_input": False}),
    ],
    "GaussianNLLLoss": [
        *over((X, Y, P), {"full": True}),
        case(X, Y, P[:, :1], kwargs={"eps": 0.5}),
    ],
}
CLASSIFICATION = {
    "CrossEntropyLoss": [
        *over(
            (X, CLASSES),
            {"weight": WEIGHT},
            {"label_smoothing": 0.2, "weight": WEIGHT},
            {"label_smoothing": 0.1, "reduction": "sum"},
        ),
        case(X, GAP, kwargs={"label_smoothing": 0.1}),
        case(X, SHARES, kwargs={"weight": WEIGHT}),
        case(normal(2, 5, 3), integers(2, 3, high=5), kwargs={"ignore_index": 2}),
    ],
    "NLLLoss": over((LOG_P, CLASSES), {"weight": WEIGHT}, {"ignore_index": 1}),
    "BCELoss": over((P, uniform(4, 5)), {"weight": WEIGHT}),
    "BCEWithLogitsLoss": over(
        (X * 5, uniform(4, 5)), {"weight": WEIGHT}, {"pos_weight": WEIGHT * 3}
    ),
    "KLDivLoss": [
        *over((LOG_P, SHARES), {"reduction": "batchmean"}),
        case(LOG_P, np.log(SHARES), kwargs={"log_target": True, "reduction": "batchmean"}),
    ],
    "SoftMarginLoss": over((X, signs(4, 5))),
    "MultiMarginLoss": over((X, CLASSES), {"p": 2, "margin": 0.5}, {"weight": WEIGHT}),
    "MultiLabelMarginLoss": over((X, LABELS)),
    "MultiLabelSoftMarginLoss": over((X, bools(4, 5).astype(np.float32)), {"weight": WEIGHT}),
    "CTCLoss": [
        *over(SPOKEN, {"blank": 4, "zero_infinity": True}, how="log_softmax"),
        case(
            normal(3, 2, 4),
            np.array([1, 1, 3, 2]),
            np.array([3, 3]),
            np.array([3, 1]),
            kwargs={"zero_infinity": True},
            how="log_softmax",
        ),
    ],
}
DISTANCES = {
    "HingeEmbeddingLoss": over((X, signs(4, 5)), {"margin": 0.2}),
    "MarginRankingLoss": over((X[0], Y[0], signs(5)), {"margin": 0.5}),
    "TripletMarginLoss": over(TRIPLE, {"margin": 0.5, "p": 1.0}, {"swap": True, "margin": 3.0}),
    "TripletMarginWithDistanceLoss": over(TRIPLE, {"margin": 2.0}, {"swap": True}),
    "CosineEmbeddingLoss": over((X, Y, signs(4)), {"margin": 0.3}),
    "CosineSimilarity": [case(X, Y), case(X, Y, kwargs={"axis": 0}), case(X, Y[:1])],
    "PairwiseDistance": [
        case(X, Y),
        case(X, Y, kwargs={"p": 1.0, "keepdims": True}),
        case(X, Y, kwargs={"p": 3.0}),
    ],
}

LOSSES: dict[str, list[Case]] = {**REGRESSION, **CLASSIFICATION, **DISTANCES}
