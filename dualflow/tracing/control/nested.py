"""Nested: decorated functions that are called again and again while another one is recorded.

Recursion over data calls the same few functions in an order of its own. One call of each kind runs
in Python, as all code does in a recording; if all that it did was to compute, the others are nodes
which share its graph, as long as what Python could read is as it was then. So what is recorded of
a call is one node, and what is found out about its graph holds for all of them, in the next
recording too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from dualflow.core.context import Counted, checks_ops, context
from dualflow.core.convert import as_tensor
from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable
from dualflow.tracing.guards.places import Untold
from dualflow.tracing.joins.crossings import own_state, python_state
from dualflow.tracing.joins.frames import Opaque
from dualflow.tracing.joins.keys import State
from dualflow.tracing.parts import part_of
from dualflow.tracing.signature import watched
from dualflow.tracing.trace import Trace
from jit.dataclass import dataclass

if TYPE_CHECKING:
    from dualflow.tracing.control.called import Callee
    from dualflow.tracing.control.rolling import Roll

OFTEN = 4  # calls of one kind in one recording, from which on they are nodes
PLAIN = (bool, int, float, str, type(None))


class Unfit(Exception):  # noqa: N818 - nothing is wrong
    """There is something in a tree that a node neither takes nor gives."""


class Called(Protocol):
    """A decorated function.

    Attributes:
        python: What it stands for.
        often: The kinds of its calls that were met often in some recording.
    """

    python: Any
    often: set[Hashable]


@dataclass(frozen=True)
class Known:
    """A kind of calls that are nodes.

    Attributes:
        callee: What they compute.
        given: What the node is given: the number of an argument, a Variable, or another tensor.
        state: What Python could read, as far as it was not as before the recorded call.
        result: The tree that they return, of places in the node's results and plain values.
    """

    callee: Callee
    given: list[int | Tensor]
    state: Hashable
    result: Any


@dataclass(frozen=True)
class Place:
    """A result of a node in the tree that is returned."""

    number: int


class Nested:
    """The calls of decorated functions in one recording.

    Args:
        trace: The recording.
    """

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._counts: Counter[Hashable] = Counter()
        self._known: dict[Hashable, Known | None] = {}
        self._alive: dict[int, Any] = {}  # what counts by its id

    def call(self, function: Called, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result of a call: by a node, or by Python."""
        with context.aside():
            kind, tensors = self._kind(args, kwargs)
            key = id(function), kind, *map(flow, tensors)
            self._alive[id(function)] = function
            known = self._known.get(key)
            if known is not None:
                made = self._by_node(known, function.python, tensors)
                if made is not None:
                    return rebuilt(known.result, made)
        if kind is None or key in self._known or not self._is_often(function, kind):
            return function.python(*args, **kwargs)
        return self._recorded(function.python, args, kwargs, key, tensors)

    def _is_often(self, function: Called, kind: Hashable) -> bool:
        key = id(function), kind
        self._counts[key] += 1
        if self._counts[key] >= OFTEN:
            function.often.add(kind)
        return kind in function.often

    def _kind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Hashable, list[Tensor]]:
        """What a call has in common with others, None if it cannot be a node; its tensors."""
        trace, tensors = self._trace, list[Tensor]()
        if context.trace is not trace or not self._may_be_nodes():
            return None, tensors
        numbers: dict[Any, int] = {}
        names = sorted(kwargs)
        try:
            parts = [self._part(x, tensors, numbers) for x in args]
            parts += [self._part(kwargs[name], tensors, numbers) for name in names]
        except Unfit:
            return None, tensors
        mode = context.recording, bool(context.tapes), context.autocast, context.device
        return (tuple(parts), tuple(kwargs), mode), tensors

    def _may_be_nodes(self) -> bool:
        trace = self._trace
        special = checks_ops() or trace.noted is not None
        special = special or len(context.tapes) > 1  # then gradients of gradients need all ops
        return not (special or trace.varies or trace.scalars.used)

    def _part(self, x: Any, tensors: list[Tensor], numbers: dict[Any, int]) -> Hashable:
        """What an argument adds to the kind.

        Raises:
            Unfit: A node does not take it.
        """
        if x.__class__ is Tensor:
            if x.is_symbolic:
                raise Unfit
            tensors.append(x)
            value = x.symbol.value if self._trace.owns(x) else None
            same = numbers.setdefault(id(x) if value is None else value, len(numbers))
            return x.type, same
        if type(x) is tuple:
            return tuple([self._part(item, tensors, numbers) for item in x])
        if type(x) in PLAIN:
            return part_of(x)
        if isinstance(x, Variable | Counted):
            return self._by_id(x)
        raise Unfit

    def _by_id(self, x: Any) -> int:
        self._alive[id(x)] = x
        return id(x)

    # ----- by a node -----

    def _by_node(self, known: Known, python: Any, tensors: list[Tensor]) -> list[Tensor] | None:
        """The results of a call like a known one; None where Python has to run."""
        if self._state(python) != known.state:
            return None
        given = [tensors[x] if isinstance(x, int) else as_tensor(x) for x in known.given]
        return known.callee(given)

    def _state(self, python: Any) -> Hashable:
        """What Python can read now that is not as it was before the recorded call.

        None where that cannot be told, or tensors are among it, which differ from time to time.
        """
        trace = self._trace
        try:
            state = State(trace.computed, trace.scalars, trace.existed)
            found = state.part(python), python_state(trace, state, ())
            return None if state.tensors else (found, own_state(trace, state))
        except (Opaque, Untold):
            return None

    # ----- by Python -----

    def _recorded(
        self, python: Any, args: Any, kwargs: Any, key: Hashable, tensors: list[Tensor]
    ) -> Any:
        """The result of the call that the others of its kind are like."""
        from dualflow.tracing.control.rolling import Deeds, Roll  # loaded when something is nested

        trace = self._trace
        with context.aside():
            before, deeds = self._state(python), Deeds(trace, python)
        roll = Roll(trace, len(trace.graph.nodes))
        results: list[Tensor] = []
        roll.begin([], [])
        try:
            result = python(*args, **kwargs)
            with context.aside():
                template = template_of(result, results)
                roll.gives(results)
        finally:
            roll.end()
        with context.aside():
            self._known[key] = known = None
            if template is not None and before is not None and deeds.nothing_since():
                known = self._known_by(roll, tensors, before, template)
            if known is not None:
                self._known[key] = known
                made = self._by_node(known, python, tensors)
                return result if made is None else rebuilt(template, made)
        return result

    def _known_by(
        self, roll: Roll, tensors: Sequence[Tensor], state: Hashable, template: Any
    ) -> Known | None:
        """What is known from a call that was recorded; None where others may differ."""
        from dualflow.tracing.control.called import callee_of

        closed = roll.closed()
        callee = None if closed is None else callee_of(closed[0])
        if closed is None or callee is None:
            return None
        given = list(self._given(closed[1], tensors))
        return None if None in given else Known(callee, given, state, template)  # pyright: ignore[reportArgumentType]

    def _given(
        self, outside: Sequence[Tensor], tensors: Sequence[Tensor]
    ) -> Iterator[int | Tensor | None]:
        """Where what the function reads comes from in any call; None where that is unknown."""
        trace = self._trace
        numbers = {value: k for k, value in reversed([*enumerate(map(trace.value_of, tensors))])}
        for x in outside:
            value = trace.value_of(x)
            found: int | Tensor | None = trace.variables.read_as(x)
            if found is None and not trace.owns(x):
                found = x
            if value in numbers:  # what it may have read of Python's state, too, is unknown
                found = numbers[value] if found is None else None
            yield found


def flow(x: Tensor) -> str:
    """Who wants gradients through a tensor, which Python may ask."""
    return "" if x.record is None else watched(x)


def template_of(x: Any, results: list[Tensor]) -> Any:
    """A result with places instead of tensors, which are appended; None if there is anything else.

    None among the results is not told from that.
    """
    if x.__class__ is Tensor:
        results.append(x)
        return Place(len(results) - 1)
    if type(x) is not tuple:
        return None
    parts = tuple([template_of(item, results) for item in x])
    return None if None in parts else parts


def rebuilt(template: Any, results: Sequence[Tensor]) -> Any:
    """A result of a call, by its template."""
    if template.__class__ is Place:
        return results[template.number]
    return tuple([rebuilt(item, results) for item in template])
