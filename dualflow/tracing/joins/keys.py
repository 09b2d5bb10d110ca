"""Keys: when two states of a program are alike, so that it goes on in the same way from both.

Plain values count by value; what existed before the call by identity, since guards look after
what is in it, and `guards.moved` tells what the call has changed; lists, tuples, dicts and simple
objects that the call has made by what they hold. A tensor that was computed counts by its type, and
so does a number that may vary: they are handed over in *slots*, and so are the tapes of the call. A
state with anything else in it is like no other.
"""

from __future__ import annotations

import enum
import functools
import types
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np

from dualflow.autodiff.tape import GradientTape
from dualflow.core.context import Counted
from dualflow.core.number import KINDS, Number
from dualflow.core.tensor import Tensor
from dualflow.core.tree import TreeSpec
from dualflow.core.variable import Variable
from dualflow.tracing.decorated import Decorated
from dualflow.tracing.guards.places import MISSING
from dualflow.tracing.joins.frames import UNSET, Opaque
from dualflow.tracing.joins.iterators import ITERATORS, left_of
from jit.ir.graph import Value

MOST = 500  # things in a state
MOST_BYTES = 1024  # of a tensor that counts by its values
NO_GRADS: Mapping[int, Variable] = {}
PLAIN = (bool, int, float, complex, str, bytes, type(None), range, type(Ellipsis))
LASTING = (
    type,
    types.ModuleType,
    types.BuiltinFunctionType,
    types.CodeType,
    enum.Enum,
    np.dtype,
    np.ufunc,
    Counted,
    Variable,
    Decorated,
)


class State:
    """Collects what one state of a program holds.

    Args:
        value_of: Gives the graph's value for a tensor; what it is of, for one that was read; None
            for a tensor from outside.
        owner: Whose Numbers may vary.
        existed: Tells whether a thing was there before the call.
        flow: What tells tensors apart by how gradients flow back from them.
        grads: The Variables whose `.grad` a Variable is, by its id.

    Attributes:
        tensors: What stands in the slots, by value of the graph.
        numbers: The Numbers in slots, by name.
        tapes: The tapes of the call that may still be used.
        kept: Things that count by identity.
    """

    def __init__(
        self,
        value_of: Callable[[Tensor], Any],
        owner: Any,
        existed: Callable[[Any], bool],
        flow: Callable[[Tensor], Hashable] = lambda x: x.record is not None,
        grads: Mapping[int, Variable] = NO_GRADS,
    ) -> None:
        self._value_of, self._owner, self._existed = value_of, owner, existed
        self._flow, self._grads = flow, grads
        self.tapes: list[GradientTape] = []
        self.tensors: dict[Value, Tensor] = {}
        self.numbers: dict[str, Number] = {}
        self.kept: list[Any] = []
        self._met: dict[int, int] = {}
        self._alive: list[Any] = []  # so that an id stays its own
        self._count = 0

    def part(self, x: Any) -> Hashable:
        """What tells `x` from others.

        Raises:
            Opaque: Nothing does.
        """
        self._count += 1
        if self._count > MOST:
            raise Opaque
        kind = type(x)
        if x.__class__ is Tensor:  # one that is put off says so, too
            return self._tensor(x)
        if kind in KINDS:
            return self._number(x)
        if x is UNSET or x is MISSING:
            return "unset"
        if kind is TreeSpec:
            return "spec", x
        if kind in PLAIN:
            return kind.__name__, repr(x) if kind in (float, complex) else x
        if id(x) in self._met:
            return "again", self._met[id(x)]
        self._met[id(x)] = len(self._met)
        self._alive.append(x)
        if id(x) in self._grads:
            return "grad of", id(self._grads[id(x)])
        if kind is GradientTape and not self._existed(x):
            return "tape", None if x.spent else self.number_of(x)
        if not isinstance(x, LASTING) and not self._existed(x):
            return kind, self._inside(x, kind)
        self.kept.append(x)
        return "is", id(x)

    def _tensor(self, x: Tensor) -> Hashable:
        value = self._value_of(x)
        raw = x.raw if value is None and x.record is None else None
        if raw is not None and raw.nbytes <= MOST_BYTES:
            return "constant", raw.shape, raw.dtype.str, raw.tobytes()
        if not isinstance(value, Value):
            kept = x if value is None else value
            self.kept.append(kept)
            return "is", id(kept)
        if self.tensors.setdefault(value, x).record is not x.record:
            raise Opaque  # one value in two roles
        slot = list(self.tensors).index(value)
        return "slot", slot, str(x.type), self._flow(x)

    def value(self, x: Tensor) -> Hashable:
        """What tells a tensor from others, where its history is nobody's business."""
        value = self._value_of(x)
        if not isinstance(value, Value):
            return self._tensor(x)
        self.tensors.setdefault(value, x.alias(x.symbol))
        return "slot", list(self.tensors).index(value), str(x.type)

    def slot_of(self, x: Tensor) -> int:
        """The slot of a tensor that was computed, or is an argument; it gets one.

        Raises:
            Opaque: It is neither, or in another slot with another history.
        """
        value = self._value_of(x)
        if not isinstance(value, Value) or self.tensors.setdefault(value, x).record is not x.record:
            raise Opaque
        return list(self.tensors).index(value)

    def number_of(self, tape: GradientTape) -> int:
        """The number of a tape; it gets one."""
        if not any(tape is x for x in self.tapes):
            self.tapes.append(tape)
        return next(k for k, x in enumerate(self.tapes) if tape is x)

    def of_tapes(self) -> Hashable:
        """What tells the tapes from others: how they were made, and what they watch."""
        return tuple(map(self._of_tape, self.tapes))

    def _of_tape(self, tape: GradientTape) -> Hashable:
        chosen = () if tape.watch_accessed_variables else tuple(sorted(tape.chosen))
        slots = [k for k, x in enumerate(self.tensors.values()) if tape.watches(x)]
        ways = tape.persistent, tape.watch_accessed_variables, tape.started
        return *ways, chosen, tuple(slots)

    def _number(self, x: Number) -> Hashable:
        if x.number_owner is not self._owner or not self._owner.live:
            return self.part(x.number_value)
        if x.number_dim is not None:
            return "extent", str(x.number_dim)
        self.numbers.setdefault(x.number_name, x)
        return "number", list(self.numbers).index(x.number_name), type(x.number_value).__name__

    def _inside(self, x: Any, kind: type) -> Hashable:
        """What a thing holds that the call has made."""
        if kind in (list, tuple, deque):
            return tuple(map(self.part, x))
        if kind is dict:
            return tuple([(self.part(k), self.part(v)) for k, v in x.items()])
        if kind in (set, frozenset):
            return frozenset(self.part(k) for k in x)
        if kind is slice:
            return tuple(map(self.part, (x.start, x.stop, x.step)))
        if kind in ITERATORS and (left := left_of(x)) is not None:
            return tuple(map(self.part, left))
        if kind is types.MethodType:
            return self.part(x.__self__), self.part(x.__func__)
        if kind is functools.partial:
            return self.part(x.func), self.part(x.args), self.part(x.keywords)
        if kind is types.FunctionType:
            return self._function(x)
        if kind is types.CellType:
            return self._cell(x)
        if has_only_attributes(kind) and hasattr(x, "__dict__"):
            return self.part(vars(x))
        raise Opaque

    def _function(self, x: types.FunctionType) -> Hashable:
        if vars(x):
            raise Opaque
        self.kept.append(x.__code__)
        parts = x.__defaults__, x.__kwdefaults__, x.__closure__
        return id(x.__code__), tuple(map(self.part, parts))

    def _cell(self, x: types.CellType) -> Hashable:
        try:
            return self.part(x.cell_contents)
        except ValueError:
            return "empty"


def has_only_attributes(kind: type) -> bool:
    """Whether all that an object of a class holds is in its `__dict__`."""
    for base in kind.__mro__[:-1]:
        if "__slots__" in vars(base) or not base.__flags__ & HEAP:
            return False
    return True


HEAP = 1 << 9  # Py_TPFLAGS_HEAPTYPE: made by a class statement
