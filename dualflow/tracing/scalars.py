"""Scalars: what a recording does with Python numbers that may be others in later calls.

Arithmetic on such numbers is Python's, and stays Python's: it becomes lines of a function, the
*prologue* of a path, which later calls run first. The prologue computes the numbers that the graph
takes as inputs, each converted as eager execution converts it, and those that the call returns. On
its way it checks what Python decided by numbers and extents; where an answer differs it gives up,
and the path is not taken.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from threading import get_ident
from typing import Any

import numpy as np

from dualflow.core.context import context
from dualflow.core.number import ARITHMETIC, COMPARISONS, KINDS, UNARY, Number, value_of
from dualflow.tracing.leftover import counts_of, make_plain
from jit.dims import Dim, Guess

NAME = re.compile(r"\b[ncst]\d+\b")  # of numbers and constants, in lines
EXTENT = re.compile(r"\bd\d+\b")  # in what was guessed
LONGEST = 60  # characters of a number's description
MOST = 5000  # lines of a prologue; what comes later is fixed
NUMBERS = (int, float)
EXACT = frozenset(
    [ARITHMETIC[name] for name in ("add", "sub", "mul", "floordiv", "mod")]
    + [UNARY[name] for name in ("neg", "pos", "trunc", "floor", "ceil")]
    + list(COMPARISONS.values())
)  # what extents do as ints do
Operation = tuple[str, Callable[..., Any]]
Prologue = Callable[[Sequence[Any], Sequence[Any]], "tuple[list[Any], tuple[Any, ...]] | None"]


class Scalars:
    """The numbers of one recording.

    Attributes:
        made: All numbers, for Python may have kept any of them somewhere.
        formats: Is told of numbers that become text.
        guesses: What was guessed of extents that vary.
        why: What was decided or fixed, and where, of numbers and of extents that users read.
    """

    def __init__(
        self,
        where: Callable[[], str | None] = lambda: None,
        formats: Callable[[Number, str, str], bool] = lambda *_: False,
    ) -> None:
        self._thread: int | None = get_ident()
        self.made: list[Number] = []
        self._counts: dict[int, int] = {}
        self.guesses: list[Guess] = []
        self.why: list[str] = []
        self._where = where
        self.formats = formats
        self._lines: list[str] = []
        self._checked: set[str] = set()
        self._scope: dict[str, Any] = {
            "array": np.array,
            "trunc": math.trunc,
            "floor": math.floor,
            "ceil": math.ceil,
        }
        self._labels: dict[str, str] = {}
        self._states: dict[str, str] = {}
        self._roots: list[str] = []
        self._extents: dict[str, tuple[int, int]] = {}
        self._inputs: dict[tuple[str, Any], int] = {}
        self._results: list[str] = []
        self._planted = False

    @property
    def live(self) -> bool:
        """Whether the recording goes on, and this is its thread."""
        return self._thread == get_ident()

    def open(self) -> None:
        """The user's code runs from now on: who keeps one of these numbers then is not we."""
        self._counts = counts_of(self.made)

    def close(self) -> None:
        """The recording is over: its numbers are like their values, and so are those kept."""
        self._thread = None
        make_plain(self.made, self._counts)

    def decided(self) -> list[str]:
        """Everything that later calls must agree with, in words."""
        told = " ".join(self.why)
        lines = [*self.why, *[str(g) for g in self.guesses if str(g) not in told]]
        lines = [EXTENT.sub(lambda m: self._labels.get(m[0], m[0]), line) for line in lines]
        return list(dict.fromkeys(lines))  # each stretch decides by itself

    # ----- where numbers come from -----

    def argument(self, value: float, label: str = "a number") -> Number:
        """A number that is an argument of the call, under what people call it."""
        name = f"n{len(self._roots)}"
        self._roots.append(name)
        self._labels[name] = label
        return self._number(value, name)

    def state(self, value: float, read: Callable[[], Any], label: str) -> Number:
        """A number that Python keeps somewhere, and how each call reads it."""
        name = f"s{len(self._states)}"
        self._states[name] = f"{self._constant(read)}()"
        self._labels[name] = label
        return self._number(value, name)

    @property
    def states(self) -> list[str]:
        """What people call the numbers that Python keeps somewhere."""
        return [self._labels[name] for name in self._states]

    def extent(self, name: str, place: tuple[int, int], label: str) -> None:
        """An extent that varies is found in the shape of a tensor: (argument, axis)."""
        self._extents.setdefault(name, place)
        self._labels.setdefault(name, f"{label}.shape[{place[1]}]")

    @property
    def used(self) -> bool:
        """Whether there are numbers that may vary."""
        return bool(self._roots or self._extents or self._states or self._planted)

    def of_dim(self, dim: int | Dim, value: int) -> int | Number:
        """An extent as Python sees it."""
        return self._number(value, f"({dim})", dim) if isinstance(dim, Dim) else dim

    def vary(self, value: float) -> Number:
        """A number that was plain so far, and may be another one where ways join."""
        name, self._planted = f"t{len(self._lines)}", True
        self._lines.append(f"{name} = {self._constant(value)}")
        self._labels[name] = repr(value)
        return self._number(value, name)

    def begin(self) -> int:
        """Where a stretch begins, which checks by itself all that it relies on: lines so far."""
        self._checked.clear()
        return len(self._lines)

    def _number(self, value: float, name: str, dim: Dim | None = None) -> Number:
        """A number under its name in the prologue."""
        self.made.append(Number(value, self, name, dim))
        return self.made[-1]

    # ----- what becomes of them -----

    def compute(self, operation: Operation, *operands: Any) -> Any:
        """The result of arithmetic, a Number where it may be another one later."""
        text, function = operation
        value = function(*map(value_of, operands))
        if type(value) not in NUMBERS or len(self._lines) > MOST:
            for x in operands:
                self._fix(x)
            return value
        dim = self._of_dims(operation, operands)
        if dim is not None:
            return self.of_dim(dim, value)
        name = f"t{len(self._lines)}"
        self._lines.append(f"{name} = {text.format(*map(self._spelled, operands))}")
        self._labels[name] = f"({text.format(*map(self._told, operands))})"[:LONGEST]
        if operation is ARITHMETIC["pow"]:  # whether it is an int depends on values
            self._lines.append(f"if type({name}) is not {self._constant(type(value))}: return")
        return self._number(value, name)

    def decide(self, operation: Operation, *operands: Any) -> bool:
        """The answer of a comparison."""
        answer = self._of_dims(operation, operands)
        if answer is None:
            text, function = operation
            answer = function(*map(value_of, operands))
            told = text.format(*map(self._told, operands))
            told = told if answer else f"not {told}"
            self._check(text.format(*map(self._spelled, operands)), answer, told)
        return bool(answer)

    def fix(self, number: Number) -> Any:
        """The value, which later calls must have too."""
        if number.number_dim is not None:
            return self._of_dims(("{}", int), (number,))
        value, name = number.number_value, number.number_name
        text = f"{name} == {self._constant(value)}"
        if type(value) is float and (value == 0.0 or value != value):  # 0.0 is not -0.0
            text = f"repr({name}) == {self._constant(repr(value))}"
        self._check(text, answer=True, told=f"the value of {self._told(number)}")
        return value

    def _fix(self, x: Any) -> None:
        if type(x) in KINDS:
            self.fix(x)

    def _of_dims(self, operation: Operation, operands: tuple[Any, ...]) -> Any:
        """The result for extents, as an extent; None where there are others among the operands."""
        exact = operation in EXACT or operation[1] is int
        if not exact or not any(type(x) in KINDS for x in operands):
            return None
        dims = [x.number_dim if type(x) in KINDS else x for x in operands]
        if not all(isinstance(d, Dim) or type(d) is int for d in dims):
            return None
        if operation[0].startswith(("trunc", "floor", "ceil", "+")) and len(dims) == 1:
            return dims[0]
        known = len(self.guesses)
        result = operation[1](*dims)
        self.why += [f"{guess} at {self._where()}" for guess in self.guesses[known:]]
        return result

    def _check(self, text: str, answer: bool, told: str) -> None:  # noqa: FBT001 - an answer
        if text in self._checked:
            return
        self._checked.add(text)
        self._lines.append(f"if ({text}) is not {answer}: return")
        self.why.append(f"{told} at {self._where()}")

    def _told(self, x: Any) -> str:
        """A number as people read it."""
        if type(x) not in KINDS:
            return repr(x)
        name: str = x.number_name
        return self._labels.get(name, name)

    def _spelled(self, x: Any) -> str:
        return x.number_name if type(x) in KINDS else self._constant(x)

    def _constant(self, value: Any) -> str:
        name = f"c{len(self._scope)}"
        self._scope[name] = value
        return name

    # ----- what the graph and the result take -----

    def input(self, number: Number, dtype: Any) -> int:
        """Which of the prologue's arrays is this number in a dtype."""
        return self._inputs.setdefault((number.number_name, dtype), len(self._inputs))

    def result(self, number: Number) -> int:
        """Which of the prologue's results is this number."""
        self._results.append(number.number_name)
        return len(self._results) - 1

    def finish(self) -> Prologue | None:
        """The prologue; None where there is nothing to compute and nothing to check."""
        return self.part(self._roots, slice(None), list(self._inputs), self._results)

    def part(
        self,
        roots: Sequence[str],
        lines: slice,
        inputs: Sequence[tuple[str, Any]],
        results: Sequence[str],
        extents: Mapping[str, tuple[int, int]] | None = None,
    ) -> Prologue | None:
        """The prologue of a part of the recording.

        Args:
            roots: The numbers that it is given.
            lines: Which lines belong to it.
            inputs: The numbers that its graph takes, with their dtypes.
            results: The numbers that it gives.
            extents: Where it finds extents, (tensor, axis); None: in the arguments of the call.
        """
        source = [f"{', '.join(roots)}, = numbers"] if roots else []
        source += [f"{name} = {x}" for name, x in self._states.items() if name not in roots]
        for name, (k, axis) in (self._extents if extents is None else extents).items():
            source.append(f"{name} = tensors[{k}].raw.shape[{axis}]")
            source.append(f"if {name} < 2: return")
        source += [f"if ({g.text}) is not {g.answer}: return" for g in self.guesses]
        source += self._lines[lines]
        arrays = [f"array({name}, {self._constant(dtype)})" for name, dtype in inputs]
        given = "".join(f"{name}, " for name in results)
        source.append(f"return [{', '.join(arrays)}], ({given})")
        if len(source) == 1 and not inputs and not results:
            return None
        text = "def prologue(numbers, tensors):\n" + "".join(f"    {x}\n" for x in source)
        exec(compile(text, "<prologue>", "exec"), self._scope)
        prologue = self._scope["prologue"]
        if not inputs:
            return prologue
        return lambda numbers, tensors: context.run(prologue, numbers, tensors)  # of that thread

    # ----- parts -----

    @property
    def roots(self) -> Sequence[str]:
        """The numbers that the call is given."""
        return self._roots

    @property
    def lines(self) -> Sequence[str]:
        """What the prologue does."""
        return self._lines

    def input_at(self, index: int) -> tuple[str, Any]:
        """The number and dtype of one of the prologue's arrays."""
        return list(self._inputs)[index]

    def result_at(self, index: int) -> str:
        """The number that is one of the prologue's results."""
        return self._results[index]

    def told(self, lines: Sequence[str], roots: Sequence[str]) -> tuple[Any, ...]:
        """Lines with names that only say where a number comes from: equal if they do the same."""
        names = {name: f"@{k}" for k, name in enumerate(roots)}

        def other(match: re.Match[str]) -> str:
            name = match[0]
            if name[0] == "c":
                value = self._scope[name]
                return f"<{type(value).__name__} {value!r}>"
            return names.setdefault(name, f"@{len(names)}")

        return tuple([NAME.sub(other, line) for line in lines])
