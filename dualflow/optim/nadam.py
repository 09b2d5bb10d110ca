"""NAdam and RAdam: Adam with Nesterov's momentum, and Adam that begins carefully."""

from __future__ import annotations

from typing import Any

from dualflow.core.define import composite
from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable
from dualflow.ops.choice import maximum, where
from dualflow.ops.elementwise import astype
from dualflow.ops.power import pow, sqrt
from dualflow.ops.updates import check_shapes, decayed
from dualflow.optim.base import ParamGroup, Params, RuleOptimizer, non_negative, shares
from jit.types import float64


@composite(tensors=7, accepts=None, public=False)
def nadam_update(
    p: Any,
    g: Any,
    m: Any,
    v: Any,
    product: Any,
    step: Any,
    lr: Any,
    /,
    *,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    momentum_decay: float,
    decoupled_weight_decay: bool,
) -> tuple[Tensor, ...]:
    """The new parameter, both means, and the product of the momenta so far."""
    check_shapes("nadam_update", p, g=g, m=m, v=v)
    beta1, beta2 = betas
    count, rate = astype(step, float64), astype(lr, float64)
    if decoupled_weight_decay:
        p = p * astype(1.0 - rate * weight_decay, p.dtype)
    else:
        g = decayed(g, p, weight_decay)
    now = beta1 * (1.0 - 0.5 * pow(0.96, count * momentum_decay))
    following = beta1 * (1.0 - 0.5 * pow(0.96, (count + 1.0) * momentum_decay))
    product = product * now
    m = m + (1.0 - beta1) * (g - m)
    v = beta2 * v + (1.0 - beta2) * g * g
    size = sqrt(v / astype(1.0 - pow(beta2, count), p.dtype)) + eps
    of_g = astype(rate * (1.0 - now) / (1.0 - product), p.dtype)
    of_m = astype(rate * following / (1.0 - product * following), p.dtype)
    return p - of_g * g / size - of_m * m / size, m, v, product


@composite(tensors=6, accepts=None, public=False)
def radam_update(
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
    decoupled_weight_decay: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """The new parameter and both means."""
    check_shapes("radam_update", p, g=g, m=m, v=v)
    beta1, beta2 = betas
    count, rate = astype(step, float64), astype(lr, float64)
    if decoupled_weight_decay:
        p = p * astype(1.0 - rate * weight_decay, p.dtype)
    else:
        g = decayed(g, p, weight_decay)
    m = m + (1.0 - beta1) * (g - m)
    v = beta2 * v + (1.0 - beta2) * g * g
    left = 1.0 - pow(beta2, count)
    longest = 2.0 / (1.0 - beta2) - 1.0
    length = longest - 2.0 * count * pow(beta2, count) / left
    known = length > 5.0  # whether the mean of squares says anything yet
    safe = maximum(length, 5.0)
    share = (safe - 4.0) * (safe - 2.0) * longest
    rectified = sqrt(share / ((longest - 4.0) * (longest - 2.0) * safe))
    scale = astype(where(known, sqrt(left) * rectified, 1.0), p.dtype)
    divisor = where(known, sqrt(v) + eps, 1.0)
    size = astype(rate / (1.0 - pow(beta1, count)), p.dtype)
    return p - size * m * scale / divisor, m, v


class _Rectified(RuleOptimizer):
    """What both share: two running means, and weight decay of either kind."""

    def check(
        self, lr: float, betas: tuple[float, float], eps: float, weight_decay: float
    ) -> dict[str, Any]:
        """The settings both have, checked."""
        name = type(self).__name__
        non_negative(name, lr=lr, eps=eps, weight_decay=weight_decay)
        shares(name, beta1=betas[0], beta2=betas[1])
        return {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay}

    def slots(self, group: ParamGroup) -> tuple[str, ...]:
        """Means of gradients and of their squares."""
        return ("exp_avg", "exp_avg_sq")


class NAdam(_Rectified):
    """Adam with Nesterov's momentum (Dozat, 2016).

    Args:
        params: Variables, or dicts with "params" and settings of their own.
        lr: Learning rate.
        betas: How much of the running means of gradients and of their squares is kept.
        eps: Added to the denominator.
        weight_decay: Factor of the parameters that is added to their gradients.
        momentum_decay: How quickly the momentum grows to its full size.
        decoupled_weight_decay: Let weight decay act on the parameters alone, as in AdamW.
    """

    def __init__(
        self,
        params: Params = None,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,  # noqa: FBT001, FBT002 - PyTorch's position
    ) -> None:
        settings = self.check(lr, betas, eps, weight_decay)
        settings |= {"momentum_decay": momentum_decay}
        super().__init__(params, {**settings, "decoupled_weight_decay": decoupled_weight_decay})

    def init_state(self, parameter: Variable, group: ParamGroup) -> dict[str, Variable]:
        """Also the product of the momenta so far."""
        product = Variable(1.0, float64, trainable=False)
        return {**super().init_state(parameter, group), "mu_product": product}

    def rule(
        self, p: Variable, g: Tensor, running: list[Variable], step: Variable, group: ParamGroup
    ) -> tuple[Tensor, ...]:
        """See `nadam_update`."""
        words = ("betas", "eps", "weight_decay", "momentum_decay", "decoupled_weight_decay")
        settings = {k: group[k] for k in words}
        return nadam_update(p, g, *running, step, group["lr"], **settings)


class RAdam(_Rectified):
    """Adam that goes without the mean of squares until that is worth something (Liu et al., 2020).

    Args:
        params: Variables, or dicts with "params" and settings of their own.
        lr: Learning rate.
        betas: How much of the running means of gradients and of their squares is kept.
        eps: Added to the denominator.
        weight_decay: Factor of the parameters that is added to their gradients.
        decoupled_weight_decay: Let weight decay act on the parameters alone, as in AdamW.
    """

    def __init__(
        self,
        params: Params = None,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = False,  # noqa: FBT001, FBT002 - PyTorch's position
    ) -> None:
        settings = self.check(lr, betas, eps, weight_decay)
        super().__init__(params, {**settings, "decoupled_weight_decay": decoupled_weight_decay})

    def rule(
        self, p: Variable, g: Tensor, running: list[Variable], step: Variable, group: ParamGroup
    ) -> tuple[Tensor, ...]:
        """See `radam_update`."""
        words = ("betas", "eps", "weight_decay", "decoupled_weight_decay")
        return radam_update(p, g, *running, step, group["lr"], **{k: group[k] for k in words})
