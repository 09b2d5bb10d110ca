"""How statements of kernels are spelled in LLVM IR: templates, made once for each kind of them.

In a template, `{0}` is what the result is called, `{1}`, `{2}`, ... are the operands; names of its
own hang on `{0}`. A template has one line or more and no indentation. Intrinsics carry no types in
their names and are not declared: LLVM's parser adds both.

Bools are i1 as values and i8 in memory. float16 and bfloat16 are i16 everywhere, for they are only
moved about and converted.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable
from functools import cache, lru_cache

import numpy as np

from jit.errors import KernelError
from jit.loops.ir import Lit
from jit.types import dtypes

# The single letters of `np.dtype.char` stand for dtypes here: they are cheap to get and to hash.
VALUE = {
    **dict.fromkeys("?", "i1"),
    **dict.fromkeys("bB", "i8"),
    **dict.fromkeys("hHeE", "i16"),
    **dict.fromkeys("iI", "i32"),
    **dict.fromkeys("lLqQ", "i64"),
    "f": "float",
    "d": "double",
}
MEMORY = {**VALUE, "?": "i8"}
BYTES = {"i8": 1, "i16": 2, "i32": 4, "i64": 8, "float": 4, "double": 8}
KIND = {
    **dict.fromkeys("?", "bool"),
    **dict.fromkeys("bhilq", "signed"),
    **dict.fromkeys("BHILQ", "unsigned"),
    **dict.fromkeys("fd", "float"),
    **dict.fromkeys("eE", "half"),
}
NAME = {dtype.char: name for name, dtype in dtypes.items()}

# Instructions of two operands: what they are called for each kind of dtype.
INT = ("signed", "unsigned")
OPCODES: dict[str, dict[str, str]] = {
    "add": {**dict.fromkeys(INT, "add"), "float": "fadd"},
    "subtract": {**dict.fromkeys(INT, "sub"), "float": "fsub"},
    "multiply": {**dict.fromkeys(INT, "mul"), "float": "fmul"},
    "divide": {"float": "fdiv"},
    "quotient": {"signed": "sdiv", "unsigned": "udiv"},
    "rest": {"signed": "srem", "unsigned": "urem"},
    "bitwise_and": dict.fromkeys((*INT, "bool"), "and"),
    "bitwise_or": dict.fromkeys((*INT, "bool"), "or"),
    "bitwise_xor": dict.fromkeys((*INT, "bool"), "xor"),
    "logical_and": {"bool": "and"},
    "logical_or": {"bool": "or"},
    "logical_xor": {"bool": "xor"},
    "shift_left": dict.fromkeys(INT, "shl"),
    "shift_right": {"signed": "ashr", "unsigned": "lshr"},
    "equal": {**dict.fromkeys((*INT, "bool"), "icmp eq"), "float": "fcmp oeq"},
    "not_equal": {**dict.fromkeys((*INT, "bool"), "icmp ne"), "float": "fcmp une"},
    "less": {"signed": "icmp slt", "unsigned": "icmp ult", "float": "fcmp olt"},
    "less_equal": {"signed": "icmp sle", "unsigned": "icmp ule", "float": "fcmp ole"},
    "greater": {"signed": "icmp sgt", "unsigned": "icmp ugt", "float": "fcmp ogt"},
    "greater_equal": {"signed": "icmp sge", "unsigned": "icmp uge", "float": "fcmp oge"},
}
# Instructions of floats that are intrinsics: name and number of operands.
INTRINSICS = {
    "sqrt": ("llvm.sqrt", 1),
    "abs": ("llvm.fabs", 1),
    "floor": ("llvm.floor", 1),
    "ceil": ("llvm.ceil", 1),
    "trunc": ("llvm.trunc", 1),
    "round": ("llvm.roundeven", 1),
    "copysign": ("llvm.copysign", 2),
    "fma": ("llvm.fma", 3),
    "larger": ("llvm.maxnum", 2),
}
# Conversions between kinds; those within a kind depend on the widths.
CONVERSIONS = {
    **{("bool", kind): "zext" for kind in INT},
    ("bool", "float"): "uitofp",
    ("signed", "float"): "sitofp",
    ("unsigned", "float"): "uitofp",
    ("float", "signed"): "fptosi",
    ("float", "unsigned"): "fptoui",
}


def vector(type_: str, lanes: int) -> str:
    """LLVM's type of so many lanes."""
    return type_ if lanes == 1 else f"<{lanes} x {type_}>"


def splat(type_: str, number: str, lanes: int) -> str:
    """A number in every lane, as an operand."""
    return number if lanes == 1 else f"splat ({type_} {number})"


def literal(x: Lit) -> str:
    """A literal as an operand."""
    char = x.type.dtype.char
    type_, kind = VALUE[char], KIND[char]
    if kind == "bool":
        number = "true" if x.value else "false"
    elif kind == "float":
        # Hexadecimal, for it is exact; a float is written as the double of the same value.
        exact = x.value if char == "d" else ctypes.c_float(x.value).value
        number = f"0x{struct.pack('>d', exact).hex()}"
    elif kind == "half":
        with np.errstate(over="ignore"):
            number = str(np.array(x.value).astype(x.type.dtype).view(np.uint16))
    else:
        number = str(int(x.value))
    return splat(type_, number, x.type.lanes)


# ----- instructions -----


@lru_cache(maxsize=4096)
def instruction(
    op: str, char: str, lanes: int, result: str, width: int, immediates: tuple[int, ...]
) -> str:
    """The template of an instruction.

    Args:
        op: A direct instruction.
        char: The dtype of the first operand.
        lanes: The lanes of the first operand.
        result: The dtype of the result.
        width: The lanes of the result.
        immediates: Those of the instruction.

    Raises:
        KernelError: It is not a direct instruction for this dtype.
    """
    type_ = VALUE[char]
    if (opcode := OPCODES.get(op, {}).get(KIND[char])) is not None:
        return f"{{0}} = {opcode} {vector(type_, lanes)} {{1}}, {{2}}"
    if op in INTRINSICS and KIND[char] == "float":
        return _intrinsic(*INTRINSICS[op], vector(type_, lanes))
    if op in SHAPES:
        return SHAPES[op](VALUE[result], lanes, width, immediates)
    if op in BY_WIDTH:
        found = BY_WIDTH[op](char, result, lanes)
        if found is not None:
            return found
    raise KernelError(
        f"{op} of {NAME[char]} to {NAME[result]} is not a direct instruction",
        "a kernel that jit.loops.expand went over",
    )


def _intrinsic(name: str, arity: int, type_: str) -> str:
    operands = ", ".join(f"{type_} {{{k + 1}}}" for k in range(arity))
    return f"{{0}} = call {type_} @{name}({operands})"


def _negative(char: str, result: str, lanes: int) -> str | None:
    type_ = vector(VALUE[char], lanes)
    if KIND[char] == "float":
        return f"{{0}} = fneg {type_} {{1}}"
    return f"{{0}} = sub {type_} zeroinitializer, {{1}}" if KIND[char] in INT else None


def _inverse(char: str, result: str, lanes: int) -> str | None:
    one = splat(VALUE[char], "1.0", lanes)
    return f"{{0}} = fdiv {vector(VALUE[char], lanes)} {one}, {{1}}"


def _invert(char: str, result: str, lanes: int) -> str | None:
    if KIND[char] in ("float", "half"):
        return None
    type_ = VALUE[char]
    return f"{{0}} = xor {vector(type_, lanes)} {{1}}, {splat(type_, '-1', lanes)}"


def _logical_not(char: str, result: str, lanes: int) -> str | None:
    return _invert(char, result, lanes) if KIND[char] == "bool" else None


def _bitcast(char: str, result: str, lanes: int) -> str | None:
    old, new = vector(VALUE[char], lanes), vector(VALUE[result], lanes)
    return f"{{0}} = bitcast {old} {{1}} to {new}"


def _astype(char: str, result: str, lanes: int) -> str | None:
    """A conversion, or None where it takes more than one."""
    old, new = vector(VALUE[char], lanes), vector(VALUE[result], lanes)
    pair = KIND[char], KIND[result]
    if pair[1] == "bool" and pair[0] in (*INT, "float"):
        compare = "fcmp une" if pair[0] == "float" else "icmp ne"
        return f"{{0}} = {compare} {old} {{1}}, zeroinitializer"
    if (char, result) == ("e", "f"):
        half = vector("half", lanes)
        return f"{{0}}.h = bitcast {old} {{1}} to {half}\n{{0}} = fpext {half} {{0}}.h to {new}"
    if (char, result) == ("f", "e"):
        return _to_half(lanes)
    opcode = CONVERSIONS.get(pair) or _within_kind(char, result)
    return f"{{0}} = {opcode} {old} {{1}} to {new}" if opcode else None


def _to_half(lanes: int) -> str:
    """A float32 rounded to float16.

    LLVM rounds the operands of a scalar copysign before it rather than its result, looks for the
    sign before all conversions, and calls a function that nobody has where it was a float64's. The
    fence, of which nothing is left in the code, keeps rounding where it stands.
    """
    old, half, new = (vector(x, lanes) for x in ("float", "half", "i16"))
    lines = [
        f"{{0}}.h = fptrunc {old} {{0}}.f to {half}",
        f"{{0}} = bitcast {half} {{0}}.h to {new}",
    ]
    if lanes > 1:
        return "\n".join(lines).replace("{0}.f", "{1}")
    return "\n".join(["{0}.f = call float @llvm.arithmetic.fence(float {1})", *lines])


def _within_kind(char: str, result: str) -> str | None:
    old, new = VALUE[char], VALUE[result]
    if char == result or (old == new and KIND[char] in INT and KIND[result] in INT):
        return "bitcast"
    if KIND[char] in INT and KIND[result] in INT:
        wider = "sext" if KIND[char] == "signed" else "zext"
        return wider if BYTES[new] > BYTES[old] else "trunc"
    return {("f", "d"): "fpext", ("d", "f"): "fptrunc"}.get((char, result))


def _pairs(char: str, result: str, lanes: int) -> str | None:
    """Processors have it for vectors of three widths; a scalar is the first lane of one."""
    width = max(lanes, 4)
    if width not in (4, 8, 16):
        return None
    words, halves, sums = vector("i32", width), vector("bfloat", 2 * width), vector("float", width)
    lines, given = [], [f"{{{k + 1}}}" for k in range(3)]
    if lanes == 1:
        for k, type_ in enumerate((words, words, sums)):
            one = VALUE["I" if k < 2 else "f"]
            lines.append(f"{{0}}.{k} = insertelement {type_} poison, {one} {given[k]}, i64 0")
            given[k] = f"{{0}}.{k}"
    lines += [f"{{0}}.{x} = bitcast {words} {given[k]} to {halves}" for k, x in enumerate("ab")]
    name = f"llvm.x86.avx512bf16.dpbf16ps.{32 * width}"
    call = f"call {sums} @{name}({sums} {given[2]}, {halves} {{0}}.a, {halves} {{0}}.b)"
    if lanes == 1:
        return "\n".join(
            [*lines, f"{{0}}.s = {call}", f"{{0}} = extractelement {sums} {{0}}.s, i64 0"]
        )
    return "\n".join([*lines, f"{{0}} = {call}"])


# op -> (dtype, dtype of the result, lanes) to template, or None where the dtypes do not fit
BY_WIDTH: dict[str, Callable[[str, str, int], str | None]] = {
    "negative": _negative,
    "inverse": _inverse,
    "pairs": _pairs,
    "bitwise_invert": _invert,
    "logical_not": _logical_not,
    "bitcast": _bitcast,
    "astype": _astype,
}


# ----- instructions that move lanes -----

Immediates = tuple[int, ...]


def _where(type_: str, lanes: int, width: int, immediates: Immediates) -> str:
    data = vector(type_, lanes)
    return f"{{0}} = select {vector('i1', lanes)} {{1}}, {data} {{2}}, {data} {{3}}"


def _splat(type_: str, lanes: int, width: int, immediates: Immediates) -> str:
    data = vector(type_, width)
    if width == 1:
        return f"{{0}} = bitcast {data} {{1}} to {data}"
    return (
        f"{{0}}.s = insertelement {data} poison, {type_} {{1}}, i64 0\n"
        f"{{0}} = shufflevector {data} {{0}}.s, {data} poison, <{width} x i32> zeroinitializer"
    )


def _iota(type_: str, lanes: int, width: int, immediates: Immediates) -> str:
    if width == 1:
        return "{0} = add i64 0, 0"
    numbers = ", ".join(f"i64 {k}" for k in range(width))
    return f"{{0}} = add <{width} x i64> zeroinitializer, <{numbers}>"


def _extract(type_: str, lanes: int, width: int, immediates: Immediates) -> str:
    if lanes == 1:
        return f"{{0}} = bitcast {type_} {{1}} to {type_}"
    return f"{{0}} = extractelement {vector(type_, lanes)} {{1}}, i64 {immediates[0]}"


def _shuffle(type_: str, lanes: int, width: int, immediates: Immediates) -> str:
    if width == 1:
        operand, lane = divmod(immediates[0], lanes)
        return _extract(type_, lanes, 1, (lane,)).replace("{1}", f"{{{operand + 1}}}")
    if lanes == 1:
        return _gathered(type_, width, [f"{{{k + 1}}}" for k in immediates])
    data = vector(type_, lanes)
    order = ", ".join(f"i32 {k}" for k in immediates)
    return f"{{0}} = shufflevector {data} {{1}}, {data} {{2}}, <{width} x i32> <{order}>"


def _gathered(type_: str, width: int, scalars: list[str]) -> str:
    """A vector put together from scalars."""
    data, lines, so_far = vector(type_, width), [], "poison"
    for k, x in enumerate(scalars):
        name = "{0}" if k == width - 1 else f"{{0}}.{k}"
        lines.append(f"{name} = insertelement {data} {so_far}, {type_} {x}, i64 {k}")
        so_far = name
    return "\n".join(lines)


# op -> (type of a lane of the result, lanes, lanes of the result, immediates) to template
SHAPES: dict[str, Callable[[str, int, int, Immediates], str]] = {
    "where": _where,
    "splat": _splat,
    "iota": _iota,
    "extract": _extract,
    "shuffle": _shuffle,
}


# ----- memory -----


@cache
def load(
    char: str,
    lanes: int,
    *,
    gathers: bool,
    masked: bool,
    aligned: int | None = None,
    fills: bool = True,
) -> str:
    """The template of a load: `{1}` buffer, `{2}` index, `{3}` mask, `{4}` other.

    Lanes outside of the mask touch no memory outside of the buffer: one alone, or one of those
    gathered, reads element 0. `aligned` is what the address is a multiple of; `fills` says that
    loads of the machine put `other` where they do not read.
    """
    type_, bits = MEMORY[char], vector("i1", lanes)
    data, align = vector(type_, lanes), f"align {aligned or BYTES[type_]}"
    in_row = lanes > 1 and not gathers
    index = vector("i64", lanes) if gathers else "i64"
    lines, at = [], "{2}"
    if masked and not in_row:
        lines.append(f"{{0}}.i = select {bits} {{3}}, {index} {{2}}, {index} zeroinitializer")
        at = "{0}.i"
    lines.append(f"{{0}}.p = getelementptr {type_}, ptr {{1}}, {index} {at}")
    if gathers:
        every = f"{bits} {splat('i1', 'true', lanes)}"
        pointers = f"<{lanes} x ptr> {align} {{0}}.p"
        read = f"call {data} @llvm.masked.gather({pointers}, {every}, {data} poison)"
    elif masked and in_row:
        other = ("zeroinitializer" if char == "?" else "{4}") if fills else "poison"
        pointer = f"ptr {align} {{0}}.p"
        read = f"call {data} @llvm.masked.load({pointer}, {bits} {{3}}, {data} {other})"
    else:
        read = f"load {data}, ptr {{0}}.p, {align}"
    select = masked and (char == "?" or not in_row or not fills)
    lines += _named_last(read, data, char, lanes, select=select)
    return "\n".join(lines)


def _named_last(read: str, data: str, char: str, lanes: int, *, select: bool) -> list[str]:
    """Lines that end in `{0}`: the value read; as a bool; in the lanes of the mask."""
    one, bits = vector(VALUE[char], lanes), vector("i1", lanes)
    steps = [(".m", read)]
    if char == "?":
        steps.append((".t", f"icmp ne {data} {{0}}.m, zeroinitializer"))
    if select:
        steps.append(("", f"select {bits} {{3}}, {one} {{0}}{steps[-1][0]}, {one} {{4}}"))
    steps[-1] = ("", steps[-1][1])
    return [f"{{0}}{suffix} = {text}" for suffix, text in steps]


@cache
def store(
    char: str, lanes: int, *, scatters: bool, masked: bool, aligned: int | None = None
) -> str:
    """The template of a store: `{1}` buffer, `{2}` index, `{3}` value, `{4}` mask."""
    type_, one = MEMORY[char], VALUE[char]
    data, bits = vector(type_, lanes), vector("i1", lanes)
    align, value = f"align {aligned or BYTES[type_]}", "{3}"
    lines = []
    if one != type_:
        lines.append(f"{{0}}.m = zext {bits} {{3}} to {data}")
        value = "{0}.m"
    address = vector("i64", lanes) if scatters else "i64"
    lines.append(f"{{0}}.p = getelementptr {type_}, ptr {{1}}, {address} {{2}}")
    if scatters:
        mask = "{4}" if masked else splat("i1", "true", lanes)
        lines.append(
            f"call void @llvm.masked.scatter"
            f"({data} {value}, <{lanes} x ptr> {align} {{0}}.p, {bits} {mask})"
        )
    elif masked and lanes > 1:
        lines.append(
            f"call void @llvm.masked.store({data} {value}, ptr {align} {{0}}.p, {bits} {{4}})"
        )
    else:
        lines.append(f"store {data} {value}, ptr {{0}}.p, {align}")
    return "\n".join(lines)


def past_caches(store: str, alignment: int) -> str:
    """A line that stores as one that does past the caches, to an address that is a multiple."""
    return f"{store.rpartition(', align')[0]}, align {alignment}, !nontemporal !0"


@cache
def failure(lanes: int, *, masked: bool) -> str:
    """The template of an i1 that says whether a check fails: `{1}` condition, `{2}` mask."""
    bits = vector("i1", lanes)
    last = "{0}" if lanes == 1 else "{0}.l"
    negated = "{0}.n" if masked else last
    lines = [f"{negated} = xor {bits} {{1}}, {splat('i1', 'true', lanes)}"]
    if masked:
        lines.append(f"{last} = and {bits} {{0}}.n, {{2}}")
    if lanes > 1:
        lines.append(f"{{0}} = call i1 @llvm.vector.reduce.or({bits} {last})")
    return "\n".join(lines)
