"""What LLVM can make PTX of; text with anything else is refused before LLVM sees it.

LLVM ends the process over what it cannot select for an NVIDIA GPU, a logarithm for example. So the
kinds of instructions that were seen to go through are listed here; a new one is tried and added.
"""

from __future__ import annotations

import re

from jit.errors import KernelError
from jit.target import Target, generation

INSTRUCTIONS = frozenset(
    "add sub mul sdiv udiv srem urem and or xor shl ashr lshr icmp fcmp fadd fsub fmul fdiv fneg "
    "select phi br ret getelementptr load store alloca addrspacecast bitcast zext sext trunc "
    "fpext fptrunc sitofp uitofp fptosi fptoui insertelement extractelement extractvalue "
    "shufflevector atomicrmw cmpxchg fence".split()
)
INTRINSICS = frozenset(
    "sqrt fabs floor ceil trunc roundeven copysign fma maxnum masked.load masked.store "
    "masked.gather masked.scatter vector.reduce.or prefetch arithmetic.fence".split()
)
# Those of the machine, by how their names begin: the oldest machine that has them.
FAMILIES = {
    "nvvm.read.ptx.sreg.": 75,
    "nvvm.bar.warp.sync": 75,
    "nvvm.barrier.cta.sync.": 75,
    "nvvm.shfl.sync.": 75,
    "nvvm.vote.": 75,
    "nvvm.cp.async.": 80,
    "nvvm.ldmatrix.": 75,
    "nvvm.mma.": 80,
    "nvvm.f2tf32.rna": 80,
    "nvvm.redux.sync.": 80,
    "nvvm.rcp.approx.ftz.f": 75,
    "nvvm.ex2.approx.ftz.f": 75,
}
CALLED = re.compile(r"@llvm\.([\w.]+)\(")
WIDE = ("i128", "fp128", "x86_fp80")


def verify(text: str, target: Target) -> None:
    """Refuses what LLVM may end the process over.

    Args:
        text: Of a module, an instruction a line.
        target: A GPU.

    Raises:
        KernelError: A kind of instruction is not known to go through.
    """
    for type_ in WIDE:
        if type_ in text:
            raise refused(type_)
    machine = generation(target.cpu)
    body = False
    for line in text.splitlines():
        if line.startswith("define "):
            body = True
        elif line == "}":
            body = False
        elif body and not line.endswith(":"):
            statement = line.partition(" = ")[2] if line.startswith("%") else line
            word = statement.partition(" ")[0]
            if word not in INSTRUCTIONS and not (word == "call" and _known(statement, machine)):
                raise refused(line)


def refused(what: str) -> KernelError:
    """The error that says so."""
    return KernelError(
        f"LLVM is not known to make PTX of: {what}",
        f"the instructions and intrinsics listed in {__name__}",
    )


def _known(call: str, machine: int) -> bool:
    """Whether LLVM makes PTX of a call: of an intrinsic that it has code for, or of assembly."""
    if " asm " in call:
        return True
    called = CALLED.search(call)
    if called is None:
        return False
    name = called[1]
    if name.startswith("masked.load") and " poison)" not in call:
        return False  # one that fills its other lanes ends the process where its mask is known
    if any(name == known or name.startswith(f"{known}.") for known in INTRINSICS):
        return True
    return any(name.startswith(x) and machine >= least for x, least in FAMILIES.items())
