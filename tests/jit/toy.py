"""Op records in NumPy for the tests of graphs and passes: jit brings no ops of its own.

Names and attrs are those that the table of algebraic rules speaks of.
"""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np

from jit import dims
from jit.dims import recording_guesses, same
from jit.errors import ShapeError
from jit.ir.graph import Graph
from jit.ir.op import OpDef
from jit.types import TensorType, bool_, broadcast_shapes, dtypes, float32, int64, product

OPS: dict[str, OpDef] = {}


def unlowered(form, *xs, **attrs):
    raise AssertionError("no test lowers this op")


def define(name, infer, evaluate, lower=unlowered, **traits):
    OPS[name] = OpDef(name=name, evaluate=evaluate, infer=infer, lower=lower, **traits)


def elementwise(name, *, result=None, **traits):
    def infer(*types):
        return TensorType(broadcast_shapes(*[t.shape for t in types]), result or types[-1].dtype)

    def lower(form, *xs):
        return form.pointwise(name, *xs)

    define(name, infer, lambda xp, *xs: getattr(xp, name)(*xs), lower, **traits)


def reshaped(x, *, shape):
    if not same(product(x.shape), product(shape)):
        raise ShapeError(f"reshape: {x.shape} has other elements than {shape}")
    return x.with_shape(shape)


def padded(xp, x, *, shape, starts, steps, value):
    y = xp.full(shape, value, x.dtype)
    y[tuple(slice(s, s + n * k, k) for s, n, k in zip(starts, x.shape, steps))] = x
    return y


elementwise("add", commutative=True, adds=True)
for each in "multiply maximum minimum logical_and logical_or equal".split():
    elementwise(each, commutative=True, result=bool_ if each == "equal" else None)
for each in "subtract divide floor_divide pow negative positive abs logical_not where tanh".split():
    elementwise(each)
define("identity", lambda x: x, lambda xp, x: x)
define("astype", lambda x, *, dtype: x.with_dtype(dtype), lambda xp, x, *, dtype: x.astype(dtype))
define(
    "reshape",
    reshaped,
    lambda xp, x, *, shape: xp.reshape(x, shape),
    lambda form, x, *, shape: form.reshape(x, shape),
    reshapes=True,
)
define(
    "broadcast_to",
    lambda x, *, shape: x.with_shape(shape),
    lambda xp, x, *, shape: xp.broadcast_to(x, shape),
)
define(
    "permute_dims",
    lambda x, *, axes: x.with_shape([x.shape[k] for k in axes]),
    lambda xp, x, *, axes: xp.permute_dims(x, axes),
    lambda form, x, *, axes: form.view(
        x, [x.shape[k] for k in axes], lambda *at: [at[axes.index(k)] for k in range(len(axes))]
    ),
    permutes=True,
)
define(
    "sum",
    lambda x, *, axes, keepdims: x.reduced(axes, keepdims),
    lambda xp, x, *, axes, keepdims: xp.sum(x, axis=axes, keepdims=keepdims, dtype=x.dtype),
)
define(
    "concat",
    lambda *xs, axis: xs[0].with_shape((sum(x.shape[0] for x in xs), *xs[0].shape[1:])),
    lambda xp, *xs, axis: xp.concatenate(xs, axis),
    joins=True,
)
define(
    "pad",
    lambda x, *, shape, starts, steps, value: x.with_shape(shape),
    padded,
    lambda form, x, *, shape, starts, steps, value: form.view(
        x,
        shape,
        lambda *at: [(i - s) // step for i, s, step in zip(at, starts, steps)],
        fill=value,
        where=lambda *at: [((i - s) % step, 1) for i, s, step in zip(at, starts, steps)],
    ),
    pads=True,
)
define(
    "window",
    lambda x, *, start, size: x.with_shape((size,)),
    lambda xp, x, *, start, size: x[start : start + size],
    lambda form, x, *, start, size: form.view(x, (size,), lambda i: (start + i,)),
)
define(
    "dot",
    lambda x, w: x.with_shape((w.shape[1],)),
    lambda xp, x, w: x @ w,
    lambda form, x, w: form.contract("k,kn->n", x, w),
)
define(
    "matmul",
    lambda a, b: a.with_shape((a.shape[0], b.shape[1])),
    lambda xp, a, b: xp.matmul(a, b),
    lambda form, a, b: form.contract("mk,kn->mn", a, b),
    multiplies=True,
)
define(
    "extremes",
    lambda x: (x.with_shape(()), x.with_shape(())),
    lambda xp, x: (xp.min(x), xp.max(x)),
    lambda form, x: form.extern(
        "extremes", [x], [x.type.with_shape(())] * 2, lambda x: (np.min(x), np.max(x))
    ),
)
define(
    "full",
    lambda *, shape, value, dtype: TensorType(shape, dtype),
    lambda xp, *, shape, value, dtype: xp.full(shape, value, dtype),
    lambda form, *, shape, value, dtype: form.extern(
        "full", [], TensorType(shape, dtype), lambda: np.full(shape, value, dtype)
    ),
)
define("note", lambda x, **attrs: x, lambda xp, x, **attrs: x, pure=False)
define("label", lambda x, **attrs: x, lambda xp, x, **attrs: x)


def apply(graph, op, *inputs, source=None, **attrs):
    """The only output of a node."""
    return graph.add(OPS[op], inputs, attrs, source=source)[0]


def bits(array):
    """What an array is, NaNs and signed zeros included."""
    array = np.asarray(array)
    return array.dtype, array.shape, array.tobytes()


def same_bits(a, b):
    return len(a) == len(b) and all(bits(x) == bits(y) for x, y in zip(a, b, strict=True))


SHAPES = [(), (1,), (3,), (2, 3), (1, 3), (2, 1), (0, 3)]
UNARY = "negative positive abs identity tanh".split()
BINARY = "add subtract multiply maximum minimum divide pow".split()


@st.composite
def graphs(draw, most=12):
    """Valid graphs over float32 values, with constants and neutral elements for rules to find."""
    graph = Graph(draw(st.sampled_from(["step", "f", "<lambda>"])))
    values = [
        graph.input(TensorType(draw(st.sampled_from(SHAPES)), float32), draw(st.sampled_from("xy")))
        for _ in range(draw(st.integers(1, 3)))
    ]
    for number in range(draw(st.integers(1, most))):
        values.extend(draw_node(draw, graph, values, f"nets.py:{number}"))
    graph.outputs = draw(st.lists(st.sampled_from(values), min_size=1, max_size=3))
    return graph


def draw_node(draw, graph, values, source):
    """One more node, perhaps over a constant; what does not fit is left out."""
    x, y = draw(st.sampled_from(values)), draw(st.sampled_from(values))
    kind = draw(
        st.sampled_from("unary binary neutral constant move sum extremes where note".split())
    )
    if kind == "unary":
        return [apply(graph, draw(st.sampled_from(UNARY)), x, source=source)]
    if kind == "constant":
        shape = draw(st.sampled_from(SHAPES))
        return [
            graph.constant(np.full(shape, draw(st.sampled_from([0.5, -2, 3])), float32), source)
        ]
    if kind == "neutral":
        y = graph.constant(float32.type(draw(st.sampled_from([0.0, -0.0, 1.0, 2.0, 4.0]))), source)
    if kind in ("binary", "neutral"):
        return fitting(graph, draw(st.sampled_from(BINARY)), x, y, source=source)
    if kind == "where":
        condition = fitting(graph, "equal", x, y, source=source)
        return [
            v
            for c in condition
            for v in fitting(graph, "where", c, x, draw(st.sampled_from([x, y])))
        ]
    if kind == "sum":
        axes = tuple(
            sorted(draw(st.sets(st.sampled_from(range(x.type.ndim))))) if x.type.ndim else ()
        )
        return [apply(graph, "sum", x, source=source, axes=axes, keepdims=draw(st.booleans()))]
    if kind == "extremes":
        return [] if x.type.size == 0 else list(graph.add(OPS["extremes"], (x,), {}, source=source))
    if kind == "note":
        return [apply(graph, "note", x, source=source, text=draw(st.text(max_size=4)))]
    return [moved(draw, graph, x, source)]


def fitting(graph, op, *inputs, source=None):
    try:
        broadcast_shapes(*[value.type.shape for value in inputs])
    except ShapeError:
        return []
    return [apply(graph, op, *inputs, source=source)]


def moved(draw, graph, x, source):
    how = draw(st.sampled_from(["permute_dims", "reshape", "broadcast_to"]))
    if how == "permute_dims":
        axes = tuple(draw(st.permutations(range(x.type.ndim))))
        return apply(graph, how, x, source=source, axes=axes)
    if how == "reshape":
        shape = draw(st.sampled_from([(x.type.size,), (1, x.type.size), x.type.shape]))
        return apply(graph, how, x, source=source, shape=shape)
    return apply(graph, how, x, source=source, shape=(2, *x.type.shape))


def nasty(dtype):
    """Numbers of `dtype` on which arithmetic shortcuts go wrong."""
    if dtype.kind == "b":
        return np.array([True, False, True, True])
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return np.array([0, 1, 2, 3, 7, info.min, info.min + 1, info.max - 1, info.max], dtype)
    if dtype.kind == "c":
        parts = nasty(dtypes["float32" if dtype.itemsize == 8 else "float64"])
        grid = np.stack(np.meshgrid(parts, parts), axis=-1).reshape(-1, 2)
        return np.ascontiguousarray(grid).view(dtype).reshape(-1)
    bits_of = np.dtype(f"u{dtype.itemsize}")
    inf = np.array([np.inf], dtype).view(bits_of)[0]
    quiet = np.array([np.nan], dtype).view(bits_of)[0]
    sign = bits_of.type(1 << (8 * dtype.itemsize - 1))
    payload = bits_of.type(0 if dtype.kind == "V" else 5)  # bfloat16 arithmetic drops payloads
    special = [quiet, quiet | sign, quiet | payload, quiet | sign | payload]
    denormals = [1, 2, 3, sign | bits_of.type(1), sign | bits_of.type(2)]
    ends = [inf, inf | sign, inf - bits_of.type(1), (inf - bits_of.type(1)) | sign]
    strange = np.array([*special, *denormals, *ends], bits_of).view(dtype)
    plain = np.array([0.0, -0.0, 1, -1, 0.5, -1.5, 2, 3.25, 7, -100], dtype)
    random = np.random.default_rng(0).normal(size=40).astype(dtype)
    return np.concatenate([strange, plain, random])


def symbolic_graph():
    """A graph over a dimension n, with the symbol in types and attrs."""
    n = dims.symbol("n", hint=5)
    graph = Graph("lengths")
    x = graph.input(TensorType((n, 4), float32), "x")
    with recording_guesses([]):
        flat = apply(graph, "reshape", x, shape=(n * 4,))
        two = apply(graph, "broadcast_to", flat, shape=(2, n * 4))
        tag = apply(graph, "label", two, half=(n + 1) // 2, pair=(n, (2 * n - 1,)))
    count = apply(graph, "full", shape=(n % 3 + 1,), value=1, dtype=int64)
    graph.outputs = [tag, count]
    return graph
