"""RMSprop: steps divided by the size of the last gradients."""

from __future__ import annotations

from typing import Any

from dualflow.core.define import composite
from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable
from dualflow.ops.elementwise import astype
from dualflow.ops.power import sqrt
from dualflow.ops.updates import check_shapes, decayed
from dualflow.optim.base import ParamGroup, Params, RuleOptimizer, non_negative


@composite(tensors=6, accepts=None, public=False)
def rmsprop_update(
    p: Any,
    g: Any,
    v: Any,
    buffer: Any,
    m: Any,
    lr: Any,
    /,
    *,
    alpha: float,
    eps: float,
    weight_decay: float,
    momentum: float,
    centered: bool,
) -> tuple[Tensor, ...]:
    """The new parameter, mean of squares, then momentum and mean where the settings need them."""
    check_shapes("rmsprop_update", p, g=g, v=v)
    g = decayed(g, p, weight_decay)
    rate = astype(lr, p.dtype)
    v = alpha * v + (1.0 - alpha) * g * g
    found = (v,)
    size = sqrt(v)
    if centered:
        m = m + (1.0 - alpha) * (g - m)
        size = sqrt(v - m * m)
        found = (v, m)
    step = g / (size + eps)
    if momentum:
        step = momentum * buffer + step
        found = (v, step, *found[1:])
    return (p - rate * step, *found)


class RMSprop(RuleOptimizer):
    """Gradients divided by the root of the running mean of their squares (Hinton, 2012).

    Args:
        params: Variables, or dicts with "params" and settings of their own.
        lr: Learning rate.
        alpha: How much of the running means is kept.
        eps: Added to the denominator.
        weight_decay: Factor of the parameters that is added to their gradients.
        momentum: Share of the last steps that is kept.
        centered: Divide by the spread about the mean (Graves, 2013).

    Example:
        >>> import dualflow as df
        >>> w = df.Variable([1.0])
        >>> optimizer = df.optim.RMSprop([w], lr=0.1, alpha=0.75)
        >>> (w * w).sum().backward()
        >>> optimizer.step()
        >>> round(w.item(), 4)
        0.8
    """

    def __init__(
        self,
        params: Params = None,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,  # noqa: FBT001, FBT002 - PyTorch's position
    ) -> None:
        settings = {"alpha": alpha, "eps": eps, "weight_decay": weight_decay, "momentum": momentum}
        non_negative("RMSprop", lr=lr, **settings)
        super().__init__(params, {"lr": lr, **settings, "centered": centered})

    def slots(self, group: ParamGroup) -> tuple[str, ...]:
        """The mean of squares, the momentum and the mean, as far as the settings need them."""
        momentum = ("momentum_buffer",) if group["momentum"] else ()
        return ("square_avg", *momentum, *(("grad_avg",) if group["centered"] else ()))

    def rule(
        self, p: Variable, g: Tensor, running: list[Variable], step: Variable, group: ParamGroup
    ) -> tuple[Tensor, ...]:
        """See `rmsprop_update`; what is not needed is not read."""
        named = dict(zip(self.slots(group), running))
        buffer, m = named.get("momentum_buffer", g), named.get("grad_avg", g)
        words = ("alpha", "eps", "weight_decay", "momentum", "centered")
        settings = {k: group[k] for k in words}
        return rmsprop_update(p, g, named["square_avg"], buffer, m, group["lr"], **settings)
