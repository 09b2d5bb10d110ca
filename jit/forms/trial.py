"""Trial: whether an op will fail by values, found out before all of its arguments are known.

Code fails only where it looks something up by indices that are loaded from an array. Those arrays
alone decide, so the rest of an op may be computed later, by whatever code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from jit.errors import IndexError
from jit.forms import nodes
from jit.forms.exact import telling
from jit.forms.forms import FormBuilder
from jit.forms.native import has_code
from jit.forms.nodes import Form, FormValue
from jit.ir.op import OpDef
from jit.types import TensorType

Array = np.ndarray[Any, Any]
Lookup = nodes.View | nodes.Scatter
LIGHT = (nodes.Source, nodes.Constant, nodes.Index, nodes.Pointwise, nodes.View)  # to compute twice


class Trial:
    """What has to be looked up of an op before it may be put off.

    Attributes:
        asked: The positions of the arguments whose values decide; none: it cannot fail.
    """

    def __init__(
        self, sources: Sequence[FormValue], forms: list[Form], lookups: list[Lookup]
    ) -> None:
        found = {value for form in forms for value in form.outputs}
        self.asked = tuple([k for k, source in enumerate(sources) if source in found])
        self._sources = [sources[k] for k in self.asked]
        self._forms = [form for form in forms if not isinstance(form, nodes.Source)]
        self._lookups = lookups

    def passes(self, arrays: Sequence[Array]) -> bool:
        """Whether the op does not fail for these values of the arguments that are asked."""
        from jit.forms.reference import Reference  # loaded when something is tried

        reference = Reference()
        reference.arrays.update(zip(self._sources, arrays, strict=True))
        try:
            for form in self._forms:
                reference.run(form)
            for form in self._lookups:
                shape = tuple(map(int, form.inputs[0].shape))
                form.map.evaluate(shape, {}, reference.arrays, checked=True)
        except IndexError:
            return False
        return True


def trial_of(op: OpDef, types: Sequence[TensorType], attrs: dict[str, Any]) -> Trial | None:
    """What tells whether an op fails for arguments of these types; None: only computing it does."""
    form = FormBuilder()
    sources = [form.source(type_) for type_ in telling(op, types)]
    op.lower(form, *sources, **attrs)
    if not all(map(has_code, form.forms)):
        return None
    lookups = [x for x in form.forms if isinstance(x, Lookup) and may_miss(x)]
    needed = {table for x in lookups for table in x.map.tables}
    behind = []
    for made in reversed(form.forms):
        if not needed.isdisjoint(made.outputs):
            behind.append(made)
            needed.update(made.inputs)
    return Trial(sources, behind[::-1], lookups) if all(map(is_light, behind)) else None


def may_miss(form: Lookup) -> bool:
    """Whether code checks where it reads or writes, because indices come from an array."""
    allowed = form.dropped if isinstance(form, nodes.Scatter) else form.fill is not None
    return bool(form.map.tables) and not allowed


def is_light(form: Form) -> bool:
    """Whether NumPy computes it in one step."""
    return isinstance(form, LIGHT)
