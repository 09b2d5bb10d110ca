"""Nontemporal stores: results that no cache holds go past all of them.

A processor that stores to memory which no cache has reads it first. A map over large arrays waits
for that though nobody needs what was there, and loses from the caches what others will read.

The rule: a result goes past the caches if it has at least as many bytes as the largest of them.
Measured on a Zen 5 with 32 MiB, one thread and two, medians: maps whose results have 64 MiB take
0.73 to 0.93 of the time, and 0.81 to 0.95 together with a sum that reads the result right after
(from 24 MiB on; of 16 MiB as long, and of 8 MiB or less up to twice as long, as it is read from a
cache). In place, where what is overwritten was just read, stores past the caches take 1.1 to 1.4
times as long: machine code asks for that when it runs, and for where lines begin.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from jit.dims import Extent, decide
from jit.loops.affine import Forms
from jit.loops.ir import For, If, Kernel, Statement, Store, VType, walk
from jit.types import product

LINE = 64  # bytes that a processor writes to memory together


def is_large(shape: Sequence[Extent], itemsize: int, cache: int) -> bool:
    """Whether a result goes past the caches, whatever its sizes are.

    Args:
        shape: Of the result.
        itemsize: Bytes of an element.
        cache: As `Target.cache`.
    """
    return cache > 0 and decide(cache - 1, "<", product([itemsize, *shape])) is True


def of_whole_lines(kernel: Kernel) -> Kernel:
    """`kernel` where stores are nontemporal that fill lines, each or one after the other.

    A line that is written in parts between others costs more than it saves.
    """
    if not any(isinstance(s, Store) and s.nontemporal for s in walk(kernel.body)):
        return kernel
    return replace(kernel, body=_block(kernel.body, None, Forms(kernel)))


def _block(body: Iterable[Statement], loop: For | None, forms: Forms) -> tuple[Statement, ...]:
    return tuple([_statement(s, loop, forms) for s in body])


def _statement(s: Statement, loop: For | None, forms: Forms) -> Statement:
    match s:
        case For():
            return replace(s, body=_block(s.body, s, forms))
        case If():
            return replace(s, body=_block(s.body, loop, forms))
        case Store(nontemporal=True) if not _fills_lines(s, loop, forms):
            return replace(s, nontemporal=False)
        case _:
            return s


def _fills_lines(s: Store, loop: For | None, forms: Forms) -> bool:
    """Whether a store writes whole lines, or the next turn of the loop goes on where it ends.

    They begin with the buffer.
    """
    type_ = s.value.type
    size, each = type_.lanes * type_.dtype.itemsize, alignment(type_) // type_.dtype.itemsize
    if s.mask is not None or s.index.type.lanes > 1 or type_.lanes == 1:
        return False
    if not forms.multiple(s.index, each):
        return False
    if size % LINE == 0:
        return True
    if loop is None or LINE % size:
        return False
    return loop.step == type_.lanes and forms.of(s.index).terms.get(loop.var) == 1


def alignment(type_: VType) -> int:
    """Of what the address of a nontemporal store is a multiple, in bytes."""
    return min(LINE, type_.lanes * type_.dtype.itemsize)
