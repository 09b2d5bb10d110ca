"""Texts: f-strings of tensors that are printed or logged, for later calls to make anew.

What `{loss:.3f}` gives is text, and nobody can tell what becomes of it, but for one case: the
bytecode says that it becomes part of an f-string, which is an argument of a call; and then `print`,
or a method of a logger, is called there. Text that went elsewhere is a value that left for Python.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any

from dualflow.core.source import line_of
from dualflow.tracing.guards.bytecode import listing
from dualflow.tracing.guards.stack import use_of
from jit.dataclass import dataclass

SHOWN = "!r"  # instead of a format: `{x!r}`, `{x!s}` and `{x=}` show a value as it is
FORMATTED, CONVERTED = (0, 4), (1, 2)  # without and with a format; by `!s` and `!r`


@dataclass(frozen=True, slots=True, eq=False)
class Pending:
    """Text of which nobody knows yet what becomes of it.

    Attributes:
        frame: Of the code that made it.
        number: Of the instruction that made it.
        whole: Of the instruction that makes the f-string of it, or of itself where it is all.
        call: The number of the call that is given this.
        position: Which argument that is.
        given: The tensor or number.
        spec: How it is written.
        text: What it gave.
        line: The user's line.
    """

    frame: FrameType
    number: int
    whole: int
    call: int
    position: int
    given: Any
    spec: str
    text: str
    line: str


@dataclass(frozen=True, slots=True)
class Form:
    """An f-string with tensors or numbers that later calls put in.

    Attributes:
        parts: Texts, and formats in the places of what is given.
        given: What this call has put in.
    """

    parts: Sequence[str | tuple[str]]
    given: tuple[Any, ...]

    def text(self, given: Sequence[Any]) -> str:
        """The string with these values."""
        rest = iter(given)
        return "".join([x if isinstance(x, str) else format(next(rest), *x) for x in self.parts])


class Texts:
    """The texts of one recording."""

    def __init__(self) -> None:
        self._pending: list[Pending] = []

    def note(self, frame: FrameType | None, x: Any, spec: str, text: str) -> bool:
        """Notes that a tensor or number was made text; whether that may be printed only.

        Args:
            frame: Of the user's code that runs.
            x: The tensor or number.
            spec: The format, or SHOWN.
            text: The text.
        """
        kinds = CONVERTED if spec == SHOWN else FORMATTED
        found = None if frame is None else destination(frame, kinds)
        if frame is not None and found is not None:
            spec = "" if spec == SHOWN else spec
            self._pending.append(Pending(frame, *found, x, spec, text, line_of(frame)))
        return found is not None

    def taken(self, frame: FrameType | None, values: Sequence[Any]) -> tuple[Any, ...]:
        """The arguments of a call that prints or logs, with a Form for each noted f-string.

        Args:
            frame: Of the code that calls.
            values: What it gives by position.
        """
        if frame is None or not self._pending:
            return tuple(values)
        number = running(frame)
        mine = [p for p in self._pending if p.frame is frame and p.call == number]
        forms: dict[int, Form] = {}
        for position in {p.position for p in mine if p.position < len(values)}:
            parts = sorted((p for p in mine if p.position == position), key=lambda p: p.number)
            form = form_of(frame, parts, values[position])
            if form is not None:
                forms[position] = form
                self._pending = [p for p in self._pending if p not in parts]
        return tuple([forms.get(k, x) for k, x in enumerate(values)])

    def lost(self) -> Iterator[tuple[Any, str]]:
        """The tensors and numbers whose texts went elsewhere, each with the line."""
        return ((p.given, p.line) for p in self._pending)

    def clear(self) -> None:
        """Lets go of frames."""
        self._pending.clear()


def destination(
    frame: FrameType, kinds: tuple[int, ...] = FORMATTED
) -> tuple[int, int, int, int] | None:
    """Where the text goes that a frame is making; None: nobody knows.

    Args:
        frame: The frame.
        kinds: How it may make text of a value.

    Returns:
        The numbers of the instructions that make it, that make the f-string of it, and that call
        what is given this; and as which argument.
    """
    code, number = listing(frame.f_code), running(frame)
    if code[number].opname != "FORMAT_VALUE" or code[number].arg not in kinds:
        return None
    whole, use = number, use_of(code, number)
    if use is not None and use.instruction.opname == "BUILD_STRING":
        whole, use = use.number, use_of(code, use.number)
    if use is None or use.instruction.opname != "CALL":
        return None
    position = (use.instruction.arg or 0) - 1 - len(use.above)
    return (number, whole, use.number, position) if position >= 0 else None


def running(frame: FrameType) -> int:
    """The number of the instruction that a frame is at, whose caches may follow it."""
    code = listing(frame.f_code)
    return bisect_right(code, frame.f_lasti, key=lambda x: x.offset) - 1


def form_of(frame: FrameType, pending: Sequence[Pending], text: Any) -> Form | None:
    """The f-string as later calls make it; None if the text may have been made in other ways.

    Args:
        frame: Of the code that made it.
        pending: What was put in, in order.
        text: What came out.
    """
    known = {p.number: p for p in pending}
    whole = pending[0].whole
    if type(text) is not str or any(p.whole != whole for p in pending):
        return None
    given = tuple([p.given for p in pending])
    if whole in known:
        return Form([(pending[0].spec,)], given) if text == pending[0].text else None
    code, pattern, formats = listing(frame.f_code), "", list[tuple[str]]()
    for number, x in enumerate(code[:whole]):
        if x.opname not in ("LOAD_CONST", "FORMAT_VALUE"):
            continue
        use = use_of(code, number)
        if use is None or use.number != whole:
            continue
        if number in known:
            pattern += f"({re.escape(known[number].text)})"
            formats.append((known[number].spec,))
        else:
            pattern += re.escape(x.argval) if x.opname == "LOAD_CONST" else ".*"
    first, last = (
        re.fullmatch(pattern.replace(".*", some), text, re.DOTALL) for some in (".*?", ".*")
    )
    if first is None or last is None or first.regs != last.regs or len(formats) != len(pending):
        return None
    return Form([*between(text, first.regs[1:], formats)], given)


def between(
    text: str, spans: Sequence[tuple[int, int]], formats: Sequence[tuple[str]]
) -> Iterator[str | tuple[str]]:
    """A text with formats in the places of some of it."""
    start = 0
    for (first, end), spec in zip(spans, formats, strict=True):
        yield text[start:first]
        yield spec
        start = end
    yield text[start:]


def opened(values: Any) -> Any:
    """Values with what forms are given in the place of these."""
    return tuple([x.given if type(x) is Form else x for x in values])


def filled(values: Any, forms: Sequence[Any]) -> Any:
    """Values with texts in the places of forms."""
    return tuple(
        [form.text(x) if type(form) is Form else x for x, form in zip(values, forms, strict=True)]
    )
