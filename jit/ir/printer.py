"""Graphs as text; the grammar stands in `jit.ir.graph`, the way back is `jit.ir.text`."""

from __future__ import annotations

import base64
import json
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from jit.dims import Dim, Symbol, free_symbols
from jit.types import TensorType

if TYPE_CHECKING:
    from jit.ir.graph import Graph, Node, Value

SHORT_ARRAY = 16
UNKNOWN = "%?"


def format_graph(
    graph: Graph, *, canonical: bool = False, inner: Callable[[Graph], str] | None = None
) -> str:
    """All of `graph`.

    Args:
        graph: What is written.
        canonical: Leaves out names, lines and hints, which change no result.
        inner: What is written for a graph that a node holds; by default all of it.
    """
    names = value_names(graph, canonical=canonical)
    name = "graph" if canonical else _identifier(graph.name, "graph")
    inputs = ", ".join(f"{names[value]}: {value.type}" for value in graph.inputs)
    lines = [f"graph {name}{_format_symbols(graph, hints=not canonical)}({inputs}) {{"]
    lines += [
        f"  {format_node(node, names, source=not canonical, inner=inner)}" for node in graph.nodes
    ]
    outputs = ", ".join(names.get(value, UNKNOWN) for value in graph.outputs)
    return "\n".join([*lines, f"  return {outputs}".rstrip(), "}"])


def value_names(graph: Graph, *, canonical: bool = False) -> dict[Value, str]:
    """What each value is called: inputs by their names made unique, results by numbers."""
    names: dict[Value, str] = {}
    taken: set[str] = set()
    counts: dict[str, int] = {}
    for index, value in enumerate(graph.inputs):
        base = name = f"in{index}" if canonical else _identifier(value.name or "", f"in{index}")
        while name in taken:
            counts[base] = counts.get(base, 0) + 1
            name = f"{base}_{counts[base]}"
        taken.add(name)
        names[value] = f"%{name}"
    number = 0
    for node in graph.nodes:
        for value in node.outputs:
            names[value] = f"%{number}"
            number += 1
    return names


def format_node(
    node: Node,
    names: Mapping[Value, str] | None = None,
    *,
    source: bool = True,
    inner: Callable[[Graph], str] | None = None,
) -> str:
    """One line of graph text; without `names`, values are shown by their types alone."""
    if names is None:
        left = ", ".join([str(value.type) for value in node.outputs])
        inputs = ", ".join([str(value.type) for value in node.inputs])
    else:
        left = ", ".join([f"{names.get(value, UNKNOWN)}: {value.type}" for value in node.outputs])
        inputs = ", ".join([names.get(value, UNKNOWN) for value in node.inputs])
    text = f"{node.op.name}({inputs})"
    if left:
        text = f"{left} = {text}"
    bodies: list[Graph] = []
    if node.attrs:  # most nodes have none
        bodies = [value for value in node.attrs.values() if is_graph(value)]
        attrs = [
            f"{name}={format_static(value)}"
            for name, value in node.attrs.items()
            if not is_graph(value)
        ]
        text += f" {{{', '.join(attrs)}}}" if attrs else ""
        text += " of" * len(bodies)
    if source and node.source:
        text += f"  # {' '.join(node.source.split())}"
    for body in bodies:
        told = format_graph(body, canonical=not source) if inner is None else inner(body)
        text += "\n" + textwrap.indent(told, 4 * " ")
    return text


def format_static(value: Any) -> str:
    """An attr as text that reads back as an equal attr of the same type.

    Raises:
        TypeError: `value` is not one of the types that attrs may have.
    """
    kind = type(value)
    if value is None or kind in (bool, int, float, complex):
        return repr(value)
    if kind is str:
        return json.dumps(value)
    if kind is tuple:
        inner = ", ".join(map(format_static, value))
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if isinstance(value, Dim):
        return str(value)
    if isinstance(value, np.dtype):
        return value.name
    if isinstance(value, np.ndarray):
        return _format_array(value)
    if is_graph(value):
        return format_graph(value, canonical=True)
    raise TypeError(
        f"attr {value!r} is a {kind.__name__}: attrs are numbers, strings, dtypes, dims, tuples"
    )


def is_graph(value: Any) -> TypeGuard[Graph]:
    """Whether an attr is a graph: the body of a loop or a call."""
    return isinstance(value, graph_class())


@cache
def graph_class() -> type[Graph]:
    """The class of graphs, whose module imports this one."""
    from jit.ir.graph import Graph

    return Graph


def static_dims(graph: Graph) -> list[Dim]:
    """Every dimension in the types and attrs of `graph` that is not a number."""
    found = [extent for value in graph.inputs for extent in value.type.shape]
    for node in graph.nodes:
        for value in node.outputs:
            found.extend(value.type.shape)
        for attr in node.attrs.values() if node.attrs else ():
            found.extend(attr_leaves(attr) if type(attr) is tuple else (attr,))
    return [item for item in found if isinstance(item, Dim)]


def attr_leaves(attr: Any) -> Iterator[Any]:
    """An attr's parts with all tuples opened."""
    if isinstance(attr, tuple):
        for item in attr:
            yield from attr_leaves(item)
    else:
        yield attr


def _format_symbols(graph: Graph, *, hints: bool) -> str:
    found: dict[Symbol, None] = {}  # those that the ends of others are told by come first

    def visit(symbol: Symbol) -> None:
        for other in [] if symbol.hi is None else free_symbols(symbol.hi):
            visit(other)
        found[symbol] = None

    for each in free_symbols(static_dims(graph)):
        visit(each)
    symbols = [_format_symbol(symbol, hint=hints) for symbol in found]
    return f"[{', '.join(symbols)}]" if symbols else ""


def _format_symbol(symbol: Symbol, *, hint: bool) -> str:
    if symbol.hi is None:
        text = f"{symbol.name}>={symbol.lo}"
    else:
        text = f"{symbol.lo}<={symbol.name}<={symbol.hi}"
    return f"{text} hint {symbol.hint}" if hint and symbol.hint is not None else text


def _format_array(array: np.ndarray[Any, Any]) -> str:
    """In figures where they are few and give back every bit; NaNs with a payload do not."""
    head = str(TensorType(array.shape, array.dtype))
    if array.size <= SHORT_ARRAY:
        figures = (
            [str(item) for item in array.ravel().tolist()] if array.dtype.kind in "biuc" else None
        )
        figures = figures or [str(item) for item in array.ravel()]
        if array_of_figures(figures, array.dtype).tobytes() == array.tobytes():
            return f"{head}({', '.join(figures)})"
    return f"{head}(base64 {json.dumps(base64.b64encode(array.tobytes()).decode())})"


def array_of_figures(figures: list[str], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """The inverse of writing elements one by one, as a 1-d array.

    Raises:
        ValueError: A figure is not one of `dtype`.
    """
    if dtype.kind == "b":
        if not set(figures) <= {"True", "False"}:
            raise ValueError("a bool is True or False")
        return np.array([figure == "True" for figure in figures], dtype)
    if dtype.kind in "iu":
        return np.array([int(figure) for figure in figures], dtype)
    number = complex if dtype.kind == "c" else float
    return np.array([number(figure) for figure in figures], dtype)


def _identifier(name: str, default: str) -> str:
    """`name` with every character that the grammar does not allow replaced."""
    name = re.sub(r"[^\w.]", "_", name) or default
    return f"_{name}" if name[0].isdigit() or name[0] == "." else name
