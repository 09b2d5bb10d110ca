"""Pickles read as data: a small machine that knows lists, dicts, numbers, text, and a few names.

Python's own `pickle` calls whatever a file names. Here each instruction is one of those below, and
a name is one of those that the caller lists, or the file is refused: nothing else can happen.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from typing import IO, Any

DEEPEST = 100  # nests of lists and dicts; weights need five
Call = Callable[..., Any]
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
EMPTY: dict[str, Call] = {
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
    "EMPTY_TUPLE": tuple,
}
LITERALS = frozenset(
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING "
    "BINBYTES SHORT_BINBYTES BINBYTES8 UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8".split()
)
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
IGNORED = frozenset(["PROTO", "FRAME"])


class RefusedError(ValueError):
    """A pickle names or does more than data need."""


class Machine:
    """Reads one pickle from a file.

    Args:
        file: Where it stands; afterwards the file is behind it.
        names: What the pickle may name, as "module.name", and what to put there; a function is
            called where the pickle calls it.
        persistent: Makes an object of a persistent id.
    """

    def __init__(
        self,
        file: IO[bytes],
        names: Mapping[str, Any],
        persistent: Callable[[Any], Any] | None = None,
    ) -> None:
        self._file = file
        self._names = names
        self._persistent = persistent
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> Any:
        """The object.

        Raises:
            RefusedError: The pickle names or does what is not on the lists.
        """
        for op, arg, _ in pickletools.genops(self._file):
            if op.name == "STOP":
                break
            self._step(op.name, arg)
        (result,) = self._stack
        return result

    def _step(self, name: str, arg: Any) -> None:
        push = self._stack.append
        if name in LITERALS:
            push(arg)
        elif name in CONSTANTS:
            push(CONSTANTS[name])
        elif name in EMPTY:
            push(EMPTY[name]())
        elif name in TUPLES:
            push(tuple(self._take(TUPLES[name])))
        elif name == "MARK":
            self._marks.append(len(self._stack))
        elif name not in IGNORED:
            method = getattr(self, f"_{name.lower()}", None)
            if method is None:
                raise RefusedError(f"the pickle has the instruction {name}, which data do not need")
            method(arg)

    def _take(self, count: int) -> list[Any]:
        """The topmost objects, taken off the stack."""
        start = len(self._stack) - count
        if start < (self._marks[-1] if self._marks else 0):
            raise ValueError("the pickle takes what it has not made")
        taken = self._stack[start:]
        del self._stack[start:]
        return taken

    def _marked(self) -> list[Any]:
        """What stands above the last mark."""
        start = self._marks[-1]
        taken = self._take(len(self._stack) - start)
        self._marks.pop()
        return taken

    # ----- containers -----

    def _tuple(self, _: Any) -> None:
        self._stack.append(tuple(self._marked()))

    def _list(self, _: Any) -> None:
        self._stack.append(self._marked())

    def _dict(self, _: Any) -> None:
        self._stack.append(dict(pairs(self._marked())))

    def _append(self, _: Any) -> None:
        self._extend(self._take(1))

    def _appends(self, _: Any) -> None:
        self._extend(self._marked())

    def _extend(self, items: list[Any]) -> None:
        checked(self._stack[-1], list).extend(items)

    def _setitem(self, _: Any) -> None:
        self._update(self._take(2))

    def _setitems(self, _: Any) -> None:
        self._update(self._marked())

    def _update(self, items: list[Any]) -> None:
        checked(self._stack[-1], dict).update(pairs(items))

    def _additems(self, _: Any) -> None:
        items = [plain_key(item) for item in self._marked()]
        checked(self._stack[-1], set).update(items)

    def _pop(self, _: Any) -> None:
        self._take(1)

    def _dup(self, _: Any) -> None:
        self._stack.append(self._stack[-1])

    # ----- what was met before -----

    def _memoize(self, _: Any) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _put(self, arg: int) -> None:
        self._memo[arg] = self._stack[-1]

    def _get(self, arg: int) -> None:
        self._stack.append(self._memo[arg])

    _binput = _long_binput = _put
    _binget = _long_binget = _get

    # ----- names and calls -----

    def _global(self, arg: str) -> None:
        self._stack.append(self._named(*arg.split(" ", 1)))

    def _stack_global(self, _: Any) -> None:
        module, name = self._take(2)
        self._stack.append(self._named(module, name))

    def _named(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full not in self._names:
            raise RefusedError(
                f"it holds objects of {full[:80]}, and loading those would run code; "
                "save a state_dict instead"
            )
        return self._names[full]

    def _reduce(self, _: Any) -> None:
        function, args = self._take(2)
        if not any(function is known for known in self._names.values()) or not callable(function):
            raise RefusedError("the pickle calls something that is not on the list")
        self._stack.append(function(*checked(args, tuple)))

    _newobj = _reduce

    def _build(self, _: Any) -> None:
        """Attributes of an object, such as `_metadata` of a state_dict, are passed over."""
        self._take(1)

    def _binpersid(self, _: Any) -> None:
        (key,) = self._take(1)
        if self._persistent is None:
            raise RefusedError("the pickle refers to something outside of it")
        self._stack.append(self._persistent(key))


def checked(value: Any, kind: type) -> Any:
    """`value`, if it is of this type or of one below it."""
    if not isinstance(value, kind):
        raise ValueError(
            f"the pickle has a {type(value).__name__} in the place of a {kind.__name__}"
        )
    return value


def pairs(items: list[Any]) -> list[tuple[Any, Any]]:
    """Keys and values that came in turn."""
    if len(items) % 2:
        raise ValueError("the pickle has a key without a value")
    return [(plain_key(key), value) for key, value in zip(items[::2], items[1::2], strict=True)]


def plain_key(key: Any) -> Any:
    """`key`, if it is text or a number: the hash of a nest may take for ever."""
    if key is not None and not isinstance(key, str | bytes | int | float):
        raise RefusedError(
            f"a dict has a {type(key).__name__} as a key, where text or numbers may be"
        )
    return key


def mapped(value: Any, function: Callable[[Any], Any]) -> Any:
    """A nest with `function` of each leaf; dicts become plain ones.

    Args:
        value: Lists, tuples, dicts and leaves.
        function: What to put in the place of a leaf.

    Raises:
        RefusedError: The nest is deeper than `DEEPEST`, or holds itself.
    """
    done: dict[int, Any] = {}  # what is shared is visited once: nests of nests may be many

    def visit(value: Any, depth: int) -> Any:
        if not isinstance(value, dict | list | tuple):
            return function(value)
        if depth > DEEPEST:
            raise RefusedError(f"lists and dicts are nested more than {DEEPEST} deep")
        if id(value) not in done:
            if isinstance(value, dict):
                made: Any = {key: visit(item, depth + 1) for key, item in value.items()}
            else:
                made = type(value)(visit(item, depth + 1) for item in value)
            done[id(value)] = made
        return done[id(value)]

    return visit(value, 0)
