"""ConcreteFunction: a function traced without running it, for types that need not be concrete."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dualflow.core import tree
from dualflow.core.context import using
from dualflow.core.convert import as_tensor
from dualflow.core.op import wrap
from dualflow.core.tensor import Tensor
from dualflow.tracing.compiling import DEFAULT, CompileOptions
from dualflow.tracing.gradient import CallGradient
from dualflow.tracing.leaves import Outputs
from dualflow.tracing.pair import is_inexact
from dualflow.tracing.spec import TensorSpec
from dualflow.tracing.trace import Trace
from jit.dims import Dim
from jit.errors import DTypeError, TraceError
from jit.types import TensorType


class ConcreteFunction:
    """One symbolic trace, compiled.

    Args:
        python: The function.
        specs: Its arguments; every `TensorSpec` or tensor becomes a symbolic tensor of that type.
        compiling: How it becomes code.

    Attributes:
        graph: The optimised graph.
    """

    def __init__(
        self,
        python: Callable[..., Any],
        specs: tuple[Any, ...],
        compiling: CompileOptions = DEFAULT,
    ) -> None:
        trace = Trace(getattr(python, "__name__", "function"))
        trace.compiling = compiling
        scope: dict[str, Dim] = {}
        leaves, self._arguments = tree.flatten(specs)
        symbols = [self._symbol(trace, x, k, scope) for k, x in enumerate(leaves)]
        self._places = [k for k, x in enumerate(symbols) if isinstance(x, Tensor)]
        try:
            with using(trace=trace):
                result = python(*tree.unflatten(self._arguments, symbols))
                self._finish(trace, result, symbols)
        finally:
            trace.restore()
            trace.release()

    @staticmethod
    def _symbol(trace: Trace, x: Any, k: int, scope: dict[str, Dim]) -> Any:
        if isinstance(x, TensorSpec):
            return trace.placeholder(x.type(scope), x.name or f"x{k}")
        return trace.placeholder(x.type, f"x{k}") if isinstance(x, Tensor) else x

    def _finish(self, trace: Trace, result: Any, symbols: list[Any]) -> None:
        variables = trace.variables
        if variables.written or any(v._grad is not g for v, g in variables.grads.items()):
            raise TraceError(
                f"{trace.graph.name}: a symbolic trace assigns a Variable",
                "a function without state, or a recorded call",
                "call the function with real tensors instead of .concrete(...)",
            )
        outputs = Outputs()
        leaves, self._spec = tree.flatten(result)
        given = {id(x): -1 - k for k, x in enumerate(x for x in symbols if isinstance(x, Tensor))}
        self._indices = [
            given[id(x)] if id(x) in given else outputs.index(trace, as_tensor(x)) for x in leaves
        ]
        trace.graph.outputs = outputs.values
        self._cells = trace.cells
        tracked = [k for k, value in enumerate(outputs.values) if is_inexact(value.type)]
        self._custom_rules = trace.custom_rules
        self._executable = run = trace.compiling.compile(trace.graph)
        given = trace.graph, tracked, trace.unrecorded, run
        self._gradient = CallGradient(*given, compiling=trace.compiling) if tracked else None
        self.graph = self._executable.graph

    def __call__(self, *args: Any) -> Any:
        """Runs the graph on tensors of fitting types.

        Args:
            *args: The arguments in the structure of the specs.

        Raises:
            DTypeError: An argument has another dtype or shape than its spec.
        """
        leaves, structure = tree.flatten(args)
        if structure != self._arguments:
            raise TraceError(
                f"{self.graph.name}: arguments {structure}",
                str(self._arguments),
                "pass what the specs say",
            )
        tensors = [as_tensor(leaves[k]) for k in self._places]
        for k, (x, value) in enumerate(zip(tensors, self.graph.inputs, strict=False)):
            if not fits(x.type, value.type):
                raise DTypeError(
                    f"{self.graph.name}: argument {k} is {x.type}",
                    str(value.type),
                    "convert it, or trace anew",
                )
        outputs = self._run([*tensors, *(cell.tensor for cell in self._cells)])
        found = [*outputs, *reversed(tensors)]  # -1 - k is argument k
        return tree.unflatten(self._spec, [found[k] for k in self._indices])

    def _run(self, inputs: list[Tensor]) -> list[Tensor]:
        """The graph's outputs; one recorded operation where somebody watches an input."""
        gradient = self._gradient
        if gradient is None or not gradient.wanted(inputs):
            return list(map(wrap, self._executable([x.raw for x in inputs])))
        if self._custom_rules:
            raise TraceError(
                f"{self.graph.name}: the graph lacks custom_gradient of {self._custom_rules[0]}",
                "no gradient through this call, or a recorded function",
                "df.function(f)(...) instead of .concrete(...)",
            )
        arrays, attrs = gradient.forward(inputs)
        outputs = list(map(wrap, arrays))
        gradient.hang(inputs, attrs, [outputs[k] for k in gradient.slots])
        return outputs

    def __repr__(self) -> str:
        return f"<ConcreteFunction {self.graph.name}: {self._executable.mode}>"


def fits(given: TensorType, wanted: TensorType) -> bool:
    """Whether a concrete type is one of those that a symbolic one stands for."""
    return (
        given.dtype == wanted.dtype
        and given.ndim == wanted.ndim
        and all(
            isinstance(w, Dim) or g == w for g, w in zip(given.shape, wanted.shape, strict=True)
        )
    )
