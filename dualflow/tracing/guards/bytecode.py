"""Bytecode: which names a code object reads and writes, and on which lines."""

from __future__ import annotations

import dis
import re
import sys
from collections.abc import Iterator
from types import CodeType

from dualflow.core.number import KINDS
from dualflow.core.tensor import Tensor
from dualflow.tracing.guards import policy
from dualflow.tracing.guards.stack import constant_arguments, use_of
from jit.dataclass import dataclass

CACHED, LISTED = 5000, 200  # code objects, before they are read anew
GLOBALS = frozenset(("LOAD_GLOBAL", "LOAD_NAME", "STORE_GLOBAL", "DELETE_GLOBAL", "STORE_NAME"))
ATTRIBUTES = frozenset(
    (
        "LOAD_ATTR",
        "LOAD_METHOD",
        "STORE_ATTR",
        "DELETE_ATTR",
        "LOAD_SUPER_ATTR",
        "IMPORT_NAME",
        "IMPORT_FROM",
    )
)
ENTERING = ("BEFORE_WITH", "LOAD_SPECIAL")
ITEM_STORES = ("STORE_SUBSCR", "DELETE_SUBSCR", "STORE_SLICE")
# How many low bits of an argument are flags, not the index of a name.
SHIFTS = {"LOAD_GLOBAL": 1}
if sys.version_info >= (3, 12):
    SHIFTS |= {"LOAD_ATTR": 1, "LOAD_SUPER_ATTR": 2}

MATCH_CLASS = dis.opmap["MATCH_CLASS"]
FORMATTING = frozenset(("format", "format_map"))
FIELD = re.compile(r"\.(\w+)(?=[^{}]*})")  # an attribute in a replacement field
FINDING = frozenset(("import_module", "__import__", "modules"))  # are given the name of a module

IMPORT_NAME = dis.opmap["IMPORT_NAME"]
# What asks whether two things are one; of lists `in` and some methods do before they compare.
IS_OP, CONTAINS_OP, LOAD_CONST = (dis.opmap[x] for x in ("IS_OP", "CONTAINS_OP", "LOAD_CONST"))
COMPARING = frozenset("id is_ is_not index count remove".split())
STORES = frozenset(("STORE_ATTR", "DELETE_ATTR"))
UNMEANT = ("CACHE", "COPY", "EXTENDED_ARG")  # between a class and the attribute asked of it
STOOD_FOR = (int, float, Tensor, *KINDS)  # what stand-ins stand for, and stand-ins

_by_code = {
    dis.opmap[name]: (kinds, SHIFTS.get(name, 0))
    for names, kinds in ((GLOBALS, (0,)), (ATTRIBUTES - STORES, (1,)), (STORES, (1, 2)))
    for name in names
    if name in dis.opmap
}


@dataclass(frozen=True, slots=True)
class Names:
    """The names in a code object.

    Attributes:
        code: It; kept, so that its id stays its own.
        globals: Names that are looked up in the module, then among the builtins.
        attributes: Names that are looked up on objects.
        stored: Those of them that are set or deleted, or may be missing.
        whole: Whether any attribute may be read, by a name that is computed.
        imports: Modules that are imported, each with the number of dots before its name.
        compares: Whether it may ask if two things, neither of them a constant, are one.
        types: Whether it may ask for a type in a way that tells stand-ins from what they stand for.
    """

    code: CodeType
    globals: frozenset[str]
    attributes: frozenset[str]
    stored: frozenset[str]
    whole: bool
    imports: tuple[tuple[str, int], ...]
    compares: bool
    types: bool


_listings: dict[int, tuple[CodeType, list[dis.Instruction]]] = {}  # by id
_names: dict[int, Names] = {}  # by id: equal code objects may be of different functions


def names_of(code: CodeType) -> Names:
    """The names in `code`; remembered."""
    known = _names.get(id(code))
    if known is None:
        if len(_names) >= CACHED:
            _names.clear()
        known = _names[id(code)] = _read(code)
    return known


def _read(code: CodeType) -> Names:
    found: tuple[set[str], ...] = (set(), set(), set())
    high, compares = 0, False
    raw = code.co_code
    for k in range(0, len(raw), 2):
        op, arg = raw[k], high | raw[k + 1]
        compares |= op == IS_OP and raw[k - 2] != LOAD_CONST
        high = arg << 8 if op == dis.EXTENDED_ARG else 0
        if (what := _by_code.get(op)) is not None:
            kinds, shift = what
            for kind in kinds:
                found[kind].add(code.co_names[arg >> shift])
    names, attributes, stored = found
    whole = not policy.REFLECTING.isdisjoint(names | attributes)
    if not policy.NAMING.isdisjoint(names):
        given = set(constant_arguments(listing(code), policy.NAMING, 1))
        texts = {name for name in given if isinstance(name, str)}
        whole = whole or texts != given
        attributes |= texts
        stored |= texts
    if not FORMATTING.isdisjoint(names | attributes):
        texts = texts_in(code)
        whole = whole or not any("{" in text for text in texts)
        attributes |= {name for text in texts for name in FIELD.findall(text)}
    if MATCH_CLASS in raw[::2]:
        attributes |= patterns_in(code)
        stored |= patterns_in(code)
    if code.co_exceptiontable:  # an error that says that something is missing may be caught
        stored |= attributes
    imports = tuple(imported(code)) if IMPORT_NAME in raw[::2] else ()
    if not FINDING.isdisjoint(names | attributes):
        imports += tuple((x, 0) for x in texts_in(code) if x.replace(".", "_").isidentifier())
    compares = compares or not COMPARING.isdisjoint(names | attributes)
    compares = compares or (CONTAINS_OP in raw[::2] and searches(listing(code)))
    reads, sets = frozenset(attributes), frozenset(stored)
    types = "type" in names | attributes and asks_types(listing(code))
    return Names(code, frozenset(names), reads, sets, whole, imports, compares, types)


def texts_in(code: CodeType) -> list[str]:
    """The strings among the constants of `code`."""
    return [x for x in code.co_consts if isinstance(x, str)]


def patterns_in(code: CodeType) -> set[str]:
    """The attributes that patterns of classes may name; positions stand for those of the class."""
    names = [x for x in code.co_consts if type(x) is tuple]
    return {x for each in names for x in each if isinstance(x, str)} | {"__match_args__"}


def searches(code: list[dis.Instruction]) -> bool:
    """Whether something is looked for by `in` that is no constant, nor among constants."""
    constants = [k for k, x in enumerate(code) if x.opcode == LOAD_CONST]
    uses = {use.number for k in constants if (use := use_of(code, k)) is not None}
    return any(x.opcode == CONTAINS_OP and k not in uses for k, x in enumerate(code))


def asks_types(code: list[dis.Instruction]) -> bool:
    """Whether `type` is called for more than an attribute that numbers and tensors do not have.

    `type(self).count` fails for stand-ins as it does for what they stand for.
    """
    named = {x.argval for x in code if x.opname in GLOBALS or x.opname in ATTRIBUTES}
    loads = GLOBALS if "builtins" not in named else GLOBALS | ATTRIBUTES
    return any(
        x.argval == "type" and x.opname in loads and not is_of_class(code, k)
        for k, x in enumerate(code)
    )


def is_of_class(code: list[dis.Instruction], number: int) -> bool:
    """Whether `type`, which an instruction pushes, is called to come to an attribute of a class."""
    use = use_of(code, number)
    if use is None or use.instruction.opname != "CALL" or len(use.above) != 1:
        return False
    rest = [x for x in code[use.number + 1 : use.number + 6] if x.opname not in UNMEANT]
    reads = bool(rest) and rest[0].opname in ("LOAD_ATTR", "LOAD_METHOD", "STORE_ATTR")
    return reads and not any(hasattr(kind, rest[0].argval) for kind in STOOD_FOR)


def imported(code: CodeType) -> Iterator[tuple[str, int]]:
    """The modules that `code` imports, each with the number of dots before its name."""
    lines = [i for i in listing(code) if i.opname not in ("EXTENDED_ARG", "CACHE")]
    for level, _, instruction in zip(lines, lines[1:], lines[2:], strict=False):
        if instruction.opname == "IMPORT_NAME":
            yield instruction.argval, level.argval


def listing(code: CodeType) -> list[dis.Instruction]:
    """The instructions of `code`; remembered for a while."""
    known = _listings.get(id(code))
    if known is None:
        if len(_listings) >= LISTED:
            _listings.clear()
        known = _listings[id(code)] = (code, list(dis.get_instructions(code)))
    return known[1]


def instructions(code: CodeType) -> Iterator[tuple[dis.Instruction, int]]:
    """The instructions of `code`, each with its line."""
    line = code.co_firstlineno
    for instruction in listing(code):
        if isinstance(instruction.starts_line, int) and not isinstance(
            instruction.starts_line, bool
        ):
            line = instruction.starts_line
        elif (newer := getattr(instruction, "line_number", None)) is not None:
            line = newer
        yield instruction, line


def line_of_name(code: CodeType, name: str, prefixes: tuple[str, ...] = ("LOAD",)) -> int | None:
    """The first line on which `code` has an instruction of this kind about `name`."""
    for instruction, line in instructions(code):
        if instruction.argval == name and instruction.opname.startswith(prefixes):
            return line
    return None


def enters(code: CodeType) -> bool:
    """Whether `code` has a `with` statement."""
    return any(x.opname in ENTERING for x in listing(code))


def line_of_item_store(code: CodeType) -> int | None:
    """The first line on which `code` stores or deletes an item."""
    for instruction, line in instructions(code):
        if instruction.opname in ITEM_STORES:
            return line
    return None
