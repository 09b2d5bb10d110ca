"""Early loads: a block loads all it can before it computes, so that loads are under way together.

    x = load X[i]                              x = load X[i]
    store Y[i] = exp(x)                 ->     y = load X[j]
    y = load X[j]                              store Y[i] = exp(x)
    store Y[j] = exp(y)                        store Y[j] = exp(y)

A thread of a GPU waits where a value is needed, not where it is loaded; but its machine moves no
load over a store, as both might mean one element. A kernel's own buffers tell more: parameters do
not overlap, and indices often differ by a constant.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from jit.loops.affine import Forms
from jit.loops.ir import (
    INDEX,
    Check,
    For,
    If,
    Kernel,
    Let,
    Load,
    Operand,
    Statement,
    Store,
    operands,
)

MOST = 64  # values that wait in registers for their turn
PLAIN = (Let, Load, Store, Check)


def early_loads(kernel: Kernel) -> Kernel:
    """`kernel` with the loads of each block before its stores, where no store meets them."""
    return replace(kernel, body=_block(kernel.body, Forms(kernel)))


def _block(body: Sequence[Statement], forms: Forms) -> tuple[Statement, ...]:
    done: list[Statement] = []
    run: list[Statement] = []
    for s in body:
        if isinstance(s, PLAIN):
            run.append(s)
            continue
        done += _loads_first(run, forms)
        run = []
        done.append(replace(s, body=_block(s.body, forms)) if isinstance(s, For | If) else s)
    return (*done, *_loads_first(run, forms))


def _loads_first(run: Sequence[Statement], forms: Forms) -> list[Statement]:
    """The statements of a block in their order, but loads, and what their indices need, first."""
    lets: dict[Operand, Let] = {}  # those that nothing holds back
    behind = set[Operand]()  # what is made where it was
    stores: list[Store] = []
    first = set[Statement]()
    room = MOST
    for s in run:
        waits = not behind.isdisjoint(operands(s))
        if isinstance(s, Store):
            stores.append(s)
        elif isinstance(s, Let):
            if waits:
                behind.add(s.var)
            else:
                lets[s.var] = s
        elif isinstance(s, Load):
            waits = waits or s.buffer.scope not in ("param", "shared") or room < s.var.type.lanes
            if waits or any(_may_meet(s, store, forms) for store in stores):
                behind.add(s.var)
            else:
                room -= s.var.type.lanes
                first.update((s, *_made_by(s, lets)))
    early = [s for s in run if s in first]
    return [*early, *[s for s in run if s not in first]]


def _may_meet(load: Load, store: Store, forms: Forms) -> bool:
    """Whether a load may find what was stored."""
    if load.buffer is not store.buffer:
        return False
    if load.index.type != INDEX or store.index.type != INDEX:
        return True
    gap = forms.difference(load.index, store.index)
    return gap is None or -load.var.type.lanes < gap < store.value.type.lanes


def _made_by(s: Load, lets: dict[Operand, Let]) -> Iterator[Let]:
    """The instructions that make what a load reads."""
    stack, seen = [*operands(s)], set[Operand]()
    while stack:
        x = stack.pop()
        if x in lets and x not in seen:
            seen.add(x)
            yield lets[x]
            stack += lets[x].args
