"""render: one program as code under a tape, as a session, and as the graph that both are."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

import jit
from dualflow.core import tree
from dualflow.core.context import using
from dualflow.core.convert import as_tensor
from dualflow.core.op import bind, registry
from dualflow.core.variable import Variable
from dualflow.graph.build import Graph, gradients
from dualflow.graph.naming import identifier, names_of
from dualflow.tracing.function import Function
from dualflow.tracing.spec import TensorSpec
from jit.errors import TraceError
from jit.ir.builtin import constant
from jit.ir.graph import Node, Value

FORMS = ("tape", "session", "ir")
LARGEST = 100  # elements of a constant that text may hold


class Program(NamedTuple):
    """A function as a graph, ready to be written.

    Attributes:
        name: The function's.
        inputs: Names of the arguments, then of Variables that it reads.
        graph: The part of it that is computed forward.
        whole: The same, with gradients.
        sources: The arguments of which gradients are asked.
    """

    name: str
    inputs: list[str]
    graph: jit.Graph
    whole: jit.Graph
    sources: list[str]


def render(
    function: Callable[..., Any], *args: Any, as_: str = "ir", wrt: Sequence[str] = ()
) -> str:
    """One program in one of three forms, each of which runs.

    Args:
        function: A function of tensors, decorated or not. Its first result is what gradients are
            of; Variables that it reads become arguments.
        *args: Arguments, or a `TensorSpec` for each; only their types count.
        as_: "tape": a function under a `GradientTape`. "session": placeholders, and a function that
            runs them in a `Session`. "ir": the graph, which `jit.ir.text.parse` reads.
        wrt: Names of the arguments to give gradients for.

    Returns:
        The text. Run by `exec`, "tape" and "session" define a function of the same name.

    Raises:
        ValueError: Another form, or an argument that is not there.
        TraceError: The function needs values, or holds a large constant.

    Example:
        >>> import dualflow as df
        >>> def loss(x, w):
        ...     return ((x * w) ** 2).sum()
        >>> print(df.render(loss, df.ones(3), df.ones(3), as_="tape", wrt=["w"]))
        import dualflow as df
        <BLANKLINE>
        <BLANKLINE>
        def loss(x, w):
            with df.GradientTape() as tape:
                tape.watch([w])
                v0 = df.multiply(x, w)
                v1 = df.square(v0)
                v2 = df.sum(v1, axis=(0,), keepdims=False)
            return v2, *tape.gradient(v2, [w])
    """
    if as_ not in FORMS:
        raise ValueError(f"render: as_={as_!r}: {', '.join(FORMS)}")
    program = traced(function, args, list(wrt))
    if as_ == "ir":
        return str(program.whole)
    return (as_tape if as_ == "tape" else as_session)(program)


def apply(name: str, *args: Any, **attrs: Any) -> Any:
    """Applies an op by the name of its record: what no public function does in one step.

    Args:
        name: The op's, as graphs print it.
        *args: Tensors.
        **attrs: Its static arguments.
    """
    return bind(registry[name], tuple(as_tensor(x) for x in args), attrs)


def traced(function: Callable[..., Any], args: tuple[Any, ...], wrt: list[str]) -> Program:
    """The function's graph, without running it."""
    python = function.python if isinstance(function, Function) else function
    names = list(inspect.signature(getattr(python, "forward", python)).parameters)[: len(args)]
    unknown = [name for name in wrt if name not in names]
    if unknown or len(names) < len(args):
        raise ValueError(f"render: {', '.join(unknown) or 'more arguments'}; it has {names}")
    graph = Graph()
    symbols = [graph.source(type_of(x), name) for x, name in zip(args, names, strict=True)]
    with using(trace=graph.trace):
        results = tree.flatten(python(*symbols))[0]
        results = [as_tensor(x) for x in results]
    found = []
    if wrt:
        found = gradients(results[0], [symbols[names.index(name)] for name in wrt])
    if missing := [name for name, g in zip(wrt, found, strict=True) if g is None]:
        raise TraceError(f"render: the result does not depend on {missing[0]}", "a way to it")
    inputs = inputs_of(graph, names_of(python))
    every = set(graph.trace.graph.inputs)

    def part(tensors: list[Any]) -> jit.Graph:
        values = [graph.trace.value_of(x) for x in tensors]
        made = graph.extract(values, graph.needed(values, ())[0], every)
        made.name = getattr(python, "__name__", type(python).__name__)
        return made

    forward = part(results)
    return Program(
        forward.name.replace("<lambda>", "program"),
        inputs,
        forward,
        part([*results, *found]) if wrt else forward,
        wrt,
    )


def inputs_of(graph: Graph, known: dict[Variable, str]) -> list[str]:
    """Names of a graph's inputs: arguments have theirs, Variables those that code has for them."""
    values, taken = graph.trace.graph.inputs, {"df", "tape", "session"}
    cells = [None] * (len(values) - len(graph.trace.cells)) + graph.trace.cells
    inputs = []
    for k, (value, cell) in enumerate(zip(values, cells, strict=True)):
        variable = getattr(cell, "variable", None)
        name = value.name if variable is None else known.get(variable) or value.name
        inputs.append(identifier(name or f"a{k}", taken))
        value.name = inputs[-1]
    return inputs


def type_of(x: Any) -> Any:
    """The type of an argument, which must be known in full."""
    if isinstance(x, TensorSpec):
        if not all(isinstance(extent, int) for extent in x.shape):
            raise TraceError("render: an extent is open", "numbers, which text can hold")
        return x.type({})
    return as_tensor(x).type


# ----- text -----


def as_tape(program: Program) -> str:
    """Code that runs step by step, under a tape where gradients are asked for."""
    lines, results = body(program)
    head = f"def {program.name}({', '.join(program.inputs)}):"
    if not program.sources:
        return text([head, *lines, f"return {', '.join(results)}"])
    sources = ", ".join(program.sources)
    watched = [f"    {line}" for line in (f"tape.watch([{sources}])", *lines)]
    back = f"return {', '.join(results)}, *tape.gradient({results[0]}, [{sources}])"
    return text([head, "with df.GradientTape() as tape:", *watched, back])


def as_session(program: Program) -> str:
    """Code that builds a graph of placeholders first, and runs it then."""
    lines, results = body(program)
    made = [
        f"{name} = df.graph.placeholder(df.{value.type.dtype}, {value.type.shape}, {name!r})"
        for name, value in zip(program.inputs, program.graph.inputs, strict=True)
    ]
    wanted = list(results)
    if program.sources:
        slopes = [f"d_{name}" for name in program.sources]
        sources = ", ".join(program.sources)
        left = ", ".join(slopes) if len(slopes) > 1 else f"({slopes[0]},)"
        lines += [f"{left} = df.graph.gradients({results[0]}, [{sources}])"]
        wanted += slopes
    feeds = ", ".join(f"{name}: {name}_value" for name in program.inputs)
    values = ", ".join(f"{name}_value" for name in program.inputs)
    return "\n".join(
        [
            "import dualflow as df",
            "",
            *made,
            *lines,
            "",
            "",
            f"def {program.name}({values}):",
            "    with df.graph.Session() as session:",
            f"        return session.run([{', '.join(wanted)}], feed_dict={{{feeds}}})",
        ]
    )


def text(lines: list[str]) -> str:
    """A module with one function."""
    return "\n".join(
        ["import dualflow as df", "", "", lines[0], *(f"    {line}" for line in lines[1:])]
    )


def body(program: Program) -> tuple[list[str], list[str]]:
    """A line for each node of the forward part, and the names of the results."""
    names: dict[Value, str] = dict(zip(program.graph.inputs, program.inputs, strict=True))
    lines: list[str] = []
    for node in program.graph.nodes:
        for value in node.outputs:
            names[value] = f"v{len(names) - len(program.inputs)}"
        left = ", ".join(names[value] for value in node.outputs)
        lines.append(f"{left} = {called(node, [names[value] for value in node.inputs])}")
    return lines, [names[value] for value in program.graph.outputs]


def called(node: Node, args: list[str]) -> str:
    """A node as a call: of the public function that appends just it, or of `apply`."""
    if node.op is constant:
        return literal(node.attrs["value"])
    for attrs in ({"axis" if k == "axes" else k: v for k, v in node.attrs.items()}, node.attrs):
        for module, path in homes_of(node.op.name):
            if appends(getattr(module, node.op.name), node, attrs):
                return f"{path}.{node.op.name}({', '.join([*args, *words(attrs)])})"
    given = ", ".join([repr(node.op.name), *args, *words(node.attrs)])
    return f"df.graph.apply({given})"


def homes_of(name: str) -> list[tuple[ModuleType, str]]:
    """The public modules that have a function of an op's name, as one writes them."""
    import dualflow as df

    modules = [(df, "df"), (df.nn.functional, "df.nn.functional")]
    return [(module, path) for module, path in modules if name in module.__all__]


def appends(function: Callable[..., Any], node: Node, attrs: dict[str, Any]) -> bool:
    """Whether a call of a function appends one node, equal to this one."""
    graph = Graph()
    symbols = [graph.source(value.type, f"a{k}") for k, value in enumerate(node.inputs)]
    try:
        function(*symbols, **attrs)
    except (TypeError, ValueError):
        return False
    made = graph.trace.graph.nodes
    return (
        len(made) == 1
        and made[0].op is node.op
        and made[0].attrs == node.attrs
        and list(made[0].inputs) == [x.symbol.value for x in symbols]
    )


def words(attrs: dict[str, Any]) -> list[str]:
    """Keyword arguments as text."""
    return [
        f"{name}=df.{value}" if isinstance(value, np.dtype) else f"{name}={value!r}"
        for name, value in attrs.items()
    ]


def literal(array: Any) -> str:
    """A constant as text."""
    if array.size > LARGEST:
        raise TraceError(
            f"render: a constant of {array.size} elements", f"at most {LARGEST}", "pass it"
        )
    values = repr(array.tolist()).replace("inf", "df.inf").replace("nan", "df.nan")
    return f"df.asarray({values}, dtype=df.{array.dtype})"
