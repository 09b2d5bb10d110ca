"""Segment mode: Python runs at every call, and what it computes between two looks runs together.

A graph cannot replay a call from which values leave in the middle. Here ops are put off instead,
until Python looks at a value, an op comes that may fail, or the call ends. What was put off is a
*segment*. It runs op by op when it is met for the first time; one that comes again is compiled, and
found by what it does. Python itself is never skipped, so nothing of it has to be guarded.
"""

from __future__ import annotations

import _thread
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from functools import cache
from typing import Any

import numpy as np

import jit
from dualflow.core.context import using
from dualflow.core.kernels import computed, number, spelled
from dualflow.core.op import (
    Op,
    Symbol,
    bind,
    evaluated,
    new_tensor,
    place_of,
    registry,
    values,
)
from dualflow.core.record import hang
from dualflow.core.tensor import Tensor
from dualflow.tracing.unrecorded import Unrecorded
from jit.config import scoped
from jit.ir.graph import Graph, Value
from jit.types import TensorType

Array = np.ndarray[Any, Any]
Types = tuple[TensorType, ...]
Check = Callable[[list["Step"], list[Array], list[Array]], None]

KEPT = 512  # segments that are remembered
KINDS = 8192  # and ops with types and attrs
LONGEST = 2000  # ops that are put off at most


class Cell:
    """A value that is put off, as all tensors see it that stand for it.

    Attributes:
        number: Among the values of its segment.
        array: The value, when it is there.
    """

    __slots__ = ("number", "array", "__weakref__")

    def __init__(self, number: int) -> None:
        self.number = number
        self.array: Array | None = None


class Kind:
    """An op with types and attrs, of which there is one object.

    Attributes:
        types: Of its arguments; they must live as long as their ids are keys.
        results: The types of what it gives.
        trial: Tells whether it fails; None: only computing it does.
    """

    __slots__ = ("op", "types", "attrs", "results", "trial")

    def __init__(self, op: Op, types: list[TensorType], attrs: dict[str, Any]) -> None:
        from jit.forms.trial import trial_of  # loaded when something is put off

        self.op = op
        self.types = types
        self.attrs = attrs
        self.results = tuple(map(interned, op.infer_all(tuple(types), attrs)))
        known = op.calls or registry.get(op.name) is op
        self.trial = trial_of(op, types, attrs) if known else None

    @property
    def waits(self) -> bool:
        """Whether no values make it fail."""
        return self.trial is not None and not self.trial.asked


class Step:
    """An op that is put off, and the numbers of its inputs and of its first output."""

    __slots__ = ("kind", "inputs", "first")

    def __init__(self, kind: Kind, inputs: list[int], first: int) -> None:
        self.kind = kind
        self.inputs = inputs
        self.first = first

    @property
    def outputs(self) -> range:
        """The numbers of its outputs."""
        return range(self.first, self.first + len(self.kind.results))


class Segments(Unrecorded):
    """One call in segment mode; it stands where a recording would stand.

    Args:
        check: Is given what each segment computed, and what its ops give one by one.
    """

    runs = True  # Python and all of its ops run at this call

    def __init__(self, check: Check | None = None) -> None:
        super().__init__()
        self._check = check
        self._begin()

    def _begin(self) -> None:
        self._steps: list[Step] = []
        self._words: list[Any] = []
        self._count = 0  # of values
        self._given: list[tuple[int, Array]] = []
        self._numbers: dict[int, int] = {}  # of arrays that are given, by id
        self._cells: list[weakref.ref[Cell]] = []
        self._tensors: list[weakref.ref[Tensor]] = []

    # ----- ops -----

    def bind(self, op: Op, args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        """Puts an op off, or computes it now if it has to be."""
        types = None if op.moves else self._types(args)
        kind = None if types is None else kind_of(op, types, attrs)
        if types is None or kind is None or not kind.waits:
            return self._now(op, args, attrs)
        inputs = [self._number(x, type_) for x, type_ in zip(args, types, strict=True)]
        self._steps.append(Step(kind, inputs, self._count))
        self._words.append(kind)
        self._words += inputs
        outputs = [self._output(type_) for type_ in kind.results]
        hang(op, args, attrs, outputs)
        if len(self._steps) >= LONGEST:
            self.flush()
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def _types(self, args: tuple[Any, ...]) -> list[TensorType] | None:
        """The types of an op's arguments; None if they are not NumPy's arrays, or none is there."""
        types: list[Any] = []
        last = None
        for x in args:
            if x.__class__ is not Tensor:
                types.append(None)
                continue
            array = x.raw
            if array is None and (array := self._array(x)) is None:
                last = x.symbol.type
            elif array.__class__ is np.ndarray:
                last = type_of(array)
            else:
                return None
            types.append(last)
        if last is None or scoped.get().target != "cpu":
            return None
        if None in types:  # numbers have the dtype of the last tensor
            scalar = scalar_type(last.dtype)
            types = [scalar if type_ is None else type_ for type_ in types]
        return types

    def _array(self, x: Tensor) -> Array | None:
        """The array of a tensor; None while it is put off."""
        if x.raw is None and x.symbol is not None and x.symbol.value.__class__ is Cell:
            x.raw = x.symbol.value.array
        return x.raw

    def _number(self, x: Any, type_: TensorType) -> int:
        """The number of an op's argument among the values of the segment."""
        if x.__class__ is not Tensor:  # a run-time scalar: it may be another one next time
            return self._input(number(x, type_.dtype, x or repr(x)))
        return x.symbol.value.number if x.raw is None else self._input(x.raw)

    def _input(self, array: Array) -> int:
        known = self._numbers.get(id(array))
        if known is None:
            known = self._numbers[id(array)] = self._count
            self._count += 1
            self._given.append((known, array))  # alive until the segment has run
            self._words.append(type_of(array))
        return known

    def _output(self, type_: TensorType) -> Tensor:
        cell = Cell(self._count)
        self._count += 1
        self._cells.append(weakref.ref(cell))
        tensor = new_tensor(Tensor)
        tensor.raw = tensor.record = None
        tensor.symbol = Symbol(type_, self, cell)
        self._tensors.append(weakref.ref(tensor))
        return tensor

    def _now(self, op: Op, args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        """Computes an op at once, and before it all that was put off."""
        self.flush()
        for x in args:
            if x.__class__ is Tensor:
                self._array(x)
        with using(trace=None):
            return bind(op, args, attrs)

    # ----- running what was put off -----

    def flush(self) -> None:
        """Runs the segment; afterwards all tensors have their values."""
        if not self._steps:
            return
        steps, given, tensors = self._steps, self._given, self._tensors
        cells = [cell for ref in self._cells if (cell := ref()) is not None]
        key = (tuple(self._words), tuple([cell.number for cell in cells]))
        count = self._count
        self._begin()
        with using(trace=None, recording=False):
            wanted = [cell.number for cell in cells]
            made = run(key, steps, given, count, wanted)
            if self._check is not None:
                self._check(steps, made, run_op_by_op(steps, given, count, wanted))
        for cell, array in zip(cells, made, strict=True):
            cell.array = array
        for ref in tensors:
            if (tensor := ref()) is not None:
                tensor.raw, tensor.symbol = tensor.symbol.value.array, None

    # ----- what Python asks -----

    def escape(self, tensor: Tensor, how: str) -> None:
        """A value leaves for Python, which has to be there now."""
        del how
        if tensor.raw is None:
            self.flush()
            self._array(tensor)

    # ----- state -----

    def copied(self, tensor: Tensor) -> None:
        """A tensor was made that stands for a value which is put off."""
        self._tensors.append(weakref.ref(tensor))

    def publish(self, tensor: Tensor) -> None:
        """A tensor will be assigned: other threads must not see values that are put off."""
        if _thread._count():
            self.escape(tensor, "assign")

    def created(self, variable: Any) -> None:
        """A Variable was made; its value may be put off as well."""
        if variable.tensor.raw is None:
            self.copied(variable.tensor)

    def wrote(self, variable: Any, before: Tensor, after: Tensor) -> None:
        """A Variable was assigned."""
        if after.raw is None:
            self.copied(after)


_interned: dict[Hashable, TensorType] = {}
_kinds: dict[Hashable, Kind] = {}


def type_of(array: Array) -> TensorType:
    """The type of an array, the same object for equal types."""
    key = array.dtype, array.shape
    return _interned.get(key) or interned(TensorType(array.shape, array.dtype))


def interned(type_: TensorType) -> TensorType:
    """The object that stands for all equal types."""
    return _interned.setdefault((type_.dtype, type_.shape), type_)


@cache
def scalar_type(dtype: np.dtype[Any]) -> TensorType:
    """The type of a number."""
    return interned(TensorType((), dtype))


def kind_of(op: Op, types: list[TensorType], attrs: dict[str, Any]) -> Kind | None:
    """An op applied to arguments of interned types; None where its attrs are no key.

    Raises:
        DualflowError: The arguments are wrong.
    """
    key = (op, *map(id, types), spelled(attrs) if attrs else ())
    try:
        kind = _kinds.get(key)
    except TypeError:
        return None
    if kind is None:
        if len(_kinds) >= KINDS:
            _kinds.clear()
            _interned.clear()
        kind = _kinds[key] = Kind(op, types, attrs)
    return kind


# ----- segments by content -----

_known: OrderedDict[Hashable, Callable[[list[Array]], list[Array]] | None] = OrderedDict()


def run(
    key: Hashable, steps: list[Step], given: list[tuple[int, Array]], count: int, wanted: list[int]
) -> list[Array]:
    """The wanted values of a segment."""
    met = key in _known
    code = _known[key] = _known.pop(key, None)  # the latest, now; other threads may do the same
    if len(_known) > KEPT:
        _known.popitem(last=False)
    if not met:
        return run_op_by_op(steps, given, count, wanted)
    if code is None:
        code = _known[key] = compiled(steps, given, wanted)
    return code([array for _, array in given])


def run_op_by_op(
    steps: list[Step],
    given: list[tuple[int, Array]],
    count: int,
    wanted: list[int],
    run: Callable[[Op, list[Any], dict[str, Any]], Sequence[Array]] | None = None,
) -> list[Array]:
    """The same without compiling; `run` gives what an op gives, by default where its inputs lie."""
    values: list[Any] = [None] * count
    for place, array in given:
        values[place] = array
    last = {k: step for step in steps for k in step.inputs}
    kept, run = set(wanted), run or run_op
    for step in steps:
        made = run(step.kind.op, [values[k] for k in step.inputs], step.kind.attrs)
        for k, array in enumerate(made, step.first):
            values[k] = array
        for k in step.inputs:
            if last[k] is step and k not in kept:
                values[k] = None
    return [values[k] for k in wanted]


def run_op(op: Op, arrays: list[Any], attrs: dict[str, Any]) -> list[Array]:
    """What an op gives where its arguments lie; numbers have the dtype of the last array."""
    if place_of(op, arrays) != "cpu":
        return [y.raw for y in values(op, arrays, attrs)]
    made = computed(op, arrays, attrs)
    if made is None:
        made = evaluated(op, arrays, attrs, np)
    return list(map(np.asarray, made))


def compiled(
    steps: list[Step], given: list[tuple[int, Array]], wanted: list[int]
) -> Callable[[list[Array]], list[Array]]:
    """Native code for a segment."""
    graph = Graph("segment")
    values: dict[int, Value] = {
        place: graph.input(TensorType(array.shape, array.dtype)) for place, array in given
    }
    for step in steps:
        kind = step.kind
        made = graph.add(kind.op, [values[k] for k in step.inputs], kind.attrs, kind.results)
        values.update(enumerate(made, step.first))
    graph.outputs = [values[k] for k in wanted]
    executable = jit.compile(graph, ops=registry)
    direct = executable.direct([array for _, array in given])
    if direct is None:
        return executable
    return lambda arrays: direct(*arrays) or executable(arrays)


def in_segments(
    python: Callable[..., Any], args: Any, kwargs: Any, check: Check | None = None
) -> Any:
    """Calls a function in segment mode; `check` as for `Segments`."""
    segments = Segments(check)
    try:
        with using(trace=segments):
            return python(*args, **kwargs)
    finally:
        segments.flush()


def forget() -> None:
    """Drops all segments, for tests that change ops."""
    for known in (_known, _kinds, _interned):
        known.clear()
