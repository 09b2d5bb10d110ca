"""What of `tracing` is loaded when it is first used: that takes a fifth of `import dualflow`."""

from __future__ import annotations

from typing import Any

from dualflow.autodiff.sweep import run_eagerly

# Public names and the modules that hold them; `render` stands above `tracing`.
NAMES = {
    "TensorSpec": "dualflow.tracing.spec",
    **dict.fromkeys(
        "cond fori_loop map recompute scan switch while_loop".split(), "dualflow.tracing.control"
    ),
    "check_numerics": "dualflow.tracing.numerics",
    "function": "dualflow.tracing.decorator",
    "render": "dualflow.graph",
    "status": "dualflow.tracing.explain",
}


def compile_repeated_sweeps() -> None:
    """From now on eager sweeps that keep coming are compiled."""
    run_eagerly.append(first_sweep)


def first_sweep(*given: Any) -> Any:
    """The first sweep of a process loads what runs all of them."""
    from dualflow.tracing.sweeps import run_sweep

    if run_eagerly[-1] is first_sweep:
        run_eagerly[-1] = run_sweep
    return run_sweep(*given)
