"""Samples of `nn.functional`: activations, softmax, normalisation, convolution, pooling, losses."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import special

from tests.samples.sample import Refused, Sample, bools, integers, normal

F = np.float32
X = normal(3, 4)
EDGES = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 100.0, -100.0], F)
LOGITS = normal(5, 4) * 3
LABELS = np.array([0, 3, 1, 1, 2])


def activation(reference: Any, *, edges: bool = True, **kwargs: Any) -> list[Sample]:
    """Samples of a function of each element."""
    found = [Sample((x,), kwargs, reference, rtol=1e-5) for x in (X, normal(), normal(0, 3))]
    found.append(Sample((integers(4),), kwargs, reference, rtol=1e-5))
    return (
        [*found, Sample((EDGES,), kwargs, reference, numeric=False, rtol=1e-5)] if edges else found
    )


def along_axes(reference: Any) -> list[Sample]:
    """Samples of a function along one axis."""
    cases: list[tuple[Any, dict[str, Any]]] = [
        (X, {}),
        (X, {"axis": 0}),
        (normal(2, 3, 4), {"axis": 1}),
    ]
    cases += [(X * 1000, {}), (normal(3), {"axis": -1})]
    return [Sample((x,), kwargs, reference, rtol=2e-5) for x, kwargs in cases]


# ----- what the functions mean, in NumPy -----


def gelu(x: Any, approximate: str = "none") -> Any:
    if approximate == "tanh":
        return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    return x * special.ndtr(x)


def softplus(x: Any, beta: float = 1.0) -> Any:
    return np.logaddexp(0, beta * x) / beta


def softmax(x: Any, axis: int = -1) -> Any:
    return special.softmax(x, axis)


def log_softmax(x: Any, axis: int = -1) -> Any:
    return x - special.logsumexp(x, axis=axis, keepdims=True)


def layer_norm(x: Any, shape: Any, weight: Any = 1, bias: Any = 0, eps: float = 1e-5) -> Any:
    axes = tuple(range(-np.size(shape), 0))
    y = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)
    return y * weight + bias


def linear(x: Any, weight: Any, bias: Any = 0) -> Any:
    return x @ weight.T + bias


def conv(
    x: Any,
    w: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    rank = w.ndim - 2
    if x.ndim == rank + 1:
        return conv(x[None], w, bias, stride, padding, dilation, groups)[0]
    stride, dilation = (np.broadcast_to(v, rank) for v in (stride, dilation))
    reach = dilation * (np.array(w.shape[2:]) - 1)
    pads = [(0, 0)] * rank
    if padding == "same":
        pads = [(r // 2, r - r // 2) for r in reach]
    elif padding != "valid":
        pads = [(p, p) for p in np.broadcast_to(padding, rank)]
    if not len(x):
        return conv(np.ones((1, *x.shape[1:])), w, bias, stride, padding, dilation, groups)[:0]
    x = np.pad(x, [(0, 0), (0, 0), *pads])
    v = np.lib.stride_tricks.sliding_window_view(x, tuple(reach + 1), tuple(range(2, x.ndim)))
    v = v[(..., *(slice(None, None, s) for s in stride), *(slice(None),) * rank)]
    v = v[(..., *(slice(None, None, d) for d in dilation))]
    v = v.reshape(v.shape[0], groups, v.shape[1] // groups, *v.shape[2:])
    u = w.reshape(groups, -1, *w.shape[1:])
    y = np.einsum("ngc...z,gocz->ngo...", _flat(v, rank), _flat(u, rank))
    y = y.reshape(y.shape[0], len(w), *y.shape[3:])
    return y if bias is None else y + np.reshape(bias, (-1, *(1,) * rank))


def _flat(x: Any, rank: int) -> Any:
    return x.reshape(*x.shape[:-rank], -1)


def pooling(rank: int, fold: Any, fill: float) -> Any:
    """The reference of a pooling function."""

    def pool(
        x: Any,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        **rest: Any,
    ) -> Any:
        window, dilation = (np.broadcast_to(v, rank) for v in (kernel_size, dilation))
        stride = window if stride is None else np.broadcast_to(stride, rank)
        pads = [(0, 0)] * (x.ndim - rank) + [(p, p) for p in np.broadcast_to(padding, rank)]
        value = fill if x.dtype.kind == "f" or not fill else np.iinfo(x.dtype).min
        counted = np.pad(np.ones_like(x), pads, constant_values=rest.get("count_include_pad", True))
        axes = tuple(range(x.ndim - rank, x.ndim))
        views = []
        for y in (np.pad(x, pads, constant_values=value), counted):
            v = np.lib.stride_tricks.sliding_window_view(
                y, tuple(dilation * (window - 1) + 1), axes
            )
            v = v[(..., *(slice(None, None, s) for s in stride), *(slice(None),) * rank)]
            views.append(_flat(v[(..., *(slice(None, None, d) for d in dilation))], rank))
        return fold(*views)

    return pool


def attention(
    q: Any, k: Any, v: Any, mask: Any = None, is_causal: bool = False, scale: Any = None
) -> Any:
    scores = q @ np.swapaxes(k, -1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        mask = np.tri(*scores.shape[-2:], dtype=bool)
    if mask is not None:
        scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask
    shares = special.softmax(scores, -1)
    if mask is not None and mask.dtype == bool:
        shares = np.where(mask, shares, 0)  # not NaN where nothing may be seen
    return shares @ v


def grouped(q: Any, k: Any, v: Any, mask: Any = None, *, enable_gqa: bool) -> Any:
    """Attention in which heads of queries share those of keys and values."""
    count = q.shape[-3] // k.shape[-3] if enable_gqa else 1
    return attention(q, np.repeat(k, count, axis=-3), np.repeat(v, count, axis=-3), mask)


def reduced(losses: Any, reduction: str) -> Any:
    return {"mean": np.mean, "sum": np.sum, "none": np.asarray}[reduction](losses)


def mse_loss(x: Any, t: Any, reduction: str = "mean") -> Any:
    return reduced((x - t) ** 2, reduction)


def l1_loss(x: Any, t: Any, reduction: str = "mean") -> Any:
    return reduced(abs(x - t), reduction)


def binary(x: Any, t: Any, weight: Any = 1, pos_weight: Any = 1, reduction: str = "mean") -> Any:
    losses = -(pos_weight * t * special.log_expit(x) + (1 - t) * special.log_expit(-x))
    return reduced(losses * weight, reduction)


def cross_entropy(
    x: Any,
    t: Any,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0,
) -> Any:
    return nll(
        log_softmax(x, 1 if x.ndim > 1 else 0), t, weight, ignore_index, reduction, label_smoothing
    )


def nll(
    x: Any,
    t: Any,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    smoothing: float = 0,
) -> Any:
    x = np.moveaxis(x, 1 if x.ndim > 1 else 0, -1)
    classes = x.shape[-1]
    weight = np.ones(classes) if weight is None else weight
    if t.dtype.kind == "f":
        p = np.moveaxis(t, 1 if t.ndim > 1 else 0, -1)
        counts = np.ones(p.shape[:-1])
    else:
        p = (t[..., None] == np.arange(classes)).astype(x.dtype)
        counts = np.where(t != ignore_index, weight[np.where(t != ignore_index, t, 0)], 0)
    p = (1 - smoothing) * p + smoothing / classes
    if t.dtype.kind != "f":
        p = p * (t != ignore_index)[..., None]
    losses = -(x * weight * p).sum(-1)
    return losses.sum() / counts.sum() if reduction == "mean" else reduced(losses, reduction)


def soft(x: Any, t: Any) -> Any:
    return -(t * log_softmax(x)).sum() / len(x)


# ----- samples -----

CLASSES = [
    Sample((LOGITS, LABELS), {}, cross_entropy, rtol=1e-5),
    Sample((LOGITS, LABELS), {"reduction": "sum"}, cross_entropy, rtol=1e-5),
    Sample((LOGITS, LABELS), {"reduction": "none"}, cross_entropy, rtol=1e-5),
    Sample((LOGITS, LABELS.astype(np.int32)), {"ignore_index": 1}, cross_entropy, rtol=1e-5),
    Sample((LOGITS, LABELS.astype(np.uint8)), {}, cross_entropy, rtol=1e-5),
    Sample((LOGITS, np.array([0, -100, 1, 1, 2])), {}, cross_entropy, rtol=1e-5),
    Sample((LOGITS, LABELS, np.array([1, 2, 0.5, 3], F)), {}, cross_entropy, rtol=1e-5),
    Sample((normal(2, 3, 2, 2), integers(2, 2, 2, low=0, high=3)), {}, cross_entropy, rtol=1e-5),
    Sample((normal(3), np.array(2)), {}, cross_entropy, rtol=1e-5),
]
SMOOTH = [
    Sample((LOGITS, LABELS), {"label_smoothing": 0.1}, cross_entropy, rtol=1e-5),
    Sample(
        (LOGITS, np.array([0, -100, 1, 1, 2]), np.array([1, 2, 0.5, 3], F)),
        {"label_smoothing": 0.1},
        cross_entropy,
        differentiable=(0,),
        rtol=1e-5,
    ),
    Sample(
        (LOGITS, LABELS), {"label_smoothing": 0.1, "reduction": "none"}, cross_entropy, rtol=1e-5
    ),
    Sample((LOGITS, special.softmax(normal(5, 4, seed=1), 1)), {}, soft, rtol=1e-5),
    Sample(
        (LOGITS, special.softmax(normal(5, 4, seed=1), 1)),
        {"label_smoothing": 0.2, "reduction": "sum"},
        cross_entropy,
        rtol=1e-5,
    ),
]


LOG_P = log_softmax(LOGITS).astype(F)
IMAGES = {1: normal(2, 4, 7), 2: normal(2, 4, 6, 5), 3: normal(2, 2, 4, 5, 4)}
FILTERS = {
    1: normal(6, 4, 3, seed=1),
    2: normal(6, 4, 3, 2, seed=1),
    3: normal(4, 2, 2, 3, 2, seed=1),
}


def convolutions(rank: int) -> list[Sample]:
    """Samples of a convolution over `rank` dimensions."""
    x, w = IMAGES[rank], FILTERS[rank]
    bias = normal(len(w), seed=2)
    cases: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
        ((x, w), {}),
        ((x, w, bias), {"padding": 1}),
        ((x, w), {"stride": 2, "padding": "valid"}),
        ((x, w), {"padding": "same", "dilation": 2}),
        ((x, w[:, : w.shape[1] // 2]), {"groups": 2, "stride": (2,) * rank}),
        ((x[0], w), {}),
    ]
    if rank == 2:
        cases += [((x, w), {"stride": (2, 1), "padding": (2, 1), "dilation": (1, 2)})]
        cases += [((x, normal(8, 1, 3, 3)), {"groups": 4, "padding": 1})]
        cases += [((normal(0, 4, 6, 5), w), {}), ((integers(1, 4, 3, 3), integers(2, 4, 2, 2)), {})]
    return [Sample(args, kwargs, conv, rtol=2e-5) for args, kwargs in cases]


def pools(rank: int, fold: Any, fill: float, *, largest: bool) -> list[Sample]:
    """Samples of a pooling over `rank` dimensions."""
    x = IMAGES[rank]
    cases: list[tuple[Any, Any, dict[str, Any]]] = [
        (x, 2, {}),
        (x, 3, {"stride": 1, "padding": 1}),
        (x[0], 2, {"stride": 3}),
    ]
    if rank == 2:
        cases += [(x, (3, 2), {"stride": (2, 1), "padding": (1, 0)})]
        extra = {"dilation": 2} if largest else {"padding": 1, "count_include_pad": False}
        cases += [(x, 2, {"stride": 1, **extra})]
        if largest:
            cases += [(integers(1, 1, 4, 4), 2, {})]
    return [Sample((x, k), kw, pooling(rank, fold, fill), rtol=1e-5) for x, k, kw in cases]


def maximum(x: Any, counted: Any) -> Any:
    del counted
    return x.max(-1)


def average(x: Any, counted: Any) -> Any:
    return x.sum(-1) / counted.sum(-1)


Q, K, V = normal(2, 3, 4), normal(2, 5, 4, seed=1), normal(2, 5, 6, seed=2)

SAMPLES: dict[str, list[Sample]] = {
    "relu": [
        *activation(lambda x: np.maximum(x, 0)),
        Sample((np.array([-1.0, 0.0, 2.0], F),), {}, lambda x: np.maximum(x, 0), numeric=False),
    ],
    "leaky_relu": [
        *activation(lambda x: np.where(x > 0, x, 0.01 * x)),
        *activation(lambda x, negative_slope: np.where(x > 0, x, 0.2 * x), negative_slope=0.2),
    ],
    "elu": activation(lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0)))),
    "gelu": [*activation(gelu, edges=False), *activation(gelu, edges=False, approximate="tanh")],
    "sigmoid": activation(special.expit),
    "silu": activation(lambda x: x * special.expit(x), edges=False),
    "softplus": [*activation(softplus), *activation(softplus, beta=2.0)],
    "softmax": along_axes(softmax),
    "log_softmax": along_axes(log_softmax),
    "layer_norm": [
        Sample((X, 4), {}, layer_norm, rtol=2e-5),
        Sample((normal(2, 3, 4), (3, 4), normal(3, 4), normal(3, 4)), {}, layer_norm, rtol=2e-5),
        Sample((X, (4,), normal(4)), {"eps": 0.1}, layer_norm, rtol=2e-5),
    ],
    "linear": [
        Sample((X, normal(5, 4)), {}, linear, rtol=1e-5),
        Sample((normal(2, 3, 4), normal(5, 4), normal(5)), {}, linear, rtol=1e-5),
        Sample((normal(4), normal(5, 4), normal(5)), {}, linear, rtol=1e-5),
        Sample((normal(2, 3, 0), normal(5, 0), normal(5)), {}, linear, rtol=1e-5),
    ],
    "embedding": [
        Sample((integers(2, 3, low=0, high=5), normal(5, 4)), {}, lambda i, w: w[i], rtol=0.0),
        Sample((np.array(3), normal(5, 4)), {}, lambda i, w: w[i], rtol=0.0),
        Sample(
            (integers(2, 3, low=0, high=5), normal(5, 4)),
            {"padding_idx": -2},
            lambda i, w, padding_idx: w[i],
            rtol=0.0,
            numeric=False,  # the gradient is not that of what is computed
        ),
    ],
    **{f"conv{rank}d": convolutions(rank) for rank in (1, 2, 3)},
    **{f"max_pool{rank}d": pools(rank, maximum, -np.inf, largest=True) for rank in (1, 2, 3)},
    **{f"avg_pool{rank}d": pools(rank, average, 0.0, largest=False) for rank in (1, 2, 3)},
    "scaled_dot_product_attention": [
        Sample((Q, K, V), {}, attention, rtol=2e-5),
        Sample((Q, Q, Q), {"is_causal": True, "scale": 0.5}, attention, rtol=2e-5),
        Sample((Q, K, V, np.tri(3, 5, 1, dtype=bool)), {}, attention, rtol=2e-5),
        Sample((Q, K, V, np.tri(3, 5, -1, dtype=bool)), {}, attention, rtol=2e-5),
        Sample((Q, K, V, normal(3, 5)), {}, attention, rtol=2e-5),
        Sample((normal(1, 4, 3, 4), K[None], V[None]), {"enable_gqa": True}, grouped, rtol=2e-5),
        Sample((normal(4, 3, 4), K, V, bools(4, 3, 5)), {"enable_gqa": True}, grouped, rtol=2e-5),
    ],
    "mse_loss": [
        Sample((X, normal(3, 4, seed=1)), {"reduction": r}, mse_loss, rtol=1e-5)
        for r in ("mean", "sum", "none")
    ],
    "l1_loss": [
        Sample((X, normal(3, 4, seed=1)), {"reduction": r}, l1_loss, rtol=1e-5)
        for r in ("mean", "sum", "none")
    ],
    "binary_cross_entropy_with_logits": [
        Sample((X * 9, bools(3, 4).astype(F)), {}, binary, rtol=1e-5),
        Sample((X, bools(3, 4).astype(F), normal(4) ** 2), {"reduction": "sum"}, binary, rtol=1e-5),
        Sample((X, bools(3, 4).astype(F)), {"reduction": "none"}, binary, rtol=1e-5),
        Sample((X, bools(3, 4).astype(F)), {"pos_weight": normal(4) ** 2}, binary, rtol=1e-5),
    ],
    "nll_loss": [Sample((LOG_P, *s.args[1:]), s.kwargs, nll, rtol=1e-5) for s in CLASSES[:7]],
    "cross_entropy": [*CLASSES, *SMOOTH],
}

REFUSED: dict[str, list[Refused]] = {
    "relu": [Refused((bools(3),), "DTypeError", "relu: does not take bool")],
    "sigmoid": [Refused((X.astype(complex),), "DTypeError", "sigmoid: does not take complex128")],
    "gelu": [Refused((X,), "ValueError", "gelu: approximate='fast'", {"approximate": "fast"})],
    "softmax": [Refused((X,), "AxisError", "softmax: axis 2", {"axis": 2})],
    "log_softmax": [Refused((normal(),), "AxisError", "log_softmax: axis -1")],
    "layer_norm": [
        Refused((X, 3), "ShapeError", "layer_norm: x of shape (3, 4) over (3,)"),
        Refused((X, 4, normal(3)), "ShapeError", "layer_norm: weight of shape (3,)"),
        Refused((X, 4, X), "ShapeError", "layer_norm: weight of shape (3, 4)"),
    ],
    "linear": [
        Refused(
            (X, normal(4, 5)), "ShapeError", "linear: x of shape (3, 4) and weight of shape (4, 5)"
        ),
        Refused((X, normal(5, 4), normal(1)), "ShapeError", "linear: bias of shape (1,)"),
    ],
    "embedding": [
        Refused((np.array([5]), normal(5, 4)), "IndexError", "index 5 is out of bounds for axis 0"),
        Refused((normal(2), normal(5, 4)), "DTypeError", "embedding: indices of dtype float32"),
        Refused((integers(2), normal(5, 4)), "IndexError", "padding_idx=5", {"padding_idx": 5}),
    ],
    "conv2d": [
        Refused((IMAGES[2], normal(6, 3, 3, 2)), "ShapeError", "conv: 4 channels in 1 groups"),
        Refused((IMAGES[2][0, 0], FILTERS[2]), "ShapeError", "conv2d: x of shape (6, 5)"),
        Refused((IMAGES[2], normal(6, 4, 9, 2)), "ShapeError", "conv: a window of (9, 2)"),
        Refused(
            (IMAGES[2], FILTERS[2]),
            "ShapeError",
            "with stride (2, 2)",
            {"stride": 2, "padding": "same"},
        ),
        Refused(
            (IMAGES[2], FILTERS[2]), "ShapeError", "conv2d: padding='full'", {"padding": "full"}
        ),
        Refused(
            (IMAGES[2], FILTERS[2]), "ShapeError", "conv2d: (1, 2, 3) for 2", {"stride": (1, 2, 3)}
        ),
        Refused((IMAGES[2], FILTERS[2], normal(1)), "ShapeError", "conv2d: bias of shape (1,)"),
        Refused((IMAGES[2], FILTERS[2]), "ShapeError", "padding -1 is negative", {"padding": -1}),
    ],
    "max_pool2d": [
        Refused((X, 2), "ShapeError", "max_pool2d: a tensor of shape (3, 4)"),
        Refused((IMAGES[2], 2), "ShapeError", "at most half of the window", {"padding": 2}),
        Refused((IMAGES[2], 9), "ShapeError", "pool: a window of (9, 9)"),
        Refused((bools(1, 1, 4, 4), 2), "DTypeError", "pool: does not take bool"),
    ],
    "avg_pool1d": [Refused((X[0], 2), "ShapeError", "avg_pool1d: a tensor of shape (4,)")],
    "scaled_dot_product_attention": [
        Refused((Q, V, V), "ShapeError", "query, key, value of shapes (2, 3, 4), (2, 5, 6)"),
        Refused((Q, Q, Q, bools(3, 3)), "ShapeError", "one of the two", {"is_causal": True}),
        Refused((normal(3, 3, 4), K, V), "ShapeError", "3 heads of", {"enable_gqa": True}),
        Refused((Q, K, V), "ValueError", "p=2.0, expected a prob", {"dropout_p": 2.0}),
    ],
    "mse_loss": [
        Refused((X, normal(4)), "ShapeError", "mse_loss: predictions of shape (3, 4)"),
        Refused((X, X), "ValueError", "mse_loss: reduction='max'", {"reduction": "max"}),
    ],
    "l1_loss": [Refused((X, normal(3, 1)), "ShapeError", "l1_loss: predictions of shape (3, 4)")],
    "binary_cross_entropy_with_logits": [
        Refused((X, normal(4)), "ShapeError", "binary_cross_entropy_with_logits: predictions")
    ],
    "nll_loss": [
        Refused((LOG_P, LABELS[:4]), "ShapeError", "nll_loss: values of shape (5, 4)"),
        Refused((LOG_P, LABELS, normal(5)), "ShapeError", "nll_loss: weights of shape (5,) for 4"),
    ],
    "cross_entropy": [
        Refused((LOGITS, LABELS[:4]), "ShapeError", "labels of shape (4,)"),
        Refused((LOGITS, LABELS > 1), "DTypeError", "cross_entropy: labels of dtype bool"),
        Refused(
            (LOGITS, np.array([0, 1, 2, 3, 4])), "IndexError", "index 4 is out of bounds for axis 1"
        ),
        Refused((LOGITS, np.array([0, 1, 2, 3, -1])), "IndexError", "out of bounds for axis 1"),
        Refused((LOGITS, normal(5)), "ShapeError", "cross_entropy: logits of shape (5, 4)"),
        Refused((LOGITS, LABELS, normal(3)), "ShapeError", "weights of shape (3,) for 4 classes"),
        Refused((LOGITS, LABELS), "ValueError", "a share from 0 to 1", {"label_smoothing": 2.0}),
    ],
}
