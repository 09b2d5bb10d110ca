"""Lion and LAMB: steps by the sign of the momentum, and steps as long as the layer allows."""

from __future__ import annotations

from typing import Any

from dualflow.core.define import composite
from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable
from dualflow.ops.choice import where
from dualflow.ops.elementwise import astype, sign
from dualflow.ops.power import pow, sqrt, square
from dualflow.ops.reduce import sum
from dualflow.ops.updates import check_shapes
from dualflow.optim.base import ParamGroup, Params, RuleOptimizer, non_negative, shares
from jit.types import float64


@composite(tensors=4, accepts=None, public=False)
def lion_update(
    p: Any, g: Any, m: Any, lr: Any, /, *, betas: tuple[float, float], weight_decay: float
) -> tuple[Tensor, Tensor]:
    """The new parameter and momentum."""
    check_shapes("lion_update", p, g=g, m=m)
    beta1, beta2 = betas
    rate = astype(lr, float64)
    kept = p * astype(1.0 - rate * weight_decay, p.dtype)
    direction = sign(beta1 * m + (1.0 - beta1) * g)
    return kept - astype(rate, p.dtype) * direction, beta2 * m + (1.0 - beta2) * g


class Lion(RuleOptimizer):
    """All elements move by the learning rate, along the sign of the momentum (Chen et al., 2023).

    Args:
        params: Variables, or dicts with "params" and settings of their own.
        lr: Learning rate; a third to a tenth of what Adam likes.
        betas: Weight of the momentum in the direction, and how much of it is kept.
        weight_decay: Each step multiplies the parameters by `1 - lr * weight_decay`.
    """

    def __init__(
        self,
        params: Params = None,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        non_negative("Lion", lr=lr, weight_decay=weight_decay)
        shares("Lion", beta1=betas[0], beta2=betas[1])
        settings = {"betas": tuple(betas), "weight_decay": weight_decay}
        super().__init__(params, {"lr": lr, **settings})

    def slots(self, group: ParamGroup) -> tuple[str, ...]:
        """The momentum."""
        return ("exp_avg",)

    def rule(
        self, p: Variable, g: Tensor, running: list[Variable], step: Variable, group: ParamGroup
    ) -> tuple[Tensor, ...]:
        """See `lion_update`."""
        settings = {k: group[k] for k in ("betas", "weight_decay")}
        return lion_update(p, g, *running, group["lr"], **settings)


@composite(tensors=6, accepts=None, public=False)
def lamb_update(
    p: Any,
    g: Any,
    m: Any,
    v: Any,
    step: Any,
    lr: Any,
    /,
    *,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """The new parameter and both means."""
    check_shapes("lamb_update", p, g=g, m=m, v=v)
    beta1, beta2 = betas
    count = astype(step, float64)
    m = m + (1.0 - beta1) * (g - m)
    v = beta2 * v + (1.0 - beta2) * g * g
    mean = m / astype(1.0 - pow(beta1, count), p.dtype)
    size = sqrt(v / astype(1.0 - pow(beta2, count), p.dtype)) + eps
    direction = mean / size + weight_decay * p
    length, extent = sqrt(sum(square(direction))), sqrt(sum(square(p)))
    known = (length > 0) & (extent > 0)
    trust = where(known, extent / where(known, length, 1.0), 1.0)
    return p - astype(lr, p.dtype) * trust * direction, m, v


class LAMB(RuleOptimizer):
    """Adam whose steps have the length of each parameter, for large batches (You et al., 2020).

    Args:
        params: Variables, or dicts with "params" and settings of their own.
        lr: Learning rate: the length of a step, relative to that of the parameter.
        betas: How much of the running means of gradients and of their squares is kept.
        eps: Added to the denominator.
        weight_decay: Factor of the parameters that is added to the direction.
    """

    def __init__(
        self,
        params: Params = None,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
    ) -> None:
        non_negative("LAMB", lr=lr, eps=eps, weight_decay=weight_decay)
        shares("LAMB", beta1=betas[0], beta2=betas[1])
        settings = {"betas": tuple(betas), "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {"lr": lr, **settings})

    def slots(self, group: ParamGroup) -> tuple[str, ...]:
        """Means of gradients and of their squares."""
        return ("exp_avg", "exp_avg_sq")

    def rule(
        self, p: Variable, g: Tensor, running: list[Variable], step: Variable, group: ParamGroup
    ) -> tuple[Tensor, ...]:
        """See `lamb_update`."""
        settings = {k: group[k] for k in ("betas", "eps", "weight_decay")}
        return lamb_update(p, g, *running, step, group["lr"], **settings)
