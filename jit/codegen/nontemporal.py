"""Functions of kernels that store past the caches: one that does, and one for where that cannot be.

Such stores go to whole lines, so results have to begin with one. And they lose where a result takes
the memory of something that is read: its lines are in a cache. Both are asked for once, as lines of
a result lie as its beginning does (`jit.loops.nontemporal.of_whole_lines`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from jit.codegen.llvm import ARGUMENTS, ENTRY, Code, word
from jit.loops.ir import Kernel, Store
from jit.loops.nontemporal import LINE

if TYPE_CHECKING:
    from jit.target import Target

PAST, PLAIN = "past", "plain"  # the two functions
# Behind it others see what went past the caches: LLVM's own fence says nothing of such stores.
SFENCE, FENCE = "call void @llvm.x86.sse.sfence()", "fence seq_cst"


def text(kernel: Kernel, target: Target) -> str:
    """The text of a module whose function `entry` runs `kernel`, which has nontemporal stores."""
    fence = SFENCE if target.triple.startswith("x86_64") else FENCE
    lines = [
        f'target triple = "{target.triple}"',
        f"define void @{ENTRY}({ARGUMENTS}) nounwind {{",
        "start:",
        *choice(kernel),
        f"br i1 %fits, label %{PAST}, label %{PLAIN}",
        *[line for way in (PAST, PLAIN) for line in (f"{way}:", *called(way))],
        "}",
        f"define internal void @{PAST}({ARGUMENTS}) nounwind {{",
        *Code(kernel, past=True).lines_of_body(fence),
        f"define internal void @{PLAIN}({ARGUMENTS}) nounwind {{",
        *Code(kernel).lines_of_body(),
        "!0 = !{i32 1}",
        "",
    ]
    return "\n".join(lines)


def called(way: str) -> tuple[str, str]:
    """Leaves the rest to another function."""
    return f"tail call void @{way}({ARGUMENTS})", "ret void"


def choice(kernel: Kernel) -> Iterator[str]:
    """Lines that make `%fits`: results begin with lines, and have memory of their own."""
    stored = {s.buffer for s in kernel.statements() if isinstance(s, Store) and s.nontemporal}
    numbered = [(f"%a{k}", buffer) for k, buffer in enumerate(kernel.buffers)]
    for number, (name, _) in enumerate(numbered):
        yield from word(name, "ptr", f"{number}")
    found = "true"
    for name, result in numbered:
        if result not in stored:
            continue
        yield f"{name}.i = ptrtoint ptr {name} to i64"
        yield f"{name}.m = and i64 {name}.i, {LINE - 1}"
        yield f"{name}.e = icmp eq i64 {name}.m, 0"
        yield f"{name}.f = and i1 {found}, {name}.e"
        found = f"{name}.f"
        for other, buffer in numbered:
            if buffer.access == "in" and buffer.dtype.itemsize == result.dtype.itemsize:
                here = f"{name}.{other[1:]}"
                yield f"{here}.e = icmp ne ptr {name}, {other}"
                yield f"{here} = and i1 {found}, {here}.e"
                found = here
    yield f"%fits = and i1 {found}, true"
