"""Which plan of cuDNN computes a convolution: each candidate is timed once, on the device.

As `cublas_choice` does for products: what is chosen was right when it was tried, and is remembered
by the convolution, the device and the library's version, in the process and on the disk. A plan
must take less time than kernels of our own, too. An epilogue is used if a plan gives the very bits
of the convolution and what follows it. Eager and compiled code ask here, so both have the same
bits.
"""

from __future__ import annotations

import ctypes
import hashlib
import math
import threading
import warnings
from collections.abc import Callable
from dataclasses import replace

from jit.config import config
from jit.dataclass import dataclass
from jit.errors import OutOfMemoryError
from jit.runtime.cache import disk_cache
from jit.runtime.cublas_choice import CLEARLY, NONE, SAVED
from jit.runtime.cuda import cupy
from jit.runtime.cudnn import Convolve, Convolving, Plan, frontend, version
from jit.runtime.cudnn_trial import Trial
from jit.runtime.library_call import LibraryCall
from jit.types import dtypes

COPIED = 4e12  # bytes that a launch of its own reads and writes in a second, at most


@dataclass(frozen=True)
class Convolved(LibraryCall):
    """A convolution with its plan.

    Attributes:
        convolve: The convolution.
        plan: How it is computed.
    """

    convolve: Convolve
    plan: Plan

    @property
    def workspace(self) -> int:
        """How many bytes it needs beside the arrays."""
        return self.plan.workspace

    @property
    def by_python(self) -> bool:
        """Whether only Python can launch it: the library is called through Python."""
        return True

    def launch(self, stream: int, parameters: int) -> None:
        """Puts it on a stream; see `LibraryCall.launch`."""
        first = ctypes.c_int64.from_address(parameters).value
        words = ctypes.c_int64 * (5 if self.convolve.epilogue else 4)
        self.convolve(self.plan, *words.from_address(first), stream=stream)


_choices: dict[tuple[Convolving, int, bool], Convolved | None] = {}
_lock = threading.RLock()
Own = Callable[[], float]  # seconds that kernels of our own take


def chosen(job: Convolving, device: int, own: Own) -> Convolved | None:
    """How a convolution is computed on a device; None where kernels of our own do it."""
    key = job, device, config().timing
    if key not in _choices:
        with _lock, cupy().cuda.Device(device):
            if key not in _choices:
                _choices[key] = known_or_tried(job, device, own)
    return _choices[key]


def forget() -> None:
    """Drops what this process has chosen."""
    _choices.clear()


def known_or_tried(job: Convolving, device: int, own: Own) -> Convolved | None:
    """The choice of before, or else what trials tell, which is remembered."""
    if frontend() is None:
        return None
    plain = chosen(replace(job, epilogue=""), device, own) if job.epilogue else None
    if job.epilogue and plain is None:
        return None
    disk, key = disk_cache(), key_of(job, device, plain.plan.name if plain else "")
    entry = disk.get(key) if disk else None
    if entry == NONE:
        return None
    try:
        convolve = Convolve(job, device)
        found = convolve.plans(entry.decode() if entry else None)
        if entry and found:
            return Convolved(convolve, found[0])
        found = found or Convolve(job, device).plans()
        made = tried(convolve, found, own) if plain is None else followed(convolve, found, plain)
    except OutOfMemoryError:  # no room to try it, now
        return None
    except RuntimeError as error:
        if plain is None:
            warn(job, f"refuses ({error})")
        return None
    if disk:
        disk.put(key, made.plan.name.encode() if made else NONE)
    return made


def tried(convolve: Convolve, found: list[Plan], own: Own) -> Convolved | None:
    """Of the plans that are right the one that takes least; None where our kernels take less."""
    trial = Trial(convolve.job, max([plan.workspace for plan in found], default=0))
    best, least = None, math.inf
    for plan in found:
        seconds = trial.seconds(convolve, plan) if config().timing else 0.0
        if seconds < CLEARLY * least and trial.is_right(convolve, plan):
            best, least = plan, seconds
    del trial  # our kernels need the room
    if best is None:
        warn(convolve.job, "has no plan that computes rightly")
    elif not config().timing or least < own():
        return Convolved(convolve, best)
    return None


def followed(convolve: Convolve, found: list[Plan], plain: Convolved) -> Convolved | None:
    """A plan with an epilogue that has the bits of the plan without and what follows it."""
    job = convolve.job
    size = math.prod(job.convolution.made) * dtypes[job.dtype].itemsize  # type: ignore[arg-type]
    workspace = max([plain.workspace, *[plan.workspace for plan in found]])
    trial, apart = Trial(job, workspace), (plain.convolve, plain.plan)
    most = trial.seconds(*apart) + SAVED + 2 * size / COPIED if config().timing else math.inf
    for plan in found:
        if config().timing and trial.seconds(convolve, plan) > most:
            continue
        if trial.is_same(apart, (convolve, plan)):
            return Convolved(convolve, plan)
    return None


def key_of(job: Convolving, device: int, plain: str) -> str:
    """What a choice is remembered by."""
    name = cupy().cuda.runtime.getDeviceProperties(device)["name"]
    text = f"{job!r}\0{name!r}\0{version()}\0{config().timing}\0{plain}"
    return hashlib.sha256(text.encode()).hexdigest()


def warn(job: Convolving, what: str) -> None:
    """Says that the library is of no use for a convolution."""
    c = job.convolution
    warnings.warn(
        f"cuDNN {what}: {job.dtype} convolution ({c.kind}) of images {[*c.images]}, filters "
        f"{[*c.filters]}, results {[*c.results]}. Kernels of dualflow compute it instead.",
        RuntimeWarning,
        stacklevel=2,
    )
