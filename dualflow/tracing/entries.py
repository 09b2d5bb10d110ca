"""Entries: the traces of one function, found by the keys of calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from dualflow.core.tensor import Tensor
from dualflow.tracing.background import Compiling
from dualflow.tracing.example import Example
from dualflow.tracing.explain import TraceInfo
from dualflow.tracing.guards.kept import Kept
from dualflow.tracing.joins.sites import Sites
from dualflow.tracing.parts import is_gone
from dualflow.tracing.path import Path
from dualflow.tracing.signature import Call
from dualflow.tracing.states import Volatile
from dualflow.tracing.trace import Trace
from dualflow.tracing.varying import CONSTANT, Family, Key, Pattern, family_key, places_of

if TYPE_CHECKING:
    from dualflow.tracing.joins.joined import Joined
    from dualflow.tracing.shortcut import Shortcut

Way: TypeAlias = "Path | Joined"
SINGLE = 8  # paths of their own, each with one foreign call, before ways join


class Entry:
    """The paths recorded for one signature; `segments` holds the reason if there can be none.

    Args:
        info: What people are told of it.
        key: Of the call that it was made for.
        pattern: What varies between its calls.
        family: The family that it belongs to.

    Attributes:
        names: What people call the leaves of its arguments.
        used: The number of the call that it served last.
        compiling: A path whose code is not there yet; calls that no other serves run in Python.
        at_once: What serves calls like the last one in native code, if there is such a thing.
        asked: The path for which that was looked for.
    """

    def __init__(self, info: TraceInfo, key: Key, pattern: Pattern, family: Family) -> None:
        self.info = info
        self.key = key
        self.pattern = pattern
        self.family = family
        self.names: list[str] = []
        self.used = 0
        self.paths: list[Way] = []
        self.compiling: Compiling | None = None
        self.last: Way | None = None
        self.sites = Sites()
        self.segments: str | None = None
        self.stopped: str | None = None  # at which line the last recording met a breakpoint
        self.creations = 0
        self.leaves = False  # whether calls leave something in their arguments
        self.reached: set[int] = set()  # if so: ids of lists and dicts that they reach without
        self.kept = Kept()  # what calls may not pass, as code compares it with arguments
        self.example: Example | None = None  # a call of its kind
        self.unserved, self.hits = 0, 0  # recordings in a row without a hit between; hits then
        self.shortcut: Shortcut | None = None
        self._asked = False
        self.at_once: Callable[[tuple[Any, ...]], Any] | None = None
        self.asked: Way | None = None

    def has_shortcut(self, call: Call) -> bool:
        """Whether calls like this one, which belongs here, can be recognised without a key."""
        if not self._asked:
            from dualflow.tracing.shortcut import Shortcut  # loaded when calls come again

            self.shortcut, self._asked = Shortcut.of(call, self.pattern, self.family.first), True
        return self.shortcut is not None

    def go(self, path: Way) -> None:
        """The next call tries this path first."""
        if path is not self.last:
            self.at_once = self.asked = None
        self.last = path

    def look_for_quickest(self, path: Way, tensors: Sequence[Tensor]) -> None:
        """Finds out how calls of the last path are served at once, from one that took a shortcut.

        Args:
            path: The last one.
            tensors: Arguments of the call.
        """
        from dualflow.tracing.at_once import at_once  # loaded when calls come again

        self.asked = path
        self.at_once = at_once(self, path, tensors) if isinstance(path, Path) else None

    @property
    def parts(self) -> list[Path]:
        """The paths, or the stretches of which they are made."""
        return [part for path in list(self.paths) for part in path.parts]

    def add(self, path: Way) -> None:
        """One more path, or one that has learned more; the next call tries it first."""
        self.paths = [*[x for x in self.paths if x is not path], path]
        self.info.stretches = self.info.stretches or not isinstance(path, Path)
        self.go(path)
        self.info.paths = len(self.parts)

    def join(self, trace: Trace, result: Any) -> Callable[[], Joined] | None:
        """Makes stretches of a finished recording, if ways join.

        Args:
            trace: The recording.
            result: What the call returned.

        Returns:
            What compiles them; None where a path of its own is to be made.
        """
        with trace.variables.as_before():  # guards are about what was there when the call began
            joined = next((x for x in self.paths if not isinstance(x, Path) and x.holds()), None)
        known = sum(isinstance(path, Path) for path in self.paths)
        crossings = trace.crossings
        if trace.ledger.shares(result):
            return None
        if joined is None:
            if crossings is None or not any(x.action is None for x in crossings.found):
                return None
            if not crossings.loops and known < SINGLE:
                return None
        from dualflow.tracing.joins.joined import Joined  # loaded where ways join

        return (joined or Joined(self.sites)).add(trace, result)

    def find(self, prefix: tuple[bool | int, ...], tried: set[Way]) -> Way | None:
        """A path not tried yet whose first answers are these, the one that served most calls."""
        found = [
            p
            for p in self.paths
            if p not in tried and (not isinstance(p, Path) or p.answers[: len(prefix)] == prefix)
        ]
        return max(found, key=lambda p: p.hits, default=None)

    def shapes(self, call: Call) -> dict[int, tuple[int | str, ...]]:
        """By tensor, in which shapes extents vary."""
        given = self.pattern.shapes
        return {k: given[leaf] for k, leaf in enumerate(call.places) if leaf in given}

    def numbers(self, call: Call) -> list[Any]:
        """Those of a call's numbers that vary."""
        return [call.leaves[k] for k in self.pattern.numbers]


class Entries(dict[Key, Entry]):
    """The entries by their keys, and the families that these keys are of.

    Attributes:
        recent: That of the last call, if it has a shortcut.
        volatile: Which state differs from call to call.
    """

    def __init__(self) -> None:
        super().__init__()
        self._families: dict[Key, Family] = {}
        self._latest: list[Key] = []
        self.recent: Entry | None = None
        self.volatile = Volatile()

    def serving(self, call: Call) -> Entry | None:
        """The entry for a call."""
        entry = self.get(call.key)
        if entry is None and self._families:
            family = self._families.get(family_key(call.key))
            keys = family.keys(call.key) if family is not None else ()
            found = map(self.get, keys)  # at once: other threads may drop entries
            entry = next((entry for entry in found if entry is not None), None)
        return entry

    def place(self, call: Call, specs: Any = None, *, numbers: bool = True) -> tuple[Key, Any, Any]:
        """Where a new entry for a call belongs: its key, its pattern, its family.

        Args:
            call: The call.
            specs: A `TensorSpec` for each tensor, if the user has given them.
            numbers: Whether numbers may vary.
        """
        family = self._families.get(common := family_key(call.key))
        if family is None:
            family = self._families[common] = Family(call.key)
            if not numbers:
                family.refuse(numbers=True, why="the function asks for `type`")
            if specs is not None:
                family.named = places_of(specs, call.places)
                family.varying.update(
                    (k, axis) for k, axis in family.named if call.key[1][k][1][axis] >= 2
                )
        before = len(family.varying)
        key, pattern = family.admit(call.key)
        if len(family.varying) > before:  # those for which less varies are not looked for any more
            for entry in list(self.values()):
                if entry.family is family and entry.pattern is not CONSTANT:
                    self.drop(entry)
        return key, pattern, family

    def known(self) -> list[Key]:
        """The keys of calls that there were; of the last one even if its object is gone."""
        return [*[entry.key for entry in self.values()], *self._latest]

    def add(self, key: Key, entry: Entry) -> None:
        """Makes an entry serve the calls of a key."""
        self[key] = entry
        self._latest = [entry.key]
        self._families[family_key(entry.key)] = entry.family

    def drop(self, entry: Entry) -> None:
        """Forgets an entry."""
        self.recent = None
        self.forget([key for key, each in self.items() if each is entry])

    def forget(self, keys: list[Key]) -> None:
        """Drops entries, and families of which none is left."""
        for key in keys:
            del self[key]
        alive = {id(entry.family) for entry in self.values()}
        self._families = {k: f for k, f in self._families.items() if id(f) in alive}

    def sweep(self) -> None:
        """Drops entries for objects that are gone."""
        self.forget([key for key in self if any(map(is_gone, key[1]))])
