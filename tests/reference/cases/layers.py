"""Cases of layers without time: linear maps, convolution, pooling, normalisation, activations."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.reference.cases.case import Case, case, integers, normal, uniform

X = normal(3, 6)
SEQUENCE, IMAGE, VOLUME = normal(2, 4, 7), normal(2, 4, 6, 5), normal(2, 4, 4, 3, 3)
SPACE = {1: SEQUENCE, 2: IMAGE, 3: VOLUME}


def activation(*settings: dict[str, Any], x: Any = X * 3) -> list[Case]:
    """Three settings, on inputs of one, two and four dimensions."""
    shapes = [x, (normal(7, seed=1) * 4), (normal(2, 4, 3, 3, seed=2) * 2)]
    return [case(shape, kwargs=s) for shape, s in zip(shapes, settings or ({}, {}, {}))]


PLAIN = (
    "ReLU ReLU6 SELU SiLU Mish Sigmoid Tanh Hardsigmoid Hardswish LogSigmoid Softsign Tanhshrink"
)

ACTIVATIONS = {
    **{name: activation() for name in PLAIN.split()},
    "GELU": activation({}, {"approximate": "tanh"}, {"approximate": "none"}),
    "ELU": activation({}, {"alpha": 0.5}, {"alpha": 2.0}),
    "CELU": activation({}, {"alpha": 0.5}, {"alpha": 2.0}),
    "LeakyReLU": activation({}, {"negative_slope": 0.3}, {"negative_slope": 0.0}),
    "Softplus": activation({}, {"beta": 2.0}, {"beta": 0.5}),
    "Hardtanh": activation({}, {"min_val": -2.0}, {"min_val": -0.5, "max_val": 3.0}),
    "Hardshrink": activation({}, {"lambd": 1.0}, {"lambd": 0.1}),
    "Softshrink": activation({}, {"lambd": 1.0}, {"lambd": 0.1}),
    "Threshold": [case(X, args=a) for a in ((0.1, 20.0), (-1.0, -1.0), (0.5, 0.0))],
    "GLU": [case(X), case(X[:2], kwargs={"axis": 0}), case(IMAGE, kwargs={"axis": 1})],
    "Softmax": [case(X, kwargs={"axis": k}) for k in (-1, 0)] + [case(IMAGE, kwargs={"axis": 1})],
    "Softmin": [case(X, kwargs={"axis": k}) for k in (-1, 0)] + [case(IMAGE, kwargs={"axis": 1})],
    "LogSoftmax": [case(X * 9, kwargs={"axis": k}) for k in (-1, 0)]
    + [case(IMAGE, kwargs={"axis": 1})],
    "Softmax2d": [case(IMAGE), case(IMAGE * 5), case(IMAGE[0])],
    "PReLU": [case(X), case(IMAGE, args=(4,)), case(X, kwargs={"init": 0.5})],
    "RReLU": [case(X, training=False, args=a) for a in ((), (0.1, 0.3), (0.2, 0.2))],
}


def convolutions(rank: int) -> list[Case]:
    settings: list[dict[str, Any]] = [
        {"args": (4, 6, 3)},
        {"args": (4, 6, 2), "kwargs": {"stride": 2, "padding": 1, "bias": False}},
        {"args": (4, 6, 2), "kwargs": {"dilation": 2, "groups": 2, "padding": 1}},
        {"args": (4, 4, 3), "kwargs": {"padding": "same", "groups": 4}},
        {"args": (4, 2, 3), "kwargs": {"padding": 1, "padding_mode": "reflect"}},
        {"args": (4, 2, 3), "kwargs": {"padding": 2, "padding_mode": "circular"}},
        {"args": (4, 2, 3), "kwargs": {"padding": 1, "padding_mode": "replicate"}},
    ]
    return [case(SPACE[rank], **s) for s in (settings if rank == 2 else settings[:5])]


def transposed(rank: int) -> list[Case]:
    settings: list[dict[str, Any]] = [
        {"args": (4, 6, 3)},
        {"args": (4, 6, 3), "kwargs": {"stride": 2, "padding": 1, "output_padding": 1}},
        {"args": (4, 6, 2), "kwargs": {"dilation": 2, "groups": 2, "bias": False}},
    ]
    return [case(SPACE[rank], **s) for s in settings]


def pools(rank: int) -> dict[str, list[Case]]:
    x = SPACE[rank]
    biggest: list[dict[str, Any]] = [
        {"args": (2,)},
        {"args": (3,), "kwargs": {"stride": 2, "padding": 1}},
        {"args": (2,), "kwargs": {"stride": 2, "ceil_mode": True}},
        {"args": (2,), "kwargs": {"stride": 1, "dilation": 2}},
    ]
    means: list[dict[str, Any]] = [
        {"args": (2,)},
        {"args": (3,), "kwargs": {"stride": 2, "padding": 1}},
        {"args": (3,), "kwargs": {"stride": 2, "padding": 1, "count_include_pad": False}},
        {"args": (2,), "kwargs": {"stride": 2, "ceil_mode": True, "padding": 1}},
    ]
    sizes = [((2,) * rank,), (1,), ((3, 2, 2)[:rank],)]
    norms = [(2.0, 2), (1.0, 2, 1), (3.0, 2)]
    return {
        f"MaxPool{rank}d": [case(x, **s) for s in biggest],
        f"AvgPool{rank}d": [case(x, **s) for s in means],
        f"LPPool{rank}d": [case(abs(x), args=a) for a in norms],
        f"AdaptiveAvgPool{rank}d": [case(x, args=a if rank > 1 else flat(a)) for a in sizes],
        f"AdaptiveMaxPool{rank}d": [case(x, args=a if rank > 1 else flat(a)) for a in sizes],
    }


def flat(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """One number instead of a tuple of one."""
    return tuple(a[0] if isinstance(a, tuple) else a for a in args)


BATCH: list[dict[str, Any]] = [
    {},
    {"kwargs": {"affine": False, "eps": 1e-3}},
    {"kwargs": {"momentum": None}},
    {"kwargs": {"track_running_stats": False}},
    {"training": False},
]
INSTANCE: list[dict[str, Any]] = [
    {},
    {"kwargs": {"affine": True}},
    {"kwargs": {"track_running_stats": True}},
    {"kwargs": {"track_running_stats": True}, "training": False},
]

NORMS = {
    **{f"BatchNorm{r}d": [case(x, args=(4,), **s) for s in BATCH] for r, x in SPACE.items()},
    **{f"InstanceNorm{r}d": [case(x, args=(4,), **s) for s in INSTANCE] for r, x in SPACE.items()},
    "LayerNorm": [
        case(X, args=(6,)),
        case(IMAGE, args=((6, 5),), kwargs={"eps": 1e-3, "bias": False}),
        case(X, args=(6,), kwargs={"elementwise_affine": False}),
    ],
    "RMSNorm": [
        case(X, args=(6,)),
        case(IMAGE, args=((6, 5),), kwargs={"eps": 1e-3}),
        case(X, args=(6,), kwargs={"elementwise_affine": False}),
    ],
    "GroupNorm": [
        case(IMAGE, args=(2, 4)),
        case(normal(3, 4), args=(1, 4), kwargs={"affine": False}),
        case(SEQUENCE, args=(4, 4), kwargs={"eps": 1e-2}),
    ],
    "LocalResponseNorm": [
        case(IMAGE, args=(2,), kwargs={"alpha": 0.5}),
        case(IMAGE, args=(3,), kwargs={"alpha": 1.0, "beta": 0.5, "k": 2.0}),
        case(SEQUENCE, args=(5,)),
    ],
}

LINEAR = {
    "Identity": [case(X), case(IMAGE), case(normal(3))],
    "Linear": [
        case(X, args=(6, 4)),
        case(normal(2, 3, 6), args=(6, 2), kwargs={"bias": False}),
        case(normal(6), args=(6, 1)),
    ],
    "Bilinear": [
        case(X, normal(3, 5, seed=1), args=(6, 5, 4)),
        case(X, normal(3, 5, seed=1), args=(6, 5, 2), kwargs={"bias": False}),
        case(normal(2, 3, 2), normal(2, 3, 3), args=(2, 3, 1)),
    ],
    "Embedding": [
        case(integers(5, high=4), args=(4, 3)),
        case(integers(2, 3, high=4), args=(4, 3), kwargs={"padding_idx": 1}),
        case(integers(3, 2, 2, high=9), args=(9, 1)),
    ],
    "EmbeddingBag": [
        case(integers(5, 3, high=4), args=(4, 3), kwargs={"mode": m})
        for m in ("mean", "sum", "max")
    ]
    + [case(integers(5, 3, high=4), args=(4, 3), kwargs={"mode": "mean", "padding_idx": 1})],
    "AdaptiveLogSoftmaxWithLoss": [
        case(normal(9, 8), integers(9, high=12), args=(8, 12, [4]), kwargs={"div_value": 2.0}),
        case(normal(9, 8), integers(9, high=12), args=(8, 12, [3, 6]), kwargs={"div_value": 2.0}),
        case(
            normal(4),
            np.array(7),
            args=(4, 9, [2, 5]),
            kwargs={"head_bias": True, "div_value": 1.5},
        ),
    ],
}


def widths(rank: int) -> tuple[Any, ...]:
    """Frames that are no wider than what they mirror."""
    return (1, (1, 2) * rank, (2, 0) * rank)


SHAPES = {
    "Flatten": [case(IMAGE), case(IMAGE, args=(0,)), case(IMAGE, args=(1, 2))],
    "Unflatten": [case(X, args=(1, a)) for a in ((2, 3), (3, 2), (1, 6, 1))],
    "PixelShuffle": [
        case(normal(2, 8, 3, 2), args=(2,)),
        case(normal(9, 2, 2), args=(3,)),
        case(IMAGE, args=(1,)),
    ],
    "PixelUnshuffle": [
        case(normal(2, 2, 4, 6), args=(2,)),
        case(normal(1, 6, 3), args=(3,)),
        case(IMAGE, args=(1,)),
    ],
    "ChannelShuffle": [case(IMAGE, args=(g,)) for g in (2, 1, 4)],
    "Upsample": [
        case(SEQUENCE, kwargs={"scale_factor": 2.0}),
        case(IMAGE, kwargs={"size": (9, 4), "mode": "nearest-exact"}),
        case(SEQUENCE, kwargs={"size": 10, "mode": "linear"}),
        case(IMAGE, kwargs={"scale_factor": 1.5, "mode": "bilinear"}),
        case(IMAGE, kwargs={"size": (4, 9), "mode": "bilinear", "align_corners": True}),
        case(VOLUME, kwargs={"scale_factor": 2, "mode": "trilinear"}),
    ],
    "UpsamplingNearest2d": [case(IMAGE, kwargs=k) for k in ({"size": 7}, {"scale_factor": 2})]
    + [case(IMAGE, kwargs={"size": (12, 3)})],
    "UpsamplingBilinear2d": [case(IMAGE, kwargs=k) for k in ({"size": 7}, {"scale_factor": 2})]
    + [case(IMAGE, kwargs={"size": (12, 3)})],
    "Unfold": [
        case(IMAGE, args=(2,)),
        case(IMAGE, args=((3, 2),), kwargs={"stride": 2, "padding": 1}),
        case(IMAGE, args=(2,), kwargs={"dilation": 2}),
    ],
    "Fold": [
        case(normal(2, 8, 20), args=((6, 5), 2)),
        case(normal(1, 6, 4), args=((4, 3), (3, 2)), kwargs={"stride": 2, "padding": 1}),
        case(normal(2, 4, 12), args=((6, 5), 2), kwargs={"dilation": 2}),
    ],
    **{
        f"{kind}Pad{rank}d": [case(SPACE[rank], args=(w, *more)) for w in widths(rank)]
        for kind, more in {
            "Constant": (2.5,),
            "Zero": (),
            "Reflection": (),
            "Replication": (),
            "Circular": (),
        }.items()
        for rank in (1, 2, 3)
    },
}

PLACES = {
    1: np.array([[[1, 2, 5]]]),
    2: np.array([[[[0, 3], [9, 10]]]]),
    3: np.array([[[[[0, 7]], [[20, 31]]]]]),
}
UNPOOLS = {
    f"MaxUnpool{rank}d": [
        case(normal(*at.shape), at, args=(2,)),
        case(normal(*at[0].shape), at[0], args=(2,)),
        case(normal(*at.shape), at, args=(2,), kwargs={"stride": 2, "padding": 0}),
    ]
    for rank, at in PLACES.items()
}


def fractional(x: np.ndarray[Any, Any], *settings: tuple[Any, dict[str, Any]]) -> list[Case]:
    """Windows whose distances follow from given numbers."""
    samples = uniform(*x.shape[:2], x.ndim - 2, seed=7)
    return [case(x, args=(k,), kwargs={**more, "_random_samples": samples}) for k, more in settings]


FRACTIONAL = {
    "FractionalMaxPool2d": fractional(
        IMAGE,
        (2, {"output_size": (4, 3)}),
        ((2, 3), {"output_ratio": 0.5}),
        (1, {"output_size": (5, 1), "return_indices": True}),
    ),
    "FractionalMaxPool3d": fractional(
        normal(2, 3, 6, 5, 7),
        (2, {"output_size": (4, 3, 5)}),
        ((3, 1, 2), {"output_ratio": (0.4, 0.9, 0.5)}),
        (2, {"output_size": 3, "return_indices": True}),
    ),
}

DROPOUTS = {
    name: [
        case(x, args=(0.5,), training=False),
        case(x, args=(0.0,)),
        case(x, args=(1.0,)),
    ]
    for name, x in {
        "Dropout": X,
        "Dropout1d": SEQUENCE,
        "Dropout2d": IMAGE,
        "Dropout3d": VOLUME,
        "AlphaDropout": X,
        "FeatureAlphaDropout": IMAGE,
    }.items()
}
for name in ("AlphaDropout", "FeatureAlphaDropout"):
    DROPOUTS[name][2] = case(uniform(3, 4, 5), args=(0.2,), training=False)

LAYERS: dict[str, list[Case]] = {
    **LINEAR,
    **{f"Conv{rank}d": convolutions(rank) for rank in (1, 2, 3)},
    **{f"ConvTranspose{rank}d": transposed(rank) for rank in (1, 2, 3)},
    **{name: found for rank in (1, 2, 3) for name, found in pools(rank).items()},
    **UNPOOLS,
    **FRACTIONAL,
    **NORMS,
    **DROPOUTS,
    **ACTIVATIONS,
    **SHAPES,
}
