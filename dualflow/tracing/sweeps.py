"""Sweeps that come again: an eager loop asks for gradients of the same form at each step.

Op by op, a sweep costs Python and a kernel for each op. Once one form of sweep has cost about what
it takes to compile it, it is recorded on symbolic tensors and compiled; from then on it is one
native call, with the same bits. So at most half of the time is spent in vain, whatever comes.

What compiling takes depends on what was compiled before. Records of kinds that are new, by op and
types, need code of their own; of others there is code, which the parts of a sweep that come again
call. A net whose shape is that of its input has many forms: their parts are compiled, and a form is
put together of them (`assembled`) until it has come so often that it is compiled as a whole.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from dualflow.autodiff.sweep import Sweep, op_by_op
from dualflow.core.backend import place_of_all
from dualflow.core.context import context, using
from dualflow.core.op import wrap
from dualflow.core.record import Leaf
from dualflow.core.recurring import Recurring
from dualflow.core.tensor import Tensor
from dualflow.tracing import assembled
from dualflow.tracing.assembled import AssembledSweep, Assembly, assembly_of
from dualflow.tracing.mirrors import CompiledSweep, Found, compiled
from dualflow.tracing.outlines import Outline, is_lasting, words_of
from jit.collector import collector_paused
from jit.config import scoped

if TYPE_CHECKING:
    from jit.runtime.walks import Walk

SECONDS_A_RECORD = 3e-3  # what compiling takes, for records of kinds that are new
AGAIN = 1 / 50  # of that for all others
PARTLY = 4  # of what runs by its parts about so much is spent for each second in vain
TIMES_READ, BYTES_A_SECOND = 3, 2e12  # of the arrays of a sweep on a GPU, op by op
LONGEST = 2000  # records; longer sweeps are not compiled
KEPT, MANY = 512, 10000  # forms that are remembered, and kinds of records
KEPT_BYTES = 1 << 25  # of the keys of walks
NUMBERS = frozenset({bool, int, complex, type(None)})  # inputs that a key can name


class Form(Recurring["CompiledSweep"]):
    """What is known of sweeps of one form.

    Attributes:
        kinds: How many records of each kind they have.
        assembled: What does them by their parts, until they are compiled as a whole.
    """

    __slots__ = ("kinds", "assembled")

    def __init__(self) -> None:
        super().__init__()
        self.kinds: Counter[Any] = Counter()
        self.assembled: AssembledSweep | None = None


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
        if again.allowance > 0.0:
            return again.run(walk, cotangents)
        by_walk.pop(key, None)  # other threads may do the same
    outline = Outline(sweep, cotangents, wanted)
    form = form_of(outline)
    if form is None or form.hopeless:
        return op_by_op(sweep, cotangents, wanted)
    assembly = None if form.compiled or form.assembled else put_together(form, outline, sweep)
    if is_due(form):
        with collector_paused():
            form.compiled = compiled(outline)
        form.hopeless, form.assembled = form.compiled is None, None
        by_kind.update(dict.fromkeys(form.kinds, math.inf))
    code = form.compiled or form.assembled
    if code is None:
        return paid_for(form, outline, assembly, sweep, cotangents, wanted)
    if walk is not None and key is not None:
        remember(key, Again(code, outline, walk, form))
    started = time.perf_counter()
    found = code.run(outline)
    form.spent += time.perf_counter() - started
    return found


def put_together(form: Form, outline: Outline, sweep: Sweep) -> Assembly | None:
    """The parts of a sweep, if it has some that are not compiled; else it runs by its parts."""
    assembly = assembly_of(outline, sweep, form)
    code = None if assembly is None else assembly.code()
    if code is None:
        return assembly
    form.assembled, form.spent, form.kinds = code, 0.0, form.kinds or kinds_of(outline)
    return None


def is_due(form: Form) -> bool:
    """Whether sweeps of a form, which came before, have cost what it takes to compile them."""
    if not form.kinds or form.compiled is not None:
        return False
    return form.spent > price(form.kinds) * (1 if form.assembled is None else PARTLY)


def paid_for(
    form: Form,
    outline: Outline,
    assembly: Assembly | None,
    sweep: Sweep,
    cotangents: list[Tensor],
    wanted: set[Any],
) -> Found:
    """The same, op by op; notes what it costs, and compiles parts that have cost enough."""
    started = time.perf_counter()
    found = op_by_op(sweep, cotangents, wanted)
    spent = time.perf_counter() - started + unseen(outline)
    form.spent += spent
    kinds = form.kinds = form.kinds or kinds_of(outline)
    for kind, count in kinds.items():
        by_kind[kind] = by_kind.get(kind, 0.0) + spent * count / len(outline.records)
    if assembly is not None:
        paid = assembly.pay(spent, kinds_of, price)
        by_kind.update(dict.fromkeys(paid, math.inf))
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
    assembled.forget()


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


class Again:
    """A compiled sweep for walks that meet the same: nobody looks at records, one by one.

    Args:
        code: What runs.
        outline: Of the sweep for which it runs now.
        walk: Of the same.
        form: Of the same.

    Attributes:
        allowance: How many seconds it may run until the form is to be compiled as a whole.
    """

    def __init__(
        self, code: CompiledSweep | AssembledSweep, outline: Outline, walk: Walk, form: Form
    ) -> None:
        self.allowance, self._form = math.inf, None
        if form.assembled is not None:
            self.allowance, self._form = PARTLY * price(form.kinds) - form.spent, form
        boxes, cotangents = len(walk.boxes), len(outline.sweep.targets)
        places = {id(x): k for k, x in enumerate(walk.boxes)}
        last = len(outline.tensors) - cotangents
        self._code = code
        self._read = [
            places[id(outline.tensors[k])] if k < last else boxes + k - last for k in code.read
        ]
        orders = outline.orders
        self._orders = [orders[k] for k in code.read]
        wanted = list(outline.wanted)
        self._ends = [walk.ends.index(wanted[k]) for k in code.found]
        ops = {record.op for record in walk.records}
        self._alive = ops, {x.raw.dtype for x in walk.boxes}  # the key has their addresses

    def run(self, walk: Walk, cotangents: list[Tensor]) -> Found:
        """The cotangents that a sweep gives whose walk has the same key."""
        form, started = self._form, time.perf_counter()
        found = self._run(walk, cotangents)
        if form is not None:
            spent = time.perf_counter() - started
            self.allowance -= spent
            form.spent += spent
        return found

    def _run(self, walk: Walk, cotangents: list[Tensor]) -> Found:
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
    place = place_of_all([walk.boxes[0].raw, *[g.raw for g in cotangents]])
    if place is None:
        return None
    asked = tuple([k for k, end in enumerate(walk.ends) if end in wanted])
    others = tuple([(x.__class__, repr(x)) for x in walk.others])
    marked = tuple(map(words_of, walk.marked))
    key = scoped.get().precision, walk.words, marked, others, asked, place
    try:
        hash(key)
    except TypeError:  # attrs that are no keys
        return None
    return key


def remember(key: Any, again: Again) -> None:
    """Keeps what runs for a key, and of all keys not too many bytes."""
    known = tuple(by_walk)  # other threads add to it
    if sum([len(words) for _, words, *_ in known]) > KEPT_BYTES:
        by_walk.clear()
    by_walk[key] = again
