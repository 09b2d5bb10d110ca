"""Python's garbage collector, paused where many objects are made that stay."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# Fewer frozen objects than this are no program's: Python 3.12 begins with hundreds of its own, and
# who freezes takes all there are, which are thousands before the first line of a program.
OWN = 2000

_paused = ContextVar("jit.collector_paused", default=False)


@contextmanager
def collector_paused(*, lasting: bool = False) -> Iterator[None]:
    """No garbage collection inside: visiting the many objects of the passes doubles their time.

    What modules define stays as well, and a process that loads a hundred of them would visit all of
    its objects in the middle of that.

    Graphs are cycles. What is left of them goes at the end of the outermost pause, also where the
    user has switched the collector off. Only the main thread pauses it: while another compiles, the
    program goes on, and the collector is the program's. So is its switch: code of the user's that
    runs inside finds it as it was, and may turn it.

    Args:
        lasting: What is made inside stays, as modules do, and is not looked through for garbage.
    """
    if _paused.get() or threading.current_thread() is not threading.main_thread():
        yield
        return
    before, token = gc.get_threshold(), _paused.set(True)
    gc.set_threshold(0, *before[1:])
    try:
        yield
    finally:
        _paused.reset(token)
        if lasting and gc.get_freeze_count() < OWN:  # else what the program froze would thaw
            grow_old()
        else:
            gc.collect(0)
        if gc.get_threshold()[0] == 0:  # nobody has set it meanwhile
            gc.set_threshold(*before)


def grow_old() -> None:
    """Makes all objects old ones, as if collections had found them alive; visits none of them."""
    gc.freeze()
    gc.unfreeze()
