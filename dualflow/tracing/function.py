"""`@function`: a callable whose calls are recorded once per signature and path, then replayed."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, ParamSpec, TypeVar

from dualflow.core import tree
from dualflow.core.context import context, using
from dualflow.core.number import value_of
from dualflow.core.source import user_line, warn_user
from dualflow.errors import FunctionWarning
from dualflow.tracing import audit, breakpoints, modes, outlets
from dualflow.tracing.arriving import Arriving, cause_of
from dualflow.tracing.decorated import Decorated, Disguised, named
from dualflow.tracing.entries import Entries, Entry, Way
from dualflow.tracing.explain import Explanation, TraceInfo, all_functions, counted, explain
from dualflow.tracing.joins.crossings import Crossings
from dualflow.tracing.ledger import EffectError
from dualflow.tracing.numerics import Checker, NotFinite
from dualflow.tracing.parameters import (
    asks_types,
    by_place,
    defined_at,
    describe,
    leaf_names,
    names_by_place,
)
from dualflow.tracing.path import (
    EntryMiss,
    ExtentsMiss,
    StateMiss,
    instead_of,
    opaque,
)
from dualflow.tracing.recorded import is_tracked
from dualflow.tracing.refusal import leading
from dualflow.tracing.retraces import Change, Retraces, change_of, decided, nearest_change
from dualflow.tracing.segments import in_segments
from dualflow.tracing.signature import Call, given, take_apart, unchanged, written
from dualflow.tracing.spec import TensorSpec, check_signature
from dualflow.tracing.trace import Trace
from jit.config import config
from jit.dims import recording_guesses
from jit.errors import AuditError, GuardMiss, NumericsError, TraceError

P = ParamSpec("P")
R = TypeVar("R")
NOTHING = object()  # instead of a result
MAX_CREATIONS = 3  # recordings in a row that may create state before segments take over
CHANGES_ARGUMENTS = (
    "it changes a list or dict that was passed to it",
    "return what is new",
    "effect",
)
SETTING = "create and set state outside, or keep what changes in a df.Variable"


class Function(Arriving, Decorated):
    """A function in two modes; made by `df.function`.

    Attributes:
        python: The undecorated function.
    """

    def __init__(self, python: Callable[..., Any], options: dict[str, Any]) -> None:
        super().__init__(python, options)
        self.name = getattr(python, "__name__", type(python).__name__)
        self.entries = Entries()
        self._names = names_by_place(python)
        self.calls = 0
        self.from_graph = self.audited = 0
        self._unusual = options["mode"] != "compiled" or options["audit"] > 0.0
        self._lock = threading.RLock()
        self._recent: Entry | None = None  # that of the last call, if it has a shortcut
        self.limit: str | None = None
        self.retraces = Retraces()
        self.recordings = self.replaced = 0
        all_functions[id(self)] = self

    # ----- calling -----

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if context.trace is not None:
            if isinstance(context.trace, Checker) and not context.trace.in_python:
                return self._checked(context.trace, args, kwargs)
            if self.options["input_signature"] is not None:
                with using(trace=None):  # arrays that are looked at here are no inputs
                    self._check_signature(take_apart(args, kwargs))
            return self.python(*args, **kwargs)  # inside of another recording
        self.calls += 1
        if kwargs:
            args, kwargs = by_place(self._names, args, kwargs)
        if self._unusual or modes.mode() != "compiled":
            if self._is_off():
                return self._eager(take_apart(args, kwargs))
            if audit.is_due(self.options["audit"]):
                return audit.serve(self, take_apart(args, kwargs))
        recent = self._recent  # other threads may set it meanwhile
        if recent is not None and not kwargs:
            result = self._again(recent, args)
            if result is not NOTHING:
                return result
        call = take_apart(args, kwargs)
        entry = self._entry_of(call)
        if entry.segments is not None:
            return self._in_segments(call)
        return self._run(entry, call)

    def _entry_of(self, call: Call) -> Entry:
        """The entry for a call, made if it is of a new kind."""
        self._check_signature(call)
        entry = self.entries.serving(call)
        if entry is not None and entry.compiling is not None:
            self._look_after(entry)
            entry = self.entries.serving(call)
        if entry is None:
            with self._lock:
                entry = self.entries.serving(call) or self._new_entry(call)
        return entry

    def _check_signature(self, call: Call) -> None:
        if (specs := self.options["input_signature"]) is not None:
            check_signature(self.name, specs, call.tensors)

    def _checked(self, checker: Checker, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Serves a call whose results are looked at; Python stops where they go wrong."""
        self.calls += 1
        args, kwargs = by_place(self._names, args, kwargs)
        with using(trace=None, checker=checker):
            call = take_apart(args, kwargs)
            with suppress(NotFinite):
                if not self._is_off():
                    entry = self._entry_of(call)
                    if entry.segments is None:
                        return self._run(entry, call)
            return checker.replay(self._eager, (call,), {})

    def _is_off(self) -> bool:
        """Whether compilation is switched off, here or everywhere."""
        return self.options["mode"] == "eager" or modes.mode() == "eager"

    def _again(self, entry: Entry, args: tuple[Any, ...]) -> Any:
        """Serves a call like the last one; NOTHING, and nothing was done, if it is not like it."""
        path, shortcut = entry.last, entry.shortcut
        if path is None or shortcut is None or entry.segments is not None:
            return NOTHING
        found = shortcut.match(args)
        if found is None:
            return NOTHING
        try:
            tensors, numbers = found  # not `*found`, which takes ten times as long
            result = path.call(tensors, numbers)
        except GuardMiss as miss:
            return self._run(entry, take_apart(args, {}), path, miss)
        except EffectError as done:
            raise done.cause from done.cause.__cause__  # the user's own
        except Exception:  # another type, or a failure: the usual way finds out
            return NOTHING
        self.from_graph += 1
        entry.info.hits += 1
        return result

    def _eager(self, call: Call) -> Any:
        """Runs Python."""
        self._check_signature(call)
        args, kwargs = given(call)
        return self.python(*args, **kwargs)

    def _in_segments(self, call: Call) -> Any:
        """Runs Python, and its ops in native code between two looks at values."""
        return in_segments(self.python, *given(call), audit.of_segments())

    def _run(
        self, entry: Entry, call: Call, path: Way | None = None, miss: GuardMiss | None = None
    ) -> Any:
        """Follows paths by their guards' answers; records when none fits or the graph fails.

        Args:
            entry: The paths.
            call: The arguments.
            path: One that was tried already.
            miss: What was found there.
        """
        tried: set[Way] = set()
        numbers = entry.numbers(call)
        if path is not None and miss is not None:
            tried.add(path)
            path = entry.find((*path.answers[: miss.index], miss.actual), tried)  # type: ignore[arg-type]
        else:
            path = entry.last
        failure: Exception | None = None
        changed: StateMiss | None = None
        checker = context.checker
        while path is not None:
            tried.add(path)
            try:
                path.admit(call.leaves)
                run = path.call if checker is None else partial(checker.follow, path)
                result = run(call.tensors, numbers)
            except GuardMiss as miss:
                path = entry.find((*path.answers[: miss.index], miss.actual), tried)  # type: ignore[arg-type]
            except ExtentsMiss as reason:
                self._part(entry, numbers=False, why=str(reason))
                return self(*call.given[0], **call.given[1])
            except EntryMiss as other:
                if changed is None and isinstance(other, StateMiss):
                    changed = other
                path = entry.find((), tried)
            except (NotFinite, AuditError):
                raise
            except EffectError as done:
                raise done.cause from done.cause.__cause__  # the user's own
            except Exception as error:  # the call starts again, and Python raises at its own line
                failure = error
                break
            else:
                self._served(entry, call, path)
                return result
        count = len(entry.parts)
        with self._lock:
            if failure is None and len(entry.parts) > count:  # another thread has recorded
                return self._run(entry, call)
            result = NOTHING if entry.compiling is not None else self._afresh(entry, call, changed)
        if result is NOTHING:
            result = self._meanwhile(entry, call)
        if failure is not None:
            told = f"{self.name}: the graph failed where Python did not: {failure!r}"
            audit.failed(told)
            warn_user(told, FunctionWarning)
        return result

    def _afresh(self, entry: Entry, call: Call, changed: StateMiss | None) -> Any:
        """Serves a call that no path is for."""
        if changed is not None and not entry.segments:
            self._changed(entry, changed)
        return self._in_segments(call) if entry.segments else self._record(entry, call)

    def _served(self, entry: Entry, call: Call, path: Way) -> None:
        """Counts a call that ran from a graph, and has the next one look there first."""
        entry.last, entry.used = path, self.calls
        if (recent := self._recent) is not None:
            recent.used = self.calls - 1
        self._recent = entry if path.checks_types and entry.has_shortcut(call) else None
        self.from_graph += 1
        entry.info.hits += 1

    # ----- recording -----

    def _new_entry(self, call: Call) -> Entry:
        self.entries.sweep()
        names = leaf_names(self.python, call)
        change = nearest_change(self.entries.known(), call.key, names)
        why = change.text
        key, pattern, family = self.entries.place(
            call, self.options["input_signature"], numbers=not asks_types(self.python)
        )
        line = user_line() or defined_at(self.python)
        entry = Entry(TraceInfo(describe(call, names), why, line), call.key, pattern, family)
        entry.names = names
        if config().debug:
            sys.stderr.write(f"# {self.name}: recording, {why} ({entry.info.line})\n")
        policy = self.options["on_limit"]
        if len(self.entries) >= self.options["max_traces"] and policy == "replace":
            self._replace()
        elif len(self.entries) >= self.options["max_traces"] and policy != "grow":
            if self.limit is None:
                self._limit(
                    entry,
                    f"{len(self.entries)} traces were made, the last change: {why}",
                    "max_traces",
                )
                self.limit = entry.segments
            entry.segments = self.limit
            return entry
        self.entries.add(key, entry)
        if change.kind not in ("number", "extent"):
            self._tell(change)
        elif (reason := family.refusal(numbers=change.kind == "number")) is not None:
            self._tell(Change(change.kind, change.where, f"{change.text} ({reason})"))
        return entry

    def _tell(self, change: Change) -> None:
        """Tells why there is one more recording."""
        infos = [entry.info for entry in self.entries.values()]
        spent = sum(info.seconds for info in infos)
        self.retraces.note(self.name, self.python, change, self.recordings + 1, spent)

    def _replace(self) -> None:
        """Drops the trace that was not used for the longest time; tells it the first time."""
        oldest = min(self.entries.values(), key=lambda entry: entry.used)
        self.entries.drop(oldest)
        self._recent = None
        if not self.replaced:
            message = (
                f"{self.name} keeps {self.options['max_traces']} traces: one that was not used for "
                f"long ({oldest.info.key}) makes room for a new one, from now on without a word. "
                "Raise max_traces if they come again."
            )
            self.retraces.events.append(message)
            warn_user(message, FunctionWarning)
        self.replaced += 1

    def _changed(self, entry: Entry, miss: StateMiss) -> None:
        """Python state is not as in any path: a new recording, if earlier ones were of any use."""
        info, what = entry.info, miss.reason()
        self.entries.volatile.places.update(miss.places())
        info.again.append(what)
        entry.unserved = entry.unserved + 1 if entry.hits == info.hits else 1
        entry.hits = info.hits
        if entry.unserved >= self.options["max_traces"] and self.options["on_limit"] != "grow":
            self._limit(entry, f"{what}, and so on at each call", "max_traces")

    def _limit(self, entry: Entry, what: str, option: str) -> None:
        """Applies `on_limit` when there are too many traces or paths."""
        message = f"{what}; {option}={self.options[option]} is reached"
        if self.options["on_limit"] == "error":
            raise TraceError(
                f"{self.name}: {message}",
                "fewer traces",
                f"pass tensors, or df.function({option}=...)",
            )
        self._give_up(entry, f"limit: {message}", f"raise {option}, or pass on_limit='grow'")

    def _give_up(self, entry: Entry, reason: str, remedy: str) -> None:
        """Python runs at every call of this signature from now on, and the user is told once."""
        if self.options["strict"]:
            expected = "a function that can be compiled whole"
            raise TraceError(f"{self.name}: {reason}", expected, remedy)
        entry.segments = reason
        warn_user(
            f"{self.name} runs in segments, with Python in between: {reason}. "
            f"To compile it whole, {remedy}.",
            FunctionWarning,
        )

    def _record(self, entry: Entry, call: Call) -> Any:
        started = time.perf_counter()
        trace = Trace(self.name, self.entries.volatile)
        if not entry.pattern.shapes:
            trace.crossings = Crossings(entry.sites, sys._getframe(), self.python)
        tensors = trace.arguments(
            call.tensors, entry.shapes(call), [entry.names[k] for k in call.places]
        )
        numbers = {
            k: trace.scalars.argument(call.leaves[k], entry.names[k]) for k in entry.pattern.numbers
        }
        args, kwargs = call.arguments(tensors, numbers)
        leaves = tree.flatten((args, kwargs))[0]
        kept = {id(x) for x in (*call.by_identity(), *named(self.python))}
        names = dict(zip(entry.names, leaves, strict=False))
        again, result = None, None
        try:
            with using(trace=trace), recording_guesses(trace.scalars.guesses), breakpoints.noted:
                with outlets.noted, trace.watch(self.python, names):
                    result = self.python(*args, **kwargs)
                if not unchanged((args, kwargs), call.spec, leaves):
                    trace.refuse(*CHANGES_ARGUMENTS)
                trace.watched(args, kwargs, result)
                self._keep(entry, call, trace, result, kept)
        except NumericsError:
            trace.restore()
            raise
        except Exception as error:
            again = cause_of(error, trace, entry.pattern, (args, kwargs))
            if again is None:
                raise
            trace.restore(python=True)
        finally:
            if trace.refusals:  # a tape from outside may have been told to watch an argument
                for x, alias in zip(call.tensors, tensors, strict=True):
                    x.record = x.record or alias.record
            trace.release()
            if not unchanged((args, kwargs), call.spec, leaves):
                own = dict(zip(map(id, leaves), tree.flatten(call.given)[0], strict=True))
                written((args, kwargs), call.given, lambda x: own.get(id(x), value_of(x)))
        if again is not None:
            result = self._eager(call)  # which raises eager's own error, if it is the program's
            if again != "state":  # else numbers of the state have no stand-ins any more
                self._part(entry, numbers=again == "numbers", why="Python code does not take them")
            return result
        self._tell_decided(entry, call, trace)
        entry.key = call.key
        self.recordings += 1
        entry.info.seconds += time.perf_counter() - started
        return tree.tree_map(value_of, result) if trace.scalars.used else result

    def _tell_decided(self, entry: Entry, call: Call, trace: Trace) -> None:
        """Tells that Python decided by a number otherwise than in the paths before."""
        if entry.paths and (why := trace.scalars.decided()):
            known = {line for path in entry.paths[:-1] for line in path.decided}
            fresh = [line for line in why if line not in known] or why
            self._tell(decided(change_of(entry.key, call.key, entry.names), fresh[0]))

    def _part(self, entry: Entry, *, numbers: bool, why: str) -> None:
        """Numbers, or extents, of such calls cannot vary: each value has a trace from now on."""
        with self._lock:
            entry.family.refuse(numbers=numbers, why=why)
            self.retraces.events.append(str(entry.family.refusal(numbers=numbers)))
            self.entries.drop(entry)
            self._recent = None

    def _keep(
        self, entry: Entry, call: Call, trace: Trace, result: Any, arguments: set[int]
    ) -> None:
        """Makes a path of a finished recording, or says why it cannot be one."""
        entry.stopped = trace.stopped
        if trace.stopped is not None:  # the next call shall stop there too
            return
        leaves = tree.flatten(result)[0]
        trace.check_state()
        if trace.custom_rules and any(map(is_tracked, leaves)):
            reason = f"custom_gradient of {trace.custom_rules[0]} is differentiated from outside"
            trace.refuse(reason, "ask for gradients inside the function")
        if made := [type(x).__name__ for x in leaves if opaque(x, arguments)]:
            reason = f"it returns a {made[0]}, which only Python can make"
            trace.refuse(reason, instead_of(made[0]))
        news = trace.news()
        if (refusal := leading(trace.refusals)) is not None:
            self._give_up(entry, refusal.reason, refusal.remedy)
        elif news is not None:
            entry.creations += 1
            if entry.creations >= MAX_CREATIONS * (1 + trace.states.learned):
                self._give_up(entry, f"every call {news}", SETTING)
        elif not trace.disturbed():
            entry.creations = 0
            bounded = self.options["on_limit"] != "grow"
            if len(entry.parts) >= self.options["max_paths"] and bounded:
                self._limit(entry, f"{len(entry.parts)} paths were recorded", "max_paths")
            if entry.segments is None:
                self._add_path(entry, call, trace, result)

    # ----- looking inside -----

    @property
    def mode(self) -> str:
        """How calls run now.

        "compiled", "interpreted", "compiling" (in the background), "segments (why)",
        "eager (asked for)", or "not called yet".
        """
        self._look_round()
        if self._is_off():
            return "eager (asked for)"
        reasons = [e.segments for e in list(self.entries.values()) if e.segments] + (
            [self.limit] if self.limit else []
        )
        if reasons:
            return f"segments ({reasons[0]})"
        if not self.entries:
            return "not called yet"
        entries = list(self.entries.values())
        ways = {"compiling" for entry in entries if entry.compiling is not None}
        ways |= {path.executable.mode for entry in entries for path in entry.parts}
        ways |= {
            f"in Python (breakpoint() at {entry.stopped})" for entry in entries if entry.stopped
        }
        return " and ".join(sorted(ways)) or "not compiled yet"

    @property
    def graphs(self) -> list[Any]:
        """The optimised graph of every path, or stretch of one."""
        return [p.executable.graph for entry in list(self.entries.values()) for p in entry.parts]

    def explain(self) -> Explanation:
        """What was traced, why, and how calls were served; print it."""
        return explain(self)

    def concrete(self, *specs: TensorSpec | Any) -> Any:
        """Traces without running: symbolic arguments in, a compiled graph out.

        Args:
            *specs: A `TensorSpec` (or a tensor, whose type is taken) per tensor argument, other
                values as they are.

        Returns:
            A callable that takes tensors; its `.graph` can be printed.
        """
        from dualflow.tracing.concrete import ConcreteFunction

        return ConcreteFunction(self.python, specs)

    def __repr__(self) -> str:
        traces, calls = counted(len(self.entries), "trace"), counted(self.calls, "call")
        return f"<Function {self.name}: {self.mode}, {traces}, {calls}>"


class FunctionOfObject(Disguised, Function):
    """A Function made of a callable object, such as a Module."""

    def __init__(self, python: Callable[..., Any], options: dict[str, Any]) -> None:
        super().__init__(python, options)
        self._ready = True
