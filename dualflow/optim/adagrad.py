"""Adagrad and Adadelta: a learning rate for each element, from the gradients it has had."""

from __future__ import annotations

from typing import Any

from dualflow.core.define import composite
from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable
from dualflow.ops.create import full_like
from dualflow.ops.elementwise import astype
from dualflow.ops.power import sqrt
from dualflow.ops.updates import check_shapes, decayed
from dualflow.optim.base import ParamGroup, Params, RuleOptimizer, non_negative, shares
from jit.types import float64


@composite(tensors=5, accepts=None, public=False)
def adagrad_update(
    p: Any,
    g: Any,
    total: Any,
    step: Any,
    lr: Any,
    /,
    *,
    lr_decay: float,
    weight_decay: float,
    eps: float,
) -> tuple[Tensor, Tensor]:
    """The new parameter and sum of squares."""
    check_shapes("adagrad_update", p, g=g, total=total)
    g = decayed(g, p, weight_decay)
    age = astype(step, float64) - 1.0
    rate = astype(astype(lr, float64) / (1.0 + age * lr_decay), p.dtype)
    total = total + g * g
    return p - rate * g / (sqrt(total) + eps), total


class Adagrad(RuleOptimizer):
    """Gradients divided by the root of the sum of their squares (Duchi et al., 2011).

    Args:
        params: Variables, or dicts with "params" and settings of their own.
        lr: Learning rate.
        lr_decay: Step k has the learning rate `lr / (1 + (k - 1) * lr_decay)`.
        weight_decay: Factor of the parameters that is added to their gradients.
        initial_accumulator_value: Where the sums start.
        eps: Added to the denominator.
    """

    def __init__(
        self,
        params: Params = None,
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
    ) -> None:
        settings = {"lr_decay": lr_decay, "weight_decay": weight_decay, "eps": eps}
        start = {"initial_accumulator_value": initial_accumulator_value}
        non_negative("Adagrad", lr=lr, **settings, **start)
        super().__init__(params, {"lr": lr, **settings, **start})

    def slots(self, group: ParamGroup) -> tuple[str, ...]:
        """The sum of squares."""
        return ("sum",)

    def init_state(self, parameter: Variable, group: ParamGroup) -> dict[str, Variable]:
        """The sum starts where the settings say."""
        state = super().init_state(parameter, group)
        state["sum"].assign(full_like(parameter, group["initial_accumulator_value"]))
        return state

    def rule(
        self, p: Variable, g: Tensor, running: list[Variable], step: Variable, group: ParamGroup
    ) -> tuple[Tensor, ...]:
        """See `adagrad_update`."""
        settings = {k: group[k] for k in ("lr_decay", "weight_decay", "eps")}
        return adagrad_update(p, g, *running, step, group["lr"], **settings)


@composite(tensors=5, accepts=None, public=False)
def adadelta_update(
    p: Any, g: Any, v: Any, moved: Any, lr: Any, /, *, rho: float, eps: float, weight_decay: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The new parameter, and means of squared gradients and squared steps."""
    check_shapes("adadelta_update", p, g=g, v=v, moved=moved)
    g = decayed(g, p, weight_decay)
    v = rho * v + (1.0 - rho) * g * g
    step = sqrt(moved + eps) / sqrt(v + eps) * g
    moved = rho * moved + (1.0 - rho) * step * step
    return p - astype(lr, p.dtype) * step, v, moved


class Adadelta(RuleOptimizer):
    """Steps in the unit of the parameters, without a learning rate of their own (Zeiler, 2012).

    Args:
        params: Variables, or dicts with "params" and settings of their own.
        lr: Factor of the steps.
        rho: How much of the running means is kept.
        eps: Added under both roots.
        weight_decay: Factor of the parameters that is added to their gradients.
    """

    def __init__(
        self,
        params: Params = None,
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
    ) -> None:
        non_negative("Adadelta", lr=lr, eps=eps, weight_decay=weight_decay)
        shares("Adadelta", rho=rho)
        settings = {"rho": rho, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {"lr": lr, **settings})

    def slots(self, group: ParamGroup) -> tuple[str, ...]:
        """Means of squared gradients and of squared steps."""
        return ("square_avg", "acc_delta")

    def rule(
        self, p: Variable, g: Tensor, running: list[Variable], step: Variable, group: ParamGroup
    ) -> tuple[Tensor, ...]:
        """See `adadelta_update`."""
        settings = {k: group[k] for k in ("rho", "eps", "weight_decay")}
        return adadelta_update(p, g, *running, group["lr"], **settings)
