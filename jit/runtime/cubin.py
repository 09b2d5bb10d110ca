"""Machine code for NVIDIA GPUs, made on machines without one: LLVM IR to PTX, PTX to a cubin.

LLVM writes PTX. NVIDIA's nvJitLink, a wheel of its own, makes a cubin of it; where it is missing
the driver takes the PTX, which costs each process some milliseconds a kernel.
"""

from __future__ import annotations

import ctypes
import re
from functools import cache
from typing import Any

from jit.codegen.ptx_verify import verify
from jit.errors import KernelError
from jit.runtime.cpu import binding, emitted, machine
from jit.runtime.wheels import libraries
from jit.target import Target

EFFORT = 2  # of LLVM; at 1 it leaves addresses generic
WHEELS = ("nvidia-nvjitlink", "nvidia-nvjitlink-cu12")
LIBRARY = re.compile(r"libnvJitLink\.so\.\d+")
PTX = 2  # a kind of input
HOPPER = 90  # the first generation whose kernels can wait for others
START = re.compile(r"\n\{\n(?:\t\.(?:reg|local) [^\n]*\n)*")  # of the code, behind declarations
WAIT = "\tgriddepcontrol.wait;\n"


def ptx(text: str, target: Target) -> bytes:
    """LLVM IR text as PTX.

    Raises:
        KernelError: LLVM is not known to manage it, and it ends the process over what it cannot.
    """
    verify(text, target)
    llvm = binding()
    with (
        machine(target, EFFORT) as made,
        llvm.create_context() as context,
        llvm.parse_assembly(text, context) as module,
    ):
        module.data_layout = str(made.target_data)
        module.verify()
        code = emitted(made, module)
    return waiting(code.decode()).encode() if generation(target) >= HOPPER else code


def waiting(code: str) -> str:
    """PTX of a kernel that begins by waiting for those which are launched before it.

    It stands in the text, so that LLVM moves no load before it: of what it takes for constant it
    would. Without a programmatic launch (see `jit.runtime.programmatic`) it does nothing.
    """
    return START.sub(lambda found: found[0] + WAIT, code, count=1)


def generation(target: Target) -> int:
    """The number of a machine: 90 of "sm_90"."""
    return int("".join(filter(str.isdigit, target.cpu)))


@cache
def linker() -> Any | None:
    """The library nvJitLink, of its wheel or of the system; None where there is none."""
    for path in (*libraries(WHEELS, LIBRARY), "libnvJitLink.so.13", "libnvJitLink.so.12"):
        try:
            return ctypes.CDLL(path)
        except OSError:
            continue
    return None


@cache
def version() -> str:
    """Which nvJitLink there is."""
    library = linker()
    if library is None:
        return "none"
    major, minor = ctypes.c_uint(), ctypes.c_uint()
    library.nvJitLinkVersion(ctypes.byref(major), ctypes.byref(minor))
    return f"{major.value}.{minor.value}"


def cubin(code: bytes, target: Target) -> bytes | None:
    """PTX as a cubin; None without nvJitLink.

    Raises:
        KernelError: nvJitLink refuses it, with its words.
    """
    library = linker()
    if library is None:
        return None
    handle = ctypes.c_void_p()
    option = f"-arch={target.cpu}".encode()
    options = (ctypes.c_char_p * 1)(option)
    _demand(library.nvJitLinkCreate(ctypes.byref(handle), 1, options), library, handle)
    try:
        added = library.nvJitLinkAddData(handle, PTX, code, ctypes.c_size_t(len(code)), b"kernel")
        _demand(added, library, handle)
        _demand(library.nvJitLinkComplete(handle), library, handle)
        size = ctypes.c_size_t()
        _demand(library.nvJitLinkGetLinkedCubinSize(handle, ctypes.byref(size)), library, handle)
        made = ctypes.create_string_buffer(size.value)
        _demand(library.nvJitLinkGetLinkedCubin(handle, made), library, handle)
        return made.raw
    finally:
        library.nvJitLinkDestroy(ctypes.byref(handle))


def _demand(status: int, library: Any, handle: ctypes.c_void_p) -> None:
    """Raises what nvJitLink has to say unless all is well."""
    if status == 0:
        return
    size = ctypes.c_size_t()
    said = b""
    if handle and library.nvJitLinkGetErrorLogSize(handle, ctypes.byref(size)) == 0 and size.value:
        log = ctypes.create_string_buffer(size.value)
        library.nvJitLinkGetErrorLog(handle, log)
        said = log.value
    raise KernelError(
        f"nvJitLink refuses a kernel, with status {status}: {said.decode(errors='replace')}",
        "PTX that it knows: its version may be older than LLVM's",
    )
