"""Losses as modules: settings in the constructor, prediction and target in the call."""

from __future__ import annotations

from typing import Any

from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable
from dualflow.nn import functional as F  # noqa: N812
from dualflow.nn.module import Module


class Loss(Module):
    """What losses share.

    Args:
        reduction: "mean" or "sum" over all examples, or "none" for one loss each.
    """

    reductions = ("mean", "sum", "none")

    def __init__(self, reduction: str = "mean") -> None:
        if reduction not in self.reductions:
            words = ", ".join(self.reductions)
            raise ValueError(f"{type(self).__name__}: reduction={reduction!r}, not one of {words}")
        self.reduction = reduction

    def extra_repr(self) -> str:
        return "" if self.reduction == "mean" else f"reduction={self.reduction!r}"


class MSELoss(Loss):
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


class L1Loss(Loss):
    """Mean of absolute differences.

    Args:
        reduction: "mean", "sum" or "none".
    """

    def forward(self, x: Any, target: Any) -> Tensor:
        """Two tensors of one shape -> the loss."""
        return F.l1_loss(x, target, reduction=self.reduction)


class CrossEntropyLoss(Loss):
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


class BCEWithLogitsLoss(Loss):
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


class NLLLoss(Loss):
    """Minus the log-probabilities of classes.

    Args:
        weight: Factor of the loss for each class, or None.
        ignore_index: The class whose examples do not count.
        reduction: "mean", "sum" or "none".
    """

    def __init__(
        self,
        weight: Any = None,
        ignore_index: int = -100,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction)
        self.weight = constant(weight)
        self.ignore_index = ignore_index

    def forward(self, x: Any, target: Any) -> Tensor:
        """Log-probabilities (n, classes) and classes (n,) -> the loss."""
        return F.nll_loss(
            x, target, weight=self.weight, ignore_index=self.ignore_index, reduction=self.reduction
        )


class BCELoss(Loss):
    """Binary cross-entropy of probabilities against probabilities.

    Args:
        weight: Factor of the losses, broadcast against the target, or None.
        reduction: "mean", "sum" or "none".
    """

    def __init__(
        self,
        weight: Any = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction)
        self.weight = constant(weight)

    def forward(self, x: Any, target: Any) -> Tensor:
        """Two tensors of one shape -> the loss."""
        return F.binary_cross_entropy(x, target, weight=self.weight, reduction=self.reduction)


class HuberLoss(Loss):
    """Half the squared difference near the target, and a straight line far from it.

    Args:
        reduction: "mean", "sum" or "none".
        delta: Where the one becomes the other.
    """

    def __init__(
        self,
        reduction: str = "mean",
        delta: float = 1.0,
    ) -> None:
        super().__init__(reduction)
        self.delta = delta

    def forward(self, x: Any, target: Any) -> Tensor:
        """Two tensors of one shape -> the loss."""
        return F.huber_loss(x, target, reduction=self.reduction, delta=self.delta)


class SmoothL1Loss(Loss):
    """Mean of absolute differences, with a bend near 0 (Girshick, 2015).

    Args:
        reduction: "mean", "sum" or "none".
        beta: Where the bend begins.
    """

    def __init__(
        self,
        reduction: str = "mean",
        beta: float = 1.0,
    ) -> None:
        super().__init__(reduction)
        self.beta = beta

    def forward(self, x: Any, target: Any) -> Tensor:
        """Two tensors of one shape -> the loss."""
        return F.smooth_l1_loss(x, target, reduction=self.reduction, beta=self.beta)


class KLDivLoss(Loss):
    """The divergence of Kullback and Leibler of log-probabilities from probabilities.

    Args:
        reduction: "batchmean" (the sum, by the first extent), "mean", "sum" or "none".
        log_target: Whether the target holds log-probabilities.
    """

    reductions = ("batchmean", "mean", "sum", "none")

    def __init__(
        self,
        reduction: str = "mean",
        log_target: bool = False,  # noqa: FBT001, FBT002 - PyTorch's position
    ) -> None:
        super().__init__(reduction)
        self.log_target = log_target

    def forward(self, x: Any, target: Any) -> Tensor:
        """Two tensors of one shape -> the loss."""
        return F.kl_div(x, target, reduction=self.reduction, log_target=self.log_target)


class PoissonNLLLoss(Loss):
    """-log of the probability of counts under Poisson distributions.

    Args:
        log_input: Whether predictions are logarithms of expected counts.
        full: Add Stirling's approximation of the term without predictions.
        eps: Added before logarithms are taken.
        reduction: "mean", "sum" or "none".
    """

    def __init__(
        self,
        log_input: bool = True,  # noqa: FBT001, FBT002 - PyTorch's position
        full: bool = False,  # noqa: FBT001, FBT002 - PyTorch's position
        eps: float = 1e-8,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction)
        self.log_input = log_input
        self.full = full
        self.eps = eps

    def forward(self, x: Any, target: Any) -> Tensor:
        """Two tensors of one shape -> the loss."""
        return F.poisson_nll_loss(
            x,
            target,
            log_input=self.log_input,
            full=self.full,
            eps=self.eps,
            reduction=self.reduction,
        )


class GaussianNLLLoss(Loss):
    """-log of the density of targets under normal distributions.

    Args:
        full: Add the constant term.
        eps: The smallest variance.
        reduction: "mean", "sum" or "none".
    """

    def __init__(
        self,
        *,
        full: bool = False,
        eps: float = 1e-6,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction)
        self.full = full
        self.eps = eps

    def forward(self, x: Any, target: Any, var: Any) -> Tensor:
        """Means, targets and variances -> the loss."""
        return F.gaussian_nll_loss(
            x, target, var, full=self.full, eps=self.eps, reduction=self.reduction
        )


class CTCLoss(Loss):
    """-log of the probability of all alignments (Graves et al., 2006).

    Args:
        blank: The label of no label.
        reduction: "mean", "sum" or "none".
        zero_infinity: Targets that do not fit cost 0, not infinity.
    """

    def __init__(
        self,
        blank: int = 0,
        reduction: str = "mean",
        zero_infinity: bool = False,  # noqa: FBT001, FBT002 - PyTorch's position
    ) -> None:
        super().__init__(reduction)
        self.blank = blank
        self.zero_infinity = zero_infinity

    def forward(
        self, log_probs: Any, targets: Any, input_lengths: Any, target_lengths: Any
    ) -> Tensor:
        """(time, n, classes), labels (n, length), and both lengths (n,) -> the loss."""
        return F.ctc_loss(
            log_probs,
            targets,
            input_lengths,
            target_lengths,
            blank=self.blank,
            reduction=self.reduction,
            zero_infinity=self.zero_infinity,
        )


def constant(value: Any) -> Variable | None:
    """A buffer with these values, or None."""
    return None if value is None else Variable(value, trainable=False)
