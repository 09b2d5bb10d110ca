"""Turns at once: loops that hand nothing on are forms with an axis more, one index for each turn.

    loop(x) {count=n, stacked} of t: y = x[n - 1 - t]      ->      y[i0, ...] = x[n - 1 - i0, ...]

What backward passes of recurrent nets cut up, turn round and put together again costs nothing then.
"""

from __future__ import annotations

from collections.abc import Sequence

from jit.dims import Dim, Extent, rewrite
from jit.dims.algebra import Atom, Symbol
from jit.forms import nodes
from jit.forms.forms import FormBuilder
from jit.forms.index import IndexMap
from jit.forms.nodes import Form, FormValue
from jit.forms.program import FormProgram
from jit.ir.loop import COUNTER


def turns_at_once(
    form: FormBuilder, program: FormProgram, given: Sequence[FormValue], count: Extent
) -> tuple[FormValue, ...] | None:
    """The stacked results of a loop without carries.

    Args:
        form: The builder.
        program: The body.
        given: What it reads, the same in each turn.
        count: How many turns there are.

    Returns:
        None where the body does more than to move values and to compute them one by one.
    """
    start = len(form.forms)
    turns = _Turns(form, program, given, count)
    if all(map(turns.add, program.forms)):
        return tuple([turns.of_all(x) for x in program.outputs])
    del form.forms[start:]
    return None


class _Turns:
    """Forms of all turns in the making.

    Attributes:
        values: What stands for each value of the body, and whether it has the axis of turns.
    """

    def __init__(
        self, form: FormBuilder, program: FormProgram, given: Sequence[FormValue], count: Extent
    ) -> None:
        self.form, self.count = form, count
        self.values = {x: (y, False) for x, y in zip(program.inputs, given, strict=True)}

    def add(self, form: Form) -> bool:
        """Adds a form of the body; False if that cannot be."""
        match form:
            case nodes.Source():
                return True
            case nodes.Constant():
                made = self.form.emit(nodes.Constant((), form.types, form.value))
                self.values[form.outputs[0]] = made[0], False
            case nodes.View() | nodes.Index() if not form.map.tables:
                self._mapped(form)
            case nodes.Pointwise():
                self._pointwise(form)
            case _:
                return False
        return True

    def of_all(self, x: FormValue) -> FormValue:
        """A value of the body in all turns."""
        value, varies = self.values[x]
        if varies:
            return value
        return self.form.view(value, (self.count, *x.shape), lambda t, *at: at)

    def _mapped(self, form: nodes.View | nodes.Index) -> None:
        source, varies = self.values[form.inputs[0]] if form.inputs else (None, False)
        counts = COUNTER in [s for x in extents_of(form.map) for s in names_in(x)]
        shape = (self.count, *form.map.shape) if varies or counts else form.map.shape
        more = len(shape) - len(form.map.shape)

        def at(*loops: Extent) -> list[Extent]:
            own = [self._shifted(x, loops, more) for x in form.map.at]
            return [loops[0], *own] if varies else own

        def where(*loops: Extent) -> list[tuple[Extent, Extent]]:
            return [(self._shifted(x, loops, more), n) for x, n in form.map.where]

        map = IndexMap.of(shape, at, where)
        type_ = form.types[0].with_shape(shape)
        if isinstance(form, nodes.Index):
            made = self.form.emit(nodes.Index((), (type_,), map))
        else:
            assert source is not None
            made = self.form.emit(nodes.View((source,), (type_,), map, form.fill))
        self.values[form.outputs[0]] = made[0], more > 0

    def _pointwise(self, form: nodes.Pointwise) -> None:
        varies = any(self.values[x][1] for x in form.inputs)
        inputs = [self.of_all(x) if varies else self.values[x][0] for x in form.inputs]
        types = (form.types[0].with_shape(inputs[0].shape),) if inputs else form.types
        made = self.form.emit(nodes.Pointwise(tuple(inputs), types, form.scalar))
        self.values[form.outputs[0]] = made[0], varies

    @staticmethod
    def _shifted(x: Extent, loops: Sequence[Extent], more: int) -> Extent:
        """An expression of the body's loops over those of all turns."""

        def by(atom: Atom) -> Extent | None:
            name = atom.name if isinstance(atom, Symbol) else ""
            if name == COUNTER and more:
                return loops[0]
            return loops[int(name[1:]) + more] if name[:1] == "i" and name[1:].isdigit() else None

        return rewrite(x, by) if isinstance(x, Dim) else x


def extents_of(map: IndexMap) -> list[Extent]:
    """All expressions of a map."""
    return [*map.at, *[x for x, _ in map.where]]


def names_in(x: Extent) -> list[str]:
    """The symbols of an expression."""
    return [s.name for s in x.symbols()] if isinstance(x, Dim) else []
