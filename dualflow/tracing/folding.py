"""Folding: what repeats in a recording becomes loops before it is differentiated.

A loop of Python's leaves a recording in which the same ops stand again and again. Its gradient is
that of `dualflow.tracing.control.backward`, so what is differentiated is one step of it, however
many there are. Gradients keep their bits: they arrive where they arrived, in the same order. A
stretch for which that cannot be told from how its values are read stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from dualflow.core.op import registry
from dualflow.core.record import INEXACT
from dualflow.tracing.control.looped import looped
from dualflow.tracing.residuals import dependent
from jit.dims import free_symbols
from jit.errors import DualflowError
from jit.ir.call import Body
from jit.ir.graph import Graph, Node, Value
from jit.ir.loop import COUNTER
from jit.passes import stretches
from jit.passes.loop_body import LoopBody, Own, Rows, Table
from jit.passes.stretches import Stretch
from jit.types import TensorType, kind

Root = object  # where what arrives at a value is collected


class Unfit(Exception):  # noqa: N818 - ends an attempt
    """What a stretch gives is read in a way in which bits of gradients might be others.

    Args:
        start: The number of its first node.
    """

    def __init__(self, start: int) -> None:
        super().__init__(start)
        self.start = start


def folded(
    graph: Graph, unrecorded: set[Node], sources: Sequence[int | None]
) -> tuple[Graph, set[Node]]:
    """A graph that computes the same by loops, and its nodes through which no gradient flows.

    Args:
        graph: Stays as it is.
        unrecorded: Its nodes through which none flows.
        sources: As in `dualflow.tracing.pair.Asked`.
    """
    shapes = [extent for value in graph.inputs for extent in value.type.shape]
    if len(graph.nodes) < stretches.SPARED or COUNTER in map(str, free_symbols(shapes)):
        return graph, unrecorded
    left = set[int]()
    while True:
        try:
            made = Folded(graph, unrecorded, roots_of(graph, sources), left)
            made.check()
        except Unfit as unfit:
            left.add(unfit.start)
        else:
            return (made.graph, made.unrecorded) if made.folds else (graph, unrecorded)


def roots_of(graph: Graph, sources: Sequence[int | None]) -> Callable[[Value], Root]:
    """Tells where what arrives at a value is collected; None: nothing does.

    All that a Variable is assigned has one such place.
    """
    wanted = {x: k for x, k in zip(graph.inputs, sources, strict=True) if k is not None}
    reached = dependent(graph.nodes, wanted)
    assigned = registry["assigned"]

    def root(value: Value) -> Root:
        while value.node is not None and value.node.op is assigned:
            value = value.node.inputs[0]
        return wanted.get(value, value if value in reached else None)

    return root


class Reads(NamedTuple):
    """How what a loop stacks is read.

    Attributes:
        start: The number of the first node of the stretch.
        sites: For each reader of all rows how often it reads each of them.
        last: If the last row is a result of its own, too: that.
    """

    start: int
    sites: list[int]
    last: Value | None


class Folded:
    """A graph in which loops take the place of stretches.

    Args:
        given: Stays as it is.
        unrecorded: Its nodes through which no gradient flows.
        root: Where what arrives at a value is collected; None: nowhere.
        left: The first nodes of stretches that stay as they are.

    Attributes:
        graph: What has come of it.
        unrecorded: Nodes of this graph.
        folds: Whether there is a loop.

    Raises:
        Unfit: One more has to stay.
    """

    def __init__(
        self,
        given: Graph,
        unrecorded: set[Node],
        root: Callable[[Value], Root],
        left: set[int],
    ) -> None:
        self._given_unrecorded, self._root, self._left = unrecorded, root, left
        self._nodes = stretches.Sequence(given)
        self.graph, self.unrecorded, self.folds = Graph(given.name), set[Node](), False
        self._reads: dict[Value, Reads] = {}
        self._stood_up: dict[Value, Node] = {}  # rows with an axis of one in front, as stacks have
        self._new_of = {value: self.graph.input(value.type, value.name) for value in given.inputs}
        for node in self._nodes.constants:
            self.graph.append_copy(node, self._new_of)
        self._fill()
        self.graph.outputs = [self._new(value) for value in given.outputs]
        self.graph.nodes = self.graph.live_nodes()  # constants lie in tables

    def check(self) -> None:
        """Makes sure of the order in which gradients arrive at what is stacked.

        Raises:
            Unfit: Rows get theirs in parts from one reader, and others from another.
        """
        users = self.graph.users()
        for of, (start, sites, last) in self._reads.items():
            alone = 0
            if last is not None:
                alone = self.graph.outputs.count(last)
                alone += sum(2 if node.op.repeats else 1 for node in users[last])
            together = len(sites) + self.graph.outputs.count(of) + (1 if alone else 0)
            if (together > 1 and max(sites, default=1) > 1) or (alone and alone + len(sites) > 2):
                raise Unfit(start)

    # ----- nodes -----

    def _fill(self) -> None:
        nodes, at = self._nodes.nodes, 0
        while at < len(nodes):
            if self._stands_up(nodes[at]):
                self._stood_up[nodes[at].outputs[0]] = nodes[at]
                at += 1
                continue
            stretch = self._nodes.stretch(at)
            if stretch is not None and not stretch.pays:
                stretch = None
            end = at + 1 if stretch is None else stretch.end
            if stretch is None or at in self._left or not self._fold(stretch):
                for node in nodes[at:end]:
                    self._keep(node)
            else:
                self.folds = True
            at = end

    def _keep(self, node: Node) -> None:
        if self._stands_up(node):
            self._stood_up[node.outputs[0]] = node
        elif node.op.joins and node.attrs["axis"] == 0:
            self._join(node)
        else:
            types = tuple([value.type for value in node.outputs])
            self._add(node, list(map(self._new, node.inputs)), types)

    def _add(self, node: Node, inputs: list[Value], types: tuple[TensorType, ...]) -> None:
        results = self.graph.add(node.op, inputs, node.attrs, types, node.source)
        if node in self._given_unrecorded:
            self.unrecorded.add(self.graph.nodes[-1])
        self._new_of.update(zip(node.outputs, results, strict=True))

    def _stands_up(self, node: Node) -> bool:
        """Whether a node gives a row an axis of one in front, and is recorded."""
        if not node.op.reshapes or node in self._given_unrecorded:
            return False
        known = node.inputs[0] in self._nodes.rows
        return known and node.outputs[0].type.shape == (1, *node.inputs[0].type.shape)

    def _join(self, node: Node) -> None:
        """Appends a node that joins arrays: all rows of one follow each other."""
        parts, at, given = list[Value](), 0, node.inputs
        while at < len(given):
            stood = self._stood_up.get(given[at])
            first = self._nodes.rows.get(given[at] if stood is None else stood.inputs[0])
            if first is None:
                parts.append(self._new(given[at]))
                at += 1
                continue
            joined = given[at : at + number_of_rows(first.of)]
            parts.append(self._whole(first.of, joined, node.source))
            at += len(joined)
        self._add(node, parts, (node.outputs[0].type,))

    def _whole(self, of: Value, joined: Sequence[Value], source: str | None) -> Value:
        """All rows of what a loop has stacked, one behind the other."""
        count = number_of_rows(of)
        stood = [self._stood_up.get(value) for value in joined]
        rows = [x if y is None else y.inputs[0] for x, y in zip(joined, stood, strict=True)]
        numbers = [(found.of, found.at) for x in rows if (found := self._nodes.rows.get(x))]
        if numbers != [(of, k) for k in range(count)]:
            raise Unfit(self._reads[of].start)
        self._reads[of].sites.append(1)
        first = joined[0].type.shape
        shape = (count * first[0], *first[1:])
        if shape == of.type.shape:
            return of
        types = (of.type.with_shape(shape),)
        return self.graph.add(registry["reshape"], [of], {"shape": shape}, types, source)[0]

    def _new(self, value: Value) -> Value:
        """A value in the new graph.

        Raises:
            Unfit: It is one of the rows that a loop stacks.
        """
        found = self._new_of.get(value)
        if found is None:
            stood = self._stood_up.get(value)
            of = self._nodes.rows[value if stood is None else stood.inputs[0]].of
            raise Unfit(self._reads[of].start)
        return found

    # ----- loops -----

    def _fold(self, stretch: Stretch) -> bool:
        """Appends the loop that computes a stretch, if it can be one."""
        nodes = self._nodes.nodes[stretch.start : stretch.end]
        if any(node.op.repeats for node in nodes[: stretch.period]):
            return False
        if not self._is_alike(nodes, stretch.period):
            return False
        try:
            made = LoopBody(self._nodes, stretch)
        except (DualflowError, TypeError, ValueError):  # an op does not take a number that varies
            return False
        carries = [Own(x.number, x.output) for x in made.handed]
        state = [variable_of(made, x) for x in carries]
        inits = [x.init for x, variable in zip(made.handed, state, strict=True) if variable is None]
        once = {x for x, every in made.outputs.items() if not every}
        given = [x for x in made.given if isinstance(x, Value)]
        if not once.issubset([*carries, *assigned_by(made)]) or len({*carries}) < len(carries):
            return False
        if any(v is not None and x not in once for v, x in zip(state, carries, strict=True)):
            return False
        if self._overlap(inits, given):
            return False
        for x, times in made.reads.items():
            self._read_rows(x, stretch.count, times)
        self._append(stretch, made, carries, state)
        return True

    def _is_alike(self, nodes: Sequence[Node], period: int) -> bool:
        """Whether gradients flow through all steps in the same way."""
        cut = [node in self._given_unrecorded for node in nodes]
        return cut[period:] == cut[:-period]

    def _overlap(self, inits: Sequence[Value], given: Sequence[Value]) -> bool:
        """Whether something that is collected in one place comes in twice, as a carry first."""
        roots = [x for x in map(self._root, inits) if x is not None]
        return len({*roots}) < len(roots) or not {*roots}.isdisjoint(map(self._root, given))

    def _read_rows(self, x: Rows, count: int, times: int) -> None:
        """Notes that each step of a loop reads a row so many times.

        Raises:
            Unfit: Some rows are not read.
        """
        reads, last = self._reads[x.of], x.start + x.apart * (count - 1)
        if abs(x.apart) != 1 or {x.start, last} != {0, number_of_rows(x.of) - 1}:
            raise Unfit(reads.start)
        reads.sites.append(times)

    def _given(self, made: LoopBody, x: Rows | Table | Value) -> Value:
        if isinstance(x, Rows):
            return x.of
        return self.graph.constant(made.table(x)) if isinstance(x, Table) else self._new(x)

    def _append(
        self, stretch: Stretch, made: LoopBody, carries: list[Own], state: list[Value | None]
    ) -> None:
        """Appends a loop, and notes what its results are."""
        args = [self._init(x.init, v) for x, v in zip(made.handed, state, strict=True)]
        args += [self._given(made, x) for x in made.given]
        body, size = self._body(stretch, made, state), len(carries)
        own = dict(zip(made.outputs, body.outputs, strict=True))
        every = [x for x, flag in made.outputs.items() if flag]
        body.outputs = [*body.inputs[:size], *[own[x] for x in (*carries, *every)]]
        attrs = {
            "count": stretch.count,
            "carried": tuple(range(size, 2 * size)),
            "stacked": tuple([not size <= k < 2 * size for k in range(len(body.outputs))]),
            "body": Body.of(body),
        }
        source = self._nodes.nodes[stretch.start].source
        results = self.graph.add(looped, args, attrs, None, source)
        last = dict(zip(carries, results[size : 2 * size], strict=True))
        for (x, result), variable in zip(last.items(), state, strict=True):
            *_, node = made.iterations(x.number)
            value = node.outputs[x.output]
            self._new_of[value] = result
            if variable is not None:
                old = args[made.graph.inputs.index(variable)]
                self._new_of[node.inputs[1]] = result
                (self._new_of[value],) = self.graph.add(node.op, [old, result], {})
        for x, result in zip(every, results[2 * size :], strict=True):
            self._reads[result] = Reads(stretch.start, [], last.get(x))
            values = [node.outputs[x.output] for node in made.iterations(x.number)]
            self._nodes.stack(result, values)

    def _init(self, value: Value, variable: Value | None) -> Value:
        """What a carry is before the first step; what a Variable was assigned has no gradient."""
        if variable is None:
            return self._new(value)
        return self.graph.add(registry["stop_gradient"], [self._new(value)], {})[0]

    def _body(self, stretch: Stretch, made: LoopBody, state: list[Value | None]) -> Graph:
        """One step; no gradient flows through what ran without recording.

        What is read of a Variable that each step assigns is handed on as what it was assigned, so
        that gradients go to the Variable itself.
        """
        first = self._nodes.nodes[stretch.start : stretch.start + stretch.period]
        cut = {made.nodes[k] for k in made.nodes if first[k] in self._given_unrecorded}
        assigned, stop = registry["assigned"], registry["stop_gradient"]
        body = Graph(made.graph.name)
        new_of = {value: body.input(value.type, value.name) for value in made.graph.inputs}
        for value, old in zip(made.graph.inputs, state, strict=False):
            if old is not None:
                (new_of[value],) = body.add(assigned, (new_of[old], new_of[value]), {})
        for node in made.graph.nodes:
            body.append_copy(node, new_of)
            for value in node.outputs if node in cut and node.op is not assigned else ():
                if kind(value.type.dtype) in INEXACT:
                    (new_of[value],) = body.add(stop, (new_of[value],), {}, None, node.source)
        held = [
            made.nodes[x.number]
            for x, old in zip(made.handed, state, strict=True)
            if old is not None
        ]
        value_of = {node.outputs[0]: node.inputs[1] for node in held}
        body.outputs = [new_of[value_of.get(value, value)] for value in made.graph.outputs]
        return body


def variable_of(made: LoopBody, x: Own) -> Value | None:
    """For what each step reads of a Variable that it has assigned: the Variable, in the body."""
    node = made.nodes[x.number]
    if node.op is not registry["assigned"]:
        return None
    known = made.graph.inputs[len(made.handed) :]
    return node.inputs[0] if node.inputs[0] in known else None


def assigned_by(made: LoopBody) -> list[Own]:
    """What each step assigns Variables, if the next one reads it there."""
    read = [made.nodes[x.number] for x in made.handed]
    values = {node.inputs[1] for node in read if node.op is registry["assigned"]}
    return [x for x in made.outputs if made.nodes[x.number].outputs[x.output] in values]


def number_of_rows(of: Value) -> int:
    """How many rows a loop has stacked."""
    return int(of.type.shape[0])
