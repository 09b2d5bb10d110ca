"""Parameters: which argument is meant, whether it came by position or by keyword."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from types import CodeType, FunctionType, MethodType
from typing import Any

from dualflow.core import tree
from dualflow.core.source import line_in
from dualflow.core.tensor import Tensor
from dualflow.tracing.decorated import named
from dualflow.tracing.guards.bytecode import names_of
from dualflow.tracing.signature import Call

LEAF_PATH = re.compile(r"\[([01])\]\[('[^']*'|\d+)\](.*)", re.DOTALL)  # of (args, kwargs)
DEPTH = 4  # of functions that functions name

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def names_by_place(python: Callable[..., Any]) -> tuple[str, ...]:
    """The parameters that may come by position or by keyword, where Python itself is called."""
    skipped = 0
    if isinstance(python, MethodType):
        python, skipped = python.__func__, 1
    if not isinstance(python, FunctionType):
        return ()
    code = python.__code__
    if code.co_posonlyargcount > skipped:
        return ()
    return code.co_varnames[skipped : code.co_argcount]


def by_place(names: tuple[str, ...], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
    """Arguments with those by position that could be so: `f(x, k=2)` is the call `f(x, 2)`."""
    count = len(args)
    while count < len(names) and names[count] in kwargs:
        count += 1
    if count == len(args):
        return args, kwargs
    moved = names[len(args) : count]
    rest = {name: x for name, x in kwargs.items() if name not in moved}
    return (*args, *[kwargs[name] for name in moved]), rest


def leaf_names(python: Callable[..., Any], call: Call) -> list[str]:
    """Each leaf of the arguments under its parameter's name, as in `batch['x']`, for messages."""
    try:
        parameters = list(inspect.signature(python).parameters.values())
    except (TypeError, ValueError):  # written in C
        parameters = []
    named = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    rest = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), "args")

    def name(path: str) -> str:
        which, first, inner = LEAF_PATH.fullmatch(path).groups()  # type: ignore[union-attr]
        if which == "1":
            return first.strip("'") + inner
        k = int(first)
        return (named[k] if k < len(named) else f"{rest}[{k - len(named)}]") + inner

    return [name(path) for path in tree.leaf_paths(tree.unflatten(call.spec, call.leaves))]


def code_of(python: Callable[..., Any]) -> CodeType | None:
    """The code of a function or method; other objects have none."""
    return getattr(inspect.unwrap(getattr(python, "__func__", python)), "__code__", None)


def defined_at(python: Callable[..., Any]) -> str:
    """File and line of a function, or the kind of object that it is."""
    code = code_of(python)
    if code is None:
        return f"a {type(python).__name__}"
    return line_in(code.co_filename, code.co_firstlineno)


def describe(call: Call, names: list[str]) -> str:
    """The signature in a few words."""
    parts = [str(x.type) if isinstance(x, Tensor) else repr(x)[:20] for x in call.leaves]
    return ", ".join(f"{n} {p}" for n, p in zip(names, parts, strict=False))


def asks_types(python: Any, depth: int = DEPTH) -> bool:
    """Whether a function, or one that it names, may call `type` to tell a Number from an int.

    `isinstance` does not.
    """
    python = getattr(python, "__func__", python)
    python = getattr(python, "func", python)  # of a partial
    if not isinstance(python, FunctionType):
        python = vars(type(python)).get("__call__")
        if not isinstance(python, FunctionType):
            return False
    if (python.__module__ or "").partition(".")[0] in ("dualflow", "jit", "numpy"):
        return False
    if any(names_of(code).types for code in codes_in(python.__code__)):
        return True
    return depth > 0 and any(
        asks_types(x, depth - 1)
        for x in named(python)[1:]
        if isinstance(x, FunctionType | MethodType)
    )


def codes_in(code: CodeType) -> list[CodeType]:
    """A code object and those of the functions that it makes."""
    inner = [c for x in code.co_consts if isinstance(x, CodeType) for c in codes_in(x)]
    return [code, *inner]
