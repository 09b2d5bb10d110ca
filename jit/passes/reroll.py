"""Re-rolling: an unrolled loop becomes a loop again, so what compiles is one iteration of it.

See `jit.passes.stretches` for what counts as repeated, `jit.ir.loop` for what it becomes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable

from jit.dataclass import dataclass
from jit.dims import free_symbols
from jit.errors import DualflowError
from jit.ir.graph import Graph, Node, Value
from jit.ir.loop import COUNTER, loop, row, rows
from jit.passes import stretches
from jit.passes.base import GraphPass
from jit.passes.hoist import hoisted, settled
from jit.passes.loop_body import LoopBody, Own, Rows, Table
from jit.passes.stretches import Row, Sequence, Stretch, word
from jit.passes.views import beside_readers


@dataclass(frozen=True)
class Reroll(GraphPass):
    """Makes loops of what is repeated.

    Attributes:
        passes: What bodies go through.
        costs: Whether to compute a node in each run costs something.
        fits: Whether a graph can be the body of a loop.
    """

    passes: tuple[GraphPass, ...] = ()
    costs: Callable[[Node], bool] = lambda node: False
    fits: Callable[[Graph], bool] = lambda body: True

    name = "reroll"

    def run(self, graph: Graph) -> Graph:
        """The graph with loops; itself where nothing repeats."""
        shapes = [extent for value in graph.inputs for extent in value.type.shape]
        if len(graph.nodes) < stretches.SPARED or COUNTER in map(str, free_symbols(shapes)):
            return graph
        given, wanted, views = graph, set[int](), set[Hashable]()
        while True:
            try:
                made = Rerolled(given, self, wanted, views).graph
                return graph if made is given else made
            except Wanted as more:
                wanted |= more.starts
            except Views as more:
                views |= more.words
                given, wanted = beside_readers(graph, views), set[int]()


class Wanted(Exception):  # noqa: N818 - ends an attempt
    """Stretches that spare few nodes would let another one be a loop.

    Args:
        starts: The numbers of their first nodes.
    """

    def __init__(self, starts: set[int]) -> None:
        super().__init__(starts)
        self.starts = starts


class Views(Exception):  # noqa: N818 - ends an attempt
    """Of each iteration others read what lies in the memory of something else.

    Args:
        words: Of the nodes that look at it.
    """

    def __init__(self, words: set[Hashable]) -> None:
        super().__init__(words)
        self.words = words


class Rerolled:
    """A graph in which loops take the place of stretches.

    Args:
        given: Stays as it is.
        options: Of the pass.
        wanted: The first nodes of stretches that spare few nodes and become loops all the same.
        views: The words of nodes that each reader has to itself.

    Attributes:
        graph: What has come of it.

    Raises:
        Wanted: There are more of these.
        Views: There are more of those.
    """

    def __init__(
        self, given: Graph, options: Reroll, wanted: set[int], views: set[Hashable]
    ) -> None:
        self._options, self._wanted, self._views = options, wanted, views
        self._small: dict[Value, int] = {}  # what such stretches might stack, and where they begin
        self._nodes = Sequence(given)
        self.graph = Graph(given.name)
        self._stood_up: dict[Value, Node] = {}  # rows with an axis of one in front, as stacks have
        self._new_of = {value: self.graph.input(value.type, value.name) for value in given.inputs}
        for node in self._nodes.constants:
            self.graph.append_copy(node, self._new_of)
        rolled = self._fill()
        self.graph.outputs = [self._new(value) for value in given.outputs]
        if not rolled:
            self.graph = given

    def _fill(self) -> bool:
        """Appends everything in its order; whether there is a loop."""
        nodes, at, rolled = self._nodes.nodes, 0, False
        while at < len(nodes):
            stretch = self._nodes.stretch(at)
            if stretch is not None and not stretch.pays and at not in self._wanted:
                self._note(stretch)
                stretch = None
            end = at + 1 if stretch is None else stretch.end
            if stretch is not None and self._roll(stretch):
                rolled = True
            else:
                for node in nodes[at:end]:
                    self._keep(node)
            at = end
        return rolled

    def _note(self, stretch: Stretch) -> None:
        """Notes the rows that a stretch would give, in the place of which its nodes are kept."""
        start, period = stretch.start, stretch.period
        for at, first in enumerate(self._nodes.nodes[start : start + period], start):
            nodes = self._nodes.nodes[at : stretch.end : period]
            for index, value in enumerate(first.outputs):
                type_ = value.type.with_shape((stretch.count, *value.type.shape))
                of = Value(type_, None, 0, None)
                self._small[of] = start
                self._nodes.stack(of, [node.outputs[index] for node in nodes])

    def _keep(self, node: Node) -> None:
        if node.op.splits:
            of = self._new(node.inputs[0])
            self._nodes.stack(of, node.outputs)
            return
        if node.op.joins and node.attrs["axis"] == 0:
            self._join(node)
            return
        if self._stands_up(node):
            self._stood_up[node.outputs[0]] = node
            return
        for value in node.inputs:
            self._new(value)
        self.graph.append_copy(node, self._new_of)

    def _stands_up(self, node: Node) -> bool:
        """Whether a node gives a row an axis of one in front."""
        if not node.op.reshapes or self._found(node.inputs[0]) is None:
            return False
        shape = node.inputs[0].type.shape
        return bool(shape) and node.outputs[0].type.shape == (1, *shape)

    def _row(self, value: Value) -> Row | None:
        """Which row a value is, if need be with an axis in front."""
        node = self._stood_up.get(value)
        return self._found(value if node is None else node.inputs[0])

    def _found(self, value: Value) -> Row | None:
        """Which row a value is of what there is."""
        found = self._nodes.rows.get(value)
        return None if found is None or found.of in self._small else found

    def _join(self, node: Node) -> None:
        """Appends a node that joins arrays: rows that follow each other are one already."""
        parts, at, given = list[Value](), 0, node.inputs
        while at < len(given):
            first, end = self._row(given[at]), at + 1
            while first and end < len(given):
                if self._row(given[end]) != Row(first.of, first.at + end - at):
                    break
                end += 1
            if first is None or end == at + 1:
                parts.append(self._new(given[at]))
            else:
                parts.append(self._rows(first, given[at:end], node.source))
            at = end
        (result,), types = node.outputs, (node.outputs[0].type,)
        if len(parts) > 1:
            parts = self.graph.add(node.op, parts, node.attrs, types, node.source)
        self._new_of[result] = parts[0]

    def _rows(self, first: Row, joined: tuple[Value, ...], source: str | None) -> Value:
        """Rows that follow each other, as one value."""
        attrs = {"start": first.at, "count": len(joined)}
        (found,) = self.graph.add(rows, (first.of,), attrs, None, source)
        node = self._stood_up.get(joined[0])
        if node is None:
            return found
        type_ = joined[0].type
        shape = (len(joined), *type_.shape[1:])
        types = (type_.with_shape(shape),)
        return self.graph.add(node.op, (found,), {"shape": shape}, types, source)[0]

    def _new(self, value: Value) -> Value:
        """A value in the new graph; a row of what a loop has stacked is read when asked for."""
        if value in self._stood_up and value not in self._new_of:
            node = self._stood_up[value]
            self._new(node.inputs[0])
            self.graph.append_copy(node, self._new_of)
        if value not in self._new_of:
            of, at = self._nodes.rows[value]
            source = value.node.source if value.node else None
            (self._new_of[value],) = self.graph.add(row, (of,), {"at": at}, (value.type,), source)
        return self._new_of[value]

    def _roll(self, stretch: Stretch) -> bool:
        """Appends the loop that computes a stretch, if it can be one."""
        try:
            made = LoopBody(self._nodes, stretch)
        except (DualflowError, TypeError, ValueError):  # an op does not take a number that varies
            return False
        if starts := {self._small[x.of] for x in made.reads if x.of in self._small}:
            raise Wanted(starts)
        body = made.graph
        for each in self._options.passes:
            body = each.run(body)
        changing = {(x.number, x.output) for x in made.handed}
        asked = [
            k for k, (x, every) in enumerate(made.outputs.items()) if every and x not in changing
        ]
        fixed, alone = settled(body, len(made.handed), asked)
        kept = {x: every for k, (x, every) in enumerate(made.outputs.items()) if k not in fixed}
        body.outputs = [value for k, value in enumerate(body.outputs) if k not in fixed]
        left, before, shared = hoisted(body, len(made.handed), self._options.costs)
        if not kept or not self._options.fits(left):
            self._look_for_views(made, changing)
            return False
        inits = [self._new(x.init) for x in made.handed]
        given = [self._given(made, x) for x in made.given]
        new_of = dict(zip(body.inputs, [*inits, *given], strict=True))
        for node in dict.fromkeys([*before, *alone]):
            self.graph.append_copy(node, new_of)
        numbers = {(x.number, x.output): k for k, x in enumerate(kept)}
        attrs = {
            "count": stretch.count,
            "carried": tuple([numbers[x.number, x.output] for x in made.handed]),
            "stacked": tuple(kept.values()),
            "body": left,
        }
        source = self._nodes.nodes[stretch.start].source
        inputs = [*inits, *[new_of[value] for value in shared]]
        results = self.graph.add(loop, inputs, attrs, None, source)
        self._show(made, kept, results)
        outputs = list(made.outputs)
        for k, value in fixed.items():
            self._show_one(made, outputs[k], new_of[value])
        return True

    def _look_for_views(self, made: LoopBody, changing: set[tuple[int, int]]) -> None:
        """Asks for views beside their readers, where a loop cannot give those of each iteration."""
        asked = [x.number for x, every in made.outputs.items() if every and x not in changing]
        nodes = [next(made.iterations(number)) for number in asked]
        single = [x for x in nodes if len(x.outputs) == 1 and x.op.pure]
        if words := {word(x) for x in single if not self._options.costs(x)} - self._views:
            raise Views(words)

    def _show(self, made: LoopBody, kept: dict[Own, bool], results: Iterable[Value]) -> None:
        """What the values of a stretch are now: rows of a result, or the last one is all of it."""
        for (x, stacked), result in zip(kept.items(), results, strict=True):
            values = [node.outputs[x.output] for node in made.iterations(x.number)]
            if stacked:
                self._nodes.stack(result, values)
            else:
                self._new_of[values[-1]] = result

    def _show_one(self, made: LoopBody, x: Own, result: Value) -> None:
        """The same of a value that is the same in each run: later stretches read one row of it."""
        for node in made.iterations(x.number):
            self._new_of[node.outputs[x.output]] = result
            self._nodes.rows[node.outputs[x.output]] = Row(result, 0)

    def _given(self, made: LoopBody, x: Rows | Table | Value) -> Value:
        if isinstance(x, Rows):
            return x.of
        return self.graph.constant(made.table(x)) if isinstance(x, Table) else self._new(x)
