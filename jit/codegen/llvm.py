"""Kernels to LLVM IR text; instructions are spelled by templates in `jit.codegen.llvm_spell`.

A kernel becomes `void entry(ptr slots, ptr record, i64 begin, i64 end)` and computes the items from
`begin` up to `end`. Parameter j of the kernel is `slots[record[j]]`: an address, or a size.
`slots[0]` is the status word; a check that fails stores 1 there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from jit.codegen import llvm_spell as spell
from jit.codegen.addresses import Addresses
from jit.codegen.masks import Masks
from jit.codegen.registers import Piece, Registers, position
from jit.loops.ir import (
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
from jit.loops.nontemporal import alignment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jit.target import Target

ENTRY = "entry"  # the one symbol of each module
ARGUMENTS = "ptr %slots, ptr %record, i64 %begin, i64 %end"
STACK_ALIGNMENT = 64


def emit(kernel: Kernel, target: Target) -> str:
    """The text of an LLVM module whose function `entry` runs `kernel`.

    Args:
        kernel: In direct instructions only.
        target: The machine; LLVM splits vectors that are wider than its own.

    Raises:
        KernelError: An instruction is not a direct one.
    """
    if target.is_gpu:
        from jit.codegen.ptx import PtxCode  # which builds on what stands below

        return PtxCode(kernel).text(target)
    if any(isinstance(s, Store) and s.nontemporal for s in kernel.statements()):
        from jit.codegen import nontemporal  # likewise

        return nontemporal.text(kernel, target)
    return Code(kernel).text(target)


class Code:
    """The text of a function in the making.

    Args:
        kernel: What it runs.
        past: Whether nontemporal stores go past the caches: their results begin with lines.
    """

    fills = True  # masked loads take what is in the other lanes

    def __init__(self, kernel: Kernel, *, past: bool = False) -> None:
        self.past = past
        self.lines: list[str | list[str]] = []  # lists are filled later
        self.addresses = Addresses()
        self.masks = Masks()
        self.allocas: list[str] = []
        self.names: dict[Var, str] = {}
        self.pointers: dict[Buffer, str] = {}
        self.block = "start"  # the label of the block that is written to
        self.count = 0
        self.registers = Registers(kernel.body)
        self.numbers = {buffer: k for k, buffer in enumerate(kernel.buffers)}
        self.emitters: dict[type, Callable[..., None]] = {
            Let: self._let,
            Load: self._load,
            Store: self._store,
            For: self._for,
            If: self._if,
            Alloc: self._alloc,
            Choose: self._choose,
            Check: self._check,
            Prefetch: self._prefetch,
            Sync: self._sync,
            Exchange: self._exchange,
            Mma: self._mma,
        }
        self.start(kernel)

    def start(self, kernel: Kernel) -> None:
        """Parameters, and all items."""
        for index, buffer in enumerate(kernel.buffers):
            self.pointers[buffer] = self._parameter(index, "ptr")
        for index, size in enumerate(kernel.sizes, start=len(kernel.buffers)):
            self.names[size] = self._parameter(index, "i64")
        with self._loop(kernel.item, "%begin", "%end", 1):
            self._body(kernel.body)

    def text(self, target: Target) -> str:
        """The module."""
        return "\n".join(
            [
                f'target triple = "{target.triple}"',
                f"define void @{ENTRY}({ARGUMENTS}) nounwind {{",
                *self.lines_of_body(),
                "",
            ]
        )

    def lines_of_body(self, *last: str) -> list[str]:
        """What stands in the function, up to its closing brace; `last` is done at its end."""
        return ["start:", *self.allocas, *flat(self.lines), *last, "ret void", "}"]

    # ----- names -----

    def _fresh(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    def _define(self, var: Var) -> str:
        self.count += 1
        name = self.names[var] = f"%v{self.count}"
        self.addresses.define(var)
        return name

    def _operand(self, x: Operand) -> str:
        return spell.literal(x) if isinstance(x, Lit) else self.names[x]

    def _parameter(self, index: int, type_: str) -> str:
        name = f"%a{index}"
        self.lines += word(name, type_, f"{index}")
        return name

    # ----- statements -----

    def _body(self, body: tuple[Statement, ...]) -> None:
        for statement in body:
            self.emitters[type(statement)](statement)

    def _let(self, let: Let) -> None:
        args, result = let.args, let.var.type
        first = args[0].type if args else result
        template = spell.instruction(
            let.op,
            first.dtype.char,
            first.lanes,
            result.dtype.char,
            result.lanes,
            let.immediates,
        )
        operands = [self._operand(x) for x in args]
        self.lines.append(template.format(self._define(let.var), *operands))
        self.addresses.note(let)
        self.masks.note(let)

    def _address(self, buffer: Buffer, index: Operand) -> list[str]:
        """A pointer, and what is left of an index from there."""
        pointer, type_ = self.pointers[buffer], spell.MEMORY[buffer.dtype.char]
        early, late = self.addresses.split(index, pointer)
        for term in early:
            name = self._fresh("%p")
            pointer = self.addresses.moved(pointer, term, name, self._operand(term), type_)
        for term in late[:-1]:
            at, name = self._operand(term), self._fresh("%p")
            self.lines.append(f"{name} = getelementptr {type_}, ptr {pointer}, i64 {at}")
            pointer = name
        return [pointer, self._operand(late[-1])]

    def _load(self, load: Load) -> None:
        if load.buffer in self.registers:
            self.names[load.var] = self._piece((load.buffer, position(load.index)))
            self.addresses.define(load.var)
            return
        type_ = load.var.type
        masked = load.mask is not None
        template = spell.load(
            type_.dtype.char,
            type_.lanes,
            gathers=load.index.type.lanes > 1,
            masked=masked,
            aligned=self._alignment(load.buffer, load.index, type_),
            fills=self.fills,
        )
        alone = load.mask is not None and type_.lanes == 1  # then it may read element 0
        operands = [self.pointers[load.buffer], self._operand(load.index)]
        if load.index.type.lanes == 1 and not alone:
            operands = self._address(load.buffer, load.index)
        if load.mask is not None:
            operands.append(self._operand(load.mask))
            operands.append("zeroinitializer" if load.other is None else self._operand(load.other))
        self.lines.append(template.format(self._define(load.var), *operands))

    def _store(self, store: Store) -> None:
        if store.buffer in self.registers:
            piece = store.buffer, position(store.index)
            self.registers.values[piece] = self._operand(store.value)
            return
        type_ = store.value.type
        lane = self.masks.lane(store.mask) if store.index.type.lanes == 1 < type_.lanes else None
        if lane is not None:
            self._store_lane(store, lane)
            return
        masked = store.mask is not None
        template = spell.store(
            type_.dtype.char,
            type_.lanes,
            scatters=store.index.type.lanes > 1,
            masked=masked,
            aligned=self._alignment(store.buffer, store.index, type_),
        )
        operands = [self.pointers[store.buffer], self._operand(store.index)]
        if store.index.type.lanes == 1 and (store.mask is None or type_.lanes > 1):
            operands = self._address(store.buffer, store.index)
        operands.append(self._operand(store.value))
        if store.mask is not None:
            operands.append(self._operand(store.mask))
        text = template.format(self._fresh("%v"), *operands)
        if self.past and store.nontemporal and store.buffer in self.numbers:
            text = spell.past_caches(text, alignment(type_))
        if store.mask is None or type_.lanes > 1:
            self.lines.append(text)
            return
        with self._branch(operands[-1]):
            self.lines.append(text)

    def _store_lane(self, store: Store, lane: int) -> None:
        """A store of one lane of a vector: see `masks`."""
        type_, name = store.value.type, self._fresh("%v")
        pointer, rest = self._address(store.buffer, store.index)
        vector = spell.vector(spell.VALUE[type_.dtype.char], type_.lanes)
        memory = spell.MEMORY[type_.dtype.char]
        self.lines += [
            f"{name}.e = extractelement {vector} {self._operand(store.value)}, i64 {lane}",
            f"{name}.l = getelementptr {memory}, ptr {pointer}, i64 {lane}",
            spell.store(type_.dtype.char, 1, scatters=False, masked=False).format(
                name, f"{name}.l", rest, f"{name}.e"
            ),
        ]

    def _alloc(self, alloc: Alloc) -> None:
        buffer = alloc.buffer
        if buffer in self.registers:
            return
        name = self.pointers[buffer] = self._fresh("%b")
        type_ = spell.MEMORY[buffer.dtype.char]
        # At the start of the function, for there LLVM turns memory into registers.
        room = f"alloca [{buffer.size} x {type_}]"
        self.allocas.append(f"{name} = {room}, align {STACK_ALIGNMENT}")

    def _choose(self, s: Choose) -> None:
        """The address of one of several parameters."""
        name, at = self._fresh("%b"), self._operand(s.index)
        self.lines.append(f"{name}.k = add i64 {at}, {self.numbers[s.among[0]]}")
        self.lines += word(name, "ptr", f"{name}.k")
        self.pointers[s.buffer] = name
        self.addresses.chosen(name)

    def _check(self, check: Check) -> None:
        masked = check.mask is not None
        template = spell.failure(check.condition.type.lanes, masked=masked)
        failed = self._fresh("%v")
        operands = [self._operand(x) for x in (check.condition, check.mask) if x is not None]
        self.lines.append(template.format(failed, *operands))
        with self._branch(failed):
            self._failed()

    def _prefetch(self, s: Prefetch) -> None:
        type_ = spell.MEMORY[s.buffer.dtype.char]
        pointer, rest = self._address(s.buffer, s.index)
        name = self._fresh("%p")
        self.lines += [
            f"{name} = getelementptr {type_}, ptr {pointer}, i64 {rest}",
            f"call void @llvm.prefetch(ptr {name}, i32 0, i32 3, i32 1)",
        ]

    def _failed(self) -> None:
        # Several threads may store the same: atomic, at no cost.
        self.lines.append("store atomic i64 1, ptr %slots unordered, align 8")

    def _alignment(self, buffer: Buffer, index: Operand, type_: VType) -> int | None:
        """What the address of some lanes is a multiple of, beyond the size of an element."""
        return None

    # ----- threads: a CPU's kernels have one -----

    def _sync(self, sync: Sync) -> None:
        raise TypeError(sync)

    def _exchange(self, s: Exchange) -> None:
        raise TypeError(s)

    def _mma(self, s: Mma) -> None:
        raise TypeError(s)

    # ----- control -----

    def _if(self, when: If) -> None:
        pieces = self.registers.changed(when)
        with self._branch(self._operand(when.condition), pieces):
            self._body(when.body)

    def _for(self, loop: For) -> None:
        start, stop = self._operand(loop.start), self._operand(loop.stop)
        pieces = self.registers.changed(loop)
        with self._loop(loop.var, start, stop, loop.step, pieces):
            self._body(loop.body)

    def _piece(self, piece: Piece) -> str:
        return self.registers.values.get(piece, "zeroinitializer")

    def _pieces(self, pieces: Iterable[Piece]) -> list[str]:
        return [self._piece(piece) for piece in pieces]

    def _renamed(self, pieces: Sequence[Piece]) -> list[str]:
        """New names for pieces."""
        names = [self._fresh("%r") for _ in pieces]
        self.registers.values.update(zip(pieces, names))
        return names

    def _meeting(
        self, names: list[str], pieces: Sequence[Piece], *ways: tuple[str, list[str]]
    ) -> list[str]:
        """What pieces are where blocks meet: the label of each, and the pieces' values in it."""
        lines: list[str] = []
        for number, (name, piece) in enumerate(zip(names, pieces)):
            type_ = self.registers.types[piece[0]]
            data = spell.vector(spell.VALUE[type_.dtype.char], type_.lanes)
            met = ", ".join([f"[ {values[number]}, %{label} ]" for label, values in ways])
            lines.append(f"{name} = phi {data} {met}")
        return lines

    def _label(self, label: str) -> None:
        self.lines.append(f"{label}:")
        self.block = label

    @contextmanager
    def _branch(self, condition: str, pieces: Sequence[Piece] = ()) -> Iterator[None]:
        """A `with` block whose lines run where `condition` holds, and change `pieces`."""
        label, before, old = self._fresh("if"), self.block, self._pieces(pieces)
        self.lines.append(f"br i1 {condition}, label %{label}, label %{label}.end")
        self._label(label)
        yield
        self.lines.append(f"br label %{label}.end")
        inside, new = self.block, self._pieces(pieces)
        self._label(f"{label}.end")
        self.lines += self._meeting(self._renamed(pieces), pieces, (before, old), (inside, new))

    @contextmanager
    def _loop(
        self, var: Var, start: str, stop: str, step: int, pieces: Sequence[Piece] = ()
    ) -> Iterator[None]:
        """A `with` block whose lines are a loop, which changes `pieces`; its test is at the end."""
        label, name, before = self._fresh("for"), self._define(var), self.block
        old, early = self._pieces(pieces), list[str]()
        self.lines.append(early)
        turns = start.isdecimal() and stop.isdecimal() and int(start) < int(stop)
        if turns:
            self.lines.append(f"br label %{label}")
        else:
            self.lines += [
                f"%{label}.any = icmp slt i64 {start}, {stop}",
                f"br i1 %{label}.any, label %{label}, label %{label}.end",
            ]
        self._label(label)
        first, names = len(self.lines), self._renamed(pieces)
        with self.addresses.loop(early):
            self.addresses.define(var)
            yield
        back, new = self.block, self._pieces(pieces)
        self.lines[first:first] = [
            f"{name} = phi i64 [ {start}, %{before} ], [ %{label}.next, %{back} ]",
            *self._meeting(names, pieces, (before, old), (back, new)),
        ]
        self.lines += [
            f"%{label}.next = add nsw i64 {name}, {step}",
            f"%{label}.more = icmp slt i64 %{label}.next, {stop}",
            f"br i1 %{label}.more, label %{label}, label %{label}.end",
        ]
        self._label(f"{label}.end")
        if not turns:
            self.lines += self._meeting(self._renamed(pieces), pieces, (before, old), (back, new))


def word(name: str, type_: str, number: str) -> list[str]:
    """Reads a parameter."""
    return [
        f"{name}.r = getelementptr i64, ptr %record, i64 {number}",
        f"{name}.n = load i64, ptr {name}.r, align 8",
        f"{name}.s = getelementptr i64, ptr %slots, i64 {name}.n",
        f"{name} = load {type_}, ptr {name}.s, align 8",
    ]


def flat(lines: Iterable[str | list[str]]) -> Iterator[str]:
    """Lines in their order, those in lists too."""
    for line in lines:
        if isinstance(line, str):
            yield line
        else:
            yield from line
