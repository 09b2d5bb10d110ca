"""Sets: the different elements of a tensor, and membership.

How many different elements there are depends on the values: a recorded call guards on their number.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

from dualflow.core.convert import as_tensor
from dualflow.core.devices import placed
from dualflow.core.doors import meet_as_tensors
from dualflow.core.registry import api
from dualflow.core.tensor import Tensor
from dualflow.ops.arrange import concat
from dualflow.ops.choice import minimum
from dualflow.ops.create import full_like, zeros_like
from dualflow.ops.elementwise import logical_not
from dualflow.ops.gather import nonzero, scatter, take
from dualflow.ops.reduce import any
from dualflow.ops.scan import running_sum
from dualflow.ops.shape import reshape
from dualflow.ops.sort import argsorted, searchsorted, sort
from jit.types import bool_, int64, kind, product


class UniqueAllResult(NamedTuple):
    """What `unique_all` gives."""

    values: Tensor
    indices: Tensor
    inverse_indices: Tensor
    counts: Tensor


class UniqueCountsResult(NamedTuple):
    """What `unique_counts` gives."""

    values: Tensor
    counts: Tensor


class UniqueInverseResult(NamedTuple):
    """What `unique_inverse` gives."""

    values: Tensor
    inverse_indices: Tensor


class Groups:
    """Equal elements of a tensor, brought together.

    Args:
        x: Anything that makes a tensor.
        places: Whether it matters where elements stood.

    Attributes:
        shape: The shape of the tensor.
        ordered: The elements in the order of their values.
        first: Whether each is the first of its kind there.
        starts: The positions of the first ones.
    """

    def __init__(self, x: Any, *, places: bool) -> None:
        x = as_tensor(x)
        self.shape = x.shape
        self._flat = reshape(x, (-1,))
        places = places or kind(x.dtype) != "integer"  # equal integers cannot be told apart
        self.ordered = take(self._flat, self.order) if places else sort(self._flat)
        changes = self.ordered[1:] != self.ordered[:-1]
        self.first = concat([full_like(self.ordered[:1], fill_value=True, dtype=bool_), changes])
        (self.starts,) = nonzero(self.first)

    @cached_property
    def order(self) -> Tensor:
        """Where the elements stood, in the order of their values; equal ones in theirs."""
        return argsorted(self._flat, 0)

    @property
    def values(self) -> Tensor:
        """Each different element once, in rising order."""
        return take(self.ordered, self.starts)

    @property
    def indices(self) -> Tensor:
        """Where each different element stands first in the flattened tensor."""
        return take(self.order, self.starts)

    @property
    def counts(self) -> Tensor:
        """How often each different element occurs."""
        size = full_like(self.starts[:1], product(self.shape))
        ends = concat([self.starts[1:], size[: self.starts.shape[0]]])
        return ends - self.starts

    @property
    def inverse(self) -> Tensor:
        """For each element of the tensor, which of the different ones it is."""
        group = running_sum(self.first.astype(int64), 0) - 1
        back = scatter("set", zeros_like(self.order), group, (self.order,), (0,))
        return reshape(back, self.shape)


@api
def unique_values(x: Any, /) -> Tensor:
    """The different elements of a tensor.

    Args:
        x: Tensor of any shape and dtype. Each NaN differs from all others.

    Returns:
        Tensor of one dimension, in rising order.

    Example:
        >>> import dualflow as df
        >>> df.unique_values(df.asarray([3, 1, 3])).tolist()
        [1, 3]
    """
    return Groups(x, places=False).values


@api
def unique_counts(x: Any, /) -> UniqueCountsResult:
    """The different elements of a tensor, and how often each occurs.

    Args:
        x: Tensor of any shape and dtype. Each NaN differs from all others.

    Returns:
        Named tuple of `values`, in rising order, and `counts`, int64; both of one dimension.

    Example:
        >>> import dualflow as df
        >>> df.unique_counts(df.asarray([3, 1, 3])).counts.tolist()
        [1, 2]
    """
    groups = Groups(x, places=False)
    return UniqueCountsResult(groups.values, groups.counts)


@api
def unique_inverse(x: Any, /) -> UniqueInverseResult:
    """The different elements of a tensor, and which of them each element is.

    Args:
        x: Tensor of any shape and dtype. Each NaN differs from all others.

    Returns:
        Named tuple of `values`, of one dimension and in rising order, and `inverse_indices`, int64
        in the shape of `x`: `values[inverse_indices]` is `x`.

    Example:
        >>> import dualflow as df
        >>> df.unique_inverse(df.asarray([3, 1, 3])).inverse_indices.tolist()
        [1, 0, 1]
    """
    groups = Groups(x, places=True)
    return UniqueInverseResult(groups.values, groups.inverse)


@api
def unique_all(x: Any, /) -> UniqueAllResult:
    """The different elements of a tensor, where each stands first, which of them each element is.

    Args:
        x: Tensor of any shape and dtype. Each NaN differs from all others.

    Returns:
        Named tuple of `values`, in rising order; `indices`, their first places in the flattened
        tensor; `inverse_indices`, in the shape of `x`; and `counts`.

    Example:
        >>> import dualflow as df
        >>> df.unique_all(df.asarray([3, 1, 3])).indices.tolist()
        [1, 0]
    """
    groups = Groups(x, places=True)
    return UniqueAllResult(groups.values, groups.indices, groups.inverse, groups.counts)


@api
@placed
def isin(x1: Any, x2: Any, /, *, invert: bool = False) -> Tensor:
    """Whether each element of one tensor occurs in another.

    Args:
        x1: Tensor or number: what to look for.
        x2: Tensor or number: where to look; brought to one dtype with `x1`.
        invert: Tell whether it does not occur.

    Returns:
        Tensor of bools in the shape of `x1`. A NaN occurs nowhere.

    Raises:
        DTypeError: The two have no common dtype.

    Example:
        >>> import dualflow as df
        >>> df.isin(df.asarray([1, 2, 3]), df.asarray([3, 1])).tolist()
        [True, False, True]
    """
    x1, x2 = meet_as_tensors("isin", (x1, x2), "any")
    found = _occurs(x1, reshape(x2, (-1,)))
    return logical_not(found) if invert else found


def _occurs(x: Tensor, among: Tensor) -> Tensor:
    """Whether each element of `x` equals one of the vector `among`."""
    if among.shape[0] == 0:
        return zeros_like(x, dtype=bool_)
    if kind(x.dtype) == "complex":  # they have no order to search by
        return any(reshape(x, (*x.shape, 1)) == among, axis=-1)
    ordered = take(among, argsorted(among, 0))
    place = minimum(searchsorted(ordered, x), ordered.shape[0] - 1)
    return take(ordered, place) == x
