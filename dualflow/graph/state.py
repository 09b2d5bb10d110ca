"""State of a graph: variables whose values a session keeps, and operations that change them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Never

from dualflow.core.context import using
from dualflow.core.convert import as_tensor, from_data
from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable
from dualflow.graph.build import Graph, get_default_graph, is_symbolic
from dualflow.graph.tensors import Shape, session_for, shape_of, value_of
from dualflow.ops.elementwise import add, astype, subtract
from jit.dataclass import dataclass
from jit.errors import DTypeError, ShapeError, TraceError
from jit.ir.graph import Value
from jit.types import format_shape

if TYPE_CHECKING:
    from dualflow.graph.session import Session


class GraphVariable(Variable):
    """A variable of the default graph: a symbolic tensor, whose value each session keeps.

    Args:
        initial_value: What `global_variables_initializer()` sets it to; a symbolic tensor is
            computed when that runs.
        dtype: The value's own when None.
        name: For messages and the printed graph.
        trainable: Whether optimisers change it.

    Attributes:
        initial: The initial value, a Tensor.
        place: The graph's input that a session's value goes to; inside of `control_dependencies`
            the current value may be another.
        graph: The graph that it belongs to.
    """

    __slots__ = ("graph", "initial", "place", "_learns")

    def __init__(
        self,
        initial_value: Any,
        dtype: Any = None,
        name: str | None = None,
        *,
        trainable: bool = True,
    ) -> None:
        if is_symbolic(initial_value):
            self.initial = initial_value if dtype is None else astype(initial_value, dtype)
        else:
            with using(trace=None):
                self.initial = from_data(initial_value, dtype)
        self.graph = get_default_graph()
        self.name = self.graph.unique(name or "Variable")
        self.tensor = self.place = self.graph.source(self.initial.type, self.name)
        self.leaf = self.tensor.record
        self._grad, self.grad_of, self.born = None, None, None
        self._learns = trainable
        self.graph.variables.append(self)

    @property
    def trainable(self) -> bool:  # pyright: ignore[reportIncompatibleMethodOverride] - fixed
        """Whether optimisers change it."""
        return self._learns and self.leaf is not None

    @property
    def symbol(self) -> Any:
        return self.tensor.symbol

    @property
    def initializer(self) -> Operation:
        """Sets it to its initial value."""
        return operation(self.graph, [(self, self.initial)], f"{self.name}/initializer")

    def eval(self, session: Session | None = None) -> Any:
        """Its value in a session, the default one when None."""
        return value_of(self, None, session)

    def get_shape(self) -> Shape:
        """The extents, as TensorFlow's programs ask for them."""
        return shape_of(self)

    def assign(self, value: Any) -> Any:
        """An operation that sets the variable when it runs; its value is the new one."""
        return assign(self, value)

    def __setitem__(self, index: Any, value: Any) -> Never:
        raise TypeError("a graph variable is set by assign(variable, value), which a session runs")

    def __reduce__(self) -> Never:
        raise TypeError("a graph variable belongs to its graph; save session.run(variable)")

    def __deepcopy__(self, memo: Any) -> GraphVariable:
        return self

    def __repr__(self) -> str:
        return f"GraphVariable({self.name!r}, shape={self.shape}, dtype={self.dtype})"


@dataclass(frozen=True, eq=False)
class Operation:
    """What a session can do besides computing: set variables, all at once.

    Attributes:
        graph: Whose variables.
        updates: Variables, and tensors that they are set to; they are computed before any is set.
        name: For messages.
        value: What running it gives; None: nothing.
        after: What is done before: operations, and tensors that wait for some.
    """

    graph: Graph
    updates: Sequence[tuple[GraphVariable, Tensor]]
    name: str = "operation"
    value: Tensor | None = None
    after: Sequence[Any] = ()

    def run(self, feed_dict: Any = None, session: Session | None = None) -> Any:
        """Does it in a session, the default one when None; gives what `session.run` does."""
        return session_for(session, "run").run(self, feed_dict)

    eval = run

    def __repr__(self) -> str:
        return f"<Operation {self.name!r}>"


def operation(
    graph: Graph,
    updates: Sequence[tuple[GraphVariable, Tensor]],
    name: str,
    value: Tensor | None = None,
    after: Sequence[Any] = (),
) -> Operation:
    """An operation that also waits for what was asked for around."""
    return Operation(graph, updates, name, value, (*graph.trace.after, *after))


def updates_of(
    graph: Graph, fetches: Iterable[Any], given: Sequence[Value] = ()
) -> list[tuple[GraphVariable, Tensor]]:
    """What variables are set to when something runs; first what is waited for.

    Args:
        graph: The graph.
        fetches: Operations and tensors.
        given: Values that are fed, of which nothing runs that is behind them.
    """
    waits, fetches = graph.trace.waits, list(fetches)
    operations = [x for x in fetches if isinstance(x, Operation)]
    if not waits and not any(x.after for x in operations):  # the usual case
        return [update for x in operations for update in x.updates]
    found: dict[tuple[int, int], tuple[GraphVariable, Tensor]] = {}
    seen = set[Any]()

    def visit(several: Iterable[Any]) -> None:
        several = list(several)
        for x in several:
            if isinstance(x, Operation) and x not in seen:
                seen.add(x)
                visit(x.after)
                visit(tensor for _, tensor in x.updates)
                found.update({(id(v), id(tensor)): (v, tensor) for v, tensor in x.updates})
        tensors = [x for x in several if isinstance(x, Tensor) and graph.trace.owns(x)]
        if waits and tensors:
            nodes, _ = graph.needed([x.symbol.value for x in tensors], given)
            late = [node for node in waits if node in nodes and node not in seen]
            seen.update(late)
            visit(y for node in late for y in waits[node])

    visit(fetches)
    return list(found.values())


@contextmanager
def control_dependencies(control_inputs: Iterable[Any] | None) -> Iterator[None]:
    """What is built in a `with` block is computed after some operations, and sees what they set.

    Args:
        control_inputs: Operations, or tensors that wait for some; None: nothing, not even what
            blocks around this one ask for.

    Raises:
        TraceError: It is in a branch of a choice or a step of a loop, which only compute.

    Example:
        >>> import dualflow as df
        >>> with df.graph.Graph().as_default(), df.graph.Session() as session:
        ...     count = df.graph.GraphVariable(0.0)
        ...     session.run(count.initializer)
        ...     with df.graph.control_dependencies([df.graph.assign_add(count, 1.0)]):
        ...         double = count * 2.0
        ...     [float(session.run(double)) for _ in range(3)]
        [2.0, 4.0, 6.0]
    """
    graph = get_default_graph()
    trace, around = graph.trace, graph.trace.after
    known = [(variable, variable.tensor) for variable in graph.variables]
    given = tuple(control_inputs or ())
    if given and trace.noted is not None:
        raise TraceError(
            "control_dependencies in a branch or a step, which a run may take or not",
            "branches and steps that compute",
            "put the block around the choice or the loop; let df.where choose the value to assign",
        )
    trace.after = () if control_inputs is None else (*around, *given)
    for variable, _ in known:
        variable.tensor = variable.place
    for variable, value in updates_of(graph, trace.after):
        new = value if is_symbolic(value) else Tensor(None, trace.symbol(trace.value_of(value)))
        variable.tensor = Tensor(None, new.symbol, variable.leaf)
    try:
        yield
    finally:
        trace.after = around
        for variable, tensor in known:
            variable.tensor = tensor


def assign(variable: GraphVariable, value: Any) -> Operation:
    """An operation that sets a graph variable; running it gives the new value.

    Args:
        variable: What to set.
        value: A symbolic tensor, or a value.

    Raises:
        ShapeError: The shape differs.
        DTypeError: The dtype differs.
    """
    given = isinstance(value, Tensor)
    tensor = as_tensor(value, None if given else variable.dtype)
    if tensor.dtype != variable.dtype:
        raise DTypeError(
            f"assign: {variable.name} holds {variable.dtype}, the value is {tensor.dtype}",
            f"a value of dtype {variable.dtype}",
            f"value.astype({str(variable.dtype)!r})",
        )
    if tensor.shape != variable.shape:
        raise ShapeError(
            f"assign: {variable.name} has shape {format_shape(variable.shape)}, "
            f"the value has {format_shape(tensor.shape)}",
            "a value of the same shape",
        )
    return operation(variable.graph, [(variable, tensor)], f"assign to {variable.name}", tensor)


def assign_add(variable: GraphVariable, value: Any) -> Operation:
    """An operation that adds to a graph variable."""
    return assign(variable, add(variable, astype(as_tensor(value), variable.dtype)))


def assign_sub(variable: GraphVariable, value: Any) -> Operation:
    """An operation that subtracts from a graph variable."""
    return assign(variable, subtract(variable, astype(as_tensor(value), variable.dtype)))


def group(*operations: Operation, name: str = "group") -> Operation:
    """Several operations as one: all values are computed before any variable is set.

    Args:
        *operations: They; of one graph.
        name: For messages.
    """
    graph = operations[0].graph if operations else get_default_graph()
    updates = [update for each in operations for update in each.updates]
    return operation(graph, updates, name, after=[x for each in operations for x in each.after])


def global_variables() -> list[GraphVariable]:
    """The variables of the default graph."""
    return list(get_default_graph().variables)


def global_variables_initializer() -> Operation:
    """An operation that sets all variables of the default graph to their initial values."""
    return group(*(v.initializer for v in global_variables()), name="initializer")
