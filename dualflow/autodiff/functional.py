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
from jit.errors import DTypeError, ShapeError, TapeError
from jit.types import format_shape, kind


def _fresh(x: Any) -> Any:
    """A leaf of an argument as a tensor of its own, so that watching it concerns nobody else."""
    if not isinstance(x, Tensor) and not hasattr(x, "__array__"):
        return x if isinstance(x, str | bool | type(None)) else as_tensor(x)
    return functions["identity"](x)


def _watched(
    name: str, args: tuple[Any, ...], argnums: tuple[int, ...]
) -> tuple[list[Any], list[Any]]:
    """The arguments with fresh tensors at `argnums`, and those tensors' nests."""
    changed = list(args)
    for k in argnums:
        if not -len(args) <= k < len(args):
            raise IndexError(f"{name}: argnums={k}, but there are {len(args)} positional arguments")
        changed[k] = tree.tree_map(_fresh, args[k])
    return changed, [changed[k] for k in argnums]


def _numbers(argnums: int | Sequence[int]) -> tuple[int, ...]:
    """`argnums` as a tuple."""
    return (argnums,) if isinstance(argnums, int) else tuple(argnums)


def _and_more(out: Any, name: str, *, has_aux: bool) -> tuple[Any, Any]:
    """What a function returns to be differentiated, and what besides."""
    if not has_aux:
        return out, None
    if not isinstance(out, tuple) or len(out) != 2:
        raise TypeError(f"{name}: with has_aux the function returns a pair: (result, more)")
    return out


@contextmanager
def _tape(*, persistent: bool = False) -> Iterator[GradientTape]:
    """A tape that records where nothing else does, too: in rules of the user's, in `no_grad()`."""
    outer = context.tapes if context.recording else ()
    with using(recording=True, tapes=outer), GradientTape(persistent) as tape:
        tape.fills = True
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
    single, numbers = isinstance(argnums, int), _numbers(argnums)

    def differentiated(*args: Any, **kwargs: Any) -> Any:
        with _tape() as tape:
            changed, sources = _watched("grad", args, numbers)
            tape.watch([x for x in tree.flatten(sources)[0] if isinstance(x, Tensor)])
            out = function(*changed, **kwargs)
        value = _and_more(out, "grad", has_aux=has_aux)[0]
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


def vjp(function: Callable[..., Any], *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """The value of a function, and the function that pulls cotangents back through it.

    Args:
        function: Takes tensors (or nests of them) and returns tensors.
        *primals: Where to evaluate it.
        has_aux: The function returns a pair: what is differentiated, and more.

    Returns:
        `(y, pull)`, where `pull(g)` gives a tuple with the cotangent of each primal; and what else
        the function returned, when `has_aux`.

    Example:
        >>> import dualflow as df
        >>> y, pull = df.vjp(lambda a, b: a * b, df.asarray(2.0), df.asarray(3.0))
        >>> [g.item() for g in pull(df.asarray(1.0))]
        [3.0, 2.0]
    """
    with _tape(persistent=True) as tape:
        changed, sources = _watched("vjp", primals, tuple(range(len(primals))))
        tape.watch([x for x in tree.flatten(sources)[0] if isinstance(x, Tensor)])
        y, more = _and_more(function(*changed), "vjp", has_aux=has_aux)

    def pull(g: Any) -> tuple[Any, ...]:
        return tuple(tape.gradient(y, sources, g, unconnected_gradients="zero"))

    return (y, pull, more) if has_aux else (y, pull)


def jvp(
    function: Callable[..., Any],
    primals: Sequence[Any],
    tangents: Sequence[Any],
    *,
    has_aux: bool = False,
) -> tuple[Any, ...]:
    """The value of a function, and its derivative in one direction (forward mode).

    Args:
        function: Takes tensors (or nests of them) and returns a tensor or a nest of them.
        primals: Where to evaluate it.
        tangents: The direction: in the nest of the primals, one tensor of the same shape for each.
        has_aux: The function returns a pair: what is differentiated, and more.

    Returns:
        `(y, tangent of y)` in the same structure; and what else the function returned, when
        `has_aux`.

    Raises:
        DTypeError: A primal is not of a floating or complex dtype.
        TapeError: Tangents do not have the structure or the shapes of the primals.

    Example:
        >>> import dualflow as df
        >>> y, t = df.jvp(lambda x: x * x, [df.asarray(3.0)], [df.asarray(1.0)])
        >>> t.item()
        6.0
    """
    leaves, spec = tree.flatten(list(primals))
    for x in leaves:
        _check_moves(x)
    directions, theirs = tree.flatten(list(tangents))
    if spec != theirs:
        raise TapeError(
            f"jvp: {len(leaves)} primals and {len(directions)} tangents, or other nests of them",
            "one tangent for each primal",
            "df.zeros_like(primal) for one that does not move",
        )
    besides: list[Any] = []

    def of_leaves(*xs: Any) -> Any:
        y, more = _and_more(function(*tree.unflatten(spec, list(xs))), "jvp", has_aux=has_aux)
        besides.append(more)
        return y

    y, t = pushed(of_leaves, leaves, directions)
    return (y, t, *besides) if has_aux else (y, t)


def _check_moves(x: Any) -> None:
    """Raises DTypeError unless a primal has derivatives."""
    dtype = as_tensor(x).dtype
    if kind(dtype) not in ("floating", "complex"):
        raise DTypeError(
            f"jvp: a primal of dtype {dtype} has no tangent",
            "a floating or complex tensor",
            "x.astype(df.float32), or a function that holds it fixed",
        )


def pushed(
    function: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]
) -> tuple[Any, Any]:
    """As `jvp`, of tensors that are not in nests."""
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
        moved = push_forward(leaves, moving, start)
    out = [
        functions["zeros_like"](leaf) if t is None else t
        for leaf, t in zip(leaves, moved, strict=True)
    ]
    return y, tree.unflatten(spec, out)


def jacobian(
    function: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    *,
    has_aux: bool = False,
    chunk: int | None = None,
    memory: float = MEMORY,
) -> Callable[..., Any]:
    """The matrix of all first derivatives, as a function: shape `y.shape + x.shape`.

    Args:
        function: Takes tensors (or nests of them) and returns a tensor or a nest of them.
        argnums: Which positional arguments to differentiate by.
        has_aux: The function returns a pair: what is differentiated, and more.
        chunk: How many rows are computed at a time, which bounds the memory; as many as `memory`
            allows when None.
        memory: Bytes that rows which are computed together may take, besides the result.

    Returns:
        A function of the same arguments. What it returns has the nest of the function's result,
        with the nest of the argument (a tuple of such, for several `argnums`) in place of each
        tensor; a pair of this and what else the function returned, when `has_aux`.

    Example:
        >>> import dualflow as df
        >>> df.jacobian(lambda x: x * x)(df.asarray([1.0, 2.0])).tolist()
        [[2.0, 0.0], [0.0, 4.0]]
        >>> both = df.jacobian(lambda x, y: x * y, argnums=(0, 1))
        >>> [m.tolist() for m in both(df.asarray([1.0]), df.asarray([2.0]))]
        [[[2.0]], [[1.0]]]
    """
    single, numbers = isinstance(argnums, int), _numbers(argnums)

    def matrix(*args: Any, **kwargs: Any) -> Any:
        with _tape(persistent=True) as tape:
            changed, sources = _watched("jacobian", args, numbers)
            tape.watch([x for x in tree.flatten(sources)[0] if isinstance(x, Tensor)])
            out = function(*changed, **kwargs)
        y, more = _and_more(out, "jacobian", has_aux=has_aux)
        by = sources[0] if single else tuple(sources)
        rows = tree.tree_map(
            lambda leaf: tape.jacobian(leaf, by, "zero", chunk=chunk, memory=memory), y
        )
        return (rows, more) if has_aux else rows

    return matrix


def hessian(
    function: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    *,
    chunk: int | None = None,
    memory: float = MEMORY,
) -> Callable[..., Any]:
    """The matrix of all second derivatives of a scalar function, as a function.

    Args:
        function: Takes tensors (or nests of them) and returns a scalar tensor.
        argnums: Which positional arguments to differentiate by.
        chunk: As for `jacobian`.
        memory: As for `jacobian`.

    Returns:
        A function of the same arguments. What it returns has the nest of the gradient, with the
        nest of the argument (a tuple of such, for several `argnums`) in place of each tensor.

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
