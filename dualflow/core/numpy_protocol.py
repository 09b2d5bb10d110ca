"""NumPy's functions on tensors: `np.sum(x)` is `df.sum(x)`, recorded and differentiated like it.

What has the same name and meaning is found by its name. `numpy_spellings.OURS` holds what is called
or spelled differently; `INSTEAD` says what to write for what has no counterpart.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import numpy as np

from dualflow.core.numpy_spellings import OURS, outer
from dualflow.core.registry import functions

UNSET = (None, getattr(np, "_NoValue", None))
# Words that say nothing when they are unset, or have one of these values: tensors have one order.
UNTOUCHED: dict[str, tuple[Any, ...]] = dict.fromkeys(("out", "initial", "dtype", "keepdims"), ())
UNTOUCHED |= {"where": (True,), "subok": (True,), "casting": ("same_kind",)}
UNTOUCHED |= {"order": ("C", "K", "A")}
MODULES = ("linalg", "fft")
WORDS = {"ddof": "correction", "a_min": "min", "a_max": "max", "newshape": "shape"}
WORDS |= {"rcond": "rtol"}
REDUCED = {"add": "sum", "multiply": "prod", "maximum": "max", "minimum": "min"}
REDUCED |= {"logical_and": "all", "logical_or": "any"}
SUMMED = {"add": "cumulative_sum", "multiply": "cumulative_prod"}
SUMMED |= {"maximum": "cumulative_max", "minimum": "cumulative_min"}


class NumPyProtocols:
    """Mixed into Tensor: NumPy asks here before it makes arrays of tensors."""

    __slots__ = ()

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        name = ufunc.__name__
        words = told(kwargs)
        ours: Any = None
        if method == "__call__":
            ours = found(name)
            ours = None if words and not (ours and takes(ours, words)) else ours
        elif method == "reduce" and name in REDUCED:
            ours, words = found(REDUCED[name]), {"axis": 0, **words}
        elif method == "accumulate" and name in SUMMED:
            ours, words = functions[SUMMED[name]], {"axis": 0, **words}
        elif method == "outer" and not words:
            ours = outer(found(name))
        if ours is None:
            called = name if method == "__call__" else f"{name}.{method}"
            raise missing(called, words)
        try:
            return ours(*inputs, **words)
        except TypeError as error:
            others = [word for word in words if not takes(ours, (word,))]
            if not others:
                raise
            raise missing(f"{name}.{method}", others) from error

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        name = known_as(function)
        ours = found(name)
        if ours is None:
            raise missing(name, {})
        try:
            if len(args) <= places(ours):
                return ours(*args, **told(kwargs))
            return named(ours, function, args, kwargs)
        except TypeError as error:
            words = foreign(ours, function, args, kwargs)
            if not words:
                raise
            raise missing(name, words) from error


def told(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Keyword arguments by our words, without those that say what is so anyway."""
    return {
        WORDS.get(word, word): value
        for word, value in kwargs.items()
        if not says_nothing(word, value)
    }


def says_nothing(word: str, value: Any) -> bool:
    """Whether an argument asks for what is so anyway."""
    usual = UNTOUCHED.get(word)
    if usual is None:
        return False
    return any(value is unset for unset in UNSET) or (
        isinstance(value, bool | str) and value in usual
    )


def known_as(function: Any) -> str:
    """The name of one of NumPy's functions, behind that of the module which it is of."""
    module = getattr(function, "__module__", "").removeprefix("numpy").lstrip(".")
    return f"{module}.{function.__name__}" if module else function.__name__


def found(name: str) -> Callable[..., Any] | None:
    """What computes NumPy's function of this name; in two of its modules there are our names too.

    In others a name means something else: `np.emath.sqrt` of a negative number is complex.
    """
    module, _, own = name.rpartition(".")
    ours = OURS.get(name, own if module in ("", *MODULES) else None)
    return functions.get(ours) if isinstance(ours, str) else ours


@cache
def places(ours: Callable[..., Any]) -> float:
    """How many arguments a function of ours takes by position."""
    parameters = inspect.signature(ours).parameters.values()
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return math.inf
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)


def named(ours: Callable[..., Any], function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """A call in which what ours takes by name only is named as NumPy names it."""
    count = int(places(ours))
    names = list(inspect.signature(function).parameters)[count:]
    return ours(*args[:count], **told(dict(zip(names, args[count:])) | kwargs))


def foreign(ours: Any, function: Any, args: Any, kwargs: dict[str, Any]) -> list[str]:
    """The words of a call, or of what stands behind the others in it, that ours does not take."""
    given = dict(kwargs)
    if len(args) > places(ours):
        count = int(places(ours))
        given |= zip([*inspect.signature(function).parameters][count:], args[count:])
    return [word for word in told(given) if not takes(ours, (word,))]


def takes(ours: Any, words: Iterable[str]) -> bool:
    """Whether a function of ours has arguments of these names, or is made to take any."""
    parameters = inspect.signature(ours).parameters
    if any(p.kind is p.VAR_KEYWORD and p.annotation != "Never" for p in parameters.values()):
        return True
    return all(word in parameters and word != "foreign" for word in words)


def supported() -> list[str]:
    """The names of NumPy's functions that work on tensors, those of submodules with theirs."""
    names = []
    modules = {"": np} | {f"{name}.": getattr(np, name) for name in MODULES}
    for prefix, module in modules.items():
        for name, function in vars(module).items():
            asked = isinstance(function, np.ufunc) or hasattr(function, "_implementation")
            if asked and not name.startswith("_") and found(known_as(function)):
                names.append(prefix + name)
    return sorted(names)


def missing(name: str, kwargs: Iterable[str]) -> TypeError:
    """The error of a function that has no counterpart; it names what to write."""
    told = list(kwargs)
    words = f" with {'=, '.join(told)}=" if told else ""
    usual = "call it on x.numpy(), where gradients end"
    instead = INSTEAD.get(name) or next((WITHOUT[w] for w in told if w in WITHOUT), usual)
    return TypeError(f"dualflow has no counterpart of np.{name}{words}: {instead}")


WITHOUT = {
    "out": "take what it returns; tensors are not written into",
    "where": "df.where(condition, ..., ...) of the results",
    "dtype": "df.astype(x, dtype) before it",
    "casting": "df.astype(x, dtype) before it",
}
INSTEAD = {
    "histogram": "np.digitize(x, bins), and np.bincount of it",
    "add.at": "x.at[i].add(v)",
    "put": "x.at[i].set(v)",
    "put_along_axis": "df.put_along_axis(x, indices, values, axis), which returns a copy",
    "copyto": "a Variable and v.assign(x)",
    "may_share_memory": "nothing, tensors do not change; x[df.random.permutation(n)] in place of "
    "np.random.permutation(x), which asks this",
    "linalg.cond": "the quotient of the ends of df.linalg.svdvals(x)",
}
