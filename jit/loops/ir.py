"""Kernel: the loops of one launch, as data.

A kernel runs once for each *item* of its grid; items are independent, so threads share them out.
On a GPU several threads may run an item together: each runs the whole body, with a number of its
own; memory of scope `shared` is one for all of them, other local memory one for each.

Values are assigned once (`Var`); memory is in buffers, which are flat: an index counts elements.
What a loop accumulates lives in a small buffer of scope `register`, which code generation keeps in
machine registers. The text of a kernel (`str(kernel)`) is this grammar, where `x*` is a list:

    kernel    = "kernel" NAME "(" param* ")" "grid" extent "as" VAR threads? "{" statement... "}"
    threads   = "threads" INT "as" VAR
    param     = NAME ":" DTYPE "[]" ("in" | "out" | "inout") | NAME ":" "size"
    statement = VAR ":" type "=" OP "(" operand* ")" immediates?      values, one line each
              | VAR ":" type "=" "load" place                         lanes in a row, or at indices
              | "store" place "=" operand "nontemporal"?              past the caches
              | "for" VAR "in" operand ".." operand "step" INT "{" statement... "}"
              | "if" operand "{" statement... "}"
              | "alloc" NAME ":" DTYPE "[" INT "]" scope
              | "choose" NAME ":" DTYPE "[]" "=" NAME* "at" operand     one of these parameters
              | "check" operand ("where" operand)?                    false: the launch has failed
              | "prefetch" place                                      soon it will be loaded
              | "sync" INT                                            threads wait for each other
              | VAR ":" type "=" "exchange" "(" operand "," operand ")"
              | VAR ":" type "=" "mma" "(" operand "," operand "," operand ")"
    place     = NAME "[" operand "]" ("where" operand ("else" operand)?)?
    type      = DTYPE ("x" INT)?                                      lanes of a vector
    operand   = VAR | NUMBER (":" type)?                              type: if nothing else tells it
    scope     = "register" | "stack" | "shared"

`OP` is a scalar instruction (`jit.forms.scalar`) applied to each lane, or one of `EXTRAS`. All
operands of an instruction have as many lanes; `splat` widens a scalar. Indices and sizes are int64.
A load whose index is a scalar reads its lanes in a row; a vector of indices gathers (and scatters).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from jit.dataclass import dataclass
from jit.dims import Extent
from jit.types import bool_, int64

DType = np.dtype[Any]

# Instructions beside the scalar ones: name -> what they do.
EXTRAS = {
    "fma": "a * b + c of floats, rounded once",
    "pairs": "c + a product, rounded, + a product, rounded: of the upper bfloat16 of words, then "
    "of the lower ones; in float32, where what is subnormal counts as 0",
    "tf32": "a float32 rounded to 10 bits behind the first one, ties away from 0",
    "larger": "the larger of two floats, or the one that is a number; of two zeros either",
    "near_exp2": "2**x of a float32, but for 2**-22 of it; 1 for 0, 0 for what is below 2**-126",
    "inverse": "1 / x, rounded, of a float with 2**-126 <= |x| < 2**126, or NaN",
    "bitcast": "the same bits as another dtype of the same width",
    "quotient": "integer division towards zero; the divisor is not 0, nor -1 for the least integer",
    "rest": "what `quotient` leaves; the sign is the dividend's",
    "shift_left": "bits moved up; the count is within the width",
    "shift_right": "bits moved down, with the sign if signed; the count is within the width",
    "splat": "a scalar in every lane",
    "iota": "int64: 0, 1, 2, ... in the lanes",
    "extract": "lane number `immediates[0]`, a scalar",
    "shuffle": "lanes of two vectors of one type, numbered through, as `immediates` lists them",
}


@dataclass(frozen=True, slots=True)
class VType:
    """The type of a value: a scalar (one lane) or a vector."""

    dtype: DType
    lanes: int = 1

    def __str__(self) -> str:
        return self.dtype.name if self.lanes == 1 else f"{self.dtype.name}x{self.lanes}"

    def of(self, dtype: DType) -> VType:
        """The same lanes of another dtype."""
        return VType(dtype, self.lanes)


INDEX, TRUTH = VType(int64), VType(bool_)
# How the hints of loops begin that schedules spread over lanes, part, write out, turn in registers.
LANE, ROW, TILE, TURN = "lane", "row", "tile", "turned"
UPDATE = "update"  # of loops that do the updates of a scatter one by one
TEAM = "team"  # likewise, of loops whose turns touch nothing that other turns touch, for warps
TOGETHER = f"{LANE}_of_team"  # of lane loops for a team, however many items there are
VECTOR = "vector"  # likewise, of loops whose turns are lanes for one thread
STREAM = "stream"  # likewise, of loops that stay loops, however short they are
WARP = 32  # threads that a GPU runs in step


class Var:
    """A value that is assigned once. Identity is what counts; the printer names it."""

    __slots__ = ("hint", "type")

    def __init__(self, type: VType, hint: str = "") -> None:
        self.type = type
        self.hint = hint

    def __repr__(self) -> str:
        return f"<Var {self.hint or '?'}: {self.type}>"


@dataclass(frozen=True, slots=True)
class Lit:
    """A number, the same in every lane."""

    value: bool | int | float
    type: VType


Operand: TypeAlias = "Var | Lit"


def index(value: int) -> Lit:
    """An int64 literal."""
    return Lit(int(value), INDEX)


@dataclass(frozen=True, eq=False, slots=True)
class Buffer:
    """Flat memory: a parameter of the kernel, or allocated inside of it.

    Attributes:
        name: As printed; unique in a kernel.
        dtype: Of the elements.
        scope: "param", "register" (every index is constant once loops are unrolled), "stack", or
            "shared" (one for all threads of an item, from its start to its end).
        access: Of a parameter: "in", "out", "inout"; of others "inout". No two parameters overlap
            unless both are "in".
        size: How many elements; of parameters the caller knows.
    """

    name: str
    dtype: DType
    scope: str = "param"
    access: str = "in"
    size: int = 0


@dataclass(frozen=True, eq=False, slots=True)
class Let:
    """var = op(*args)."""

    var: Var
    op: str
    args: tuple[Operand, ...]
    immediates: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False, slots=True)
class Load:
    """var = buffer[index], as many lanes as `var` has; lanes without `mask` get `other` (or 0)."""

    var: Var
    buffer: Buffer
    index: Operand
    mask: Operand | None = None
    other: Operand | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Store:
    """buffer[index] = value in the lanes of `mask`; lanes of one store never meet in an element.

    What is `nontemporal` nobody reads soon: it may go past the caches.
    """

    buffer: Buffer
    index: Operand
    value: Operand
    mask: Operand | None = None
    nontemporal: bool = False


@dataclass(frozen=True, eq=False, slots=True)
class For:
    """`body` for var = start, start + step, ... while var < stop."""

    var: Var
    start: Operand
    stop: Operand
    step: int
    body: tuple[Statement, ...]


@dataclass(frozen=True, eq=False, slots=True)
class If:
    """`body` where the scalar `condition` holds."""

    condition: Operand
    body: tuple[Statement, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Alloc:
    """Room for `buffer` up to the end of the enclosing block; its elements are not set."""

    buffer: Buffer


@dataclass(frozen=True, eq=False, slots=True)
class Choose:
    """`buffer` is number `index` of `among`, up to the end of the enclosing block.

    These are parameters one after the other, of one dtype and access.
    """

    buffer: Buffer
    among: tuple[Buffer, ...]
    index: Operand


@dataclass(frozen=True, eq=False, slots=True)
class Check:
    """If `condition` is false in a lane of `mask`, the launch reports failure; it goes on."""

    condition: Operand
    mask: Operand | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Prefetch:
    """Says that what lies around buffer[index] will be loaded soon; the index may be outside."""

    buffer: Buffer
    index: Operand


@dataclass(frozen=True, eq=False, slots=True)
class Sync:
    """Each `threads` neighbours wait for each other: what one has stored, the others load then."""

    threads: int


@dataclass(frozen=True, eq=False, slots=True)
class Exchange:
    """var = `value` as thread number `thread` has it, of the 32 neighbours (modulo 32).

    All 32 get here together.
    """

    var: Var
    value: Operand
    thread: Operand


@dataclass(frozen=True, eq=False, slots=True)
class Mma:
    """var = c + a b: tensor cores multiply matrices whose elements 32 neighbours hold together.

    A *word* is 4 bytes of the inner indices: an element of float32, of which 10 bits behind the
    first one are read, or two halves. `a` is (16 rows, 8 words), `b` is (8 words, 8 columns), `c`
    and `var` are (16 rows, 8 columns) of float32. Thread 4 g + t of the 32, which get here
    together, holds

        of a     words t, t, t + 4, t + 4 of rows g, g + 8, g, g + 8
        of b     words t, t + 4 of column g
        of c     columns 2 t, 2 t + 1 of row g, then of row g + 8

    The products are exact; in which order they are added the machine decides.
    """

    var: Var
    a: Operand
    b: Operand
    c: Operand


Statement: TypeAlias = (
    "Let | Load | Store | For | If | Alloc | Choose | Check | Prefetch | Sync | Exchange | Mma"
)
BLOCKS = (For, If)  # what has a body
ASSIGNING = (Let, Load, Exchange, Mma)  # what has a `var`


@dataclass(frozen=True, eq=False)
class Kernel:
    """The loops of one launch.

    Attributes:
        name: For people and symbol tables.
        buffers: Parameters, in the order in which the caller passes them.
        sizes: int64 parameters after the buffers; their hints are the names of symbols in `grid`.
        grid: How many items there are.
        item: The number of the item that the body computes.
        body: Statements, run for each item.
        threads: How many threads run an item together.
        thread: The number of a thread, if there are several.
        items: How many items of the naive kernel one is.
        parts: How many kernels it was made of, when these were scheduled; 0: it is one by itself.
    """

    name: str
    buffers: tuple[Buffer, ...]
    sizes: tuple[Var, ...]
    grid: Extent
    item: Var
    body: tuple[Statement, ...] = field(repr=False)
    threads: int = 1
    thread: Var | None = None
    items: int = 1
    parts: int = 0

    def __str__(self) -> str:
        from jit.loops.text import format_kernel  # the printer imports the classes above

        return format_kernel(self)

    @cached_property
    def read(self) -> tuple[int, ...]:
        """The numbers of the buffers that are read."""
        return tuple([k for k, buffer in enumerate(self.buffers) if buffer.access != "out"])

    @cached_property
    def written(self) -> tuple[int, ...]:
        """The numbers of the buffers that are written."""
        return tuple([k for k, buffer in enumerate(self.buffers) if buffer.access != "in"])

    def statements(self) -> Iterator[Statement]:
        """Every statement, outer ones before those inside of them."""
        yield from walk(self.body)


def walk(body: tuple[Statement, ...]) -> Iterator[Statement]:
    """Every statement of a block, outer ones before those inside of them."""
    left = [*reversed(body)]
    while left:
        statement = left.pop()
        yield statement
        if isinstance(statement, BLOCKS):
            left += reversed(statement.body)


def operands(statement: Statement) -> tuple[Operand, ...]:
    """The values that a statement itself reads (not those inside of its body)."""
    match statement:
        case Let(args=args):
            return args
        case Load(index=at, mask=mask, other=other):
            return tuple(x for x in (at, mask, other) if x is not None)
        case Store(index=at, value=value, mask=mask):
            return tuple(x for x in (at, value, mask) if x is not None)
        case For(start=start, stop=stop):
            return start, stop
        case If(condition=condition):
            return (condition,)
        case Check(condition=condition, mask=mask):
            return tuple(x for x in (condition, mask) if x is not None)
        case Prefetch(index=at) | Choose(index=at):
            return (at,)
        case Exchange(value=value, thread=thread):
            return value, thread
        case Mma(a=a, b=b, c=c):
            return a, b, c
        case _:
            return ()
