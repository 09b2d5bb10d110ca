"""What a fork waits for: a child never finds a lock held by a thread that it does not have.

A fork takes the locks from the last to the first, as `os.register_at_fork` has it: who holds one
may take those that stand above it, no others.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from typing import Any


class Gate:
    """A `with` block that is left before the process forks; a thread may be in it several times.

    What makes code is in one: modules are imported there, and properties computed, under locks of
    Python's own that a child would find held.

    Example:
        >>> gate = Gate()
        >>> with gate, gate:
        ...     pass
    """

    def __init__(self) -> None:
        self._inside = Counter[int]()  # by the number of the thread
        self._changed = threading.Condition(threading.RLock())

    def __enter__(self) -> None:
        with self._changed:
            self._inside[threading.get_ident()] += 1

    def __exit__(self, *error: object) -> None:
        with self._changed:
            self._inside[threading.get_ident()] -= 1
            self._changed.notify_all()

    def acquire(self) -> None:
        """Waits until no other thread is inside; from then on none enters."""
        self._changed.acquire()
        self._changed.wait_for(self._others_are_outside)

    def release(self) -> None:
        """Lets them enter again. A child has one thread."""
        self._changed.release()

    def _others_are_outside(self) -> bool:
        self._inside = +self._inside
        return {*self._inside} <= {threading.get_ident()}


def waited_for(lock: Any) -> Any:
    """A lock that a fork of the process takes, and gives back in both processes."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release
        )
    return lock


loading = waited_for(threading.RLock())  # of LLVM, and of what there is one of in the process
making = waited_for(threading.RLock())  # of the runtime's own code
pools = waited_for(threading.RLock())  # of threads
linking = waited_for(threading.RLock())  # of kernels, and what is known of them
compiling = waited_for(Gate())
