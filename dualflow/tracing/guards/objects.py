"""Objects: attributes of instances, modules and classes that recorded code may read, as guards."""

from __future__ import annotations

import threading
import types
import weakref
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from dualflow.tracing.guards import policy
from dualflow.tracing.guards.bytecode import line_of_name
from dualflow.tracing.guards.check import Origin
from dualflow.tracing.guards.places import ClassAttribute, Item, Key, Local, Place, Slot

if TYPE_CHECKING:
    from dualflow.tracing.guards.follow import Follower

NONE: dict[str, Any] = {}
CLASS = frozenset(("__name__", "__qualname__"))
FUNCTION = frozenset("__code__ __defaults__ __kwdefaults__ __doc__ __name__ __qualname__".split())


def attributes_in(value: Any) -> dict[str, Any] | None:
    """The dict of an object's own attributes, in this thread; None if it has none."""
    if isinstance(value, type):
        return None
    if isinstance(value, threading.local):
        return value.__dict__
    try:
        found = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return None
    return found if type(found) is dict else None


class Attributes:
    """The attributes of one object.

    Args:
        follower: Gets the guards.
        thing: An instance, a function or a module.
        place: How it was reached, in words.
        passing: Whether it may be gone after the call, and nothing depends on it then.

    Attributes:
        before: The names of all attributes that it had.
        done: The names of those that are guarded.
        read: Their values.
    """

    def __init__(
        self, follower: Follower, thing: Any, place: str, *, passing: bool = False
    ) -> None:
        self._follower = follower
        self.place = place
        self.passing = passing
        weak = passing or follower.holds_weakly(thing)
        self._thing = None if weak else thing
        self._weak = weakref.ref(thing) if weak else None
        self._id = id(thing)
        self._class = type(thing)
        found = attributes_in(thing)
        self._dict = NONE if found is None else found
        self._of_thread = isinstance(thing, threading.local)
        self._k = (
            f"{follower.constant(thing)}.__dict__"
            if self._of_thread
            else follower.constant(self._dict)
        )
        self.before = frozenset(self._dict)
        self.done: set[str] = set()
        self.read: dict[str, Any] = {}
        self._unset: list[Slot] = []
        # What is read in a module or class that is not looked into is not known: all of it, then.
        package = policy.package(self._class.__module__)
        self._whole = package in policy.SKIPPED and not isinstance(thing, types.FunctionType)
        if self._whole:
            follower.hidden.add(self._class)
        if isinstance(thing, types.ModuleType):
            self._whole = False
        elif not passing and found is not None and not isinstance(thing, types.FunctionType):
            self._test_identity(thing)
        self.more_names(follower.names)

    def _test_identity(self, thing: Any) -> None:
        k, cls = self._follower.constant(thing), self._follower.constant(self._class)
        test = f"{k}.__class__ is not {cls}"
        if not self._of_thread:
            test = f"{k}.__dict__ is not {self._k} or {test}"
        self._follower.test(
            self._follower.about(thing, test), f"the class of {self.place}",
            self._origin("__class__"), owner=self._id,
        )  # fmt: skip

    def _origin(self, name: str) -> Origin:
        code = self._follower.origins.get(name) or self._follower.first_code
        return Origin(code, name)

    @property
    def gone(self) -> bool:
        """Whether the object was made in the call and is no more."""
        return self._weak is not None and self._weak() is None

    def more_names(self, names: set[str]) -> None:
        """Follows the attributes of these names that it has."""
        follower = self._follower
        everything = self._whole or follower.whole
        here = {*(self._dict.keys() if everything else names & self._dict.keys())}
        here = {*filter(self._counts, here)}
        for name in sorted(here - self.done) if len(here) > 1 else here - self.done:
            self.done.add(name)
            value = self.read[name] = self._dict[name]  # once: another thread may write it
            follower.visit(
                f"{self._k}[{name!r}]", value, f"{self.place}.{name}",
                self._origin(name), self._id, None if self.passing else self._place(name),
            )  # fmt: skip
        self._slots(names, everything=everything)
        if self._class is types.FunctionType:
            self._of_function(names)

    def _of_function(self, names: set[str]) -> None:
        """The same for what Python keeps of a function, and code may ask for."""
        thing = self._now()
        for name in sorted(names & FUNCTION - self.done):
            self.done.add(name)
            place, origin = f"{self.place}.{name}", self._origin(name)
            value = getattr(thing, name)
            read = self._follower.attribute(thing, name, value)
            self._follower.visit(read, value, place, origin, self._id)

    def _counts(self, name: str) -> bool:
        """Whether anybody may change an attribute that it has."""
        return True

    def _place(self, name: str) -> Place:
        return Local(self._now(), name) if self._of_thread else Item(self._dict, name)

    def _now(self) -> Any:
        """The object, which may be gone where nothing keeps it."""
        return self._thing if self._weak is None else self._weak()

    def _slots(self, names: set[str], *, everything: bool) -> None:
        """The same for attributes in slots."""
        slots = self._follower.classes.slots(self._class)
        if not slots:
            return
        thing = self._now()
        for name, slot in slots.items():
            if (name in names or everything) and name not in self.done and not self.passing:
                self.done.add(name)
                get, k = self._follower.constant(slot.__get__), self._follower.constant(thing)
                place, origin = f"{self.place}.{name}", self._origin(name)
                where = Slot(slot, thing)
                try:
                    value = slot.__get__(thing)
                except AttributeError:
                    self._unset.append(where)
                    self._follower.test(f"not is_unset({get}, {k})", place, origin, owner=self._id)
                else:
                    self.read[name] = value
                    self._follower.visit(f"{get}({k})", value, place, origin, self._id, where)

    def appeared(self) -> Iterator[tuple[Key, Any]]:
        """The attributes that were not there before and that code may read."""
        if self.passing or self._dict.keys() <= self.before:
            return
        follower = self._follower
        everything = self._whole or follower.whole
        for name in self._dict.keys() - self.before:
            if everything or name in follower.names:
                yield self._place(name).key, self._dict[name]

    def stored(self) -> list[Place]:
        """The attributes that code may have set, but for those whose guards know that."""
        known = self.before & (self.done | (self.before - self._follower.stored))
        return [*map(self._place, self._dict.keys() - known), *self._unset]

    def finish(self) -> None:
        """Guards that no attribute appears which would be found first, or was looked for."""
        follower = self._follower
        if self._dict is NONE:
            return
        whole = self._whole or follower.whole
        wanted = follower.stored | follower.classes.names_in(self._class)
        if hasattr(self._class, "__getattr__") or "__getattr__" in self._dict:
            wanted = follower.names
        absent = frozenset((wanted & follower.names) - self.before)
        if not (absent or whole):
            return
        origin = self._origin(next(iter(absent), "getattr"))
        place = f"the attributes of {self.place}"
        count = f"len({self._k}) != {len(self.before)}"
        appeared = f"not {follower.constant(absent)}.isdisjoint({self._k})"
        # Where all attributes are guarded, others can only have come if there are more of them.
        known = self.before <= self.done
        test = count if whole else f"{count} and {appeared}" if known else appeared
        follower.test(
            test, place, origin, f"[*{self._k}]", follower.constant([*self.before]), self._id
        )


class Data(Attributes):
    """The lists, dicts and sets of a module of the standard library, such as `sys.argv`."""

    def _counts(self, name: str) -> bool:
        held = isinstance(self._dict[name], list | dict | set) and name != "modules"
        return held and name in self._follower.users_names

    def appeared(self) -> Iterator[tuple[Key, Any]]:
        """Nothing that counts: what is new there, the library has put there."""
        return iter(())

    def finish(self) -> None:
        """Nobody hides what the library has."""


class Classes:
    """The classes whose attributes recorded code may read, each with its bases."""

    def __init__(self, follower: Follower) -> None:
        self._follower = follower
        self._known: dict[int, tuple[type, str, set[str]]] = {}
        self._slots: dict[int, dict[str, Any]] = {}

    def follow(self, cls: type, place: str, origin: Origin) -> None:
        """Follows the attributes of a class by the names that are known now and later."""
        self._follower.ambient.note_class(cls, place, origin)
        for base in cls.__mro__:
            if id(base) in self._known or not policy.is_users(base.__module__):
                continue
            if policy.is_library(base.__module__):
                continue
            where = place if base is cls else base.__name__
            self._known[id(base)] = (base, where, set())
            space = self._follower.constant(base.__dict__)
            known, line = map(self._follower.constant, (base, base.__mro__))
            test = f"len({space}) != {len(base.__dict__)} or {known}.__mro__ is not {line}"
            what = f"the attributes of class {where}"
            self._follower.test(test, what, origin, owner=id(base))
            for name, x in base.__dict__.items():
                if not plain(name) and isinstance(x, types.FunctionType):
                    self._follower.knows(x)  # Python calls it without naming it
            self._more(base, self._follower.names)
        if type(cls) is not type:
            self.follow(type(cls), type(cls).__name__, origin)

    def finish(self) -> None:
        """The methods that Python has called without naming them."""
        for base, _, done in list(self._known.values()):
            called = {
                name
                for name, x in base.__dict__.items()
                if isinstance(x, types.FunctionType) and id(x.__code__) in self._follower.ran
            }
            self._more(base, called - done)

    def more_names(self, names: set[str]) -> None:
        """Code that runs now reads these attributes."""
        for base, _, _ in list(self._known.values()):
            self._more(base, names)

    def _more(self, base: type, names: set[str]) -> None:
        space = base.__dict__
        _, place, done = self._known[id(base)]
        here = names & space.keys()
        if self._follower.whole:
            here |= {*filter(plain, space)}
        for name in sorted(names & CLASS - done):
            done.add(name)
            read, origin = (
                f"{self._follower.constant(base)}.{name}",
                Origin(self._follower.origins.get(name) or self._follower.first_code, name),
            )
            self._follower.visit(read, getattr(base, name), f"{place}.{name}", origin, id(base))
        for name in sorted(here - done):
            done.add(name)
            value = space[name]
            if isinstance(value, types.MemberDescriptorType | types.GetSetDescriptorType):
                continue
            if type(value).__module__ == "_ctypes":  # a field of a structure, which counts by bytes
                continue
            code = self._follower.origins.get(name) or self._follower.first_code
            read = f"{self._follower.constant(space)}[{name!r}]"
            where, origin = ClassAttribute(base, name), Origin(code, name)
            self._follower.visit(read, value, f"{place}.{name}", origin, id(base), where)
            if name == "__match_args__":
                self._follower.read_too({*value})
            for part in parts_of(value):
                self._follower.inside(part, f"{place}.{name}", Origin(code, name))

    def names_in(self, cls: type) -> set[str]:
        """Names that instances find in their class, unless they have the attribute themselves."""
        return {
            n for base in cls.__mro__ if id(base) in self._known for n in self._known[id(base)][2]
        }

    def slots(self, cls: type) -> dict[str, Any]:
        """The slots of a class by name."""
        found = self._slots.get(id(cls))
        if found is None:
            found = self._slots[id(cls)] = dict(slots_of(cls))
            self._follower.constant(cls)
        return found


def plain(name: str) -> bool:
    """Whether it is an attribute of the user's, not one that Python needs."""
    return not (name.startswith("__") and name.endswith("__"))


def slots_of(cls: type) -> Iterator[tuple[str, Any]]:
    """Names and descriptors of the slots of Python classes."""
    for base in reversed(cls.__mro__):
        if "__slots__" in base.__dict__:
            for name, x in base.__dict__.items():
                if isinstance(x, types.MemberDescriptorType):
                    yield name, x


def parts_of(descriptor: Any) -> tuple[Any, ...]:
    """The functions in a property, a static method or a class method."""
    if isinstance(descriptor, property):
        return tuple(f for f in (descriptor.fget, descriptor.fset) if f is not None)
    if isinstance(descriptor, staticmethod | classmethod):
        return (descriptor.__func__,)
    return (descriptor.func,) if hasattr(descriptor, "func") else ()


def set_unseen(classes: Iterable[type], name: str) -> bool:
    """Whether methods of classes, or of their bases, set an attribute though nobody sees them."""
    bases = {base for cls in classes for base in cls.__mro__}
    held = [x for b in bases if not policy.is_users(b.__module__) for x in vars(b).values()]
    functions = [x for each in held for x in (each, *parts_of(each))]
    codes = [x.__code__ for x in functions if isinstance(x, types.FunctionType)]
    return any(line_of_name(code, name, ("STORE_ATTR", "DELETE_ATTR")) for code in codes)
