"""Op: one record per op, and `bind`, which applies it in the current context.

From the record come eager execution, type rules, lowering, gradients of every order, documentation
and the law tests. Nothing else in the tree lists ops.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterable
from dataclasses import field
from pathlib import Path
from typing import Any

import numpy as np

from dualflow.core import results
from dualflow.core.backend import CUDA, active, device_of, module_for, to_device
from dualflow.core.context import context, using
from dualflow.core.gpu_kernels import at_once, computed_on, evaluated_on, moved_as_words
from dualflow.core.kernels import computed, is_without_code, timed
from dualflow.core.known import at_hand, remember_step
from dualflow.core.large import computed_at_large
from dualflow.core.leaks import leaked
from dualflow.core.precision import in_precision, regions
from dualflow.core.record import INEXACT, NO_ATTRS, hang
from dualflow.core.source import shortened
from dualflow.core.tensor import Tensor
from jit.dataclass import dataclass
from jit.dims import Dim, free_symbols
from jit.errors import DeviceError, DualflowError, GraphError, OutOfMemoryError
from jit.ir.op import OpDef
from jit.runtime.cuda import out_of_memory
from jit.runtime.hosts import Anywhere, bare, is_host, lying_on
from jit.types import TensorType, bfloat16, dtypes, kind

registry: dict[str, Op] = {}
PACKAGE = Path(__file__).parents[1]
OURS = (f"{PACKAGE.name}.", dataclass.__module__)  # which stands between where it writes methods
SLOPED = frozenset(d for d in dtypes.values() if kind(d) in INEXACT)  # what gradients flow through
BFLOAT16 = type(bfloat16)  # its dtype object is of a class of its own
# By the names of open extents, the graph built by hand that has them, the one built on last; a
# plain dict, because every op asks whether it is empty.
homes: dict[str, weakref.ref[Any]] = {}


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Op(OpDef):
    """An op and all of its rules.

    Attributes:
        vjps: Per tensor argument `(g, y, *args, **attrs) -> cotangent`, written in ops; an entry
            may be None where nothing flows. None instead of the tuple: no gradient flows through
            this op.
        pullback: `(g, y, args, attrs, needed) -> list of cotangents`, for ops whose arguments are
            a list or whose cotangents share work; replaces `vjps`.
        jvp: `(tangents, y, *args, **attrs) -> tangent`, a tangent of None being zero; or the word
            "linear" (in all arguments together) or "bilinear".
        definition: A composite's meaning, written in ops; rules that are not given follow from it.
        batch: The rule for a batch of arguments, see `dualflow.core.batching`; None: a composite's
            follows from its definition, all others are applied to each example by itself.
        precision: Inside `autocast`: "low", computed in its dtype; "full", in float32; None: in
            that of the arguments.
        quiet: `evaluate` is one NumPy step, run with floating-point warnings off.
        fused: It has a kernel though NumPy gives the same bits: NumPy takes several steps.
        differentiable: Whether gradients flow through it.
    """

    vjps: tuple[Callable[..., Any] | None, ...] | None = None
    pullback: Callable[..., Any] | None = None
    jvp: Callable[..., Any] | str | None = None
    definition: Callable[..., Any] | None = None
    batch: Callable[..., Any] | None = None
    precision: str | None = None
    quiet: bool = True
    fused: bool = False
    differentiable: bool = field(init=False)

    def __post_init__(self) -> None:
        if self.name in registry:
            raise GraphError(
                f"two ops are called {self.name}", "one record per op", "rename one of them"
            )
        registry[self.name] = self
        rules = (*(self.vjps or ()), self.pullback, None if self.vjps else self.definition)
        object.__setattr__(self, "differentiable", any(rule is not None for rule in rules))
        if self.package is None and is_declared_here():
            object.__setattr__(self, "package", PACKAGE)


def is_declared_here() -> bool:
    """Whether the record that is made now is declared by a module of this package, by nobody else.

    So is what a module makes while it is imported, through functions of this package alone: they
    may be given rules of others elsewhere.
    """
    frame = sys._getframe(2)
    while frame is not None and frame.f_globals.get("__name__", "").startswith(OURS):
        if frame.f_code.co_name == "<module>":
            return True
        frame = frame.f_back
    return False


def bind(op: Op, args: tuple[Any, ...], attrs: dict[str, Any] = NO_ATTRS) -> Any:
    """Applies `op` to tensors (and weak Python scalars): computes it, or hands it to who traces.

    A symbolic argument (one without data) belongs to its owner, whatever the current trace; of
    several owners the innermost binds.

    Returns:
        A Tensor, or a tuple of them where the op has several outputs.
    """
    if regions:
        args = in_precision(op, args)
    owner = context.trace
    for x in args:
        if type(x) is Tensor and x.raw is None:
            owner = innermost(op.name, args)
            break
    if owner is None and homes:
        owner = home_of(attrs)
    try:
        return evaluate(op, args, attrs) if owner is None else owner.bind(op, args, attrs)
    except DualflowError as error:
        raise shortened(error) from None


def claim(names: Iterable[str], graph: Any) -> None:
    """What is computed of these open extents alone belongs to `graph`, as long as it is there."""

    def forget(reference: weakref.ref[Any]) -> None:
        for name in [name for name, known in homes.items() if known is reference]:
            del homes[name]

    if not all(name in homes and homes[name]() is graph for name in names):
        homes.update(dict.fromkeys(names, weakref.ref(graph, forget)))


def home_of(attrs: dict[str, Any]) -> Any:
    """The graph built by hand that an open extent among the attrs belongs to, or None."""
    for attr in attrs.values():
        extents = [x for x in (attr if isinstance(attr, tuple) else (attr,)) if isinstance(x, Dim)]
        for known in free_symbols(extents):
            if known.name in homes:
                return homes[known.name]()
    return None


def innermost(name: str, args: tuple[Any, ...]) -> Any:
    """The owner of the symbolic arguments; of batches in batches, that of the inner ones."""
    owner, level = None, -1
    for x in args:
        if type(x) is Tensor and x.raw is None:
            if x.symbol.owner is None:
                raise leaked(name, x)
            depth = getattr(x.symbol.owner, "level", 0)
            if depth > level:
                owner, level = x.symbol.owner, depth
    return owner


def argument_types(args: tuple[Any, ...]) -> tuple[TensorType, ...]:
    """Types of tensors and of the weak scalars between them, which have the last tensor's dtype.

    The tensors have one dtype; only `where` has a condition of another in front.
    """
    dtype = dtype_of(args)
    return tuple([x.type if x.__class__ is Tensor else TensorType((), dtype) for x in args])  # type: ignore[arg-type]


def dtype_of(args: tuple[Any, ...]) -> Any:
    """That of the last tensor among the arguments, or None."""
    for x in reversed(args):
        if x.__class__ is Tensor:
            return x.dtype
    return None


def array_types(arrays: list[Any]) -> tuple[TensorType, ...]:
    """`argument_types` for what the tensors hold."""
    dtype = next((x.dtype for x in reversed(arrays) if hasattr(x, "dtype")), None)
    return tuple(
        TensorType(x.shape, x.dtype) if hasattr(x, "dtype") else TensorType((), dtype)  # type: ignore[arg-type]
        for x in arrays
    )


def evaluate(op: Op, args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
    """Computes `op` now; the result is recorded when somebody watches its arguments."""
    arrays = [x.raw if x.__class__ is Tensor else x for x in args]
    outs = at_hand(op, arrays, attrs)
    if outs is None:
        outs = at_once(op, arrays, attrs)
    if outs is not None and len(outs) == 1 and outs[0].dtype in SLOPED:
        return results.result(op, args, attrs, outs[0])
    tensors = values(op, arrays, attrs) if outs is None else list(map(Tensor, outs))
    hang(op, args, attrs, tensors)
    return tensors[0] if len(tensors) == 1 else tuple(tensors)


def values(op: Op, arrays: list[Any], attrs: dict[str, Any]) -> list[Tensor]:
    """What `op` gives for arrays and weak Python scalars, as tensors without records."""
    place = place_of(op, arrays)
    if place != "cpu":  # "cpu:0" where something lies nowhere
        return values_on(place, op, arrays, attrs)
    outs = computed(op, arrays, attrs)
    if outs is None:
        outs = computed_at_large(op, arrays, attrs)
    if outs is None:
        outs = evaluated(op, arrays, attrs, np)
        if op.quiet and op.definition is None:
            remember_step(op, arrays, attrs)
    return [wrap(y) for y in outs]


def values_on(place: str, op: Op, arrays: list[Any], attrs: dict[str, Any]) -> list[Tensor]:
    """The same on another device."""
    if op.moves:
        return [Tensor(to_device(arrays[0], attrs["device"]))]
    if is_host(place):
        return values_on_host(place, op, arrays, attrs)
    arrays = [to_device(bare(x), place) if x.__class__ is Anywhere else x for x in arrays]
    try:
        return computed_there(place, op, arrays, attrs)
    except MemoryError as error:
        own = isinstance(error, OutOfMemoryError)
        raise (error if own else out_of_memory(op.name)) from None


def values_on_host(place: str, op: Op, arrays: list[Any], attrs: dict[str, Any]) -> list[Tensor]:
    """The same on a further device of the processor: its arrays are NumPy's, of another class."""
    with using(device="cpu"):
        made = values(op, list(map(bare, arrays)), attrs)
    return [Tensor(lying_on(y.raw, place)) for y in made]


def computed_there(place: str, op: Op, arrays: list[Any], attrs: dict[str, Any]) -> list[Tensor]:
    """The same, where there is memory enough: by a kernel, by CuPy, or by the CPU."""
    xp = module_for(place)
    with active(place):
        outs = computed_on(place, op, arrays, attrs)
        if outs is None and is_for_host(arrays, attrs):
            outs = moved_as_words(place, op, arrays, attrs, xp)
            if outs is None:
                return through_cpu(place, op, arrays, attrs)
        if outs is None:
            outs = evaluated(op, arrays, attrs, xp)
            if all(hasattr(y.__class__, CUDA) for y in outs):
                evaluated_on(place, op, arrays, attrs, xp)
        return [wrap(y, xp) for y in outs]


def through_cpu(place: str, op: Op, arrays: list[Any], attrs: dict[str, Any]) -> list[Tensor]:
    """The same by the CPU: arrays are copied there, and the results back."""
    given = [to_device(x, "cpu") if hasattr(x, "dtype") else x for x in arrays]
    with using(device="cpu"):
        return [Tensor(to_device(y.raw, place)) for y in values(op, given, attrs)]


def is_for_host(arrays: list[Any], attrs: dict[str, Any]) -> bool:
    """Whether CuPy lacks code: it has few functions of bfloat16."""
    return any(getattr(x, "dtype", None) == bfloat16 for x in arrays) or any(
        x.__class__ is BFLOAT16 and x == bfloat16 for x in attrs.values()
    )


def evaluated(op: Op, arrays: list[Any], attrs: dict[str, Any], xp: Any) -> tuple[Any, ...]:
    """What `op.evaluate` gives for arguments of the right types."""
    if op.definition is None:  # the ops that a composite is made of check for themselves
        op.infer(*array_types(arrays), **attrs)
    run = context.run if op.quiet else called
    if context.once and is_without_code(op, arrays, attrs):
        run = timed(run)
    out = run(op.evaluate, xp, *arrays, **attrs)
    return out if out.__class__ is tuple else (out,)


def called(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Just calls a function."""
    return function(*args, **kwargs)


def place_of(op: Op, arrays: list[Any]) -> str:
    """The one device that all arrays lie on; where there are none, the one in force."""
    first, free = None, False
    for array in arrays:
        if array.__class__ is np.ndarray:
            place = "cpu"
        elif array.__class__ is Anywhere:
            free = True
            continue
        elif hasattr(array, "dtype"):
            place = device_of(array)
        else:
            continue
        if first is None:
            first = place
        elif place != first:
            raise met_apart(op, arrays)
    place = context.device if first is None else first  # without arrays: an op that creates
    return "cpu:0" if free and place == "cpu" else place


def met_apart(op: Op, arrays: list[Any]) -> DeviceError:
    """The error of arrays on several devices: nothing moves unless it is told to."""
    given = [
        (k, x)
        for k, x in enumerate(arrays, 1)
        if hasattr(x, "dtype") and not isinstance(x, Anywhere)
    ]
    told = [
        f"argument {k}, {TensorType(x.shape, x.dtype)}, lies on {device_of(x)}" for k, x in given
    ]
    place = next(device_of(x) for _, x in given if device_of(x) != "cpu")
    return DeviceError(
        f"{op.name}: {'; '.join(told)}",
        "all tensors on one device",
        f'x.to("{place}") for the others, or model.to("{place}") for all Variables of a model',
    )


def wrap(array: Any, xp: Any = np) -> Tensor:
    """A Tensor of an op's result; NumPy gives scalars where it should give 0-d arrays."""
    tensor = new_tensor(Tensor)
    kind = array.__class__
    known = kind is np.ndarray or hasattr(kind, CUDA)
    tensor.raw = array if known else xp.asanyarray(array)
    tensor.record = tensor.symbol = None
    return tensor


new_tensor = Tensor.__new__


class TypesOnly:
    """The owner of tensors that only have a type: running a definition on them infers types."""

    runs = False

    def bind(self, op: Op, args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        """The types of the outputs, as tensors."""
        types = op.infer_all(argument_types(args), attrs)
        outputs = [symbolic(type_, self) for type_ in types]
        return tuple(outputs) if len(outputs) > 1 else outputs[0]


class Lowering:
    """The owner of tensors that stand for form values: running a definition on them lowers it."""

    runs = False

    def __init__(self, form: Any) -> None:
        self.form = form

    def bind(self, op: Op, args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        """The outputs of `op.lower` as tensors."""
        types = argument_types(args)
        forms = [self.value(x, type_) for x, type_ in zip(args, types, strict=True)]
        out = op.lower(self.form, *forms, **attrs)
        if isinstance(out, tuple):
            return tuple(self.tensor(y) for y in out)
        return self.tensor(out)

    def value(self, x: Any, type_: TensorType) -> Any:
        """The form value of an argument; numbers and tensors that have data are constants."""
        if type(x) is Tensor and x.raw is None:
            return x.symbol.value
        return self.form.constant(x.raw if x.__class__ is Tensor else x, type_.dtype, type_.shape)

    def tensor(self, form_value: Any) -> Tensor:
        """A tensor that stands for a form value."""
        return symbolic(TensorType(tuple(form_value.shape), form_value.dtype), self, form_value)


class Symbol:
    """What a tensor stands for to its owner: a graph's Value, a form value, or just a type.

    Attributes:
        varies: Whether the tensor has values, and extents of its type may be others in later calls.
    """

    __slots__ = ("type", "owner", "value", "varies")

    def __init__(
        self, type_: TensorType, owner: Any, value: Any = None, *, varies: bool = False
    ) -> None:
        self.type = type_
        self.owner = owner
        self.value = value
        self.varies = varies

    def shape(self, array: Any, for_user: bool) -> tuple[Any, ...]:  # noqa: FBT001
        """The shape of a tensor that `varies`; a user sees numbers where ops see Dims."""
        shape = self.type.shape
        return self.owner.seen(shape, array.shape) if for_user else shape


def symbolic(type_: TensorType, owner: Any, value: Any = None) -> Tensor:
    """A tensor without data."""
    return Tensor(None, Symbol(type_, owner, value))
