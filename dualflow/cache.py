"""`df.cache`: compiled code that outlives the process, why it was not found, and what travels.

A bundle holds the graphs of functions as text. Whoever opens it compiles them, on a machine of any
kind, before they are needed: what a bundle says is parsed and verified, and no code comes in it.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jit
from dualflow.core.files import damaged, members, reading
from dualflow.core.op import registry
from dualflow.tracing.explain import all_functions
from dualflow.tracing.function import Function
from dualflow.tracing.signature import take_apart
from jit.dataclass import dataclass
from jit.errors import GraphError, TraceError
from jit.ir.text import parse
from jit.ir.verify import verify
from jit.native import NativeCode
from jit.runtime.cache import disk_cache
from jit.runtime.cpu import host_target
from jit.runtime.library import content_key, library

__all__ = ["Why", "bundle", "load", "why"]

SUMS = "sums.txt"  # of a bundle: the sha256 and the name of each graph


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
        >>> with df.set_mode("compiled"):
        ...     _ = f(df.ones(3))
        >>> "compiled" in str(df.cache.why(f, df.ones(3)))
        True
    """
    if not isinstance(f, Function):
        raise TypeError(f"df.cache.why: {f!r:.60} is not decorated by df.function")
    f.wait()
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


# ----- what travels -----


def bundle(path: str | Path, *functions: Callable[..., Any]) -> Path:
    """Writes the graphs of decorated functions, to be compiled where they are needed next.

    Args:
        path: Of the file, which may be given away with a notebook.
        *functions: Whose graphs; all that are alive by default.

    Returns:
        The path.
    """
    chosen = functions or tuple(f for ref in all_functions.valuerefs() if (f := ref()))
    graphs = {}
    for f in chosen:
        for graph in f.graphs:  # type: ignore[attr-defined]
            text = str(graph)
            graphs[hashlib.sha256(text.encode()).hexdigest()] = text
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(SUMS, "\n".join(graphs))
        for key, text in graphs.items():
            file.writestr(f"{key}.txt", text)
    return Path(path)


def load(path: str | Path, *, max_bytes: int | None = None) -> int:
    """Compiles the graphs of a bundle; functions that have such graphs find their code then.

    Args:
        path: What `bundle` has written.
        max_bytes: What the texts of all graphs may take; by default the file's size, and some
            megabytes.

    Returns:
        How many graphs there were.

    Raises:
        FileError: It is no bundle, damaged, or needs more; nothing was compiled.

    Example:
        >>> import tempfile, dualflow as df
        >>> f = df.function(lambda x: df.tanh(x) + 1.0)
        >>> with df.set_mode("compiled"):
        ...     _ = f(df.ones(3))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     df.cache.load(df.cache.bundle(f"{folder}/nb.dfcache", f))
        1
    """
    graphs = bundled(path, max_bytes)
    _kept.extend(jit.compile(graph, ops=registry) for graph in graphs)
    return len(graphs)


def bundled(path: str | Path, max_bytes: int | None = None) -> list[jit.Graph]:
    """The graphs in a bundle, verified; see `load`."""
    try:
        with reading(path, "bundle"), zipfile.ZipFile(path) as archive:
            return list(graphs_of(dict(members(path, "bundle", archive, max_bytes))))
    except GraphError as error:
        raise damaged(path, "bundle", str(error)) from error


def graphs_of(files: dict[str, bytes]) -> Iterator[jit.Graph]:
    """The graphs of a bundle, each of which is what was written."""
    for key in files[SUMS].decode().split():
        text = files[f"{key}.txt"]
        if hashlib.sha256(text).hexdigest() != key:
            raise ValueError(f"graph {key[:8]} is not what it was")
        graph = parse(text.decode(), registry)
        verify(graph)
        yield graph


_kept: list[Any] = []  # so that code stays until functions ask for it
