"""Sweeps that come again: an eager loop asks for gradients of the same form at each step.

Op by op, a sweep costs Python and a kernel for each op. Once one form of sweep has cost about what
it takes to compile it, it is recorded on symbolic tensors and compiled; from then on it is one
native call, with the same bits. So at most half of the time is spent in vain, whatever comes.

What compiling takes depends on what was compiled before. Records of kinds that are new, by op and
types, need code of their own; of others there is code, which the parts of a sweep that come again
call. So a net whose shape is that of its input, each a form, is compiled soon.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

import jit
from dualflow.autodiff.sweep import Sweep, by_tick, op_by_op
from dualflow.core.backend import place_of_all
from dualflow.core.context import context, using
from dualflow.core.kernels import spelled
from dualflow.core.op import Op, registry, wrap
from dualflow.core.orders import Order, inverse, order_of
from dualflow.core.record import Leaf, Pick, Record
from dualflow.core.recurring import Recurring
from dualflow.core.registry import functions
from dualflow.core.tensor import Tensor
from dualflow.tracing.trace import Trace
from jit.collector import collector_paused
from jit.config import scoped
from jit.errors import DualflowError
from jit.ir.graph import Graph
from jit.types import TensorType

if TYPE_CHECKING:
    from jit.runtime.walks import Walk

Found = dict[Any, Tensor]  # cotangents by record

SECONDS_A_RECORD = 3e-3  # what compiling takes, for records of kinds that are new
AGAIN = 1 / 50  # of that for all others
TIMES_READ, BYTES_A_SECOND = 3, 2e12  # of the arrays of a sweep on a GPU, op by op
LONGEST = 2000  # records; longer sweeps are not compiled
KEPT, MANY = 512, 10000  # forms that are remembered, and kinds of records
KEPT_BYTES = 1 << 25  # of the keys of walks
NUMBERS = frozenset({bool, int, complex, type(None)})  # inputs that a key can name


class Form(Recurring["CompiledSweep"]):
    """What is known of sweeps of one form.

    Attributes:
        kinds: How many records of each kind they have.
    """

    __slots__ = ("kinds",)

    def __init__(self) -> None:
        super().__init__()
        self.kinds: Counter[Any] = Counter()


forms: dict[Any, Form] = {}
by_kind: dict[Any, float] = {}  # seconds spent op by op; infinite for what is compiled


def run_sweep(sweep: Sweep, cotangents: list[Tensor], wanted: set[Any]) -> Found:
    """What `Sweep.run` gives, compiled if sweeps of this form keep coming."""
    if context.trace is not None:  # ops were put off that the sweep needs
        context.trace.flush()
        with using(trace=None):
            return run_sweep(sweep, cotangents, wanted)
    if context.once or scoped.get().target != "cpu" or len(sweep.records) > LONGEST:
        return op_by_op(sweep, cotangents, wanted)
    walk = sweep.walk
    key = None if walk is None else key_of(walk, cotangents, wanted)
    if walk is not None and (again := by_walk.get(key)) is not None:
        return again.run(walk, cotangents)
    outline = Outline(sweep, cotangents, wanted)
    form = form_of(outline)
    if form is None or form.hopeless:
        return op_by_op(sweep, cotangents, wanted)
    if form.compiled is not None:
        if walk is not None and key is not None:
            remember(key, Again(form.compiled, outline, walk))
        return form.compiled.run(outline)
    started = time.perf_counter()
    found = op_by_op(sweep, cotangents, wanted)
    spent = time.perf_counter() - started + unseen(outline)
    form.spent += spent
    kinds = form.kinds = form.kinds or kinds_of(outline)
    for kind, count in kinds.items():
        by_kind[kind] = by_kind.get(kind, 0.0) + spent * count / len(outline.records)
    if form.spent > price(kinds):
        with collector_paused():
            form.compiled = compiled(outline)
        form.hopeless = form.compiled is None
        by_kind.update(dict.fromkeys(kinds, math.inf))
    return found


def kinds_of(outline: Outline) -> Counter[Any]:
    """How many records of each kind a sweep has: of an op, attrs and types of arguments."""
    if len(by_kind) > MANY:
        by_kind.clear()
    return Counter(
        (
            record.op,
            words_of(record) if record.attrs else (),
            *[
                (x.dtype, x.shape) if x.__class__ is Tensor else x.__class__
                for x in record.inputs or ()
            ],
        )
        for record in outline.records
    )


def price(kinds: Counter[Any]) -> float:
    """Seconds that it takes to compile records of such kinds, less what was spent on new ones.

    Forms that share kinds pay for their code together.
    """
    new = sum([max(0.0, SECONDS_A_RECORD - by_kind.get(kind, 0.0)) for kind in kinds])
    return new + AGAIN * SECONDS_A_RECORD * kinds.total()


def unseen(outline: Outline) -> float:
    """Seconds, about, that a GPU still works when Python is through with a sweep, op by op."""
    if outline.place == "cpu":
        return 0.0
    return TIMES_READ * sum(x.raw.nbytes for x in outline.tensors) / BYTES_A_SECOND


def forget() -> None:
    """Drops all forms, for tests that change ops."""
    forms.clear()
    by_kind.clear()
    by_walk.clear()


def form_of(outline: Outline) -> Form | None:
    """The form of a sweep; None for one that has none."""
    if not outline.regular:
        return None
    key = scoped.get().precision, *outline.words
    try:
        form = forms.get(key)
    except TypeError:  # attrs that are no keys
        return None
    if form is None:
        if len(forms) >= KEPT:
            forms.clear()
        form = forms[key] = Form()
    return form


def is_lasting(op: Any) -> bool:
    """Whether an op is the same for all records; others are made for one call, with their rules."""
    if op.__class__ is Op:
        return registry.get(op.name) is op
    return getattr(op, "lasting", False)


def words_of(record: Record) -> tuple[Any, ...]:
    """The attrs of a record as words."""
    return spelled(record.attrs) if record.op.__class__ is Op else record.op.words(record.attrs)


class Outline:
    """The form of a sweep, in words that are equal for sweeps that do the same, and its tensors.

    Args:
        sweep: The records.
        cotangents: One for each target.
        wanted: The records whose cotangents are asked for.

    Attributes:
        records: In the order of their ticks.
        place: Where all arrays lie; None where they are not regular.
        tensors: All that the rules of the ops may look at, each once; then the cotangents.
        wanted: The records that are wanted and met, in order.
        words: The form.
        regular: Whether the words say all.
    """

    def __init__(self, sweep: Sweep, cotangents: list[Tensor], wanted: set[Any]) -> None:
        self.sweep = sweep
        self.records = sorted(sweep.records, key=by_tick)
        self.tensors: list[Tensor] = []
        self._orders: dict[int, Order] = {}
        self.wanted: dict[Any, int] = {}
        self.words: list[Any] = [len(cotangents)]
        self._asked = wanted
        self._places: dict[int, int] = {}
        self._numbers: dict[Any, int] = {}
        self._kind = cotangents[0].raw.__class__
        regular = self._note() and self._targets(cotangents)
        self.place = place_of_all([x.raw for x in self.tensors]) if regular else None
        self.words.append(self.place)
        self.regular = self.place is not None

    def _note(self) -> bool:
        """Appends what the records are; whether words can say it.

        Long sweeps are mostly this loop, once they are compiled: a tensor that comes for the first
        time is described, later ones are called by their place, results need none.
        """
        words, places, numbers, asked = self.words, self._places, self._numbers, self._asked
        outputs, new, append, known = self.sweep.outputs, self._new, words.append, set[Any]()
        spelled_out: dict[int, Any] = {}  # attrs that records share are put into words once
        for record in self.records:
            op = record.op
            if op not in known:
                if not is_lasting(op):
                    return False
                known.add(op)
            append(op)
            attrs = record.attrs
            if attrs:
                said = spelled_out.get(id(attrs))
                if said is None:
                    said = spelled_out[id(attrs)] = words_of(record)
                append(said)
            for x in record.inputs or ():
                place = places.get(id(x))
                if place is not None:
                    append(place)
                elif x.__class__ is not Tensor:
                    append((x.__class__, repr(x)))
                elif not new(x):
                    return False
                elif (source := x.record) is not None:
                    words += (numbers.get(source), self._mark(source) if source in asked else None)
            made = outputs[record]
            if record.types is not None:
                append(tuple(made))
            for y in made.values():
                if not new(y):
                    return False
                result = y.record
                numbers[result] = len(numbers)
                if result in asked:
                    append(("wanted", self._mark(result)))
        return True

    def _new(self, x: Tensor) -> bool:
        """Appends what a tensor is that is met for the first time; whether its array is alike."""
        array, tensors = x.raw, self.tensors
        if array is None or array.__class__ is not self._kind:
            return False
        self._places[id(x)] = len(tensors)
        order = None if array.flags.c_contiguous else order_of(array)
        if order is not None:
            self._orders[len(tensors)] = order
        tensors.append(x)
        self.words += (array.dtype, array.shape, order)
        return True

    def _mark(self, record: Any) -> int:
        """The number among those that are wanted."""
        return self.wanted.setdefault(record, len(self.wanted))

    def _targets(self, cotangents: list[Tensor]) -> bool:
        """Appends where the sweep begins; whether the words say it."""
        numbers, targets = self._numbers, self.sweep.targets
        self.words += [numbers.get(target.record) for target in targets]
        self.tensors += cotangents
        return all(target.record in numbers for target in targets)

    def arrays(self, numbers: list[int]) -> list[Any]:
        """The arrays of some tensors, each in its order."""
        tensors, orders = self.tensors, self._orders
        if not orders:
            return [tensors[k].raw for k in numbers]
        given = [(tensors[k].raw, orders.get(k)) for k in numbers]
        return [x if order is None else x.transpose(order) for x, order in given]

    @property
    def orders(self) -> list[Order]:
        """For each tensor the axes in which its array has no gaps, where not its own."""
        return [self._orders.get(k) for k in range(len(self.tensors))]


class CompiledSweep:
    """A sweep that runs as one native call.

    Args:
        executable: What runs.
        read: The numbers of the tensors that it takes.
        found: For each result, which of the wanted records it is the cotangent of.
    """

    def __init__(self, executable: jit.Executable, read: list[int], found: list[int]) -> None:
        self._executable = executable
        self.read = read
        self.found = found
        self._direct: Any = None

    def run(self, outline: Outline) -> Found:
        """The cotangents that a sweep of this form gives."""
        made = self.call(outline.arrays(self.read))
        wanted = list(outline.wanted)
        return {wanted[k]: wrap(array) for k, array in zip(self.found, made, strict=True)}

    def call(self, arrays: list[Any]) -> list[Any]:
        """The cotangents, of arrays for what it reads."""
        if self._direct is None:
            self._direct = self._executable.direct(arrays) or (lambda *arrays: None)
        return self._direct(*arrays) or self._executable(arrays)


class Again:
    """A compiled sweep for walks that meet the same: nobody looks at records, one by one.

    Args:
        code: What runs.
        outline: Of the sweep for which it runs now.
        walk: Of the same.
    """

    def __init__(self, code: CompiledSweep, outline: Outline, walk: Walk) -> None:
        boxes, cotangents = len(walk.boxes), len(outline.sweep.targets)
        places = {id(x): k for k, x in enumerate(walk.boxes)}
        last = len(outline.tensors) - cotangents
        self._code = code
        self._read = [
            places[id(outline.tensors[k])] if k < last else boxes + k - last for k in code.read
        ]
        self._orders = [outline.orders[k] for k in code.read]
        wanted = list(outline.wanted)
        self._ends = [walk.ends.index(wanted[k]) for k in code.found]
        ops = {record.op for record in walk.records}
        self._alive = ops, {x.raw.dtype for x in walk.boxes}  # the key has their addresses

    def run(self, walk: Walk, cotangents: list[Tensor]) -> Found:
        """The cotangents that a sweep gives whose walk has the same key."""
        tensors = [*walk.boxes, *cotangents]
        arrays = [tensors[k].raw for k in self._read]
        if any(self._orders):
            arrays = [x.transpose(o) if o else x for x, o in zip(arrays, self._orders)]
        made = self._code.call(arrays)
        return {walk.ends[k]: wrap(array) for k, array in zip(self._ends, made, strict=True)}


by_walk: dict[Any, Again] = {}


def key_of(walk: Walk, cotangents: list[Tensor], wanted: set[Any]) -> Any:
    """What is equal for sweeps that do the same, though not for all of them; None if nothing is.

    Sweeps that differ in what was recorded besides have other keys, but one form.
    """
    if any(x.__class__ is not Leaf for x in wanted):
        return None
    if not all(is_lasting(record.op) for record in walk.marked) or any(
        x.__class__ not in NUMBERS for x in walk.others
    ):
        return None
    if any(g.raw.__class__ is not np.ndarray for g in cotangents):
        return None
    asked = tuple([k for k, end in enumerate(walk.ends) if end in wanted])
    others = tuple([(x.__class__, repr(x)) for x in walk.others])
    key = scoped.get().precision, walk.words, tuple(map(words_of, walk.marked)), others, asked
    try:
        hash(key)
    except TypeError:  # attrs that are no keys
        return None
    return key


def remember(key: Any, again: Again) -> None:
    """Keeps what runs for a key, and of all keys not too many bytes."""
    if sum([len(words) for _, words, *_ in by_walk]) > KEPT_BYTES:
        by_walk.clear()
    by_walk[key] = again


def compiled(outline: Outline) -> CompiledSweep | None:
    """The compiled sweep; None if a rule of an op asks for values, or native code cannot do it."""
    trace = Trace("sweep", closed=True)
    mirror = Mirror(outline, trace)
    try:
        with using(trace=trace, recording=False):
            found = op_by_op(mirror.sweep(), mirror.cotangents, set(mirror.wanted))
        outputs = [trace.value_of(g) for g in found.values()]
    except DualflowError:
        return None
    finally:
        graph = trace.graph
        trace.release()
    if trace.refusals or len(graph.inputs) != len(outline.tensors):  # more came from outside
        return None
    graph.outputs = outputs
    graph, read = pruned(graph)
    executable = jit.compile(graph, outline.place, ops=registry)
    order = [mirror.wanted.index(record) for record in found]
    return CompiledSweep(executable, read, order) if executable.mode == "compiled" else None


def pruned(graph: Graph) -> tuple[Graph, list[int]]:
    """The graph without what nobody reads; which of its inputs are left."""
    nodes = graph.live_nodes()
    read = {value for node in nodes for value in node.inputs}.union(graph.outputs)
    left = [k for k, value in enumerate(graph.inputs) if value in read]
    small = Graph(graph.name)
    names = {v: small.input(v.type) for v in [graph.inputs[k] for k in left]}
    for node in nodes:
        small.append_copy(node, names)
    small.outputs = [names[value] for value in graph.outputs]
    return small, left


def image(trace: Trace, x: Tensor, order: Order) -> Tensor:
    """A symbolic tensor of the type of another, for arrays in an order of their own."""
    if order is None:
        return trace.placeholder(x.type, None)
    laid = trace.placeholder(TensorType(x.raw.transpose(order).shape, x.dtype), None)
    return functions["permute_dims"](laid, inverse(order))


class Mirror:
    """The records and tensors of a sweep again, with symbolic tensors.

    Args:
        outline: Of the sweep.
        trace: Where the tensors are inputs.

    Attributes:
        cotangents: Symbolic ones.
        wanted: The mirrored records whose cotangents are wanted.
    """

    def __init__(self, outline: Outline, trace: Trace) -> None:
        self._outline = outline
        self._records: dict[Any, Any] = {}
        self._images: dict[int, Tensor] = {}
        images = list(map(partial(image, trace), outline.tensors, outline.orders))
        count = len(images) - len(outline.sweep.targets)
        self.cotangents = images[count:]
        self._images = {id(x): y for x, y in zip(outline.tensors[:count], images[:count])}
        for record in outline.records:
            self._reflect(record)
        leaves = [record for record in outline.wanted if record not in self._records]
        self._records.update((leaf, Leaf()) for leaf in leaves)
        for x in outline.tensors[:count]:
            self._images[id(x)].record = self._records.get(x.record)
        self.wanted = [self._records[record] for record in outline.wanted]

    def _reflect(self, record: Record) -> None:
        """Makes the image of a record, and of those of its outputs if it has several."""
        inputs = tuple([self._images.get(id(x), x) for x in record.inputs or ()])
        image = Record(record.op, inputs, record.attrs, rooted=False)
        image.types = record.types
        for y in self._outline.sweep.outputs[record].values():
            pick = y.record
            self._records[pick] = Pick(image, pick.index) if pick.__class__ is Pick else image

    def sweep(self) -> Sweep:
        """The same walk over the images."""
        targets = [self._images[id(x)] for x in self._targets()]
        return Sweep(targets, lambda record: True)

    def _targets(self) -> list[Tensor]:
        """For each target a tensor with its record that has an image."""
        by_record = {x.record: x for x in self._outline.tensors if id(x) in self._images}
        return [by_record[target.record] for target in self._outline.sweep.targets]
