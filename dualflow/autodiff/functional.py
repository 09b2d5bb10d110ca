"""Functional transformations: functions in, functions of derivatives out. All are tapes inside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from dualflow.autodiff.forward import push_forward
from dualflow.autodiff.sweep import Watch
from dualflow.autodiff.tape import MEMORY, GradientTape
from dualflow.core import tree
from dualflow.core.context import context, using
from dualflow.core.convert import as_tensor
from dualflow.core.record import Leaf, clock
from dualflow.core.registry import functions
from dualflow.core.tensor import Tensor
from jit.errors import ShapeError, TapeError
from jit.types import format_shape


def _fresh(x: Any) -> Any:
    """A leaf of an argument as a tensor of its own, so that watching it concerns nobody else."""
    if not isinstance(x, Tensor) and not hasattr(x, "__array__"):
        return x if isinstance(x, str | bool | type(None)) else as_tensor(x)
    return functions["identity"](x)


def _watched(args: tuple[Any, ...], argnums: tuple[int, ...]) -> tuple[list[Any], list[Any]]:
    """The arguments with fresh tensors at `argnums`, and those tensors' nests."""
    changed = list(args)
    for k in argnums:
        changed[k] = tree.tree_map(_fresh, args[k])
    return changed, [changed[k] for k in argnums]


@contextmanager
def _tape(*, persistent: bool = False) -> Iterator[GradientTape]:
    """A tape that records where nothing else does, too: in rules of the user's, in `no_grad()`."""
    outer = context.tapes if context.recording else ()
    with using(recording=True, tapes=outer), GradientTape(persistent) as tape:
        yield tape


def value_and_grad(
    function: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,  # noqa: FBT001, FBT002
) -> Callable[..., Any]:
    """A function that returns the value of `function` and its gradient.

    Args:
        function: Returns a scalar tensor, or (scalar, more) when `has_aux`.
        argnums: Which positional arguments to differentiate by; each may be a nest of tensors.
        has_aux: The function returns something besides the scalar.

    Returns:
        A function of the same arguments that returns `(value, gradient)`.

    Example:
        >>> import dualflow as df
        >>> value, g = df.value_and_grad(lambda x: (x * x).sum())(df.asarray([1.0, 2.0]))
        >>> value.item(), g.tolist()
        (5.0, [2.0, 4.0])
    """
    single = isinstance(argnums, int)
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)

    def differentiated(*args: Any, **kwargs: Any) -> Any:
        with _tape() as tape:
            changed, sources = _watched(args, numbers)
            tape.watch([x for x in tree.flatten(sources)[0] if isinstance(x, Tensor)])
            out = function(*changed, **kwargs)
        value = out[0] if has_aux else out
        if not isinstance(value, Tensor) or value.size != 1:
            raise ShapeError(
                f"grad: the function returned {getattr(value, 'shape', type(value).__name__)}",
                "a scalar tensor",
                "reduce it, or use df.jacobian",
            )
        gradients = tape.gradient(value, sources, unconnected_gradients="zero")
        return out, gradients[0] if single else tuple(gradients)

    return differentiated


def grad(
    function: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,  # noqa: FBT001, FBT002
) -> Callable[..., Any]:
    """The gradient of a scalar function, as a function; may be nested for higher orders.

    Args:
        function: Returns a scalar tensor, or (scalar, more) when `has_aux`.
        argnums: Which positional arguments to differentiate by.
        has_aux: The function returns something besides the scalar, which is returned after the
            gradient.

    Example:
        >>> import dualflow as df
        >>> df.grad(df.grad(lambda x: x * x * x))(df.asarray(2.0)).item()
        12.0
    """
    both = value_and_grad(function, argnums, has_aux)

    def gradient(*args: Any, **kwargs: Any) -> Any:
        out, g = both(*args, **kwargs)
        return (g, out[1]) if has_aux else g

    return gradient


def vjp(function: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[..., Any]]:
    """The value of a function, and the function that pulls cotangents back through it.

    Args:
        function: Takes tensors (or nests of them) and returns tensors.
        *primals: Where to evaluate it.

    Returns:
        `(y, pull)`, where `pull(g)` gives a tuple with the cotangent of each primal.

    Example:
        >>> import dualflow as df
        >>> y, pull = df.vjp(lambda a, b: a * b, df.asarray(2.0), df.asarray(3.0))
        >>> [g.item() for g in pull(df.asarray(1.0))]
        [3.0, 2.0]
    """
    with _tape(persistent=True) as tape:
        changed, sources = _watched(primals, tuple(range(len(primals))))
        tape.watch([x for x in tree.flatten(sources)[0] if isinstance(x, Tensor)])
        y = function(*changed)

    def pull(g: Any) -> tuple[Any, ...]:
        return tuple(tape.gradient(y, sources, g, unconnected_gradients="zero"))

    return y, pull


def jvp(
    function: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]
) -> tuple[Any, Any]:
    """The value of a function, and its derivative in one direction (forward mode).

    Args:
        function: Takes tensors and returns a tensor or a nest of them.
        primals: Where to evaluate it.
        tangents: The direction: one tensor of the same shape for each primal.

    Returns:
        `(y, tangent of y)` in the same structure.

    Example:
        >>> import dualflow as df
        >>> y, t = df.jvp(lambda x: x * x, [df.asarray(3.0)], [df.asarray(1.0)])
        >>> t.item()
        6.0
    """
    outer = context.recording and bool(context.tapes)
    watch = Watch(forward=True)
    with using(recording=True, tapes=(*context.tapes, watch) if outer else (watch,)):
        fresh = [_fresh(x) for x in primals]
        for x, original in zip(fresh, primals, strict=True):
            if x.record is None or x.record is getattr(original, "record", None):
                x.record = Leaf()
        start = next(clock)
        y = function(*fresh)
    moving = {x.record: as_tensor(t, x.dtype) for x, t in zip(fresh, tangents, strict=True)}
    for x, t in zip(fresh, tangents, strict=True):
        if as_tensor(t).shape != x.shape:
            raise TapeError(
                f"jvp: a tangent of shape {format_shape(as_tensor(t).shape)} "
                f"for a primal of {format_shape(x.shape)}",
                "equal shapes",
                "",
            )
    leaves, spec = tree.flatten(y)
    with using(recording=outer):
        pushed = push_forward(leaves, moving, start)
    out = [
        functions["zeros_like"](leaf) if t is None else t
        for leaf, t in zip(leaves, pushed, strict=True)
    ]
    return y, tree.unflatten(spec, out)


def jacobian(
    function: Callable[..., Any],
    argnums: int = 0,
    *,
    chunk: int | None = None,
    memory: float = MEMORY,
) -> Callable[..., Any]:
    """The matrix of all first derivatives, as a function: shape `y.shape + x.shape`.

    Args:
        function: Takes tensors and returns one tensor.
        argnums: Which positional argument to differentiate by.
        chunk: How many rows are computed at a time, which bounds the memory; as many as `memory`
            allows when None.
        memory: Bytes that rows which are computed together may take, besides the result.

    Example:
        >>> import dualflow as df
        >>> df.jacobian(lambda x: x * x)(df.asarray([1.0, 2.0])).tolist()
        [[2.0, 0.0], [0.0, 4.0]]
    """

    def matrix(*args: Any, **kwargs: Any) -> Any:
        with _tape() as tape:
            changed, sources = _watched(args, (argnums,))
            tape.watch(sources)
            y = function(*changed, **kwargs)
        return tape.jacobian(y, sources[0], "zero", chunk=chunk, memory=memory)

    return matrix


def hessian(
    function: Callable[..., Any],
    argnums: int = 0,
    *,
    chunk: int | None = None,
    memory: float = MEMORY,
) -> Callable[..., Any]:
    """The matrix of all second derivatives of a scalar function, as a function.

    Args:
        function: Takes tensors and returns a scalar tensor.
        argnums: Which positional argument to differentiate by.
        chunk: As for `jacobian`.
        memory: As for `jacobian`.

    Example:
        >>> import dualflow as df
        >>> df.hessian(lambda x: (x * x * x).sum())(df.asarray([1.0, 2.0])).tolist()
        [[6.0, 0.0], [0.0, 12.0]]
    """
    return jacobian(grad(function, argnums), argnums, chunk=chunk, memory=memory)


def hvp(
    function: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]
) -> tuple[Any, ...]:
    """The product of the matrix of second derivatives with a direction, without that matrix.

    Args:
        function: Takes tensors and returns a scalar tensor.
        primals: Where to evaluate it.
        tangents: The direction: one tensor of the same shape for each primal.

    Returns:
        A tuple with the part of each primal: the derivative of the gradient in that direction.

    Example:
        >>> import dualflow as df
        >>> f = lambda x: (x * x * x).sum()
        >>> df.hvp(f, [df.asarray([1.0, 2.0])], [df.asarray([1.0, 1.0])])[0].tolist()
        [6.0, 12.0]
    """
    gradient = grad(function, tuple(range(len(primals))))
    return tuple(jvp(gradient, primals, tangents)[1])
