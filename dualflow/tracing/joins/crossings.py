"""Crossings: the questions of one recording, each with the state of the program at that point.

An int or float in a variable that differs between two states that are else alike, such as a
counter, becomes a number that may vary: it is planted in the frame in place of the plain one.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Hashable
from dataclasses import dataclass, field
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any

from dualflow.core.context import context
from dualflow.core.source import is_users, line_of
from dualflow.tracing.guards.places import Untold
from dualflow.tracing.joins import frames
from dualflow.tracing.joins.frames import Opaque
from dualflow.tracing.joins.keys import State
from jit.ir.graph import Value

if TYPE_CHECKING:
    from dualflow.tracing.guards.reach import Reach
    from dualflow.tracing.trace import Trace

Site = tuple[tuple[int, int], ...]  # code and instruction of every frame
Where = tuple[int, str]  # number of a frame, name of a variable
LOOPING = "dualflow.tracing.control.looping"
LOOPS = 3  # visits of one state after which a recording is taken to be a loop
COMPARED = 4  # earlier states of a site that a new one is compared with


@dataclass(frozen=True, slots=True, eq=False)
class Crossing:
    """A question that Python asks, and the state in which it does.

    Attributes:
        number: Among those of the recording, from 0 on.
        key: Equal for states that are alike.
        site: Where in the program it is.
        asked: What is asked.
        answer: What Python was told.
        node: How many nodes the graph has before the question.
        line: How many lines the prologue has there.
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
    asked: Value
    answer: bool | int
    node: int
    line: int
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

    def open(self, crossings: list[Crossing]) -> list[Crossing]:
        """Those at which ways may join."""
        return [x for x in crossings if x.site not in self.blocked]

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


class Crossings:
    """Notes the crossings of one recording.

    Args:
        sites: What is known of the function.
        root: The frame that calls it.
        python: What is called there.

    Attributes:
        found: The crossings, in program order.
        loops: Whether Python comes to the same state again and again.
        learned: Whether it came out that more numbers vary than were known to.
    """

    def __init__(self, sites: Sites, root: FrameType, python: Any) -> None:
        self.found: list[Crossing] = []
        self.loops = self.learned = False
        self._sites = sites
        self._root = root
        self._python = python
        self._visits: dict[Hashable, int] = {}
        self._planted = False
        self._mode = mode()

    def note(self, trace: Trace, asked: Value, answer: bool | int, node: int) -> None:  # noqa: FBT001
        """Python has asked for a value.

        Args:
            trace: The recording.
            asked: The value.
            answer: What it is.
            node: How many nodes come before.
        """
        try:
            crossing = self._crossing(trace, asked, answer, node)
        except (Opaque, Untold):
            return
        if crossing.site in self._sites.blocked:
            return
        trace.variables.forget_aliases()
        self.found.append(crossing)
        trace.ledger.crossing = len(self.found)
        visits = self._visits[crossing.key] = self._visits.get(crossing.key, 0) + 1
        self.loops = self.loops or visits > LOOPS

    def check_grown(self, reach: Reach) -> None:
        """Forgets all, where something else was done to lists than to append to them."""
        if other := reach.moved.grown.keys() - reach.grown_lists():
            self._sites.read.update(other)
            self.found.clear()

    def may_cause(self, error: Exception) -> bool:
        """Whether an error may be there because a number was planted; none are from now on."""
        if not self._planted or type(error) is not TypeError:
            return False
        self._sites.plants = False
        self._sites.varying.clear()
        return True

    def _crossing(self, trace: Trace, asked: Value, answer: Any, node: int) -> Crossing:
        if trace.variables.grads or mode() != self._mode:
            raise Opaque
        around = self._frames()
        site = tuple((id(frame.f_code), frame.f_lasti) for frame in around)
        state, entries = self._seen(trace, around, site)
        outside = around_frames(trace, state, self._sites.read)
        carriers = {name: state.slot_of(x) for name, (x, _) in trace.extents.items()}
        tracked = [k for k, x in enumerate(state.tensors.values()) if x.record is not None]
        return Crossing(
            number=len(self.found),
            key=(site, context.recording, entries, outside, *carriers.values()),
            site=site,
            asked=asked,
            answer=answer,
            node=node,
            line=trace.scalars.begin(),
            tensors=tuple(state.tensors),
            tracked=tuple(tracked),
            numbers=tuple(state.numbers),
            extents={name: (slot, trace.extents[name][1]) for name, slot in carriers.items()},
            grown=trace.growth(),
            kept=(*state.kept, *[x.f_code for x in around], *trace.variables.written),
            place=line_of(around[0]),
        )

    def _seen(
        self, trace: Trace, around: list[FrameType], site: Site
    ) -> tuple[State, tuple[Any, ...]]:
        """What the frames hold, once all numbers vary that are known to."""
        places = self._places(around)
        self._plant(trace, around)
        state, entries = self._state(trace, around, places)
        if self._sites.learn(site, entries, around):
            self.learned = True
            self._plant(trace, around)
            state, entries = self._state(trace, around, places)
            self._sites.learn(site, entries, around)
        return state, entries

    def _frames(self) -> list[FrameType]:
        """From the one that asks to the one that the recording calls."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and not (is_users(frame) or is_looping(frame)):
            frame = frame.f_back
        found: list[FrameType] = []
        while frame is not None and frame is not self._root:
            found.append(frame)
            frame = frame.f_back
        if frame is None or not found or not frames.runs(self._python, found[-1].f_code):
            raise Opaque
        return found

    @staticmethod
    def _places(around: list[FrameType]) -> list[tuple[list[str], list[Any]]]:
        """For each frame the variables that are read later, and its operands."""
        places = [frames.innermost(around[0])]
        places += [frames.calling(frame, around[k]) for k, frame in enumerate(around[1:])]
        return [(sorted(point.live), operands) for point, operands in places]

    @staticmethod
    def _state(
        trace: Trace, around: list[FrameType], places: list[tuple[list[str], list[Any]]]
    ) -> tuple[State, tuple[Any, ...]]:
        """What there is: (frame, variable, what it holds), operands without a name."""
        state = State(trace.computed, trace.scalars, trace.existed)
        entries: list[Any] = []
        for k, (frame, (names, operands)) in enumerate(zip(around, places, strict=True)):
            for name, x in frames.variables(frame, names):
                entries.append((k, name, state.part(x)))
            entries += [(k, "", state.part(x)) for x in operands]
        return state, tuple(entries)

    def _plant(self, trace: Trace, around: list[FrameType]) -> None:
        """Makes numbers vary that are known to do so."""
        for frame in around:
            code = frame.f_code
            names = [name for key, name in self._sites.varying if key == id(code)]
            if names:
                found = {
                    name: trace.scalars.vary(x)
                    for name, x in frames.variables(frame, names)
                    if type(x) in (int, float)
                }
                if found:
                    self._planted = True
                    frames.plant(frame, found)


def around_frames(trace: Trace, state: State, read: Collection[int]) -> tuple[Any, ...]:
    """What makes a state beside the frames: Variables that were assigned, Python's own values.

    Args:
        trace: The recording.
        state: Gives slots.
        read: Ids of lists that are not only appended to.

    Raises:
        Untold: Nobody can say what has changed.
    """
    variables = trace.variables
    written = tuple((id(v), state.part(variables.held(v))) for v in variables.written)
    planted = tuple((key, same, state.part(now)) for key, same, now in trace.states.now())
    changes = tuple((key, state.part(now)) for key, now in trace.changes(read))
    return written, planted, changes


def is_looping(frame: FrameType) -> bool:
    """Whether a frame is a loop of ours around functions of the user's."""
    return frame.f_globals.get("__name__") == LOOPING


def may_be_planted(frame: FrameType, name: str) -> bool:
    """Whether a variable is the user's, and of this call: not one of a function around."""
    code = frame.f_code
    return is_users(frame) and name not in code.co_freevars and "type" not in code.co_names


def mode() -> tuple[Any, ...]:
    """What of this thread's state no way changes where it joins others."""
    return len(context.tapes), context.device, context.checker is None


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
