"""Standalone: a program as one object file with a C function, and the header that declares it.

The function gets the addresses of inputs and results, and of memory for temporaries; it runs the
kernels one after the other, in the caller's thread. It needs nothing of Python.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from jit.dataclass import dataclass
from jit.dims import evaluate
from jit.errors import NoNativeCode
from jit.runtime import cpu
from jit.runtime.library import content_key, llvm_text, symbol_of
from jit.runtime.memory import ALIGNMENT, Layout, layout, timeline
from jit.runtime.program import Launch, Program
from jit.runtime.tables import byte_size, grid_size
from jit.target import Target

C_TYPES = {
    "bool": "uint8_t",
    "float16": "uint16_t",
    "bfloat16": "uint16_t",
    "float32": "float",
    "float64": "double",
}
NO_SIZES: Mapping[str, int] = {}
HEADER = """\
/* {name}: {what}. Made by dualflow; link it with the object file or library beside it.

   All arrays are contiguous, in row-major order. `workspace` is memory for temporaries, of
   {upper}_WORKSPACE bytes, aligned to {alignment}; calls at the same time need one each.
   The function gives 0, or 1 where a check has failed, such as an index that is out of
   bounds: then the results are not valid. */
#ifndef {upper}_H
#define {upper}_H
#include <stdint.h>

#define {upper}_WORKSPACE {workspace}

#ifdef __cplusplus
extern "C" {{
#endif

int32_t {name}({parameters});

#ifdef __cplusplus
}}
#endif
#endif
"""


@dataclass(frozen=True)
class Standalone:
    """A program for others to link.

    Attributes:
        code: The object file.
        header: The text of the header.
    """

    code: bytes
    header: str


def standalone(
    name: str,
    program: Program,
    target: Target,
    names: Sequence[str],
    constants: Mapping[int, object],
) -> Standalone:
    """A program as an object file.

    Args:
        name: Of the function, an identifier of C.
        program: Of known sizes, and of launches alone.
        target: The machine.
        names: Of the inputs that the caller passes.
        constants: The values of the other inputs, by number.

    Raises:
        NoNativeCode: It has steps that only Python can do, or sizes that vary.
    """
    if not all(isinstance(step, Launch) for step in program.steps):
        raise NoNativeCode("steps that Python does, guards, or loops")
    maker = Maker(name, program, target, names, constants)
    texts = [maker.driver(), *maker.kernels.values()]
    return Standalone(cpu.assemble_together(texts, target), maker.header())


class Maker:
    """The text of a function in the making."""

    def __init__(
        self,
        name: str,
        program: Program,
        target: Target,
        names: Sequence[str],
        constants: Mapping[int, object],
    ) -> None:
        self.name, self.program, self.target, self.names = name, program, target, names
        self.constants = {program.inputs[k]: np.asarray(x) for k, x in constants.items()}
        self.given = [s for k, s in enumerate(program.inputs) if k not in constants]
        times = timeline(program)
        kept = {*program.outputs, *program.inputs}
        sizes = {slot: self.size(slot) for slot in times.births if slot not in kept}
        self.layout: Layout = layout(times, sizes)
        self.kernels: dict[str, str] = {}
        self.symbols = [self._symbol(step) for step in program.steps if isinstance(step, Launch)]

    def size(self, slot: int) -> int:
        """Bytes of a slot."""
        return byte_size(self.program, slot, NO_SIZES)

    def _symbol(self, launch: Launch) -> str:
        """The name of a kernel, whose text is kept."""
        symbol = symbol_of(content_key(launch.kernel, self.target))
        if symbol not in self.kernels:
            text = llvm_text(launch.kernel, self.target)
            self.kernels[symbol] = text.replace("@entry(", f"@{symbol}(", 1)
        return symbol

    # ----- the function -----

    def driver(self) -> str:
        """The LLVM IR of the function that runs the kernels."""
        program = self.program
        count = len(program.slots)
        launches = [step for step in program.steps if isinstance(step, Launch)]
        sizes = [int(evaluate(extent, NO_SIZES)) for step in launches for extent in step.sizes]
        data, lines, at = [], [], 1 + count
        for slot, each in enumerate(program.slots):
            value = self.constants.get(slot, each.value)
            if value is not None:
                data.append(constant(f"c{slot}", np.asarray(value, each.type.dtype, order="C")))
                lines += stored(slot + 1, f"ptr @c{slot}")
        lines += [x for k, slot in enumerate(self.given) for x in stored(slot + 1, f"ptr %in{k}")]
        for k, slot in enumerate(program.outputs):
            if self.is_made(k):
                lines += stored(slot + 1, f"ptr %out{k}")
        for slot, offset in self.layout.offsets.items():
            lines.append(f"  %w{slot} = getelementptr i8, ptr %workspace, i64 {offset}")
            lines += stored(slot + 1, f"ptr %w{slot}")
        lines += [x for k, size in enumerate(sizes) for x in stored(at + k, f"i64 {size}")]
        for number, step in enumerate(launches):
            record = [slot + 1 for slot in step.buffers] + [at + k for k in range(len(step.sizes))]
            at += len(step.sizes)
            data.append(words(f"r{number}", record))
            items = grid_size(step, NO_SIZES)
            called = f"@{self.symbols[number]}(ptr %slots, ptr @r{number}, i64 0, i64 {items})"
            lines.append(f"  call void {called}")
        lines += self.copies()
        declared = [f"declare void @{symbol}(ptr, ptr, i64, i64)" for symbol in self.kernels]
        body = [
            f"define i32 @{self.name}({self.arguments()}) {{",
            f"  %slots = alloca [{1 + count + len(sizes)} x i64], align 64",
            "  store i64 0, ptr %slots",
            *lines,
            "  %status = load i64, ptr %slots",
            "  %result = trunc i64 %status to i32",
            "  ret i32 %result",
            "}",
        ]
        return "\n".join([*data, *declared, *body])

    def is_made(self, position: int) -> bool:
        """Whether a step writes this result, and no earlier one is the same."""
        slot = self.program.outputs[position]
        written = {x for step in self.program.steps for x in self.program.writes(step)}
        return slot in written and self.program.outputs.index(slot) == position

    def copies(self) -> list[str]:
        """Results that are there already are copied to where the caller wants them."""
        lines = []
        for k, slot in enumerate(self.program.outputs):
            if not self.is_made(k):
                lines += [
                    f"  %p{k} = getelementptr i64, ptr %slots, i64 {slot + 1}",
                    f"  %a{k} = load ptr, ptr %p{k}",
                    f"  call void @llvm.memcpy.p0.p0.i64(ptr %out{k}, ptr %a{k}, "
                    f"i64 {self.size(slot)}, i1 false)",
                ]
        return lines

    def arguments(self) -> str:
        """The parameters of the function in LLVM IR."""
        names = [f"ptr %in{k}" for k in range(len(self.given))]
        names += [f"ptr %out{k}" for k in range(len(self.program.outputs))]
        return ", ".join([*names, "ptr %workspace"])

    # ----- the header -----

    def header(self) -> str:
        """The C header."""
        program = self.program
        outputs = [f"result{k}" if k else "result" for k in range(len(program.outputs))]
        parts = [f"const {self.spelled(s, n)}" for s, n in zip(self.given, self.names, strict=True)]
        parts += [self.spelled(s, n) for s, n in zip(program.outputs, outputs, strict=True)]
        return HEADER.format(
            name=self.name,
            upper=self.name.upper(),
            what=program.name,
            workspace=max(self.layout.size, 1),
            alignment=ALIGNMENT,
            parameters=", ".join([*parts, "void *workspace"]),
        )

    def spelled(self, slot: int, name: str) -> str:
        """A parameter in C, with its shape."""
        type_ = self.program.slots[slot].type
        spelled = C_TYPES.get(type_.dtype.name, f"{type_.dtype.name}_t")
        shape = "".join(f"[{extent}]" for extent in type_.shape)
        return f"{spelled} *{name} /* {shape or 'one number'} */"


def stored(number: int, what: str) -> list[str]:
    """Instructions that put something into a slot of the call."""
    return [
        f"  %s{number} = getelementptr i64, ptr %slots, i64 {number}",
        f"  store {what}, ptr %s{number}",
    ]


def constant(name: str, value: object) -> str:
    """The bytes of an array, as a constant."""
    data = np.asarray(value).tobytes()
    text = "".join(f"\\{byte:02X}" for byte in data)
    return f'@{name} = internal constant [{len(data)} x i8] c"{text}", align 64'


def words(name: str, numbers: Sequence[int]) -> str:
    """Integers, as a constant."""
    inner = ", ".join(f"i64 {number}" for number in numbers)
    return f"@{name} = internal constant [{len(numbers)} x i64] [{inner}]"
