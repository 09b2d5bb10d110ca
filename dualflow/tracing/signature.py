"""Signature: what makes two calls of a function the same, and how they differ when they are not.

Tensors count by dtype and shape, Python numbers and strings by type and value, objects that cannot
be compared by identity, and the tree by its structure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dualflow.core import tree
from dualflow.core.backend import device_of
from dualflow.core.context import context
from dualflow.core.convert import from_data
from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable
from dualflow.tracing.labels import compares, labels_in
from dualflow.tracing.parts import Identity, part_of
from jit.config import scoped
from jit.dataclass import dataclass

LEAVES = frozenset({Tensor, Variable, np.ndarray, bool, int, float, str, type(None)})
UNKNOWN_KEYS = (
    "it is passed a dict whose keys do not say which of them are equal, as tensors do not",
    "use strings or numbers as keys",
)
CIRCULAR = (
    "it is passed, or returns, a list or dict that is in itself, such as a tree of nodes that know "
    "their parents",
    "make the nodes objects of a class",
)
NOTHING_ELSE: Mapping[int, Any] = {}
EMPTY = tree.flatten(())[1]


@dataclass(slots=True)
class Call:
    """The arguments of one call, taken apart.

    Attributes:
        key: Equal for calls that one trace serves.
        tensors: The tensor arguments, in order.
        leaves: All arguments as leaves; NumPy arrays have become tensors.
        given: The arguments as the caller gave them.
        arrays: Whether there are NumPy arrays among them.
        labels: What the keys of dicts among them are that are no plain values.
        unknown: Why calls like this one cannot be told apart, so that none is recorded, and what
            to do; None if they can be.
    """

    key: tuple[Any, ...]
    tensors: list[Tensor]
    leaves: list[Any]
    given: tuple[tuple[Any, ...], dict[str, Any]]
    arrays: bool
    labels: Sequence[Any] = ()
    unknown: tuple[str, str] | None = None
    _spec: tree.TreeSpec | None = None

    @property
    def spec(self) -> tree.TreeSpec:
        """The structure that puts leaves together again, as it was when this was asked first."""
        if self._spec is None:
            self._spec = tree.flatten(self.given)[1]
        return self._spec

    @property
    def looked_at(self) -> Sequence[Any]:
        """What code may look into: the leaves, and behind them what keys of dicts are."""
        return [*self.leaves, *self.labels] if self.labels else self.leaves

    @property
    def labelled(self) -> dict[str, Any]:
        """What keys of dicts are, by what people may call them."""
        return {f"key {k} of what is passed": x for k, x in enumerate(self.labels, 1)}

    @property
    def working(self) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """The arguments where arrays have become tensors; None where there are no arrays."""
        return self.arguments(self.tensors) if self.arrays else None

    @property
    def places(self) -> list[int]:
        """Which leaves the tensors are."""
        return [k for k, x in enumerate(self.leaves) if x.__class__ is Tensor]

    def by_identity(self) -> list[Any]:
        """The leaves that later calls of this key have too, as the same objects."""
        return [x for x, part in zip(self.leaves, self.key[1]) if isinstance(part, Identity)]

    def arguments(
        self, tensors: list[Tensor], others: Mapping[int, Any] = NOTHING_ELSE
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The call's arguments with other tensors in the places of its own.

        Args:
            tensors: As many as the call has.
            others: Leaves that replace those in their places.
        """
        rest = iter(tensors)
        leaves = [next(rest) if x.__class__ is Tensor else x for x in self.leaves]
        for k, x in others.items():
            leaves[k] = x
        return tree.unflatten(self.spec, leaves)


def take_apart(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
    """The signature of a call in the context of this thread."""
    try:
        leaves, structure, labels = leaves_of(args, kwargs)
        unknown = None if all(map(compares, labels)) else UNKNOWN_KEYS
    except tree.CircularError:
        key, given = (CIRCULAR, (), ()), (args, kwargs)
        return Call(key, [], [], given, arrays=False, unknown=CIRCULAR, _spec=EMPTY)
    tensors: list[Tensor] = []
    parts: list[Any] = []
    places: list[tuple[int, str]] = []  # of tensors that are not on the CPU
    arrays = False
    recording = context.recording
    for k, x in enumerate(leaves):
        if x.__class__ is not Tensor and is_array(x):
            x = leaves[k] = from_data(x)
            arrays = True
        if x.__class__ is Tensor:
            tensors.append(x)
            data = x if x.raw is None else x.raw
            if data.__class__ is not np.ndarray and x.raw is not None:
                places.append((k, device_of(data)))
            who = watched(x) if recording and x.record is not None else ""
            parts.append((data.dtype, data.shape, who, 0))
        else:
            parts.append(part_of(x))
    if len({*tensors}) < len(tensors):
        mark_repeated(leaves, parts)
    precision = scoped.get().precision
    tapes, low = bool(context.tapes), context.autocast
    mode = (recording, tapes, low, context.device, precision, *places)
    key = structure, tuple(parts), mode
    if labels:
        known = (*structure, *map(part_of, labels)), *key[1:]
        key = known if unknown is None else ((unknown,), (), mode)
    return Call(key, tensors, leaves, (args, kwargs), arrays, labels, unknown)


def is_array(x: Any) -> bool:
    """Whether this arrives as a tensor: an array, but of objects."""
    return isinstance(x, np.ndarray) and not x.dtype.hasobject


def mark_repeated(leaves: list[Any], parts: list[Any]) -> None:
    """Notes where the same tensor came before: given twice, it is one tensor inside too."""
    first: dict[int, int] = {}
    for k, x in enumerate(leaves):
        if x.__class__ is Tensor:
            parts[k] = (*parts[k][:3], k - first.setdefault(id(x), k))


def leaves_of(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[list[Any], tuple[Any, ...], list[Any]]:
    """The leaves of a call's arguments, what tells their structure from others, and labels.

    optree takes microseconds, even for a tuple of tensors; most arguments are leaves themselves.
    """
    leaves: list[Any] = []
    structure: list[Any] = []
    orders: list[tree.Orders] = []
    first: dict[int, int] = {}  # a list that is given twice is one list inside too
    names = sorted(kwargs)
    for x in (*args, *[kwargs[name] for name in names]):
        if x.__class__ in LEAVES:
            leaves.append(x)
            structure.append(None)
        else:
            inner, spec = tree.flatten(x)
            leaves += inner
            if order := tree.orders(x):
                orders.append(order)
            place = first.setdefault(id(x), len(structure))
            again = place < len(structure) and type(x) is not tuple
            structure.append(None if spec.is_leaf() else (spec, place) if again else spec)
    # Leaves come in the order of names, sorted ones; a function may ask for the caller's order.
    return leaves, (*structure, *orders, *kwargs), labels_in(orders) if orders else []


def watched(x: Tensor) -> str:
    """Who wants gradients through a recorded tensor: tapes, or `backward()` of Variables too."""
    return "backward" if x.record.rooted else "tape"
