"""Session: runs parts of a graph, compiled, and keeps the values of its variables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

import jit
from dualflow.core import tree
from dualflow.core.op import registry
from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable
from dualflow.graph.build import Graph, get_default_graph, is_symbolic
from dualflow.graph.chance import of_this_run
from dualflow.graph.special import binding_of, specialised
from dualflow.graph.state import GraphVariable, Operation, updates_of
from dualflow.graph.tensors import current
from dualflow.tracing import modes
from dualflow.tracing.control.looped import op_by_op
from jit.errors import DTypeError, ShapeError, TraceError
from jit.ir.graph import Value
from jit.types import dtypes, format_shape, kind

Arrays = dict[Value, Any]


class Session:
    """Runs a graph.

    Args:
        graph: The default graph when None.

    Attributes:
        graph: What it runs.
        values: The arrays of the variables that have a value.
    """

    def __init__(self, graph: Graph | None = None) -> None:
        self.graph = get_default_graph() if graph is None else graph
        self.values: dict[GraphVariable, Any] = {}
        self._compiled: dict[Any, Any] = {}
        self._closed = False
        self._before: list[Session | None] = []

    def __enter__(self) -> Session:
        self._before.append(current.get())
        current.set(self)
        return self

    def __exit__(self, *exc: object) -> None:
        current.set(self._before.pop())
        self.close()

    @contextmanager
    def as_default(self) -> Iterator[Session]:
        """Makes this the session of `eval` and `run`, in a `with` block that does not close it."""
        token = current.set(self)
        try:
            yield self
        finally:
            current.reset(token)

    def close(self) -> None:
        """Lets go of variables and compiled parts; the session cannot be used any more."""
        self._closed = True
        self.values.clear()
        self._compiled.clear()

    def run(self, fetches: Any, feed_dict: Any = None) -> Any:
        """Computes tensors and does operations.

        Args:
            fetches: Tensors, variables and operations, in any nest.
            feed_dict: What to feed: a mapping from placeholders (or other tensors of the graph) to
                arrays, numbers or lists; or these in turn, in a tuple.

        Returns:
            NumPy arrays in the nest of `fetches`; None for an operation without a value.

        Raises:
            TraceError: A placeholder that is needed was not fed, a variable has no value, or
                something is no tensor of this graph.
            ShapeError: A fed value has another shape than its placeholder.
            DTypeError: A fed value does not fit the dtype.
        """
        if self._closed:
            raise TraceError("the session is closed", "a session in its `with`", "make a new one")
        leaves, structure = tree.flatten(fetches, is_leaf=lambda x: isinstance(x, Operation))
        fed = self._fed(feed_dict)
        updates = updates_of(self.graph, leaves, list(fed))
        wanted = [x.value if isinstance(x, Operation) else x for x in leaves]
        tensors = [x for x in wanted if x is not None] + [x for _, x in updates]
        symbolic = [x for x in tensors if is_symbolic(x) or isinstance(x, Variable)]
        self._check(tensors, symbolic)
        values = {id(x): self.graph.value(x) for x in symbolic}
        found = self._computed(list(dict.fromkeys(values.values())), fed)

        def result(x: Any) -> Any:
            return found[values[id(x)]] if id(x) in values else x.raw

        for variable, x in updates:
            self.values[variable] = np.array(result(x))
        results = [None if x is None else np.array(result(x))[()] for x in wanted]
        return tree.unflatten(structure, results)

    def _check(self, tensors: list[Any], symbolic: list[Any]) -> None:
        for x in tensors:
            if not isinstance(x, Tensor):
                raise TraceError(
                    f"run: a {type(x).__name__} cannot be fetched",
                    "tensors, variables and operations of the graph",
                    "session.run([a, b]), where a and b were computed from placeholders",
                )
        for x in symbolic:
            self.graph.value(x)

    # ----- what goes in -----

    def _fed(self, feed_dict: Any) -> Arrays:
        return {
            (value := self.graph.value(tensor)): fed_array(value, given, self.graph.line(value))
            for tensor, given in pairs(feed_dict)
        }

    def _read(self, inputs: Iterable[Value], fed: Arrays) -> Arrays:
        """What each input of a part of the graph is: fed, or the value of a variable."""
        owned = {v.place.symbol.value: v for v in self.graph.variables}
        outside = self.graph.trace.read_when_run()
        arrays: Arrays = {}
        for value in inputs:
            if value in fed:
                arrays[value] = fed[value]
            elif value in owned:
                arrays[value] = self._value(owned[value])
            elif value in outside:
                arrays[value] = outside[value].tensor.raw
            elif value in self.graph.defaults:
                arrays[value] = self.graph.defaults[value]
            elif self.graph.is_chance(value):
                arrays[value] = of_this_run()
            else:
                line = self.graph.line(value)
                raise TraceError(
                    f"run: placeholder {value.name!r}{f' of {line}' if line else ''} was not fed",
                    f"{value.type} for it",
                    f"session.run(..., feed_dict={{{value.name}: value}})",
                )
        return arrays

    def _value(self, variable: GraphVariable) -> Any:
        if variable not in self.values:
            raise TraceError(
                f"run: variable {variable.name!r} has no value in this session",
                "a value, which an initializer gives",
                "session.run(df.graph.global_variables_initializer())",
            )
        return self.values[variable]

    # ----- what comes out -----

    def _computed(self, values: list[Value], fed: Arrays) -> Arrays:
        """The arrays of some Values."""
        if not values:
            return {}
        nodes, inputs = self.graph.needed(values, list(fed))
        reached = self._reached(values, nodes, inputs, fed)
        arrays = {**self._read(inputs, fed), **{value: fed[value] for value in reached}}
        order = [v for v in self.graph.trace.graph.inputs if v in arrays]
        order += [v for v in reached if v not in inputs and v.node is not None]
        code = self._code(values, nodes, inputs, reached, [arrays[v] for v in order])
        return dict(zip(values, code([arrays[v] for v in order]), strict=True))

    def _reached(self, values: list[Value], nodes: Any, inputs: Any, fed: Arrays) -> list[Value]:
        """The fed values that the part of the graph uses."""
        used = {value for node in nodes for value in node.inputs} | set(values) | set(inputs)
        return [value for value in fed if value in used]

    def _code(self, values: Any, nodes: Any, inputs: Any, reached: Any, arrays: Any) -> Any:
        """The compiled part; for extents of 0 and 1, which symbols exclude, one of their own.

        With compilation off each op runs by itself, for extents that are known.
        """
        key = (tuple(values), tuple(reached))
        if key not in self._compiled:
            whole = set(inputs) | {v for v in reached if v.node is None}
            self._compiled[key] = self.graph.extract(values, nodes, whole, reached)
        graph = self._compiled[key]
        binding = binding_of(graph, arrays)
        small = tuple(sorted((k, n) for k, n in binding.items() if n < 2))
        eager = modes.mode() == "eager"
        place = (key, (small or eager) and tuple(sorted(binding.items())), eager)
        if place not in self._compiled:
            part = specialised(graph, binding) if small or (eager and binding) else graph
            one_by_one = partial(op_by_op, np, part, sizes={})
            self._compiled[place] = one_by_one if eager else jit.compile(part, ops=registry)
        return self._compiled[place]


class InteractiveSession(Session):
    """A session that is the default one from now on, until it is closed, as in notebooks.

    Args:
        graph: The default graph when None.
    """

    def __init__(self, graph: Graph | None = None) -> None:
        super().__init__(graph)
        self.__enter__()

    def close(self) -> None:
        """Lets go of everything; the session before is the default one again."""
        if self._before:
            current.set(self._before.pop())
        super().close()


def pairs(feed_dict: Any) -> list[tuple[Any, Any]]:
    """Tensors and what is fed to them."""
    if feed_dict is None:
        return []
    if isinstance(feed_dict, Mapping):
        return list(feed_dict.items())
    if isinstance(feed_dict, tuple | list) and len(feed_dict) % 2 == 0:
        return list(zip(feed_dict[::2], feed_dict[1::2], strict=True))
    raise TypeError("feed_dict: a mapping from placeholders to values, or both in turn in a tuple")


def fed_array(value: Value, given: Any, line: str | None) -> np.ndarray[Any, Any]:
    """A fed value in the dtype of its placeholder, if it fits."""
    name = f"{value.name or 'the tensor'!r}{f' of {line}' if line else ''}"
    if is_symbolic(given):
        raise TraceError(
            f"run: {name} was fed a symbolic tensor, and a graph cannot run in a circle",
            "values",
            "run that tensor first, and feed what it gives",
        )
    array = given.numpy() if isinstance(given, Tensor) else in_numpy(name, given)
    dtype = value.type.dtype
    if array.dtype.name not in dtypes or not narrows(array.dtype, dtype):
        raise DTypeError(
            f"run: {name} holds {dtype}, it was fed {array.dtype}",
            f"numbers that {dtype} can hold",
            f"np.asarray(value, {str(dtype)!r})",
        )
    shape = value.type.shape
    fits = len(shape) == array.ndim and all(
        not isinstance(extent, int) or extent == n
        for extent, n in zip(shape, array.shape, strict=True)
    )
    if not fits:
        raise ShapeError(
            f"run: {name} was fed a value of shape {format_shape(array.shape)}",
            format_shape(shape),
            "feed a value of that shape",
        )
    return np.ascontiguousarray(array, dtype).reshape(array.shape)


def in_numpy(name: str, given: Any) -> np.ndarray[Any, Any]:
    """What was fed as an array.

    Raises:
        ShapeError: Lists whose lengths differ.
    """
    try:
        return np.asarray(given)
    except ValueError:
        raise ShapeError(
            f"run: {name} was fed lists of different lengths",
            "the same length in all lists of one depth",
            "pad them, or feed each by itself",
        ) from None


def narrows(given: np.dtype[Any], wanted: np.dtype[Any]) -> bool:
    """Whether fed numbers may be converted: as in TensorFlow, floats of any width into floats."""
    order = ("bool", "integer", "floating", "complex")
    return given == wanted or (
        kind(given) in order
        and order.index(kind(given)) <= order.index(kind(wanted))
        and kind(wanted) != "bool"
    )
