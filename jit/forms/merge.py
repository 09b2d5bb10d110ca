"""Merging: forms that compute the same are one form.

A composite op and its pullback say the same things again, such as the mean of a row; in forms that
shows, whatever ops it came from.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np

from jit.dims import Atom, Extent, rewrite
from jit.forms import nodes
from jit.forms.index import Load
from jit.forms.nodes import Form, FormValue
from jit.forms.program import FormProgram

# Steps of their own; one that the host does may do something besides.
KEPT = (nodes.Source, nodes.Extern, nodes.Loop, nodes.Call, nodes.Guard)


def merged(program: FormProgram) -> FormProgram:
    """The same program with every form computed once."""
    instead: dict[FormValue, FormValue] = {}
    known: dict[Any, Form] = {}
    forms: list[Form] = []
    origins = dict(program.origins)
    for form in program.forms:
        new = with_inputs(form, instead)
        if not isinstance(form, KEPT):
            new = known.setdefault(key_of(new), new)
        if new is not form:
            instead.update(zip(form.outputs, new.outputs, strict=True))
            if form in origins:
                origins.setdefault(new, origins[form])
        forms.append(new)
    unique = tuple(dict.fromkeys(forms))
    outputs = tuple([instead.get(x, x) for x in program.outputs])
    return FormProgram(program.inputs, unique, outputs, origins)


def with_inputs(form: Form, instead: dict[FormValue, FormValue]) -> Form:
    """`form` on other inputs; an index map names its tables too, which come last."""
    inputs = tuple([instead.get(x, x) for x in form.inputs])
    if all(a is b for a, b in zip(inputs, form.inputs)):
        return form
    if isinstance(form, nodes.View | nodes.Index | nodes.Scatter):
        own = form.inputs[: len(form.inputs) - len(form.map.tables)]
        map = form.map
        if map.tables:
            map = map.rewritten(lambda atom: other_table(atom, instead))
        inputs = (*[instead.get(x, x) for x in own], *map.tables)
        new: Form = replace(form, inputs=inputs, map=map)
    else:
        new = replace(form, inputs=inputs)
    for old, value in zip(form.outputs, new.outputs):
        value.name = old.name
    return new


def other_table(atom: Atom, instead: dict[FormValue, FormValue]) -> Extent | None:
    """The same load from another table, for a load whose table has been merged."""
    if not isinstance(atom, Load) or not isinstance(atom.table, FormValue):
        return None
    if atom.table not in instead:
        return None
    at = [rewrite(x, lambda inner: other_table(inner, instead)) for x in atom.at]
    return Load(instead[atom.table], tuple(at)).as_dim()


def key_of(form: Form) -> tuple[Any, ...]:
    """What tells a form from others that compute something else."""
    own = (field.name for field in fields(form))
    return (type(form), *(comparable(getattr(form, name)) for name in own))


def comparable(x: Any) -> Any:
    """A value as a key: arrays by their bytes."""
    if isinstance(x, np.ndarray):
        return x.dtype.str, x.shape, x.tobytes()
    if isinstance(x, float):
        return repr(x)  # nan equals itself, and -0.0 is not 0.0
    return x
