"""Library: the machine code of kernels, each made and linked once for its content.

A kernel's code is looked for in the process, then in the disk cache, and made if it is in neither.
What it is found by holds everything that code depends on: the text of the naive kernel without its
name, the target, the versions of the tools, and the source of the modules that schedule and write
code. Names do not matter, so two graphs share what they have in common; and a kernel is scheduled
only if its code has to be made.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import WeakKeyDictionary, WeakValueDictionary

from jit import __version__
from jit.config import config
from jit.dataclass import dataclass
from jit.loops.ir import For, Kernel, operands
from jit.progress import each
from jit.runtime import cpu
from jit.runtime.cache import disk_cache
from jit.runtime.forks import compiling, linking
from jit.target import Target

if TYPE_CHECKING:
    from concurrent.futures import Future

COMPILERS = 2  # threads that LLVM works in
TOLD_OF = 4096  # kernels of which is known why they were compiled
RECENT = 512  # kernels that stay loaded though nothing uses them now
TOLD = {"compiled": 1, "from disk": 2}  # from which level of JIT_DEBUG on
# The stages of a kernel: the level of JIT_DEBUG that shows each, and its file under JIT_DUMP.
STAGES = {
    "kernel": (4, "00-kernel.txt"),
    "schedule": (4, "01-schedule.txt"),
    "LLVM IR": (5, "02-llvm.ll"),
    "assembly": (6, "03-assembly.s"),
}
LOOPS = min(level for level, _ in STAGES.values())
# What turns a kernel into code: when one of them changes, no code of before is used.
SOURCES = ("codegen/**/*.py", "loops/**/*.py", "forms/scalar.py", "runtime/cpu.py")

Compiler: TypeAlias = Callable[[Kernel, Target], str]


def llvm_text(kernel: Kernel, target: Target) -> str:
    """A naive kernel as LLVM IR text; its function is called `entry`."""
    from jit.codegen.llvm import emit  # these only load when code has to be made
    from jit.loops.expand import expand
    from jit.loops.heuristics import scheduled
    from jit.loops.interleave import interleaved

    return emit(interleaved(expand(scheduled(kernel, target)), target), target)


def schedule_text(kernel: Kernel, target: Target) -> str:
    """The loops that a naive kernel is scheduled into."""
    from jit.loops.heuristics import scheduled

    return str(scheduled(kernel, target))


def effort(kernel: Kernel, target: Target) -> int:
    """LLVM's effort: none in a hurry, and where nothing is done twice in a launch."""
    once = all(
        not isinstance(s, For) and kernel.item not in operands(s) for s in kernel.statements()
    )
    return 0 if once or target.hurry else 1


@cache
def toolchain() -> str:
    """What code depends on beside kernel and target."""
    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(path for pattern in SOURCES for path in package.glob(pattern)):
        digest.update(path.read_bytes())
    return f"jit {__version__} {digest.hexdigest()} {cpu.host().tools}"


def content_key(kernel: Kernel, target: Target) -> str:
    """The sha256 of everything that the code of `kernel` depends on."""
    known = _keys.setdefault(kernel, {})
    if target.key not in known:
        from jit.runtime.facts import digest_of  # loaded for kernels that are planned

        parts = (digest_of(kernel), target.key, toolchain())
        known[target.key] = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    return known[target.key]


_keys: WeakKeyDictionary[Kernel, dict[str, str]] = WeakKeyDictionary()


def symbol_of(key: str) -> str:
    """The name of the code's function; objects that are linked together need different ones."""
    return f"k_{key[:16]}"


@dataclass
class Tally:
    """How many kernels went one way, and what that took."""

    count: int = 0
    seconds: float = 0.0

    def add(self, count: int, since: float) -> None:
        """Counts some more, that took from `since` (of `time.perf_counter`) until now."""
        self.count += count
        self.seconds += time.perf_counter() - since


class Code:
    """The machine code of a kernel, which LLVM unloads when nothing refers to it any more.

    Attributes:
        key: What it is found by.
        address: Where it begins.
        size: Bytes of its object file.
    """

    __slots__ = ("__weakref__", "_tracker", "address", "key", "size")

    def __init__(self, key: str, address: int, size: int, tracker: Any) -> None:
        self.key = key
        self.address = address
        self.size = size
        self._tracker = tracker  # of a library, which others may be in too


class Address(int):
    """Where the code of a kernel begins; the code stays there as long as somebody holds this."""

    code: Code

    def __new__(cls, code: Code) -> Address:
        """The address of some code."""
        made = super().__new__(cls, code.address)
        made.code = code
        return made


class Library:
    """Addresses of kernels. Threads may share one.

    Code that no executable uses any more is unloaded, except for the last RECENT kernels.

    Attributes:
        tallies: How many kernels were "in memory", "from disk" or "compiled" when asked for, and
            how many "linked"; with the seconds that finding, reading, compiling, linking took.
        reasons: Why kernels had to be compiled, by their keys.
    """

    def __init__(self, compiler: Compiler = llvm_text) -> None:
        """`compiler` makes LLVM IR text with a function `entry` out of a kernel."""
        self.tallies = {way: Tally() for way in ("in memory", "from disk", "compiled", "linked")}
        self.reasons: dict[str, str] = {}
        self.lock = linking
        self._compiler = compiler
        self._codes: WeakValueDictionary[str, Code] = WeakValueDictionary()
        self._recent: OrderedDict[str, Code] = OrderedDict()
        self._making: dict[str, Future[bytes]] = {}  # what a thread is at; empty if it gave up

    def __len__(self) -> int:
        return len(self._codes)

    @property
    def bytes(self) -> int:
        """How many bytes the object files of loaded kernels have."""
        return sum(code.size for code in self._codes.values())

    def forget_recent(self) -> None:
        """Unloads all code that no executable uses."""
        with self.lock:
            self._recent.clear()

    def address(self, kernel: Kernel, target: Target) -> Address:
        """Where the code of a kernel begins."""
        return self.addresses((kernel,), target)[0]

    def addresses(self, kernels: Sequence[Kernel], target: Target) -> list[Address]:
        """Where the code of each kernel begins; asking for many at once is faster."""
        start = time.perf_counter()
        key_of = {kernel: content_key(kernel, target) for kernel in dict.fromkeys(kernels)}
        keys = [key_of[kernel] for kernel in kernels]
        wanted = dict(zip(keys, kernels))
        found = {key: code for key in wanted if (code := self._codes.get(key)) is not None}
        self.tallies["in memory"].add(len(found), start)
        if config().debug >= LOOPS or config().dump:
            for key, kernel in wanted.items():
                self._show(key, kernel, target)
        if len(found) < len(wanted):
            with compiling:
                found = self._bring(wanted, target)
        with self.lock:
            self._use(found)
        return [Address(found[key]) for key in keys]

    def known(self, names: Mapping[str, str]) -> dict[str, Address] | None:
        """Where code of before begins, in memory or from the disk; None if some is not there.

        Args:
            names: The name of each kernel, for people, by the key of its code.
        """
        start, disk, read = time.perf_counter(), disk_cache(), dict[str, bytes]()
        with self.lock:
            found = {key: code for key in names if (code := self._codes.get(key)) is not None}
            self.tallies["in memory"].add(len(found), start)
            for key in [key for key in names if key not in found]:
                start = time.perf_counter()
                code = disk.get(key) if disk else None
                if code is None:
                    return None
                read[key] = code
                self._count("from disk", names[key], start)
            try:
                found |= self._link(read) if read else {}
            except RuntimeError:  # it is no object file that links
                return None
            self._use(found)
        return {key: Address(found[key]) for key in names}

    def _use(self, codes: Mapping[str, Code]) -> None:
        """Keeps the codes that were used last."""
        for key, code in codes.items():
            self._recent[key] = code
            self._recent.move_to_end(key)
        while len(self._recent) > RECENT:
            self._recent.popitem(last=False)

    def _bring(self, kernels: Mapping[str, Kernel], target: Target) -> dict[str, Code]:
        """Finds or makes the code of kernels by their keys, and links it.

        Code is made without the lock: other threads get theirs meanwhile.
        """
        disk, codes = disk_cache(), dict[str, bytes]()
        stored: list[str] = []
        with self.lock:  # another thread may have been faster
            found = {key: code for key in kernels if (code := self._codes.get(key)) is not None}
        lacking = {key: kernel for key, kernel in kernels.items() if key not in found}
        for key in [*lacking]:
            start = time.perf_counter()
            code = disk.get(key) if disk else None
            if code:
                codes[key] = code
                stored.append(key)
                self._count("from disk", lacking.pop(key).name, start)
        codes |= self._together(lacking, target)
        try:
            return found | self._link(codes) if codes else found
        except RuntimeError:
            if not stored:
                raise
            # What was on the disk is no object file that links: as good as nothing.
            codes |= self._together({key: kernels[key] for key in stored}, target)
            return found | self._link(codes)

    def _together(self, kernels: Mapping[str, Kernel], target: Target) -> dict[str, bytes]:
        """The code of kernels by their keys: what another thread is at is not made here, too."""
        from concurrent.futures import Future  # loaded when code has to be made

        codes = dict[str, bytes]()
        while lacking := {key: kernel for key, kernel in kernels.items() if key not in codes}:
            with self.lock:
                theirs = {key: self._making[key] for key in lacking if key in self._making}
                mine = {key: Future[bytes]() for key in lacking if key not in theirs}
                self._making |= mine
            try:
                if mine:
                    codes |= self._made({key: kernels[key] for key in mine}, target)
            finally:
                with self.lock:
                    for key, promise in mine.items():
                        promise.set_result(codes.get(key, b""))
                        del self._making[key]
            codes |= {key: code for key, promise in theirs.items() if (code := promise.result())}
        return codes

    def _made(self, kernels: Mapping[str, Kernel], target: Target) -> dict[str, bytes]:
        """Makes the code of kernels by their keys."""
        from jit.runtime.beside import Beside
        from jit.runtime.facts import facts_of, note, reason

        codes, spent, disk = dict.fromkeys(kernels, b""), dict[str, float](), disk_cache()
        facts = {key: facts_of(kernel, target, toolchain()) for key, kernel in kernels.items()}

        def compile(key: str, text: str, level: int) -> None:
            start = time.perf_counter()
            codes[key] = cpu.assemble(text, target, level)
            if disk:
                disk.put(key, codes[key])
            spent[key] += time.perf_counter() - start

        with Beside(COMPILERS) as beside:  # LLVM works while Python writes what it works on next
            for key in each("compiling kernels", [*kernels]):
                start, kernel = time.perf_counter(), kernels[key]
                if len(self.reasons) >= TOLD_OF:
                    self.reasons.clear()
                self.reasons[key] = reason(disk, kernel, facts[key])
                text = self._text(key, kernel, target)
                spent[key] = time.perf_counter() - start
                beside.do(partial(compile, key, text, effort(kernel, target)))
        for key, kernel in kernels.items():
            note(disk, kernel, facts[key])
            self._count("compiled", kernel.name, time.perf_counter() - spent[key])
        return codes

    def _text(self, key: str, kernel: Kernel, target: Target) -> str:
        """LLVM IR text whose function has the name that it is linked by."""
        return self._compiler(kernel, target).replace("@entry(", f"@{symbol_of(key)}(", 1)

    def _link(self, codes: Mapping[str, bytes]) -> dict[str, Code]:
        """Makes objects callable, as one library: that takes a third of the time of many."""
        with self.lock:
            start = time.perf_counter()
            made = {key: code for key in codes if (code := self._codes.get(key)) is not None}
            new = {key: code for key, code in codes.items() if key not in made}
            symbols = {key: symbol_of(key) for key in new}
            if not new:
                return made
            addresses, tracker = cpu.link([*new.values()], [*symbols.values()])
            for key, code in new.items():
                made[key] = Code(key, addresses[symbols[key]], len(code), tracker)
            self._codes.update(made)
            self.tallies["linked"].add(len(new), start)
            return made

    def _count(self, way: str, name: str, since: float) -> None:
        """Counts, and tells: levels 1 and 2 of JIT_DEBUG."""
        with self.lock:
            self.tallies[way].add(1, since)
        if config().debug >= TOLD[way]:
            spent = 1e3 * (time.perf_counter() - since)
            sys.stderr.write(f"# kernel {name}: {way}, {spent:.1f} ms\n")

    def _show(self, key: str, kernel: Kernel, target: Target) -> None:
        """The stages of a kernel: levels 4 to 6 of JIT_DEBUG, and JIT_DUMP."""
        settings = config()
        text = cache(lambda: self._text(key, kernel, target))
        stages: dict[str, Callable[[], str]] = {
            "kernel": lambda: str(kernel),
            "schedule": lambda: schedule_text(kernel, target),
            "LLVM IR": text,
            "assembly": lambda: cpu.assembly(text(), target, effort(kernel, target)),
        }
        for stage, (level, file) in STAGES.items():
            if settings.debug >= level:
                sys.stderr.write(f"# kernel {kernel.name}: {stage}\n{stages[stage]().rstrip()}\n")
            if settings.dump:
                path = dump_folder(settings.dump, key, kernel) / file
                path.write_text(f"{stages[stage]().rstrip()}\n", encoding="utf-8")


def dump_folder(dump: Path, key: str, kernel: Kernel) -> Path:
    """Where the stages of a kernel are written: the same kernel, the same place."""
    name = "".join(c if c.isalnum() else "_" for c in kernel.name)
    folder = dump / "kernels" / f"{name}-{key[:8]}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@cache
def library() -> Library:
    """The library of the process."""
    return Library()
