"""What the law tests are made of: samples as calls in a dtype, their graphs, comparisons.

A `Case` is one sample in one dtype. Traces are made once per case and process.
"""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

import dualflow as df
from dualflow.autodiff.sweep import Sweep, pull, pull_definition
from dualflow.core import tree
from dualflow.core.context import quietly, using
from dualflow.core.op import Op, registry
from dualflow.core.record import Leaf
from dualflow.core.registry import functions
from dualflow.tracing.trace import Trace
from jit.forms import nodes
from jit.forms.reference import Reference
from jit.ir.graph import Graph, Node
from jit.types import kind
from tests.samples import SAMPLES
from tests.samples.sample import Sample

Array = np.ndarray[Any, Any]
HALVES = ("float16", "bfloat16")
# Of the further dtypes only the first samples of a function run: they share rules, not kernels.
OTHERS = (*HALVES, "int32", "complex64")
FIRST = 2
# What takes long runs on so many samples of a function, spread over all; `make test-full`: on all.
ALL = os.environ.get("LAWS") == "all"
MOST = None if ALL else 4
# The forms whose results depend on the order in which floats are added.
FOLDS = (nodes.Reduce, nodes.Scan, nodes.Contract, nodes.Scatter)


def changed(combine: str) -> Callable[..., Any]:
    """`x.at[index].set(v)` and its kin as functions."""
    return lambda x, index, v: getattr(df.asarray(x).at[index], combine)(v)


CALLED = {f"at.{c}": changed(c) for c in ("set", "add", "multiply", "min", "max")} | functions


class Case:
    """A sample whose float32 arrays have become arrays of `dtype` (None: as they are).

    Attributes:
        leaves: All arguments; the arrays among them become tensors.
        places: Where the arrays stand among the leaves.
        wanted: Which of the arrays gradients are asked for.
    """

    def __init__(self, name: str, number: int, sample: Sample, dtype: str | None) -> None:
        self.name, self.number, self.sample, self.dtype = name, number, sample, dtype
        self.function = CALLED[name]
        self.leaves, self.spec = tree.flatten((sample.args, sample.kwargs))
        self.places = [k for k, x in enumerate(self.leaves) if is_array(x)]
        for k in self.places:
            self.leaves[k] = converted(np.asarray(self.leaves[k]), dtype)
        self.wanted = [k for k, j in enumerate(self.places) if self._is_wanted(j)]

    def _is_wanted(self, place: int) -> bool:
        """Whether gradients are asked for by the array there."""
        which = self.sample.differentiable
        index = iter(range(len(self.leaves)))
        numbered = tree.unflatten(self.spec, index)[0]
        chosen = [
            n
            for k, arg in enumerate(numbered)
            if which is None or k in which
            for n in tree.flatten(arg)[0]
        ]
        return place in chosen and kind(self.leaves[place].dtype) in ("floating", "complex")

    def __repr__(self) -> str:
        return f"{self.name}, sample {self.number}, {self.dtype or 'as it is'}"

    @property
    def arrays(self) -> list[Array]:
        """The array arguments."""
        return [self.leaves[k] for k in self.places]

    def tensors(self) -> list[df.Tensor]:
        """The array arguments as new tensors."""
        return [df.asarray(x) for x in self.arrays]

    def call(self, *tensors: Any) -> Any:
        """The function on other tensors in the places of the arrays."""
        return self.filled(tensors, self.function)

    def filled(self, values: Any, function: Callable[..., Any]) -> Any:
        """`function` of the arguments with other values in the places of the arrays."""
        leaves = list(self.leaves)
        for k, value in zip(self.places, values, strict=True):
            leaves[k] = value
        args, kwargs = tree.unflatten(self.spec, leaves)
        return function(*args, **kwargs)

    def reference(self) -> list[Any]:
        """The results by NumPy, in float64."""
        python = self.sample.reference or getattr(np, self.name)
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return tree.flatten(self.filled([widened(x) for x in self.arrays], python))[0]

    def of_wanted(self, *wanted: Any) -> df.Tensor:
        """All inexact results in one real vector, as a function of what gradients are for."""
        values = self.tensors()
        for k, x in zip(self.wanted, wanted, strict=True):
            values[k] = x
        seed()
        return flat(self.call(*values))

    def primals(self) -> list[df.Tensor]:
        """The tensors that gradients are asked for."""
        tensors = self.tensors()
        return [tensors[k] for k in self.wanted]


def is_array(x: Any) -> bool:
    """Whether a leaf becomes a tensor: arrays, and NumPy's floats, which stand for 0-d arrays."""
    return isinstance(x, np.ndarray | np.floating | np.complexfloating)


def converted(x: Array, dtype: str | None) -> Array:
    """A float32 array in another dtype; others as they are."""
    if dtype is None or x.dtype != np.float32:
        return x
    if dtype == "int32":
        return np.rint(np.clip(np.nan_to_num(x), -99, 99)).astype("int32")
    if dtype == "complex64":
        with np.errstate(all="ignore"):
            return (x + 0.5j * np.flip(x)).astype("complex64")
    with np.errstate(all="ignore"):
        return x.astype(getattr(df, dtype))


def widened(x: Array) -> Array:
    """Floats as float64, complex numbers as complex128, the rest as it is."""
    wide = {"floating": np.float64, "complex": np.complex128}.get(kind(x.dtype))
    return x if wide is None else x.astype(wide)


def flat(result: Any) -> df.Tensor:
    """All inexact tensors of a result as one real vector."""
    parts = []
    for y in tensors_of(result):
        if kind(y.dtype) == "complex":
            parts += [df.real(y), df.imag(y)]
        elif kind(y.dtype) == "floating":
            parts.append(y)
    return df.concat([df.reshape(p, (-1,)) for p in parts])


def converted_like(generator: np.random.Generator, x: df.Tensor) -> Array:
    """A random array in the shape and dtype of `x`."""
    values = generator.normal(size=x.shape)
    if kind(x.dtype) == "complex":
        values = values + 1j * generator.normal(size=x.shape)
    return np.asarray(values).astype(x.dtype)


def as_tensors(arguments: Any) -> Any:
    """Arguments with tensors in place of arrays."""
    return tree.tree_map(lambda x: df.asarray(x) if is_array(x) else x, arguments)


def tensors_of(result: Any) -> list[df.Tensor]:
    """The tensors in a result."""
    return [x for x in tree.flatten(result)[0] if isinstance(x, df.Tensor)]


def seed() -> None:
    """Random functions start from the same state at every call."""
    df.random.seed(0)


# ----- which cases there are -----


def cases(name: str, *dtypes: str | None) -> Iterator[Case]:
    """The cases of a function in some dtypes; a dtype that changes no argument gives none."""
    for dtype in dtypes:
        samples = SAMPLES[name][:FIRST] if dtype in OTHERS else SAMPLES[name]
        for number, sample in enumerate(samples):
            if dtype is None or any(
                is_array(x) and x.dtype == np.float32
                for x in tree.flatten((sample.args, sample.kwargs))[0]
            ):
                case = Case(name, number, sample, dtype)
                if dtype not in OTHERS or takes(case):
                    yield case


def some(cases: Iterable[Case]) -> list[Case]:
    """`MOST` of them, spread evenly."""
    found = list(cases)
    if MOST is None or len(found) <= MOST:
        return found
    return [found[k * (len(found) - 1) // (MOST - 1)] for k in range(MOST)]


def takes(case: Case) -> bool:
    """Whether the function takes these dtypes at all; refusing them is its right."""
    try:
        seed()
        case.call(*case.tensors())
    except df.errors.DTypeError:
        return False
    return True


def differentiable(name: str, dtype: str | None = "float64") -> Iterator[Case]:
    """The cases that have gradients: something inexact depends on something to ask for."""
    for case in cases(name, dtype):
        if case.wanted and _flows(case):
            yield case


def _flows(case: Case) -> bool:
    with df.GradientTape() as tape:
        primals = case.primals()
        tape.watch(primals)
        values = case.tensors()
        for k, x in zip(case.wanted, primals, strict=True):
            values[k] = x
        seed()
        result = case.call(*values)
    return any(y.record is not None for y in tensors_of(result))


# ----- graphs -----


@dataclass(frozen=True)
class Recorded:
    """A graph, and the arrays of the call that it was recorded from."""

    graph: Graph
    inputs: list[Array]


@functools.cache
def traced(name: str, number: int, dtype: str | None) -> Recorded:
    """The graph of a case, as recorded."""
    case = Case(name, number, SAMPLES[name][number], dtype)
    return recorded(case.call, case.tensors())


def recorded(python: Callable[..., Any], tensors: list[df.Tensor]) -> Recorded:
    """What a call records."""
    trace = Trace("law")
    arguments = trace.arguments(tensors)
    seed()
    with using(trace=trace):
        result = python(*arguments)
        trace.graph.outputs = [trace.value_of(y) for y in tensors_of(result)]
    inputs = [x.raw for x in (*tensors, *(cell.tensor for cell in trace.cells))]
    trace.release()
    return Recorded(trace.graph, inputs)


def run(call: Recorded) -> Iterator[tuple[Node, list[Array], tuple[Any, ...]]]:
    """Each node with the arrays that it meets, and what its `evaluate` gives."""
    values = dict(zip(call.graph.inputs, call.inputs, strict=True))
    for node in call.graph.nodes:
        arrays = [values[v] for v in node.inputs]
        out = quietly(lambda n=node, a=arrays: n.op.evaluate(np, *a, **n.attrs))
        outs = out if isinstance(out, tuple) else (out,)
        yield node, arrays, outs
        values.update(zip(node.outputs, map(np.asarray, outs), strict=True))


def lowered(node: Node, arrays: list[Array]) -> tuple[list[Array], bool]:
    """What a node's lowering computes, and whether sums in it may be ordered differently."""
    form = Reference()
    out = node.op.lower(form, *[form.put(x) for x in arrays], **node.attrs)
    values = out if isinstance(out, tuple) else (out,)
    return [form.arrays[v] for v in values], any(isinstance(f, FOLDS) for f in form.forms)


def gradient_graph(case: Case) -> Recorded:
    """The graph of a case together with its gradient."""
    primals = case.primals()
    g = cotangent(case)

    def both(*xs: Any) -> Any:
        with df.GradientTape() as tape:
            tape.watch(list(xs))
            y = case.of_wanted(*xs)
        return y, tape.gradient(y, list(xs), g, unconnected_gradients="zero")

    return recorded(both, primals)


def cotangent(case: Case) -> df.Tensor:
    """A fixed cotangent for `case.of_wanted`."""
    y = case.of_wanted(*case.primals())
    values = np.random.default_rng(5).normal(size=y.shape)
    return df.asarray(values).astype(y.dtype)


# ----- records -----


def ops_of(graph: Graph) -> set[str]:
    """The names of a graph's ops, and of those in the definitions of composites among them."""
    found = set()
    for node in graph.nodes:
        found.add(node.op.name)
        if getattr(node.op, "definition", None) is not None:
            found |= _ops_of_definition(
                node.op, tuple(v.type for v in node.inputs), tuple(node.attrs.items())
            )
    return found


@functools.cache
def _ops_of_definition(op: Op, types: tuple[Any, ...], attrs: tuple[Any, ...]) -> frozenset[str]:
    trace = Trace(op.name)
    xs = [trace.placeholder(t, None) for t in types]
    with using(trace=trace, recording=False):
        op.definition(*xs, **dict(attrs))  # type: ignore[misc]
    found = ops_of(trace.graph)
    trace.release()
    return frozenset(found)


def differentiated(case: Case) -> set[str]:
    """The records that gradients to order two of a case pass through."""
    g = cotangent(case)
    with df.GradientTape(persistent=True) as outer:
        primals = case.primals()
        tangents = [df.ones_like(x) for x in primals]
        outer.watch([primals, tangents, g])  # a gradient may depend on nothing but its cotangent
        y = case.of_wanted(*primals)
        slopes = outer.gradient(y, primals, g, unconnected_gradients="none")
        moved = df.jvp(case.of_wanted, primals, tangents)[1]
    found: set[str] = set()
    targets = [y, moved, *(s for s in slopes if s is not None)]
    for record in Sweep(targets, lambda record: True).records:
        found.add(record.op.name)
        if (
            record.op.definition is not None
            and record.op.vjps is None
            and record.op.pullback is None
        ):
            found |= _differentiated_definition(record)
    return found


def _differentiated_definition(record: Any) -> set[str]:
    with df.GradientTape() as tape:
        inner = [df.asarray(x.numpy()) if isinstance(x, df.Tensor) else x for x in record.inputs]
        tape.watch(
            [
                x
                for x in inner
                if isinstance(x, df.Tensor) and kind(x.dtype) in ("floating", "complex")
            ]
        )
        out = record.op.definition(*inner, **record.attrs)
    found = set()
    for step in Sweep(tensors_of(out), lambda record: True).records:
        found.add(step.op.name)
        if step.op.definition is not None and step.op.vjps is None:
            found |= _differentiated_definition(step)
    return found


def overridden(call: Recorded) -> Iterator[tuple[Node, list[Array]]]:
    """Nodes of composites that bring reverse rules of their own."""
    for node, arrays, _ in run(call):
        op = node.op
        if (
            isinstance(op, Op)
            and op.definition is not None
            and (op.vjps is not None or op.pullback is not None)
        ):
            yield node, arrays


def both_cotangents(node: Node, arrays: list[Array]) -> tuple[list[Any], list[Any]]:
    """The cotangents of a composite by its own rules, and by its definition."""
    needed = tuple(kind(x.dtype) in ("floating", "complex") for x in arrays)
    tensors = [df.asarray(x) for x in arrays]
    with df.GradientTape() as tape:
        tape.watch([x for x, flag in zip(tensors, needed, strict=True) if flag])
        with using(recording=False):
            out = quietly(lambda: node.op.evaluate(np, *arrays, **node.attrs))
    del tape
    outs = tuple(map(df.asarray, out)) if isinstance(out, tuple) else (df.asarray(out),)
    generator = np.random.default_rng(3)
    gs = tuple(df.asarray(generator.normal(size=y.shape)).astype(y.dtype) for y in outs)
    single = len(outs) == 1
    for x in tensors:
        x.record = Leaf()
    with using(recording=False):
        y, g = (outs[0], gs[0]) if single else (outs, gs)
        own = pull(node.op, g, y, tuple(tensors), node.attrs, needed)
        derived = pull_definition(node.op, g, tuple(tensors), node.attrs, needed)
    return own, derived


# ----- comparing -----


def same_bits(ours: Any, theirs: Any) -> bool:
    """The same shape, dtype and values; every NaN is one."""
    a, b = np.asarray(ours), np.asarray(theirs)
    if (a.shape, a.dtype) != (b.shape, b.dtype):
        return False
    if kind(a.dtype) not in ("floating", "complex"):
        return bool(np.array_equal(a, b))
    wide_a, wide_b = widened(a), widened(b)
    with suppress(TypeError):
        return bool(np.array_equal(wide_a, wide_b, equal_nan=True) and signs_agree(wide_a, wide_b))
    return False


def signs_agree(a: Array, b: Array) -> bool:
    """Whether zeros have the same signs."""
    parts = [(a, b)] if a.dtype.kind == "f" else [(a.real, b.real), (a.imag, b.imag)]
    return all(np.array_equal(np.signbit(p[p == 0]), np.signbit(q[p == 0])) for p, q in parts)


def assert_close(
    ours: Any, wanted: Any, rtol: float, what: object, terms: Sequence[Array] = ()
) -> None:
    """Equal up to `rtol` of the value, or of the largest value (or term) where terms cancel."""
    a, b = np.asarray(ours), np.asarray(wanted)
    assert a.shape == b.shape, f"{what}: shape {a.shape} instead of {b.shape}"
    with np.errstate(all="ignore"):
        narrow = widened(b.astype(a.dtype))
    a, b = (
        widened(a),
        np.where(np.isinf(narrow), narrow, b),
    )  # too large for the dtype of the result
    scale = max(map(largest, (b, *terms)))
    tiny = float(ml_dtypes.finfo(ours.dtype).smallest_normal)
    np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * scale + tiny, err_msg=str(what))


def largest(x: Array) -> float:
    """The largest finite magnitude in an array."""
    if kind(x.dtype) == "bool":
        return 1.0
    wide = np.abs(widened(x))
    return float(np.max(wide, initial=0.0, where=np.isfinite(wide)))


def coarsest(call: Recorded) -> float:
    """The rounding of the narrowest floating dtype that a call computes in."""
    dtypes = [v.type.dtype for node in call.graph.nodes for v in (*node.inputs, *node.outputs)]
    return max((rounding(d) for d in dtypes if kind(d) in ("floating", "complex")), default=0.0)


def rounding(dtype: np.dtype[Any]) -> float:
    """The relative rounding of a floating or complex dtype."""
    return float(ml_dtypes.finfo(dtype).eps)


def all_records() -> dict[str, Op]:
    """Every record but the composites of nn and optim: tests/reference has PyTorch judge them."""
    return {name: op for name, op in registry.items() if not belongs_to_libraries(op)}


def belongs_to_libraries(op: Op) -> bool:
    """Whether an op is defined in terms of others by nn or optim."""
    home = getattr(op.definition, "__module__", "")
    return home.startswith(("dualflow.nn", "dualflow.optim"))
