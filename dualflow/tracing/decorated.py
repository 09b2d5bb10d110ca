"""Decorated: to Python, a decorated callable is the callable that it was.

Names, documentation, signature, pickling, copying and binding to instances are the original's. So
are the attributes and the class of a callable object: a decorated Module still is one, with the
same parameters under the same names.
"""

from __future__ import annotations

import copy
import functools
import inspect
import sys
from collections.abc import Callable
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, cast

PLAIN = (FunctionType, BuiltinFunctionType, MethodType, functools.partial, type)
DESCRIPTORS = (classmethod, staticmethod, property)


class Decorated:
    """A callable that stands for another one.

    Args:
        python: The other one.
        options: How it is decorated.
    """

    __call__: Callable[..., Any]

    def __init__(self, python: Callable[..., Any], options: dict[str, Any]) -> None:
        if not callable(python):
            raise TypeError(f"df.function: {python!r:.60} cannot be called")
        self.python = python
        self.options = options
        functools.update_wrapper(cast(Any, self), python, updated=())
        if inspect.iscoroutinefunction(python):
            mark_coroutine_function(self)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else MethodType(self, instance)

    def __getattr__(self, name: str) -> Any:
        if name == "python":  # not there yet
            raise AttributeError(name)
        return getattr(self.python, name)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        copied = copy.deepcopy(self.python, memo)
        return self if copied is self.python else type(self)(copied, self.options)

    def __reduce__(self) -> Any:
        """A decorated definition is found by its name, as functions are."""
        name = getattr(self.python, "__qualname__", None)
        if name is not None and found(self.python.__module__, name) is self:
            return name
        return (type(self), (self.python, self.options))


class Disguised:
    """Mixed in where an object of a user's class is decorated: its class and attributes show.

    What is set goes to the object too, unless it belongs to the decorated callable itself.
    """

    python: Any

    @property
    def __class__(self) -> type:  # pyright: ignore[reportIncompatibleMethodOverride]
        return type(self.python) if "python" in vars(self) else type(self)

    def __setattr__(self, name: str, value: Any) -> None:
        own = vars(self)
        if "_ready" in own and name not in own:
            setattr(self.python, name, value)
        else:
            object.__setattr__(self, name, value)


def is_object(python: Any) -> bool:
    """Whether a callable is an object with state of its own rather than a function."""
    return not isinstance(python, (*PLAIN, Decorated))


def each(decorate: Callable[[Any], Any], descriptor: Any) -> Any:
    """`descriptor`, a classmethod, staticmethod or property, with its functions decorated."""
    if isinstance(descriptor, property):
        parts = (descriptor.fget, descriptor.fset, descriptor.fdel)
        return property(*[part and decorate(part) for part in parts], doc=descriptor.__doc__)
    return type(descriptor)(decorate(descriptor.__func__))


def named(python: Callable[..., Any]) -> list[Any]:
    """The objects that a function has by name: itself, those it closes over, globals it reads."""
    if not inspect.isfunction(python):
        return [python]
    try:
        scope = inspect.getclosurevars(python)
    except ValueError:  # a name that has no value yet
        return [python]
    return [python, *scope.nonlocals.values(), *scope.globals.values()]


def found(module: str, name: str) -> Any:
    """What a module holds under a dotted name; None if nothing."""
    try:
        return functools.reduce(getattr, name.split("."), sys.modules[module])
    except (KeyError, AttributeError):
        return None


def mark_coroutine_function(x: Any) -> None:
    """Lets `asyncio` and `inspect` see that calls of `x` give coroutines."""
    if sys.version_info >= (3, 12):
        inspect.markcoroutinefunction(x)
    else:
        import asyncio.coroutines  # 30 ms, for those who have coroutines

        x._is_coroutine = vars(asyncio.coroutines)["_is_coroutine"]
