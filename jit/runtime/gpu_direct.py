"""Direct: the quickest way to call one or two launches on a GPU, for ops that are applied alone.

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
from jit.runtime.cublas_choice import Choice
from jit.runtime.cuda import allocate, array_maker, bind, cupy, failed
from jit.runtime.gpu_frame import SHORTEST, prepared
from jit.runtime.gpu_table import ARENA, LEDGER, Table

Shapes = Sequence[tuple[int, ...]]


class Allocator:
    """CuPy's current allocator, as a pool."""

    @staticmethod
    def malloc(size: int) -> Any:
        """New memory on the active device."""
        return cupy().cuda.alloc(size)


def direct(
    table: Table, device: int, inputs: Shapes, outputs: Shapes
) -> Callable[..., list[Any] | None] | None:
    """`direct(*arrays)`: a list of the results; None where an array does not fit.

    Args:
        table: What is launched.
        device: The number of the GPU.
        inputs: The shapes in which arrays come: as many elements each as the program's.
        outputs: The shapes of the results, likewise.

    Returns:
        None if a call needs more: host steps, checks, constants, results that are arguments.
    """
    program = table.program
    simple = len(table.stretches) == 1 and len(table.rows) < SHORTEST
    roles = {program.slots[slot].role for slot in program.outputs}
    whole = len({*program.outputs}) == len(program.outputs) and roles <= {"temporary"}
    if not (simple and whole) or any(slot.role == "constant" for slot in program.slots):
        return None
    return Direct(table, device, inputs, outputs)


class Direct:
    """One or two launches."""

    def __init__(self, table: Table, device: int, inputs: Shapes, outputs: Shapes) -> None:
        program = table.program
        self.name, self.device = program.name, device
        types = [program.slots[slot].type for slot in (*program.inputs, *program.outputs)]
        count = len(program.inputs)
        self._inputs = [(tuple(s), t.dtype) for s, t in zip(inputs, types[:count])]
        self._outputs = [
            (tuple(shape), t.dtype, math.prod(shape) * t.dtype.itemsize or 1)
            for shape, t in zip(outputs, types[count:])
        ]
        self._arena = table.arena if table.offsets or table.arena > table.workspace else 0
        self._words = (ctypes.c_int64 * max(len(table.index), 1))(*table.offset.tolist())
        first = ctypes.addressof(self._words)
        count = len(self._words)
        self._pointers = (ctypes.c_void_p * count)(*[first + 8 * k for k in range(count)])
        at = ctypes.addressof(self._pointers)
        self._launches = [(prepared(row, device), at + 8 * row.start) for row in table.rows]
        self._make = array_maker(cupy())
        self._alone = cupy().cuda.runtime.getDeviceCount() == 1
        self._set_places(table)
        self._lock = threading.Lock()

    def _set_places(self, table: Table) -> None:
        """Which words are the address of which array; for the arena, with offsets."""
        program = table.program
        index, offset = table.index.tolist(), table.offset.tolist()
        bases = [table.base_of[slot] for slot in (*program.inputs, *program.outputs)]
        numbers = {base: number for number, base in enumerate(bases)}
        words = list(enumerate(zip(index, offset)))
        self._places = [(k, numbers[base], by) for k, (base, by) in words if base in numbers]
        status = [k for k, x in enumerate(index) if x == ARENA and offset[k] == table.ledger]
        inside = [k for k, x in enumerate(index) if x == ARENA and offset[k] != table.ledger]
        self._inside = [(k, offset[k]) for k in inside]
        # No launch reports failure, so all may have one word for that.
        self._status = allocate(LEDGER, "a status word", Allocator)
        for k in status:
            self._words[k] = self._status.ptr

    def __call__(self, *arrays: Any) -> list[Any] | None:
        """The results."""
        ndarray, addresses = cupy().ndarray, []
        for array, (shape, dtype) in zip(arrays, self._inputs, strict=True):
            if array.__class__ is not ndarray or array.shape != shape or array.dtype != dtype:
                return None
            data = array.data
            if not array.flags.c_contiguous or data.ptr % ALIGNED or data.device_id != self.device:
                return None
            addresses.append(data.ptr)
        return self.at(addresses)

    def at(self, addresses: list[int]) -> list[Any]:
        """The results, for the addresses of arrays that fit; the list is used up."""
        module = cupy()
        bind()
        if self._alone or module.cuda.runtime.getDevice() == self.device:
            return self._launched(addresses, module)
        with module.cuda.Device(self.device):
            return self._launched(addresses, module)

    def _launched(self, addresses: list[int], module: Any) -> list[Any]:
        make, alloc, words = self._make, module.cuda.alloc, self._words
        results, arena, count = [], None, len(addresses)
        try:
            for shape, dtype, size in self._outputs:
                memory = alloc(size)
                addresses.append(memory.ptr)
                results.append(make(shape, dtype, memory))
            if self._arena:
                arena = alloc(self._arena)
        except MemoryError:
            return self._with_more_memory(addresses[:count], module)
        stream = module.cuda.get_current_stream(self.device).ptr
        with self._lock:
            for k, number, offset in self._places:
                words[k] = addresses[number] + offset
            if arena is not None:
                for k, offset in self._inside:
                    words[k] = arena.ptr + offset
            for launch, at in self._launches:
                try:
                    if isinstance(launch, Choice):
                        launch.launch(stream, at)
                    else:
                        module.cuda.driver.launchKernel(*launch, stream, at, 0)
                except RuntimeError as error:
                    raise failed(error, self.name, None) from error
        return results

    def _with_more_memory(self, addresses: list[int], module: Any) -> list[Any]:
        """Tries again when pools have given back what they do not use, or says who holds it."""
        needed = sum(size for *_, size in self._outputs) + self._arena
        room = allocate(needed, self.name, Allocator)
        del room  # the pool keeps it for what follows
        return self._launched(addresses, module)
