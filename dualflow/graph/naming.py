"""What people call the Variables that a function reads: the names that its code has for them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

from dualflow.core.variable import Variable


def names_of(function: Callable[..., Any]) -> dict[Variable, str]:
    """A name for each Variable that a function can name, the first one that is found.

    Args:
        function: A function, a method of a module, or a module; `net.weight` is the name of a
            parameter that the function reaches as such, `weight` that of its own.
    """
    found: dict[Variable, str] = {}
    for name, value in [*own_parts(function), *around(function)]:
        for variable, path in variables_in(value, name):
            found.setdefault(variable, path)
    return found


def own_parts(function: Callable[..., Any]) -> Iterator[tuple[str, Any]]:
    """The module that a function is, or is a method of."""
    for owner in (function, getattr(function, "__self__", None)):
        if hasattr(owner, "named_parameters"):
            yield "", owner


def around(function: Callable[..., Any]) -> Iterator[tuple[str, Any]]:
    """What a function's code names: variables of functions around it, and globals."""
    python = inspect.unwrap(getattr(function, "__func__", function))
    if inspect.isfunction(python):
        held = inspect.getclosurevars(python)
        yield from {**held.globals, **held.nonlocals}.items()


def variables_in(value: Any, name: str) -> Iterator[tuple[Variable, str]]:
    """Variables with their names: one, those of a module, or those in a list or dict."""
    if isinstance(value, Variable):
        yield value, name
    elif hasattr(value, "named_parameters"):
        for path, variable in (*value.named_parameters(), *value.named_buffers()):
            yield variable, f"{name}.{path}" if name else path
    elif isinstance(value, dict | list | tuple):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, part in pairs:
            if isinstance(part, Variable):
                yield part, f"{name}.{key}"


def identifier(name: str, taken: set[str]) -> str:
    """A name that Python takes, with a number where it is taken."""
    plain = re.sub(r"\W", "_", name)
    plain = f"_{plain}" if plain[:1].isdigit() else plain
    found, number = plain, 0
    while found in taken:
        number += 1
        found = f"{plain}_{number}"
    taken.add(found)
    return found
