"""Loops and calls that a graph is given: what nobody reads goes, the rest becomes native if it can.

Bodies go through the passes, and what is the same in each run is computed before the loop. A body
that native code cannot run again and again stays as it is: then it is a step of the host. A call
whose body native code cannot run by itself is replaced by what is in it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from jit.dataclass import dataclass
from jit.ir.builtin import constant
from jit.ir.call import Body, call
from jit.ir.graph import Graph, Node, Value
from jit.ir.loop import copied, loop, row
from jit.passes.base import GraphPass
from jit.passes.hoist import hoisted
from jit.passes.unroll import flattened


@dataclass(frozen=True)
class Loops(GraphPass):
    """Makes lean loops of those that a graph is given.

    Attributes:
        passes: What bodies go through.
        costs: Whether to compute a node in each run costs something.
        fits: Whether a graph can be the body of a native loop.
    """

    passes: tuple[GraphPass, ...] = ()
    costs: Callable[[Node], bool] = lambda node: False
    fits: Callable[[Graph], bool] = lambda body: True

    name = "loops"

    def run(self, graph: Graph) -> Graph:
        """The graph with lean loops; itself where there are none."""
        if not any(node.op.repeats or node.op.calls for node in graph.nodes):
            return graph
        graph = flattened(opened(graph, self._callable))
        nodes = graph.live_nodes()
        read = {*graph.outputs, *[value for node in nodes for value in node.inputs]}
        new = Graph(graph.name)
        new_of = {value: new.input(value.type, value.name) for value in graph.inputs}
        for node in nodes:
            if not (node.op.repeats and self._loop(node, read, new, new_of)):
                new.append_copy(node, new_of)
        new.outputs = [new_of[value] for value in graph.outputs]
        return new

    def _callable(self, body: Graph) -> Graph | None:
        """What is called instead of a body, for all who call it; None: it has to be opened."""
        if not isinstance(body, Body):
            return self._made_callable(body)
        known = _callables.setdefault(body, {})
        key = tuple([id(option) for each in self.passes for option in vars(each).values()])
        if key not in known:
            known[key] = self._made_callable(body), self  # whose options the key tells by where
        return known[key][0]

    def _made_callable(self, body: Graph) -> Graph | None:
        body = opened(body, lambda inner: None)
        for each in self.passes:
            body = each.run(body)
        views = {x for x in body.outputs if x.node is None or not self.costs(x.node)}
        for made in (body, with_copies(body, views), with_copies(body, body.outputs)):
            if self.fits(made):
                return Body.of(made)
        return None

    def _loop(self, node: Node, read: set[Value], new: Graph, new_of: dict[Value, Value]) -> bool:
        """Appends a loop, if its body fits."""
        lean = Lean(node, read, self.passes)
        if lean.endless:
            return False
        for body in (lean.graph(), lean.graph(apart=True)):
            left, before, shared = hoisted(body, len(lean.handed), self.costs)
            if not lean.outputs or self.fits(left):
                break
        else:
            return False
        numbers = [*lean.handed, *lean.given]
        known = {x: new_of[node.inputs[k]] for x, k in zip(body.inputs, numbers, strict=True)}
        for each in before:
            new.append_copy(each, known)
        inputs = [known[value] for value in (*body.inputs[: len(lean.handed)], *shared)]
        attrs = {"count": node.attrs["count"], **lean.attrs, "body": left}
        results = new.add(loop, inputs, attrs, None, node.source) if lean.outputs else ()
        for value, k in lean.passed.items():
            new_of[value] = new_of[node.inputs[k]]
        for value, (place, at) in lean.found.items():
            new_of[value] = results[place]
            if at is not None:
                given, types = (results[place],), (value.type,)
                (new_of[value],) = new.add(row, given, {"at": at}, types, node.source)
        return True


def opened(graph: Graph, callable_: Callable[[Graph], Graph | None]) -> Graph:
    """A graph with what is in its calls in their place.

    Args:
        graph: Stays as it is.
        callable_: What is called instead of a body, if it stays a call.
    """
    if not has_calls(graph):
        return graph
    new = Graph(graph.name)
    new_of = {value: new.input(value.type, value.name) for value in graph.inputs}
    for node in graph.live_nodes():
        _open(node, callable_, new, new_of)
    new.outputs = [new_of[value] for value in graph.outputs]
    return new


def has_calls(graph: Graph) -> bool:
    """Whether a call stands in a graph, or in a loop of it."""
    return any(
        node.op.calls or (node.op.repeats and has_calls(node.attrs["body"])) for node in graph.nodes
    )


def _open(
    node: Node,
    callable_: Callable[[Graph], Graph | None],
    new: Graph,
    new_of: dict[Value, Value],
) -> None:
    """Appends a node, a call, or what is in it; in loops no call stays."""
    inputs = [new_of[value] for value in node.inputs]
    types = tuple([value.type for value in node.outputs])
    if not node.op.calls:
        attrs = node.attrs
        if node.op.repeats:
            attrs = {**attrs, "body": opened(attrs["body"], lambda inner: None)}
        new_of.update(
            zip(node.outputs, new.add(node.op, inputs, attrs, types, node.source), strict=True)
        )
        return
    body = callable_(node.attrs["body"])
    if body is not None:
        results = new.add(call, inputs, {"body": body}, types, node.source)
    else:
        inside = node.attrs["body"]
        inner = dict(zip(inside.inputs, inputs, strict=True))
        for each in inside.nodes:
            _open(each, callable_, new, inner)
        results = [inner[value] for value in inside.outputs]
    new_of.update(zip(node.outputs, results, strict=True))


# What is called instead of bodies, by the options of the passes that they went through.
_callables: WeakKeyDictionary[Body, dict[Any, tuple[Graph | None, Loops]]] = WeakKeyDictionary()


def with_copies(body: Graph, values: Collection[Value]) -> Graph:
    """A graph some outputs of which are copied to memory of their own."""
    new, new_of = body.copy()
    new.outputs = [
        new.add(copied, (new_of[x],), {})[0] if x in values else new_of[x] for x in body.outputs
    ]
    return new


def with_own_carries(
    body: Graph, outs: Mapping[int, Value], rows: set[Value], carried: tuple[int, ...]
) -> dict[int, Value]:
    """Carries of a loop that may run never: no two of them are one value, nor what came in."""
    taken, made = {*body.inputs, *rows}, dict[int, Value]()
    for j, k in enumerate(carried):
        if k not in outs or outs[k] is body.inputs[j]:
            continue
        value = outs[k]
        if value in taken:
            (value,) = body.add(copied, (value,), {})
            made[k] = value
        taken.add(value)
    return made


class Lean:
    """A loop without what nobody reads.

    Args:
        node: The loop.
        read: Values that are read.
        passes: What the body goes through.

    Attributes:
        endless: Whether nothing that a run does may end it.
        handed: Which inputs of the loop are handed on.
        given: Which are the same in each run.
        outputs: What the body gives, each once, and whether that of each run is wanted.
        attrs: Those of the loop that say the same.
        passed: For each result that is an input of the loop: which one.
        found: For each other result that is read the number of an output, and the row of it if it
            is one.
    """

    def __init__(self, node: Node, read: set[Value], passes: tuple[GraphPass, ...]) -> None:
        carried, stacked = node.attrs["carried"], node.attrs["stacked"]
        body: Graph = node.attrs["body"].copy()[0]
        wanted = [k for k, value in enumerate(node.outputs) if value in read]
        going = node.attrs.get("going")
        asks = [
            body.inputs[j]
            for j, k in enumerate(carried)
            if going is not None and (j == going or (k in wanted and not stacked[k]))
        ]
        live, kept = self._needed(body, body.outputs, wanted, carried, asks)
        body.outputs = [body.outputs[k] for k in kept]
        for each in passes:
            body = each.run(body)
        outs = dict(zip(kept, body.outputs, strict=True))
        if going is not None:
            rows = {outs[k] for k in wanted if stacked[k]}
            outs.update(with_own_carries(body, outs, rows, carried))
            body.outputs = [outs[k] for k in kept]
        self._body = body
        self.handed = [j for j in live if outs[carried[j]] is not body.inputs[j]]
        rest = [k for k in range(len(body.inputs)) if k not in self.handed]
        same = {body.inputs[k]: k for k in rest}
        asked = [outs[k] for k in wanted if stacked[k] or outs[k] not in same]
        asked += [outs[carried[j]] for j in self.handed]
        rows = {outs[k] for k in wanted if stacked[k]}
        self.outputs = {value: value in rows for value in asked}
        used = {x for each in body.live_nodes() for x in each.inputs}.union(self.outputs)
        self.given = [k for k in rest if body.inputs[k] in used]
        numbers = {value: place for place, value in enumerate(self.outputs)}
        self.attrs: dict[str, Any] = {
            "carried": tuple([numbers[outs[carried[j]]] for j in self.handed]),
            "stacked": tuple(self.outputs.values()),
        }
        self.endless = going is not None and going not in self.handed
        if going is not None and not self.endless:
            self.attrs["going"] = self.handed.index(going)
        ends = {k for k in wanted if not stacked[k]} if going is not None else set[int]()
        missing = [k for k in wanted if outs[k] not in numbers or (k in ends and outs[k] in same)]
        self.passed = {node.outputs[k]: same[outs[k]] for k in missing}
        places = {k: numbers[outs[k]] for k in wanted if k not in missing}
        last = {k: outs[k] in rows and not stacked[k] for k in places}
        self.found = {
            node.outputs[k]: (place, node.attrs["count"] - 1 if last[k] else None)
            for k, place in places.items()
        }

    @staticmethod
    def _needed(
        body: Graph,
        outputs: list[Value],
        wanted: list[int],
        carried: tuple[int, ...],
        asks: list[Value],
    ) -> tuple[list[int], list[int]]:
        """What is handed on and read, and the outputs that take part in it."""
        live: list[int] = []
        kept = set(wanted)
        while True:
            body.outputs = [outputs[k] for k in sorted(kept)]
            used = {x for node in body.live_nodes() for x in node.inputs}
            used.update(body.outputs, asks)
            more = [j for j in range(len(carried)) if body.inputs[j] in used]
            if more == live:
                body.outputs = outputs
                return live, sorted(kept)
            live = more
            kept.update([carried[j] for j in live])

    def graph(self, *, apart: bool = False) -> Graph:
        """The body.

        Args:
            apart: Whether each output is copied to memory of its own, whatever it is.
        """
        old, new = self._body, Graph(self._body.name)
        new_of = {old.inputs[k]: new.input(old.inputs[k].type) for k in self.handed}
        new_of |= {old.inputs[k]: new.input(old.inputs[k].type) for k in self.given}
        for node in old.live_nodes():
            new.append_copy(node, new_of)
        for value in self.outputs:
            result = new_of[value]
            if apart or value.node is None or value.node.op is constant:
                (result,) = new.add(copied, (result,), {})
            new.outputs.append(result)
        return new
