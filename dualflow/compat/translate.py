"""How a foreign namespace is made: names from the table, words translated, hints for the rest."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce, wraps
from importlib import import_module
from typing import Any

import dualflow as df
from dualflow import names


def ours(foreign: str) -> Any:
    """What the table of names puts in the place of a foreign function, `reduce_sum` -> `df.sum`."""
    path = names.index(names.FUNCTIONS)[foreign].ours.partition("(")[0]
    return reduce(getattr, path.split(".")[1:], df)


def translated(function: Callable[..., Any], framework: str) -> Callable[..., Any]:
    """`function`, which also understands a framework's argument words: `dim=` for `axis=`."""
    words = {
        foreign: row.ours.rstrip("=")
        for row in names.rows(names.WORDS)
        if framework in row.frameworks and row.ours.endswith("=")
        for foreign in row.foreign
    }

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **{words.get(word, word): x for word, x in kwargs.items()})

    return call


def namespace(framework: str, same: str, renamed: str = "") -> dict[str, Callable[..., Any]]:
    """Functions for a foreign module.

    Args:
        framework: Whose words they understand.
        same: Names that mean the same in dualflow.
        renamed: Names that the table translates.
    """
    found = {name: getattr(df, name) for name in same.split()}
    found |= {name: ours(name) for name in renamed.split()}
    return {name: translated(function, framework) for name, function in found.items()}


def hints(module: str, later: dict[str, str] | None = None) -> Callable[[str], Any]:
    """The `__getattr__` of a foreign module: every name that comes here is missing.

    Args:
        module: Its name within `dualflow.compat`.
        later: What is known to be missing -> what to do instead.
    """

    def missing(name: str) -> Any:
        known = (later or {}).get(name)
        if known is not None:
            raise AttributeError(f"dualflow.compat.{module} has no {name}: {known}")
        row = names.index(names.FUNCTIONS).get(name)
        if row is not None:
            hint = names.hint(row)
        elif hasattr(df, name):
            hint = f"df.{name} may be what you want"
        else:
            hint = "see docs/names.md for what dualflow has"
        raise AttributeError(f"dualflow.compat.{module} has no {name}: {hint}")

    return missing


def mirror(module: str, target: str, framework: str | None = None) -> Callable[[str], Any]:
    """The `__getattr__` of a foreign module that shows the public names of one of ours.

    Args:
        module: Its name within `dualflow.compat`.
        target: The name of ours within `dualflow`, loaded when the first name is asked for.
        framework: Whose words its functions shall understand as well.
    """
    missing = hints(module)

    def shown(name: str) -> Any:
        public = import_module(f"dualflow.{target}")
        if name not in public.__all__:
            return missing(name)
        value = getattr(public, name)
        return value if framework is None else translated(value, framework)

    return shown
