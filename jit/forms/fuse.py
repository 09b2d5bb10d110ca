"""Fusion: tasks that run over the same loops become one group, which becomes one kernel.

Forms decide, never names. A group has loops; some of them (`folded`) are what its folds run over,
the others are its *rows*. Within a row the tasks follow in levels: what reads the result of a fold
waits for it. A task joins the latest group that it is related to, if

* its loops are the group's, or it has one element for each row;
* what it reads from the group belongs to the same row;
* no other task stands between them;
* neither would have to wait for long loops that it does not need, if its own are short: what it
  gives may be wanted by others that could run together with these loops.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field, replace
from itertools import islice

from jit.dataclass import dataclass
from jit.dims import Extent
from jit.forms.cuts import (
    has_few_rows,
    in_blocks,
    in_parts,
    in_rows,
    is_long,
    is_long_across,
    is_of_columns,
)
from jit.forms.expression import Access, Domain
from jit.forms.index import same_all
from jit.forms.nodes import FormValue
from jit.forms.order import Order
from jit.forms.parts import computes_each, has_one_column, part_by_part, parts_of
from jit.forms.placement import size_hint
from jit.forms.sums import abreast, has_long_sums, has_sums_alone, in_chains, is_stream
from jit.forms.tasks import (
    BlockTask,
    ColumnTask,
    FoldTask,
    MapTask,
    PartsTask,
    ProductTask,
    Task,
    WholeTask,
)
from jit.forms.waits import Waits

MOST = 400  # additions of a group for an index: larger kernels take too long to compile
RECENT = 8  # of the groups that read a value, so many are looked at: graphs may be large
LONG, SHORT = 1 << 18, 16  # indices of loops that are worth a launch; how many times fewer are few
FEW_RESULTS = 1 << 15  # of a product whose launch takes longer than what it computes


@dataclass(eq=False)
class Group:
    """Tasks over the same loops.

    Attributes:
        extents: Of the loops.
        folded: The loops that folds run over; None while there is no fold.
        tasks: In the order in which they were found.
        levels: For each task how many folds of the group it waits for.
        is_product: The first task is a contraction, the others are maps of its result.
        is_split: Rows are few and long: their blocks are folded, each by itself.
        is_parts: Columns are folded, each block of rows by itself, and nothing else is done.
        divides: A product whose last loop may be cut into parts, side by side in a thread.
        parts: How many there are; maps over the loops of one part read elements of all.
    """

    extents: tuple[Extent, ...]
    folded: frozenset[int] | None = None
    tasks: list[Task] = field(default_factory=list)
    levels: dict[Task, int] = field(default_factory=dict)
    is_product: bool = False
    is_split: bool = False
    is_parts: bool = False
    divides: bool = False
    parts: int = 1

    def __post_init__(self) -> None:
        self._values: dict[FormValue, Task] = {}
        self._known = 0  # how many tasks are counted in these two
        self._cost = 0

    @property
    def order(self) -> Order:
        """How its loops are walked."""
        return Order.of(len(self.extents), self.folded or frozenset())

    @property
    def rows(self) -> tuple[Extent, ...]:
        """The extents of the loops that are not folded."""
        return tuple([self.extents[k] for k in self.order.kept])

    def values(self) -> dict[FormValue, Task]:
        """Every value the group computes, with its task."""
        for task in self.tasks[self._known :]:
            self._values.update(dict.fromkeys(task.outputs, task))
            self._cost += task.cost
        self._known = len(self.tasks)
        return self._values

    @property
    def cost(self) -> int:
        """About how many additions an index of the loops takes."""
        self.values()
        return self._cost

    def is_of_a_part(self, task: Task) -> bool:
        """Whether a task has an element for each index of a part of the last loop."""
        return self.parts > 1 and not same_all(task.domain.extents, self.extents)

    def is_of_rows(self, task: Task) -> bool:
        """Whether a task has one element for each row, not for each index of the loops."""
        if self.folded is None or not isinstance(task, MapTask):
            return False
        return not same_all(task.domain.extents, self.extents)


def fuse(tasks: Iterable[Task], *, many: bool = False) -> list[Group | WholeTask]:
    """The steps of a program, in an order in which they can run.

    Args:
        tasks: What is computed.
        many: There are so many threads that folds over rows are shared out among them.
    """
    return list(Fusion(tasks, many=many).steps())


class Fusion:
    """Groups in the making; a step is a group or a task that is computed by itself."""

    def __init__(self, tasks: Iterable[Task], *, many: bool) -> None:
        self._many = many
        self._step_of: dict[FormValue, Group | WholeTask] = {}
        self._waits: Waits[Group | WholeTask] = Waits()
        self._readers: dict[FormValue, dict[Group, None]] = {}
        self._began: dict[Group, int] = {}
        self._behind: dict[Group | WholeTask, int] = {}  # the longest loops that it waits for
        self._waiting: dict[FormValue, FoldTask] = {}
        for task in tasks:
            for x in [x for x in task.reads() if x in self._waiting]:
                self._place_columns(x)
            if isinstance(task, FoldTask) and is_of_columns(task, many=many):
                self._waiting.update(dict.fromkeys(task.outputs, task))
            elif isinstance(task, FoldTask) and many and has_few_rows(task):
                for part in in_rows(task):
                    self._place_fold(part)
            elif isinstance(task, ProductTask) and (has_long_sums if many else is_stream)(task):
                for part in in_chains(task):
                    self._place(part)
            elif isinstance(task, ProductTask) and not many and has_sums_alone(task):
                for whole in abreast(task):
                    self._place(whole)
            elif isinstance(task, FoldTask):
                self._place_fold(task)
            else:
                self._place(task)
        for x in list(self._waiting):
            self._place_columns(x)

    def _place_fold(self, task: FoldTask) -> None:
        long = is_long(task) or (self._many and is_long_across(task))
        for part in in_blocks(task) if long else [task]:
            self._place(part)

    def _place_columns(self, value: FormValue) -> None:
        """A fold over rows waits until it is needed: a group of these rows may do a part of it."""
        task = self._waiting.get(value)
        if task is None:
            return
        for x in task.outputs:
            del self._waiting[x]
        for x in [x for x in task.reads() if x in self._waiting]:
            self._place_columns(x)
        part, rest = in_parts(task, alone=self._many)
        if not self._many and self._home(part, self._needed(part)) is None:
            self._place(task)
        else:
            self._place(part)
            self._place(rest)

    def _needed(self, task: Task) -> dict[Group | WholeTask, None]:
        return dict.fromkeys([self._step_of[x] for x in task.reads() if x in self._step_of])

    def steps(self) -> Iterator[Group | WholeTask]:
        """Every step after those it needs."""
        return self._waits.in_order()

    def _place(self, task: Task) -> None:
        task, needed, home = self._placed(task)
        step = started(task, divides=self._many) if home is None else home
        if home is None:
            self._waits.begin(step)
        else:
            join(home, task)
        needed.pop(step, None)
        self._waits.wait(step, needed)
        self._behind[step] = max(self._behind.get(step, 0), self._longest(needed))
        self._step_of.update(dict.fromkeys(task.outputs, step))
        if isinstance(step, Group):
            self._note(step, [task])
            for other in needed:
                if isinstance(other, Group):
                    step = self._united(other, step)

    def _placed(self, task: Task) -> tuple[Task, dict[Group | WholeTask, None], Group | None]:
        """A task, its needs, its home: part by part where a group computes something of each.

        Where there are many threads, also in a group of its own: none asks where it is.
        """
        needed = self._needed(task)
        element = task.element if isinstance(task, MapTask) else None
        grouped = any(isinstance(step, Group) for step in needed)
        if element is None or not (grouped or self._many):
            return task, needed, self._home(task, needed)
        parts = part_by_part(task, element)  # type: ignore[arg-type]
        home = None if parts is None else self._home(parts, needed)
        if parts is not None and home is not None and computes_each(home, parts):
            return parts, needed, home
        home = self._home(task, needed)
        alone = parts is not None and home is None and self._many
        return parts if alone else task, needed, home  # type: ignore[return-value]

    def _note(self, group: Group, tasks: Iterable[Task]) -> None:
        """Remembers what tasks of a group read."""
        self._began.setdefault(group, len(self._began))
        for x in {x for task in tasks for x in task.reads()}:
            self._readers.setdefault(x, {})[group] = None

    def _united(self, first: Group, second: Group) -> Group:
        """Two groups as one, where the tasks of the second fit into the first; else the second."""
        needed = [step for step in self._waits.needs(second) if step is not first]
        products = first.is_product or second.is_product
        follows = self._many and is_small(first) and has_only_maps(second)
        if (products and not follows) or not self._waits.may_wait(first, needed):
            return second
        if self._is_delayed(first, max(self._longest(needed), self._behind[first])):
            return second
        both = replace(first, tasks=list(first.tasks), levels=dict(first.levels))
        for task in second.tasks:
            if not fits(both, task, related=follows):
                return second
            join(both, task)
        first.folded, first.tasks, first.levels = both.folded, both.tasks, both.levels
        self._waits.unite(first, second)
        self._behind[first] = max(self._behind[first], self._longest(needed))
        self._step_of.update(dict.fromkeys(second.values(), first))
        for x in {x for task in second.tasks for x in task.reads()}:
            del self._readers[x][second]
        self._note(first, second.tasks)
        return first

    def _home(self, task: Task, needed: Iterable[Group | WholeTask]) -> Group | None:
        if isinstance(task, WholeTask):
            return None
        for group in self._related(task, needed):
            others = [step for step in needed if step is not group]
            behind = max(self._longest(others), self._behind[group] if group in needed else 0)
            if self._is_delayed(group, behind) or not fits(group, task):
                continue
            if self._waits.may_wait(group, others):
                return group
        return None

    def _longest(self, needed: Iterable[Group | WholeTask]) -> int:
        """How long the longest loops are among steps, and what they wait for."""
        return max([max(length(step), self._behind[step]) for step in needed], default=0)

    def _is_delayed(self, group: Group, behind: int) -> bool:
        """Whether short loops would wait for long ones only because of others that they join.

        Args:
            group: What is joined.
            behind: How long the longest loops are that those who join wait for.
        """
        longer = max(behind, self._behind[group])
        shorter = min(behind, self._behind[group])
        return longer >= LONG and longer >= SHORT * max(shorter, length(group))

    def _related(self, task: Task, needed: Iterable[Group | WholeTask]) -> list[Group]:
        """Groups that compute what the task reads, or read what it reads; the latest first."""
        found = {step for step in needed if isinstance(step, Group)}
        for x in task.reads():
            found.update(islice(reversed(self._readers.get(x, {})), RECENT))
        return sorted(found, key=self._began.__getitem__, reverse=True)


def length(step: Group | WholeTask) -> int:
    """About how many indices the loops of a step have."""
    if isinstance(step, Group):
        return size_hint(step.extents)
    return max([size_hint(x.shape) for x in step.outputs], default=0)


def started(task: Task, *, divides: bool = False) -> Group | WholeTask:
    """A step of one task; a product may be cut into parts where it `divides`."""
    if isinstance(task, WholeTask):
        if not isinstance(task, ProductTask) or task.matrices is not None:
            return task
        domain = Domain.of(task.form.types[0].shape)
        group = Group(domain.extents, None, [task], {task: 0}, is_product=True)
        group.divides = divides and has_one_column(task)
        return group
    folded = task.axes if isinstance(task, FoldTask | BlockTask | ColumnTask) else None
    split, parts = isinstance(task, BlockTask), isinstance(task, ColumnTask)
    return Group(task.domain.extents, folded, [task], {task: 0}, is_split=split, is_parts=parts)


def join(group: Group, task: Task) -> None:
    """Adds a task that fits."""
    if isinstance(task, FoldTask | BlockTask):
        group.folded = task.axes
    if group.divides:
        group.parts = max(group.parts, parts_of(group, task))
    group.is_split = group.is_split or isinstance(task, BlockTask)
    group.levels[task] = level(group, task)
    group.tasks.append(task)


def level(group: Group, task: Task) -> int:
    """How many folds of the group a task waits for, one after the other."""
    values = group.values()
    waits = [0]
    for x in task.reads() & values.keys():
        waits.append(group.levels[values[x]] + isinstance(values[x], FoldTask))
    return max(waits)


def is_small(group: Group) -> bool:
    """Whether it is a product of so few elements that a launch less is worth any map behind it."""
    return group.is_product and group.parts == 1 and size_hint(group.extents) <= FEW_RESULTS


def has_only_maps(group: Group) -> bool:
    """Whether a group does nothing else."""
    return all(isinstance(task, MapTask) for task in group.tasks)


def fits(group: Group, task: Task, *, related: bool = False) -> bool:
    """Whether a task can run within the loops of a group.

    Args:
        group: What it would be part of.
        task: What is asked about.
        related: It belongs to others that read what the group computes.
    """
    if group.cost + task.cost > MOST:
        return False
    whole = same_all(task.domain.extents, group.extents)
    if isinstance(task, PartsTask) and (group.folded is not None or not whole):
        return False
    if group.divides and not whole:
        return parts_of(group, task) > 1
    if isinstance(task, ColumnTask) and task.alone:
        return group.is_parts and whole and group.folded == task.axes
    if group.is_parts:
        return False
    if group.is_product or group.is_split:
        related = related or not group.values().keys().isdisjoint(task.reads())
        if not (whole and isinstance(task, MapTask) and (related or group.is_split)):
            same_blocks = isinstance(task, BlockTask) and whole and group.folded == task.axes
            if not (group.is_split and same_blocks):
                return False
    elif isinstance(task, BlockTask):
        if not whole or group.folded is not None:
            return False
    elif isinstance(task, ColumnTask):
        rows = len(group.extents) - (task.outputs[0].ndim - 1)
        leading = frozenset(range(rows, len(group.extents)))
        if not whole or group.folded != leading:
            return False
    elif isinstance(task, FoldTask):
        if not whole or group.folded not in (None, task.axes) or has_rows_alone(group, task):
            return False
        of_blocks = [t.of_blocks for t in group.tasks if isinstance(t, FoldTask)]
        if of_blocks and task.of_blocks not in of_blocks:
            return False
    elif not whole and not (group.folded is not None and same_all(task.domain.extents, group.rows)):
        return False
    if not whole and group.values().keys().isdisjoint(task.reads()):
        return False
    return all(in_row(group, task, access, whole=whole) for access in task.accesses())


def has_rows_alone(group: Group, task: FoldTask) -> bool:
    """Whether the loops would be walked column by column only because of this task."""
    return group.folded is None and not Order.of(len(group.extents), task.axes).inner


def in_row(group: Group, task: Task, access: Access, *, whole: bool) -> bool:
    """Whether what is read is not the group's, or belongs to the row that reads it."""
    source = group.values().get(access.value)
    if source is None:
        return True
    if group.is_of_a_part(source) and not isinstance(source, ProductTask):
        return False
    own = task.domain.extents if whole else group.rows
    kept = group.order.kept if group.folded is not None else tuple(range(len(own)))
    rows = {f"i{k}" for k in (kept if whole else range(len(own)))}
    names = [str(x) for x in access.at if not (isinstance(x, int) and x == 0)]
    if isinstance(source, BlockTask | ColumnTask | PartsTask):
        return False
    if isinstance(source, FoldTask) or group.is_of_rows(source):
        return names == sorted(rows, key=lambda n: int(n[1:]))
    return whole and names == [f"i{k}" for k in range(len(own))]


def row_names(group: Group) -> Mapping[str, str]:
    """The loop of a row's task -> the loop of the group."""
    return {f"i{n}": f"i{k}" for n, k in enumerate(group.order.kept)}
