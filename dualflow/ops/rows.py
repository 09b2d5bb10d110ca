"""Rows of a tensor: all at once, or one of the ends and the rest; gradients take one pass."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from dualflow.core.op import Op, bind
from dualflow.core.tensor import Tensor
from dualflow.ops.arrange import concat, stack
from dualflow.ops.shape import expand_dims, moveaxis
from jit.types import TensorType


def _evaluate(xp: ModuleType, x: Any) -> Any:
    rows = tuple([xp.asarray(row) for row in x])
    return rows[0] if len(rows) == 1 else rows


def _infer(x: TensorType) -> Any:
    row = x.with_shape(x.shape[1:])
    return row if x.shape[0] == 1 else (row,) * int(x.shape[0])


def _lower(form: Any, x: Any) -> Any:
    rows = [form.view(x, x.shape[1:], lambda *i, at=k: (at, *i)) for k in range(int(x.shape[0]))]
    return rows[0] if len(rows) == 1 else tuple(rows)


def _batch(op: Op, args: tuple[Any, ...], batched: Any, attrs: dict[str, Any]) -> Any:
    return bind(op, (moveaxis(args[0], 1, 0),))


_unstack = Op(
    name="unstack",
    evaluate=_evaluate,
    infer=_infer,
    lower=_lower,
    vjps=(lambda g, y, x: stack(list(g) if isinstance(g, tuple) else [g]),),
    jvp="linear",
    batch=_batch,
    splits=True,
)


def rows(x: Tensor) -> list[Tensor]:
    """The slices of `x` along its first axis, of which there is at least one."""
    made = bind(_unstack, (x,))
    return list(made) if isinstance(made, tuple) else [made]


# ----- one row and the rest -----


def _end_evaluate(xp: ModuleType, x: Any, *, last: bool) -> Any:
    return (xp.asarray(x[-1]), x[:-1]) if last else (xp.asarray(x[0]), x[1:])


def _end_infer(x: TensorType, *, last: bool) -> Any:
    return x.with_shape(x.shape[1:]), x.with_shape((x.shape[0] - 1, *x.shape[1:]))


def _end_lower(form: Any, x: Any, *, last: bool) -> Any:
    at, first = (x.shape[0] - 1, 0) if last else (0, 1)
    rest = (x.shape[0] - 1, *x.shape[1:])
    return (
        form.view(x, x.shape[1:], lambda *i: (at, *i)),
        form.view(x, rest, lambda i, *inner: (i + first, *inner)),
    )


def _end_vjp(g: Any, y: Any, x: Any, *, last: bool) -> Any:
    row, rest = expand_dims(g[0], axis=0), g[1]
    return concat([rest, row] if last else [row, rest])


def _end_batch(op: Op, args: tuple[Any, ...], batched: Any, attrs: dict[str, Any]) -> Any:
    row, rest = bind(op, (moveaxis(args[0], 1, 0),), attrs)
    return row, moveaxis(rest, 1, 0)


_end = Op(
    name="end_row",
    evaluate=_end_evaluate,
    infer=_end_infer,
    lower=_end_lower,
    vjps=(_end_vjp,),
    jvp="linear",
    batch=_end_batch,
)


def end_row(x: Tensor, *, last: bool) -> tuple[Tensor, Tensor]:
    """The first row, or the last one, and the others; there is at least one.

    What they are takes no longer for many rows, as `rows` does.
    """
    return bind(_end, (x,), {"last": last})
