"""Cases of layers over time: recurrent nets, attention, transformers."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.reference.cases.case import Case, bools, case, normal

STEPS = normal(4, 2, 3)
LENGTHS = np.array([4, 2])


def recurrent(states: int) -> list[Case]:
    h = normal(2, 2, 4, seed=5)
    state: Any = h if states == 1 else (h, normal(2, 2, 4, seed=6))
    settings: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
        ((STEPS,), {"args": (3, 4)}),
        ((STEPS, state), {"args": (3, 4, 2), "kwargs": {"bias": False}}),
        (
            (normal(2, 3, 3), state),
            {"args": (3, 4), "kwargs": {"batch_first": True, "bidirectional": True}},
        ),
        ((STEPS[:, 0],), {"args": (3, 4, 1)}),
        (
            (STEPS, LENGTHS),
            {"args": (3, 4, 2), "kwargs": {"bidirectional": True}, "how": "lengths"},
        ),
    ]
    return [case(*inputs, **s) for inputs, s in settings]


def cell(states: int) -> list[Case]:
    x, h = normal(2, 3), normal(2, 4, seed=5)
    state: Any = h if states == 1 else (h, normal(2, 4, seed=6))
    return [
        case(x, args=(3, 4)),
        case(x, state, args=(3, 4)),
        case(x, state, args=(3, 4), kwargs={"bias": False}),
    ]


RECURRENT = {
    "RNN": [
        *recurrent(1),
        case(STEPS, args=(3, 4), kwargs={"nonlinearity": "relu"}),
    ],
    "LSTM": [*recurrent(2), case(STEPS, args=(3, 4, 2), kwargs={"proj_size": 2})],
    "GRU": recurrent(1),
    "RNNCell": [*cell(1), case(normal(2, 3), args=(3, 4), kwargs={"nonlinearity": "relu"})],
    "LSTMCell": cell(2),
    "GRUCell": cell(1),
}

Q, K, V = normal(3, 2, 8), normal(5, 2, 8, seed=1), normal(5, 2, 8, seed=2)
FORBIDDEN = np.triu(np.ones((3, 3), bool), 1)
PADDING = np.array([[False] * 5, [False, False, False, True, True]])
FIRST = {"batch_first": True}
S = normal(2, 3, 8)

ATTENTION = {
    "MultiheadAttention": [
        case(Q, K, V, args=(8, 2)),
        case(S, S, S, args=(8, 4), kwargs={**FIRST, "bias": False}, call={"need_weights": False}),
        case(S, S, S, args=(8, 2), kwargs=FIRST, call={"attn_mask": FORBIDDEN}),
        case(Q, K, V, args=(8, 2), call={"key_padding_mask": PADDING, "need_weights": False}),
        case(
            Q,
            K,
            V,
            args=(8, 2),
            call={"attn_mask": normal(3, 5), "average_attn_weights": False},
        ),
        case(
            normal(3, 4),
            normal(5, 3),
            normal(5, 6),
            args=(4, 1),
            kwargs={"kdim": 3, "vdim": 6},
        ),
        case(
            S,
            S,
            S,
            args=(8, 2),
            kwargs=FIRST,
            call={"attn_mask": FORBIDDEN, "is_causal": True, "need_weights": False},
        ),
    ],
    "TransformerEncoderLayer": [
        case(S, args=(8, 2, 12), kwargs={**FIRST, "dropout": 0.0}),
        case(Q, args=(8, 4, 12), kwargs={"activation": "gelu", "norm_first": True, "dropout": 0.0}),
        case(S, args=(8, 2, 12), kwargs={**FIRST, "dropout": 0.0}, call={"src_mask": FORBIDDEN}),
        case(
            S,
            args=(8, 2, 12),
            kwargs={**FIRST, "dropout": 0.0, "bias": False},
            call={"src_key_padding_mask": bools(2, 3, seed=3)},
        ),
    ],
    "TransformerDecoderLayer": [
        case(Q, K, args=(8, 2, 12), kwargs={"dropout": 0.0}),
        case(
            S,
            normal(2, 5, 8),
            args=(8, 4, 12),
            kwargs={**FIRST, "norm_first": True, "dropout": 0.0},
            call={"memory_key_padding_mask": PADDING},
        ),
        case(Q, K, args=(8, 2, 12), kwargs={"dropout": 0.0}, call={"tgt_mask": FORBIDDEN}),
    ],
    "Transformer": [
        case(K, Q, args=(8, 2, 1, 1, 12, 0.0)),
        case(normal(2, 5, 8), S, args=(8, 2, 2, 1, 12, 0.0), kwargs={**FIRST, "norm_first": True}),
        case(K, Q, args=(8, 2, 1, 1, 12, 0.0), call={"tgt_mask": FORBIDDEN}),
    ],
}

SEQUENCES: dict[str, list[Case]] = {**RECURRENT, **ATTENTION}
