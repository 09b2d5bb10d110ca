"""The first step of a `while_loop`, which becomes the body of a node if all it did was to compute.

Python takes the step as it always does, once it was told that there is one. That question is then
taken back: the node asks for itself, before each step, the first one too. A node keeps the carries
of all steps for gradients only where it is said how many there are at most; else the steps that
gradients flow through are taken by Python.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

from dualflow.core.context import context
from dualflow.core.registry import functions
from dualflow.core.tensor import Tensor
from dualflow.tracing.control.rolling import Deeds, Roll, may_decide, recording
from dualflow.tracing.trace import Trace

_firsts: WeakKeyDictionary[Trace, list[First]] = WeakKeyDictionary()


def entered(
    key: Any, pred: Tensor, tensors: list[Tensor], most: int | None, user: Any
) -> list[Tensor]:
    """The carry that a step is given.

    What arrives at it goes into what it was before as one sum, in both modes.

    Args:
        key: Of the loop: the functions that it calls, which are its own.
        pred: What told that there is a step.
        tensors: The carry.
        most: How many steps there are at most.
        user: The user's functions, which may do more than compute.
    """
    trace = recording()
    is_first = trace is not None and found(trace, key) is None
    first = First(trace, key, pred, most) if is_first and trace is not None else None
    tensors = [x if x.record is None else functions["identity"](x) for x in tensors]
    if first is None or trace is None:
        return tensors
    _firsts.setdefault(trace, []).append(first)
    return first.begin(tensors, user)


def left(key: Any, pred: Tensor, tensors: list[Tensor]) -> list[Tensor] | None:
    """A step is over: what the loop leaves at last, if the step has become a node.

    Args:
        key: As above.
        pred: Whether there is another step.
        tensors: The carry.
    """
    trace = recording()
    first = None if trace is None else found(trace, key)
    return None if first is None else first.left(pred, tensors)


def forget(key: Any) -> None:
    """The loop is over."""
    trace = recording()
    first = None if trace is None else found(trace, key)
    if trace is not None and first is not None:
        first.end()
        _firsts[trace].remove(first)


def found(trace: Trace, key: Any) -> First | None:
    """The first step of a loop that has begun."""
    return next((x for x in _firsts.get(trace, ()) if x.key is key), None)


class First:
    """The first step of a loop.

    Args:
        trace: Who records it.
        key: The functions that the loop calls.
        pred: What told that there is a step.
        most: How many there are at most.
    """

    def __init__(self, trace: Trace, key: Any, pred: Tensor, most: int | None) -> None:
        self.key, self._trace, self._pred, self._most = key, trace, pred, most
        self._asked = len(trace.graph.nodes) - 1
        self._may_be = may_decide(trace, pred)
        self._roll: Roll | None = None

    def begin(self, tensors: list[Tensor], user: Any) -> list[Tensor]:
        """The carry as the step is given it; `user` is what may do more than compute."""
        trace = self._trace
        if not self._may_be:
            return tensors
        go = functions["astype"](self._pred, "bool")
        self._deeds = Deeds(trace, user)
        self._roll = Roll(trace, len(trace.graph.nodes))
        (_, *given), _ = self._roll.begin([go, *tensors], [])
        return given

    def left(self, pred: Tensor, tensors: list[Tensor]) -> list[Tensor] | None:
        """The carry that all steps leave, by a node; None where it is none."""
        roll = self._roll
        if roll is None:
            return None
        if self._deeds.nothing_since():
            roll.gives([functions["astype"](pred, "bool"), *tensors])
        self.end()
        made = self._node(roll) if roll.is_of_trace else None
        if made is None:
            return None
        take_back(self._trace, self._asked)
        return made[-len(tensors) :] if tensors else []

    def end(self) -> None:
        """The step is over."""
        if self._roll is not None:
            self._roll.end()
        self._roll = None

    def _node(self, roll: Roll) -> list[Tensor] | None:
        watched = is_watched(roll.reads())
        if watched and self._most is None:
            return None
        return roll.loop((), self._most, found=watched, going=0)


def is_watched(tensors: Sequence[Tensor]) -> bool:
    """Whether gradients may flow back to some of these; tangents need nothing that is kept."""
    records = [x.record for x in tensors if x.record is not None]
    if not context.recording or not records:
        return False
    tapes = [tape for tape in context.tapes if not getattr(tape, "forward", False)]
    return bool(tapes) or any(record.rooted for record in records)


def take_back(trace: Trace, asked: int) -> None:
    """Python was told nothing, and asked for nothing.

    Args:
        trace: The recording.
        asked: The number of the node that is the question.
    """
    del trace.graph.nodes[asked]
    trace.answers.pop()
    if trace.crossings is not None:
        trace.crossings.take_back(trace, asked)
