"""Writer: puts statements one after the other; whoever builds or rewrites a kernel holds one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np

from jit.forms.scalar import result_dtype
from jit.loops.ir import (
    INDEX,
    Alloc,
    Buffer,
    Check,
    For,
    If,
    Let,
    Lit,
    Load,
    Operand,
    Prefetch,
    Statement,
    Store,
    Var,
    VType,
)
from jit.types import bool_, int64

DType = np.dtype[Any]
_result_dtype = lru_cache(maxsize=4096)(result_dtype)
RESULTS = frozenset(
    "fma larger near_exp2 inverse tf32 quotient rest shift_left shift_right".split()
)


class Writer:
    """Statements in the making.

    Attributes:
        body: The block that is written to.
    """

    def __init__(self) -> None:
        self.body: list[Statement] = []

    # ----- values -----

    def let(
        self, op: str, *args: Operand, dtype: DType | None = None, immediates: Sequence[int] = ()
    ) -> Var:
        """`op` of operands with as many lanes.

        Args:
            op: A scalar instruction or one of `EXTRAS`.
            *args: Its operands.
            dtype: Of the result, for `astype` and `bitcast`.
            immediates: For `extract` and `shuffle`.
        """
        var = Var(self.result(op, args, dtype, tuple(immediates)))
        self.body.append(Let(var, op, args, tuple(immediates)))
        return var

    @staticmethod
    def result(
        op: str, args: tuple[Operand, ...], dtype: DType | None, immediates: tuple[int, ...]
    ) -> VType:
        """The type that `op` gives."""
        first = args[0].type
        if op in RESULTS:
            return first
        if op == "pairs":
            return args[-1].type
        if op == "bitcast":
            assert dtype is not None
            return first.of(dtype)
        if op == "extract":
            return VType(first.dtype)
        if op == "shuffle":
            return VType(first.dtype, len(immediates))
        return first.of(_result_dtype(op, tuple(x.type.dtype for x in args), dtype))

    def splat(self, x: Operand, lanes: int) -> Operand:
        """The scalar `x` in every lane."""
        if x.type.lanes == lanes:
            return x
        if isinstance(x, Lit):
            return Lit(x.value, VType(x.type.dtype, lanes))
        var = Var(VType(x.type.dtype, lanes))
        self.body.append(Let(var, "splat", (x,)))
        return var

    def iota(self, lanes: int) -> Var:
        """0, 1, 2, ... in int64 lanes."""
        var = Var(VType(int64, lanes))
        self.body.append(Let(var, "iota", ()))
        return var

    def number(self, value: Any, like: VType) -> Lit:
        """A literal of the type `like`."""
        if like.dtype == bool_:
            return Lit(bool(value), like)
        return Lit(int(value) if like.dtype.kind in "iu" else float(value), like)

    # ----- memory -----

    def load(
        self,
        buffer: Buffer,
        at: Operand,
        lanes: int = 1,
        mask: Operand | None = None,
        other: Operand | None = None,
    ) -> Var:
        """`lanes` elements from `at` on; or at each of a vector of indices."""
        var = Var(VType(buffer.dtype, max(lanes, at.type.lanes)))
        self.body.append(Load(var, buffer, at, mask, other))
        return var

    def store(
        self, buffer: Buffer, at: Operand, value: Operand, mask: Operand | None = None
    ) -> None:
        """Writes the lanes of `value` from `at` on, or at each of a vector of indices."""
        self.body.append(Store(buffer, at, value, mask))

    def alloc(self, name: str, dtype: DType, size: int, scope: str = "register") -> Buffer:
        """A buffer of the current block."""
        buffer = Buffer(name, dtype, scope, "inout", size)
        self.body.append(Alloc(buffer))
        return buffer

    def prefetch(self, buffer: Buffer, at: Operand) -> None:
        """Asks for the memory around an element, which need not be one."""
        self.body.append(Prefetch(buffer, at))

    def check(self, condition: Operand, mask: Operand | None = None) -> None:
        """Demands that `condition` holds."""
        self.body.append(Check(condition, mask))

    # ----- control -----

    @contextmanager
    def loop(self, start: Operand, stop: Operand, step: int = 1, hint: str = "i") -> Iterator[Var]:
        """A `with` block whose statements are the body of a loop."""
        var = Var(INDEX, hint)
        outer, self.body = self.body, []
        yield var
        inner, self.body = self.body, outer
        self.body.append(For(var, start, stop, step, tuple(inner)))

    @contextmanager
    def when(self, condition: Operand) -> Iterator[None]:
        """A `with` block whose statements run where the scalar `condition` holds."""
        outer, self.body = self.body, []
        yield
        inner, self.body = self.body, outer
        self.body.append(If(condition, tuple(inner)))
