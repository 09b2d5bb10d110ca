"""Sequences of different lengths, for recurrent layers.

PyTorch packs them without padding, in an order of its own. Here they stay padded, and their lengths
go with them: lengths are data, so a compiled step serves all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from dualflow.core.convert import as_tensor
from dualflow.core.devices import placed
from dualflow.core.tensor import Tensor
from dualflow.ops.arrange import stack
from dualflow.ops.choice import where
from dualflow.ops.create import arange
from dualflow.ops.shape import moveaxis, reshape
from dualflow.ops.slicing import pad
from jit.errors import ShapeError
from jit.types import format_shape, kind


class PackedSequence(NamedTuple):
    """Padded sequences and their lengths.

    Attributes:
        data: Tensor of shape (time, n, ...).
        lengths: Integers of shape (n,).
    """

    data: Tensor
    lengths: Tensor

    def with_data(self, data: Tensor) -> PackedSequence:
        """Other values of the same lengths, such as outputs of a layer."""
        return PackedSequence(data, self.lengths)


def pack_padded_sequence(
    x: Any,
    lengths: Any,
    batch_first: bool = False,  # noqa: FBT001, FBT002 - PyTorch's position
    enforce_sorted: bool = False,  # noqa: FBT001, FBT002
) -> PackedSequence:
    """Padded sequences and their lengths as one argument of a recurrent layer.

    Args:
        x: Tensor of shape (time, n, ...), or (n, time, ...).
        lengths: Integers of shape (n,), in any order.
        batch_first: `x` is (n, time, ...).
        enforce_sorted: Has no effect: no order is needed.

    Raises:
        ShapeError: There are more or fewer lengths than sequences.
    """
    x, lengths = as_tensor(x), as_tensor(lengths)
    data = moveaxis(x, 0, 1) if batch_first else x
    if lengths.shape != data.shape[1:2]:
        raise ShapeError(
            f"pack_padded_sequence: {format_shape(x.shape)} with lengths of shape "
            f"{format_shape(lengths.shape)}",
            f"lengths of shape {format_shape(data.shape[1:2])}",
            "check batch_first",
        )
    return PackedSequence(data, lengths)


@placed
def pad_packed_sequence(
    sequence: PackedSequence,
    batch_first: bool = False,  # noqa: FBT001, FBT002 - PyTorch's position
    padding_value: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """The padded sequences and their lengths; the inverse of `pack_padded_sequence`.

    Args:
        sequence: What a recurrent layer returned.
        batch_first: Return (n, time, ...).
        padding_value: What stands behind the end of a sequence.

    Returns:
        Tensor of shape (time, n, ...) and integers of shape (n,).
    """
    data, lengths = sequence
    steps = reshape(arange(data.shape[0]), (-1, *(1,) * (data.ndim - 1)))
    inside = steps < reshape(lengths, (1, -1, *(1,) * (data.ndim - 2)))
    y = where(inside, data, padding_value)
    return (moveaxis(y, 0, 1) if batch_first else y), lengths


def pad_sequence(
    sequences: Sequence[Any],
    batch_first: bool = False,  # noqa: FBT001, FBT002 - PyTorch's position
    padding_value: float = 0.0,
) -> Tensor:
    """Sequences of different lengths as one tensor.

    Args:
        sequences: Tensors of shapes (time, ...), alike but for their times.
        batch_first: Return (n, time, ...).
        padding_value: What stands behind the end of a sequence.

    Returns:
        Tensor of shape (time, n, ...).

    Example:
        >>> import dualflow as df
        >>> df.nn.utils.rnn.pad_sequence([df.ones(2), df.ones(1)], batch_first=True).tolist()
        [[1.0, 1.0], [1.0, 0.0]]
    """
    tensors = [as_tensor(x) for x in sequences]
    longest = max(x.shape[0] for x in tensors)
    rows = [
        pad(
            x,
            ((0, longest - x.shape[0]), *((0, 0),) * (x.ndim - 1)),
            constant_values=padding_value if kind(x.dtype) == "floating" else int(padding_value),
        )
        for x in tensors
    ]
    return stack(rows, axis=0 if batch_first else 1)


def pack_sequence(sequences: Sequence[Any], enforce_sorted: bool = False) -> PackedSequence:  # noqa: FBT001, FBT002 - PyTorch's position
    """Sequences of different lengths as one argument of a recurrent layer.

    Args:
        sequences: Tensors of shapes (time, ...).
        enforce_sorted: Has no effect: no order is needed.
    """
    lengths = [as_tensor(x).shape[0] for x in sequences]
    return PackedSequence(pad_sequence(sequences), as_tensor(lengths))
