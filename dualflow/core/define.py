"""How ops are declared: `elementwise` rows and `composite` definitions; everything else is an `Op`.

    square = elementwise("square", lambda y, x: x * 2, doc="Its square.", example="[3.0] -> [9.0]")

One partial derivative a row yields the reverse and the forward rule; the type rule, eager
evaluation, lowering, promotion and the Python operator follow from the same row.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable
from functools import lru_cache, partial, wraps
from typing import Any

import numpy as np

from dualflow.core.backend import canonical_device, device_of
from dualflow.core.batching import aligned
from dualflow.core.context import context, using
from dualflow.core.convert import SCALARS, as_tensor
from dualflow.core.devices import beside
from dualflow.core.doors import ACCEPTS, binary_door, meet, unary_door
from dualflow.core.op import Lowering, Op, TypesOnly, bind, symbolic
from dualflow.core.registry import api, functions, refused
from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable
from jit.errors import DTypeError, ShapeError
from jit.types import TensorType, bool_, broadcast_shapes, dtypes, kind, weak_dtype

Partial = Callable[..., Any] | int | None
ARGUMENT_WORDS = {
    "any": "any dtype",
    "numeric": "numbers",
    "real": "real numbers",
    "inexact": "floating or complex numbers; integers become float32",
    "floating": "floating numbers; integers become float32",
    "complex": "complex numbers",
    "integer": "integers",
    "integral": "integers or bools",
    "bool": "bools",
}


def elementwise(
    name: str,
    *partials: Partial,
    accepts: str = "numeric",
    result: str = "same",
    evaluate: Callable[..., Any] | None = None,
    operator: str | None = None,
    commutative: bool = False,
    adds: bool = False,
    vjps: tuple[Callable[..., Any] | None, ...] | None = None,
    jvp: Callable[..., Any] | str | None = None,
    arity: int | None = None,
    instruction: str | None = None,
    lower: Callable[..., Any] | None = None,
    doc: str,
    example: str,
) -> Callable[..., Tensor]:
    """Declares an op that acts on each element alone, and makes its public function.

    Args:
        name: The array API's name, or NumPy's or SciPy's.
        *partials: Per argument d out/d arg as `(y, *args)`, or the numbers 1 and -1, or None where
            nothing flows. No partials: `arity` counts the arguments and no gradient flows.
        accepts: A row of `ACCEPTS`: which dtypes it takes.
        result: "same", "bool", or "real" (complex numbers give their real dtype).
        evaluate: `(xp, *arrays)`, where NumPy's function of that name is not the op.
        operator: Python's, such as "add" for `__add__` and `__radd__`, or "neg" for `__neg__`.
        commutative: Swapping the arguments changes no bit.
        adds: It is the sum of both arguments.
        vjps: Reverse rules, where conj(partial) * g is not right.
        jvp: Forward rule that goes with `vjps`.
        arity: The number of arguments when there are no partials.
        instruction: The scalar instruction it lowers to, where that has another name.
        lower: `(form, *xs)`, where one instruction is not all.
        doc: The public docstring up to its arguments.
        example: What it gives for what, as `finish` takes it.
    """
    call = partial(evaluate, np) if evaluate is not None else getattr(np, name)
    count = len(partials) or len(vjps or ()) or arity or 1
    flows = vjps if vjps is not None else tuple(map(vjp_of_partial, partials))
    op = Op(
        name=name,
        evaluate=evaluate or (lambda xp, *xs: getattr(xp, name)(*xs)),
        infer=elementwise_type(name, accepts, result),
        lower=lower or (lambda form, *xs: form.pointwise(instruction or name, *xs)),
        vjps=flows if any(flows) else None,
        jvp=jvp if jvp is not None else jvp_of_partials(partials),
        batch=aligned(),
        commutative=commutative,
        adds=adds,
    )
    if count == 1:
        door: Any = unary_door(op, call, accepts)
    else:
        door = binary_door(op, call, accepts, compares=result == "bool")
    return finish(door, op, operator, doc, accepts, count, example)


def finish(
    door: Any,
    op: Op,
    operator: str | None,
    doc: str,
    accepts: str,
    count: int,
    example: str,
    place: str = "df",
) -> Callable[..., Tensor]:
    """Gives a door its name and docstring, registers it, and attaches it as Python's operator.

    Args:
        door: The function.
        op: What it applies.
        operator: Python's.
        doc: The docstring up to its arguments.
        accepts: A row of `ACCEPTS`.
        count: How many arguments it has.
        example: What the docstring shows: lists of elements, and what comes of them, such as
            `"[1, 2]; [3, 4] -> [4, 6]"`.
        place: Where people find the function.
    """
    names = ("x",) if count == 1 else ("x1", "x2")
    words = ARGUMENT_WORDS[accepts]
    lines = "\n".join(f"    {n}: Tensor of any shape; {words}." for n in names)
    shape = "shape of `x`" if count == 1 else "broadcast shape"
    door.__name__ = door.__qualname__ = op.name
    door.__module__ = "dualflow"
    raises = f"    DTypeError: {'It holds' if count == 1 else 'They hold'} other values."
    if count == 2:
        raises += "\n    ShapeError: The shapes do not broadcast."
    returns = f"    Tensor of the {shape}."
    given, _, gives = example.partition(" -> ")
    shown = ", ".join(f"df.asarray({x})" for x in given.split("; "))
    lines_of_example = f"    >>> {place}.{op.name}({shown}).tolist()\n    {gives}\n"
    door.__doc__ = (
        f"{doc}\n\nArgs:\n{lines}\n\nReturns:\n{returns}\n\nRaises:\n{raises}\n"
        f"\nExample:\n    >>> import dualflow as df\n{lines_of_example}"
    )
    door.op = op
    if operator is not None:
        attach(operator, door, count)
    return api(door)


def attach(operator: str, door: Callable[..., Tensor], count: int) -> None:
    """Makes `door` Tensor's operator, and its reflected form where there are two operands."""
    if operator in ("eq", "ne"):

        def compare(self: Tensor, other: Any) -> Any:
            return NotImplemented if other is None or isinstance(other, str) else door(self, other)

        setattr(Tensor, f"__{operator}__", compare)
        return
    setattr(Tensor, f"__{operator}__", door)
    if count == 2 and operator not in ("lt", "le", "gt", "ge"):

        def reflected(self: Tensor, other: Any) -> Tensor:
            return door(other, self)

        setattr(Tensor, f"__r{operator}__", reflected)


def elementwise_type(name: str, accepts: str, result: str) -> Callable[..., TensorType]:
    """The type rule: equal dtypes of the accepted kinds, shapes that broadcast."""
    kinds = ACCEPTS[accepts]

    def infer(*types: TensorType) -> TensorType:
        dtype = types[0].dtype
        for type_ in types:
            if type_.dtype != dtype or kind(dtype) not in kinds:
                listed = " and ".join(t.dtype.name for t in types)
                raise DTypeError(
                    f"{name}: does not take {listed}",
                    f"{' or '.join(kinds)}, all alike",
                    "x.astype(...)",
                )
        shape = broadcast(name, *(t.shape for t in types))
        if result == "bool":
            return TensorType(shape, bool_)
        return TensorType(shape, real_dtype(dtype) if result == "real" else dtype)

    return infer


def broadcast(name: str, *shapes: tuple[Any, ...]) -> tuple[Any, ...]:
    """`broadcast_shapes` with the op's name in front of its error."""
    try:
        return broadcast_shapes(*shapes)
    except ShapeError as error:
        error.what = f"{name}: {error.what}"
        raise


def real_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype of the real part."""
    return {"complex64": dtypes["float32"], "complex128": dtypes["float64"]}.get(dtype.name, dtype)


def vjp_of_partial(derivative: Partial) -> Callable[..., Any] | None:
    """`conj(partial) * g`: the cotangent of the argument."""
    if derivative is None:
        return None
    if derivative == 1:
        return lambda g, y, *args: g
    if derivative == -1:
        return lambda g, y, *args: -g
    return lambda g, y, *args: g * conjugated(derivative(y, *args))  # type: ignore[operator]


def conjugated(x: Any) -> Any:
    """The complex conjugate of a tensor or a Python scalar; real values as they are."""
    if isinstance(x, Tensor):
        return functions["conj"](x) if kind(x.dtype) == "complex" else x
    return x.conjugate() if isinstance(x, complex) else x


def jvp_of_partials(partials: tuple[Partial, ...]) -> Callable[..., Any] | None:
    """Sum of partial times tangent over the arguments that move."""

    def jvp(tangents: tuple[Any, ...], y: Any, *args: Any) -> Any:
        total = None
        for derivative, t in zip(partials, tangents, strict=True):
            if t is None or derivative is None:
                continue
            if isinstance(derivative, int):
                term = t if derivative == 1 else -t
            else:
                term = t * derivative(y, *args)
            total = term if total is None else total + term
        return total

    return jvp if any(p is not None for p in partials) else None


def composite(
    *,
    tensors: int = 1,
    accepts: str | None = "inexact",
    name: str | None = None,
    vjps: tuple[Callable[..., Any] | None, ...] | None = None,
    lower: Callable[..., Any] | None = None,
    precision: str | None = None,
    public: bool = True,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: an op whose meaning is a definition written in ops.

    The function keeps its signature. Evaluation, type rule, lowering and gradients follow from the
    definition; a graph holds it as one node, and a compiler may take it as one kernel.

    Args:
        tensors: How many leading parameters are tensors; the rest are static attrs.
        accepts: Row of `ACCEPTS` the tensors are brought to together, or None: each keeps its
            dtype.
        name: Of the op, where it is not the function's.
        vjps: Better reverse rules than those that follow from the definition.
        lower: A better lowering.
        precision: Of an `Op`: in which dtype it computes inside `autocast`.
        public: Registers it as a function for users; a part of one is not.
    """

    def declare(definition: Callable[..., Any]) -> Callable[..., Any]:
        op = Op(
            name=name or definition.__name__,
            evaluate=evaluate_definition(definition),
            infer=infer_definition(definition),
            lower=lower or lower_definition(definition),
            vjps=vjps,
            definition=definition,
            precision=precision,
            quiet=False,
        )
        sorted_out = binder(definition, op.name, tensors)

        @wraps(definition)
        def door(*args: Any, **kwargs: Any) -> Any:
            operands, attrs = sorted_out(args, kwargs)
            return bind(
                op, meet(op.name, operands, accepts) if accepts else as_tensors(operands), attrs
            )

        door.op = op  # type: ignore[attr-defined]
        return api(door) if public else door

    return declare


def binder(definition: Callable[..., Any], name: str, tensors: int) -> Callable[..., Any]:
    """`(args, kwargs) -> (tensors, attrs)` of a call, attrs in the order of the signature.

    `inspect` binds what is out of the ordinary, and finds the mistakes; it takes 5 us, so that a
    call whose tensors come first, by position, is taken apart here.
    """
    signature = inspect.signature(definition)
    parameters = list(signature.parameters.values())
    settings = parameters[tensors:]
    defaults = {p.name: static(p.default) for p in settings}
    required = {p.name for p in settings if p.default is p.empty}
    by_word = {p.name for p in settings if p.kind is not p.POSITIONAL_ONLY}
    by_place = [p.name for p in settings if p.kind is not p.KEYWORD_ONLY]

    def sorted_out(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        given = len(args) - tensors
        if given == 0 and not kwargs and not required:
            return args, defaults.copy()
        if 0 <= given <= len(by_place) and kwargs.keys() <= by_word:
            placed = dict(zip(by_place, args[tensors:]))
            if placed.keys().isdisjoint(kwargs) and required <= placed.keys() | kwargs.keys():
                found = {n: static(x, name, n) for n, x in (placed | kwargs).items()}
                return args[:tensors], defaults | found
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise explained(error, name, kwargs, signature.parameters) from None
        bound.apply_defaults()
        values = list(bound.arguments.items())
        attrs = {n: static(x, name, n) for n, x in values[tensors:]}
        return tuple(x for _, x in values[:tensors]), attrs

    return sorted_out


def explained(
    error: TypeError, name: str, given: Iterable[str], known: Collection[str]
) -> TypeError:
    """The error of a call that does not fit; it names our words for foreign ones among `given`."""
    foreign = [word for word in given if word not in known]
    return refused(name, foreign) if foreign else error


def static(value: Any, name: str = "", word: str = "") -> Any:
    """A value as an attr: lists become tuples.

    Raises:
        TypeError: It is a tensor: it would have no gradient, and a graph would keep its value.
    """
    if isinstance(value, Tensor):
        raise TypeError(
            f"{name}: {word} is a tensor of shape {value.shape}, expected a number: "
            f"{word}.item(), through which no gradient flows, or the formula written with ops"
        )
    return (
        tuple([static(x, name, word) for x in value]) if isinstance(value, list | tuple) else value
    )


def as_tensors(operands: tuple[Any, ...]) -> tuple[Tensor, ...]:
    """Each operand as a tensor of its own dtype; a Python number has its kind's first tensor's."""
    if all(x.__class__ is Tensor for x in operands):
        return operands
    met: dict[str, Any] = {}
    for x in operands:
        if isinstance(x, Tensor):
            met.setdefault(kind(x.dtype), x.dtype)

    def tensor(x: Any) -> Tensor:
        if not isinstance(x, SCALARS):
            return as_tensor(x)
        with beside(*operands):
            return functions["asarray"](x, dtype=met.get(kind(weak_dtype(x, None))))

    return tuple(map(tensor, operands))


def evaluate_definition(definition: Callable[..., Any]) -> Callable[..., Any]:
    """`evaluate` of a composite: the definition on concrete tensors, unrecorded."""

    def evaluate(xp: Any, *arrays: Any, **attrs: Any) -> Any:
        given = list(map(xp.asarray, arrays))
        place = device_of(given[0]) if given else context.device
        with using(trace=None, recording=False, autocast=None, device=place):
            out = definition(*map(Tensor, given), **attrs)
        return tuple(y.raw for y in out) if isinstance(out, tuple) else out.raw

    return evaluate


def infer_definition(definition: Callable[..., Any]) -> Callable[..., Any]:
    """`infer` of a composite: the definition on tensors that only have types."""

    def infer(*types: TensorType, **attrs: Any) -> Any:
        return remembered(types, tuple(attrs.items()))

    @lru_cache(maxsize=1024)
    def remembered(types: tuple[TensorType, ...], attrs: tuple[tuple[str, Any], ...]) -> Any:
        owner = TypesOnly()
        with using(trace=owner, recording=False, autocast=None):
            out = definition(*(symbolic(t, owner) for t in types), **dict(attrs))
        return tuple(y.type for y in out) if isinstance(out, tuple) else out.type

    return infer


def lower_definition(definition: Callable[..., Any]) -> Callable[..., Any]:
    """`lower` of a composite: the definition on tensors that stand for form values."""

    def lower(form: Any, *xs: Any, **attrs: Any) -> Any:
        owner = Lowering(form)
        with using(trace=owner, recording=False, autocast=None):
            out = definition(*map(owner.tensor, xs), **attrs)
        return tuple(y.symbol.value for y in out) if isinstance(out, tuple) else out.symbol.value

    return lower


CREATION_ARGUMENTS = """
    device: Where it lies, `"cpu"` or `"gpu:0"`; the device in force when None.
    requires_grad: Return a trainable Variable that holds it.
"""


def creation(function: Callable[..., Tensor]) -> Callable[..., Any]:
    """Decorator: gives a function that makes tensors the arguments `device` and `requires_grad`."""

    @wraps(function)
    def create(
        *args: Any, device: str | None = None, requires_grad: bool = False, **kwargs: Any
    ) -> Any:
        try:
            if device is None:
                tensor = function(*args, **kwargs)
            else:
                with using(device=canonical_device(device)):
                    tensor = functions["to_device"](function(*args, **kwargs), device)
        except TypeError as error:
            raise explained(error, function.__name__, kwargs, signature.parameters) from None
        return trainable(function.__name__, tensor) if requires_grad else tensor

    signature = inspect.signature(function)
    extra = list(inspect.signature(create, follow_wrapped=False).parameters.values())[1:3]
    create.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), *extra]
    )
    text = inspect.cleandoc(function.__doc__ or "")
    head, returns, rest = text.partition("\n\nReturns:")
    create.__doc__ = head + CREATION_ARGUMENTS.rstrip() + returns + rest
    return create


def trainable(name: str, tensor: Tensor) -> Variable:
    """A trainable Variable with the value of `tensor`.

    Raises:
        DTypeError: Its dtype has no gradients.
    """
    if kind(tensor.dtype) not in ("floating", "complex"):
        raise DTypeError(
            f"{name}: {tensor.dtype} values have no gradients",
            "a floating or complex dtype with requires_grad=True",
            "dtype=df.float32",
        )
    return Variable(tensor)
