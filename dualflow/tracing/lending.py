"""Lending: memory of Variables that a running call may write although other threads are alive.

A lent Tensor is of a class of its own for as long as the call runs. Whoever reads it in another
thread waits for the end of the call, and finds what a read right after the call finds. Who had it
before, or its array, shows in the count of references: such a Tensor is not lent.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from sys import getrefcount
from typing import Any

import numpy as np

from dualflow.core.tensor import Tensor

LEAST = 1 << 12  # bytes of the processor's memory: what is smaller is copied sooner than lent
_raw, _class = Tensor.__dict__["raw"], object.__dict__["__class__"]  # what Lent hides
_lending = threading.Lock()
_returned = threading.Condition()


class _Borrower(threading.local):
    """What the running calls of a thread have been lent."""

    def __init__(self) -> None:
        self.tensors: list[Tensor] = []


_borrower = _Borrower()


class Lent(Tensor):
    """A Tensor whose memory a running call writes; `type` alone tells it from others."""

    __slots__ = ()
    __class__ = property(lambda self: Tensor)  # type: ignore  # which ops ask

    @property
    def raw(self) -> Any:  # type: ignore[override]
        """The array, once the call is over."""
        if not any(x is self for x in _borrower.tensors):  # else a step in Python of that call asks
            with _returned:
                while type(self) is Lent:
                    _returned.wait()
        return _raw.__get__(self)


@contextmanager
def lent(holders: Sequence[Any], numbers: Sequence[int], arrays: list[Any]) -> Iterator[list[Any]]:
    """A `with` block in which native code may write what these Variables hold.

    Args:
        holders: The Variables.
        numbers: Of each, which of the arrays the call has read from it.
        arrays: What the call has read; nothing else here refers to them.

    Yields:
        The arrays that may not be written: somebody else has them, or they are small enough to
            copy.
    """
    mine: list[Tensor] = []
    with _lending:
        pairs = zip(holders, numbers, strict=True)
        kept = [arrays[k] for holder, k in pairs if not _lend(holder, arrays[k], mine)]
    before = len(_borrower.tensors)
    _borrower.tensors += mine
    try:
        yield kept
    finally:
        del _borrower.tensors[before:]
        _give_back(mine)


def _give_back(tensors: list[Tensor]) -> None:
    """They are Tensors as before; who waits for them goes on."""
    for tensor in tensors:
        _class.__set__(tensor, Tensor)
    if tensors:
        with _returned:
            _returned.notify_all()


def _lend(holder: Any, array: Any, mine: list[Tensor]) -> bool:
    """Whether the Tensor of a holder is lent now; it is added to `mine` then."""
    tensor = holder.tensor
    if (array.__class__ is np.ndarray and array.nbytes < LEAST) or type(tensor) is not Tensor:
        return False
    _class.__set__(tensor, Lent)  # first: from here on nobody gets at the array through it
    if getrefcount(tensor) > ALONE or _raw.__get__(tensor) is not array:
        _give_back([tensor])  # somebody may have come for it just now, and waits
        return False
    mine.append(tensor)
    return True


class _Example:
    """Holds a tensor that nobody else holds."""

    def __init__(self) -> None:
        self.tensor = Tensor(None)


def _counted(holder: _Example) -> int:
    """What CPython counts for a tensor that only its holder holds, asked as `_lend` asks."""
    tensor = holder.tensor
    return getrefcount(tensor)


ALONE = _counted(_Example())
