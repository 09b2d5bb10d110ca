"""`x[index]` and `x.at[index]`: NumPy's index expressions, read as slices, gathers and reshapes.

An expression becomes a `Plan`: a region of strided slices that keeps every dimension (an int is a
slice of extent 1), index tensors for some axes of that region, and the order in which the
dimensions left come out. The same plan reads (`getitem`) and writes (`at`).
"""

from __future__ import annotations

import builtins
from contextlib import nullcontext
from typing import Any

import numpy as np

from dualflow.core import results
from dualflow.core.backend import gives_views
from dualflow.core.context import context
from dualflow.core.convert import SCALARS, as_tensor
from dualflow.core.define import broadcast
from dualflow.core.devices import beside
from dualflow.core.record import NO_ATTRS
from dualflow.core.registry import functions
from dualflow.core.tensor import Tensor
from dualflow.ops.choice import maximum, minimum, where
from dualflow.ops.gather import as_index, gather, index_place, nonzero, out_of_bounds, scatter
from dualflow.ops.shape import broadcast_to, expand_dims, inverse, permute_dims, reshape
from dualflow.ops.slicing import is_plain, place, put_region, region, resolve, whole
from jit.dims import Dim
from jit.errors import DTypeError, IndexError, ShapeError
from jit.types import format_shape, kind, promote, same_shape, weak_dtype

NEW = "new axis"
INDEX = "index dimensions"


class Plan:
    """How an index expression reads a tensor of some shape.

    Attributes:
        starts, extents, steps: The region, per axis of the tensor.
        arrays: Index tensors by axis.
        order: What the dimensions of the result are: axes of the region, NEW, and once INDEX where
            the dimensions of the index tensors stand.
    """

    def __init__(self, x: Tensor, index: Any) -> None:
        self.starts: list[Any] = []
        self.extents: list[Any] = []
        self.steps: list[int] = []
        self.arrays: dict[int, Tensor] = {}
        self.order: list[Any] = []
        self.dropped: list[int] = []
        places = []  # in `order`, of every int and index tensor
        for item in expanded(x, index):
            axis = len(self.starts)
            if item is None or item is Ellipsis:
                self.order.append(NEW if item is None else Ellipsis)
            elif isinstance(item, slice):
                self._keep(*resolve(item, x.shape[axis]))
                self.order.append(axis)
            elif isinstance(item, Tensor):
                places.append(len(self.order))
                self._keep(0, x.shape[axis], 1)
                self.arrays[axis] = item
                self.order.append(INDEX)
            else:
                places.append(len(self.order))
                self._keep(from_start(item, axis, x.shape[axis]), 1, 1)
                self.dropped.append(axis)
                self.order.append(INDEX)
        together = places == list(range(places[0], places[0] + len(places))) if places else True
        front = places[0] if together and places else 0
        front -= Ellipsis in self.order[:front]
        rest = [entry for entry in self.order if entry not in (INDEX, Ellipsis)]
        self.order = [*rest[:front], INDEX, *rest[front:]] if self.arrays else rest

    def _keep(self, start: Any, extent: Any, step: int) -> None:
        self.starts.append(start)
        self.extents.append(extent)
        self.steps.append(step)

    # ----- the dimensions of the result -----

    @property
    def axes(self) -> tuple[int, ...]:
        """The axes that have an index tensor."""
        return tuple(self.arrays)

    @property
    def inner(self) -> tuple[Any, ...]:
        """The broadcast shape of the index tensors."""
        return (
            broadcast("index", *(array.shape for array in self.arrays.values()))
            if self.arrays
            else ()
        )

    def shape(self) -> tuple[Any, ...]:
        """The shape of the result."""
        out: list[Any] = []
        for entry in self.order:
            out.extend(
                self.inner if entry is INDEX else [1] if entry is NEW else [self.extents[entry]]
            )
        return tuple(out)

    def permutation(self) -> tuple[int, ...]:
        """The gathered dimensions in the order of the result, dropped ones last."""
        labels: list[Any] = [k for k in range(len(self.starts)) if k not in self.arrays]
        if self.arrays:
            place = index_place(self.axes)
            labels[place:place] = [(INDEX, n) for n in range(len(self.inner))]
        wanted: list[Any] = []
        for entry in self.order:
            if entry is INDEX:
                wanted.extend((INDEX, n) for n in range(len(self.inner)))
            elif entry is not NEW:
                wanted.append(entry)
        return tuple(labels.index(label) for label in (*wanted, *self.dropped))

    def is_ordered(self) -> bool:
        """Whether the gathered dimensions already stand in the order of the result."""
        kept = self.permutation()[: len(self.permutation()) - len(self.dropped)]
        return list(kept) == sorted(kept)

    # ----- reading and writing -----

    def read(self, x: Tensor) -> Tensor:
        """`x[index]`."""
        y = region(x, tuple(self.starts), tuple(self.extents), tuple(self.steps))
        if self.arrays:
            y = gather(y, tuple(self.arrays.values()), self.axes)
        if not self.is_ordered():
            y = permute_dims(y, self.permutation())
        done = y is not x and same_shape(y.shape, self.shape())  # all of `x` is not `x` itself
        return y if done else reshape(y, self.shape())

    def write(self, x: Tensor, v: Tensor, combine: str) -> Tensor:
        """`x` with `v` set at, or folded into, `x[index]`."""
        shape = self.shape()
        try:
            v = v if same_shape(v.shape, shape) else broadcast_to(v, shape)
        except ShapeError:
            raise ShapeError(
                f"at: a value of shape {format_shape(v.shape)} into "
                f"a place of shape {format_shape(shape)}",
                "a value that broadcasts to the place",
                "check x[index].shape",
            ) from None
        starts, extents, steps = tuple(self.starts), tuple(self.extents), tuple(self.steps)
        if not self.arrays:
            v = reshape(v, extents)
            old = region(x, starts, extents, steps)
            return put_region(x, FOLD[combine](old, v), starts, steps)
        v = self._as_gathered(v)
        part = region(x, starts, extents, steps)
        if combine == "multiply":
            v, combine = gather(part, tuple(self.arrays.values()), self.axes) * v, "set"
        return put_region(
            x, scatter(combine, part, v, tuple(self.arrays.values()), self.axes), starts, steps
        )

    def _as_gathered(self, v: Tensor) -> Tensor:
        """A value in the shape of the result, with the dimensions that `gather` gives."""
        gathered: list[Any] = [d for k, d in enumerate(self.extents) if k not in self.arrays]
        place = index_place(self.axes)
        gathered[place:place] = self.inner
        if self.is_ordered():
            return reshape(v, tuple(gathered))
        order = self.permutation()
        return permute_dims(reshape(v, tuple(gathered[k] for k in order)), inverse(order))


FOLD = {
    "set": lambda old, v: v,
    "add": lambda old, v: old + v,
    "multiply": lambda old, v: old * v,
    "min": minimum,
    "max": maximum,
}


def expanded(x: Tensor, index: Any) -> list[Any]:
    """For each axis of `x` an int, Dim, slice, or tensor of integers; None for new axes.

    An ellipsis stays, in front of the slices that it stands for: even where it stands for none, it
    keeps the index tensors on both sides of it apart.

    Raises:
        IndexError: There are more indices than axes, or something else is among them.
    """
    given = index if isinstance(index, tuple) else (index,)
    items = [item if item is Ellipsis else readable(item) for item in given]
    used = sum(width(item) for item in items)
    if used > x.ndim:
        raise IndexError(
            f"too many indices: {used} for a tensor with {x.ndim} dimensions",
            f"at most {x.ndim}",
            "check x.shape",
        )
    holes = [k for k, item in enumerate(items) if item is Ellipsis]
    if len(holes) > 1:
        raise IndexError("an index with two ellipses (...)", "one", "x[..., 0]")
    hole = holes[0] if holes else len(items)
    items[hole + 1 : hole + 1] = [slice(None)] * (x.ndim - used)
    entries: list[Any] = []
    for item in items:
        axis = sum(e is not None and e is not Ellipsis for e in entries)
        entries.extend(mask_entries(x, item, axis) if is_mask(item) else [item])
    return entries


def opened(x: Tensor, index: Any) -> tuple[Tensor, Any]:
    """`x` with an axis of extent 1 for each single bool in the index, which masks that axis."""
    given = index if isinstance(index, tuple) else (index,)
    if not any(map(is_single_bool, given)):
        return x, index
    holes = [k for k, item in enumerate(given) if item is Ellipsis]
    items: list[Any] = []
    for k, item in enumerate(given):
        if is_single_bool(item):
            behind = given[k + 1 :] if holes and holes[0] < k else None
            used = items if behind is None else [readable(other) for other in behind]
            axes = sum(map(width, used))
            x = expand_dims(x, axes if behind is None else x.ndim - axes)
            item = reshape(as_tensor(item), (1,))
        items.append(item if item is Ellipsis else readable(item))
    return x, tuple(items)


def is_single_bool(item: Any) -> bool:
    """Whether an item is one bool, or a tensor or array of one bool without dimensions."""
    if isinstance(item, Tensor | np.ndarray):
        return kind(item.dtype) == "bool" and item.ndim == 0
    return isinstance(item, bool | np.bool)


def readable(item: Any) -> Any:
    """One item: None, a slice, an int or Dim, or a tensor of integers or bools."""
    if item is None or isinstance(item, slice | Dim):
        return item
    if not isinstance(item, bool | np.bool):
        if isinstance(item, int | np.integer):
            return int(item)
        if isinstance(item, Tensor | np.ndarray | list):
            array = as_tensor(item)
            return array if is_mask(array) else integers(item, array)
    raise IndexError(
        f"an index of type {type(item).__name__}",
        "ints, slices, ..., None, bools, tensors of integers or bools",
        "x[int(i)], or df.where(condition, x, y) for a choice",
    )


def is_mask(item: Any) -> bool:
    """Whether an item is a tensor of bools with one dimension or more."""
    return isinstance(item, Tensor) and kind(item.dtype) == "bool" and item.ndim > 0


def width(item: Any) -> int:
    """How many axes an item reads."""
    return 0 if item is None or item is Ellipsis else item.ndim if is_mask(item) else 1


def integers(item: Any, array: Tensor) -> Tensor:
    """An index tensor, after checking its dtype."""
    try:
        return array if kind(array.dtype) == "integer" else as_index("index", item)
    except DTypeError as error:
        raise IndexError(error.what, error.expected, error.remedy) from None


def mask_entries(x: Tensor, mask: Tensor, axis: int) -> list[Any]:
    """The coordinates of a mask's true elements, for the axes that it covers."""
    covered = x.shape[axis : axis + mask.ndim]
    points_nowhere = [isinstance(m, int) and m == 0 for m in mask.shape]
    if any(m != d and not none for m, d, none in zip(mask.shape, covered, points_nowhere)):
        raise IndexError(
            f"a mask of shape {format_shape(mask.shape)} for extents {format_shape(covered)}",
            "equal extents, or none",
            "check x.shape and mask.shape",
        )
    return list(nonzero(mask))


def from_start(k: Any, axis: int, extent: Any) -> Any:
    """A static index counted from the start.

    Raises:
        IndexError: It lies outside of the axis.
    """
    if not -extent <= k < extent:
        raise out_of_bounds(k, axis, extent)
    return k + extent if k < 0 else k


def getitem(x: Tensor, index: Any) -> Tensor:
    """`x[index]`, as NumPy reads index expressions.

    A tensor of one int is a dynamic index: in a recording it stays a value of the graph, whereas a
    Python int is part of it. A mask makes a shape that depends on values: a recorded call guards on
    it.

    Args:
        x: Tensor.
        index: Ints, slices, Ellipsis, None, tensors (arrays, lists) of integers or bools, or a
            tuple of these.

    Returns:
        Tensor.

    Raises:
        IndexError: An index is outside of its axis, or is none.
    """
    if x.__class__ is not Tensor:
        x = as_tensor(x)
    if context.trace is None and is_plain(index) and gives_views(x.raw):
        try:
            array = x.raw[index]
            array = np.asarray(array) if x.raw.__class__ is np.ndarray else array
        except builtins.IndexError:
            pass  # what follows says what is wrong
        else:
            attrs = NO_ATTRS if x.record is None else {"index": index}
            return results.result(BASIC_INDEX, (x,), attrs, array)
    with beside(x), context.aside() if is_of_numbers(index) else nullcontext():
        x, index = opened(x, index)
        return Plan(x, index).read(x)


def is_of_numbers(index: Any) -> bool:
    """Whether all of a plain index are numbers: no code of the user's runs where it is read."""
    items = index if index.__class__ is tuple else (index,)
    bounds = [
        x for item in items if item.__class__ is slice for x in (item.start, item.stop, item.step)
    ]
    return is_plain(index) and NUMBERS.issuperset(map(type, bounds))


NUMBERS = frozenset({int, type(None)})


class BasicIndex:
    """The op in records of eager basic indexing: its plan is made when a gradient asks for it.

    Attributes:
        lasting: Its rules and what `words` says are all that there is to know of a record.
    """

    name = "getitem"
    differentiable = lasting = True
    vjps = definition = None

    def words(self, attrs: dict[str, Any]) -> tuple[Any, ...]:
        """The index in words that are equal for equal indices: slices are no keys."""
        index = attrs["index"]
        return tuple(map(word_of, index if index.__class__ is tuple else (index,)))

    def pullback(
        self, g: Tensor, y: Any, args: tuple[Any, ...], attrs: dict[str, Any], needed: Any
    ) -> list[Tensor]:
        """The cotangent of the whole: `g` where the index points, zero elsewhere."""
        (x,) = args
        plan = Plan(x, attrs["index"])
        starts, steps = tuple(plan.starts), tuple(plan.steps)
        return [place(reshape(g, tuple(plan.extents)), x.shape, starts, steps)]

    def jvp(self, tangents: tuple[Tensor], y: Any, x: Any, *, index: Any) -> Tensor:
        """The same elements of the tangent."""
        return getitem(tangents[0], index)


BASIC_INDEX = BasicIndex()


def word_of(item: Any) -> Any:
    """An item of a basic index as a key."""
    if item.__class__ is not slice:
        return item
    return tuple([x if x is None else whole(x) for x in (item.start, item.stop, item.step)])


class At:
    """`x.at`, waiting for an index."""

    __slots__ = ("x",)

    def __init__(self, x: Any) -> None:
        self.x = x

    def __getitem__(self, index: Any) -> Place:
        return Place(self.x, index)


class Place:
    """`x.at[index]`: makes copies of `x` that differ there.

    Where an index occurs several times, `set` and `multiply` let its last value count; `add`, `min`
    and `max` take all of them, in row-major order.

    Example:
        >>> import dualflow as df
        >>> x = df.asarray([1.0, 2.0, 3.0])
        >>> x.at[1:].set(0).tolist(), x.at[[0, 0]].add(1).tolist()
        ([1.0, 0.0, 0.0], [3.0, 2.0, 3.0])
    """

    __slots__ = ("x", "index")

    def __init__(self, x: Any, index: Any) -> None:
        self.x = x
        self.index = index

    def set(self, v: Any) -> Tensor:
        """A copy of `x` with `v`, which broadcasts, at the index."""
        return self._changed("set", v)

    def add(self, v: Any) -> Tensor:
        """A copy of `x` with `v` added at the index."""
        return self._changed("add", v)

    def multiply(self, v: Any) -> Tensor:
        """A copy of `x` multiplied by `v` at the index."""
        return self._changed("multiply", v)

    def min(self, v: Any) -> Tensor:
        """A copy of `x` with the smaller of its elements and `v` at the index."""
        return self._changed("min", v)

    def max(self, v: Any) -> Tensor:
        """A copy of `x` with the larger of its elements and `v` at the index."""
        return self._changed("max", v)

    def _changed(self, combine: str, v: Any) -> Tensor:
        x = as_tensor(self.x)
        with beside(x):
            return self._combined(combine, x, suited(x, v))

    def _combined(self, combine: str, x: Tensor, value: Tensor) -> Tensor:
        if combine == "set" and value.ndim == 0 and is_mask_of(x, self.index):
            mask = as_tensor(self.index)
            mask = reshape(mask, (*mask.shape, *(1,) * (x.ndim - mask.ndim)))
            return where(mask, value, x)  # its shape depends on no value
        wide, index = opened(x, self.index)
        changed = Plan(wide, index).write(wide, value, combine)
        return changed if wide is x else reshape(changed, x.shape)


def is_mask_of(x: Tensor, index: Any) -> bool:
    """Whether `index` is one mask over the first dimensions of `x`."""
    if not isinstance(index, Tensor | np.ndarray) or kind(index.dtype) != "bool":
        return False
    return 0 < index.ndim <= x.ndim and tuple(index.shape) == tuple(x.shape[: index.ndim])


def suited(x: Tensor, v: Any) -> Tensor:
    """A value in the dtype of `x`; nothing is narrowed silently.

    Raises:
        DTypeError: The dtype of `v` is of a higher kind or wider than that of `x`.
    """
    own = v.dtype if hasattr(v, "dtype") else None
    met = (
        weak_dtype(v, x.dtype)
        if isinstance(v, SCALARS)
        else promote(x.dtype, own or as_tensor(v).dtype)
    )
    if met != x.dtype:
        given = getattr(v, "dtype", type(v).__name__)
        raise DTypeError(
            f"at: a value of {given} into a tensor of {x.dtype}",
            f"a value that {x.dtype} holds",
            f"value.astype({str(x.dtype)!r})",
        )
    return as_tensor(v, x.dtype)


functions["getitem"] = getitem
functions["at"] = At
