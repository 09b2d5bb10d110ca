"""Classes of `jit.dataclass` are what the standard library would make of them."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, field, fields, replace
from typing import Any

import pytest

from jit.dataclass import FEW, dataclass

OURS: Any = dataclass
STANDARD: Any = dataclasses.dataclass
OPTIONS = [
    {},
    {"frozen": True},
    {"eq": False},
    {"frozen": True, "eq": False, "repr": False},
    {"frozen": True, "slots": True},
    {"slots": True},
]


def example(make: Any, **options: Any) -> type[Any]:
    """A class with fields of every kind that is in use."""

    class Example:
        """With fields of every kind."""

        first: int
        hidden: str = field(default="h", repr=False)
        apart: float = field(default=0.5, compare=False)
        many: tuple[int, ...] = field(default_factory=tuple)
        last: int = field(default=7, kw_only=True)
        needed: int = field(kw_only=True)

    return make(**options)(Example)


def with_derived(make: Any, **options: Any) -> type[Any]:
    """A class that computes a field, and one that inherits from it."""

    class Base:
        """Computes a field."""

        first: int
        twice: int = field(init=False)

        def __post_init__(self) -> None:
            object.__setattr__(self, "twice", 2 * self.first)

        def __repr__(self) -> str:
            return f"<{self.first}>"

    base: Any = make(**options)(Base)

    class Derived(base):
        """Adds one."""

        second: int = 3

    return make(**options)(Derived)


def outcome(call: Callable[[], Any]) -> Any:
    """What a call gives, or how it fails."""
    try:
        return call()
    except Exception as error:
        return type(error), str(error)


def behaviour(cls: type[Any]) -> list[Any]:
    """What instances do."""
    one, same, other = (
        cls(1, needed=2),
        cls(1, apart=9.0, needed=2),
        cls(2, "x", needed=2, many=(1,)),
    )
    return [
        *[[x.first, x.hidden, x.apart, x.many, x.last, x.needed] for x in (one, same, other)],
        one == same,
        one == other,
        one == 3,
        one.__eq__(3) is NotImplemented,
        outcome(lambda: hash(one) == hash(same)),
        outcome(lambda: {one: 1}[one]),
        "object at" in repr(one) or repr(one),
        outcome(lambda: setattr(one, "first", 5)),
        outcome(lambda: delattr(cls(2, needed=2), "hidden")),
        outcome(lambda: cls(1)),
        outcome(lambda: cls(needed=2)),
        outcome(lambda: cls(1, "a", 0.5, (), 7, 8)),
        outcome(lambda: cls(1, unknown=2, needed=3)),
        outcome(lambda: cls(1, first=2, needed=3)),
        replace(other, first=9).first,
        [x.name for x in fields(cls)],
        copy.copy(one).first,
        copy.deepcopy(other).many,
        cls.__match_args__,
        cls.__dataclass_params__.eq,
        hasattr(one, "__dict__"),
    ]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_instances_behave_as_those_of_the_standard_library(options: dict[str, Any]) -> None:
    ours, standard = example(OURS, **options), example(dataclasses.dataclass, **options)
    for _ in ("fields are set one by one", "methods are written"):
        assert behaviour(ours) == behaviour(standard)


@pytest.mark.parametrize(
    "call",
    [
        lambda cls: cls(),
        lambda cls: cls(1),
        lambda cls: cls(needed=2),
        lambda cls: cls(1, "a", 0.5, (), 7, 8),
        lambda cls: cls(1, unknown=2, needed=3),
        lambda cls: cls(1, first=2, needed=3),
    ],
)
def test_first_objects_take_what_all_take(call: Callable[[Any], Any]) -> None:
    found = [outcome(lambda make=make: call(example(make))) for make in (OURS, STANDARD)]
    assert found[0] == found[1]
    assert found[0][0] is TypeError


@pytest.mark.parametrize("options", [{}, {"frozen": True}, {"frozen": True, "eq": False}], ids=str)
def test_inheritance_and_what_is_computed_after(options: dict[str, Any]) -> None:
    def told(cls: type[Any]) -> list[Any]:
        (base,) = cls.__bases__
        x, y = cls(1), base(1)
        return [x.twice, x.second, repr(x), repr(y), x == y, y == base(1), x == cls(1, 3)]

    ours, standard = (with_derived(make, **options) for make in (OURS, dataclasses.dataclass))
    assert told(ours) == told(standard)


@dataclass(frozen=True, slots=True)
class Slotted:
    """Is pickled by its place in this module."""

    first: int
    second: str = "s"


def test_pickles() -> None:
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(Slotted(3), protocol)) == Slotted(3)


@pytest.mark.parametrize("slots", [False, True])
def test_frozen_instances_take_nothing_else(slots: bool) -> None:
    one = example(OURS, frozen=True, slots=slots)(1, needed=2)
    with pytest.raises(FrozenInstanceError, match="cannot assign to field 'unknown'"):
        one.unknown = 5


def test_methods_are_written_when_called_first_and_init_when_called_often() -> None:
    cls = example(OURS, frozen=True)
    before = vars(cls)["__init__"], vars(cls)["__eq__"]
    one = cls(1, needed=2)
    assert vars(cls)["__init__"] is before[0]
    for _ in range(FEW):
        cls(1, needed=2)
    assert vars(cls)["__init__"] is not before[0]
    assert vars(cls)["__eq__"] is before[1]
    assert one == cls(1, needed=2)
    assert vars(cls)["__eq__"] is not before[1]


@pytest.mark.parametrize("base", [OURS, STANDARD])
@pytest.mark.parametrize("derived", [OURS, STANDARD])
def test_frozen_classes_inherit_from_frozen_ones_alone(base: Any, derived: Any) -> None:
    @base(frozen=True)
    class Base:
        x: int

    @derived(frozen=True)
    class Derived(Base):
        y: int = 1

    assert Derived(2) == Derived(2, 1)
    with pytest.raises(FrozenInstanceError):
        Derived(2).x = 3  # type: ignore[misc]
    with pytest.raises(TypeError, match="cannot inherit non-frozen dataclass from a frozen one"):
        derived(type("Loose", (Base,), {}))
