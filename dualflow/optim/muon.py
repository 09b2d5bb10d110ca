"""Muon: momentum whose singular values are made alike, for matrices."""

from __future__ import annotations

import math

from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable
from dualflow.ops.choice import maximum
from dualflow.ops.elementwise import astype
from dualflow.ops.linalg import matmul
from dualflow.ops.power import sqrt, square
from dualflow.ops.reduce import sum
from dualflow.ops.shape import matrix_transpose
from dualflow.optim.base import ParamGroup, Params, RuleOptimizer, non_negative
from jit.errors import ShapeError
from jit.types import float64, format_shape

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonal(
    x: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float
) -> Tensor:
    """A matrix with the singular vectors of `x` and singular values near 1 (Newton and Schulz)."""
    a, b, c = coefficients
    tall = x.shape[0] > x.shape[1]
    x = matrix_transpose(x) if tall else x
    x = x / maximum(sqrt(sum(square(x))), eps)
    for _ in range(steps):
        gram = matmul(x, matrix_transpose(x))
        x = a * x + matmul(b * gram + c * matmul(gram, gram), x)
    return matrix_transpose(x) if tall else x


class Muon(RuleOptimizer):
    """Steps along the orthogonal part of the momentum (Jordan, 2024); for matrices only.

    It computes in the dtype of the parameters, where PyTorch's takes bfloat16. Give the other
    parameters, and usually first and last layers, to another optimiser.

    Args:
        params: Variables of two dimensions, or dicts with "params" and settings of their own.
        lr: Learning rate.
        weight_decay: Each step multiplies the parameters by `1 - lr * weight_decay`.
        momentum: How much of the momentum is kept.
        nesterov: Use Nesterov's momentum.
        ns_coefficients: Of the polynomial that is iterated.
        eps: The smallest norm that is divided by.
        ns_steps: How often it is iterated.
        adjust_lr_fn: "original": steps grow with the ratio of rows to columns;
            "match_rms_adamw": they are as large as AdamW's, whose learning rates then suit.

    Raises:
        ShapeError: A parameter is no matrix.
    """

    def __init__(
        self,
        params: Params = None,
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,  # noqa: FBT001, FBT002 - PyTorch's position
        ns_coefficients: tuple[float, float, float] = COEFFICIENTS,
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:
        settings = {"weight_decay": weight_decay, "momentum": momentum, "eps": eps}
        non_negative("Muon", lr=lr, **settings)
        if adjust_lr_fn not in (None, "original", "match_rms_adamw"):
            raise ValueError(f"Muon: adjust_lr_fn={adjust_lr_fn!r}: original or match_rms_adamw")
        others = {"nesterov": nesterov, "ns_coefficients": tuple(ns_coefficients)}
        others |= {"ns_steps": ns_steps, "adjust_lr_fn": adjust_lr_fn}
        super().__init__(params, {"lr": lr, **settings, **others})

    def slots(self, group: ParamGroup) -> tuple[str, ...]:
        """The momentum."""
        return ("momentum_buffer",)

    def init_state(self, parameter: Variable, group: ParamGroup) -> dict[str, Variable]:
        """The momentum of a matrix."""
        if parameter.ndim != 2:
            raise ShapeError(
                f"Muon: {parameter.label()} has shape {format_shape(parameter.shape)}",
                "matrices",
                "give the others to AdamW",
            )
        return super().init_state(parameter, group)

    def rule(
        self, p: Variable, g: Tensor, running: list[Variable], step: Variable, group: ParamGroup
    ) -> tuple[Tensor, ...]:
        """The momentum moves towards the gradient; the parameter along its orthogonal part."""
        momentum = group["momentum"]
        buffer = running[0] + (1.0 - momentum) * (g - running[0])
        update = g + momentum * (buffer - g) if group["nesterov"] else buffer
        update = orthogonal(update, group["ns_coefficients"], group["ns_steps"], group["eps"])
        rows, columns = (int(n) for n in p.shape)
        ratio = math.sqrt(max(1, rows / columns))
        if group["adjust_lr_fn"] == "match_rms_adamw":
            ratio = 0.2 * math.sqrt(max(rows, columns))
        rate = astype(group["lr"], float64)
        kept = p * astype(1.0 - rate * group["weight_decay"], p.dtype)
        return kept - astype(rate * ratio, p.dtype) * update, buffer
