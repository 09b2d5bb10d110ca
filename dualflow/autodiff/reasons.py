"""Why a gradient is None: not watched, not used, cut by an op or by a value that left."""

from __future__ import annotations

from typing import Any

from dualflow.core.tensor import Tensor
from jit.types import format_shape


def explain_unconnected(source: Any, targets: list[Tensor], tape: Any) -> str:
    """One sentence that says why `source` does not reach `target`.

    Args:
        source: The Variable or tensor whose gradient is missing.
        targets: What was differentiated.
        tape: The tape that was asked.
    """
    name = getattr(source, "name", None)
    what = f"source {name!r}" if name else f"the source of shape {format_shape(source.shape)}"
    if not tape.knows(source):
        how = "use tape.watch(x) before the computation, or a trainable Variable"
        return f"{what} is not watched: {how}"
    cuts = ", ".join(f"{how} ({line})" if line else how for how, line in tape.cuts.items())
    if all(t.record is None for t in targets):
        left = f": gradients end at {cuts}" if cuts else ""
        return f"the target was not computed from anything that is watched{left}"
    left = f", or only through {cuts}, where gradients end" if cuts else ""
    return f"{what} was not used for the target while the tape recorded{left}"
