"""LoopBody: one iteration of a stretch as a graph, and what it is given and gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from jit.dims import Extent
from jit.errors import GraphError
from jit.ir.graph import Graph, Node, Value
from jit.ir.loop import counter, row
from jit.ir.verify import same_type
from jit.passes.stretches import Sequence, Stretch, is_constant
from jit.types import TensorType


class Own(NamedTuple):
    """An output of a node of the iteration."""

    number: int
    output: int


class Handed(NamedTuple):
    """An output of a node of the iteration before; `init` at the first time."""

    number: int
    output: int
    init: Value


class Rows(NamedTuple):
    """A row of `of`, a value of the new graph: `start` at the first time, then `apart` further."""

    of: Value
    start: int
    apart: int


class Table(NamedTuple):
    """Constants, one for each iteration: what the node reads as its input `k`."""

    number: int
    k: int


Origin: TypeAlias = "Own | Handed | Rows | Table | Value"


class LoopBody:
    """The body of the loop that a stretch becomes.

    Attributes:
        graph: The body.
        nodes: By the number of a node of the iteration that of the body.
        reads: How often each row is read.
        handed: What its first inputs are.
        given: What its other inputs are: values of the old graph, of the new one in `Rows`, tables.
        outputs: What its outputs are, and whether those of all iterations are asked for.

    Raises:
        DualflowError: An op does not take a number that varies.
    """

    def __init__(self, nodes: Sequence, stretch: Stretch) -> None:
        self._nodes, self._stretch = nodes, stretch
        self._origins = [self._inputs(number) for number in range(stretch.period)]
        self.outputs = self._asked_for()
        live = self._live()
        origins = [origin for number in live for origin in self._origins[number]]
        self.reads = Counter([x for x in origins if isinstance(x, Rows)])
        self.handed = list(dict.fromkeys([x for x in origins if isinstance(x, Handed)]))
        self.outputs.update(
            (Own(x.number, x.output), False)
            for x in self.handed
            if Own(x.number, x.output) not in self.outputs
        )
        self.given: list[Rows | Table | Value] = []
        self.graph, self.nodes = Graph("body"), dict[int, Node]()
        self._at = counter(stretch.count)
        self._known: dict[Any, Value] = {x: self.graph.input(x.init.type) for x in self.handed}
        for x in dict.fromkeys(origins):
            self._take(x)
        for number in live:
            self._add(number)
        self.graph.outputs = [self._known[x] for x in self.outputs]

    def iterations(self, number: int) -> Iterator[Node]:
        """The node of this number in each iteration."""
        start, period = self._stretch.start + number, self._stretch.period
        return iter(self._nodes.nodes[start : self._stretch.end : period])

    def _inputs(self, number: int) -> list[Origin]:
        start, period = self._stretch.start, self._stretch.period
        first, second = (
            self._nodes.nodes[start + number],
            self._nodes.nodes[start + period + number],
        )
        pairs = zip(first.inputs, second.inputs, strict=True)
        return [self._origin(number, k, a, b) for k, (a, b) in enumerate(pairs)]

    def _origin(self, number: int, k: int, a: Value, b: Value) -> Origin:
        """Where a node's input comes from: it reads `a` in the first iteration, `b` in the next."""
        place = self._nodes.place.get(b, -1) - self._stretch.start
        if place >= self._stretch.period:
            return Own(place - self._stretch.period, b.index)
        if place >= 0:
            return Handed(place, b.index, a)
        apart = self._stretch.apart[number, k]
        if apart is None:
            return Table(number, k)
        return Rows(*self._nodes.rows[a], apart) if apart else b

    def _asked_for(self) -> dict[Own, bool]:
        """What others read, and whether of other iterations than the last as well."""
        found: dict[Own, bool] = {}
        last_use, end = self._nodes.last_use, self._stretch.end
        for number in range(self._stretch.period):
            nodes = list(self.iterations(number))
            for index in range(len(nodes[0].outputs)):
                used = [last_use.get(node.outputs[index], -1) >= end for node in nodes]
                if any(used):
                    found[Own(number, index)] = any(used[:-1])
        return found

    def _live(self) -> list[int]:
        """The nodes of an iteration that somebody needs."""
        live: set[int] = set()
        stack = [x.number for x in self.outputs]
        while stack:
            number = stack.pop()
            if number not in live:
                live.add(number)
                origins = self._origins[number]
                stack += [x.number for x in origins if isinstance(x, Own | Handed)]
        return sorted(live)

    def _take(self, x: Origin) -> None:
        """Makes an input of what comes from outside, or a constant."""
        if isinstance(x, Value) and is_constant(x):
            assert x.node is not None
            self.graph.append_copy(x.node, self._known)
        elif isinstance(x, Value):
            self._known[x] = self.graph.input(x.type, x.name)
            self.given.append(x)
        elif isinstance(x, Rows):
            if x.of not in self._known:
                self._known[x.of] = self.graph.input(x.of.type)
                self.given.append(x)
            at = x.start + x.apart * self._at
            self._known[x] = self.graph.add(row, (self._known[x.of],), {"at": at})[0]
        elif isinstance(x, Table):
            type_ = next(self.iterations(x.number)).inputs[x.k].type
            table = type_.with_shape((self._stretch.count, *type_.shape))
            self.given.append(x)
            self._known[x] = self.graph.add(row, (self.graph.input(table),), {"at": self._at})[0]

    def table(self, x: Table) -> np.ndarray[Any, Any]:
        """The constants of all iterations."""
        values = [node.inputs[x.k].node for node in self.iterations(x.number)]
        return np.stack([node.attrs["value"] for node in values if node is not None])

    def _add(self, number: int) -> None:
        node = self._nodes.nodes[self._stretch.start + number]
        inputs = [self._known[x] for x in self._origins[number]]
        types: tuple[TensorType, ...] | None = tuple([value.type for value in node.outputs])
        attrs, apart = node.attrs, self._stretch.ints.get(number)
        if apart is not None:
            left = iter(apart)
            attrs = {name: moved(attr, left, self._at) for name, attr in attrs.items()}
        outputs = self.graph.add(node.op, inputs, attrs, None if apart else types, node.source)
        self.nodes[number] = self.graph.nodes[-1]
        for value, same in zip(outputs, node.outputs, strict=True):
            if not same_type(value.type, same.type):
                raise GraphError(f"{node.op.name} gives {value.type} where it gave {same.type}")
        self._known.update((Own(number, k), value) for k, value in enumerate(outputs))


def moved(attr: Any, apart: Iterator[int], at: Extent) -> Any:
    """An attr whose integers move with the number of the iteration."""
    if type(attr) is int:
        return attr + next(apart) * at
    if type(attr) is tuple:
        return tuple([moved(item, apart, at) for item in attr])
    return attr
