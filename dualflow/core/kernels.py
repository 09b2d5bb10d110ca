"""Kernels of eager execution: an op applied by itself is a compiled graph of one node.

So eager results have the bits of compiled ones. NumPy computes what it computes exactly as compiled
code does (`jit.forms.exact`), and what has no code; all else has a kernel, found by the types and
attrs of a call. A kernel serves many shapes: extents are symbols of its graph, and elementwise ops
are compiled for one dimension. Only the first shapes of a product get kernels of their own, which
are faster. With JIT_TARGET=interpreter there are no kernels.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy import ndarray

from dualflow.core.context import context
from dualflow.core.extents import SMALL, Pattern, lowest, pattern_of, symbolic
from dualflow.core.orders import Gaps, Layout, Order, Turned, as_argument, in_order, order_of
from dualflow.core.results import use_native_code
from jit.collector import collector_paused
from jit.config import scoped
from jit.errors import DualflowError
from jit.types import TensorType, dtypes

if TYPE_CHECKING:
    from jit.compiler import Executable
    from jit.ir.graph import Graph
    from jit.ir.op import OpDef

Array = np.ndarray[Any, Any]
Attrs = dict[str, Any]
Call = Callable[..., "list[Array] | None"]  # of arrays; None where one does not fit

OWN = 8  # shapes of a product that get kernels of their own
MANY = 16  # kernels of a family, from which on all extents are symbols; families of a composite
LITTLE = 10**10  # the product of the sizes of arrays up to which work is little
IN_ORDER = 0x101  # flags of arrays: row-major, and aligned
KEPT = 1024  # calls of an op that are remembered
WORDS = frozenset({str, bool, type(None), *map(type, dtypes.values())})

alike: dict[Hashable, bool] = {}  # whether NumPy computes an op, by dtypes and words among attrs
without_code: dict[Hashable, bool] = {}  # whether it does so in graphs, by dtypes
of_numpy: dict[OpDef, dict[Any, bool]] = {}  # the same of elementwise ops, by their one dtype
exact_ops: dict[Hashable, bool] = {}  # whether its bits are those of code, by dtypes and attrs
calls: dict[OpDef, dict[Hashable, Call]] = {}  # how kernels are called, by types and attrs
general_calls: dict[OpDef, dict[Hashable, Call]] = {}  # likewise, where kernels are general
families: dict[Hashable, dict[Hashable, Family]] = {}  # by op and types, then by attrs
spellings: dict[Hashable, tuple[Attrs, Call]] = {}  # attrs and calls, by what users write for them


def computed(op: OpDef, arrays: Sequence[Any], attrs: Attrs) -> list[Array] | None:
    """What the kernel of an op gives.

    Args:
        op: Any op.
        arrays: NumPy arrays, and Python numbers, which have the dtype of the last array.
        attrs: Static arguments.

    Returns:
        The results, or None where `op.evaluate` is to be used: it gives the same bits, or tells
        what is wrong.
    """
    if scoped.get().target != "cpu":
        return None
    known = calls.setdefault(op, {})
    if not known and is_alike(op, arrays, attrs):  # what NumPy computes needs no key of shapes
        return None
    for x in arrays:
        if x.__class__ is not ndarray:
            arrays = as_arrays(arrays)
            break
    key = tuple([part for x in arrays for part in (x.dtype, x.shape)])
    if attrs:
        key += spelled(attrs)
    call = known.get(key)
    if call is None:
        if is_alike(op, arrays, attrs):
            return None
        call = general_call(op, key)
        if call is None and is_general() and is_exact(op, arrays, attrs):
            return None  # several steps of NumPy's, for which no kernel need be made
        if call is None and all(x.flags.c_contiguous for x in arrays):
            call = remembered(key, op, arrays, attrs)
            if call is None:
                return None
    found = None if call is None else call(*arrays)
    return rearranged(key, op, arrays, attrs) if found is None else found


def is_general() -> bool:
    """Whether kernels are made for all sizes and orders: what runs now does so once or twice.

    That is so while a recording is made, which compiles its own.
    """
    return context.trace is not None or context.once


def general_call(op: OpDef, key: Hashable) -> Call | None:
    """A call of a general kernel, if such ones are used here and now."""
    return general_calls.get(op, {}).get(key) if is_general() else None


def computer_of_one(op: OpDef) -> Callable[[Array], Array | None]:
    """`computed` for an op of one argument, one result and no attrs, in half the time."""
    known = calls.setdefault(op, {})

    def compute(x: Array) -> Array | None:
        call = known.get((x.dtype, x.shape))
        if call is not None and scoped.get().target == "cpu" and (found := call(x)) is not None:
            return found[0]
        found = computed(op, (x,), {})
        return None if found is None else found[0]

    return compute


def is_plain(op: OpDef, dtype: np.dtype[Any], arity: int) -> bool:
    """Whether NumPy computes an elementwise op of arguments of one dtype, which has no attrs."""
    known = of_numpy.setdefault(op, {})
    if dtype not in known:
        from jit.forms.exact import is_computed_alike

        types = [TensorType((2,), dtype)] * arity
        known[dtype] = is_computed_alike(op, types, {}) is not False
    return known[dtype]


def is_alike(op: OpDef, arrays: Sequence[Any], attrs: Attrs) -> bool:
    """Whether NumPy computes an op; numbers and extents among its attrs do not matter for that.

    It does where its bits are those of compiled code. A composite has a kernel all the same, and
    so has what is called fused: one instead of several steps of NumPy's.
    """
    words = [x for x in attrs.values() if x.__class__ in WORDS] if attrs else ()
    key = (op, *[x.dtype if x.__class__ is ndarray else x.__class__ for x in arrays], *words)
    known = alike.get(key)
    if known is None:
        with context.aside():
            known = computed_by_numpy(op, types_of(as_arrays(arrays)), attrs)
        if known is None:  # wrong arguments: that says nothing of others
            return True
        alike[key] = known
    return known


def computed_by_numpy(op: OpDef, types: list[TensorType], attrs: Attrs) -> bool | None:
    """Whether NumPy computes an op for these types; None where they are wrong."""
    from jit.forms import exact  # loaded when something is computed

    one_step = getattr(op, "definition", None) is not None or getattr(op, "fused", False)
    return (exact.is_without_code if one_step else exact.is_computed_alike)(op, types, attrs)


def is_exact(op: OpDef, arrays: Sequence[Any], attrs: Attrs) -> bool:
    """Whether NumPy gives the bits of an op that has a kernel all the same."""
    key = (op, *[x.dtype for x in as_arrays(arrays)], spelled(attrs))
    if key not in exact_ops:
        from jit.forms.exact import is_computed_alike

        with context.aside():
            found = is_computed_alike(op, types_of(as_arrays(arrays)), attrs)
        exact_ops[key] = found is True
    return exact_ops[key]


def is_without_code(op: OpDef, arrays: Sequence[Any], attrs: Attrs) -> bool:
    """Whether NumPy computes an op in graphs, too."""
    from jit.forms import exact

    key = (op, *[x.dtype for x in as_arrays(arrays)])
    if key not in without_code:
        with context.aside():
            found = exact.is_without_code(op, types_of(as_arrays(arrays)), attrs)
        without_code[key] = found is True
    return without_code[key]


def timed(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function whose time is taken for what both modes take alike."""

    def run(*args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            context.alike += time.perf_counter() - start

    return run


def as_arrays(arrays: Sequence[Any]) -> Sequence[Array]:
    """Python numbers as arrays of no dimensions, in the dtype of the last array."""
    given = [x.dtype for x in arrays if hasattr(x, "dtype")]
    dtype = given[-1] if given else None
    return [x if hasattr(x, "dtype") else number(x, dtype, x or repr(x)) for x in arrays]


@lru_cache(maxsize=1024)
def number(x: complex, dtype: np.dtype[Any] | None, spelled: object) -> Array:
    """A number as an array that nobody changes; by how they are `spelled`, 0.0 and -0.0 differ."""
    del spelled
    array = context.run(np.array, x, dtype)
    array.flags.writeable = False
    return array


def spelled(attrs: Attrs) -> tuple[Any, ...]:
    """Attrs as part of a key, where 0.0 and -0.0 must differ, though they are equal."""
    return tuple([x if x or x is False else repr(x) for x in attrs.values()])


def types_of(arrays: Sequence[Array]) -> list[TensorType]:
    """The type of each array."""
    return [TensorType(x.shape, x.dtype) for x in arrays]


def remembered(
    key: Hashable,
    op: OpDef,
    arrays: Sequence[Array],
    attrs: Attrs,
    orders: tuple[Order, ...] | None = None,
) -> Call | None:
    """A new call; None where arguments are wrong, or empty, or attrs change all the time."""
    family = family_of(op, arrays, attrs, orders)
    if family is None or any(x.size == 0 for x in arrays):
        return None
    try:
        with context.aside():
            call = family.call(arrays)
            use_native_code()
    except DualflowError:  # `evaluate` tells
        return None
    known = (general_calls if is_general() else calls).setdefault(op, {})
    if len(known) >= KEPT:
        known.clear()
    known[key] = call
    return call


def view(
    op: OpDef, given: Sequence[Array], shapes: Sequence[tuple[int, ...]], result: tuple[int, ...]
) -> None:
    """Makes `computed` know a product for arrays in other shapes than the op takes.

    Args:
        op: It has one result and no attrs.
        given: NumPy arrays.
        shapes: Those that the op takes them in; no element moves.
        result: The shape in which the result is wanted.
    """
    key = tuple([part for x in given for part in (x.dtype, x.shape)])
    arrays = [x.reshape(shape) for x, shape in zip(given, shapes)]
    if key in calls[op] or is_general() or is_alike(op, arrays, {}) or arrays[0].size == 0:
        return
    if (family := family_of(op, arrays, {})) is None or scoped.get().target != "cpu":
        return
    with context.aside():
        kernel = family.product(arrays)
    call = kernel.direct(arrays, inputs=[x.shape for x in given], outputs=[result])
    calls[op][key] = call or nothing


def nothing(*arrays: Array) -> list[Array] | None:
    """A call that no arrays fit."""


def spell(written: Hashable, op: OpDef, arrays: Sequence[Array], attrs: Attrs) -> None:
    """Makes `spellings` know a call that `computed` has made, by what a user wrote for it."""
    key = tuple([part for x in arrays for part in (x.dtype, x.shape)]) + spelled(attrs)
    call = calls[op].get(key)
    if call is not None and not is_general():
        if len(spellings) >= KEPT:
            spellings.clear()
        spellings[written] = attrs, call


def forget() -> None:
    """Drops what is known of ops, for tests that change them."""
    by_op = (*of_numpy.values(), *calls.values(), *general_calls.values())
    for known in (alike, without_code, families, spellings, *by_op):
        known.clear()


# ----- arrays whose memory is in another order -----


def rearranged(
    key: tuple[Any, ...], op: OpDef, arrays: Sequence[Array], attrs: Attrs
) -> list[Array] | None:
    """What the kernel gives for arrays that are not in order; None if a check fails in it.

    Transposed arrays are read as they are; those with gaps are copied, and all where kernels are
    general, unless there is one for them.
    """
    known, orders = calls.get(op, {}), tuple(map(order_of, arrays))
    if is_general() and (*key, orders) not in known:
        orders = (None,) * len(arrays)
    laid = [laid_in(x, order) for x, order in zip(arrays, orders)]
    if any(orders):
        key = (*key, orders)
    call = known.get(key) or general_call(op, key) or remembered(key, op, laid, attrs, orders)
    return None if call is None else call(*laid)


def laid_in(x: Array, order: Order) -> Array:
    """An array with its axes in an order; where it has none, one whose memory is in order."""
    if order:
        return x.transpose(order)
    plain = x.__class__ is ndarray and x.flags.num & IN_ORDER == IN_ORDER
    return x if plain else np.array(x, order="C")


# ----- kernels -----


class Family:
    """The kernels of an op for arguments of certain dtypes, ranks and orders, and certain attrs.

    Args:
        op: The op.
        attrs: Its static arguments.
        orders: For each array which axes of the argument its axes are; None where they are its own.
        target: What kernels are for; None is the default. Those for a GPU read arrays with gaps.
    """

    def __init__(
        self, op: OpDef, attrs: Attrs, orders: tuple[Layout, ...], target: str | None = None
    ) -> None:
        self.op, self.attrs, self.orders, self.target = op, attrs, orders, target
        self._how = {} if target is None else {"alone": True}
        self._natures: dict[Hashable, str] = {}
        self._kernels: dict[Hashable, Executable | None] = {}

    def call(self, arrays: Sequence[Array]) -> Call:
        """The quickest way to call a kernel with arrays of these shapes.

        Raises:
            DualflowError: The arguments are wrong.
        """
        pattern = pattern_of(arrays, 1)
        nature = self._natures.get(pattern)
        if nature is None:
            nature = self._natures[pattern] = self._nature(types_of(arrays))
        if nature == "elementwise":
            return self._in_one_dimension(arrays)
        least = math.inf if nature == "gaps" else SMALL
        kernel = self.product(arrays) if nature == "product" else self.kernel(arrays, least)
        call = kernel.direct(arrays, **self._how) or in_python(kernel)
        return timed(call) if nature == "product" and context.once else call

    def product(self, arrays: Sequence[Array]) -> Executable:
        """The kernel of a product, for these shapes alone while there are few."""
        own = len(self._kernels) < OWN and not is_general()
        return self.kernel(arrays, math.inf if own else SMALL)

    def _nature(self, types: Sequence[TensorType]) -> str:
        """How an op is compiled: "elementwise", as a "product", for "gaps", or some "other" way."""
        from jit.forms.exact import forms_of, is_elementwise, is_product

        if any(isinstance(order, Gaps) for order in self.orders):
            return "gaps"
        wide = {(type_.shape, order) for type_, order in zip(types, self.orders) if type_.shape}
        if len(wide) == 1 and is_elementwise(forms_of(self.op, types, self.attrs)):
            return "elementwise"
        forms = forms_of(self.op, list(map(in_order, types, self.orders)), self.attrs)
        return "product" if any(map(is_product, forms)) else "other"

    def _in_one_dimension(self, arrays: Sequence[Array]) -> Call:
        """Arrays of any number of dimensions, with the kernel for one; results in their order."""
        flat = [x.reshape(-1) if x.ndim else x for x in arrays]
        shape, order = next((x.shape, o) for x, o in zip(arrays, self.orders) if x.ndim)
        family = family_of(self.op, flat, self.attrs, target=self.target) or Family(
            self.op, self.attrs, (None,) * len(flat), self.target
        )
        kernel = family.kernel(flat, 1)
        # So does the graph of the kernel, but one that is found on disk was never optimised.
        types = self.op.infer_all(tuple(types_of(flat)), self.attrs)
        results = [shape if type_.shape else () for type_ in types]
        call = kernel.direct(flat, inputs=[x.shape for x in arrays], outputs=results, **self._how)
        if call is None:
            call = in_python(kernel, shape)
        return Turned(call, order) if isinstance(order, tuple) else call

    def kernel(self, arrays: Sequence[Array], least: float) -> Executable:
        """The kernel for arrays of these shapes; extents above `least` are symbols, if they can.

        That of elementwise ops, for which `least` is 1, has little work in any case.
        """
        hurry = is_general() and (least == 1 or is_little(arrays))
        if len(self._kernels) >= MANY and least == SMALL:
            least = 1
        pattern, lo = pattern_of(arrays, least), lowest(arrays, least)
        key = pattern, least, lo, hurry  # one pattern may be of several kernels, for other sizes
        if key not in self._kernels:
            with collector_paused():
                self._kernels[key] = self._compiled(arrays, pattern, least, lo, hurry=hurry)
        return self._kernels[key] or self.kernel(arrays, math.inf)

    def _compiled(
        self, arrays: Sequence[Array], pattern: Pattern, least: float, lo: int, *, hurry: bool
    ) -> Executable | None:
        """A new kernel; None if it would not be right for all sizes."""
        import jit
        from jit.dims import recording_guesses
        from jit.forms.exact import forms_of, is_settled

        guesses: list[Any] = []
        try:
            with recording_guesses(guesses):
                given = symbolic(arrays, pattern, lo)
                types = list(map(in_order, given, self.orders))
                settled = all(map(is_settled, forms_of(self.op, types, self.attrs)))
                kernel = jit.compile(self._graph(given, types), self.target, hurry=hurry)
        except DualflowError:
            if least == math.inf:
                raise
            return None
        ready = settled and not guesses and kernel.mode == "compiled"
        return kernel if ready or least == math.inf else None

    def _graph(self, given: Sequence[TensorType], types: Sequence[TensorType]) -> Graph:
        """The op alone, behind the permutations that put its arguments in order."""
        from dualflow.core.op import registry
        from jit.ir.graph import Graph

        graph = Graph(self.op.name)
        inputs = map(graph.input, given)
        values = [as_argument(graph, x, order, registry) for x, order in zip(inputs, self.orders)]
        results = self.op.infer_all(tuple(types), self.attrs)
        graph.outputs = list(graph.add(self.op, values, self.attrs, results))
        return graph


def family_of(
    op: OpDef,
    arrays: Sequence[Array],
    attrs: Attrs,
    orders: tuple[Layout, ...] | None = None,
    target: str | None = None,
) -> Family | None:
    """The family that has the kernel for a call.

    A composite whose attrs change all the time has none: the ops that it is made of compute it.
    """
    orders = orders or (None,) * len(arrays)
    kinds = [(x.dtype, x.ndim) for x in arrays]
    variants = families.setdefault((op, *kinds, orders, target, scoped.get().precision), {})
    words = spelled(attrs)
    if words not in variants:
        if len(variants) >= MANY and getattr(op, "definition", None) is not None:
            return None
        variants[words] = Family(op, attrs, orders, target)
    return variants[words]


def in_python(kernel: Executable, shape: tuple[int, ...] | None = None) -> Call:
    """A call of a kernel that needs more than native code.

    Args:
        kernel: What is called.
        shape: Its arrays come and its results go in this shape, not in one dimension.
    """

    def call(*arrays: Array) -> list[Array] | None:
        if not all(x.flags.c_contiguous for x in arrays):
            return None
        if shape is None:
            return kernel(list(arrays))
        found = kernel([x.reshape(-1) if x.ndim else x for x in arrays])
        return [y.reshape(shape) if y.ndim else y for y in found]

    return call


def is_little(arrays: Sequence[Array]) -> bool:
    """Whether work on these arrays is short, also where each element of one meets all others."""
    return math.prod([x.size for x in arrays]) <= LITTLE
