"""Check: guards as one generated function, and what a guard that missed says.

A guard is an expression that is true when something is not as it was recorded. It reads constants
of its own by name: the objects found while recording, and the values that they held.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from operator import is_not, itemgetter
from types import CodeType, MethodType
from typing import Any

import numpy as np

from dualflow.core.source import line_in
from dualflow.core.tensor import Tensor
from dualflow.tracing.guards.bytecode import line_of_name
from dualflow.tracing.guards.places import MISSING, Contents, Key, Place, changed, kind, now
from jit.config import config
from jit.dataclass import dataclass
from jit.types import TensorType

GROUPED = 6  # items of one dict from which on they are compared at once
ITEM = re.compile(r"(k\d+)\['(\w+)'\]")
IDENTIFIER = re.compile(r"\bk\d+\b")
LONGEST = 40  # characters of a value in a message
PLAIN = (bool, int, float, complex, str, bytes, type(None), range, np.dtype, np.generic)
LENIENT = (*PLAIN, tuple, frozenset, MethodType)  # may be equal without being one object


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a guard comes from: code that ran, and the name in it that led to the value."""

    code: CodeType
    name: str

    @property
    def line(self) -> str:
        """`nets.py:14`."""
        line = line_of_name(self.code, self.name) or self.code.co_firstlineno
        return line_in(self.code.co_filename, line)


@dataclass(frozen=True, slots=True)
class Guard:
    """One thing that must be as it was.

    Attributes:
        differs: The expression that is true when it is not.
        place: What it is about, in words: `global factor`.
        origin: Where it was read.
        read: The expression of the value now; empty where there is no one value.
        expected: The name of the value then.
        owner: The id of the object whose attribute or item it is; None for names in scopes.
        told: Says what has changed, where that is not plain from the values.
        where: Where that value is, if it can be written.
    """

    differs: str
    place: str
    origin: Origin | None = None
    read: str = ""
    expected: str = ""
    owner: int | None = None
    told: Callable[[], str] | None = None
    where: Place | Contents | None = None

    def constants(self) -> set[str]:
        """The constants that it names."""
        return {*IDENTIFIER.findall(f"{self.differs} {self.read} {self.expected}")}


class Check:
    """The guards of one recording.

    Args:
        guards: In the order in which they were found.
        constants: What they name.
    """

    def __init__(self, guards: Sequence[Guard], constants: dict[str, Any]) -> None:
        self.guards = guards
        self._constants = constants
        self.missed: Callable[[], int] = self._compiled()

    def extended(self, guards: Sequence[Guard], constants: dict[str, Any]) -> Check:
        """These guards and others after them."""
        return Check([*self.guards, *guards], {**self._constants, **constants})

    def only(self, guards: Sequence[Guard]) -> Check:
        """Some of these guards."""
        return Check(guards, self._constants)

    def knows(self, thing: Any) -> bool:
        """Whether a guard expects this very object somewhere."""
        held = [x for x in self._constants.values() if type(x) in (list, tuple)]
        return any(thing is x for some in (self._constants.values(), *held) for x in some)

    def identity(self, guard: Guard) -> tuple[Any, ...] | None:
        """Equal for guards that ask the same, whichever recording they come from."""
        if guard.told is not None:
            return None
        names = sorted(guard.constants())
        known = [self._constants.get(name) for name in names]
        values = [repr(x) if isinstance(x, PLAIN) else id(x) for x in known]
        positions = {name: f"#{k}" for k, name in enumerate(names)}
        text = IDENTIFIER.sub(lambda m: positions[m[0]], guard.differs)
        return text, *values

    def _compiled(self) -> Callable[[], int]:
        """The function: -1 if all guards hold, else the number of one that does not."""
        scope = {**TOOLS, **self._constants}
        lines, tests = ["def missed():", " try:"], dict(enumerate(self.guards))
        for group in groups_of(self.guards):
            lines.append(f"  if not {at_once(group, scope)}:")
            lines += [f"   if {tests.pop(k).differs}: return {k}" for k in group.places]
        lines += [f"  if {guard.differs}: return {k}" for k, guard in tests.items()]
        lines += ["  return -1", " except Exception:", f"  return {len(self.guards)}"]
        exec(compile("\n".join(lines), "<guards>", "exec"), scope)
        return scope["missed"]

    def first(self, missed: int) -> Guard:
        """The guard of that number; where a name is gone, the first that needs it."""
        if missed < len(self.guards):
            return self.guards[missed]
        scope = {**TOOLS, **self._constants}
        for guard in self.guards:
            try:
                if eval(guard.differs, scope):
                    return guard
            except Exception:
                return guard
        return self.guards[-1]

    def missing(self) -> list[tuple[Guard, Any]]:
        """All guards that do not hold, each with the value that it expects."""
        scope, found = {**TOOLS, **self._constants}, list[tuple[Guard, Any]]()
        for guard in self.guards:
            try:
                holds = not eval(guard.differs, scope)
            except Exception:
                holds = False
            if not holds:
                found.append((guard, scope.get(guard.expected, MISSING)))
        return found

    def exchanged(self) -> list[tuple[Guard, list[Key]]]:
        """Guards that hold, but for an equal value that is another object, and where these are."""
        found = list[tuple[Guard, list[Key]]]()
        for guard in self.guards:
            where, before = guard.where, self._constants.get(guard.expected, MISSING)
            if where is None or guard.read.startswith("kind("):
                continue
            if isinstance(where, Contents):
                same = where.is_same(before)
            else:
                same = not isinstance(before, LENIENT) or now(where) is before
            if not same and (keys := changed(where, before)):
                found.append((guard, keys))
        return found

    def places(self) -> set[Key]:
        """Where values are others than recorded."""
        return {key for guard, before in self.missing() for key in changed(guard.where, before)}

    def reason(self, missed: int) -> str:
        """What has changed, in words: `global factor: 2.0 -> 3.0`."""
        guard = self.first(missed)
        if guard.told is not None:
            return guard.told()
        if not guard.read:
            return f"{guard.place} changed"
        scope = {**TOOLS, **self._constants}
        before = scope.get(guard.expected, MISSING)
        try:
            now = eval(guard.read, scope)
        except Exception:
            return f"{guard.place} is gone"
        if shown(before) == shown(now):
            return f"{guard.place}: another {type(now).__name__}"
        return f"{guard.place}: {shown(before)} -> {shown(now)}"

    def texts(self) -> list[str]:
        """Each guard on a value, with its line and the value that it expects."""
        return [
            f"{guard.origin.line}: {guard.place} is {shown(self._constants[guard.expected])}"
            for guard in self.guards
            if guard.expected and guard.origin is not None
        ]


# ----- many items of one dict are compared at once, and one by one where an object is another -----


class Group:
    """Guards on items of one dict.

    Args:
        space: The name of the dict.

    Attributes:
        places: The numbers of the guards.
        expected: By key of the dict, the name of the value.
    """

    def __init__(self, space: str) -> None:
        self.space = space
        self.places: list[int] = []
        self.expected: dict[str, str] = {}


def groups_of(guards: Sequence[Guard]) -> list[Group]:
    """The groups that are worth it; none where nothing is native."""
    groups: dict[str, Group] = {}
    for k, guard in enumerate(guards):
        item = ITEM.fullmatch(guard.read)
        identical = f"{guard.read} is not {guard.expected}"
        if item and guard.differs in (
            identical,
            f"{identical} and differs({guard.read}, {guard.expected})",
        ):
            group = groups.setdefault(item[1], Group(item[1]))
            if group.expected.setdefault(item[2], guard.expected) == guard.expected:
                group.places.append(k)
    native = config().target == "cpu"
    return [group for group in groups.values() if native and len(group.places) >= GROUPED]


def at_once(group: Group, scope: dict[str, Any]) -> str:
    """The expression that is true when all items are the recorded objects."""
    from jit.runtime.native import same  # LLVM is loaded when something is compiled

    space, k = scope[group.space], len(scope)
    items = f"{group.space}.values()"
    keys = [*group.expected]
    if type(space) is dict and space.keys() == group.expected.keys():
        keys = [*space]
    else:
        scope[f"get{k}"] = itemgetter(*keys)
        items = f"get{k}({group.space})"
    scope[f"same{k}"] = same([scope[group.expected[key]] for key in keys])
    return f"same{k}(*{items})"


def shown(value: Any) -> str:
    """A value in a message: plain ones as Python writes them, others by their class."""
    if value is MISSING:
        return "nothing"
    plain = isinstance(value, tuple | list | set | frozenset | dict)
    if isinstance(value, PLAIN) or (plain and all(isinstance(x, PLAIN) for x in value)):
        text = repr(value)
    elif callable(value) and hasattr(value, "__qualname__"):
        text = value.__qualname__
    elif isinstance(value, TensorType):
        text = f"any {value}"
    elif isinstance(value, Tensor):
        text = f"{type(value).__name__} {value.type}"
    else:
        text = f"{type(value).__name__} object"
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


# ----- what the generated function calls where identity does not decide -----


def differs(now: Any, then: Any) -> bool:
    """Whether a value is another one; equal plain values are not, wherever they come from."""
    if now is then:
        return False
    kind = type(then)
    if type(now) is not kind:
        return True
    if kind in (float, complex):
        return repr(now) != repr(then)  # tells 0.0 from -0.0; nan is nan
    if kind in (bool, int, str, bytes, range, type(None)):
        return now != then
    if kind in (tuple, frozenset):
        return len(now) != len(then) or any(map(differs, now, then))
    if issubclass(kind, np.generic):
        return now.dtype != then.dtype or now.tobytes() != then.tobytes()
    if issubclass(kind, np.dtype):
        return now != then
    return not (
        kind is MethodType and now.__self__ is then.__self__ and now.__func__ is then.__func__
    )


def is_empty(cell: Any) -> bool:
    """Whether a closure's cell has no value yet."""
    try:
        _ = cell.cell_contents
    except ValueError:
        return True
    return False


def is_unset(get: Callable[[Any], Any], thing: Any) -> bool:
    """Whether a slot has no value."""
    try:
        get(thing)
    except AttributeError:
        return True
    return False


def items_differ(now: Any, then: tuple[Any, ...]) -> bool:
    """Whether the items of a container, in order, are others."""
    return any(map(differs, now, then))


TOOLS = {
    "differs": differs,
    "items_differ": items_differ,
    "is_empty": is_empty,
    "is_unset": is_unset,
    "keys": dict.keys,
    "values": dict.values,
    "bytes": bytes,
    "is_not": is_not,
    "any": any,
    "map": map,
    "len": len,
    "type": type,
    "getattr": getattr,
    "kind": kind,
    "__builtins__": {"Exception": Exception},
}
