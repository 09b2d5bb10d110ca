"""Arriving: paths of a function on their way from a recording to calls that they serve."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

from dualflow.core.context import context, using
from dualflow.tracing.background import Compiling
from dualflow.tracing.entries import Entries, Entry
from dualflow.tracing.gradient import unsettled, watched
from dualflow.tracing.path import Path
from dualflow.tracing.recorded import Recorded, recorded
from dualflow.tracing.signature import Call
from dualflow.tracing.trace import Trace
from dualflow.tracing.varying import Pattern
from jit.errors import DualflowError


class Arriving:
    """Mixed into a function: it makes paths, which may be compiled in the background."""

    entries: Entries
    options: dict[str, Any]
    _lock: threading.RLock  # type: ignore[valid-type]
    _recent: Entry | None

    def wait(self, timeout: float | None = None) -> None:
        """Waits until what is compiled in the background is ready.

        Args:
            timeout: Seconds, at most, for each path; None: as long as it takes.

        Example:
            >>> import dualflow as df
            >>> f = df.function(lambda x: x * 2.0, background=True)
            >>> f(df.asarray([1.0])).tolist()  # in Python
            [2.0]
            >>> f.wait()
            >>> f(df.asarray([1.0])).tolist()  # from the graph
            [2.0]
        """
        for entry in list(self.entries.values()):
            if (compiling := entry.compiling) is not None:
                compiling.wait(timeout)
                self._look_after(entry)

    def _look_round(self) -> None:
        """Takes over what is ready; who only looks is told of no failure."""
        for entry in list(self.entries.values()):
            compiling = entry.compiling
            if compiling is not None and compiling.outcome and compiling.outcome.is_path:
                self._look_after(entry)

    def _add_path(self, entry: Entry, call: Call, trace: Trace, result: Any) -> None:
        """Makes a path; where extents vary it must be right for all of them."""
        fixed = trace.fixed
        if entry.pattern.shapes and fixed is None:
            node = unsettled(trace.graph)
            fixed = node and f"{node.op.name} at {node.source} adds in another order then"
        if fixed is not None:
            self._part(entry, numbers=False, why=fixed)
            return
        background = self.options["background"]
        self._recent = None
        with using(trace=None):
            if entry.join(trace, result):
                return
            found = recorded(trace, result)
            inputs = [*call.tensors, *[cell.holder.tensor for cell in found.cells]]
            foreseen = watched(inputs) if background else ()
            make = partial(path_of, found, foreseen)
            entry.compiling = Compiling(make, background=background)
        self._look_after(entry)

    def _look_after(self, entry: Entry) -> None:
        """Takes a path over that is compiled now."""
        with self._lock:
            compiling = entry.compiling
            if compiling is None or compiling.pending:
                return
            entry.compiling = None
            if compiling.outcome is None:  # its thread is gone: the next call is recorded again
                return
            made, seconds = compiling.outcome
            if isinstance(made, Path):
                entry.add(made)
                entry.info.seconds += seconds * compiling.background
                self._recent = None
            elif isinstance(made, DualflowError) and entry.pattern.shapes:
                self._part(entry, numbers=False, why=str(made))
            elif compiling.background:
                self._give_up(entry, f"compiling it failed: {made!r}", "leave background=True out")
            else:
                raise made

    def _meanwhile(self, entry: Entry, call: Call) -> Any:
        """Serves a call that no path is for, while one is compiled that may be."""
        if context.checker is None:
            return self._eager(call)
        self.wait()  # who checks results looks into the graph
        return self._run(entry, call)

    # ----- what the function brings -----

    def _part(self, entry: Entry, *, numbers: bool, why: str) -> None:
        raise NotImplementedError

    def _give_up(self, entry: Entry, reason: str, remedy: str) -> None:
        raise NotImplementedError

    def _eager(self, call: Call) -> Any:
        raise NotImplementedError

    def _run(self, entry: Entry, call: Call) -> Any:
        raise NotImplementedError


def path_of(found: Recorded, foreseen: tuple[bool, ...]) -> Path:
    """The path of a recording, and the gradients that are foreseen."""
    path = Path(found)
    path.foresee(foreseen)
    return path


def cause_of(error: Exception, trace: Trace, pattern: Pattern, passing: Any) -> str | None:
    """What of a recording may cause an error that plain Python does not have; None: it is Python's.

    Args:
        error: What was raised.
        trace: The recording.
        pattern: What varies between calls of its kind.
        passing: The arguments. A call that did something to last is not made again.
    """
    cause = trace.states.may_cause(error)
    if cause is None and (other := pattern.may_cause(error)) is not None:
        cause = None if trace.did_something(*passing) else other
    planted = trace.crossings is not None and trace.crossings.may_cause(error)
    if cause is None and planted and not trace.did_something(*passing):
        cause = "state"
    return cause
