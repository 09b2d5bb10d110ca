"""Arrivals: paths of a function on their way from a recording to calls that they serve.

To compile a path takes longer than to record it, and pays where calls of its kind come again. So
where the latest kinds of calls did not, as in a stream of trees that differ, a new kind is
compiled at its second call.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from dualflow.core.context import using
from dualflow.tracing.background import Compiling
from dualflow.tracing.cells import GradCell
from dualflow.tracing.entries import Entries, Entry
from dualflow.tracing.example import Example
from dualflow.tracing.limits import Limits
from dualflow.tracing.path import Path
from dualflow.tracing.recorded import Recorded, recorded
from dualflow.tracing.signature import Call
from dualflow.tracing.trace import Trace
from jit.errors import DualflowError

FEW = 4  # kinds of calls in a row that came once, after which others are awaited


class Arrivals:
    """The paths of one function that are being compiled, in the background or at once.

    Args:
        entries: Who gets them.
        limits: Is told of what cannot be compiled.
        background: Whether a thread compiles them.
        patient: Whether kinds of calls may be awaited.
    """

    def __init__(
        self, entries: Entries, limits: Limits, *, background: bool, patient: bool = True
    ) -> None:
        self._entries = entries
        self._limits = limits
        self._background = background
        self._patient = patient and not background

    def add(self, entry: Entry, call: Call, trace: Trace, result: Any) -> Path | None:
        """Makes a path of a recording; where extents vary it must be right for all of them.

        Returns:
            The path, if the recording is one as it stands and is compiled.
        """
        fixed = trace.fixed
        if entry.pattern.shapes and fixed is None:
            from dualflow.tracing.pair import unsettled  # loaded where sizes vary

            node = unsettled(trace.graph)
            fixed = node and f"{node.op.name} at {node.source} adds in another order then"
        if entry.pattern.shapes and fixed is None and isinstance(trace.target, tuple):
            fixed = f"it computes on {' and '.join(trace.target)}"
        if fixed is not None:
            self._limits.part(entry, numbers=False, why=fixed)
            return None
        self._entries.recent = None
        entry.example = Example(call)
        with using(trace=None):
            make = entry.join(trace, result)
            later = make is None and self._seldom(entry)
            if make is None:
                found = recorded(trace, result)
                foreseen = foreseen_of(call, found) if self._background else ()
                make = partial(path_of, found, foreseen)
            entry.compiling = Compiling(make, background=self._background, later=later)
            outcome = None if self._background else entry.compiling.outcome
        if not later:
            self.look_after(entry)
        return outcome.made if outcome is not None and isinstance(outcome.made, Path) else None

    def _seldom(self, entry: Entry) -> bool:
        """Whether this call is the first of its kind, and those of the latest kinds came once."""
        kinds = [x for x in dict.fromkeys(self._entries.values()) if x.paths or x.compiling]
        latest = [each for each in kinds if each is not entry][-FEW:]
        once = not entry.paths and not any(each.info.hits for each in latest)
        return self._patient and once and len(latest) == FEW

    def look_after(self, entry: Entry) -> None:
        """Takes a path over that is compiled, or that waits to be compiled for this call."""
        with self._limits.lock:
            compiling = entry.compiling
            if compiling is None or compiling.pending:
                return
            make = compiling.begin()
        make()
        with self._limits.lock:
            compiling = entry.compiling
            if compiling is None or compiling.pending:
                return
            entry.compiling = None
            if compiling.outcome is None:  # its thread is gone: the next call is recorded again
                return
            made, seconds = compiling.outcome
            if not isinstance(made, Exception):
                entry.add(made)
                entry.info.seconds += seconds * (compiling.background or compiling.later)
                self._entries.recent = None
                return
        if isinstance(made, DualflowError) and entry.pattern.shapes:
            self._limits.part(entry, numbers=False, why=str(made))
        elif compiling.background:
            reason = f"compiling it failed: {made!r}"
            self._limits.give_up(entry, reason, "leave background=True out")
        else:
            raise made

    def look_round(self) -> None:
        """Takes over what is ready; who only looks is told of no failure."""
        for entry in list(self._entries.values()):
            compiling = entry.compiling
            if compiling is not None and compiling.outcome and compiling.outcome.is_path:
                self.look_after(entry)

    def make_awaited(self) -> None:
        """Compiles what waits for a second call."""
        for entry in list(self._entries.values()):
            if entry.compiling is not None and not entry.compiling.begun:
                self.look_after(entry)

    def wait(self, timeout: float | None = None) -> None:
        """Waits until what is compiled in the background is ready, and compiles what is awaited.

        Args:
            timeout: Seconds, at most, for each path; None: as long as it takes.
        """
        for entry in list(self._entries.values()):
            if (compiling := entry.compiling) is not None:
                compiling.wait(timeout)
                self.look_after(entry)


def foreseen_of(call: Call, found: Recorded) -> tuple[bool, ...]:
    """For which inputs of a path the next call may want gradients: never for gradients."""
    from dualflow.tracing.gradient import watched  # loaded where gradients may flow

    cells = [not isinstance(x, GradCell) and any(watched([x.holder.tensor])) for x in found.cells]
    return (*watched(call.tensors), *cells)


def path_of(found: Recorded, foreseen: tuple[bool, ...]) -> Path:
    """The path of a recording, and the gradients that are foreseen."""
    path = Path(found)
    path.foresee(foreseen)
    return path
