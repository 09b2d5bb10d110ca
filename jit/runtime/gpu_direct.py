"""Direct: the quickest way to call a few launches on a GPU, for ops that are applied alone.

Everything is laid out before; a call sets addresses in a block of parameters and hands it to the
driver. Memory is that of eager code: CuPy's current allocator.
"""

from __future__ import annotations

import ctypes
import math
import threading
from collections.abc import Callable, Sequence
from typing import Any

from jit.runtime.cublas import ALIGNED
from jit.runtime.cuda import allocate, array_maker, bind, cupy, failed
from jit.runtime.gpu_frame import SHORTEST, prepared
from jit.runtime.gpu_table import ARENA, LEDGER, Table
from jit.runtime.library_call import LibraryCall

MOST = 16  # launches of an op that native code calls: of a graph, it would take the host longer
Shapes = Sequence[tuple[int, ...]]


class Allocator:
    """CuPy's current allocator, as a pool."""

    @staticmethod
    def malloc(size: int) -> Any:
        """New memory on the active device."""
        return cupy().cuda.alloc(size)


def direct(
    table: Table, device: int, inputs: Shapes, outputs: Shapes, *, alone: bool = False
) -> Callable[..., list[Any] | None] | None:
    """`direct(*arrays)`: a list of the results; None where an array does not fit.

    Args:
        table: What is launched.
        device: The number of the GPU.
        inputs: The shapes in which arrays come: as many elements each as the program's.
        outputs: The shapes of the results, likewise.
        alone: It is an op by itself, which native code calls: see `gpu_launches`.

    Returns:
        None if a call needs more: host steps, checks, constants, results that are arguments.
    """
    program = table.program
    few = MOST if alone else SHORTEST - 1
    simple = len(table.stretches) == 1 and len(table.rows) <= few
    roles = {program.slots[slot].role for slot in program.outputs}
    whole = len({*program.outputs}) == len(program.outputs) and roles <= {"temporary"}
    if not (simple and whole) or any(slot.role == "constant" for slot in program.slots):
        return None
    return Direct(table, device, inputs, outputs)


class Direct:
    """A few launches.

    Attributes:
        device: The number of the GPU.
        inputs: Shape and dtype of each.
        outputs: Shape and dtype of each result, and its bytes.
        arena: How many bytes temporaries need.
        words: Of each parameter the number of its base, and what is added: bases are 0, the
            addresses of inputs and of results, and that of the arena.
        launches: What is launched, and its first word.
    """

    def __init__(self, table: Table, device: int, inputs: Shapes, outputs: Shapes) -> None:
        program = table.program
        self.name, self.device = program.name, device
        types = [program.slots[slot].type for slot in (*program.inputs, *program.outputs)]
        count = len(program.inputs)
        self.inputs = [(tuple(s), t.dtype) for s, t in zip(inputs, types[:count])]
        self.outputs = [
            (tuple(shape), t.dtype, math.prod(shape) * t.dtype.itemsize or 1)
            for shape, t in zip(outputs, types[count:])
        ]
        self.arena = table.arena if table.offsets or table.arena > table.workspace else 0
        # No launch reports failure, so all may have one word for that.
        self._status = allocate(LEDGER, "a status word", Allocator)
        self.words = self._words_of(table)
        self.launches = [(prepared(row, device), row.start) for row in table.rows]
        count = max(len(self.words), 1)
        self._parameters = (ctypes.c_int64 * count)()
        first = ctypes.addressof(self._parameters)
        self._pointers = (ctypes.c_void_p * count)(*[first + 8 * k for k in range(count)])
        self._make = array_maker(cupy())
        self._alone = cupy().cuda.runtime.getDeviceCount() == 1
        self._lock = threading.Lock()

    def _words_of(self, table: Table) -> list[tuple[int, int]]:
        program = table.program
        slots = (*program.inputs, *program.outputs)
        bases = {table.base_of[slot]: number for number, slot in enumerate(slots, 1)}
        bases[ARENA] = 1 + len(slots)
        return [
            (0, self._status.ptr)
            if (base, offset) == (ARENA, table.ledger)
            else (bases.get(base, 0), offset)
            for base, offset in zip(table.index.tolist(), table.offset.tolist())
        ]

    def __call__(self, *arrays: Any) -> list[Any] | None:
        """The results."""
        ndarray, addresses = cupy().ndarray, []
        for array, (shape, dtype) in zip(arrays, self.inputs, strict=True):
            if array.__class__ is not ndarray or array.shape != shape or array.dtype != dtype:
                return None
            data = array.data
            if not array.flags.c_contiguous or data.ptr % ALIGNED or data.device_id != self.device:
                return None
            addresses.append(data.ptr)
        return self.at(addresses)

    def at(self, addresses: list[int]) -> list[Any]:
        """The results, for the addresses of arrays that fit."""
        module = cupy()
        bind()
        if self._alone or module.cuda.runtime.getDevice() == self.device:
            return self._launched(addresses, module)
        with module.cuda.Device(self.device):
            return self._launched(addresses, module)

    def _launched(self, addresses: list[int], module: Any) -> list[Any]:
        make, alloc, words = self._make, module.cuda.alloc, self._parameters
        results, arena, bases = [], None, [0, *addresses]
        try:
            for shape, dtype, size in self.outputs:
                memory = alloc(size)
                bases.append(memory.ptr)
                results.append(make(shape, dtype, memory))
            if self.arena:
                arena = alloc(self.arena)
                bases.append(arena.ptr)
        except MemoryError:
            return self._with_more_memory(addresses, module)
        stream = module.cuda.get_current_stream(self.device).ptr
        at = ctypes.addressof(self._pointers)
        with self._lock:
            words[: len(self.words)] = [bases[base] + offset for base, offset in self.words]
            for launch, start in self.launches:
                try:
                    if isinstance(launch, LibraryCall):
                        launch.launch(stream, at + 8 * start)
                    else:
                        module.cuda.driver.launchKernel(*launch, stream, at + 8 * start, 0)
                except RuntimeError as error:
                    raise failed(error, self.name, None) from error
        return results

    def _with_more_memory(self, addresses: list[int], module: Any) -> list[Any]:
        """Tries again when pools have given back what they do not use, or says who holds it."""
        needed = sum(size for *_, size in self.outputs) + self.arena
        room = allocate(needed, self.name, Allocator)
        del room  # the pool keeps it for what follows
        return self._launched(addresses, module)
