"""Limits: which calls get a recording, how many there may be, and what people are told of it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from dualflow.core.source import user_line, warn_user
from dualflow.errors import FunctionWarning
from dualflow.tracing.compiling import CompileOptions
from dualflow.tracing.entries import Entries, Entry
from dualflow.tracing.explain import TraceInfo
from dualflow.tracing.parameters import asks_types, defined_at
from dualflow.tracing.path import StateMiss
from dualflow.tracing.retraces import Change, Retraces, change_of, decided, nearest_change
from dualflow.tracing.signature import Call
from dualflow.tracing.trace import Trace
from jit.config import config
from jit.errors import TraceError


class Limits:
    """The limits of one function.

    Args:
        name: Of the function.
        python: The function.
        options: How it is decorated.
        entries: Its traces.

    Attributes:
        compiling: How graphs become code.
        lock: Held while traces are added and dropped; not while code of the user's runs, which may
            wait for a thread that waits for us, but for `==` and `hash` of arguments.
        reached: Why calls of new kinds run in segments; None as long as they are recorded.
        retraces: What people were told of recordings.
        recordings: How many there were.
        replaced: How many traces made room for others.
    """

    def __init__(
        self, name: str, python: Callable[..., Any], options: dict[str, Any], entries: Entries
    ) -> None:
        given = {name: options[name] for name in ("fast", "memory_limit") if name in options}
        self.compiling = CompileOptions(**given)
        self.lock = threading.RLock()
        self.reached: str | None = None
        self.retraces = Retraces()
        self.recordings = self.replaced = 0
        self._name = name
        self._python = python
        self._options = options
        self._entries = entries

    # ----- kinds of calls -----

    def admit(self, call: Call, names: list[str], told: str) -> Entry:
        """Makes an entry for a call of a new kind.

        Args:
            call: The call.
            names: What people call the leaves of its arguments.
            told: The arguments in words.
        """
        entries, policy = self._entries, self._options["on_limit"]
        entries.sweep()
        change = nearest_change(entries.known(), call.key, names)
        key, pattern, family = entries.place(
            call, self._options["input_signature"], numbers=not asks_types(self._python)
        )
        line = user_line() or defined_at(self._python)
        entry = Entry(TraceInfo(told, change.text, line), call.key, pattern, family)
        entry.names = names
        if config().debug:
            sys.stderr.write(f"# {self._name}: recording, {change.text} ({entry.info.line})\n")
        if len(entries) >= self._options["max_traces"]:
            if policy == "replace":
                self._replace()
            elif policy != "grow":
                return self._beyond(entry, change)
        entries.add(key, entry)
        if change.kind not in ("number", "extent"):
            self._tell(change)
        elif (reason := family.refusal(numbers=change.kind == "number")) is not None:
            self._tell(replace(change, text=f"{change.text} ({reason})"))
        return entry

    def _beyond(self, entry: Entry, change: Change) -> Entry:
        """The entry for a call of one kind too many."""
        if self.reached is None:
            made = f"{len(self._entries)} traces were made, the last change: {change.text}"
            self.apply(entry, made, "max_traces")
            self.reached = entry.segments
        entry.segments = self.reached
        return entry

    def _replace(self) -> None:
        """Drops the trace that was not used for the longest time; tells it the first time."""
        oldest = min(self._entries.values(), key=lambda entry: entry.used)
        self._entries.drop(oldest)
        if not self.replaced:
            message = (
                f"{self._name} keeps {self._options['max_traces']} traces: one that was not used "
                f"for long ({oldest.info.key}) makes room for a new one, from now on without a "
                "word. Raise max_traces if they come again."
            )
            self.retraces.events.append(message)
            warn_user(message, FunctionWarning)
        self.replaced += 1

    def part(self, entry: Entry, *, numbers: bool, why: str) -> None:
        """Numbers, or extents, of such calls cannot vary: each value has a trace from now on."""
        with self.lock:
            entry.family.refuse(numbers=numbers, why=why)
            self.retraces.events.append(str(entry.family.refusal(numbers=numbers)))
            self._entries.drop(entry)

    # ----- what is too much -----

    def changed(self, entry: Entry, miss: StateMiss) -> None:
        """Python state is not as in any path: a new recording, if earlier ones were of any use."""
        info, what = entry.info, miss.reason()
        self._entries.volatile.places.update(miss.places())
        info.again.append(what)
        entry.unserved = entry.unserved + 1 if entry.hits == info.hits else 1
        entry.hits = info.hits
        if entry.unserved >= self._options["max_traces"] and self._options["on_limit"] != "grow":
            self.apply(entry, f"{what}, and so on at each call", "max_traces")

    def check_paths(self, entry: Entry) -> None:
        """Applies `on_limit` where there would be too many paths."""
        count = len(entry.parts)
        if count >= self._options["max_paths"] and self._options["on_limit"] != "grow":
            self.apply(entry, f"{count} paths were recorded", "max_paths")

    def apply(self, entry: Entry, what: str, option: str) -> None:
        """Applies `on_limit` where there are too many traces or paths."""
        message = f"{what}; {option}={self._options[option]} is reached"
        if self._options["on_limit"] == "error":
            raise TraceError(
                f"{self._name}: {message}",
                "fewer traces",
                f"pass tensors, or df.function({option}=...)",
            )
        self.give_up(entry, f"limit: {message}", f"raise {option}, or pass on_limit='grow'")

    def give_up(self, entry: Entry, reason: str, remedy: str) -> None:
        """Python runs at every call of this kind from now on, and the user is told once."""
        if self._options["strict"]:
            expected = "a function that can be compiled whole"
            raise TraceError(f"{self._name}: {reason}", expected, remedy)
        entry.segments = reason
        warn_user(
            f"{self._name} runs in segments, with Python in between: {reason}. "
            f"To compile it whole, {remedy}.",
            FunctionWarning,
        )

    # ----- what people are told -----

    def _tell(self, change: Change) -> None:
        """Tells why there is one more recording."""
        spent = sum(entry.info.seconds for entry in self._entries.values())
        self.retraces.note(self._name, self._python, change, self.recordings + 1, spent)

    def tell_decided(self, entry: Entry, call: Call, trace: Trace) -> None:
        """Tells that Python decided by a number otherwise than in the paths before."""
        if entry.paths and (why := trace.scalars.decided()):
            known = {line for path in entry.paths[:-1] for line in path.decided}
            fresh = [line for line in why if line not in known] or why
            self._tell(decided(change_of(entry.key, call.key, entry.names), fresh[0]))
