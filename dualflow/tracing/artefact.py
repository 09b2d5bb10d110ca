"""Artefacts: recorded calls as a file that runs without the Python that was recorded.

A zip file with the graphs as text, the arrays that they read, and a description in JSON. Nothing in
it is code of Python or of the machine: graphs are parsed, verified and compiled where it is loaded.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

import numpy as np

import jit
from dualflow.core import tree
from dualflow.core.convert import as_tensor
from dualflow.core.op import registry
from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable
from dualflow.tracing.cells import ArrayCell, TensorCell, VariableCell
from dualflow.tracing.control.checkpoint import recomputed
from dualflow.tracing.control.looped import looped
from dualflow.tracing.modes import set_mode
from dualflow.tracing.path import Output, Path
from dualflow.tracing.signature import Call, take_apart
from jit.errors import DTypeError, GraphError, GuardMiss, TraceError
from jit.ir.text import parse
from jit.ir.verify import verify
from jit.types import as_dtype

if TYPE_CHECKING:
    from dualflow.tracing.function import Function

FORMAT = 1
WITH_BODY = {op.name: op for op in (looped, recomputed)}
PLAIN = (type(None), bool, int, float, str)
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError, TypeError, GraphError)
LARGEST = 1 << 34  # bytes of an array in a file that is loaded


def export(function: Function, path: str | FilePath, args: Any, kwargs: Any) -> FilePath:
    """Writes what was recorded for calls of one kind.

    Args:
        function: Whose calls.
        path: Of the file.
        args: Of such a call; it is made if none was recorded yet.
        kwargs: Of such a call.

    Returns:
        The path.

    Raises:
        TraceError: What was recorded needs Python.
    """
    call, ways = recorded_ways(function, args, kwargs)
    path = FilePath(path)
    states = {id(v): v for way in ways for v in way.variables}
    names = dict(zip(states, unique([v.name or "state" for v in states.values()]), strict=True))
    arrays = {f"state/{names[key]}": v.numpy() for key, v in states.items()}
    described = [describe(function, way, names, arrays) for way in ways]
    about = {
        "format": FORMAT,
        "name": function.name,
        "arguments": encoded(tree.unflatten(call.spec, numbered(call)), function.name),
        "states": list(names.values()),
        "ways": described,
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("about.json", json.dumps(about, indent=1))
        for k, way in enumerate(ways):
            file.writestr(f"graph{k}.txt", str(way.executable.graph))
        for name, array in arrays.items():
            stream = io.BytesIO()
            np.lib.format.write_array(stream, np.asarray(bytes_of(array)), allow_pickle=False)
            file.writestr(f"{name}.npy", stream.getvalue())
            file.writestr(f"{name}.dtype", np.asarray(array).dtype.name)
    return path


def recorded_ways(function: Function, args: Any, kwargs: Any) -> tuple[Call, list[Path]]:
    """A call, and the paths recorded for calls like it."""
    call = take_apart(args, kwargs)
    entry = function.entries.serving(call)
    if entry is None:
        with set_mode("compiled"):
            function(*args, **kwargs)
    function.wait()
    entry = function.entries.serving(call)
    if entry is None or entry.segments is not None or not entry.paths:
        why = entry.segments if entry is not None and entry.segments else "nothing was recorded"
        raise refused(function, why)
    ways = [way for way in entry.paths if isinstance(way, Path)]
    if not ways:
        raise refused(function, "ways through it join")
    return call, ways


def refused(function: Function, why: str) -> TraceError:
    """The error for a function that no file can hold."""
    return TraceError(
        f"{function.name}.export: {why}",
        "calls that graphs serve as a whole, from tensors and Variables",
        "export a function of tensors that decides nothing by other values",
    )


def describe(
    function: Function, way: Path, names: dict[int, str], arrays: dict[str, Any]
) -> dict[str, Any]:
    """What of a path is no graph."""
    if way.effects:
        raise refused(function, f"a call {way.effects[0]}")
    if way.gives_numbers:
        raise refused(function, "it returns Python numbers that differ from call to call")
    inputs = []
    for cell in way.cells:
        if isinstance(cell, VariableCell):
            inputs.append({"state": names[id(cell.variable)]})
        elif isinstance(cell, ArrayCell | TensorCell):
            name = f"array/{len(arrays)}"
            arrays[name] = cell.tensor.raw
            inputs.append({"array": name})
        else:
            raise refused(function, "it reads numbers or state of Python's that vary")
    outcome = way.foreseen()
    if outcome.replaced:
        raise refused(function, "it leaves gradients")
    return {
        "answers": list(way.answers),
        "inputs": inputs,
        "result": encoded(outcome.result, function.name),
        "writes": {names[id(v)]: output.array for v, output in outcome.written.items()},
    }


def numbered(call: Call) -> list[Any]:
    """The leaves of a call, with an `Output` for each tensor."""
    rest = iter(range(len(call.tensors)))
    return [Output(next(rest), None) if x.__class__ is Tensor else x for x in call.leaves]


def encoded(nest: Any, name: str) -> Any:
    """A nest as plain JSON; an `Output` in it is a number, -1 - k for argument k."""
    if isinstance(nest, Output):
        return {"tensor": nest.array}
    if isinstance(nest, PLAIN):
        return {"value": nest}
    if type(nest) in (list, tuple):
        return {type(nest).__name__: [encoded(x, name) for x in nest]}
    if type(nest) is dict and all(isinstance(key, str) for key in nest):
        return {"dict": {key: encoded(x, name) for key, x in nest.items()}}
    raise TraceError(
        f"{name}.export: a {type(nest).__name__} among arguments or results",
        "tensors, numbers, strings, in lists, tuples and dicts",
        "take it apart outside",
    )


def decoded(code: Any, tensors: Sequence[Any]) -> Any:
    """The inverse of `encoded`."""
    ((kind, inner),) = code.items()
    if kind == "tensor":
        return tensors[inner]
    if kind == "value":
        return inner
    if kind == "dict":
        return {key: decoded(x, tensors) for key, x in inner.items()}
    return {"list": list, "tuple": tuple}[kind]([decoded(x, tensors) for x in inner])


def bytes_of(array: Any) -> Any:
    """An array in a dtype that NumPy's format knows: bfloat16 is not among them."""
    array = np.asarray(array)
    return array if array.dtype.kind in "biufc" else array.view(f"u{array.dtype.itemsize}")


def unique(names: Sequence[str]) -> list[str]:
    """Names made different, of characters that paths may have."""
    found: list[str] = []
    for name in names:
        safe = "".join(c if c.isalnum() or c in "._-" else "_" for c in name)
        found.append(safe if safe not in found else f"{safe}_{len(found)}")
    return found


class Exported:
    """A function that was loaded from a file; it runs from graphs alone.

    Args:
        path: Of the file.

    Attributes:
        name: Of the function.
        state: The Variables that it reads and assigns, by name: its own, as they were when it was
            exported.

    Raises:
        TraceError: The file is not one, or is damaged.
    """

    def __init__(self, path: str | FilePath) -> None:
        try:
            self._load(zipfile.ZipFile(path))
        except DAMAGE as error:
            raise TraceError(
                f"load: {path} is no exported function, or is damaged: {error}",
                "a file that `f.export(path)` has written",
                "export it anew",
            ) from error

    def _load(self, file: zipfile.ZipFile) -> None:
        about = json.loads(file.read("about.json"))
        if about["format"] != FORMAT:
            raise ValueError(f"format {about['format']}, not {FORMAT}")
        self.name: str = about["name"]
        self._arguments = about["arguments"]
        self.state = {
            name: Variable(as_tensor(array(file, f"state/{name}")), trainable=False, name=name)
            for name in about["states"]
        }
        self._ways = []
        for k, way in enumerate(about["ways"]):
            graph = parse(file.read(f"graph{k}.txt").decode(), {**registry, **WITH_BODY})
            verify(graph)
            given = [
                self.state[x["state"]] if "state" in x else as_tensor(array(file, x["array"]))
                for x in way["inputs"]
            ]
            executable = jit.compile(graph, ops=registry)
            self._ways.append((tuple(way["answers"]), executable, given, way))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """A call with arguments like those that were recorded.

        Raises:
            TraceError: The arguments have another structure or other values, or the call goes a
                way that was not recorded.
            DTypeError: A tensor is of another type.
        """
        call = take_apart(args, kwargs)
        given = encoded(tree.unflatten(call.spec, numbered(call)), self.name)
        if given != self._arguments:
            raise TraceError(
                f"{self.name}: other arguments than were recorded: {given}",
                str(self._arguments),
                "pass what was exported",
            )
        prefix: tuple[Any, ...] = ()
        for answers, executable, more, way in self._ways:
            if answers[: len(prefix)] != prefix:
                continue
            tensors = [*call.tensors, *more]
            self._check(executable.graph, tensors)
            try:
                made = executable([x.raw for x in tensors])
            except GuardMiss as miss:
                prefix = (*answers[: miss.index], miss.actual)
                continue
            for name, output in way["writes"].items():
                self.state[name].assign(Tensor(made[output]))
            found = [*[Tensor(x) for x in made], *reversed(call.tensors)]
            return decoded(way["result"], found)
        raise TraceError(
            f"{self.name}: a way that was not recorded before it was exported",
            "values for which Python decides as in a recorded call",
            "call the function with such values, then export it",
        )

    def _check(self, graph: Any, tensors: Sequence[Tensor]) -> None:
        for k, (x, value) in enumerate(zip(tensors, graph.inputs, strict=True)):
            if (x.dtype, x.ndim) != (value.type.dtype, len(value.type.shape)):
                raise DTypeError(f"{self.name}: argument {k} is {x.type}", str(value.type), "")

    def __repr__(self) -> str:
        return f"<Exported {self.name}: {len(self._ways)} ways, {len(self.state)} Variables>"


def array(file: zipfile.ZipFile, name: str) -> Any:
    """An array of a file."""
    if file.getinfo(f"{name}.npy").file_size > LARGEST:
        raise ValueError(f"{name} is too large")
    stream = io.BytesIO(file.read(f"{name}.npy"))
    found = np.lib.format.read_array(stream, allow_pickle=False)
    dtype = as_dtype(file.read(f"{name}.dtype").decode())
    return found if found.dtype == dtype else found.view(dtype)


def load_function(path: str | FilePath) -> Exported:
    """Loads what `f.export(path)` has written.

    Args:
        path: Of the file. Nothing in it is run but graphs, which are verified and compiled here.

    Returns:
        What can be called as the function was; its `state` holds the Variables.

    Raises:
        TraceError: It is no such file, or damaged.

    Example:
        >>> import tempfile, dualflow as df
        >>> f = df.function(lambda x: x * 2.0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     g = df.load_function(f.export(f"{folder}/f.dfx", df.ones(2)))
        >>> g(df.asarray([1.0, 3.0])).tolist()
        [2.0, 6.0]
    """
    return Exported(path)
