"""What `f.explain()` tells: every trace, why it was made, its cost, and how calls were served."""

from __future__ import annotations

import weakref
from dataclasses import field
from typing import TYPE_CHECKING, Any

from jit.dataclass import dataclass
from jit.ir import builtin
from jit.report import Part

if TYPE_CHECKING:
    from jit.divided import Placed
    from jit.report import Recomputed

LINES, MOST_TRACES = 15, 10  # of an explanation that is printed

all_functions: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()  # by id


@dataclass
class TraceInfo:
    """One trace of a function.

    Attributes:
        key: The signature in words.
        why: How it differs from the nearest earlier one.
        line: The user's line of the call that made it.
        seconds: Spent recording and compiling.
        hits: Calls that it served from its graphs.
        paths: Ways through the function that were recorded, or stretches of ways that join.
        stretches: Whether some join.
        segments: The reason, if Python runs at each call, with segments in between.
        guards: What its paths rely on: answers to questions about values, and Python state.
        compiling: Whether code is made in the background.
        awaited: Whether code is made when such a call comes again.
        again: What of Python state had changed when it was recorded again.
    """

    key: str
    why: str
    line: str | None
    seconds: float = 0.0
    hits: int = 0
    paths: int = 0
    stretches: bool = False
    segments: str | None = None
    guards: list[str] = field(default_factory=list)
    again: list[str] = field(default_factory=list)
    compiling: bool = False
    awaited: bool = False


@dataclass
class Explanation:
    """How a function was traced and called; `print` shows at most 15 lines.

    Attributes:
        name: Of the function.
        mode: How calls run now.
        calls: How many there were.
        from_graph: How many of them ran from a graph.
        audited: How many of them ran in Python as well, and agreed.
        traces: One for each kind of call.
        kernels: What the graphs launch: each kernel with its ops and the user's line.
        host_steps: What they leave to Python; all of their steps, where they are interpreted.
        foreign_calls: How many calls from Python into native code one call makes, at most, or
            one stretch of a call where ways through the function join.
        unit: "call", or "stretch" where there are some.
        events: What the user was told: retraces, limits, numbers and extents that cannot vary.
        effects: What the graphs repeat of what Python does besides computing, with the lines.
        placement: What runs on which device, and the copies between, where there are several.
        recomputed: What `memory_limit` has led to, for each graph.
    """

    name: str
    mode: str
    calls: int
    from_graph: int
    traces: list[TraceInfo]
    kernels: list[Part]
    host_steps: list[Part]
    foreign_calls: int
    events: list[str] = field(default_factory=list)
    unit: str = "call"
    effects: list[str] = field(default_factory=list)
    audited: int = 0
    placement: list[Placed] = field(default_factory=list)
    recomputed: list[Recomputed] = field(default_factory=list)

    def __str__(self) -> str:
        head = [
            f"{self.name}: {self.mode}, {counted(len(self.traces), 'trace')}, "
            f"{counted(self.calls, 'call')}, {self.from_graph} from the graph"
        ]
        if self.placement:
            places = " and ".join(dict.fromkeys([step.place for step in self.placement]))
            copies = counted(sum(step.is_copy for step in self.placement), "copy")
            head.append(f"  on {places}, with {copies}: see .placement")
        if self.recomputed:
            head.append(f"  {max(self.recomputed, key=lambda x: x.before)}")
        traces = []
        for k, trace in enumerate(self.traces[:MOST_TRACES], 1):
            kind = "stretch" if trace.stretches else "path"
            served = f"{counted(trace.hits, 'hit')}, {counted(trace.paths, kind)}"
            state = f"{served}, {trace.seconds:.3f} s"
            if trace.compiling:
                state = f"{served}, compiling"
            if trace.awaited:
                state = f"{served}, compiled when it comes again"
            if trace.segments:
                state = f"segments: {trace.segments}"
            traces.append(f"  {k}. {trace.why[:60]} ({trace.line}): {state}")
            if trace.again and len(self.traces) <= MOST_TRACES // 2:
                traces.append(f"     last recorded again: {trace.again[-1]}"[:100])
        if len(self.traces) > MOST_TRACES:
            traces.append(f"  and {len(self.traces) - MOST_TRACES} more")
        return "\n".join([*head, *self._parts(LINES - len(head) - len(traces)), *traces])

    def _parts(self, lines: int) -> list[str]:
        """Kernels and host steps, on so many lines."""
        if not self.kernels:
            return [f"  {counted(len(self.host_steps), 'step')} in the graphs"]
        numbers = counted(len(self.kernels), "kernel")
        if self.host_steps:
            numbers += f" and {counted(len(self.host_steps), 'host step')}"
        calls = counted(self.foreign_calls, "foreign call")
        head = f"  {numbers} in the graphs, {calls} a {self.unit}"
        listed = [told(part) for part in self.kernels]
        listed += [told(part, "on the host: ") for part in self.host_steps]
        shown = max(0, lines - 2)
        if len(listed) > shown + 1:
            listed[shown:] = [f"     and {len(listed) - shown} more"]
        return [head, *listed]


def told(part: Part, where: str = "") -> str:
    """A line about a kernel or a host step."""
    return f"     {(where + part.label)[:38]:<38}  {part.source or ''}".rstrip()


def counted(number: int, noun: str) -> str:
    """`1 trace`, `2 traces`."""
    if number == 1:
        return f"1 {noun}"
    if noun.endswith("py"):
        return f"{number} {noun[:-1]}ies"
    return f"{number} {noun}{'es' if noun.endswith('ch') else 's'}"


def status() -> str:
    """One line for every decorated function that is alive: its mode, traces, calls, and time.

    The time is what its recordings took, compiling included.

    Example:
        >>> import dualflow as df
        >>> double = df.function(lambda x: 2 * x)
        >>> "<Function <lambda>: " in df.status()
        True
    """
    return (
        "\n".join(sorted(line_of(f) for ref in all_functions.valuerefs() if (f := ref())))
        or "no function is decorated"
    )


def line_of(function: Any) -> str:
    """A function in `status()`."""
    seconds = sum(entry.info.seconds for entry in list(function.entries.values()))
    spent = f" {seconds:.3f} s to record" if seconds else ""
    return f"{function!r}{spent}"


def explain(function: Any) -> Explanation:
    """The Explanation of a `Function`."""
    traces: list[TraceInfo] = []
    codes: list[Any] = []
    effects: dict[str, None] = {}
    function.look_round()
    for entry in list(function.entries.values()):
        info = entry.info
        info.segments, begun = entry.segments, entry.compiling and entry.compiling.begun
        info.compiling, info.awaited = begun is True, begun is False
        paths = list(entry.paths)
        info.guards = [
            f"{node.source}: {node.attrs['expected']}"
            for path in entry.parts
            for node in path.executable.graph.nodes
            if node.op is builtin.guard
        ]
        info.guards += dict.fromkeys(text for path in paths for text in path.texts())
        info.guards += [line for path in paths for line in path.decided]
        codes += [path.executable for path in entry.parts]
        effects.update(dict.fromkeys(text for path in entry.parts for text in path.effects))
        traces.append(info)
    return Explanation(
        name=function.name,
        mode=function.mode,
        calls=function.calls,
        from_graph=function.from_graph,
        audited=function.audited,
        traces=traces,
        kernels=[part for code in codes for part in code.kernels],
        host_steps=[part for code in codes for part in code.host_steps],
        events=list(function.retraces.events),
        foreign_calls=max((code.foreign_calls for code in codes), default=0),
        unit="stretch" if any(info.stretches for info in traces) else "call",
        effects=list(effects),
        placement=[step for code in codes for step in code.placement],
        recomputed=[each for code in codes for each in code.recomputed],
    )
