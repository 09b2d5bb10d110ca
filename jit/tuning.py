"""Tuning: of the tilings that a product's cost model likes best, the one that is fastest here.

Only where JIT_AUTOTUNE=1 asks for it, and sizes are known. Kernels of some tilings are made, and
timed in turns on numbers of no meaning; one that is clearly faster than the first takes its place.
What was chosen is remembered, in the process and on the disk, by the text of all these kernels, the
machine, the tools, and the number of threads: later processes time nothing, and make one kernel.
No result depends on it, as all tilings sum in one order.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from jit.config import config
from jit.errors import LaunchFailed
from jit.loops.nests import ADDITION, Naive
from jit.runtime.cache import disk_cache
from jit.runtime.cpu import host_target
from jit.runtime.executable import Executable
from jit.runtime.library import content_key, library
from jit.runtime.program import Launch, Program, Slot
from jit.runtime.tuned import tuning
from jit.target import Target
from jit.types import kind

TRIED = 8  # tilings of a product
ROUNDS = 7  # in which each has its turn; what counts is its fastest one
SECONDS, MOST = 1e-3, 100  # of a turn: about how long, and how many runs at most
CLEARLY = 0.97  # of the time of the first: less than that, and it is no accident
COMPILATIONS = 1  # the level of JIT_DEBUG that says what was tried

_choices: dict[str, str] = {}  # what was chosen, by what it is remembered by


def forget() -> None:
    """Drops what this process has chosen."""
    _choices.clear()


def fastest(
    candidates: Mapping[str, Naive], target: Target, clock: Callable[[], float] = time.perf_counter
) -> Naive:
    """The kernel that takes least, or the first one where that is hardly more.

    Args:
        candidates: Kernels that compute the same, by what people are told of them; the one that
            the cost model likes best comes first.
        target: What they are for; nothing is timed for other machines, or in a hurry.
        clock: Gives seconds.
    """
    names = {identity(naive, target): name for name, naive in reversed([*candidates.items()])}
    found = {identity(naive, target): naive for naive in candidates.values()}
    first = next(iter(candidates.values()))
    here = target.key == host_target().key  # and in no hurry
    if not here or len(found) == 1 or not all(map(can_be_timed, found.values())):
        return first
    text = "\0".join(("tuning", tuning(), *found))
    key, disk = hashlib.sha256(text.encode()).hexdigest(), disk_cache()
    chosen = _choices.get(key)
    if chosen is None and disk and (entry := disk.get(key)):
        chosen = entry.decode(errors="replace")
    if chosen not in found:
        seconds = times(found, target, clock)
        if not seconds:
            return first
        (_, usual), *_ = seconds.items()
        best = min(seconds, key=seconds.__getitem__)
        chosen = best if seconds[best] < CLEARLY * usual else next(iter(seconds))
        tell(first.kernel.name, {names[x]: each for x, each in seconds.items()}, names[chosen])
        if disk:
            disk.put(key, chosen.encode())
    _choices[key] = chosen
    return found[chosen]


def identity(naive: Naive, target: Target) -> str:
    """What tells a kernel from others: its code, and how many items it has."""
    return f"{content_key(naive.kernel, target)} {naive.kernel.grid}"


def can_be_timed(naive: Naive) -> bool:
    """Whether all sizes are known, and nothing is read that is written."""
    shapes = [value.type.shape for value in naive.values]
    extents = [naive.kernel.grid, *naive.sizes, *[n for shape in shapes for n in shape]]
    apart = all(buffer.access != "inout" for buffer in naive.kernel.buffers)
    return apart and all(isinstance(n, int) for n in extents)


def times(
    found: Mapping[str, Naive], target: Target, clock: Callable[[], float]
) -> dict[str, float]:
    """The seconds that a run of each kernel takes; nothing where one fails on such numbers."""
    kernels = [naive.kernel for naive in found.values()]
    addresses = library().addresses(kernels, target)
    runs = [runner(naive, address) for naive, address in zip(found.values(), addresses)]
    least = dict.fromkeys(found, float("inf"))
    try:
        for run in runs:  # memory is touched, threads have started
            run()
        start = clock()
        runs[0]()
        turns = max(1, min(MOST, int(SECONDS / max(clock() - start, 1e-9))))
        for _ in range(ROUNDS):
            for name, run in zip(found, runs):
                start = clock()
                for _ in range(turns):
                    run()
                least[name] = min(least[name], (clock() - start) / turns)
    except LaunchFailed:
        return {}
    return least


def runner(naive: Naive, address: int) -> Callable[[], Any]:
    """A run of a kernel by itself, over its whole grid."""
    kernel = naive.kernel
    roles = ["input" if buffer.access == "in" else "temporary" for buffer in kernel.buffers]
    slots = [Slot(value.type, role) for value, role in zip(naive.values, roles, strict=True)]
    sizes: tuple[Any, ...] = naive.sizes
    launch = Launch(kernel, tuple(range(len(slots))), sizes, cost=naive.work * ADDITION)
    inputs, outputs = list(kernel.read), list(kernel.written)
    program = Program("tuning", slots, inputs, [launch], outputs)
    types = [slots[k].type for k in inputs]
    arrays = [np.full(x.shape, kind(x.dtype) == "floating", x.dtype) for x in types]
    return partial(Executable(program, {kernel: address}), arrays)


def tell(name: str, seconds: Mapping[str, float], chosen: str) -> None:
    """Level 1 of JIT_DEBUG: what was tried, and what is taken."""
    if config().debug >= COMPILATIONS:
        tried = ", ".join(f"{tiling} {1e6 * each:.1f} us" for tiling, each in seconds.items())
        sys.stderr.write(f"# kernel {name}: tuned, {tried}; taken: {chosen}\n")
