"""Every JIT_* environment variable, in one typed table that a `with` can change for a while.

    JIT_DEBUG=n        the ladder: each level prints what it says and everything below it
                       1 recordings with the argument to blame, compilations, what the cache missed
                       2 passes and kernels, with their times
                       3 the Graph, and again after each pass that changes it
                       4 forms, launches, and the loops of each kernel, as stated and as scheduled
                       5 LLVM IR
                       6 assembly
    JIT_DUMP=dir       write each stage into a folder as well
    JIT_CHECK=1        verify the Graph around each pass (the tests do; it doubles compile time)
    JIT_PASSES_OFF=a,b leave these passes out
    JIT_TARGET=target  what graphs are compiled for: `cpu`, or `interpreter`: NumPy runs everything
    JIT_CACHE=dir      keep compiled kernels here; `on`: in the user's cache folder; `off`: nowhere
    JIT_PRECISION=p    in what a GPU multiplies matrices of float32: `float32`, or `tf32`, which
                       keeps 10 of their 23 bits and is several times as fast
    JIT_TIMING=0       take the first algorithm that a library proposes, do not time the others
    JIT_AUTOTUNE=1     time some schedules of each product on this processor, and keep the fastest

The environment is read once, at import. `with configure(debug=3):` holds for the current thread (or
task) and ends with the block.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import field, fields, replace
from pathlib import Path
from typing import Any

from jit.dataclass import dataclass

DEBUG_LEVELS = range(7)
CACHE_SWITCH = ("on", "off")
TARGETS = ("cpu", "interpreter")
PRECISIONS = ("float32", "tf32")


def switch(text: str) -> bool:
    """`0` or `1` as a bool."""
    return {"0": False, "1": True}[text]


def names(text: str) -> frozenset[str]:
    """A comma-separated list as a set of names."""
    return frozenset(name.strip() for name in text.split(",")) - {""}


def place(text: str) -> Path | str:
    """`on` or `off` as they are, anything else as a folder."""
    return text if text in CACHE_SWITCH else Path(text)


def variable(name: str, read: Callable[[str], Any], expected: str) -> dict[str, Any]:
    """The environment variable of a field: its name, how its text is read, what it should hold."""
    return {"name": name, "read": read, "expected": expected}


@dataclass(frozen=True, kw_only=True)
class Config:
    """The settings of the compiler; the module's docstring says what each one does."""

    debug: int = field(default=0, metadata=variable("JIT_DEBUG", int, "a level from 0 to 6"))
    dump: Path | None = field(default=None, metadata=variable("JIT_DUMP", Path, "a folder"))
    check: bool = field(default=False, metadata=variable("JIT_CHECK", switch, "0 or 1"))
    passes_off: frozenset[str] = field(
        default=frozenset(),
        metadata=variable("JIT_PASSES_OFF", names, "names of passes, separated by commas"),
    )
    cache: Path | str = field(
        default="on", metadata=variable("JIT_CACHE", place, "a folder, or on or off")
    )
    target: str = field(default="cpu", metadata=variable("JIT_TARGET", str, " or ".join(TARGETS)))
    precision: str = field(
        default="float32", metadata=variable("JIT_PRECISION", str, " or ".join(PRECISIONS))
    )
    timing: bool = field(default=True, metadata=variable("JIT_TIMING", switch, "0 or 1"))
    autotune: bool = field(default=False, metadata=variable("JIT_AUTOTUNE", switch, "0 or 1"))

    def __post_init__(self) -> None:
        if self.debug not in DEBUG_LEVELS:
            raise ValueError(f"debug (={self.debug}) must be a level from 0 to 6")
        if not isinstance(self.cache, Path) and self.cache not in CACHE_SWITCH:
            raise ValueError(f"cache (={self.cache!r}) must be a folder (a Path), 'on' or 'off'")
        if self.target not in TARGETS:
            raise ValueError(f"target (={self.target!r}) must be {' or '.join(TARGETS)}")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision (={self.precision!r}) must be {' or '.join(PRECISIONS)}")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Config:
        """The settings that `environment` asks for; a variable that is unset or empty says nothing.

        Raises:
            ValueError: A variable cannot be read; the message names it and what was expected.
        """
        config = cls()
        for entry in fields(cls):
            text = environment.get(entry.metadata["name"], "").strip()
            if not text:
                continue
            try:
                config = replace(config, **{entry.name: entry.metadata["read"](text)})
            except (KeyError, ValueError):
                name, expected = entry.metadata["name"], entry.metadata["expected"]
                raise ValueError(f"{name} (={text!r}) must be {expected}") from None
        return config


at_import = Config.from_environment(os.environ)
scoped: ContextVar[Config] = ContextVar("jit.config", default=at_import)


def config() -> Config:
    """The settings that hold here and now."""
    return scoped.get()


@contextmanager
def configure(**changes: Any) -> Iterator[Config]:
    """Hold other settings inside a `with`.

    Args:
        **changes: Fields of `Config` with their new values.

    Raises:
        TypeError: There is no such setting.
        ValueError: A value is out of its range.

    Example:
        >>> with configure(debug=2, check=False) as inside:
        ...     inside == config()
        True
    """
    with holding(replace(scoped.get(), **changes)):
        yield scoped.get()


@contextmanager
def holding(settings: Config) -> Iterator[None]:
    """Hold these settings inside a `with`."""
    token = scoped.set(settings)
    try:
        yield
    finally:
        scoped.reset(token)
