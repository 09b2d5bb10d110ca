"""Control flow as functions: choices and loops over trees of tensors.

Eagerly they are what they say, `if` and `for` in Python. While a function is recorded a loop
becomes one node of the graph, whose size does not depend on how often the loop runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dualflow.core.later import loaded_later

if TYPE_CHECKING:
    from dualflow.tracing.control.branches import cond, switch
    from dualflow.tracing.control.checkpoint import recompute
    from dualflow.tracing.control.loops import fori_loop, map, scan, while_loop

__getattr__, __dir__ = loaded_later(
    __name__,
    {
        "branches": "cond switch",
        "checkpoint": "recompute",
        "loops": "fori_loop map scan while_loop",
    },
)

__all__ = ["cond", "fori_loop", "map", "recompute", "scan", "switch", "while_loop"]
