"""The schedules of a GPU: which thread does what of a naive kernel."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from jit.dims import Extent
from jit.errors import ScheduleError
from jit.loops.affine import Forms
from jit.loops.early_loads import early_loads
from jit.loops.elements import Elements
from jit.loops.heuristics import is_function, loops, trips
from jit.loops.ir import (
    INDEX,
    LANE,
    STREAM,
    TEAM,
    TILE,
    TOGETHER,
    TRUTH,
    VECTOR,
    WARP,
    Alloc,
    For,
    If,
    Kernel,
    Let,
    Load,
    Operand,
    Store,
    Var,
    index,
    walk,
)
from jit.loops.ordinary import is_division
from jit.loops.rewrite import Rewrite
from jit.loops.schedule import hoist, simplify, split, unrolled, written_out
from jit.loops.schedule_vectorize import vectorize, vectorize_each
from jit.loops.spread import spread
from jit.target import Target, generation

BLOCK = 128  # threads that are launched together, where items ask for fewer
AHEAD = (32, 20, 16, 12, 8, 6, 4, 3, 2)  # turns at once
TWICE = 12  # of loops that are written in two ways
UNKNOWN = (16, 8, 4, 2)  # of loops whose number of turns is not known
FUNCTION, MOST = 20, 384  # statements that an elementary function counts for; of all turns at once
SHARED = 48 << 10  # bytes of a block that need not be asked for
LARGE = {  # and those that may be, by generation
    **dict.fromkeys((80, 87), 163 << 10),
    **dict.fromkeys((86, 89, 120, 121), 99 << 10),
    **dict.fromkeys((90, 100, 103, 110), 227 << 10),
}
FEW, LONG = 264, 512  # items that leave a GPU idle; turns of a loop that several warps share out
MOST_THREADS, EACH = 512, 8  # of an item, at most; turns of each
TURNS = 4  # of each of a team that computes together
WARPS = 16  # that share out the blocks of a row
SHORT = 32  # turns of loops over registers that are written out


def scheduled(kernel: Kernel, target: Target, block: int = BLOCK) -> Kernel:
    """`kernel` shared out among threads.

    A thread takes an item; where lanes go along a row, a warp does. `block` threads are launched
    together, if items ask for one or a warp and share little memory.
    """
    kernel = simplify(kernel)
    if kernel.threads > 1:
        return tidied(kernel)
    kernel = vectorize_each(kernel, {s.var.hint: turns(s) for s in loops(kernel, VECTOR)}, "none")
    every = loops(kernel, "")
    lanes = [s for s in every if s.var.hint.startswith(LANE)]
    if len(every) == 1 and lanes:  # of as many elements as a thread takes
        return tidied(packed(in_vectors(kernel, lanes[0], target), block))
    if max(map(turns, lanes), default=0) >= WARP:
        with suppress(ScheduleError):
            warps = with_registers(simplify(spread(kernel, team(kernel, lanes))))
            most = SHARED if warps.threads == WARP else most_shared(target)
            kernel = warps if shared_bytes(warps) <= most else kernel
    kernel = unrolled(hoist(kernel), ahead)
    count = min(block // kernel.threads, SHARED // max(1, shared_bytes(kernel)))
    alone = kernel.threads > WARP  # a team waits for a whole block
    return early_loads(tidied(packed(kernel, 1 if alone else 1 << count.bit_length() - 1)))


def team(kernel: Kernel, lanes: Sequence[For]) -> int:
    """How many threads an item has: where there are few items with long loops, some warps."""
    if every := [turns(s) for s in lanes if s.var.hint.startswith(TOGETHER)]:
        return min(MOST_THREADS, WARP * -(-max(every) // (WARP * TURNS)))
    few, longest = isinstance(kernel.grid, int) and kernel.grid <= FEW, max(map(turns, lanes))
    each = min(MOST_THREADS, 1 << (longest // EACH).bit_length() - 1) if longest >= LONG else WARP
    if blocks := [turns(s) for s in loops(kernel, TEAM)]:
        folding = 2 * WARP * even(max(blocks), WARPS)  # half of them compute only what is folded
        return max(folding, each) if few else folding
    return each if few else WARP


def even(work: int, most: int) -> int:
    """How many share out some work, all of them about as much."""
    return -(-work // -(-work // most))


def most_shared(target: Target) -> int:
    """Bytes that the threads of a block may share, if they ask for them."""
    return LARGE.get(generation(target.cpu), SHARED)


def with_registers(kernel: Kernel) -> Kernel:
    """Loops over several elements in registers written out: machines cannot count registers."""

    def counts(loop: For) -> bool:
        inner = [s.buffer for s in walk(loop.body) if isinstance(s, Load | Store)]
        return any(b.scope == "register" and b.size > 1 for b in inner)

    return written_out(kernel, *{s.var.hint for s in loops(kernel, "") if counts(s)})


def shared_bytes(kernel: Kernel) -> int:
    """How much memory the threads of an item share."""
    rooms = [s.buffer for s in kernel.statements() if isinstance(s, Alloc)]
    return sum(room.size * room.dtype.itemsize for room in rooms if room.scope == "shared")


def tidied(kernel: Kernel) -> Kernel:
    """Short loops written out, and what does not change in loops before them."""
    forms = Forms(kernel)
    short = {s.var.hint for s in loops(kernel, "") if is_short(s) or forms.trip(s) == 1}
    return hoist(written_out(kernel, *short))


def ahead(loop: For, trip: int | None) -> int:
    """How many turns of an innermost loop run at once, so that loads do not wait for each other."""
    body = [*walk(loop.body)]
    reads = any(isinstance(s, Load) and s.buffer.scope in ("param", "shared") for s in body)
    if not reads or any(isinstance(s, For) for s in body):
        return 1
    size = sum(FUNCTION if isinstance(s, Let) and is_function(s) else 1 for s in body)
    if trip is None:
        return next((n for n in UNKNOWN if n * size <= MOST), 1)
    most = TWICE if any(isinstance(s, Let) and is_division(s) for s in body) else trip
    return next((n for n in AHEAD if trip % n == 0 and n <= most and n * size <= MOST), 1)


def turns(loop: For) -> int:
    """How many turns a loop has; a warp's, if that is not known."""
    found = trips(loop)
    return WARP if found is None else found


def in_vectors(kernel: Kernel, loop: For, target: Target) -> Kernel:
    """The turns of a thread's only loop as one vector; those at the end one by one."""
    most = target.lanes(2)
    lanes = most if Forms(kernel).trip(loop) == most else target.lanes(4)
    name = loop.var.hint
    whole = f"{name}_i"
    kernel = split(kernel, name, lanes, "peel")
    return vectorize(kernel, whole, lanes, "none") if whole in hints(kernel) else kernel


def hints(kernel: Kernel) -> set[str]:
    """What the loops of a kernel are called."""
    return {s.var.hint for s in loops(kernel, "")}


def is_short(loop: For) -> bool:
    """Whether a loop is written out: what it reads and writes stays in registers then."""
    count = trips(loop)
    if loop.var.hint.startswith((TILE, STREAM)):
        return loop.var.hint.startswith(TILE)
    inner = [s for s in loop.body if isinstance(s, Load | Store)]
    return count is not None and count <= SHORT and any(s.buffer.scope == "register" for s in inner)


def packed(kernel: Kernel, count: int) -> Kernel:
    """Several items side by side become one, whose threads are those of all of them.

        kernel k(...) grid n as item {          kernel k(...) grid (n + 127)//128 as item
          store Y[item] = 0               ->      threads 128 as thread {
        }                                         i = add(multiply(item, 128), thread)
                                                  if less(i, n) { store Y[i] = 0 }
                                                }

    Args:
        kernel: Its items have a thread each, or a warp.
        count: How many become one.
    """
    rewrite = _Pack(kernel, count)
    item, thread = Var(INDEX, kernel.item.hint), Var(INDEX, "thread")
    rewrite.number, own = thread, index(0)
    if kernel.thread is not None:
        own = rewrite.index("rest", thread, kernel.threads)
        rewrite.number = rewrite.index("quotient", thread, kernel.threads)
        rewrite.env[kernel.thread] = own
    at = rewrite.index("add", rewrite.index("multiply", item, count), rewrite.number)
    rewrite.env[kernel.item] = at
    if isinstance(kernel.grid, int) and kernel.grid % count == 0:
        rewrite.copy(kernel.body)
    else:
        inside = rewrite.value("less", (at, extent(rewrite, kernel.grid)), TRUTH)
        rewrite.body.append(If(inside, rewrite.block(kernel.body)))
    grid, threads = -(-kernel.grid // count), kernel.threads * count
    body = tuple(rewrite.body)
    return replace(
        kernel, grid=grid, item=item, body=body, threads=threads, thread=thread, items=count
    )


class _Pack(Rewrite):
    """Items side by side: each has a part of what was one item's shared memory.

    Attributes:
        number: Of the item among them.
    """

    number: Operand

    def __init__(self, kernel: Kernel, count: int) -> None:
        super().__init__(kernel)
        self.count = count

    def alloc(self, s: Alloc) -> None:
        """Memory of threads, or a part for each item."""
        shared = s.buffer.scope == "shared"
        self.allocate(s.buffer, s.buffer.size * (self.count if shared else 1))

    def load(self, s: Load) -> None:
        """A load from the item's part."""
        super().load(replace(s, index=self._place(s)))

    def store(self, s: Store) -> None:
        """A store to the item's part."""
        super().store(replace(s, index=self._place(s)))

    def _place(self, s: Load | Store) -> Operand:
        if s.buffer.scope != "shared":
            return s.index
        start = self.index("multiply", self.number, s.buffer.size)
        return self.index("add", start, self.operand(s.index))


def extent(rewrite: Rewrite, x: Extent) -> Operand:
    """Writes the value of an expression of a kernel's sizes."""
    nowhere: Any = None
    w = Elements(nowhere, nowhere)
    w.sizes.update({size.hint: size for size in rewrite.kernel.sizes})
    value = w.at(x)
    rewrite.copy(w.body)
    return rewrite.operand(value)
