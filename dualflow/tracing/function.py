"""`@function`: a callable whose calls are recorded once per signature and path, then replayed."""

from __future__ import annotations

import functools
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, overload

from dualflow.core import tree
from dualflow.core.context import context, using
from dualflow.core.number import value_of
from dualflow.core.source import user_line, warn_user
from dualflow.errors import FunctionWarning
from dualflow.tracing import modes
from dualflow.tracing.bound import BoundFunction
from dualflow.tracing.entries import Entries, Entry
from dualflow.tracing.explain import Explanation, TraceInfo, all_functions, counted, explain
from dualflow.tracing.gradient import unsettled
from dualflow.tracing.parameters import (
    asks_types,
    by_place,
    defined_at,
    describe,
    leaf_names,
    named,
    names_by_place,
)
from dualflow.tracing.path import EntryMiss, ExtentsMiss, Path, StateMiss, is_tracked, opaque
from dualflow.tracing.refusal import leading
from dualflow.tracing.retraces import Change, Retraces, change_of, decided, nearest_change
from dualflow.tracing.segments import in_segments
from dualflow.tracing.signature import Call, take_apart, unchanged, written
from dualflow.tracing.spec import TensorSpec, check_signature
from dualflow.tracing.trace import Trace
from jit.config import config
from jit.dims import recording_guesses
from jit.errors import DualflowError, GuardMiss, TraceError

P = ParamSpec("P")
R = TypeVar("R")
NOTHING = object()  # instead of a result
MAX_CREATIONS = 3  # recordings in a row that may create state before segments take over
SETTING = "create and set state outside, or keep what changes in a df.Variable"


class Function:
    """A function in two modes; made by `df.function`.

    Attributes:
        python: The undecorated function.
    """

    def __init__(self, python: Callable[..., Any], options: dict[str, Any]) -> None:
        functools.update_wrapper(self, python, updated=())
        self.python = python
        self.options = options
        self.name = getattr(python, "__name__", type(python).__name__)
        self.entries = Entries()
        self._names = names_by_place(python)
        self.calls = 0
        self.from_graph = 0
        self._lock = threading.RLock()
        self._recent: Entry | None = None  # that of the last call, if it has a shortcut
        self.limit: str | None = None
        self.retraces = Retraces()
        self.recordings = self.replaced = 0
        all_functions[id(self)] = self

    # ----- calling -----

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if context.trace is not None:  # inside of another recording this is a plain call
            return self.python(*args, **kwargs)
        self.calls += 1
        if kwargs:
            args, kwargs = by_place(self._names, args, kwargs)
        if self.options["mode"] == "eager" or modes.mode() == "eager":
            return self._eager(take_apart(args, kwargs))
        if self._recent is not None and not kwargs:
            result = self._again(self._recent, args)
            if result is not NOTHING:
                return result
        call = take_apart(args, kwargs)
        if self.options["input_signature"] is not None:
            check_signature(self.name, self.options["input_signature"], call.tensors)
        entry = self.entries.serving(call)
        if entry is None:
            with self._lock:
                entry = self.entries.serving(call) or self._new_entry(call)
        if entry.segments is not None:
            return self._in_segments(call)
        return self._run(entry, call)

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
        except Exception:  # another type, or a failure: the usual way finds out
            return NOTHING
        self.from_graph += 1
        entry.info.hits += 1
        return result

    def _eager(self, call: Call) -> Any:
        """Runs Python."""
        args, kwargs = given(call)
        return self.python(*args, **kwargs)

    def _in_segments(self, call: Call) -> Any:
        """Runs Python, and its ops in native code between two looks at values."""
        return in_segments(self.python, *given(call))

    def _run(
        self, entry: Entry, call: Call, path: Path | None = None, miss: GuardMiss | None = None
    ) -> Any:
        """Follows paths by their guards' answers; records when none fits or the graph fails.

        Args:
            entry: The paths.
            call: The arguments.
            path: One that was tried already.
            miss: What was found there.
        """
        tried: set[Path] = set()
        numbers = entry.numbers(call)
        if path is not None and miss is not None:
            tried.add(path)
            path = entry.find((*path.answers[: miss.index], miss.actual), tried)  # type: ignore[arg-type]
        else:
            path = entry.last
        failure: Exception | None = None
        changed: StateMiss | None = None
        while path is not None:
            tried.add(path)
            try:
                path.admit(call.leaves)
                result = path.call(call.tensors, numbers)
            except GuardMiss as miss:
                path = entry.find((*path.answers[: miss.index], miss.actual), tried)  # type: ignore[arg-type]
            except ExtentsMiss as reason:
                self._part(entry, numbers=False, why=str(reason))
                return self(*call.given[0], **call.given[1])
            except EntryMiss as other:
                if changed is None and isinstance(other, StateMiss):
                    changed = other
                path = entry.find((), tried)
            except Exception as error:  # the call starts again, and Python raises at its own line
                failure = error
                break
            else:
                entry.last, entry.used = path, self.calls
                if self._recent is not None:
                    self._recent.used = self.calls - 1
                self._recent = entry if path.checks_types and entry.has_shortcut(call) else None
                self.from_graph += 1
                entry.info.hits += 1
                return result
        count = len(entry.paths)
        with self._lock:
            if failure is None and len(entry.paths) > count:  # another thread has recorded
                return self._run(entry, call)
            if changed is not None and not entry.segments:
                self._changed(entry, changed.reason())
            result = self._in_segments(call) if entry.segments else self._record(entry, call)
        if failure is not None:
            warn_user(
                f"{self.name}: the graph failed where Python did not: {failure!r}", FunctionWarning
            )
        return result

    # ----- recording -----

    def _new_entry(self, call: Call) -> Entry:
        self.entries.sweep()
        names = leaf_names(self.python, call)
        change = nearest_change(self.entries.known(), call.key, names)
        why = change.text
        key, pattern, family = self.entries.place(
            call, self.options["input_signature"], numbers=not asks_types(self.python)
        )
        entry = Entry(TraceInfo(describe(call, names), why, user_line()), call.key, pattern, family)
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
        place = defined_at(self.python)
        self.retraces.note(self.name, place, change, self.recordings + 1, spent)

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

    def _changed(self, entry: Entry, what: str) -> None:
        """Python state is not as in any path: a new recording, if earlier ones were of any use."""
        info = entry.info
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
            raise TraceError(
                f"{self.name}: {reason}", "a function that can be compiled whole", remedy
            )
        entry.segments = reason
        warn_user(
            f"{self.name} runs in segments, with Python in between: {reason}. "
            f"To compile it whole, {remedy}.",
            FunctionWarning,
        )

    def _record(self, entry: Entry, call: Call) -> Any:
        started = time.perf_counter()
        trace = Trace(self.name)
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
            with using(trace=trace), recording_guesses(trace.scalars.guesses):
                with trace.watch(self.python, names):
                    result = self.python(*args, **kwargs)
                if not unchanged((args, kwargs), call.spec, leaves):
                    reason = "it changes a list or dict that was passed to it"
                    trace.refuse(reason, "return what is new", "effect")
                trace.watched(args, kwargs, result)
                self._keep(entry, trace, result, kept)
        except Exception as error:
            again = entry.pattern.may_cause(error)
            if again is None:
                raise
        finally:
            if trace.refusals:  # a tape from outside may have been told to watch an argument
                for x, alias in zip(call.tensors, tensors, strict=True):
                    x.record = x.record or alias.record
            trace.release()
            if not unchanged((args, kwargs), call.spec, leaves):
                own = dict(zip(map(id, leaves), tree.flatten(call.given)[0], strict=True))
                written((args, kwargs), call.given, lambda x: own.get(id(x), value_of(x)))
        if again is not None:
            trace.restore()
            result = self._eager(call)  # which raises eager's own error, if it is the program's
            self._part(entry, numbers=again == "numbers", why="Python code does not take them")
            return result
        if entry.paths and (why := trace.scalars.decided()):
            known = {line for path in entry.paths[:-1] for line in path.decided}
            fresh = [line for line in why if line not in known] or why
            self._tell(decided(change_of(entry.key, call.key, entry.names), fresh[0]))
        entry.key = call.key
        self.recordings += 1
        entry.info.seconds += time.perf_counter() - started
        return tree.tree_map(value_of, result) if trace.scalars.used else result

    def _part(self, entry: Entry, *, numbers: bool, why: str) -> None:
        """Numbers, or extents, of such calls cannot vary: each value has a trace from now on."""
        entry.family.refuse(numbers=numbers, why=why)
        self.retraces.events.append(str(entry.family.refusal(numbers=numbers)))
        self.entries.drop(entry)
        self._recent = None

    def _keep(self, entry: Entry, trace: Trace, result: Any, arguments: set[int]) -> None:
        """Makes a path of a finished recording, or says why it cannot be one."""
        leaves = tree.flatten(result)[0]
        trace.check_state()
        if trace.custom_rules and any(map(is_tracked, leaves)):
            reason = f"custom_gradient of {trace.custom_rules[0]} is differentiated from outside"
            trace.refuse(reason, "ask for gradients inside the function")
        if made := [type(x).__name__ for x in leaves if opaque(x, arguments)]:
            trace.refuse(
                f"it returns a {made[0]}, which only Python can make",
                "return tensors in lists, tuples and dicts, or use df.tree.register",
            )
        news = trace.news()
        if (refusal := leading(trace.refusals)) is not None:
            self._give_up(entry, refusal.reason, refusal.remedy)
        elif news is not None:
            entry.creations += 1
            if entry.creations >= MAX_CREATIONS:
                self._give_up(entry, f"every call {news}", SETTING)
        elif not trace.disturbed():
            entry.creations = 0
            bounded = self.options["on_limit"] != "grow"
            if len(entry.paths) >= self.options["max_paths"] and bounded:
                self._limit(entry, f"{len(entry.paths)} paths were recorded", "max_paths")
            if entry.segments is None:
                self._add_path(entry, trace, result)

    def _add_path(self, entry: Entry, trace: Trace, result: Any) -> None:
        """Makes a path; where extents vary it must be right for all of them."""
        fixed = trace.fixed
        if entry.pattern.shapes and fixed is None:
            node = unsettled(trace.graph)
            fixed = node and f"{node.op.name} at {node.source} adds in another order then"
        if fixed is None:
            try:
                with using(trace=None):
                    path = Path(trace, result)
            except DualflowError as error:
                if not entry.pattern.shapes:
                    raise
                fixed = str(error)
            else:
                entry.paths.append(path)
                entry.last, self._recent = path, None
                entry.info.paths = len(entry.paths)
                return
        self._part(entry, numbers=False, why=fixed)

    # ----- methods, and looking inside -----

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else BoundFunction(self, instance)

    @property
    def mode(self) -> str:
        """How calls run now.

        "compiled", "interpreted", "segments (why)", "eager (asked for)", or "not called yet".
        """
        if self.options["mode"] == "eager" or modes.mode() == "eager":
            return "eager (asked for)"
        reasons = [e.segments for e in list(self.entries.values()) if e.segments] + (
            [self.limit] if self.limit else []
        )
        if reasons:
            return f"segments ({reasons[0]})"
        if not self.entries:
            return "not called yet"
        paths = [path for entry in list(self.entries.values()) for path in list(entry.paths)]
        return " and ".join(sorted({path.executable.mode for path in paths})) or "not compiled yet"

    @property
    def graphs(self) -> list[Any]:
        """The optimised graph of every path."""
        return [p.executable.graph for entry in list(self.entries.values()) for p in entry.paths]

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

    def __deepcopy__(self, memo: dict[int, Any]) -> Function:
        return Function(self.python, self.options)

    def __reduce__(self) -> tuple[Any, ...]:
        return (Function, (self.python, self.options))


def given(call: Call) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The caller's own arguments, lists and dicts too, unless arrays must become tensors."""
    return call.arguments(call.tensors) if call.arrays else call.given


@overload
def function(python: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def function(
    *,
    input_signature: Any = None,
    mode: str = "compiled",
    max_traces: int = 16,
    max_paths: int = 256,
    on_limit: str = "segments",
    strict: bool = False,
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def function(
    python: Callable[..., Any] | None = None,
    /,
    *,
    input_signature: Any = None,
    mode: str = "compiled",
    max_traces: int = 16,
    max_paths: int = 256,
    on_limit: str = "segments",
    strict: bool = False,
) -> Any:
    """Decorator: the function is recorded as it runs, and later calls run from the recorded graph.

    Args:
        python: The function, method, lambda, partial or callable object.
        input_signature: A `TensorSpec` per tensor argument; calls that do not fit raise.
        mode: "compiled", or "eager" to switch it off for this function.
        max_traces: Signatures that are recorded before `on_limit` applies.
        max_paths: Ways through the function, per signature, before `on_limit` applies.
        on_limit: What a call of a further kind does: "segments" (Python runs, with a message),
            "error", "grow" (there is no limit) or "replace" (the trace that was not used for the
            longest time makes room).
        strict: Raise where the function would otherwise run in segments.

    Returns:
        A `Function` with the same signature.

    Example:
        >>> import dualflow as df
        >>> @df.function
        ... def f(x):
        ...     return x * 2 + 1
        >>> f(df.asarray([1.0, 2.0])).tolist()
        [3.0, 5.0]
    """
    if on_limit not in ("segments", "error", "grow", "replace"):
        raise ValueError(f"on_limit={on_limit!r}: segments, error, grow or replace")
    if mode not in ("compiled", "eager"):
        raise ValueError(f"mode={mode!r}: compiled or eager")
    options = {
        "input_signature": None if input_signature is None else tuple(input_signature),
        "mode": mode,
        "max_traces": max_traces,
        "max_paths": max_paths,
        "on_limit": on_limit,
        "strict": strict,
    }
    if python is None:
        return lambda f: Function(f, options)
    return Function(python, options)
