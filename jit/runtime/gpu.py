"""GpuExecutable: a program whose kernels run on a GPU, called with CuPy's arrays.

A call puts its launches on the current stream and comes back. Guards and checks are asked once, all
together, after the last of them: until then nothing outside has been written, and then it waits.
Numbers and arrays of the host among the inputs are copied to the device.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from jit.dims import free_symbols, solve
from jit.errors import DeviceError, DTypeError, GraphError, GuardMiss, LaunchFailed
from jit.loops.ir import Kernel
from jit.runtime import cudnn_choice
from jit.runtime.alone import Alone
from jit.runtime.binding import Pairs, Shapes
from jit.runtime.cublas import ALIGNED
from jit.runtime.cublas_choice import chosen
from jit.runtime.cuda import active, allocate, bind, cupy, pool
from jit.runtime.cudnn import Convolving
from jit.runtime.gpu_answers import Answers
from jit.runtime.gpu_code import GpuCode
from jit.runtime.gpu_direct import direct
from jit.runtime.gpu_entry import Entry, is_free
from jit.runtime.gpu_frame import KEPT, Frame, current
from jit.runtime.gpu_outputs import Made, Outputs, Turn
from jit.runtime.gpu_table import LEDGER, Ask, Table
from jit.runtime.library_call import LibraryCall
from jit.runtime.memory import donors
from jit.runtime.program import HostStep, Program
from jit.runtime.timing import Timing

KEPT_BINDINGS = 16
COPIED = 1 << 26  # bytes of inputs up to which they are copied, if their addresses never come again
REMEMBERED = 64  # bytes of an array of the host that is copied only when it has changed


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
        self._recent: tuple[Pairs, GpuBinding | None] = (), None

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
        with active(self.device):
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
        with active(self.device):
            frame = GpuRun(self.binding(arrays), self.device)
            return frame(arrays, timed=True), frame.times

    def direct(
        self,
        arrays: Sequence[Any],
        inputs: Shapes | None = None,
        outputs: Shapes | None = None,
        *,
        alone: bool = False,
    ) -> Callable[..., list[Any] | None] | None:
        """The quickest way to call it again with arrays like these; see `gpu_direct.direct`."""
        table = self.binding(arrays).table
        given = inputs or [table.shape(slot) for slot in self.program.inputs]
        made = outputs or [table.shape(slot) for slot in self.program.outputs]
        with active(self.device):
            return direct(table, self.device, given, made, alone=alone)

    def binding(self, arrays: Sequence[Any], donate: Pairs = ()) -> GpuBinding:
        """The program for the sizes of these arrays, kept for when they come again."""
        pairs, binding = self._recent
        if binding is not None and donate is pairs and not self._symbolic:
            return binding  # many pairs take long to look up
        shapes = tuple([array.shape for array in arrays]) if self._symbolic else None
        binding = self._bound.get((donate, shapes))
        if binding is None:
            sizes = solve(self._shapes, [array.shape for array in arrays])
            if len(self._bound) == KEPT_BINDINGS:
                self._bound.clear()
            library = partial(chosen, device=self.device)
            table = Table(self.program, sizes, self._codes, library, self._convolve)
            binding = self._bound[donate, shapes] = GpuBinding(table, donate)
        self._recent = donate, binding
        return binding

    def _convolve(self, job: Convolving, alone: Alone) -> LibraryCall | None:
        """How a library computes a convolution, if it does."""
        return cudnn_choice.chosen(job, self.device, lambda: self._seconds(alone.own))

    def _seconds(self, program: Program) -> float:
        """What a program takes whose values do not matter, when it is run again."""
        types = [program.slots[slot].type for slot in program.inputs]
        arrays = [cupy().zeros(type_.shape, type_.dtype) for type_ in types]
        run = GpuExecutable(program, self._codes, self.device)
        times = [run.timed(arrays)[1] for _ in range(2)]
        return sum(each.seconds for each in times[-1])


class GpuBinding:
    """A program for one set of sizes.

    Attributes:
        table: Its launches.
        frames: Free ones.
        inputs: Of each the number of its base, its shape and dtype.
        constants: The slot and value of each.
        given: Number of an output to that of the input whose memory it may take.
        made: Outputs that are computed.
        passed: Outputs that are there already: position to the slot of an input or constant.
        repeated: Outputs that are others: position to the first one.
        fixed: Outputs that come back as inputs.
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
        self.fixed = {wanted for _, wanted in fit}
        self.made: list[Made] = []
        self.passed: dict[int, int] = {}
        self.repeated: dict[int, int] = {}
        for position, slot in enumerate(program.outputs):
            first = program.outputs.index(slot)
            if program.slots[slot].role in ("input", "constant"):
                self.passed[position] = slot
            elif first < position:
                self.repeated[position] = first
            else:
                shape, dtype = table.shape(slot), program.slots[slot].type.dtype
                size = math.prod(shape) * dtype.itemsize
                self.made.append(Made(position, table.base_of[slot], shape, dtype, size))

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
        self.frame = Frame(table, device, len(binding.inputs))
        self.name = table.program.name
        self.times: list[Timing] = []
        self.constants = {
            slot: cupy().asarray(np.asarray(x.value, x.type.dtype).reshape(x.type.shape))
            for slot, x in binding.constants
        }
        for slot, array in self.constants.items():
            self.frame.bases[table.base_of[slot]] = array.data.ptr
        given = binding.given
        self._entry = Entry(binding.inputs, self.frame.bases, device, [*given.values()])
        self._gifts = [x for x in binding.made if x.position in given]
        made = [x for x in binding.made if x.position not in given]
        self._results_need = sum(x.size for x in made)
        self._outputs = Outputs(made, self._others(), binding.repeated, self.name, binding.fixed)
        self._arrays: list[Any] = []  # of the call that runs, and the turn that it has
        self._turn: Turn | None = None
        self._staged: dict[int, Any] = {}
        self._values: dict[
            int, tuple[bytes | None, int]
        ] = {}  # what was copied last, on which stream
        self._key = b""
        self._seen: dict[bytes, tuple[int, ...]] = {}
        asking = table.rows[0].launch.source if table.rows else None
        self._answers = Answers(table.ledger_bytes, f"{self.name}, before it was asked", asking)
        self._asks_last = self._may_go_on()

    def _others(self) -> dict[int, int]:
        """Which results are there before: position to number, of inputs and then of constants."""
        program, given = self.table.program, self.binding.given
        slots = [*program.inputs, *self.constants]
        found = {position: slots.index(slot) for position, slot in self.binding.passed.items()}
        return {**found, **given}

    def _may_go_on(self) -> bool:
        """Whether all is launched before the host waits for answers: nothing of others is written.

        What follows on an answer that is not the one expected computes with values that are not
        meant; it stays within its memory all the same, as every launch looks at its own indices.
        """
        asking = [k for k, x in enumerate(self.table.stretches) if isinstance(x.then, Ask)]
        rest = self.table.stretches[asking[0] + 1 :] if asking else []
        return bool(asking) and not self._gifts and all(x.then is None for x in rest)

    def __call__(self, arrays: list[Any], *, timed: bool = False) -> list[Any]:
        """The outputs."""
        stream = current()
        frame = self.frame
        frame.follow(stream)
        try:
            elsewhere = frame.enter(stream, self._results_need)
            return self._call(arrays, stream, elsewhere=elsewhere, timed=timed)
        finally:
            frame.leave()

    def _call(self, arrays: list[Any], stream: Any, *, elsewhere: bool, timed: bool) -> list[Any]:
        frame, entry = self.frame, self._entry
        found = entry.read(arrays)
        busy: list[Made] = []
        if found < 0:
            arrays, busy = self._enter(arrays, stream)
        elif entry.copied or entry.by_python:
            arrays = self._bring_some(arrays, stream)
        if found or elsewhere:
            self._moved(arrays, stream)
        turn = self._turn = self._outputs.take(busy)
        self._arrays = arrays
        try:
            frame.begin((self._key, turn.number) if turn.number else None, self._places)
            self._steps(stream, timed=timed)
            taken = self._outputs.copy_out(stream)
            return self._results(turn, taken, arrays)
        finally:
            self._arrays, self._turn = [], None

    # ----- what comes in -----

    def _enter(self, arrays: list[Any], stream: Any) -> tuple[list[Any], list[Made]]:
        """Sets the bases of inputs one by one.

        Returns:
            The arrays whose memory they are, and the outputs that cannot take that of an input.
        """
        pairs = self.binding.given
        busy = [x for x in self._gifts if not is_free(arrays, pairs[x.position])]
        given, bases = list[Any](), self.frame.bases
        ndarray, device = cupy().ndarray, self.device
        staged = {k for k, _ in self._entry.copied}
        for k, (array, (base, shape, dtype)) in enumerate(
            zip(arrays, self.binding.inputs, strict=True)
        ):
            data = array.data if array.__class__ is ndarray else None
            if (
                data is not None
                and array.dtype == dtype
                and array.shape == shape
                and data.device_id == device
                and data.ptr
                and data.ptr % ALIGNED == 0
                and array.flags.c_contiguous
                and k not in staged
            ):
                bases[base] = data.ptr
            else:
                array = self._bring(k, array, stream)
                if k not in pairs.values():
                    self._entry.leave(k)
            given.append(array)
        return given, busy

    def _bring_some(self, arrays: list[Any], stream: Any) -> list[Any]:
        """Copies what always moves to its place, and brings what is not in order."""
        bases, runtime = self.frame.bases, cupy().cuda.runtime
        kind = runtime.memcpyDeviceToDevice
        for k, aside in self._entry.copied:
            memory = self._staged[k]
            runtime.memcpyAsync(memory.ptr, int(bases[aside]), arrays[k].nbytes, kind, stream.ptr)
        if not self._entry.by_python:
            return arrays
        given = arrays.copy()
        for k in self._entry.by_python:
            given[k] = self._bring(k, arrays[k], stream)
        self._moved(given, stream)
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
        if number in self._staged:
            self._copy(number, array.data.ptr, array.nbytes, stream, "memcpyDeviceToDevice")
            self._values.pop(number, None)
        else:
            self.frame.bases[base] = array.data.ptr or self.frame.arena.ptr
        return array

    def _copy(self, number: int, source: int, size: int, stream: Any, kind: str) -> None:
        self.frame.bases[self.binding.inputs[number][0]] = place = self._place_for(number).ptr
        runtime = cupy().cuda.runtime
        runtime.memcpyAsync(place, source, size, getattr(runtime, kind), stream.ptr)

    def _place_for(self, number: int) -> Any:
        """Memory of an input that is copied."""
        if number not in self._staged:
            _, shape, dtype = self.binding.inputs[number]
            size = math.prod(shape) * dtype.itemsize
            self._staged[number] = allocate(size, f"an argument of {self.name}", pool())
        return self._staged[number]

    def _moved(self, arrays: list[Any], stream: Any) -> None:
        """Looks where inputs lie now.

        Those with other addresses each time are copied from now on, so that graphs can be replayed.
        """
        bases = self.frame.bases
        key = bases[: self.table.outputs_from].tobytes()
        if key == self._key:
            return
        self._key = key
        if key in self._seen:
            return
        self._seen[key] = tuple([int(bases[base]) for base, *_ in self.binding.inputs])
        if len(self._seen) <= KEPT:
            return
        taken = {*self.binding.given.values(), *self._staged}
        columns = enumerate(zip(*self._seen.values()))
        moving = [k for k, x in columns if len(set(x)) > KEPT // 2 and k not in taken]
        shapes = [self.binding.inputs[k] for k in moving]
        if sum(math.prod(shape) * dtype.itemsize for _, shape, dtype in shapes) <= COPIED:
            for k in moving:
                self._entry.copy(k)
                self._copy(k, arrays[k].data.ptr, arrays[k].nbytes, stream, "memcpyDeviceToDevice")
            self._key = bases[: self.table.outputs_from].tobytes()
        self._seen.clear()

    # ----- what goes out -----

    def _places(self) -> None:
        """Sets the bases of outputs."""
        bases, turn = self.frame.bases, self._turn
        assert turn is not None
        for x in self._gifts:
            bases[x.base] = self._arrays[self.binding.given[x.position]].data.ptr
        for base, address in self._outputs.places(turn).items():
            bases[base] = address

    def _results(self, turn: Turn, taken: list[Any], arrays: list[Any]) -> list[Any]:
        """All results, in order."""
        there = [*turn.arrays, *taken, *arrays, *self.constants.values()]
        results = list(turn.order(there))
        if self._entry.by_python:
            for position, slot in self.binding.passed.items():
                if slot not in self.constants:
                    results[position] = cupy().asarray(results[position])
        return results

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
                self._answers.fetch(self.frame.arena.ptr + self.table.ledger, stream)
                if not self._asks_last:
                    self._ask(stream)
        if self._asks_last:
            self._ask(stream)

    def array(self, slot: int) -> Any:
        """The value of a slot, as an array."""
        table, module = self.table, cupy()
        if slot in table.program.inputs:
            return self._arrays[table.program.inputs.index(slot)]
        if slot in self.constants:
            return self.constants[slot]
        dtype, shape = table.slot(slot).type.dtype, table.shape(slot)
        if slot in table.base_of:
            self.frame.settle()
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
        """Waits for the status word and what guards ask; raises unless all hold."""
        table = self.table
        if self._answers.wait():
            start = self.frame.arena.ptr + table.ledger
            cupy().cuda.runtime.memsetAsync(start, 0, LEDGER, stream.ptr)
            raise LaunchFailed(0)
        answers = self._answers.bytes
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
