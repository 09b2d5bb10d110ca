"""Number: a Python number that a recording keeps as a variable, because others may come later.

It does everything that its value does. Arithmetic gives further Numbers; what Python decides by it,
such as a comparison, is told to its owner, which sees to it that later calls decide alike. It is no
subclass of int or float: C code that wants one must ask for the value, and cannot read past us.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from jit.dims import Dim

# How Python writes each operation, and what computes it.
ARITHMETIC: dict[str, tuple[str, Callable[..., Any]]] = {
    "add": ("{} + {}", operator.add),
    "sub": ("{} - {}", operator.sub),
    "mul": ("{} * {}", operator.mul),
    "truediv": ("{} / {}", operator.truediv),
    "floordiv": ("{} // {}", operator.floordiv),
    "mod": ("{} % {}", operator.mod),
    "pow": ("{} ** {}", operator.pow),
    "lshift": ("{} << {}", operator.lshift),
    "rshift": ("{} >> {}", operator.rshift),
    "and": ("{} & {}", operator.and_),
    "or": ("{} | {}", operator.or_),
    "xor": ("{} ^ {}", operator.xor),
}
UNARY: dict[str, tuple[str, Callable[..., Any]]] = {
    "neg": ("-{}", operator.neg),
    "pos": ("+{}", operator.pos),
    "invert": ("~{}", operator.invert),
    "abs": ("abs({})", abs),
    "trunc": ("trunc({})", math.trunc),
    "floor": ("floor({})", math.floor),
    "ceil": ("ceil({})", math.ceil),
}
COMPARISONS: dict[str, tuple[str, Callable[..., Any]]] = {
    "lt": ("{} < {}", operator.lt),
    "le": ("{} <= {}", operator.le),
    "gt": ("{} > {}", operator.gt),
    "ge": ("{} >= {}", operator.ge),
    "eq": ("{} == {}", operator.eq),
    "ne": ("{} != {}", operator.ne),
}
PLAIN = (int, float, bool)


class PlainWanted(TypeError):  # noqa: N818 - ends a recording, whose call runs in Python instead
    """A Number has come to where only a plain one serves, though no C code has refused it."""


class Owner(Protocol):
    """Who records what becomes of Numbers."""

    @property
    def live(self) -> bool:
        """Whether it goes on recording, in this thread."""
        ...

    def compute(self, operation: tuple[str, Callable[..., Any]], *operands: Any) -> Any:
        """The result of arithmetic."""
        ...

    def decide(self, operation: tuple[str, Callable[..., Any]], *operands: Any) -> bool:
        """The answer of a comparison, which later calls must give too."""
        ...

    def fix(self, number: Number) -> Any:
        """The value, which later calls must have too."""
        ...

    def formats(self, number: Number, spec: str, text: str, /) -> bool:
        """A number was made text; whether later calls can do so, as it is only printed."""
        ...


class Number:
    """A number that may be another one in later calls.

    Its own attributes have names that no other has: code asks whether something has a `value`.

    Attributes:
        number_value: What it is in this call.
        number_owner: The recording that it belongs to; when that is over it is like its value.
        number_name: What the owner calls it.
        number_dim: The extent that it is, for numbers made of extents that vary.
    """

    __slots__ = ("number_dim", "number_name", "number_owner", "number_value")

    def __new__(cls, value: Any, *rest: Any, **options: Any) -> Number:
        """One of the two classes below."""
        if not rest:  # code takes the type of a number for one that makes numbers
            raise TypeError(f"{cls.__name__} of a recording is no type that others are made by")
        return object.__new__(Integer if isinstance(value, int) else Real)

    def __init__(self, value: Any, owner: Owner, name: str, dim: Dim | None = None) -> None:
        self.number_value = value
        self.number_owner = owner
        self.number_name = name
        self.number_dim = dim

    @property
    def __class__(self) -> type:  # so that `isinstance(k, int)` tells what it tells of the value
        return type(self.number_value)

    @__class__.setter
    def __class__(self, value: Any) -> None:
        raise TypeError("the class of a number cannot be changed")

    def number_fixed(self) -> Any:
        """The value, for Python to use as it likes."""
        return self.number_owner.fix(self) if self.number_owner.live else self.number_value

    # ----- conversions, which Python wants as plain objects -----

    def __int__(self) -> int:
        return int(self.number_fixed())

    def __float__(self) -> float:
        return float(self.number_fixed())

    def __complex__(self) -> complex:
        return complex(self.number_fixed())

    def __bool__(self) -> bool:
        return _compare("ne", self, 0)

    def __hash__(self) -> int:
        return hash(self.number_fixed())

    def __repr__(self) -> str:
        if self.number_owner.live:
            text = repr(self.number_value)
            if self.number_owner.formats(self, "!r", text):
                return text
        return repr(self.number_fixed())

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        if self.number_owner.live:
            text = format(self.number_value, spec)
            if self.number_owner.formats(self, spec, text):
                return text
        return format(self.number_fixed(), spec)

    def __round__(self, digits: Any = None) -> Any:
        return round(self.number_fixed(), plain(digits))

    def __divmod__(self, other: Any) -> Any:
        return _divided(self, other)

    def __rdivmod__(self, other: Any) -> Any:
        return _divided(other, self)

    def __copy__(self) -> Number:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Number:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        value = self.number_fixed()
        return type(value), (value,)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return self.__reduce__()

    def __getattr__(self, name: str) -> Any:  # `k.bit_length()`, `k.real`
        found = getattr(self.number_value, name)
        self.number_fixed()
        return found

    # ----- NumPy, which wants plain objects too -----

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        del copy  # there is nothing to share
        return np.array(self.number_fixed(), dtype)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if any(is_tensor(x) for x in inputs):
            return NotImplemented
        return getattr(ufunc, method)(*map(plain, inputs), **kwargs)


class Integer(Number):
    """A whole number; only such a one is an index."""

    __slots__ = ()

    def __index__(self) -> int:
        return operator.index(self.number_fixed())


class Real(Number):
    """Any other."""

    __slots__ = ()


# What Python's own errors call them: "list indices must be integers or slices, not float".
Integer.__name__, Real.__name__ = "int", "float"
KINDS = frozenset((Integer, Real))
NESTED = KINDS | {tuple, list}


def plain(x: Any) -> Any:
    """The value of a Number, fixed; all else as it is, lists and tuples by their items."""
    if type(x) in KINDS:
        return x.number_fixed()
    if type(x) in (tuple, list) and any(type(item) in NESTED for item in x):
        return type(x)(map(plain, x))
    if type(x) is slice and not KINDS.isdisjoint(map(type, (x.start, x.stop, x.step))):
        return slice(plain(x.start), plain(x.stop), plain(x.step))
    return x


def refuses(error: Exception) -> bool:
    """Whether an error may be that of code which takes no Numbers; ours are more special."""
    return type(error) in (TypeError, PlainWanted)


def is_number(x: Any) -> bool:
    """Whether `x` is a Number, or a tuple or list with one in it."""
    return type(x) in KINDS or (isinstance(x, tuple | list) and any(map(is_number, x)))


def is_tensor(x: Any) -> bool:
    """Whether `x` is a tensor, which knows itself what to do with Numbers."""
    return hasattr(type(x), "raw")


def value_of(x: Any) -> Any:
    """The value of a Number, for who keeps it a variable; all else as it is."""
    return x.number_value if type(x) in KINDS else x


def extent_of(x: Any) -> int | Dim:
    """An extent that a user gave: an int, or the Dim that a Number is."""
    if type(x) in KINDS and x.number_dim is not None and x.number_owner.live:
        return x.number_dim
    return operator.index(x)


def _compute(operation: tuple[str, Callable[..., Any]], left: Any, right: Any) -> Any:
    """Arithmetic of two numbers; with anything else, Python's own with the value."""
    number, other = (left, right) if type(left) in KINDS else (right, left)
    if is_tensor(other):
        return NotImplemented
    if not number.number_owner.live:
        return operation[1](value_of(left), value_of(right))
    if type(other) in KINDS or type(other) in PLAIN:
        return number.number_owner.compute(operation, left, right)
    if type(other) is Dim and number.number_dim is not None:
        return operation[1](*(x.number_dim if type(x) in KINDS else x for x in (left, right)))
    return operation[1](plain(left), plain(right))


def _divided(left: Any, right: Any) -> Any:
    if is_tensor(left) or is_tensor(right):
        return NotImplemented
    divmod(value_of(left), value_of(right))  # fails in the words that Python has for it
    return left // right, left % right


def _compare(name: str, left: Number, right: Any) -> Any:
    operation = COMPARISONS[name]
    if is_tensor(right):
        return NotImplemented
    if not left.number_owner.live:
        return operation[1](left.number_value, value_of(right))
    if type(right) not in KINDS and type(right) not in PLAIN:
        return operation[1](left.number_fixed(), right)
    return left.number_owner.decide(operation, left, right)


def _of_two(name: str) -> tuple[Any, Any]:
    operation = ARITHMETIC[name]

    def method(self: Number, other: Any) -> Any:
        return _compute(operation, self, other)

    def reflected(self: Number, other: Any) -> Any:
        return _compute(operation, other, self)

    return method, reflected


def _of_one(name: str) -> Any:
    operation = UNARY[name]

    def method(self: Number) -> Any:
        return (
            self.number_owner.compute(operation, self)
            if self.number_owner.live
            else operation[1](self.number_value)
        )

    return method


def _comparison(name: str) -> Any:
    def method(self: Number, other: Any) -> Any:
        return _compare(name, self, other)

    return method


def _attach() -> None:
    """Gives the class its operators."""
    for name in ARITHMETIC:
        method, reflected = _of_two(name)
        setattr(Number, f"__{name}__", method)
        setattr(Number, f"__r{name}__", reflected)
    for name in UNARY:
        setattr(Number, f"__{name}__", _of_one(name))
    for name in COMPARISONS:
        setattr(Number, f"__{name}__", _comparison(name))


_attach()
