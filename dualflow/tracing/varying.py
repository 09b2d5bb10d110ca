"""Varying: numbers and extents that were seen to vary, so that one trace serves all of them.

Keys that differ in Python numbers and extents only are of one family. The first call of a family
has a trace of its own; what differs in a later call varies from then on, and its place in the key
holds no value any more. Extents 0 and 1 stay apart, because broadcasting asks for them.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from dualflow.core.number import refuses
from dualflow.core.source import is_users
from jit.dataclass import dataclass

Key = tuple[Any, ...]
Place = tuple[int, int]  # leaf and axis; the axis of a number is NUMBER
NUMBER = -1
LEAST = 2  # extents from here on may vary
ANY = "any"


@dataclass(frozen=True)
class Pattern:
    """What varies in the calls that one trace serves.

    Attributes:
        numbers: Which leaves are numbers that vary.
        shapes: By leaf the shapes in which extents vary, those under a name.
    """

    numbers: tuple[int, ...]
    shapes: dict[int, tuple[int | str, ...]]

    def may_cause(self, error: Exception) -> str | None:
        """Whether an error may be there because "numbers" or "extents" are no plain ints.

        C code that takes an int may refuse what is like an int; our own errors tell extents.
        """
        if self.numbers and refuses(error):
            return "numbers"
        step = error.__traceback__
        while step is not None and step.tb_next is not None:
            step = step.tb_next
        ours = step is not None and not is_users(step.tb_frame)
        return "extents" if self.shapes and (ours or refuses(error)) else None


CONSTANT = Pattern((), {})


class Family:
    """Keys that differ in numbers and extents only.

    Args:
        first: The key of the first call.

    Attributes:
        first: The key of the trace that is made for the first call only; empty if there is none.
        varying: What was seen to vary.
        named: Extents that vary under names that were given to them.
    """

    def __init__(self, first: Key) -> None:
        self._parts = first[1]
        self.first: Key = ()
        self._refused: dict[bool, str] = {}  # whether it is numbers, and why
        self._known: set[frozenset[Place]] = set()
        self.varying: set[Place] = set()
        self.named: dict[Place, str] = {}

    def keys(self, key: Key) -> list[Key]:
        """The keys of traces that may serve calls with this key, the closest first."""
        if not self.varying:
            return []
        close, wide = (self.general(key, apart=apart)[0] for apart in (False, True))
        return [close] if close == wide else [close, wide]

    def admit(self, key: Key) -> tuple[Key, Pattern]:
        """The key and the pattern of a new trace, made for a call with this key."""
        for k, (a, b) in enumerate(zip(self._parts, key[1], strict=True)):
            if a != b:
                self.varying.update(p for p in differing(k, a, b) if not self._is_refused(p))
        if not self.varying:
            self.first = self.first or key
            return key, CONSTANT
        seen = frozenset(self.varying)
        apart = seen in self._known
        self._known.add(seen)
        return self.general(key, apart=apart)

    def refuse(self, *, numbers: bool, why: str) -> None:
        """Numbers, or extents, cannot vary after all."""
        self._refused[numbers] = why
        self.varying = {p for p in self.varying if not self._is_refused(p)}

    def refusal(self, *, numbers: bool) -> str | None:
        """Why numbers, or extents, cannot vary; None if they can."""
        why, what = self._refused.get(numbers), "number" if numbers else "extent"
        return None if why is None else f"each {what} has a trace of its own: {why}"

    def _is_refused(self, place: Place) -> bool:
        return (place[1] == NUMBER) in self._refused

    def general(self, key: Key, *, apart: bool) -> tuple[Key, Pattern]:
        """A key without the values of what varies.

        Args:
            key: Of a call.
            apart: Extents vary each by itself, even those that are equal in this call.
        """
        if not self.varying:
            return key, CONSTANT
        parts, numbers, shapes = list(key[1]), [], {}
        names: dict[Hashable, str] = {}
        for k, axis in sorted(self.varying):
            if axis == NUMBER:
                numbers.append(k)
                parts[k] = (parts[k][0], ANY)
                continue
            shape = list(shapes.get(k) or parts[k][1])
            sort = self.named.get((k, axis)) or ((k, axis) if apart else shape[axis])
            shape[axis] = names.setdefault(sort, f"d{len(names)}")
            shapes[k] = tuple(shape)
        for k, shape in shapes.items():
            parts[k] = (parts[k][0], shape, *parts[k][2:])
        return (key[0], tuple(parts), *key[2:]), Pattern(tuple(numbers), shapes)


def family_key(key: Key) -> Key:
    """What the keys of a family have in common."""
    return (key[0], tuple(map(common, key[1])), *key[2:])


def common(part: Any) -> Hashable:
    """What of a part of a key does not vary."""
    if is_tensor(part):
        dtype, shape, *rest = part
        return (dtype, tuple([d if d < LEAST else LEAST for d in shape]), *rest)
    return part[0] if is_number(part) else part


def differing(k: int, a: Any, b: Any) -> list[Place]:
    """Where the parts of two keys of one family, for the leaf `k`, differ."""
    if is_number(a):
        return [(k, NUMBER)]
    return [(k, axis) for axis, (m, n) in enumerate(zip(a[1], b[1], strict=True)) if m != n]


def is_tensor(part: Any) -> bool:
    """Whether a part of a key is a tensor's."""
    return type(part) is tuple and len(part) == 4 and isinstance(part[0], np.dtype)


def is_number(part: Any) -> bool:
    """Whether a part of a key is that of a Python number that may vary."""
    return type(part) is tuple and len(part) == 2 and (part[0] is int or part[0] is float)


def places_of(specs: Sequence[Any], leaves: Sequence[int]) -> dict[Place, str]:
    """The extents that an input signature leaves open, each with its name.

    Args:
        specs: A `TensorSpec` for each tensor.
        leaves: Which leaf each tensor is.
    """
    return {
        (leaf, axis): extent if isinstance(extent, str) else f"{leaf}.{axis}"
        for leaf, spec in zip(leaves, specs, strict=True)
        for axis, extent in enumerate(spec.shape)
        if not isinstance(extent, int)
    }
