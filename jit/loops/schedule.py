"""Schedules: directives that change how a kernel runs and never what it computes.

A directive is a function Kernel -> Kernel that names loops by the hints of their variables. It
rewrites every loop of that name, and raises `ScheduleError` where results could change: no element
is ever accumulated in another order. A parameter of access "out" that a loop only stores to is
taken to be stored to once an element, as kernels of forms do.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from jit.dims import Extent, symbol
from jit.loops.affine import Forms, encounters, is_written_once
from jit.loops.ir import (
    INDEX,
    TRUTH,
    For,
    If,
    Kernel,
    Let,
    Lit,
    Load,
    Operand,
    Var,
    index,
    walk,
)
from jit.loops.rewrite import Rewrite, has_loop, refusal, rewrite_loops
from jit.loops.schedule_vectorize import vectorize
from jit.loops.simplify import hoist, simplify, without_dead

# Integer arithmetic that an expression of sizes may hold.
EXTENTS: dict[str, Callable[..., Any]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "floor_divide": operator.floordiv,
    "quotient": operator.floordiv,
}

__all__ = [
    "has_loop",
    "hoist",
    "parallel",
    "reorder",
    "simplify",
    "split",
    "unroll",
    "unrolled",
    "vectorize",
    "written_out",
]


def unroll(kernel: Kernel, *loops: str, factor: int | None = None) -> Kernel:
    """The turns of loops one after the other, with constants folded.

        for j in 0 .. 3 step 1 {           x = load X[0]
          x = load X[j]                    store Y[0] = x
          store Y[j] = x           ->      x1 = load X[1]
        }                                  store Y[1] = x1
                                           ...

    Args:
        kernel: Where the loops are; inner ones may be named with outer ones.
        *loops: The hints of their variables.
        factor: How many turns become one; None: all, and their number must be constant.

    Raises:
        ScheduleError: The number of turns is not constant, or no multiple of `factor`.
    """
    rewrite = _Unroll(kernel, loops, factor)
    return rewrite_loops(kernel, loops, "unroll", rewrite, rewrite.loop)


def written_out(kernel: Kernel, *loops: str) -> Kernel:
    """`simplify`, and `unroll` of loops that are there, in one go."""
    rewrite = _Unroll(kernel, loops, None)
    rewrite.copy(kernel.body)
    return replace(kernel, body=without_dead(tuple(rewrite.body)))


class _Unroll(Rewrite):
    def __init__(self, kernel: Kernel, loops: tuple[str, ...], factor: int | None) -> None:
        super().__init__(kernel)
        self.loops = loops
        self.factor = factor
        self.forms = Forms(kernel)

    def loop(self, s: For) -> None:
        if s.var.hint not in self.loops:
            return super().loop(s)
        trip = self.forms.trip(s)
        factor = trip if self.factor is None else self.factor
        if trip is None or factor is None or (factor and trip % factor):
            why = f"{s.var.hint} has {'an unknown number of' if trip is None else trip} turns"
            expected = "a constant number" + (f", a multiple of {factor}" if factor else "")
            raise refusal("unroll", self.kernel, s, why, expected)
        return self.several(s, trip, factor)

    def several(self, s: For, trip: int, factor: int) -> None:
        """A loop with `factor` turns in one."""
        start = self.operand(s.start)
        if factor == trip:
            return self._turns(s, start, trip)
        var = Var(INDEX, s.var.hint)
        body = self.within(lambda: self._turns(s, var, factor))
        return self.body.append(For(var, start, self.operand(s.stop), s.step * factor, body))

    def _turns(self, s: For, base: Operand, count: int) -> None:
        for turn in range(count):
            self.env[s.var] = self.index("add", base, turn * s.step)
            self.copy(s.body)


def unrolled(
    kernel: Kernel,
    factor_of: Callable[[For, int | None], int],
    stays: Callable[[For], Any] = lambda loop: False,
) -> Kernel:
    """Each loop with as many turns in one as `factor_of(loop, turns)` says, which divides them.

    Of an unknown number of turns those that are left over follow one by one. A loop of which all
    turns become one dissolves, unless it `stays`.
    """
    rewrite = _UnrollEach(kernel, factor_of, stays)
    rewrite.copy(kernel.body)
    return replace(kernel, body=tuple(rewrite.body))


class _UnrollEach(_Unroll):
    def __init__(
        self,
        kernel: Kernel,
        factor_of: Callable[[For, int | None], int],
        stays: Callable[[For], Any],
    ) -> None:
        super().__init__(kernel, (), None)
        self.factor_of, self.stays = factor_of, stays

    def loop(self, s: For) -> None:
        trip = self.forms.trip(s)
        factor = self.factor_of(s, trip)
        if factor == 1:
            return Rewrite.loop(self, s)
        if trip is not None and not (factor == trip and self.stays(s)):
            return self.several(s, trip, factor)
        if trip is not None:
            var, bounds = Var(INDEX, s.var.hint), (self.operand(s.start), self.operand(s.stop))
            body = self.within(lambda: self._turns(s, var, factor))
            return self.body.append(For(var, *bounds, s.step * factor, body))
        start, stop = self.operand(s.start), self.operand(s.stop)
        length = self.index("add", self.index("subtract", stop, start), s.step - 1)
        empty = self.value("less", (length, index(0)), TRUTH)
        length = self.value("where", (empty, index(0), length), INDEX)
        turns = self.index("quotient", length, s.step * factor)
        full = self.index("add", start, self.index("multiply", turns, s.step * factor))
        var = Var(INDEX, s.var.hint)
        body = self.within(lambda: self._turns(s, var, factor))
        self.body.append(For(var, start, full, s.step * factor, body))
        return Rewrite.loop(self, replace(s, start=full, stop=stop))


def split(kernel: Kernel, loop: str, factor: int, tail: str = "guard") -> Kernel:
    """A loop becomes a loop over blocks, `<loop>_o`, and one in each block, `<loop>_i`.

        for i in 0 .. n step 1 {           for i_o in 0 .. n step 4 {
          store Y[i] = 0           ->        for i_i in 0 .. 4 step 1 {
        }                                      i = add(i_o, i_i)
                                               if less(i, n) { store Y[i] = 0 }
                                             }
                                           }

    Args:
        kernel: Where the loop is.
        loop: The hint of its variable; its step is 1.
        factor: How many turns a block has.
        tail: "guard": the last block asks before each turn; "peel": the turns that fill no block
            become a loop `<loop>_t` of their own. Neither where blocks are surely full.

    Raises:
        ScheduleError: The step is not 1.
    """
    rewrite = _Split(kernel, factor, tail)
    return rewrite_loops(kernel, [loop], "split", rewrite, rewrite.divide)


class _Split(Rewrite):
    def __init__(self, kernel: Kernel, factor: int, tail: str) -> None:
        super().__init__(kernel)
        self.factor = factor
        self.tail = tail
        self.forms = Forms(kernel)

    def divide(self, s: For) -> None:
        if s.step != 1 or self.factor < 1:
            why = f"{s.var.hint} goes in steps of {s.step}, blocks of {self.factor}"
            raise refusal("split", self.kernel, s, why, "a step of 1, a factor of at least 1")
        trip, name = self.forms.trip(s), s.var.hint
        stop: Operand = s.stop
        exact = trip is not None and trip % self.factor == 0
        if not exact and self.tail == "peel":
            turns = self.index("subtract", s.stop, s.start)
            rest = self.value("rest", (turns, index(self.factor)), INDEX)
            stop = self.index("subtract", s.stop, rest)
        guard = None if exact or self.tail == "peel" else s.stop
        outer = Var(INDEX, f"{name}_o")
        body = self.within(lambda: self._block(s, outer, guard))
        if trip is None or trip >= self.factor or guard is not None:
            self.body.append(For(outer, s.start, stop, self.factor, body))
        if not exact and self.tail == "peel":
            var = self.env[s.var] = Var(INDEX, f"{name}_t")
            self.body.append(For(var, stop, s.stop, 1, self.block(s.body)))

    def _block(self, s: For, outer: Var, guard: Operand | None) -> None:
        inner = Var(INDEX, f"{s.var.hint}_i")
        body = self.within(lambda: self._turn(s, outer, inner, guard))
        self.body.append(For(inner, index(0), index(self.factor), 1, body))

    def _turn(self, s: For, outer: Var, inner: Var, guard: Operand | None) -> None:
        at = self.env[s.var] = self.index("add", outer, inner)
        if guard is None:
            return self.copy(s.body)
        condition = self.value("less", (at, guard), TRUTH)
        return self.body.append(If(condition, self.block(s.body)))


def reorder(kernel: Kernel, outer: str, inner: str) -> Kernel:
    """Two loops, one directly inside of the other, change places.

        for k in 0 .. K step 1 {           for m in 0 .. 4 step 1 {
          for m in 0 .. 4 step 1 {           for k in 0 .. K step 1 {
            a = load acc[m]          ->        a = load acc[m]
            ...                                ...

    Values that stand between the two move into the inner body.

    Args:
        kernel: Where the loops are.
        outer: The hint of the outer variable.
        inner: The hint of the inner variable.

    Raises:
        ScheduleError: There is more between the loops, the inner bounds depend on the outer
            loop, or an element is touched by turns that would change their order.
    """
    forms = Forms(kernel)
    rewrite = Rewrite(kernel)

    def swap(s: For) -> None:
        *between, last = s.body
        is_nest = isinstance(last, For) and last.var.hint == inner
        if not is_nest or not all(isinstance(x, Let) for x in between):
            why = f"{inner} is not the whole body of {outer}"
            raise refusal("reorder", kernel, s, why, "loops directly inside of each other")
        assert isinstance(last, For)
        made = {s.var, *[x.var for x in between if isinstance(x, Let)]}
        if {last.start, last.stop} & made:
            why = f"the bounds of {inner} depend on {outer}"
            raise refusal("reorder", kernel, s, why, "bounds that are the same in each turn")
        if _order_matters(s, last, forms):
            why = f"turns of {outer} and {inner} touch the same elements"
            raise refusal("reorder", kernel, s, why, "elements that keep their order of stores")
        body = replace(s, body=(*between, *last.body))
        rewrite.copy([replace(last, body=(body,))])

    return rewrite_loops(kernel, [outer], "reorder", rewrite, swap)


def _order_matters(outer: For, inner: For, forms: Forms) -> bool:
    """Whether turns that would change their order may touch one element."""
    loaded = {s.buffer for s in walk(inner.body) if isinstance(s, Load)}
    trip = forms.trip(outer)
    turns = math.inf if trip is None else max(1, trip)
    for store, met in encounters(outer.body, forms, {outer.var: (turns - 1) * outer.step}):
        by_outer, by_inner = met.get(outer.var), met.get(inner.var)
        if by_outer == 0 or by_inner == 0:
            continue
        if by_outer is not None and by_inner is not None:
            if by_outer * by_inner < 0:
                return True
        elif not is_written_once(store.buffer, loaded):
            return True
    return False


def parallel(kernel: Kernel, loop: str, grain: int = 1) -> Kernel:
    """The loop that is the whole body becomes the items of the grid, `grain` turns each.

        kernel k(...) grid 1 as item {              kernel k(...) grid (n + 63)//64 as item {
          for i in 0 .. n step 1 {            ->      lo = multiply(item, 64)
            store Y[i] = 0                            hi = minimum(n, add(lo, 64))
          }                                           for i in lo .. hi step 1 { store Y[i] = 0 }
        }                                           }

    With one turn an item there is no loop left. Values that stand before the loop are computed
    for each item.

    Args:
        kernel: Its grid is 1.
        loop: The hint of the variable. The number of turns is an expression of sizes.
        grain: How many turns an item has.

    Raises:
        ScheduleError: There is more than the loop, the number of turns is no such expression, the
            kernel has a grid already, or turns may touch what others store.
    """
    *before, last = kernel.body or (None,)
    if not isinstance(last, For) or last.var.hint != loop:
        raise refusal("parallel", kernel, None, f"{loop} is not the whole body")
    if not all(isinstance(s, Let | Load) for s in before):
        raise refusal("parallel", kernel, None, f"{loop} is not the whole body")
    if not isinstance(kernel.grid, int) or kernel.grid != 1:
        raise refusal("parallel", kernel, None, f"the grid is {kernel.grid} already", "a grid of 1")
    forms = Forms(kernel)
    _check_apart(kernel, last, forms)
    trip = _turns(kernel, last, forms)
    rewrite = Rewrite(kernel)
    item = Var(INDEX, kernel.item.hint)
    rewrite.env[kernel.item] = index(0)
    rewrite.copy([s for s in before if s is not None])
    first = rewrite.index("multiply", item, grain * last.step)
    first = rewrite.index("add", rewrite.operand(last.start), first)
    if grain == 1:
        rewrite.env[last.var] = first
        rewrite.copy(last.body)
    else:
        end = rewrite.index("add", first, grain * last.step)
        if not isinstance(trip, int) or trip % grain:
            end = rewrite.index("minimum", rewrite.operand(last.stop), end)
        rewrite.loop(replace(last, start=first, stop=end))
    grid = (trip + grain - 1) // grain
    return replace(kernel, grid=grid, item=item, body=tuple(rewrite.body))


def _check_apart(kernel: Kernel, loop: For, forms: Forms) -> None:
    """Refuses a loop whose turns touch one element."""
    loaded = {s.buffer for s in walk(loop.body) if isinstance(s, Load)}
    for store, met in encounters(loop.body, forms, {loop.var: math.inf}):
        if met.get(loop.var) == 0:
            continue
        if loop.var in met or not is_written_once(store.buffer, loaded):
            why = f"turns of {loop.var.hint} may touch the same elements of {store.buffer.name}"
            raise refusal("parallel", kernel, loop, why, "turns that share nothing")


def _turns(kernel: Kernel, loop: For, forms: Forms) -> Extent:
    """The number of turns as an expression of the kernel's sizes."""
    trip = forms.trip(loop)
    if trip is not None:
        return trip
    start, stop = (_extent(x, kernel, forms) for x in (loop.start, loop.stop))
    if start is None or stop is None:
        why = f"the number of turns of {loop.var.hint} is no expression of sizes"
        raise refusal("parallel", kernel, loop, why, "bounds made of numbers and size parameters")
    return (stop - start + loop.step - 1) // loop.step


def _extent(x: Operand, kernel: Kernel, forms: Forms) -> Extent | None:
    if isinstance(x, Lit):
        return int(x.value)
    if x in kernel.sizes:
        return symbol(x.hint, lo=0)
    made = forms.made.get(x)
    if not isinstance(made, Let) or made.op not in EXTENTS:
        return None
    args = [_extent(y, kernel, forms) for y in made.args]
    return None if None in args else EXTENTS[made.op](*args)
