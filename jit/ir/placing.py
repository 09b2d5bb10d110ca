"""Placing: where each node of a graph computes, and the stages and copies that follow from it.

A node computes where its inputs lie. An op that `moves` gives its input on the device that its attr
`device` names. What is computed of nothing that has a place, such as a constant, is computed
wherever it is read. A *stage* is what one device computes without waiting for another one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import field

from jit.dataclass import dataclass
from jit.errors import DeviceError
from jit.ir import builtin
from jit.ir.graph import Graph, Node, Value

Places = dict[Value, "str | None"]


@dataclass(eq=False)
class Stage:
    """What a device computes at one go.

    Attributes:
        place: The device.
        rank: How many copies come before it, one after the other.
        nodes: In program order.
        inputs: What it reads of others, by the values of the whole graph.
        outputs: What others read of it.
        graph: The same as a graph of its own.
    """

    place: str
    rank: int
    nodes: list[Node] = field(default_factory=list)
    inputs: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    graph: Graph = field(default_factory=Graph)

    @property
    def is_used(self) -> bool:
        """Whether it does anything for others."""
        return bool(self.outputs) or not all(node.op.pure for node in self.nodes)


@dataclass(frozen=True, eq=False)
class Copy:
    """A value that goes to another device.

    Attributes:
        node: What says so.
        start: Where the value lies.
        place: Where it goes.
    """

    node: Node
    start: str
    place: str


class Placement:
    """A graph on several devices.

    Args:
        graph: Stays as it is.
        given: The device of each input; None where it does not matter.
        home: Where results lie that are computed of nothing that has a place.

    Attributes:
        places: The device of each value; None where it does not matter.
        steps: Stages and copies in an order in which they can run.
        guards: What guards ask, and the answers that they expect, in program order.

    Raises:
        DeviceError: A node has inputs on several devices.
    """

    def __init__(self, graph: Graph, given: Sequence[str | None], home: str) -> None:
        self.graph, self._home = graph, home
        self.places: Places = dict(zip(graph.inputs, given, strict=True))
        self._rank = dict.fromkeys(graph.inputs, -1)
        self._live = graph.live_nodes()
        self._copies: dict[int, list[Copy]] = {}
        self._copied = set[Node]()
        self._stages: dict[tuple[int, str], Stage] = {}
        self._stage_of: dict[Value, Stage] = {}
        for node in self._live:
            self._place(node)
        self._delay()
        for node in self._live:
            if not self._is_between(node) and (place := self.places[node.outputs[0]]) is not None:
                self._add(node, place, self._rank[node.outputs[0]])
        self.guards = [
            (node.inputs[0], node.attrs["expected"])
            for node in self._live
            if node.op is builtin.guard
        ]
        self._settle_free()
        for stage in self._stages.values():
            self._connect(stage)
        for value in self._wanted():
            self._export(value)
        for stage in self._stages.values():
            self._build(stage)
        self.steps = list(self._in_order())

    def _place(self, node: Node) -> None:
        place = self._common(node)
        rank = max([self._rank[x] for x in node.inputs], default=-1)
        if node.op.moves and place is not None and place != node.attrs["device"]:
            self._copies.setdefault(rank, []).append(Copy(node, place, node.attrs["device"]))
            self._copied.add(node)
            place, rank = node.attrs["device"], rank + 1
        elif node.op is not builtin.guard:
            place = node.attrs["device"] if node.op.moves else place
            place = self._home if place is None and not node.op.pure else place
            rank = max(rank, 0)
        self.places.update(dict.fromkeys(node.outputs, place))
        self._rank.update(dict.fromkeys(node.outputs, rank))

    def _is_between(self, node: Node) -> bool:
        """Whether a node is part of no stage: a copy, a guard."""
        return node in self._copied or not node.outputs

    def _delay(self) -> None:
        """What is read late is computed late, together with what reads it."""
        wanted: dict[Value, int] = {}
        for node in reversed(self._live):
            if self._is_between(node):
                rank = self._rank[node.inputs[0]]
            else:
                read = [wanted[x] for x in node.outputs if x in wanted]
                rank = min(read, default=self._rank[node.outputs[0]])
                self._rank.update(dict.fromkeys(node.outputs, rank))
            for value in node.inputs:
                wanted[value] = min(rank, wanted.get(value, rank))

    def _add(self, node: Node, place: str, rank: int) -> None:
        stage = self._stages.setdefault((rank, place), Stage(place, rank))
        stage.nodes.append(node)
        self._stage_of.update(dict.fromkeys(node.outputs, stage))

    def _common(self, node: Node) -> str | None:
        """The one device that inputs of a node lie on."""
        found = {place: x for x in reversed(node.inputs) if (place := self.places[x]) is not None}
        if len(found) > 1:
            told = ", ".join([f"{x.type} on {place}" for place, x in found.items()])
            error = DeviceError(
                f"{node.op.name}: {told}", "all tensors on one device", "x.to(...) for one of them"
            )
            error.pin(node.source)
            raise error
        return next(iter(found), None)

    def _settle_free(self) -> None:
        """What has no place, but is a result or asked, is computed at home."""
        for value in (*self.graph.outputs, *[asked for asked, _ in self.guards]):
            if value.node is not None and value not in self._stage_of and not self._is_copy(value):
                self._add(value.node, self._home, 0)

    def _is_copy(self, value: Value) -> bool:
        return self.places[value] is not None and value not in self._stage_of

    def _is_free(self, value: Value) -> bool:
        """Whether a value is computed wherever it is read."""
        return value.node is not None and self.places[value] is None

    # ----- stages -----

    def _connect(self, stage: Stage) -> None:
        """Learns what a stage reads of others."""
        free = self._free_before(stage)
        stage.nodes = [*free, *[node for node in stage.nodes if node not in free]]
        own = {x for node in stage.nodes for x in node.outputs}
        read = [x for node in stage.nodes for x in node.inputs]
        stage.inputs = [x for x in dict.fromkeys(read) if x not in own]
        for value in stage.inputs:
            self._export(value)

    def _free_before(self, stage: Stage) -> list[Node]:
        """The nodes without a place that a stage needs, in program order."""
        found = set[Node]()
        stack = [x for node in stage.nodes for x in node.inputs]
        while stack:
            value = stack.pop()
            if value.node is not None and self._is_free(value) and value.node not in found:
                found.add(value.node)
                stack += value.node.inputs
        return [node for node in self._live if node in found]

    def _export(self, value: Value) -> None:
        stage = self._stage_of.get(value)
        if stage is not None and value not in stage.outputs:
            stage.outputs.append(value)

    def _build(self, stage: Stage) -> None:
        """Makes the graph of a stage, once all are connected."""
        graph = stage.graph = Graph(f"{self.graph.name}_on_{stage.place.replace(':', '')}")
        new_of = {value: graph.input(value.type, value.name) for value in stage.inputs}
        for node in stage.nodes:
            if node.op.moves:  # of a value that lies nowhere else
                new_of[node.outputs[0]] = new_of[node.inputs[0]]
            else:
                graph.append_copy(node, new_of)
        graph.outputs = [new_of[value] for value in stage.outputs]

    def _wanted(self) -> Iterator[Value]:
        """What others than stages read."""
        yield from self.graph.outputs
        yield from [asked for asked, _ in self.guards]
        for copies in self._copies.values():
            yield from [copy.node.inputs[0] for copy in copies]

    def _in_order(self) -> Iterator[Stage | Copy]:
        stages = sorted(self._stages.values(), key=lambda stage: stage.rank)
        for rank in range(-1, 1 + max([*self._copies, *[x.rank for x in stages]], default=-1)):
            yield from [stage for stage in stages if stage.rank == rank and stage.is_used]
            yield from self._copies.get(rank, ())
