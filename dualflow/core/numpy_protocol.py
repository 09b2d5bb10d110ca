"""NumPy's functions on tensors: `np.sum(x)` is `df.sum(x)`, recorded and differentiated like it.

What has the same name and meaning is found by its name. `OURS` holds what is called or spelled
differently; `INSTEAD` says what to write for what has no counterpart.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dualflow.core.registry import functions

UNSET = (None, getattr(np, "_NoValue", None))
# What says nothing when it is unset.
UNTOUCHED = ("out", "where", "initial", "dtype", "casting", "order", "subok", "keepdims")
WORDS = {"ddof": "correction", "a_min": "min", "a_max": "max", "newshape": "shape"}
REDUCED = {"add": "sum", "multiply": "prod", "maximum": "max", "minimum": "min"}
REDUCED |= {"logical_and": "all", "logical_or": "any"}
SUMMED = {"add": "cumulative_sum", "multiply": "cumulative_prod"}


class NumPyProtocols:
    """Mixed into Tensor: NumPy asks here before it makes arrays of tensors."""

    __slots__ = ()

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        name = ufunc.__name__
        words = told(kwargs)
        ours: Any = None
        if method == "__call__" and not words:
            ours = found(name)
        elif method == "reduce" and name in REDUCED:
            ours, words = functions[REDUCED[name]], {"axis": 0, **words}
        elif method == "accumulate" and name in SUMMED:
            ours, words = functions[SUMMED[name]], {"axis": 0, **words}
        elif method == "outer" and not words:
            ours = outer(found(name))
        if ours is None:
            called = name if method == "__call__" else f"{name}.{method}"
            raise missing(called, kwargs)
        return ours(*inputs, **words)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        module = function.__module__.removeprefix("numpy").lstrip(".")
        name = f"{module}.{function.__name__}" if module in ("linalg", "fft") else function.__name__
        ours = found(name)
        if ours is None:
            raise missing(name, {})
        return ours(*args, **told(kwargs))


def told(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Keyword arguments by our words, without those that say what is so anyway."""
    return {
        WORDS.get(word, word): value
        for word, value in kwargs.items()
        if word not in UNTOUCHED or not any(value is unset for unset in UNSET)
    }


def found(name: str) -> Callable[..., Any] | None:
    """What computes NumPy's function of this name."""
    ours = OURS.get(name, name)
    return functions.get(ours) if isinstance(ours, str) else ours


def missing(name: str, kwargs: dict[str, Any]) -> TypeError:
    """The error of a function that has no counterpart; it names what to write."""
    words = f" with {'=, '.join(kwargs)}=" if kwargs else ""
    instead = INSTEAD.get(name, "call it on x.numpy(), where gradients end")
    return TypeError(f"dualflow has no counterpart of np.{name}{words}: {instead}")


def outer(function: Callable[..., Any] | None) -> Callable[..., Any] | None:
    """`ufunc.outer`: of every element of one argument with every element of the other."""
    if function is None:
        return None

    def pairs(a: Any, b: Any) -> Any:
        return function(functions["reshape"](a, (*np.shape(a), *[1] * np.ndim(b))), b)

    return pairs


# ----- spelled differently -----


def transpose(x: Any, axes: Any = None) -> Any:
    """All axes, by default in reverse."""
    return functions["permute_dims"](x, tuple(range(x.ndim))[::-1] if axes is None else axes)


def swapaxes(x: Any, axis1: int, axis2: int) -> Any:
    """Two axes in each other's place."""
    axes = list(range(x.ndim))
    axes[axis1], axes[axis2] = axes[axis2], axes[axis1]
    return functions["permute_dims"](x, tuple(axes))


def flat(name: str) -> Callable[..., Any]:
    """A function of one axis, of all elements in a row by default."""

    def along(x: Any, axis: int | None = None, **words: Any) -> Any:
        x = ravel(x) if axis is None else x
        return functions[name](x, axis=0 if axis is None else axis, **words)

    return along


def ravel(x: Any) -> Any:
    """All elements in a row."""
    return functions["reshape"](x, (-1,))


def squeeze(x: Any, axis: Any = None) -> Any:
    """Without axes of extent one: those named, or all."""
    axis = tuple(k for k, n in enumerate(x.shape) if n == 1) if axis is None else axis
    return functions["squeeze"](x, axis=axis)


def rounded(x: Any, decimals: int = 0) -> Any:
    """To so many decimals."""
    scale = 10.0**decimals
    return functions["round"](x) if decimals == 0 else functions["round"](x * scale) / scale


def dot(a: Any, b: Any) -> Any:
    """The product over the last axis of `a` and the last but one of `b`."""
    if np.ndim(a) == 0 or np.ndim(b) == 0:
        return functions["multiply"](a, b)
    if np.ndim(b) <= 2:
        return functions["matmul"](a, b)
    return functions["tensordot"](a, b, axes=((-1,), (-2,)))


def stacked(axis: int, least: int) -> Callable[..., Any]:
    """`vstack` and `hstack`: joined along an axis, vectors along their only one or as rows."""

    def join(arrays: Any) -> Any:
        rows = [functions["reshape"](x, (1,) * (least - x.ndim) + x.shape) for x in arrays]
        return functions["concat"](rows, axis=min(axis, rows[0].ndim - 1))

    return join


def isclose(a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8) -> Any:
    """Whether elements agree within NumPy's bounds."""
    return (functions["abs"](a - b) <= atol + rtol * functions["abs"](b)) | (a == b)


def norm(x: Any, ord: None = None, axis: Any = None, *, keepdims: bool = False) -> Any:
    """The Euclidean norm."""
    if ord is not None:
        raise missing("linalg.norm", {"ord": ord})
    return functions["sqrt"](functions["sum"](x * x, axis=axis, keepdims=keepdims))


OURS: dict[str, str | Callable[..., Any]] = {
    "true_divide": "divide",
    "power": "pow",
    "float_power": "pow",
    "invert": "bitwise_invert",
    "absolute": "abs",
    "fabs": "abs",
    "conjugate": "conj",
    "left_shift": "bitwise_left_shift",
    "right_shift": "bitwise_right_shift",
    "mod": "remainder",
    "rint": "round",
    "fmax": "maximum",
    "fmin": "minimum",
    **{f"arc{name}": f"a{name}" for name in ("sin", "cos", "tan", "tan2", "sinh", "cosh", "tanh")},
    "concatenate": "concat",
    "amax": "max",
    "amin": "min",
    "round": rounded,
    "around": rounded,
    "transpose": transpose,
    "swapaxes": swapaxes,
    "ravel": ravel,
    "squeeze": squeeze,
    "cumsum": flat("cumulative_sum"),
    "cumprod": flat("cumulative_prod"),
    "dot": dot,
    "vstack": stacked(0, 2),
    "hstack": stacked(1, 1),
    "flipud": lambda x: functions["flip"](x, axis=0),
    "fliplr": lambda x: functions["flip"](x, axis=1),
    "shape": lambda x: x.shape,
    "ndim": lambda x: x.ndim,
    "size": lambda x: x.size,
    "copy": "identity",
    "isclose": isclose,
    "allclose": lambda *args, **words: bool(functions["all"](isclose(*args, **words))),
    "array_equal": lambda a, b: a.shape == b.shape and bool(functions["all"](a == b)),
    "linalg.norm": norm,
    "linalg.outer": "outer",
    "linalg.matmul": "matmul",
}
INSTEAD = {
    "median": "df.sort(x) and its middle",
    "percentile": "df.sort(x) and an index",
    "quantile": "df.sort(x) and an index",
    "average": "df.mean(x), or df.sum(x * w) / df.sum(w)",
    "nan_to_num": "df.where(df.isnan(x), 0.0, x)",
    "nansum": "df.sum(df.where(df.isnan(x), 0.0, x))",
    "nanmean": "df.where(df.isnan(x), 0.0, x) and df.mean",
    "ptp": "df.max(x) - df.min(x)",
    "diff": "x[1:] - x[:-1]",
    "inner": "df.tensordot(a, b, axes=([-1], [-1]))",
    "vdot": "df.sum(a * b)",
    "cross": "df.stack of the products of components",
    "cov": "the product of what is centred: (x - x.mean(...)) @ (x - x.mean(...)).T",
    "unique": "df.sort(x), and compare neighbours",
    "bincount": "df.zeros(n).at[x].add(1)",
    "add.at": "x.at[i].add(v)",
    "put": "x.at[i].set(v)",
    "copyto": "a Variable and v.assign(x)",
    "append": "df.concat([a, b])",
    "array_split": "df.split(x, positions)",
    "argwhere": "df.stack(df.nonzero(x), axis=-1)",
    "cbrt": "x ** (1 / 3)",
    "exp2": "2.0 ** x",
    "deg2rad": "x * (math.pi / 180)",
    "linalg.norm": "df.sum of df.abs(x) ** ord",
    "diag": "df.diagonal(x), or df.eye(n) * x",
}
