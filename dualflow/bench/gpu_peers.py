"""`python -m dualflow.bench.gpu_peers torch`: serves `bench gpu` in another framework.

Orders come on the standard input, a line each, and answers go to the standard output.
"""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from dualflow.bench.gpu_contest import Made, Server
from dualflow.bench.gpu_data import WORKS

MODULES = {"torch": "dualflow.bench.gpu_torch", "jax": "dualflow.bench.gpu_jax"}


def make(made: Callable[..., Made], name: str, who: str, quick: bool) -> Made:  # noqa: FBT001
    """A step of a workload, by its name."""
    (work,) = [work for work in WORKS if work.name == name]
    return made(work, who, quick=quick)


def main(framework: str, orders: Any, answers: Any) -> None:
    """Serves a framework until there are no more orders."""
    module = importlib.import_module(MODULES[framework])
    Server(partial(make, module.made), gc.collect).serve(orders, answers)


if __name__ == "__main__":
    main(sys.argv[1], sys.stdin, sys.stdout)
