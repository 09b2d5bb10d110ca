"""`@function`: a callable whose calls are recorded once per signature and path, then replayed."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from dualflow.core.context import context, using
from dualflow.core.source import warn_user
from dualflow.errors import FunctionWarning
from dualflow.tracing import modes, reports
from dualflow.tracing.arrivals import Arrivals
from dualflow.tracing.decorated import Decorated, Disguised
from dualflow.tracing.entries import Entries, Entry, Way
from dualflow.tracing.explain import Explanation, all_functions, counted, explain
from dualflow.tracing.ledger import EffectError
from dualflow.tracing.limits import Limits
from dualflow.tracing.numerics import Checker, NotFinite
from dualflow.tracing.parameters import by_place, describe, leaf_names, names_by_place
from dualflow.tracing.passed import Left, is_kept, passing, reaches
from dualflow.tracing.path import EntryMiss, ExtentsMiss, StateMiss
from dualflow.tracing.recorder import Recorder, run
from dualflow.tracing.retraces import Retraces
from dualflow.tracing.segments import in_segments
from dualflow.tracing.signature import Call, take_apart
from dualflow.tracing.spec import TensorSpec, check_signature
from jit.errors import AuditError, GuardMiss, LaunchError

if TYPE_CHECKING:
    from dualflow.tracing.audit import Exact
    from dualflow.tracing.auto import Auto

NOTHING = object()  # instead of a result


class Function(Decorated):
    """A function in two modes; made by `df.function`.

    Attributes:
        python: The undecorated function.
        often: The kinds of its calls that were met often in a recording of another function.
        exact: What has its ways checked, if it is decorated so.
    """

    def __init__(self, python: Callable[..., Any], options: dict[str, Any]) -> None:
        super().__init__(python, options)
        self.name = getattr(python, "__name__", type(python).__name__)
        self.entries = Entries()
        self._names = names_by_place(python)
        self.calls = 0
        self.from_graph = self.audited = 0
        self.often = set[Hashable]()
        self.exact = exact() if options["exact"] else None
        self._unusual = (
            options["mode"] != "compiled" or options["audit"] > 0.0 or self.exact is not None
        )
        self._auto = auto() if options["mode"] == "auto" else None
        self._limits = Limits(self.name, python, options, self.entries)
        self._arrivals = Arrivals(
            self.entries,
            self._limits,
            background=options["background"],
            patient=not self._unusual,  # who compares modes wants code at once
        )
        self._recorder = Recorder(
            self.name, python, self.entries.volatile, self._limits, self._arrivals
        )
        all_functions[id(self)] = self

    # ----- calling -----

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        recent = self.entries.recent  # other threads may set it meanwhile
        if recent is not None and not kwargs and (at_once := recent.at_once) is not None:
            result = at_once(args)
            if result is not None:
                self.calls += 1
                self.from_graph += 1
                return result
        if context.trace is not None:
            if isinstance(context.trace, Checker) and not context.trace.in_python:
                return self._checked(context.trace, args, kwargs)
            if self.options["input_signature"] is not None:
                with using(trace=None):  # arrays that are looked at here are no inputs
                    self._check_signature(take_apart(args, kwargs))
            nested = getattr(context.trace, "nested", None)
            if nested is not None:
                return nested.call(self, args, kwargs)
            return self.python(*args, **kwargs)  # inside of another recording
        self.calls += 1
        if kwargs:
            args, kwargs = by_place(self._names, args, kwargs)
        if self._unusual or modes.mode() != "compiled":
            if self._is_off():
                return self._eager(take_apart(args, kwargs))
            if self.options["audit"] or modes.mode() == "audit":
                from dualflow.tracing import audit  # loaded when something is audited

                if audit.is_due(self.options):
                    return self._watched(audit.serve, args, kwargs)
            if self.exact is not None and self.exact.is_due(self):
                return self._watched(self.exact.serve, args, kwargs)
            if self._auto is not None:
                return self._by_choice(self._auto, args, kwargs)
        if recent is not None and not kwargs:
            result = self._again(recent, args)
            if result is not NOTHING:
                return result
        call = take_apart(args, kwargs)
        if is_batch(call):
            return self.python(*args, **kwargs)
        entry = self._entry_of(call)
        if entry.segments is not None:
            return self._in_segments(call)
        return self._run(entry, call)

    def _by_choice(self, auto: Auto, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Serves a call in the faster mode, or finds out which that is."""
        way, recent = auto.passes(args, kwargs), self.entries.recent
        if way == modes.EAGER:
            return self.python(*args)
        if way is not None and recent is not None:
            result = self._again(recent, args)
            if result is not NOTHING:
                return result
        return self._watched(auto.serve, args, kwargs)

    def _watched(
        self, serve: Callable[[Function, Call], Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Has a call served by who looks at it; of a batch of examples vmap applies the ops."""
        call = take_apart(args, kwargs)
        if call.unknown is not None:  # there is no graph to look at
            self._entry_of(call)
            return self._in_segments(call)
        return self.python(*args, **kwargs) if is_batch(call) else serve(self, call)

    def _entry_of(self, call: Call) -> Entry:
        """The entry for a call, made if it is of a new kind."""
        self._check_signature(call)
        entry = self.entries.serving(call)
        if entry is not None and entry.compiling is not None:
            self._arrivals.look_after(entry)
            entry = self.entries.serving(call)
        if entry is None:
            names = leaf_names(self.python, call)
            told = describe(call, names)
            with self._limits.lock:
                entry = self.entries.serving(call) or self._limits.admit(call, names, told)
                if call.unknown is not None:
                    self._limits.give_up(entry, *call.unknown)
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
        if entry.asked is not path and not self._unusual:
            entry.look_for_quickest(path, tensors)
        return result

    def _eager(self, call: Call) -> Any:
        """Runs Python."""
        self._check_signature(call)
        return run(self.python, call)

    def _in_segments(self, call: Call) -> Any:
        """Runs Python, and its ops in native code between two looks at values."""

        def run(*args: Any, **kwargs: Any) -> Any:
            return in_segments(self.python, args, kwargs, look)

        look = None
        if context.checker is not None:
            from dualflow.tracing import audit

            look = audit.of_segments()
        return passing(run, call.given, call.working)

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
        known = entry.leaves and reaches(call.given, entry.reached)
        if known or (entry.kept and is_kept(call, entry.kept)):
            return self._in_segments(call)
        tried: set[Way] = set()
        before, numbers = len(entry.parts), entry.numbers(call)
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
                path.admit(call.looked_at)
                follow = path.call if checker is None else partial(checker.follow, path)
                result = follow(call.tensors, numbers)
            except GuardMiss as miss:
                path = entry.find((*path.answers[: miss.index], miss.actual), tried)  # type: ignore[arg-type]
            except ExtentsMiss as reason:
                self._limits.part(entry, numbers=False, why=str(reason))
                return self(*call.given[0], **call.given[1])
            except EntryMiss as other:
                if changed is None and isinstance(other, StateMiss):
                    changed = other
                path = entry.find((), tried)
            except (NotFinite, AuditError, LaunchError):
                raise
            except EffectError as done:
                raise done.cause from done.cause.__cause__  # the user's own
            except Exception as error:  # the call starts again, and Python raises at its own line
                failure = error
                break
            else:
                self._served(entry, call, path)
                return result.put(call.given) if result.__class__ is Left else result
        result = self._otherwise(entry, call, changed, None if failure else before)
        if failure is not None:
            told = f"{self.name}: the graph failed where Python did not: {failure!r}"
            if context.checker is not None:
                from dualflow.tracing import audit

                audit.failed(told)
            warn_user(told, FunctionWarning)
        return result

    def _otherwise(
        self, entry: Entry, call: Call, changed: StateMiss | None, known: int | None
    ) -> Any:
        """Serves a call that no path is for.

        Nothing of this waits for another thread, which may wait for what the caller holds.

        Args:
            entry: The paths.
            call: The arguments.
            changed: What of Python state is in none of the paths as it is now.
            known: How many paths there were when they were tried; None if one has failed.
        """
        with self._limits.lock:
            more = known is not None and len(entry.parts) > known  # another thread has recorded
            mine = not more and entry.compiling is None and self._recorder.begin()
        if more:
            return self._run(entry, call)
        if not mine:
            return self._meanwhile(entry, call)
        try:
            if changed is not None and not entry.segments:
                self._limits.changed(entry, changed)
            if not entry.segments:
                return self._recorder.record(entry, call)
        finally:
            self._recorder.end()
        return self._in_segments(call)

    def _meanwhile(self, entry: Entry, call: Call) -> Any:
        """Serves a call while another one is recorded, or a path compiled that may be for it."""
        if context.checker is not None and entry.compiling is not None:
            self.wait()  # who checks results looks into the graph
            if entry.compiling is None:  # else it was dropped, and nobody waits for it
                return self._run(entry, call)
        if isinstance(context.checker, Checker):
            raise NotFinite  # op by op
        return self._eager(call)

    def _served(self, entry: Entry, call: Call, path: Way) -> None:
        """Counts a call that ran from a graph, and has the next one look there first."""
        entry.go(path)
        entry.used = self.calls
        if (recent := self.entries.recent) is not None:
            recent.used = self.calls - 1
        alone = not (entry.leaves or entry.kept)
        quick = path.checks_types and alone and entry.has_shortcut(call)
        self.entries.recent = entry if quick else None
        self.from_graph += 1
        entry.info.hits += 1

    def wait(self, timeout: float | None = None) -> None:
        """Waits until what is compiled in the background is ready, and compiles what is awaited.

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
        self._arrivals.wait(timeout)

    # ----- looking inside -----

    @property
    def recordings(self) -> int:
        """How many calls were recorded."""
        return self._limits.recordings

    @property
    def replaced(self) -> int:
        """How many traces made room for others."""
        return self._limits.replaced

    @property
    def retraces(self) -> Retraces:
        """What people were told of recordings."""
        return self._limits.retraces

    def look_round(self) -> None:
        """Takes over what was compiled in the background and is ready."""
        self._arrivals.look_round()

    @property
    def mode(self) -> str:
        """How calls run now.

        "compiled", "interpreted", "compiling" (in the background), "segments (why)",
        "eager (asked for)", "auto: " and what was chosen, or "not called yet".
        """
        self.look_round()
        if self._is_off():
            return "eager (asked for)"
        if self._auto is not None and (chosen := self._auto.mode) is not None:
            return chosen
        reasons = [e.segments for e in list(self.entries.values()) if e.segments] + (
            [self._limits.reached] if self._limits.reached else []
        )
        if reasons:
            return f"segments ({reasons[0]})"
        if not self.entries:
            return "not called yet"
        entries = list(self.entries.values())
        ways = {"compiling" for entry in entries if entry.compiling and entry.compiling.begun}
        ways |= {path.executable.mode for entry in entries for path in entry.parts}
        ways |= {
            f"in Python (breakpoint() at {entry.stopped})" for entry in entries if entry.stopped
        }
        return " and ".join(sorted(ways)) or "not compiled yet"

    @property
    def graphs(self) -> list[Any]:
        """The optimised graph of every path, or stretch of one."""
        self._arrivals.make_awaited()
        return [p.executable.graph for entry in list(self.entries.values()) for p in entry.parts]

    def explain(self) -> Explanation:
        """What was traced, why, and how calls were served; print it."""
        return explain(self)

    def report(self, *args: Any, **kwargs: Any) -> Any:
        """Both modes of a call: whether they agree, what each costs, from when on compiling pays.

        Args:
            *args: Of the call; without any, those of the last recording, if they are still there.
            **kwargs: Of the call.

        Returns:
            A `Comparison`, as `df.compare` gives it.
        """
        return reports.report(self, args, kwargs)

    def export(self, path: Any, *args: Any, **kwargs: Any) -> Any:
        """Writes recorded calls as a file that runs without this program.

        Args:
            path: Of the file, which `df.load_function` reads; with the suffix `.h`, a header for
                C, beside which an object file and, where a linker is found, a library are written.
            *args: Of a call of the kind that is written; without any, that of the last recording.
            **kwargs: Of the call.

        Returns:
            The path.

        Raises:
            TraceError: The calls need Python.
        """
        from dualflow.tracing import artefact, foreign

        args, kwargs = reports.arguments(self, args, kwargs)
        write = foreign.export_to_c if str(path).endswith(".h") else artefact.export
        return write(self, path, args, kwargs)

    def to_html(self) -> str:
        """A page that stands alone: ways through the function, lines, graph, kernels, code."""
        return reports.view(self).to_html()

    def _repr_html_(self) -> str:
        return reports.view(self)._repr_html_()

    def concrete(self, *specs: TensorSpec | Any) -> Any:
        """Traces without running: symbolic arguments in, a compiled graph out.

        Args:
            *specs: A `TensorSpec` (or a tensor, whose type is taken) per tensor argument, other
                values as they are.

        Returns:
            A callable that takes tensors; its `.graph` can be printed.
        """
        from dualflow.tracing.concrete import ConcreteFunction

        return ConcreteFunction(self.python, specs, self._limits.compiling)

    def __repr__(self) -> str:
        traces, calls = counted(len(self.entries), "trace"), counted(self.calls, "call")
        return f"<Function {self.name}: {self.mode}, {traces}, {calls}>"


def exact() -> Exact:
    """What has ways through a function checked."""
    from dualflow.tracing.audit import Exact  # loaded when something is audited

    return Exact()


def auto() -> Auto:
    """What finds out in which mode a function is faster."""
    from dualflow.tracing.auto import Auto  # loaded for functions that leave it open

    return Auto()


def is_batch(call: Call) -> bool:
    """Whether tensors stand for the examples of a batch, whose values only `vmap` knows."""
    return any(x.raw is None for x in call.tensors)


class FunctionOfObject(Disguised, Function):
    """A Function made of a callable object, such as a Module."""

    def __init__(self, python: Callable[..., Any], options: dict[str, Any]) -> None:
        super().__init__(python, options)
        self._ready = True
