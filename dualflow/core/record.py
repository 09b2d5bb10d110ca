"""Records: how a tensor came to be, hung on the tensor itself so that they die with it.

A record holds its op, the input tensors and the attrs, and a tick of one global clock. Ticks order
records for the reverse sweep, and let a tape say what it recorded as intervals of time: a tape
stores no operations. A `Leaf` marks where gradients are collected: a trainable Variable, or a
watched tensor.
"""

from __future__ import annotations

import itertools
import weakref
from typing import Any

from dualflow.core.context import context
from dualflow.core.tensor import Tensor
from jit.types import kind

INEXACT = ("floating", "complex")  # the kinds of dtypes that have gradients
clock = itertools.count(1)
NO_ATTRS: dict[str, Any] = {}


class Leaf:
    """The root of records: a Variable's (then `owner` refers to it weakly) or a watched tensor's.

    Attributes:
        rooted: True for a Variable: work on it is recorded even when no tape is there.
    """

    __slots__ = ("owner", "rooted")
    tick = 0

    def __init__(self, owner: Any = None) -> None:
        self.owner = None if owner is None else weakref.ref(owner)
        self.rooted = owner is not None


class Record:
    """One op application.

    Attributes:
        inputs: Tensors and Python scalars; None once a gradient call has released them.
        types: With several outputs the type of each, else None.
    """

    __slots__ = ("op", "inputs", "attrs", "tick", "rooted", "types")

    def __init__(
        self, op: Any, inputs: tuple[Any, ...], attrs: dict[str, Any], *, rooted: bool
    ) -> None:
        self.op = op
        self.inputs: tuple[Any, ...] | None = inputs
        self.attrs = attrs
        self.tick = next(clock)
        self.rooted = rooted
        self.types: tuple[Any, ...] | None = None


new_record_object = Record.__new__


class Pick:
    """The record of one of several outputs: which one of `bundle`'s it is."""

    __slots__ = ("bundle", "index", "tick", "rooted")

    def __init__(self, bundle: Record, index: int) -> None:
        self.bundle = bundle
        self.index = index
        self.tick = bundle.tick
        self.rooted = bundle.rooted


def new_record(op: Any, inputs: tuple[Any, ...], attrs: dict[str, Any]) -> Record | None:
    """A record, if somebody wants one: an input has a record, and it is rooted or a tape runs.

    Where no gradient can flow on there is none, so that a running count of right answers, or a sum
    of detached losses, holds no history.
    """
    if not context.recording:
        if context.tapes and any(getattr(x, "record", None) is not None for x in inputs):
            note_cut("no_grad()")
        return None
    watched = rooted = False
    for x in inputs:
        record = x.record if x.__class__ is Tensor else getattr(x, "record", None)
        if record is not None:
            if record.rooted:
                rooted = True
                break
            watched = True
    if not rooted and not (watched and context.tapes):
        return None
    if not op.differentiable:
        note_cut(op.name)
        return None
    record = new_record_object(Record)  # filled in here: calling the class would take 0.2 us more
    record.op = op
    record.inputs = inputs
    record.attrs = attrs
    record.tick = next(clock)
    record.rooted = rooted
    record.types = None
    return record


def note_cut(how: str) -> None:
    """Tells the tapes that a watched value went where gradients cannot follow."""
    for tape in context.tapes:
        tape.note_cut(how)


def hang(op: Any, inputs: tuple[Any, ...], attrs: dict[str, Any], outputs: list[Any]) -> None:
    """Gives every output its record, or none."""
    record = new_record(op, inputs, attrs)
    if record is None:
        for y in outputs:
            y.record = None
        return
    if len(outputs) == 1 and kind(outputs[0].dtype) in INEXACT:
        outputs[0].record = record
        return
    flows = [kind(y.dtype) in INEXACT for y in outputs]
    if not any(flows):
        note_cut(op.name)
        for y in outputs:
            y.record = None
    else:
        record.types = tuple(y.type for y in outputs)
        if getattr(op, "keeps", False):  # its gradient needs results which nobody else may have
            record.attrs = {**attrs, "made": [y.alias(y.symbol) for y in outputs]}
        for index, (y, flow) in enumerate(zip(outputs, flows, strict=True)):
            y.record = Pick(record, index) if flow else None
