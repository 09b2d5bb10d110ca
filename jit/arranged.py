"""Forms as a target computes them best: the rewrites between a graph's forms and their launches."""

from __future__ import annotations

from functools import partial

from jit.forms.convolutions import convolved
from jit.forms.matrices import leads
from jit.forms.permuted import permuted
from jit.forms.program import FormProgram
from jit.forms.reshaped import in_one_shape
from jit.target import Target


def arranged(forms: FormProgram, target: Target) -> FormProgram:
    """The same program, as a target computes it best.

    A processor's contractions write their axes as readers want them. Where libraries compute
    convolutions these have channels last, and where they compute products, what a reshape stands
    between has one shape.
    """
    if not target.is_gpu:
        return permuted(forms)
    if target.convolutions:
        forms = convolved(forms)
    if target.products:
        alone = partial(leads, origins=forms.origins, precision=target.products)
        forms = in_one_shape(forms, alone)
    return forms
