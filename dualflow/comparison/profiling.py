"""`df.profile`: where a call spends its time in both modes, by the user's lines, side by side.

Eagerly each op is timed as Python runs it; from the graph each kernel, whose time is shared out to
the lines of its ops. What is left of a call is Python's in the one mode, and the way into the graph
in the other; so the shares of each mode add up to the whole. On a GPU kernels have the device's own
times, and stand beside what the device could do at most.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dualflow.comparison import kernels, page
from dualflow.comparison.both import Both, in_both
from dualflow.comparison.report import cut, duration, size
from dualflow.core.context import using
from dualflow.core.op import Op, bind
from dualflow.core.tensor import Tensor
from dualflow.tracing.numerics import line_now
from dualflow.tracing.unrecorded import Unrecorded
from jit.dataclass import dataclass
from jit.report import Cost
from jit.runtime import gpu_clock
from jit.runtime.cuda import in_use, synchronize
from jit.runtime.gpu_clock import Limits, current, limits

REPEATS = 9  # runs; of each figure the median counts
PYTHON, ENTRY = "Python between ops", "the way into the graph and out"
UNKNOWN = "no line of yours"
MODES = ("eager", "compiled")


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
        operations: Additions and multiplications, where they are known.
    """

    name: str
    lines: tuple[str, ...]
    ops: tuple[str, ...]
    start: float
    seconds: float
    bytes: int
    operations: int = 0


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
        tracks: What a trace file shows beside each other; on a GPU the CPU's part and the GPU's.
        limits: What the GPU could do at most; None on a CPU, and where the driver does not tell.
    """

    name: str
    rows: tuple[Row, ...]
    slices: dict[str, tuple[Slice, ...]]
    tracks: dict[str, tuple[Slice, ...]]
    limits: Limits | None = None

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
        totals = [duration(self.total(mode)) for mode in MODES]
        head = f"{self.name}: a call takes {totals[0]} eagerly, {totals[1]} from the graph"
        columns = f"{'':<24}{'eager':>10}{'':>7}{'compiled':>11}{'':>7}  kernels"
        lines = [
            f"{cut(line, 23):<24}{eager:>10}{share:>7}{graph:>11}{other:>7}  {cut(kernels, 19)}"
            for line, eager, share, graph, other, kernels, _ in self.table()
        ]
        lines += kernels.text(self.kernels()) if self.limits else []
        return "\n".join([head, columns, *(line.rstrip() for line in lines)])

    def kernels(self) -> list[kernels.Kernel]:
        """The kernels of a call from the graph, those first that take most."""
        return kernels.of(self.slices["compiled"], self.limits)

    def parts(self) -> list[str]:
        """The parts of a page."""
        head = ["line", "eager", "", "compiled", "", "kernels", "bytes, eager / compiled"]
        found = ["<h2>Time by line</h2>", page.table(head, self.table(), (1, 2, 3, 4, 6))]
        return found + (kernels.parts(self.kernels()) if self.limits else [])

    def to_html(self) -> str:
        """A page that stands alone."""
        return page.document(self.name, f"<h1>{page.escape(self.name)}</h1>", *self.parts())

    def _repr_html_(self) -> str:
        return page.fragment(*self.parts())

    def save_trace(self, path: str | Path) -> Path:
        """Writes both modes as parallel tracks, for Perfetto or chrome://tracing.

        On a GPU each mode has two: what the CPU does, and what the GPU does.

        Args:
            path: Of the JSON file.

        Returns:
            The path.
        """
        path = Path(path)
        path.write_text(json.dumps({"traceEvents": self.events()}), encoding="utf-8")
        return path

    def events(self) -> list[dict[str, Any]]:
        """What the trace file holds: tracks, and what happens on them."""
        found: list[dict[str, Any]] = [
            {"ph": "M", "pid": 1, "tid": 0, "name": "process_name", "args": {"name": self.name}}
        ]
        for track, (name, slices) in enumerate(self.tracks.items(), 1):
            named = {"ph": "M", "pid": 1, "tid": track, "name": "thread_name"}
            found.append(named | {"args": {"name": name}})
            for each in slices:
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
                            "operations": each.operations,
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
    watches = [watched(both) for _ in range(repeats)]
    eager = typical([watch.slices for watch in watches])
    whole = {"eager": whole_call(both, both.python, repeats)[0]}
    graph: list[list[Slice]] = [[]]
    device = None
    if witness.path is not None:
        run, arrays = witness.path.executable, list(witness.arrays)
        device = gpu_of(arrays)
        graph = [of_costs(run.timed(arrays)) for _ in range(repeats)]
        both.settle(answer.function)
    whole["compiled"], handed = whole_call(both, answer.function, repeats)
    slices = {"eager": eager, "compiled": typical(graph)}
    rows, name = rows_of(slices, whole), answer.function.name
    if device is None:
        return Profile(name, rows, slices, slices)
    tracks = {
        "eager, CPU": eager,
        "eager, GPU": typical([watch.on_device() for watch in watches]),
        "compiled, CPU": (Slice(ENTRY, (UNKNOWN,), (name,), 0.0, handed, 0),),
        "compiled, GPU": slices["compiled"],
    }
    return Profile(name, rows, slices, tracks, limits(device))


def gpu_of(arrays: Iterable[Any]) -> int | None:
    """The GPU that one of some arrays lies on; None if all lie on the host."""
    numbers = (getattr(getattr(x, "data", None), "device_id", None) for x in arrays)
    return next((number for number in numbers if number is not None), None)


def whole_call(both: Both, function: Callable[..., Any], repeats: int) -> tuple[float, float]:
    """What a call takes that nobody looks at, and what of it passes until Python goes on."""
    taken, handed = [], []
    for _ in range(repeats):
        both.snapshot.start()
        start = time.perf_counter()
        both.run(function)
        handed.append(time.perf_counter() - start)
        synchronize()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken), statistics.median(handed)


class Watch(Unrecorded):
    """Times each op of a call in Python; it stands where a recording would stand.

    Attributes:
        slices: The ops, with what Python takes for them.
    """

    runs = False  # sweeps go op by op

    def __init__(self) -> None:
        super().__init__()
        self.begun = time.perf_counter()
        self.slices: list[Slice] = []
        self._launched: list[tuple[Slice, Any]] = []  # with the device's clock

    def bind(self, op: Op, args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        """Computes an op with a clock."""
        line = line_now() or UNKNOWN
        clock = gpu_clock.Watch(current()) if in_use() else None
        start = time.perf_counter()
        with using(trace=None):
            out = bind(op, args, attrs)
        seconds = time.perf_counter() - start
        if clock is not None:
            clock.stop()
        results = out if isinstance(out, tuple) else (out,)
        touched = [x.raw for x in (*args, *results) if isinstance(x, Tensor)]
        count = sum(x.nbytes for x in touched)
        made = Slice(op.name, (line,), (op.name,), start - self.begun, seconds, count)
        self.slices.append(made)
        if clock is not None and gpu_of(touched) is not None:
            self._launched.append((made, clock))
        return out

    def on_device(self) -> list[Slice]:
        """The same ops with what a GPU took for them, each laid where it could begin."""
        found, free = [], 0.0
        for each, clock in self._launched:
            seconds = clock.seconds()
            start = max(free, each.start)
            free = start + seconds
            found.append(replace(each, start=start, seconds=seconds))
        return found


def watched(both: Both) -> Watch:
    """The ops of a call in Python."""
    both.snapshot.start()
    watch = Watch()
    with using(trace=watch):
        both.run(both.python)
    synchronize()
    return watch


def of_costs(costs: Iterable[Cost]) -> list[Slice]:
    """The kernels of a call from the graph."""
    found, start = [], 0.0
    for cost in costs:
        lines = tuple([line or UNKNOWN for line in cost.part.lines or (cost.part.source,)])
        ops = cost.part.ops or (cost.part.label,)
        work = cost.bytes or 0, cost.operations or 0
        found.append(Slice(cost.part.label, lines, ops, start, cost.seconds, *work))
        start += cost.seconds
    return found


def typical(runs: Sequence[Sequence[Slice]]) -> tuple[Slice, ...]:
    """The slices of the run that is the middle one by its time."""
    ordered = sorted(runs, key=lambda run: sum(each.seconds for each in run))
    return tuple(ordered[len(ordered) // 2])


def rows_of(slices: dict[str, tuple[Slice, ...]], whole: dict[str, float]) -> tuple[Row, ...]:
    """The time of each line in both modes, and what is left of the calls."""
    seconds: dict[str, dict[str, float]] = {mode: {} for mode in MODES}
    touched: dict[str, dict[str, float]] = {mode: {} for mode in MODES}
    kernels: dict[str, dict[str, None]] = {}
    for mode in MODES:
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
