"""What a module does with an input of some shape: results, parameters, FLOPs, bytes.

The module runs once on tensors that have a type and no values, so nothing is computed, whatever its
size. It does so in evaluation mode: nothing that it remembers changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import field
from functools import lru_cache
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from dualflow.core import tree
from dualflow.core.context import no_grad
from dualflow.core.convert import as_tensor
from dualflow.core.op import Op, TypesOnly, argument_types, symbolic
from dualflow.core.tensor import Tensor
from dualflow.tracing.spec import TensorSpec
from jit.dataclass import dataclass
from jit.errors import TraceError
from jit.forms import nodes
from jit.forms.exact import forms_of
from jit.forms.nodes import Form
from jit.types import TensorType, float32, format_shape, product

if TYPE_CHECKING:
    from dualflow.nn.module import Module


@dataclass
class Row:
    """One module.

    Attributes:
        depth: How many modules it is inside of.
        name: Its attribute in the module around it; "" at the top.
        title: Class and settings.
        results: Types of what its last call returned; None where it was not called.
        parameters: How many numbers the parameters inside it hold.
        flops: Operations of all its calls, those of modules inside included.
    """

    depth: int
    name: str
    title: str
    results: list[TensorType] | None = None
    parameters: int = 0
    flops: int = 0

    def cells(self) -> tuple[str, str, str, str]:
        """Module, results, parameters and FLOPs as text."""
        head = f"{'  ' * self.depth}{self.name + '  ' if self.name else ''}{self.title}"
        shapes = "not called" if self.results is None else shown(self.results)
        count = f"{self.parameters:,}" if self.parameters else ""
        return head, shapes, count, amount(self.flops, "") if self.flops else ""


@dataclass
class Summary:
    """The table of a module and all modules inside it; prints as text, shows as HTML in notebooks.

    Attributes:
        rows: One for each module, from the top.
        parameters: How many numbers all parameters hold.
        bytes: Bytes of all parameters and buffers.
        activations: Bytes of the results of all modules that hold no others.
        flops: Operations of a call: two for a multiplication and addition of a product, one for
            each element that anything else computes. Moving data is none.
    """

    rows: list[Row] = field(default_factory=list)
    parameters: int = 0
    bytes: int = 0
    activations: int = 0
    flops: int = 0

    def __str__(self) -> str:
        lines = [("module", "result", "parameters", "FLOPs"), *(row.cells() for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        table = [
            f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}  {d:>{widths[3]}}".rstrip()
            for a, b, c, d in lines
        ]
        return "\n".join([*table, "", self.total()])

    __repr__ = __str__

    def total(self) -> str:
        """The figures of the whole module."""
        return (
            f"{self.parameters:,} parameters, {amount(self.bytes, 'B')} with buffers; "
            f"{amount(self.flops, 'FLOP')} a call, {amount(self.activations, 'B')} of results"
        )

    def _repr_html_(self) -> str:
        heads = "".join(f"<th>{h}</th>" for h in ("module", "result", "parameters", "FLOPs"))
        body = "".join(
            f'<tr><td style="text-align:left; padding-left:{1 + 1.5 * row.depth}em">'
            f"{escape(row.cells()[0].strip())}</td>"
            + "".join(f"<td>{escape(cell)}</td>" for cell in row.cells()[1:])
            + "</tr>"
            for row in self.rows
        )
        return (
            f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"
            f"<p>{escape(self.total())}</p>"
        )


def shown(types: list[TensorType]) -> str:
    """Shapes as text."""
    return ", ".join(format_shape(type_.shape) for type_ in types)


def amount(number: float, unit: str) -> str:
    """A number with three digits and k, M or G."""
    for letter in ("", "k", "M", "G", "T"):
        if number < 1000 or letter == "T":
            break
        number /= 1000
    text = f"{number:.0f}" if not letter or number >= 100 else f"{number:.3g}"
    return f"{text} {letter}{unit}".strip()


# ----- counting -----


class Counter(TypesOnly):
    """The owner of tensors that only have a type, which counts what would be computed."""

    def __init__(self) -> None:
        self.flops = 0

    def bind(self, op: Op, args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        """The types of the outputs, as tensors."""
        self.flops += operations(op, argument_types(args), tuple(attrs.items()))
        return super().bind(op, args, attrs)


@lru_cache(maxsize=4096)
def operations(op: Op, types: tuple[TensorType, ...], attrs: tuple[tuple[str, Any], ...]) -> int:
    """The operations of an op on arguments of these types."""
    return sum(map(work, forms_of(op, types, dict(attrs)))) if op.lower is not None else 0


def work(form: Form) -> int:
    """The operations of one form."""
    match form:
        case nodes.Contract(spec=spec):
            letters = "".join(spec.partition("->")[0].split(","))
            extents = dict(zip(letters, [n for x in form.inputs for n in x.shape], strict=True))
            return 2 * int(product(list(extents.values())))
        case nodes.Pointwise():
            return int(product(form.types[0].shape))
        case nodes.Reduce() | nodes.Scan():
            return int(product(form.inputs[0].shape))
        case _:
            return 0


def summarized(module: Module, inputs: tuple[Any, ...]) -> Summary:
    """The table of a module called with inputs like these.

    Args:
        module: Any module.
        inputs: Tensors or arrays, `TensorSpec`s, or shapes of float32 tensors.

    Raises:
        TypeError: It needs inputs, and there are none.
        TraceError: What the module does depends on values.
    """
    counter = Counter()
    rows = {
        id(m): Row(name.count(".") + bool(name), name.rpartition(".")[2], "")
        for name, m in module.named_modules()
    }
    with evaluated(module), watched(module, rows, counter), no_grad():
        try:
            module(*(placeholder(x, counter) for x in inputs))
        except TraceError as error:
            raise TraceError(
                f"summary: {type(module).__name__} looks at values: {error.what}",
                "a module whose work depends on shapes alone",
                "print(model) shows its parameters",
            ) from None
        except TypeError:
            if inputs:
                raise
            raise TypeError(
                f"summary: {type(module).__name__} needs inputs, or their shapes: model.summary("
                "(32, 64)) for 32 rows of 64 numbers; print(model) shows parameters alone"
            ) from None
    return collected(module, rows, counter)


def placeholder(x: Any, owner: Counter) -> Tensor:
    """A tensor with the type of an input."""
    if isinstance(x, TensorSpec):
        type_ = x.type({})
    elif isinstance(x, tuple) and all(isinstance(n, int) for n in x):
        type_ = TensorType(x, float32)
    else:
        type_ = as_tensor(x).type
    return symbolic(type_, owner)


@contextmanager
def evaluated(module: Module) -> Iterator[None]:
    """Evaluation mode, and then each module's own again."""
    before = {m: m.training for m in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for m, training in before.items():
            m.training = training


@contextmanager
def watched(module: Module, rows: dict[int, Row], counter: Counter) -> Iterator[None]:
    """Hooks that note results and operations of every module."""
    started: list[int] = []

    def before(module: Module, args: Any) -> None:
        started.append(counter.flops)

    def after(module: Module, args: Any, result: Any) -> None:
        row = rows.get(id(module))
        flops = counter.flops - started.pop()
        if row is not None:
            row.flops += flops
            row.results = [x.type for x in tree.flatten(result)[0] if isinstance(x, Tensor)]

    handles = []
    for m in list(module.modules()):
        handles += [m.register_forward_pre_hook(before), m.register_forward_hook(after)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def collected(module: Module, rows: dict[int, Row], counter: Counter) -> Summary:
    """The rows with their parameters, and the sums."""
    found = Summary(list(rows.values()), flops=counter.flops)
    for m in module.modules():
        row = rows.get(id(m))
        if row is None:  # built by the call itself
            continue
        row.title = f"{type(m).__name__}({m.extra_repr()})"
        row.parameters = sum(int(p.size) for p in m.parameters())
        if next(m.children(), None) is None:
            found.activations += sum(
                int(product(t.shape)) * np.dtype(t.dtype).itemsize for t in row.results or ()
            )
    found.parameters = sum(int(p.size) for p in module.parameters())
    variables = [*module.parameters(), *module.buffers()]
    found.bytes = sum(int(v.size) * v.dtype.itemsize for v in variables)
    return found
