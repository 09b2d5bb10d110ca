"""The meaning of kernels, in NumPy: slow, and strict about what code generation leaves undefined.

Every value is an array of its lanes. What machine code would do silently is refused: an access
outside of a buffer, reading what was never written, two lanes that store to one element.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

import numpy as np

from jit.dims import evaluate
from jit.errors import KernelError
from jit.loops.ir import (
    Alloc,
    Buffer,
    Check,
    Choose,
    For,
    If,
    Kernel,
    Let,
    Lit,
    Load,
    Operand,
    Prefetch,
    Statement,
    Store,
    VType,
)
from jit.loops.text import format_statement
from jit.loops.values import apply
from jit.types import int64

Array = np.ndarray[Any, Any]


def interpret(
    kernel: Kernel,
    arrays: Sequence[Array],
    sizes: Sequence[int] = (),
    items: Iterable[int] | None = None,
) -> bool:
    """Runs `kernel` on flat arrays, in place.

    Args:
        kernel: What to run.
        arrays: One for each buffer.
        sizes: One for each size.
        items: Which items to run, and in which order; the whole grid by default.

    Returns:
        Whether all checks held.

    Raises:
        KernelError: The kernel does what machine code may not do.
    """
    if items is None:
        items = range(evaluate(kernel.grid, {n.hint: v for n, v in zip(kernel.sizes, sizes)}))
    run = runner(kernel)(kernel, arrays, sizes)
    with np.errstate(all="ignore"):
        for item in items:
            run.item(item)
    return run.holds


def runner(kernel: Kernel) -> type[Run]:
    """What runs a kernel."""
    if kernel.threads == 1:
        return Run
    from jit.loops.interpret_threads import ThreadsRun  # which builds on what stands below

    return ThreadsRun


class Run:
    """The values and the memory of a kernel while it runs.

    Attributes:
        holds: Whether all checks have held so far.
        in_turn: Loops, and whether their rounds have to be taken one after the other.
    """

    def __init__(self, kernel: Kernel, arrays: Sequence[Array], sizes: Sequence[int]) -> None:
        self.kernel = kernel
        self.holds = True
        self.values = {n: np.array([v], int64) for n, v in zip(kernel.sizes, sizes, strict=True)}
        self.memory = dict(zip(kernel.buffers, arrays, strict=True))
        self.written: dict[Buffer, Array] = {}
        self.chosen: dict[Buffer, Buffer] = {}
        self.literals: dict[int, Array] = {}  # by identity: 0.0 and -0.0 are equal
        self.in_turn: dict[For, bool] = {}
        self.rules: dict[type, Callable[..., None]] = {
            Let: self._let,
            Load: self._load,
            Store: self._store,
            For: self._for,
            If: self._if,
            Alloc: self.alloc,
            Choose: self.choose,
            Check: self._check,
            Prefetch: lambda _: None,
        }

    def item(self, item: int) -> None:
        """Runs the body for one item."""
        self.values[self.kernel.item] = np.array([item], int64)
        self._body(self.kernel.body)

    def _body(self, body: tuple[Statement, ...]) -> None:
        for statement in body:
            self.statement(statement)

    def statement(self, statement: Statement) -> None:
        """Runs a statement."""
        try:
            self.rules[type(statement)](statement)
        except Refused as why:
            self.refuse(statement, str(why))

    def refuse(self, statement: Statement, why: str) -> NoReturn:
        """Says what is wrong with a statement."""
        text = format_statement(self.kernel, statement)
        raise KernelError(f"kernel {self.kernel.name}: `{text}` {why}") from None

    def value(self, x: Operand) -> Array:
        """An operand's lanes."""
        if isinstance(x, Lit):
            known = self.literals.get(id(x))
            if known is None:
                known = self.literals[id(x)] = np.full(x.type.lanes, x.value, x.type.dtype)
            return known
        return self.values[x]

    def number_of(self, x: Operand) -> int:
        """A scalar operand."""
        return int(self.value(x)[0])

    def _lanes(self, x: Operand | None, type: VType, default: object) -> Array:
        """An operand that may be missing."""
        return np.full(type.lanes, default, type.dtype) if x is None else self.value(x)

    # ----- statements -----

    def _let(self, let: Let) -> None:
        args = [self.value(x) for x in let.args]
        type_ = let.var.type
        if let.op in MOVES:
            result = MOVES[let.op](args, type_.lanes, let.immediates)
        else:
            if let.op in DEMANDS:
                DEMANDS[let.op](*args)
            result = apply(let.op, args, type_, let.immediates)
        assert (result.dtype, result.shape[-1]) == (type_.dtype, type_.lanes), let.op
        self.values[let.var] = result

    def _load(self, load: Load) -> None:
        type_ = load.var.type
        at, mask = self.place(load, type_)
        at = at[mask]
        written = self.written.get(load.buffer)
        if written is not None and not written[at].all():
            raise Refused("reads an element that was never written")
        result = self._lanes(load.other, type_, 0).copy()
        result[mask] = self.memory[load.buffer][at]
        self.values[load.var] = result

    def _store(self, store: Store) -> None:
        at, mask = self.place(store, store.value.type)
        at = at[mask]
        if len(set(at.tolist())) < len(at):
            raise Refused("stores several lanes to one element")
        self.memory[store.buffer][at] = self.value(store.value)[mask]
        if store.buffer in self.written:
            self.written[store.buffer][at] = True

    def place(self, access: Load | Store, type_: VType) -> tuple[Array, Array]:
        """The index and the mask of each lane; those of the mask are inside of the buffer."""
        at = self.value(access.index)
        if len(at) == 1:
            at = at + np.arange(type_.lanes)
        mask = self._lanes(access.mask, VType(np.dtype(bool), type_.lanes), default=True)
        size = len(self.memory[access.buffer])
        outside = mask & ((at < 0) | (at >= size))
        if outside.any():
            raise Refused(f"reaches element {at[outside][0]} of {size}")
        return at, mask

    def _for(self, loop: For) -> None:
        from jit.loops.interpret_rounds import taken_at_once  # which builds on this module

        rounds = range(self.number_of(loop.start), self.number_of(loop.stop), loop.step)
        for k in rounds[taken_at_once(self, loop, rounds) :]:
            self.values[loop.var] = np.array([k], int64)
            self._body(loop.body)

    def _if(self, when: If) -> None:
        if self.value(when.condition)[0]:
            self._body(when.body)

    def alloc(self, alloc: Alloc) -> None:
        """Makes room."""
        buffer = alloc.buffer
        self.memory[buffer] = np.zeros(buffer.size, buffer.dtype)
        self.written[buffer] = np.zeros(buffer.size, bool)

    def choose(self, s: Choose) -> None:
        """Gives a parameter a name."""
        number = self.number_of(s.index)
        if not 0 <= number < len(s.among):
            raise Refused(f"chooses number {number} of {len(s.among)}")
        self.chosen[s.buffer] = s.among[number]
        self.memory[s.buffer] = self.memory[s.among[number]]

    def owner(self, buffer: Buffer) -> Buffer:
        """The buffer itself, or the parameter that it is a name of."""
        return self.chosen.get(buffer, buffer)

    def _check(self, check: Check) -> None:
        holds = self.value(check.condition)
        mask = self._lanes(check.mask, check.condition.type, default=True)
        self.holds &= bool((holds | ~mask).all())


class Refused(Exception):  # noqa: N818 - becomes a KernelError where the statement is known
    """What is wrong with a statement."""


# ----- instructions that move lanes, which are the last axis -----

MOVES: dict[str, Callable[[list[Array], int, tuple[int, ...]], Array]] = {
    "splat": lambda args, lanes, immediates: np.repeat(args[0], lanes, axis=-1),
    "iota": lambda args, lanes, immediates: np.arange(lanes, dtype=int64),
    "extract": lambda args, lanes, immediates: args[0][..., list(immediates)],
    "shuffle": lambda args, lanes, immediates: np.concatenate(np.broadcast_arrays(*args), axis=-1)[
        ..., list(immediates)
    ],
}


# ----- what instructions demand of their operands -----


def _demand_divisor(a: Array, b: Array) -> None:
    if (b == 0).any():
        raise Refused("divides by 0")
    if b.dtype.kind == "i" and ((b == -1) & (a == np.iinfo(a.dtype).min)).any():
        raise Refused("divides the least integer by -1")


def _demand_count(a: Array, b: Array) -> None:
    if ((b < 0) | (b >= 8 * b.dtype.itemsize)).any():
        raise Refused("shifts by a count that is not within the width")


DEMANDS: dict[str, Callable[[Array, Array], None]] = {
    "quotient": _demand_divisor,
    "rest": _demand_divisor,
    "shift_left": _demand_count,
    "shift_right": _demand_count,
}
