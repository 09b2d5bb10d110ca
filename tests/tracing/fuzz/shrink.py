"""Leaves out of a program whatever a difference between its modes does not need."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from tests.tracing.fuzz.writer import CALLS

BODIES = ("body", "orelse", "finalbody", "handlers")
Edit = Callable[[Any], None]  # of a node, in place


def shrunk(text: str, fails: Callable[[str], bool], most: int = 600) -> str:
    """The smallest program found that still fails.

    Args:
        text: A program that fails.
        fails: Whether another one does.
        most: How many programs are tried.
    """
    start = 0
    while True:
        done = True
        for k, candidate in enumerate(variants(text)):
            if k < start:
                continue
            most -= 1
            if most < 0:
                return text
            if fails(candidate):
                text, start, done = candidate, k, False
                break
        if done and not start:
            return text
        start = 0 if done else start


def variants(text: str) -> Iterator[str]:
    """Programs with a little less: first without some statements, then with simpler expressions."""
    parts: list[Any] = [ast.parse(part) for part in text.split(CALLS)]
    tree: Any = ast.Module(parts, [])
    for edits in (without_statements, with_simpler_expressions):
        for number, node in enumerate(ast.walk(tree)):
            for edit in edits(node):
                other = copy.deepcopy(tree)
                edit(list(ast.walk(other))[number])
                candidate = f"\n\n{CALLS}\n".join(ast.unparse(part) for part in other.body) + "\n"
                if candidate != text:
                    yield candidate


def without_statements(node: Any) -> Iterator[Edit]:
    """Drops statements, many at once at first; puts what is inside of one in its place."""
    for name in BODIES:
        held = getattr(node, name, None) or []
        if not isinstance(held, list):  # of a lambda
            return
        count = len(held)
        if count and isinstance(held[0], ast.Module):
            return
        size = count
        while size:
            for start in range(0, count, size):
                yield partial(drop, name, start, size)
            size //= 2
        for k in range(count):
            if any(getattr(held[k], inside, None) for inside in BODIES):
                yield partial(lift, name, k)


def drop(name: str, start: int, size: int, node: Any) -> None:
    """Drops statements from one of a node's lists."""
    statements = getattr(node, name)
    del statements[start : start + size]
    if not statements and name == "body" and not isinstance(node, ast.Module):
        statements.append(ast.Pass())


def lift(name: str, k: int, node: Any) -> None:
    """Puts the statements inside of one in its place."""
    statements = getattr(node, name)
    inside = [x for each in BODIES for x in getattr(statements[k], each, [])]
    statements[k : k + 1] = [x for x in inside if isinstance(x, ast.stmt)]


def with_simpler_expressions(node: Any) -> Iterator[Edit]:
    """Puts a part of an expression in its place."""
    for name, value in ast.iter_fields(node):
        places = enumerate(value) if isinstance(value, list) else [(None, value)]
        for k, x in places:
            if isinstance(x, ast.expr):
                parts = [part for part in ast.walk(x) if isinstance(part, ast.expr)][1:]
                for number in range(len(parts)):
                    yield partial(replace, name, k, number + 1)


def replace(name: str, k: int | None, number: int, node: Any) -> None:
    """Puts the part with a number in the place of an expression."""
    value = getattr(node, name)
    whole = value if k is None else value[k]
    part = [x for x in ast.walk(whole) if isinstance(x, ast.expr)][number]
    if k is None:
        setattr(node, name, part)
    else:
        value[k] = part
