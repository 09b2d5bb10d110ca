"""Placement: which values of a form program lie in memory; all others are inlined.

In memory lie the program's inputs and outputs, what loops, products and host steps compute, what
such steps read, and values that several readers would otherwise compute again at a price. Readers
of few elements of such a value compute these again all the same: if nobody else is left, it need
not be written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property

from jit.dims import Dim, Extent, same, substitute
from jit.forms import nodes
from jit.forms.expression import (
    Apply,
    Domain,
    Expression,
    has_no_element,
    linear,
    loads_of,
    moved,
    walk,
)
from jit.forms.index import loop, same_all
from jit.forms.nodes import Form, FormValue
from jit.forms.program import FormProgram
from jit.types import product

INLINE = (nodes.Pointwise, nodes.View, nodes.Index)
THROUGH = (nodes.Constant, nodes.Reduce, nodes.Scan, nodes.Scatter, nodes.Pieces)
LARGEST = 150  # what costs more is not inlined: kernels stay small
AGAIN, FEW = 24, 16  # the cost of an element that is computed again, if one of so many is read
CHEAP = 1  # a value of at most this cost is computed again by each of its readers
COSTS = {  # of instructions, in additions; 1 for all others
    **dict.fromkeys("divide sqrt floor_divide remainder reciprocal".split(), 4),
    **dict.fromkeys("exp exp2 expm1 log log2 log10 log1p tanh sin cos".split(), 10),
    **dict.fromkeys("tan asin acos atan sinh cosh asinh acosh atanh cbrt pow".split(), 20),
    **dict.fromkeys("atan2 hypot logaddexp erf erfc erfinv lgamma digamma".split(), 20),
}


class Placement:
    """Where the values of a program live.

    Args:
        program: Forms.
        cut: Parts of a value that products read lie in memory for themselves, so that the whole
            need not be written: for libraries, which have most parts copied.

    Attributes:
        live: The forms that an output or a step without results needs, in order.
        memory: The values that lie in memory.
        again: Those of them that readers of few elements compute again.
        largest: How many elements the largest of these has.
    """

    def __init__(self, program: FormProgram, *, cut: bool = False) -> None:
        self.program, self._cut = program, cut
        self.again: set[FormValue] = set()
        self.largest = 0
        self.live = live_forms(program)
        self._aliases: dict[FormValue, FormValue | None] = {}
        self.memory: set[FormValue] = {*program.inputs}
        for form in self.live:
            if not isinstance(form, INLINE) and not is_number(form):
                self.memory.update(form.outputs)
        for x in program.outputs:
            self.memory.add(self.base(x))
        for form in self.live:
            if not isinstance(form, (*INLINE, *THROUGH)):
                self.memory.update(self._operand(form, x) for x in form.inputs)
        self._place_what_is_shared()

    def base(self, value: FormValue) -> FormValue:
        """The value whose memory holds `value`, element by element in the same order."""
        while value not in self.memory and (source := self._alias(value)) is not None:
            value = source
        return value

    def _operand(self, form: Form, x: FormValue) -> FormValue:
        """What must lie in memory for a step to read `x`; products read through any view."""
        if isinstance(form, nodes.Contract | nodes.Attention | nodes.AttentionFlow):
            source, cut = x, self._cut and isinstance(form, nodes.Contract)
            while source not in self.memory and isinstance(source.form, nodes.View):
                source = source.form.inputs[0]
            return upright(x) if cut and self._is_part(x, source) else source
        return self.base(x)

    def _is_part(self, x: FormValue, source: FormValue) -> bool:
        """Whether a view shows less than a value which is computed element by element."""
        computed = isinstance(source.form, nodes.Pointwise) and source not in self.memory
        return computed and is_larger(source.shape, x.shape)

    def _alias(self, value: FormValue) -> FormValue | None:
        """What `value` is a view of, if the view moves nothing."""
        if value not in self._aliases:
            self._aliases[value] = unmoved(value)
        return self._aliases[value]

    def _place_what_is_shared(self) -> None:
        """Values of some cost that several forms read, or that a view repeats."""
        readers, repeated = Counter[FormValue](), set[FormValue]()
        for form in self.live:
            if not isinstance(form, nodes.View):
                for x, spread in (found for y in form.inputs for found in underlying(y)):
                    readers[x] += 1
                    repeated.update([x] if spread else [])
        inside = self._inside_of_pieces()
        roots = self._roots(readers) - inside.keys()
        costs: dict[FormValue, int] = {}
        whole: dict[FormValue, int] = {}  # likewise, with what is computed again
        for form in self.live:
            if isinstance(form, nodes.Pointwise) and form.outputs[0] not in inside:
                value = form.outputs[0]
                read = {x for y in form.inputs for x, _ in underlying(y)}
                inner = read - self.memory
                cost = cost_of(form) + sum(costs.get(x, 0) for x in inner)
                costs[value] = cost
                again = inner | (read & self.again)
                whole[value] = cost_of(form) + sum(whole.get(x, 0) for x in again)
                shared = readers[value] > 1 or (value in repeated and cost >= 4)
                if (cost > CHEAP and shared) or cost > LARGEST or value in roots:
                    if whole[value] <= AGAIN:
                        self._may_be_computed_again(value)
                    self.memory.add(value)

    def _roots(self, readers: Counter[FormValue]) -> set[FormValue]:
        """Values of which several shared ones are a step away: one in memory serves for all.

        So x lies there, and not both x/2 and x*x, which each of their readers computes.
        """
        steps = Counter[FormValue]()
        for form in self.live:
            if isinstance(form, nodes.Pointwise) and readers[form.outputs[0]] > 1:
                of = {x for y in form.inputs for x, _ in underlying(y) if not is_number(x.form)}
                if cost_of(form) <= CHEAP and len(of) == 1 and not of.isdisjoint(form.inputs):
                    steps.update(of)
        return {x for x, count in steps.items() if count > 1}

    def _inside_of_pieces(self) -> dict[FormValue, Form]:
        """What only pieces of one value are made of, at their own indices."""
        homes: dict[FormValue, Form] = {}
        for form in reversed(self.live):
            if isinstance(form, nodes.Pointwise) and (value := form.outputs[0]) not in self.memory:
                found = {
                    reader if isinstance(reader, nodes.Pieces) else homes.get(reader.outputs[0])
                    for reader in self.readers[value]
                    if reader.outputs
                }
                (home, *others) = found
                if not others and home is not None:
                    homes[value] = home
        return homes

    def _may_be_computed_again(self, value: FormValue) -> None:
        if value not in self.memory:
            self.again.add(value)
            self.largest = max(self.largest, size_hint(value.shape))

    def reads_all(self, domain: Domain) -> bool:
        """Whether loops over a domain find every value in memory that lies there."""
        return FEW * size_hint(domain.extents) > self.largest

    def is_read(self, value: FormValue, domain: Domain) -> bool:
        """Whether loops over a domain find a value in memory, and do not compute it again."""
        if value not in self.again:
            return value in self.memory
        return FEW * size_hint(domain.extents) > size_hint(value.shape)

    @cached_property
    def readers(self) -> dict[FormValue, set[Form]]:
        """For each value the live forms that read it, directly."""
        found: dict[FormValue, set[Form]] = {}
        for form in self.live:
            for x in form.inputs:
                found.setdefault(x, set()).add(form)
        return found


def unmoved(value: FormValue) -> FormValue | None:
    """What `value` is a view of, if the view moves nothing."""
    form = value.form
    if not isinstance(form, nodes.View) or form.map.where or loads_of(*form.map.at):
        return None
    source, domain = form.inputs[0], Domain.of(value.shape)
    at = [moved(x, domain.indices) for x in form.map.at]
    own, theirs = linear(value.shape, domain.indices), linear(source.shape, at)
    sizes = product(value.shape), product(source.shape)
    return source if same_all((own, sizes[0]), (theirs, sizes[1])) else None


def upright(x: FormValue) -> FormValue:
    """What a value shows whose last two axes are those of `x` in the other order; else `x`."""
    if not isinstance(x.form, nodes.View) or x.ndim < 2 or x.form.map.where:
        return x
    *others, i, j = [loop(axis, extent) for axis, extent in enumerate(x.shape)]
    turned, own = (*others, j, i), x.form.map.at
    moves = len(own) == len(turned) and all(map(same, own, turned))
    return x.form.inputs[0] if moves else x


def cost_of(form: nodes.Pointwise) -> int:
    """What a scalar instruction costs, in additions."""
    return COSTS.get(form.scalar.name, 1)


def is_number(form: Form) -> bool:
    """Whether a form is one number everywhere."""
    return isinstance(form, nodes.Constant) and form.value.ndim == 0


def underlying(value: FormValue) -> Iterator[tuple[FormValue, bool]]:
    """What `value` shows through views, and whether a view repeats elements of it."""
    stack = [(value, False)]
    while stack:
        x, spread = stack.pop()
        if not isinstance(x.form, nodes.View):
            yield x, spread
            continue
        source, *tables = x.form.inputs
        stack.append((source, spread or is_larger(x.shape, source.shape)))
        stack += [(table, False) for table in tables]


def is_larger(a: Sequence[Extent], b: Sequence[Extent]) -> bool:
    """Whether shape `a` has more elements than `b`, as far as the hints tell."""
    return size_hint(a) > size_hint(b)


def size_hint(shape: Sequence[Extent], unknown: int = 64) -> int:
    """About how many elements a shape has; a size without a hint counts as `unknown`."""
    size = product(shape)
    return size if isinstance(size, int) else extent_hint(size, unknown)


def extent_hint(extent: Extent, unknown: int = 64) -> int:
    """About how large an extent is."""
    if isinstance(extent, Dim):
        values = {s.name: s.hint or unknown for s in extent.symbols()}
        extent = substitute(extent, values)
    assert isinstance(extent, int)
    return extent


def live_forms(program: FormProgram) -> list[Form]:
    """The forms that an output needs, and the steps without results, in order."""
    needed = set(program.outputs)
    live: list[Form] = []
    for form in reversed(program.forms):
        if not form.outputs or not needed.isdisjoint(form.outputs):
            needed.update(form.inputs)
            live.append(form)
    live.reverse()
    return live


def is_empty(form: Form) -> bool:
    """Whether there is not one element to compute; steps that may fail run all the same."""
    computes = isinstance(form, (*INLINE, nodes.Constant, nodes.Reduce, nodes.Contract, nodes.Scan))
    return computes and all(has_no_element(x) for x in form.outputs)


def is_of_nothing(form: Form) -> bool:
    """Whether a form has elements, but what it folds has none."""
    return any(map(has_no_element, form.inputs)) and not any(map(has_no_element, form.outputs))


def additions(*roots: Expression) -> int:
    """What expressions take together, in additions."""
    return sum(COSTS.get(x.name, 1) for x in walk(*roots) if isinstance(x, Apply))
