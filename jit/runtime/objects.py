"""Object files into this process, without LLVM: what is found on the disk runs at once.

LLVM takes as long to be loaded as a hundred kernels take to be linked, and linking is all that code
of before still needs. Object files here are simple: functions, and the constants that they read.
So their sections are put side by side into pages of memory, the places that the code names are
filled in, and then the pages can be run and no more be written. What is beyond that, such as
another processor's objects, is left to LLVM's linker.
"""

from __future__ import annotations

import ctypes
import mmap
import struct
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple

FILE = struct.Struct("<16sHHIQQQIHHHHHH")
SECTION = struct.Struct("<IIQQQQIIQQ")
SYMBOL = struct.Struct("<IBBHQQ")
RELOCATION = struct.Struct("<QQq")
KIND = b"\x7fELF\x02\x01\x01"  # 64 bits, little endian
RELOCATABLE, X86_64 = 1, 62
ZEROS, SYMBOLS, RELOCATIONS = 8, 2, 4  # types of sections
WRITE, LOADED = 1, 2  # flags of sections
UNDEFINED, RESERVED = 0, 0xFF00  # numbers of sections
ABSOLUTE, RELATIVE, CALL = 1, 2, 4  # types of relocations
THROUGH_TABLE = (9, 41, 42)  # relative to a place that holds the address
JUMP = b"\xff\x25"  # to the address at the place that follows, relative to the next instruction
FRAMES = ".eh_frame"  # how to unwind functions that call others
MOST_ALIGNED = 4096
NONE: Mapping[str, int] = MappingProxyType({})


class Unloadable(Exception):  # noqa: N818 - tells the caller to use LLVM's linker
    """An object file that only LLVM's linker can load."""


class Damaged(RuntimeError):  # noqa: N818 - it is told in these words
    """What is no object file, or not all of one; LLVM's linker might end the process."""


class Section(NamedTuple):
    """A section, as its header says."""

    name: int
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int
    entry: int


class Fix(NamedTuple):
    """A place in the image that names another.

    Attributes:
        place: Its offset.
        type: How it is filled in.
        symbol: The offset in the image of what it names; or the name of what is outside.
        addend: What is added.
    """

    place: int
    type: int
    symbol: int | str
    addend: int


class Image:
    """Code in memory that can be run, as long as somebody holds this.

    Args:
        objects: Object files.
        imports: The address of each symbol that they lack; the process is asked for others.

    Attributes:
        address: Of each symbol that they have.

    Raises:
        Unloadable: They hold what LLVM's linker has to load.
        Damaged: They are no object files.
    """

    def __init__(self, objects: Iterable[bytes], imports: Mapping[str, int]) -> None:
        self._imports, self._bytes = imports, bytearray()
        self._symbols: dict[str, int] = {}
        self._fixes: list[Fix] = []
        self._table: dict[str, int] = {}  # by name where the address of what is outside stands
        self._jumps: dict[str, int] = {}
        frames = [at for each in objects for at in self._placed(each)]
        self._lay_table()
        if not self._bytes:
            raise Unloadable("nothing in it")
        private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        self._pages = mmap.mmap(-1, len(self._bytes), private)
        base = ctypes.addressof(ctypes.c_char.from_buffer(self._pages))
        for fix in self._fixes:
            self._fix(fix, base)
        self._pages[: len(self._bytes)] = bytes(self._bytes)
        protection = mmap.PROT_READ | mmap.PROT_EXEC
        if libc().mprotect(ctypes.c_void_p(base), len(self._bytes), protection) != 0:
            raise Unloadable("memory may not be made executable here")
        for at in frames:
            register_frames()(ctypes.c_void_p(base + at))
            _told_of.append(self)
        self.address = {name: base + at for name, at in self._symbols.items()}

    def _placed(self, code: bytes) -> Iterator[int]:
        """Puts the sections of an object into the image; gives where those of frames are."""
        try:
            sections, names = sections_of(code)
            places: dict[int, int] = {}
            for number, section in enumerate(sections):
                if section.flags & LOADED and section.size:
                    places[number] = self._place(code, section)
                    if names(section.name) == FRAMES:
                        self._bytes += bytes(8)  # their end
                        yield places[number]
            for section in sections:
                if section.type == RELOCATIONS and section.info in places:
                    self._note(code, sections, section, places)
            for section in sections:
                if section.type == SYMBOLS:
                    symbols = symbols_of(code, sections, section, places)
                    self._symbols |= {name: at for name, at in symbols if isinstance(at, int)}
        except (struct.error, IndexError, KeyError, ValueError) as error:
            raise Damaged(f"no whole object file: {error!r}") from None

    def _place(self, code: bytes, section: Section) -> int:
        if section.flags & WRITE or section.type == ZEROS or section.alignment > MOST_ALIGNED:
            raise Unloadable("a section that is written")
        found = code[section.offset : section.offset + section.size]
        if len(found) != section.size:
            raise Damaged("a section is cut off")
        self._align(section.alignment)
        self._bytes += found
        return len(self._bytes) - section.size

    def _note(
        self, code: bytes, sections: list[Section], section: Section, places: dict[int, int]
    ) -> None:
        """Notes the places of a section that name others."""
        named = symbols_of(code, sections, sections[section.link], places)
        symbols = [at if isinstance(at, int) else name for name, at in named]
        data = code[section.offset : section.offset + section.size]
        start = places[section.info]
        for at, info, addend in RELOCATION.iter_unpack(data):
            symbol, type_ = symbols[info >> 32], info & 0xFFFFFFFF
            if type_ not in (ABSOLUTE, RELATIVE, CALL, *THROUGH_TABLE):
                raise Unloadable(f"a relocation of type {type_}")
            if symbol == "" or (type_ in THROUGH_TABLE and not isinstance(symbol, str)):
                raise Unloadable("a symbol without a place")
            if isinstance(symbol, str) and type_ == RELATIVE:
                raise Unloadable("data outside that is said to be near")
            if isinstance(symbol, str):
                self._table.setdefault(symbol, 0)
            if isinstance(symbol, str) and type_ == CALL:
                self._jumps.setdefault(symbol, 0)
            self._fixes.append(Fix(start + at, type_, symbol, addend))

    def _lay_table(self) -> None:
        """Makes room for the addresses of what is outside, and for jumps there."""
        self._align(8)
        for name in self._table:
            self._table[name] = len(self._bytes)
            self._bytes += self._outside(name).to_bytes(8, "little")
        for name in self._jumps:
            self._jumps[name] = len(self._bytes)
            relative = self._table[name] - (len(self._bytes) + 6)
            self._bytes += JUMP + relative.to_bytes(4, "little", signed=True)
        self._align(mmap.PAGESIZE)

    def _outside(self, name: str) -> int:
        known = self._imports.get(name)
        if known is not None:
            return known
        try:
            return ctypes.cast(getattr(libc(), name), ctypes.c_void_p).value or 0
        except AttributeError:
            raise Unloadable(f"nobody has {name}") from None

    def _fix(self, fix: Fix, base: int) -> None:
        """Fills in a place."""
        place, type_, symbol, addend = fix
        if isinstance(symbol, str):
            held = self._table[symbol]
            target = self._jumps[symbol] if type_ == CALL else held
            if type_ == ABSOLUTE:
                target = int.from_bytes(self._bytes[held : held + 8], "little") - base
        else:
            target = symbol
        if type_ == ABSOLUTE:
            value = (base + target + addend) & (2**64 - 1)
            self._bytes[place : place + 8] = value.to_bytes(8, "little")
        else:
            value = target + addend - place
            self._bytes[place : place + 4] = value.to_bytes(4, "little", signed=True)

    def _align(self, alignment: int) -> None:
        self._bytes += bytes(-len(self._bytes) % max(alignment, 1))


def sections_of(code: bytes) -> tuple[list[Section], Callable[[int], str]]:
    """The sections of an object file, and their names by where these stand."""
    kind, type_, machine, *_, at, _, _, _, _, size, count, names = FILE.unpack_from(code)
    if not kind.startswith(KIND[:4]):
        raise Damaged("no object file")
    if not kind.startswith(KIND) or (type_, machine, size) != (RELOCATABLE, X86_64, SECTION.size):
        raise Unloadable("no object file for this processor")
    sections = [Section(*SECTION.unpack_from(code, at + k * size)) for k in range(count)]
    return sections, lambda offset: text_at(code, sections[names].offset + offset)


def symbols_of(
    code: bytes, sections: list[Section], section: Section, places: Mapping[int, int]
) -> list[tuple[str, int | None]]:
    """The symbols of an object file by number: name, and offset in the image or None."""
    names = sections[section.link].offset
    found: list[tuple[str, int | None]] = []
    data = code[section.offset : section.offset + section.size]
    for name, _, _, home, value, _ in SYMBOL.iter_unpack(data):
        at = places[home] + value if home in places else None
        if home >= RESERVED:
            at = None
        found.append((text_at(code, names + name) if name else "", at))
    return found


def text_at(code: bytes, offset: int) -> str:
    """A text that ends with a zero."""
    return code[offset : code.index(0, offset)].decode()


@cache
def libc() -> Any:
    """What the process has."""
    return ctypes.CDLL(None)


@cache
def register_frames() -> Callable[[Any], Any]:
    """Tells who unwinds stacks of functions that call others."""
    try:
        return ctypes.CDLL("libgcc_s.so.1").__register_frame
    except (OSError, AttributeError):
        raise Unloadable("nobody to tell of frames") from None


_told_of: list[Image] = []  # those that frames are registered of stay


def loaded(objects: Iterable[bytes], imports: Mapping[str, int] = NONE) -> Image:
    """Object files as code that can be run.

    Raises:
        Unloadable: LLVM's linker has to load them, or this system is another.
        Damaged: They are no object files.
    """
    if sys.platform != "linux":
        raise Unloadable("no Linux")
    return Image(objects, imports)
