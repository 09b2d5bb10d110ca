"""Loops: a node that runs a graph of its own again and again, and nodes that read its rows.

  %3: float32[8], %4: float32[9,8] = loop(%h, %x) {count=9, carried=(0,), stacked=(False, True)} of
    graph body[0<=t<=8](%h: float32[8], %x: float32[9,8]) {
      %0: float32[8] = row(%x) {at=t}
      ...
      return %6, %5
    }

The first inputs are what the body finds in its first inputs when it runs for the first time; later
it finds there the outputs that `carried` names, as the run before left them. Other inputs are the
same each time. An output is that of the last run, or those of all runs on top of each other, where
`stacked` says so: `row` reads one of these, `rows` some of them, joined along their first axis.
The body may use the symbol `t` in attrs: the number of the run, from 0. How often it runs is a
number or an extent that inputs of the loop tell.

With `going` the loop asks before each run: the carry of that number, a bool, tells whether there is
one. There are at most `count` runs, or any number (None), which nothing can be stacked of. What is
not stacked is then a carry, as the last run has left it, or as it came in where there was no run;
what is stacked of runs that there were not is nothing that may be read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from jit.dims import Dim, Extent, decide, solve, symbol
from jit.errors import GraphError, ShapeError
from jit.ir.graph import Graph
from jit.ir.interpret import Program, bound
from jit.ir.op import JIT, OpDef
from jit.types import TensorType, as_dtype

COUNTER = "t"  # the symbol that counts the runs of a body


def counter(count: Extent) -> Dim:
    """The number of the run, in the body of a loop that runs `count` times."""
    return symbol(COUNTER, lo=0, hi=count - 1)


def _loop_infer(
    *types: TensorType,
    count: Extent | None,
    carried: tuple[int, ...],
    stacked: tuple[bool, ...],
    body: Graph,
    going: int | None = None,
) -> TensorType | tuple[TensorType, ...]:
    results = [value.type for value in body.outputs]
    fits = len(stacked) == len(results) and len(carried) <= len(body.inputs)
    fits = fits and all(0 <= k < len(results) for k in carried)
    if count is not None:
        fits = fits and decide(0, "<", count) is not False
    else:
        fits = fits and going is not None and not any(stacked)
    if going is not None:
        carries = [k for k, rows in enumerate(stacked) if not rows]
        fits = fits and 0 <= going < len(carried) == len({*carried}) and {*carries} <= {*carried}
        fits = fits and results[carried[going]] == TensorType((), as_dtype("bool"))
    if not fits or list(types) != [value.type for value in body.inputs]:
        raise GraphError(f"loop: the body {body!r} does not take these inputs")
    if any(results[k] != type_ for k, type_ in zip(carried, types)):
        raise GraphError(f"loop: the body {body!r} hands on another type than it takes")
    out = [
        x.with_shape((count or 0, *x.shape)) if rows else x
        for x, rows in zip(results, stacked, strict=True)
    ]
    return out[0] if len(out) == 1 else tuple(out)


def _loop_evaluate(xp: ModuleType, *arrays: Any, body: Graph, **attrs: Any) -> Any:
    results = repeated(Program(body, xp), arrays, xp=xp, body=body, **attrs)
    return results[0] if len(results) == 1 else tuple(results)


def repeated(
    run: Callable[[Sequence[Any], dict[str, int]], Sequence[Any]],
    arrays: Sequence[Any],
    *,
    count: int | None,
    carried: tuple[int, ...],
    stacked: tuple[bool, ...],
    body: Graph,
    xp: ModuleType,
    going: int | None = None,
) -> list[Any]:
    """The results of a loop.

    Args:
        run: The body: from its arrays, and the value of the counter, to its outputs.
        arrays: What the loop is given.
        count: How often the body runs.
        carried: As in the attrs of the loop.
        stacked: As in the attrs of the loop.
        body: As in the attrs of the loop.
        xp: The array module.
        going: As in the attrs of the loop.
    """
    handed, same = list(arrays[: len(carried)]), arrays[len(carried) :]
    rows: list[list[Any]] = [[] for _ in stacked]
    outs: Sequence[Any] = []
    at = 0
    while at != count and (going is None or bool(handed[going])):
        outs = run([*handed, *same], {COUNTER: at})
        handed = [outs[k] for k in carried]
        for kept, out, is_stacked in zip(rows, outs, stacked):
            if is_stacked:
                kept.append(out)
        at += 1
    if going is None:
        return [xp.stack(kept) if kept else out for kept, out in zip(rows, outs)]
    sizes = solve([x.type.shape for x in body.inputs], [x.shape for x in arrays])
    last = dict(zip(carried, handed))
    return [
        filled(xp, kept, count, value.type, sizes) if is_stacked else last[k]
        for k, (kept, value, is_stacked) in enumerate(zip(rows, body.outputs, stacked))
    ]


def filled(
    xp: ModuleType, rows: list[Any], count: Any, type_: TensorType, sizes: dict[str, int]
) -> Any:
    """Rows on top of each other, and zeros for those that there are not."""
    whole = xp.zeros((count, *bound(type_.shape, sizes)), type_.dtype)
    for k, each in enumerate(rows):
        whole[k] = each
    return whole


def _loop_lower(form: Any, *xs: Any, **attrs: Any) -> Any:
    """As one step; `jit.forms.native` has a form of its own for it."""
    import numpy as np

    types = _loop_infer(*[x.type for x in xs], **attrs)
    return form.extern("loop", xs, types, lambda *arrays: _loop_evaluate(np, *arrays, **attrs))


def _row_infer(x: TensorType, *, at: Extent) -> TensorType:
    if not x.shape or not 0 <= at < x.shape[0]:  # type: ignore[operator]
        raise ShapeError(f"row: {x} has no row {at}")
    return x.with_shape(x.shape[1:])


def _rows_infer(x: TensorType, *, start: int, count: int) -> TensorType:
    if x.ndim < 2 or not 0 <= start <= start + count <= x.shape[0]:  # type: ignore[operator]
        raise ShapeError(f"rows: {x} has no {count} rows from {start} on, or they are numbers")
    return x.with_shape((count * x.shape[1], *x.shape[2:]))


def _rows_evaluate(xp: ModuleType, x: Any, *, start: int, count: int) -> Any:
    return x[start : start + count].reshape(count * x.shape[1], *x.shape[2:])


def _rows_lower(form: Any, x: Any, *, start: int, count: int) -> Any:
    part = form.view(x, (count, *x.shape[1:]), lambda i, *rest: (start + i, *rest))
    return form.reshape(part, (count * x.shape[1], *x.shape[2:]))


loop = OpDef(
    name="loop",
    evaluate=_loop_evaluate,
    infer=_loop_infer,
    lower=_loop_lower,
    repeats=True,
    package=JIT,
)

row = OpDef(
    name="row",
    evaluate=lambda xp, x, *, at: x[at],
    infer=_row_infer,
    lower=lambda form, x, *, at: form.view(x, x.shape[1:], lambda *i: (at, *i)),
    package=JIT,
)

rows = OpDef(
    name="rows", evaluate=_rows_evaluate, infer=_rows_infer, lower=_rows_lower, package=JIT
)

copied = OpDef(  # so that what a body gives lies in memory of its own
    name="copied",
    evaluate=lambda xp, x: x,
    infer=lambda x: x,
    lower=lambda form, x: form.pointwise("astype", x, dtype=x.dtype),
    package=JIT,
)


def _stacked_infer(*xs: TensorType) -> TensorType:
    if any(x != xs[0] for x in xs):
        raise ShapeError("stacked: arrays of several types")
    return xs[0].with_shape((len(xs), *xs[0].shape))


def _stacked_lower(form: Any, *xs: Any) -> Any:
    y = form.constant(0, xs[0].dtype, (len(xs), *xs[0].shape))
    for k, x in enumerate(xs):
        y = form.scatter("set", y, x, lambda *at, k=k: (k, *at))
    return y


def _lies_within(extent: Extent, start: Extent, span: Extent, move: int) -> bool:
    """Whether places from `start` on may lie within an extent, also after they have moved."""
    low, high = start + min(move, 0), start + span + max(move, 0)
    return decide(low, "<", 0) is not True and decide(high, "<", extent) is not False


def _laid_out_infer(
    x: TensorType, *, shape: Sequence[Extent], starts: Any, steps: Any, axis: int, apart: int
) -> TensorType:
    fits = x.ndim - 1 == len(shape) == len(starts) == len(steps) and 0 <= axis < len(shape)
    if fits:
        spans = [(n - 1) * step for n, step in zip(x.shape[1:], steps, strict=True)]
        fits = min(steps) > 0 and isinstance(x.shape[0], int) and isinstance(spans[axis], int)
        fits = fits and spans[axis] < abs(apart)
        moves = [(x.shape[0] - 1) * apart * (k == axis) for k in range(len(shape))]
        fits = fits and all(map(_lies_within, shape, starts, spans, moves))
    if not fits:
        raise ShapeError(f"laid_out: the rows of {x} do not lie side by side in {tuple(shape)}")
    return x.with_shape(shape)


def _laid_out_evaluate(
    xp: ModuleType, x: Any, *, shape: Any, starts: Any, steps: Any, axis: int, apart: int
) -> Any:
    y = xp.zeros(shape, x.dtype)
    for at, each in enumerate(x):
        first = [s + at * apart * (k == axis) for k, s in enumerate(starts)]
        ends = [s + n * step for s, n, step in zip(first, each.shape, steps, strict=True)]
        y[tuple(map(slice, first, ends, steps))] = each
    return y


def _laid_out_lower(
    form: Any, x: Any, *, shape: Any, starts: Any, steps: Any, axis: int, apart: int
) -> Any:
    pitch, sign = abs(apart), 1 if apart > 0 else -1

    def offsets(at: Sequence[Any]) -> list[Any]:
        found = [i - start for i, start in zip(at, starts, strict=True)]
        found[axis] = found[axis] % pitch
        return found

    def index(*at: Any) -> list[Any]:
        run = sign * ((at[axis] - starts[axis]) // pitch)
        return [run, *[x // step for x, step in zip(offsets(at), steps, strict=True)]]

    def where(*at: Any) -> list[Any]:
        return [(x % step, 1) for x, step in zip(offsets(at), steps, strict=True) if step != 1]

    return form.view(x, shape, index, fill=0, where=where)


def _ahead_infer(first: TensorType, rest: TensorType) -> TensorType:
    if first != rest.with_shape(rest.shape[1:]):
        raise ShapeError(f"ahead: {first} is no row of {rest}")
    return rest.with_shape((1 + rest.shape[0], *first.shape))


def _ahead_lower(form: Any, first: Any, rest: Any) -> Any:
    shape = (1 + rest.shape[0], *first.shape)
    left = form.index(shape, lambda at, *others: at, as_dtype("int64"))
    is_first = form.pointwise("less", left, form.constant(1, as_dtype("int64")))
    alone = form.view(first, shape, lambda at, *others: others)
    behind = form.view(rest, shape, lambda at, *others: (at - 1, *others), fill=0)
    return form.pointwise("where", is_first, alone, behind)


Taken = tuple[int, int, bool]  # the first row; how far the next one is; whether they are turned


def _row_products_infer(
    a: TensorType, b: TensorType, *, count: int, places: tuple[Taken, Taken]
) -> TensorType:
    shapes = list[tuple[Extent, Extent]]()
    for x, (start, step, turned) in zip((a, b), places, strict=True):
        ends = start, start + (count - 1) * step
        if x.ndim != 3 or not all(0 <= at < x.shape[0] for at in ends):  # type: ignore[operator]
            raise ShapeError(f"row_products: {x} has no {count} matrices from {start} on by {step}")
        _, m, n = x.shape
        shapes.append((n, m) if turned else (m, n))
    (rows, inner), (other, columns) = shapes
    if a.dtype != b.dtype or inner != other:
        raise ShapeError(f"row_products: rows of {a} and {b} do not multiply")
    return a.with_shape((rows, columns))


def _row_products_evaluate(
    xp: ModuleType, a: Any, b: Any, *, count: int, places: tuple[Taken, Taken]
) -> Any:
    total = None
    for t in range(count):
        left, right = (
            x[start + t * step].T if turned else x[start + t * step]
            for x, (start, step, turned) in zip((a, b), places, strict=True)
        )
        made = xp.matmul(left, right)
        total = made if total is None else total + made
    return total


def _row_products_lower(
    form: Any, a: Any, b: Any, *, count: int, places: tuple[Taken, Taken]
) -> Any:
    taken = []
    for x, (start, step, turned) in zip((a, b), places, strict=True):
        _, m, n = x.shape
        taken.append(
            form.view(
                x,
                (count, n, m) if turned else (count, m, n),
                lambda t, i, j, start=start, step=step, turned=turned: (
                    (start + step * t, j, i) if turned else (start + step * t, i, j)
                ),
            )
        )
    return form.contract("tmk,tkn->mn", *taken, apart=True)


stacked = OpDef(  # what a loop has stacked that is written out
    name="stacked",
    evaluate=lambda xp, *xs: xp.stack(xs),
    infer=_stacked_infer,
    lower=_stacked_lower,
    package=JIT,
)

laid_out = OpDef(  # rows that follow each other `apart` along an axis, and zeros around them
    name="laid_out",
    evaluate=_laid_out_evaluate,
    infer=_laid_out_infer,
    lower=_laid_out_lower,
    package=JIT,
)

ahead = OpDef(  # a row, and rows behind it
    name="ahead",
    evaluate=lambda xp, first, rest: xp.concatenate([first[None], rest]),
    infer=_ahead_infer,
    lower=_ahead_lower,
    package=JIT,
)

row_products = OpDef(  # the sum of the products of matrices that are rows, in their order
    name="row_products",
    evaluate=_row_products_evaluate,
    infer=_row_products_infer,
    lower=_row_products_lower,
    package=JIT,
)

loop_ops = {op.name: op for op in (loop, row, rows, copied, stacked, laid_out, ahead, row_products)}
