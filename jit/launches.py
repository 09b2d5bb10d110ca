"""Launches: what a graph after all passes becomes, planned or found on the disk."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from jit.dims import Guess, guessing, note, recording_guesses
from jit.errors import NoNativeCode
from jit.forms import nodes
from jit.forms.program import FormProgram
from jit.keys import plan_key
from jit.loops.ir import Kernel
from jit.merging import merged
from jit.ordering import ordered
from jit.passes.base import Stages
from jit.planner import plan
from jit.plans import Plan, keep, kernels_of, recall
from jit.runtime.binding import Pairs
from jit.runtime.library import Address, library
from jit.target import Target

if TYPE_CHECKING:
    from jit.runtime.gpu import GpuExecutable

LOOPS = 4  # the level of JIT_DEBUG from which forms and launches are shown


def for_host(
    name: str, forms: FormProgram, donate: Pairs, target: Target, stages: Stages, *, search: bool
) -> tuple[Plan, dict[Kernel, Address]]:
    """A program for this computer's processor, with the addresses of its kernels.

    Args:
        name: For people.
        forms: What is computed.
        donate: As `jit.compile` takes it.
        target: The processor.
        stages: Where launches are shown.
        search: Whether the disk may have a plan of these forms.
    """
    key = plan_key(forms, donate, target) if search else None
    known = recall(key, target) if key else None
    if known is None:
        made = planned(name, forms, donate, target)
        stages.show("launches", made.program, LOOPS)
        kernels = kernels_of(made.program)
        known = made, dict(zip(kernels, library().addresses(kernels, target), strict=True))
        if key:
            keep(key, *known)
    return known


def for_gpu(
    name: str, forms: FormProgram, donate: Pairs, target: Target, stages: Stages, gpu: int
) -> tuple[Plan, GpuExecutable, dict[str, int]]:
    """A program for a GPU, and how many kernels it has."""
    from jit.runtime import gpu_code
    from jit.runtime.gpu import GpuExecutable  # loaded where there is a GPU

    loops = [form for form in forms.forms if isinstance(form, nodes.Loop)]
    if any(form.going is not None or not isinstance(form.count, int) for form in loops):
        raise NoNativeCode("a loop of which only its values, or its sizes, tell how long it is")
    made = planned(name, forms, donate, target)
    made.program.steps = list(merged(made.program, donate, target))
    stages.show("launches", made.program, LOOPS)
    needed = [launch.kernel for launch in made.program.launches() if not launch.is_for_library]
    kernels, codes = [*dict.fromkeys(needed)], gpu_code.Codes(target)
    gpu_code.prepare(kernels, target)
    codes.update({kernel: gpu_code.gpu_code(kernel, target) for kernel in kernels})
    return made, GpuExecutable(made.program, codes, gpu), {"for the GPU": len({*codes.values()})}


def planned(name: str, forms: FormProgram, donate: Pairs, target: Target) -> Plan:
    """The launches that compute forms, in the order that suits what is donated."""
    guesses: list[Guess] = []
    with recording_guesses(guesses) if guessing() else nullcontext():
        made = plan(name, forms, target)
        made.program.steps = ordered(made.program, donate)
    for guess in guesses:
        note(guess)
    return Plan(made.program, made.outputs, guesses)
