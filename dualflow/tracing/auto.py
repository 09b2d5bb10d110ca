"""`mode="auto"`: the two modes are measured on the program's own calls, and the faster one serves.

Python runs first. What calls of one kind have spent there is weighed against what a recording is
likely to cost: as soon as it is a quarter, the next call is recorded. Then a few calls of each mode
are timed in turn, and the faster one is taken; now and then a single call looks again whether it
still is. Of short calls most go by unlooked at: the clock would take longer than they do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from dualflow.core.source import warn_user
from dualflow.errors import FunctionWarning
from dualflow.tracing.path import Path
from dualflow.tracing.signature import LEAVES, Call

if TYPE_CHECKING:
    from dualflow.tracing.function import Function

EAGER, GRAPH = "eager", "graph"
PLAIN = LEAVES - {np.ndarray}  # arguments that Python may be given as they are
LIKELY = 0.05  # seconds that a first recording takes, as long as the function has had none
WAITED = 0.25  # share of a recording's seconds that Python spends before: most recordings pay
LEAST = 2  # calls in Python before a recording: the first one makes eager's own kernels
SAMPLES = 7  # calls of each mode before one is chosen; of each the median counts
KEPT = 9  # and of those measured later the latest
WORTH = 1.05  # a mode that is not faster by this does not replace the other
AGAIN = 256  # calls between two that look whether the other mode is still slower
SHORT, UNSEEN = 1e-3, 63  # seconds of a call that is short; calls like it that are not looked at
LITTLE, MOST = 20e-6, 0.8  # seconds of a call that are overhead; share of a step that is all of it


@dataclass
class Measured:
    """Calls of one kind.

    Attributes:
        seconds: What calls of each mode took, the latest ones.
        spent: Seconds spent in Python so far.
        calls: How many calls were looked at.
        choice: The mode that serves them; None while they are measured.
        unserved: Calls in a row that had to be recorded.
        recorded: Whether a recording was paid for.
    """

    seconds: dict[str, list[float]] = field(default_factory=lambda: {EAGER: [], GRAPH: []})
    spent: float = 0.0
    calls: int = 0
    choice: str | None = None
    unserved: int = 0
    recorded: bool = False

    def add(self, mode: str, seconds: float, unseen: int = 0) -> None:
        """One more call; it stands for those that were not looked at, too."""
        kept = self.seconds[mode]
        kept.append(seconds)
        del kept[:-KEPT]
        self.calls += 1
        self.spent += seconds * (1 + unseen) * (mode == EAGER)

    def unseen(self) -> int:
        """How many calls may go by before the next one that is looked at."""
        mode = self.choice or EAGER
        if self.choice is None and (self.recorded or len(self.seconds[EAGER]) < LEAST):
            return 0
        return UNSEEN if self.seconds[mode] and self.median(mode) < SHORT else 0

    def median(self, mode: str) -> float:
        """What a call of a mode takes."""
        return sorted(self.seconds[mode])[len(self.seconds[mode]) // 2]

    def next_mode(self) -> str:
        """Which mode the next call is to run in, once there is a recording."""
        if self.choice is None:
            counts = {mode: len(seconds) for mode, seconds in self.seconds.items()}
            return min((GRAPH, EAGER), key=counts.__getitem__)
        other = GRAPH if self.choice == EAGER else EAGER
        return other if self.calls % AGAIN == 0 else self.choice

    def decide(self) -> bool:
        """Chooses the faster mode; whether that is another than before."""
        if self.unserved >= SAMPLES and self.choice != EAGER:
            self.choice = EAGER
            return True
        if min(map(len, self.seconds.values())) < SAMPLES:
            return False
        eager, graph = self.median(EAGER), self.median(GRAPH)
        before = self.choice
        if before is None or WORTH * min(eager, graph) < (graph if before == GRAPH else eager):
            self.choice = GRAPH if graph < eager else EAGER
        return self.choice != before

    def __str__(self) -> str:
        if self.choice is None:
            return f"measuring, {self.calls} calls"
        if not self.seconds[GRAPH]:
            return "each call was recorded again"
        eager, graph = (1e3 * self.median(mode) for mode in (EAGER, GRAPH))
        return f"{graph:.3g} ms from the graph, {eager:.3g} ms in Python"


class Auto:
    """Chooses for the calls of one function."""

    def __init__(self) -> None:
        self.kinds: dict[Hashable, Measured] = {}
        self._unseen = 0  # calls that go by until one is looked at
        self._passed = 0  # how many have gone by since the last one

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
        """The mode in which a call may be served that is not looked at; None if it must be."""
        if self._unseen == 0 or kwargs or not all(x.__class__ in PLAIN for x in args):
            return None
        self._unseen -= 1
        self._passed += 1
        (kind,) = self.kinds.values()
        return kind.choice or EAGER

    def serve(self, function: Function, call: Call) -> Any:
        """Serves a call in the mode that is its turn."""
        result = self._served(function, call)
        alone = len(self.kinds) == 1 and function.options["input_signature"] is None
        self._unseen = next(iter(self.kinds.values())).unseen() if alone else 0
        return result

    def _served(self, function: Function, call: Call) -> Any:
        kind = self.kinds.setdefault(call.key, Measured())
        if not kind.recorded and not self._pays(function, kind, call):
            return self._timed(kind, EAGER, lambda: function._eager(call))
        if kind.next_mode() == EAGER:
            result = self._timed(kind, EAGER, lambda: function._eager(call))
        else:
            result = self._from_graph(function, kind, call)
        if kind.decide() and kind.choice == EAGER:
            self._tell(function, kind, call)
        return result

    def _pays(self, function: Function, kind: Measured, call: Call) -> bool:
        """Whether Python has taken its share of what a recording would take, if one is due."""
        entry = function.entries.serving(call)
        if entry is not None and entry.paths:  # made for calls of another kind
            return len(kind.seconds[EAGER]) >= LEAST
        infos = [entry.info.seconds for entry in function.entries.values()]
        likely = max(infos, default=LIKELY)
        return len(kind.seconds[EAGER]) >= LEAST and kind.spent >= WAITED * likely

    def _from_graph(self, function: Function, kind: Measured, call: Call) -> Any:
        """Serves a call by the graph; one that had to be recorded says nothing of its time."""
        served, kind.recorded = function.from_graph, True
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
        else:
            kind.unserved += 1
        return result

    def _timed(self, kind: Measured, mode: str, run: Callable[[], Any]) -> Any:
        start = clock()
        result = run()
        kind.add(mode, clock() - start, self._passed)
        self._passed = 0
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


clock = time.perf_counter
