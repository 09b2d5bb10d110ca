"""Whether kernels are tuned, for the keys of caches: `jit.tuning`, which tunes, loads much more."""

from __future__ import annotations

from jit.config import config
from jit.runtime.threads import num_threads


def tuning() -> str:
    """What tells what was tuned from what was not: for how many threads it was."""
    return f"tuned {num_threads()}" if config().autotune else ""
