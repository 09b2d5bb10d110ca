"""Convolutions for a library that computes those, with channels last.

    images [N, H.., C]  *  filters [K, R.., C / groups]  gives  results [N, P.., K]

A contraction of windows with weights computes one of the three from the other two: the results, or
what flows back to images or filters. Which one, and all that a library has to know of it, is told
by the index maps of the windows and by the sizes; so a node that is applied by itself is computed
as among others.

    forward      windows of images, steps between them, gaps within
    images       windows of results with zeros between their elements; the filters lie the other
                 way round
    filters      windows as large as results, in images whose channels and batch have changed places

Operands are read, and results are written, as the library is quickest with them: views show them
to all others, and what lies otherwise is copied.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from jit.dataclass import dataclass
from jit.dims import Dim, Extent, same
from jit.forms import nodes
from jit.forms.channels import Channels, Map, view_of
from jit.forms.contraction import Letter, step_of
from jit.forms.index import IndexMap, is_inside, loop
from jit.forms.matrices import LARGE, NARROW
from jit.forms.merge import with_inputs
from jit.forms.nodes import Form, FormValue
from jit.forms.placement import extent_hint
from jit.forms.program import FormProgram
from jit.forms.staging import memory_of, undivided
from jit.ir.convolution import FILTERS, FORWARD, IMAGES, Convolution, Extents
from jit.ir.graph import Node
from jit.types import product

DTYPES = ("float32", "float16", "bfloat16")


def pays(c: Convolution) -> bool:
    """Whether a library computes a convolution; the rule of both modes.

    Args:
        c: In numbers.
    """
    groups: Any = c.groups
    wide = groups == 1 or min(c.filters[-1], c.results[-1] // groups) >= NARROW
    alike = kind_of(c.operands[1][1:-1], c.made[1:-1], spread=c.kind == IMAGES) == c.kind
    return c.multiplications >= LARGE and wide and alike and c.high is not None


def kind_of(window: Extents, places: Extents, *, spread: bool) -> str:
    """Which kind a contraction of windows is.

    Args:
        window: How large a window is.
        places: How many places it has.
        spread: Whether there are zeros between the elements of what it goes over.
    """
    if spread:
        return IMAGES
    larger = extent_hint(product(window)) > extent_hint(product(places))
    return FILTERS if larger else FORWARD


# ----- what index maps tell -----


@dataclass(frozen=True)
class Windows:
    """A contraction of windows with weights: ngc places window, goc window -> ngo places.

    Attributes:
        contract: The contraction.
        sources: What the windows are of (N, G C, ..), and the weights (G O, C, ..).
        extents: N, G, C, O.
        places: How many windows there are in each dimension.
        window: How large they are.
        stride: Steps between windows.
        dilation: Steps within.
        low: Zeros before the first place.
        spread: Steps between elements of the source, with zeros between them.
    """

    contract: nodes.Contract
    sources: tuple[FormValue, FormValue]
    extents: tuple[Extent, Extent, Extent, Extent]
    places: Extents
    window: Extents
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    low: tuple[int, ...]
    spread: tuple[int, ...]

    @property
    def kind(self) -> str:
        """What a library would compute."""
        return kind_of(self.window, self.places, spread=max(self.spread) > 1)

    @property
    def convolution(self) -> Convolution | None:
        """The same for a library; None where it has no such."""
        n, g, c, o = self.extents
        source = self.sources[0].shape[2:]
        if self.kind == FORWARD:
            shapes = (n, *source, g * c), (g * o, *self.window, c), (n, *self.places, g * o)
            steps = self.stride, self.dilation, self.low
        elif self.kind == FILTERS:
            shapes = (c, *source, g * n), (g * o, *self.places, n), (c, *self.window, g * o)
            steps = self.dilation, self.stride, self.low
        else:
            shapes = (n, *self.places, g * o), (g * c, *self.window, o), (n, *source, g * c)
            reach = [d * (k - 1) for d, k in zip(self.dilation, self.window)]
            low = tuple([last - x for last, x in zip(reach, self.low)])
            steps = self.spread, self.dilation, low
            if max(self.stride) > 1 or not all(isinstance(x, int) for x in low):
                return None
        return Convolution(self.kind, *shapes, *steps) if min(steps[-1]) >= 0 else None


def windows_of(form: Form) -> Windows | None:
    """What a contraction is, if it multiplies windows with weights."""
    if not isinstance(form, nodes.Contract) or form.apart or len(form.inputs) != 2:
        return None
    left, right = form.inputs
    views, rank = (left.form, right.form), right.ndim - 3
    if rank < 1 or left.dtype.name not in DTYPES or not is_spelled(form.spec, rank):
        return None
    if not all(isinstance(x, nodes.View) and not x.map.tables for x in views):
        return None
    x, w = views[0].inputs[0], views[1].inputs[0]
    (n, g, c, *_), (_, o, _, *window) = left.shape, right.shape
    places = left.shape[3 : 3 + rank]
    if (x.ndim, w.ndim) != (rank + 2, rank + 2) or not shows_weights(views[1]):  # type: ignore[arg-type]
        return None
    steps = steps_of(views[0], rank)  # type: ignore[arg-type]
    if steps is None:
        return None
    return Windows(form, (x, w), (n, g, c, o), places, tuple(window), *steps)


def is_spelled(spec: str, rank: int) -> bool:
    """Whether a contraction is one of windows with weights: ngc places window, goc window."""
    terms, _, result = spec.partition("->")
    left, _, right = terms.partition(",")
    if len(left) != 3 + 2 * rank or len(right) != 3 + rank:
        return False
    (n, g, c), places, window, o = left[:3], left[3 : 3 + rank], left[3 + rank :], right[1]
    return right == f"{g}{o}{c}{window}" and result == f"{n}{g}{o}{places}"


def shows_weights(view: nodes.View) -> bool:
    """Whether a view shows (G O, C, ..) as (G, O, C, ..)."""
    g, o, *others = loops_of(view)
    wanted = [g * view.map.shape[1] + o, *others]
    return not view.map.where and all(map(same, view.map.at, wanted))


def loops_of(view: nodes.View) -> list[Extent]:
    """The indices of a view."""
    return [loop(axis, extent) for axis, extent in enumerate(view.map.shape)]


def steps_of(view: nodes.View, rank: int) -> tuple[tuple[int, ...], ...] | None:
    """Stride, dilation, zeros before, and spread of windows; None of what shows no windows."""
    n, g, c, *others = loops_of(view)
    front = [n, g * view.map.shape[2] + c]
    if not all(map(same, view.map.at, front)) or view.fill not in (None, 0):
        return None
    found, gaps = [], list[tuple[Extent, Extent]]()
    for at, i, j in zip(view.map.at[2:], others[:rank], others[rank:], strict=True):
        place, spread = undivided(at)
        stride, dilation = step_along(place, i), step_along(place, j)
        if stride is None or dilation is None:
            return None
        low = stride * i + dilation * j - place
        if not isinstance(low, int) or min(stride, dilation) < 1:
            return None
        found.append((stride, dilation, low, spread))
        gaps += [(place % spread, 1)] if spread > 1 else []
    asked = [pair for pair in view.map.where if is_inside(*pair) is not True]
    if len(asked) != len(gaps) or not all(same(x, y) for (x, _), (y, _) in zip(asked, gaps)):
        return None
    return tuple(zip(*found, strict=True))


def step_along(place: Extent, index: Extent) -> int | None:
    """How far a place moves with an index, 1 where there is but one; None if that varies."""
    if not isinstance(index, Dim):
        return 1
    step = step_of(place, Letter(str(index), 0, index))
    return step if isinstance(step, int) else None


# ----- with channels last -----


def maps_of(w: Windows) -> tuple[tuple[Map, Map], tuple[Map, Map]]:
    """For both operands: where elements with channels last are in the source, and the other way."""
    n, _, c, o = w.extents

    def last(*at: Extent) -> Sequence[Extent]:
        return at[0], at[-1], *at[1:-1]

    def first(*at: Extent) -> Sequence[Extent]:
        return at[0], *at[2:], at[1]

    if w.kind == FORWARD:
        return (last, first), (last, first)
    if w.kind == FILTERS:  # images (c, .., g n) of a source (n, g c, ..), results of (g o, c, ..)
        images = (
            lambda b, *at: (at[-1] % n, at[-1] // n * c + b, *at[:-1]),
            lambda b, k, *at: (k % c, *at, k // c * n + b),
        )
        return images, (
            lambda b, *at: (at[-1], b, *at[:-1]),
            lambda k, b, *at: (b, *at, k),
        )

    def turned(at: Sequence[Extent]) -> list[Extent]:
        return [extent - 1 - i for extent, i in zip(w.window, at, strict=True)]

    filters = (  # (g c, .., o) of a source (g o, c, ..)
        lambda k, *at: (k // c * o + at[-1], k % c, *turned(at[:-1])),
        lambda k, b, *at: (k // o * c + b, *turned(at), k % o),
    )
    return (last, first), filters


def channels_last(
    w: Windows, c: Convolution, known: dict[Hashable, FormValue]
) -> tuple[nodes.Convolve, FormValue]:
    """A contraction as a library computes it, and a view of the result as it was.

    Args:
        w: The contraction.
        c: What the library computes.
        known: Views of operands that are there already; new ones join them.
    """
    there, back = zip(*maps_of(w), strict=True)
    given = tuple(map(partial(view_of, known), w.sources, c.operands, there))
    plain = contraction(w, given, back)
    alone = tuple([memory_of(x.type) for x in w.sources])
    copies = tuple([(x, IndexMap.of(x.shape, at)) for x, at in zip(alone, back, strict=True)])
    form = nodes.Convolve(given, plain.types, c, plain, contraction(w, alone), copies)
    (made,), (type_,) = form.outputs, w.contract.types
    before, now = (x.spec.partition("->")[2] for x in (w.contract, plain))
    where = IndexMap.of(type_.shape, lambda *at: [at[before.index(x)] for x in now])
    return form, nodes.View((made,), (type_,), where, None).outputs[0]


def contraction(
    w: Windows, given: Sequence[FormValue], back: Sequence[Map] | None = None
) -> nodes.Contract:
    """The contraction of other operands, with channels last in its result.

    Args:
        w: What it is of.
        given: The operands.
        back: Where elements of the sources are in these; None: at their places.
    """
    views = []
    for k, (view, x) in enumerate(zip(w.contract.inputs, given, strict=True)):
        form = view.form
        assert isinstance(form, nodes.View)
        at = tuple(back[k](*form.map.at)) if back else form.map.at
        map = replace(form.map, at=at)
        views.append(nodes.View((x,), (view.type,), map, form.fill).outputs[0])
    left, _, result = w.contract.spec.partition("->")
    n, g, o, *places = result
    order = [g, o, *places, n] if w.kind == FILTERS else [n, *places, g, o]
    (type_,) = w.contract.types
    type_ = type_.with_shape([type_.shape[result.index(x)] for x in order])
    return nodes.Contract(tuple(views), (type_,), f"{left}->{''.join(order)}")


def convolved(program: FormProgram) -> FormProgram:
    """The same program with convolutions as a library computes them, and channels last between."""
    instead, channels = dict[FormValue, FormValue](), Channels()
    forms, origins = dict[Form, None](), dict[Form, Node](program.origins)
    for old in program.forms:
        form, node = with_inputs(old, instead), program.origins.get(old)
        new, results = replaced(form, node, channels) or ([form], form.outputs)
        if form is not old or results is not form.outputs:
            instead.update(zip(old.outputs, results, strict=True))
            if node is not None:
                origins = {**dict.fromkeys(new, node), **origins}
        forms.update(dict.fromkeys(new))
    if not instead:
        return program
    for number, value in enumerate([value for form in forms for value in form.outputs]):
        value.name = f"%{number}"
    outputs = tuple([instead.get(x, x) for x in program.outputs])
    return FormProgram(program.inputs, tuple(forms), outputs, origins)


def replaced(
    form: Form, node: Node | None, channels: Channels
) -> tuple[list[Form], tuple[FormValue, ...]] | None:
    """The forms in the place of one, and its results; None where it stays as it is."""
    found = windows_of(form) if is_convolution(node) else None
    if found is None or (c := found.convolution) is None or not may_pay(c):
        return channels.laid(form)
    made, result = channels_last(found, c, channels.views)
    if c.kind != FILTERS:
        channels.lie_last(made.outputs[0])
    views = [x.form for x in made.inputs if isinstance(x.form, nodes.View)]
    return [*views, made, result.form], (result,)


def is_convolution(node: Node | None) -> bool:
    """Whether a node is a convolution: by itself it is computed as among others, then."""
    return node is not None and node.op.convolves


def may_pay(c: Convolution) -> bool:
    """Whether a library may compute it: of sizes that vary the table of launches tells."""
    extents = [*c.images, *c.filters, *c.results]
    return not all(isinstance(x, int) for x in extents) or pays(c)
