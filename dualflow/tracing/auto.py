"""`mode="auto"`: the two modes are measured on the program's own calls, and the faster one serves.

The first calls run in Python, which tells what one takes there. A kind of calls is recorded as
soon as what that would save, over the calls that are likely to come, is more than what a recording
is likely to take: at once for all but very short or very rare calls. Then the graph is timed. A
mode that is clearly faster is taken at once; else a few calls of each are timed in turn. A process
that finds on disk how such a trial ended before (`trials`) begins with the recording. Now and
then a single call looks again whether the other mode is still slower, seldom enough to cost next
to nothing. Other calls go by unlooked at: the clock would take longer than short ones do.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Hashable
from dataclasses import field
from math import inf
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from dualflow.core.context import context, using
from dualflow.core.source import warn_user
from dualflow.errors import FunctionWarning
from dualflow.tracing import trials
from dualflow.tracing.modes import EAGER
from dualflow.tracing.path import Path
from dualflow.tracing.signature import LEAVES, Call
from jit.dataclass import dataclass

if TYPE_CHECKING:
    from dualflow.tracing.entries import Entry
    from dualflow.tracing.function import Function

GRAPH = "graph"
PLAIN = LEAVES - {np.ndarray}  # arguments that Python may be given as they are
AHEAD = 1000  # calls that a function is likely to be given, at least; else as many as it was
LIKELY, LOADING = 0.05, 0.1  # seconds that a function's first recording takes; a process' first
LATER = 0.5  # share of the first recording's time that the second takes, which has its kernels
SAVED = 0.8  # share of what is not alike in both modes that a graph is likely to save
LEAST = 2  # calls in Python before the first recording: the first one makes eager's own kernels
CLEAR, SEEN = 2.0, 2  # times slower that is clear after so many calls of each mode
SAMPLES = 7  # calls of each mode before one is chosen that is not clear; the median counts
KEPT = 9  # and of those measured later the latest
UNSERVED = 4  # recordings in a row that serve no call: the last
WORTH = 1.05  # a mode that is not faster by this does not replace the other
AGAIN, LOOKS = 256, 0.01  # calls between two looks at the slower mode, at least; what they may cost
SHORT, UNSEEN = 1e-3, 63  # seconds of a call that is short; calls like it that are not looked at
LITTLE, MOST = 20e-6, 0.8  # seconds of a call that are overhead; share of a step that is all of it


@dataclass
class Measured:
    """Calls of one kind.

    Attributes:
        seconds: What calls of each mode took, the latest ones.
        calls: How many there were.
        choice: The mode that serves them; None while they are measured.
        look: The call that looks at the mode that was not chosen.
        unserved: Calls in a row that had to be recorded.
        recorded: Whether there is a recording for them, or was to be one.
        assumed: What a call is taken to last in Python until one was timed, as others do; or None.
        alike: What of a call in Python a graph takes too.
        remembered: Whether `assumed` is what an earlier process has found.
    """

    seconds: dict[str, list[float]] = field(default_factory=lambda: {EAGER: [], GRAPH: []})
    calls: int = 0
    choice: str | None = None
    look: int = 0
    unserved: int = 0
    recorded: bool = False
    assumed: float | None = None
    alike: float = 0.0
    remembered: bool = False

    def add(self, mode: str, seconds: float) -> None:
        """What one more call took."""
        kept = self.seconds[mode]
        kept.append(seconds)
        del kept[:-KEPT]

    def median(self, mode: str) -> float:
        """What a call of a mode takes."""
        return sorted(self.seconds[mode])[len(self.seconds[mode]) // 2]

    def best(self, mode: str) -> float:
        """What a call of a mode takes if nothing else happens meanwhile."""
        assumed = self.assumed if mode == EAGER else None
        return min(self.seconds[mode] or [inf if assumed is None else assumed])

    def knows(self, mode: str, calls: int) -> bool:
        """Whether so many calls of a mode were timed, or need not be."""
        assumed = self.assumed if mode == EAGER else None
        return len(self.seconds[mode]) >= calls or assumed is not None

    def next_mode(self) -> str:
        """Which mode the next call is to run in, once there is a recording."""
        if self.choice is not None:
            other = GRAPH if self.choice == EAGER else EAGER
            return other if self.calls >= self.look else self.choice
        counts = {mode: len(seconds) for mode, seconds in self.seconds.items()}
        return GRAPH if counts[GRAPH] < max(SEEN, counts[EAGER]) else EAGER

    def decide(self) -> bool:
        """Chooses the faster mode; whether that is another than before."""
        before = self.choice
        if self.unserved >= UNSERVED:
            self.choice = EAGER
        elif before is None:
            self.choice = self._clear() or self._faster()
        elif self.calls >= self.look and all(self.seconds.values()):
            faster, slower = sorted((EAGER, GRAPH), key=self.median)
            if WORTH * self.median(faster) < self.median(slower):
                self.choice = faster
        if self.choice is not None and self.calls >= self.look:
            self.look = self.calls + self._pause()
        return self.choice != before

    def _clear(self) -> str | None:
        """The mode that a few calls show to be faster."""
        if not (self.knows(EAGER, SEEN) and self.knows(GRAPH, SEEN)):
            return None
        faster, slower = sorted((EAGER, GRAPH), key=self.best)
        return faster if CLEAR * self.best(faster) < self.best(slower) else None

    def _faster(self) -> str | None:
        """The mode that is faster, once enough calls were timed."""
        enough = min(map(len, self.seconds.values())) >= SAMPLES
        return min((GRAPH, EAGER), key=self.median) if enough else None

    def _pause(self) -> int:
        """How many calls go by until the slower mode is looked at again."""
        if not all(self.seconds.values()):
            first = LOADING / self.median(GRAPH) if self.remembered and self.seconds[GRAPH] else 0
            return max(AGAIN, int(first / LOOKS))
        chosen, other = sorted(map(self.median, (EAGER, GRAPH)))
        return max(AGAIN, int((other / chosen - 1) / LOOKS)) if chosen else AGAIN

    def __str__(self) -> str:
        if self.choice is None:
            return f"measuring, {self.calls} calls"
        if not self.seconds[GRAPH]:
            return "each call was recorded again"
        if not self.seconds[EAGER]:
            return f"{1e3 * self.median(GRAPH):.3g} ms from the graph"
        eager, graph = (1e3 * self.median(mode) for mode in (EAGER, GRAPH))
        return f"{graph:.3g} ms from the graph, {eager:.3g} ms in Python"


class Auto:
    """Chooses for the calls of one function."""

    def __init__(self) -> None:
        self.kinds: dict[Hashable, Measured] = {}
        self._known = WeakKeyDictionary["Entry", Measured]()  # a kind that each was measured by
        self._unseen = 0  # calls that go by until one is looked at
        self._passed = 0  # how many have gone by since the last one
        self._passing = EAGER  # the mode that serves them

    @property
    def mode(self) -> str | None:
        """In words how calls run; None if none was measured."""
        if not self.kinds:
            return None
        chosen = {str(kind.choice or "measuring") for kind in self.kinds.values()}
        names = sorted({"graph": "compiled"}.get(x, x) for x in chosen)
        last = next(reversed(self.kinds.values()))
        return f"auto: {' and '.join(names)} ({last})"

    def passes(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
        """The mode in which a call may be served that is not looked at; None if it must be.

        Of several kinds some may run in Python; those from the graph are known by their shortcut.
        """
        if self._unseen == 0 or kwargs:
            return None
        if self._passing == EAGER and not all(x.__class__ in PLAIN for x in args):
            return None
        self._unseen -= 1
        self._passed += 1
        return self._passing

    def serve(self, function: Function, call: Call) -> Any:
        """Serves a call in the mode that is its turn."""
        kind = self.kinds.get(call.key)
        if kind is None:
            kind = self.kinds[call.key] = self._new(function, call)
        kind.calls += 1
        if kind.choice is not None or len(self.kinds) == 1:  # they are like this one, or as good as
            kind.calls += self._passed
        self._passed = 0
        try:
            return self._served(function, kind, call)
        finally:
            if self._unseen == 0:
                self._pass_by(function)

    def _new(self, function: Function, call: Call) -> Measured:
        """Calls of a kind that there was none of; where others share a graph, as those do."""
        entry = function.entries.serving(call)
        like = self._known.get(entry) if entry is not None else None
        if like is None or like.choice is None:
            known = self._typical()
            if known is not None:
                return Measured(assumed=known.best(EAGER), alike=known.alike)
            seconds = trials.recalled(function.python, call)
            before = seconds is not None
            return Measured(assumed=seconds, recorded=before, remembered=before)
        return Measured(choice=like.choice, look=AGAIN, recorded=True)

    def _typical(self) -> Measured | None:
        """A kind of calls that Python has served lately; None as long as few were timed."""
        kinds = [kind for kind in self.kinds.values() if kind.knows(EAGER, 1)]
        timed = sum(len(kind.seconds[EAGER]) for kind in kinds)
        return kinds[-1] if timed >= LEAST else None

    def _pass_by(self, function: Function) -> None:
        """Lets the next calls go by, if they are short and it is known how they are served."""
        choices = {kind.choice for kind in self.kinds.values()}
        if function.options["input_signature"] is not None:
            return
        if None not in choices:
            self._passing = EAGER if choices == {EAGER} else GRAPH
            self._unseen = UNSEEN
        elif len(self.kinds) == 1:
            (kind,) = self.kinds.values()
            waits = not kind.recorded and len(kind.seconds[EAGER]) >= LEAST
            if waits and kind.best(EAGER) < SHORT:
                self._passing, self._unseen = EAGER, UNSEEN

    def _served(self, function: Function, kind: Measured, call: Call) -> Any:
        kind.recorded = kind.recorded or self._pays(function, kind, call)
        if not kind.recorded:
            return self._in_python(function, kind, call)
        if kind.next_mode() == EAGER:
            result = self._in_python(function, kind, call)
        else:
            result = self._from_graph(function, kind, call)
        if kind.decide():
            if kind.choice == EAGER:
                self._tell(function, kind, call)
            if kind.remembered != (kind.choice == GRAPH):
                self._keep(function, kind, call)
        return result

    def _keep(self, function: Function, kind: Measured, call: Call) -> None:
        """Keeps for later processes that a graph is clearly faster, or that it no more is."""
        clear = kind.choice == GRAPH and CLEAR * kind.best(GRAPH) < kind.best(EAGER)
        if clear or kind.remembered:
            trials.keep(function.python, call, kind.best(EAGER) if clear else None)
            kind.remembered = clear

    def _pays(self, function: Function, kind: Measured, call: Call) -> bool:
        """Whether calls to come save more than a recording takes, if one is needed."""
        if not kind.knows(EAGER, LEAST):
            return False
        entry = function.entries.serving(call)
        if entry is not None and entry.paths:  # made for calls of another kind
            return True
        share = 1.0 if len(self.kinds) == 1 else kind.calls / max(function.calls, 1)
        ahead = max(AHEAD - function.calls, function.calls) * share
        return ahead * self._saved(kind) > price(function)

    def _saved(self, kind: Measured) -> float:
        """What a graph is likely to save in a call: the share that it does for other kinds."""
        for other in reversed(self.kinds.values()):
            if other.seconds[GRAPH] and other.knows(EAGER, 1):
                return (1.0 - other.best(GRAPH) / other.best(EAGER)) * kind.best(EAGER)
        return SAVED * (kind.best(EAGER) - kind.alike)

    def _from_graph(self, function: Function, kind: Measured, call: Call) -> Any:
        """Serves a call by the graph; one that had to be recorded says nothing of its time."""
        served = function.from_graph
        start = clock()
        entry = function._entry_of(call)
        if entry.segments is not None:
            result = function._in_segments(call)
        else:
            result = function._run(entry, call)
        seconds = clock() - start
        if function.from_graph > served or entry.segments is not None:
            kind.add(GRAPH, seconds)
            kind.unserved = 0
            self._known[entry] = kind
        elif entry.compiling is None:
            kind.unserved += 1
        return result

    def _in_python(self, function: Function, kind: Measured, call: Call) -> Any:
        few = kind.choice == GRAPH or (not kind.recorded and len(kind.seconds[EAGER]) < LEAST)
        start = clock()
        with using(once=few, alike=0.0):
            result = function._eager(call)
            kind.alike = context.alike if few else kind.alike
        kind.add(EAGER, clock() - start)
        return result

    def _tell(self, function: Function, kind: Measured, call: Call) -> None:
        """Says that Python is faster, and why; once for each kind of calls."""
        message = f"{function.name} runs in Python: {kind}, {cause(function, call)}."
        function.retraces.events.append(message)
        warn_user(message, FunctionWarning)


def cause(function: Function, call: Call) -> str:
    """Why calls from the graph are no faster, in words."""
    entry = function.entries.serving(call)
    if entry is None or entry.segments is not None:
        return "as Python runs at each call anyway"
    path = entry.last
    if not isinstance(path, Path):
        return "as a call goes through several stretches"
    costs = path.executable.timed(path.inputs(call.tensors, entry.numbers(call)))
    total = sum(cost.seconds for cost in costs)
    if total < LITTLE:
        return "as there is too little to compute for the call itself"
    most = max(costs, key=lambda cost: cost.seconds)
    if path.executable.host_steps:
        return f"as Python computes {path.executable.host_steps[0].label} in both modes"
    if most.seconds > MOST * total:
        return f"as one kernel, {most.part.label}, is nearly all of it"
    return "as its kernels are no faster than eager's"


def price(function: Function) -> float:
    """Seconds that a recording is likely to take."""
    known = [entry.info.seconds for entry in function.entries.values() if entry.info.seconds]
    if known:
        return min(known) if len(known) > 1 else LATER * known[0]
    return LIKELY if "llvmlite.binding" in sys.modules else LIKELY + LOADING


clock = time.perf_counter
