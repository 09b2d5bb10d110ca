"""`Reference`: the forms in NumPy, computed as they are built; the oracle for all code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import singledispatchmethod
from typing import Any

import numpy as np

from jit.forms import nodes
from jit.forms.forms import FormBuilder
from jit.forms.index import evaluate
from jit.forms.scalar import evaluate as apply
from jit.forms.scalar import widened as wide
from jit.types import TensorType

Array = np.ndarray
UPDATES = {"add": np.add, "max": np.maximum, "min": np.minimum}


class Reference(FormBuilder):
    """`op.lower(Reference(sizes), ...)` runs an op; `arrays` has the array of every value."""

    def __init__(self, sizes: Mapping[str, int] | None = None) -> None:
        super().__init__()
        self.sizes = sizes or {}
        self.arrays: dict[nodes.FormValue, Array] = {}

    def put(self, array: Any, type: TensorType | None = None) -> nodes.FormValue:
        """`array` as a form value; its `type` may have symbolic dimensions."""
        known = type or TensorType(np.shape(array), np.asarray(array).dtype)
        value = nodes.Source((), (known,)).outputs[0]
        self.arrays[value] = np.asarray(array)
        return value

    def emit(self, form: nodes.Form) -> tuple[nodes.FormValue, ...]:
        outs = super().emit(form)
        self.run(form)
        return outs

    def run(self, form: nodes.Form) -> None:
        """Compute a form whose inputs are known, whoever built it."""
        with np.errstate(all="ignore"):
            results = self.compute(form, *[self.arrays[x] for x in form.inputs])
            for value, array in zip(form.outputs, results, strict=True):
                shape = tuple([evaluate(extent, self.sizes, {}) for extent in value.shape])
                self.arrays[value] = np.broadcast_to(np.asarray(array, value.dtype), shape)

    @singledispatchmethod
    def compute(self, form: nodes.Form, *xs: Array) -> Sequence[Any]:
        """The results of `form`, up to broadcasting."""
        raise NotImplementedError(type(form))

    @compute.register
    def _(self, form: nodes.Constant) -> Sequence[Any]:
        return [form.value]

    @compute.register
    def _(self, form: nodes.Index, *tables: Array) -> Sequence[Any]:
        return [evaluate(form.map.at[0], form.map.binding(self.sizes), self.arrays)]

    @compute.register
    def _(self, form: nodes.Pointwise, *xs: Array) -> Sequence[Any]:
        given = form.types[0].dtype if form.scalar.result == "given" else None
        return [apply(form.scalar.name, *xs, dtype=given)]

    @compute.register
    def _(self, form: nodes.View, x: Array, *tables: Array) -> Sequence[Any]:
        checked = form.fill is None
        at, inside = form.map.evaluate(x.shape, self.sizes, self.arrays, checked=checked)
        fill = np.asarray(0 if checked else form.fill, x.dtype)
        return [np.where(inside, x[at], fill) if x.size else fill]

    @compute.register
    def _(self, form: nodes.Reduce, *xs: Array) -> Sequence[Any]:
        merge, front = form.combiner.merge, range(len(form.axes))
        rows = [np.moveaxis(wide(x), form.axes, front) for x in xs]
        rows = [x.reshape(-1 if x.size else 0, *x.shape[len(front) :]) for x in rows]
        while len(rows[0]) > 1:  # neighbours meet, so the order of elements is kept
            even = len(rows[0]) // 2 * 2
            merged = merge(apply, [x[0:even:2] for x in rows], [x[1:even:2] for x in rows])
            rows = [np.concatenate([m, x[even:]]) for m, x in zip(merged, rows)]
        return [x[0] for x in rows] if len(rows[0]) else form.combiner.of_none(rows)

    @compute.register
    def _(self, form: nodes.Scan, *xs: Array) -> Sequence[Any]:
        merge, turn = form.combiner.merge, slice(None, None, -1 if form.reverse else 1)
        rows = [np.moveaxis(wide(x), form.axis, 0)[turn] for x in xs]
        if form.exclusive:
            starts = form.combiner.of_none(rows)
            rows = [np.concatenate([s[None], x[:-1]])[: len(x)] for s, x in zip(starts, rows)]
        reach = 1
        while reach < len(rows[0]):  # each row stands for up to `reach` rows that end there
            merged = merge(apply, [x[:-reach] for x in rows], [x[reach:] for x in rows])
            rows = [np.concatenate([x[:reach], m]) for x, m in zip(rows, merged)]
            reach *= 2
        return [np.moveaxis(x[turn], 0, form.axis) for x in rows]

    @compute.register
    def _(self, form: nodes.Contract, *xs: Array) -> Sequence[Any]:
        if all(x.size for x in xs):
            return [np.einsum(form.spec, *map(wide, xs))]
        terms, out = form.spec.split("->")  # of empty arrays NumPy reads what lies beside them
        pairs = [pair for term, x in zip(terms.split(","), xs) for pair in zip(term, x.shape)]
        return [np.zeros([dict(pairs)[c] for c in out], wide(xs[0]).dtype)]

    @compute.register
    def _(self, form: nodes.Attention, *xs: Array) -> Sequence[Any]:
        query, key, value = map(wide, xs)
        scores = scores_of(form, query, key)
        most = scores.max(-1, keepdims=True)
        totals = np.log(np.exp(scores - most).sum(-1, keepdims=True)) + most
        return [np.exp(scores - totals) @ value, totals[..., 0]]

    @compute.register
    def _(self, form: nodes.AttentionFlow, *xs: Array) -> Sequence[Any]:
        query, key, value, slopes, means, totals = map(wide, xs)
        shares = np.exp(scores_of(form, query, key) - totals[..., None])
        steep = slopes @ value.swapaxes(-1, -2) - (slopes * means).sum(-1, keepdims=True)
        flow = shares * steep * np.float32(form.scale)
        return [flow @ key, flow.swapaxes(-1, -2) @ query, shares.swapaxes(-1, -2) @ slopes]

    @compute.register
    def _(self, form: nodes.Scatter, into: Array, updates: Array, *tables: Array) -> Sequence[Any]:
        sizes, arrays, checked = self.sizes, self.arrays, not form.dropped
        at, inside = form.map.evaluate(into.shape, sizes, arrays, checked=checked)
        chosen = np.broadcast_to(inside, updates.shape)
        where = tuple([np.broadcast_to(i, updates.shape)[chosen] for i in at])
        out = np.array(wide(into))
        if form.combine == "set":
            out[where] = updates[chosen]
        else:
            UPDATES[form.combine].at(out, where, wide(updates)[chosen])
        return [out]

    @compute.register
    def _(self, form: nodes.Pieces, *xs: Array) -> Sequence[Any]:
        shape = [evaluate(extent, self.sizes, {}) for extent in form.types[0].shape]
        out = np.zeros(shape, xs[0].dtype)
        for map, x in zip(form.maps, xs, strict=True):
            at, _ = map.evaluate(out.shape, self.sizes, self.arrays, checked=True)
            out[tuple(np.broadcast_arrays(*at))] = x
        return [out]

    @compute.register
    def _(self, form: nodes.Extern, *xs: Array) -> Sequence[Any]:
        return out if isinstance(out := form.host(*xs), tuple) else (out,)


def scores_of(form: nodes.Attention | nodes.AttentionFlow, query: Array, key: Array) -> Array:
    """Scaled products of queries and keys, -inf where a row does not see a key."""
    scores = query @ key.swapaxes(-1, -2) * np.float32(form.scale)
    seen = np.tri(*scores.shape[-2:], dtype=bool) | (not form.is_causal)
    return np.where(seen, scores, -np.inf)
