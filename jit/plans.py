"""Plans on the disk: what was compiled before needs no planner, no kernels, only their code.

An entry holds a program whose kernels are bare (what a launch has to know of them), the keys of
their code, and what was guessed of sizes. It is found by the text of the graph as it was given, the
target, the sources of this package and of those that its ops come from; then no pass runs either.
Where the rules of an op may come from anywhere, it is found by the text of the forms instead.
Without the code of each kernel, in memory or on the disk, it is nothing.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

import numpy as np

from jit.config import config
from jit.dataclass import dataclass
from jit.dims import Guess, guessing, note
from jit.ir.call import Body
from jit.ir.graph import Graph, Node
from jit.ir.op import OpDef
from jit.ir.printer import format_graph, is_graph
from jit.loops.ir import Check, Kernel
from jit.report import Recomputed
from jit.runtime.binding import Pairs
from jit.runtime.cache import disk_cache
from jit.runtime.cpu import host
from jit.runtime.library import Address, library
from jit.runtime.program import HostStep, Program
from jit.runtime.sources import sources_of
from jit.runtime.tuned import tuning
from jit.target import Target
from jit.types import TensorType, dtypes

T = TypeVar("T")

MOST = 2_000  # nodes or forms: the text of more takes long, and they seldom come again
PASSES = 2  # the level of JIT_DEBUG from which passes are shown
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
        recomputed: What a limit of memory has led to; None without one.
    """

    program: Program
    outputs: list[TensorType | None]
    guesses: list[Guess]
    recomputed: Recomputed | None = None


def recall(
    key: str, code_of: Callable[[Mapping[Kernel, str]], dict[Kernel, T] | None]
) -> tuple[Plan, dict[Kernel, T]] | None:
    """A plan of before with the code of its kernels, if it is there with all of it.

    Args:
        key: What it was kept by.
        code_of: Gives code of before by the keys that it was kept with; None if some is not there.
    """
    disk = disk_cache()
    entry = disk.get(key) if disk else None
    if entry is None:
        return None
    plan, keys = Reader(io.BytesIO(entry)).load()
    pairs = zip(kernels_of(plan.program), keys, strict=True)  # two may have one code
    found = code_of({kernel: each for kernel, each in pairs if each is not None})
    if found is None:
        return None
    for guess in plan.guesses:
        note(guess)
    return plan, found


def addresses_of(keys: Mapping[Kernel, str]) -> dict[Kernel, Address] | None:
    """The addresses of code of before for this computer's processor."""
    found = library().known({key: kernel.name for kernel, key in keys.items()})
    return None if found is None else {kernel: found[key] for kernel, key in keys.items()}


def keys_of(addresses: Mapping[Kernel, Address]) -> dict[Kernel, str]:
    """The keys of code for this computer's processor."""
    return {kernel: address.code.key for kernel, address in addresses.items()}


def keep(key: str, plan: Plan, keys: Mapping[Kernel, str]) -> None:
    """Keeps a plan, unless it holds what is not kept: what only Python can do, and large arrays.

    Args:
        key: What it is to be found by.
        plan: Is not changed.
        keys: Of the code of its kernels; there need not be code of those that a library computes.
    """
    program = plan.program
    if any(isinstance(step, HostStep) for step in program.steps):
        return
    if any(slot.value is not None and slot.value.nbytes > LARGEST for slot in program.slots):
        return
    kernels = kernels_of(program)
    bare = {id(kernel): without_loops(kernel) for kernel in kernels}
    file = io.BytesIO()
    Writer(file, bare).dump((plan, list(map(keys.get, kernels))))
    if disk := disk_cache():
        disk.put(key, file.getvalue())


def kernels_of(program: Program) -> list[Kernel]:
    """Each kernel of a program, once."""
    return list(dict.fromkeys(program.kernels()))


def without_loops(kernel: Kernel) -> Kernel:
    """A kernel of which only those statements are left that may make a launch fail."""
    bare = _bare.get(kernel)
    if bare is None:
        body = tuple([x for x in kernel.statements() if isinstance(x, Check)])
        bare = _bare[kernel] = replace(kernel, body=body)
    return bare


_bare: WeakKeyDictionary[Kernel, Kernel] = WeakKeyDictionary()


class Named:
    """A dtype, which plans name: there is one of each."""

    def __new__(cls, name: str) -> Any:
        """The dtype with a name."""
        return dtypes[name]


NAMED = dict.fromkeys(map(type, dtypes.values()), lambda dtype: (Named, (dtype.name,)))


class Writer(pickle.Pickler):
    """Writes bare kernels in place of others, and dtypes by their names.

    By tables of classes: a method would be called for each of the many thousand objects.
    """

    def __init__(self, file: io.BytesIO, bare: dict[int, Kernel]) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        kernels = {Kernel: lambda x: bare.get(id(x), x).__reduce_ex__(pickle.HIGHEST_PROTOCOL)}
        self.dispatch_table = NAMED | kernels


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


def graph_key(
    graph: Graph,
    ops: Mapping[str, OpDef],
    donate: Pairs,
    target: Target,
    *,
    fast: bool,
    memory_limit: int | None,
) -> str | None:
    """What a plan is found by before anything is made of a graph; None where nobody can tell.

    Args:
        graph: As it was given, before all passes.
        ops: As `jit.compile` takes it.
        donate: As `jit.compile` takes it.
        target: What the plan is for.
        fast: As `jit.compile` takes it.
        memory_limit: As `jit.compile` takes it.
    """
    settings = config()
    shown = settings.debug >= PASSES or settings.dump is not None or settings.check
    if disk_cache() is None or shown or len(graph.nodes) > MOST:
        return None
    about = told(graph)
    if about is None:
        return None
    machine = target.key, *target.sizes, str(memory_limit), tuning()
    given = graph.name, repr(donate), *machine
    settings_of = f"{fast} {guessing()} {bool(ops)} {sorted(settings.passes_off)}"
    read = [sources_of(package) for package in sorted(about.packages)]
    parts = (about.digest, *given, settings_of, host().tools, sources(), *read)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


class Told(NamedTuple):
    """What text tells of a graph.

    Attributes:
        digest: The sha256 of its text, with those of the graphs in it.
        packages: The folders whose modules tell what its ops do.
    """

    digest: str
    packages: frozenset[Path]


def told(graph: Graph) -> Told | None:
    """What text tells of a graph; None where it does not tell all, or the text is large.

    Bodies that many nodes share are written once.
    """
    if isinstance(graph, Body) and graph in _bodies:
        return _bodies[graph]
    inner = {id(body): told(body) for body in bodies_of(graph)}
    known = [each for each in inner.values() if each is not None]
    about = None
    packages = {op.package for op in {node.op for node in graph.nodes}}
    if len(known) == len(inner) and None not in packages and all(map(is_small, graph.nodes)):
        digests = {key: each.digest for key, each in inner.items() if each is not None}
        try:
            text = format_graph(graph, inner=lambda body: digests[id(body)])
        except TypeError:  # an attr that has no text
            text = None
        if text is not None:
            digest = hashlib.sha256(text.encode()).hexdigest()
            told_by = [package for package in packages if package is not None]
            about = Told(digest, frozenset(told_by).union(*(each.packages for each in known)))
    if isinstance(graph, Body):
        _bodies[graph] = about
    return about


_bodies: WeakKeyDictionary[Body, Told | None] = WeakKeyDictionary()


def bodies_of(graph: Graph) -> Iterator[Graph]:
    """Each graph that nodes of a graph hold, once."""
    attrs = [node.attrs for node in graph.nodes if node.attrs]
    found = [attr for each in attrs for attr in each.values() if is_graph(attr)]
    yield from {id(body): body for body in found}.values()


def is_small(node: Node) -> bool:
    """Whether a node holds no large array."""
    return not node.attrs or not any(
        isinstance(attr, np.ndarray) and attr.nbytes > LARGEST for attr in node.attrs.values()
    )


@cache
def sources() -> str:
    """Which Python, NumPy and sources of this package these are."""
    return f"Python {sys.version} NumPy {np.__version__} {sources_of(Path(__file__).parent)}"
