"""NumPy functions that are spelled otherwise here, or are made of a few functions of ours.

The table `OURS` maps NumPy's names to ours, or to functions of this module.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from string import ascii_letters
from typing import Any

import numpy as np

from dualflow.core.numpy_folds import FOLDS, holds_nan
from dualflow.core.numpy_lines import LINES
from dualflow.core.numpy_numbers import NUMBERS
from dualflow.core.registry import functions
from jit.errors import ShapeError
from jit.types import bool_

# ----- axes and shapes -----


def transpose(x: Any, axes: Any = None) -> Any:
    """All axes, by default in reverse."""
    return functions["permute_dims"](x, tuple(range(x.ndim))[::-1] if axes is None else axes)


def swapaxes(x: Any, axis1: int, axis2: int) -> Any:
    """Two axes in each other's place."""
    axes = list(range(x.ndim))
    axes[axis1], axes[axis2] = axes[axis2], axes[axis1]
    return functions["permute_dims"](x, tuple(axes))


def rot90(x: Any, k: int = 1, axes: tuple[int, int] = (0, 1)) -> Any:
    """Turned by right angles in the plane of two axes."""
    for _ in range(k % 4):
        x = functions["flip"](swapaxes(x, *axes), axis=axes[0])
    return x


def ravel(x: Any) -> Any:
    """All elements in a row."""
    return functions["reshape"](x, (-1,))


def squeeze(x: Any, axis: Any = None) -> Any:
    """Without axes of extent one: those named, or all."""
    axis = tuple(k for k, n in enumerate(x.shape) if n == 1) if axis is None else axis
    return functions["squeeze"](x, axis=axis)


def at_least(ndim: int) -> Callable[..., Any]:
    """`atleast_1d` and `atleast_2d`: missing dimensions are put in front."""

    def one(x: Any) -> Any:
        x = functions["asarray"](x)
        return functions["reshape"](x, (*(1,) * (ndim - x.ndim), *x.shape))

    return lambda *xs: one(xs[0]) if len(xs) == 1 else tuple(map(one, xs))


def as_tensors(arrays: Any) -> list[Any]:
    """Each of a sequence of arrays as a tensor."""
    return [functions["asarray"](x) for x in arrays]


def stacked(axis: int, least: int) -> Callable[..., Any]:
    """`vstack` and `hstack`: joined along an axis, vectors along their only one or as rows."""

    def join(arrays: Any) -> Any:
        tensors = as_tensors(arrays)
        rows = [functions["reshape"](x, (1,) * (least - x.ndim) + x.shape) for x in tensors]
        return functions["concat"](rows, axis=min(axis, rows[0].ndim - 1))

    return join


def column_stack(arrays: Any) -> Any:
    """Vectors as columns, matrices side by side."""
    columns = [x if x.ndim > 1 else x[:, None] for x in as_tensors(arrays)]
    return functions["concat"](columns, axis=1)


def dstack(arrays: Any) -> Any:
    """Joined along the third axis."""
    deep = [
        x[None, :, None] if x.ndim == 1 else x[..., None] if x.ndim == 2 else x
        for x in as_tensors(arrays)
    ]
    return functions["concat"](deep, axis=2)


def append(x: Any, values: Any, axis: int | None = None) -> Any:
    """Joined; without an axis all elements in a row."""
    return functions["concat"](as_tensors([x, values]), axis=axis)


def array_split(x: Any, sections: Any, axis: int = 0) -> Any:
    """Pieces whose extents differ by one at most."""
    if isinstance(sections, int):
        extent = int(x.shape[axis])
        each, longer = divmod(extent, sections)
        sections = [k * each + min(k, longer) for k in range(1, sections)]
    return functions["split"](x, list(sections), axis=axis)


def diag(x: Any, k: int = 0) -> Any:
    """A diagonal of a matrix, or the matrix with a vector on its diagonal."""
    if x.ndim not in (1, 2):
        raise ShapeError(f"np.diag: a tensor of shape {x.shape}", "a vector or a matrix", "")
    if x.ndim == 2:
        return functions["diagonal"](x, offset=k)
    wide = functions["pad"](x, ((max(k, 0), max(-k, 0)),))
    there = functions["eye"](x.shape[0] + abs(k), k=k, dtype=bool_)
    return functions["where"](there, wide[None, :], functions["zeros_like"](wide))


def of_planes(name: str) -> Callable[..., Any]:
    """A function of the last two axes, of the first two by default."""

    def of(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, **words: Any) -> Any:
        planes = functions["moveaxis"](x, (axis1, axis2), (-2, -1))
        return functions[name](planes, offset=offset, **words)

    return of


def full_like(x: Any, fill_value: Any, dtype: Any = None) -> Any:
    """A tensor of one number, or of rows that are stretched, in the shape of another."""
    if not np.ndim(fill_value):
        return functions["full_like"](x, fill_value, dtype=dtype)
    wide = functions["broadcast_to"](functions["asarray"](fill_value), x.shape)
    return functions["astype"](wide, x.dtype if dtype is None else dtype)


def block(arrays: Any) -> Any:
    """Blocks put together: those of the innermost lists along the last axis, and so on."""

    def depth(nest: Any) -> int:
        return 1 + max(map(depth, nest)) if isinstance(nest, list) else 0

    levels = depth(arrays)
    leaves: list[Any] = []

    def filled(nest: Any) -> Any:
        if isinstance(nest, list):
            return [filled(x) for x in nest]
        leaves.append(functions["asarray"](nest))
        return leaves[-1]

    nest = filled(arrays)
    ndim = max(levels, *[x.ndim for x in leaves])

    def joined(nest: Any, level: int) -> Any:
        if not isinstance(nest, list):
            return at_least(ndim)(nest)
        return functions["concat"]([joined(x, level - 1) for x in nest], axis=ndim - level)

    return joined(nest, levels)


def compress(condition: Any, x: Any, axis: int | None = None) -> Any:
    """What a list of bools chooses along an axis, of all elements in a row by default."""
    x = ravel(x) if axis is None else x
    places = functions["nonzero"](functions["asarray"](condition))[0]
    return functions["take"](x, places, axis=0 if axis is None else axis)


def select(conditions: Any, choices: Any, default: Any = 0) -> Any:
    """Of the choices that of the first condition which holds."""
    for condition, choice in reversed(list(zip(conditions, choices, strict=True))):
        default = functions["where"](condition, choice, default)
    return default


def rollaxis(x: Any, axis: int, start: int = 0) -> Any:
    """One axis moved in front of another."""
    axis, start = axis % x.ndim, start + x.ndim if start < 0 else start
    return functions["moveaxis"](x, axis, start - 1 if axis < start else start)


# ----- all elements in a row by default -----


def flat(name: str) -> Callable[..., Any]:
    """A function of one axis, of all elements in a row by default."""

    def along(x: Any, axis: int | None = None, **words: Any) -> Any:
        x = ravel(x) if axis is None else x
        return functions[name](x, axis=0 if axis is None else axis, **words)

    return along


def flatnonzero(x: Any) -> Any:
    """Where the elements in a row are not zero."""
    return functions["nonzero"](ravel(x))[0]


def argwhere(x: Any) -> Any:
    """The coordinates of the elements that are not zero, in rows."""
    return functions["stack"](list(functions["nonzero"](x)), axis=-1)


def sorts(name: str) -> Callable[..., Any]:
    """`sort` and `argsort`: along the last axis by default, of all elements when None."""

    def along(x: Any, axis: int | None = -1, kind: Any = None, *, stable: Any = None) -> Any:
        x = ravel(x) if axis is None else x  # whatever the kind: ours are stable
        return functions[name](x, axis=-1 if axis is None else axis)

    return along


def takes(name: str) -> Callable[..., Any]:
    """`take` and `take_along_axis`: of all elements in a row without an axis."""

    def along(x: Any, indices: Any, axis: int | None = None) -> Any:
        x = ravel(x) if axis is None else x
        return functions[name](x, indices, axis=0 if axis is None else axis)

    return along


def take_along_axis(x: Any, indices: Any, axis: int | None = -1) -> Any:
    """Elements by indices along an axis."""
    return takes("take_along_axis")(x, indices, axis)


def unique(
    x: Any,
    return_index: bool = False,  # noqa: FBT001, FBT002
    return_inverse: bool = False,  # noqa: FBT001, FBT002
    return_counts: bool = False,  # noqa: FBT001, FBT002
    *,
    equal_nan: bool = True,
) -> Any:
    """The different elements, and what is asked for besides; all NaN are one by default."""
    values, indices, inverse, counts = functions["unique_all"](x)
    if equal_nan and holds_nan(x) and x.size:
        more = functions["maximum"](functions["count_nonzero"](functions["isnan"](values)), 1) - 1
        keep = values.shape[0] - int(more)  # they come last
        inverse = functions["minimum"](inverse, keep - 1)
        counts = functions["concat"](
            [counts[: keep - 1], functions["sum"](counts[keep - 1 :])[None]]
        )
        values, indices = values[:keep], indices[:keep]
    wanted = (return_index, indices), (return_inverse, inverse), (return_counts, counts)
    found = (values, *(y for asked, y in wanted if asked))
    return found if len(found) > 1 else values


# ----- differences and sums of neighbours -----


def trapezoid(y: Any, x: Any = None, dx: float = 1.0, axis: int = -1) -> Any:
    """The integral by the trapezoidal rule."""
    y = functions["moveaxis"](y, axis, -1)
    step = dx if x is None else functions["diff"](x)
    return functions["sum"]((y[..., 1:] + y[..., :-1]) / 2 * step, axis=-1)


# ----- products -----


def dot(a: Any, b: Any) -> Any:
    """The product over the last axis of `a` and the last but one of `b`."""
    if np.ndim(a) == 0 or np.ndim(b) == 0:
        return functions["multiply"](a, b)
    if np.ndim(b) <= 2:
        return functions["matmul"](a, b)
    return functions["tensordot"](a, b, axes=((-1,), (-2,)))


def inner(a: Any, b: Any) -> Any:
    """The product over the last axes of both."""
    if np.ndim(a) == 0 or np.ndim(b) == 0:
        return functions["multiply"](a, b)
    return functions["tensordot"](a, b, axes=((-1,), (-1,)))


def vdot(a: Any, b: Any) -> Any:
    """The product of all elements, the first conjugated."""
    return functions["vecdot"](ravel(a), ravel(b))


def kron(a: Any, b: Any) -> Any:
    """Every element of one with all of the other."""
    ndim = max(a.ndim, b.ndim)
    a, b = (functions["reshape"](x, (*(1,) * (ndim - x.ndim), *x.shape)) for x in (a, b))
    wide = functions["reshape"](a, tuple(d for n in a.shape for d in (n, 1)))
    product = wide * functions["reshape"](b, tuple(d for n in b.shape for d in (1, n)))
    return functions["reshape"](
        product, tuple(m * n for m, n in zip(a.shape, b.shape, strict=True))
    )


def outer(function: Callable[..., Any] | None) -> Callable[..., Any] | None:
    """`ufunc.outer`: of every element of one argument with every element of the other."""
    if function is None:
        return None

    def pairs(a: Any, b: Any) -> Any:
        return function(functions["reshape"](a, (*np.shape(a), *[1] * np.ndim(b))), b)

    return pairs


def einsum(*operands: Any, optimize: Any = False) -> Any:
    """Sums of products as letters or lists of numbers say; ours chooses the order itself."""
    if isinstance(operands[0], str):
        return functions["einsum"](*operands)
    paired = len(operands) // 2 * 2
    terms = [lettered(axes) for axes in operands[1:paired:2]]
    result = "->" + lettered(operands[-1]) if len(operands) > paired else ""
    return functions["einsum"](",".join(terms) + result, *operands[:paired:2])


def lettered(axes: Any) -> str:
    """The letters of numbered axes."""
    return "".join(["..." if k is Ellipsis else ascii_letters[k] for k in axes])


def diff(x: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Any:
    """Differences of neighbours; numbers may stand for the ones before and after."""

    def slab(value: Any) -> Any:
        if value is None or np.ndim(value):
            return value
        shape = tuple(1 if k == axis % x.ndim else d for k, d in enumerate(x.shape))
        return functions["broadcast_to"](functions["asarray"](value), shape)

    ends = {"prepend": slab(prepend), "append": slab(append)}
    return functions["diff"](x, n=n, axis=axis, **ends)


def norm(x: Any, ord: Any = None, axis: Any = None, *, keepdims: bool = False) -> Any:
    """The norm of vectors, or of matrices where `ord` and two axes, or dimensions, say so."""
    of_matrix = isinstance(ord, str) or (
        ord is not None
        and (len(axis) == 2 if isinstance(axis, tuple) else axis is None and x.ndim == 2)
    )
    if not of_matrix:
        return functions["vector_norm"](
            x, axis=axis, keepdims=keepdims, ord=2 if ord is None else ord
        )
    last = x if axis is None else functions["moveaxis"](x, axis, (-2, -1))
    y = functions["matrix_norm"](last, ord=ord, keepdims=keepdims)
    return y if axis is None or not keepdims else functions["moveaxis"](y, (-2, -1), axis)


def hyperplanes(name: str) -> Callable[..., Any]:
    """A transform of two axes, by that of several."""

    def transform(x: Any, s: Any = None, axes: Any = (-2, -1), norm: Any = None) -> Any:
        return functions[name](x, s=s, axes=axes, norm=norm or "backward")

    return transform


OURS: dict[str, str | Callable[..., Any] | None] = {
    **FOLDS,
    **LINES,
    **NUMBERS,
    "put_along_axis": None,  # it changes its argument
    "true_divide": "divide",
    "power": "pow",
    "invert": "bitwise_invert",
    "absolute": "abs",
    "fabs": "abs",
    "conjugate": "conj",
    "left_shift": "bitwise_left_shift",
    "right_shift": "bitwise_right_shift",
    "mod": "remainder",
    "rint": "round",
    **{f"arc{name}": f"a{name}" for name in ("sin", "cos", "tan", "tan2", "sinh", "cosh", "tanh")},
    "concatenate": "concat",
    "diagonal": of_planes("diagonal"),
    "trace": of_planes("trace"),
    "sort": sorts("sort"),
    "argsort": sorts("argsort"),
    "take": takes("take"),
    "take_along_axis": take_along_axis,
    "transpose": transpose,
    "swapaxes": swapaxes,
    "rot90": rot90,
    "ravel": ravel,
    "squeeze": squeeze,
    "atleast_1d": at_least(1),
    "atleast_2d": at_least(2),
    "cumsum": flat("cumulative_sum"),
    "cumprod": flat("cumulative_prod"),
    "flatnonzero": flatnonzero,
    "argwhere": argwhere,
    "unique": unique,
    "dot": dot,
    "inner": inner,
    "vdot": vdot,
    "kron": kron,
    "matvec": lambda a, b: functions["matmul"](a, b[..., None])[..., 0],
    "vecmat": lambda a, b: functions["matmul"](functions["conj"](a)[..., None, :], b)[..., 0, :],
    "vstack": stacked(0, 2),
    "hstack": stacked(1, 1),
    "column_stack": column_stack,
    "dstack": dstack,
    "append": append,
    "block": block,
    "compress": compress,
    "fix": "trunc",
    "full_like": full_like,
    "rollaxis": rollaxis,
    "select": select,
    "array_split": array_split,
    "vsplit": lambda x, sections: functions["split"](x, sections, axis=0),
    "hsplit": lambda x, sections: functions["split"](x, sections, axis=min(1, x.ndim - 1)),
    "diag": diag,
    "flipud": lambda x: functions["flip"](x, axis=0),
    "fliplr": lambda x: functions["flip"](x, axis=1),
    "shape": lambda x: x.shape,
    "ndim": lambda x: x.ndim,
    "size": lambda x, axis=None: x.size if axis is None else x.shape[axis],
    "copy": "identity",
    "trapezoid": trapezoid,
    "diff": diff,
    "einsum": einsum,
    "outer": lambda a, b: functions["outer"](ravel(a), ravel(b)),
    "dsplit": lambda x, sections: functions["split"](x, sections, axis=2),
    "linalg.multi_dot": lambda arrays: reduce(functions["matmul"], as_tensors(arrays)),
    "linalg.norm": norm,
    "fft.fft2": hyperplanes("fftn"),
    "fft.ifft2": hyperplanes("ifftn"),
    "fft.rfft2": hyperplanes("rfftn"),
    "fft.irfft2": hyperplanes("irfftn"),
}
