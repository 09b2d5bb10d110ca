"""Recorder: calls that are recorded while Python runs, and what becomes of the recordings."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any

from dualflow.core import tree
from dualflow.core.context import using
from dualflow.core.number import plain
from dualflow.tracing import breakpoints, outlets
from dualflow.tracing.arrivals import Arrivals
from dualflow.tracing.cells import StateCell
from dualflow.tracing.control.nested import Nested
from dualflow.tracing.decorated import named
from dualflow.tracing.entries import Entry
from dualflow.tracing.guards.kept import asking
from dualflow.tracing.handback import Handback
from dualflow.tracing.history import is_tracked
from dualflow.tracing.joins.crossings import Crossings
from dualflow.tracing.leaves import standing
from dualflow.tracing.limits import Limits
from dualflow.tracing.passed import Left, Passed, nodes_of, passing
from dualflow.tracing.path import instead_of, opaque
from dualflow.tracing.refusal import leading
from dualflow.tracing.signature import CIRCULAR, Call
from dualflow.tracing.states import Volatile
from dualflow.tracing.trace import Trace
from jit.collector import collector_paused
from jit.dims import recording_guesses
from jit.errors import LaunchError, NumericsError

MAX_CREATIONS = 3  # recordings in a row that may create state before segments take over
GROWS_ARGUMENTS = (
    "it makes a list longer that was passed to it",
    "return what is new, or append to a list of the enclosing scope",
    "effect",
)
FILLS_ARGUMENTS = (
    "it puts something into a list or dict that was passed to it which others hold too",
    "put only what is new there",
    "effect",
)
CHANGES_SETS = (
    "it changes a set that was passed to it, which counts by what is in it",
    "return another set",
    "effect",
)
KNOWS_ARGUMENTS = (
    "it is passed a list, dict or tensor that it reaches in other ways too, or keeps a tensor in "
    "several places, and changes or compares it",
    "return what is new, and pass what nobody else has",
)
GIVEN_UP = {"arguments": KNOWS_ARGUMENTS, "circle": CIRCULAR}


class Known(Exception):  # noqa: N818 - ends a recording, whose call runs in Python instead
    """A call has changed a copy of what it also reaches without its arguments."""


SETTING = "create and set state outside, or keep what changes in a df.Variable"


class Recording:
    """One call that is recorded.

    Args:
        name: Of the function.
        python: The function.
        entry: Whose call it is.
        call: The arguments.
        volatile: Which state differs from call to call.

    Attributes:
        trace: What is recorded.
    """

    def __init__(
        self, name: str, python: Callable[..., Any], entry: Entry, call: Call, volatile: Volatile
    ) -> None:
        self.trace = trace = Trace(name, volatile)
        trace.postpone()
        trace.nested = Nested(trace)
        self._python = python
        self._entry = entry
        self._call = call
        names, pattern = entry.names, entry.pattern
        self._tensors = trace.arguments(
            call.tensors, entry.shapes(call), [names[k] for k in call.places]
        )
        numbers = {k: trace.scalars.argument(call.leaves[k], names[k]) for k in pattern.numbers}
        self.passed = Passed(call.given, call.arguments(self._tensors, numbers), call.leaves)
        self._arguments = self.passed.working
        self._leaves = tree.flatten(self._arguments)[0]
        self._context = copy_context()
        self._sets = [(x, frozenset(x)) for x in call.leaves if type(x) is set]
        trace.passed = self.passed

    @contextmanager
    def in_force(self) -> Iterator[None]:
        """A `with` block in which ops are recorded, and what comes of them is compiled."""
        trace = self.trace
        guesses = recording_guesses(trace.scalars.guesses)
        with collector_paused(), using(trace=trace), guesses, breakpoints.noted:
            yield

    def run(self) -> Any:
        """Runs Python."""
        trace, entry, (args, kwargs) = self.trace, self._entry, self._arguments
        trace.scalars.open()
        trace.crossings = Crossings(entry.sites, sys._getframe(), self._python)
        names = dict(zip(entry.names, self._leaves, strict=False)) | self._call.labelled
        with outlets.noted, trace.watch(self._python, names):
            self._foresee()
            result = self._python(*args, **kwargs)
            for x in tree.flatten(result)[0]:
                if type(x) is slice:  # a leaf: later calls return it as it is
                    plain(x)
        trace.states.lift()  # where numbers had stand-ins lies again what the caller has there
        if self.passed.is_known(trace.existed) or self._is_kept():
            if trace.can_be_undone():
                raise Known
            trace.refuse(*KNOWS_ARGUMENTS)
        if self.passed.grows:
            trace.refuse(*GROWS_ARGUMENTS)
        elif self.passed.changed and not self.passed.is_fresh(result, trace.existed):
            trace.refuse(*FILLS_ARGUMENTS)
        if any(x != before for x, before in self._sets):
            trace.refuse(*CHANGES_SETS)
        trace.watched(args, kwargs, result)
        return result

    def _foresee(self) -> None:
        """Ends the recording before it begins, where code asks for what copies do not show."""
        asks = asking(self._python)
        for function in asks:
            self.trace.foresee(function)
        if asks and self._is_kept():
            raise Known

    @property
    def _passed_things(self) -> list[Any]:
        """What the call was passed of which it may have copies."""
        return [*self._call.tensors, *self.passed.own]

    @property
    def kept(self) -> set[int]:
        """Ids of what calls like this may not pass."""
        return self.trace.kept(lists=bool(self.passed.own))

    def _is_kept(self) -> bool:
        """Whether something has a stand-in that code can also come to, and may compare with it."""
        kept = self.kept
        known = bool(kept) and any(id(x) in kept for x in self._passed_things)
        return known or self.trace.mixes()

    def cause_of(self, error: Exception) -> str | None:
        """What of the recording may cause an error that Python does not have; None: it is Python's.

        A call that did something which lasts is not made again.
        """
        trace = self.trace
        if isinstance(error, Known):
            return "arguments"
        if isinstance(error, tree.CircularError) and trace.can_be_undone():
            return "circle"
        cause = trace.states.may_cause(error)
        if trace.drawn() or any(x.kind in ("impure", "random") for x in trace.refusals):
            return None  # nobody can undo that
        if cause is None and (other := self._entry.pattern.may_cause(error)) is not None:
            cause = other if trace.can_be_undone() else None
        planted = trace.crossings is not None and trace.crossings.may_cause(error)
        if cause is None and planted and trace.can_be_undone():
            cause = "state"
        return cause

    def close(self, result: Any, *, undone: bool) -> Any:
        """Gives the caller's own arguments what became of their copies, and lets go of all.

        Args:
            result: What the call has returned, or raised.
            undone: Whether the call is to have done nothing.

        Returns:
            The result with what is the caller's.
        """
        call = self._call
        if not undone:
            result = self._hand_back(result)
        else:
            for x, before in self._sets:
                x.intersection_update(before)
                x.update(before)
        if self.trace.refusals:  # a tape from outside may have been told to watch an argument
            for x, alias in zip(call.tensors, self._tensors, strict=True):
                x.record = x.record or alias.record
        self.trace.release()
        return result

    def _hand_back(self, result: Any) -> Any:
        """Has Python hold the caller's own things wherever the call can have put others.

        What is in copies of the caller's lists and dicts goes into these.
        """
        original, passed = self.trace.stand_ins.original, self.passed
        self.trace.states.lift()
        handed = Handback(lambda x: passed.own_of(original(x)), self.trace.existed)
        handed.all(self.trace.writable())
        handed.variables(self._context)
        passed.write(handed.of)
        return passed.returned(handed.of(result), original)


class Recorder:
    """Records the calls of one function.

    Args:
        name: Of the function.
        python: The function.
        volatile: Which state differs from call to call.
        limits: Says when there are too many recordings.
        arrivals: Makes paths of them.
    """

    def __init__(
        self,
        name: str,
        python: Callable[..., Any],
        volatile: Volatile,
        limits: Limits,
        arrivals: Arrivals,
    ) -> None:
        self._name = name
        self._python = python
        self._volatile = volatile
        self._limits = limits
        self._arrivals = arrivals
        self._busy = False

    def begin(self) -> bool:
        """Whether a call may be recorded: one at a time, as its stand-ins lie in Python's state.

        The caller holds the lock, and calls `end` afterwards.
        """
        busy, self._busy = self._busy, True
        return not busy

    def end(self) -> None:
        """Other calls may be recorded now."""
        self._busy = False

    def record(self, entry: Entry, call: Call) -> Any:
        """Serves a call by Python, and makes a path of it if that can be."""
        started = time.perf_counter()
        recording = Recording(self._name, self._python, entry, call, self._volatile)
        trace = recording.trace
        trace.compiling = self._limits.compiling
        arguments = {id(x) for x in (*call.by_identity(), *named(self._python))}
        again, result, undone = None, None, False
        try:
            with recording.in_force():
                result = recording.run()
                left = standing(recording.passed.left(result), trace.existed)
                self._keep(entry, call, trace, left, arguments)
                if kept := recording.kept:
                    cells = [x for x in trace.cells if isinstance(x, StateCell)]
                    entry.kept.add(kept, trace.fixed_tensors(), cells)
        except (NumericsError, LaunchError):
            undone = True
            trace.restore()
            raise
        except Exception as error:
            again, result = recording.cause_of(error), error  # which may hold arguments, too
            if again is None:
                raise
            undone = True
            trace.restore(python=True)
        finally:
            result = recording.close(result, undone=undone)
        if again is not None:
            with outlets.said(trace.ledger.said):
                result = run(self._python, call)  # raises eager's own error, if it is the program's
            if again in GIVEN_UP:
                self._limits.give_up(entry, *GIVEN_UP[again])
            elif again != "state":  # else numbers of the state have no stand-ins any more
                why = "Python code does not take them"
                self._limits.part(entry, numbers=again == "numbers", why=why)
            return result
        self._limits.tell_decided(entry, call, trace)
        entry.key = call.key
        self._limits.recordings += 1
        entry.info.seconds += time.perf_counter() - started
        return result

    def _keep(
        self, entry: Entry, call: Call, trace: Trace, result: Any, arguments: set[int]
    ) -> None:
        """Makes a path of a finished recording, or says why it cannot be one."""
        entry.stopped = trace.stopped
        if trace.stopped is not None:  # the next call shall stop there too
            return
        refuse_result(trace, result, arguments)
        trace.anew.update(map(id, nodes_of(result)))
        news = trace.news()
        if (refusal := leading(trace.refusals)) is not None:
            self._limits.give_up(entry, refusal.reason, refusal.remedy)
        elif news is not None:
            entry.creations += 1
            if entry.creations >= MAX_CREATIONS * (1 + trace.states.learned):
                self._limits.give_up(entry, f"every call {news}", SETTING)
        elif not trace.variables.disturbed():
            entry.creations = 0
            self._limits.check_paths(entry)
            if entry.segments is None:
                if isinstance(result, Left):
                    entry.leaves, entry.reached = True, entry.reached | trace.reached()
                path = self._arrivals.add(entry, call, trace, result)
                if path is not None:
                    trace.fill(path.executable, path.donated)


def refuse_result(trace: Trace, result: Any, arguments: set[int]) -> None:
    """Refuses what no path can return or assign.

    Args:
        trace: The finished recording.
        result: What the call returned.
        arguments: Ids of what may be returned as it is.
    """
    leaves = tree.flatten(result)[0]
    trace.check_state()
    if trace.custom_rules and any(is_tracked(x, trace.start) for x in leaves):
        reason = f"custom_gradient of {trace.custom_rules[0]} is differentiated from outside"
        trace.refuse(reason, "ask for gradients inside the function")
    if made := [type(x).__name__ for x in leaves if opaque(x, arguments)]:
        reason = f"it returns a {made[0]}, which only Python can make"
        trace.refuse(reason, instead_of(made[0]))


def run(python: Callable[..., Any], call: Call) -> Any:
    """Calls Python with the arguments of a call."""
    return passing(python, call.given, call.working)
