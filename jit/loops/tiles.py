"""Tiles: which operand's letters are rows and which columns, and the register tile of a product.

The cost model counts the multiply-adds of vectors, those wasted in the tails included, and the
loads beside them; the cheapest tile that fits the registers is taken.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from jit.dataclass import dataclass
from jit.dims import Extent, same
from jit.errors import GraphError
from jit.forms.contraction import Contraction, Letter, plain, run_along, size_of, step_of
from jit.forms.expression import linear
from jit.forms.placement import extent_hint
from jit.target import Target

HEIGHTS = range(1, 15)
WIDTHS = range(1, 9)  # in vectors
COPY, GATHER = 3.0, 1.5  # cycles to pack a vector that lies in a row; an element that does not
TURNED = 6.0  # or one that is read along inner indices with others, and turned
SEGMENT = 16  # bytes of such a block's rows: a processor moves within them as cheaply as can be
RAGGED = 6.0  # and a vector that is not full: such ones are packed where masks cost something
PACKED_ROWS = 96  # from so many rows on, packing the columns pays by itself: below, caches keep up
OWN, OWN_TURN = 0.04, 1.0  # cycles of a row with an address of its own; likewise, for a new run
APART = 2.0  # to store a result that has no neighbour among the columns
ROWS = 192  # rows for which columns are packed once, at most: their totals stay in the first cache
LINE_BLOCKS = 5  # of rows in lines for which columns are packed once by a `PackedNest`
FEWEST_STRIPS = 4  # of columns that such a nest has
NEAR = 64  # elements from one inner index to the next, for columns that are read where they lie
SETS = 4096  # bytes from one line of the first cache to the next that takes the same place
WAYS = 8  # such lines that it holds, at least


@dataclass(frozen=True)
class Tiling:
    """How a contraction is cut.

    Attributes:
        row_operand: Which operand has the rows: 0 or 1.
        outer: Letters that the grid runs over by themselves.
        rows: Letters of the rows, together one index.
        columns: Letters of the columns, together one index.
        lanes: How many elements a vector holds.
        height: Rows of a tile.
        width: Columns of a tile.
        narrow_height: Rows of a tile in the last strip, if that is narrower.
        packs: Whether the columns are copied to where the inner loop reads them in a row.
        cost: In cycles, roughly.
        parts: Whether a strip that is not full is read in place, too.
    """

    row_operand: int
    outer: list[Letter]
    rows: list[Letter]
    columns: list[Letter]
    lanes: int
    height: int
    width: int
    narrow_height: int
    packs: bool
    cost: float
    parts: bool = False


def choose(c: Contraction, target: Target) -> Tiling:
    """The cheapest tiling of a contraction for a machine.

    Raises:
        GraphError: Neither operand lies at sums of its indices, as with extents that are quotients.
    """
    found = min(candidates(c, target), key=lambda tiling: tiling.cost, default=None)
    if found is None:
        raise GraphError("no loops read either operand of a product", "extents that are numbers")
    return found


def best(c: Contraction, target: Target, count: int) -> dict[str, Tiling]:
    """The cheapest tilings, by what people are told of them; the one that is chosen comes first."""
    found: dict[str, Tiling] = {}
    for tiling in sorted(candidates(c, target), key=lambda tiling: tiling.cost):
        packed = ", packed" if tiling.packs else ""
        name = f"{tiling.height} x {tiling.width} rows of {'ab'[tiling.row_operand]}{packed}"
        found.setdefault(name, tiling)
        if len(found) == count:
            break
    return found


def candidates(c: Contraction, target: Target) -> Iterator[Tiling]:
    """Tilings with either operand as rows, and the tiles that fit the registers."""
    lanes = target.lanes(c.dtype.itemsize)
    for row_operand in (0, 1):
        if plain(c.elements[row_operand]) is None:
            continue
        rows, free = c.free(row_operand), c.free(1 - row_operand)
        columns = run_of(c, 1 - row_operand, free)
        outer = [*c.batch, *free[: len(free) - len(columns)]]
        in_place = reads_in_place(c, 1 - row_operand, columns)
        total = size_of(columns)
        wide = 1 if same(total, 1) else lanes
        m, n, k, times = (
            max(1, extent_hint(x)) for x in (size_of(rows), total, size_of(c.inner), size_of(outer))
        )
        packs = not in_place or (m >= PACKED_ROWS and not lies_near(c, 1 - row_operand))
        parts = target.masks and not packs and len(columns) == 1
        copying = copying_cost(c, 1 - row_operand, wide, in_place=in_place) if packs else 0.0
        storing, tallest = stores(c, rows, columns), most_rows(c, row_operand, rows)
        own = own_addresses(c, rows)
        for height in HEIGHTS[:tallest]:
            in_lines = bool(lie_in_lines(rows, height))
            for vectors in WIDTHS:
                if registers(height, vectors) > target.registers:
                    break
                narrow = narrow_height(total, vectors * wide, wide, height, target)
                narrow = min(narrow, tallest)
                if in_lines:
                    narrow = max(h for h in range(height, narrow + 1) if lie_in_lines(rows, h))
                large = in_lines and n >= FEWEST_STRIPS * vectors * wide
                once = ROWS * LINE_BLOCKS if large else ROWS
                tile, ragged = (height, vectors, narrow, wide), 0.0 if parts else RAGGED
                inner = cycles(m, n, tile, copying, once, ragged=ragged)
                if not in_lines:
                    inner += own * m * -(-n // (vectors * wide))
                cost = inner * k * times + storing
                yield Tiling(
                    row_operand,
                    outer,
                    rows,
                    columns,
                    wide,
                    height,
                    vectors * wide,
                    narrow,
                    packs,
                    cost,
                    parts,
                )


def copying_cost(c: Contraction, operand: int, wide: int, *, in_place: bool) -> float:
    """What it costs to pack a vector of columns, which may lie in a row."""
    if in_place:
        return COPY
    return TURNED if turned_at_once(c, operand, wide) else GATHER * wide


def registers(height: int, vectors: int) -> int:
    """How many registers a tile needs: accumulators, columns, one row's element."""
    return height * vectors + vectors + 1


def narrow_height(total: Extent, width: int, lanes: int, height: int, target: Target) -> int:
    """Rows of a tile in the last strip: as many as fit where it is narrower than the others."""
    if not isinstance(total, int) or total % width == 0:
        return height
    vectors = -(-(total % width) // lanes)
    if vectors == width // lanes:
        return height
    return max(h for h in HEIGHTS if registers(h, vectors) <= target.registers)


def most_rows(c: Contraction, operand: int, rows: Sequence[Letter]) -> int:
    """Rows of a tile, at most: those a power of two apart would push each other out of a cache."""
    access = plain(c.elements[operand])
    if access is None or not rows:
        return len(HEIGHTS)
    step = step_of(linear(access.value.shape, access.at), rows[-1])
    apart = step * access.value.dtype.itemsize if isinstance(step, int) else 0
    return WAYS if apart and apart % SETS == 0 else len(HEIGHTS)


def run_of(c: Contraction, operand: int, free: Sequence[Letter]) -> list[Letter]:
    """The last of the free letters that a vector can go along as one, or just the last one."""
    run = list(free[-1:])
    access = plain(c.elements[operand])
    for letter in reversed(free[:-1]):
        if access is None:
            break
        place = linear(access.value.shape, access.at)
        ours, theirs = step_of(place, letter), step_of(place, run[0])
        if ours is None or theirs is None or not same(ours, theirs * run[0].extent):
            break
        run.insert(0, letter)
    return run


def reads_in_place(c: Contraction, operand: int, columns: Sequence[Letter]) -> bool:
    """Whether neighbouring columns lie beside each other in memory."""
    access = plain(c.elements[operand])
    if access is None or not columns or access.value.dtype != c.dtype:
        return False
    return same(step_of(linear(access.value.shape, access.at), columns[-1]) or 0, 1)


def lies_along(c: Contraction, operand: int, letter: Letter) -> bool:
    """Whether the elements of an operand at neighbouring indices of a letter are neighbours."""
    access = plain(c.elements[operand])
    if access is None:
        return False
    return same(step_of(linear(access.value.shape, access.at), letter) or 0, 1)


def turned_at_once(c: Contraction, operand: int, lanes: int) -> int:
    """How many inner indices of a vector of columns are read at once, and turned; 0: none are."""
    access, along = plain(c.elements[operand]), SEGMENT // c.dtype.itemsize
    if access is None or access.value.dtype != c.dtype or along < 2 or lanes % along:
        return 0
    run = c.inner[len(c.inner) - run_along(c, operand) :]
    return along if run and extent_hint(size_of(run)) >= along else 0


def lies_near(c: Contraction, operand: int) -> bool:
    """Whether neighbouring inner indices lie near each other in memory, as in an image."""
    access = plain(c.elements[operand])
    if access is None or not c.inner:
        return False
    step = step_of(linear(access.value.shape, access.at), c.inner[-1])
    return isinstance(step, int) and abs(step) <= NEAR


def cycles(
    m: int,
    n: int,
    tile: tuple[int, int, int, int],
    copying: float,
    once: int = ROWS,
    latency: float = 4.0,
    ragged: float = RAGGED,
) -> float:
    """About how long an inner index takes: two multiply-adds a cycle.

    Args:
        m: How many rows there are.
        n: How many columns.
        tile: Rows and vectors of a tile, rows where it is narrower, lanes of a vector.
        copying: What it costs to pack a vector of columns for a block of rows.
        once: How many rows that block has.
        latency: Cycles of a multiply-add.
        ragged: What it costs at least to pack one that is not full.
    """
    height, vectors, narrow, lanes = tile

    strips, rest = divmod(n, vectors * lanes)
    packing = max(copying, ragged) if rest % lanes else copying
    full, last = (height, vectors, copying), (narrow, -(-rest // lanes), packing)
    total = 0.0
    for count, (h, v, copied) in ((strips, full), (int(rest > 0), last)):
        tiles = (m // h) * tile_cycles(h, v, latency)
        tiles += tile_cycles(m % h, v, latency) if m % h else 0
        total += count * (tiles + copied * v * -(-m // once))
    return total


def tile_cycles(height: int, vectors: int, latency: float = 4.0) -> float:
    """About how long an inner index of one tile takes: two multiply-adds or two loads a cycle."""
    return max(height * vectors / 2, (height + vectors) / 2, latency) + 0.25 * vectors


def stores(c: Contraction, rows: Sequence[Letter], columns: Sequence[Letter]) -> float:
    """What it costs if neighbouring columns are apart in the result."""
    last = c.result.loops[-1][0] if c.result.loops else ""
    if columns and columns[-1].name == last:
        return 0.0
    return APART * extent_hint(size_of([*c.batch, *rows, *columns]))


def own_addresses(c: Contraction, rows: Sequence[Letter]) -> float:
    """What addresses of their own cost a row that does not lie as in other tiles, per inner index.

    They are computed where the last of the inner letters begins anew.
    """
    if len(rows) < 2 or not c.inner:
        return 0.0
    return OWN + OWN_TURN / max(1, extent_hint(c.inner[-1].extent))


def results_along(c: Contraction, rows: Sequence[Letter]) -> bool:
    """Whether results of neighbouring rows are neighbours."""
    return bool(rows and c.result.loops) and rows[-1].name == c.result.loops[-1][0]


def lie_in_lines(rows: Sequence[Letter], height: int) -> list[int]:
    """How many indices of each of the last letters a tile has, if all tiles have as many of each.

    Its rows lie alike in all tiles then, as pixels of a line do, or the taps of a filter. Letters
    behind the first of these are in a tile as a whole. Nothing for other tiles.
    """
    parts: list[int] = []
    for letter in reversed(rows if len(rows) > 1 else ()):
        extent, (part, rest) = letter.extent, divmod(height, math.prod(parts))
        if not isinstance(extent, int) or rest:
            break
        parts.insert(0, min(part, extent))
        if extent % part == 0:
            return parts
        if part % extent:
            break
    return []
