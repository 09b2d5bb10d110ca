"""Products on tensor cores: what `jit.loops.gpu_products` does, with warps that multiply matrices.

A warp computes squares of 32 rows and 32 columns. In shared memory the words of an inner index, 4
bytes each, lie side by side, so that a thread reads four rows, or four columns, at once:

    thread 4 g + t has of a square the rows 4 g + j, for the words t and t + 4 of eight; of these
    rows each pair is two of the 16 rows of an `Mma`, those that it calls g and g + 8

Which rows are pairs is nothing that a result depends on. For columns it is alike; then a thread has
the sums of four rows and of the columns 8 t + r, which lie side by side.

Eager and compiled code have this order of sums: chains as `Contraction.blocks` cuts them, parts of
8 or 16 words, steps of 8 words.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import product as product_of

from jit.dims import same
from jit.forms.contraction import Contraction, size_of
from jit.forms.placement import extent_hint
from jit.forms.tasks import ChainsTask, ProductTask
from jit.loops.gpu_chains import GpuChainsNest
from jit.loops.gpu_operands import Places
from jit.loops.gpu_products import GpuProductNest
from jit.loops.gpu_tiles import Block
from jit.loops.ir import WARP, Buffer, DType, Mma, Operand, Var, VType, index
from jit.types import dtypes, float32, int64, product

SQUARE, QUARTER = 32, 8  # rows and columns of a square; words of a step
WORDS, BROUGHT = 16, 40  # of a part; what a thread brings of one: it is in its registers meanwhile
PADDING = 8  # words behind each word of all rows: what a warp reads is in all banks
SUMS = VType(float32, 4)
SLOTS = (4, 8)  # of a square: rows and columns of a thread

BLOCKS = (
    Block((16, 8), (8, 16)),
    Block((16, 16), (8, 8)),
    Block((16, 8), (8, 8)),
    Block((8, 16), (8, 8)),
    Block((8, 8), (8, 8)),
    Block((8, 8), (4, 8)),
    Block((8, 4), (4, 8)),
)
MULTIPROCESSORS = 132
TOGETHER = 512  # threads of a multiprocessor that work at once, as it has registers for
# Cycles of a multiprocessor: a step of a square; words read for it; a word brought to it.
STEP, READING, BRINGING = 12.4, 8.0, 0.07


def chosen(rows: int, columns: int, outer: int) -> Block:
    """The block that takes least: whole rounds of all multiprocessors."""

    def cost(block: Block) -> float:
        height, width = block.shape
        down, across = (n // SQUARE for n in (height, width))
        tiles = -(-rows // height) * -(-columns // width) * outer
        a, b = (n // slots for n, slots in zip(block.each, SLOTS))
        warps = block.count // WARP
        step = STEP * down * across + READING * warps * (a + b)
        step += BRINGING * QUARTER * (height + width)
        together = TOGETHER // block.count
        rounds = -(-tiles // MULTIPROCESSORS)
        return max(rounds, -(-tiles // (MULTIPROCESSORS * together)) * together) * step

    return min(BLOCKS, key=cost)


def tiles_of(c: Contraction) -> int:
    """How many tiles a result has, of the largest kind."""
    (height, width), sides = BLOCKS[0].shape, [extent_hint(size_of(c.free(k))) for k in (0, 1)]
    return -(-sides[0] // height) * -(-sides[1] // width) * extent_hint(size_of(c.batch))


class GpuMmaNest(GpuProductNest):
    """The kernel of a contraction and maps of its result; arguments as for `ProductNest`.

    Attributes:
        word: The third of eight words that a thread reads.
        words: Of a part.
        corners: The first row and column of the thread's, in the tile; where it reads columns.
    """

    word: Operand
    words: int
    corners: Sequence[Operand]

    # ----- structure -----

    def _chosen(self, rows: int, columns: int, outer: int) -> Block:
        return chosen(rows, columns, outer)

    def _share_out(self, chains: int) -> None:
        brought = sum(self.tile.shape) * WORDS * self._per // self.tile.count
        self.words = WORDS if brought <= BROUGHT else QUARTER
        self.teams, self.depth = 1, self.words * self._per
        self.parts = None if self.apart else self._whole_parts()

    @cached_property
    def _operand(self) -> DType:
        """The dtype of what is multiplied."""
        units = self.c.units
        return float32 if units == "tf32" else dtypes[units]

    @cached_property
    def _per(self) -> int:
        """How many inner indices a word has."""
        return 4 // self._operand.itemsize

    def _place_of(self, member: Operand) -> list[Operand]:
        """The first row and column of a thread in the tile."""
        w = self.w
        down, across = (n // slots for n, slots in zip(self.tile.each, SLOTS))
        warp, lane = (w.let(op, member, index(WARP)) for op in ("quotient", "rest"))
        g, self.word = (w.let(op, lane, index(4)) for op in ("quotient", "rest"))
        beside = index(self.tile.threads[1] // 4)
        row = w.let("multiply", w.let("quotient", warp, beside), index(SQUARE * down))
        column = w.let("multiply", w.let("rest", warp, beside), index(SQUARE * across))
        four = w.let("multiply", g, index(4))
        self.corners = [w.let("add", x, four) for x in (row, column)]
        eight = w.let("multiply", self.word, index(8))
        return [self.corners[0], w.let("add", column, eight)]

    def _offset(self, side: int, j: int, width: int) -> Operand:
        square, within = divmod(j, SLOTS[side])
        return self.w.let("add", self.place[side], index(SQUARE * square + within))

    # ----- shared memory -----

    def _stride(self, side: int) -> int:
        return self.tile.shape[side] + PADDING

    def _spot(self, side: int, k: Operand, m: Operand) -> Operand:
        w = self.w
        if self._per == 1:
            return super()._spot(side, k, m)
        word, half = (w.let(op, k, index(self._per)) for op in ("quotient", "rest"))
        row = w.let("add", w.let("multiply", word, index(self._stride(side))), m)
        return w.let("add", w.let("multiply", row, index(self._per)), half)

    @property
    def _room_dtype(self) -> DType:
        return float32 if self._per == 1 else dtypes["uint16"]

    def _taken(self, value: Operand) -> Operand:
        """Halves by their bits."""
        value = self.w.cast(value, self._operand)
        return value if self._per == 1 else self.w.let("bitcast", value, dtype=self._room_dtype)

    def _places(self, side: int) -> list[tuple[Operand, Operand]]:
        """Of what lies along inner indices neighbours bring 4 words: they store in all banks."""
        if not self._runs_inside(side):
            return super()._places(side)
        w, fast = self.w, 4 * self._per
        first, row = (w.let(op, self.member, index(fast)) for op in ("rest", "quotient"))
        starts = product_of(
            range(0, self.tile.shape[side], self.tile.count // fast), range(0, self.depth, fast)
        )
        return [(w.let("add", first, index(k)), w.let("add", row, index(m))) for m, k in starts]

    def _put(self, side: int, place: Operand, value: Operand) -> None:
        super()._put(side, place, self.w.let("tf32", value) if self._per == 1 else value)

    def _dtype_of(self, places: Places) -> DType:
        size = product(places.access.value.shape)
        return dtypes["int32"] if isinstance(size, int) and size < 1 << 31 else int64

    # ----- sums -----

    def _parts_of_chain(self) -> Operand:
        w = self.w
        behind = w.let("add", self.count, index(self.depth - 1))
        return w.let("quotient", behind, index(self.depth))

    @cached_property
    def _has_whole_parts(self) -> bool:
        """Whether the last part of each chain is as long as the others."""
        cut = self.cut is None or self.cut.extent
        return self._length % self.depth == 0 and (cut is True or same(cut % self.chain, 0))

    def _elements_of_chain(self, side: int, start: Operand) -> list[tuple[Operand, Operand]]:
        if not self._has_whole_parts or (places := self.places[side]) is None:
            return super()._elements_of_chain(side, start)
        w, found = self.w, list[tuple[Operand, Operand]]()
        start = w.least_of(start, index(self._length - self.depth))
        for k, m in self._places(side):
            with self._row(side, m):
                value = self._taken(places.element(w, w.let("add", start, k)))
            found.append((self._spot(side, k, m), value))
        return found

    def _multiply_part(self, acc: Buffer) -> None:
        w, across = self.w, self.tile.each[1] // SLOTS[1] * 4
        for step in range(0, self.words, QUARTER):
            rows, columns = self._words(0, step), self._words(1, step)
            for i, j in product_of(range(2 * len(rows[0])), range(across)):
                at = index((i * across + j) * 4)
                a = self._joined(rows, i // 2, i % 2 * 2, 2)
                b = self._joined(columns, j // 4, j % 4, 1)
                var = Var(SUMS)
                w.body.append(Mma(var, a, b, w.load(acc, at, 4)))
                w.store(acc, at, var)

    def _words(self, side: int, step: int) -> list[list[Operand]]:
        """For both words of a thread its rows, or columns: four words for each square."""
        w, per, found = self.w, self._per, list[list[Operand]]()
        for half in (0, 4):
            word = w.let("add", self.word, index(step + half))
            at = w.let("multiply", word, index(self._stride(side)))
            at = w.let("add", at, self.corners[side])
            start = w.let("add", self.halves[side], w.let("multiply", at, index(per)))
            squares = range(self.tile.each[side] // SLOTS[side])
            places = [w.let("add", start, index(SQUARE * per * k)) for k in squares]
            found.append([w.load(self.rooms[side], place, 4 * per) for place in places])
        return found

    def _joined(self, words: list[list[Operand]], square: int, first: int, count: int) -> Operand:
        """So many words of a square from number `first` on, of both words of a thread."""
        per = self._per
        one, other = ([*range(start * per, (start + count) * per)] for start in (first, 4 + first))
        low, high = (x[square] for x in words)
        joined = self.w.let("shuffle", low, high, immediates=[*one, *other])
        return joined if per == 1 else self.w.let("bitcast", joined, dtype=self._operand)

    def _one_of(self, room: Buffer, k: int) -> Operand:
        """A sum of the thread, by its number among rows times columns."""
        row, column = divmod(k, self.tile.each[1])
        squares, (down, j) = self.tile.each[1] // SLOTS[1], divmod(row, SLOTS[0])
        across, r = divmod(column, SLOTS[1])
        i, q = 2 * down + j // 2, 4 * across + r % 4
        vector = self.w.load(room, index((i * 4 * squares + q) * 4), 4)
        return self.w.let("extract", vector, immediates=(2 * (j % 2) + r // 4,))


class GpuMmaChainsNest(GpuChainsNest, GpuMmaNest):
    """The kernel of the chains of a contraction."""


def product_nest(task: ProductTask) -> type[GpuProductNest]:
    """What writes the kernel of a contraction, or of its chains."""
    if task.contraction.units:
        return GpuMmaChainsNest if isinstance(task, ChainsTask) else GpuMmaNest
    return GpuChainsNest if isinstance(task, ChainsTask) else GpuProductNest
