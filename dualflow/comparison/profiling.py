"""`df.profile`: where a call spends its time in both modes, by the user's lines, side by side.

Eagerly each op is timed as Python runs it; from the graph each kernel, whose time is shared out to
the lines of its ops. What is left of a call is Python's in the one mode, and the way into the graph
in the other; so the shares of each mode add up to the whole.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dualflow.comparison import page
from dualflow.comparison.both import Both, in_both
from dualflow.comparison.report import cut, duration, size
from dualflow.core.context import using
from dualflow.core.op import Op, bind
from dualflow.core.tensor import Tensor
from dualflow.tracing.numerics import line_now
from dualflow.tracing.unrecorded import Unrecorded
from jit.report import Cost
from jit.runtime.cuda import synchronize

REPEATS = 9  # runs; of each figure the median counts
PYTHON, ENTRY = "Python between ops", "the way into the graph and out"
UNKNOWN = "no line of yours"
TRACKS = {"eager": 1, "compiled": 2}  # as a trace file numbers them


@dataclass(frozen=True)
class Slice:
    """Something that one mode did, from when to when.

    Attributes:
        name: An op, or a kernel.
        lines: The user's lines in it; a line may come several times.
        ops: The ops in it.
        start: Seconds after the call began.
        seconds: How long it took.
        bytes: What was read and written.
    """

    name: str
    lines: tuple[str, ...]
    ops: tuple[str, ...]
    start: float
    seconds: float
    bytes: int


@dataclass(frozen=True)
class Row:
    """One line of the user's program.

    Attributes:
        line: As "nets.py:15", or what the time is of that no line has.
        eager: Seconds in Python's mode.
        compiled: Seconds of a call from the graph.
        kernels: Those that the line went to.
        eager_bytes: Read and written in Python's mode.
        compiled_bytes: Of a call from the graph.
    """

    line: str
    eager: float
    compiled: float
    kernels: tuple[str, ...]
    eager_bytes: float
    compiled_bytes: float


@dataclass(frozen=True)
class Profile:
    """A call in both modes, by lines.

    Attributes:
        name: The function.
        rows: The lines, those first that take most in both modes together.
        slices: For each mode what it did, in order.
    """

    name: str
    rows: tuple[Row, ...]
    slices: dict[str, tuple[Slice, ...]]

    def total(self, mode: str) -> float:
        """Seconds of a call: the sum of its rows."""
        return sum(getattr(row, mode) for row in self.rows)

    def share(self, row: Row, mode: str) -> float:
        """The part of a call that a row takes, 0 to 1."""
        return getattr(row, mode) / (self.total(mode) or 1.0)

    def table(self) -> list[list[str]]:
        """The rows as text: line, time and share of both modes, kernels, bytes of both."""
        return [
            [
                row.line,
                duration(row.eager),
                f"{self.share(row, 'eager'):.1%}",
                duration(row.compiled),
                f"{self.share(row, 'compiled'):.1%}",
                ", ".join(row.kernels),
                f"{size(row.eager_bytes)} / {size(row.compiled_bytes)}",
            ]
            for row in self.rows
        ]

    def __str__(self) -> str:
        totals = [duration(self.total(mode)) for mode in TRACKS]
        head = f"{self.name}: a call takes {totals[0]} eagerly, {totals[1]} from the graph"
        columns = f"{'':<24}{'eager':>10}{'':>7}{'compiled':>11}{'':>7}  kernels"
        lines = [
            f"{cut(line, 23):<24}{eager:>10}{share:>7}{graph:>11}{other:>7}  {cut(kernels, 19)}"
            for line, eager, share, graph, other, kernels, _ in self.table()
        ]
        return "\n".join([head, columns, *(line.rstrip() for line in lines)])

    def parts(self) -> list[str]:
        """The parts of a page."""
        head = ["line", "eager", "", "compiled", "", "kernels", "bytes, eager / compiled"]
        return ["<h2>Time by line</h2>", page.table(head, self.table(), (1, 2, 3, 4, 6))]

    def to_html(self) -> str:
        """A page that stands alone."""
        return page.document(self.name, f"<h1>{page.escape(self.name)}</h1>", *self.parts())

    def _repr_html_(self) -> str:
        return page.fragment(*self.parts())

    def save_trace(self, path: str | Path) -> Path:
        """Writes both modes as parallel tracks, for Perfetto or chrome://tracing.

        Args:
            path: Of the JSON file.

        Returns:
            The path.
        """
        path = Path(path)
        path.write_text(json.dumps({"traceEvents": self.events()}), encoding="utf-8")
        return path

    def events(self) -> list[dict[str, Any]]:
        """What the trace file holds: a track for each mode, and what happens on it."""
        found: list[dict[str, Any]] = [
            {"ph": "M", "pid": 1, "tid": 0, "name": "process_name", "args": {"name": self.name}}
        ]
        for mode, track in TRACKS.items():
            named = {"ph": "M", "pid": 1, "tid": track, "name": "thread_name"}
            found.append(named | {"args": {"name": mode}})
            for each in self.slices[mode]:
                found.append(
                    {
                        "ph": "X",
                        "pid": 1,
                        "tid": track,
                        "name": each.name,
                        "ts": 1e6 * each.start,
                        "dur": 1e6 * each.seconds,
                        "args": {
                            "lines": list(dict.fromkeys(each.lines)),
                            "ops": list(each.ops),
                            "bytes": each.bytes,
                        },
                    }
                )
        return found


def profile(f: Callable[..., Any], *args: Any, repeats: int = REPEATS, **kwargs: Any) -> Profile:
    """Times a call of `f` in both modes, line by line. State is put back, as by `df.compare`.

    Args:
        f: A function, decorated or not.
        *args: Arguments of the call.
        repeats: Runs of each mode; of each figure the median counts.
        **kwargs: Arguments of the call.

    Returns:
        A Profile; print it, or look at it in a notebook.

    Example:
        >>> import dualflow as df
        >>> found = df.profile(lambda x: df.tanh(x @ x).sum(), df.ones((8, 8)))
        >>> round(sum(found.share(row, "eager") for row in found.rows), 6)
        1.0
    """
    return in_both(f, args, kwargs, lambda both: looked(both, repeats))


def looked(both: Both, repeats: int) -> Profile:
    """The profile of a call."""
    answer = both.answer(both.python)
    witness = answer.witness
    eager = [watched(both) for _ in range(repeats)]
    whole = {"eager": whole_call(both, both.python, repeats)}
    graph: list[list[Slice]] = [[]]
    if witness.path is not None:
        run = witness.path.executable
        graph = [of_costs(run.timed(list(witness.arrays))) for _ in range(repeats)]
        both.settle(answer.function)
    whole["compiled"] = whole_call(both, answer.function, repeats)
    slices = {"eager": typical(eager), "compiled": typical(graph)}
    return Profile(answer.function.name, rows_of(slices, whole), slices)


def whole_call(both: Both, function: Callable[..., Any], repeats: int) -> float:
    """What a call takes that nobody looks at."""
    taken = []
    for _ in range(repeats):
        both.snapshot.start()
        start = time.perf_counter()
        both.run(function)
        synchronize()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


class Watch(Unrecorded):
    """Times each op of a call in Python; it stands where a recording would stand."""

    runs = False  # sweeps go op by op

    def __init__(self) -> None:
        super().__init__()
        self.begun = time.perf_counter()
        self.slices: list[Slice] = []

    def bind(self, op: Op, args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        """Computes an op with a clock."""
        line = line_now() or UNKNOWN
        start = time.perf_counter()
        with using(trace=None):
            out = bind(op, args, attrs)
        seconds = time.perf_counter() - start
        touched = [*args, *(out if isinstance(out, tuple) else (out,))]
        count = sum(x.raw.nbytes for x in touched if isinstance(x, Tensor))
        self.slices.append(Slice(op.name, (line,), (op.name,), start - self.begun, seconds, count))
        return out


def watched(both: Both) -> list[Slice]:
    """The ops of a call in Python."""
    both.snapshot.start()
    watch = Watch()
    with using(trace=watch):
        both.run(both.python)
    return watch.slices


def of_costs(costs: Iterable[Cost]) -> list[Slice]:
    """The kernels of a call from the graph."""
    found, start = [], 0.0
    for cost in costs:
        lines = tuple([line or UNKNOWN for line in cost.part.lines or (cost.part.source,)])
        ops = cost.part.ops or (cost.part.label,)
        found.append(Slice(cost.part.label, lines, ops, start, cost.seconds, cost.bytes or 0))
        start += cost.seconds
    return found


def typical(runs: Sequence[Sequence[Slice]]) -> tuple[Slice, ...]:
    """The slices of the run that is the middle one by its time."""
    ordered = sorted(runs, key=lambda run: sum(each.seconds for each in run))
    return tuple(ordered[len(ordered) // 2])


def rows_of(slices: dict[str, tuple[Slice, ...]], whole: dict[str, float]) -> tuple[Row, ...]:
    """The time of each line in both modes, and what is left of the calls."""
    seconds: dict[str, dict[str, float]] = {mode: {} for mode in TRACKS}
    touched: dict[str, dict[str, float]] = {mode: {} for mode in TRACKS}
    kernels: dict[str, dict[str, None]] = {}
    for mode in TRACKS:
        watched = sum(each.seconds for each in slices[mode])
        scale = min(1.0, whole[mode] / watched) if watched else 1.0  # the clock takes time too
        for each in slices[mode]:
            for line in each.lines:  # a kernel is shared out evenly: nobody can look into it
                part = 1 / len(each.lines)
                add(seconds[mode], line, each.seconds * part * scale)
                add(touched[mode], line, each.bytes * part)
                if mode == "compiled":
                    kernels.setdefault(line, {})[each.name] = None
        rest = max(0.0, whole[mode] - watched)
        add(seconds[mode], PYTHON if mode == "eager" else ENTRY, rest)
    rows = [
        Row(
            line,
            seconds["eager"].get(line, 0.0),
            seconds["compiled"].get(line, 0.0),
            tuple(kernels.get(line, ())),
            touched["eager"].get(line, 0.0),
            touched["compiled"].get(line, 0.0),
        )
        for line in dict.fromkeys([*seconds["eager"], *seconds["compiled"]])
    ]
    return tuple(sorted(rows, key=lambda row: -(row.eager + row.compiled)))


def add(sums: dict[str, float], key: str, amount: float) -> None:
    """Adds to one of several sums."""
    sums[key] = sums.get(key, 0.0) + amount
