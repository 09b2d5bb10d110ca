"""The public functions by name, and the way into the set for whoever defines one.

`core` reaches ops through these names only, so that it never imports them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from dualflow import names

functions: dict[str, Callable[..., Any]] = {}


def api(function: Callable[..., Any]) -> Callable[..., Any]:
    """Registers a public function: for Tensor's methods, NumPy's protocols and the docs."""
    functions[function.__name__] = function
    return function


def refused(name: str, foreign: Iterable[str]) -> TypeError:
    """The error of keyword arguments that a function does not take; it names ours for theirs.

    Python's own message cannot be changed from outside, and a wrapper costs 80 ns or more. So
    functions with words that others call differently end in `**foreign: Never`, which costs 20.
    """
    return TypeError(names.wrong_words(name, foreign))
