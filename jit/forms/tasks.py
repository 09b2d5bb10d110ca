"""Tasks: what a form program computes into memory, with the element expressions of each."""

from __future__ import annotations

from collections.abc import (
    Callable,
    Collection,
    Generator,
    Hashable,
    Iterable,
    Iterator,
    KeysView,
    Sequence,
)
from dataclasses import field
from functools import cached_property, partial
from itertools import product as every
from typing import Any

from jit.dataclass import dataclass
from jit.dims import Dim, Extent
from jit.forms import nodes
from jit.forms.combine import Combiner
from jit.forms.contraction import Contraction
from jit.forms.expression import (
    Access,
    Apply,
    Domain,
    Expression,
    Extractor,
    Number,
    accesses,
    lookups,
    moved,
    walk,
)
from jit.forms.forms import FormBuilder
from jit.forms.matrices import Layout, Matrices, is_for_library, units_for
from jit.forms.nodes import Form, FormValue
from jit.forms.order import Order, fold_few
from jit.forms.placement import COSTS, Placement, is_empty, is_number, is_of_nothing
from jit.forms.ranks import Ranks, ranked
from jit.forms.scalar import accumulator, result_dtype
from jit.forms.staging import Copy, in_chunks, staging
from jit.types import TensorType

SMALL_FOLD = 16  # windows of up to so many elements are folded within one expression

Row = tuple[Expression, ...]


@dataclass(eq=False)
class Task:
    """Something to compute into memory.

    Attributes:
        form: The form it comes from.
        outputs: The values it computes.
        domain: The loops it needs.
        elements: The expression of each value that is stored or folded.
        extractor: Elements of the index tables that they load from.
    """

    form: Form
    outputs: tuple[FormValue, ...]
    domain: Domain
    elements: tuple[Expression, ...]
    extractor: Extractor | None = field(default=None, kw_only=True)

    def accesses(self) -> tuple[Access, ...]:
        """Every element that is read, those of index tables included."""
        return self._accesses

    def read_directly(self) -> set[Access]:
        """Those of them that are part of its elements, and not of index arithmetic."""
        return {x for x in walk(*self.elements) if isinstance(x, Access)}

    def looked_up(self) -> set[Access]:
        """Those of them that make up index tables."""
        every = walk(*self.elements)
        return {access for x in every for access in lookups(x, self.extractor)}

    def reads(self) -> KeysView[FormValue]:
        """The values it reads from memory, or from a task it is fused with."""
        return self._reads.keys()

    @cached_property
    def cost(self) -> int:
        """Of an element, in additions."""
        found = [x.name for x in walk(*self.elements) if isinstance(x, Apply)]
        return sum(COSTS.get(name, 1) for name in found)

    @cached_property
    def _accesses(self) -> tuple[Access, ...]:
        return tuple(accesses(self.elements, self.extractor))

    @cached_property
    def _reads(self) -> dict[FormValue, None]:
        return dict.fromkeys([access.value for access in self._accesses])


@dataclass(eq=False)
class MapTask(Task):
    """Each element by itself.

    Attributes:
        element: Any element of its value.
    """

    element: Callable[[tuple[Extent, ...]], Expression] | None = field(default=None, kw_only=True)

    def pieces(self) -> Iterator[tuple[tuple[Extent, ...], Expression]]:
        """Where the elements of an index of the loops lie, and what they are."""
        return zip((self.domain.indices,), self.elements, strict=True)


@dataclass(eq=False)
class PartsTask(MapTask):
    """A map of which each index of the loops gives an element of each part of the value.

    Attributes:
        places: Where they lie.
    """

    places: tuple[tuple[Extent, ...], ...] = field(kw_only=True)

    def pieces(self) -> Iterator[tuple[tuple[Extent, ...], Expression]]:
        """Where the elements of an index of the loops lie, and what they are."""
        return zip(self.places, self.elements, strict=True)


@dataclass(eq=False)
class FoldTask(Task):
    """Elements folded over some of the loops.

    Attributes:
        combiner: How.
        axes: Which loops; they are numbered without those of extent 1.
        of_blocks: What is folded are results of blocks.
    """

    combiner: Combiner = field(kw_only=True)
    axes: frozenset[int] = field(kw_only=True)
    of_blocks: bool = False


@dataclass(eq=False)
class BlockTask(Task):
    """Blocks of long rows, each folded by itself: the parts of a fold.

    Attributes:
        combiner: How.
        axes: The loops that make up a row.
    """

    combiner: Combiner = field(kw_only=True)
    axes: frozenset[int] = field(kw_only=True)


@dataclass(eq=False)
class ColumnTask(Task):
    """Elements folded over the rows of a group that walks row by row, a part for each block.

    Attributes:
        combiner: How.
        axes: The loops of the rows.
        alone: The group holds nothing but such tasks, and goes column by column.
    """

    combiner: Combiner = field(kw_only=True)
    axes: frozenset[int] = frozenset()
    alone: bool = False


@dataclass(eq=False)
class WholeTask(Task):
    """A form computed by itself: a product, a scan, a scatter, a host step, a guard.

    Its elements are those of its operands, each over a domain of its own.
    """


@dataclass(eq=False)
class CallTask(WholeTask):
    """A call of a body, which reads its operands as a whole.

    Attributes:
        owners: The values whose memory holds its operands.
    """

    owners: dict[FormValue, None] = field(kw_only=True)

    def reads(self) -> KeysView[FormValue]:
        """The values it reads."""
        return self.owners.keys()


@dataclass(eq=False)
class RankTask(WholeTask):
    """A scatter to ranks, block by block; its elements are `into`, updates, marks, starts.

    Attributes:
        ranks: Where its updates go.
        starts: Of each block how many marks stand before it; None if there is one block.
    """

    ranks: Ranks = field(kw_only=True)
    starts: FormValue | None = field(default=None, kw_only=True)


@dataclass(eq=False)
class ProductTask(WholeTask):
    """A contraction of two operands.

    Attributes:
        contraction: Its loops.
        matrices: The same for a library, which may compute it.
    """

    contraction: Contraction = field(kw_only=True)
    matrices: Matrices | None = field(default=None, kw_only=True)


@dataclass(eq=False)
class ChainsTask(ProductTask):
    """The chains that a contraction's sums are made of, each by itself: the parts of a fold."""


@dataclass(eq=False)
class TotalsTask(ProductTask):
    """The sums of a contraction, from their chains, which are added one after the other."""


class TaskMaker:
    """Makes the tasks of a program.

    Args:
        placement: Which values lie in memory.
        library: In which precision a library multiplies matrices of float32; "": there is none.
        lasting: Of a loop's body: the values that are the same in each run.
        serial: Whether each thread walks along many elements.
        units: In what tensor cores multiply elements of a dtype: see `Target.units`.
    """

    def __init__(
        self,
        placement: Placement,
        library: str = "",
        lasting: Collection[FormValue] = (),
        *,
        serial: bool = True,
        units: Callable[[str], str] = lambda dtype: "",
    ) -> None:
        self._units = units
        self.placement, self._library, self._lasting = placement, library, lasting
        outputs = {*map(placement.base, placement.program.outputs)}
        self._ranked = ranked(placement.live, placement.readers, outputs) if serial else {}
        self._laid: dict[Hashable, FormValue] = {}  # copies of operands
        self.extractor = Extractor(placement.memory.__contains__)

    def tasks(self) -> Iterator[Task]:
        """The tasks in an order in which they can run."""
        for task in self._made():
            task.extractor = self.extractor
            yield task

    def _made(self) -> Iterator[Task]:
        memory = self.placement.memory
        counted = {ranks.scan for ranks in self._ranked.values()}
        for form in self.placement.live:
            match form:
                case nodes.Source():
                    pass
                case nodes.Scan() if form in counted:
                    pass
                case nodes.Scatter() if form in self._ranked:
                    yield from self._to_ranks(form, self._ranked[form])
                case nodes.Reduce() | nodes.Contract() if is_of_nothing(form):
                    yield from map(self._nothing, form.outputs)
                case _ if is_empty(form):
                    pass
                case nodes.Constant() if not is_number(form):
                    pass
                case nodes.Pointwise() | nodes.View() | nodes.Index() | nodes.Constant():
                    yield from (self._map(value) for value in form.outputs if value in memory)
                case nodes.Reduce() if is_window(form):
                    yield from (self._window(form, k) for k in range(len(form.outputs)))
                case nodes.Reduce():
                    yield self._fold(form)
                case nodes.Contract():
                    yield from self._product(form)
                case nodes.Attention() | nodes.AttentionFlow():
                    copies, elements = in_chunks(form, self.extractor)
                    yield from self._copies(form, copies)
                    yield WholeTask(form, form.outputs, Domain.of(()), elements)
                case nodes.Pieces():
                    yield self._pieces(form)
                case _:
                    yield self._whole(form)

    def element(self, value: FormValue, domain: Domain) -> Expression:
        """Each element of `value` over a domain of its shape."""
        return self._extractor(domain).element(value, domain.indices)

    def _extractor(self, domain: Domain) -> Extractor:
        """What loops over a domain read elements by."""
        if self.placement.reads_all(domain):
            return self.extractor
        return Extractor(lambda value: self.placement.is_read(value, domain))

    def _map(self, value: FormValue) -> MapTask:
        domain = Domain.of(value.shape)
        made = partial(self._extractor(domain).inlined, value)
        return MapTask(value.form, (value,), domain, (made(domain.indices),), element=made)

    def _pieces(self, form: nodes.Pieces) -> PartsTask:
        domain = Domain.of(form.inputs[0].shape)
        elements = tuple([self.element(x, domain) for x in form.inputs])
        places = [tuple([moved(x, domain.indices) for x in map.at]) for map in form.maps]
        return PartsTask(form, form.outputs, domain, elements, places=tuple(places))

    def _fold(self, form: nodes.Reduce) -> FoldTask:
        domain = Domain.of(form.inputs[0].shape)
        elements = tuple([widened(self.element(x, domain)) for x in form.inputs])
        axes = folded_loops(form, domain)
        return FoldTask(form, form.outputs, domain, elements, combiner=form.combiner, axes=axes)

    def _nothing(self, value: FormValue) -> MapTask:
        """What folding or summing up no elements gives."""
        form = value.form
        start = identity_of(form)[value.index] if isinstance(form, nodes.Reduce) else 0
        element = Number(value.dtype.type(start), value.dtype)
        return MapTask(form, (value,), Domain.of(value.shape), (element,))

    def _product(self, form: nodes.Contract) -> Iterator[Task]:
        """A contraction, after copies of operands that are better read from memory of their own."""
        if self._library and is_for_library(form, partial(self._is_own, form)):
            layout = Layout(form, self.extractor, self._laid)
            if layout.matrices.may_pay(self._library):
                yield from self._matrices(form, layout)
                return
        contraction = Contraction(form, self.extractor)
        contraction.units = units_for(contraction, self._units)
        yield from self._copies(form, staging(contraction, self._lasting))
        elements = tuple(contraction.elements)
        yield ProductTask(form, form.outputs, Domain.of(()), elements, contraction=contraction)

    def _copies(self, form: Form, copies: Iterable[Copy]) -> Iterator[Task]:
        for copy in copies:
            self.placement.memory.add(copy.value)
            yield MapTask(form, (copy.value,), copy.domain, (copy.element,))

    def _is_own(self, form: Form, x: FormValue) -> bool:
        """Whether a value comes from the node that `form` comes from."""
        origins = self.placement.program.origins
        return origins.get(x.form) is origins.get(form)

    def _matrices(self, form: nodes.Contract, layout: Layout) -> Iterator[Task]:
        """A contraction as a library computes it, between copies in the order that it needs."""
        yield from self._copies(form, layout.made.values())
        self._laid.update({key: copy.value for key, copy in layout.made.items()})
        contraction, (result,) = layout.contraction, form.outputs
        (made,) = form.outputs if layout.moved is None else contraction.form.outputs
        self.placement.memory.add(made)
        elements, matrices = tuple(contraction.elements), layout.matrices
        given = Domain.of(()), elements
        yield ProductTask(form, (made,), *given, contraction=contraction, matrices=matrices)
        if made is not result:
            domain, element = layout.put_back(made, result)
            yield MapTask(form, (result,), domain, (element,))

    def _whole(self, form: Form) -> WholeTask:
        if isinstance(form, nodes.Call):
            owners = dict.fromkeys(map(self.placement.base, form.inputs))
            return CallTask(form, form.outputs, Domain.of(()), (), owners=owners)
        # Who writes the loops of such a form reads from memory all that lies there.
        elements = [self.extractor.element(x, Domain.of(x.shape).indices) for x in form.inputs]
        return WholeTask(form, form.outputs, Domain.of(()), tuple(elements))

    def _to_ranks(self, form: nodes.Scatter, ranks: Ranks) -> Iterator[Task]:
        """A scatter to ranks, after the counts of its blocks."""
        read = *form.inputs[:2], ranks.marks
        elements = tuple([self.extractor.element(x, Domain.of(x.shape).indices) for x in read])
        starts = None
        if not isinstance(ranks.extent, int) or ranks.extent > ranks.block:
            starts = yield from self._starts(ranks)
            elements = *elements, Access(starts, Domain.of(starts.shape).indices, ())
        given = form, form.outputs, Domain.of(()), elements
        yield RankTask(*given, ranks=ranks, starts=starts)

    def _starts(self, ranks: Ranks) -> Generator[Task, None, FormValue]:
        """How many marks stand before each block, from the counts of all blocks but the last."""
        builder, scan, memory = FormBuilder(), ranks.scan, self.placement.memory
        shape, dtype = (ranks.blocks - 1, ranks.block), ranks.marks.dtype
        marks = builder.view(ranks.marks, shape, lambda i, k: (i * ranks.block + k,))
        counts = builder.source(TensorType(shape[:1], dtype))
        every = builder.view(counts, (ranks.blocks,), lambda i: (i,), fill=0)
        starts = builder.source(TensorType(every.shape, dtype))
        memory.update((counts, starts))
        domain = Domain.of(shape)
        axes = frozenset({len(domain.loops) - 1})
        elements = (widened(self.element(marks, domain)),)
        yield FoldTask(scan, (counts,), domain, elements, combiner=scan.combiner, axes=axes)
        elements = (self.element(every, Domain.of(every.shape)),)
        yield WholeTask(scan, (starts,), Domain.of(()), elements)
        return starts

    def _window(self, form: nodes.Reduce, output: int) -> MapTask:
        """A few elements folded in one expression, in the order that the loops would follow."""
        value, inner = form.outputs[output], Domain.of(form.inputs[0].shape)
        domain, order = (
            Domain.of(value.shape),
            Order.of(len(inner.loops), folded_loops(form, inner)),
        )
        axes = [k for k, i in enumerate(inner.indices) if isinstance(i, Dim)]
        outer, lanes = ([axes[k] for k in loops] for loops in (order.outer, order.inner))
        rows = [
            [self._lane(form, domain, {**at, **lane}) for lane in indices(form, lanes)]
            for at in indices(form, outer)
        ]
        start = tuple([Number(v, x.dtype) for v, x in zip(identity_of(form), rows[0][0])])
        merge = partial(merged, form.combiner)
        folded = fold_few(rows, merge, start, lanes=bool(lanes))[output]
        return MapTask(form, (value,), domain, (narrowed(folded, value.dtype),))

    def _lane(self, form: nodes.Reduce, domain: Domain, at: dict[int, int]) -> Row:
        kept = iter(domain.indices)
        ndim = form.inputs[0].ndim
        full = tuple([at.get(k, 0) if k in form.axes else next(kept) for k in range(ndim)])
        return tuple([widened(self.extractor.element(x, full)) for x in form.inputs])


def folded_loops(form: nodes.Reduce, domain: Domain) -> frozenset[int]:
    """The loops of a domain that a form folds; loops are numbered without extents of 1."""
    axes = [k for k, i in enumerate(domain.indices) if isinstance(i, Dim)]
    return frozenset(number for number, k in enumerate(axes) if k in form.axes)


def indices(form: nodes.Reduce, axes: Sequence[int]) -> Iterator[dict[int, int]]:
    """Every index of some axes of what is folded, in row-major order."""
    extents: list[Any] = [form.inputs[0].shape[axis] for axis in axes]
    return (dict(zip(axes, at)) for at in every(*map(range, extents)))


def is_window(form: nodes.Reduce) -> bool:
    """Whether one element is folded, or a few of a view: a loop of its own would not pay."""
    x = form.inputs[0]
    size = 1
    for axis in form.axes:
        extent = x.shape[axis]
        if not isinstance(extent, int) or extent == 0:
            return False
        size *= extent
    through_view = any(isinstance(y.form, nodes.View) for y in form.inputs)
    if size == 1:
        return True
    return size <= SMALL_FOLD and through_view and not any(is_number(y.form) for y in form.inputs)


def identity_of(form: nodes.Reduce) -> tuple[Any, ...]:
    """The tuple that stands for no elements, in the dtypes that the fold runs in."""
    return form.combiner.identity(*[accumulator(x.dtype) for x in form.inputs])


def widened(x: Expression) -> Expression:
    """`x` in the dtype that folds of it run in."""
    return narrowed(x, accumulator(x.dtype))


def narrowed(x: Expression, dtype: Any) -> Expression:
    """`x` in `dtype`."""
    return x if x.dtype == dtype else Apply("astype", (x,), dtype)


def merged(combiner: Combiner, a: Row, b: Row) -> Row:
    """The merge of two tuples, as expressions."""

    def apply(name: str, *xs: Any) -> Expression:
        like = next(x.dtype for x in xs if not isinstance(x, bool | int | float))
        args = tuple([Number(x, like) if isinstance(x, bool | int | float) else x for x in xs])
        return Apply(name, args, result_dtype(name, tuple([x.dtype for x in args])))

    return tuple(combiner.merge(apply, a, b))
