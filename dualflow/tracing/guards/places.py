"""Places: where Python keeps the values that guards are about, to be read and written again."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from contextlib import suppress
from operator import is_
from typing import Any, Protocol

from dualflow.core.tensor import Tensor

Key = tuple[Hashable, ...]
MISSING = object()


class Untold(Exception):  # noqa: N818 - what changes is like no other change
    """Something has changed of which nobody can say how."""


class Place(Protocol):
    """Where a value is kept."""

    @property
    def key(self) -> Key:
        """What tells it from other places."""
        ...

    def read(self) -> Any:
        """What is there now."""
        ...

    def write(self, value: Any) -> None:
        """Puts a value there."""
        ...

    def swap(self, before: Any, after: Any) -> bool:
        """Puts a value in the place of another; False, and nothing is done, if that has gone.

        What another thread puts there meanwhile is not lost: Python goes on in another one where a
        function is called or returns, so from look to write there is no call.
        """
        ...


class Item:
    """An item of a dict or list: a global, an attribute, or an item that Python calls so.

    Args:
        holder: The dict or list.
        name: The key or the index.
    """

    __slots__ = ("holder", "name")

    def __init__(self, holder: Any, name: Any) -> None:
        self.holder = holder
        self.name = name

    @property
    def key(self) -> Key:
        """What tells it from other places."""
        return (id(self.holder), self.name)

    def read(self) -> Any:
        """What is there now."""
        return self.holder[self.name]

    def write(self, value: Any) -> None:
        """Puts a value there."""
        self.holder[self.name] = value

    def swap(self, before: Any, after: Any) -> bool:
        """Puts a value in the place of another, if that is there still."""
        holder, name = self.holder, self.name
        try:
            if holder[name] is not before:
                return False
        except LookupError:
            return False
        holder[name] = after
        return True


class Local:
    """An attribute of which each thread has its own.

    Args:
        thing: A `threading.local`.
        name: Of the attribute.
    """

    __slots__ = ("thing", "name")

    def __init__(self, thing: Any, name: str) -> None:
        self.thing = thing
        self.name = name

    @property
    def key(self) -> Key:
        """What tells it from other places."""
        return (id(self.thing), self.name)

    def read(self) -> Any:
        """What is there now, in this thread."""
        return self.thing.__dict__[self.name]

    def write(self, value: Any) -> None:
        """Puts a value there, for this thread."""
        self.thing.__dict__[self.name] = value

    def swap(self, before: Any, after: Any) -> bool:
        """Puts a value in the place of another, if that is there still."""
        return Item(self.thing.__dict__, self.name).swap(before, after)


class Closure:
    """A variable that functions close over.

    Args:
        cell: Its cell.
    """

    __slots__ = ("cell",)

    def __init__(self, cell: Any) -> None:
        self.cell = cell

    @property
    def key(self) -> Key:
        """What tells it from other places."""
        return (id(self.cell),)

    def read(self) -> Any:
        """What is there now."""
        return self.cell.cell_contents

    def write(self, value: Any) -> None:
        """Puts a value there."""
        self.cell.cell_contents = value

    def swap(self, before: Any, after: Any) -> bool:
        """Puts a value in the place of another, if that is there still."""
        cell = self.cell
        try:
            if cell.cell_contents is not before:
                return False
        except ValueError:
            return False
        cell.cell_contents = after
        return True


class Slot:
    """An attribute in a slot.

    Args:
        slot: Its descriptor.
        thing: The instance.
    """

    __slots__ = ("slot", "thing")

    def __init__(self, slot: Any, thing: Any) -> None:
        self.slot = slot
        self.thing = thing

    @property
    def key(self) -> Key:
        """What tells it from other places."""
        return (id(self.thing), id(self.slot))

    def read(self) -> Any:
        """What is there now."""
        return self.slot.__get__(self.thing)

    def write(self, value: Any) -> None:
        """Puts a value there."""
        self.slot.__set__(self.thing, value)

    def swap(self, before: Any, after: Any) -> bool:
        """Puts a value in the place of another, if that is there still."""
        same = now(self) is before
        if same:
            self.write(after)
        return same


class ClassAttribute:
    """An attribute of a class.

    Args:
        cls: The class that has it itself.
        name: Of the attribute.
    """

    __slots__ = ("cls", "name")

    def __init__(self, cls: type, name: str) -> None:
        self.cls = cls
        self.name = name

    @property
    def key(self) -> Key:
        """What tells it from other places."""
        return (id(self.cls), self.name)

    def read(self) -> Any:
        """What is there now."""
        return self.cls.__dict__[self.name]

    def write(self, value: Any) -> None:
        """Puts a value there."""
        type.__setattr__(self.cls, self.name, value)

    def swap(self, before: Any, after: Any) -> bool:
        """Puts a value in the place of another, if that is there still."""
        same = now(self) is before
        if same:
            self.write(after)
        return same


class Part:
    """An item of a tuple that lies in a place.

    Args:
        place: Where the tuple is.
        index: Of the item.
    """

    __slots__ = ("place", "index")

    def __init__(self, place: Place, index: int) -> None:
        self.place = place
        self.index = index

    @property
    def key(self) -> Key:
        """What tells it from other places."""
        return (*self.place.key, self.index)

    def read(self) -> Any:
        """What is there now."""
        return self.place.read()[self.index]

    def write(self, value: Any) -> None:
        """Puts another tuple there, with this value."""
        now = self.place.read()
        self.place.write(row_like(now, [*now[: self.index], value, *now[self.index + 1 :]]))

    def swap(self, before: Any, after: Any) -> bool:
        """Puts another tuple there, if an item of it is there still."""
        row, k = self.place.read(), self.index
        return row[k] is before and self.place.swap(
            row, row_like(row, [*row[:k], after, *row[k + 1 :]])
        )


class Contents:
    """All items of a list, dict or set, which one guard is about.

    Args:
        holder: The list, dict or set.
    """

    __slots__ = ("holder",)

    def __init__(self, holder: Any) -> None:
        self.holder = holder

    def changed(self, before: Any) -> list[Key]:
        """The items that are others than before; none where there are more or fewer of them."""
        now, holder = self.holder, id(self.holder)
        if len(now) != len(before) or isinstance(now, set):
            return []
        if isinstance(before, dict):
            names = [name for name in before if now.get(name, MISSING) is not before[name]]
        else:
            names = [k for k, x in enumerate(before) if now[k] is not x]
        return [(holder, name) for name in names]

    def is_same(self, before: Any) -> bool:
        """Whether all items are the objects that they were before; of sets that is not asked."""
        now = self.holder
        if isinstance(now, set):
            return True
        if isinstance(before, dict):
            return all(map(is_, now.values(), before.values()))
        return all(map(is_, now, before))

    def restore(self, before: Any) -> None:
        """Puts all items back, if there are others."""
        if isinstance(self.holder, set):
            self.holder.intersection_update(before)
        elif len(self.holder) == len(before) and not self.changed(before):
            return
        else:
            self.holder.clear()
        if isinstance(self.holder, dict | set):
            self.holder.update(before)
        else:
            self.holder.extend(before)


def changed(where: Place | Contents | None, before: Any) -> list[Key]:
    """The places that a guard says are not as they were."""
    if where is None:
        return []
    return where.changed(before) if isinstance(where, Contents) else [where.key]


def restore(where: Place | Contents | None, before: Any) -> None:
    """Puts back what a guard is about."""
    if isinstance(where, Contents):
        where.restore(before)
    elif where is not None and now(where) is not before:
        where.write(before)


def now(place: Place) -> Any:
    """What is in a place; MISSING if nothing is."""
    with suppress(LookupError, AttributeError, ValueError):
        return place.read()
    return MISSING


def kind(value: Any) -> Any:
    """What stays the same of a value that differs from call to call: its type."""
    if value.__class__ is Tensor and value.raw is not None:
        return value.type
    return (type(value), *map(kind, value)) if is_row(value) else type(value)


# ----- tuples, whose items are places, too -----


def is_row(value: Any) -> bool:
    """Whether a value is a tuple, or a named one, of some items and nothing else."""
    if type(value) is tuple:
        return bool(value)
    named = isinstance(value, tuple) and hasattr(type(value), "_fields")
    return named and bool(value) and not hasattr(value, "__dict__")


def row_like(row: Any, items: Iterable[Any]) -> Any:
    """A tuple of the same class with other items."""
    return tuple.__new__(type(row), items)


def inside(value: Any) -> Iterator[Any]:
    """A value and, if it is a row, what is in it."""
    yield value
    if is_row(value):
        for x in value:
            yield from inside(x)
