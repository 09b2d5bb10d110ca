"""Dimensions as text: `str(dim)` and `parse`, inverse to each other over the same symbols.

Grammar, with parentheses where needed::

    dim  ::= ["-"] term (("+" | "-") term)*
    term ::= [int "*"] atom ("*" atom)* | int
    atom ::= name | name "**" int | dim "//" dim | dim "%" dim
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from jit.errors import GraphError

if TYPE_CHECKING:
    from jit.dims.algebra import Atom, Dim, Extent
    from jit.dims.terms import Monomial

OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
}


def format_dim(dim: Dim) -> str:
    """Highest degree first, then by name; the constant last."""
    ordered = list(dim.terms.items())
    if len(ordered) > 1:
        ordered.sort(key=lambda item: _print_key(item[0]))
    text = ""
    for m, c in ordered:
        sign = ("-" if c < 0 else "") if not text else (" - " if c < 0 else " + ")
        text += sign + _term(m, abs(c), alone=c == 1 or (c == -1 and text != ""))
    return text


def operand(x: Extent) -> str:
    """An operand of // or %: in parentheses unless it is a number or a name."""
    text = str(x)
    return text if text.isidentifier() or text.isdigit() else f"({text})"


def _print_key(m: Monomial) -> tuple[int, str]:
    return -sum(p for _, p in m), "*".join(sorted(map(str, dict(m))))


def _term(m: Monomial, c: int, *, alone: bool) -> str:
    if not m:
        return str(c)
    parts = sorted((_power(atom, p, alone=alone and len(m) == 1) for atom, p in m), key=str)
    return "*".join(parts if c == 1 else [str(c), *parts])


def _power(atom: Atom, p: int, *, alone: bool) -> str:
    text = str(atom)
    if p == 1 and (alone or atom.tight):
        return text
    text = text if atom.tight else f"({text})"
    return text if p == 1 else f"{text}**{p}"


def parse(text: str, scope: Mapping[str, Extent]) -> Extent:
    """The dimension that `text` writes.

    Args:
        text: For example `2*n + 1`, `n//4`, `(n + 1)%3`, `n*m`.
        scope: The dimension for each name.

    Raises:
        GraphError: The text is no dimension, or a name is not in `scope`.
    """
    try:
        return _read(ast.parse(text.strip(), mode="eval").body, text, scope)
    except SyntaxError:
        raise _unreadable(text) from None


def _read(node: ast.AST, text: str, scope: Mapping[str, Extent]) -> Extent:
    match node:
        case ast.Constant(value=int(value)) if not isinstance(value, bool):
            return value
        case ast.Name(id=name):
            if name not in scope:
                known = ", ".join(scope) or "none"
                raise GraphError(f"no dimension is called {name!r} in {text!r}", f"one of: {known}")
            return scope[name]
        case ast.UnaryOp(op=op, operand=x) if type(op) in OPERATORS:
            return OPERATORS[type(op)](_read(x, text, scope))
        case ast.BinOp(left=a, op=op, right=b) if type(op) in OPERATORS:
            return OPERATORS[type(op)](_read(a, text, scope), _read(b, text, scope))
    raise _unreadable(text)


def _unreadable(text: str) -> GraphError:
    return GraphError(f"{text!r} is not a dimension", "names and integers with + - * // % **")
