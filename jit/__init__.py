"""jit: a compiler for typed array graphs; it knows nothing of who built them.

Example:
    >>> import jit
    >>> graph = jit.Graph("same")
    >>> x = graph.input(jit.TensorType((3,), jit.types.float32), "x")
    >>> graph.outputs = [x]
    >>> print(graph)
    graph same(%x: float32[3]) {
      return %x
    }
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jit import config, types
    from jit.compiler import compile
    from jit.ir.graph import Graph
    from jit.ir.op import OpDef
    from jit.types import TensorType

# `jit` is a common name: dualflow compares these two with what it expects before it trusts a `jit`
# that it finds on the path. The build reads the version of the distribution from here.
OWNER = "dualflow"
__version__ = "0.1.0"

__all__ = ["Graph", "OpDef", "TensorType", "compile", "config", "types"]

# Public name -> where it lives; a module stands for itself. Loaded when first used.
_HOMES = {
    "Graph": "jit.ir.graph",
    "OpDef": "jit.ir.op",
    "TensorType": "jit.types",
    "compile": "jit.compiler",
    "config": "jit.config",
    "types": "jit.types",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'jit' has no attribute {name!r}")
    module = import_module(home)
    value = module if home == f"jit.{name}" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
