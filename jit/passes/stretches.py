"""Stretches: parts of a program that are repeated, as an unrolled loop leaves them.

A stretch is `count` times `period` nodes, one after the other. What stands at the same place in two
iterations differs only in

* inputs from the iteration itself, or from the one before, at the same place of it;
* inputs that are rows of one array (of an earlier loop), a constant number of rows apart;
* inputs that are constants;
* integers in attrs, such as where a slice begins, a constant number apart.

The walk is linear: a place that a period cannot pass is met once for each period. Of iterations
after the second only those nodes are looked at of which arrays do not tell that they repeat.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from collections.abc import Sequence as Values
from dataclasses import field
from functools import cached_property
from heapq import merge
from operator import sub
from typing import Any, NamedTuple

from jit.dataclass import dataclass
from jit.ir.builtin import constant
from jit.ir.graph import Graph, Node, Value
from jit.ir.printer import format_static
from jit.passes.arrays import References, Spans

WINDOW = 8  # nodes that are compared to find out where a stretch may begin again
TRIES = 4  # periods that are tried at a place
FEWEST = 8  # iterations
LOOKED_AT = 2  # iterations of which every node is looked at
SPARED = 128  # nodes that a loop has to do without


class Row(NamedTuple):
    """A row of what an earlier loop has stacked, in the new graph."""

    of: Value
    at: int


@dataclass(eq=False)
class Stretch:
    """Nodes that repeat.

    Attributes:
        start: The number of the first node.
        period: Nodes of an iteration.
        count: Iterations.
        apart: For (node of an iteration, input) from outside: how many rows apart, 0 for one value;
            None for constants that differ.
        ints: For a node of an iteration how far its integers are apart; None if they stay.
    """

    start: int
    period: int
    count: int = 0
    apart: dict[tuple[int, int], int | None] = field(default_factory=dict)
    ints: dict[int, tuple[int, ...] | None] = field(default_factory=dict)

    @property
    def end(self) -> int:
        """The number of the node behind the last iteration."""
        return self.start + self.count * self.period

    def moving(self, at: int, end: int) -> Iterator[int]:
        """The nodes in `at .. end` that read rows, or have integers, that move."""
        numbers = {number for number, ints in self.ints.items() if ints is not None}
        numbers.update(number for (number, _), apart in self.apart.items() if apart)
        places = [
            range(at + (number + self.start - at) % self.period, end, self.period)
            for number in numbers
        ]
        return merge(*places)

    @property
    def pays(self) -> bool:
        """Whether there is enough of it."""
        return self.count >= FEWEST and (self.count - 1) * self.period >= SPARED


class Sequence:
    """The live nodes of a graph without its constants, and where they repeat.

    Attributes:
        nodes: In program order.
        place: The number of the node that assigns a value.
        last_use: The number of the last node that reads a value; infinite for outputs of the graph.
        rows: For values of earlier loops which row of what they are, as the caller has told.
    """

    def __init__(self, graph: Graph) -> None:
        live = graph.live_nodes()
        self.constants = [node for node in live if node.op is constant]
        self.nodes = [node for node in live if node.op is not constant]
        values = [node.attrs["value"] for node in self.constants]
        numbers = _numbered([(x.dtype, x.shape, x.tobytes()) for x in values])
        self._known: dict[Value, Any] = {
            node.outputs[0]: number for node, number in zip(self.constants, numbers, strict=True)
        }
        self.place: dict[Value, int] = {}
        self.last_use: dict[Value, float] = {}
        self.rows: dict[Value, Row] = {}
        for number, node in enumerate(self.nodes):
            for value in node.inputs:
                self.last_use[value] = number
            for value in node.outputs:
                self.place[value] = number
        self.last_use.update(dict.fromkeys(graph.outputs, math.inf))
        self._words = _numbered([word(node) for node in self.nodes])
        self._spans = Spans(self._words)
        self._next = self._spans.next_alike(WINDOW)
        self._attrs: dict[int, tuple[tuple[str, ...], tuple[int, ...]]] = {}
        self._passed: dict[int, int] = {}  # up to where a period was tried
        self._stacks: dict[Value, list[Value]] = {}  # rows, by what they are of

    def stretch(self, start: int) -> Stretch | None:
        """What repeats from node `start` on, with the shortest period that pays.

        If none does, one that has enough iterations, but spares few nodes.
        """
        small = None
        for period in self._periods(start):
            if start > self._passed.get(period, -1) and self._may_repeat(start, period):
                made = self.matched(start, period)
                if made.pays:
                    return made
                if made.count >= FEWEST and small is None:
                    small = made
        return small

    def _may_repeat(self, start: int, period: int) -> bool:
        """Whether there are enough iterations as far as words tell, which says at once."""
        return self._spans.same(start, start + period, (FEWEST - 1) * period)

    def stack(self, of: Value, values: Values[Value]) -> None:
        """Tells that values are the rows of one, in the new graph."""
        self._stacks[of] = [*values]
        self.rows.update((value, Row(of, k)) for k, value in enumerate(values))

    def _periods(self, start: int) -> Iterator[int]:
        """Periods that may be one, the shorter ones first: of what looks alike, and of rows."""
        at = start
        for _ in range(TRIES):
            at = self._next[at]
            if at < 0:
                break
            yield at - start
        if self._stacks:
            yield from self._periods_of_rows(start)

    def _periods_of_rows(self, start: int) -> Iterator[int]:
        """How much later the row beside one is read that is read here.

        A loop in a loop looks alike after each of its own iterations, but the iterations of the
        outer one read each their own rows.
        """
        for at in range(start, min(start + WINDOW, len(self.nodes))):
            for value in self.nodes[at].inputs:
                found = self.rows.get(value)
                if found is None or self.place[value] >= start:
                    continue
                stack = self._stacks.get(found.of, ())
                beside = [k for k in (found.at - 1, found.at + 1) if 0 <= k < len(stack)]
                later = [x for k in beside for x in self._readers.get(stack[k], ()) if x > at]
                if later:
                    yield min(later) - at
                    return

    @cached_property
    def _readers(self) -> dict[Value, list[int]]:
        """For each value the numbers of the nodes that read it."""
        found: dict[Value, list[int]] = {}
        for number, node in enumerate(self.nodes):
            for value in node.inputs:
                found.setdefault(value, []).append(number)
        return found

    def matched(self, start: int, period: int) -> Stretch:
        """As many iterations of `period` nodes as there are."""
        made, end = Stretch(start, period), start + self._spans.common(start, start + period)
        at = next(self._ends(made, end), end)
        made.count = (at + period - start) // period
        self._passed[period] = max(start, at if at == end else at - period)
        return made

    def _ends(self, made: Stretch, end: int) -> Iterator[int]:
        """The nodes before `end` that are not followed by one that is alike a period later."""
        start, period = made.start, made.period
        bulk = min(start + LOOKED_AT * period, end)
        for at in range(start, bulk):
            if not self._repeats(made, at):
                yield at
        for at in merge(self._references.odd(start, period, bulk, end), made.moving(bulk, end)):
            if not self._repeats(made, at):
                yield at

    @cached_property
    def _references(self) -> References:
        return References(self.nodes, self.place, self._known)

    def _repeats(self, made: Stretch, at: int) -> bool:
        """Whether a node may be followed by the one a period later, after all before it."""
        start, period, place = made.start, made.period, self.place
        number = (at - start) % period
        first = at - number  # the first node of its iteration
        earlier, later = self.nodes[at], self.nodes[at + period]
        if (earlier.attrs or later.attrs) and not self._attrs_repeat(made, at, number):
            return False
        for k, (a, b) in enumerate(zip(earlier.inputs, later.inputs, strict=True)):
            before, after = place.get(a, -1), place.get(b, -1)
            if after < start:
                good = before < start and self._outside_repeats(made, (number, k), a, b)
            elif after >= first + period or first > start:  # of its iteration, or of the last one
                good = before + period == after >= first and a.index == b.index
            else:
                good = before < start and _alike(a, b)
            if not good:
                return False
        return later.op.pure

    def _attrs_repeat(self, made: Stretch, at: int, number: int) -> bool:
        later = at + made.period
        if self.nodes[at].attrs is self.nodes[later].attrs:
            return made.ints.setdefault(number, None) is None
        (rest, a), (other, b) = self.attrs_of(at), self.attrs_of(later)
        if rest != other:
            return False
        apart = tuple(map(sub, b, a)) if a != b else None
        return made.ints.setdefault(number, apart) == apart

    def _outside_repeats(self, made: Stretch, which: tuple[int, int], a: Value, b: Value) -> bool:
        """Whether an input from outside repeats: `a`, and an iteration later `b`."""
        if a is b or self._known.get(a, a) == self._known.get(b, b):
            return made.apart.setdefault(which, 0) in (0, None)
        one, other = self.rows.get(a), self.rows.get(b)
        if one is None or other is None:
            both = a in self._known and b in self._known and _alike(a, b)
            return both and made.apart.setdefault(which, None) is None
        apart = other.at - one.at
        return one.of is other.of and made.apart.setdefault(which, apart) == apart

    def attrs_of(self, at: int) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """The attrs of a node: all but integers as text, and the integers."""
        known = self._attrs.get(at)
        if known is None:
            text, ints = list[str](), list[int]()
            for name, attr in self.nodes[at].attrs.items():
                text.append(name)
                _open(attr, text, ints)
            known = self._attrs[at] = tuple(text), tuple(ints)
        return known


def is_constant(value: Value) -> bool:
    """Whether a value is known."""
    return value.node is not None and value.node.op is constant


def _open(attr: Any, text: list[str], ints: list[int]) -> None:
    if type(attr) is int:
        text.append("int")
        ints.append(attr)
    elif type(attr) is tuple:
        text.append("(")
        for item in attr:
            _open(item, text, ints)
        text.append(")")
    else:
        text.append(format_static(attr))


def _alike(a: Value, b: Value) -> bool:
    return _type_word(a) == _type_word(b)


def _type_word(value: Value) -> Any:
    return value.type.shape, value.type.dtype


def word(node: Node) -> Any:
    """What nodes have in common that may repeat each other."""
    if len(node.outputs) == 1:
        type_ = node.outputs[0].type
        return node.op, len(node.inputs), type_.shape, type_.dtype
    return node.op, len(node.inputs), *[_type_word(value) for value in node.outputs]


def _numbered(words: list[Any]) -> list[int]:
    """Small numbers, equal for equal words."""
    numbers: dict[Any, int] = {}
    return [numbers.setdefault(word, len(numbers)) for word in words]
