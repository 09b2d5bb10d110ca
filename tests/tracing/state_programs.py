"""Programs that read Python state, each with changes of it, for `test_python_state`.

In the text files a program stands below its name, and defines `f(x)`. Each `->` is a change of the
state, a line of Python in the program's module. Those in `effect_programs.txt` change state that
outlives the call, and say by `state()` how it is; so do those in `ledger_programs.txt`, which a
graph can replay. Those in `quiet_programs.txt` do nothing that needs a second recording.
"""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import dualflow as df


def read(name: str) -> dict[str, str]:
    """The programs in a file, by their names."""
    text = (Path(__file__).parent / name).read_text()
    found = re.findall(r"^## (.+)\n((?:(?!## ).*\n)*)", text, re.MULTILINE)
    return {name: body.rstrip() for name, body in found}


SOURCES, EFFECTS, LEDGER, QUIET = map(
    read,
    ("state_programs.txt", "effect_programs.txt", "ledger_programs.txt", "quiet_programs.txt"),
)


class Program(NamedTuple):
    """A function of a tensor, and changes of what it reads."""

    function: Callable[[Any], Any]
    changes: list[Callable[[], None]]
    scope: dict[str, Any]


def program(source: str) -> Program:
    """The program with this source, in a module of its own."""
    code, *changes = re.split(r"^-> ", source, flags=re.MULTILINE)
    module = sys.modules["users_module"] = types.ModuleType("users_module")
    scope = module.__dict__
    scope.update(df=df, np=np)
    exec(compile(code, "users_module.py", "exec"), scope)
    return Program(scope["f"], [partial(exec, change, scope) for change in changes], scope)
