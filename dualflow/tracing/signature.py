"""Signature: what makes two calls of a function the same, and how they differ when they are not.

Tensors count by dtype and shape, Python numbers and strings by type and value, objects that cannot
be compared by identity, and the tree by its structure.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np

from dualflow.core import tree
from dualflow.core.context import context
from dualflow.core.convert import from_data
from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable

LEAVES = frozenset({Tensor, Variable, np.ndarray, bool, int, float, str, type(None)})
VALUES = (bool, int, float, complex, str, bytes, type(None), np.dtype)


class Identity:
    """Stands for an object that only equals itself, without keeping it alive where possible."""

    __slots__ = ("_ref", "_hash")

    def __init__(self, thing: Any) -> None:
        self._hash = id(thing)
        try:
            self._ref: Any = weakref.ref(thing)
        except TypeError:
            self._ref = lambda: thing

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Identity)
            and (mine := self._ref()) is not None
            and mine is other._ref()
        )

    @property
    def gone(self) -> bool:
        """Whether the object is no more: no call can be about it again."""
        return self._ref() is None

    def __repr__(self) -> str:
        thing = self._ref()
        return f"{type(thing).__name__} object" if thing is not None else "object that is gone"


@dataclass(slots=True)
class Call:
    """The arguments of one call, taken apart.

    Attributes:
        key: Equal for calls that one trace serves.
        tensors: The tensor arguments, in order.
        leaves: All arguments as leaves; NumPy arrays have become tensors.
        given: The arguments as the caller gave them.
        arrays: Whether there are NumPy arrays among them.
    """

    key: tuple[Any, ...]
    tensors: list[Tensor]
    leaves: list[Any]
    given: tuple[tuple[Any, ...], dict[str, Any]]
    arrays: bool
    _spec: tree.TreeSpec | None = None

    @property
    def spec(self) -> tree.TreeSpec:
        """The structure that puts leaves together again, as it was when this was asked first."""
        if self._spec is None:
            self._spec = tree.flatten(self.given)[1]
        return self._spec

    def arguments(self, tensors: list[Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The call's arguments with other tensors in the places of its own."""
        rest = iter(tensors)
        leaves = [next(rest) if x.__class__ is Tensor else x for x in self.leaves]
        return tree.unflatten(self.spec, leaves)


def unchanged(arguments: Any, spec: tree.TreeSpec, leaves: list[Any]) -> bool:
    """Whether lists and dicts among the arguments still hold what a call was made with."""
    now, structure = tree.flatten(arguments)
    return structure == spec and all(a is b for a, b in zip(now, leaves, strict=True))


def written(x: Any, given: Any, original: Callable[[Any], Any]) -> Any:
    """The caller's own `given`, its lists and dicts holding what a call has put into its copy `x`.

    Args:
        x: An argument as the call left it.
        given: The same argument as the caller gave it.
        original: The caller's leaf for a leaf of the copy.
    """
    if isinstance(x, list) and isinstance(given, list):
        pairs = zip_longest(x, given[: len(x)])
        given[:] = [written(item, own, original) for item, own in pairs]
        return given
    if isinstance(x, dict) and isinstance(given, dict):
        items = {k: written(item, given.get(k), original) for k, item in x.items()}
        given.clear()
        given.update(items)
        return given
    if isinstance(x, tuple) and isinstance(given, tuple):
        for item, own in zip(x, given, strict=False):
            written(item, own, original)
        return given
    return original(x)


def take_apart(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
    """The signature of a call in the context of this thread."""
    leaves, structure = leaves_of(args, kwargs)
    tensors: list[Tensor] = []
    parts: list[Any] = []
    arrays = False
    recording = context.recording
    for k, x in enumerate(leaves):
        if isinstance(x, np.ndarray):
            x = leaves[k] = from_data(x)
            arrays = True
        if x.__class__ is Tensor:
            tensors.append(x)
            data = x if x.raw is None else x.raw
            who = watched(x) if recording and x.record is not None else ""
            parts.append((data.dtype, data.shape, who, 0))
        else:
            parts.append(part_of(x))
    if len({*tensors}) < len(tensors):
        mark_repeated(leaves, parts)
    mode = (recording, bool(context.tapes), context.device)
    return Call((structure, tuple(parts), mode), tensors, leaves, (args, kwargs), arrays)


def mark_repeated(leaves: list[Any], parts: list[Any]) -> None:
    """Notes where the same tensor came before: given twice, it is one tensor inside too."""
    first: dict[int, int] = {}
    for k, x in enumerate(leaves):
        if x.__class__ is Tensor:
            parts[k] = (*parts[k][:3], k - first.setdefault(id(x), k))


def leaves_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[list[Any], Hashable]:
    """The leaves of a call's arguments, and what tells their structure from others.

    optree takes microseconds, even for a tuple of tensors; most arguments are leaves themselves.
    """
    leaves: list[Any] = []
    structure: list[Any] = []
    names = sorted(kwargs)
    for x in (*args, *[kwargs[name] for name in names]):
        if x.__class__ in LEAVES:
            leaves.append(x)
            structure.append(None)
        else:
            inner, spec = tree.flatten(x)
            leaves += inner
            structure.append(None if spec.is_leaf() else spec)
    return leaves, (*structure, *names) if names else tuple(structure)


def watched(x: Tensor) -> str:
    """Who wants gradients through a recorded tensor: tapes, or `backward()` of Variables too."""
    return "backward" if x.record.rooted else "tape"


def part_of(x: Any) -> Hashable:
    """What a leaf that is no tensor adds to the key."""
    if isinstance(x, float | complex) and not isinstance(x, bool):
        return (type(x), repr(x))  # tells 0.0 from -0.0, and nan equals nan
    if isinstance(x, VALUES):
        return (type(x), x)
    if isinstance(x, np.generic):
        return (type(x), x.tobytes())
    if isinstance(x, Variable):
        return Identity(x)
    try:
        if type(x).__eq__ is not object.__eq__ and type(x).__hash__ is not None:
            hash(x)
            return (type(x), x)
    except TypeError:
        pass
    return Identity(x)


def nearest_difference(
    earlier: list[tuple[Any, ...]], new: tuple[Any, ...], paths: list[str]
) -> str:
    """How `new` differs from the most similar of the earlier keys, in words."""

    def distance(old: tuple[Any, ...]) -> int:
        if old[0] != new[0]:
            return 1000
        return sum(a != b for a, b in zip(old[1], new[1], strict=True)) + (old[2] != new[2])

    return difference(min(earlier, key=distance), new, paths) if earlier else "first call"


def difference(old: tuple[Any, ...], new: tuple[Any, ...], paths: list[str]) -> str:
    """How two keys differ, the first reason in words: `x.shape[0]: 64 -> 17`.

    Args:
        old: The key of an earlier trace.
        new: The key of the call.
        paths: Where each leaf of the call stands in its arguments.
    """
    if old[0] != new[0]:
        return "the structure of the arguments changed"
    for path, a, b in zip(paths, old[1], new[1], strict=True):
        if a == b:
            continue
        if isinstance(a, tuple) and isinstance(b, tuple) and len(a) == len(b) == 4:
            return tensor_difference(path, a, b)
        return f"{path}: {show(a)} -> {show(b)}"
    if old[2] != new[2]:
        return "recording of gradients, or the device, changed"
    return "nothing"


def tensor_difference(path: str, a: tuple[Any, ...], b: tuple[Any, ...]) -> str:
    """How the types of two tensors differ."""
    if a[0] != b[0]:
        return f"{path}.dtype: {a[0]} -> {b[0]}"
    if len(a[1]) != len(b[1]):
        return f"{path}.ndim: {len(a[1])} -> {len(b[1])}"
    for k, (m, n) in enumerate(zip(a[1], b[1], strict=True)):
        if m != n:
            return f"{path}.shape[{k}]: {m} -> {n}"
    if a[3] != b[3]:
        return f"{path}: given {'once' if b[3] == 0 else 'more than once'} now"
    return f"{path}: gradients through it are {'now ' if b[2] else 'no longer '}wanted"


def show(part: Any) -> str:
    """A part of a key, for people."""
    return str(part[1]) if isinstance(part, tuple) else repr(part)
