"""Addresses in loops: what of an index does not change is added to the pointer before the loop.

    for k ..: x = load A[row * 100 + k]   ->   p = A + row * 100; for k ..: x = load p[k]

LLVM has a pass for this, loop strength reduction, which takes a third of the time of its code
generator; here the loops are known.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from jit.loops.ir import INDEX, Let, Lit, Operand, Var

MOST = 12  # terms of an index that are told apart


class Addresses:
    """What is known of indices and of the loops around the line that is written.

    Attributes:
        depth: Variable -> how many loops are around the line that makes it.
    """

    def __init__(self) -> None:
        self.depth: dict[Operand, int] = {}
        self._sums: dict[Operand, tuple[Operand, ...]] = {}
        self._before: list[list[str]] = []  # the lines right before each open loop
        self._chosen: dict[str, int] = {}  # in how many loops
        self._made: list[dict[tuple[str, Operand], str]] = []  # and the pointers made there

    @contextmanager
    def loop(self, before: list[str]) -> Iterator[None]:
        """A `with` block in a loop; `before` takes lines that run before it."""
        self._before.append(before)
        self._made.append({})
        yield
        self._before.pop()
        self._made.pop()

    def define(self, var: Var) -> None:
        """A variable is made here."""
        self.depth[var] = len(self._before)

    def chosen(self, pointer: str) -> None:
        """A pointer is made here, where others are there from the start."""
        self._chosen[pointer] = len(self._before)

    def note(self, let: Let) -> None:
        """An instruction: sums of indices are remembered."""
        if let.op == "add" and let.var.type == INDEX:
            self._sums[let.var] = let.args

    def split(self, index: Operand, pointer: str) -> tuple[list[Operand], list[Operand]]:
        """The terms of an index that were there before the innermost loop, and the others.

        All of it is one of the others where that would gain nothing.
        """
        terms = self._terms(index)
        here = len(self._before)
        if self._chosen.get(pointer, 0) >= here:
            return [], [index]
        early = [x for x in terms if not isinstance(x, Lit) and self.depth.get(x, 0) < here]
        late = [x for x in terms if isinstance(x, Lit) or self.depth.get(x, 0) >= here]
        if not early or not any(not isinstance(x, Lit) for x in late) or len(terms) > MOST:
            return [], [index]
        late.sort(key=lambda x: isinstance(x, Lit))  # a number at last is part of the access
        return sorted(early, key=lambda x: self.depth.get(x, 0)), late

    def _terms(self, x: Operand) -> list[Operand]:
        if isinstance(x, Var) and self.depth.get(x, 0) >= len(self._before) and x in self._sums:
            return [term for arg in self._sums[x] for term in self._terms(arg)]
        return [x]

    def moved(self, pointer: str, term: Operand, name: str, spelled: str, type_: str) -> str:
        """A pointer moved by a term, before the outermost loop in which that is possible.

        Args:
            pointer: From where.
            term: By how much.
            name: Of the new pointer, if there is none yet.
            spelled: The term in LLVM's words.
            type_: Of the elements.
        """
        at = max(self.depth.get(term, 0), self._chosen.get(pointer, 0))
        for made in self._made[at:]:
            if (pointer, term) in made:
                return made[pointer, term]
        self._before[at].append(f"{name} = getelementptr {type_}, ptr {pointer}, i64 {spelled}")
        self._made[at][pointer, term] = name
        self._chosen[name] = at
        return name
