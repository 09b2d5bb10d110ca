"""Orders: arrays whose memory has the axes in another order, which kernels read as they are."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from jit.dataclass import dataclass
from jit.types import TensorType


@dataclass(frozen=True)
class Gaps:
    """How an array lies whose rows are parts of longer ones: in a larger array, from its start.

    Attributes:
        axes: By falling strides.
        part: Its extents in that order.
        whole: Those of the larger array, which nobody reads behind the last element.
    """

    axes: tuple[int, ...]
    part: tuple[int, ...]
    whole: tuple[int, ...]


Order = tuple[int, ...] | None  # the axes by falling strides; None: as they are
Layout = Order | Gaps


@dataclass(frozen=True)
class Whole:
    """What stands for the larger array where only shape and dtype count."""

    shape: tuple[int, ...]
    dtype: Any

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)


def order_of(x: Any) -> Order:
    """The axes by falling strides, if in that order nothing lies between the elements."""
    flags = x.flags
    if flags.c_contiguous or not getattr(flags, "aligned", True):  # CuPy's have no such flag
        return None
    if flags.f_contiguous:
        return (*range(x.ndim - 1, -1, -1),)
    axes = tuple(sorted(range(x.ndim), key=lambda k: -x.strides[k]))
    return axes if x.transpose(axes).flags.c_contiguous else None


def gaps_of(x: Any) -> Gaps | None:
    """How an array with gaps lies, if its innermost elements are side by side; else None."""
    shape, strides = x.shape, x.strides
    axes = sorted(range(x.ndim), key=lambda k: (shape[k] > 1, -strides[k]))
    wide = [k for k in axes if shape[k] > 1]
    if not wide or strides[wide[-1]] != x.dtype.itemsize:
        return None
    whole = dict.fromkeys(range(x.ndim), 1) | {wide[0]: shape[wide[0]]}
    for outer, inner in pairwise(wide):
        extent, rest = divmod(strides[outer], strides[inner])
        if rest or extent < shape[inner]:
            return None
        whole[inner] = extent
    return Gaps(tuple(axes), tuple([shape[k] for k in axes]), tuple([whole[k] for k in axes]))


def inverse(order: Sequence[int]) -> tuple[int, ...]:
    """The permutation that undoes another."""
    return tuple([order.index(k) for k in range(len(order))])


def in_order(type_: TensorType, order: Layout) -> TensorType:
    """The type of an argument whose array has its axes in another order."""
    if isinstance(order, Gaps):
        type_, order = type_.with_shape(order.part), order.axes
    return type_ if order is None else type_.with_shape([type_.shape[k] for k in inverse(order)])


def as_argument(graph: Any, value: Any, order: Layout, ops: Any) -> Any:
    """What an op is given, of the input for an array in an order.

    Args:
        graph: Gets the nodes that are needed.
        value: The input.
        order: How the array lies.
        ops: By their names.
    """
    if isinstance(order, Gaps):
        zeros, ones = [(n,) * value.type.ndim for n in (0, 1)]
        attrs = {"starts": zeros, "shape": order.part, "steps": ones}
        part = value.type.with_shape(order.part)
        (value,) = graph.add(ops["slice"], [value], attrs, (part,))
        order = order.axes
    if order is None:
        return value
    attrs, type_ = {"axes": inverse(order)}, in_order(value.type, order)
    (value,) = graph.add(ops["permute_dims"], [value], attrs, (type_,))
    return value


class Turned:
    """A call whose results lie in an order, as its arrays do.

    Attributes:
        at: The same for the addresses of arrays on a GPU; None where it needs arrays.
    """

    def __init__(self, call: Callable[..., Any], order: tuple[int, ...]) -> None:
        self._call, self._axes = call, inverse(order)
        of_addresses = getattr(call, "at", None)
        self.at = of_addresses and (lambda addresses: self._turned(of_addresses(addresses)))

    def __call__(self, *laid: Any) -> list[Any] | None:
        """The results, or None where an array does not fit."""
        return self._turned(self._call(*laid) or ()) or None

    def _turned(self, made: Sequence[Any]) -> list[Any]:
        return [y.transpose(self._axes) if y.ndim else y for y in made]
