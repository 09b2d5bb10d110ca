"""Adafactor: the mean of squares of a matrix kept as a row and a column."""

from __future__ import annotations

from typing import Any

import ml_dtypes

from dualflow.core.define import composite
from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable
from dualflow.ops.choice import maximum, minimum
from dualflow.ops.create import zeros
from dualflow.ops.elementwise import astype
from dualflow.ops.power import pow, sqrt, square
from dualflow.ops.reduce import sum
from dualflow.ops.statistics import mean
from dualflow.ops.updates import check_shapes
from dualflow.optim.base import (
    ParamGroup,
    Params,
    RuleOptimizer,
    non_negative,
    step_count,
    zeros_for,
)
from jit.types import float64


@composite(tensors=6, accepts=None, public=False)
def adafactor_update(
    p: Any,
    g: Any,
    row: Any,
    column: Any,
    step: Any,
    lr: Any,
    /,
    *,
    beta2_decay: float,
    eps: tuple[float | None, float],
    d: float,
    weight_decay: float,
) -> tuple[Tensor, ...]:
    """The new parameter, and the running means; of a vector `row` is the mean, `column` unread."""
    check_shapes("adafactor_update", p, g=g)
    eps1 = float(ml_dtypes.finfo(p.dtype).eps) if eps[0] is None else eps[0]
    count, rate = astype(step, float64), astype(lr, float64)
    fresh = astype(pow(count, beta2_decay), p.dtype)
    size = float(p.size) ** 0.5
    extent = astype(sqrt(sum(square(p))), float64) / size
    length = maximum(extent, eps[1]) * minimum(rate, 1.0 / sqrt(count))
    kept = p * astype(1.0 - rate * weight_decay, p.dtype) if weight_decay else p
    if g.ndim > 1:
        row = row + fresh * (mean(square(g), axis=-1, keepdims=True) - row)
        column = column + fresh * (mean(square(g), axis=-2, keepdims=True) - column)
        spread = row * column / maximum(mean(row, axis=-2, keepdims=True), eps1)
        running: tuple[Tensor, ...] = (row, column)
    else:
        row = row + fresh * (square(g) - row)
        spread, running = row, (row,)
    direction = g / sqrt(maximum(spread, eps1 * eps1))
    far = astype(sqrt(sum(square(direction))), float64) / (size * d)
    return (kept - astype(length / maximum(far, 1.0), p.dtype) * direction, *running)


class Adafactor(RuleOptimizer):
    """Adam's denominator from a row and a column for each matrix (Shazeer and Stern, 2018).

    Args:
        params: Variables, or dicts with "params" and settings of their own.
        lr: Learning rate, which is never above `1 / sqrt(step)`.
        beta2_decay: Exponent with which the weight of a new gradient falls.
        eps: The smallest denominator (the dtype's smallest step from 1 when None), and the
            smallest size of a parameter that steps are measured by.
        d: How much longer than usual a step may be.
        weight_decay: Each step multiplies the parameters by `1 - lr * weight_decay`.
    """

    def __init__(
        self,
        params: Params = None,
        lr: float = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
    ) -> None:
        non_negative("Adafactor", lr=lr, weight_decay=weight_decay, eps=min(eps[0] or 0, eps[1]))
        if beta2_decay > 0 or d < 1:
            raise ValueError(f"Adafactor: beta2_decay={beta2_decay} is above 0, or d={d} below 1")
        settings = {"beta2_decay": beta2_decay, "eps": tuple(eps), "d": d}
        super().__init__(params, {"lr": lr, **settings, "weight_decay": weight_decay})

    def init_state(self, parameter: Variable, group: ParamGroup) -> dict[str, Variable]:
        """A row and a column for each matrix; of a vector, the mean itself."""
        if parameter.ndim < 2:
            return {"step": step_count(), "variance": zeros_for(parameter)}
        *front, rows, columns = parameter.shape
        shapes = {"row_var": (*front, rows, 1), "col_var": (*front, 1, columns)}
        return {"step": step_count()} | {
            name: Variable(zeros(shape, dtype=parameter.dtype), trainable=False)
            for name, shape in shapes.items()
        }

    def rule(
        self, p: Variable, g: Tensor, running: list[Variable], step: Variable, group: ParamGroup
    ) -> tuple[Tensor, ...]:
        """See `adafactor_update`."""
        settings = {k: group[k] for k in ("beta2_decay", "eps", "d", "weight_decay")}
        return adafactor_update(p, g, running[0], running[-1], step, group["lr"], **settings)
