"""`spread`: the turns of the lane loops of an item are shared out among the threads of a warp.

    alloc a: float32[32] register              alloc a: float32[1] register
    for lane in 0 .. 32 step 1 {               x = load X[thread]
      x = load X[lane]                         store a[0] = x
      store a[lane] = x                 ->     y = load a[0]
    }                                          other = exchange(y, rest(add(thread, 16), 32))
    for lane in 0 .. 16 step 1 {               if less(thread, 16) {
      x = load a[lane]                           x = load a[0]
      y = load a[add(lane, 16)]                  store a[0] = add(x, other)
      store a[lane] = add(x, y)                }
    }

What stands outside of lane loops every thread computes; one of them stores it. A *team* is several
warps: they share out lane loops of more turns than a warp has threads; shorter ones each of them
runs for itself. Of a team loop each takes some turns. Where a local buffer lies depends on who
touches it:

* *own*: an element belongs to the thread whose number it has, modulo the number of threads. Others
  ask for it by an `exchange`. Threads with many of them keep theirs in shared memory;
* *alike*: only stored to outside of lane loops, so each thread has a copy;
* *shared*: anything else; threads wait for each other where one could be too fast.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from jit.dataclass import dataclass
from jit.loops.affine import Forms, encounters, from_data, is_written_once
from jit.loops.ir import (
    INDEX,
    LANE,
    TEAM,
    TRUTH,
    WARP,
    Alloc,
    Buffer,
    Exchange,
    For,
    If,
    Kernel,
    Let,
    Lit,
    Load,
    Operand,
    Statement,
    Store,
    Sync,
    Var,
    VType,
    index,
    walk,
)
from jit.loops.rewrite import Rewrite, refusal, zero
from jit.loops.simplify import is_safe

NAME = "spread"
OWN, ALIKE, SHARED = "own", "alike", "shared"
FEW = 8  # elements of a buffer that a thread keeps in registers


def spread(kernel: Kernel, threads: int = WARP) -> Kernel:
    """The kernel with a warp for each item, or a team.

    Args:
        kernel: Its items have one thread.
        threads: How many they have then, a multiple of a warp's.

    Raises:
        ScheduleError: A turn of a lane loop may need what another one stores.
    """
    rewrite = _Spread(kernel, threads)
    rewrite.copy(kernel.body)
    body = tuple(rewrite.body)
    return replace(kernel, body=body, threads=threads, thread=rewrite.team)


@dataclass(frozen=True)
class _Access:
    """A load or a store, and the lane loop around it."""

    statement: Load | Store
    lane: For | None
    top: bool  # not inside of a loop or a condition in the lane loop


def accesses(
    body: Iterable[Statement], lane: For | None = None, *, top: bool = True
) -> Iterator[_Access]:
    """Every load and store, with the outermost lane loop around it."""
    for s in body:
        match s:
            case Load() | Store():
                yield _Access(s, lane, top)
            case For() if lane is None and s.var.hint.startswith(LANE):
                yield from accesses(s.body, s)
            case For() | If():
                yield from accesses(s.body, lane, top=lane is None)
            case _:
                pass


class Homes:
    """Where each buffer of a kernel lies once threads share out its lane loops.

    Attributes:
        of: Buffer -> OWN, ALIKE, SHARED; of parameters OWN if no thread touches what others do.
        foreign: Loads of what belongs to another thread, in lane loops.
    """

    def __init__(self, kernel: Kernel, threads: int = WARP) -> None:
        self.forms = Forms(kernel)
        self.threads = threads
        self.of: dict[Buffer, str] = {}
        self.foreign: set[Load] = set()
        self.between = {x for s in teams(kernel.body) for x in left_by(s)}
        met: dict[Buffer, list[_Access]] = {}
        for access in accesses(kernel.body):
            met.setdefault(access.statement.buffer, []).append(access)
        for buffer, found in met.items():
            self.of[buffer] = self._home(buffer, found)

    def _home(self, buffer: Buffer, found: list[_Access]) -> str:
        stores = [x for x in found if isinstance(x.statement, Store)]
        if buffer.scope != "param" and buffer in self.between and self.threads > WARP:
            return SHARED
        if not any(x.lane for x in stores) and buffer.scope != "param":
            return ALIKE
        owners = {self._owner(x) for x in found if x.lane is not None}
        if buffer.scope == "param":
            loaded = {x.statement.buffer for x in found if isinstance(x.statement, Load)}
            alone = not stores or is_written_once(buffer, loaded)
            whole = len(owners) == 1 and None not in owners and all(x.lane for x in found)
            return OWN if alone or (whole and self.threads == WARP) else SHARED
        large = self.threads > WARP and buffer.size > FEW * WARP  # too much for each warp
        if large or any(x.lane and self.is_shared_out(x.lane) for x in found):
            return SHARED
        mine = (0, frozenset())
        if all(self._owner(x) == mine for x in stores if x.lane):
            others = [x for x in found if x.lane and self._owner(x) != mine]
            uniform = [x for x in found if x.lane is None]
            if not others and not uniform:
                return OWN
            if buffer.size <= WARP and all(map(self._may_ask, others)):
                self.foreign.update([x.statement for x in others])  # type: ignore[misc]
                return OWN
        return SHARED

    def is_shared_out(self, loop: For) -> bool:
        """Whether all warps share out the turns of a lane loop."""
        trip = self.forms.trip(loop)
        return self.threads > WARP and (trip is None or trip > WARP)

    def _owner(self, access: _Access) -> tuple[int, frozenset[object]] | None:
        """Which thread touches an element: what there is in its index beside thread and turns.

        None: that is not known.
        """
        loop, at = access.lane, access.statement.index
        if loop is None or at.type != INDEX:
            return None
        form = self.forms.of(at)
        if form.terms.get(loop.var) != 1 or not self.forms.multiple(loop.start, WARP):
            return None
        others = [x for x in form.terms.items() if x[0] is not loop.var]
        left = [x for x in others if not self.forms.divides_term(WARP, *x)]
        inner = {s.var for s in walk(loop.body) if isinstance(s, For | Let | Load)}
        if any(isinstance(x, tuple) or x in inner for x, _ in left):
            return None
        return form.constant % WARP, frozenset(left)

    def _may_ask(self, access: _Access) -> bool:
        """Whether all threads can get to a load together: its loop has one turn for each."""
        assert access.lane is not None
        trip = self.forms.trip(access.lane)
        s, body = access.statement, access.lane.body
        if not (access.top and trip is not None and trip <= WARP and isinstance(s, Load)):
            return False
        safe = all(map(is_safe, index_chain(s.index, body)))
        return s.mask is None and safe and not from_data(s.index, self.forms)


class _Spread(Rewrite):
    """Writes what a thread does.

    Attributes:
        team: Its number in the team.
        number: Its number in its warp.
        lane: The lane loop that is being written.
        width: How many threads share that out.
        alone: A warp's own turn of a team loop is being written.
        stored: What of the memory that threads share was stored to since they waited.
        loaded: And what was loaded.
    """

    def __init__(self, kernel: Kernel, threads: int) -> None:
        super().__init__(kernel)
        self.threads, self.width = threads, WARP
        self.team = self.number = Var(INDEX, "thread")
        if threads > WARP:
            self.number = self.index("rest", self.team, WARP)
        self.homes = Homes(kernel, threads)
        self.forms = self.homes.forms
        self.lane: For | None = None
        self.alone = False
        self.stored: set[Buffer] = set()
        self.loaded: set[Buffer] = set()

    # ----- loops -----

    def loop(self, s: For) -> None:
        """A lane loop is shared out; others every thread runs."""
        if self.lane is not None:
            return super().loop(s)
        if is_of_team(s) and self.threads > WARP:
            return self._turns_of_warps(s)
        if not s.var.hint.startswith(LANE):
            if self.alone:
                self._touch(s.body)
            else:  # once, for what came before, and not in each turn
                self._wait(s.body)
            before = set(self.stored), set(self.loaded)  # by the turn before, too
            super().loop(s)
            return self._may_have_run(*before)
        self._check_independent(s)
        self.lane, width = s, self.threads if self.homes.is_shared_out(s) else WARP
        self.width, trip = width, self.forms.trip(s)
        if trip is None:
            first = self.index("add", self.operand(s.start), self.thread)
            self._turns(s, first, self.operand(s.stop), index(0))
        else:
            whole = self.index("add", self.operand(s.start), trip - trip % width)
            if trip >= width:
                self._turns(s, self.operand(s.start), whole, self.thread)
            if trip % width:
                self._turn(s, self.index("add", whole, self.thread), trip % width)
        self.lane, self.width = None, WARP
        return None

    def _turns_of_warps(self, s: For) -> None:
        """A team loop: each warp has a turn of its own."""
        warps, trip = self.threads // WARP, self.forms.trip(s)
        assert trip is not None
        warp, whole = self.index("quotient", self.team, WARP), trip - trip % warps
        turn, self.alone = Var(INDEX, s.var.hint), True

        def one(at: Operand) -> None:
            self.env[s.var] = self.index("add", at, warp)
            self.copy(s.body)

        if whole > warps:
            self.body.append(
                For(turn, index(0), index(whole), warps, self.within(lambda: one(turn)))
            )
        elif whole:
            one(index(0))
        if trip > whole:
            self._guarded("less", index(trip - whole), lambda: one(index(whole)), warp)
        self.alone = False

    @property
    def thread(self) -> Operand:
        """The number of this thread among those that share out the current loop."""
        return self.number if self.width == WARP else self.team

    def when(self, s: If) -> None:
        """A condition outside of lane loops is the same in all threads."""
        before = set(self.stored), set(self.loaded)
        super().when(s)
        if self.lane is None:
            self._may_have_run(*before)

    def _turns(self, s: For, start: Operand, stop: Operand, more: Operand) -> None:
        """All turns of a thread, that are whole turns of all threads."""
        hint = s.var.hint.removeprefix(LANE)
        turn = Var(INDEX, f"turn{hint}")

        def one(at: Operand) -> None:
            self._turn(s, self.index("add", at, more))

        if (
            isinstance(start, Lit)
            and isinstance(stop, Lit)
            and stop.value <= start.value + self.width
        ):
            return one(start)
        body = self.within(lambda: one(turn))
        return self.body.append(For(turn, start, stop, self.width, body))

    def let(self, s: Let) -> None:
        """A value; a thread's turns have the same place in groups of threads."""
        match s.op, s.args:
            case "rest", (x, Lit(value=int() as size)) if self._turns_alike(x, size):
                self.env[s.var] = self.index("rest", self.thread, size)
            case _:
                super().let(s)

    def _turns_alike(self, x: Operand, size: int) -> bool:
        """Whether `x` counts the turns of the lane loop, which a thread's own leave a rest of."""
        loop = self.lane
        if loop is None or x is not loop.var or self.width % size:
            return False
        return self.forms.multiple(loop.start, size)

    def _turn(self, s: For, at: Operand, threads: int | None = None) -> None:
        """A turn of all threads, or of the first ones."""
        self.env[s.var] = at
        self._ask_all(s)
        if threads is None:
            self.copy(s.body)
        else:
            self._guarded("less", index(threads), lambda: self.copy(s.body))

    def _check_independent(self, s: For) -> None:
        """Refuses a loop in which a turn may need what another one stores."""
        if s.step != 1:
            raise self._refused(s, f"{s.var.hint} goes in steps of {s.step}", "a step of 1")
        trip = self.forms.trip(s)
        reach = math.inf if trip is None else max(0, trip - 1)
        loaded = {x.buffer for x in walk(s.body) if isinstance(x, Load)}
        for store, met in encounters(s.body, self.forms, {s.var: reach}):
            if met.get(s.var) == 0:
                continue
            once = is_written_once(store.buffer, loaded)
            if s.var in met or not once or from_data(store.index, self.forms):
                why = f"one turn may need what another one stores in {store.buffer.name}"
                raise self._refused(s, why, "turns that share no element")

    def _refused(self, s: For, why: str, expected: str) -> Exception:
        return refusal(NAME, self.kernel, s, why, expected)

    # ----- memory -----

    def alloc(self, s: Alloc) -> None:
        """Room for the elements of a thread."""
        home, buffer = self.homes.of.get(s.buffer, ALIKE), s.buffer
        if self.lane is not None or home == ALIKE:
            return super().alloc(s)
        size = -(-buffer.size // WARP) if self.is_own(buffer) else buffer.size
        made = replace(self.allocate(buffer, size), scope=self._scope(buffer))
        self.buffers[buffer], self.body[-1] = made, Alloc(made)
        if size == 1 and self.is_own(buffer):  # another thread may ask for it before it is set
            self.body.append(Store(made, index(0), zero(VType(buffer.dtype))))
        return None

    def is_own(self, buffer: Buffer) -> bool:
        """Whether local memory was cut into parts of threads."""
        few = buffer.scope != "param" and buffer.size <= FEW * WARP
        return few and self.homes.of.get(buffer) == OWN

    def _scope(self, buffer: Buffer) -> str:
        return "register" if self.is_own(buffer) else "shared"

    def load(self, s: Load) -> None:
        """A load: of what is the thread's own, or of another one's."""
        if s in self.homes.foreign:
            return  # it was asked for
        if not self.is_own(s.buffer):
            return super().load(s)
        if self.lane is None:
            return self._ask(s)
        at = self._own_place(s.buffer, s.index)
        self.env[s.var] = self.fetch(self.buffers[s.buffer], at, s.var.type, hint=s.var.hint)
        return None

    def store(self, s: Store) -> None:
        """A store: outside of lane loops by one thread, in those of a warp by one warp."""
        if self.is_own(s.buffer):
            owner = self.index("rest", self.operand(s.index), WARP)
            buffer, at = self.buffers[s.buffer], index(0)
            if self.lane is not None:
                at = self._own_place(s.buffer, s.index)
            made = Store(buffer, at, self.operand(s.value), self._optional(s.mask))
            if self.lane is not None:
                return self.body.append(made)
            return self._guarded("equal", owner, lambda: self.body.append(made))
        home, write = self.homes.of.get(s.buffer, ALIKE), super().store
        if self.lane is None and home != ALIKE:
            one = self.number if self.alone else self.team
            return self._guarded("equal", index(0), lambda: write(s), one)
        scope = self.buffers.get(s.buffer, s.buffer).scope
        every = self.lane is not None and self.width < self.threads and not self.alone
        if every and scope in ("param", "shared"):
            return self._guarded("less", index(WARP), lambda: write(s), self.team)
        return write(s)

    def _own_place(self, buffer: Buffer, at: Operand) -> Operand:
        """Where an element of the thread's own lies among them."""
        if self.buffers[buffer].size == 1:
            return index(0)
        before = self.index("subtract", self.operand(at), self.thread)
        return self.index("quotient", before, WARP)

    def _guarded(
        self, op: str, limit: Operand, write: Callable[[], object], number: Operand | None = None
    ) -> None:
        """What is written for the threads whose number compares so with a limit."""
        condition = self.value(op, (number or self.thread, limit), TRUTH)
        if isinstance(condition, Lit):
            if condition.value:
                write()
        elif body := self.within(write):
            self.body.append(If(condition, body))

    # ----- what belongs to other threads -----

    def _ask(self, s: Load) -> None:
        mine = self.fetch(self.buffers[s.buffer], index(0), s.var.type)
        owner = self.index("rest", self.operand(s.index), WARP)
        var = self.env[s.var] = Var(s.var.type, s.var.hint)
        self.body.append(Exchange(var, mine, owner))

    def _ask_all(self, s: For) -> None:
        """All that a turn needs of other threads, before some of them have no turn."""
        for load in [x for x in s.body if x in self.homes.foreign]:
            assert isinstance(load, Load)
            for let in index_chain(load.index, s.body):
                self.let(let)
            self._ask(load)

    # ----- waiting -----

    def copy(self, statements: Sequence[Statement]) -> None:
        """Statements; before one that could be too early, threads wait for each other."""
        for s in statements:
            lanes = isinstance(s, For) and (s.var.hint.startswith(LANE) or is_of_team(s))
            met = self.lane is None and not self.alone  # a warp that waits alone waits for ever
            if met and (lanes or isinstance(s, Load | Store)):
                self._wait([s])
            super().copy([s])

    def _wait(self, body: Sequence[Statement]) -> None:
        stored, loaded = self._shared(body)
        if loaded & self.stored or stored & (self.stored | self.loaded):
            self.body.append(Sync(self.threads))
            self.stored, self.loaded = set(), set()
        self._touch(body)

    def _touch(self, body: Sequence[Statement]) -> None:
        stored, loaded = self._shared(body)
        self.stored |= stored
        self.loaded |= loaded

    def _may_have_run(self, stored: set[Buffer], loaded: set[Buffer]) -> None:
        self.stored |= stored
        self.loaded |= loaded

    def _shared(self, body: Sequence[Statement]) -> tuple[set[Buffer], set[Buffer]]:
        """What statements store and load of the memory that threads share."""
        of = self.homes.of
        met = [s for s in walk(tuple(body)) if isinstance(s, Load | Store)]
        shared = [s for s in met if of.get(s.buffer) == SHARED]
        stored = {s.buffer for s in shared if isinstance(s, Store)}
        return stored, {s.buffer for s in shared if isinstance(s, Load)}


def is_of_team(loop: For) -> bool:
    """Whether warps take turns of a loop."""
    return loop.var.hint.startswith(TEAM)


def teams(body: tuple[Statement, ...]) -> list[For]:
    """The loops whose turns warps take."""
    return [s for s in walk(body) if isinstance(s, For) and is_of_team(s)]


def left_by(loop: For) -> set[Buffer]:
    """What a loop stores to that was there before."""
    inner = [*walk(loop.body)]
    own = {s.buffer for s in inner if isinstance(s, Alloc)}
    return {s.buffer for s in inner if isinstance(s, Store)} - own


def index_chain(at: Operand, body: Sequence[Statement]) -> list[Let]:
    """The instructions of a block that an index is made by, in their order."""
    needed: set[Operand] = {at}
    found: list[Let] = []
    for s in reversed(body):
        if isinstance(s, Let) and s.var in needed:
            needed.update(s.args)
            found.insert(0, s)
    return found
