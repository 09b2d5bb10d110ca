"""Attention by scaled dot products."""

from __future__ import annotations

import math
from typing import Any

from dualflow.core.convert import as_tensor
from dualflow.core.define import (
    composite,
    evaluate_definition,
    infer_definition,
    lower_definition,
)
from dualflow.core.devices import placed
from dualflow.core.doors import meet
from dualflow.core.op import Op, bind
from dualflow.core.precision import HALVES, in_precision
from dualflow.core.registry import api, functions
from dualflow.core.tensor import Tensor
from dualflow.ops.choice import where
from dualflow.ops.create import arange
from dualflow.ops.dropping import checked, dropped
from dualflow.ops.elementwise import astype
from dualflow.ops.linalg import matmul
from dualflow.ops.matrices import all_of
from dualflow.ops.neural import softmax
from dualflow.ops.reduce import sum
from dualflow.ops.shape import expand_dims, matrix_transpose, reshape
from dualflow.ops.statistics import logsumexp
from jit.errors import ShapeError
from jit.types import bool_, float32, format_shape


def causal(rows: Any, columns: Any) -> Tensor:
    """Bools of shape (rows, columns): whether the column is not after the row."""
    return expand_dims(arange(rows), 1) >= arange(columns)


def _scores(query: Any, key: Any) -> Tensor:
    return matmul(query, matrix_transpose(key))


def _causal_scores(scores: Any, is_causal: bool) -> Tensor:  # noqa: FBT001
    """Scores without a mask or with the causal one."""
    return where(causal(*scores.shape[-2:]), scores, -math.inf) if is_causal else scores


def _causal_shares(scores: Any, is_causal: bool) -> Tensor:  # noqa: FBT001
    """The softmax of scores, without a mask or with the causal one."""
    return softmax(_causal_scores(scores, is_causal))


def _masked_shares(scores: Any, mask: Any) -> Tensor:
    """The softmax of scores that a mask is added to, or where it allows them."""
    if mask.dtype != bool_:
        return softmax(scores + mask)
    shares = softmax(where(mask, scores, -math.inf))
    return where(mask, shares, 0)  # a row that may see nothing would be NaN


def _cotangents(g: Any, y: Any, query: Any, key: Any, value: Any, shares: Any) -> tuple[Any, ...]:
    """The cotangents of query, key, value and scores; `query` is scaled.

    sum(g * y) stands for sum(shares * slopes): all of the matrices are read row by row only, and
    the compiler keeps none of them.
    """
    slopes = matmul(g, matrix_transpose(value))
    flow = shares * (slopes - sum(g * y, axis=-1, keepdims=True))
    return (
        matmul(flow, key),
        matmul(matrix_transpose(flow), query),
        matmul(matrix_transpose(shares), g),
        flow,
    )


@composite(tensors=5, accepts=None, public=False)
def attention_flow(
    g: Any,
    y: Any,
    query: Any,
    key: Any,
    value: Any,
    is_causal: bool,  # noqa: FBT001
    scale: float,
) -> tuple[Tensor, ...]:
    """The cotangents of query, key and value of `attention` with the result `y`."""
    query = query * scale
    shares = _causal_shares(_scores(query, key), is_causal)
    to_query, to_key, to_value, _ = _cotangents(g, y, query, key, value, shares)
    return to_query * scale, to_key, to_value


def _half_flow(
    g: Any,
    y: Any,
    totals: Any,
    query: Any,
    key: Any,
    value: Any,
    is_causal: bool,  # noqa: FBT001
    scale: float,
) -> tuple[Tensor, ...]:
    """The cotangents of `half_attention`; only kernels are helped by the totals."""
    del totals
    return attention_flow(g, y, query, key, value, is_causal, scale)


def _lower_half_flow(form: Any, *xs: Any, **attrs: Any) -> Any:
    """The kernels, where there are any."""
    g, y, totals, *operands = xs
    found = form.attention_flow(*operands, g, y, totals, **attrs)
    return _half_flow_by_definition(form, *xs, **attrs) if found is None else found


_half_flow_by_definition = lower_definition(_half_flow)
half_attention_flow = composite(
    tensors=6,
    accepts=None,
    name="half_attention_flow",
    lower=_lower_half_flow,
    public=False,
)(_half_flow)


@composite(tensors=6, accepts=None, public=False)
def masked_attention_flow(
    g: Any,
    y: Any,
    query: Any,
    key: Any,
    value: Any,
    mask: Any,
    scale: float,
    to_mask: bool,  # noqa: FBT001
) -> tuple[Tensor, ...]:
    """The cotangents of query, key, value and, if asked for, mask of `masked_attention`."""
    query = query * scale
    shares = _masked_shares(_scores(query, key), mask)
    to_query, *rest, flow = _cotangents(g, y, query, key, value, shares)
    return (to_query * scale, *rest, flow) if to_mask else (to_query * scale, *rest)


def _attention(query: Any, key: Any, value: Any, is_causal: bool, scale: float) -> Tensor:  # noqa: FBT001
    """softmax(query @ key.mT * scale) @ value, without a mask or with the causal one."""
    return matmul(_causal_shares(_scores(query * scale, key), is_causal), value)


def _half_attention(
    query: Any,
    key: Any,
    value: Any,
    is_causal: bool,  # noqa: FBT001
    scale: float,
) -> tuple[Tensor, Tensor]:
    """`_attention`, and of each row the logarithm of its sum of exponentials, in float32."""
    scores = _causal_scores(_scores(query * scale, key), is_causal)
    return matmul(softmax(scores), value), logsumexp(astype(scores, float32), axis=-1)


def _lower_half(form: Any, *xs: Any, **attrs: Any) -> Any:
    """The kernel, where there is one."""
    found = form.attention(*xs, **attrs)
    return _half_by_definition(form, *xs, **attrs) if found is None else found


def _masked_attention(query: Any, key: Any, value: Any, mask: Any, scale: float) -> Tensor:
    """softmax(query @ key.mT * scale + mask) @ value; false in a mask of bools forbids."""
    return matmul(_masked_shares(_scores(query * scale, key), mask), value)


def _attention_pullback(g: Any, y: Any, args: Any, attrs: Any, needed: Any) -> list[Any]:
    return list(attention_flow(g, y, *args, **attrs))


def _half_pullback(g: Any, y: Any, args: Any, attrs: Any, needed: Any) -> list[Any]:
    """Nobody but this rule reads the totals, so that nothing flows to them."""
    y, totals = all_of(half_attention, y, args, attrs)
    return list(half_attention_flow(g[0], y, totals, *args, **attrs))


def _masked_attention_pullback(g: Any, y: Any, args: Any, attrs: Any, needed: Any) -> list[Any]:
    flows = masked_attention_flow(g, y, *args, **attrs, to_mask=needed[3])
    return list(flows) if needed[3] else [*flows, None]


def _with_pullback(
    name: str, definition: Any, pullback: Any, lower: Any = None, precision: str | None = "low"
) -> Op:
    """A composite whose cotangents share work."""
    return Op(
        name=name,
        evaluate=evaluate_definition(definition),
        infer=infer_definition(definition),
        lower=lower or lower_definition(definition),
        pullback=pullback,
        definition=definition,
        precision=precision,
        quiet=False,
    )


_half_by_definition = lower_definition(_half_attention)
attention = _with_pullback("attention", _attention, _attention_pullback)
# Of float16 and bfloat16, for which some GPUs have a kernel of its own.
half_attention = _with_pullback(
    "half_attention", _half_attention, _half_pullback, _lower_half, None
)
# The means; the record of it holds the totals as long as gradients may ask for them.
_beside_totals = Op(
    name="beside_totals",
    evaluate=lambda xp, y, totals: y,
    infer=lambda y, totals: y,
    lower=lambda form, y, totals: y,
    vjps=(lambda g, means, y, totals: g, None),
    definition=lambda y, totals: functions["identity"](y),
)
masked_attention = _with_pullback("masked_attention", _masked_attention, _masked_attention_pullback)


def _shapes(name: str, tensors: tuple[Tensor, ...], mask: Any, is_causal: bool) -> None:  # noqa: FBT001
    """Raises ShapeError for tensors that do not go together, or two masks."""
    shapes = [tuple(x.shape) for x in tensors]
    if (
        min(map(len, shapes)) < 2
        or shapes[0][-1] != shapes[1][-1]
        or shapes[1][-2] != shapes[2][-2]
    ):
        raise ShapeError(
            f"{name}: query, key, value of shapes " + ", ".join(map(format_shape, shapes)),
            "(..., L, E), (..., S, E) and (..., S, V)",
            "check the extents",
        )
    if mask is not None and is_causal:
        raise ShapeError(
            f"{name}: attn_mask and is_causal",
            "one of the two",
            "put the causal mask into attn_mask",
        )


def _in_groups(x: Tensor, groups: Any) -> Tensor:
    """(..., H, L, E) -> (..., groups, H / groups, L, E)."""
    *front, heads, rows, columns = x.shape
    return reshape(x, (*front, groups, heads // groups, rows, columns))


def _grouped(name: str, tensors: tuple[Tensor, ...], mask: Any) -> tuple[Any, ...]:
    """Query, key, value and mask, in which heads of the query meet the one that they share."""
    heads = [x.shape[-3] if x.ndim > 2 else 0 for x in tensors]
    if heads[1] != heads[2] or not heads[1] or heads[0] % heads[1]:
        raise ShapeError(
            f"{name}: {heads[0]} heads of queries share {heads[1]} of keys, {heads[2]} of values",
            "(..., H, L, E), in which H of the query is a multiple of that of key and value",
            "",
        )
    found = [_in_groups(x, heads[1]) for x in tensors]
    if mask is not None and mask.ndim > 2:
        mask = _in_groups(mask, heads[1] if mask.shape[-3] > 1 else 1)
    return (*found, mask)


def _bound(tensors: tuple[Tensor, ...], attrs: dict[str, Any]) -> Tensor:
    """Attention without a mask or with the causal one, in the dtype that is in force."""
    tensors = in_precision(attention, tensors)
    if tensors[0].dtype in HALVES:
        return bind(_beside_totals, bind(half_attention, tensors, attrs))
    return bind(attention, tensors, attrs)


@placed
def _with_chance(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Any,
    is_causal: bool,  # noqa: FBT001
    scale: float,
    p: float,
) -> Tensor:
    """Attention with shares of which some are dropped: the matrix of chances is kept."""
    scores = _scores(query * scale, key)
    shares = _causal_shares(scores, is_causal) if mask is None else _masked_shares(scores, mask)
    return matmul(dropped(shares, p, shares.shape, None), value)


@api
def scaled_dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    *,
    is_causal: bool = False,
    scale: Any = None,
    enable_gqa: bool = False,
) -> Tensor:
    """For each query the mean of the values, weighted by the softmax of its products with the keys.

    The formula is that of "Attention Is All You Need" (Vaswani and others, 2017).

    Args:
        query: Tensor of shape (..., L, E).
        key: Tensor of shape (..., S, E).
        value: Tensor of shape (..., S, V).
        attn_mask: Broadcasts to (..., L, S): bools, where false forbids, or numbers to add to the
            products; None allows everything. A query that bools forbid every key gets zeros.
        dropout_p: The probability with which a weight is dropped, as `dropout` does it; there is
            no switch for training, as in PyTorch.
        is_causal: Query i sees the keys up to i; not together with `attn_mask`.
        scale: What the products are multiplied by; 1 / sqrt(E) when None. A tensor, to which
            gradients flow, broadcasts to the shape of `query`.
        enable_gqa: Several heads of the query share one of key and value: their extents before the
            last two are H, and a divisor of it. In each group the heads follow one another.

    Returns:
        Tensor of shape (..., L, V).

    Raises:
        ShapeError: The extents differ, or there are two masks.
        ValueError: `dropout_p` is no probability.

    Example:
        >>> import dualflow as df
        >>> q = k = v = df.ones((1, 3, 4))
        >>> df.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True).shape
        (1, 3, 4)
    """
    name = "scaled_dot_product_attention"
    given = (checked(name, query, dropout_p), as_tensor(key), as_tensor(value))
    q, k, v = meet(name, given, "floating")
    mask = None if attn_mask is None else as_tensor(attn_mask)
    _shapes(name, (q, k, v), mask, is_causal)
    factor = 1 / math.sqrt(int(q.shape[-1])) if scale is None else scale
    if isinstance(factor, Tensor):  # one that is learned
        q, factor = q * factor, 1.0
    shape = (*q.shape[:-1], v.shape[-1])
    if enable_gqa:
        q, k, v, mask = _grouped(name, (q, k, v), mask)
    if dropout_p:
        y = _with_chance(q, k, v, mask, is_causal, factor, dropout_p)
    elif mask is None:
        y = _bound((q, k, v), {"is_causal": is_causal, "scale": factor})
    else:
        y = bind(masked_attention, (q, k, v, mask), {"scale": factor})
    return reshape(y, shape) if enable_gqa else y
