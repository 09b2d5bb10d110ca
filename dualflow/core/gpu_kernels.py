"""Kernels of eager execution on a GPU: an op applied by itself runs the code of compiled graphs.

So eager results have the bits of compiled ones, and the CPU's wherever both compute in one order.
CuPy does what moves values only, what has no code, and everything with JIT_TARGET=interpreter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from dualflow.core import orders as laying
from dualflow.core.backend import active, on_gpu, to_device
from dualflow.core.context import context
from dualflow.core.kernels import KEPT, WORDS, Attrs, family_of, spelled, types_of
from jit.config import scoped
from jit.errors import DualflowError
from jit.runtime.cublas import ALIGNED
from jit.types import bfloat16

if TYPE_CHECKING:
    from jit.ir.op import OpDef
    from jit.runtime.gpu_direct import Direct
    from jit.runtime.gpu_launches import Launches

Form = tuple[Hashable, ...]

NUMBERS = frozenset({bool, int, float, complex})
NOTHING: Form = ()
WORD = np.dtype(np.uint16)  # of as many bits as bfloat16
OFTEN, OWN = 8, 8  # calls for arrays with gaps before there is a kernel, and such kernels of an op
MANY = 4096  # ops with their attrs that native code knows
calls: dict[OpDef, dict[Form, Way]] = {}  # how ops are computed, by what they are given
quick: dict[Form, Launches] = {}  # the same by native code, by op, settings and attrs
gapped: Counter[OpDef] = Counter()  # how many kernels there are for arrays with gaps
wanted: dict[Hashable, bool] = {}  # whether an op has a kernel, by dtypes and words among attrs


class Way:
    """How an op is computed for arrays of a form.

    Attributes:
        place: The GPU.
        call: Gives the results for arrays while the GPU is active, and None where it cannot.
        at: Gives them for the arrays' addresses; None where arrays are needed.
        job: What native code can do in its place; None where there is more to do.
    """

    __slots__ = ("place", "call", "at", "job")

    def __init__(
        self,
        place: str,
        call: Callable[[Sequence[Any]], Sequence[Any] | None],
        at: Callable[[list[int]], Sequence[Any]] | None = None,
        job: Direct | None = None,
    ) -> None:
        self.place, self.call, self.at, self.job = place, call, at, job


def at_once(op: OpDef, arrays: list[Any], attrs: Attrs) -> Sequence[Any] | None:
    """What an op gives, if it was computed before for arrays of this form on a GPU.

    Args:
        op: Any op.
        arrays: Arrays, and Python numbers, which have the dtype of the last array.
        attrs: Static arguments.

    Returns:
        The results, or None where there is more to see to.
    """
    known = calls.get(op)
    if known is None:
        return None
    words = spelled(attrs) if attrs else NOTHING
    if (made := launched(op, arrays, words)) is not None:
        return made
    if scoped.get().target != "cpu" or (found := form_of(arrays, words)) is None:
        return None
    if (way := known.get(found[0])) is None:
        return None
    try:
        if way.job is not None:
            learn(op, arrays, words, way.place, way.job)
        if way.at is not None:
            return way.at(found[1])
        with active(way.place):
            return way.call(arrays)
    except MemoryError:  # it is tried again, and who holds the memory is told
        return None


def launched(op: OpDef, arrays: list[Any], words: Form = NOTHING) -> list[Any] | None:
    """What native code gives, if it was told what to do for arrays of this form.

    Args:
        op: Any op.
        arrays: Arrays, and numbers.
        words: Its attrs, spelled.
    """
    settings = scoped.get()
    launches = quick.get((op, settings.target, settings.precision, words))
    try:
        return None if launches is None else launches.run(arrays)
    except (MemoryError, RuntimeError):  # as in a forked process: Python meets it too, and tells
        return None


def learn(op: OpDef, arrays: list[Any], words: Form, place: str, job: Direct) -> None:
    """Lets native code do what is done for arrays of this form from now on, if it can."""
    from jit.runtime.gpu_launches import launches  # loaded when a GPU is used

    settings = scoped.get()
    key = op, settings.target, settings.precision, words
    if key not in quick:
        if (made := launches()) is None:
            return
        if len(quick) >= MANY:
            quick.clear()
        quick[key] = made
    quick[key].learn(arrays, as_arrays(place, arrays), job)


def form_of(arrays: Sequence[Any], words: Form) -> tuple[Form, list[int]] | None:
    """All that a way depends on, and addresses; None where some array is on no GPU."""
    form, addresses = list[Any]([scoped.get().precision]), list[int]()
    weak, dtype, device, together = False, None, 0, 0
    for x in arrays:
        kind = x.__class__
        if kind in on_gpu:
            data, dtype = x.data, x.dtype
            address, device = data.ptr, data.device_id
            form += (dtype, x.shape, x.strides, device)
            addresses.append(address)
            together |= address
        elif kind in NUMBERS:
            weak = True
            form.append(kind)
            addresses.append(0)
        else:
            return None
    if dtype is None:
        return None
    if weak:
        for k, x in enumerate(arrays):
            if x.__class__ in NUMBERS:
                addresses[k] = number_on(f"gpu:{device}", x, dtype, x or repr(x)).data.ptr
    form.append(together % ALIGNED)
    form += words
    return tuple(form), addresses


def computed_on(place: str, op: OpDef, arrays: Sequence[Any], attrs: Attrs) -> Any:
    """What the kernel of an op gives on a GPU; see `at_once`, for which the way is remembered.

    Args:
        place: The GPU, which is active.
        op: Any op.
        arrays: Its arrays and numbers.
        attrs: Static arguments.

    Returns:
        The results, or None where `op.evaluate` is to be used.
    """
    given = [x for x in arrays if hasattr(x, "dtype")]
    if scoped.get().target != "cpu" or not given:
        return None
    with context.aside():  # the first call too: libraries are loaded in it, and algorithms timed
        way = new_way(place, op, arrays, attrs)
        if way is None:
            return None
        remember(op, arrays, attrs, way)
        return way.call(arrays)


def evaluated_on(place: str, op: Any, arrays: Sequence[Any], attrs: Attrs, xp: Any) -> None:
    """Remembers that CuPy computes an op, and that its arguments are right.

    Args:
        place: The GPU.
        op: The op.
        arrays: What it was given.
        attrs: Static arguments.
        xp: CuPy.
    """

    def call(arrays: Sequence[Any]) -> Sequence[Any] | None:
        if context.once:  # then time is taken
            return None
        if op.quiet:  # in this thread's context: the way is that of all threads
            out = context.run(op.evaluate, xp, *arrays, **attrs)
        else:
            out = op.evaluate(xp, *arrays, **attrs)
        return out if out.__class__ is tuple else (out,)

    if scoped.get().target == "cpu":
        remember(op, arrays, attrs, Way(place, call))


def moved_as_words(
    place: str, op: Any, arrays: list[Any], attrs: Attrs, xp: Any
) -> Sequence[Any] | None:
    """What CuPy gives for an op that moves bfloat16, as words of that size: it has code for these.

    Args:
        place: The GPU.
        op: The op.
        arrays: What it is given, of the right types.
        attrs: Static arguments.
        xp: CuPy.

    Returns:
        None where the op does more than that.
    """
    if not only_moves(op, arrays, attrs):
        return None

    def call(arrays: Sequence[Any]) -> Sequence[Any]:
        out = context.run(op.evaluate, xp, *[x.view(WORD) for x in arrays], **attrs)
        return [y.view(bfloat16) for y in (out if out.__class__ is tuple else (out,))]

    remember(op, arrays, attrs, Way(place, call))
    return call(arrays)


def only_moves(op: OpDef, arrays: Sequence[Any], attrs: Attrs) -> bool:
    """Whether all that an op does is to move bfloat16, or to put zeros where nothing comes to."""
    from jit.forms.exact import checked_forms
    from jit.forms.nodes import Source, View

    composite = getattr(op, "definition", None) is not None  # ops that see the words' dtype
    if composite or not arrays or any(getattr(x, "dtype", None) != bfloat16 for x in arrays):
        return False
    forms = checked_forms(op, types_of(arrays), attrs) or [None]
    return all(
        isinstance(form, Source) or (isinstance(form, View) and is_nothing(form.fill))
        for form in forms
    )


def is_nothing(fill: Any) -> bool:
    """Whether what a view is filled with is no bits: -0.0 has one."""
    return fill is None or (fill.__class__ is int and fill == 0)


def remember(op: OpDef, arrays: Sequence[Any], attrs: Attrs, way: Way) -> None:
    """Lets `at_once` know a way."""
    found = form_of(arrays, spelled(attrs))
    if found is None:
        return
    known = calls.setdefault(op, {})
    if len(known) >= KEPT:
        known.clear()
    known[found[0]] = way


def as_arrays(place: str, arrays: Sequence[Any]) -> list[Any]:
    """Python numbers as arrays of no dimensions on the GPU, in the dtype of the last array."""
    dtype = next(x.dtype for x in reversed(arrays) if hasattr(x, "dtype"))
    return [x if hasattr(x, "dtype") else number_on(place, x, dtype, x or repr(x)) for x in arrays]


@lru_cache(maxsize=1024)
def number_on(place: str, x: complex, dtype: np.dtype[Any], spelled: object) -> Any:
    """A number as an array on a GPU, moved there once; 0.0 and -0.0 are `spelled` differently."""
    del spelled
    return to_device(context.run(np.array, x, dtype), place)


def new_way(place: str, op: OpDef, given: Sequence[Any], attrs: Attrs) -> Way | None:
    """How the kernel of an op is called; None where it has none, or the arguments are wrong.

    Transposed arrays are read as they are, and stretched ones where the op stretches by itself;
    those with gaps are copied, until they have come often.
    """
    arrays = as_arrays(place, given)
    if not has_kernel(op, arrays, attrs) or any(x.size == 0 for x in arrays):
        return None
    shorten = narrowed if stretches(op, arrays, attrs) else list[Any]
    orders = tuple(map(order_of, shorten(arrays)))

    def laid(arrays: Sequence[Any]) -> list[Any]:
        return [
            x.transpose(order) if order else in_one_piece(x)
            for x, order in zip(shorten(as_arrays(place, arrays)), orders)
        ]

    first = laid(given)
    family = family_of(op, first, attrs, orders, place)
    try:
        call = None if family is None else family.call(first)
    except DualflowError:  # `evaluate` tells
        return None
    if call is None:
        return None
    as_they_are = all(x.data.ptr == y.data.ptr for x, y in zip(arrays, first))
    at = getattr(call, "at", None) if as_they_are else None
    job: Any = call if at is not None and not isinstance(call, laying.Turned) else None
    way = Way(place, lambda arrays: call(*laid(arrays)), at, job)
    if not as_they_are and any(gaps_of(x) for x in shorten(arrays)):
        way.call = copying(place, op, attrs, way.call, shorten)
    return way


# ----- arrays with gaps -----


def copying(
    place: str, op: OpDef, attrs: Attrs, call: Callable[..., Any], shorten: Callable[..., Any]
) -> Callable[[Sequence[Any]], Any]:
    """A call that copies arrays with gaps, and has a kernel made that need not if it comes often.

    That kernel is for these sizes alone.
    """
    left = OFTEN

    def copied(arrays: Sequence[Any]) -> Any:
        nonlocal left
        left -= 1
        if left == 0 and not context.once:
            with context.aside():
                way = way_with_gaps(place, op, arrays, attrs, shorten)
            if way is not None:
                remember(op, arrays, attrs, way)
        return call(arrays)

    return copied


def way_with_gaps(
    place: str, op: OpDef, given: Sequence[Any], attrs: Attrs, shorten: Callable[..., Any]
) -> Way | None:
    """How a kernel is called that reads arrays with gaps as they are; None where there is none."""
    if gapped[op] >= OWN:
        return None
    gapped[op] += 1
    laid, orders = list[Any](), list[laying.Layout]()
    for x in shorten(as_arrays(place, given)):
        order = order_of(x)
        if order is not None:
            x = x.transpose(order)
        elif not is_in_one_piece(x):
            order = gaps_of(x)
            if order is None:
                return None
            x = laying.Whole(order.whole, x.dtype)
        laid.append(x)
        orders.append(order)
    family = family_of(op, laid, attrs, tuple(orders), place)
    try:
        job: Any = None if family is None else family.call(laid)
    except DualflowError:
        return None
    if not hasattr(job, "at"):  # it needs arrays
        return None
    at = job.at
    return Way(place, lambda arrays: at([x.data.ptr for x in as_arrays(place, arrays)]), at, job)


def gaps_of(x: Any) -> laying.Gaps | None:
    """How an array lies whose rows are parts of longer ones; None of one that lies otherwise."""
    return None if x.flags.c_contiguous or x.data.ptr % ALIGNED else laying.gaps_of(x)


def stretches(op: OpDef, arrays: Sequence[Any], attrs: Attrs) -> bool:
    """Whether an op, which is elementwise, gives the same for arrays without their repetitions."""
    from jit.forms.exact import forms_of, is_elementwise

    short, types = narrowed(arrays), types_of(arrays)
    if all(x is y for x, y in zip(arrays, short)):
        return False
    try:
        alike = op.infer_all(tuple(types_of(short)), attrs) == op.infer_all(tuple(types), attrs)
    except DualflowError:
        return False
    return alike and is_elementwise(forms_of(op, types, attrs))


def narrowed(arrays: Sequence[Any]) -> list[Any]:
    """Arrays with the extent 1 where all elements along an axis are one in memory."""
    return [
        x[tuple([slice(None) if step else slice(0, 1) for step in x.strides])]
        if 0 in x.strides
        else x
        for x in arrays
    ]


def order_of(x: Any) -> laying.Order:
    """The axes of a transposed array by falling strides; None for one in order, or with gaps."""
    return None if x.data.ptr % ALIGNED else laying.order_of(x)


def in_one_piece(x: Any) -> Any:
    """An array in order, at an address that kernels can read."""
    return x if is_in_one_piece(x) else x.copy(order="C")


def is_in_one_piece(x: Any) -> bool:
    """Whether kernels can read an array as one in order."""
    return x.flags.c_contiguous and x.data.ptr % ALIGNED == 0


def has_kernel(op: OpDef, arrays: Sequence[Any], attrs: Attrs) -> bool:
    """Whether an op computes something that code can be made for; views are CuPy's."""
    from jit.forms.exact import checked_forms  # loaded when something is computed
    from jit.forms.native import has_code
    from jit.forms.nodes import Constant, Index, Source, View

    words = [x for x in attrs.values() if x.__class__ in WORDS]
    key = (op, *[(x.dtype, x.ndim > 0) for x in arrays], *words)
    known = wanted.get(key)
    if known is None:
        forms = checked_forms(op, types_of(arrays), attrs)
        if forms is None:
            return False
        moves = all(isinstance(form, Source | Constant | Index | View) for form in forms)
        known = wanted[key] = all(map(has_code, forms)) and not moves
    return known
