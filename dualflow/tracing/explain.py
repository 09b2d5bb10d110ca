"""What `f.explain()` tells: every trace, why it was made, its cost, and how calls were served."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from typing import Any

from jit.ir import builtin

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
        paths: Ways through the function that were recorded.
        eager: The reason, if calls run eagerly.
        guards: Answers that its paths rely on.
    """

    key: str
    why: str
    line: str | None
    seconds: float = 0.0
    hits: int = 0
    paths: int = 0
    eager: str | None = None
    guards: list[str] = field(default_factory=list)


@dataclass
class Explanation:
    """How a function was traced and called; `print` shows at most 15 lines."""

    name: str
    mode: str
    calls: int
    from_graph: int
    traces: list[TraceInfo]
    kernels: list[str]
    effects: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [
            f"{self.name}: {self.mode}, {counted(len(self.traces), 'trace')}, "
            f"{counted(self.calls, 'call')}, {self.from_graph} from the graph",
            f"  {counted(len(self.kernels), 'step')} in the graphs",
        ]
        for k, trace in enumerate(self.traces[:10], 1):
            served = f"{counted(trace.hits, 'hit')}, {counted(trace.paths, 'path')}"
            state = f"eager: {trace.eager}" if trace.eager else f"{served}, {trace.seconds:.3f} s"
            lines.append(f"  {k}. {trace.why[:60]} ({trace.line}): {state}")
        if len(self.traces) > 10:
            lines.append(f"  and {len(self.traces) - 10} more")
        return "\n".join(lines)


def counted(number: int, noun: str) -> str:
    """`1 trace`, `2 traces`."""
    return f"{number} {noun}{'s' * (number != 1)}"


def status() -> str:
    """One line for every decorated function that is alive: its mode, traces and calls.

    Example:
        >>> import dualflow as df
        >>> double = df.function(lambda x: 2 * x)
        >>> "<Function <lambda>: not called yet, 0 traces, 0 calls>" in df.status()
        True
    """
    return (
        "\n".join(sorted(repr(f) for ref in all_functions.valuerefs() if (f := ref())))
        or "no function is decorated"
    )


def explain(function: Any) -> Explanation:
    """The Explanation of a `Function`."""
    traces, kernels = [], []
    for entry in list(function.entries.values()):
        info = entry.info
        info.eager = entry.eager
        paths = list(entry.paths)
        info.guards = [
            f"{node.source}: {node.attrs['expected']}"
            for path in paths
            for node in path.executable.graph.nodes
            if node.op is builtin.guard
        ]
        kernels += [node.op.name for path in paths for node in path.executable.graph.nodes]
        traces.append(info)
    return Explanation(
        function.name, function.mode, function.calls, function.from_graph, traces, kernels
    )
