"""Retraces: why a function was recorded again, what that cost, and what would stop it.

Nobody is told of the first two recordings, nor of changes of which there are only a few (gradients
wanted or not, the device). From the third on there is one warning for each cause.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from types import CodeType
from typing import Any

import numpy as np

from dualflow.core.source import warn_user
from dualflow.core.tensor import Tensor
from dualflow.errors import RetraceWarning
from dualflow.tracing.parameters import code_of, defined_at
from dualflow.tracing.parts import Identity
from dualflow.tracing.varying import Key, is_number, is_tensor
from jit.dataclass import dataclass

FIRST_TOLD = 3  # recordings of a function
PADDED = 64  # what an extent is padded to multiples of, in what is proposed
REMEDIES = {
    "structure": "pass lists and dicts of one structure",
    "dtype": "convert {where} to one dtype before the call",
    "rank": "pass {where} with one number of dimensions",
    "extent": "pad {where} to a few sizes",
    "repetition": "pass the same tensor always twice, or never",
    "value": "pass {where} as a tensor if ops only compute with it, or always the same",
    "word": "pass {where} always the same, or decorate a function for each",
    "number": "keep Python from deciding by {where}: df.where and ops on tensors need no number",
    "held": "make the tensors in {where} arguments of their own",
    "object": "pass the same object, or define == and hash for its class",
}


@dataclass(frozen=True)
class Change:
    """How two keys differ.

    Attributes:
        kind: A key of REMEDIES, or "context" for what needs none, or "first".
        where: Which argument, as in `batch['x'].shape[0]`.
        text: The change in words.
        code: A line for the caller that undoes it; "" where none does.
    """

    kind: str
    where: str
    text: str
    code: str = ""


class Retraces:
    """The recordings of one function.

    Attributes:
        events: What the user was told.
    """

    def __init__(self) -> None:
        self.events: list[str] = []
        self._told: set[tuple[str, str]] = set()

    def note(self, name: str, python: Any, change: Change, count: int, spent: float) -> None:
        """Tells of a recording, if it was for a new cause and others came before.

        Args:
            name: Of the function.
            python: The function.
            change: What made the recording necessary.
            count: Of recordings, with this one.
            spent: Seconds that the earlier ones took.
        """
        if count < FIRST_TOLD or change.kind not in REMEDIES:
            return
        cause = (change.kind, change.where)
        if cause in self._told:
            return
        self._told.add(cause)
        remedy = REMEDIES[change.kind].format(where=change.where.removesuffix(".dtype"))
        remedy += f": {change.code}" if change.code else ""
        message = (
            f"{name} ({defined_at(python)}) is recorded again, {count} times now, which took "
            f"{spent:.2f} s so far: {change.text}. To avoid that, {remedy}. "
            "(Said once for this cause.)"
        )
        self.events.append(message)
        warn_user(message, RetraceWarning, code_of(python))


def nearest_change(earlier: Sequence[Key], new: Key, paths: list[str]) -> Change:
    """How `new` differs from the most similar of the earlier keys, of several from the latest."""

    def distance(old: Key) -> int:
        if old[0] != new[0]:
            return 1000
        return sum(map(differences, old[1], new[1])) + (old[2] != new[2])

    if not earlier:
        return Change("first", "", "first call")
    return change_of(min(reversed(earlier), key=distance), new, paths)


def differences(a: Any, b: Any) -> int:
    """In how many respects two parts of keys differ."""
    if a == b or not (is_tensor(a) and is_tensor(b)):
        return int(a != b)
    return sum(x != y for x, y in zip((a[0], len(a[1]), *a[1:]), (b[0], len(b[1]), *b[1:])))


def change_of(old: Key, new: Key, paths: list[str]) -> Change:
    """How two keys differ, the first reason in words: `x.shape[0]: 64 -> 17`.

    Args:
        old: The key of an earlier trace.
        new: The key of the call.
        paths: Where each leaf of the call stands in its arguments.
    """
    if old[0] != new[0]:
        return Change("structure", "", "the structure of the arguments changed")
    for path, a, b in zip(paths, old[1], new[1], strict=True):
        if a == b:
            continue
        if is_tensor(a) and is_tensor(b):
            return change_of_tensor(path, a, b)
        if is_dataclass(part_type(b)) and part_type(a) is part_type(b):
            return change_of_fields(path, a, b)
        kind = kind_of(b)
        code = f"{path} = df.asarray({path})" if kind == "value" else ""
        return Change(kind, path, f"{path}: {show(a)} -> {show(b)}", code)
    if old[2] != new[2]:
        return Change("context", "", "recording of gradients, a precision, or the device changed")
    return Change("context", "", "nothing")


def change_of_fields(path: str, a: tuple[Any, ...], b: tuple[Any, ...]) -> Change:
    """How two dataclasses of one type differ: in the first field that is another one."""
    cls = b[0]
    names = [field.name for field in fields(cls)]
    pairs = zip(names, a[1:], b[1:], strict=False)  # behind the fields come other attributes
    differing = next((x for x in pairs if x[1] != x[2]), None)
    if differing is None:
        return Change(kind_of(b), path, f"{path} has other attributes beside its fields")
    name, old, new = differing
    where = f"{path}.{name}"
    if part_type(old) is part_type(new) and is_dataclass(part_type(new)):
        return change_of_fields(where, old, new)
    if isinstance(new, Identity) and new.is_a(Tensor):
        taken = ", ".join([f"x.{each}" for each in names])
        code = f"df.tree.register({cls.__name__}, lambda x: (({taken},), None), "
        code += f"lambda _, parts: {cls.__name__}(*parts))"
        return Change("held", path, f"{where} is another tensor", code)
    return Change(kind_of(new), where, f"{where}: {show(old)} -> {show(new)}")


def part_type(part: Any) -> Any:
    """The type of what a part of a key tells the values of; None where it is about one object."""
    return part[0] if isinstance(part, tuple) and part and isinstance(part[0], type) else None


def change_of_tensor(path: str, a: tuple[Any, ...], b: tuple[Any, ...]) -> Change:
    """How the types of two tensors differ."""
    if a[0] != b[0]:
        code = f'{path} = df.astype({path}, "{a[0]}")'
        return Change("dtype", f"{path}.dtype", f"{path}.dtype: {a[0]} -> {b[0]}", code)
    if len(a[1]) != len(b[1]):
        return Change("rank", path, f"{path}.ndim: {len(a[1])} -> {len(b[1])}")
    for k, (m, n) in enumerate(zip(a[1], b[1], strict=True)):
        if m != n:
            where = f"{path}.shape[{k}]"
            return Change("extent", where, f"{where}: {m} -> {n}", padding(path, k, len(a[1])))
    if a[3] != b[3]:
        times = "once" if b[3] == 0 else "more than once"
        code = f"{path} = df.asarray({path}, copy=True)"
        return Change("repetition", path, f"{path}: given {times} now", code)
    wanted = "now " if b[2] else "no longer "
    return Change("context", path, f"{path}: gradients through it are {wanted}wanted")


def padding(path: str, axis: int, dimensions: int) -> str:
    """The line that pads an axis of a tensor, so that it has few sizes."""
    widths = ["(0, 0)"] * dimensions
    widths[axis] = f"(0, -{path}.shape[{axis}] % {PADDED})"
    return f"{path} = df.pad({path}, [{', '.join(widths)}])"


def kind_of(part: Any) -> str:
    """Which remedy there is where an argument that is no tensor changes."""
    if isinstance(part, Identity):
        return "object"
    if is_number(part):
        return "number"
    kind = part[0] if isinstance(part, tuple) else None
    numeric = isinstance(kind, type) and issubclass(kind, bool | np.number | np.bool)
    return "value" if numeric else "word"


def decided(change: Change, why: str) -> Change:
    """A change of a number by which Python decides, with the place where it does."""
    return replace(change, text=f"{change.text}, and Python decides by {why}")


def show(part: Any) -> str:
    """A part of a key, for people."""
    if not isinstance(part, tuple):
        return repr(part)
    if is_tensor(part):
        return f"a tensor of {part[0]}"
    if len(part) == 2:
        return repr(of_numpy(*part)) if is_of_numpy(part[0]) else str(part[1])
    code = next((x[1] for x in part if type(x) is tuple and type(x[-1]) is CodeType), None)
    return part[0].__name__ if code is None else f"{part[0].__name__} {code.co_name}"


def is_of_numpy(kind: Any) -> bool:
    """Whether this is a type of NumPy's scalars."""
    return isinstance(kind, type) and issubclass(kind, np.generic)


def of_numpy(kind: type[np.generic], octets: bytes) -> Any:
    """The NumPy scalar that a part of a key stands for; its bytes where the type has no width."""
    dtype = np.dtype(kind)
    return np.frombuffer(octets, dtype)[0] if dtype.itemsize == len(octets) else octets
