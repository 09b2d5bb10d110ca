"""Launches: what a graph after all passes becomes, planned or found on the disk."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from jit.config import config
from jit.dims import Guess, guessing, note, recording_guesses
from jit.errors import NoNativeCode
from jit.forms import nodes
from jit.forms.program import FormProgram
from jit.keys import plan_key
from jit.loops.ir import Kernel
from jit.ordering import ordered
from jit.passes.base import Stages
from jit.planner import plan
from jit.plans import Plan, addresses_of, keep, kernels_of, keys_of, recall
from jit.recompute import arena_of, fitted
from jit.runtime.alone import innermost
from jit.runtime.binding import Pairs
from jit.runtime.library import Address, library
from jit.target import Target

if TYPE_CHECKING:
    from jit.runtime.gpu_code import GpuCode

LOOPS = 4  # the level of JIT_DEBUG from which forms and launches are shown


def for_host(
    name: str,
    forms: FormProgram,
    donate: Pairs,
    target: Target,
    memory_limit: int | None,
    stages: Stages,
    *,
    search: bool,
) -> tuple[Plan, dict[Kernel, Address]]:
    """A program for this computer's processor, with the addresses of its kernels.

    Args:
        name: For people.
        forms: What is computed.
        donate: As `jit.compile` takes it.
        target: The processor.
        memory_limit: As `jit.compile` takes it.
        stages: Where launches are shown.
        search: Whether the disk may have a plan of these forms.
    """
    key = plan_key(forms, donate, target, memory_limit) if search else None
    known = recall(key, addresses_of) if key else None
    if known is None:
        made = planned(name, forms, donate, target, memory_limit)
        stages.show("launches", made.program, LOOPS)
        kernels = kernels_of(made.program)
        known = made, dict(zip(kernels, library().addresses(kernels, target), strict=True))
        if key:
            keep(key, made, keys_of(known[1]))
    return known


def for_gpu(
    name: str,
    forms: FormProgram,
    donate: Pairs,
    target: Target,
    memory_limit: int | None,
    stages: Stages,
) -> tuple[Plan, dict[Kernel, GpuCode], dict[Kernel, str]]:
    """A program for a GPU, with code and its keys of kernels that no library may take the place of.

    Raises:
        NoNativeCode: Only the interpreter can run it.
    """
    from jit.runtime import gpu_code  # loaded where there is a GPU

    loops = [form for form in forms.forms if isinstance(form, nodes.Loop)]
    if any(form.going is not None or not isinstance(form.count, int) for form in loops):
        raise NoNativeCode("a loop of which only its values, or its sizes, tell how long it is")
    made = planned_for_gpu(name, forms, donate, target, memory_limit)
    stages.show("launches", made.program, LOOPS)
    launches = [*made.program.launches()]
    kernels = [*dict.fromkeys([x.kernel for x in launches if not x.is_for_library])]
    own = [x.kernel for launch in launches if launch.convolved for x in innermost(launch)]
    # Those in the place of convolutions will be timed: side by side they come sooner.
    gpu_code.prepare([*dict.fromkeys([*kernels, *(own if config().timing else [])])], target)
    keys = {kernel: gpu_code.content_key(kernel, target) for kernel in kernels}
    return made, {kernel: gpu_code.gpu_code(kernel, target) for kernel in kernels}, keys


def planned_for_gpu(
    name: str, forms: FormProgram, donate: Pairs, target: Target, memory_limit: int | None = None
) -> Plan:
    """The launches that compute forms on a GPU: those that need nothing of each other are one.

    To launch them at once may take more memory; where that is beyond the limit, they stay apart.
    """
    from jit.merging import merged  # loaded where there is a GPU

    made = planned(name, forms, donate, target, memory_limit)
    steps, told = [*merged(made.program, donate, target)], made.recomputed
    if told is None:
        made.program.steps = steps
        return made
    room = arena_of(replace(made.program, steps=steps), target)
    if room <= max(told.limit, told.after):
        made.program.steps = steps
        return replace(made, recomputed=replace(told, after=room))
    return made


def planned(
    name: str, forms: FormProgram, donate: Pairs, target: Target, memory_limit: int | None = None
) -> Plan:
    """The launches that compute forms, in the order that suits what is donated, within a limit."""
    guesses: list[Guess] = []
    with recording_guesses(guesses) if guessing() else nullcontext():
        made = plan(name, forms, target)
        made.program.steps = ordered(made.program, donate)
    for guess in guesses:
        note(guess)
    if memory_limit is None:
        return Plan(made.program, made.outputs, guesses)
    program, recomputed = fitted(made.program, donate, target, memory_limit)
    return Plan(program, made.outputs, guesses, recomputed)
