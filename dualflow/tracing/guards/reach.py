"""Reach: what a recording can read of Python's state, from the code that runs in it."""

from __future__ import annotations

import builtins
import sys
import threading
import types
import weakref
from collections import deque
from collections.abc import Callable, Collection, Iterator
from typing import Any

import numpy as np

from dualflow.core import tree
from dualflow.core.context import Counted
from dualflow.core.number import KINDS, PlainWanted
from dualflow.core.source import line_of
from dualflow.core.tensor import Tensor
from dualflow.tracing import breakpoints
from dualflow.tracing.guards import places, policy
from dualflow.tracing.guards.arrays import Given
from dualflow.tracing.guards.bytecode import names_of
from dualflow.tracing.guards.check import PLAIN, Check, Guard, Origin
from dualflow.tracing.guards.effects import Effects
from dualflow.tracing.guards.equals import Equals, by_value
from dualflow.tracing.guards.follow import LOCKS, Counting, Follower, Plant
from dualflow.tracing.guards.grown import METHODS, Grown
from dualflow.tracing.guards.hook import Watch
from dualflow.tracing.guards.kept import compares
from dualflow.tracing.guards.moved import Moved
from dualflow.tracing.guards.objects import Attributes, attributes_in
from dualflow.tracing.guards.places import Contents, Item, Place, restore

UNFOLLOWED = (*PLAIN, Tensor, list, tuple, dict, set, frozenset)
DEFINED = (types.FunctionType, type, types.ModuleType)  # have attributes that outlive a call
CALL = (lambda: None).__code__  # stands for the code of what is written in C
MAKING = ("__init__", "__new__", "__post_init__", "__setstate__")


class Reach:
    """Collects what the code that runs in one recording can read.

    Args:
        refuse: Is told of what cannot be guarded: reason, remedy, kind.
        settings: Is told of objects that count their changes.
        plant: Is offered places with plain values; the kind of them if they may differ.
        entered: Is told of code that begins to run for the first time.
        can_be_undone: Says whether the call may be run again.

    Attributes:
        ended: What ended the call, after which nothing is seen of it; None as long as it goes on.
        drawn: Says which of NumPy's random generators the call has drawn from.
        effects: What the code may have changed.
        given: Which arrays were given to ops.
        moved: What it has changed so far.
        grown: What code only adds to: what would guard it, and what it held before.
    """

    def __init__(
        self,
        refuse: Callable[[str, str, str], None],
        settings: Counting,
        plant: Plant,
        entered: Callable[[types.CodeType], None],
        can_be_undone: Callable[[], bool],
    ) -> None:
        self._refuse, self._entered, self._can_be_undone = refuse, entered, can_be_undone
        self.ended: PlainWanted | None = None
        self._follower = Follower(refuse, settings, plant)
        self.drawn = self._follower.generators.drawn
        self.effects = Effects()
        self._codes: dict[int, types.CodeType] = {}
        self.given = Given(self._codes)
        self.moved = Moved(self._follower, self.effects, settings, self._is_local)
        self._made: dict[int, Any] = {}
        self._refused: set[str] = set()
        self._by_operator: set[int] = set()
        self._passing: set[int] = set()
        self._nodes: set[int] = set()  # ids of what is in arguments and results
        self.made_anew: set[int] = set()  # of these, of what later calls make for results and lists
        self.grown: list[tuple[Guard, list[Any]]] = []
        self._equals: list[tuple[int, Any]] = []
        self._imports: dict[str, types.CodeType] = {}  # modules that may not be there yet
        self._seen: set[tuple[str, str]] = set()  # scopes and names in them
        self._absent: list[Item] = []  # globals that may be there afterwards
        self._open: dict[int, dict[str, Any]] = {}  # scopes that code may change by any name

    def watch(self, python: Any, arguments: dict[str, Any]) -> Watch:
        """Watches a call of `python`, in a `with` block.

        Args:
            python: What is called.
            arguments: The leaves of its arguments by name; not those that dualflow has made.
        """
        watch = Watch(self)
        self._follower.generators.begin()
        if not watch.possible:
            what = "a profiler is active that cannot be told of other code"
            self._refuse(what, "profile with DUALFLOW_MODE=eager, or stop the profiler", "access")
        self._equals = [
            (k, x) for k, x in enumerate(arguments.values()) if type(x) not in KINDS and by_value(x)
        ]
        code = getattr(getattr(python, "__func__", python), "__code__", None) or CALL
        self._follower.first_code = code
        for name, x in arguments.items():
            if type(x) in (set, frozenset):  # counts by what is in it
                for item in x:
                    self._follower.item(item, f"an item of {name}", Origin(code, name))
            elif not isinstance(x, UNFOLLOWED) or not policy.is_ours(type(x).__module__):
                self._follower.hold_weakly(x)
                if isinstance(x, types.MethodType):
                    self._follower.hold_weakly(x.__self__)
                self._follower.inside(x, name, Origin(code, name))
        self._follower.inside(
            python, getattr(python, "__name__", type(python).__name__), Origin(code, "")
        )
        self._follower.drain()
        return watch

    # ----- while the call runs -----

    def entered(self, frame: types.FrameType) -> None:
        """Code begins to run: what it can name is taken down as it is now."""
        code = frame.f_code
        if id(code) not in self._codes:
            self._new_code(code, frame)
        if code.co_argcount and frame.f_back is not None:
            self._follow_arguments(code, frame)
        self._follower.drain()
        if self._follower.memories.learns(frame) and self._can_be_undone():
            self.ended = PlainWanted("a function that remembers results takes plain numbers")
            raise self.ended

    def _new_code(self, code: types.CodeType, frame: types.FrameType) -> None:
        self._codes[id(code)] = code
        self._entered(code)
        breakpoints.entered(frame)
        self.effects.codes.append(code)
        module = frame.f_globals.get("__name__")
        if policy.touches_files(code, module):
            self._impure(
                policy.Impure("impure", "reads or writes a file", f"numpy.{code.co_name}"), frame
            )
            return
        if policy.tells_stacks(code, module):
            self._impure(policy.Impure("access", "looks into frames", "inspect"), frame)
        self._take_down(code, frame.f_globals)

    def foresee(self, python: Any) -> None:
        """Takes down what the code of a function can name, before it runs."""
        function = getattr(python, "__func__", python)
        if isinstance(function, types.FunctionType):
            self._take_down(function.__code__, function.__globals__)
            self._follower.drain()

    def _take_down(self, code: types.CodeType, scope: dict[str, Any]) -> None:
        follower, names = self._follower, names_of(code)
        if id(code) in follower.ran:  # it was foreseen
            return
        follower.ran.add(id(code))
        whole = names.whole and not follower.whole
        follower.whole = follower.whole or whole
        library = policy.is_library(scope.get("__name__"))
        new = set(names.attributes - follower.names)
        follower.names |= new
        if not library:
            new |= names.attributes - follower.users_names
            follower.users_names |= names.attributes
            if at := sorted(names.attributes & policy.FRAMES):
                what = f"it looks into frames at {Origin(code, at[0]).line}"
                self._refuse(what, policy.REMEDIES["access"], "access")
        follower.stored |= names.stored
        for name in new:
            follower.origins.setdefault(name, code)
        if new or whole:
            follower.more_names(new)
        if not library:
            follower.users.add(code)
        self._globals(code, names.globals, scope, library=library)
        if not library and not names.globals.isdisjoint(policy.SCOPES):
            self._open[id(scope)] = scope
        package = scope.get("__package__") or ""
        for name, dots in names.imports:
            full = f"{package.rsplit('.', dots - 1)[0]}.{name}".rstrip(".") if dots else name
            self._imports.setdefault(full, code)
        self._follow_imports()
        for function in follower.functions.get(id(code), ()):
            follower.function_ran(function)

    def _globals(
        self, code: types.CodeType, names: Collection[str], scope: dict[str, Any], *, library: bool
    ) -> None:
        follower = self._follower
        k = follower.constant(scope)
        absent = [n for n in sorted(names) if n not in scope]
        for name in sorted(names):
            if name in scope and (k, name) not in self._seen:
                value = scope[name]
                if library and (callable(value) or isinstance(value, types.ModuleType)):
                    continue
                self._seen.add((k, name))
                read, origin = f"{k}[{name!r}]", Origin(code, name)
                where = Item(scope, name)
                follower.visit(read, value, f"global {name}", origin, where=where)
        if absent and not library:
            self._absent += [Item(scope, n) for n in absent]
            test = " or ".join(f"{n!r} in {k}" for n in absent)
            builtin = all(hasattr(builtins, n) for n in absent)
            place = f"{'built-in' if builtin else 'global'} {', '.join(absent)}"
            follower.test(test, place, Origin(code, absent[0]))

    def _follow_imports(self) -> None:
        """Modules that are imported where they are used, if they are there already."""
        modules = self._follower.constant(sys.modules)
        for full, code in list(self._imports.items()):
            if (module := sys.modules.get(full)) is not None:
                del self._imports[full]
                read, origin = f"{modules}.get({full!r})", Origin(code, full)
                if policy.is_users(full) and not policy.is_library(full):
                    self._follower.visit(read, module, f"module {full}", origin)
                    top = sys.modules[policy.package(full)]
                    self._follower.inside(top, f"module {top.__name__}", origin)

    def _follow_arguments(self, code: types.CodeType, frame: types.FrameType) -> None:
        local = frame.f_locals
        count = code.co_argcount + code.co_kwonlyargcount
        follower = self._follower
        for name in code.co_varnames[:count]:
            value = local.get(name)
            if isinstance(value, (*UNFOLLOWED, np.ndarray)) or id(value) in follower.objects:
                continue
            if isinstance(value, DEFINED):
                follower.inside(value, name, Origin(code, name))
            elif code.co_name in MAKING and name == code.co_varnames[0]:
                self._mark_made(value)
            elif not self._is_made(value) and self._can_pass(value):
                self._passing.add(id(value))
                follower.objects[id(value)] = Attributes(follower, value, name, passing=True)
                follower.classes.follow(type(value), type(value).__name__, Origin(code, name))

    def _can_pass(self, value: Any) -> bool:
        """Whether it is an object of the user's that may be gone after the call."""
        if isinstance(value, Counted | threading.local):
            return False
        if not policy.is_users(type(value).__module__):
            return False
        return attributes_in(value) is not None and type(value).__weakrefoffset__ != 0

    def _mark_made(self, value: Any) -> None:
        try:
            self._made[id(value)] = weakref.ref(value)
        except TypeError:
            self._made[id(value)] = lambda: value

    def _is_local(self, key: int) -> bool:
        """Whether an object of this id was passed on inside of the call that has made it."""
        return key in self._passing and not self._follower.has(key)

    def _is_made(self, value: Any) -> bool:
        made = self._made.get(id(value))
        return made is not None and made() is value

    def called(self, frame: types.FrameType, function: Any) -> None:
        """Code calls a C function."""
        if function.__name__ in policy.MUTATING:
            self.effects.mutated(function.__self__, function.__name__, frame)
        lock = function.__self__ if function.__name__ in policy.TAKING else None
        if isinstance(lock, LOCKS) and self.existed(lock):
            self._follower.locks.append(f"one at {users_line(frame)}")
        if (why := policy.impure(function)) is not None:
            self._impure(why, frame)

    def extended(self, function: Any) -> None:
        """A list's method `extend` has returned."""
        if type(function.__self__) is list:
            self.effects.extended(function.__self__)

    def _impure(self, why: policy.Impure, frame: types.FrameType) -> None:
        by = "" if why.name in policy.IMPURE else f" by {why.name}"
        what = f"it {why.what}{by} at {users_line(frame)}"
        if what not in self._refused:
            self._refused.add(what)
            self._refuse(what, policy.REMEDIES[why.kind], why.kind)

    def failed(self, error: Exception) -> None:
        """What runs cannot be looked at."""
        what = f"what it reads cannot be found out: {error!r}"
        if what not in self._refused:
            self._refused.add(what)
            self._refuse(what, policy.REMEDIES["access"], "access")

    def existed(self, thing: Any) -> bool:
        """Whether something was there before the call, so that guards look after it."""
        return self._follower.reached(thing) and not self._is_made(thing)

    def kept(self, *, lists: bool) -> set[int]:
        """Ids of tensors that may be one with an argument, if code that ran may ask that.

        Who looks something up by a tensor asks it, too.

        Args:
            lists: Ids of lists and dicts, too.
        """
        follower = self._follower
        if not any(map(compares, follower.users)):
            return {*follower.hashed}
        varying = map(id, follower.varying)
        return {*follower.tensors, *varying, *(follower.ways if lists else ())}

    def fixed(self) -> set[int]:
        """Ids of tensors that later calls find as they are, if code that ran may compare them."""
        return {*self._follower.tensors} if any(map(compares, self._follower.users)) else set()

    def mixes(self) -> bool:
        """Whether code may compare a tensor that differs from call to call with itself.

        That lies in another place, too, but has a stand-in in this one.
        """
        varying = [id(x) for x in self._follower.varying]
        twice = len({*varying}) < len(varying) or not self._follower.tensors.keys().isdisjoint(
            varying
        )
        return twice and any(map(compares, self._follower.users))

    def containers(self) -> set[int]:
        """Ids of the lists, dicts and sets that code can come to."""
        return {*self._follower.ways}

    def writable(self) -> Iterator[Place | Contents]:
        """Where code that ran can have put something: places, and whole lists, dicts and sets."""
        follower = self._follower
        yield from map(Contents, [*follower.containers, *self._open.values()])
        for guard in follower.guards:
            where = guard.where
            if not isinstance(where, Contents | None) and not self._is_as_found(where, guard):
                yield where
        for attributes in follower.objects.values():
            yield from attributes.stored()
        yield from self._absent

    def _is_as_found(self, where: Place, guard: Guard) -> bool:
        """Whether a place has what its guard found there: nothing was put there since."""
        found = self._follower.constants.get(guard.expected)
        return found is not None and places.now(where) is found

    @property
    def locks(self) -> list[str]:
        """Locks from before the call that code takes, in words."""
        return self._follower.locks

    # ----- when it is over -----

    def finish(self, passing: Collection[Any], captured: Collection[Any]) -> Check:
        """The call is over: what it could read, as one function.

        Args:
            passing: Arguments and results, whose containers dualflow has made.
            captured: NumPy arrays that are inputs of the graph.
        """
        follower = self._follower
        self._follow_imports()
        follower.drain()
        gone = self._gone(passing)
        for attributes in list(follower.objects.values()):
            attributes.finish()
        follower.classes.finish()
        follower.drain()
        follower.memories.finish()
        self._arrays(captured)
        self._random()
        guards = self._without_grown([g for g in follower.guards if g.owner not in gone])
        used = {k for guard in guards for k in guard.constants()}
        return Check(guards, {k: follower.constants[k] for k in sorted(used)})

    def _without_grown(self, guards: list[Guard]) -> list[Guard]:
        """Guards but those of lists that code only appends to; those are kept apart."""
        follower, left = self._follower, list[Guard]()
        grown = Grown(self._codes.values(), {} if follower.whole else follower.ways)
        for guard in guards:
            where = guard.where
            if isinstance(where, Contents) and type(where.holder) in METHODS:
                before = follower.constants[guard.expected]
                if grown.only(where.holder) and self._all_are_new(where.holder, before):
                    self.grown.append((guard, before))
                    continue
                if id(where.holder) in follower.long:
                    follower.refuse_value(*follower.long[id(where.holder)])
            left.append(guard)
        self._by_operator = grown.by_operator
        return left

    def _all_are_new(self, holder: Any, before: Any) -> bool:
        """Whether later calls add what this one has added: nothing to a set that it had already."""
        return type(holder) is list or self.effects.grew(holder, len(holder) - len(before))

    def grew(self, holder: Any, count: int) -> bool:
        """Whether code that ran has added so many items, and not another thread."""
        alone = threading.active_count() == 1
        return self.effects.grew(holder, count) or (alone and id(holder) in self._by_operator)

    def grown_lists(self) -> set[int]:
        """Ids of the lists that code only appends to."""
        return {id(guard.where.holder) for guard, _ in self.grown}  # type: ignore[union-attr]

    def fresh(self, value: Any, *, alone: bool = True) -> bool:
        """Whether nobody else has what holds something in a value, which the call has made.

        Others that later calls make anew may have it, unless it has to be `alone`.
        """
        nodes: list[Any] = []
        leaves, _ = tree.flatten(value, lambda x: nodes.append(x) is not None)
        inner = [x for x in nodes if not any(x is leaf for leaf in leaves)]
        ids = [id(x) for x in inner if not is_constant(x)]
        free = () if alone else self.made_anew
        known = any((k in self._nodes and k not in free) or self._follower.has(k) for k in ids)
        self._nodes.update(ids)
        self.made_anew.update(ids)
        plain = all(isinstance(x, tuple | list | dict | deque) for x in inner)
        return plain and not known and not (alone and len({*ids}) < len(ids))

    def equals(self) -> Equals:
        """The arguments that may come as other objects, and what was read of them."""
        objects = self._follower.objects
        arguments = [(k, x) for k, x in self._equals if id(x) in objects]
        return Equals(arguments, {k: x.read for k, x in objects.items()} if arguments else {})

    def undo(self) -> None:
        """Puts back all that the call has changed and that it could read."""
        for guard in self._follower.guards:
            if guard.expected and not guard.read.startswith("kind("):
                restore(guard.where, self._follower.held(guard.expected))

    def told(self, guard: Guard) -> str:
        """What the call has changed that it could read, in words."""
        line = self.effects.line(guard)
        return f"changes {guard.place}" + (f" at {line}" if line else "")

    def _gone(self, passing: Collection[Any]) -> set[int]:
        """Ids of objects that were made in the call, so that nothing depends on them later."""
        nodes = self._nodes

        def note(x: Any) -> bool:
            nodes.add(id(x))
            return False

        tree.flatten(passing, note)
        objects = self._follower.objects
        gone = {k for k in self._passing if objects[k].gone or k in nodes}
        for k in gone:
            del objects[k]
        return gone

    def _random(self) -> None:
        for place in self.drawn()[:1]:
            name = place.rpartition(".")[2].split()[-1]
            line = self.effects.naming(name)
            what = f"it draws random numbers from {place}" + (f" at {line}" if line else "")
            self._refuse(what, policy.REMEDIES["random"], "random")

    def _arrays(self, captured: Collection[Any]) -> None:
        """Arrays that Python looks into are guarded by their content; ops read theirs anew."""
        inputs = {id(x) for array in captured for x in (array, array.base)}
        follower = self._follower
        for array, place, origin, content in follower.arrays.values():
            names: Any = follower.ways[id(array)]
            if id(array) not in inputs or self.given.looked_into(array, names):
                kind = follower.constant((array.shape, array.dtype))
                test, k = "({0}.shape, {0}.dtype) != {1}", follower.constant(array)
                follower.test(test.format(k, kind), f"the shape of {place}", origin)
            if not self.given.looked_into(array, names):
                continue
            if content is None and id(array) in inputs:
                content = array.tobytes()  # is read at each call anyway
            if content is None:
                what = f"{place} is an array of {array.nbytes} bytes, too many to compare"
                self._refuse(what, "make a tensor of it, or pass it as an argument", "access")
                continue
            k, seen = self._follower.constant(array), self._follower.constant(content)
            self._follower.test(f"{k}.tobytes() != {seen}", f"the values of {place}", origin)


def users_line(frame: types.FrameType) -> str:
    """The line of the innermost code that is not of the standard library."""
    here: types.FrameType | None = frame
    while here is not None:
        module = here.f_globals.get("__name__")
        if policy.is_users(module) and not policy.is_library(module):
            return line_of(here)
        here = here.f_back
    return line_of(frame)


def is_constant(x: Any) -> bool:
    """Whether it is a tuple of plain values, of which nobody cares whether it is another one."""
    return isinstance(x, tuple) and all(isinstance(y, PLAIN) or is_constant(y) for y in x)
