"""Cut: parts a finished recording at its crossings into stretches.

A stretch takes what its first crossing hands over, and what it reads of state from outside. If it
needs anything else from before, such as the records of a tape, ways cannot join at that site.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Hashable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from dualflow.core import tree
from dualflow.core.number import KINDS
from dualflow.tracing.cells import Cell, NumberCell, VariableCell
from dualflow.tracing.guards.check import Check
from dualflow.tracing.guards.equals import Equals
from dualflow.tracing.joins.choice import Choice
from dualflow.tracing.joins.sites import Crossing, Site
from dualflow.tracing.leaves import (
    Again,
    Computed,
    Constant,
    Handed,
    Leaf,
    Leaves,
    Outputs,
    flows_from,
    is_computed,
    known_leaf,
)
from dualflow.tracing.ledger import Effect
from dualflow.tracing.passed import left_by
from dualflow.tracing.recorded import Recorded, builder, looked_up, replaced_by, written_by
from dualflow.tracing.trace import Trace
from jit.dataclass import dataclass
from jit.ir import builtin
from jit.ir.graph import Graph, Node, Value

NUMBER = re.compile(r"\b[nst]\d+\b")
NO_CHECK = Check((), {})


@dataclass
class Piece:
    """A stretch of a recording.

    Attributes:
        source: The crossing at which it begins; None for the beginning of the call.
        target: The crossing at which it ends; None for the end of the call.
        signature: What Python decided on the way: equal for stretches that do the same.
        number: Of the stretch.
        effects: What is done on the way besides computing.
    """

    source: Crossing | None
    target: Crossing | None
    signature: Hashable
    number: int
    effects: list[Effect]


class Cut:
    """A recording in pieces.

    Args:
        trace: The finished recording.
        result: What the call returned.
        blocked: Sites where it must not be cut.

    Attributes:
        hidden: More such sites: there something is needed that is not handed over.
        pieces: The stretches.
    """

    def __init__(self, trace: Trace, result: Any, blocked: Iterable[Site]) -> None:
        self._trace = trace
        self._nodes = trace.graph.nodes
        self._arguments = len(trace.graph.inputs) - len(trace.cells)
        self._ends(result)
        assert trace.crossings is not None
        choice = Choice(trace.crossings, blocked)
        while True:
            self._crossings = choice.crossings()
            self._effects = self._effects_of_stretches()
            stretches = range(len(self._crossings) + 1)
            self._computed = {k for stretch in stretches for k in self._read(stretch)}
            bad = self._not_handed_over()
            if not bad:
                break
            choice.drop([self._crossings[k - 1] for k in sorted(bad)])
        self.hidden = list(choice.dropped)
        self.pieces = [self._piece(k) for k in range(len(self._crossings) + 1)]

    def _ends(self, result: Any) -> None:
        """What the end of the call takes: results and what is written."""
        trace, outputs = self._trace, Outputs()
        things, spec = tree.flatten(result)
        leaves = Leaves(trace, outputs, things, [True] * len(things))
        self._results: list[str] = []
        self._logged = {id(x) for x, _ in trace.ledger.leaves()}
        self._leaves = [self._leaf(x) for x in leaves.found]
        self._build, self._told = builder(result, spec), left_by(result)
        self._tracked, self._spent = leaves.tracked, leaves.spent
        self._written = written_by(trace, outputs)
        self._replaced = replaced_by(trace, outputs)
        self._outputs = outputs.values
        self._given_to_effects(outputs)
        self._arguments = len(trace.graph.inputs) - len(trace.cells)

    def _leaf(self, leaf: Leaf) -> Leaf:
        """A leaf of the result; a number is one of the last stretch's, not of the whole call's."""
        if isinstance(leaf, Constant) and id(leaf.value) in self._logged:
            return Constant(leaf.value, made=leaf.made)  # entries of any stretch are given it
        if not isinstance(leaf, Computed):
            return leaf
        self._results.append(self._trace.scalars.result_at(leaf.index))
        return Computed(len(self._results) - 1)

    def _given_to_effects(self, outputs: Outputs) -> None:
        """What becomes of the leaves that entries of the ledger are given: for each its own."""
        trace = self._trace
        self._kinds: dict[int, tuple[Any, bool]] = {}
        for effect in trace.ledger.effects:
            for x in effect.leaves:
                kind: Any = known_leaf(trace, x) or Constant(x)
                if is_computed(trace, x):
                    kind = trace.value_of(x)
                elif type(x) in KINDS:
                    ours = x.number_owner is trace.scalars
                    kind = x.number_name if ours else Constant(x.number_value)
                self._kinds[id(x)] = kind, effect.keeps and flows_from(trace, x)

    def _effects_of_stretches(self) -> list[list[Effect]]:
        """The entries of the ledger, for each stretch."""
        starts = [x.number for x in self._crossings]
        found: list[list[Effect]] = [[] for _ in range(len(starts) + 1)]
        for effect in self._trace.ledger.effects:
            found[bisect_left(starts, effect.crossing)].append(effect)
        return found

    def _given_in(self, stretch: int) -> list[tuple[Any, bool]]:
        """What the entries of a stretch are given, and whether gradients flow through it.

        That is a value of the graph, the name of a number, or a leaf that needs neither.
        """
        return [self._kinds[id(x)] for effect in self._effects[stretch] for x in effect.leaves]

    # ----- where it can be cut -----

    def _not_handed_over(self) -> set[int]:
        """The crossings after which something is needed that they do not hand over."""
        bad: set[int] = set()
        verified: dict[Any, int] = {}
        slots = [
            set[Any](),
            *[{*x.tensors, *x.gained, *x.numbers} for x in self._crossings],
        ]
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
        last = len(self._crossings)
        for stretch in range(last + 1):
            target = self._target(stretch)
            for node in self._range(stretch):
                yield from ((x, made[x], stretch) for x in node.inputs if x in made)
                made.update(dict.fromkeys(outputs_of(node), stretch))
            if target is None:
                break
            if target.asked in made:
                yield target.asked, made[target.asked], stretch
            for node in self._nodes[target.node : target.after]:  # of a sweep, which is no stretch
                made.update(dict.fromkeys(outputs_of(node), stretch))
        for k, crossing in enumerate(self._crossings):
            yield from ((x, made[x], k) for x in crossing.tensors if x in made)
        yield from ((x, made[x], last) for x in self._outputs if x in made)
        for k in range(len(self._effects)):
            yield from ((x, made[x], k) for x, _ in self._given_in(k) if x in made)

    def _uses_of_numbers(self) -> Iterator[tuple[str, int, int]]:
        """The same for numbers."""
        scalars = self._trace.scalars
        made = dict.fromkeys(scalars.roots, 0)
        for k, crossing in enumerate(self._crossings):  # where Python's own are read until then
            made.update({x: k for x in crossing.numbers if x[0] == "s" and x not in made})
        starts = [x.line for x in self._crossings]
        stretch = 0
        for k, line in enumerate(scalars.lines):
            while stretch < len(starts) and starts[stretch] <= k:
                stretch += 1
            target, is_definition, rest = line.partition(" = ")
            defines = bool(is_definition) and NUMBER.fullmatch(target) is not None
            for name in NUMBER.findall(rest if defines else line):
                if name in made:
                    yield name, made[name], stretch
            if defines:
                made[target] = stretch
        for k, crossing in enumerate(self._crossings):
            yield from ((name, made[name], k) for name in crossing.numbers)
        used = [(name, len(starts)) for name in self._results]
        used += [(x, k) for k in range(len(self._effects)) for x, _ in self._given_in(k)]
        used += self._numbers_in_graph()
        yield from ((x, made[x], k) for x, k in used if x in made)

    def _numbers_in_graph(self) -> Iterator[tuple[str, int]]:
        for stretch in range(len(self._crossings) + 1):
            for cell in self._cells(stretch):
                if isinstance(cell, NumberCell):
                    yield self._trace.scalars.input_at(cell.index)[0], stretch

    # ----- stretches -----

    def _source(self, stretch: int) -> Crossing | None:
        return self._crossings[stretch - 1] if stretch else None

    def _target(self, stretch: int) -> Crossing | None:
        return self._crossings[stretch] if stretch < len(self._crossings) else None

    def _range(self, stretch: int) -> Sequence[Node]:
        """The nodes of a stretch."""
        source, target = self._source(stretch), self._target(stretch)
        start = 0 if source is None else source.after
        return self._nodes[start : None if target is None else target.node]

    def _lines(self, stretch: int) -> slice:
        source, target = self._source(stretch), self._target(stretch)
        return slice(source and source.line, target and target.line)

    def _given(self, stretch: int) -> Sequence[Value]:
        """The values that a stretch is given."""
        source = self._source(stretch)
        if source is None:
            return self._trace.graph.inputs[: self._arguments]
        return *source.tensors, *source.gained

    def _handed(self, stretch: int) -> list[Value]:
        """The values that a stretch gives to what comes next."""
        target = self._target(stretch)
        if target is None:
            return self._outputs
        given = set(self._given(stretch))
        return [*asked_at(target), *[x for x in target.tensors if x not in given]]

    def _wanted(self, stretch: int) -> list[Value]:
        """The values that a stretch gives, and those that its entries of the ledger are given."""
        handed = self._handed(stretch)
        values = dict.fromkeys(x for x, _ in self._given_in(stretch) if isinstance(x, Value))
        return [*handed, *[x for x in values if x not in handed]]

    def _cells(self, stretch: int) -> list[Cell]:
        """What a stretch reads of state from outside; of some only tapes are told."""
        read = self._read(stretch)
        source, target, cells = self._source(stretch), self._target(stretch), self._trace.cells
        first = range(source.cells if source else 0, target.cells if target else len(cells))
        rest = [k for k in first if k not in self._computed]
        told = [k for k in rest if isinstance(cells[k], VariableCell)]
        return [cells[k] for k in [*read, *told]]

    def _read(self, stretch: int) -> Iterable[int]:
        """The cells that the nodes of a stretch read."""
        inputs, found = self._trace.graph.inputs, dict[int, None]()
        given = set(self._given(stretch))
        for x in (
            *[x for node in self._range(stretch) for x in node.inputs],
            *self._wanted(stretch),
        ):
            outside = x.node is None and x.index >= self._arguments and inputs[x.index] is x
            if outside and x not in given:
                found[x.index - self._arguments] = None
        return found

    def _piece(self, stretch: int) -> Piece:
        source, target = self._source(stretch), self._target(stretch)
        scalars = self._trace.scalars
        roots = scalars.roots if source is None else source.numbers
        told = scalars.told(scalars.lines[self._lines(stretch)], roots)
        guesses = tuple(str(guess) for guess in scalars.guesses)
        signature = self._answers(stretch), told, guesses
        return Piece(source, target, signature, stretch, self._effects[stretch])

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
        leaves, tracked = self._given_on(piece)
        self._add_effects(piece.number, leaves, tracked)
        return Recorded(
            graph=graph,
            cells=cells,
            leaves=leaves,
            build=list,
            bare=self.result if end else None,
            effects=[*[effect.told for effect in piece.effects], *(self._told if end else [])],
            tracked=tracked,
            spent=self._spent if end else [],
            written=self._written if end else [],
            replaced=self._replaced if end else [],
            answers=self._answers(piece.number),
            decided=[],
            guesses=self._trace.scalars.guesses,
            finish=partial(self._prologue, piece, cells),
            check=NO_CHECK,
            equals=Equals((), {}),
            unrecorded=unrecorded,
            target=self._trace.target,
            compiling=self._trace.compiling,
            cuts=self._trace.cuts if end else {},
        )

    def result(self, leaves: list[Any]) -> Any:
        """What the call returns, of all leaves of the last stretch."""
        return self._build(leaves[: len(self._leaves)])

    def count(self, piece: Piece) -> int:
        """How many leaves of a stretch are not given to entries of the ledger."""
        return len(self._leaves if piece.target is None else self._handed_leaves(piece))

    def _given_on(self, piece: Piece) -> tuple[list[Leaf], list[int]]:
        """The leaves of a stretch but for those of its entries, and which of them are tracked."""
        if piece.target is not None:
            return self._handed_leaves(piece), self._tracked_slots(piece)
        known = self._known_in(piece.number)
        leaves = [known.get(self._outputs[x], x) if isinstance(x, int) else x for x in self._leaves]
        return leaves, [k for k in self._tracked if isinstance(leaves[k], int)]

    def _known_in(self, stretch: int) -> dict[Value, Leaf]:
        """What a stretch is handed: for each value the one tensor that Python has of it."""
        return {x: Handed(k) for k, x in enumerate(self._given(stretch))} if stretch else {}

    def _add_effects(self, stretch: int, leaves: list[Leaf], tracked: list[int]) -> None:
        """Adds the leaves that entries of the ledger are given.

        What is in several of them, or goes on to the next stretch, is one object everywhere.
        """
        wanted, numbers = self._wanted(stretch), len(self._numbers(stretch))
        known = self._known_in(stretch)
        first = {wanted[leaf]: k for k, leaf in enumerate(leaves) if isinstance(leaf, int)}
        for x, flows in self._given_in(stretch):
            if isinstance(x, Value) and x not in known:
                k = first.setdefault(x, len(leaves))
                if flows and k not in tracked:
                    tracked.append(k)
                leaves.append(wanted.index(x) if k == len(leaves) else Again(k))
            elif isinstance(x, Value):
                leaves.append(known[x])
            elif isinstance(x, str):
                leaves.append(Computed(numbers))
                numbers += 1
            else:
                leaves.append(x)

    def _numbers(self, stretch: int) -> Sequence[str]:
        """Names of the numbers that a stretch gives."""
        target = self._target(stretch)
        return self._results if target is None else target.numbers

    def _handed_leaves(self, piece: Piece) -> list[Leaf]:
        """The leaves of a stretch that ends at a crossing: what is asked, tensors, numbers."""
        assert piece.target is not None
        count = len(self._handed(piece.number))
        return [*range(count), *map(Computed, range(len(piece.target.numbers)))]

    def _tracked_slots(self, piece: Piece) -> list[int]:
        assert piece.target is not None
        wanted = self._handed(piece.number)
        tracked = {piece.target.tensors[k] for k in piece.target.tracked}
        first = len(asked_at(piece.target))
        return [k for k, x in enumerate(wanted) if k >= first and x in tracked]

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
        graph.outputs += looked_up(graph)
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
        scalars, source = self._trace.scalars, piece.source
        own = [c for c in self._cells(piece.number) if isinstance(c, NumberCell)]
        assert len(own) == sum(isinstance(c, NumberCell) for c in cells)
        more = [x for x, _ in self._given_in(piece.number) if isinstance(x, str)]
        return scalars.part(
            scalars.roots if source is None else source.numbers,
            self._lines(piece.number),
            [scalars.input_at(c.index) for c in own],
            [*self._numbers(piece.number), *more],
            None if source is None else source.extents,
        )


def asked_at(crossing: Crossing) -> list[Value]:
    """The value that is asked for at a crossing, if one is."""
    return [] if crossing.asked is None else [crossing.asked]


def outputs_of(node: Node) -> Sequence[Value]:
    """What a node makes in the stretch that it is in; a constant is in all of them."""
    return () if node.op is builtin.constant else node.outputs
