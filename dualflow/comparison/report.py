"""Comparison: what both modes of a program gave and cost, and the text that people read of it.

Answers come first: one word, then the figures behind it. At most 80 columns and 20 lines.
"""

from __future__ import annotations

import json
import math
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import asdict, field
from itertools import islice
from typing import Any

from dualflow.comparison import page
from dualflow.comparison.accuracy import Accuracy
from dualflow.comparison.agreement import FARTHEST, Agreement
from dualflow.comparison.price import Price
from dualflow.comparison.steps import Step
from dualflow.comparison.timing import FirstCall, Timing, break_even
from jit.dataclass import dataclass
from jit.report import Part

WIDTH, LINES, LABEL, ANSWER = 80, 20, 14, 8
TOP = 5  # lines of a report that name steps
NOTICEABLE = 1.05  # a ratio of times below this is no difference
UNIT = r"(?<=\d) (?=(ms|µs|s|bytes|kB|MB|GB)\b)"  # no line ends between a number and its unit
INTERPRETED = "interpreted"  # the mode in which a graph runs step by step, through NumPy


@dataclass(frozen=True)
class Comparison:
    """Both modes of one program, side by side.

    Attributes:
        name: The function.
        place: Where it stands: "nets.py:14".
        what: The workload in a few words each.
        mode: How the second mode ran: "compiled" or "interpreted".
        compared: What `outputs` are, in words: "500 losses and 4 parameters".
        outputs: How well each of them agrees.
        bound: The relative difference up to which the answers count as the same.
        eager: Time of an eager call.
        compiled: Time of a call that ran from the graph.
        first: What recording cost, all recordings together.
        eager_bytes: Peak memory of an eager call.
        compiled_bytes: Peak memory of a call from the graph.
        calls: Calls of the decorated function.
        from_graph: How many of them ran from a graph.
        traces: How many signatures were traced.
        ops: Ops that were recorded, over all traces.
        kernels: What the graphs launch.
        host_steps: What they leave to Python; all of their steps, where they are interpreted.
        steps: Where a call from the graph spends its time, the slowest first.
        structure: How the results of both modes differ in structure; None if they do not.
        accuracy: How far both modes are from float64.
        first_difference: The first op whose values differ, with its line.
        found: How many kernels were compiled, read from the disk, or known.
        groups: Every kernel with the ops that were fused in it, and its line.
        effects: What a call does besides computing: lines that it prints, writes to Python's state.
        lost: How many of the lines a call from a graph lacks.
        trial: The calls were made to compare only, so how many there were means nothing.
        more: Why a call from the graph takes more memory, in words, if it does.
        price: What `exact=True` costs, if the function is decorated so.
    """

    name: str
    place: str | None
    what: tuple[str, ...]
    mode: str
    compared: str
    outputs: tuple[Agreement, ...]
    bound: float
    eager: Timing
    compiled: Timing
    first: FirstCall
    eager_bytes: int
    compiled_bytes: int
    calls: int
    from_graph: int
    traces: int
    ops: int
    kernels: int
    host_steps: int = 0
    steps: tuple[Step, ...] = ()
    structure: str | None = None
    accuracy: Accuracy | None = None
    first_difference: str | None = None
    found: Mapping[str, int] = field(default_factory=dict)
    groups: tuple[Part, ...] = ()
    effects: int | None = None
    lost: int = 0
    trial: bool = False
    price: Price | None = None
    more: str | None = None

    @property
    def worst(self) -> Agreement:
        """The output that agrees least."""
        return max(self.outputs, key=lambda output: output.relative)

    @property
    def same(self) -> bool:
        """Whether all outputs agree within the bound."""
        if self.structure is not None:
            return False
        return not self.outputs or self.worst.relative <= self.bound

    @property
    def identical(self) -> bool:
        """Whether they agree bit for bit."""
        return self.structure is None and all(output.identical for output in self.outputs)

    @property
    def ratio(self) -> float:
        """How many times faster than eager a call from the graph is."""
        return self.eager.median / self.compiled.median

    @property
    def break_even(self) -> int | None:
        """The call from which on recording has paid off; None for never."""
        return break_even(self.first.seconds, self.eager.median, self.compiled.median)

    def to_json(self) -> str:
        """Everything as JSON; a number that is not finite is null there."""
        answers = ("same", "identical", "ratio", "break_even")
        return json.dumps(finite(asdict(self) | {name: getattr(self, name) for name in answers}))

    def __str__(self) -> str:
        head = " · ".join(part for part in (self.place, *self.what) if part)
        lines = textwrap.wrap(f"{self.name}  {head}", WIDTH, subsequent_indent="  ")
        lines += [line for words in self.rows() for line in row(*words)]
        return "\n".join([*lines, *islice(self._steps(), max(0, LINES - len(lines)))])

    def rows(self) -> list[tuple[str, ...]]:
        """The questions with their answers: label, one word, and the figures behind it."""
        return [
            ("same answer?", *self._same()),
            ("faster?", *self._faster()),
            ("worth it?", *self._worth()),
            *([("exact?", *self._exact(self.price))] if self.price else []),
            ("memory", "", self._memory(), *([self.more] if self.more else [])),
            ("what ran", "", *self._ran()),
        ]

    def to_html(self) -> str:
        """A page that stands alone, for a file or a screen."""
        return page.document(self.name, *page.of_comparison(self))

    def _repr_html_(self) -> str:
        return page.fragment(*page.of_comparison(self))

    def _same(self) -> tuple[str, ...]:
        return (*self._agreement(), *self._against())

    def _agreement(self) -> tuple[str, ...]:
        if self.structure is not None:
            return "no", f"the results differ in structure: {cut(self.structure, WIDTH)}"
        if self.identical:
            return "yes", f"{self.compared}, bit for bit"
        worst = self.worst
        if worst.ulp == FARTHEST:
            return "no", f"{self.compared} differ", f"worst: {worst.name}, NaN in one mode only"
        distance = f"worst: {worst.name}, {scientific(worst.relative)} relative"
        if not self.same:
            bound = f"differ by more than {scientific(self.bound)}"
            return "no", f"{self.compared} {bound}", distance
        ulp = max(output.ulp for output in self.outputs)
        return "yes", f"{self.compared} within {ulp:,} ULP", distance

    def _against(self) -> Iterator[str]:
        """Where a difference begins, and who is nearer to what float64 gives."""
        if self.first_difference is not None:
            yield f"first difference: {self.first_difference}"
        if self.accuracy is not None:
            eager, compiled = map(scientific, (self.accuracy.eager, self.accuracy.compiled))
            both = f"eager {eager}, {self.mode} {compiled}"
            yield f"against float64: {f'both {eager}' if eager == compiled else both}"

    def _faster(self) -> tuple[str, ...]:
        measured = f"median (quartiles) of {count(self.compiled.calls, 'interleaved call')}"
        times = f"eager {spread(self.eager)}", f"{self.mode} {spread(self.compiled)}", measured
        if self.ratio >= NOTICEABLE:
            return f"{self.ratio:.1f}x", *times
        verdict = "slower" if self.ratio < 1 / NOTICEABLE else "no difference"
        return "no", f"{verdict}, {self.ratio:.2f}x{self._why()}", *times

    def _why(self) -> str:
        """Why the second mode need not win, where the mode explains it."""
        return ": the graph is interpreted, step by step" if self.mode == INTERPRETED else ""

    def _worth(self) -> tuple[str, ...]:
        first = self.first
        what = "first call" if first.recordings == 1 else count(first.recordings, "recording")
        cost = (
            f"{what} {duration(first.seconds)}: trace {duration(first.tracing)}, "
            f"compile {duration(first.compiling)}{self._kernels_found()}"
        )
        if self.break_even is None:
            return "no", "a later call is not faster", cost
        if self.break_even > self.calls and not self.trial:
            return "not yet", f"from call {self.break_even:,} on; {self.calls:,} were made", cost
        return "yes", f"from call {self.break_even:,} on", cost

    def _kernels_found(self) -> str:
        """Where the kernels came from: that decides what compiling took."""
        ways = [f"{n} {way}" for way, n in self.found.items() if n]
        return f" ({', '.join(ways)})" if ways else ""

    def _exact(self, price: Price) -> tuple[str, ...]:
        """That every bit was looked at, and what it would bring to give some up."""
        share = price.share
        cost = f"costs {share:.0%}" if share > NOTICEABLE - 1 else "costs nothing"
        worst, taken = price.worst, duration(price.exact.median)
        apart = "which gives the same bits here"
        if worst is not None:
            relative = scientific(worst.relative)
            apart = f"which differs by {worst.ulp:,} ULP (worst: {worst.name}, {relative} relative)"
        return (
            "yes",
            f"{count(price.ways, 'way')} through it checked bit by bit",
            f"{cost}: {taken} a call",
            f"with fast=True {spread(price.fast)},",
            apart,
        )

    def _memory(self) -> str:
        sizes = f"eager {size(self.eager_bytes)}, {self.mode} {size(self.compiled_bytes)}"
        return f"{sizes} at the peak"

    def _ran(self) -> tuple[str, str]:
        parts = [count(self.kernels, "kernel")] if self.kernels else []
        if self.host_steps or not parts:
            parts.append(count(self.host_steps, "host step" if parts else "step"))
        return (
            f"{self.mode}: {' and '.join(parts)} from {count(self.ops, 'op')}",
            f"{self.from_graph:,} of {count(self.calls, 'call')} from the graph, "
            f"{count(self.traces, 'trace')}{self._lost()}",
        )

    def _lost(self) -> str:
        """What became of what a call does besides computing."""
        if self.effects is None:
            return ""
        among = f" of {self.effects:,}" if self.effects else ""
        return f", {self.lost}{among} effects lost"

    def _steps(self) -> Iterator[str]:
        """The slowest steps; names that are too long for their columns are cut."""
        for rank, step in enumerate(self.steps[:TOP], 1):
            times = f" x{step.count}" if step.count > 1 else ""
            op = cut(step.op, 20 - len(times)) + times
            taken = f"{duration(step.seconds):>8}  {step.share:4.0%}"
            speed = f"{1e-9 * step.flops:>4.0f} GFLOP/s" if step.flops else ""
            yield f"{'':{LABEL}}{rank}  {op:<21}{cut(step.line or '', 15):<16}{taken}{speed}"


def row(label: str, answer: str, *clauses: str) -> list[str]:
    """Label and answer in columns of their own, and each clause on a line beside them."""
    start = LABEL + (ANSWER if answer else 0)
    glued = (re.sub(UNIT, "\u00a0", clause) for clause in clauses)
    lines = [line for clause in glued for line in textwrap.wrap(clause, WIDTH - start)]
    lines[0] = f"{label:<{LABEL}}{answer:<{start - LABEL}}{lines[0]}"
    lines[1:] = (" " * start + line for line in lines[1:])
    return [line.replace("\u00a0", " ") for line in lines]


def cut(text: str, width: int) -> str:
    """`text`, or as much of it as fits, with a sign that something is missing."""
    return text if len(text) <= width else f"{text[: width - 1]}…"


def spread(timing: Timing) -> str:
    """`0.412 ms (0.40-0.44)`: the median, and the quartiles in its unit."""
    scale, unit = time_unit(timing.median)
    lower, upper = (figures(quartile * scale, 2) for quartile in (timing.lower, timing.upper))
    return f"{figures(timing.median * scale)} {unit} ({lower}-{upper})"


def duration(seconds: float) -> str:
    """Seconds to three figures, in the unit that suits them: `0.412 ms`, `1.65 s`."""
    scale, unit = time_unit(seconds)
    return f"{figures(seconds * scale)} {unit}"


def time_unit(seconds: float) -> tuple[float, str]:
    """What to multiply seconds by, and what they are then."""
    if seconds < 1e-4:
        return 1e6, "µs"
    return (1e3, "ms") if seconds < 1 else (1.0, "s")


def size(number: float) -> str:
    """Bytes, in the unit that suits them: `3.1 MB`."""
    for factor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if number >= factor:
            return f"{figures(number / factor, 2)} {unit}"
    return f"{number:.0f} bytes"


def figures(number: float, significant: int = 3) -> str:
    """A number to so many significant figures, never in powers of ten."""
    if number == 0 or not math.isfinite(number):
        return f"{number:.0f}"
    rounded = float(f"{number:.{significant - 1}e}")  # 9.96 has two figures as 10
    decimals = significant - 1 - math.floor(math.log10(abs(rounded)))
    return f"{number:,.{max(0, decimals)}f}"


def count(number: int, noun: str) -> str:
    """`1 call`, `1,203 calls`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def scientific(number: float) -> str:
    """`2.1e-7`, `1e-4`: as `%e`, without what carries nothing."""
    mantissa, exponent = f"{number:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def finite(tree: Any) -> Any:
    """A tree of plain values for JSON, which has no infinity and no NaN."""
    if isinstance(tree, dict):
        return {key: finite(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [finite(value) for value in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree
