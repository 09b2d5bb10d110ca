"""What a pass is, and how a pipeline runs: verified, timed, shown and dumped around each pass."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from jit.config import config
from jit.errors import GraphError
from jit.ir.graph import Graph
from jit.ir.verify import verify

SHOW_GRAPHS = 3  # the level of JIT_DEBUG from which graphs are shown

_pipelines = itertools.count()


@dataclass(frozen=True)
class GraphPass:
    """Graph -> Graph: valid in, valid out, the same results in every bit.

    Fields of a subclass are its options. A pass leaves its argument as it is, and takes time linear
    in the number of nodes.
    """

    name: ClassVar[str]

    def run(self, graph: Graph) -> Graph:
        """The graph that replaces `graph`."""
        raise NotImplementedError


@dataclass(frozen=True)
class PassRecord:
    """What one pass did: seconds, and how many nodes there were before and after."""

    name: str
    seconds: float
    before: int
    after: int


def run_passes(graph: Graph, passes: Iterable[GraphPass]) -> tuple[Graph, list[PassRecord]]:
    """`graph` after `passes`, in their order, without those that JIT_PASSES_OFF names.

    Returns:
        The last graph, and a record of each pass that ran.

    Raises:
        GraphError: `graph` was not valid, or a pass made it so (checked under JIT_CHECK=1).
    """
    settings = config()
    stages = _Stages(graph.name)
    stages.show("given", graph)
    if settings.check:
        verify(graph)
    records: list[PassRecord] = []
    for each in passes:
        if each.name in settings.passes_off:
            continue
        before = len(graph.nodes)
        start = time.perf_counter()
        graph = each.run(graph)
        seconds = time.perf_counter() - start
        records.append(PassRecord(each.name, seconds, before, len(graph.nodes)))
        stages.show(each.name, graph)
        if settings.check:
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


class _Stages:
    """The graphs of one pipeline, on their way to people."""

    def __init__(self, name: str) -> None:
        settings = config()
        self.loud = settings.debug >= SHOW_GRAPHS
        self.folder: Path | None = None
        self.count = 0
        if settings.dump is not None:
            safe = "".join(c if c.isalnum() else "_" for c in name)
            self.folder = settings.dump / f"{next(_pipelines):04d}-{safe}"
            self.folder.mkdir(parents=True, exist_ok=True)

    def show(self, stage: str, graph: Graph) -> None:
        """Tell and write what the graph is after `stage`."""
        if self.loud:
            sys.stderr.write(f"# {graph.name}: {stage}, {len(graph.nodes)} nodes\n{graph}\n")
        if self.folder is not None:
            path = self.folder / f"{self.count:02d}-{stage}.txt"
            path.write_text(f"{graph}\n", encoding="utf-8")
        self.count += 1
