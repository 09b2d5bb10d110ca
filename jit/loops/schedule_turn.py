"""`turn`: a block that is copied column by column is read in rows, and turned in registers."""

from __future__ import annotations

from collections.abc import Sequence

from jit.loops.affine import Form
from jit.loops.ir import Buffer, For, Kernel, Let, Lit, Operand, Store, VType, index, walk
from jit.loops.rewrite import rewrite_loops
from jit.loops.schedule_vectorize import Row, Vectorize

NAME = "turn"
SEGMENT = 16  # bytes that a processor moves within as cheaply as can be


def turn(kernel: Kernel, *loops: str) -> Kernel:
    """Reads a block in rows.

        for n in 0 .. 8 step 1 {                      r0: float32x4 = load X[...]
          for k in 0 .. 4 step 1 {                    r1: float32x4 = load X[...]
            x = load X[n * stride + k]        ->      ...
            store B[k * 8 + n] = x                    c0: float32x8 = shuffle(r0, r4) ...
          }                                           ...
        }                                             store B[0] = c0

    Args:
        kernel: Where the loops are.
        *loops: The hints of the outer variables.

    Raises:
        ScheduleError: It is no copy of a block to local memory, or its sides are no powers of two.
    """
    rewrite = _Turn(kernel)
    return rewrite_loops(kernel, loops, NAME, rewrite, rewrite.block_of)


class _Turn(Vectorize):
    """Writes the loads of a block, and what turns it."""

    directive = NAME

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel, {}, "none")
        self.rows: list[Operand] = []

    def block_of(self, s: For) -> None:
        """Writes a block."""
        self.spreading, self.rows = s, []
        height, width, into = self._block(s)
        self.lanes = width
        *before, inner = s.body
        assert isinstance(inner, For)
        for n in range(height):
            self.env[s.var] = self.index("add", s.start, n)
            self.copy(before)
            self.env[inner.var] = Row(inner.start, index(1))
            self.copy(inner.body)
        for k, column in enumerate(self._turned(self.rows, width)):
            self.body.append(Store(into, index(k * height), column))

    def store(self, s: Store) -> None:
        """Keeps what a row holds."""
        self.rows.append(self.wide(self.operand(s.value)))

    def _block(self, s: For) -> tuple[int, int, Buffer]:
        """How high and wide a block is, and where it goes; refuses what is none."""
        height, inner = self.forms.trip(s), s.body[-1]
        stores = [x for x in walk(s.body) if isinstance(x, Store)]
        if isinstance(inner, For) and all(isinstance(x, Let) for x in s.body[:-1]) and height:
            width = self.forms.trip(inner)
            turned = Form(0, {inner.var: height, s.var: 1})
            at = [self.forms.of(x.index) for x in stores]
            starts = all(isinstance(x, Lit) and x.value == 0 for x in (s.start, inner.start))
            alone = len(stores) == 1 and stores[0].mask is None and at == [turned]
            if width and starts and alone and height % width == 0 and not height & (height - 1):
                return height, width, self.buffers.get(stores[0].buffer, stores[0].buffer)
        raise self.refused(
            "it copies no block", "sides that are powers of two, the higher one first"
        )

    def _turned(self, rows: list[Operand], width: int) -> list[Operand]:
        """Rows to columns.

        Processors are fastest within segments. So rows of several ones exchange whole segments
        first; short ones are put side by side before.
        """
        few = max(1, SEGMENT // rows[0].type.dtype.itemsize)
        if few < width:
            sides = [self._beside(rows[k::few], width // few) for k in range(few)]
            dealt = [self._dealt(side, few) for side in sides]
            return [x for side in zip(*dealt, strict=True) for x in self._zipped([*side], few)]
        sides = [self._beside(rows[k::width], 1) for k in range(width)]
        return self._zipped([row for (row,) in sides], width)

    def _beside(self, rows: list[Operand], count: int) -> list[Operand]:
        """So many vectors, with some of the rows side by side in each."""
        while len(rows) > count:
            order = range(2 * rows[0].type.lanes)
            pairs = zip(rows[::2], rows[1::2], strict=True)
            rows = [self._shuffle(*pair, order) for pair in pairs]
        return rows

    def _dealt(self, rows: list[Operand], few: int) -> list[Operand]:
        """For each segment of `few` lanes, that of all rows side by side."""
        if len(rows) == 1:
            return rows
        pairs = list(zip(rows[::2], rows[1::2], strict=True))
        segments = range(2 * rows[0].type.lanes // few)
        found = [rows[0]] * len(rows)
        for k in range(2):
            order = [few * x + lane for x in segments[k::2] for lane in range(few)]
            found[k::2] = self._dealt([self._shuffle(*pair, order) for pair in pairs], few)
        return found

    def _zipped(self, rows: list[Operand], width: int) -> list[Operand]:
        """Columns of rows that lie side by side, `width` lanes of each."""
        height, half = rows[0].type.lanes, width // 2
        lanes = [first + k for first in range(0, height, width) for k in range(half)]
        low = [x for lane in lanes for x in (lane, height + lane)]
        high = [x + half for x in low]
        for _ in range(width.bit_length() - 1):
            pairs = [rows[k::half] for k in range(half)]
            rows = [self._shuffle(*pair, order) for pair in pairs for order in (low, high)]
        return rows

    def _shuffle(self, x: Operand, y: Operand, order: Sequence[int]) -> Operand:
        return self.value("shuffle", (x, y), VType(x.type.dtype, len(order)), tuple(order))
