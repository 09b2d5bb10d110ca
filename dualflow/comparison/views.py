"""Views: a decorated function as a page: ways through it, and what became of each line.

Each line of the program stands beside the nodes of the graph that it became; nodes carry the colour
and the number of the kernel that computes them; below are the kernels with their loops and their
LLVM IR. The page is HTML without scripts.
"""

from __future__ import annotations

import linecache
import sys
from collections.abc import Iterable, Iterator
from html import escape
from typing import Any

from dualflow.comparison import page, ways
from dualflow.comparison.report import count
from dualflow.tracing.function import Function
from dualflow.tracing.path import Path
from jit.dataclass import dataclass
from jit.ir.graph import Node
from jit.ir.printer import format_node, value_names
from jit.native import NativeCode
from jit.runtime.cpu import host_target
from jit.runtime.library import llvm_text, schedule_text
from jit.runtime.program import HostStep, Launch, Repeat

PATHS, KERNELS, NODES = 4, 40, 400  # that are shown of a function, of a path
LONGEST = 20_000  # characters of a kernel's text
# Of groups, in turn: told apart by the colour-blind, and light enough to write on.
COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")
STYLE = """
<style>
.df .wide { overflow-x: auto; }
.df .code td { font: 12px/1.4 ui-monospace, monospace; }
.df .group { border-left: 4px solid var(--c); padding-left: 6px; margin: 1px 0;
  white-space: pre-wrap; }
.df .group a { color: inherit; }
.df details { margin: 2px 0; border-left: 4px solid var(--c, #999); padding-left: 8px; }
.df summary { cursor: pointer; }
</style>
""".strip()


@dataclass(frozen=True)
class View:
    """What people see of a function.

    Attributes:
        function: The function.
    """

    function: Function

    def to_html(self) -> str:
        """A page that stands alone."""
        return page.document(self.function.name, *self.parts())

    def _repr_html_(self) -> str:
        return page.fragment(*self.parts())

    def parts(self) -> list[str]:
        """The parts of the page."""
        found = self.function.explain()
        head = [
            STYLE,
            f"<h1>{escape(found.name)}</h1>",
            f"<p class='about'>{escape(found.mode)} · {count(found.calls, 'call')}, "
            f"{found.from_graph:,} from the graph · {count(len(found.traces), 'trace')}</p>",
        ]
        rows = [
            [info.key, info.why, f"{info.hits:,}", str(info.paths), f"{info.seconds:.3f} s"]
            for info in found.traces
        ]
        if rows:
            head.append(page.table(["calls of", "why recorded", "hits", "ways", ""], rows, (2, 3)))
        for effect in found.effects:
            head.append(f"<p>replayed: {escape(effect)}</p>")
        return [*head, *self._entries()]

    def _entries(self) -> Iterator[str]:
        names = numbered()
        for entry in list(self.function.entries.values()):
            if not entry.paths:
                continue
            yield f"<h2>Ways through: {escape(entry.info.key)}</h2>"
            yield ways.picture(entry)
            parts = sorted(entry.parts, key=lambda part: -part.hits)
            for part in parts[:PATHS]:
                yield from of_path(part, names)
            if len(parts) > PATHS:
                yield f"<p>and {len(parts) - PATHS} more, taken less often</p>"


def view(f: Any) -> View:
    """A decorated function as a page; in a notebook it is shown as it is.

    Args:
        f: The function.

    Raises:
        TypeError: It is not decorated.
    """
    if not isinstance(f, Function):
        raise TypeError(f"view: {f!r:.60} is not decorated by df.function")
    return View(f)


def numbered() -> Iterator[int]:
    """Numbers of kernels on a page."""
    number = 0
    while True:
        number += 1
        yield number


def of_path(path: Path, names: Iterator[int]) -> Iterator[str]:
    """A path or a stretch: lines, nodes and kernels."""
    code = path.executable.code
    launches: list[Launch | HostStep] = []
    if isinstance(code, NativeCode):
        for step in code.plan.program.steps:
            launches += step.steps if isinstance(step, Repeat) else []
            launches += [step] if isinstance(step, Launch | HostStep) else []
    numbers = {id(launch): next(names) for launch in launches}
    group = {node: numbers[id(launch)] for launch in launches for node in launch.nodes}
    graph = path.executable.graph
    nodes = [*graph.nodes, *[n for x in graph.nodes for n in inner(x)]]
    kernels = sum(isinstance(x, Launch) for x in launches)
    yield (
        f"<h2>{count(path.hits, 'hit')}: {count(path.ops, 'op')} became "
        f"{count(len(graph.nodes), 'node')} and {count(kernels, 'kernel')}</h2>"
    )
    yield lines(nodes[:NODES], value_names(graph), group)
    for launch in launches[:KERNELS]:
        yield of_launch(launch, numbers[id(launch)])


def inner(node: Node) -> list[Node]:
    """The nodes of the body of a loop."""
    body = node.attrs.get("body")
    return list(body.nodes) if body is not None else []


def lines(nodes: list[Node], names: Any, group: dict[Node, int]) -> str:
    """A table: each line of the program, and the nodes that it became."""
    by_line: dict[str, list[Node]] = {}
    for node in nodes:
        by_line.setdefault(node.source or "", []).append(node)
    rows = []
    for place, found in by_line.items():
        told = "".join(of_node(node, names, group.get(node)) for node in found)
        source = escape(text_of(place))
        rows.append(f"<tr><td>{escape(place)}<br><b>{source}</b></td><td>{told}</td></tr>")
    head = "<tr><th>line</th><th>graph, with the kernel of each node</th></tr>"
    return "\n".join(["<div class='wide'><table class='code'>", head, *rows, "</table></div>"])


def of_node(node: Node, names: Any, number: int | None) -> str:
    """A node, in the colour of its kernel."""
    text = escape(format_node(node, names, source=False).partition("\n")[0])
    if number is None:
        return f"<div class='group' style='--c:transparent'>{text}</div>"
    link = f"<a href='#kernel{number}'>{number}</a>"
    return f"<div class='group' style='--c:{colour(number)}'>{text} {link}</div>"


def of_launch(launch: Launch | HostStep, number: int) -> str:
    """A kernel: its ops and lines, its loops before and after their schedule, its LLVM IR."""
    places = dict.fromkeys(filter(None, (node.source for node in launch.nodes)))
    where = ", ".join(places or filter(None, [launch.source]))
    title = f"{number}  {launch.label}" + (f"  ({where})" if where else "")
    if isinstance(launch, HostStep):
        return f"<p id='kernel{number}'>{escape(title)}: a step that Python does</p>"
    target = host_target()
    stages = {
        "loops as stated": str(launch.kernel),
        "loops as scheduled": schedule_text(launch.kernel, target),
        "LLVM IR": llvm_text(launch.kernel, target),
    }
    inside = "".join(
        f"<details><summary>{stage}</summary><pre>{escape(shortened(text))}</pre></details>"
        for stage, text in stages.items()
    )
    return (
        f"<details id='kernel{number}' style='--c:{colour(number)}'>"
        f"<summary>{escape(title)}</summary>{inside}</details>"
    )


def shortened(text: str) -> str:
    """As much of a text as a page bears."""
    return (
        text if len(text) <= LONGEST else f"{text[:LONGEST]}\n... {len(text):,} characters in all"
    )


def colour(number: int) -> str:
    """The colour of a kernel."""
    return COLOURS[(number - 1) % len(COLOURS)]


def text_of(place: str) -> str:
    """What stands at "nets.py:15", if the file is one that was imported or is here."""
    name, _, line = place.rpartition(":")
    if not line.isdecimal():
        return ""
    for path in known_files(name):
        if text := linecache.getline(path, int(line)).strip():
            return text
    return ""


def known_files(name: str) -> Iterable[str]:
    """The paths of modules whose files have this name; of what was typed in, cells included."""
    modules = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    paths = [path for path in (*modules, *linecache.cache) if path]
    return [path for path in dict.fromkeys(paths) if path.rpartition("/")[2] == name]
