"""Registers: local memory that is values under way, not memory.

A register buffer whose elements are always stored and loaded in the same pieces needs no memory at
all: each piece is a value, and where ways meet, the one that was stored last on the way taken (a
phi, as LLVM says). LLVM could find that out as well, but it takes more time than anything else does
on the way to its code generator.
"""

from __future__ import annotations

from jit.loops.ir import BLOCKS, Alloc, Buffer, Lit, Load, Operand, Statement, Store, VType, walk

Piece = tuple[Buffer, int]  # a buffer, and where in it


class Registers:
    """The pieces of a kernel's register buffers.

    Args:
        body: Of the kernel.

    Attributes:
        types: Of the pieces; buffers whose pieces differ are left out.
        values: What each piece is at the moment, as code generation calls it.
    """

    def __init__(self, body: tuple[Statement, ...]) -> None:
        self.types: dict[Buffer, VType] = {}
        self.values: dict[Piece, str] = {}
        self._changed: dict[int, tuple[Piece, ...]] = {}
        irregular: set[Buffer] = set()
        for s in walk(body):
            if isinstance(s, Load | Store) and s.buffer.scope == "register":
                value = s.var if isinstance(s, Load) else s.value
                type_ = self.types.setdefault(s.buffer, value.type)
                if type_ != value.type or s.mask is not None or not is_piece(s.index, type_.lanes):
                    irregular.add(s.buffer)
        for buffer in irregular:
            del self.types[buffer]
        self._note(body)

    def __contains__(self, buffer: Buffer) -> bool:
        return buffer in self.types

    def changed(self, statement: Statement) -> tuple[Piece, ...]:
        """The pieces that a loop or a condition stores, and that were there before."""
        return self._changed[id(statement)]

    def _note(self, body: tuple[Statement, ...]) -> dict[Piece, None]:
        """Finds what each block in `body` stores; what `body` itself does is returned."""
        found: dict[Piece, None] = {}
        own: set[Buffer] = set()
        for s in body:
            if isinstance(s, Store) and s.buffer in self.types:
                found[s.buffer, position(s.index)] = None
            elif isinstance(s, Alloc):
                own.add(s.buffer)
            elif isinstance(s, BLOCKS):
                inner = self._note(s.body)
                self._changed[id(s)] = tuple(inner)
                found |= inner
        return {piece: None for piece in found if piece[0] not in own}


def is_piece(index: Operand, lanes: int) -> bool:
    """Whether an index is known, and a multiple of the lanes that lie there in a row."""
    return isinstance(index, Lit) and index.type.lanes == 1 and int(index.value) % lanes == 0


def position(index: Operand) -> int:
    """A literal index as a number."""
    assert isinstance(index, Lit)
    return int(index.value)
