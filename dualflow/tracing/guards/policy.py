"""Policy: which code is looked at while it runs, and which calls into C no recording can repeat."""

from __future__ import annotations

import sys
from types import CodeType, ModuleType
from typing import Any, NamedTuple

from dualflow.core.source import OURS, PROGRAMS

# Python code that reads no state but what it is given; what it runs in turn is looked at again.
SKIPPED = OURS | frozenset(
    "numpy optree llvmlite platformdirs threadpoolctl ml_dtypes cupy abc _abc _collections_abc "
    "_weakrefset collections contextlib enum functools importlib numbers operator re sre_compile "
    "sre_parse string textwrap types typing typing_extensions weakref warnings linecache tokenize "
    "zipimport".split()
)
LIBRARY = frozenset(sys.stdlib_module_names) - {"__main__"}

# C code that computes from its arguments alone, or changes them, which is seen afterwards.
PURE = OURS | frozenset(
    "builtins numpy math cmath operator _operator itertools functools _functools collections "
    "_collections _collections_abc types typing _typing re _sre _struct struct bisect _bisect "
    "heapq _heapq decimal _decimal datetime _datetime fractions abc _abc _weakref weakref _json "
    "json array unicodedata binascii zlib _bz2 _lzma hashlib _hashlib _blake2 _md5 _sha1 _sha256 "
    "_sha512 _sha3 string _string _codecs codecs copy enum _imp "
    "_statistics statistics _ast ast optree sys _thread threading _warnings marshal copyreg "
    "importlib pickle _pickle".split()
)
IMPURE = {
    "print": ("effect", "prints"),
    "input": ("impure", "asks for input"),
    "open": ("impure", "opens a file"),
    "now": ("impure", "reads the time"),
    "utcnow": ("impure", "reads the time"),
    "today": ("impure", "reads the time"),
    "warn": ("effect", "warns"),
    "globals": ("access", "reads all globals"),
}
# Of `sys`, what says the same at each call; its other functions tell how the interpreter is set.
SAME = frozenset(
    "_getframe audit exc_info exception exit getdefaultencoding getsizeof intern "
    "is_finalizing".split()
)
IMPURE_OWNERS = frozenset(("builtins", "_warnings", "datetime", "io", "_io"))
MODULES = {
    "time": ("impure", "reads the time"),
    "random": ("random", "draws random numbers"),
    "_random": ("random", "draws random numbers"),
    "numpy.random": ("random", "draws random numbers"),
    "posix": ("impure", "asks the operating system"),
    "nt": ("impure", "asks the operating system"),
    "_io": ("impure", "reads or writes a file"),
    "io": ("impure", "reads or writes a file"),
}
NUMPY_FILES = frozenset(
    "load loadtxt genfromtxt fromregex save savez savez_compressed savetxt".split()
)
REMEDIES = {
    "impure": "pass what it gives as an argument",
    "random": "draw random numbers by df.random, or pass them as an argument",
    "effect": "do that outside, with the function's result",
    "access": "pass what it needs as an argument",
}

# With one of these names around, any attribute may be read.
REFLECTING = frozenset(
    "vars dir eval exec globals __dict__ __getattribute__ "
    "attrgetter methodcaller getattr_static pickle marshal "
    "asdict astuple deepcopy copy __getstate__ __reduce_ex__".split()
)
SCOPES = frozenset("globals eval exec".split())  # what may change globals by any name
FRAMES = frozenset(("f_back", "f_builtins", "f_globals", "f_locals"))
TELLING = frozenset(("inspect", "traceback"))  # modules that tell what the stack is
NAMING = frozenset(("getattr", "hasattr", "setattr", "delattr"))  # are given a name
LOOKING_UP = frozenset(
    "getattr_static _check_class _check_instance _shadowed_dict _shadowed_dict_from_mro_tuple "
    "_shadowed_dict_from_weakref_mro_tuple".split()
)
TAKING = frozenset(("acquire", "__enter__"))  # of locks
MUTATING = frozenset(
    "append extend insert pop popitem popleft appendleft extendleft remove clear sort reverse "
    "update setdefault add discard __setitem__ __delitem__ difference_update rotate "
    "intersection_update symmetric_difference_update fill put itemset partition resize".split()
)


class Impure(NamedTuple):
    """Why a call cannot be repeated by a graph.

    Attributes:
        kind: "impure", "random", "effect" or "access".
        what: It does, in words.
        name: Of what was called.
    """

    kind: str
    what: str
    name: str


def package(module: str | None) -> str:
    """The first part of a module's name."""
    return (module or "").partition(".")[0]


def is_users(module: str | None) -> bool:
    """Whether code of a module is looked at while it runs."""
    first = package(module)
    if first in SKIPPED or first.startswith("namedtuple_"):
        return (module or "").startswith(PROGRAMS)
    return True


def is_ours(module: str | None) -> bool:
    """Whether classes of a module are Python's, NumPy's or dualflow's own."""
    return package(module) in ("builtins", "numpy", "dualflow")


def is_library(module: str | None) -> bool:
    """Whether a module is of the standard library, so that nobody replaces its functions."""
    return package(module) in LIBRARY


def touches_files(code: CodeType, module: str | None) -> bool:
    """Whether it is a function of NumPy that reads or writes files."""
    return code.co_name in NUMPY_FILES and package(module) == "numpy"


def looks_up(code: CodeType, module: str | None) -> bool:
    """Whether it is part of how `inspect` finds one attribute without running code for it.

    Protocols ask so for theirs, from Python 3.12 on. It goes through whole dicts of classes.
    """
    return module == "inspect" and code.co_name in LOOKING_UP


def tells_stacks(code: CodeType, module: str | None) -> bool:
    """Whether it is a function of the library that tells by whom it was called."""
    return module in TELLING and "f_back" in code.co_names


def impure(function: Any) -> Impure | None:
    """Why a call of C code cannot be repeated, None if it can."""
    name = function.__name__
    owner = getattr(function, "__self__", None)
    if owner is None or isinstance(owner, ModuleType):
        module = function.__module__ or getattr(owner, "__name__", None) or "builtins"
    else:
        module = defining_class(owner if isinstance(owner, type) else type(owner), name).__module__
    if name in IMPURE and module in IMPURE_OWNERS:
        return Impure(*IMPURE[name], name)
    for known in (module, package(module)):
        if known in MODULES:
            return Impure(*MODULES[known], f"{package(module)}.{name}")
    if package(module) in PURE and (module != "sys" or name in SAME):
        return None
    return Impure("access", "calls C code whose state nobody can see", f"{module}.{name}")


def defining_class(cls: type, name: str) -> type:
    """The class among the bases of `cls` that has the attribute."""
    return next((base for base in cls.__mro__ if name in base.__dict__), cls)
