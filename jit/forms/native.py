"""A Graph as forms that native code can be made of; all other nodes become host steps.

A node runs on the host, by its op's `evaluate`, if one of its forms has no code: complex numbers,
and steps that Python does anyway.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from jit.dims import Dim, Extent, allowing_guesses, free_symbols, solve
from jit.errors import DualflowError, NoNativeCode
from jit.forms import nodes
from jit.forms.attention import HALVES
from jit.forms.forms import FormBuilder, Units, in_none
from jit.forms.merge import merged
from jit.forms.nodes import Form, FormValue
from jit.forms.placement import Placement, cost_of, size_hint
from jit.forms.program import FormProgram
from jit.forms.turns import turns_at_once
from jit.ir.builtin import guard
from jit.ir.call import Body, call
from jit.ir.graph import Graph, Node
from jit.ir.interpret import bound
from jit.ir.loop import COUNTER
from jit.ir.printer import attr_leaves, static_dims
from jit.progress import each
from jit.types import kind

LIGHT = 4  # additions
FEW, SMALL = 1 << 16, 16  # bytes that cost nothing to read; so are those of so many times fewer
NATIVE = (
    nodes.Source,
    nodes.Constant,
    nodes.Index,
    nodes.Pointwise,
    nodes.View,
    nodes.Reduce,
    nodes.Contract,
    nodes.Scan,
    nodes.Scatter,
    nodes.Pieces,
    nodes.Attention,
    nodes.AttentionFlow,
)


def lower_for_code(graph: Graph, units: Units = in_none) -> FormProgram:
    """The forms of every node, in the order of the graph.

    Args:
        graph: What is lowered.
        units: In what tensor cores multiply elements of a dtype: see `Target.units`.

    Raises:
        NoNativeCode: A node that only Python can compute depends on sizes that vary.
    """
    if not isinstance(graph, Body):
        return all_lowered(graph, units)
    known, halves = _bodies.setdefault(graph, {}), tuple(map(units, HALVES))
    if halves not in known:
        known[halves] = all_lowered(graph, units)
    return known[halves]


def all_lowered(graph: Graph, units: Units) -> FormProgram:
    """As `lower_for_code`, made anew."""
    form = FormBuilder(units)
    inputs = [form.source(value.type) for value in graph.inputs]
    values = dict(zip(graph.inputs, inputs, strict=True))
    origins: dict[Form, Node] = {}
    with allowing_guesses():
        for node in each("lowering ops", graph.nodes):
            start = len(form.forms)
            results = lowered(form, node, [values[x] for x in node.inputs], inputs)
            origins.update(dict.fromkeys(form.forms[start:], node))
            values.update(zip(node.outputs, results, strict=True))
    outputs = tuple([values[x] for x in graph.outputs])
    return merged(FormProgram(tuple(inputs), tuple(form.forms), outputs, origins))


def lowered(
    form: FormBuilder,
    node: Node,
    xs: Sequence[FormValue],
    given: Sequence[FormValue] | None = None,
) -> tuple[FormValue, ...]:
    """The results of one node.

    Args:
        form: The builder.
        node: The node.
        xs: What it reads.
        given: The inputs of its graph; None where nobody runs it.

    Raises:
        NoNativeCode: It is left to Python, and no input tells a size that it depends on.
    """
    if node.op is guard:
        return form.emit(nodes.Guard(tuple(xs), (), node.attrs["expected"]))
    if node.op.repeats and is_repeatable(node.attrs["body"]):
        attrs, types = dict(node.attrs), tuple([value.type for value in node.outputs])
        program = lower_for_code(attrs.pop("body"), form.units)
        if not attrs["carried"] and all(attrs["stacked"]) and attrs.get("going") is None:
            made = turns_at_once(form, program, xs, attrs["count"])
            if made is not None:
                return made
        return form.emit(nodes.Loop(tuple(xs), types, program, **attrs))
    if node.op is call:
        types = tuple([value.type for value in node.outputs])
        return form.emit(
            nodes.Call(tuple(xs), types, lower_for_code(node.attrs["body"], form.units))
        )
    start = len(form.forms)
    results = node.op.lower(form, *xs, **node.attrs)
    if all(map(has_code, form.forms[start:])):
        return results if isinstance(results, tuple) else (results,)
    del form.forms[start:]
    types = tuple([value.type for value in node.outputs])
    more = [] if given is None else telling(node, given)
    step = host_step(node, [x.type.shape for x in more])
    return form.emit(nodes.Extern((*xs, *more), types, node.op.name, step))


_bodies: WeakKeyDictionary[Body, dict[tuple[str, ...], FormProgram]] = WeakKeyDictionary()


def has_code(form: Form) -> bool:
    """Whether native code can be made of a form."""
    dtypes = [x.dtype for x in (*form.inputs, *form.outputs)]
    if isinstance(form, nodes.Contract) and len(form.inputs) != 2:
        return False
    return isinstance(form, NATIVE) and all(kind(dtype) != "complex" for dtype in dtypes)


def telling(node: Node, given: Sequence[FormValue]) -> list[FormValue]:
    """Those of the graph's inputs that tell sizes in a node's attrs which its own do not tell.

    Raises:
        NoNativeCode: There is one that no input tells.
    """
    varying = varying_attrs(node)
    extents = [extent for value in node.inputs for extent in value.type.shape]
    missing = {str(s) for s in free_symbols([*varying, *extents])} if varying else set[str]()
    missing -= {str(extent) for extent in extents}
    more = list[FormValue]()
    for x in given:
        if told := missing & {str(extent) for extent in x.type.shape}:
            missing -= told
            more.append(x)
    if missing:
        raise NoNativeCode(f"{node.op.name} of sizes that vary")
    return more


def varying_attrs(node: Node) -> list[Dim]:
    """The sizes in a node's attrs that vary."""
    leaves = [leaf for attr in node.attrs.values() for leaf in attr_leaves(attr)]
    return [leaf for leaf in leaves if isinstance(leaf, Dim)]


def host_step(node: Node, more: Sequence[Sequence[Extent]]) -> Callable[..., Any]:
    """The node computed by its op's `evaluate`.

    Args:
        node: The node.
        more: The shapes of further arrays that it is given, which tell sizes in its attrs.
    """
    varying = bool(varying_attrs(node))
    shapes = [*[value.type.shape for value in node.inputs], *more]
    evaluate, attrs, count = node.op.evaluate, node.attrs, len(node.inputs)

    def host(*arrays: Any) -> Any:
        given = attrs
        if varying:
            sizes = solve(shapes, [x.shape for x in arrays])
            given = {name: bound(attr, sizes) for name, attr in attrs.items()}
        with np.errstate(all="ignore"):
            return evaluate(module_of(arrays), *arrays[:count], **given)

    return host


def module_of(arrays: Sequence[Any]) -> ModuleType:
    """The array module of arrays: the one that their class comes from, such as CuPy."""
    names = [type(x).__module__.partition(".")[0] for x in arrays]
    other = next((name for name in names if name != np.__name__), None)
    return np if other is None else sys.modules[other]


def is_computed(node: Node) -> bool:
    """Whether a node is more than a view, a constant, or a number of each index."""
    kinds = (nodes.Source, nodes.View, nodes.Constant, nodes.Index)
    return not all(isinstance(each, kinds) for each in forms_alone(node))


def is_product(node: Node) -> bool:
    """Whether a node multiplies matrices, or what is like it, whose operands lie in memory."""
    return any(isinstance(each, nodes.Contract) for each in forms_alone(node))


def price(node: Node) -> int | None:
    """Additions that an element of an elementwise node takes; None for one that is not.

    To read elsewhere costs nothing, where no table says where.
    """
    forms = [form for form in forms_alone(node) if not isinstance(form, nodes.Source)]
    free = (nodes.View, nodes.Index, nodes.Constant)
    if not all(isinstance(form, (nodes.Pointwise, *free)) for form in forms):
        return None
    if any(isinstance(form, nodes.View) and len(form.inputs) > 1 for form in forms):
        return None
    return sum(cost_of(form) for form in forms if isinstance(form, nodes.Pointwise))


def is_map(node: Node) -> bool:
    """Whether a node takes its inputs element by element."""
    return price(node) is not None


def is_light(node: Node) -> bool:
    """Whether an element takes few additions, and is made of no more bytes than it has.

    Bytes count where there are many.
    """
    cost = price(node)
    if cost is None or cost > LIGHT or len(node.outputs) != 1:
        return False
    (result,) = node.outputs
    count = size_hint(result.type.shape)
    sizes = [size_hint(x.type.shape) * x.type.dtype.itemsize for x in node.inputs]
    most = count * result.type.dtype.itemsize
    return sum(size for size in sizes if size > max(FEW, most // SMALL)) <= most


def forms_alone(node: Node) -> list[Form]:
    """The forms of a node, whatever it reads."""
    form = FormBuilder()
    xs = [form.source(value.type) for value in node.inputs]
    with allowing_guesses():
        lowered(form, node, xs)
    return form.forms


def is_repeatable(body: Graph) -> bool:
    """Whether a graph can be run again and again by native code, as the body of a loop.

    Nothing of it is left to Python, each output is computed, into memory of its own, and the sizes
    are those of inputs.
    """
    try:
        program = lower_for_code(body)
    except (NoNativeCode, DualflowError):
        return False
    alone = [x for value in body.inputs for x in value.type.shape]
    known = {str(x) for x in alone if isinstance(x, Dim)} | {COUNTER}
    if not {str(s) for s in free_symbols(static_dims(body))} <= known:
        return False
    if not all(isinstance(form, NATIVE) for form in program.forms):
        return False
    placement = Placement(program)
    owners = [placement.base(x) for x in program.outputs]
    computed = not any(isinstance(x.form, nodes.Source | nodes.Constant) for x in owners)
    return computed and len(set(owners)) == len(owners)
