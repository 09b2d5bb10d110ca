"""Where the updates of a scatter go, and maps turned round: elements that ask for their updates."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Sequence
from functools import cached_property
from itertools import product as every
from math import prod

from jit.dataclass import dataclass
from jit.dims import Dim, Extent, free_symbols, substitute
from jit.forms import nodes
from jit.forms.expression import (
    Apply,
    Checked,
    Domain,
    Expression,
    Extractor,
    Guard,
    Inside,
    extents_of,
    loads_of,
    moved,
    unique,
    walk,
)
from jit.forms.index import is_inside
from jit.forms.scalar import accumulator
from jit.forms.tasks import narrowed

INSTRUCTIONS = {"add": "add", "max": "maximum", "min": "minimum"}
MOST = 9  # updates that an element asks for


@dataclass(frozen=True)
class Step:
    """A coordinate that is step * loop + rest; loop "" and step 0 if there is no loop in it."""

    loop: str
    step: int
    rest: Extent


@dataclass(frozen=True)
class Places:
    """Where the updates of a scatter go.

    Attributes:
        shape: Of the result.
        domain: The loops of the updates.
        at: The coordinates, over these loops.
        where: What must hold for an update to count, besides being inside.
    """

    shape: tuple[Extent, ...]
    domain: Domain
    at: tuple[Extent, ...]
    where: Guard

    @classmethod
    def of(cls, form: nodes.Scatter) -> Places:
        """Of a scatter."""
        domain = Domain.of(form.inputs[1].shape)
        at = tuple([moved(x, domain.indices) for x in form.map.at])
        where = tuple([(moved(x, domain.indices), n) for x, n in form.map.where])
        return cls(form.inputs[0].shape, domain, at, where)

    @cached_property
    def unproven(self) -> Guard:
        """The coordinates that may be outside."""
        pairs = zip(self.at, self.shape)
        return tuple([pair for pair in pairs if is_inside(*pair) is not True])

    @cached_property
    def names(self) -> frozenset[str]:
        """The loops."""
        return frozenset(name for name, _ in self.domain.loops)

    def loops_in(self, x: Extent) -> frozenset[str]:
        """The loops that an extent depends on, through tables, too."""
        return self.names & {s.name for s in free_symbols(x)}

    @cached_property
    def steps(self) -> list[Step | None]:
        """For each coordinate what it is made of; None if that is more than one loop."""
        return [self._step(x) for x in self.at]

    def _step(self, x: Extent) -> Step | None:
        found = self.loops_in(x)
        if not found:
            return Step("", 0, x)
        symbol = next(i for i in self.domain.indices if str(i) in found)
        assert isinstance(x, Dim)
        assert isinstance(symbol, Dim)
        (monomial,) = symbol.terms
        step = x.terms.get(monomial, 0)
        rest = x - symbol * step
        return Step(str(symbol), step, rest) if step and not self.loops_in(rest) else None

    @cached_property
    def free(self) -> dict[str, int]:
        """The loops that alone make up a coordinate -> its axis."""
        steps = enumerate(self.steps)
        return {step.loop: axis for axis, step in steps if step is not None and step.loop}

    def is_once(self, loop: str) -> bool:
        """Whether a loop is in one coordinate only."""
        return sum(loop in self.loops_in(x) for x in self.at) == 1


def turned_round(
    form: nodes.Scatter, places: Places, into: Expression, extractor: Extractor
) -> Expression | None:
    """Each element of the result, if it asks for its update: slices, pads, joins.

    None unless every loop makes up one coordinate with a step of 1 or -1, other coordinates are
    constant, nothing is loaded, and no update is outside that must be reported.
    """
    if set(places.free) != places.names or not all(map(places.is_once, places.names)):
        return None
    if (places.unproven and not form.dropped) or loads_of(
        *places.at, *[x for x, _ in places.where]
    ):
        return None
    found: dict[str, Extent] = {}
    conditions: list[tuple[Extent, Extent]] = []
    extents = dict(places.domain.loops)
    for step, i in zip(places.steps, Domain.of(places.shape).indices):
        if step is None or step.step not in (0, 1, -1):
            return None
        if step.loop:
            found[step.loop] = (i - step.rest) * step.step
            conditions.append((found[step.loop], extents[step.loop]))
        else:
            conditions.append((i - step.rest, 1))
    conditions += [(substitute(x, found), n) for x, n in places.where]
    wanted = unique(tuple([pair for pair in conditions if is_inside(*pair) is not True]))
    at = tuple([found.get(str(i), 0) for i in places.domain.indices])
    value = extractor.element(form.inputs[1], at, wanted)
    if wanted and may_fail(value):
        return None
    if form.combine != "set":
        value = Apply(INSTRUCTIONS[form.combine], (into, value), into.dtype)
    return Apply("where", (Inside(wanted), value, into), into.dtype) if wanted else value


def may_fail(x: Expression) -> bool:
    """Whether an expression holds checks, so that it must be computed even if nobody wants it."""
    every = list(walk(x))
    checks = any(isinstance(each, Checked) for each in every)
    return checks or bool(loads_of(*[i for each in every for i in extents_of(each)]))


# ----- windows: each element asks for the updates of all windows around it -----

At = dict[str, Extent]  # the loops of an update


@dataclass(frozen=True)
class Window:
    """A coordinate that is step * outer + inner + rest, as the windows of a pool are.

    Attributes:
        outer: The loop over windows; "" if there is none.
        inner: The loop within a window; "" if windows have one element.
        step: From one window to the next.
        extent: Of a window.
        rest: What else there is.
    """

    outer: str
    inner: str
    step: int
    extent: int
    rest: Extent

    @classmethod
    def of(cls, x: Extent, places: Places) -> Window | None:
        """A coordinate so; None if it is not one."""
        extents, rest = dict(places.domain.loops), x
        factors: list[tuple[int, int, str]] = []
        for position, i in enumerate(places.domain.indices):
            if isinstance(i, Dim) and isinstance(x, Dim) and str(i) in places.loops_in(x):
                (monomial,) = i.terms
                factors.append((x.terms.get(monomial, 0), -position, str(i)))
                rest = rest - i * factors[-1][0]
        if len(factors) > 2 or places.loops_in(rest):
            return None
        (one, _, inner), (step, _, outer) = [(1, 0, ""), (1, 0, ""), *sorted(factors)][-2:]
        extent = extents.get(inner, 1)
        if one != 1 or step < 1 or not isinstance(extent, int):
            return None
        return cls(outer, inner, step, extent, rest)

    def updates(self, i: Extent, places: Places) -> list[tuple[At, Guard]]:
        """Those that may meet at `i`, in the order of the first of the two loops, and when."""
        place, extents = i - self.rest, dict(places.domain.loops)
        if not self.outer:
            return [({}, ((place, 1),))]
        found: list[tuple[At, Guard]] = []
        for k in range(-(-self.extent // self.step)):
            outer, inner = place // self.step - k, place % self.step + k * self.step
            at = {self.outer: outer} | ({self.inner: inner} if self.inner else {})
            found.append((at, ((outer, extents[self.outer]), (inner, self.extent))))
        order = list(extents)
        inside = self.inner and order.index(self.inner) < order.index(self.outer)
        return found if inside else found[::-1]


def gathered(
    form: nodes.Scatter, places: Places, into: Expression, extractor: Extractor
) -> Expression | None:
    """Each element of the result, if it asks for the updates of a few windows, in their order.

    None unless each loop makes up one coordinate, alone or with one other, nothing is loaded, and
    no update is outside that must be reported.
    """
    if not all(map(places.is_once, places.names)) or loads_of(*places.at):
        return None
    if places.where or (places.unproven and not form.dropped):
        return None
    windows = [Window.of(x, places) for x in places.at]
    wide = accumulator(into.dtype) if form.combine == "add" else into.dtype
    total = narrowed(into, wide)
    updates = met(windows, places)
    for at, guard in updates or ():
        wanted = unique(tuple([pair for pair in guard if is_inside(*pair) is not True]))
        indices = tuple([at.get(str(i), 0) for i in places.domain.indices])
        value = narrowed(extractor.element(form.inputs[1], indices, wanted), wide)
        if wanted and may_fail(value):
            return None
        if form.combine != "set":
            value = Apply(INSTRUCTIONS[form.combine], (total, value), wide)
        total = Apply("where", (Inside(wanted), value, total), wide) if wanted else value
    return total if updates else None


def met(windows: Sequence[Window | None], places: Places) -> list[tuple[At, Guard]] | None:
    """The updates that may meet in an element, in their order; None if there are too many."""
    names = [name for name, _ in places.domain.loops]
    axes: list[tuple[int, list[tuple[At, Guard]]]] = []
    for window, i in zip(windows, Domain.of(places.shape).indices, strict=True):
        if window is None:
            return None
        loops = [names.index(x) for x in (window.outer, window.inner) if x]
        axes.append((min(loops, default=0), window.updates(i, places)))
    axes.sort(key=lambda axis: axis[0])
    if prod([len(found) for _, found in axes]) > MOST:
        return None
    return [
        (dict(ChainMap(*[at for at, _ in some])), sum([guard for _, guard in some], ()))
        for some in every(*[found for _, found in axes])
    ]
