"""All rows of a tensor at once: one op with as many results, whose gradient takes one pass."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from dualflow.core.op import Op, bind
from dualflow.core.tensor import Tensor
from dualflow.ops.arrange import stack
from dualflow.ops.shape import moveaxis
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
