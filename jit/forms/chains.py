"""Chains: products that are read row by row, so that they never lie in memory as a whole.

Attention is the pattern: scores (a product) go through maps and folds of their rows, and what comes
out is an operand of further products. A chain computes a tile of rows at a time:

    openers     products whose results have the loops of the chain: ..., rows, columns
    rows        maps and folds along the columns of what the openers give
    closers     products that sum over the columns, or over the rows, of what the rows give

Closers over the rows go on with their sums from tile to tile, so that the outer loops alone are
shared out. Where these are few, or the sums too large, a second chain does their work *turned*: it
takes tiles of columns, and reads from memory what the first has folded along the rows.

Forms decide, never names. A chain is worth its while if the matrix that it saves is larger than all
operands and results; columns are as many as a tile of rows has room for.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from jit.dataclass import dataclass
from jit.dims import Extent
from jit.forms.contraction import Contraction, Letter
from jit.forms.expression import Access
from jit.forms.fuse import Group, in_row, join
from jit.forms.index import same_all
from jit.forms.nodes import FormValue
from jit.forms.placement import Placement, extent_hint, size_hint
from jit.forms.tasks import (
    ChainsTask,
    FoldTask,
    MapTask,
    PartsTask,
    ProductTask,
    Task,
    TotalsTask,
    WholeTask,
)
from jit.types import kind, product

LONGEST = 8192  # columns: more, and a tile of rows would not stay in the caches
FEWEST = 4  # indices of the outer loops that keep threads busy
SUMS = 1 << 19  # elements of the sums of all closers over the rows, on the stack
MOST = 24  # groups that are looked at for one chain


@dataclass(eq=False)
class Opener:
    """A product whose result has the loops of the chain.

    Attributes:
        task: The contraction's.
        c: Its loops.
        operand: Which operand has the rows.
        letters: For each loop of the chain its letter here.
    """

    task: ProductTask
    c: Contraction
    operand: int
    letters: tuple[Letter, ...]

    @property
    def value(self) -> FormValue:
        """The result."""
        return self.task.outputs[0]


@dataclass(eq=False)
class Closer:
    """A product with a value of the chain as an operand.

    Attributes:
        group: The contraction's task, and maps of its result.
        c: Its loops.
        operand: Which operand is the value of the chain.
        value: That value.
        letters: For each loop of the chain its letter here.
        columns: The letter that only the other operand has.
        sums_rows: It sums over the rows of the chain, not over the columns.
    """

    group: Group
    c: Contraction
    operand: int
    value: FormValue
    letters: tuple[Letter, ...]
    columns: Letter
    sums_rows: bool


@dataclass(eq=False)
class Chain:
    """Products joined row by row.

    Attributes:
        extents: Of the loops: outer ones, rows, columns.
        openers: What computes matrices over these loops.
        rows: Maps and folds over them, as a group that folds the last loop.
        closers: What uses the matrices up.
        turned: Rows and columns have changed places since `rows` was made; nothing is folded.
    """

    extents: tuple[Extent, ...]
    openers: list[Opener]
    rows: Group
    closers: list[Closer]
    turned: bool = False

    @property
    def tasks(self) -> list[Task]:
        """All tasks, in an order in which they could run."""
        closing = [task for closer in self.closers for task in closer.group.tasks]
        return [*[opener.task for opener in self.openers], *self.rows.tasks, *closing]

    def values(self) -> set[FormValue]:
        """Every value that it computes."""
        return {x for task in self.tasks for x in task.outputs}

    @property
    def sums_rows(self) -> bool:
        """Whether a closer needs all rows in their order."""
        return any(closer.sums_rows for closer in self.closers)


Step = Group | WholeTask | Chain


def chained(steps: Sequence[Group | WholeTask], placement: Placement) -> list[Step]:
    """The steps with chains in place of the groups that they are made of.

    Args:
        steps: In an order in which they can run.
        placement: Which values lie in memory.
    """
    return Chains(steps, placement).steps


class Chains:
    """Chains in the making.

    Attributes:
        steps: In an order in which they can run.
    """

    def __init__(self, steps: Sequence[Group | WholeTask], placement: Placement) -> None:
        self._placement = placement
        self._outputs = {placement.base(x) for x in placement.program.outputs}
        self._place = {step: number for number, step in enumerate(steps)}
        self._stead: dict[Step, list[Chain]] = {}
        self._maker: dict[FormValue, Step] = {}
        self._readers: dict[FormValue, list[Step]] = {}
        for step in steps:
            self._enter(step)
        for step in steps:
            if isinstance(step, Group) and step.is_product and step not in self._stead:
                self._try(step)
        self.steps: list[Step] = list(self._sorted(steps) if self._stead else steps)

    def _enter(self, step: Step) -> None:
        self._maker.update({x: step for task in tasks_of(step) for x in task.outputs})
        for x in self._reads(step):
            self._readers.setdefault(x, []).append(step)

    def _reads(self, step: Step) -> set[FormValue]:
        found: set[FormValue] = set()
        for task in tasks_of(step):
            found |= self._task_reads(task)
        return found

    def _task_reads(self, task: Task) -> set[FormValue]:
        whole = task.form.inputs if isinstance(task, WholeTask) else ()
        return task.reads() | set(map(self._placement.base, whole))

    def _sorted(self, steps: Sequence[Step]) -> Iterator[Step]:
        """All steps, chains among them, each after those that it needs."""
        done: set[Step] = set()
        waiting: list[tuple[Step, bool]] = []
        for step in reversed(steps):
            waiting += [(x, False) for x in reversed(self._stead.get(step, [step]))]
        while waiting:
            step, ready = waiting.pop()
            if step in done:
                continue
            if ready:
                done.add(step)
                yield step
                continue
            needed = {self._maker[x] for x in self._reads(step) if x in self._maker} - {step}
            waiting.append((step, True))
            waiting += [(x, False) for x in needed]

    def _try(self, start: Group) -> None:
        """Puts chains that start with a product in the place of their groups, if there are any."""
        found = self._gathered(start)
        if found is None:
            return
        members, closing = found
        chain = self._made(start, members, closing)
        parts: set[Step] = {*members, *closing}
        if chain is None or not pays(chain):
            return
        chains = [part for each in self._in_time(chain, parts) for part in shared_out(each)]
        if not chains or not all(map(fits_stack, chains)):
            return
        for x in {x for part in parts for x in self._reads(part)}:
            self._readers[x] = [step for step in self._readers[x] if step not in parts]
        for each in reversed(chains):  # the first one is where folds are made
            self._enter(each)
        self._stead.update(dict.fromkeys(parts, chains))

    def _gathered(self, start: Group) -> tuple[set[Group], list[Group]] | None:
        """The groups over the loops of `start` that depend on it, and the products that follow."""
        members, closing, todo = {start}, list[Group](), [start]
        while todo and len(members) + len(closing) <= MOST:
            group = todo.pop()
            for x in whole_values(group):
                for reader in self._readers.get(x, ()):
                    if reader in members or reader in closing:
                        continue
                    if not isinstance(reader, Group):
                        return None
                    if reader.is_product and x in reader.tasks[0].reads():
                        closing.append(reader)
                    elif same_all(reader.extents, start.extents):
                        members.add(reader)
                        todo.append(reader)
                    else:
                        return None
            for other in {self._maker.get(x) for x in self._reads(group)} - {*members, *closing}:
                if not isinstance(other, Group) or not other.is_product:
                    continue
                if same_all(other.extents, start.extents):  # a second product over the same loops
                    members.add(other)
                    todo.append(other)
        return (members, closing) if closing and not todo else None

    def _made(self, start: Group, members: set[Group], closing: list[Group]) -> Chain | None:
        """The chain of these groups; None if a task does not fit in."""
        extents = start.extents
        if len(extents) < 2:
            return None
        openers: list[Opener] = []
        rows = Group(extents, frozenset({len(extents) - 1}))
        for group in sorted(members, key=self._place.__getitem__):
            tasks = list(group.tasks)
            if group.is_product:
                opener = opened(tasks.pop(0), len(extents))
                if opener is None:
                    return None
                openers.append(opener)
            for task in tasks:
                if not belongs(rows, task, {x.value for x in openers}):
                    return None
                join(rows, task)
        matrices = {x.value for x in openers} | set(whole_values(rows))
        found = [closed(group, matrices, extents) for group in closing]
        closers = [closer for closer in found if closer is not None]
        if len(closers) < len(found) or not matrices.isdisjoint(self._outputs):
            return None
        return Chain(extents, openers, rows, closers)

    def _in_time(self, chain: Chain, parts: set[Step]) -> list[Chain]:
        """The chain, or two where something outside stands between its closers; none if that fails.

        The second one computes matrices again, and reads the folds of the first.
        """
        inside = {x: task for task in chain.tasks for x in task.outputs}
        late = self._late(chain, self._after(inside, parts), inside)
        if not late:
            return [chain] if reads_apart(chain) else []
        behind = [x for x in chain.closers if x.sums_rows or not late.isdisjoint(x.group.tasks)]
        first = [x for x in chain.closers if x not in behind]
        kept = [t for t in chain.rows.tasks if is_of_row(chain.rows, t) and self._leaves(t, parts)]
        one = part_of(chain, first, [t for t in kept if t not in late], {})
        folds = row_values(one)
        two = part_of(chain, behind, [t for t in kept if t in late], folds)
        own = {x: t for t in two.tasks for x in t.outputs if x not in one.values()}
        if not first or not behind or self._late(two, self._after(own, parts), own):
            return []
        return [one, two] if reads_apart(one) and reads_apart(two) else []

    def _leaves(self, task: Task, parts: set[Step]) -> bool:
        """Whether somebody outside of the parts needs what a task computes."""
        return any(
            x in self._outputs or not parts.issuperset(self._readers.get(x, ()))
            for x in task.outputs
        )

    def _late(self, chain: Chain, after: set[Step], inside: Mapping[FormValue, Task]) -> set[Task]:
        """The tasks that wait for closers of the chain, or for steps outside that depend on it."""
        home = {task: closer for closer in chain.closers for task in closer.group.tasks}
        late: set[Task] = set()
        for task in chain.tasks:
            makers = [inside.get(x) or self._maker.get(x) for x in self._task_reads(task)]
            closed = [x for x in makers if x in home and home[x] is not home.get(task)]
            if closed or any(maker in late or maker in after for maker in makers):
                late.add(task)
        return late

    def _after(self, values: Iterable[FormValue], parts: set[Step]) -> set[Step]:
        """Every step beside the parts that needs one of the values."""
        found: set[Step] = set()
        todo = list(values)
        while todo:
            for reader in self._readers.get(todo.pop(), ()):
                if reader not in found and reader not in parts:
                    found.add(reader)
                    todo += [x for task in tasks_of(reader) for x in task.outputs]
        return found


def part_of(
    chain: Chain, closers: list[Closer], roots: Iterable[Task], known: Container[FormValue]
) -> Chain:
    """What of a chain some closers and row tasks need, beside values that lie in memory."""
    inside = {x: task for task in chain.tasks for x in task.outputs}
    needed: set[Task] = set()
    todo = [*[inside[closer.value] for closer in closers], *roots]
    while todo:
        task = todo.pop()
        if task not in needed:
            needed.add(task)
            todo += [inside[x] for x in task.reads() if x in inside and x not in known]
    rows = Group(chain.extents, chain.rows.folded)
    for task in chain.rows.tasks:
        if task in needed:
            join(rows, task)
    openers = [opener for opener in chain.openers if opener.task in needed]
    return Chain(chain.extents, openers, rows, closers)


def row_values(chain: Chain) -> set[FormValue]:
    """What a chain computes for each row."""
    tasks = [task for task in chain.rows.tasks if is_of_row(chain.rows, task)]
    return {x for task in tasks for x in task.outputs}


def shared_out(chain: Chain) -> list[Chain]:
    """A chain, or two whose items are as many as there are tiles."""
    if not chain.sums_rows or has_sums(chain):
        return [chain]
    across = [closer for closer in chain.closers if not closer.sums_rows]
    down = [closer for closer in chain.closers if closer.sums_rows]
    folded = [task for task in chain.rows.tasks if is_of_row(chain.rows, task)]
    second = turned(part_of(chain, down, [], row_values(chain)))
    if not folded and not across:
        return [second]
    return [part_of(chain, across, folded, {}), second]


def has_sums(chain: Chain) -> bool:
    """Whether closers over the rows can keep all their sums, and outer loops occupy threads."""
    sizes = [
        product([x.letters[-1].extent, x.columns.extent]) for x in chain.closers if x.sums_rows
    ]
    size = sum(sizes, 0)
    fits = isinstance(size, int) and 2 * size <= SUMS
    return fits and extent_hint(product(chain.extents[:-2])) >= FEWEST


def turned(chain: Chain) -> Chain:
    """A chain without folds whose rows and columns change places."""

    def swapped(xs: Sequence[Any]) -> tuple[Any, ...]:
        return (*xs[:-2], xs[-1], xs[-2])

    openers = [replace(x, operand=1 - x.operand, letters=swapped(x.letters)) for x in chain.openers]
    closers = [replace(x, letters=swapped(x.letters), sums_rows=False) for x in chain.closers]
    return Chain(swapped(chain.extents), openers, chain.rows, closers, turned=True)


def fits_stack(chain: Chain) -> bool:
    """Whether there is room for a tile of rows."""
    return isinstance(chain.extents[-1], int) and chain.extents[-1] <= LONGEST


def reads_apart(chain: Chain) -> bool:
    """Whether products read nothing of the chain but what closers are there for."""
    inside = chain.values()
    for opener in chain.openers:
        if not opener.task.reads().isdisjoint(inside):
            return False
    for closer in chain.closers:
        own = closer.group.values().keys() | {closer.value}
        reads = {x for task in closer.group.tasks for x in task.reads()} - own
        if not reads.isdisjoint(inside):
            return False
    return True


def is_of_row(rows: Group, task: Task) -> bool:
    """Whether a task gives an element for each row."""
    return isinstance(task, FoldTask) or rows.is_of_rows(task)


def tasks_of(step: Step) -> Sequence[Task]:
    """The tasks of a step."""
    return [step] if isinstance(step, WholeTask) else step.tasks


def whole_values(group: Group) -> Iterator[FormValue]:
    """The values of a group that have an element for each index of its loops."""
    for task in group.tasks:
        if not isinstance(task, FoldTask) and not group.is_of_rows(task):
            yield from task.outputs


def belongs(rows: Group, task: Task, matrices: Iterable[FormValue]) -> bool:
    """Whether a task runs within the rows of a chain, on matrices that the openers give."""
    whole = same_all(task.domain.extents, rows.extents)
    if isinstance(task, FoldTask):
        if not whole or task.axes != rows.folded:
            return False
    elif type(task) is not MapTask or not (whole or same_all(task.domain.extents, rows.rows)):
        return False
    given = set(matrices)
    return all(
        whole and is_own(access, len(rows.extents))
        if access.value in given
        else in_row(rows, task, access, whole=whole)
        for access in task.accesses()
    )


def is_own(access: Access, rank: int) -> bool:
    """Whether an access is to the current index of all loops."""
    return loops_of(access) == [f"i{k}" for k in range(rank)]


def loops_of(access: Access) -> list[str]:
    """The index of each axis that an access reads at, without axes of extent 1."""
    return [str(x) for x in access.at if not (isinstance(x, int) and x == 0)]


def opened(task: Task, rank: int) -> Opener | None:
    """A contraction as the opener of a chain of so many loops."""
    assert isinstance(task, ProductTask)
    c = task.contraction
    row, column = f"i{rank - 2}", f"i{rank - 1}"
    free = [[x.name for x in c.free(k)] for k in (0, 1)]
    owner = [k for k in (0, 1) if row in free[k] and column in free[1 - k]]
    if (
        isinstance(task, ChainsTask | TotalsTask)
        or not owner
        or len(c.inner) != 1
        or kind(c.dtype) != "floating"
    ):
        return None
    by_name = {letter.name: letter for letter in c.letters.values()}
    letters = tuple([by_name[f"i{k}"] for k in range(rank)])
    return Opener(task, c, owner[0], letters)


def closed(group: Group, matrices: set[FormValue], extents: Sequence[Extent]) -> Closer | None:
    """A product as a closer of a chain over matrices of these extents."""
    (task, *_), rank = group.tasks, len(extents)
    assert isinstance(task, ProductTask)
    c = task.contraction
    found = [k for k, x in enumerate(c.elements) if isinstance(x, Access) and x.value in matrices]
    if (
        isinstance(task, ChainsTask | TotalsTask)
        or any(isinstance(x, PartsTask) for x in group.tasks)
        or len(found) != 1
        or len(c.inner) != 1
        or kind(c.dtype) != "floating"
    ):
        return None
    access = c.elements[found[0]]
    assert isinstance(access, Access)
    by_name = {letter.name: letter for letter in c.letters.values()}
    names = loops_of(access)
    letters = tuple([by_name[name] for name in names if name in by_name])
    free = c.free(1 - found[0])
    if access.guard or len(letters) != rank or len(set(names)) != rank or len(free) != 1:
        return None
    if not same_all([x.extent for x in letters], extents):
        return None
    inner = letters.index(c.inner[0]) if c.inner[0] in letters else -1
    if inner not in (rank - 1, rank - 2):
        return None
    return Closer(group, c, found[0], access.value, letters, free[0], inner == rank - 2)


def pays(chain: Chain) -> bool:
    """Whether the matrix is larger than what goes in and what comes out."""
    around = [x for opener in chain.openers for x in opener.task.form.inputs]
    around += [x for closer in chain.closers for x in closer.group.tasks[0].outputs]
    return all(size_hint(x.shape) < size_hint(chain.extents) for x in around)
