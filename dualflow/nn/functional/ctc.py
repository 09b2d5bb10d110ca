"""The loss of sequences whose alignment is not known (Graves and others, 2006)."""

from __future__ import annotations

import math
from typing import Any

from dualflow.core.convert import as_tensor
from dualflow.core.devices import placed
from dualflow.core.doors import meet
from dualflow.core.tensor import Tensor
from dualflow.ops.arrange import concat, stack
from dualflow.ops.basic import full
from dualflow.ops.choice import maximum, where
from dualflow.ops.create import arange, full_like
from dualflow.ops.elementwise import astype
from dualflow.ops.gather import take, take_along_axis
from dualflow.ops.losses import check_reduction
from dualflow.ops.reduce import sum
from dualflow.ops.scan import cumulative_sum
from dualflow.ops.shape import expand_dims, reshape
from dualflow.ops.special import logaddexp
from dualflow.ops.statistics import mean
from jit.errors import ShapeError
from jit.types import format_shape

IMPOSSIBLE = -1e30  # a logarithm of 0 whose differences are numbers: gradients must not be NaN


def ctc_loss(
    log_probs: Any,
    targets: Any,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: str = "mean",
    *,
    zero_infinity: bool = False,
) -> Tensor:
    """-log of the probability of all alignments of the targets with the inputs.

    Args:
        log_probs: Log-probabilities of shape (T, N, C), or (T, C).
        targets: Integer labels of shape (N, S), or all in one row, one example after the other.
        input_lengths: How many steps of each example count, of shape (N,) or ().
        target_lengths: How many labels of each example count, likewise.
        blank: The label of no label.
        reduction: "mean" (each divided by its number of labels), "sum", or "none".
        zero_infinity: Examples whose targets do not fit into their inputs cost 0, not infinity.

    Returns:
        Tensor of shape (), or (N,).

    Raises:
        ShapeError: The shapes do not belong together.
        ValueError: `reduction` is another word.

    Example:
        >>> import dualflow as df
        >>> even = df.nn.functional.log_softmax(df.zeros((3, 1, 2)), axis=-1)
        >>> targets = df.asarray([[1]])
        >>> loss = df.nn.functional.ctc_loss(even, targets, df.asarray([3]), df.asarray([1]))
        >>> round(df.exp(-loss).item(), 3)
        0.75
    """
    check_reduction("ctc_loss", reduction)
    (log_probs,) = meet("ctc_loss", (as_tensor(log_probs),), "floating")
    single = log_probs.ndim == 2
    if single:
        log_probs = expand_dims(log_probs, 1)
    lengths = reshape(as_tensor(target_lengths), (-1,))
    steps = reshape(as_tensor(input_lengths), (-1,))
    count = log_probs.shape[1] if log_probs.ndim == 3 else None
    if count is None or lengths.shape[0] != count or steps.shape[0] != count:
        raise ShapeError(
            f"ctc_loss: log_probs of shape {format_shape(log_probs.shape)}, "
            f"{steps.shape[0]} input lengths and {lengths.shape[0]} target lengths",
            "(T, N, C), and N lengths of each",
            "time comes first",
        )
    labels = in_rows(as_tensor(targets), lengths, count)
    losses = -total(log_probs, labels, steps, lengths, blank)
    far = losses > -IMPOSSIBLE / 2
    losses = where(far, 0.0 if zero_infinity else math.inf, losses)
    if reduction == "mean":
        return mean(losses / astype(maximum(lengths, 1), losses.dtype))
    if reduction == "sum":
        return sum(losses)
    return reshape(losses, ()) if single else losses


@placed
def in_rows(targets: Tensor, lengths: Tensor, count: Any) -> Tensor:
    """Labels of shape (N, S), whether they come so or all in one row."""
    if targets.ndim == 2 or count == 1:
        return reshape(targets, (count, -1))
    start = cumulative_sum(lengths, axis=0) - lengths
    widest = targets.shape[0]  # no example has more labels than there are
    at = expand_dims(start, 1) + arange(widest)
    return take(targets, where(at < widest, at, widest - 1), axis=0)


@placed
def total(log_probs: Tensor, labels: Tensor, steps: Tensor, lengths: Tensor, blank: int) -> Tensor:
    """The logarithm of the sum over all alignments, for each example.

    `alpha[s]` sums the ways that end, after some steps, at place s of the labels with blanks
    between and around them. A way stays, goes on by one place, or leaves out a blank between two
    different labels.
    """
    count, longest = labels.shape
    gaps = full_like(labels, blank)
    places = reshape(stack([gaps, labels], axis=-1), (count, 2 * longest))
    places = concat([places, gaps[:, :1]], axis=1)
    width = 2 * longest + 1
    never = full((count, 2), IMPOSSIBLE, dtype=log_probs.dtype)
    skips = (places[:, 2:] != blank) & (places[:, 2:] != places[:, :-2])
    first = arange(width) < 2
    emitted = take_along_axis(log_probs[0], places, axis=1)
    alpha = where(first, emitted, IMPOSSIBLE)
    for t in range(1, log_probs.shape[0]):
        emitted = take_along_axis(log_probs[t], places, axis=1)
        stepped = logaddexp(alpha, concat([never[:, :1], alpha[:, :-1]], axis=1))
        jumped = concat([never, where(skips, alpha[:, :-2], IMPOSSIBLE)], axis=1)
        now = maximum(logaddexp(stepped, jumped) + emitted, IMPOSSIBLE)
        alpha = where(expand_dims(t < steps, 1), now, alpha)
    last = take_along_axis(alpha, expand_dims(2 * lengths, 1), axis=1)
    before = take_along_axis(alpha, expand_dims(maximum(2 * lengths - 1, 0), 1), axis=1)
    both = where(expand_dims(lengths > 0, 1), logaddexp(last, before), last)
    return reshape(both, (count,))


__all__ = ["ctc_loss"]
