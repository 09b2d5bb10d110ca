"""Kernels as text; the grammar stands in `jit.loops.ir`."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from jit.loops.ir import (
    LANE,
    TILE,
    Alloc,
    Buffer,
    Check,
    Choose,
    Exchange,
    For,
    If,
    Kernel,
    Let,
    Lit,
    Load,
    Mma,
    Operand,
    Prefetch,
    Statement,
    Store,
    Sync,
    Var,
    VType,
)
from jit.types import dtypes

UNKNOWN = "?"
NAMES = {dtype.char: name for name, dtype in dtypes.items()}  # `dtype.name` is slow


def format_kernel(kernel: Kernel, *, named: bool = True) -> str:
    """All of `kernel`.

    Args:
        kernel: What to print.
        named: Without, what changes no machine code is left out: the grid, names, and hints but
            for what they tell schedules.
    """
    printer = _Printer(kernel, named=named)
    printer.body(kernel.body)
    name = f" {kernel.name}" if named else ""
    grid = f"grid {kernel.grid} " if named else ""
    item = printer.names[kernel.item]
    if kernel.thread is not None:
        item += f" threads {kernel.threads} as {printer.names[kernel.thread]}"
    params = ", ".join(printer.params)
    return "\n".join([f"kernel{name}({params}) {grid}as {item} {{", *printer.lines, "}"])


def format_statement(kernel: Kernel, statement: Statement) -> str:
    """The line of one statement, values called as in the text of `kernel`."""
    printer = _Printer(kernel, named=True)
    printer.body(kernel.body)
    return printer.found.get(id(statement)) or _Printer(kernel, named=True).head(statement)


@lru_cache(maxsize=1024)
def _format_type(char: str, lanes: int) -> str:
    return NAMES[char] if lanes == 1 else f"{NAMES[char]}x{lanes}"


def format_type(type: VType) -> str:
    """A type as `str` gives it, faster."""
    return _format_type(type.dtype.char, type.lanes)


def format_number(x: Lit, *, typed: bool = False) -> str:
    """A literal in the fewest digits that give back the number in its dtype."""
    text = _format_number(str(x.value), x.type.dtype.char)
    return f"{text}: {format_type(x.type)}" if typed else text


@lru_cache(maxsize=4096)
def _format_number(text: str, char: str) -> str:
    dtype = dtypes[NAMES[char]]
    if dtype.kind in "biu":
        return text.lower()
    with np.errstate(over="ignore"):
        return str(np.array(float(text)).astype(dtype))


class _Printer:
    """Lines of a kernel, and what its values and buffers are called.

    Attributes:
        found: The line of each statement, by its `id`.
    """

    def __init__(self, kernel: Kernel, *, named: bool) -> None:
        self.named = named
        self.lines: list[str] = []
        self.names: dict[Var | Buffer, str] = {}
        self.found: dict[int, str] = {}
        self.taken: set[str] = set()
        self.numbers: dict[str, int] = {}  # the last number behind each hint
        self.indent = "  "
        self.heads: dict[type, Callable[..., str]] = {
            Let: self._let,
            Load: self._load,
            Store: self._store,
            For: self._for,
            If: self._if,
            Alloc: self._alloc,
            Choose: self._choose,
            Check: self._check,
            Prefetch: lambda s: f"prefetch {self._place(s.buffer, s.index, None)}",
            Sync: lambda sync: f"sync {sync.threads}",
            Exchange: self._exchange,
            Mma: self._mma,
        }
        self.params = [
            f"{self.name(b, b.name, 'b')}: {NAMES[b.dtype.char]}[] {b.access}"
            for b in kernel.buffers
        ]
        self.params += [f"{self.name(n, n.hint, 'n')}: size" for n in kernel.sizes]
        self.name(kernel.item, kernel.item.hint, "i")
        if kernel.thread is not None:
            self.name(kernel.thread, kernel.thread.hint, "t")

    def name(self, what: Var | Buffer, hint: str, default: str) -> str:
        """What a value or buffer is called from here on: its hint, with a number if that is taken.

        Values without a hint always have a number.
        """
        hinted = bool(hint) and self.named
        base = _identifier(hint) if hinted else default
        name = base if hinted else ""
        while not name or name in self.taken:
            number = self.numbers.get(base, 0 if hinted else -1) + 1
            self.numbers[base] = number
            name = f"{base}{number}"
        self.taken.add(name)
        self.names[what] = name
        return name

    def body(self, body: tuple[Statement, ...]) -> None:
        """Appends the statements of a block."""
        for statement in body:
            head = self.head(statement)
            self.found[id(statement)] = head
            self.lines.append(self.indent + head)
            if isinstance(statement, For | If):
                outer, self.indent = self.indent, self.indent + "  "
                self.body(statement.body)
                self.indent = outer
                self.lines.append(f"{self.indent}}}")

    def head(self, statement: Statement) -> str:
        """The line that a statement begins with."""
        return self.heads[type(statement)](statement)

    # ----- statements -----

    def _define(self, var: Var) -> str:
        name = self.name(var, var.hint, "v")
        return f"{name}: {_format_type(var.type.dtype.char, var.type.lanes)}"

    def _let(self, let: Let) -> str:
        args = let.args
        # Without a value among the operands, nothing on the line tells the type of the numbers.
        typed = all(isinstance(x, Lit) for x in args)
        listed = ", ".join([self._operand(x, typed=typed) for x in args])
        immediates = f" {list(let.immediates)}" if let.immediates else ""
        return f"{self._define(let.var)} = {let.op}({listed}){immediates}"

    def _load(self, load: Load) -> str:
        place = self._place(load.buffer, load.index, load.mask)
        other = f" else {self._lanes(load.other)}" if load.other is not None else ""
        return f"{self._define(load.var)} = load {place}{other}"

    def _store(self, store: Store) -> str:
        place = self._place(store.buffer, store.index, store.mask)
        past = " nontemporal" if store.nontemporal else ""
        return f"store {place} = {self._lanes(store.value)}{past}"

    def _for(self, loop: For) -> str:
        bounds = f"{self._lanes(loop.start)} .. {self._lanes(loop.stop)} step {loop.step}"
        default = next((x for x in (LANE, TILE) if loop.var.hint.startswith(x)), "i")
        return f"for {self.name(loop.var, loop.var.hint, default)} in {bounds} {{"

    def _if(self, when: If) -> str:
        return f"if {self._lanes(when.condition)} {{"

    def _alloc(self, alloc: Alloc) -> str:
        b = alloc.buffer
        name = self.name(b, b.name, "b")
        return f"alloc {name}: {NAMES[b.dtype.char]}[{b.size}] {b.scope}"

    def _choose(self, s: Choose) -> str:
        name = self.name(s.buffer, s.buffer.name, "b")
        among = ", ".join([self.names.get(buffer, UNKNOWN) for buffer in s.among])
        return f"choose {name}: {NAMES[s.buffer.dtype.char]}[] = {among} at {self._lanes(s.index)}"

    def _check(self, check: Check) -> str:
        mask = f" where {self._lanes(check.mask)}" if check.mask is not None else ""
        return f"check {self._lanes(check.condition)}{mask}"

    def _exchange(self, s: Exchange) -> str:
        value, thread = self._operand(s.value, typed=True), self._operand(s.thread, typed=False)
        return f"{self._define(s.var)} = exchange({value}, {thread})"

    def _mma(self, s: Mma) -> str:
        listed = ", ".join([self._operand(x, typed=True) for x in (s.a, s.b, s.c)])
        return f"{self._define(s.var)} = mma({listed})"

    # ----- operands -----

    def _place(self, buffer: Buffer, index: Operand, mask: Operand | None) -> str:
        where = f" where {self._lanes(mask)}" if mask is not None else ""
        return f"{self.names.get(buffer, UNKNOWN)}[{self._lanes(index)}]{where}"

    def _lanes(self, x: Operand) -> str:
        """An operand whose dtype is known from its place, but not how many lanes it has."""
        return self._operand(x, typed=x.type.lanes > 1)

    def _operand(self, x: Operand, *, typed: bool) -> str:
        return format_number(x, typed=typed) if isinstance(x, Lit) else self.names.get(x, UNKNOWN)


def _identifier(hint: str) -> str:
    """`hint` with every character that the grammar does not allow replaced."""
    name = re.sub(r"\W", "_", hint)
    return f"_{name}" if name[0].isdigit() else name
