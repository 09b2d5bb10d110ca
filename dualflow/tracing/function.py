"""`@function`: a callable whose calls are recorded once per signature and path, then replayed."""

from __future__ import annotations

import inspect
import re
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar, overload

from dualflow.core import tree
from dualflow.core.context import context, using
from dualflow.core.source import user_line, warn_user
from dualflow.core.tensor import Tensor
from dualflow.errors import FunctionWarning
from dualflow.tracing import breakpoints, modes
from dualflow.tracing.decorated import DESCRIPTORS, Decorated, Disguised, each, is_object, named
from dualflow.tracing.explain import Explanation, TraceInfo, all_functions, counted, explain
from dualflow.tracing.numerics import Checker, NotFinite
from dualflow.tracing.path import EntryMiss, Path, instead_of, is_tracked, opaque
from dualflow.tracing.segments import in_segments
from dualflow.tracing.shortcut import Shortcut
from dualflow.tracing.signature import (
    Call,
    Identity,
    nearest_difference,
    take_apart,
    unchanged,
    written,
)
from dualflow.tracing.spec import TensorSpec
from dualflow.tracing.trace import Trace
from jit.config import config
from jit.errors import DTypeError, GuardMiss, NumericsError, TraceError

P = ParamSpec("P")
R = TypeVar("R")
LEAF_PATH = re.compile(r"\[([01])\]\[('[^']*'|\d+)\](.*)")  # of (args, kwargs)
NOTHING = object()  # instead of a result
MAX_CREATIONS = 3  # recordings in a row that may create state before segments take over


class Entry:
    """The paths recorded for one signature; `segments` holds the reason if there can be none."""

    def __init__(self, info: TraceInfo) -> None:
        self.info = info
        self.paths: list[Path] = []
        self.last: Path | None = None
        self.segments: str | None = None
        self.stopped: str | None = None  # at which line the last recording met a breakpoint
        self.creations = 0
        self.shortcut: Shortcut | None = None
        self._asked = False

    def has_shortcut(self, call: Call) -> bool:
        """Whether calls like this one, which belongs here, can be recognised without a key."""
        if not self._asked:
            self.shortcut, self._asked = Shortcut.of(call), True
        return self.shortcut is not None

    def find(self, prefix: tuple[bool | int, ...], tried: set[Path]) -> Path | None:
        """A path not tried yet whose first answers are these, the one that served most calls."""
        found = [p for p in self.paths if p not in tried and p.answers[: len(prefix)] == prefix]
        return max(found, key=lambda p: p.hits, default=None)


class Function(Decorated):
    """A function in two modes; made by `df.function`.

    Attributes:
        python: The undecorated function.
    """

    def __init__(self, python: Callable[..., Any], options: dict[str, Any]) -> None:
        super().__init__(python, options)
        self.name = getattr(python, "__name__", type(python).__name__)
        self.entries: dict[Any, Entry] = {}
        self.calls = 0
        self.from_graph = 0
        self._lock = threading.RLock()
        self._recent: Entry | None = None  # that of the last call, if it has a shortcut
        self.limit: str | None = None
        all_functions[id(self)] = self

    # ----- calling -----

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if context.trace is not None:
            if isinstance(context.trace, Checker) and not context.trace.in_python:
                return self._checked(context.trace, args, kwargs)
            if self.options["input_signature"] is not None:
                self._check_signature(take_apart(args, kwargs))
            return self.python(*args, **kwargs)  # inside of another recording
        self.calls += 1
        if self._is_off():
            return self._eager(*args, **kwargs)
        if self._recent is not None and not kwargs:
            result = self._again(self._recent, args)
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
        entry = self.entries.get(call.key)
        if entry is None:
            with self._lock:
                entry = self.entries.get(call.key) or self._new_entry(call)
        return entry

    def _checked(self, checker: Checker, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Serves a call whose results are looked at; Python stops where they go wrong."""
        self.calls += 1
        with using(trace=None, checker=checker):
            with suppress(NotFinite):
                if not self._is_off():
                    call = take_apart(args, kwargs)
                    entry = self._entry_of(call)
                    if entry.segments is None:
                        return self._run(entry, call)
            return checker.replay(self._eager, args, kwargs)

    def _is_off(self) -> bool:
        """Whether compilation is switched off, here or everywhere."""
        return self.options["mode"] == "eager" or modes.mode() == "eager"

    def _again(self, entry: Entry, args: tuple[Any, ...]) -> Any:
        """Serves a call like the last one; NOTHING, and nothing was done, if it is not like it."""
        path, shortcut = entry.last, entry.shortcut
        if path is None or shortcut is None or entry.segments is not None:
            return NOTHING
        tensors = shortcut.tensors(args)
        if tensors is None:
            return NOTHING
        try:
            result = path.call(tensors)
        except GuardMiss as miss:
            return self._run(entry, take_apart(args, {}), path, miss)
        except Exception:  # another type, or a failure: the usual way finds out
            return NOTHING
        self.from_graph += 1
        entry.info.hits += 1
        return result

    def _eager(self, *args: Any, **kwargs: Any) -> Any:
        """Runs Python."""
        call = take_apart(args, kwargs)
        self._check_signature(call)
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
        if path is not None and miss is not None:
            tried.add(path)
            path = entry.find((*path.answers[: miss.index], miss.actual), tried)  # type: ignore[arg-type]
        else:
            path = entry.last
        failure: Exception | None = None
        follow = Path.call if context.checker is None else context.checker.follow
        while path is not None:
            tried.add(path)
            try:
                result = follow(path, call.tensors)
            except GuardMiss as miss:
                path = entry.find((*path.answers[: miss.index], miss.actual), tried)  # type: ignore[arg-type]
            except EntryMiss:
                path = entry.find((), tried)
            except NotFinite:
                raise
            except Exception as error:  # the call starts again, and Python raises at its own line
                failure = error
                break
            else:
                entry.last = path
                self._recent = entry if path.checks_types and entry.has_shortcut(call) else None
                self.from_graph += 1
                entry.info.hits += 1
                return result
        count = len(entry.paths)
        with self._lock:
            if failure is None and len(entry.paths) > count:  # another thread has recorded
                return self._run(entry, call)
            result = self._in_segments(call) if entry.segments else self._record(entry, call)
        if failure is not None:
            warn_user(
                f"{self.name}: the graph failed where Python did not: {failure!r}", FunctionWarning
            )
        return result

    def _check_signature(self, call: Call) -> None:
        specs = self.options["input_signature"]
        if specs is None:
            return
        if len(specs) != len(call.tensors):
            raise DTypeError(
                f"{self.name}: {len(call.tensors)} tensors came, input_signature has {len(specs)}",
                "a tensor for each spec",
                "pass tensors as the signature says",
            )
        for k, (spec, tensor) in enumerate(zip(specs, call.tensors, strict=True)):
            if not spec.accepts(tensor.shape, tensor.dtype):
                raise DTypeError(
                    f"{self.name}: argument {k} is {tensor.type}",
                    f"{spec}, as input_signature says",
                    "convert it, or widen the signature with None",
                )

    # ----- recording -----

    def _new_entry(self, call: Call) -> Entry:
        for key in [
            k for k in self.entries if any(isinstance(p, Identity) and p.gone for p in k[1])
        ]:
            del self.entries[key]
        names = leaf_names(self.python, call)
        why = nearest_difference(list(self.entries), call.key, names)
        entry = Entry(TraceInfo(describe(call, names), why, user_line()))
        if config().debug:
            sys.stderr.write(f"# {self.name}: recording, {why} ({entry.info.line})\n")
        if len(self.entries) >= self.options["max_traces"] and self.options["on_limit"] != "grow":
            if self.limit is None:
                self._limit(
                    entry,
                    f"{len(self.entries)} traces were made, the last change: {why}",
                    "max_traces",
                )
                self.limit = entry.segments
            entry.segments = self.limit
            return entry
        self.entries[call.key] = entry
        return entry

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
        tensors = trace.arguments(call.tensors)
        args, kwargs = call.arguments(tensors)
        leaves = tree.flatten((args, kwargs))[0]
        try:
            with using(trace=trace), breakpoints.noted:
                result = self.python(*args, **kwargs)
                if not unchanged((args, kwargs), call.spec, leaves):
                    reason = "it changes a list or dict that was passed to it"
                    trace.refuse(reason, "return what is new")
                self._keep(entry, trace, result, {id(x) for x in (*leaves, *named(self.python))})
        except NumericsError:
            trace.restore()
            raise
        finally:
            if trace.refusals:  # a tape from outside may have been told to watch an argument
                for x, alias in zip(call.tensors, tensors, strict=True):
                    x.record = x.record or alias.record
            trace.release()
            if not unchanged((args, kwargs), call.spec, leaves):
                own = dict(zip(map(id, leaves), tree.flatten(call.given)[0], strict=True))
                written((args, kwargs), call.given, lambda x: own.get(id(x), x))
        entry.info.seconds += time.perf_counter() - started
        return result

    def _keep(self, entry: Entry, trace: Trace, result: Any, arguments: set[int]) -> None:
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
        if trace.refusals:
            self._give_up(entry, *trace.refusals[0])
        elif news is not None:
            entry.creations += 1
            if entry.creations >= MAX_CREATIONS:
                self._give_up(entry, f"every call {news}", "create and set state once, outside")
        elif not trace.disturbed():
            entry.creations = 0
            if len(entry.paths) >= self.options["max_paths"] and self.options["on_limit"] != "grow":
                self._limit(entry, f"{len(entry.paths)} paths were recorded", "max_paths")
            if entry.segments is None:
                with using(trace=None):
                    path = Path(trace, result)
                entry.paths.append(path)
                entry.last, self._recent = path, None
                entry.info.paths = len(entry.paths)

    # ----- looking inside -----

    @property
    def mode(self) -> str:
        """How calls run now.

        "compiled", "interpreted", "segments (why)", "eager (asked for)", or "not called yet".
        """
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
        ways = {path.executable.mode for entry in entries for path in list(entry.paths)}
        ways |= {
            f"in Python (breakpoint() at {entry.stopped})" for entry in entries if entry.stopped
        }
        return " and ".join(sorted(ways)) or "not compiled yet"

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


class FunctionOfObject(Disguised, Function):
    """A Function made of a callable object, such as a Module."""

    def __init__(self, python: Callable[..., Any], options: dict[str, Any]) -> None:
        super().__init__(python, options)
        self._ready = True


def given(call: Call) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The caller's own arguments, lists and dicts too, unless arrays must become tensors."""
    return call.arguments(call.tensors) if call.arrays else call.given


def leaf_names(python: Callable[..., Any], call: Call) -> list[str]:
    """Each leaf of the arguments under its parameter's name, as in `batch['x']`, for messages."""
    try:
        parameters = list(inspect.signature(python).parameters.values())
    except (TypeError, ValueError):  # written in C
        parameters = []
    named = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    rest = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), "args")

    def name(path: str) -> str:
        which, first, inner = LEAF_PATH.fullmatch(path).groups()  # type: ignore[union-attr]
        if which == "1":
            return first.strip("'") + inner
        k = int(first)
        return (named[k] if k < len(named) else f"{rest}[{k - len(named)}]") + inner

    return [name(path) for path in tree.leaf_paths(tree.unflatten(call.spec, call.leaves))]


def describe(call: Call, names: list[str]) -> str:
    """The signature in a few words."""
    parts = [str(x.type) if isinstance(x, Tensor) else repr(x)[:20] for x in call.leaves]
    return ", ".join(f"{n} {p}" for n, p in zip(names, parts, strict=False))


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
        on_limit: "segments" (with a message), "error" or "grow".
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
    if on_limit not in ("segments", "error", "grow"):
        raise ValueError(f"on_limit={on_limit!r}: segments, error or grow")
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

    def decorate(python: Any) -> Any:
        if isinstance(python, DESCRIPTORS):
            return each(decorate, python)
        return (FunctionOfObject if is_object(python) else Function)(python, options)

    return decorate if python is None else decorate(python)
