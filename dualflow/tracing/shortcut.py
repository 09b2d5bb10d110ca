"""Shortcut: a call like an earlier one, recognised by a few comparisons instead of a key.

The types of tensors are not among them, except for the first. Machine code reads the arrays anyway
and refuses what it was not made for, before it does anything; the call is then taken apart like any
other.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

from dualflow.core import tree
from dualflow.core.context import context
from dualflow.core.tensor import Tensor
from dualflow.tracing.bulk import tensors as in_bulk
from dualflow.tracing.parts import VALUES, Identity, is_lasting
from dualflow.tracing.signature import LEAVES, Call
from dualflow.tracing.varying import CONSTANT, Pattern
from jit.config import scoped


class Shortcut:
    """Positional arguments of one kind: tensors, all different and watched by nobody, and others.

    Args:
        call: The earlier call.
        others: (position, what gives the same object as long as it lives) of what stays the same.
        pattern: What varies: numbers are of the type that they had, extents are left to others.
        own: A tensor, its shape, and the numbers, for which there is a trace of their own.

    Attributes:
        is_bare: Whether the arguments are tensors, and nothing of them varies.
    """

    def __init__(
        self,
        call: Call,
        others: Sequence[tuple[int, Callable[[], Any]]],
        pattern: Pattern,
        own: tuple[int | None, Any, list[Any]] | None,
    ) -> None:
        args = call.given[0]
        flat = list(map(flat_kind, args))
        self._spec = tree.flatten(args)[1] if OTHER in flat else None
        self._orders = tree.orders(args)
        self._flat = flat if any(flat) else None
        self._count = len(args)
        self._nodes = [k for k, kind in enumerate(flat) if kind and kind[0] is not tuple]
        self._others = others
        self._numbers = [(k, type(call.leaves[k])) for k in pattern.numbers]
        self._tensors = None if len(call.places) == len(call.leaves) else call.places
        self._mode = call.key[2][:5]
        kinds = [x.raw.__class__ for x in call.tensors]  # of arrays: the CPU's, or a GPU's
        self._kinds = kinds if len({*kinds}) > 1 else None
        self._boxes = in_bulk(*kinds[:1])
        first = call.tensors[0].raw if call.tensors else None
        varies = first is not None and call.places[0] in pattern.shapes
        self._first = None if first is None or varies else (first.shape, first.dtype)
        self._own = own
        whole = self._flat is None and self._tensors is None
        self.is_bare = whole and pattern is CONSTANT and self._kinds is None

    @classmethod
    def of(
        cls, call: Call, pattern: Pattern = CONSTANT, first: tuple[Any, ...] = ()
    ) -> Shortcut | None:
        """The shortcut for calls like this one; None where there is none.

        Args:
            call: The call.
            pattern: What varies in such calls.
            first: The key of the trace that is made for one of them only.
        """
        unlike = call.given[1] or call.arrays or call.labels
        if unlike or any(type(part) is tuple for part in call.key[0]):
            return None
        others: list[tuple[int, Callable[[], Any]]] = []
        for k, (x, part) in enumerate(zip(call.leaves, call.key[1], strict=True)):
            if x.__class__ is Tensor:
                if part[2:] != ("", 0):
                    return None
            elif k in pattern.numbers:
                continue
            elif isinstance(x, VALUES):
                others.append((k, lambda x=x: x))
            elif isinstance(part, Identity) or is_lasting(x):
                try:
                    others.append((k, weakref.ref(x)))
                except TypeError:
                    return None
            else:  # equal to others, and who knows for how long
                return None
        own = None
        if first and pattern is not CONSTANT:
            at = next((k for k, leaf in enumerate(call.places) if leaf in pattern.shapes), None)
            shape = None if at is None else first[1][call.places[at]][1]
            own = at, shape, [first[1][k][0](first[1][k][1]) for k in pattern.numbers]
        return cls(call, others, pattern, own)

    def match(self, args: tuple[Any, ...]) -> tuple[Sequence[Tensor], Sequence[Any]] | None:
        """The tensors of a call, and the numbers that vary; None if it is of another kind."""
        state = context.__dict__
        recording, low = state["recording"], state["autocast"]
        mode = recording, bool(state["tapes"]), low, state["device"], scoped.get().precision
        if len(args) != self._count or self._mode != mode:
            return None
        leaves = args if self._flat is None else self._leaves(args)
        if leaves is None:
            return None
        if len(self._nodes) > 1 and len({id(args[k]) for k in self._nodes}) < len(self._nodes):
            return None
        tensors: Sequence[Any] = leaves
        numbers: Sequence[Any] = []
        if self._tensors is not None:
            for k, same in self._others:
                if same() is not leaves[k]:
                    return None
            tensors = [leaves[k] for k in self._tensors]
            if self._numbers:
                numbers = [leaves[k] for k, _ in self._numbers]
                for x, (_, kind) in zip(numbers, self._numbers):
                    if type(x) is not kind:
                        return None
        if self._kinds is None:
            opened = self._boxes.unmarked if recording else self._boxes.opened
            if opened(*tensors) is None:
                return None
        elif not self._are_alike(self._kinds, tensors, recording=recording):
            return None
        if self._first is not None:
            raw = tensors[0].raw
            if (raw.shape, raw.dtype) != self._first:
                return None
        if self._own is not None:  # there is better code for them
            at, shape, known = self._own
            if known == numbers and (at is None or tensors[at].raw.shape == shape):
                return None
        if len(tensors) > 1 and len({*tensors}) < len(tensors):
            return None
        return tensors, numbers

    @staticmethod
    def _are_alike(kinds: Sequence[type], tensors: Sequence[Any], *, recording: bool) -> bool:
        """Whether these are tensors with arrays of such classes, watched by nobody."""
        return all(
            x.__class__ is Tensor
            and (x.record is None or not recording)
            and x.raw.__class__ is kind
            for x, kind in zip(tensors, kinds, strict=True)
        )

    def _leaves(self, args: tuple[Any, ...]) -> Sequence[Any] | None:
        """The leaves of arguments of the known structure; optree takes longer for flat lists."""
        if self._spec is not None:
            leaves, spec = tree.flatten(args)
            alike = spec == self._spec and tree.orders(args) == self._orders
            return leaves if alike else None
        leaves = list[Any]()
        for x, kind in zip(args, self._flat, strict=True):  # type: ignore[arg-type]
            if kind is None:
                leaves.append(x)
            elif x.__class__ is kind[0] and len(x) == kind[1]:
                leaves.extend(x)
            else:
                return None
        return leaves


OTHER = (None, 0)


def flat_kind(x: Any) -> tuple[type | None, int] | None:
    """Class and length of a list or tuple of leaves; None for a leaf, OTHER for all else."""
    if x.__class__ in (list, tuple):
        return (x.__class__, len(x)) if all(map(is_leaf, x)) else OTHER
    return None if is_leaf(x) else OTHER


def is_leaf(x: Any) -> bool:
    """Whether trees end at `x`."""
    return x.__class__ in LEAVES or tree.flatten(x)[1].is_leaf()
