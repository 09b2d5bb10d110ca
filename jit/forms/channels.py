"""Channels last: values between convolutions lie as a library reads them.

    y = convolve(x, w)     [N, H.., C]
    z = relu(view(y) + b)  (N, C, H..)    ->    a value [N, H.., C], and a view of it

What is computed element by element of such a value, or window by window, is laid out alike: the
form has its axes in another order, and a view shows the result to all who read it as it was. So
nothing is transposed on the way, and a later convolution finds its operand where it lies. Elements
of a fold, and updates that meet, keep their order, and so every bit.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace

from jit.dims import Extent
from jit.forms import nodes
from jit.forms.expression import linear, moved
from jit.forms.index import IndexMap, loop, same_all
from jit.forms.nodes import Form, FormValue
from jit.types import product

LEAST = 3  # axes of a value: batch, channels, places

Map = Callable[..., Sequence[Extent]]


def view_of(
    known: dict[Hashable, FormValue], x: FormValue, shape: Sequence[Extent], there: Map
) -> FormValue:
    """A view of what a value shows; the value itself, if that is as it lies.

    Args:
        known: Views that are there already; new ones join them.
        x: What is shown.
        shape: Of the view.
        there: Where its elements are.
    """
    map = IndexMap.of(shape, there)
    while isinstance(x.form, nodes.View) and is_whole(x.form):
        map, x = map.then(x.form.map), x.form.inputs[0]
    if map.is_identity(x.shape):
        return x
    if (x, map) not in known:
        known[x, map] = nodes.View((x,), (x.type.with_shape(tuple(shape)),), map, None).outputs[0]
    return known[x, map]


def is_whole(view: nodes.View) -> bool:
    """Whether all that a view shows is there, at places that nothing tells but its indices."""
    return view.fill is None and not view.map.where and not view.map.tables


class Channels:
    """Which values of a program lie with channels last, as it is gone through.

    Attributes:
        views: Views of them, by what they show.
    """

    def __init__(self) -> None:
        self.views = dict[Hashable, FormValue]()
        self._lying = set[FormValue]()

    def lie_last(self, value: FormValue) -> None:
        """Notes that a value lies so: its last axes are those of channels."""
        self._lying.add(value)

    def laid(self, form: Form) -> tuple[list[Form], tuple[FormValue, ...]] | None:
        """The forms in the place of one, and its results; None where it stays as it is."""
        if not all(x.ndim >= LEAST for x in form.outputs):
            return None
        match form:
            case nodes.Pointwise() if any(map(self._lies, form.inputs)):
                inputs = [self._last(x) for x in form.inputs]
            case nodes.Reduce() if is_of_windows(form) and self._shows(form.inputs[0]):
                inputs = [self._last(x, form.outputs[0].ndim) for x in form.inputs]
            case nodes.Scatter() if keeps_channels(form.map) and self._shows(form.inputs[1]):
                into, updates = form.inputs
                inputs = [self._last(into), self._last(updates)]
                form = replace(form, map=turned(form.map))
            case _:
                return None
        types = tuple([x.type.with_shape(last(x.shape)) for x in form.outputs])
        new = replace(form, inputs=tuple(inputs), types=types)
        self._lying.update(new.outputs)
        results = tuple([first(x) for x in new.outputs])
        views = [x.form for x in inputs if isinstance(x.form, nodes.View)]
        return [*views, new, *[x.form for x in results]], results

    def _last(self, x: FormValue, count: int = 0) -> FormValue:
        """A value with channels behind the others of its first axes: of so many, or of all."""
        count = count or x.ndim
        shape = (*last(x.shape[:count]), *x.shape[count:])
        return view_of(self.views, x, shape, lambda *at: (*back(at[:count]), *at[count:]))

    def _lies(self, x: FormValue) -> bool:
        """Whether a value lies with channels last."""
        if x.ndim < LEAST:
            return False
        root = self._last(x)
        while root not in self._lying:
            if not isinstance(root.form, nodes.View) or not moves_nothing(root.form):
                return False
            root = root.form.inputs[0]
        return True

    def _shows(self, x: FormValue) -> bool:
        """Whether a value shows, place by place, one that lies so."""
        if x.ndim >= LEAST and self._lies(x):
            return True
        if isinstance(x.form, nodes.View):
            return keeps_channels(x.form.map) and self._shows(x.form.inputs[0])
        return isinstance(x.form, nodes.Pointwise) and any(map(self._shows, x.form.inputs))


def last(at: Sequence[Extent]) -> tuple[Extent, ...]:
    """Extents or indices with channels behind places."""
    return at[0], *at[2:], at[1]


def back(at: Sequence[Extent]) -> tuple[Extent, ...]:
    """And before them."""
    return at[0], at[-1], *at[1:-1]


def first(x: FormValue) -> FormValue:
    """What lies with channels last, as it was."""
    shape = back(x.shape)
    map = IndexMap.of(shape, lambda *at: last(at))
    return nodes.View((x,), (x.type.with_shape(shape),), map, None).outputs[0]


def moves_nothing(view: nodes.View) -> bool:
    """Whether a view shows all of a value in the order in which that lies."""
    source, loops = view.inputs[0].shape, loops_of(view.map)
    own, theirs = linear(view.map.shape, loops), linear(source, view.map.at)
    sizes = product(view.map.shape), product(source)
    return is_whole(view) and same_all((own, sizes[0]), (theirs, sizes[1]))


def loops_of(map: IndexMap) -> list[Extent]:
    """The indices of a map."""
    return [loop(axis, extent) for axis, extent in enumerate(map.shape)]


def is_of_windows(form: nodes.Reduce) -> bool:
    """Whether the last axes are folded."""
    kept = form.outputs[0].ndim
    return form.axes == tuple(range(kept, form.inputs[0].ndim))


def keeps_channels(map: IndexMap) -> bool:
    """Whether the first two axes of what is read or written are those of the loops."""
    if map.tables or len(map.shape) < LEAST or len(map.at) < LEAST:
        return False
    return same_all(map.at[:2], loops_of(map)[:2])


def turned(map: IndexMap) -> IndexMap:
    """A map from indices with channels last to such."""
    loops = loops_of(replace(map, shape=last(map.shape)))
    own = back(loops)
    at = last([moved(x, own) for x in map.at])
    where = tuple([(moved(x, own), n) for x, n in map.where])
    return IndexMap(last(map.shape), at, where)
