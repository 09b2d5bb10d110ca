"""Kernels for NVIDIA GPUs as LLVM IR text; it differs from a CPU's in where things are.

A kernel becomes `ptx_kernel void entry(buffers, sizes, status)`: the address of each buffer, each
size, and the address of the status word, an i32; a check that fails stores 1 there. An item of the
grid is a block of threads.

A kernel that chooses among its parameters has one parameter instead, which holds all of these
words: the machine reads it at any place.

Of memory that threads share, more than a little is asked for by the launch: `dynamic_bytes`.
"""

from __future__ import annotations

from collections.abc import Callable

from jit.codegen import llvm_spell as spell
from jit.codegen.llvm import ENTRY, Code
from jit.codegen.ranges import HALF, Ranges
from jit.loops.affine import Forms
from jit.loops.expand import narrows
from jit.loops.ir import (
    INDEX,
    WARP,
    Alloc,
    Buffer,
    Choose,
    Exchange,
    For,
    Kernel,
    Let,
    Load,
    Mma,
    Operand,
    Statement,
    Sync,
    Var,
    VType,
    walk,
)
from jit.target import Target
from jit.types import float32

ALIGNMENT = 16  # bytes that addresses of buffers are multiples of; what a thread accesses at once
STATUS = "%status"
WORDS = "%words"
ROOM = "@room"
BLOCKS = 8  # of four rows, a warp each, that a processor has registers for
MAPS = 12  # blocks as large of maps: 40 registers are enough for few values
STATIC = 48 << 10  # bytes that threads share without being asked for
NEVER_WRITTEN = ", !invariant.load !0"
# What is done with indices of 31 bits: a number, a truth.
HALVES = {"quotient": "udiv i32", "rest": "urem i32"}
COMPARED = {
    "less": "icmp ult i32",
    "less_equal": "icmp ule i32",
    "greater": "icmp ugt i32",
    "greater_equal": "icmp uge i32",
    "equal": "icmp eq i32",
    "not_equal": "icmp ne i32",
}
MATCHED = ("equal", "not_equal")
MMA = {  # what a product of matrices is called, by what is multiplied
    "float32": "m16n8k8.row.col.tf32",
    "float16": "m16n8k16.row.col.f32.f32",
    "bfloat16": "m16n8k16.row.col.bf16",
}
RESIDENT = 512  # threads that a multiprocessor runs at least: each has 128 registers at most
COMPUTING = 768  # likewise, threads that compute for others, who fold: 80 registers
# Likewise, threads with tensor cores: they have 168 registers, or 255 for so many sums each.
MULTIPLYING, KEPT = 384, 64
HELD = 384  # or so many bytes of sums, and of operands that stay in registers


class PtxCode(Code):
    """The text of a function in the making."""

    fills = False  # LLVM ends the process over a masked load that does, where the mask is known

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.forms, self.ranges = Forms(kernel), Ranges(kernel)
        self.parameters: list[str] = []
        self.globals: list[str] = []
        self.shared = self.room = 0  # bytes of the part that is written, and of the largest one
        self.dynamic = dynamic_bytes(kernel)
        self.chooses = any(isinstance(s, Choose) for s in kernel.statements())
        super().__init__(kernel)

    def text(self, target: Target) -> str:
        """The module."""
        return "\n".join(
            [
                f'target triple = "{target.triple}"',
                *self.globals,
                f"define ptx_kernel void @{ENTRY}({', '.join(self.parameters)}) nounwind "
                f'"nvvm.maxntid"="{self.kernel.threads}"{self._resident()} {{',
                *self.lines_of_body(),
                "!0 = !{}",
                "",
            ]
        )

    def _resident(self) -> str:
        """Blocks whose threads wait for each other leave room for others, which go on meanwhile."""
        every = [*self.kernel.statements()]
        multiplies = any(isinstance(s, Mma) for s in every)
        exchanges = not multiplies and any(isinstance(s, Exchange) for s in every)
        if self.kernel.threads == 4 * WARP and exchanges:
            return f' "nvvm.minctasm"="{BLOCKS}"'  # rows, which wait for memory by turns
        if self.kernel.threads == 4 * WARP and is_simple_map(self.kernel):
            return f' "nvvm.minctasm"="{MAPS}"'  # likewise; functions ask for a few registers more
        rooms = [s.buffer for s in every if isinstance(s, Alloc)]
        rooms = [room for room in rooms if room.scope == "register"]
        alone = exchanges or any(room.size > 1 for room in rooms)
        most = RESIDENT if alone else COMPUTING
        if multiplies:
            if any(room.dtype.itemsize == 2 for room in rooms):  # operands that stay, too
                many = sum(room.size * room.dtype.itemsize for room in rooms) > HELD
            else:
                many = max([room.size for room in rooms], default=0) > KEPT
            most = max(MULTIPLYING // (1 + many), 2 * self.kernel.threads)
        blocks = most // self.kernel.threads
        waits = any(isinstance(s, Sync) and s.threads > WARP for s in every)
        return f' "nvvm.minctasm"="{blocks}"' if blocks > 1 and waits else ""

    # ----- where things are -----

    def start(self, kernel: Kernel) -> None:
        """Parameters, and the numbers of block and thread."""
        if self.chooses:
            self._words(kernel)
        else:
            self._parameters(kernel)
        self._number(kernel.item, "ctaid")
        if kernel.thread is not None:
            self._number(kernel.thread, "tid")
        for part in parts_of(kernel):  # a block runs one of them: they have one room in turns
            self.shared = 0
            self._body(part)
            self.room = max(self.room, self.shared)
        if self.dynamic:
            kind = f"external addrspace(3) global [0 x i8], align {ALIGNMENT}"
            self.globals.append(f"{ROOM} = {kind}")
        elif self.room:
            kind = f"[{self.room} x i8] undef, align {ALIGNMENT}"
            self.globals.append(f"{ROOM} = internal addrspace(3) global {kind}")

    def _parameters(self, kernel: Kernel) -> None:
        for index, buffer in enumerate(kernel.buffers):
            self.pointers[buffer] = self._pointer(f"%a{index}", buffer)
        for index, size in enumerate(kernel.sizes):
            self.names[size] = f"%n{index}"
            self.parameters.append(f"i64 %n{index}")
        self.parameters.append(f"ptr addrspace(1) align 4 {STATUS}.g")
        self.lines.append(f"{STATUS} = addrspacecast ptr addrspace(1) {STATUS}.g to ptr")

    def _words(self, kernel: Kernel) -> None:
        """One parameter for all; buffers are chosen where they are needed."""
        first = len(kernel.buffers)
        status = first + len(kernel.sizes)
        self.parameters.append(f"ptr byval([{status + 1} x i64]) align 8 {WORDS}")
        for index, size in enumerate(kernel.sizes, first):
            self.names[size] = f"%n{index}"
            self.lines += self._word(f"%n{index}", "i64", f"{index}")
        self.lines += self._word(f"{STATUS}.g", "ptr addrspace(1)", f"{status}")
        self.lines.append(f"{STATUS} = addrspacecast ptr addrspace(1) {STATUS}.g to ptr")

    def _word(self, name: str, type_: str, number: str) -> list[str]:
        """Reads a word."""
        return [
            f"{name}.w = getelementptr i64, ptr {WORDS}, i64 {number}",
            f"{name} = load {type_}, ptr {name}.w, align 8",
        ]

    def _choose(self, s: Choose) -> None:
        name, at = self._fresh("%b"), self._operand(s.index)
        self.lines.append(f"{name}.k = add i64 {at}, {self.numbers[s.among[0]]}")
        self.lines += self._word(f"{name}.g", "ptr addrspace(1)", f"{name}.k")
        self.lines.append(f"{name} = addrspacecast ptr addrspace(1) {name}.g to ptr")
        self.pointers[s.buffer] = name
        self.addresses.chosen(name)

    def _let(self, let: Let) -> None:
        self.ranges.note(let)
        if let.op == "tf32":
            return self._tf32(let)
        if narrows(let):
            return self._narrow(let)
        if let.op == "inverse" and let.var.type.dtype == float32:
            return self._each(let, self._inverse)
        if let.op == "near_exp2":
            return self._each(let, self._power)
        numbers = let.args[1:] if let.op == "where" else let.args
        if all(x.type == INDEX and self.ranges.is_half(x) for x in numbers):
            return self._small(let)
        if let.op in MATCHED and (found := self._number_and_row(let)):
            return self._matched_row(let, *found)
        if let.op in MATCHED and let.args[0].type == INDEX:
            halves = sorted(let.args, key=self.ranges.is_half)
            if self.ranges.is_half(halves[1]):
                return self._matched(let, *halves)
        return super()._let(let)

    def _each(self, let: Let, write: Callable[[str, str], None]) -> None:
        """Writes an instruction that is for one float32, for each lane."""
        (x,), lanes = let.args, let.var.type.lanes
        name, value, type_ = self._define(let.var), self._operand(x), spell.vector("float", lanes)
        if lanes == 1:
            return write(name, value)
        before = "poison"
        for k in range(lanes):
            made = name if k == lanes - 1 else f"{name}.{k}"
            self.lines.append(f"{name}.x{k} = extractelement {type_} {value}, i64 {k}")
            write(f"{name}.y{k}", f"{name}.x{k}")
            self.lines.append(
                f"{made} = insertelement {type_} {before}, float {name}.y{k}, i64 {k}"
            )
            before = made
        return None

    def _tf32(self, let: Let) -> None:
        (x,) = let.args
        name = self._define(let.var)
        self.lines += [
            f"{name}.i = call i32 @llvm.nvvm.f2tf32.rna(float {self._operand(x)})",
            f"{name} = bitcast i32 {name}.i to float",
        ]

    def _narrow(self, let: Let) -> None:
        """Rounds to bfloat16, to nearest and ties to even."""
        (x,) = let.args
        lanes, name, value = x.type.lanes, self._define(let.var), self._operand(x)
        old, half, new = (spell.vector(type_, lanes) for type_ in ("float", "bfloat", "i16"))
        self.lines += [
            f"{name}.h = fptrunc {old} {value} to {half}",
            f"{name} = bitcast {half} {name}.h to {new}",
        ]

    def _power(self, name: str, x: str) -> None:
        """2**x, as near as the machine's instruction is."""
        self.lines.append(f"{name} = call float @llvm.nvvm.ex2.approx.ftz.f(float {x})")

    def _inverse(self, name: str, x: str) -> None:
        """1 / x, rounded, as the machine does where no exponent is extreme: a step of Newton's."""
        fma = "call float @llvm.fma.f32"
        self.lines += [
            f"{name}.r = call float @llvm.nvvm.rcp.approx.ftz.f(float {x})",
            f"{name}.n = fneg float {x}",
            f"{name}.e = {fma}(float {name}.n, float {name}.r, float 1.0)",
            f"{name} = {fma}(float {name}.r, float {name}.e, float {name}.r)",
        ]

    def _load(self, load: Load) -> None:
        """A load; addresses that are words do not tell that nobody writes there."""
        super()._load(load)
        if self.chooses and load.buffer.scope == "param" and load.buffer.access == "in":
            lines = str(self.lines[-1]).split("\n")
            marked = [x + NEVER_WRITTEN if " = load " in x else x for x in lines]
            self.lines[-1] = "\n".join(marked)

    def _pointer(self, name: str, buffer: Buffer) -> str:
        read = " readonly" if buffer.access == "in" else ""
        kind = "ptr addrspace(1)"
        self.parameters.append(f"{kind} noalias{read} align {ALIGNMENT} {name}.g")
        self.lines.append(f"{name} = addrspacecast {kind} {name}.g to ptr")
        return name

    def _number(self, var: Var, register: str) -> None:
        name = self._define(var)
        self.lines += [
            f"{name}.r = call i32 @llvm.nvvm.read.ptx.sreg.{register}.x()",
            f"{name} = zext i32 {name}.r to i64",
        ]

    def _alloc(self, alloc: Alloc) -> None:
        buffer = alloc.buffer
        if buffer.scope != "shared":
            return super()._alloc(alloc)
        if self.kernel.parts or self.dynamic:
            return self._part_of_room(buffer)
        name, type_ = self._fresh("@s"), spell.MEMORY[buffer.dtype.char]
        room = f"[{buffer.size} x {type_}] undef, align {ALIGNMENT}"
        self.globals.append(f"{name} = internal addrspace(3) global {room}")
        pointer = self.pointers[buffer] = self._fresh("%b")
        self.allocas.append(f"{pointer} = addrspacecast ptr addrspace(3) {name} to ptr")
        return None

    def _part_of_room(self, buffer: Buffer) -> None:
        start, self.shared = self.shared, self.shared + room_bytes(buffer)
        pointer = self.pointers[buffer] = self._fresh("%b")
        place = f"getelementptr (i8, ptr addrspace(3) {ROOM}, i64 {start})"
        self.allocas.append(f"{pointer} = addrspacecast ptr addrspace(3) {place} to ptr")

    def _failed(self) -> None:
        self.lines.append(f"store i32 1, ptr {STATUS}, align 4")

    def _alignment(self, buffer: Buffer, index: Operand, type_: VType) -> int | None:
        """What the address of lanes in a row is surely a multiple of, in bytes."""
        if index.type.lanes > 1 or buffer.scope in ("register", "stack"):
            return None
        width = min(ALIGNMENT, type_.lanes * type_.dtype.itemsize)
        if type_.lanes == 1:  # the first of several in a row: LLVM makes one access of them
            width = ALIGNMENT
        return width if self.forms.multiple(index, width // type_.dtype.itemsize) else None

    # ----- indices -----

    def _small(self, let: Let) -> None:
        """Indices that are small are divided and compared as numbers of 32 bits."""
        operation = HALVES.get(let.op) or COMPARED.get(let.op)
        if operation is None and let.op != "where":
            return super()._let(let)
        operands = [self._operand(x) for x in let.args]
        name, halves = self._define(let.var), list(operands)
        for k, x in enumerate(let.args):
            if isinstance(x, Var) and x.type == INDEX:
                halves[k] = f"{name}.n{k}"
                self.lines.append(f"{halves[k]} = trunc i64 {operands[k]} to i32")
        if let.op in COMPARED:
            return self.lines.append(f"{name} = {operation} {halves[0]}, {halves[1]}")
        made = f"{operation} {halves[0]}, {halves[1]}"
        if let.op == "where":
            made = f"select i1 {halves[0]}, i32 {halves[1]}, i32 {halves[2]}"
        self.lines += [f"{name}.q = {made}", f"{name} = zext i32 {name}.q to i64"]
        return None

    def _matched(self, let: Let, x: Operand, half: Operand) -> None:
        """Whether an index that is small is some number, of which only 31 bits are looked at.

        The number becomes one that no such index is, if it has more: outside of loops.
        """
        value, other, name = self._operand(x), self._operand(half), self._define(let.var)
        self.lines += [
            *matchable(name, value),
            f"{name}.o = trunc i64 {other} to i32",
            f"{name} = {COMPARED[let.op]} {name}.m, {name}.o",
        ]

    def _number_and_row(self, let: Let) -> tuple[Operand, Operand] | None:
        """A number, and the first of neighbours that are compared with it, which is small."""
        made = self.forms.made
        for number, row in (let.args, let.args[::-1]):
            whole, sum_ = (made.get(x) if isinstance(x, Var) else None for x in (number, row))
            if not (isinstance(sum_, Let) and sum_.op == "add" and sum_.var.type.lanes > 1):
                continue
            first, count = (made.get(x) if isinstance(x, Var) else None for x in sum_.args)
            ops = [x.op if isinstance(x, Let) else "" for x in (whole, first, count)]
            if ops == ["splat", "splat", "iota"]:
                found = whole.args[0], first.args[0]  # type: ignore[union-attr]
                span = self.ranges.of(found[1])
                small = span and span[0] >= 0 and span[1] + sum_.var.type.lanes <= HALF
                return found if small else None
        return None

    def _matched_row(self, let: Let, x: Operand, first: Operand) -> None:
        """Which of neighbouring small indices is some number: it less the first one is compared."""
        value, other, name = self._operand(x), self._operand(first), self._define(let.var)
        before, lanes = "poison", let.var.type.lanes
        self.lines += [
            *matchable(name, value),
            f"{name}.o = trunc i64 {other} to i32",
            f"{name}.d = sub i32 {name}.m, {name}.o",
        ]
        for k in range(lanes):
            made = name if k == lanes - 1 else f"{name}.{k}"
            self.lines += [
                f"{name}.e{k} = {COMPARED[let.op]} {name}.d, {k}",
                f"{made} = insertelement <{lanes} x i1> {before}, i1 {name}.e{k}, i64 {k}",
            ]
            before = made

    def _for(self, loop: For) -> None:
        self.ranges.loop(loop)
        super()._for(loop)

    # ----- threads -----

    def _sync(self, sync: Sync) -> None:
        if sync.threads == WARP:
            self.lines.append("call void @llvm.nvvm.bar.warp.sync(i32 -1)")
        else:
            self.lines.append("call void @llvm.nvvm.barrier.cta.sync.aligned.all(i32 0)")

    def _exchange(self, s: Exchange) -> None:
        """The value in pieces of 32 bits, each by the machine's instruction."""
        type_, value = spell.VALUE[s.value.type.dtype.char], self._operand(s.value)
        name = self._define(s.var)
        self.lines.append(f"{name}.t = trunc i64 {self._operand(s.thread)} to i32")
        if type_ in ("float", "i32"):
            return self._shuffled(name, "f32" if type_ == "float" else type_, type_, value, name)
        bits = 64 if type_ == "double" else spell.BYTES.get(type_, 1) * 8 if type_ != "i1" else 1
        if type_ == "double":
            self.lines.append(f"{name}.w = bitcast double {value} to i64")
            value = f"{name}.w"
        if bits == 64:
            return self._halves(name, value, type_)
        self.lines.append(f"{name}.w = zext i{bits} {value} to i32")
        self._shuffled(name, "i32", "i32", f"{name}.w", f"{name}.v")
        self.lines.append(f"{name} = trunc i32 {name}.v to i{bits}")
        return None

    def _mma(self, s: Mma) -> None:
        """Operands in words of 32 bits."""
        kind = s.a.type.dtype.name
        name, word = self._define(s.var), "<2 x half>" if kind == "float16" else "i32"
        words = [
            *self._words_of(f"{name}.a", s.a, 4, word),
            *self._words_of(f"{name}.b", s.b, 2, word),
        ]
        self._words_of(f"{name}.c", s.c, 4, "float")
        given = ", ".join([*words, *[f"float {name}.c{k}" for k in range(4)]])
        four = "{ float, float, float, float }"
        self.lines.append(f"{name}.m = call {four} @llvm.nvvm.mma.{MMA[kind]}({given})")
        before = "poison"
        for k in range(4):
            made = name if k == 3 else f"{name}.v{k}"
            self.lines += [
                f"{name}.x{k} = extractvalue {four} {name}.m, {k}",
                f"{made} = insertelement <4 x float> {before}, float {name}.x{k}, i64 {k}",
            ]
            before = made

    def _words_of(self, name: str, x: Operand, count: int, word: str) -> list[str]:
        """A vector as so many words, called `name` and a number."""
        data = spell.VALUE[x.type.dtype.char]
        whole = f"<{count} x {'float' if word == 'float' else 'i32'}>"
        self.lines.append(
            f"{name} = bitcast <{x.type.lanes} x {data}> {self._operand(x)} to {whole}"
        )
        for k in range(count):
            taken = f"{name}{k}" if word != "<2 x half>" else f"{name}{k}.w"
            self.lines.append(f"{taken} = extractelement {whole} {name}, i64 {k}")
            if taken != f"{name}{k}":
                self.lines.append(f"{name}{k} = bitcast i32 {taken} to {word}")
        return [f"{word} {name}{k}" for k in range(count)]

    def _halves(self, name: str, value: str, type_: str) -> None:
        self.lines.append(f"{name}.p = bitcast i64 {value} to <2 x i32>")
        pair = "poison"
        for k in (0, 1):
            self.lines.append(f"{name}.x{k} = extractelement <2 x i32> {name}.p, i64 {k}")
            self._shuffled(name, "i32", "i32", f"{name}.x{k}", f"{name}.y{k}")
            self.lines.append(
                f"{name}.q{k} = insertelement <2 x i32> {pair}, i32 {name}.y{k}, i64 {k}"
            )
            pair = f"{name}.q{k}"
        self.lines.append(f"{name} = bitcast <2 x i32> {pair} to {type_}")

    def _shuffled(self, name: str, kind: str, type_: str, value: str, result: str) -> None:
        given = f"i32 -1, {type_} {value}, i32 {name}.t, i32 {WARP - 1}"
        self.lines.append(f"{result} = call {type_} @llvm.nvvm.shfl.sync.idx.{kind}({given})")


def matchable(name: str, value: str) -> list[str]:
    """An index as 31 bits, or as a number that none of these is."""
    return [
        f"{name}.h = lshr i64 {value}, 31",
        f"{name}.z = icmp eq i64 {name}.h, 0",
        f"{name}.l = trunc i64 {value} to i32",
        f"{name}.m = select i1 {name}.z, i32 {name}.l, i32 -1",
    ]


def is_simple_map(kernel: Kernel) -> bool:
    """Whether each thread computes elements of few values once, none of them wider than 4 bytes."""
    waits = any(isinstance(s, For | Sync | Exchange) for s in kernel.statements())
    narrow = all(buffer.dtype.itemsize <= 4 for buffer in kernel.buffers)
    return not waits and narrow and len(kernel.buffers) <= 3


def parts_of(kernel: Kernel) -> list[tuple[Statement, ...]]:
    """What a block may run, one of these."""
    return [(part,) for part in kernel.body] if kernel.parts else [kernel.body]


def room_bytes(buffer: Buffer) -> int:
    """What a buffer takes of the memory that threads share."""
    return -(-buffer.size * buffer.dtype.itemsize // ALIGNMENT) * ALIGNMENT


def dynamic_bytes(kernel: Kernel) -> int:
    """Shared memory that a launch has to ask for; 0 if it need not."""
    found = []
    for part in parts_of(kernel):
        rooms = [s.buffer for s in walk(part) if isinstance(s, Alloc)]
        found.append(sum(room_bytes(room) for room in rooms if room.scope == "shared"))
    most = max(found, default=0)
    return most if most > STATIC else 0
