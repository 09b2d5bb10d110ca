"""Which algorithm of cuBLASLt computes a product: each candidate is timed once, on the device.

What is chosen was right when it was tried (`cublas_trial`); where nothing is, kernels of our own
compute the product, and a warning says so. An epilogue is used with the algorithm of its product,
if it gives the very bits that are computed without it and saves time. The choice is remembered, in
the process and on the disk, by the product, the device and the library's version. Eager and
compiled code ask here, so both have the same bits.
"""

from __future__ import annotations

import ctypes
import hashlib
import math
import threading
import warnings
from dataclasses import replace
from typing import Any

from jit.config import config
from jit.dataclass import dataclass
from jit.errors import OutOfMemoryError
from jit.runtime.cache import DiskCache, disk_cache
from jit.runtime.cublas import Algorithm, Multiply, Product, library, version
from jit.runtime.cublas_trial import Trial
from jit.runtime.cuda import cupy
from jit.runtime.library_call import LibraryCall

CLEARLY = 0.97  # of the time of the one before: less than that, and it is no accident
SAVED = 1e-6  # seconds of the launch that an epilogue saves, at least
NONE = b"none"  # on the disk, of an epilogue: it is not used


@dataclass(frozen=True)
class Choice(LibraryCall):
    """A product with its algorithm.

    Attributes:
        multiply: The product.
        algorithm: How it is computed.
    """

    multiply: Multiply
    algorithm: Algorithm

    @property
    def workspace(self) -> int:
        """How many bytes it needs beside the arrays."""
        return self.algorithm.workspace

    @property
    def by_python(self) -> bool:
        """Whether only Python can launch it, who tells the library where the bias is."""
        return bool(self.multiply.product.epilogue)

    def launch(self, stream: int, parameters: int) -> None:
        """Puts it on a stream; see `LibraryCall.launch`."""
        first = ctypes.c_int64.from_address(parameters).value
        words = ctypes.c_int64 * (5 if self.by_python else 4)
        self.multiply(self.algorithm, *words.from_address(first), stream=stream)

    def words(self, held: list[Any]) -> list[int]:
        """What native code calls, see `Multiply.words`; what it needs joins what is held."""
        held.append(self)
        words = self.algorithm.words
        algorithm = (ctypes.c_uint64 * (len(words) // 8)).from_buffer_copy(words)
        held.append(algorithm)
        return [*self.multiply.words(), ctypes.addressof(algorithm), self.workspace]


_choices: dict[tuple[Product, int, bool], Choice | None] = {}
_lock = threading.RLock()


def chosen(product: Product, device: int) -> Choice | None:
    """How a product is computed on a device; None where the library cannot do it."""
    key = product, device, config().timing
    if key not in _choices:
        choose = followed if product.epilogue else alone
        with _lock, cupy().cuda.Device(device):
            if key not in _choices:
                _choices[key] = choose(product, device)
    return _choices[key]


def forget() -> None:
    """Drops what this process has chosen."""
    _choices.clear()


def alone(product: Product, device: int) -> Choice | None:
    """The choice for a product without an epilogue."""
    if library() is None:
        return None
    try:
        multiply = Multiply(product, device)
        found = multiply.algorithms()
        best = remembered(multiply, found, device) if found else None
    except RuntimeError as error:
        warn(product, f"refuses ({error})")
        return None
    if found and best is None:
        warn(product, "has no algorithm that computes rightly")
    return Choice(multiply, best) if best else None


def remembered(multiply: Multiply, found: list[Algorithm], device: int) -> Algorithm | None:
    """The choice of before, or else one among what the library proposes; None if none is right."""
    disk, key = disk_cache(), key_of(multiply.product, device)
    best = known(disk, key, found)
    if best is None:
        try:
            best = fastest(multiply, found)
        except OutOfMemoryError:  # then the library's own estimate has to do
            return found[0]
        if disk and best is not None:
            disk.put(key, best.words)
    return best


def followed(product: Product, device: int) -> Choice | None:
    """The choice for a product with an epilogue; None where both are computed apart."""
    plain = chosen(replace(product, epilogue=""), device)
    if plain is None:
        return None
    disk, key = disk_cache(), key_of(product, device, plain.algorithm.words)
    entry = disk.get(key) if disk else None
    if entry == NONE:
        return None
    try:
        multiply = Multiply(product, device)
        algorithm = multiply.admitted(plain.algorithm)
        fused = Choice(multiply, algorithm) if algorithm else None
        if fused and entry != fused.algorithm.words and not is_better(plain, fused):
            fused = None
    except (OutOfMemoryError, RuntimeError):  # no room to try it, or a version without it
        return None
    if disk and entry is None:
        disk.put(key, fused.algorithm.words if fused else NONE)
    return fused


def is_better(plain: Choice, fused: Choice) -> bool:
    """Whether an epilogue gives the bits of the product and what follows, and saves time."""
    trial = Trial(fused.multiply.product, max(plain.workspace, fused.workspace))
    first, second = [(each.multiply, each.algorithm) for each in (plain, fused)]
    if config().timing and trial.seconds(*second) > trial.seconds(*first) + SAVED:
        return False
    return trial.is_same(first, second)


def key_of(product: Product, device: int, algorithm: bytes = b"") -> str:
    """What a choice is remembered by."""
    name = cupy().cuda.runtime.getDeviceProperties(device)["name"]
    text = f"{product!r}\0{name!r}\0{version()}\0{config().timing}\0{algorithm!r}"
    return hashlib.sha256(text.encode()).hexdigest()


def known(disk: DiskCache | None, key: str, found: list[Algorithm]) -> Algorithm | None:
    """The choice of before among what the library proposes."""
    entry = disk.get(key) if disk else None
    return next((each for each in found if each.words == entry), None)


def fastest(multiply: Multiply, found: list[Algorithm]) -> Algorithm | None:
    """Of the candidates that are right, the one that takes least; or one before with hardly more.

    Where nothing is to be timed, the first one that is right.
    """
    best, least = None, math.inf
    trial = Trial(multiply.product, max(each.workspace for each in found))
    for each in found:
        seconds = trial.seconds(multiply, each) if config().timing else 0.0
        if seconds < CLEARLY * least and trial.is_right(multiply, each):
            best, least = each, seconds
    return best


def warn(product: Product, what: str) -> None:
    """Says that the library is of no use for a product."""
    batch, rows, columns, inner = product.sizes
    sizes = f"{batch} x [{rows}, {inner}] times [{inner}, {columns}]"
    warnings.warn(
        f"cuBLASLt {what}: {product.dtype} {sizes}. Kernels of dualflow compute it instead.",
        RuntimeWarning,
        stacklevel=2,
    )
