"""Rewrite: copies statements under an environment; every schedule directive is one.

Copies get new variables, their values are folded, and values that are already there are not made
again. A directive overrides the method of the statements that it changes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

from jit.errors import ScheduleError
from jit.loops.fold import fold, key, literal, ordered, regroup
from jit.loops.ir import (
    INDEX,
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
    walk,
)

METHODS: dict[type, str] = {
    Let: "let",
    Load: "load",
    Store: "store",
    For: "loop",
    If: "when",
    Alloc: "alloc",
    Choose: "choose",
    Check: "check",
    Prefetch: "prefetch",
    Sync: "sync",
    Exchange: "exchange",
    Mma: "mma",
}
REGROUPED = ("add", "subtract", "multiply")


class Rewrite:
    """One rewriting of (a part of) a kernel.

    Attributes:
        env: Variable of the original -> operand that stands for it now.
        buffers: Allocated buffer of the original -> its latest copy.
        made: How the new variables were made.
        body: The block that is written to.
    """

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.env: dict[Var, Any] = {}
        self.buffers: dict[Buffer, Buffer] = {}
        self.made: dict[Var, Let] = {}
        self.body: list[Statement] = []
        self._known: dict[Any, Operand] = {}  # what the open blocks have computed
        self._order: list[Any] = []  # the keys of it, as they came
        self._names: set[str] | None = None

    # ----- blocks -----

    def block(self, statements: Sequence[Statement]) -> tuple[Statement, ...]:
        """Copies of the statements, as the body of a loop or a condition."""
        return self.within(lambda: self.copy(statements))

    def within(self, write: Callable[[], object]) -> tuple[Statement, ...]:
        """What `write` writes, as a block of its own."""
        outer, self.body = self.body, []
        mark = len(self._order)
        write()
        for name in self._order[mark:]:
            del self._known[name]
        del self._order[mark:]
        inner, self.body = self.body, outer
        return tuple(inner)

    def copy(self, statements: Sequence[Statement]) -> None:
        """Copies the statements into the current block."""
        for statement in statements:
            getattr(self, METHODS[type(statement)])(statement)

    # ----- values -----

    def operand(self, x: Operand) -> Any:
        """What stands for `x` now."""
        return x if isinstance(x, Lit) else self.env.get(x, x)

    def value(
        self,
        op: str,
        args: tuple[Operand, ...],
        type_: VType,
        immediates: tuple[int, ...] = (),
        hint: str = "",
    ) -> Operand:
        """`op` of operands: folded, found, or written."""
        args = ordered(op, args)
        found = fold(op, args, type_, self.made)
        if found is None and op in REGROUPED and type_.lanes == 1 and type_ == INDEX:
            found = regroup(op, args, self.made, self.value)
        if found is not None:
            return found
        name = (op, immediates, type_.dtype.num, type_.lanes, *map(key, args))
        known = self._known.get(name)
        if known is not None:
            return known
        var = Var(type_, hint)
        let = self.made[var] = Let(var, op, args, immediates)
        self.body.append(let)
        self._remember(name, var)
        return var

    def index(self, op: str, x: Operand, y: Operand | int) -> Operand:
        """Scalar int64 arithmetic."""
        return self.value(op, (x, literal(y, INDEX) if isinstance(y, int) else y), INDEX)

    def fetch(
        self,
        buffer: Buffer,
        at: Operand,
        type_: VType,
        mask: Operand | None = None,
        other: Operand | None = None,
        hint: str = "",
    ) -> Operand:
        """A load: of what is known not to be there, of read-only memory found, or written."""
        if type(mask) is Lit:
            if not mask.value:
                return other if other is not None else zero(type_)
            mask = other = None
        name = None
        if buffer.scope == "param" and buffer.access == "in":
            extra = [None if x is None else key(x) for x in (mask, other)]
            name = (buffer, type_.lanes, key(at), *extra)
            if (known := self._known.get(name)) is not None:
                return known
        var = Var(type_, hint)
        self.body.append(Load(var, buffer, at, mask, other))
        if name is not None:
            self._remember(name, var)
        return var

    def _remember(self, name: Any, value: Operand) -> None:
        self._known[name] = value
        self._order.append(name)

    # ----- statements: subclasses override what they change -----

    def let(self, s: Let) -> None:
        """Copies a value."""
        args = tuple(map(self.operand, s.args))
        self.env[s.var] = self.value(s.op, args, s.var.type, s.immediates, s.var.hint)

    def load(self, s: Load) -> None:
        """Copies a load."""
        mask, other = self._optional(s.mask), self._optional(s.other)
        buffer = self.buffers.get(s.buffer, s.buffer)
        self.env[s.var] = self.fetch(
            buffer, self.operand(s.index), s.var.type, mask, other, s.var.hint
        )

    def store(self, s: Store) -> None:
        """Copies a store."""
        mask = self._optional(s.mask)
        if type(mask) is Lit:
            if not mask.value:
                return
            mask = None
        buffer = self.buffers.get(s.buffer, s.buffer)
        at, value = self.operand(s.index), self.operand(s.value)
        self.body.append(Store(buffer, at, value, mask, s.nontemporal))

    def loop(self, s: For) -> None:
        """Copies a loop; one of a single turn dissolves, one of none disappears."""
        start, stop = self.operand(s.start), self.operand(s.stop)
        if type(start) is Lit and type(stop) is Lit:
            if start.value >= stop.value:
                return
            if start.value + s.step >= stop.value:
                self.env[s.var] = start
                return self.copy(s.body)
        var = self.env[s.var] = Var(INDEX, s.var.hint)
        if body := self.block(s.body):
            self.body.append(For(var, start, stop, s.step, body))
        return None

    def when(self, s: If) -> None:
        """Copies a condition; one that is known disappears."""
        condition = self.operand(s.condition)
        if type(condition) is Lit:
            return self.copy(s.body) if condition.value else None
        if body := self.block(s.body):
            self.body.append(If(condition, body))
        return None

    def alloc(self, s: Alloc) -> None:
        """Copies an allocation; a second copy gets a name of its own."""
        self.allocate(s.buffer, s.buffer.size)

    def allocate(self, buffer: Buffer, size: int) -> Buffer:
        """A copy of `buffer` with room for `size` elements."""
        name = buffer.name
        if self._names is None:
            allocs = [s.buffer for s in walk(self.kernel.body) if isinstance(s, Alloc)]
            self._names = {b.name for b in (*self.kernel.buffers, *allocs)}
        if buffer in self.buffers:
            stem, count = name, 2
            while (name := f"{stem}_{count}") in self._names:
                count += 1
            self._names.add(name)
        made = self.buffers[buffer] = replace(buffer, name=name, size=size)
        self.body.append(Alloc(made))
        return made

    def choose(self, s: Choose) -> None:
        """Copies a choice."""
        made = self.buffers[s.buffer] = replace(s.buffer)
        self.body.append(Choose(made, s.among, self.operand(s.index)))

    def check(self, s: Check) -> None:
        """Copies a demand that is not known to hold."""
        condition, mask = self.operand(s.condition), self._optional(s.mask)
        if type(condition) is Lit and condition.value:
            return
        if type(mask) is Lit:
            if not mask.value:
                return
            mask = None
        self.body.append(Check(condition, mask))

    def prefetch(self, s: Prefetch) -> None:
        """Copies a request."""
        buffer = self.buffers.get(s.buffer, s.buffer)
        self.body.append(Prefetch(buffer, self.operand(s.index)))

    def sync(self, s: Sync) -> None:
        """Copies a wait."""
        self.body.append(s)

    def exchange(self, s: Exchange) -> None:
        """Copies an exchange."""
        var = self.env[s.var] = Var(s.var.type, s.var.hint)
        self.body.append(Exchange(var, self.operand(s.value), self.operand(s.thread)))

    def mma(self, s: Mma) -> None:
        """Copies a product of matrices."""
        var = self.env[s.var] = Var(s.var.type, s.var.hint)
        self.body.append(Mma(var, self.operand(s.a), self.operand(s.b), self.operand(s.c)))

    def _optional(self, x: Operand | None) -> Any:
        return None if x is None else self.operand(x)


def zero(type_: VType) -> Lit:
    """0 of any type."""
    return Lit({"b": False, "i": 0, "u": 0}.get(type_.dtype.kind, 0.0), type_)


def rewrite_loops(
    kernel: Kernel,
    names: Collection[str],
    directive: str,
    by: Rewrite,
    change: Callable[[For], None],
) -> Kernel:
    """The kernel with each loop of these names (the outermost of nested ones) rewritten.

    Args:
        kernel: Where they are.
        names: Hints of their variables.
        directive: For messages.
        by: What writes.
        change: Writes what replaces a loop into the current block of `by`.

    Raises:
        ScheduleError: There is no loop of one of the names.
    """
    missing = set(names) - {s.var.hint for s in walk(kernel.body) if isinstance(s, For)}
    if missing:
        called = " or ".join(sorted(missing))
        raise refusal(directive, kernel, None, f"no loop is called {called}")

    def replaced(body: tuple[Statement, ...]) -> tuple[Statement, ...]:
        new: list[Statement] = []
        for s in body:
            if isinstance(s, For) and s.var.hint in names:
                new += by.within(lambda s=s: change(s))
            elif isinstance(s, For | If) and (inner := replaced(s.body)) is not s.body:
                if inner:
                    new.append(replace(s, body=inner))
            else:
                new.append(s)
        unchanged = len(new) == len(body) and all(a is b for a, b in zip(new, body))
        return body if unchanged else tuple(new)

    return replace(kernel, body=replaced(kernel.body))


def has_loop(kernel: Kernel, name: str) -> bool:
    """Whether a loop's variable has this hint."""
    return any(isinstance(s, For) and s.var.hint == name for s in walk(kernel.body))


def refusal(
    directive: str,
    kernel: Kernel,
    shown: Statement | None,
    why: str,
    expected: str = "",
    remedy: str = "",
) -> ScheduleError:
    """The error, to be raised, that `directive` does not fit; it shows a loop or the kernel."""
    from jit.loops.text import format_statement  # only errors need the printer

    lines = str(kernel).splitlines()
    if shown is not None:
        head = format_statement(kernel, shown)
        first = next(i for i, line in enumerate(lines) if line.strip() == head)
        indent = lines[first][: -len(head)]
        last = lines.index(f"{indent}}}", first) if head.endswith("{") else first
        lines = [line.removeprefix(indent) for line in lines[first : last + 1]]
    text = "".join(f"\n    {line}" for line in lines)
    return ScheduleError(f"{directive}: {why}{text}", expected, remedy)
