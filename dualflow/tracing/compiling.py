"""How the graphs of a function become code: what its decorator says of that, in one record."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jit
from dualflow.core.op import registry
from dualflow.core.source import warn_user
from dualflow.errors import FunctionWarning
from jit.dataclass import dataclass
from jit.ir.graph import Graph

if TYPE_CHECKING:
    from jit.compiler import Device
    from jit.report import Recomputed

DECIMAL = {letter: 1000**k for k, letter in enumerate("KMGT", 1)}
BINARY = {f"{letter}I": 1024**k for k, letter in enumerate("KMGT", 1)}
UNITS = {"": 1, **DECIMAL, **BINARY}


@dataclass(frozen=True)
class CompileOptions:
    """What the compiler is told of a function.

    Attributes:
        fast: Whether graphs may be rounded elsewhere than in Python.
        memory_limit: Bytes that the temporaries of a call should fit; None: there is no limit.
    """

    fast: bool = False
    memory_limit: int | None = None

    def compile(
        self, graph: Graph, target: Device | None = None, donate: Sequence[tuple[int, int]] = ()
    ) -> jit.Executable:
        """A graph as code, which may write results over what is donated.

        Args:
            graph: It.
            target: What it is for; None is the default.
            donate: Pairs (input, output): the second may take the memory of the first.
        """
        how = {"fast": self.fast, "memory_limit": self.memory_limit}
        made = jit.compile(graph, target, ops=registry, donate=tuple(donate), **how)
        for each in made.recomputed:
            if not each.fits:
                warn_user(missed(graph.name, each), FunctionWarning)
        return made


DEFAULT = CompileOptions()


def missed(name: str, found: Recomputed) -> str:
    """Says that temporaries do not fit a limit, and what they are."""
    from jit.report import megabytes

    held = ", ".join(map(str, found.largest))
    return (
        f"{name} needs {megabytes(found.after)} for temporaries, more than "
        f"memory_limit={megabytes(found.limit)}, although all that helps is computed again. "
        f"At the peak it holds {held}. Smaller batches need less."
    )


def bytes_of(limit: Any) -> int | None:
    """A limit of memory in bytes.

    Args:
        limit: A number of bytes, or text with a unit, as "500MB", "1.5 GB" or "2GiB"; or None.

    Raises:
        ValueError: It is not positive, or no size.
        TypeError: It is neither.
    """
    if limit is None:
        return None
    if isinstance(limit, str):
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]i?|)B?\s*", limit, re.IGNORECASE)
        if found is None:
            raise ValueError(f'memory_limit={limit!r}: a size as "500MB", "1.5 GB" or "2GiB"')
        number, unit = found.groups()
        size = int(float(number) * UNITS[unit.upper()])
    elif isinstance(limit, int) and not isinstance(limit, bool):
        size = limit
    else:
        raise TypeError(f'memory_limit={limit!r}: a number of bytes, a text as "2GB", or None')
    if size <= 0:
        raise ValueError(f"memory_limit={limit!r}: more than 0 bytes")
    return size
