"""Forms, and groups of their tasks, as a target computes them best: what is planned."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from jit.forms.chains import Step, chained
from jit.forms.convolutions import convolved
from jit.forms.epilogues import with_epilogues
from jit.forms.fuse import fuse
from jit.forms.matrices import leads
from jit.forms.permuted import permuted
from jit.forms.placement import Placement
from jit.forms.program import FormProgram
from jit.forms.reshaped import in_one_shape
from jit.forms.tasks import Task
from jit.forms.unstored import with_less_stored
from jit.target import Target


def arranged(forms: FormProgram, target: Target) -> FormProgram:
    """The same program, as a target computes it best.

    A processor's contractions write their axes as readers want them. Where libraries compute
    convolutions these have channels last, and where they compute products, what a reshape stands
    between has one shape.
    """
    if not target.is_gpu:
        forms = permuted(forms)
    if target.convolutions:
        forms = convolved(forms)
    if target.is_gpu and target.products:
        alone = partial(leads, origins=forms.origins, precision=target.products)
        forms = in_one_shape(forms, alone)
    return forms


def grouped(
    tasks: Iterable[Task], placement: Placement, target: Target, *, inner: bool
) -> list[Step]:
    """What is launched, in the order in which it runs.

    Args:
        tasks: What is computed.
        placement: Which values lie in memory.
        target: The machine.
        inner: Whether these are of the body of a loop.
    """
    groups = fuse(tasks, many=target.is_gpu)
    if (target.products or target.convolutions) and not inner:
        groups = [*with_epilogues(groups, placement)]
    if target.is_gpu:
        groups = with_less_stored(groups, placement)
    # the matrices between products are too large for a GPU's registers
    return [*groups] if target.is_gpu else chained(groups, placement)
