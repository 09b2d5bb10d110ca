"""Doors of elementwise ops: a function per op, made from its record, fast where nothing is special.

The fast path is taken for concrete tensors of one dtype, and Python scalars that fit it, which the
NumPy function takes as they are, when nobody traces. A Variable is read first. Everything else
(promotion, other kinds of scalars, errors) goes the slow way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy import asarray, ndarray

from dualflow.core import results
from dualflow.core.backend import device_of, on_gpu
from dualflow.core.context import context
from dualflow.core.convert import SCALARS, as_tensor, read
from dualflow.core.devices import beside
from dualflow.core.gpu_kernels import launched, number_on, quick
from dualflow.core.kernels import computed, computer_of_one, is_plain, of_numpy
from dualflow.core.large import LARGE, computed_at_large, one_at_large
from dualflow.core.number import KINDS
from dualflow.core.op import Op, bind, wrap
from dualflow.core.precision import regions
from dualflow.core.record import NO_ATTRS
from dualflow.core.registry import functions
from dualflow.core.source import warn_user
from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable
from dualflow.errors import PromotionWarning
from jit.errors import DTypeError
from jit.types import bfloat16, dtypes, float32, float64, int64, kind, promote, weak_dtype

ACCEPTS: dict[str, tuple[str, ...]] = {
    "any": ("bool", "integer", "floating", "complex"),
    "numeric": ("integer", "floating", "complex"),
    "real": ("integer", "floating"),
    "inexact": ("floating", "complex"),  # integers are converted to float32 first
    "floating": ("floating",),  # integers are converted to float32 first
    "complex": ("complex",),
    "integer": ("integer",),
    "integral": ("bool", "integer"),
    "bool": ("bool",),
}
DTYPES_OF = {
    name: frozenset(d for d in dtypes.values() if kind(d) in kinds and d != bfloat16)
    for name, kinds in ACCEPTS.items()
}
# Type of a Python scalar -> dtypes of arrays that NumPy combines with it as the promotion table
# says.
WEAK: dict[type, frozenset[np.dtype[Any]]] = {
    bool: DTYPES_OF["any"],
    int: DTYPES_OF["numeric"],
    float: DTYPES_OF["inexact"],
    complex: DTYPES_OF["complex"],
}
EXACT = KINDS | WEAK.keys()
BOUNDS = {d: (int(np.iinfo(d).min), int(np.iinfo(d).max)) for d in DTYPES_OF["integer"]}
NOTHING: frozenset[np.dtype[Any]] = frozenset()
LOWEST, HIGHEST = -(2**63), 2**63 - 1


def unary_door(op: Op, ufunc: Callable[..., Any], accepts: str) -> Callable[[Any], Tensor]:
    """The public function of an elementwise op of one argument."""
    fast = DTYPES_OF[accepts]
    numpy_does, compute = of_numpy.setdefault(op, {}), computer_of_one(op)

    def door(x: Any, /) -> Tensor:
        if x.__class__ is Tensor and context.trace is None:
            a = x.raw
            if a.__class__ is ndarray:
                alike = numpy_does.get(a.dtype)  # which knows dtypes of `fast` only
                if alike is None and a.dtype in fast:
                    alike = is_plain(op, a.dtype, 1)
                if alike is not None:
                    data = None
                    if not alike:
                        data = compute(a)
                    elif a.size >= LARGE:
                        data = one_at_large(op, a)
                    if data is None:
                        data = context.run(ufunc, a)
                    if data.__class__ is not ndarray:
                        data = asarray(data)
                    return results.result(op, (x,), NO_ATTRS, data)
            elif a is not None and a.dtype in fast:
                if not regions and (made := launched(op, [a])):
                    return results.result(op, (x,), NO_ATTRS, made[0])
                return bind(op, (x,))
        if isinstance(x, Variable):
            return door(read(x))
        (met,) = meet(op.name, (x,), accepts)
        return bind(op, (met,)) if met is x or context.trace is not None else door(met)

    return door


def binary_door(
    op: Op, ufunc: Callable[..., Any], accepts: str, *, compares: bool = False
) -> Callable[[Any, Any], Tensor]:
    """The public function of an elementwise op of two arguments that share a dtype.

    Args:
        op: The op.
        ufunc: NumPy's function, for the fast path.
        accepts: Row of `ACCEPTS`.
        compares: NumPy compares integers of any size, where `meet` refuses those that do not fit.
    """
    fast, weak = DTYPES_OF[accepts], weak_partners(accepts, compares=compares)
    numpy_does = of_numpy.setdefault(op, {})

    def door(x1: Any, x2: Any, /) -> Tensor:
        if context.trace is None:
            left, right = x1.__class__, x2.__class__
            if left is not Tensor and isinstance(x1, Variable):
                x1, left = read(x1), Tensor
            if right is not Tensor and isinstance(x2, Variable):
                x2, right = read(x2), Tensor
            a = b = alike = found = None  # `numpy_does` knows dtypes of `fast` only
            if left is right is Tensor:
                a, b = x1.raw, x2.raw
                if a.__class__ is b.__class__ is ndarray and (dtype := a.dtype) is b.dtype:
                    alike = numpy_does.get(dtype)
                    if alike is None and dtype in fast:
                        alike = is_plain(op, dtype, 2)
            elif left is Tensor:
                a, b = x1.raw, x2
                if a.__class__ is ndarray and (dtype := a.dtype) in weak.get(right, NOTHING):
                    fits_in = right is not int or LOWEST <= b <= HIGHEST
                    if fits_in and (alike := numpy_does.get(dtype)) is None:
                        alike = is_plain(op, dtype, 2)
            elif right is Tensor:
                a, b = x1, x2.raw
                if b.__class__ is ndarray and (dtype := b.dtype) in weak.get(left, NOTHING):
                    fits_in = left is not int or LOWEST <= a <= HIGHEST
                    if fits_in and (alike := numpy_does.get(dtype)) is None:
                        alike = is_plain(op, dtype, 2)
            if alike is not None:
                if not alike:
                    found = computed(op, (a, b), NO_ATTRS)
                elif (a if left is Tensor else b).size >= LARGE:  # pyright: ignore[reportOptionalMemberAccess]
                    found = computed_at_large(op, (a, b), NO_ATTRS)
                try:
                    data = context.run(ufunc, a, b) if found is None else found[0]
                except (ValueError, OverflowError):  # `meet` and `infer` tell what is wrong
                    return bind(op, meet(op.name, (x1, x2), accepts))
                if data.__class__ is not ndarray:
                    data = asarray(data)
                return results.result(op, (x1, x2), NO_ATTRS, data)
            if quick and not regions and meet_there(a, b, weak) and (made := launched(op, [a, b])):
                return results.result(op, (x1, x2), NO_ATTRS, made[0])
        return the_slow_way(door, op, x1, x2, accepts)

    return door


def meet_there(a: Any, b: Any, weak: dict[type, frozenset[np.dtype[Any]]]) -> bool:
    """Whether two arrays on a GPU, or one and a number, have one dtype as they are."""
    kind_ = a.__class__
    if kind_ in on_gpu:
        if b.__class__ is kind_:
            return a.dtype is b.dtype
        return a.dtype in weak.get(b.__class__, NOTHING)
    return b.__class__ in on_gpu and b.dtype in weak.get(kind_, NOTHING)


def weak_partners(accepts: str, *, compares: bool) -> dict[type, frozenset[np.dtype[Any]]]:
    """For each type of Python scalar the dtypes of tensors that it meets on the fast path."""
    weak = {scalar: dtypes_ & DTYPES_OF[accepts] for scalar, dtypes_ in WEAK.items()}
    if compares:
        weak[int] -= DTYPES_OF["integer"] - {int64}
    return weak


def the_slow_way(
    door: Callable[[Any, Any], Tensor], op: Op, x1: Any, x2: Any, accepts: str
) -> Tensor:
    """The slow way of a binary door: converts, and tries the door again."""
    if context.trace is not None:
        return bind(op, meet(op.name, (x1, x2), accepts))
    if takes(x1, x2, accepts):
        return bind(op, (x1, x2))
    met = meet(op.name, (x1, x2), accepts)
    if met[0] is x1 and met[1] is x2:
        return bind(op, met)
    return door(*met)  # what was converted may be plain now


def takes(x: Any, other: Any, accepts: str) -> bool:
    """Whether a tensor elsewhere than on the processor meets another, or a scalar, as they are."""
    if x.__class__ is not Tensor or (array := x.raw) is None:
        return False
    dtype = array.dtype
    if array.__class__ is ndarray or dtype not in DTYPES_OF[accepts]:
        return False
    if other.__class__ is Tensor:
        return other.dtype is dtype
    if dtype not in WEAK.get(other.__class__, NOTHING):
        return False
    return other.__class__ is not int or kind(dtype) != "integer" or fits(other, dtype)


def meet(name: str, args: tuple[Any, ...], accepts: str) -> tuple[Any, ...]:
    """Arguments of an elementwise op in their common dtype, as the promotion table says.

    Python scalars that fit the tensors' dtype stay scalars; at least one tensor is among the
    result.

    Raises:
        DTypeError: The op does not take such values, or they have no common dtype.
    """
    if have_met(args, accepts):
        return args
    args = tuple([plain_scalar(x) if isinstance(x, SCALARS) else as_tensor(x) for x in args])
    if have_met(args, accepts):  # Variables are read
        return args
    tensor_dtypes = [x.dtype for x in args if x.__class__ is Tensor]
    dtype = None
    try:
        for d in tensor_dtypes:
            dtype = d if dtype is None else promote(dtype, d)
    except DTypeError as error:
        error.what = f"{name}: {error.what}"
        raise
    for x in args:
        if x.__class__ is not Tensor:
            dtype = weak_dtype(x, dtype)
    assert dtype is not None
    if accepts in ("inexact", "floating") and kind(dtype) in ("bool", "integer"):
        dtype = float32
    if kind(dtype) not in ACCEPTS[accepts]:
        listed = " and ".join(str(x.dtype) if x.__class__ is Tensor else repr(x) for x in args)
        raise DTypeError(
            f"{name}: does not take {listed}",
            f"{' or '.join(ACCEPTS[accepts])} values",
            "x.astype(...)"
            if accepts != "numeric"
            else "x.astype(df.int64), or the logical operators & | ~",
        )
    if float64 in tensor_dtypes and float32 in tensor_dtypes:
        tell_widening(name)
    return in_dtype(name, args, dtype)


def have_met(args: tuple[Any, ...], accepts: str) -> bool:
    """Whether arguments are of one dtype, or numbers beside floats, so that `meet` has no work."""
    dtype, weak = None, False
    for x in args:
        if x.__class__ is Tensor:
            if dtype is None:
                dtype = x.dtype
            elif x.dtype is not dtype:
                return False
        elif type(x) is float or (type(x) is int and LOWEST <= x <= HIGHEST):
            weak = True  # not the numbers that vary, whose comparisons are noted
        else:
            return False
    return dtype in DTYPES_OF[accepts] and (not weak or dtype in DTYPES_OF["inexact"])


def meet_as_tensors(name: str, args: tuple[Any, ...], accepts: str) -> tuple[Tensor, ...]:
    """`meet`, for ops that take no numbers: these become tensors of the common dtype."""
    met = meet(name, args, accepts)
    dtype = next(x.dtype for x in met if x.__class__ is Tensor)
    full = functions["full"]
    return tuple(x if x.__class__ is Tensor else full((), x, dtype=dtype) for x in met)


def in_dtype(name: str, args: tuple[Any, ...], dtype: np.dtype[Any]) -> tuple[Any, ...]:
    """`args` converted to `dtype`; a scalar stays one where NumPy would treat it alike."""
    keep_scalars = dtype != bfloat16 and any(x.__class__ is Tensor for x in args)
    out = []
    for x in args:
        if x.__class__ is Tensor:
            out.append(x if x.dtype == dtype else functions["astype"](x, dtype))
            continue
        if kind(dtype) == "integer" and not fits(x, dtype):
            raise DTypeError(
                f"{name}: {x} does not fit {dtype}", f"a number within {dtype}", "a wider dtype"
            )
        if not keep_scalars:
            x = number_beside(args, x, dtype)
        out.append(x)
    return tuple(out)


def number_beside(args: tuple[Any, ...], x: Any, dtype: np.dtype[Any]) -> Tensor:
    """A number as a tensor where those among `args` lie; on a GPU it is made once."""
    if context.trace is None:  # a recording's tensors may have no arrays yet, which nobody needs
        there = [t.raw for t in args if t.__class__ is Tensor and t.raw.__class__ in on_gpu]
        if there:
            return wrap(number_on(device_of(there[0]), x, dtype, x or repr(x)))
    with beside(*args):
        return functions["full"]((), x, dtype=dtype)


def plain_scalar(x: Any) -> Any:
    """A Python number; NumPy's float64 and complex128 scalars are such too, and as weak.

    So are those of classes that inherit from Python's, such as members of an `IntEnum`, which NumPy
    takes for arrays.
    """
    if isinstance(x, np.generic):
        return x.item()
    if type(x) in EXACT:
        return x
    kinds: tuple[Any, ...] = (int, float, complex)
    return next((kind.__pos__(x) for kind in kinds if isinstance(x, kind)), x)


def fits(x: int, dtype: np.dtype[Any]) -> bool:
    """Whether an integer dtype holds `x`."""
    low, high = BOUNDS[dtype]
    return low <= x <= high


_told: set[str] = set()


def tell_widening(name: str) -> None:
    """Says once that a float64 tensor made a float32 computation wider, and how to avoid it."""
    if not _told:
        _told.add(name)
        warn_user(
            f"{name}: float64 and float32 met, the result is float64. NumPy arrays keep their "
            "dtype: df.asarray(a, dtype='float32') stays in float32. (Said once.)",
            PromotionWarning,
        )
