"""GpuExecutable: a program whose kernels run on a GPU, called with CuPy's arrays.

A call puts its launches on the current stream and comes back. Guards and checks are asked once, all
together, after the last of them: until then nothing outside has been written, and then it waits.
Numbers and arrays of the host among the inputs are copied to the device.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from sys import getrefcount
from typing import Any
from weakref import getweakrefcount

import numpy as np

from jit.dims import free_symbols, solve
from jit.errors import DeviceError, DTypeError, GraphError, GuardMiss, LaunchFailed
from jit.loops.ir import Kernel
from jit.runtime.binding import Pairs, Shapes
from jit.runtime.cuda import allocate, bind, cupy, pool
from jit.runtime.gpu_code import GpuCode
from jit.runtime.gpu_direct import direct
from jit.runtime.gpu_frame import KEPT, Frame, current
from jit.runtime.gpu_table import ALIGNMENT, LEDGER, Table
from jit.runtime.memory import donors
from jit.runtime.program import HostStep, Program
from jit.runtime.timing import Timing

KEPT_BINDINGS = 16
SMALL = 1 << 16  # bytes of an output up to which it is copied out of the arena
COPIED = 1 << 26  # bytes of inputs up to which they are copied, if their addresses never come again
IN_TURNS = 1 << 26  # bytes of an output up to which its memory is kept for later calls
TURNS = 3  # arrays that take turns as an output
ONLY_OURS = 2  # references to an element of a list, as `getrefcount` counts them
REMEMBERED = 64  # bytes of an array of the host that is copied only when it has changed
ALIGNED = 16  # what addresses of arrays are multiples of


class GpuExecutable:
    """A program with code for a GPU.

    Args:
        program: Must not be changed afterwards.
        codes: The code of each kernel.
        device: The number of the GPU.

    Attributes:
        program: What runs.
    """

    def __init__(self, program: Program, codes: Mapping[Kernel, GpuCode], device: int) -> None:
        self.program, self.device, self._codes = program, device, codes
        self._shapes = [program.slots[slot].type.shape for slot in program.inputs]
        self._symbolic = any(free_symbols(d) for shape in self._shapes for d in shape)
        self._bound: dict[object, GpuBinding] = {}

    @property
    def foreign_calls(self) -> int:
        """How many times launches are handed to the driver: host steps come in between."""
        return 1 + sum(isinstance(step, HostStep) for step in self.program.steps)

    def __call__(self, arrays: list[Any], donate: Pairs = ()) -> list[Any]:
        """The program's outputs.

        Args:
            arrays: One for each input, on this device or on the host.
            donate: Pairs (input, output): the output is the very array of the input, with its
                memory, if nobody but `arrays` and one holder refers to it, and no run that has
                written it can end early.

        Raises:
            GuardMiss: A guard saw another answer; nothing outside was changed.
            LaunchFailed: A check did not hold; nothing outside was changed.
        """
        bind()
        module = cupy()
        if module.cuda.runtime.getDevice() == self.device:
            return self._run(arrays, donate)
        with module.cuda.Device(self.device):
            return self._run(arrays, donate)

    def _run(self, arrays: list[Any], donate: Pairs) -> list[Any]:
        binding = self.binding(arrays, donate)
        try:
            frame = binding.frames.pop()
        except IndexError:
            frame = GpuRun(binding, self.device)
        try:
            return frame(arrays)
        finally:
            binding.frames.append(frame)

    def timed(self, arrays: list[Any]) -> tuple[list[Any], list[Timing]]:
        """The outputs, and what each launch took, one after the other."""
        with cupy().cuda.Device(self.device):
            frame = GpuRun(self.binding(arrays), self.device)
            return frame(arrays, timed=True), frame.times

    def direct(
        self, arrays: Sequence[Any], inputs: Shapes | None = None, outputs: Shapes | None = None
    ) -> Callable[..., list[Any] | None] | None:
        """The quickest way to call it again with arrays like these; see `gpu_direct.direct`."""
        table = self.binding(arrays).table
        given = inputs or [table.shape(slot) for slot in self.program.inputs]
        made = outputs or [table.shape(slot) for slot in self.program.outputs]
        with cupy().cuda.Device(self.device):
            return direct(table, self.device, given, made)

    def binding(self, arrays: Sequence[Any], donate: Pairs = ()) -> GpuBinding:
        """The program for the sizes of these arrays, kept for when they come again."""
        shapes = tuple([array.shape for array in arrays]) if self._symbolic else None
        binding = self._bound.get((donate, shapes))
        if binding is None:
            sizes = solve(self._shapes, [array.shape for array in arrays])
            if len(self._bound) == KEPT_BINDINGS:
                self._bound.clear()
            table = Table(self.program, sizes, self._codes)
            binding = self._bound[donate, shapes] = GpuBinding(table, donate)
        return binding


class GpuBinding:
    """A program for one set of sizes.

    Attributes:
        table: Its launches.
        frames: Free ones.
        inputs: Of each the number of its base, its shape and dtype.
        constants: The slot and value of each.
        given: Number of an output to that of the input whose memory it may take.
        made: Outputs that are computed: position, base, shape, dtype, bytes.
        passed: Outputs that are there already: position, slot, the first position of that slot.
    """

    def __init__(self, table: Table, donate: Pairs) -> None:
        self.table = table
        program = table.program
        self.frames: list[GpuRun] = []
        self.inputs = [
            (table.base_of[slot], table.shape(slot), program.slots[slot].type.dtype)
            for slot in program.inputs
        ]
        slots = list(enumerate(program.slots))
        self.constants = [(k, slot) for k, slot in slots if slot.role == "constant"]
        fit = [pair for pair in donate if self._alike(*pair)]
        self.given = donors(program, fit, table.times, table.may_fail)
        self.made: list[tuple[int, int, tuple[int, ...], np.dtype[Any], int]] = []
        self.passed: list[tuple[int, int, int]] = []
        for position, slot in enumerate(program.outputs):
            first = program.outputs.index(slot)
            if program.slots[slot].role in ("input", "constant") or first < position:
                self.passed.append((position, slot, first))
            else:
                shape, dtype = table.shape(slot), program.slots[slot].type.dtype
                size = math.prod(shape) * dtype.itemsize
                self.made.append((position, table.base_of[slot], shape, dtype, size))
        state = {wanted for _, wanted in fit}  # comes back as an input: its memory is used in turns
        self.small = [x for x in self.made if x[4] <= SMALL and x[0] not in state]

    def _alike(self, given: int, wanted: int) -> bool:
        table, program = self.table, self.table.program
        old, new = program.inputs[given], program.outputs[wanted]
        same = program.slots[old].type.dtype == program.slots[new].type.dtype
        return same and table.shape(old) == table.shape(new)


class GpuRun:
    """Runs a binding, one call at a time.

    Attributes:
        times: What each launch took, of a call that was timed.
    """

    def __init__(self, binding: GpuBinding, device: int) -> None:
        self.binding, self.device = binding, device
        self.table = table = binding.table
        self.frame = Frame(table, device)
        self.name = table.program.name
        self.held: dict[int, Any] = {}  # arrays by slot, during a call
        self.times: list[Timing] = []
        self.constants = {
            slot: cupy().asarray(np.asarray(x.value, x.type.dtype).reshape(x.type.shape))
            for slot, x in binding.constants
        }
        for slot, array in self.constants.items():
            self.frame.bases[table.base_of[slot]] = array.data.ptr
        self._places_of_small()
        self._staged: dict[int, Any] = {}
        self._values: dict[
            int, tuple[bytes | None, int]
        ] = {}  # what was copied last, on which stream
        self._turns: dict[int, list[Any]] = {}
        self._copied: set[int] = set()  # inputs whose addresses never come again
        self._seen: list[tuple[int, ...]] = []
        self._answers = np.zeros(table.ledger_bytes, np.uint8)

    def _places_of_small(self) -> None:
        """Small outputs lie side by side: one copy takes them out."""
        self.places: dict[int, int] = {}
        size = 0
        for position, *_, bytes_ in self.binding.small:
            self.places[position] = size
            size += -(-max(bytes_, 1) // ALIGNMENT) * ALIGNMENT
        self.out = allocate(size, f"the results of {self.name}", pool()) if size else None
        self.out_bytes = size

    def __call__(self, arrays: list[Any], *, timed: bool = False) -> list[Any]:
        """The outputs."""
        free = {k for k in self.binding.given.values() if is_free(arrays, k)}
        stream = current()
        given = self._enter(arrays, stream)
        self.held = dict(zip(self.table.program.inputs, given))
        try:
            results = self._outputs(arrays, free)
            if self.frame.begin(stream):
                self._watch_addresses()
            self._steps(stream, timed=timed)
            self._take_out(results, stream)
            self._pass_on(results)
        finally:
            self.held = {}
        return results

    # ----- what comes in -----

    def _enter(self, arrays: list[Any], stream: Any) -> list[Any]:
        """Sets the bases of inputs; the arrays whose memory they are."""
        given, bases, nowhere = list[Any](), self.frame.bases, self.frame.arena.ptr
        ndarray, device, copied = cupy().ndarray, self.device, self._copied
        for k, (array, (base, shape, dtype)) in enumerate(
            zip(arrays, self.binding.inputs, strict=True)
        ):
            data = array.data if array.__class__ is ndarray else None
            if (
                data is not None
                and array.dtype == dtype
                and array.shape == shape
                and data.device_id == device
                and data.ptr % ALIGNED == 0
                and array.flags.c_contiguous
                and k not in copied
            ):
                bases[base] = data.ptr or nowhere
            else:
                array = self._bring(k, array, stream)
            given.append(array)
        return given

    def _bring(self, number: int, array: Any, stream: Any) -> Any:
        """An input in order; what the host holds, or what always moves, is copied to one place."""
        base, shape, dtype = self.binding.inputs[number]
        if array.dtype != dtype or array.shape != shape:
            given = f"argument {number} of {self.name} is {array.dtype}{list(array.shape)}"
            raise DTypeError(given, f"{dtype}{list(shape)}", "convert it first")
        if isinstance(array, np.ndarray | np.generic):
            array = np.ascontiguousarray(array).reshape(shape)
            known = array.tobytes() if array.nbytes <= REMEMBERED else None
            if known is None or self._values.get(number) != (known, stream.ptr):
                self._copy(number, array.ctypes.data, array.nbytes, stream, "memcpyHostToDevice")
                self._values[number] = known, stream.ptr
            else:
                self.frame.bases[base] = self._staged[number].ptr
            return array
        if array.data.device_id != self.device:
            raise DeviceError(
                f"argument {number} of {self.name} lies on gpu:{array.data.device_id}",
                f"gpu:{self.device}, where it was compiled for",
                f'x.to("gpu:{self.device}")',
            )
        if not array.flags.c_contiguous or array.data.ptr % ALIGNED:
            array = cupy().array(array, order="C", copy=True)
        if number in self._copied:
            self._copy(number, array.data.ptr, array.nbytes, stream, "memcpyDeviceToDevice")
        else:
            self.frame.bases[base] = array.data.ptr
        return array

    def _copy(self, number: int, source: int, size: int, stream: Any, kind: str) -> None:
        place = self._staged.get(number)
        if place is None:
            place = self._staged[number] = allocate(size, f"an argument of {self.name}", pool())
        runtime = cupy().cuda.runtime
        self.frame.bases[self.binding.inputs[number][0]] = place.ptr
        runtime.memcpyAsync(place.ptr, source, size, getattr(runtime, kind), stream.ptr)

    # ----- what goes out -----

    def _outputs(self, arrays: list[Any], free: set[int]) -> list[Any]:
        """Arrays for the results that have memory of their own; small ones come later.

        Args:
            arrays: What the call was given.
            free: Those whose memory may be taken.
        """
        results: list[Any] = [None] * len(self.table.program.outputs)
        for position, base, shape, dtype, size in self.binding.made:
            number = self.binding.given.get(position)
            if number is not None and number in free:
                results[position] = array = arrays[number]
                address = array.data.ptr
            elif position in self.places:
                assert self.out is not None
                address = self.out.ptr + self.places[position]
            else:
                in_turns = number is None and size <= IN_TURNS
                results[position] = array = self._room(position, shape, dtype, size, in_turns)
                address = array.data.ptr
            self.frame.bases[base] = address
        return results

    def _room(self, position: int, shape: Any, dtype: Any, size: int, in_turns: bool) -> Any:  # noqa: FBT001
        """An array for a result: one of a few that take turns, so that addresses come again."""
        turns = self._turns.setdefault(position, [])
        for k in range(len(turns)):
            if getrefcount(turns[k]) == ONLY_OURS and getweakrefcount(turns[k]) == 0:
                return turns[k]
        memory = allocate(size, f"a result of {self.name}", pool())
        array = cupy().ndarray(shape, dtype, memory)
        if in_turns and len(turns) < TURNS:
            turns.append(array)
        return array

    def _watch_addresses(self) -> None:
        """Inputs with other addresses each time are copied, so that graphs can be replayed."""
        bases = self.frame.bases
        key = tuple([int(bases[base]) for base, *_ in self.binding.inputs])
        if key in self._seen:
            return
        self._seen.append(key)
        if len(self._seen) <= KEPT:
            return
        columns = list(enumerate(zip(*self._seen)))
        moving = [k for k, column in columns if len(set(column)) > KEPT // 2]
        shapes = [self.binding.inputs[k] for k in moving]
        if sum(math.prod(shape) * dtype.itemsize for _, shape, dtype in shapes) <= COPIED:
            self._copied.update(moving)
        self._seen.clear()

    def _take_out(self, results: list[Any], stream: Any) -> None:
        """Copies small results into memory of their own."""
        if self.out is None:
            return
        module = cupy()
        runtime = module.cuda.runtime
        memory = allocate(self.out_bytes, f"the results of {self.name}", pool())
        kind = runtime.memcpyDeviceToDevice
        runtime.memcpyAsync(memory.ptr, self.out.ptr, self.out_bytes, kind, stream.ptr)
        for position, _, shape, dtype, _ in self.binding.small:
            results[position] = module.ndarray(shape, dtype, memory + self.places[position])

    def _pass_on(self, results: list[Any]) -> None:
        """Results that are inputs, constants, or other results."""
        for position, slot, first in self.binding.passed:
            if slot in self.constants:
                results[position] = self.constants[slot]
            elif first < position:
                results[position] = results[first]
            else:
                results[position] = cupy().asarray(self.held[slot])

    # ----- what happens in between -----

    def _steps(self, stream: Any, *, timed: bool) -> None:
        self.times = []
        for number, stretch in enumerate(self.table.stretches):
            if timed:
                launches = [self.table.rows[k].launch for k in stretch.rows]
                for launch, seconds in zip(launches, self.frame.timed(stretch, stream)):
                    size = sum(map(self.table.bytes_of, launch.buffers))
                    self.times.append(Timing((launch,), seconds, size))
            elif stretch.rows:
                self.frame.run(number, stretch, stream)
            if isinstance(stretch.then, HostStep):
                self._host(stretch.then)
            elif stretch.then is not None:
                self._ask(stream)

    def array(self, slot: int) -> Any:
        """The value of a slot, as an array."""
        if slot in self.held:
            return self.held[slot]
        if slot in self.constants:
            return self.constants[slot]
        table, module = self.table, cupy()
        dtype, shape = table.slot(slot).type.dtype, table.shape(slot)
        if slot in table.base_of:
            start = int(self.frame.bases[table.base_of[slot]])
            size = math.prod(shape) * dtype.itemsize
            memory = module.cuda.UnownedMemory(start, size, self, self.device)
            return module.ndarray(shape, dtype, module.cuda.MemoryPointer(memory, 0))
        return module.ndarray(shape, dtype, self.frame.arena + table.offsets[slot])

    def _host(self, step: HostStep) -> None:
        """What Python computes, with CuPy; the results are copied to where kernels expect them."""
        made = step.run([self.array(slot) for slot in step.inputs], self.table.sizes)
        for slot, value in zip(step.outputs, made, strict=True):
            place = self.array(slot)
            value = cupy().asarray(value)
            if value.shape != place.shape:
                what = f"{step.label or 'a host step'} gave shape {value.shape}"
                raise GraphError(what, f"{place.shape}", "correct its rule for types")
            place[...] = value

    def _ask(self, stream: Any) -> None:
        """Reads the status word and what guards ask, in one copy; raises unless all hold."""
        table, runtime = self.table, cupy().cuda.runtime
        start, answers = self.frame.arena.ptr + table.ledger, self._answers
        kind = runtime.memcpyDeviceToHost
        runtime.memcpyAsync(answers.ctypes.data, start, answers.nbytes, kind, stream.ptr)
        stream.synchronize()
        if answers[:4].any():
            runtime.memsetAsync(start, 0, LEDGER, stream.ptr)
            raise LaunchFailed(0)
        for guard in table.guards:
            dtype = table.slot(guard.slot).type.dtype
            offset = table.offsets.get(guard.slot)
            if offset is None:
                value = self.array(guard.slot).item()
            else:
                at = offset - table.ledger
                value = answers[at : at + dtype.itemsize].view(dtype)[0].item()
            actual = type(guard.expected)(value)
            if actual != guard.expected:
                raise GuardMiss(guard.index, actual)


def is_free(arrays: list[Any], number: int) -> bool:
    """Whether only `arrays` and one holder refer to an array with memory of its own."""
    count = getrefcount(arrays[number])
    array = arrays[number]
    return (
        count <= ALONE
        and not isinstance(array, np.ndarray)
        and array.base is None
        and getweakrefcount(array) == 0
        and array.flags.c_contiguous
        and array.data.ptr % ALIGNED == 0
    )


def _alone() -> int:
    """What CPython counts for an object that a list and one holder refer to, asked as above."""
    arrays = [object()]
    holder = [arrays[0]]
    return getrefcount(arrays[0]) * len(holder)


ALONE = _alone()
