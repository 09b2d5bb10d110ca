"""Planner: forms to a program of launches: what is fused, the kernel of each group, its slots."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from jit.arranged import arranged, grouped
from jit.calls import Calls
from jit.config import config
from jit.dataclass import dataclass
from jit.dims import Extent, symbol
from jit.forms import nodes
from jit.forms.chains import Chain, Step, tasks_of
from jit.forms.convolve import own_tasks, plain_task, whole_group
from jit.forms.epilogues import FollowedTask
from jit.forms.fuse import Group, fuse, started
from jit.forms.in_place import in_place
from jit.forms.index import same_all
from jit.forms.likeness import Likeness, likeness
from jit.forms.matrices import Matrix
from jit.forms.nodes import Form, FormValue
from jit.forms.placement import Placement, is_number
from jit.forms.program import FormProgram
from jit.forms.sums import is_stream
from jit.forms.tasks import (
    ChainsTask,
    ProductTask,
    RankTask,
    Task,
    TaskMaker,
    TotalsTask,
    WholeTask,
)
from jit.forms.work import operations
from jit.ir.builtin import constant
from jit.ir.graph import Node
from jit.loops.abreast import AbreastNest, TotalsNest
from jit.loops.chains import ChainNest
from jit.loops.folds import ColumnNest, RowNest
from jit.loops.nests import ADDITION, MapNest, Naive, Nest
from jit.loops.panels import Panels
from jit.loops.parts import BlockNest, PartsNest
from jit.loops.patches import PatchNest
from jit.loops.plain_products import PlainProductNest
from jit.loops.ranks import RankNest
from jit.loops.scans import ScanNest
from jit.loops.scatters import scatter_kernels
from jit.loops.squares import SquareNest
from jit.loops.streams import StreamChainsNest
from jit.loops.tiled import tiled
from jit.loops.tiles import best
from jit.progress import each
from jit.repeats import Places
from jit.runtime.program import (
    Convolved,
    Epilogue,
    GuardStep,
    HostStep,
    Launch,
    Matrices,
    Operand,
    Program,
    Slot,
    host_call,
)
from jit.runtime.tuned import tuning
from jit.target import Target
from jit.tuning import TRIED, fastest
from jit.types import TensorType

KEPT = 1024  # kernels that are remembered, some hundred objects each
NAMES = 5  # of the ops in a kernel's name


@dataclass
class Plan:
    """What a graph becomes.

    Attributes:
        program: Launches over slots.
        outputs: For each result of the graph its type, where that is not the slot's.
    """

    program: Program
    outputs: list[TensorType | None]


def plan(name: str, forms: FormProgram, target: Target) -> Plan:
    """The launches that compute `forms`."""
    return Planner(name, forms, target).plan


class Planner:
    """A plan in the making.

    Args:
        name: For people.
        forms: What is computed.
        target: The machine.
        places: Of a body of a loop: where its inputs and outputs lie, among the slots of others.
    """

    def __init__(
        self, name: str, forms: FormProgram, target: Target, places: Places | None = None
    ) -> None:
        self.forms = forms = arranged(forms, target)
        self.target = target
        self.placement = Placement(forms, cut=bool(target.products))
        lasting = () if places is None or target.is_gpu else places.lasting
        given = self.placement, target.products, lasting
        maker = TaskMaker(*given, serial=not target.is_gpu, units=target.units)
        self.extractor = maker.extractor
        self.panels = Panels(self.extractor, target)
        self.slots: list[Slot] = [] if places is None else places.slots
        self.slot_of: dict[FormValue, int] = {}
        if places is None:
            inputs = [self._add(x, Slot(x.type, "input")) for x in forms.inputs]
        else:
            inputs = places.inputs
            self.slot_of.update(zip(forms.inputs, inputs, strict=True))
            owners = [self.placement.base(x) for x in forms.outputs]
            self.slot_of.update(zip(owners, places.outputs, strict=True))
        self.program = Program(name, self.slots, inputs)
        self._calls = Calls(self.slots)
        self.plan = Plan(self.program, [])
        steps = grouped(maker.tasks(), self.placement, target, inner=places is not None)
        self.outside = self._needed_outside(steps)
        self.guards = 0
        for step in each("planning launches", steps):
            self._step(step)
        for x in forms.outputs:
            owner = self.placement.base(x)
            self.program.outputs.append(self.slot(owner))
            self.plan.outputs.append(None if x.shape == owner.shape else x.type)

    # ----- slots -----

    def slot(self, value: FormValue) -> int:
        """The slot of a value in memory."""
        owner = self.placement.base(value)
        if owner not in self.slot_of:
            form = owner.form
            if isinstance(form, nodes.Constant) and not is_number(form):
                self._add(owner, Slot(owner.type, "constant", np.ascontiguousarray(form.value)))
            else:
                self._add(owner, Slot(owner.type))
        return self.slot_of[owner]

    def _add(self, value: FormValue, slot: Slot) -> int:
        self.slots.append(slot)
        self.slot_of[value] = len(self.slots) - 1
        return self.slot_of[value]

    def _needed_outside(self, steps: Iterable[Step]) -> set[FormValue]:
        """The values that leave the group which computes them."""
        home: dict[FormValue, object] = {}
        needed = {self.placement.base(x) for x in self.forms.outputs}
        for step in steps:
            tasks = tasks_of(step)
            home.update({x: step for task in tasks for x in task.outputs})
            for x in {x for task in tasks for x in self._reads(task)}:
                if home.get(x) is not step:
                    needed.add(x)
        return needed

    def _reads(self, task: Task) -> set[FormValue]:
        whole = set(task.form.inputs) if isinstance(task, WholeTask) else set()
        return {self.placement.base(x) for x in task.reads() | whole}

    # ----- steps -----

    def _step(self, step: Step) -> None:
        if isinstance(step, Group):
            self._launch(step)
        elif isinstance(step, Chain):
            self._launch_chain(step)
        else:
            self._whole(step)

    def _launch(self, group: Group) -> None:
        stored = {x for x in group.values() if x in self.outside}
        alike = likeness(group, stored, self.placement.base)
        naive = None if alike is None else known_kernel(alike, self.target)
        if naive is None:
            write = self._product if group.is_product else self._nest
            naive = write(group, stored, self._label(group.tasks))
            if alike is not None:
                keep_kernel(alike, self.target, naive)
        self._add_launch(naive, group.tasks, self._in_place(group))

    def _nest(self, group: Group, stored: set[FormValue], label: str) -> Naive:
        kinds: tuple[type[Nest], ...] = SquareNest, BlockNest, RowNest
        parts: type[Nest] = PartsNest
        if self.target.is_gpu:
            from jit.loops import across, gpu_columns  # loaded where there is a GPU

            kinds = PatchNest, *across.gpu_kinds(group)
            if group.is_parts and gpu_columns.are_for_team(group):
                parts = gpu_columns.GpuColumnsNest
        kind, blocks, along = kinds
        if group.is_parts:
            kind = parts
        elif group.is_split:
            kind = blocks
        elif group.folded:
            kind = along if group.order.inner else ColumnNest
        nest = kind(group, set(stored), self.extractor, self.placement.base, self.target)
        return nest.build(label)  # type: ignore[attr-defined]

    def _product(self, group: Group, stored: set[FormValue], label: str) -> Naive:
        given = group, stored, self.extractor, self.placement.base, self.target
        (task, *_) = group.tasks
        if isinstance(task, ProductTask) and task.matrices and task.matrices.is_fixed:
            return PlainProductNest(*given).build(label)
        if self.target.is_gpu:
            from jit.loops.gpu_mma import product_nest  # loaded where there is a GPU

            assert isinstance(task, ProductTask)
            return product_nest(task)(*given).build(label)
        if isinstance(task, ChainsTask) and is_stream(task):
            return StreamChainsNest(*given).build(label)
        if isinstance(task, ChainsTask):
            return AbreastNest(*given).adopt(self.target).build(label)
        if isinstance(task, TotalsTask):
            return TotalsNest(*given).build(label)
        if not config().autotune or not isinstance(task, ProductTask):
            return tiled(given, label)
        tilings = best(task.contraction, self.target, TRIED)
        every = {name: tiled(given, label, tiling) for name, tiling in tilings.items()}
        return fastest(every, self.target) if every else tiled(given, label)

    def _launch_chain(self, chain: Chain) -> None:
        stored = {x for x in chain.values() if x in self.outside}
        base, extractor, panels = self.placement.base, self.extractor, self.panels
        nest = ChainNest(chain, stored, extractor, base, self.target, panels)
        for task in panels.made():
            self.placement.memory.update(task.outputs)
            pack = MapNest(started(task), {*task.outputs}, extractor, base, self.target)  # type: ignore[arg-type]
            self._add_launch(pack.build("pack"), [task], label="pack")
        self._add_launch(nest.build(self._label(chain.tasks)), chain.tasks)

    def _add_launch(
        self,
        naive: Naive,
        tasks: Sequence[Task],
        in_place: tuple[tuple[int, int], ...] = (),
        label: str = "",
    ) -> None:
        origins = self.forms.origins
        computed = tuple(dict.fromkeys([origins[form] for form in self._computed(tasks)]))
        launch = Launch(
            naive.kernel,
            tuple(map(self.slot, naive.values)),
            tuple([x if isinstance(x, int) else symbol(x) for x in naive.sizes]),
            in_place,
            naive.work * ADDITION,
            self._source(tasks),
            label or self._label(tasks),
            operations(tasks),
            computed,
            named(computed),
        )
        self.program.steps.append(launch)

    def _whole(self, task: WholeTask) -> None:
        form = task.form
        match form:
            case _ if isinstance(task, FollowedTask):
                self._followed(task)
            case nodes.Contract():
                self._matrices(task)
            case nodes.Convolve():
                self._convolution(task, form)
            case nodes.Guard():
                slot = self.slot(form.inputs[0])
                self.program.steps.append(GuardStep(slot, form.expected, self.guards))
                self.guards += 1
            case nodes.Extern():
                self.program.steps.append(
                    HostStep(
                        host_call(form.host),
                        tuple(map(self.slot, form.inputs)),
                        tuple(map(self.slot, form.outputs)),
                        self._source([task]),
                        form.symbol,
                        tuple(map(self._shape_if_other, form.inputs)),
                        tuple(self._origins([task])),
                        named(self._origins([task])),
                    )
                )
            case nodes.Loop():
                self._loop(form)
            case nodes.Call():
                self._call(form)
            case _ if isinstance(task, RankTask):
                rank_nest = RankNest(task, self.extractor, self.placement.base, self.target)
                self._add_launch(rank_nest.build(self._label([task])), [task])
            case nodes.Scan():
                nest = ScanNest(task, self.extractor, self.placement.base, self.target)
                self._add_launch(nest.build(self._label([task])), [task])
            case nodes.Scatter() | nodes.Attention() | nodes.AttentionFlow():
                write = scatter_kernels
                if not isinstance(form, nodes.Scatter):
                    from jit.loops.gpu_attention import attention_kernels as write
                given = self.extractor, self.placement.base, self.target
                for naive in write(task, *given, self._label([task])):
                    self._add_launch(naive, [task])
            case _:
                raise TypeError(form)

    def _matrices(self, task: WholeTask) -> None:
        """A product by itself, which a library may compute in place of the kernel."""
        assert isinstance(task, ProductTask)
        assert task.matrices is not None
        self._launch(whole_group(task))
        launch, (value,) = self._last(), task.outputs
        operands = self._operands(launch, task.matrices.operands)
        told = self._buffer(launch, value), value.dtype.name, self.target.products
        launch.matrices = Matrices(task.matrices.sizes, operands, *told)

    def _followed(self, task: FollowedTask) -> None:
        """A product with what follows it, which a library may compute at once, or apart."""
        (value,), form, product = task.outputs, task.product.form, task.product
        self.outside.update(product.outputs)
        apart = self._apart([product, started(task.map)])
        if isinstance(form, nodes.Convolve):
            product = plain_task(form, self.extractor)
        assert isinstance(product, ProductTask)
        launch = self._plain(task.group(product), value, [product, task.map], apart)
        epilogue = Epilogue(task.relu, self._buffer(launch, task.bias))
        told = {"result": self._buffer(launch, value), "epilogue": epilogue}
        if (alone := apart[0].convolved) is not None:
            first, second = [self._buffer(launch, x) for x in form.inputs]
            launch.convolved = replace(alone, operands=(first, second), **told)
        elif product.matrices and (by := apart[0].matrices):
            operands = self._operands(launch, product.matrices.operands)
            launch.matrices = replace(by, operands=operands, **told)

    def _convolution(self, task: WholeTask, form: nodes.Convolve) -> None:
        """A convolution, which a library may compute at once; kernels of our own do it apart."""
        own = own_tasks(form, self.extractor, self.placement, self.target.units)
        steps = fuse(own, many=self.target.is_gpu)
        self.outside |= self._needed_outside(steps)
        (value,), plain = task.outputs, plain_task(form, self.extractor)
        launch = self._plain(whole_group(plain), value, [plain], self._apart(steps))
        first, second = [self._buffer(launch, x) for x in form.inputs]
        told = self._buffer(launch, value), value.dtype.name, self.target.convolutions
        launch.convolved = Convolved(form.convolution, (first, second), *told)

    def _apart(self, steps: Sequence[Step]) -> tuple[Launch, ...]:
        """Launches that run in place of one, which is yet to come."""
        start = len(self.program.steps)
        for step in steps:
            self._step(step)
        made: list[Any] = self.program.steps[start:]
        del self.program.steps[start:]
        return tuple(made)

    def _plain(
        self, group: Group, value: FormValue, tasks: Sequence[Task], apart: tuple[Launch, ...]
    ) -> Launch:
        """A launch that a library may take the place of, or else those apart."""
        given = self.extractor, self.placement.base, self.target
        nest = PlainProductNest(group, {value}, *given)
        self._add_launch(nest.build(self._label(tasks)), tasks)
        launch = self._last()
        launch.apart = apart
        return launch

    def _last(self) -> Launch:
        """The launch that was added last."""
        (*_, launch) = self.program.steps
        assert isinstance(launch, Launch)
        return launch

    def _operands(self, launch: Launch, given: tuple[Matrix, Matrix]) -> tuple[Operand, Operand]:
        """The matrices that a launch multiplies, in its buffers."""
        left, right = [
            Operand(self._buffer(launch, x.value), x.offset, x.turned, x.shared) for x in given
        ]
        return left, right

    def _buffer(self, launch: Launch, value: FormValue) -> int:
        """Which buffer of a launch holds a value."""
        return launch.buffers.index(self.slot(value))

    def _loop(self, form: nodes.Loop) -> None:
        """Launches of the body, again and again; what is the same each time runs once, before."""
        given, results = [[self.slot(x) for x in xs] for xs in (form.inputs, form.outputs)]
        places = Places(form, self.slots, given, results, self.target.alignment)
        inner = Planner(self.program.name, form.program, self.target, places)
        before, repeat = places.repeated(inner.program)
        self.program.steps += [*before, repeat]

    def _call(self, form: nodes.Call) -> None:
        """Launches of the body, which is planned once for all who call it."""
        given, results = [[self.slot(x) for x in xs] for xs in (form.inputs, form.outputs)]
        body = planned(form.program, self.target)
        self.program.steps += self._calls.launches(body, given, results)

    def _shape_if_other(self, value: FormValue) -> tuple[Extent, ...] | None:
        """The shape of a value where it is not that of its memory."""
        owner = self.placement.base(value)
        return None if same_all(owner.shape, value.shape) else value.shape

    def _in_place(self, group: Group) -> tuple[tuple[int, int], ...]:
        """Pairs of slots (read, written) that may share memory."""
        pairs = in_place(group, self.outside)
        return tuple([(self.slot(x), self.slot(value)) for x, value in pairs])

    # ----- for people -----

    def _origins(self, tasks: Sequence[Task]) -> list[Any]:
        forms: list[Form] = [task.form for task in tasks]
        return [self.forms.origins[form] for form in forms if form in self.forms.origins]

    def _computed(self, tasks: Sequence[Task]) -> list[Form]:
        """The forms that tasks compute, or that move what is there."""
        found = {task.form for task in tasks}
        stack = list(found)
        while stack:
            inner = [x.form for x in stack.pop().inputs if x not in self.placement.memory]
            stack += [form for form in inner if form not in found]
            found.update(inner)
        origins = self.forms.origins
        known = sorted(found & origins.keys(), key=self._numbers.__getitem__)
        given = [x for x in known if isinstance(x, nodes.Constant) or origins[x].op is constant]
        moved = [form for form in known if form not in given]
        computed = [form for form in moved if not isinstance(form, nodes.View)]
        return computed or moved

    def _label(self, tasks: Sequence[Task]) -> str:
        """The ops that tasks compute; of many the last ones."""
        origins = self.forms.origins
        names = dict.fromkeys(origins[form].op.name for form in self._computed(tasks))
        return "_".join([*names][-NAMES:]) or "fill"

    @cached_property
    def _numbers(self) -> dict[Form, int]:
        """The place of each form in the program."""
        return {form: number for number, form in enumerate(self.forms.forms)}

    def _source(self, tasks: Sequence[Task]) -> str | None:
        return next((node.source for node in self._origins(tasks) if node.source), None)


def planned(body: FormProgram, target: Target) -> Program:
    """The launches of a body that is called."""
    plans = _plans.setdefault(body, {})
    if target not in plans:
        plans[target] = plan("part", body, target).program
    return plans[target]


_plans: WeakKeyDictionary[FormProgram, dict[Target, Program]] = WeakKeyDictionary()


# Kernels by likeness and target: each with the numbers of its values and sizes.
_kernels: dict[Hashable, tuple[Naive, tuple[int, ...], tuple[str | int, ...]]] = {}


def known_kernel(alike: Likeness, target: Target) -> Naive | None:
    """The kernel of a group that is like one of before, on its own values."""
    found = _kernels.get((target, tuning(), alike.words))
    if found is None:
        return None
    naive, numbers, sizes = found
    values, offsets = list(alike.values), list(alike.offsets)
    return replace(
        naive,
        values=tuple([values[k] for k in numbers]),
        sizes=tuple([x if isinstance(x, str) else offsets[x] for x in sizes]),
    )


def keep_kernel(alike: Likeness, target: Target, naive: Naive) -> None:
    """Keeps a kernel for groups that are like this one."""
    if len(_kernels) >= KEPT:
        _kernels.clear()
    numbers = tuple([alike.values[x] for x in naive.values])
    sizes = tuple([x if isinstance(x, str) else alike.offsets[x] for x in naive.sizes])
    _kernels[target, tuning(), alike.words] = replace(naive, values=()), numbers, sizes


def forget() -> None:
    """Drops the kernels that are remembered; code that is linked stays."""
    _kernels.clear()


def named(computed: Iterable[Node]) -> tuple[tuple[str, str | None], ...]:
    """The name and the line of each node."""
    return tuple([(node.op.name, node.source) for node in computed])
