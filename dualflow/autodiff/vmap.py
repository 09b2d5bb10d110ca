"""vmap: a function of one example becomes one of a batch, without a loop over the examples.

Inside of it a tensor stands for all examples at once: it has the shape of one, and its owner, a
`Batch`, applies each op to all of them by the op's own rule (`dualflow.core.batching`). Records
hang on such tensors as on all others, so that gradients within it are those of each example.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dualflow.core import tree
from dualflow.core.batching import one_by_one, repeated
from dualflow.core.convert import as_tensor
from dualflow.core.op import Op, Symbol
from dualflow.core.record import clock, hang
from dualflow.core.registry import functions
from dualflow.core.tensor import Tensor
from jit.errors import AxisError, ShapeError
from jit.types import TensorType, format_extent

Axes = Any  # an int, None, or a nest of them like the argument's


class Batch:
    """The owner of tensors that stand for all examples of a call.

    Attributes:
        level: Of batches within batches, the inner one's is higher.
        size: The number of examples.
    """

    runs = False

    def __init__(self) -> None:
        self.level = next(clock)
        self.size: Any = None

    def bind(self, op: Op, args: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        """Applies an op to all examples."""
        batched = tuple(self.owns(x) for x in args)
        whole = tuple(x.symbol.value if flag else x for x, flag in zip(args, batched, strict=True))
        if op.batch is not None:
            made = op.batch(op, whole, batched, attrs)
        elif op.definition is not None:
            bare = [self.example(x) if flag else x for x, flag in zip(whole, batched, strict=True)]
            made = self.wholes(op.definition(*bare, **attrs))
        else:
            made = one_by_one(op, whole, batched, attrs)
        outputs = [self.example(y) for y in (made if isinstance(made, tuple) else (made,))]
        hang(op, args, attrs, outputs)
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def owns(self, x: Any) -> bool:
        """Whether a value stands for all examples of this call."""
        return x.__class__ is Tensor and x.raw is None and x.symbol.owner is self

    def example(self, whole: Tensor) -> Tensor:
        """What stands for a batch, whose first axis is that of examples."""
        type_ = whole.type
        return Tensor(None, Symbol(TensorType(type_.shape[1:], type_.dtype), self, whole))

    def wholes(self, made: Any) -> Any:
        """The batches behind the results of a composite."""
        outputs = made if isinstance(made, tuple) else (made,)
        found = tuple(map(self.whole, outputs))
        return found if isinstance(made, tuple) else found[0]

    def whole(self, y: Tensor) -> Tensor:
        """All examples of a result, which may be the same for each."""
        return y.symbol.value if self.owns(y) else repeated(y, self.size)

    # ----- into the batch, and out of it -----

    def enter(self, x: Any, axis: int | None) -> Any:
        """An argument; `axis` is that of examples, None for what all of them share."""
        if axis is None:
            return x
        x = as_tensor(x)
        if not -x.ndim <= axis < x.ndim:
            raise AxisError(
                f"vmap: axis {axis} of an argument with {x.ndim} dimensions",
                "an axis that it has",
                "in_axes=None for what all examples share",
            )
        extent = x.shape[axis]
        if self.size is not None and extent != self.size:
            raise ShapeError(
                f"vmap: {format_extent(self.size)} and {format_extent(extent)} examples",
                "one extent along the axes of in_axes",
                "check in_axes",
            )
        self.size = extent
        return self.example(functions["moveaxis"](x, axis, 0) if axis else x)

    def leave(self, y: Any, axis: int | None) -> Any:
        """A result, with the axis of examples at `axis`."""
        if y is None:
            return None
        y = as_tensor(y)
        if axis is None:
            if self.owns(y):
                raise AxisError(
                    "vmap: out_axes=None for a result that differs from example to example",
                    "an axis for it",
                    "out_axes=0",
                )
            return y
        whole = self.whole(y)
        return functions["moveaxis"](whole, 0, axis) if axis else whole


def vmap(
    function: Callable[..., Any], in_axes: Axes = 0, out_axes: Axes = 0, *, chunk: int | None = None
) -> Callable[..., Any]:
    """`function`, which takes one example, as a function of many.

    Args:
        function: Takes tensors, or nests of them, and returns such. It must not look at values.
        in_axes: Along which axis of the arguments examples follow each other: one int for all, or
            a tuple with an entry for each: an int, None for what all examples share, or a nest of
            these like the argument.
        out_axes: Where that axis stands in the results: one int, or a nest like the result.
        chunk: How many examples are computed at a time; all when None. It bounds the memory.

    Returns:
        A function of the same arguments.

    Raises:
        ShapeError: The arguments do not have equally many examples.
        AxisError: An argument does not have such an axis.
        TraceError: The function looks at a value of an example.

    Example:
        >>> import dualflow as df
        >>> dots = df.vmap(df.vecdot, in_axes=(0, None))
        >>> dots(df.asarray([[1.0, 2.0], [3.0, 4.0]]), df.asarray([1.0, 1.0])).tolist()
        [3.0, 7.0]
    """

    def mapped(*args: Any, **kwargs: Any) -> Any:
        given = in_axes if isinstance(in_axes, tuple | list) else (in_axes,) * len(args)
        if len(given) != len(args):
            raise ShapeError(
                f"vmap: in_axes for {len(given)} arguments, and {len(args)} arguments",
                "an entry for each",
                "in_axes=0",
            )
        leaves, spec = tree.flatten(args)
        axes = [axis for arg, each in zip(args, given, strict=True) for axis in axes_of(each, arg)]
        if all(axis is None for axis in axes):
            raise ShapeError("vmap: no argument has examples", "an axis in in_axes", "in_axes=0")

        def some(leaves: list[Any]) -> Any:
            return one_pass(function, spec, leaves, axes, kwargs, out_axes)

        return some(leaves) if chunk is None else in_chunks(some, leaves, axes, out_axes, chunk)

    return mapped


def one_pass(
    function: Callable[..., Any],
    spec: Any,
    leaves: list[Any],
    axes: list[int | None],
    kwargs: dict[str, Any],
    out_axes: Axes,
) -> Any:
    """All examples at once."""
    batch = Batch()
    inner = [batch.enter(x, axis) for x, axis in zip(leaves, axes, strict=True)]
    result = function(*tree.unflatten(spec, inner), **kwargs)
    made, form = tree.flatten(result)
    places = axes_of(out_axes, result)
    return tree.unflatten(
        form, [batch.leave(y, axis) for y, axis in zip(made, places, strict=True)]
    )


def in_chunks(
    some: Callable[[list[Any]], Any],
    leaves: list[Any],
    axes: list[int | None],
    out_axes: Axes,
    chunk: int,
) -> Any:
    """So many examples at a time, and the results joined."""
    tensors = [x if axis is None else as_tensor(x) for x, axis in zip(leaves, axes, strict=True)]
    sizes = [x.shape[axis] for x, axis in zip(tensors, axes, strict=True) if axis is not None]
    results = []
    for start in range(0, max(1, int(sizes[0])), chunk):
        cut = slice(start, start + chunk)
        results.append(some([piece(x, axis, cut) for x, axis in zip(tensors, axes, strict=True)]))
    if len(results) == 1:
        return results[0]
    places = axes_of(out_axes, results[0])
    parts, form = [tree.flatten(result)[0] for result in results], tree.flatten(results[0])[1]
    joined = [
        ys[0] if axis is None or ys[0] is None else functions["concat"](list(ys), axis=axis)
        for ys, axis in zip(zip(*parts, strict=True), places, strict=True)
    ]
    return tree.unflatten(form, joined)


def piece(x: Any, axis: int | None, cut: slice) -> Any:
    """Some of the examples of an argument."""
    if axis is None:
        return x
    return x[(slice(None),) * (axis % x.ndim) + (cut,)]


def axes_of(axes: Axes, nest: Any) -> list[int | None]:
    """The axis for each leaf of a nest; one int or None counts for all of what it stands for."""
    if axes is None or isinstance(axes, int):
        return [axes] * len(tree.flatten(nest)[0])
    if isinstance(axes, dict):
        return [axis for key in sorted(nest) for axis in axes_of(axes[key], nest[key])]
    return [axis for each, part in zip(axes, nest, strict=True) for axis in axes_of(each, part)]
