"""Symbolic dimensions: integer polynomials over named sizes, and a prover that guesses from hints.

A `Dim` stands where an `int` may stand: in shapes, attrs and index maps. Arithmetic simplifies by
rules that hold for all integers, and a result that is constant is a plain `int`. Questions (`==`,
`<`, `bool`) go to the prover, which knows the range of each symbol. Where it cannot tell, the
answer comes from the hints (the values seen) and is recorded as a `Guess`, to be checked again
before each later use.
"""

from __future__ import annotations

from jit.dims.algebra import Atom, Dim, Extent, Symbol, same, symbol
from jit.dims.binding import evaluate, free_symbols, hint, rewrite, solve, substitute
from jit.dims.guesses import Guess, allowing_guesses, guessing, note, recording_guesses
from jit.dims.ranges import bounds, decide
from jit.dims.text import parse

__all__ = [
    "Atom",
    "Dim",
    "Extent",
    "Guess",
    "Symbol",
    "allowing_guesses",
    "bounds",
    "decide",
    "evaluate",
    "free_symbols",
    "guessing",
    "hint",
    "note",
    "parse",
    "recording_guesses",
    "rewrite",
    "same",
    "solve",
    "substitute",
    "symbol",
]
