"""Tiles of products on a GPU: how many threads, and what each of them computes."""

from __future__ import annotations

from jit.dataclass import dataclass

DEPTH = 16  # inner indices of a part
DEEP = 32  # and of a small tile's, whose threads wait for each other less often
BROUGHT = 16  # elements that a thread brings of a part: they are in its registers meanwhile
TABLES = 5 << 10  # bytes of tables of places
PADDING = 4  # elements behind each inner index in shared memory: neighbours are in other banks
SHARED = 48 << 10  # bytes of a block that need not be asked for
MULTIPROCESSORS = 100  # or more
TEAMS = (8, 6, 4, 3, 2)
SUMS = 256  # bytes of a thread's sums: as many registers do other things
MOST = 512  # threads of a block: a thread may have 128 registers
THREADS = 132 * 128  # with fewer, some of the machine has nothing to do
BRINGING = 6  # what it costs to bring an element to shared memory, in multiply-adds


@dataclass(frozen=True)
class Block:
    """How a tile of the result is shared out: threads x elements of each, along rows and columns.

    Attributes:
        threads: Along rows, along columns.
        each: Rows and columns of a thread.
    """

    threads: tuple[int, int]
    each: tuple[int, int]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the tile."""
        return self.threads[0] * self.each[0], self.threads[1] * self.each[1]

    @property
    def count(self) -> int:
        """How many threads there are."""
        return self.threads[0] * self.threads[1]


BLOCKS = (
    Block((16, 16), (8, 8)),
    Block((16, 16), (4, 8)),
    Block((16, 16), (4, 4)),
    Block((8, 16), (4, 4)),
    Block((8, 16), (4, 2)),
    Block((8, 16), (2, 2)),
    Block((8, 16), (1, 2)),
    Block((4, 32), (4, 4)),
    Block((32, 4), (4, 4)),
    Block((4, 32), (2, 4)),
    Block((32, 4), (4, 2)),
    Block((32, 4), (4, 1)),
    Block((4, 32), (1, 4)),
)


def chosen(rows: int, columns: int, outer: int, itemsize: int, parts: int = 1) -> Block:
    """The block that takes least: what it computes in vain counts, and idle multiprocessors.

    Args:
        rows: Of the result.
        columns: Of the result.
        outer: How many results there are.
        itemsize: Bytes of a sum.
        parts: How many columns have to lie side by side in a thread.
    """

    def cost(block: Block) -> float:
        height, width = block.shape
        tiles = -(-rows // height) * -(-columns // width) * outer
        m, n = block.each
        # A thread's loads beside its multiply-adds, for an inner index; what it brings.
        step = m * n * max(1, itemsize // 4) + 1.5 * (m + n) + 4
        step += BRINGING * (height + width) / block.count
        return max(1.0, tiles * block.count / THREADS) * step

    may = [block for block in BLOCKS if fits(block, itemsize)]
    may = [block for block in may if min(16 // itemsize, block.each[1]) % parts == 0]
    small = [block for block in may if block.each[0] * block.each[1] * itemsize <= SUMS]
    return min(small or may, key=cost)


def fits(block: Block, itemsize: int, teams: int = 1, depth: int = DEPTH) -> bool:
    """Whether two parts for each team find room in shared memory, and the sums of all teams."""
    parts = 2 * depth * (sum(block.shape) + 2 * PADDING)
    sums = block.shape[0] * block.shape[1] if teams > 1 else 0
    return teams * itemsize * (parts + sums) + TABLES <= SHARED


def depth_of(block: Block, itemsize: int, teams: int, length: int) -> int:
    """How many inner indices a part has of chains of a length."""
    brought = DEEP * sum(block.shape) // block.count
    deep = length > DEPTH and brought <= BROUGHT and fits(block, itemsize, teams, DEEP)
    return DEEP if deep else DEPTH


def teams_of(block: Block, tiles: int, chains: int, itemsize: int) -> int:
    """How many teams of threads compute chains of a tile side by side."""
    if tiles >= MULTIPROCESSORS:
        return 1
    may = [n for n in TEAMS if n <= chains and n * block.count <= MOST]
    return next((n for n in may if fits(block, itemsize, n)), 1)
