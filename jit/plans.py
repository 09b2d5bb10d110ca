"""Plans on the disk: what was compiled before needs no planner, no kernels, only their code.

An entry holds a program whose kernels are bare (what a launch has to know of them), the keys of
their code, and what was guessed of sizes. It is found by the text of the forms, the target and all
sources of this package. Without the code of each kernel, in memory or on the disk, it is nothing.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from jit.config import config
from jit.dims import Guess, free_symbols, note
from jit.forms import nodes
from jit.forms.nodes import Form
from jit.forms.program import UNPRINTED, FormProgram
from jit.loops.ir import Check, Kernel
from jit.runtime.binding import Pairs
from jit.runtime.cache import disk_cache
from jit.runtime.library import LOOPS, Address, library, toolchain
from jit.runtime.program import Program
from jit.target import Target
from jit.types import TensorType, dtypes

MOST = 2_000  # forms: of larger programs the text takes long, and they seldom come again
LARGEST = 1 << 16  # bytes of a constant
MODULES = ("jit", "numpy")  # the packages that classes of a plan are in
ARRAYS = {
    (module, name)
    for module in ("numpy._core.multiarray", "numpy._core.numeric")
    for name in ("_reconstruct", "_frombuffer", "scalar")
}


@dataclass(frozen=True)
class Plan:
    """What a graph became.

    Attributes:
        program: Launches over slots, in their order.
        outputs: For each result of the graph its type, where that is not the slot's.
        guesses: What was guessed of sizes.
    """

    program: Program
    outputs: list[TensorType | None]
    guesses: list[Guess]


def plan_key(forms: FormProgram, donate: Pairs, target: Target) -> str | None:
    """What a plan is found by; None where it is not kept."""
    settings = config()
    if disk_cache() is None or settings.debug >= LOOPS or settings.dump:  # all stages are shown
        return None
    if len(forms.forms) > MOST or not all(map(is_kept, forms.forms)):
        return None
    parts = (*words(forms), repr(donate), target.key, str(target.registers), toolchain(), sources())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def recall(key: str, target: Target) -> tuple[Plan, dict[Kernel, Address]] | None:
    """A plan of before with the addresses of its kernels, if it is there with all of their code."""
    disk = disk_cache()
    entry = disk.get(key) if disk else None
    if entry is None:
        return None
    plan, keys = Reader(io.BytesIO(entry)).load()
    key_of = dict(zip(kernels_of(plan.program), keys, strict=True))  # two may have one code
    found = library().known({each: kernel.name for kernel, each in key_of.items()})
    if found is None:
        return None
    for guess in plan.guesses:
        note(guess)
    return plan, {kernel: found[each] for kernel, each in key_of.items()}


def keep(key: str, plan: Plan, addresses: Mapping[Kernel, Address]) -> None:
    """Keeps a plan, whose kernels have code at these addresses."""
    bare = {id(kernel): without_loops(kernel) for kernel in addresses}
    file = io.BytesIO()
    Writer(file, bare).dump((plan, [address.code.key for address in addresses.values()]))
    if disk := disk_cache():
        disk.put(key, file.getvalue())


def kernels_of(program: Program) -> list[Kernel]:
    """Each kernel of a program, once."""
    return list(dict.fromkeys([launch.kernel for launch in program.launches()]))


def without_loops(kernel: Kernel) -> Kernel:
    """A kernel of which only those statements are left that may make a launch fail."""
    return replace(kernel, body=tuple([x for x in kernel.statements() if isinstance(x, Check)]))


class Writer(pickle.Pickler):
    """Writes bare kernels in place of others, and dtypes by their names: there is one of each."""

    def __init__(self, file: io.BytesIO, bare: dict[int, Kernel]) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self._bare = bare

    def persistent_id(self, obj: Any) -> Any:
        """How an object is named instead of being written."""
        return obj.name if isinstance(obj, np.dtype) else None

    def reducer_override(self, obj: Any) -> Any:
        """How an object is written; as always, if nothing is said."""
        if isinstance(obj, Kernel) and (bare := self._bare.get(id(obj))) is not None:
            return bare.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
        return NotImplemented


class Reader(pickle.Unpickler):
    """Reads what a Writer has written: data of this package and arrays, no functions."""

    def find_class(self, module: str, name: str) -> Any:
        """A class that an entry names.

        Raises:
            UnpicklingError: It is none of those that a plan is made of.
        """
        known = module.partition(".")[0] in MODULES
        found = super().find_class(module, name) if known else None
        if isinstance(found, type) or (module, name) in ARRAYS:
            return found
        raise pickle.UnpicklingError(f"{module}.{name} is no part of a plan")

    def persistent_load(self, pid: Any) -> Any:
        """What is named."""
        return dtypes[pid]


def is_kept(form: Form) -> bool:
    """Whether text tells what a form is: no function of the host, no large array."""
    if isinstance(form, nodes.Extern | nodes.Call):
        return False
    if isinstance(form, nodes.Loop):
        return all(map(is_kept, form.program.forms))
    return not isinstance(form, nodes.Constant) or form.value.nbytes <= LARGEST


def words(program: FormProgram) -> Iterator[str]:
    """All that a plan depends on, and what people are told of it."""
    extents = [extent for form in program.forms for type_ in form.types for extent in type_.shape]
    for symbol in free_symbols(extents):
        yield f"{symbol.name} {symbol.hint} {symbol.lo} {symbol.hi}"
    for form in program.forms:
        yield " ".join(form_words(form))
        if isinstance(form, nodes.Loop):
            yield from words(form.program)
        origin = program.origins.get(form)
        yield f"{origin.op.name} {origin.source}" if origin else ""
    yield from map(str, program.inputs)
    yield from map(str, program.outputs)


def form_words(form: Form) -> Iterable[str]:
    """What a form is."""
    yield type(form).__name__
    for value in form.inputs:
        yield value.name
    for value in form.outputs:
        yield f"{value.name}: {value.type}"
    for own in fields(form):
        if own.name not in UNPRINTED and own.name != "program":
            yield spelled(getattr(form, own.name))


def spelled(x: Any) -> str:
    """A field of a form, every bit of it."""
    if isinstance(x, np.ndarray):
        return f"{x.dtype.name}{x.shape}{x.tobytes().hex()}"
    return x.name if hasattr(x, "name") else f"{x}" if hasattr(x, "at") else repr(x)


@cache
def sources() -> str:
    """Which sources of this package these are, as Python tells what it compiles anew; who reads."""
    package, digest = Path(__file__).parent, hashlib.sha256()
    digest.update(f"Python {sys.version} NumPy {np.__version__}\n".encode())
    for path in sorted(package.rglob("*.py")):
        status = path.stat()
        line = f"{path.relative_to(package)} {status.st_size} {status.st_mtime_ns}\n"
        digest.update(line.encode())
    return digest.hexdigest()
