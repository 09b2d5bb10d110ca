"""Rotating: the end of a turn and the beginning of the next one are one iteration.

    turn:     carry -> early -> product -> late -> carry

Where a product stands in the middle, what comes early needs what the turn before gave late, and
waits for it at the border of two iterations. An iteration that begins with the product has both
behind it, so that they may be one with it:

    early;  each run but the last: product -> late -> early of the next turn;  product -> late

Only what leads to products is early; the rest of a turn stays with them. What comes early and is
needed late is handed on, if a carry takes part in it; what does not is computed again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from jit.dataclass import dataclass
from jit.dims import Dim, Extent, substitute
from jit.ir.graph import Graph, Node, Value
from jit.ir.loop import COUNTER, ahead, copied, counter, loop, row
from jit.ir.printer import is_graph
from jit.passes.base import GraphPass, replaced

FEWEST = 8  # turns that are worth it: what comes early stands once more before the loop


@dataclass(frozen=True)
class Rotate(GraphPass):
    """Rotates loops.

    Attributes:
        fits: Whether a graph can be the body of a loop.
        leads: Whether a node is a product that what follows may be one with.
    """

    fits: Callable[[Graph], bool] = lambda body: True
    leads: Callable[[Node], bool] = lambda node: node.op.multiplies

    name = "rotate"

    def run(self, graph: Graph) -> Graph:
        """The graph with loops that begin with products; itself where there are none."""
        turns = dict[Node, Turn]()
        for node in graph.nodes:
            if node.op is loop:
                turn = Turn.of(node, self.leads)
                if turn is not None and self.fits(turn.rotated()):
                    turns[node] = turn
        if not turns:
            return graph
        return replaced(graph, {node: turn.append for node, turn in turns.items()})


@dataclass(eq=False)
class Turn:
    """A turn of a loop in two parts.

    Attributes:
        node: The loop.
        early: The nodes that lead to products.
        late: All others.
        handed: Values of the body that go from the early part to the late one: of early nodes, and
            of carries.
        stacks: For each output that is stacked the value that is, which is early.
    """

    node: Node
    early: list[Node]
    late: list[Node]
    handed: list[Value]
    stacks: dict[int, Value]

    @classmethod
    def of(cls, node: Node, leads: Callable[[Node], bool]) -> Turn | None:
        """A turn whose beginning waits for the end of the one before; None if it is no such."""
        body, count = node.attrs["body"], node.attrs["count"]
        if not isinstance(count, int) or count < FEWEST or node.attrs.get("going") is not None:
            return None
        nodes, carried = body.live_nodes(), node.attrs["carried"]
        products = [each for each in nodes if leads(each)]
        if any(is_graph(attr) for each in nodes for attr in each.attrs.values()):
            return None
        behind = following(nodes, [x for each in products for x in each.outputs])
        if any(x in behind for each in products for x in each.inputs):  # one behind the other
            return None
        early = leading(nodes, [x for each in products for x in each.inputs])
        late = [each for each in nodes if each not in early]
        carries = body.inputs[: len(carried)]
        made = {x for each in early for x in each.outputs}
        moving = following(nodes, carries)
        waits = [x for x, k in zip(carries, carried) if body.outputs[k] in behind]
        if made.isdisjoint(following(nodes, waits)):
            return None
        stacks = {k: shown(body.outputs[k]) for k, on in enumerate(node.attrs["stacked"]) if on}
        if not (made & moving).issuperset(stacks.values()):
            return None
        read = [x for each in late for x in each.inputs]
        read += [x for k, x in enumerate(body.outputs) if k not in stacks]
        handed = [x for x in dict.fromkeys([*read, *stacks.values()]) if x in moving]
        handed = [x for x in handed if x in made or x in carries]
        again = leading(nodes, [x for x in read if x in made and x not in moving])
        late = [each for each in nodes if each in again or each not in early]
        return cls(node, [each for each in nodes if each in early], late, handed, stacks)

    @property
    def body(self) -> Graph:
        """Of the loop."""
        return self.node.attrs["body"]

    def rotated(self) -> Graph:
        """The body that begins with the products of a turn."""
        count = self.node.attrs["count"]
        made, carries = Graph(self.body.name), len(self.node.attrs["carried"])
        known = {x: made.input(x.type) for x in self.handed}
        given = {x: made.input(x.type, x.name) for x in self.body.inputs[carries:]}
        known |= given
        at = counter(count - 1)
        copy(self.late, made, known, at)
        after = given | self._carries(known)
        copy(self.early, made, after, at + 1)
        made.outputs = [after[x] for x in self.handed]
        for k, x in enumerate(made.outputs):
            if x.node is None or x in made.outputs[:k]:
                (made.outputs[k],) = made.add(copied, (x,), {})
        made.nodes = made.live_nodes()
        return made

    def _carries(self, known: Mapping[Value, Value]) -> dict[Value, Value]:
        """What the next turn finds in its carries."""
        carried, outputs = self.node.attrs["carried"], self.body.outputs
        return {
            before: known[outputs[k]]
            for before, k in zip(self.body.inputs, carried)
            if outputs[k] in known
        }

    def append(self, new: Graph, new_of: dict[Value, Value]) -> None:
        """Appends the early part of the first turn, the loop, and the late part of the last one."""
        node, body, source = self.node, self.body, self.node.source
        count, carries = node.attrs["count"], len(node.attrs["carried"])
        inputs = [new_of[x] for x in node.inputs]
        first = dict(zip(body.inputs, inputs, strict=True))
        copy(self.early, new, first, 0)
        start = [first[x] for x in self.handed]
        stacked = tuple([x in self.stacks.values() for x in self.handed])
        attrs = {
            "count": count - 1,
            "carried": tuple(range(len(self.handed))),
            "stacked": stacked,
            "body": self.rotated(),
        }
        results = new.add(loop, [*start, *inputs[carries:]], attrs, None, source)
        last = dict(zip(body.inputs[carries:], inputs[carries:], strict=True))
        for x, result, on in zip(self.handed, results, stacked, strict=True):
            last[x] = new.add(row, (result,), {"at": count - 2}, None, source)[0] if on else result
        copy(self.late, new, last, count - 1)
        rows = {
            x: new.add(ahead, (first[x], result), {}, None, source)[0]
            for x, result, on in zip(self.handed, results, stacked, strict=True)
            if on
        }
        for k, value in enumerate(node.outputs):
            if k in self.stacks:
                new_of[value] = self._stack(rows[self.stacks[k]], k, new)
            else:
                new_of[value] = last[body.outputs[k]]

    def _stack(self, whole: Value, number: int, new: Graph) -> Value:
        """What is stacked, each row in the shape of an output."""
        value, result = self.body.outputs[number], self.node.outputs[number]
        if value is self.stacks[number] or value.node is None:
            return whole
        shape = tuple(result.type.shape)
        types = (result.type,)
        return new.add(value.node.op, (whole,), {"shape": shape}, types, self.node.source)[0]


def shown(x: Value) -> Value:
    """What has the elements of a value in another shape; else the value."""
    return x.node.inputs[0] if x.node is not None and x.node.op.reshapes else x


def following(nodes: Iterable[Node], values: Iterable[Value]) -> set[Value]:
    """Values, and all that depends on them."""
    found = set(values)
    for node in nodes:
        if not found.isdisjoint(node.inputs):
            found.update(node.outputs)
    return found


def leading(nodes: Sequence[Node], values: Iterable[Value]) -> set[Node]:
    """The nodes that values depend on."""
    wanted, found = set(values), set[Node]()
    for node in reversed(nodes):
        if not wanted.isdisjoint(node.outputs):
            found.add(node)
            wanted.update(node.inputs)
    return found


def copy(nodes: Iterable[Node], graph: Graph, known: dict[Value, Value], at: Extent) -> None:
    """Appends nodes as they are in a turn of this number."""
    for node in nodes:
        attrs = {name: at_turn(attr, at) for name, attr in node.attrs.items()}
        inputs = [known[x] for x in node.inputs]
        types = tuple([x.type for x in node.outputs])
        results = graph.add(node.op, inputs, attrs, types, node.source)
        known.update(zip(node.outputs, results, strict=True))


def at_turn(attr: Any, at: Extent) -> Any:
    """An attr in a turn of this number."""
    if isinstance(attr, Dim):
        return substitute(attr, {COUNTER: at})
    if type(attr) is tuple:
        return tuple([at_turn(item, at) for item in attr])
    return attr
