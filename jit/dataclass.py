"""Dataclasses whose methods are written when they are first called.

The standard library writes the methods of a dataclass as text and compiles it while the class is
made, which takes longer than importing a small module. Most classes that a process imports it never
uses: one that finds its machine code on disk plans nothing. So a class gets its fields here, which
are the standard library's, as `fields` and `replace` know them. A method that needs text compiles
it at the first call, and takes its own place. `__init__` does so at the twentieth: most classes of
a process have fewer objects, whose fields are set before a compiler would have begun.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, FrozenInstanceError, fields
from functools import partial
from reprlib import recursive_repr
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

UNSET: Any = object()  # for an argument whose value is made by each call that lacks it
FEW = 20  # objects: to set their fields one by one takes half as long as to compile what does


def with_methods(
    cls: type | None = None,
    /,
    *,
    frozen: bool = False,
    eq: bool = True,
    repr: bool = True,
    slots: bool = False,
    kw_only: bool = False,
) -> Any:
    """A class with the methods of a dataclass; all options mean what they do for `dataclasses`.

    Example:
        >>> @dataclass(frozen=True)
        ... class Point:
        ...     x: int
        ...     y: int = 0
        >>> Point(1), Point(1) == Point(1, 0), hash(Point(1)) == hash(Point(1, 0))
        (Point(x=1, y=0), True, True)
    """
    if cls is None:
        options = {"frozen": frozen, "eq": eq, "repr": repr, "slots": slots, "kw_only": kw_only}
        return partial(with_methods, **options)
    own = frozenset(vars(cls))
    refuses = frozen and any(is_frozen(base) for base in cls.__mro__[1:])  # bases are to agree
    plain = {"init": False, "repr": False, "eq": False, "frozen": refuses}
    made: Any = dataclasses.dataclass(**plain, slots=slots, kw_only=kw_only)(cls)
    made.__dataclass_params__.eq, made.__dataclass_params__.frozen = eq, frozen
    methods: dict[str, Any] = {
        "__init__": initially(made, partial(init, frozen=frozen), frozen=frozen)
    }
    if repr:
        methods["__repr__"] = shown([x.name for x in fields(made) if x.repr])
    if eq:
        methods["__eq__"] = later(made, "__eq__", equality)
        methods["__hash__"] = later(made, "__hash__", hashing) if frozen else None
    if frozen:
        methods |= refusals(made)
    if frozen and slots:
        methods |= STATE
    for name, method in methods.items():
        if name not in own:
            setattr(made, name, method)
    return made


if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass  # what type checkers know it as
else:
    dataclass = with_methods


def is_frozen(cls: type) -> bool:
    """Whether objects of a class refuse to be changed, as a dataclass says of itself."""
    params = cls.__dict__.get("__dataclass_params__")
    return params is not None and params.frozen


def later(cls: type, name: str, write: Callable[[type], Callable[..., Any]]) -> Any:
    """A method that is written, by `write`, when it is called first."""

    def method(self: Any, *args: Any, **named: Any) -> Any:
        made = write(cls)
        setattr(cls, name, made)
        return made(self, *args, **named)

    return method


def initially(cls: type, write: Callable[[type], Callable[..., None]], *, frozen: bool) -> Any:
    """`__init__` of the first objects; it is written, by `write`, when there are more."""
    left, more = FEW, later(cls, "__init__", write)
    put = object.__setattr__ if frozen else setattr

    def method(self: Any, *args: Any, **named: Any) -> None:
        nonlocal left
        left -= 1
        values = values_of(cls, args, named) if left > 0 else None
        if values is None:  # arguments do not fit, too: what is written tells Python's error
            more(self, *args, **named)
            return
        for name, value in values.items():
            put(self, name, value)
        if hasattr(cls, "__post_init__"):
            self.__post_init__()

    return method


def values_of(cls: type, args: Sequence[Any], named: Mapping[str, Any]) -> dict[str, Any] | None:
    """The values of fields that arguments of `__init__` give; None if they do not fit."""
    places, values, known = iter(args), dict[str, Any](), 0
    for field in fields(cls):  # pyright: ignore[reportArgumentType]
        name, value = field.name, UNSET
        if field.init:
            value = UNSET if field.kw_only else next(places, UNSET)
            if name in named:
                if value is not UNSET:
                    return None
                value, known = named[name], known + 1
            elif value is UNSET:
                value = field.default
        if value is UNSET or value is MISSING:
            if field.default_factory is not MISSING:
                value = field.default_factory()
            elif field.init:
                return None
            else:
                continue  # a default stays with the class, or `__post_init__` sets it
        values[name] = value
    return values if known == len(named) and next(places, UNSET) is UNSET else None


def init(cls: type, *, frozen: bool) -> Callable[..., None]:
    """`__init__` of a dataclass."""
    lines, made = list[str](), dict[str, Any]()
    for field in fields(cls):  # pyright: ignore[reportArgumentType]
        name, value = field.name, field.name
        if field.default_factory is not MISSING:
            made[f"_make_{name}"] = field.default_factory
            value = f"_make_{name}()"
            value = f"{value} if {name} is _unset else {name}" if field.init else value
        elif not field.init:
            continue  # a default stays with the class, or `__post_init__` sets it
        lines.append(f"_put(self, {name!r}, {value})" if frozen else f"self.{name} = {value}")
    if hasattr(cls, "__post_init__"):
        lines.append("self.__post_init__()")
    taken = [field for field in fields(cls) if field.init]  # pyright: ignore[reportArgumentType]
    by_place = [field for field in taken if not field.kw_only]
    by_name = [field for field in taken if field.kw_only]
    words = [
        "self",
        *[x.name for x in by_place],
        *["*"][: len(by_name)],
        *[x.name for x in by_name],
    ]
    known = made | {"_put": object.__setattr__, "_unset": UNSET}
    method = written(cls, "__init__", words, lines or ["pass"], known)
    method.__defaults__ = tuple([default(x) for x in by_place if has_default(x)])
    method.__kwdefaults__ = {x.name: default(x) for x in by_name if has_default(x)}
    return method


def has_default(field: dataclasses.Field[Any]) -> bool:
    """Whether calls may leave a field out."""
    return field.default is not MISSING or field.default_factory is not MISSING


def default(field: dataclasses.Field[Any]) -> Any:
    """The value of a parameter that is left out."""
    return UNSET if field.default is MISSING else field.default


def equality(cls: type) -> Callable[..., bool]:
    """`__eq__` of a dataclass."""
    lines = (
        "if other.__class__ is not self.__class__:",
        "    return NotImplemented",
        f"return {compared(cls, 'self')} == {compared(cls, 'other')}",
    )
    return written(cls, "__eq__", ("self", "other"), lines)


def hashing(cls: type) -> Callable[..., int]:
    """`__hash__` of a frozen dataclass."""
    return written(cls, "__hash__", ("self",), (f"return hash({compared(cls, 'self')})",))


def compared(cls: Any, of: str) -> str:
    """The tuple of all fields that are compared, as text."""
    return f"({''.join(f'{of}.{field.name},' for field in fields(cls) if field.compare)})"


def written(
    cls: type,
    name: str,
    parameters: Sequence[str],
    lines: Sequence[str],
    known: Mapping[str, Any] = MappingProxyType({}),
) -> Any:
    """A method from its text."""
    scope = {"__name__": cls.__module__, **known}
    body = "\n".join(f"    {line}" for line in lines)
    exec(f"def {name}({', '.join(parameters)}):\n{body}\n", scope)
    method = scope[name]
    method.__qualname__ = f"{cls.__qualname__}.{name}"
    return method


def shown(names: Sequence[str]) -> Callable[[Any], str]:
    """`__repr__` of a dataclass with such fields."""

    @recursive_repr()
    def __repr__(self: Any) -> str:  # noqa: N807 - it is that method
        inner = ", ".join([f"{name}={getattr(self, name)!r}" for name in names])
        return f"{type(self).__qualname__}({inner})"

    return __repr__


def refusals(cls: Any) -> dict[str, Callable[..., None]]:
    """The methods that keep a frozen instance as it is."""
    names = frozenset([field.name for field in fields(cls)])

    def set_(self: Any, name: str, value: Any) -> None:
        if type(self) is cls or name in names:
            raise FrozenInstanceError(f"cannot assign to field {name!r}")
        super(cls, self).__setattr__(name, value)

    def delete(self: Any, name: str) -> None:
        if type(self) is cls or name in names:
            raise FrozenInstanceError(f"cannot delete field {name!r}")
        super(cls, self).__delattr__(name)

    return {"__setattr__": set_, "__delattr__": delete}


def state(self: Any) -> list[Any]:
    """What is pickled of a frozen instance without a dict."""
    return [getattr(self, field.name) for field in fields(self)]


def set_state(self: Any, values: Sequence[Any]) -> None:
    """Makes an instance what was pickled."""
    for field, value in zip(fields(self), values, strict=True):
        object.__setattr__(self, field.name, value)


STATE = {"__getstate__": state, "__setstate__": set_state}
