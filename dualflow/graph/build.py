"""Graph, placeholder, gradients: how a program is built before anything runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ClassVar

import jit
from dualflow.autodiff.sweep import Sweep, start_cotangent
from dualflow.core import tree
from dualflow.core.context import using
from dualflow.core.convert import as_tensor
from dualflow.core.op import Op, claim
from dualflow.core.record import Leaf, Pick, Record
from dualflow.core.registry import functions
from dualflow.core.source import user_line
from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable
from dualflow.graph.chance import RunGenerator
from dualflow.graph.tensors import shape_of, value_of
from dualflow.tracing.cells import VariableCell
from dualflow.tracing.trace import Trace
from jit.dims import Dim, symbol
from jit.errors import DTypeError, ShapeError, TraceError
from jit.ir.graph import Node, Value
from jit.types import TensorType, as_dtype, dtypes, format_shape, kind

BATCH = "batch"  # the first extent of every placeholder that leaves it open
Shape = Sequence[int | str | None] | None


class Writer(Trace):
    """The recording behind a graph: it lasts, and Variables of dualflow are read when it runs.

    Attributes:
        after: What nodes that are appended now wait for, operations and tensors.
        waits: What nodes wait for, where it is something.
    """

    methods: ClassVar = {"eval": value_of, "get_shape": shape_of}  # that its tensors have besides

    def __init__(self) -> None:
        super().__init__("graph", closed=True)
        self.open_extents: dict[str, Dim] = {}
        self.after: tuple[Any, ...] = ()
        self.waits: dict[Node, tuple[Any, ...]] = {}
        self._read: dict[Variable, Value] = {}
        self._replayed: dict[Record, tuple[Value, ...]] = {}

    def bind(self, op: Op, args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        """Appends a node."""
        self.claim()
        return super().bind(op, args, attrs)

    def append(
        self, op: Any, inputs: list[Value], attrs: dict[str, Any], types: tuple[TensorType, ...]
    ) -> tuple[Value, ...]:
        """Appends a node, which waits for what was asked for."""
        values = super().append(op, inputs, attrs, types)
        if self.after:
            self.waits[self.graph.nodes[-1]] = self.after
        return values

    def claim(self) -> None:
        """What is computed of open extents alone belongs here: this graph was built on last."""
        claim(self.open_extents, self)

    def value_of(self, x: Any, dtype: Any = None) -> Value:
        """The Value of an op's argument.

        What was computed of trainable Variables is computed here once more: they are read at each
        run.
        """
        record = None if not isinstance(x, Tensor) or self.owns(x) else x.record
        if isinstance(record, Leaf):
            owner = record.owner and record.owner()
            if owner is not None and owner.tensor is x:
                return self._variable_of(owner)
        elif record is not None and x.raw is not None:
            bundle = record.bundle if isinstance(record, Pick) else record
            if bundle.inputs is not None:
                index = record.index if isinstance(record, Pick) else 0
                return self._again(bundle, bundle.inputs, x)[index]
        return super().value_of(x, dtype)

    def _variable_of(self, variable: Variable) -> Value:
        if variable not in self._read:
            cell = VariableCell(variable)
            self._read[variable] = self.input(variable.tensor, variable.name, cell)
        return self._read[variable]

    def _again(self, record: Record, args: tuple[Any, ...], y: Tensor) -> tuple[Value, ...]:
        """The outputs of an op that ran before on `args`, `y` among them, as nodes here."""
        if record not in self._replayed:
            dtype = next((x.dtype for x in reversed(args) if isinstance(x, Tensor)), None)
            inputs = [self.value_of(x, dtype) for x in args]
            types = (y.type,) if record.types is None else record.types
            self._replayed[record] = self.append(record.op, inputs, record.attrs, types)
        return self._replayed[record]

    def read_when_run(self) -> dict[Value, Variable]:
        """Inputs that are read of Variables."""
        return {value: variable for variable, value in self._read.items()}


class Graph:
    """A static graph that grows with every op that meets one of its tensors.

    Attributes:
        placeholders: Its placeholders, in the order in which they were made.
        variables: Its graph variables.
        defaults: What placeholders hold that are not fed, of those that have something.
        scope: What names begin with, inside of `name_scope`.
    """

    def __init__(self) -> None:
        self.trace = Writer()
        self.placeholders: list[Tensor] = []
        self.variables: list[Any] = []
        self.defaults: dict[Value, Any] = {}
        self._places: dict[Value, str | None] = {}
        self._names: set[str] = set()
        self.scope = ""
        self._chance: RunGenerator | None = None

    # ----- the default graph -----

    @contextmanager
    def as_default(self) -> Iterator[Graph]:
        """Makes this the graph that placeholders and variables go to, in a `with` block."""
        token = chosen.set(self)
        self.trace.claim()
        try:
            yield self
        finally:
            chosen.reset(token)
            get_default_graph().trace.claim()

    # ----- building -----

    @contextmanager
    def scoped(self, scope: str) -> Iterator[str]:
        """Names begin with `scope`, in a `with` block."""
        before, self.scope = self.scope, scope
        try:
            yield scope
        finally:
            self.scope = before

    def unique(self, name: str) -> str:
        """`name` in the scope, with a number where it is taken."""
        name = self.scope + name
        found, number = name, 0
        while found in self._names:
            number += 1
            found = f"{name}_{number}"
        self._names.add(found)
        return found

    def source(self, type_: TensorType, name: str) -> Tensor:
        """An input: a symbolic tensor from which gradients can be asked."""
        tensor = self.trace.placeholder(type_, name)
        self._places[tensor.symbol.value] = user_line()
        if kind(type_.dtype) in ("floating", "complex"):
            tensor.record = leaf = Leaf()
            leaf.rooted = True  # gradients may be asked for at any time later
        return tensor

    @property
    def chance(self) -> RunGenerator:
        """The generator whose numbers each run draws anew."""
        if self._chance is None:
            type_ = TensorType((2,), dtypes["uint64"])
            self._chance = RunGenerator(self.source(type_, self.unique("random_state")))
        return self._chance

    def is_chance(self, value: Value) -> bool:
        """Whether an input is where a run's random numbers begin."""
        return self._chance is not None and self._chance.start.symbol.value is value

    def extent(self, given: int | str | None, axis: int) -> int | Dim:
        """An extent of a placeholder: a number, or a symbol for an open one."""
        if isinstance(given, int):
            return given
        extents = self.trace.open_extents
        name = given or (BATCH if axis == 0 else f"d{len(extents)}")
        return extents.setdefault(name, symbol(name))

    def line(self, value: Value) -> str | None:
        """Where an input was made, as "nets.py:14"."""
        return self._places.get(value)

    # ----- looking -----

    def of(self, fetches: Any) -> jit.Graph:
        """The part of the graph that some tensors need, with them as outputs.

        Args:
            fetches: Tensors of this graph, in any nest.
        """
        values = [self.value(x) for x in tree.flatten(fetches)[0]]
        needed, inputs = self.needed(values, ())
        return self.extract(values, needed, inputs)

    def value(self, x: Any) -> Value:
        """The Value of a tensor of this graph.

        Raises:
            TraceError: It is something else.
        """
        tensor = as_tensor(x) if isinstance(x, Variable) else x
        if not (isinstance(tensor, Tensor) and self.trace.owns(tensor)):
            what = "a tensor of another graph" if is_symbolic(tensor) else type(tensor).__name__
            raise TraceError(
                f"{what} is no tensor of this graph",
                "what was computed from placeholders or variables of this graph",
                "build it inside of `with graph.as_default():`, or use the session of its graph",
            )
        return tensor.symbol.value

    def needed(
        self, values: Sequence[Value], given: Sequence[Value]
    ) -> tuple[set[Any], list[Value]]:
        """The nodes behind `values`, as far as `given` values, and the graph's inputs in order."""
        nodes: set[Any] = set()
        inputs: set[Value] = set()
        stack = list(values)
        known = set(given)
        while stack:
            value = stack.pop()
            if value in known:
                continue
            known.add(value)
            if value.node is None:
                inputs.add(value)
            elif value.node not in nodes:
                nodes.add(value.node)
                stack.extend(value.node.inputs)
        return nodes, [value for value in self.trace.graph.inputs if value in inputs]

    def extract(
        self, values: Sequence[Value], nodes: set[Any], inputs: Any, given: Sequence[Value] = ()
    ) -> jit.Graph:
        """A graph of some nodes, with `inputs` and then `given` values as its inputs."""
        new = jit.Graph("session")
        new_of = {v: new.input(v.type, v.name) for v in self.trace.graph.inputs if v in inputs}
        new_of |= {v: new.input(v.type, v.name) for v in given if v not in new_of}
        for node in self.trace.graph.nodes:
            if node in nodes:
                outputs = new.append_copy(node, dict(new_of))
                for old, made in zip(node.outputs, outputs, strict=True):
                    new_of.setdefault(old, made)
        new.outputs = [new_of[value] for value in values]
        return new

    def __str__(self) -> str:
        return str(self.trace.graph)

    def __repr__(self) -> str:
        graph = self.trace.graph
        return f"<Graph: {len(self.placeholders)} placeholders, {len(graph.nodes)} nodes>"


first = Graph()
chosen: ContextVar[Graph | None] = ContextVar("default graph", default=None)


def get_default_graph() -> Graph:
    """The graph that placeholders and variables go to."""
    return chosen.get() or first


def reset_default_graph() -> None:
    """Begins a new default graph; what was built before stays whole.

    Raises:
        TraceError: Inside of `with graph.as_default():`.
    """
    global first
    if chosen.get() is not None:
        raise TraceError(
            "reset_default_graph inside of as_default()",
            "a call outside of it",
            "make a new Graph()",
        )
    first = Graph()


@contextmanager
def name_scope(name: str) -> Iterator[str]:
    """Names of placeholders and variables begin with `name` and a slash, in a `with` block.

    Args:
        name: It gets a number where it was used before. Scopes can be nested.

    Example:
        >>> import dualflow as df
        >>> with df.graph.Graph().as_default(), df.graph.name_scope("net"):
        ...     df.graph.GraphVariable(0.0, name="w").name
        'net/w'
    """
    graph = get_default_graph()
    with graph.scoped(f"{graph.unique(name)}/") as scope:
        yield scope


def generator() -> RunGenerator:
    """A generator of the default graph, whose numbers each run of a session draws anew.

    What is drawn while a graph is built is otherwise a constant of it. One run draws each number
    once; `df.random.seed` before it makes it repeatable.

    Example:
        >>> import dualflow as df
        >>> with df.graph.Graph().as_default(), df.graph.Session() as session:
        ...     x = df.random.normal((2,), generator=df.graph.generator())
        ...     a, b = session.run([x, x])
        ...     bool((a == b).all()), bool((a == session.run(x)).any())
        (True, False)
    """
    graph = get_default_graph()
    graph.trace.claim()
    return graph.chance


def placeholder(dtype: Any, shape: Shape = None, name: str | None = None) -> Tensor:
    """An input of the default graph, to be fed when a session runs.

    Args:
        dtype: Its dtype.
        shape: Its extents. None stands for one that is left open; open first extents are the
            same for all placeholders of a graph, others differ. A string names an open extent.
        name: For messages and the printed graph.

    Returns:
        A symbolic tensor.

    Raises:
        TraceError: No shape was given: the rank of a tensor is always known here.
    """
    if shape is None:
        raise TraceError(
            "placeholder: no shape",
            "a shape such as (None, 10), in which None leaves an extent open; () for a number",
            "placeholder(dtype, shape=(...))",
        )
    graph = get_default_graph()
    extents = tuple(graph.extent(extent, axis) for axis, extent in enumerate(shape))
    graph.trace.claim()
    tensor = graph.source(TensorType(extents, as_dtype(dtype)), graph.unique(name or "placeholder"))
    graph.placeholders.append(tensor)
    return tensor


def placeholder_with_default(input: Any, shape: Shape = None, name: str | None = None) -> Tensor:
    """An input of the default graph that need not be fed.

    Args:
        input: What it is where it is not fed: a tensor, or what makes one.
        shape: Its extents, as for `placeholder`; those of `input` by default.
        name: For messages and the printed graph.

    Raises:
        ShapeError: `input` has another shape.

    Example:
        >>> import dualflow as df
        >>> with df.graph.Graph().as_default(), df.graph.Session() as session:
        ...     rate = df.graph.placeholder_with_default(0.5, ())
        ...     float(session.run(rate * 2.0)), float(session.run(rate * 2.0, {rate: 3.0}))
        (1.0, 6.0)
    """
    default = as_tensor(input)
    extents: tuple[Any, ...] = default.shape if shape is None else tuple(shape)
    pairs = list(zip(extents, default.shape, strict=False))
    if len(extents) != default.ndim or any(isinstance(a, int) and a != b for a, b in pairs):
        raise ShapeError(
            f"placeholder_with_default: the default has shape {format_shape(default.shape)}",
            format_shape(extents),
            "give a default of that shape",
        )
    if is_symbolic(default):
        return functions["identity"](default)  # any tensor of a graph may be fed
    tensor = placeholder(default.dtype, extents, name)
    get_default_graph().defaults[tensor.symbol.value] = default.raw
    return tensor


def gradients(ys: Any, xs: Any, grad_ys: Any = None) -> list[Tensor | None]:
    """Appends the gradients of the sum of `ys` with respect to each of `xs`.

    Args:
        ys: A symbolic tensor, or a list.
        xs: A symbolic tensor, a graph variable or a trainable Variable, or a list: inputs, or what
            was computed of them.
        grad_ys: Cotangents of `ys`; ones where None.

    Returns:
        A symbolic tensor for each of `xs`; None where no way leads to it.

    Raises:
        TraceError: A tensor that is not symbolic.
        DTypeError: A tensor of integers has no gradient.
    """
    targets, sources = [as_tensor(y) for y in listed(ys)], [as_tensor(x) for x in listed(xs)]
    for tensor in (*targets, *sources):
        if not is_symbolic(tensor) and tensor.record is None:
            raise TraceError(
                "gradients: a tensor with values",
                "symbolic tensors",
                "df.GradientTape is for values",
            )
        if kind(tensor.dtype) not in ("floating", "complex"):
            raise DTypeError(
                f"gradients: a tensor of {tensor.dtype}", "floating numbers", "x.astype(df.float32)"
            )
    given = [None] * len(targets) if grad_ys is None else listed(grad_ys)
    wanted = {x.record for x in sources if x.record is not None}
    with using(trace=targets[0].symbol.owner):  # what is computed of constants belongs there too
        cotangents = [start_cotangent(y, g) for y, g in zip(targets, given, strict=True)]
        found = Sweep(targets, lambda record: True).run(cotangents, wanted)
    return [found.get(x.record) if x.record is not None else None for x in sources]


def listed(x: Any) -> list[Any]:
    """`x` as a list."""
    return list(x) if isinstance(x, list | tuple) else [x]


def is_symbolic(x: Any) -> bool:
    """Whether a tensor has no values."""
    return isinstance(x, Tensor) and x.raw is None
