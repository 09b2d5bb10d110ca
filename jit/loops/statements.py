"""Formulas (`jit.loops.math`) as statements of a kernel: `Statements`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jit.loops.ir import Buffer, Lit, Operand, VType, index
from jit.loops.math.notation import Notation, State, Value
from jit.loops.writer import Writer

DType = np.dtype[Any]


class Statements(Notation):
    """Formulas as statements of a kernel.

    Attributes:
        writer: Where they go.
    """

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self.buffers = 0

    def value(self, x: Operand) -> Value:
        """An operand of the kernel as a value."""
        return Value(self, x, x.type.dtype)

    def instruction(self, op: str, args: Sequence[Value], dtype: DType | None) -> Value:
        """Writes `op`."""
        return self.value(self.writer.let(op, *(x.x for x in args), dtype=dtype))

    def number(self, value: float, like: Value) -> Value:
        """A literal, rounded to the dtype."""
        dtype = like.dtype
        return self.value(Lit(dtype.type(value).item(), VType(dtype, like.x.type.lanes)))

    def known(self, x: Value) -> float | None:
        """The number that `x` is for certain."""
        return x.x.value if isinstance(x.x, Lit) else None

    def rarely(
        self, where: Value, usual: State, inputs: State, unusual: Callable[..., State]
    ) -> State:
        """An `if` around what is rarely needed, which goes lane by lane: that is less code."""
        places = self.keep(usual)
        lanes = where.x.type.lanes
        with self.writer.when(self.any(where)):
            if lanes == 1:
                self.put(places, unusual(*inputs))
            else:
                self.put(places, self._by_lane(where, usual, inputs, unusual))
        return self.get(places, usual)

    def _by_lane(
        self, where: Value, usual: State, inputs: State, unusual: Callable[..., State]
    ) -> State:
        sources = self.keep((where, *inputs), "stack")
        results = self.keep(usual, "stack")
        with self.writer.loop(index(0), index(where.x.type.lanes)) as lane:
            condition, *values = (self.value(self.writer.load(x, lane)) for x in sources)
            with self.writer.when(condition.x):
                for place, value in zip(results, unusual(*values), strict=True):
                    self.writer.store(place, lane, value.x)
        return self.get(results, usual)

    def repeat(self, count: int, state: State, step: Callable[..., State]) -> State:
        """A loop."""
        places = self.keep(state)
        with self.writer.loop(index(0), index(count)):
            self.put(places, step(*self.get(places, state)))
        return self.get(places, state)

    def any(self, truth: Value) -> Operand:
        """Whether a lane is true: halves are joined, which the machine does by one test."""
        x: Operand = truth.x
        lanes = width = x.type.lanes
        while width > 1:
            half = (width + 1) // 2
            order = [i + half if i + half < width else i for i in range(lanes)]
            upper = self.writer.let("shuffle", x, x, immediates=order)
            x, width = self.writer.let("logical_or", x, upper), half
        return x if lanes == 1 else self.writer.let("extract", x, immediates=(0,))

    def keep(self, state: State, scope: str = "register") -> list[Buffer]:
        """Puts values into new places."""
        places = []
        for value in state:
            lanes = value.x.type.lanes
            places.append(self.writer.alloc(f"state{self.buffers}", value.dtype, lanes, scope))
            self.buffers += 1
        self.put(places, state)
        return places

    def put(self, places: Sequence[Buffer], state: Sequence[Value]) -> None:
        """Puts values into places."""
        for place, value in zip(places, state, strict=True):
            self.writer.store(place, index(0), value.x)

    def get(self, places: Sequence[Buffer], like: State) -> State:
        """What is in places."""
        lanes = [x.x.type.lanes for x in like]
        return tuple(self.value(self.writer.load(p, index(0), n)) for p, n in zip(places, lanes))
