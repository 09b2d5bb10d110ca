"""The builder that `op.lower` speaks to.

The vocabulary: two leaves and eight forms, and what a machine may have kernels for. `i` stands for
the indices of the result.

==========================================  ===================================================
`form.constant(value, dtype, shape)`        out[i] = value
`form.index(shape, fn, dtype)`              out[i] = fn(i), an integer expression
`form.pointwise(name, *xs)`                 out[i] = name(x[i], y[i], ...)
`form.view(x, shape, index_map, fill)`      out[i] = x[index_map(i)], or fill outside of x
`form.reduce(combine, xs, axes)`            tuples of values folded over axes
`form.scan(combine, xs, axis)`              running folds along one axis
`form.contract(spec, *xs)`                  sums of products: einsum
`form.scatter(combine, into, y, index_map)` into[index_map(i)] (combine)= y[i], for every i of y
`form.pieces(xs, shape, index_map)`         out[index_map(k, *i)] = xs[k][i], for every k and i
`form.attention(query, key, value, ...)`    a native step where the machine has a kernel for it
`form.extern(symbol, xs, types, host)`      out = host(*arrays), never fused
==========================================  ===================================================

Index maps are Python functions of loop indices. They may use + - *, // and % by positive sizes, and
`form.load(table, *at)`. Sizes are ints or `Dim`s; the same `lower` serves both. Examples::

    # matmul: (m, k) @ (k, n)
    form.contract("mk,kn->mn", a, b)

    # transpose
    form.view(x, (n, m), lambda i, j: (j, i))

    # reshape of (a, b) to (b, a), through the linear index; `form.reshape` does any shapes
    form.view(x, (b, a), lambda i, j: divmod(i * a + j, b))

    # x[start::step], and x[::-1]
    form.view(x, (count,), lambda i: (start + step * i,))
    form.view(x, (n,), lambda i: (n - 1 - i,))

    # one zero at both ends
    form.view(x, (n + 2,), lambda i: (i - 1,), fill=0)

    # dilation: x[0], 0, x[1], 0, ...
    form.view(x, (2 * n - 1,), lambda i: (i // 2,), fill=0, where=lambda i: [(i % 2, 1)])

    # convolution (stride s, padding p, dilation d) of images x: (b, c, h, w) with w: (o, c, kh, kw)
    windows = form.view(
        x,
        (b, c, oh, ow, kh, kw),
        lambda b, c, i, j, u, v: (b, c, i * s + u * d - p, j * s + v * d - p),
        fill=0,
    )
    form.contract("bcijuv,ocuv->boij", windows, w)

    # gather: rows of x (n, k) that the integers t: (m,) name; an index outside raises
    form.view(x, (m, k), lambda i, j: (form.load(t, i), j))

    # its transpose: rows of g: (m, k) added up where they came from
    form.scatter("add", zeros, g, lambda i, j: (form.load(t, i), j))

    # sum, argmax, softmax along the last axis
    form.reduce("sum", x, (1,))
    _, at = form.reduce("argmax", (x, form.index(x.shape, lambda i, j: j, int64)), (1,))
    e = form.pointwise("exp", form.pointwise("subtract", x, form.reduce("max", x, (1,), True)))
    form.pointwise("divide", e, form.reduce("sum", e, (1,), True))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from operator import mul
from typing import Any

import numpy as np

from jit.dims import Dim, Extent
from jit.dims.algebra import Atom
from jit.errors import AxisError, DTypeError, ShapeError
from jit.forms import nodes
from jit.forms.attention import has_kernel
from jit.forms.combine import combiners
from jit.forms.expression import moved
from jit.forms.index import Condition, IndexMap, Load, is_inside, row_major, same_all
from jit.forms.nodes import Form, FormValue
from jit.forms.scalar import result_dtype, scalar
from jit.types import TensorType, broadcast_shapes, exact_reciprocal, float32, format_shape, kind

LARGE = 1 << 62
SCATTERS = {"set": None, "add": "sum", "max": "max", "min": "min"}


Units = Callable[[str], str]


def in_none(dtype: str) -> str:
    """The units of a machine without tensor cores."""
    del dtype
    return ""


class FormBuilder:
    """Records forms in program order, after checking their arguments.

    Args:
        units: In what tensor cores multiply elements of a dtype: see `Target.units`.

    Attributes:
        forms: What was recorded.
    """

    def __init__(self, units: Units = in_none) -> None:
        self.units, self.forms = units, list[Form]()
        self._count = 0

    def emit(self, form: Form) -> tuple[FormValue, ...]:
        """Record `form` and return its results. Everything that is built passes here."""
        for value in form.outputs:
            value.name = f"%{self._count}"
            self._count += 1
        self.forms.append(form)
        return form.outputs

    def source(self, type: TensorType) -> FormValue:
        """An array that the caller will pass."""
        return self.emit(nodes.Source((), (type,)))[0]

    def constant(self, value: Any, dtype: np.dtype[Any], shape: Sequence[Extent] = ()) -> FormValue:
        """A number, everywhere in `shape`, or an array of just that shape."""
        array = np.array(value, dtype=dtype)
        if array.ndim and array.shape != tuple(shape):
            raise ShapeError(
                f"a constant of shape {array.shape} is no value of shape {format_shape(shape)}",
                "a number, or an array of that very shape",
            )
        if (steps := steps_of(array)) is not None:  # then nobody has to read it from memory
            first = int(array.flat[0])
            return self.index(shape, lambda *i: sum(map(mul, i, steps), first), dtype)
        return self.emit(nodes.Constant((), (TensorType(tuple(shape), dtype),), array))[0]

    def index(
        self, shape: Sequence[Extent], fn: Callable[..., Extent], dtype: np.dtype[Any]
    ) -> FormValue:
        """The expression `fn(*indices)` at each index of `shape`, as numbers of `dtype`."""
        map = IndexMap.of(shape, lambda *loops: (fn(*loops),))
        return self.emit(nodes.Index(map.tables, (TensorType(map.shape, dtype),), map))[0]

    def pointwise(self, name: str, *xs: FormValue, dtype: np.dtype[Any] | None = None) -> FormValue:
        """Scalar instruction `name` at each index.

        Args:
            name: A key of `jit.forms.scalar.scalars`.
            *xs: Values whose shapes broadcast, of one dtype.
            dtype: The dtype wanted, for `astype` only.

        Raises:
            DTypeError: The instruction does not take these dtypes.
            ShapeError: The shapes do not broadcast.
        """
        result = result_dtype(name, tuple([x.dtype for x in xs]), dtype)
        if name == "divide" and (inverse := self._inverse(xs[1])) is not None:
            name, xs = "multiply", (xs[0], inverse)  # as nodes are rewritten: said alike, made once
        shape = broadcast_shapes(*[x.shape for x in xs])
        inputs = tuple([self.broadcast(x, shape) for x in xs])
        return self.emit(nodes.Pointwise(inputs, (TensorType(shape, result),), scalar(name)))[0]

    def _inverse(self, x: FormValue) -> FormValue | None:
        """The number by which to multiply in place of dividing by `x`, if that is the same."""
        if not isinstance(x.form, nodes.Constant) or x.form.value.ndim:
            return None
        inverse = exact_reciprocal(x.form.value[()], x.dtype)
        return None if inverse is None else self.constant(inverse, x.dtype, x.shape)

    def load(self, table: FormValue, *at: Extent) -> Dim:
        """The integer `table[at]`, inside of an index map.

        Raises:
            DTypeError: The table does not hold integers.
            ShapeError: It has another number of dimensions.
        """
        if kind(table.dtype) not in ("integer", "bool"):
            raise DTypeError(f"an index is loaded from {table.type}", "a table of integers")
        if len(at) != table.ndim:
            raise ShapeError(
                f"{len(at)} indices into a table {table.type}", f"{table.ndim} indices"
            )
        return Load(table, at).as_dim()

    def view(
        self,
        x: FormValue,
        shape: Sequence[Extent],
        index_map: Callable[..., Sequence[Extent]],
        fill: Any = None,
        where: Callable[..., Sequence[Condition]] | None = None,
    ) -> FormValue:
        """out[i...] = x[index_map(*i)].

        Args:
            x: Any value.
            shape: Of the result.
            index_map: Loop indices to one index per axis of `x`.
            fill: A number to read outside of `x`. None promises that the map stays inside; what a
                load brings in is checked.
            where: Loop indices to pairs (e, n): unless 0 <= e < n for each, `fill` is read.

        Raises:
            ShapeError: The map gives another number of indices than `x` has axes.
        """
        map = self._map(IndexMap.of(shape, index_map, where), x, "view")
        if map.where and fill is None:
            raise ShapeError("a view with conditions and no fill", "fill=, what is read elsewhere")
        inputs = (x, *map.tables)
        return self.emit(nodes.View(inputs, (x.type.with_shape(map.shape),), map, fill))[0]

    def reduce(
        self,
        combine: str,
        xs: FormValue | tuple[FormValue, ...],
        axes: Sequence[int],
        keepdims: bool = False,  # noqa: FBT001, FBT002 - an op's attr
    ) -> Any:
        """Fold over axes.

        Args:
            combine: sum, prod, max, min, any, all of one value; argmax, argmin of a pair (value,
                index); logsumexp of a pair (maximum, sum); welford of a triple (mean, sum of
                squared deviations, count). NaN is the greatest and the least; the lower index wins.
            xs: One value or a tuple of values of one shape.
            axes: Which axes to fold; negative ones count from the end.
            keepdims: Keep them, with extent 1.

        Returns:
            A value, or a tuple if `xs` is one.
        """
        several, shape = self._tuple_of(combine, xs)
        folded = tuple(sorted({self._axis(axis, shape) for axis in axes}))
        types = tuple([x.type.reduced(folded, keepdims=False) for x in several])
        outs = self.emit(nodes.Reduce(several, types, combiners[combine], folded))
        if keepdims:
            kept = several[0].type.reduced(folded, keepdims=True).shape
            outs = tuple([self._with_axes(out, kept, folded) for out in outs])
        return outs if isinstance(xs, tuple) else outs[0]

    def scan(
        self,
        combine: str,
        xs: FormValue | tuple[FormValue, ...],
        axis: int,
        *,
        reverse: bool = False,
        exclusive: bool = False,
    ) -> Any:
        """Running folds along an axis; arguments as for `reduce`.

        Args:
            combine: Any combiner that `reduce` takes.
            xs: One value or a tuple of values of one shape.
            axis: Along which axis.
            reverse: Run from its end.
            exclusive: Leave out the element itself; the first result is the combiner's identity.
        """
        several, shape = self._tuple_of(combine, xs)
        axis = self._axis(axis, shape)
        types = tuple([x.type for x in several])
        form = nodes.Scan(several, types, combiners[combine], axis, reverse, exclusive)
        outs = self.emit(form)
        return outs if isinstance(xs, tuple) else outs[0]

    def contract(self, spec: str, *xs: FormValue, apart: bool = False) -> FormValue:
        """Sum of products over the letters that the result lacks.

        Args:
            spec: As for einsum: one letter per axis, no letter twice in one operand, with "->".
            *xs: Values of one dtype; axes of one letter have one extent.
            apart: What is summed over the first of these letters are contractions, each with sums
                of one chain, added one after the other; no library computes them.

        Raises:
            ShapeError: The letters do not fit the shapes.
            DTypeError: The dtypes differ, or do not multiply.
        """
        left, _, right = spec.replace(" ", "").partition("->")
        terms = left.split(",")
        extents: dict[str, Extent] = {}
        fits = len(terms) == len(xs) and all(len(t) == x.ndim for t, x in zip(terms, xs))
        for letter, extent in zip("".join(terms), [d for x in xs for d in x.shape]) if fits else ():
            fits = fits and extents.setdefault(letter, extent) == extent
        letters_once = all(len(set(term)) == len(term) for term in (*terms, right))
        if not (fits and letters_once and set(right) <= set(extents)):
            shapes = " and ".join(format_shape(x.shape) for x in xs)
            raise ShapeError(
                f"contract {spec!r} does not fit shapes {shapes}",
                "a letter per axis, one extent per letter, no letter twice in an operand",
            )
        for x in xs:
            result_dtype("multiply", (xs[0].dtype, x.dtype))
        shape = tuple([extents[letter] for letter in right])
        type_ = TensorType(shape, xs[0].dtype)
        kind = nodes.ContractApart if apart else nodes.Contract
        return self.emit(kind(xs, (type_,), f"{left}->{right}"))[0]

    def attention(
        self, query: FormValue, key: FormValue, value: FormValue, *, is_causal: bool, scale: float
    ) -> tuple[FormValue, ...] | None:
        """The results of `nodes.Attention`; None where the machine has no kernel for it.

        Args:
            query: Of shape (.., L, E).
            key: Of shape (.., S, E).
            value: Of shape (.., S, E).
            is_causal: Row i sees the keys up to i.
            scale: What products are multiplied by.
        """
        if not has_kernel((query, key, value), scale, self.units):
            return None
        batch, operands = self._alike(query, key, value)
        rows = TensorType((*batch, query.shape[-2]), float32)
        types = operands[0].type, rows
        return self.emit(nodes.Attention(operands, types, is_causal, float(scale)))

    def attention_flow(
        self,
        query: FormValue,
        key: FormValue,
        value: FormValue,
        *others: FormValue,
        is_causal: bool,
        scale: float,
    ) -> tuple[FormValue, ...] | None:
        """The results of `nodes.AttentionFlow`; None where the machine has no kernel for it.

        Args:
            query: As for `attention`; so are the other arguments.
            key: Likewise.
            value: Likewise.
            *others: What flows to the means, the means, and the logarithms.
            is_causal: Likewise.
            scale: Likewise.
        """
        if not has_kernel((query, key, value), scale, self.units):
            return None
        _, operands = self._alike(query, key, value)
        types = tuple([x.type for x in operands])
        inputs = (*operands, *others)
        return self.emit(nodes.AttentionFlow(inputs, types, is_causal, float(scale)))

    def _alike(self, *xs: FormValue) -> tuple[tuple[Extent, ...], tuple[FormValue, ...]]:
        """Matrices in one batch, and its shape."""
        batch = broadcast_shapes(*[x.shape[:-2] for x in xs])
        return batch, tuple([self.broadcast(x, (*batch, *x.shape[-2:])) for x in xs])

    def scatter(
        self,
        combine: str,
        into: FormValue,
        updates: FormValue,
        index_map: Callable[..., Sequence[Extent]],
        where: Callable[..., Sequence[Condition]] | None = None,
        *,
        dropped: bool = False,
    ) -> FormValue:
        """A copy of `into` where, for every index i of `updates`, into[index_map(*i)] is updated.

        Args:
            combine: add, max, min, or set (the last one in row-major order stays).
            into: What the updates meet.
            updates: Values of the same dtype.
            index_map: Indices of `updates` to one index per axis of `into`.
            where: Indices to pairs (e, n): unless 0 <= e < n for each, the update is dropped.
            dropped: Drop updates outside of `into`, which are errors otherwise.
        """
        if combine not in SCATTERS:
            raise ShapeError(f"scatter knows no {combine!r}", f"one of {', '.join(SCATTERS)}")
        if combine != "set":
            combiners[SCATTERS[combine]].check((into.dtype,))
        if into.dtype != updates.dtype:
            raise DTypeError(f"scatter of {updates.dtype} into {into.dtype}", "one dtype")
        map = self._map(IndexMap.of(updates.shape, index_map, where), into, "scatter")
        inputs = (into, updates, *map.tables)
        return self.emit(nodes.Scatter(inputs, (into.type,), combine, map, dropped))[0]

    def pieces(
        self, xs: Sequence[FormValue], shape: Sequence[Extent], index_map: Callable[..., Any]
    ) -> FormValue:
        """Values of one shape that make up a larger one: out[index_map(k, *i)] = xs[k][i].

        Args:
            xs: What is put together, computed side by side.
            shape: Of the result.
            index_map: The number of a value and its indices to one index per axis of the result;
                it promises to meet no place twice. What it does not meet nobody may read.
        """
        maps = [IndexMap.of(xs[0].shape, partial(index_map, k)) for k in range(len(xs))]
        types = (xs[0].type.with_shape(tuple(shape)),)
        return self.emit(nodes.Pieces(tuple(xs), types, tuple(maps)))[0]

    def extern(
        self,
        symbol: str,
        xs: Sequence[FormValue],
        types: TensorType | Sequence[TensorType],
        host: Callable[..., Any],
    ) -> Any:
        """A step of its own.

        Args:
            symbol: Names the step.
            xs: Its operands.
            types: Of its results: one type, or several.
            host: The step on NumPy arrays; returns an array, or a tuple for several types.

        Returns:
            A value, or a tuple for several types.
        """
        one = isinstance(types, TensorType)
        listed = (types,) if isinstance(types, TensorType) else tuple(types)
        outs = self.emit(nodes.Extern(tuple(xs), listed, symbol, host))
        return outs[0] if one else outs

    def broadcast(self, x: FormValue, shape: Sequence[Extent]) -> FormValue:
        """`x` in `shape`, by NumPy's rule."""
        if same_all(x.shape, shape):
            return x
        missing = len(shape) - x.ndim
        ones = [isinstance(d, int) and d == 1 for d in x.shape]
        return self.view(
            x,
            shape,
            lambda *i: [0 if one else k for one, k in zip(ones, i[missing:], strict=True)],
        )

    def reshape(self, x: FormValue, shape: Sequence[Extent]) -> FormValue:
        """The elements of `x` in row-major order, in another shape of as many elements."""
        if same_all(x.shape, shape):
            return x
        map = row_major(x.shape, tuple(shape))
        return self.emit(nodes.View((x,), (x.type.with_shape(map.shape),), map, None))[0]

    def _with_axes(
        self, x: FormValue, shape: tuple[Extent, ...], axes: tuple[int, ...]
    ) -> FormValue:
        return self.view(x, shape, lambda *i: [v for k, v in enumerate(i) if k not in axes])

    def _tuple_of(
        self, combine: str, xs: FormValue | tuple[FormValue, ...]
    ) -> tuple[tuple[FormValue, ...], tuple[Extent, ...]]:
        several = xs if isinstance(xs, tuple) else (xs,)
        if combine not in combiners:
            raise ShapeError(f"no combiner is called {combine!r}", f"one of {', '.join(combiners)}")
        combiners[combine].check(tuple([x.dtype for x in several]))
        shape = broadcast_shapes(*[x.shape for x in several])
        return tuple([self.broadcast(x, shape) for x in several]), shape

    def _axis(self, axis: int, shape: tuple[Extent, ...]) -> int:
        if not -len(shape) <= axis < len(shape):
            raise AxisError(f"axis {axis} of shape {format_shape(shape)}", "an axis that exists")
        return axis % len(shape)

    def _map(self, map: IndexMap, x: FormValue, what: str) -> IndexMap:
        """A map into `x`, with as few loads as may be."""
        if len(map.at) != x.ndim:
            raise ShapeError(
                f"{what}: an index map gives {len(map.at)} indices for a value {x.type}",
                f"{x.ndim} indices, one per axis",
            )
        return with_indices(map, x.shape) if map.tables else map


def steps_of(array: np.ndarray[Any, Any]) -> list[int] | None:
    """For each axis how much integers grow along it, if that is all they do; None if it is not."""
    if kind(array.dtype) != "integer" or array.size < 2:
        return None
    start = int(array.flat[0])
    second = [array[(0,) * k + (min(n, 2) - 1,)] for k, n in enumerate(array.shape)]
    steps = [int(x.flat[0]) - start for x in second]
    reach = [abs(step) * (n - 1) for step, n in zip(steps, array.shape)]
    if abs(start) + sum(reach) >= LARGE:  # indices have 64 bits
        return None
    wanted = start
    for step, places in zip(steps, np.ogrid[tuple(map(slice, array.shape))]):
        wanted = wanted + step * places
    return steps if np.array_equal(array, wanted) else None


def with_indices(map: IndexMap, shape: Sequence[Extent]) -> IndexMap:
    """A map that computes what it would load, where that is an expression of indices.

    What is loaded is checked, and what is computed is not: so that must be inside for sure.
    """

    def computed(atom: Atom) -> Extent | None:
        if not isinstance(atom, Load) or not isinstance(atom.table, FormValue):
            return None
        form = atom.table.form
        return moved(form.map.at[0], atom.at) if isinstance(form, nodes.Index) else None

    made = map.rewritten(computed)
    pairs = zip(map.at, made.at, shape)
    at = [new if is_inside(new, n) is True else old for old, new, n in pairs]
    return replace(made, at=tuple(at))
