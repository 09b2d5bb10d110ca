"""Sets: the different elements of a tensor, and membership.

How many different elements there are depends on the values: a recorded call guards on their number.
"""

from __future__ import annotations

from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np

from dualflow.core.batching import one_by_one
from dualflow.core.convert import as_tensor
from dualflow.core.devices import placed
from dualflow.core.doors import meet_as_tensors
from dualflow.core.op import Op, bind
from dualflow.core.registry import api
from dualflow.core.tensor import Tensor
from dualflow.ops.arrange import concat
from dualflow.ops.choice import minimum
from dualflow.ops.create import full_like, zeros_like
from dualflow.ops.elementwise import logical_not
from dualflow.ops.gather import nonzero, scatter, take
from dualflow.ops.scan import running_sum
from dualflow.ops.shape import reshape
from dualflow.ops.sort import COUNTED, argsorted, place_among, searchsorted, sort
from dualflow.ops.stable import comparable
from jit.errors import DTypeError
from jit.types import TensorType, bool_, int64, kind, product


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
        places = places or kind(x.dtype) == "complex"
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


# ----- membership -----

SPREAD = 8  # entries of a table for each element that is looked for or at, up to which one is made


def _isin_evaluate(xp: Any, x: Any, among: Any) -> Any:
    if among.size == 0:
        return xp.zeros(x.shape, bool)
    if kind(x.dtype) == "complex":  # they have no order to search by
        return np.isin(x, among) if xp is np else (x[..., None] == among).any(axis=-1)
    if xp is np and x.dtype.kind in "biu":
        lo, hi = int(among.min()), int(among.max())
        if hi - lo <= SPREAD * (x.size + among.size):
            return _in_table(x, among, lo, hi)
    x, ordered = comparable(x), xp.sort(comparable(among))
    place = xp.minimum(xp.searchsorted(ordered, x), ordered.size - 1)
    return ordered[place] == x


def _in_table(x: Any, among: Any, lo: int, hi: int) -> Any:
    """The same for integers, by a table of all from `lo` to `hi`; a last entry is for the others.

    Counted from `lo` in unsigned numbers, smaller ones come after all larger ones.
    """
    unsigned, span = np.dtype(f"u{x.dtype.itemsize}"), hi - lo
    most = 2 ** (8 * unsigned.itemsize) - 1
    start = np.array([lo % (most + 1)], unsigned)
    table = np.zeros(span + 2, bool)
    table[(among.view(unsigned) - start).astype(np.intp)] = True
    at = x.reshape(-1).view(unsigned) - start
    if span < most:
        np.minimum(at, unsigned.type(span + 1), out=at)
    at = at.view(np.intp) if at.itemsize == np.dtype(np.intp).itemsize else at.astype(np.intp)
    return table.take(at, mode="clip").reshape(x.shape)


def _isin_type(x: TensorType, among: TensorType) -> TensorType:
    if x.dtype != among.dtype or among.ndim != 1:
        raise DTypeError(f"isin: does not look for {x} in {among}", "one dtype, a vector", "")
    return x.with_dtype(bool_)


def _isin_lower(form: Any, x: Any, among: Any) -> Any:
    """Few elements are compared with each; more integers may have a table."""
    (count,), shape = among.shape, tuple(x.shape)
    if not isinstance(count, int) or kind(x.dtype) == "complex":
        type_ = TensorType(shape, bool_)
        return form.extern("isin", (x, among), type_, partial(_isin_evaluate, np))
    if count <= COUNTED:
        found = form.constant(value=False, dtype=bool_, shape=shape)
        for k in range(count):
            key = form.view(among, shape, lambda *at, k=k: (k,))
            found = form.pointwise("logical_or", found, form.pointwise("equal", key, x))
        return found
    keys = form.extern("sort", (among,), TensorType((count,), x.dtype), _in_order)
    place = place_among(form, keys, x, partial(form.pointwise, "less"))
    place = form.pointwise("minimum", place, form.constant(count - 1, int64))
    near = form.view(keys, shape, lambda *at: (form.load(place, *at),), fill=0)
    return form.pointwise("equal", near, x)


def _in_order(x: Any) -> Any:
    return np.sort(comparable(x)).astype(x.dtype, copy=False)


_isin = Op(
    name="isin",
    evaluate=_isin_evaluate,
    infer=_isin_type,
    lower=_isin_lower,
    batch=lambda op, args, batched, attrs: (
        one_by_one(op, args, batched, attrs) if batched[1] else bind(op, args, attrs)
    ),
)


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
    among = reshape(x2, (-1,))
    found = _searched(x1, among) if _is_for_search(among) else bind(_isin, (x1, among), {})
    return logical_not(found) if invert else found


def _is_for_search(among: Tensor) -> bool:
    """Whether there are so many floats that each element looks where it belongs among them."""
    (count,) = among.shape
    return kind(among.dtype) == "floating" and (not isinstance(count, int) or count > COUNTED)


def _searched(x: Tensor, among: Tensor) -> Tensor:
    keys = sort(among)
    return take(keys, minimum(searchsorted(keys, x), among.shape[0] - 1)) == x
