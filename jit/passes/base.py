"""What a pass is, and how a pipeline runs: verified, timed, shown and dumped around each pass."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import ClassVar

from jit import progress
from jit.config import config
from jit.dataclass import dataclass
from jit.errors import GraphError
from jit.ir.graph import Graph, Node, Value
from jit.ir.verify import verify
from jit.report import counted

PASSES, SHOW_GRAPHS = 2, 3  # levels of JIT_DEBUG from which passes, and graphs, are shown

_pipelines = itertools.count()
Writer = Callable[[Graph, dict[Value, Value]], None]


@dataclass(frozen=True)
class GraphPass:
    """Graph -> Graph: valid in, valid out, the same results in every bit (`fast`: nearly).

    Fields of a subclass are its options. A pass leaves its argument as it is, and takes time linear
    in the number of nodes.
    """

    name: ClassVar[str]

    def run(self, graph: Graph) -> Graph:
        """The graph that replaces `graph`."""
        raise NotImplementedError


@dataclass(frozen=True)
class PassRecord:
    """What one pass did.

    Attributes:
        name: Of the pass.
        seconds: How long it took.
        before: How many nodes there were.
        after: How many there are.
        changed: Whether the graph is another; only known where passes are shown or dumped.
    """

    name: str
    seconds: float
    before: int
    after: int
    changed: bool = False

    def __str__(self) -> str:
        return f"{self.name}: {self.before} -> {self.after} nodes, {1e3 * self.seconds:.1f} ms"


def replaced(graph: Graph, writers: Mapping[Node, Writer]) -> Graph:
    """A graph with something else in place of some nodes.

    Args:
        graph: The graph.
        writers: For each of these nodes what appends nodes to a graph, and notes its outputs among
            the values that stand for those of `graph`.
    """
    new = Graph(graph.name)
    new_of = {value: new.input(value.type, value.name) for value in graph.inputs}
    for node in graph.nodes:
        if node in writers:
            writers[node](new, new_of)
        else:
            new.append_copy(node, new_of)
    new.outputs = [new_of[value] for value in graph.outputs]
    return new


def run_passes(
    graph: Graph, passes: Iterable[GraphPass], stages: Stages | None = None
) -> tuple[Graph, list[PassRecord]]:
    """`graph` after `passes`, in their order, without those that JIT_PASSES_OFF names.

    Args:
        graph: Stays as it is.
        passes: What runs.
        stages: Where the graph is shown around each pass.

    Returns:
        The last graph, and a record of each pass that ran.

    Raises:
        GraphError: `graph` was not valid, or a pass made it so (checked under JIT_CHECK=1).
    """
    settings = config()
    stages = stages or Stages(graph.name)
    stages.show_graph("given", graph)
    if settings.check:
        verify(graph)
    records: list[PassRecord] = []
    for each in progress.each("passes over the graph", [*passes]):
        if each.name in settings.passes_off:
            continue
        before = len(graph.nodes)
        start, given = time.perf_counter(), graph
        graph = each.run(given)
        seconds = time.perf_counter() - start
        changed = stages.show_graph(each.name, graph)
        records.append(PassRecord(each.name, seconds, before, len(graph.nodes), changed))
        if settings.check and graph is not given:
            _verify_after(each, graph)
    return graph, records


def _verify_after(each: GraphPass, graph: Graph) -> None:
    try:
        verify(graph)
    except GraphError as error:
        broken = GraphError(
            f"pass {each.name} made an invalid graph: {error.what}",
            remedy=f"JIT_PASSES_OFF={each.name} leaves it out",
        )
        broken.location = error.location
        raise broken from error


class Stages:
    """What a graph becomes on its way to code, shown to people under JIT_DEBUG and JIT_DUMP."""

    def __init__(self, name: str) -> None:
        settings = config()
        self.name, self.level = name, settings.debug
        self.folder: Path | None = None
        self.count = 0
        self._graph = ""  # the text of the last one
        if settings.dump is not None:
            safe = "".join(c if c.isalnum() else "_" for c in name)
            self.folder = settings.dump / f"{next(_pipelines):04d}-{safe}"
            self.folder.mkdir(parents=True, exist_ok=True)

    def show_graph(self, stage: str, graph: Graph) -> bool:
        """Tells and writes what the graph is after `stage`; one that is as before is only named.

        Returns:
            Whether it is another than before, as far as anybody is told of passes.
        """
        if self.level < PASSES and self.folder is None:
            return False
        text, before = str(graph), self._graph
        self._graph = text
        if self.level >= SHOW_GRAPHS:
            number = counted(len(graph.nodes), "node")
            told = f", {number}\n{text}" if text != before else ", as before"
            sys.stderr.write(f"# {self.name}: {stage}{told}\n")
        self._write(stage, text)
        return text != before

    def show(self, stage: str, what: object, level: int) -> None:
        """Tells, from a level of JIT_DEBUG on, and writes a stage in its text."""
        if self.level >= level:
            sys.stderr.write(f"# {self.name}: {stage}\n{what}\n")
        self._write(stage, what)

    def _write(self, stage: str, what: object) -> None:
        if self.folder is not None:
            path = self.folder / f"{self.count:02d}-{stage}.txt"
            path.write_text(f"{what}\n", encoding="utf-8")
        self.count += 1
