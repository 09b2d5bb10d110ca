"""Orders: arrays whose memory has the axes in another order, which kernels read as they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from jit.types import TensorType

Order = tuple[int, ...] | None  # the axes by falling strides; None: as they are


def order_of(x: Any) -> Order:
    """The axes by falling strides, if in that order nothing lies between the elements."""
    flags = x.flags
    if flags.c_contiguous or not getattr(flags, "aligned", True):  # CuPy's have no such flag
        return None
    axes = tuple(sorted(range(x.ndim), key=lambda k: -x.strides[k]))
    return axes if x.transpose(axes).flags.c_contiguous else None


def inverse(order: Sequence[int]) -> tuple[int, ...]:
    """The permutation that undoes another."""
    return tuple([order.index(k) for k in range(len(order))])


def in_order(type_: TensorType, order: Order) -> TensorType:
    """The type of an argument whose array has its axes in another order."""
    return type_ if order is None else type_.with_shape([type_.shape[k] for k in inverse(order)])


class Turned:
    """A call whose results have their axes in another order.

    Attributes:
        at: The same for the addresses of arrays on a GPU; None where it needs arrays.
    """

    def __init__(self, call: Callable[..., Any], axes: tuple[int, ...]) -> None:
        self._call, self._axes = call, axes
        of_addresses = getattr(call, "at", None)
        self.at = of_addresses and (lambda addresses: self._turned(of_addresses(addresses)))

    def __call__(self, *laid: Any) -> list[Any] | None:
        """The results, or None where an array does not fit."""
        return self._turned(self._call(*laid) or ()) or None

    def _turned(self, made: Sequence[Any]) -> list[Any]:
        return [y.transpose(self._axes) if y.ndim else y for y in made]
