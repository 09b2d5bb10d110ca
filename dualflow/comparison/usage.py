"""`df.memory`: what takes memory in both modes, by the user's lines, and what would take less."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from dualflow.comparison import page
from dualflow.comparison.both import Both, in_both
from dualflow.comparison.lifetimes import Track, of_eager, of_program
from dualflow.comparison.pictures import Axis, Chart, Line
from dualflow.comparison.planning import bytes_of, programs_of, recorded
from dualflow.comparison.report import count, cut, size
from dualflow.tracing.modes import set_mode
from jit.dataclass import dataclass

WIDTH, TOP = 80, 3


@dataclass(frozen=True)
class Memory:
    """The memory of a call in both modes.

    Attributes:
        name: The function.
        eager: What lives when in Python: values of ops, without what kernels use inside.
        compiled: And in a call from the graph; None where no single graph serves it.
        foretold: Peak of the compiled call, from its plan alone; None where that depends.
        eager_bytes: Peak of a call in Python, as measured.
        compiled_bytes: And of a compiled call.
    """

    name: str
    eager: Track
    compiled: Track | None
    foretold: int | None
    eager_bytes: int
    compiled_bytes: int

    def table(self) -> list[list[str]]:
        """Bytes at the peak by line: the line, eager, compiled."""
        eager = self.eager.by_line()
        compiled = self.compiled.by_line() if self.compiled else {}
        lines = sorted({**eager, **compiled}, key=lambda x: -eager.get(x, 0) - compiled.get(x, 0))
        return [
            [line, *(size(each[line]) if line in each else "" for each in (eager, compiled))]
            for line in lines
        ]

    def advice(self) -> list[str]:
        """What making values again, rather than keeping them, would save in each mode."""
        return [
            f"{x.line} {x.what}: made again, {size(x.bytes)} less at the {mode} peak"
            for mode, track in self.tracks()
            for x in track.savings()[:TOP]
        ]

    def tracks(self) -> list[tuple[str, Track]]:
        """The modes that there are."""
        both = [("eager", self.eager), ("compiled", self.compiled)]
        return [(mode, track) for mode, track in both if track is not None]

    def __str__(self) -> str:
        foretold = "" if self.foretold is None else f" (foretold {size(self.foretold)})"
        head = (
            f"{self.name}: eager {size(self.eager_bytes)}, "
            f"compiled {size(self.compiled_bytes)}{foretold} at the peak"
        )
        lines = [head, f"{'alive at the peak':<40}{'eager':>10}{'compiled':>12}"]
        lines += [f"  {cut(x, 36):<38}{a:>10}{b:>12}" for x, a, b in self.table()]
        return "\n".join(cut(line.rstrip(), WIDTH) for line in [*lines, *self.advice()])

    def chart(self) -> Chart:
        """Live bytes over the call, in both modes."""
        lines = []
        for mode, track in self.tracks():
            last = max(1, len(track.live) - 1)
            lines.append(Line(mode, [(100 * k / last, x / 1e6) for k, x in enumerate(track.live)]))
        return Chart("Memory over a call", Axis("part of the call's ops, %"), Axis("MB"), lines)

    def parts(self) -> list[str]:
        """The parts of a page."""
        told = "".join(f"<li>{page.escape(x)}</li>" for x in self.advice())
        events = [
            [mode, str(k), what, line, size(track.live[k])]
            for mode, track in self.tracks()
            for k, (what, line) in enumerate(track.moments)
        ]
        return [
            f"<h1>{page.escape(self.name)}</h1>",
            f"<p class='about'>{page.escape(str(self).splitlines()[0])}</p>",
            str(self.chart()),
            "<h2>Alive at the peak, by line</h2>",
            page.table(["line", "eager", "compiled"], self.table(), (1, 2)),
            f"<ul>{told}</ul>" if told else "",
            f"<details><summary>{count(len(events), 'moment')}</summary>",
            page.table(["mode", "", "op or kernel", "line", "alive"], events, (1, 4)),
            "</details>",
        ]

    def to_html(self) -> str:
        """A page that stands alone."""
        return page.document(self.name, *self.parts())

    def _repr_html_(self) -> str:
        return page.fragment(*self.parts())


def memory(f: Callable[..., Any], *args: Any, **kwargs: Any) -> Memory:
    """What takes memory in a call of `f` in both modes. State is put back, as by `df.compare`.

    Args:
        f: A function, decorated or not.
        *args: Arguments of the call.
        **kwargs: Arguments of the call.

    Returns:
        A Memory; print it, or look at it in a notebook.

    Example:
        >>> import dualflow as df
        >>> found = df.memory(lambda x: (df.tanh(x) * 2.0).sum(), df.ones((100, 100)))
        >>> found.compiled.peak <= found.foretold < found.eager.peak
        True
    """
    return in_both(f, args, kwargs, looked)


def looked(both: Both) -> Memory:
    """The memory of a call."""
    function, graphs = recorded(both)
    made = programs_of(function, graphs)
    sizes = [bytes_of(each) for each in made]
    known = [(n, k) for k, n in enumerate(sizes) if n is not None]
    compiled, foretold = None, None
    if known and len(known) == len(sizes):
        foretold, number = max(known)
        largest = made[number]
        compiled = of_program(largest.program, largest.numbering.times, largest.taken)
    return Memory(
        function.name,
        eager(both),
        compiled,
        foretold,
        both.peak(lambda: both.python),
        both.peak(lambda: both.decorated(both.python)),
    )


def eager(both: Both) -> Track:
    """What lives when, in Python."""
    both.snapshot.start()

    def given() -> Iterable[Any]:
        yield from (x.raw for x in both.call.tensors)
        yield from (x.tensor.raw for x in both.snapshot.variables.values())

    def call() -> Any:
        with set_mode("eager"):
            return both.run(both.python)

    call()  # state is in memory of its own afterwards, which nobody else holds
    return of_eager(call, given)
