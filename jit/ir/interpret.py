"""The reference executor: a graph run node by node through `op.evaluate`.

Values live in numbered slots; a slot is released with the last use of its value, and taken over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType, ModuleType
from typing import Any, TypeAlias

import numpy as np

from jit.dims import Dim, solve, substitute
from jit.errors import DualflowError, GuardMiss
from jit.ir.builtin import constant, guard
from jit.ir.graph import Graph, Node, Value
from jit.ir.printer import attr_leaves, static_dims

# How to call; the op's evaluate; its attrs; slots read, written (one or several), released; node.
Step: TypeAlias = (
    "tuple[int, Callable[..., Any], dict[str, Any], tuple[int, ...], Any, tuple[int, ...], Node]"
)
Evaluate: TypeAlias = "Callable[[Node], Callable[..., Any]]"
UNARY, BINARY, UNARY_ATTRS, GENERAL, SEVERAL = range(5)
KEPT_BINDINGS = 64


def evaluate_of(node: Node) -> Callable[..., Any]:
    """The op's own `evaluate`."""
    return node.op.evaluate


class Program:
    """A graph made ready to run.

    Args:
        graph: What to run; nothing may be added to it afterwards.
        xp: The array module, NumPy or CuPy.
        evaluate: What computes a node, called as the `evaluate` of its op is.
    """

    def __init__(self, graph: Graph, xp: ModuleType = np, evaluate: Evaluate = evaluate_of) -> None:
        self.graph = graph
        self.xp = xp
        self.steps, self.resident, self.results = _plan(graph, xp, evaluate)
        self._symbolic = bool(static_dims(graph))
        self._bound: dict[tuple[int, ...], list[Step]] = {}

    def __call__(
        self, arrays: Sequence[Any], sizes: Mapping[str, int] = MappingProxyType({})
    ) -> list[Any]:
        """Run on `arrays`, one for each input; the results in the order of the graph's outputs.

        Arrays are immutable here: a result may be a view of an input or of another result, or an
        input itself. NumPy's floating-point warnings are the caller's to switch off. `sizes` are
        the values of symbols that no shape gives.

        Raises:
            GuardMiss: A guard saw another answer than it expects.
            DualflowError: From an op; `location` is the line that the node came from.
            ShapeError: The shapes do not fit the symbolic dimensions of the inputs.
        """
        steps = self._steps_for(arrays, sizes) if self._symbolic else self.steps
        xp, ndarray = self.xp, self.xp.ndarray
        slots = [*arrays, *self.resident]
        node: Any = None
        try:
            for kind, evaluate, attrs, ins, out, released, node in steps:  # noqa: B007 - for `except`
                if kind == BINARY:
                    result = evaluate(xp, slots[ins[0]], slots[ins[1]])
                elif kind == UNARY:
                    result = evaluate(xp, slots[ins[0]])
                elif kind == UNARY_ATTRS:
                    result = evaluate(xp, slots[ins[0]], **attrs)
                else:
                    result = evaluate(xp, *[slots[i] for i in ins], **attrs)
                if kind == SEVERAL:
                    for i, array in zip(out, result, strict=True):
                        slots[i] = xp.asarray(array)
                else:
                    slots[out] = result if type(result) is ndarray else xp.asarray(result)
                for i in released:
                    slots[i] = None
        except GuardMiss as miss:
            guards = [each for each in self.graph.nodes if each.op is guard]
            raise GuardMiss(guards.index(node), miss.actual) from None
        except DualflowError as error:
            error.pin(node.source)
            raise
        except Exception as error:
            note = f"  at {node.source}"
            if node.source and note not in getattr(
                error, "__notes__", ()
            ):  # of a loop and its body
                error.add_note(note)
            raise
        return [slots[i] for i in self.results]

    def _steps_for(self, arrays: Sequence[Any], sizes: Mapping[str, int]) -> list[Step]:
        """The steps with numbers in place of symbols, kept for the sizes that come again."""
        shapes = [value.type.shape for value in self.graph.inputs]
        binding = {**solve(shapes, [array.shape for array in arrays]), **sizes}
        key = tuple(binding.values())
        steps = self._bound.get(key)
        if steps is None:
            if len(self._bound) == KEPT_BINDINGS:
                self._bound.clear()
            steps = self._bound[key] = [_bind(step, binding) for step in self.steps]
        return steps


def _plan(
    graph: Graph, xp: ModuleType, evaluate: Evaluate
) -> tuple[list[Step], list[Any], list[int]]:
    """The steps, what the slots after the inputs hold at the start, and the slots of results."""
    slot = {value: i for i, value in enumerate(graph.inputs)}
    constants = [node for node in graph.nodes if node.op is constant]
    slot |= {node.outputs[0]: i for i, node in enumerate(constants, start=len(slot))}
    resident: list[Any] = [xp.asarray(node.attrs["value"]) for node in constants]
    last_use: dict[Value, Node | None] = {}
    for node in graph.nodes:
        last_use.update(dict.fromkeys((*node.inputs, *node.outputs), node))
    last_use.update(dict.fromkeys(graph.outputs))
    free, steps = list[int](), list[Step]()
    for node in graph.nodes:
        if node.op is constant:
            continue
        ins = tuple([slot[value] for value in node.inputs])
        dying = {slot[value] for value in node.inputs if last_use[value] is node}
        free += sorted(dying)
        for value in node.outputs:
            if not free:
                free.append(len(graph.inputs) + len(resident))
                resident.append(None)
            slot[value] = free.pop()
            dying.discard(slot[value])
        unread = [slot[value] for value in node.outputs if last_use[value] is node]
        free += unread
        out = tuple([slot[value] for value in node.outputs])
        steps.append(_step(node, evaluate(node), ins, out, (*sorted(dying), *unread)))
    return steps, resident, [slot[value] for value in graph.outputs]


def _step(
    node: Node,
    evaluate: Callable[..., Any],
    ins: tuple[int, ...],
    out: tuple[int, ...],
    released: Any,
) -> Step:
    if len(out) != 1:
        return SEVERAL, evaluate, node.attrs, ins, out, released, node
    kinds = {(1, False): UNARY, (2, False): BINARY, (1, True): UNARY_ATTRS}
    kind = kinds.get((len(ins), bool(node.attrs)), GENERAL)
    return kind, evaluate, node.attrs, ins, out[0], released, node


def _bind(step: Step, binding: Mapping[str, int]) -> Step:
    kind, evaluate, attrs, *rest = step
    if any(isinstance(leaf, Dim) for attr in attrs.values() for leaf in attr_leaves(attr)):
        attrs = {name: bound(attr, binding) for name, attr in attrs.items()}
    return kind, evaluate, attrs, *rest  # pyright: ignore[reportReturnType]


def bound(attr: Any, binding: Mapping[str, int]) -> Any:
    """An attr with numbers in the place of symbols."""
    if isinstance(attr, tuple):
        return tuple([bound(item, binding) for item in attr])
    return substitute(attr, binding) if isinstance(attr, Dim) else attr
