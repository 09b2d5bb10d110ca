"""Machine code for the CPU: LLVM IR text to object bytes, and objects into this process.

The only module of the runtime that loads llvmlite, and only to make code: what is on the disk is
linked without it, and what the code is for is known from before. Where LLVM links, each library is
one of its own in one LLJIT, so all of them may export the same symbol.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from jit.runtime.forks import loading
from jit.runtime.host import Host, known_host, largest_cache
from jit.runtime.objects import NONE, Unloadable, loaded
from jit.target import Target

X86_WIDTHS = (("avx512f", 64, 32), ("avx2", 32, 16))


def binding() -> Any:
    """Llvmlite's binding with the native target ready."""
    with loading:  # an option may be set once only
        return loaded_binding()


@cache
def loaded_binding() -> Any:
    """The same, for one thread at a time."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    # `jit.codegen.addresses` and `jit.loops.interleave` do what these are for.
    llvm.set_option("", "-disable-lsr")
    llvm.set_option("", "-enable-misched=false")
    return llvm


def host_target() -> Target:
    """This machine."""
    return host().target


@cache
def host() -> Host:
    """This machine, and the tools that make code for it."""
    import llvmlite  # its version only: LLVM itself is in `llvmlite.binding`

    package = Path(llvmlite.__path__[0])
    files = (package / "_version.py", *package.glob("binding/libllvmlite.*"), Path(__file__))
    return known_host(asked_host, files if len(files) > 2 else ())


def asked_host() -> Host:
    """The same, as LLVM says now."""
    import llvmlite

    llvm = binding()
    features = llvm.get_host_cpu_features()
    width, registers = 16, 32 if "aarch64" in llvm.get_default_triple() else 16
    for name, bytes_, count in X86_WIDTHS:
        if features.get(name):
            width, registers = bytes_, count
            break
    triple, name = llvm.get_default_triple(), llvm.get_host_cpu_name()
    # Whether stores past the caches pay was measured on x86 only.
    cache = largest_cache() if "x86_64" in triple else 0
    target = Target(triple, name, features.flatten(), width, registers, cache=cache)
    return Host(target, f"llvmlite {llvmlite.__version__} LLVM {llvm.llvm_version_info}")


@contextmanager
def machine(target: Target, effort: int = 1) -> Iterator[Any]:
    """A code generator for `target` that no other thread has meanwhile."""
    idle = idle_machines(target, effort)
    try:
        made = idle.pop()
    except IndexError:
        made = new_machine(target, effort)
    yield made
    idle.append(made)


@cache
def idle_machines(target: Target, effort: int) -> list[Any]:
    """Code generators that nobody has."""
    return []


def new_machine(target: Target, effort: int = 1) -> Any:
    """LLVM's code generator for `target`, light optimisation: the text is vectorised already."""
    llvm = binding()
    if target.triple != llvm.get_default_triple():
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()
    return llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu,
        features=target.features,
        opt=effort,
        reloc="pic",
        codemodel="default",
        jit=True,
    )


def emitted(made: Any, module: Any, *, is_object: bool = False) -> bytes:
    """The assembly or object file of a module, which shares nothing with others.

    So threads do it side by side: llvmlite would hold its one lock meanwhile, as modules of one
    context share types.
    """
    from llvmlite.binding import ffi

    emit = ffi.lib.LLVMPY_TargetMachineEmitToMemory
    with ffi.OutputString() as said:
        buffer = getattr(emit, "_cfn", emit)(made, module, int(is_object), said)
        if not buffer:
            raise RuntimeError(str(said))
    try:
        size = ffi.lib.LLVMPY_GetBufferSize(buffer)
        return ctypes.string_at(ffi.lib.LLVMPY_GetBufferStart(buffer), size)
    finally:
        ffi.lib.LLVMPY_DisposeMemoryBuffer(buffer)


def parsed(text: str, made: Any, context: Any = None) -> Any:
    """`text` as a verified module, memory slots turned into registers.

    Args:
        text: LLVM IR.
        made: The code generator that it is for.
        context: Of the module's own; None: it shares one.
    """
    llvm = binding()
    module = llvm.parse_assembly(text, context)
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=0)
    passes = llvm.create_new_module_pass_manager()
    passes.add_sroa_pass()
    passes.run(module, llvm.create_pass_builder(made, options))
    return module


def assemble(text: str, target: Target, effort: int = 1) -> bytes:
    """LLVM IR text as an object file; `effort` 0 is for what a launch runs only once."""
    llvm = binding()
    with (
        machine(target, effort) as made,
        llvm.create_context() as context,
        parsed(text, made, context) as module,
    ):
        return emitted(made, module, is_object=True)


def assemble_together(texts: Sequence[str], target: Target) -> bytes:
    """Modules as one object file, for a linker of the system's: each may call the others."""
    llvm = binding()
    with machine(target) as first:
        whole, *others = (parsed(text, first) for text in texts)
    for other in others:
        whole.link_in(other)
    made = llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.features, opt=1, reloc="pic", codemodel="default"
    )
    return made.emit_object(whole)


def assembly(text: str, target: Target, effort: int = 1) -> str:
    """LLVM IR text as assembly, to look at."""
    with machine(target, effort) as made:
        return made.emit_assembly(parsed(text, made))


def linker() -> Any:
    """The one LLJIT of the process."""
    with loading:  # a second one would take its code along when it goes
        return made_linker()


@cache
def made_linker() -> Any:
    """The same, for one thread at a time."""
    return binding().create_lljit_compiler(new_machine(host_target()))


_numbers = itertools.count()


def link(
    objects: Sequence[bytes], symbols: Sequence[str], imports: Mapping[str, int] = NONE
) -> tuple[dict[str, int], Any]:
    """Makes the code of objects callable, as one library: that takes less time than many.

    Args:
        objects: Object files for this machine.
        symbols: Which symbols to look up.
        imports: The address of each symbol that the objects lack.

    Returns:
        The address of each of `symbols`, and what must live as long as the code may run.

    Raises:
        RuntimeError: These are no object files, or they lack symbols.
    """
    try:
        image = loaded(objects, imports)
        return {name: image.address[name] for name in symbols}, image
    except (Unloadable, KeyError):
        return linked_by_llvm(objects, symbols, imports)


def linked_by_llvm(
    objects: Sequence[bytes], symbols: Sequence[str], imports: Mapping[str, int]
) -> tuple[dict[str, int], Any]:
    """The same, of any objects that are for this machine."""
    builder = binding().JITLibraryBuilder()
    for code in objects:
        builder.add_object_img(code)
    for name, address in imports.items():
        builder.import_symbol(name, address)
    for name in symbols:
        builder.export_symbol(name)
    library = builder.link(linker(), f"library{next(_numbers)}")
    return {name: library[name] for name in symbols}, library
