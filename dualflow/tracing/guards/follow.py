"""Follow: from values that recorded code can name to the values inside of them, as guards.

An attribute is followed if its name occurs in code that ran; containers are followed by content.
Values are taken down when they are met, which is before the code that names them runs.
"""

from __future__ import annotations

import functools
import operator
import re
import struct
import threading
import types
import weakref
from collections import deque, namedtuple
from collections.abc import Callable, Collection, Iterator
from typing import Any, Protocol

import numpy as np

from dualflow.core.context import Counted
from dualflow.core.registry import functions
from dualflow.core.source import OURS
from dualflow.core.tensor import Tensor
from dualflow.tracing.guards import contents, holders, policy
from dualflow.tracing.guards.ambient import Ambient
from dualflow.tracing.guards.bytecode import enters
from dualflow.tracing.guards.check import LENIENT, PLAIN, Guard, Origin
from dualflow.tracing.guards.grown import Way
from dualflow.tracing.guards.objects import Attributes, Classes, Data, attributes_in
from dualflow.tracing.guards.places import Closure, Contents, Key, Place, inside, is_row, now

MOST_BYTES = 1 << 16  # of an array that is compared at each call
MOST_GUARDS = 5000
LOCKS = (type(threading.Lock()), type(threading.RLock()))
STATELESS = (
    *PLAIN,
    Tensor,
    re.Pattern,
    np.ufunc,
    property,
    staticmethod,
    classmethod,
    functools.cached_property,
    type(Ellipsis),
    type(NotImplemented),
    slice,
    types.CodeType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
    types.WrapperDescriptorType,
    types.GenericAlias,
    types.UnionType,
)

# Of C code, what stays as it is though it cannot be compared.
CONSTANT = (
    object,
    re.Match,
    struct.Struct,
    operator.itemgetter,
    type(vars(namedtuple("_", "field"))["field"]),
    *LOCKS,
)
VISIBLE = frozenset(("numpy", "typing", "optree"))

Refuse = Callable[[str, str, str], None]
Plant = Callable[[Place, Any, str], Any]


class Counting(Protocol):
    """Who looks at objects that count their changes."""

    def saw_module(self, module: Any, varying: Collection[str] = ()) -> None:
        """There is one; some of its attributes may differ from call to call."""
        ...

    def place(self, module: Any, name: str) -> Place:
        """Where it keeps an attribute."""
        ...

    def moved(self) -> Iterator[tuple[Key, Any]]:
        """What of them is not as it was: where, and what is there now."""
        ...


class Follower:
    """Follows values and collects guards.

    Args:
        refuse: Is told of what cannot be guarded: reason, remedy, kind.
        settings: Is told of objects that count their changes, which need no guards here.
        plant: Is offered places with plain values; the kind of them if they may differ.

    Attributes:
        guards: What was found so far.
        constants: Objects and values that the guards name.
        names: The attributes that code which ran may read.
        users_names: Those of them that code outside of the standard library reads.
        whole: Whether it may read any attribute.
        stored: The attributes that it may set, or look for in vain.
        origins: The code in which an attribute was first met.
        arrays: NumPy arrays by id: the array, its place, and its bytes if it is small.
        generators: NumPy's random generators by id, with their state and place.
    """

    def __init__(self, refuse: Refuse, settings: Counting, plant: Plant) -> None:
        self.refuse = refuse
        self.plant = plant
        self._settings = settings
        self.guards: list[Guard] = []
        self.constants: dict[str, Any] = {}
        self.names: set[str] = set()
        self.users_names: set[str] = set()
        self.whole = False
        self.stored: set[str] = set()
        self.origins: dict[str, types.CodeType] = {}
        self.arrays: dict[int, tuple[np.ndarray[Any, Any], str, Origin, bytes | None]] = {}
        self.containers: list[Any] = []  # that can be written to
        self.ways: dict[int, set[Way]] = {}  # to arrays, containers by id; None: unknown
        self.long: dict[int, tuple[str, Origin]] = {}  # lists with too many items to compare
        self.generators = holders.Generators(self)
        self.objects: dict[int, Attributes] = {}
        self.functions: dict[int, list[types.FunctionType]] = {}  # by id of their code
        self.ran: set[int] = set()  # ids of code
        self.tensors: dict[int, Tensor] = {}  # by id
        self.varying: list[Tensor] = []  # those that differ from call to call, one for each place
        self.hashed: set[int] = set()  # ids of those that are keys of dicts, or in sets
        self.users: set[types.CodeType] = set()  # of it, what is not of the standard library
        self.locks: list[str] = []  # that it takes
        self.classes = Classes(self)
        self.memories = holders.Memories(self)
        self.ambient = Ambient(self)
        self.hidden: set[type] = set()  # classes with methods that are not looked into
        self._shared: dict[int, str] = {}
        self._weak: dict[int, str] = {}
        self._inside: set[int] = set()
        self._waiting: deque[tuple[Any, str, Origin]] = deque()
        self.first_code: types.CodeType = Follower.__init__.__code__  # until the user's is known

    # ----- constants and guards -----

    def constant(self, value: Any) -> str:
        """The name of a constant: an object, or a value that was seen."""
        if (weak := self._weak.get(id(value))) is not None:
            return weak
        name = self._shared.get(id(value))
        if name is None:
            name = self._shared[id(value)] = f"k{len(self.constants)}"
            self.constants[name] = value
        return name

    def hold_weakly(self, thing: Any) -> None:
        """Lets guards name an object without keeping it alive, where that is possible."""
        me, key = weakref.ref(self), id(thing)

        def forget(_: Any) -> None:  # the next object with that id is another one
            if (follower := me()) is not None:
                follower._weak.pop(key, None)
                follower._inside.discard(key)
                follower.objects.pop(key, None)

        try:
            reference = weakref.ref(thing, forget)
        except TypeError:
            return
        name = f"k{len(self.constants)}"
        self.constants[name] = reference
        self._weak[id(thing)] = f"{name}()"

    def holds_weakly(self, thing: Any) -> bool:
        """Whether guards name an object without keeping it alive."""
        return id(thing) in self._weak

    def about(self, thing: Any, differs: str) -> str:
        """A test of an object itself: nothing differs of one that guards hold weakly and is gone.

        Another one that is passed instead is known to be alike by the key of the call.
        """
        k = self.constant(thing)
        return f"{k} is not None and ({differs})" if self.holds_weakly(thing) else differs

    def attribute(self, thing: Any, name: str, value: Any) -> str:
        """The expression of an attribute that each object of its class has."""
        k = self.constant(thing)
        weak = f"getattr({k}, {name!r}, {self.constant(value)})"
        return weak if self.holds_weakly(thing) else f"{k}.{name}"

    def test(
        self,
        differs: str,
        place: str,
        origin: Origin,
        read: str = "",
        expected: str = "",
        owner: int | None = None,
        where: Place | Contents | None = None,
    ) -> None:
        """Adds a guard."""
        self.guards.append(Guard(differs, place, origin, read, expected, owner, where=where))
        if len(self.guards) == MOST_GUARDS:
            self.refuse(
                f"more than {MOST_GUARDS} guards are needed", policy.REMEDIES["access"], "access"
            )

    def visit(
        self,
        read: str,
        value: Any,
        place: str,
        origin: Origin,
        owner: int | None = None,
        where: Place | None = None,
    ) -> None:
        """A place where Python finds a value: guards what is there, then what is inside."""
        if len(self.guards) > MOST_GUARDS or self.differs(read, value, place, origin, where):
            return
        self._note(value)
        k = self.constant(value)
        same = f"{read} is not {k}"
        if isinstance(value, np.ndarray):
            self.ways.setdefault(id(value), set()).add(origin.name)
        if isinstance(value, LENIENT):
            same += f" and differs({read}, {k})"
        self.test(same, place, origin, read, k.removesuffix("()"), owner, where)
        name = place.removeprefix("global ").removeprefix("closure ")
        self.inside(value, name, origin, origin.name)

    def _note(self, value: Any) -> None:
        if value.__class__ is Tensor:
            self.tensors[id(value)] = value

    def key(self, key: Any) -> None:
        """Something by which code may look others up, which asks if two things are one."""
        for x in key if isinstance(key, tuple) else (key,):
            if x.__class__ is Tensor:
                self._note(x)
                self.hashed.add(id(x))

    def differs(
        self, read: str, value: Any, place: str, origin: Origin, where: Place | None
    ) -> bool:
        """Whether the value differs from call to call, so that its kind is guarded."""
        kind = None if where is None else self.plant(where, value, place)
        if kind is None or where is None:
            return False
        self.varying += [x for x in inside(value) if x.__class__ is Tensor]
        self._inside.update([id(x) for x in inside(now(where)) if is_row(x)])
        for cls in {type(x) for x in inside(value) if is_row(x)} - {tuple}:
            self.classes.follow(cls, cls.__name__, origin)
        k, asks = self.constant(kind), f"kind({read})"
        self.test(f"{asks} != {k}", place, origin, asks, k, where=where)
        return True

    def item(self, value: Any, place: str, origin: Origin, way: Way = None) -> None:
        """An item of a container: guards what can be reached through it."""
        self._note(value)
        if isinstance(value, np.ndarray):
            self.ways.setdefault(id(value), set()).add(None)
        self.inside(value, place, origin, way)

    def inside(self, value: Any, place: str, origin: Origin, way: Way = None) -> None:
        """Guards what can be reached through a value, soon; `way` is how code comes to a list."""
        if isinstance(value, list | dict | set):
            self.ways.setdefault(id(value), set()).add(way)
        if id(value) in self._inside or is_stateless(value):
            return
        self._inside.add(id(value))
        self._waiting.append((value, place, origin))

    def drain(self) -> None:
        """Follows all values that wait."""
        while self._waiting:
            value, place, origin = self._waiting.popleft()
            if id(value) not in self._weak and not isinstance(value, Counted):
                self.constant(value)  # keeps its id
            self._follow(value, place, origin)

    def held(self, name: str) -> Any:
        """What a constant stands for, which may be held weakly."""
        value = self.constants[name]
        weak = isinstance(value, weakref.ref) and id(value()) in self._weak
        return value() if weak else value

    def reached(self, value: Any) -> bool:
        """Whether the code that ran can name it."""
        return self.has(id(value))

    def has(self, key: int) -> bool:
        """The same of what has this id."""
        return key in self._inside

    # ----- by kinds of values -----

    def _follow(self, value: Any, place: str, origin: Origin) -> None:
        cls = type(value)
        self.ambient.note(value.__module__ if isinstance(value, type) else cls.__module__, origin)
        if isinstance(value, Counted):
            self._counted(value, place, origin)
        elif isinstance(value, type):
            self.classes.follow(value, place, origin)
        elif isinstance(value, types.ModuleType):
            self._module(value, place, origin)
        elif isinstance(value, types.FunctionType):
            self._function(value, place, origin)
        elif isinstance(value, np.ndarray):
            self._array(value, place, origin)
        elif isinstance(value, contents.CONTAINERS):
            contents.follow(self, value, place, origin)
            if attributes_in(value) is not None:
                self.attributes(value, place, origin)
        elif holders.is_memory(value):
            self._memory(value, place, origin)
        elif isinstance(value, types.CellType):
            self._cell(value, place, origin)
        elif isinstance(value, holders.GETTERS):
            self.whole = True
            self.more_names(self.names)
        elif (parts := holders.parts_of(value)) is not None:
            self._partial(value, origin)
            if isinstance(value, holders.CACHED):
                self.memories.follow(value, place, origin)
            elif isinstance(value, weakref.ref):
                self._weakly(value, place, origin)
            for part in parts:
                self.inside(part, place, origin)
        else:
            self._object(value, place, origin)

    def _partial(self, value: Any, origin: Origin) -> None:
        """Refuses a partial of a C function with effects: nobody is told when it is called."""
        function = getattr(value, "func", None)
        in_c = isinstance(function, types.BuiltinFunctionType | types.MethodWrapperType)
        if in_c and (why := policy.impure(function)) is not None:
            self.refuse(f"it {why.what} at {origin.line}", policy.REMEDIES[why.kind], why.kind)

    def _weakly(self, reference: Any, place: str, origin: Origin) -> None:
        """A weak reference: guards that what it refers to is there, and lets go of that with it."""
        thing = weakref.ref.__call__(reference)
        if thing is None or isinstance(thing, Counted):
            return
        if id(thing) not in self._shared:
            self.hold_weakly(thing)
        self.test(f"{self.constant(thing)} is None", f"what {place} refers to", origin)

    def _counted(self, module: Any, place: str, origin: Origin) -> None:
        self.hidden.add(type(module))
        k, varying = self.constant(vars(module)), set[str]()
        for name, x in list(vars(module).items()):
            where = self._settings.place(module, name)
            if self.differs(f"{k}[{name!r}]", x, f"{place}.{name}", origin, where):
                varying.add(name)
            else:
                self._note(x)
                self.inside(x, f"{place}.{name}", origin, name)
        self._settings.saw_module(module, varying)
        self.classes.follow(type(module), type(module).__name__, origin)

    def _module(self, module: types.ModuleType, place: str, origin: Origin) -> None:
        self.ambient.note(module.__name__, origin)
        if policy.is_library(module.__name__):
            self.objects[id(module)] = Data(self, module, place)
        elif policy.is_users(module.__name__):
            attributes = self.objects[id(module)] = Attributes(self, module, place)
            attributes.more_names({"__getattr__"})  # which Python calls without naming it

    def _function(self, function: types.FunctionType, place: str, origin: Origin) -> None:
        module = function.__globals__.get("__name__")
        if not policy.is_users(module):
            if functions.get(function.__name__) is function:  # an op's, which keeps what is its own
                return
            if (wrapped := vars(function).get("__wrapped__")) is not None:
                self.inside(wrapped, place, origin)
            self._cells(function, place, origin)
            return
        self.functions.setdefault(id(function.__code__), []).append(function)
        if id(function.__code__) in self.ran:
            self.function_ran(function)
        if not policy.is_library(module):
            self.objects[id(function)] = Attributes(self, function, place)

    def knows(self, function: types.FunctionType) -> None:
        """A function that counts only if its code runs."""
        if id(function) not in self._inside:
            self.functions.setdefault(id(function.__code__), []).append(function)
            if id(function.__code__) in self.ran:
                self.function_ran(function)

    def function_ran(self, function: types.FunctionType) -> None:
        """The code of a function that is known runs: its defaults and closure count."""
        place, origin = function.__name__, Origin(function.__code__, function.__name__)
        k = self.constant(function)
        code = self.constant(function.__code__)
        other = self.about(function, f"{k}.__code__ is not {code}")
        self.test(other, f"the code of {place}", origin)
        for name in ("__defaults__", "__kwdefaults__"):
            if (values := getattr(function, name)) is not None:
                read = self.attribute(function, name, values)
                self.visit(read, values, f"the defaults of {place}", origin)
        self._cells(function, place, origin)

    def _memory(self, value: Any, place: str, origin: Origin) -> None:
        if holders.inherits(type(value), holders.POINTERS):
            self.refuse_value(f"{place} is a pointer, behind which nobody can see", origin)
        k, seen = self.constant(value), self.constant(bytes(value))
        self.test(f"bytes({k}) != {seen}", place, origin)
        if attributes_in(value) is not None:
            self.attributes(value, place, origin)

    def _cells(self, function: types.FunctionType, place: str, origin: Origin) -> None:
        names = function.__code__.co_freevars
        for name, cell in zip(names, function.__closure__ or (), strict=False):
            if id(cell) not in self._inside:
                self._inside.add(id(cell))
                self._cell(cell, f"closure {name}", Origin(function.__code__, name))

    def _cell(self, cell: types.CellType, place: str, origin: Origin) -> None:
        k = self.constant(cell)
        try:
            value = cell.cell_contents
        except ValueError:
            self.test(f"not is_empty({k})", place, origin)
        else:
            self.visit(f"{k}.cell_contents", value, place, origin, where=Closure(cell))

    def _array(self, array: np.ndarray[Any, Any], place: str, origin: Origin) -> None:
        if array.dtype.hasobject:
            what = f"{place} is an array of objects"
            self.refuse_value(what, origin)
        elif array.flags.writeable or array.base is not None:
            content = array.tobytes() if array.nbytes <= MOST_BYTES else None
            self.arrays[id(array)] = (array, place, origin, content)

    def _object(self, value: Any, place: str, origin: Origin) -> None:
        cls = type(value)
        package = policy.package(cls.__module__)
        own = attributes_in(value)
        if isinstance(value, BaseException):
            self.visit(f"{self.constant(value)}.args", value.args, f"{place}.args", origin)
        if own is not None and "__wrapped__" in own:
            self.inside(own["__wrapped__"], place, origin)
        if hasattr(cls, "bit_generator") or (cls.__name__ == "RandomState" and package == "numpy"):
            self.generators.follow(value, place)
        elif package in OURS:
            return
        elif isinstance(value, LOCKS) and origin.code in self.users and enters(origin.code):
            self.locks.append(f"{place} at {origin.line}")
        elif own is not None or any("__slots__" in base.__dict__ for base in cls.__mro__):
            self.attributes(value, place, origin)
        elif hasattr(cls, "__next__") or isinstance(value, types.GeneratorType):
            what = f"{place} is an iterator, which moves on at each call"
            self.refuse_value(what, origin)
        elif package not in policy.PURE or not is_constant(value):
            what = f"{place} is a {cls.__name__}, whose state nobody can see"
            self.refuse_value(what, origin)

    def attributes(self, value: Any, place: str, origin: Origin) -> None:
        """Follows the attributes of an object by the names that are known now and later."""
        if id(value) not in self.objects:
            self.objects[id(value)] = Attributes(self, value, place)
            self.classes.follow(type(value), type(value).__name__, origin)

    # ----- names -----

    def refuse_value(self, what: str, origin: Origin) -> None:
        """Says that a value cannot be guarded, and where it is read."""
        reason = f"{what}; it is read at {origin.line}"
        self.refuse(reason, policy.REMEDIES["access"], "access")

    def read_too(self, names: set[str]) -> None:
        """Code reads these attributes, or finds them missing, though it does not name them."""
        self.stored |= names
        if new := names - self.names:
            self.names |= new
            self.more_names(new)

    def more_names(self, names: set[str]) -> None:
        """Code that runs now reads these attributes: follows them from all objects met so far."""
        for attributes in list(self.objects.values()):
            attributes.more_names(names)
        self.classes.more_names(names)


def is_constant(value: Any) -> bool:
    """Whether an object of C code without attributes stays what it is, as far as one can tell."""
    cls = type(value)
    compared = cls.__eq__ is not object.__eq__ and cls.__hash__ not in (None, object.__hash__)
    return compared or policy.package(cls.__module__) in VISIBLE or cls in CONSTANT


def is_stateless(x: Any) -> bool:
    """Whether nothing can be reached through a value; a class of the user's may add attributes."""
    if not isinstance(x, STATELESS) or isinstance(x, np.void):
        return False
    return type(x).__module__ == "builtins" or not isinstance(x, PLAIN) or attributes_in(x) is None
