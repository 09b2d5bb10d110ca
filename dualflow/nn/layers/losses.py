"""Losses as modules: settings in the constructor, prediction and target in the call."""

from __future__ import annotations

from typing import Any

from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable
from dualflow.nn import functional as F  # noqa: N812
from dualflow.nn.module import Module


class _Loss(Module):
    """What losses share.

    Args:
        reduction: "mean" or "sum" over all examples, or "none" for one loss each.
    """

    def __init__(self, reduction: str = "mean") -> None:
        if reduction not in ("mean", "sum", "none"):
            raise ValueError(f"{type(self).__name__}: reduction={reduction!r}: mean, sum or none")
        self.reduction = reduction

    def extra_repr(self) -> str:
        return "" if self.reduction == "mean" else f"reduction={self.reduction!r}"


class MSELoss(_Loss):
    """Mean of squared differences.

    Args:
        reduction: "mean", "sum" or "none".

    Example:
        >>> import dualflow as df
        >>> df.nn.MSELoss()(df.asarray([1.0, 3.0]), df.asarray([1.0, 1.0])).item()
        2.0
    """

    def forward(self, x: Any, target: Any) -> Tensor:
        """Two tensors of one shape -> the loss."""
        return F.mse_loss(x, target, reduction=self.reduction)


class L1Loss(_Loss):
    """Mean of absolute differences.

    Args:
        reduction: "mean", "sum" or "none".
    """

    def forward(self, x: Any, target: Any) -> Tensor:
        """Two tensors of one shape -> the loss."""
        return F.l1_loss(x, target, reduction=self.reduction)


class CrossEntropyLoss(_Loss):
    """Cross-entropy of the softmax of logits against classes.

    Args:
        weight: Factor of the loss for each class, or None.
        ignore_index: The class whose examples do not count.
        reduction: "mean", "sum" or "none".
        label_smoothing: Share of the target that is spread over all classes.

    Example:
        >>> import dualflow as df
        >>> loss = df.nn.CrossEntropyLoss()(df.zeros((2, 4)), df.asarray([0, 3]))
        >>> f"{loss.item():.4f}"
        '1.3863'
    """

    def __init__(
        self,
        weight: Any = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(reduction)
        self.weight = constant(weight)
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing

    def forward(self, x: Any, target: Any) -> Tensor:
        """Logits (n, classes) and classes (n,) -> the loss."""
        return F.cross_entropy(
            x, target, self.weight, self.ignore_index, self.reduction, self.label_smoothing
        )


class BCEWithLogitsLoss(_Loss):
    """Binary cross-entropy of the sigmoid of logits against probabilities.

    Args:
        weight: Factor of the losses, broadcast against the target, or None.
        reduction: "mean", "sum" or "none".
        pos_weight: Factor of the positive examples' losses, likewise.
    """

    def __init__(self, weight: Any = None, reduction: str = "mean", pos_weight: Any = None) -> None:
        super().__init__(reduction)
        self.weight = constant(weight)
        self.pos_weight = constant(pos_weight)

    def forward(self, x: Any, target: Any) -> Tensor:
        """Two tensors of one shape -> the loss."""
        return F.binary_cross_entropy_with_logits(
            x, target, self.weight, self.pos_weight, self.reduction
        )


def constant(value: Any) -> Variable | None:
    """A buffer with these values, or None."""
    return None if value is None else Variable(value, trainable=False)
