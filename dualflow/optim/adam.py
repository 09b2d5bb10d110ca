"""Adam, and AdamW, whose weight decay does not pass through the running means."""

from __future__ import annotations

from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable
from dualflow.ops.updates import adam_update
from dualflow.optim.base import Optimizer, ParamGroup, Params, non_negative, step_count, zeros_for


class Adam(Optimizer):
    """Adam (Kingma and Ba, 2015).

    Args:
        params: Variables, or dicts with "params" and settings of their own.
        lr: Learning rate.
        betas: How much of the running means of gradients and of their squares is kept.
        eps: Added to the denominator.
        weight_decay: Factor of the parameters that is added to their gradients.

    Example:
        >>> import dualflow as df
        >>> w = df.Variable([1.0, 2.0])
        >>> optimizer = df.optim.Adam([w], lr=0.5)
        >>> (w * w).sum().backward()
        >>> optimizer.step()
        >>> [round(x, 4) for x in w.tolist()]
        [0.5, 1.5]
    """

    decoupled = False

    def __init__(
        self,
        params: Params = None,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        name = type(self).__name__
        non_negative(name, lr=lr, eps=eps, weight_decay=weight_decay)
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"{name}: betas={betas} are not two numbers in [0, 1)")
        super().__init__(
            params, {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay}
        )

    def init_state(self, parameter: Variable, group: ParamGroup) -> dict[str, Variable]:
        """The number of steps and both running means."""
        return {
            "step": step_count(),
            "exp_avg": zeros_for(parameter),
            "exp_avg_sq": zeros_for(parameter),
        }

    def update(
        self, parameter: Variable, gradient: Tensor, state: dict[str, Variable], group: ParamGroup
    ) -> None:
        """One step; see `adam_update`."""
        m, v, step = state["exp_avg"], state["exp_avg_sq"], state["step"].assign_add(1)
        settings = {k: group[k] for k in ("betas", "eps", "weight_decay")}
        new, mean, square = adam_update(
            parameter, gradient, m, v, step, group["lr"], **settings, decoupled=self.decoupled
        )
        parameter.assign(new)
        m.assign(mean)
        v.assign(square)


class AdamW(Adam):
    """Adam whose weight decay acts on the parameters alone (Loshchilov and Hutter, 2019).

    Args:
        params: Variables, or dicts with "params" and settings of their own.
        lr: Learning rate.
        betas: How much of the running means of gradients and of their squares is kept.
        eps: Added to the denominator.
        weight_decay: Each step multiplies the parameters by `1 - lr * weight_decay`.
    """

    decoupled = True

    def __init__(
        self,
        params: Params = None,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay)
