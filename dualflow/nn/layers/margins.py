"""Losses of distances, ranks and margins as modules, and the distances themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dualflow.core.tensor import Tensor
from dualflow.nn import functional as F  # noqa: N812
from dualflow.nn.layers.losses import Loss, constant
from dualflow.nn.module import Module


class SoftMarginLoss(Loss):
    """`log(1 + exp(-target * x))`, for targets of 1 and -1.

    Args:
        reduction: "mean", "sum" or "none".
    """

    def forward(self, x: Any, target: Any) -> Tensor:
        """Two tensors of one shape -> the loss."""
        return F.soft_margin_loss(x, target, reduction=self.reduction)


class HingeEmbeddingLoss(Loss):
    """Distances of pairs that belong together, and what others lack of a margin.

    Args:
        margin: How far pairs with the target -1 ought to be apart.
        reduction: "mean", "sum" or "none".
    """

    def __init__(
        self,
        margin: float = 1.0,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction)
        self.margin = margin

    def forward(self, x: Any, target: Any) -> Tensor:
        """Two tensors of one shape -> the loss."""
        return F.hinge_embedding_loss(x, target, margin=self.margin, reduction=self.reduction)


class MarginRankingLoss(Loss):
    """What the first lacks of ranking above the second by a margin.

    Args:
        margin: By how much they ought to differ.
        reduction: "mean", "sum" or "none".
    """

    def __init__(
        self,
        margin: float = 0.0,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction)
        self.margin = margin

    def forward(self, x1: Any, x2: Any, target: Any) -> Tensor:
        """Two ranks and 1 or -1 -> the loss."""
        return F.margin_ranking_loss(x1, x2, target, margin=self.margin, reduction=self.reduction)


class MultiMarginLoss(Loss):
    """How far other classes are within a margin of the right one.

    Args:
        p: 1, or 2 for squares.
        margin: How far ahead the right class ought to be.
        weight: A weight for each class, or None.
        reduction: "mean", "sum" or "none".
    """

    def __init__(
        self,
        p: int = 1,
        margin: float = 1.0,
        weight: Any = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction)
        self.p = p
        self.margin = margin
        self.weight = constant(weight)

    def forward(self, x: Any, target: Any) -> Tensor:
        """Scores (n, classes) and classes (n,) -> the loss."""
        return F.multi_margin_loss(
            x, target, p=self.p, margin=self.margin, weight=self.weight, reduction=self.reduction
        )


class MultiLabelMarginLoss(Loss):
    """How far wrong classes are within 1 of each right one.

    Args:
        reduction: "mean", "sum" or "none".
    """

    def forward(self, x: Any, target: Any) -> Tensor:
        """Scores and right classes, then -1, both (n, classes), -> the loss."""
        return F.multilabel_margin_loss(x, target, reduction=self.reduction)


class MultiLabelSoftMarginLoss(Loss):
    """Binary cross entropy of logits, the mean over classes.

    Args:
        weight: Factor of the loss of each class, or None.
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
        return F.multilabel_soft_margin_loss(
            x, target, weight=self.weight, reduction=self.reduction
        )


class TripletMarginLoss(Loss):
    """How far negatives are not farther from anchors than positives, by a margin.

    Args:
        margin: How much farther they ought to be.
        p: Exponent of the norm of differences.
        eps: Added to differences.
        swap: Also take the distance of negative and positive.
        reduction: "mean", "sum" or "none".
    """

    def __init__(
        self,
        margin: float = 1.0,
        p: float = 2.0,
        eps: float = 1e-6,
        swap: bool = False,  # noqa: FBT001, FBT002 - PyTorch's position
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction)
        self.margin = margin
        self.p = p
        self.eps = eps
        self.swap = swap

    def forward(self, anchor: Any, positive: Any, negative: Any) -> Tensor:
        """Three tensors (n, d) -> the loss."""
        return F.triplet_margin_loss(
            anchor,
            positive,
            negative,
            margin=self.margin,
            p=self.p,
            eps=self.eps,
            swap=self.swap,
            reduction=self.reduction,
        )


class CosineEmbeddingLoss(Loss):
    """1 - cosine of pairs that belong together, and cosines of those that do not.

    Args:
        margin: The cosine that costs nothing.
        reduction: "mean", "sum" or "none".
    """

    def __init__(
        self,
        margin: float = 0.0,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction)
        self.margin = margin

    def forward(self, x1: Any, x2: Any, target: Any) -> Tensor:
        """Two tensors (n, d) and 1 or -1 (n,) -> the loss."""
        return F.cosine_embedding_loss(x1, x2, target, margin=self.margin, reduction=self.reduction)


class TripletMarginWithDistanceLoss(Loss):
    """`TripletMarginLoss` with any distance.

    Args:
        distance_function: (x, y) -> distances; the norm of the difference when None.
        margin: How much farther negatives ought to be.
        swap: Also take the distance of negative and positive.
        reduction: "mean", "sum" or "none".
    """

    def __init__(
        self,
        *,
        distance_function: Callable[[Any, Any], Tensor] | None = None,
        margin: float = 1.0,
        swap: bool = False,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction)
        self.distance_function, self.margin, self.swap = distance_function, margin, swap

    def forward(self, anchor: Any, positive: Any, negative: Any) -> Tensor:
        """Three tensors (n, d) -> the loss."""
        return F.triplet_margin_with_distance_loss(
            anchor,
            positive,
            negative,
            distance_function=self.distance_function,
            margin=self.margin,
            swap=self.swap,
            reduction=self.reduction,
        )


class CosineSimilarity(Module):
    """The cosine of the angle between vectors.

    Args:
        axis: The axis along which they lie.
        eps: The smallest length that is divided by.
    """

    def __init__(self, axis: int = 1, eps: float = 1e-8) -> None:
        self.axis, self.eps = axis, eps

    def forward(self, x1: Any, x2: Any) -> Tensor:
        """Two tensors -> cosines, without the axis."""
        return F.cosine_similarity(x1, x2, self.axis, self.eps)


class PairwiseDistance(Module):
    """The norm of the difference of vectors along the last axis.

    Args:
        p: Exponent of the norm.
        eps: Added to differences.
        keepdims: Keep the axis with extent 1.
    """

    def __init__(
        self,
        p: float = 2.0,
        eps: float = 1e-6,
        keepdims: bool = False,  # noqa: FBT001, FBT002 - PyTorch's position
    ) -> None:
        self.p, self.eps, self.keepdims = p, eps, keepdims

    def forward(self, x1: Any, x2: Any) -> Tensor:
        """(..., d) twice -> (...)."""
        return F.pairwise_distance(x1, x2, self.p, self.eps, keepdims=self.keepdims)
