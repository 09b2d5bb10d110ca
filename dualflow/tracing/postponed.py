"""Postponed: ops of a recording that wait until Python looks at a value, or the graph is compiled.

A recording needs the types of tensors, not their values. Ops that do not fail are put off: if
nobody asks meanwhile, the compiled graph computes what the call returns and assigns, and eager's
own kernels are not made for one call. Whoever reads `raw` of a tensor that is put off gets its
array: it is computed then, op by op, with the bits that it has in any case, and so are the indices
of an op that looks something up, which fails at its line or waits like the others. Ops of a GPU
wait, too; of those the processor works out indices, which takes no kernel and no launch.

What only records hold when the recording is over goes on waiting: a backward pass may ask for it,
and who never asks for gradients of the first call does not compute it at all.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from opcode import cmp_op, opmap
from operator import attrgetter
from sys import getrefcount
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any

import numpy as np

from dualflow.core.backend import device_of, on_gpu, to_device
from dualflow.core.context import checks_ops, using
from dualflow.core.kernels import number
from dualflow.core.number import value_of
from dualflow.core.op import Op, evaluated, new_tensor
from dualflow.core.tensor import Tensor
from dualflow.tracing.guards.bytecode import names_of
from dualflow.tracing.leaves import StandIns
from dualflow.tracing.placed import Placed
from dualflow.tracing.segments import Kind, Step, kind_of, run_op_by_op, scalar_type, type_of
from jit.config import configure, scoped
from jit.errors import LaunchError
from jit.ir.graph import Graph, Value
from jit.runtime.forks import compiling
from jit.types import TensorType

if TYPE_CHECKING:
    from jit.compiler import Executable

Array = np.ndarray[Any, Any]


class Promise:
    """What stands in the place of an array.

    Attributes:
        owner: Computes it.
        number: Among the values of the owner.
        type: Of the array.
        place: The device that it will lie on.
        shape: Of the array.
        dtype: Of the array.
    """

    __slots__ = ("owner", "number", "type", "place", "shape", "dtype")

    def __init__(self, owner: Postponement, number: int, type_: TensorType, place: str) -> None:
        self.owner = owner
        self.number = number
        self.type, self.place = type_, place
        self.shape, self.dtype = type_.shape, type_.dtype


class Postponed(Tensor):
    """A Tensor whose array is still to be computed; `type` alone tells it from others."""

    __slots__ = ()
    __class__ = Tensor  # type: ignore  # which ops ask
    held = Tensor.__dict__["raw"]  # the array, or a promise
    # The functions are C code: these are read all the time, and a recording watches Python's.
    shape = property(attrgetter("held.shape"), doc="The extent of each dimension.")  # type: ignore
    dtype = property(attrgetter("held.dtype"), doc="The dtype of the elements.")  # type: ignore

    @property
    def raw(self) -> Any:  # type: ignore[override]
        """The array, which is computed now."""
        promise = _raw.__get__(self)
        if promise.__class__ is Promise:
            promise.owner.compute({promise.number})
        return _raw.__get__(self)

    @property
    def is_symbolic(self) -> bool:
        """It has a value, which nobody has asked for yet."""
        return False

    @property
    def type(self) -> TensorType:
        """Shape and dtype together."""
        found = _raw.__get__(self)
        return found.type if found.__class__ is Promise else type_of(found)

    @property
    def device(self) -> str:
        """Where it lies, or will lie."""
        found = _raw.__get__(self)
        return found.place if found.__class__ is Promise else device_of(found)

    def alias(self, symbol: Any, record: Any = None) -> Tensor:
        """Another tensor of the same array."""
        promise = _raw.__get__(self)
        made = promise.owner.again(self, symbol, record) if promise.__class__ is Promise else None
        return Tensor(_raw.__get__(self), symbol, record) if made is None else made


# Of `a < b` Python asks a `b` of a subclass first whether it is greater. Messages name what people
# wrote, with the shapes in their order, so it is looked up.
MIRRORED = {"__lt__": "__gt__", "__gt__": "__lt__", "__le__": "__ge__", "__ge__": "__le__"}
SIGNS = {"__lt__": "<", "__gt__": ">", "__le__": "<=", "__ge__": ">="}
_COMPARE, _SHIFT = opmap["COMPARE_OP"], {11: 0, 12: 4}.get(sys.version_info.minor, 5)


def _comparison(name: str) -> Callable[[Any, Any], Any]:
    compare, mirrored = getattr(Tensor, name), getattr(Tensor, MIRRORED[name])

    def method(self: Any, other: Any) -> Any:
        if type(other) is Tensor and _written(sys._getframe(1)) == SIGNS[MIRRORED[name]]:
            return mirrored(other, self)
        return compare(self, other)

    return method


def _written(frame: FrameType) -> str | None:
    """The sign of the comparison that a frame is at; None where it is at something else."""
    code, at = frame.f_code.co_code, frame.f_lasti
    return cmp_op[code[at + 1] >> _SHIFT] if code[at] == _COMPARE else None


for _name in MIRRORED:
    setattr(Postponed, _name, _comparison(_name))
Postponed.__name__ = Postponed.__qualname__ = Tensor.__name__  # in messages
_raw: Any = Postponed.held
_class: Any = object.__dict__["__class__"]


class Postponement:
    """The ops of one recording that were put off. Other threads may ask for what they give.

    Attributes:
        lost: Their device has failed, so that nothing can be computed there.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._over = self.lost = False
        self._precision = scoped.get().precision
        self._begin()

    def _begin(self) -> None:
        self._steps: list[Step] = []
        self._count = 0  # of values
        self._given: list[tuple[int, Array]] = []
        self._numbers: dict[int, int] = {}  # of arrays that are given, by id
        self._tensors: list[weakref.ref[Tensor]] = []

    # ----- ops -----

    def bind(self, op: Op, args: tuple[Any, ...], attrs: dict[str, Any]) -> list[Tensor] | None:
        """Puts an op off: its results; None if it has to be computed now.

        Raises:
            DualflowError: The arguments are wrong.
        """
        for x in args:
            if type(x) is Postponed and not self._owns(x):
                x.raw  # noqa: B018 - another recording computes it, which has a lock of its own
        with self._lock:
            parts = parts_of(args)
            if (found := met(parts)) is None:
                return None
            place, types = found
            kind = kind_of(op, types, attrs)
            if kind is None or not self._passes(kind, args):
                return None
            if not kind.waits:
                parts = parts_of(args)  # some may have been computed for the trial
            if place == "cpu":
                parts = [as_array(x, type_) for x, type_ in zip(parts, kind.types, strict=True)]
            self._steps.append(Step(kind, list(map(self._number, parts)), self._count))
            self._count += len(kind.results)
            numbered = enumerate(kind.results, self._steps[-1].first)
            return [self._tensor(Promise(self, k, type_, place)) for k, type_ in numbered]

    def _passes(self, kind: Kind, args: tuple[Any, ...]) -> bool:
        """Whether an op does not fail; what decides that has to be known now."""
        if kind.trial is None or not kind.trial.asked:
            return kind.trial is not None
        asked = [args[k] for k in kind.trial.asked]
        parts = [self._on_host(x) if is_tensor(x) else value_of(x) for x in asked]
        known = [kind.types[k] for k in kind.trial.asked]
        arrays = [as_array(x, type_) for x, type_ in zip(parts, known, strict=True)]
        return kind.trial.passes(arrays)

    def _on_host(self, x: Tensor) -> Array:
        """The value of a tensor on the processor.

        Indices that a GPU is to compute are computed here once more: there they go on waiting.
        """
        promise = _raw.__get__(x)
        if promise.__class__ is not Promise or promise.place == "cpu":
            return to_device(x.raw, "cpu")
        steps = self._needed({promise.number})
        if not all(map(is_whole, steps)):
            return to_device(x.raw, "cpu")
        used = {k for step in steps for k in step.inputs}
        given = [
            (k, to_device(x, "cpu") if x.__class__ in on_gpu else x)
            for k, x in self._given
            if k in used
        ]
        wanted = [promise.number]
        with using(once=True, trace=None, device="cpu"):
            return run_op_by_op(steps, given, self._count, wanted, evaluated_here)[0]

    def _number(self, x: Any) -> int:
        """The number of an op's argument; Python's numbers stay what they are on a GPU."""
        if x.__class__ is Promise:
            return x.number
        known = self._numbers.get(id(x))
        if known is None:
            known = self._numbers[id(x)] = self._count
            self._count += 1
            self._given.append((known, x))  # alive, so that its id is no other's
        return known

    def _owns(self, x: Tensor) -> bool:
        promise = _raw.__get__(x)
        return promise.__class__ is Promise and promise.owner is self

    def _tensor(self, promise: Promise, symbol: Any = None, record: Any = None) -> Tensor:
        made = new_tensor(Postponed)
        _raw.__set__(made, promise)
        made.symbol, made.record = symbol, record
        self._tensors.append(weakref.ref(made))
        return made

    def again(self, x: Tensor, symbol: Any, record: Any) -> Tensor | None:
        """One more tensor of a value; None if `x` has it by now."""
        with self._lock:
            return self._tensor(_raw.__get__(x), symbol, record) if self._owns(x) else None

    # ----- values -----

    def settle(self) -> None:
        """Computes all that somebody holds; from here on the tensors are as any others."""
        with self._lock:
            self.compute({promise.number for _, promise in self._waiting()})
            self._begin()

    def leave(self, since: int) -> None:
        """Computes what somebody holds, but for tensors that only records hold.

        Whoever asks for one of those later has all of them computed at once.

        Args:
            since: The tick at which the recording began.
        """
        with self._lock:
            alive = [x for ref in self._tensors if (x := ref()) is not None]
            known = held_by_records(alive, since)
            held = zip(alive, references(alive), strict=True)
            asked = [x for x, count in held if count > ALONE + known[id(x)] and is_waiting(x)]
            if asked and not self.lost:
                self.compute({_raw.__get__(x).number for x in asked})
            self._over = True
            self._steps = self._needed({promise.number for _, promise in self._waiting()})
            used = {k for step in self._steps for k in step.inputs}
            self._give([(k, x) for k, x in self._given if k in used])

    def compute(self, wanted: set[int]) -> None:
        """Computes values, and keeps what others need of them."""
        with compiling, self._lock:  # no fork meanwhile: its child would find the lock held
            waiting = self._waiting()
            if self._over:
                wanted = {promise.number for _, promise in waiting}
            needed = self._needed(wanted)
            made = {k for step in needed for k in step.outputs}
            done = {step.first for step in needed}
            self._steps = [step for step in self._steps if step.first not in done]
            used = {k for step in self._steps for k in step.inputs}
            kept = [*(made & (used | {promise.number for _, promise in waiting}))]
            with using(once=True, trace=None), configure(precision=self._precision):
                arrays = run_op_by_op(needed, self._given, self._count, kept)
            found = dict(zip(kept, arrays, strict=True))
            fill(waiting, found)
            self._give([(k, x) for k, x in [*self._given, *found.items()] if k in used])

    def _give(self, given: list[tuple[int, Array]]) -> None:
        """Sets what the ops that wait are given."""
        self._given = given
        self._numbers = {id(array): k for k, array in given}
        self._tensors = [ref for ref in self._tensors if is_waiting(ref())]

    def fill(self, arrays: Mapping[Value, Array]) -> None:
        """Takes what a graph has computed.

        Args:
            arrays: By the values of the recording's graph.
        """
        with self._lock:
            waiting = self._waiting()
            found = {
                promise.number: arrays[x.symbol.value]
                for x, promise in waiting
                if x.symbol is not None and x.symbol.value in arrays
            }
            fill(waiting, found)

    def waits(self) -> bool:
        """Whether somebody holds a tensor that is put off."""
        return any(is_waiting(ref()) for ref in self._tensors)

    def _waiting(self) -> list[tuple[Tensor, Promise]]:
        alive = [x for ref in self._tensors if (x := ref()) is not None]
        found = zip(alive, map(_raw.__get__, alive), strict=True)
        return [(x, promise) for x, promise in found if promise.__class__ is Promise]

    def _needed(self, wanted: set[int]) -> list[Step]:
        """The steps behind some values."""
        needed, found = {*wanted}, []
        for step in reversed(self._steps):
            several = len(step.kind.results) > 1
            if step.first in needed or (several and not needed.isdisjoint(step.outputs)):
                needed.update(step.inputs)
                found.append(step)
        return found[::-1]


def fill(waiting: list[tuple[Tensor, Promise]], arrays: Mapping[int, Array]) -> None:
    """Gives tensors their arrays, by the numbers of these; they are as any others then."""
    for x, promise in waiting:
        if promise.number in arrays:
            _raw.__set__(x, arrays[promise.number])
            _class.__set__(x, Tensor)


def held_by_records(tensors: list[Tensor], since: int) -> Counter[int]:
    """How often records refer to tensors, by the ids of these.

    Args:
        tensors: The records behind these are asked.
        since: And those before them, up to this tick.
    """
    found, seen, stack = Counter[int](), set[int](), [x.record for x in tensors]
    while stack:
        record = stack.pop()
        record = getattr(record, "bundle", record)
        if record is None or record.tick < since or id(record) in seen:
            continue
        seen.add(id(record))
        inputs = [x for x in getattr(record, "inputs", None) or () if is_tensor(x)]
        found.update(map(id, inputs))
        stack += [x.record for x in inputs]
    return found


def references(tensors: list[Tensor]) -> list[int]:
    """What CPython counts for each tensor of a list, which is one of those who refer to it."""
    return [getrefcount(x) for x in tensors]


(ALONE,) = references([new_tensor(Tensor)])


def is_tensor(x: Any) -> bool:
    """Whether it is a tensor, which may wait."""
    return x.__class__ is Tensor


def is_waiting(x: Tensor | None) -> bool:
    """Whether it is a tensor that waits."""
    return x is not None and _raw.__get__(x).__class__ is Promise


def is_whole(step: Step) -> bool:
    """Whether all numbers of an op are whole, or truths: who computes it gives the same."""
    kind = step.kind
    return all(type_.dtype.kind in "iub" for type_ in (*kind.types, *kind.results))


def evaluated_here(op: Op, arrays: list[Any], attrs: dict[str, Any]) -> tuple[Array, ...]:
    """What NumPy gives for an op."""
    return tuple(map(np.asarray, evaluated(op, arrays, attrs, np)))


def parts_of(args: tuple[Any, ...]) -> list[Any]:
    """The arrays of tensors, or what stands in their place, and numbers."""
    return [_raw.__get__(x) if is_tensor(x) else value_of(x) for x in args]


def as_array(x: Any, type_: TensorType) -> Array:
    """An op's argument as an array of the processor's, or the promise of one."""
    return x if x.__class__ in (np.ndarray, Promise) else number(x, type_.dtype, x or repr(x))


def met(parts: list[Any]) -> tuple[str, list[TensorType]] | None:
    """Where an op of these arguments computes, and their types; None if it is not to wait.

    That is a device whose graphs are compiled as a whole: the processor, or a GPU.
    """
    types: list[TensorType | None] = []
    place = last = None
    for x in parts:
        kind, here = x.__class__, None
        if kind is Promise:
            here, last = x.place, x.type
        elif kind is np.ndarray:
            here, last = "cpu", type_of(x)
        elif kind in on_gpu:
            here, last = device_of(x), type_of(x)
        elif hasattr(x, "dtype") or x is None:
            return None
        if here is not None and place not in (None, here):
            return None  # they lie apart
        place = here or place
        types.append(None if here is None else last)
    if place is None or last is None or scoped.get().target != "cpu":
        return None
    return place, [scalar_type(last.dtype) if type_ is None else type_ for type_ in types]


class Postponing(Placed):
    """What is mixed into a recording.

    Attributes:
        graph: What is recorded.
        given: What the graph's inputs are in this call.
        stand_ins: The tensors that stand for others.
        cuts: Where gradients ended that a tape follows, each with its line.
    """

    graph: Graph

    def __init__(self) -> None:
        super().__init__()
        self.given: dict[Value, Tensor] = {}
        self.stand_ins = StandIns()
        self.made = self.stand_ins.made
        self.cuts: dict[str, str | None] = {}
        self._postponement: Postponement | None = None

    def postpone(self) -> None:
        """From now on ops wait, if they can, until somebody asks for their values."""
        self._postponement = Postponement()

    def entered(self, code: CodeType) -> None:
        """Code that asks for types must find those that tensors have in Python."""
        if self._postponement is not None and names_of(code).types:
            self.settle()
            self._postponement = None

    def postponed(
        self, op: Op, args: tuple[Any, ...], attrs: dict[str, Any]
    ) -> list[Tensor] | None:
        """The results of an op that waits; None if it does not."""
        if self._postponement is None or checks_ops():
            return None
        return self._postponement.bind(op, args, attrs)

    def settle(self) -> None:
        """Computes what somebody holds."""
        if self._postponement is not None:
            self._postponement.settle()

    def leave(self, since: int) -> None:
        """Computes what somebody holds who is no record, see `Postponement.leave`."""
        if self._postponement is not None:
            self._postponement.leave(since)

    def fill(self, executable: Executable, donated: Sequence[tuple[int, int]]) -> None:
        """Has the compiled graph compute what waits.

        Args:
            executable: Of the graph, with the outputs that it has now.
            donated: What later calls will offer. This one does not: who still has the state of
                before is not known yet. But it runs in the memory that they run in.
        """
        if self._postponement is not None and self._postponement.waits():
            inputs = [self.as_given(x, self.given[x].raw) for x in self.graph.inputs]
            held = [*inputs]  # so that nothing is written over
            try:
                made = executable.run(inputs, donated)
            except LaunchError:
                self._postponement.lost = True
                raise
            del held
            self._postponement.fill(dict(zip(self.graph.outputs, made, strict=True)))
