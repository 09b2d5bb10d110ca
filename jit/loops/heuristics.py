"""The default schedule: which rewrites turn a naive kernel into a fast one for a target."""

from __future__ import annotations

import math

from jit.loops.affine import Forms
from jit.loops.direct import is_direct
from jit.loops.fold import DIVISIONS
from jit.loops.ir import (
    INDEX,
    LANE,
    ROW,
    TILE,
    TURN,
    UPDATE,
    For,
    If,
    Kernel,
    Let,
    Lit,
    Load,
    Store,
    walk,
)
from jit.loops.nontemporal import of_whole_lines
from jit.loops.parted import parted
from jit.loops.schedule import written_out
from jit.loops.schedule_turn import turn
from jit.loops.schedule_vectorize import NEAR, vectorize_each
from jit.loops.schedule_zip import zip_rows
from jit.loops.simplify import hoist, simplify
from jit.target import Target
from jit.types import bool_, kind

LITTLE = 128  # statements of a loop whose turns may be written out
SHORT = 4  # turns of a loop that are written out
UPDATES = 16  # of a scatter that are written out: those of a window
NARROW = 8  # elements of a row up to which vectors go across rows


def scheduled(kernel: Kernel, target: Target) -> Kernel:
    """`kernel` with its lanes as vectors, short loops over registers unrolled, and tidied up."""
    if kernel.parts:
        return kernel
    if target.is_gpu:
        from jit.loops import gpu  # which needs what stands below

        return gpu.scheduled(kernel, target)
    kernel = simplify(kernel)
    if blocks := loops(kernel, TURN):
        kernel = turn(kernel, *[s.var.hint for s in blocks])
    most = target.lanes(itemsize(kernel))
    if narrow := [s for s in loops(kernel, ROW) if is_narrow(s, most)]:
        inner = {s.var.hint for row in narrow for s in row.body if isinstance(s, For)}
        kernel = written_out(kernel, *inner)
        kernel = zip_rows(kernel, {s.var.hint: wide(s, most) for s in narrow})
    kernel = parted(kernel, may_be_parted, 2 * most)
    forms = Forms(kernel)
    if apart := {s.var.hint: wide(s, most) for s in loops(kernel, LANE) if goes_apart(s, forms)}:
        kernel = zip_rows(kernel, apart)
    lanes = {s.var.hint: wide(s, most) for s in loops(kernel, LANE) if s.var.hint not in apart}
    kernel = vectorize_each(kernel, lanes)
    short = [s for s in loops(kernel, LANE) if touches_registers(s) or is_short(s)]
    short = [s for s in short if trips(s) is not None]
    short += [s for s in loops(kernel, UPDATE) if updates(s) <= UPDATES]
    kernel = written_out(kernel, *{s.var.hint for s in (*short, *loops(kernel, TILE))})
    return hoist(of_whole_lines(kernel))


def may_be_parted(loop: For) -> bool:
    """Whether a loop's lanes go from memory to memory; registers want all of them at once.

    So may the rows that an item has of them.
    """
    buffers = [s.buffer for s in walk(loop.body) if isinstance(s, Load | Store)]
    return loop.var.hint.startswith((LANE, ROW)) and all(b.scope != "register" for b in buffers)


def goes_apart(loop: For, forms: Forms) -> bool:
    """Whether neighbouring turns of a loop access elements with few others between them."""
    if trips(loop) is None or any(isinstance(s, For | If) for s in loop.body):
        return False
    accesses = [s for s in loop.body if isinstance(s, Load | Store)]
    steps = [forms.of(s.index) for s in accesses if s.mask is None]
    return any(form is not None and 1 < form.terms.get(loop.var, 0) <= NEAR for form in steps)


def is_narrow(loop: For, most: int) -> bool:
    """Whether rows are computed side by side: they are short, and elements ask where they are.

    Vectors along such a row would be nearly empty, and do for all elements what one of them needs.
    """
    count, elements = trips(loop), [s for s in loop.body if isinstance(s, For)]
    others = [s for s in loop.body if not isinstance(s, Let | For)]
    if len(elements) != 1 or others or (count is not None and count < 2 * most):
        return False
    (inner,) = elements
    width, statements = trips(inner), [*walk(loop.body)]
    simple = all(isinstance(s, Let | Load | Store) for s in inner.body)
    if width is None or not 1 < width <= min(NARROW, most // 2) or not simple:
        return False
    lets = [s for s in statements if isinstance(s, Let)]
    if any(s.op in DIVISIONS and s.args[0].type.dtype.kind in "iu" for s in lets):
        return False
    asks = [s for s in lets if s.var.type.dtype == bool_ and s.args[0].type == INDEX]
    return bool(asks) or any(map(is_function, lets))


def wide(loop: For, most: int) -> int:
    """How many turns of a loop run together.

    Elementary functions are long chains of instructions that wait for each other: two vectors at a
    time keep the processor busy.
    """
    chained = any(isinstance(s, Let) and is_function(s) for s in walk(loop.body))
    count = trips(loop)
    most *= 2 if chained and (count is None or count % (2 * most) == 0) else 1
    return min(most, count or most)


def is_function(let: Let) -> bool:
    """Whether an instruction stands for many of the machine."""
    dtype = let.args[0].type.dtype if let.args else let.var.type.dtype
    return dtype.kind == "f" and not is_direct(let.op, dtype, let.var.type.dtype)


def itemsize(kernel: Kernel) -> int:
    """The size of most elements that a kernel computes with; index arithmetic does not count.

    Bytes and short integers count only where there is nothing else; halves are computed as floats.
    """
    dtypes = {s.buffer.dtype for s in kernel.statements() if isinstance(s, Load | Store)}
    sizes = [4 if kind(dtype) == "floating" else dtype.itemsize for dtype in dtypes]
    return min([size for size in sizes if size >= 4], default=max(sizes, default=8))


def loops(kernel: Kernel, kind: str) -> list[For]:
    """The loops whose hints begin with `kind`."""
    return [s for s in kernel.statements() if isinstance(s, For) and s.var.hint.startswith(kind)]


def trips(loop: For) -> int | None:
    """How many iterations a loop has, if that is known."""
    if isinstance(loop.start, Lit) and isinstance(loop.stop, Lit):
        return int(loop.stop.value) - int(loop.start.value)
    return None


def updates(loop: For) -> float:
    """How many updates a loop of a scatter does, one by one, if there are few turns of each loop.

    Other loops inside do more than that.
    """
    count = trips(loop)
    inner = [s for s in walk(loop.body) if isinstance(s, For)]
    if count is None or count > SHORT or any(not s.var.hint.startswith(UPDATE) for s in inner):
        return math.inf
    return count * math.prod(trips(s) or math.inf for s in inner)


def is_short(loop: For) -> bool:
    """Whether a loop copies a few vectors: jumps would take longer than that."""
    count, body = trips(loop), loop.body
    if (
        count is None
        or len(body) > LITTLE
        or not all(isinstance(s, Let | Load | Store) for s in body)
    ):
        return False
    some = any(isinstance(s, Let) and is_function(s) for s in body)
    return not some and count // loop.step <= SHORT and count % loop.step == 0


def touches_registers(loop: For) -> bool:
    """Whether a loop works on buffers that live in registers."""
    inner = [s for s in loop.body if isinstance(s, Load | Store)]
    return any(s.buffer.scope == "register" for s in inner)
