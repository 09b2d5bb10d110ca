"""Guesses: answers from hints where the prover could not tell, recorded to be checked again."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from jit.dataclass import dataclass
from jit.errors import TraceError

if TYPE_CHECKING:
    from jit.dims.algebra import Extent

RELATIONS = {"==": operator.eq, "<": operator.lt, "<=": operator.le}

_sink: ContextVar[list[Guess] | None] = ContextVar("dimension_guesses", default=None)


@dataclass(frozen=True, eq=False)
class Guess:
    """`left relation right` was answered by `answer`; the relation is one of RELATIONS."""

    left: Extent
    relation: str
    right: Extent
    answer: bool

    @property
    def text(self) -> str:
        """The question, as in `n%4 == 0`."""
        return f"{self.left} {self.relation} {self.right}"

    def __str__(self) -> str:
        return self.text if self.answer else f"not {self.text}"

    def holds(self, binding: Mapping[str, int]) -> bool:
        """Whether the answer is right for these values of the symbols."""
        sides = [x if isinstance(x, int) else x.evaluate(binding) for x in (self.left, self.right)]
        return RELATIONS[self.relation](*sides) == self.answer


@contextmanager
def recording_guesses(sink: list[Guess]) -> Iterator[list[Guess]]:
    """Allow guesses within the block; each is appended to `sink`, once."""
    token = _sink.set(sink)
    try:
        yield sink
    finally:
        _sink.reset(token)


@contextmanager
def allowing_guesses() -> Iterator[None]:
    """Allow guesses within the block: those who record them do so, else they are forgotten."""
    if _sink.get() is not None:
        yield
    else:
        with recording_guesses([]):
            yield


def guess(left: Extent, relation: str, right: Extent) -> bool:
    """The answer that the hints give, recorded.

    Raises:
        TraceError: A symbol has no hint, or nobody records guesses here.
    """
    question = f"{left} {relation} {right}"
    sink = _sink.get()
    if sink is None:
        raise TraceError(
            f"whether {question} is not known for every size",
            "a question with one answer for all sizes, where nobody records guesses",
            "declare this extent as a number where the shape is given",
        )
    for known in sink:
        if known.text == question:
            return known.answer
    a, b = (x if isinstance(x, int) else hinted(x, question) for x in (left, right))
    answer = bool(RELATIONS[relation](a, b))
    sink.append(Guess(left, relation, right, answer))
    return answer


def note(made: Guess) -> None:
    """Records, as if it was asked here, what was guessed of the same question before."""
    sink = _sink.get()
    if sink is not None and all(known.text != made.text for known in sink):
        sink.append(made)


def guessing() -> bool:
    """Whether guesses are recorded here, as for a call of which the extents are known."""
    return _sink.get() is not None


def hinted(dim: Extent, question: str) -> int:
    """`dim` at the hints of its symbols, which `question` needs to know."""
    if isinstance(dim, int):
        return dim
    for s in dim.symbols():
        if s.hint is None:
            raise TraceError(
                f"the size of dimension {s} is not known, and {question} depends on it",
                "a question with one answer for all sizes, or a dimension with a hint",
                f"make {s} static, or give it a hint: symbol({s.name!r}, hint=...)",
            )
    return dim.evaluate({s.name: s.hint for s in dim.symbols()})
