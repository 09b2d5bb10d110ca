"""`df.cache`: compiled code that outlives the process, and why it was not found: `df.cache.why`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from dualflow.tracing.function import Function
from dualflow.tracing.signature import take_apart
from jit.errors import TraceError
from jit.native import NativeCode
from jit.runtime.cache import disk_cache
from jit.runtime.cpu import host_target
from jit.runtime.library import content_key, library

__all__ = ["Why", "why"]


@dataclass(frozen=True)
class Why:
    """Where the kernels of a function came from in this process.

    Attributes:
        name: Of the function.
        folder: Where the cache is; None where it is off.
        reasons: For each kernel that was compiled: its ops and line, and why.
        found: How many were read from the disk, or known to the process from elsewhere.
    """

    name: str
    folder: str | None
    reasons: tuple[tuple[str, str], ...]
    found: int

    def __str__(self) -> str:
        head = (
            f"{self.name}: {len(self.reasons)} compiled, {self.found} found; "
            f"the cache is {self.folder or 'off'}"
        )
        common = Counter(reason for _, reason in self.reasons)
        lines = [head]
        for reason, count in common.most_common():
            names = [name for name, why in self.reasons if why == reason]
            more = f" and {count - 2} more" if count > 3 else ""
            listed = ", ".join(names if count <= 3 else names[:2])
            lines.append(f"  {reason}: {listed}{more}")
        return "\n".join(lines)


def why(f: Callable[..., Any], *args: Any, **kwargs: Any) -> Why:
    """Tells which kernels of a call had to be compiled, and what of their keys was not known.

    Args:
        f: A decorated function.
        *args: Arguments of a call that was recorded in this process.
        **kwargs: Arguments of the call.

    Raises:
        TraceError: No such call was recorded.

    Example:
        >>> import dualflow as df
        >>> f = df.function(lambda x: df.tanh(x) * 2.0)
        >>> _ = f(df.ones(3))
        >>> "compiled" in str(df.cache.why(f, df.ones(3)))
        True
    """
    if not isinstance(f, Function):
        raise TypeError(f"df.cache.why: {f!r:.60} is not decorated by df.function")
    entry = f.entries.serving(take_apart(args, kwargs))
    if entry is None or not entry.parts:
        raise TraceError(
            f"df.cache.why: no call of {f.name} like this was compiled",
            "a call that was made before, and has a graph",
            f"call {f.name} with these arguments first",
        )
    codes = [part.executable.code for part in entry.parts]
    kernels = [pair for code in codes if isinstance(code, NativeCode) for pair in kernels_of(code)]
    reasons = tuple((name, reason) for name, reason in kernels if reason is not None)
    disk = disk_cache()
    return Why(f.name, disk and str(disk.folder), reasons, len(kernels) - len(reasons))


def kernels_of(code: NativeCode) -> Iterator[tuple[str, str | None]]:
    """The kernels of a graph, and why each was compiled; None for those that were found."""
    target, known = host_target(), library().reasons
    seen = set()
    for launch in code.plan.program.launches():
        key = content_key(launch.kernel, target)
        if key not in seen:
            seen.add(key)
            where = f" ({launch.source})" if launch.source else ""
            yield f"{launch.label}{where}", known.get(key)
