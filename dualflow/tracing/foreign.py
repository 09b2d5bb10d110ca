"""Foreign: a recorded function for programs in C: a header, an object file, a shared library."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

import jit
from dualflow.core import tree
from dualflow.core.op import registry
from dualflow.tracing.artefact import recorded_ways, refused
from dualflow.tracing.cells import ArrayCell, TensorCell, VariableCell
from dualflow.tracing.parameters import leaf_names
from dualflow.tracing.path import Output, Path
from dualflow.tracing.signature import Call
from jit.config import configure
from jit.dims import free_symbols
from jit.errors import NoNativeCode
from jit.ir.graph import Graph
from jit.native import NativeCode
from jit.runtime.cpu import host_target
from jit.runtime.standalone import standalone

if TYPE_CHECKING:
    from dualflow.tracing.function import Function

LINKERS = ("cc", "gcc", "clang", "ld", "ld.lld")
KEYWORDS = frozenset("int double float char long short auto register return default".split())


def export_to_c(function: Function, path: str | FilePath, args: Any, kwargs: Any) -> FilePath:
    """Writes header and object file, and a shared library where a linker is found.

    What the function reads besides its arguments becomes part of the code, as it is now.

    Args:
        function: Whose calls.
        path: Of the header; the others stand beside it.
        args: Of a call like those that are to be served.
        kwargs: Of such a call.

    Returns:
        The path of the header.

    Raises:
        TraceError: The call needs Python, or changes state.
    """
    call, ways = recorded_ways(function, args, kwargs)
    if len(ways) > 1 or ways[0].answers:
        raise refused(function, "Python decides by values in it")
    way = ways[0]
    if way.effects or way.gives_numbers or way.foreseen().written:
        raise refused(function, "a call does more than to compute its results")
    constants = {}
    for k, cell in enumerate(way.cells, len(call.tensors)):
        if not isinstance(cell, VariableCell | ArrayCell | TensorCell):
            raise refused(function, "it reads state that is no Variable")
        constants[k] = cell.tensor.raw
    graph = whole_graph(way)
    if any(free_symbols(x.type.shape) for x in graph.inputs):
        raise refused(function, "its extents vary")
    path = FilePath(path)
    name = identifier(path.stem)
    with configure(passes_off=frozenset({"reroll"})):
        code = jit.compile(graph, ops=registry).code
    if not isinstance(code, NativeCode):
        raise refused(function, "there is no machine code for it")
    names = [identifier(x) for x in names_of(function, call)]
    try:
        made = standalone(name, code.plan.program, host_target(), names, constants)
    except NoNativeCode as reason:
        raise refused(function, f"its graph has {reason}") from None
    path.write_text(made.header, encoding="utf-8")
    code_path = path.with_suffix(".o")
    code_path.write_bytes(made.code)
    link(code_path)
    return path


def whole_graph(way: Path) -> Graph:
    """The graph of a path, with an output for each tensor that is returned."""
    graph = way.executable.graph.copy()[0]
    leaves = [x.array for x in tree.flatten(way.foreseen().result)[0] if isinstance(x, Output)]
    values = [graph.outputs[k] if k >= 0 else graph.inputs[-1 - k] for k in leaves]
    graph.outputs = list(dict.fromkeys(values))
    return graph


def names_of(function: Function, call: Call) -> list[str]:
    """What the function calls its tensor arguments."""
    names = leaf_names(function.python, call)
    return [names[k] for k in call.places]


def identifier(name: str) -> str:
    """A name as C takes it."""
    name = re.sub(r"\W+", "_", name).strip("_") or "f"
    return f"_{name}" if name[0].isdigit() or name in KEYWORDS else name


def link(code: FilePath) -> FilePath | None:
    """A shared library of an object file, where a linker is found."""
    linker = next(filter(None, map(shutil.which, LINKERS)), None)
    if linker is None:
        return None
    library = code.with_suffix(".so")
    command = [linker, "-shared", "-o", str(library), str(code)]
    done = subprocess.run(command, capture_output=True, check=False)
    return library if done.returncode == 0 else None
