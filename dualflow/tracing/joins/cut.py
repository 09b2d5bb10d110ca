"""Cut: parts a finished recording at its crossings into stretches.

A stretch takes what its first crossing hands over, and what it reads of state from outside. If it
needs anything else from before, such as the records of a tape, ways cannot join at that site.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from dualflow.core import tree
from dualflow.tracing.cells import Cell, NumberCell
from dualflow.tracing.guards.check import Check
from dualflow.tracing.guards.equals import Equals
from dualflow.tracing.joins.crossings import Crossing, Site
from dualflow.tracing.recorded import (
    Computed,
    Constant,
    Outputs,
    Recorded,
    builder,
    is_tracked,
    leaf_of,
    replaced_by,
    returned,
    written_by,
)
from dualflow.tracing.trace import Trace
from jit.ir import builtin
from jit.ir.graph import Graph, Node, Value

NUMBER = re.compile(r"\b[nt]\d+\b")
NO_CHECK = Check((), {})
Leaf = int | Constant | Computed


@dataclass
class Piece:
    """A stretch of a recording.

    Attributes:
        source: The crossing at which it begins; None for the beginning of the call.
        target: The crossing at which it ends; None for the end of the call.
        signature: What Python decided on the way: equal for stretches that do the same.
        number: Of the stretch.
    """

    source: Crossing | None
    target: Crossing | None
    signature: Hashable
    number: int


class Cut:
    """A recording in pieces.

    Args:
        trace: The finished recording.
        result: What the call returned.
        crossings: Where to cut.

    Attributes:
        hidden: Sites at which more is needed than what is handed over: nothing was cut there.
        pieces: The stretches.
    """

    def __init__(self, trace: Trace, result: Any, crossings: Sequence[Crossing]) -> None:
        self._trace = trace
        self._nodes = trace.graph.nodes
        self._arguments = len(trace.graph.inputs) - len(trace.cells)
        self._ends(result)
        self._crossings = list(crossings)
        bad = self._not_handed_over()
        self.hidden: list[Site] = [self._crossings[k - 1].site for k in sorted(bad)]
        self._crossings = [x for k, x in enumerate(crossings, 1) if k not in bad]
        self.pieces = [self._piece(k) for k in range(len(self._crossings) + 1)]

    def _ends(self, result: Any) -> None:
        """What the end of the call takes: results and what is written."""
        trace, outputs = self._trace, Outputs()
        leaves, spec = tree.flatten(result)
        self._leaves: list[Leaf] = [leaf_of(trace, outputs, x) for x in leaves]
        self._build = builder(spec)
        self._tracked = [k for k, x in enumerate(leaves) if returned(trace, x) and is_tracked(x)]
        self._written = written_by(trace, outputs)
        self._replaced = replaced_by(trace, outputs)
        self._outputs = outputs.values
        self._results = [x.index for x in self._leaves if isinstance(x, Computed)]
        self._arguments = len(trace.graph.inputs) - len(trace.cells)

    # ----- where it can be cut -----

    def _not_handed_over(self) -> set[int]:
        """The crossings after which something is needed that they do not hand over."""
        bad: set[int] = set()
        verified: dict[Any, int] = {}
        slots = [set[Any](), *[{*x.tensors, *x.numbers} for x in self._crossings]]
        for item, made, used in (*self._uses(), *self._uses_of_numbers()):
            first = max(made, verified.get(item, 0)) + 1
            for k in range(first, used + 1):
                if item not in slots[k]:
                    bad.add(k)
            verified[item] = max(used, verified.get(item, 0))
        return bad

    def _uses(self) -> Iterator[tuple[Value, int, int]]:
        """Values of the graph: the stretch that makes one, and one that uses it."""
        made = dict.fromkeys(self._trace.graph.inputs[: self._arguments], 0)
        asked = {x.node for x in self._crossings}
        stretch = 0
        for k, node in enumerate(self._nodes):
            if k in asked:
                yield from ((x, made[x], stretch) for x in node.inputs if x in made)
                stretch += 1
                continue
            yield from ((x, made[x], stretch) for x in node.inputs if x in made)
            if node.op is not builtin.constant:
                made.update(dict.fromkeys(node.outputs, stretch))
        for k, crossing in enumerate(self._crossings):
            yield from ((x, made[x], k) for x in crossing.tensors if x in made)
        yield from ((x, made[x], stretch) for x in self._outputs if x in made)

    def _uses_of_numbers(self) -> Iterator[tuple[str, int, int]]:
        """The same for numbers."""
        scalars = self._trace.scalars
        made = dict.fromkeys(scalars.roots, 0)
        starts = [x.line for x in self._crossings]
        stretch = 0
        for k, line in enumerate(scalars.lines):
            while stretch < len(starts) and starts[stretch] <= k:
                stretch += 1
            target, is_definition, rest = line.partition(" = ")
            defines = bool(is_definition) and NUMBER.fullmatch(target) is not None
            for name in NUMBER.findall(rest if defines else line):
                yield name, made[name], stretch
            if defines:
                made[target] = stretch
        for k, crossing in enumerate(self._crossings):
            yield from ((name, made[name], k) for name in crossing.numbers)
        yield from (
            (scalars.result_at(k), made[scalars.result_at(k)], len(starts)) for k in self._results
        )
        yield from self._numbers_in_graph(made)

    def _numbers_in_graph(self, made: dict[str, int]) -> Iterator[tuple[str, int, int]]:
        for stretch in range(len(self._crossings) + 1):
            for cell in self._cells(stretch):
                if isinstance(cell, NumberCell):
                    name, _ = self._trace.scalars.input_at(cell.index)
                    yield name, made[name], stretch

    # ----- stretches -----

    def _source(self, stretch: int) -> Crossing | None:
        return self._crossings[stretch - 1] if stretch else None

    def _target(self, stretch: int) -> Crossing | None:
        return self._crossings[stretch] if stretch < len(self._crossings) else None

    def _range(self, stretch: int) -> Sequence[Node]:
        """The nodes of a stretch."""
        source, target = self._source(stretch), self._target(stretch)
        start = 0 if source is None else source.node + 1
        return self._nodes[start : None if target is None else target.node]

    def _lines(self, stretch: int) -> slice:
        source, target = self._source(stretch), self._target(stretch)
        return slice(source and source.line, target and target.line)

    def _given(self, stretch: int) -> Sequence[Value]:
        """The values that a stretch is given."""
        source = self._source(stretch)
        return self._trace.graph.inputs[: self._arguments] if source is None else source.tensors

    def _wanted(self, stretch: int) -> list[Value]:
        """The values that a stretch gives."""
        target = self._target(stretch)
        if target is None:
            return self._outputs
        given = set(self._given(stretch))
        return [target.asked, *[x for x in target.tensors if x not in given]]

    def _cells(self, stretch: int) -> list[Cell]:
        """What a stretch reads of state from outside."""
        inputs, found = self._trace.graph.inputs, dict[int, None]()
        for x in (
            *[x for node in self._range(stretch) for x in node.inputs],
            *self._wanted(stretch),
        ):
            if x.node is None and x.index >= self._arguments and inputs[x.index] is x:
                found[x.index - self._arguments] = None
        return [self._trace.cells[k] for k in found]

    def _piece(self, stretch: int) -> Piece:
        source, target = self._source(stretch), self._target(stretch)
        scalars = self._trace.scalars
        roots = scalars.roots if source is None else source.numbers
        told = scalars.told(scalars.lines[self._lines(stretch)], roots)
        return Piece(source, target, (self._answers(stretch), told), stretch)

    def _answers(self, stretch: int) -> tuple[bool | int, ...]:
        return tuple(
            node.attrs["expected"] for node in self._range(stretch) if node.op is builtin.guard
        )

    def given(self, piece: Piece) -> Sequence[Value]:
        """The values that a stretch is given."""
        return self._given(piece.number)

    def recorded(self, piece: Piece) -> Recorded:
        """What a path is made of, for one stretch."""
        graph, cells, unrecorded = self._graph(piece.number)
        end = piece.target is None
        leaves = self._leaves if end else self._handed(piece)
        return Recorded(
            graph=graph,
            cells=cells,
            leaves=leaves,
            build=self._build if end else list,
            tracked=self._tracked if end else self._tracked_slots(piece),
            written=self._written if end else [],
            replaced=self._replaced if end else [],
            answers=self._answers(piece.number),
            decided=[],
            guesses=self._trace.scalars.guesses,
            finish=partial(self._prologue, piece, cells),
            check=NO_CHECK,
            equals=Equals((), {}),
            unrecorded=unrecorded,
        )

    def _handed(self, piece: Piece) -> list[Leaf]:
        """The leaves of a stretch that ends at a crossing: what is asked, tensors, numbers."""
        assert piece.target is not None
        count = len(self._wanted(piece.number))
        return [*range(count), *map(Computed, range(len(piece.target.numbers)))]

    def _tracked_slots(self, piece: Piece) -> list[int]:
        assert piece.target is not None
        wanted = self._wanted(piece.number)
        tracked = {piece.target.tensors[k] for k in piece.target.tracked}
        return [k for k, x in enumerate(wanted) if k and x in tracked]

    def _graph(self, stretch: int) -> tuple[Graph, list[Cell], set[Node]]:
        old, graph = self._trace.graph, Graph(self._trace.graph.name)
        new_of = {x: graph.input(x.type, x.name) for x in self._given(stretch)}
        cells: list[Cell] = []
        for cell in self._cells(stretch):
            x = old.inputs[self._arguments + self._trace.cells.index(cell)]
            new_of[x] = graph.input(x.type, x.name)
            numbers = sum(isinstance(known, NumberCell) for known in cells)
            cells.append(NumberCell(numbers, cell.tensor) if isinstance(cell, NumberCell) else cell)
        unrecorded: set[Node] = set()
        for node in self._range(stretch):
            self._copy(node, graph, new_of)
            if node in self._trace.unrecorded:
                unrecorded.add(graph.nodes[-1])
        graph.outputs = [self._new(x, graph, new_of) for x in self._wanted(stretch)]
        return graph, cells, unrecorded

    def _copy(self, node: Node, graph: Graph, new_of: dict[Value, Value]) -> None:
        for x in node.inputs:
            self._new(x, graph, new_of)
        graph.append_copy(node, new_of)

    @staticmethod
    def _new(x: Value, graph: Graph, new_of: dict[Value, Value]) -> Value:
        """The value in the graph of a stretch; a constant comes along."""
        if x not in new_of:
            assert x.node is not None
            graph.append_copy(x.node, new_of)
        return new_of[x]

    def _prologue(self, piece: Piece, cells: Sequence[Cell]) -> Any:
        scalars, source, target = self._trace.scalars, piece.source, piece.target
        own = [c for c in self._cells(piece.number) if isinstance(c, NumberCell)]
        assert len(own) == sum(isinstance(c, NumberCell) for c in cells)
        results = (
            [scalars.result_at(k) for k in range(len(self._results))]
            if target is None
            else target.numbers
        )
        return scalars.part(
            scalars.roots if source is None else source.numbers,
            self._lines(piece.number),
            [scalars.input_at(c.index) for c in own],
            results,
        )
