"""The schedules of a GPU: which thread does what of a naive kernel."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from jit.dims import Extent
from jit.loops.elements import Elements
from jit.loops.heuristics import loops, trips
from jit.loops.ir import INDEX, LANE, TILE, TRUTH, For, If, Kernel, Load, Operand, Store, Var
from jit.loops.rewrite import Rewrite
from jit.loops.schedule import hoist, simplify, split, written_out
from jit.loops.schedule_vectorize import vectorize
from jit.target import Target

BLOCK = 128  # threads that are launched together, where items ask for fewer
SHORT = 32  # turns of loops over registers that are written out


def scheduled(kernel: Kernel, target: Target) -> Kernel:
    """`kernel` shared out among threads: an item each, with vectors where it is one of them."""
    kernel = simplify(kernel)
    (first, *others) = loops(kernel, "") or (None,)
    if first is not None and not others and first.var.hint.startswith(LANE):
        kernel = in_vectors(kernel, first, target)
    short = {s.var.hint for s in loops(kernel, "") if is_short(s)}
    return hoist(written_out(packed(kernel, BLOCK), *short))


def in_vectors(kernel: Kernel, loop: For, target: Target) -> Kernel:
    """The turns of a thread's only loop as one vector; those at the end one by one."""
    lanes = target.lanes(4)
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
    if loop.var.hint.startswith(TILE):
        return True
    inner = [s for s in loop.body if isinstance(s, Load | Store)]
    return count is not None and count <= SHORT and any(s.buffer.scope == "register" for s in inner)


def packed(kernel: Kernel, count: int) -> Kernel:
    """Several items side by side become one, whose threads they are.

        kernel k(...) grid n as item {          kernel k(...) grid (n + 127)//128 as item
          store Y[item] = 0               ->      threads 128 as thread {
        }                                         i = add(multiply(item, 128), thread)
                                                  if less(i, n) { store Y[i] = 0 }
                                                }

    Args:
        kernel: Its items have a thread each.
        count: How many become one.
    """
    rewrite = Rewrite(kernel)
    item, thread = Var(INDEX, kernel.item.hint), Var(INDEX, "thread")
    at = rewrite.index("add", rewrite.index("multiply", item, count), thread)
    rewrite.env[kernel.item] = at
    if isinstance(kernel.grid, int) and kernel.grid % count == 0:
        rewrite.copy(kernel.body)
    else:
        inside = rewrite.value("less", (at, extent(rewrite, kernel.grid)), TRUTH)
        rewrite.body.append(If(inside, rewrite.block(kernel.body)))
    grid = -(-kernel.grid // count)
    body = tuple(rewrite.body)
    threads = {"threads": count, "thread": thread, "items": count}
    return replace(kernel, grid=grid, item=item, body=body, **threads)


def extent(rewrite: Rewrite, x: Extent) -> Operand:
    """Writes the value of an expression of a kernel's sizes."""
    nowhere: Any = None
    w = Elements(nowhere, nowhere)
    w.sizes.update({size.hint: size for size in rewrite.kernel.sizes})
    value = w.at(x)
    rewrite.copy(w.body)
    return rewrite.operand(value)
