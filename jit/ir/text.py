"""The way back from graph text to a Graph; the grammar stands in `jit.ir.graph`.

A node takes one line, so reading is by lines. Types are taken as written: checking them is the
verifier's part.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeAlias

import numpy as np

from jit import dims
from jit.dims import Dim
from jit.errors import GraphError
from jit.ir.builtin import builtin_ops
from jit.ir.call import call
from jit.ir.graph import Graph, Value
from jit.ir.loop import loop_ops
from jit.ir.op import OpDef
from jit.ir.printer import array_of_figures
from jit.types import TensorType, dtypes

HEADER = re.compile(
    r"graph\s+(?P<name>[\w.]+)\s*(?:\[(?P<symbols>[^\]]*)\])?\s*\((?P<inputs>.*)\)\s*\{"
)
NODE = re.compile(
    r"(?:(?P<left>%.*?)\s*=\s*)?(?P<op>[\w.]+)\((?P<args>[^()]*)\)(?:\s*\{(?P<attrs>.*)\})?(?P<body>\s+of)?"
)
SYMBOL = re.compile(
    r"(?:(?P<low>-?\d+)<=)?(?P<name>\w+)(?:>=(?P<least>-?\d+)|<=(?P<high>[^,<>]+?))(?:\s+hint\s+(?P<hint>-?\d+))?"
)
VALUE = re.compile(r"%[\w.]+")
TYPED = re.compile(r"(?P<value>%[\w.]+)\s*:\s*(?P<type>.+)")
TYPE = re.compile(r"(?P<dtype>\w+)\[(?P<extents>.*)\]")
ARRAY = re.compile(r"(?P<type>\w+\[[\d, ]*\])\((?P<data>.*)\)", re.DOTALL)
COMPLEX = re.compile(r"-?(?:[\d.]|inf|nan)[\d.e+-]*j|\(-?(?:[\d.]|inf|nan)[\d.e+-]*(?:inf|nan)?j\)")
MARK = re.compile(r'"(?:[^"\\]|\\.)*"|[()\[\]{},#]')
OPENING, CLOSING = frozenset("([{"), frozenset(")]}")
WORDS: dict[str, Any] = {"True": True, "False": False, "None": None}
FLOAT = re.compile(r"-?(?:\d+\.\d*(?:e[-+]?\d+)?|\d+e[-+]?\d+|inf|nan)")

Step: TypeAlias = "Callable[[], Any]"


def parse(text: str, ops: Mapping[str, OpDef]) -> Graph:
    """The graph that `text` describes: `parse(str(graph), ops) == graph`.

    Args:
        text: What `str(graph)` gives.
        ops: Op records by name; `constant`, `guard`, `call`, `loop` and `row` are always known.

    Raises:
        GraphError: The text is not that of a graph; the message shows the line.
    """
    return _Reader(text, {**builtin_ops, **loop_ops, "call": call, **ops}).graph


class _Reader:
    """One text on its way to one graph; `line` is where it has come to.

    A method that reads a line returns the method for the next one, or None to stay the same.
    """

    def __init__(self, text: str, ops: Mapping[str, OpDef], before: int = 0) -> None:
        self.ops = ops
        self.values: dict[str, Value] = {}
        self.symbols: dict[str, Dim] = {}
        self.line = ""
        self.number = 0
        step: Step = self._header
        for self.number, line in enumerate(text.splitlines(), before + 1):
            self.line = line.strip()
            if self.line:
                step = step() or step
        if step != self._nothing:
            self._fail("the text ends inside of the graph", "`return ...` and then `}` at its end")

    def _header(self) -> Step:
        match = HEADER.fullmatch(self.line)
        if match is None:
            self._fail("this does not open a graph", "graph name(%x: float32[2,3]) {")
        self.graph = Graph(match["name"])
        for part in split(match["symbols"] or ""):
            self._symbol(part)
        for part in split(match["inputs"]):
            name, type_ = self._typed(part)
            self._define(name, self.graph.input(type_, name[1:]))
        return self._node

    def _symbol(self, text: str) -> None:
        match = SYMBOL.fullmatch(text)
        if match is None or (match["low"] is None) != (match["high"] is None):
            self._fail(
                f"`{text}` declares no symbol", "n>=2, or 2<=n<=64, and perhaps `hint 5` after it"
            )
        low, high, hint = match["least"] or match["low"], match["high"], match["hint"]
        try:
            self.symbols[match["name"]] = dims.symbol(
                match["name"],
                hint=None if hint is None else int(hint),
                lo=int(low),
                hi=None if high is None else self._extent(high),
            )
        except ValueError as error:
            self._fail(f"`{text}` declares no symbol: {error}")

    def _node(self) -> Step | None:
        if self.line == "}":
            self._fail("the graph says nowhere what it returns", "`return %0, %1` before its end")
        if re.match(r"return\b(?!\()", self.line):
            self.graph.outputs = [self._used(x) for x in split(self.line.removeprefix("return"))]
            return self._end
        line, source = without_comment(self.line)
        match = NODE.fullmatch(line)
        if match is None:
            self._fail("this is not a node", "%0: float32[2,3] = op(%x, %y) {attr=1}")
        op = self.ops.get(match["op"])
        if op is None:
            self._fail(f"no op is called {match['op']!r}", f"one of {', '.join(sorted(self.ops))}")
        left = [self._typed(part) for part in split(match["left"] or "")]
        inputs = [self._used(part) for part in split(match["args"])]
        attrs = dict(self._attr(part) for part in split(match["attrs"] or ""))
        types = tuple([type_ for _, type_ in left])

        def add() -> None:
            outputs = self.graph.add(op, inputs, attrs, types, source)
            for (name, _), value in zip(left, outputs, strict=True):
                self._define(name, value)

        return self._body(attrs, add) if match["body"] else add()

    def _body(self, attrs: dict[str, Any], add: Callable[[], None]) -> Step:
        """Reads the lines of a graph into the attr `body`, and then adds the node."""
        first, lines, depth = self.number, list[str](), 0

        def read() -> Step | None:
            nonlocal depth
            lines.append(self.line)
            depth += bool(HEADER.fullmatch(self.line)) - (self.line == "}")
            if depth > 0:
                return None
            attrs["body"] = _Reader("\n".join(lines), self.ops, first).graph
            add()
            return self._node

        return read

    def _end(self) -> Step:
        if self.line != "}":
            self._fail("a graph ends after its `return`", "}")
        return self._nothing

    def _nothing(self) -> NoReturn:
        self._fail("there is more text after the graph's end")

    def _define(self, name: str, value: Value) -> None:
        if name in self.values:
            self._fail(f"{name} is assigned twice", "each value is assigned once")
        self.values[name] = value

    def _used(self, name: str) -> Value:
        value = self.values.get(name)
        if value is None:
            self._fail(f"{name} is not assigned before it is used")
        return value

    def _typed(self, text: str) -> tuple[str, TensorType]:
        match = TYPED.fullmatch(text)
        if match is None:
            self._fail(f"`{text}` is no value with its type", "%x: float32[2,3]")
        return match["value"], self._type(match["type"])

    def _type(self, text: str) -> TensorType:
        match = TYPE.fullmatch(text)
        if match is None or match["dtype"] not in dtypes:
            self._fail(f"`{text}` is no type", "a dtype and extents, as in float32[2,3]")
        return TensorType(tuple(map(self._extent, split(match["extents"]))), dtypes[match["dtype"]])

    def _extent(self, text: str) -> int | Dim:
        if re.fullmatch(r"-?\d+", text):
            return int(text)
        try:
            return dims.parse(text, self.symbols)
        except (GraphError, ValueError) as error:
            known = ", ".join(self.symbols) or "none is declared"
            self._fail(
                f"`{text}` is no value that an attr or extent may have: {error}",
                f"symbols: {known}",
            )

    def _attr(self, text: str) -> tuple[str, Any]:
        name, equals, value = text.partition("=")
        if not equals:
            self._fail(f"`{text}` is no attr", "name=value")
        return name.strip(), self._static(value.strip())

    def _static(self, text: str) -> Any:
        if text in WORDS:
            return WORDS[text]
        if text in dtypes:
            return dtypes[text]
        if text.startswith('"'):
            return self._decoded(json.loads, text)
        if COMPLEX.fullmatch(text):
            return complex(text)
        if is_group(text):
            return tuple(map(self._static, split(text[1:-1])))
        if match := ARRAY.fullmatch(text):
            return self._array(self._type(match["type"]), match["data"])
        if FLOAT.fullmatch(text):
            return float(text)
        return self._extent(text)

    def _array(self, type_: TensorType, data: str) -> np.ndarray[Any, Any]:
        def read(data: str) -> np.ndarray[Any, Any]:
            if data.startswith("base64"):
                raw = base64.b64decode(json.loads(data.removeprefix("base64")), validate=True)
                flat = np.frombuffer(raw, type_.dtype)
            else:
                flat = array_of_figures(split(data), type_.dtype)
            return flat.reshape(type_.shape)

        array = self._decoded(read, data)
        array.flags.writeable = False
        return array

    def _decoded(self, read: Any, text: str) -> Any:
        try:
            return read(text)
        except (ValueError, OverflowError, binascii.Error) as error:
            self._fail(f"`{text}` cannot be read: {error}")

    def _fail(self, what: str, expected: str = "") -> NoReturn:
        error = GraphError(f"graph text: {what}", expected)
        error.location = f"line {self.number}: {self.line}"
        raise error from None


def split(text: str) -> list[str]:
    """The parts between commas outside of brackets and strings; nothing after the last one."""
    parts: list[str] = []
    depth = start = 0
    for mark in MARK.finditer(text):
        character = mark.group()
        if character in OPENING:
            depth += 1
        elif character in CLOSING:
            depth -= 1
        elif character == "," and depth == 0:
            parts.append(text[start : mark.start()].strip())
            start = mark.end()
    last = text[start:].strip()
    return [*parts, last] if last else parts


def is_group(text: str) -> bool:
    """Whether one pair of parentheses holds all of `text`: `(a, (b))`, but not `(a)//(b)`."""
    depth = 0
    for mark in MARK.finditer(text):
        if mark.group() in OPENING:
            depth += 1
        elif mark.group() in CLOSING:
            depth -= 1
        if depth == 0:
            return mark.end() == len(text) and text[0] == "("
    return False


def without_comment(line: str) -> tuple[str, str | None]:
    """A node's text and the source line that stands after it."""
    for mark in MARK.finditer(line):
        if mark.group() == "#":
            return line[: mark.start()].rstrip(), line[mark.end() :].strip() or None
    return line, None
