"""Sites: the points of a program at which ways may join, and what is noted of one that is reached.

An int or float in a variable that differs between two states that are else alike, such as a
counter, becomes a number that may vary.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import field
from types import CodeType, FrameType
from typing import Any

from dualflow.autodiff.tape import GradientTape
from dualflow.core.source import is_users
from dualflow.tracing.guards.bytecode import names_of
from dualflow.tracing.joins.tapes import Action
from jit.dataclass import dataclass
from jit.ir.graph import Value

Site = tuple[tuple[int, int], ...]  # code and instruction of every frame
Where = tuple[int, str]  # number of a frame, name of a variable
COMPARED = 4  # earlier states of a site that a new one is compared with


@dataclass(frozen=True, slots=True, eq=False)
class Crossing:
    """A question that Python asks, or what it does with a tape, and the state in which it does.

    Attributes:
        number: Among those of the recording, from 0 on.
        key: Equal for states that are alike.
        site: Where in the program it is.
        asked: What is asked; None where it does something.
        action: What it does; None where it asks.
        answer: What Python was told, or what of an answer came of what it does.
        node: How many nodes the graph has before.
        line: How many lines the prologue has there.
        after: How many nodes it has when Python goes on.
        cells: How much state from outside was read before.
        gained: What the action gives to what comes next.
        tapes: Those that are handed over, in the order of their numbers, and whether each of them
            has recorded.
        tick: When it was.
        tensors: What is handed over, in the order of the slots.
        tracked: The slots through which gradients may flow.
        numbers: Names of the numbers that are handed over.
        extents: By name of an extent the slot and the axis where it is found.
        grown: How many items each list has got so far, by id.
        kept: Things that the key knows by identity.
        place: The user's line.
    """

    number: int
    key: Hashable
    site: Site
    asked: Value | None
    action: Action | None
    answer: Any
    node: int
    line: int
    after: int
    cells: int
    gained: tuple[Value, ...]
    tapes: tuple[tuple[GradientTape, bool], ...]
    tick: int
    tensors: tuple[Value, ...]
    tracked: tuple[int, ...]
    numbers: tuple[str, ...]
    extents: dict[str, tuple[int, int]]
    grown: dict[int, int]
    kept: tuple[Any, ...]
    place: str


@dataclass
class Sites:
    """What is known of the points of a function at which ways may join, from all recordings.

    Attributes:
        varying: Variables whose numbers differ from visit to visit.
        blocked: Sites at which ways do not join: what goes on needs more than the state shows.
        plants: Whether numbers may be planted; not where Python code wants plain ones.
        read: Ids of lists that are appended to, but not only.
    """

    varying: dict[tuple[int, str], CodeType] = field(default_factory=dict)
    blocked: dict[Site, None] = field(default_factory=dict)
    seen: dict[Site, list[tuple[Any, ...]]] = field(default_factory=dict)
    plants: bool = True
    read: set[int] = field(default_factory=set)

    def learn(self, site: Site, entries: tuple[Any, ...], around: list[FrameType]) -> bool:
        """Compares a state with earlier ones of its site; whether more varies than was known."""
        known = self.seen.setdefault(site, [])
        if entries in known:
            return False
        before = len(self.varying)
        for other in known:
            found = differing(entries, other)
            if self.plants and all(may_be_planted(around[k], name) for k, name in found):
                more = {(id(around[k].f_code), name): around[k].f_code for k, name in found}
                self.varying.update(more)
        known.append(entries)
        del known[:-COMPARED]
        return len(self.varying) > before


@dataclass(slots=True)
class Swept:
    """A sweep back over records.

    Attributes:
        oldest: The tick of the first one.
        tick: When it was.
        tape: Whose records; None: those of all.
        crossing: Where it was; None where no call can do it again.
    """

    oldest: int
    tick: int
    tape: GradientTape | None
    crossing: Crossing | None = None


def may_be_planted(frame: FrameType, name: str) -> bool:
    """Whether a variable is the user's, and of this call: not one of a function around."""
    code = frame.f_code
    return is_users(frame) and name not in code.co_freevars and not names_of(code).types


def differing(a: tuple[Any, ...], b: tuple[Any, ...]) -> list[Where]:
    """The variables with other numbers, where two states differ in nothing else."""
    if len(a) != len(b):
        return []
    found: list[Where] = []
    for (k, name, part), (_, _, other) in zip(a, b, strict=True):
        if part == other:
            continue
        if not name or part[0] not in ("int", "float") or other[0] not in (part[0], "number"):
            return []
        found.append((k, name))
    return found
