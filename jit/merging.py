"""Merging: launches for a GPU that need nothing of each other become one.

Each launch costs its time between others, however short it is. So launches that few bytes depend on
wait until their results are needed, or the others are through; whatever is ready then and fits is
done at once, those first that the longest way depends on. Large launches stay where they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from jit.config import config
from jit.dataclass import dataclass
from jit.forms.placement import extent_hint
from jit.loops import gpu
from jit.loops.heuristics import scheduled
from jit.loops.ir import Kernel
from jit.loops.together import Part, together
from jit.loops.touched import touched
from jit.ordering import needs_of
from jit.runtime.program import Launch, Program, Repeat, Step
from jit.runtime.tables import ends_early
from jit.target import Target
from jit.types import product

NAME = "merging"  # among the passes that may be left out
FEWEST = 3  # launches of a program that is looked at; in a loop that is run again and again, two
LARGE = 1 << 24  # bytes that a launch reads and writes: it takes longer than what is saved
LONG = 400_000_000  # operations of one, likewise
SMALL = 1 << 20  # bytes of a launch that may run beside products, with as many registers as these
WAITING = 1 << 22  # bytes of temporaries that one launch may keep from being freed
HELD = 1 << 25  # and all that wait
EARLY = 1 << 12  # bytes that a launch writes which may run long before its turn
WORDS = 500  # parameters of a launch: 4 KB is what all drivers take
BODIES = 16  # different kernels in one


def merged(
    program: Program, donate: Iterable[tuple[int, int]], target: Target, fewest: int = FEWEST
) -> Sequence[Step]:
    """The steps of a program, with launches that are independent of each other as one.

    Args:
        program: Its steps are in an order in which they can run.
        donate: Pairs (input, output): the output takes the memory of the input, if no later step
            reads that.
        target: The machine.
        fewest: Launches that are looked at.
    """
    if NAME in config().passes_off:
        return program.steps
    if any(isinstance(step, Repeat) for step in program.steps):
        inside = [
            replace(step, steps=[*merged(replace(program, steps=[*step.steps]), (), target, 2)])
            if isinstance(step, Repeat)
            else step
            for step in program.steps
        ]
        program = replace(program, steps=inside)
    launches = sum(isinstance(step, Launch) for step in program.steps)
    return program.steps if launches < fewest else Merging(program, donate, target).steps


@dataclass(frozen=True, eq=False)
class Piece:
    """What is to be known of a launch that may be merged.

    Attributes:
        launch: The launch.
        threads: Of its blocks; 0: as many as others have.
        bytes: That it reads and writes.
        held: Bytes of temporaries that it reads.
    """

    launch: Launch
    threads: int
    bytes: int
    held: int

    @property
    def words(self) -> int:
        """How many parameters it has."""
        return len(self.launch.buffers) + len(self.launch.sizes)


class Merging:
    """The steps in the making; they are numbers.

    Attributes:
        steps: What is finished.
    """

    def __init__(self, program: Program, donate: Iterable[tuple[int, int]], target: Target) -> None:
        self.program, self.target, self.donate = program, target, [*donate]
        self.block = gpu.BLOCK if target.is_gpu else 1
        self.given = program.steps
        self.steps: list[Step] = []
        self._kernels: dict[tuple[Kernel, int], Kernel] = {}
        self.needs = needs_of(program, self.donate)
        self.users: list[list[int]] = [[] for _ in self.given]
        for at, needed in enumerate(self.needs):
            for x in needed:
                self.users[x].append(at)
        self.height = [0] * len(self.given)  # steps of the longest way that depends on one
        for at in reversed(range(len(self.given))):
            for x in self.needs[at]:
                self.height[x] = max(self.height[x], self.height[at] + 1)
        self.pieces = [self._piece(at) for at in range(len(self.given))]
        self.left = [len(needed) for needed in self.needs]
        self.ready = {at for at, count in enumerate(self.left) if count == 0}
        self.done = [False] * len(self.given)
        self.waiting: dict[int, None] = {}
        self.held = 0
        # steps that may run long before their turn: they keep little memory
        self.early = {at: None for at in range(len(self.given)) if self._is_early(at)}
        self._made: dict[tuple[Part, ...], Kernel] = {}
        self._run_all()

    # ----- what is known of steps -----

    def _bytes(self, slot: int) -> int:
        type_ = self.program.slots[slot].type
        return extent_hint(product(type_.shape)) * type_.dtype.itemsize

    def _piece(self, at: int) -> Piece | None:
        """A launch that may be merged; None for other steps, and what a library may compute.

        One that asks whether something holds may, if nothing waits for the answer.
        """
        step = self.given[at]
        if ends_early(step) and (self.donate or self.height[at]):
            return None
        if type(step) is not Launch or not isinstance(step.kernel.grid, int):
            return None
        if step.by_library is not None:
            return None
        kernel = step.kernel
        work = extent_hint(step.operations or 0)
        if kernel.grid < 1 or kernel.parts or work > LONG:
            return None
        size = self._touched(step)
        if size > LARGE:
            return None
        slots, reads = self.program.slots, dict.fromkeys(self.program.reads(step))
        held = sum(self._bytes(x) for x in reads if slots[x].role == "temporary")
        return Piece(step, self._asked(kernel), size, held)

    def _asked(self, kernel: Kernel) -> int:
        """Threads of a block, where others cannot do: of a product, or the team of an item."""
        if kernel.threads > 1:
            return kernel.threads
        few = extent_hint(kernel.grid) <= gpu.FEW
        found = self._scheduled(kernel, self.block).threads if few else 1
        return found if found > self.block else 0

    def _touched(self, step: Launch) -> int:
        """Bytes that a launch reads and writes, at most."""
        size = sum(map(self._bytes, step.buffers))
        if size <= SMALL:
            return size
        own = zip(step.kernel.buffers, step.buffers, strict=True)
        counts = touched(step.kernel)
        parts = [(self._bytes(slot), counts[x] * x.dtype.itemsize) for x, slot in own]
        return int(sum(map(min, parts)))

    def _is_early(self, at: int) -> bool:
        piece = self.pieces[at]
        if piece is None:
            return False
        return sum(map(self._bytes, self.program.writes(self.given[at]))) <= EARLY

    # ----- the order -----

    def _run_all(self) -> None:
        for at, piece in enumerate(self.pieces):
            self.early.pop(at, None)
            if self.done[at]:
                continue
            if piece is None or piece.held > WAITING:
                self._demand(at)
                continue
            self.waiting[at] = None
            self.held += piece.held
            while self.held > HELD:
                self._demand(next(iter(self.waiting)))
        while self.waiting:
            self._run(min(self.ready & self.waiting.keys(), key=self._rank))

    def _rank(self, at: int) -> tuple[int, int]:
        return -self.height[at], at

    def _demand(self, at: int) -> None:
        """Runs a step, and before it what it needs."""
        needed, stack = {at}, [at]
        while stack:
            for x in self.needs[stack.pop()]:
                if not self.done[x] and x not in needed:
                    needed.add(x)
                    stack.append(x)
        while first := self.ready & needed:
            self._run(min(first, key=self._rank))

    def _run(self, first: int) -> None:
        """A step, with all that is ready and fits."""
        may = [x for x in self.ready if x in self.waiting or x in self.early]
        order = [first, *sorted([x for x in may if x != first], key=self._rank)]
        number_of = {piece: at for at in order if (piece := self.pieces[at]) is not None}
        kernels: Mapping[Piece, Kernel] = {}
        if self.pieces[first] is not None:
            kernels = Batch([*number_of], self._scheduled, self.block).kernels
        self.steps.append(self._one(kernels) if kernels else self.given[first])
        for at in [number_of[piece] for piece in kernels] or [first]:
            self.done[at] = True
            self.ready.discard(at)
            self.early.pop(at, None)
            if at in self.waiting:
                del self.waiting[at]
                self.held -= self.pieces[at].held  # pyright: ignore[reportOptionalMemberAccess]
            for user in self.users[at]:
                self.left[user] -= 1
                if self.left[user] == 0:
                    self.ready.add(user)

    def _scheduled(self, kernel: Kernel, threads: int) -> Kernel:
        """A kernel for blocks of so many threads, if it takes any number."""
        found = self._kernels.get((kernel, threads))
        if found is None:
            if self.target.is_gpu and kernel.threads == 1:
                found = gpu.scheduled(kernel, self.target, threads)
            else:
                found = scheduled(kernel, self.target)
            self._kernels[kernel, threads] = found
        return found

    def _one(self, kernels: Mapping[Piece, Kernel]) -> Launch:
        """One launch of several, with the scheduled kernel of each: those of a kernel side by side.

        Blocks that take long come first, so that short ones fill up what is left of the machine.
        """
        known = {kernel: number for number, kernel in enumerate(self._kernels.values())}
        families: dict[Kernel, list[Piece]] = {}
        for piece in sorted(kernels, key=lambda x: (-x.threads, -x.bytes, known[kernels[x]])):
            families.setdefault(kernels[piece], []).append(piece)
        parts = tuple([Part(kernel, len(pieces)) for kernel, pieces in families.items()])
        if parts not in self._made:
            names = list(dict.fromkeys([part.kernel.name for part in parts]))
            name = "_and_".join(names[:2]) + ("_and_more" if len(names) > 2 else "")
            self._made[parts] = together(name, parts)
        groups = [[piece.launch for piece in pieces] for pieces in families.values()]
        return one_launch(self._made[parts], groups, self.program)


class Batch:
    """Launches that become one.

    Args:
        pieces: Those that may; the first one is among them in any case.
        scheduled: The kernel of a piece for blocks of so many threads.
        block: Threads of a block, where no piece asks for others.

    Attributes:
        kernels: Of those that fit, scheduled; empty if none fits to the first.
    """

    def __init__(
        self,
        pieces: Sequence[Piece],
        scheduled: Callable[[Kernel, int], Kernel],
        block: int,
    ) -> None:
        first, *others = pieces
        self._scheduled = scheduled
        joins = first.threads or first.bytes <= SMALL
        asked = [piece.threads for piece in pieces if piece.threads] if joins else []
        self.products = bool(asked)
        self.threads = asked[0] if asked else block
        self.kernels: dict[Piece, Kernel] = {}
        self.words = 0
        self.bodies: set[Kernel] = set()
        for piece in others:
            if not self.kernels and not self._takes(first):
                break
            if self._fits(piece):
                self._takes(piece)
        if len(self.kernels) == 1:
            self.kernels.clear()

    def _fits(self, piece: Piece) -> bool:
        if self.words + piece.words > WORDS:
            return False
        if piece.launch.kernel not in self.bodies and len(self.bodies) == BODIES:
            return False
        if piece.threads:
            return self.threads == piece.threads
        return not (self.products and piece.bytes > SMALL)

    def _takes(self, piece: Piece) -> bool:
        """Takes a piece, if its blocks can have as many threads as those of others."""
        kernel = self._scheduled(piece.launch.kernel, self.threads)
        if kernel.threads != self.threads or gpu.shared_bytes(kernel) > gpu.SHARED:
            return False  # blocks of others would ask for as much memory
        self.kernels[piece] = kernel
        self.words += piece.words
        self.bodies.add(piece.launch.kernel)
        return True


def one_launch(kernel: Kernel, groups: Sequence[Sequence[Launch]], program: Program) -> Launch:
    """The launch of a kernel that was made of others, each with its launches."""
    launches = [launch for group in groups for launch in group]
    readers = Counter([x for launch in launches for x in {*program.reads(launch)}])
    works = [launch.operations for launch in launches if launch.operations is not None]
    seconds = sum(launch.cost * extent_hint(launch.kernel.grid) for launch in launches)
    assert isinstance(kernel.grid, int)
    return Launch(
        kernel,
        tuple([x for group in groups for row in zip(*[y.buffers for y in group]) for x in row]),
        tuple([x for group in groups for row in zip(*[y.sizes for y in group]) for x in row]),
        # what others read as well they may not find changed
        tuple([pair for y in launches for pair in y.in_place if readers[pair[0]] == 1]),
        seconds / kernel.grid,
        next((launch.source for launch in launches if launch.source), None),
        kernel.name,
        sum(works) if works else None,
        tuple([node for launch in launches for node in launch.nodes]),
        tuple([made for launch in launches for made in launch.made]),
    )
