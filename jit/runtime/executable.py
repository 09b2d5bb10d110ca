"""Executable: a program that can be called with arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jit.dims import free_symbols, solve
from jit.errors import DTypeError, GraphError, GuardMiss, LaunchFailed
from jit.loops.ir import Kernel
from jit.runtime import blocks
from jit.runtime.binding import Binding, Frame, Pairs, Room, Shapes, Within, fits, leave, room_for
from jit.runtime.hosts import refuse
from jit.runtime.native import native
from jit.runtime.native_code import FAILED
from jit.runtime.program import Array, GuardStep, HostStep, Program
from jit.runtime.tables import Numbering, address, shape_of
from jit.runtime.threads import Pool, pool

KEPT_BINDINGS = 64


class Executable:
    """A program with machine code for its kernels.

    Args:
        program: Must not be changed afterwards.
        link: The address of each kernel, or a function that gives it.
        threads: The threads that share large launches.

    Attributes:
        program: What runs.
    """

    def __init__(
        self,
        program: Program,
        link: Mapping[Kernel, int] | Callable[[Kernel], int],
        threads: Pool | None = None,
    ) -> None:
        self.program = program
        find = link if callable(link) else link.__getitem__
        kernels = {launch.kernel for launch in program.launches()}
        addresses = {kernel: find(kernel) for kernel in kernels}
        self._pool = threads or pool()
        self._numbering = Numbering(program, addresses, native().kernels)
        self._shapes = [program.slots[slot].type.shape for slot in program.inputs]
        symbolic = any(free_symbols(extent) for shape in self._shapes for extent in shape)
        self._bound: dict[object, Binding] = {}
        self._only = None if symbolic else self._bind({}, ())
        self._recent: tuple[Pairs, Any] = (), self._only

    @property
    def foreign_calls(self) -> int:
        """How many calls into native code one run makes: one, and one after each step by Python."""
        return 1 + len(self._numbering.by_python)

    def __call__(self, arrays: list[Array], donate: Pairs = ()) -> list[Array]:
        """The program's outputs.

        Args:
            arrays: One for each input. They are not written, except as `donate` says.
            donate: Pairs (input, output). The output takes the memory of the input, and is that
                very array, if nobody but `arrays` and one holder refers to the array (two
                references as CPython counts them), nobody has a weak reference to it, it is
                writeable, its memory is its own, and the order of the steps allows it. Otherwise
                the output is a new array.

        Raises:
            GuardMiss: A guard saw another answer; nothing outside was changed.
            LaunchFailed: A check did not hold; nothing outside was changed.
            ShapeError: A shape does not fit.
            DTypeError: A dtype does not fit.
        """
        binding = self._only
        if binding is None or donate:
            binding = self.binding(arrays, donate)
        if binding.shares and not self._pool.ready:
            self._pool.start()
        try:
            frame = binding.frames.pop()
        except IndexError:
            frame = binding.new_frame()
        try:
            return self.run(binding, frame, arrays)
        finally:
            binding.frames.append(frame)

    def direct(
        self,
        arrays: Sequence[Array],
        inputs: Shapes | None = None,
        outputs: Shapes | None = None,
        within: Within | None = None,
    ) -> Callable[..., list[Any] | None] | None:
        """The quickest way to call it again with arrays like these; see `Binding.direct`."""
        binding = self._only or self.binding(arrays)
        call = binding.direct(inputs, outputs, within)
        return self._shared(call) if call is not None and binding.shares else call

    def _shared(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """A direct call whose launches are shared out: it starts the threads, in any process."""
        pool = self._pool

        def shared(*given: Any) -> list[Any] | None:
            if not pool.ready:
                pool.start()
            return call(*given)

        return shared

    def run(self, binding: Binding, frame: Frame, arrays: list[Array]) -> list[Array]:
        """The outputs; nobody else uses `frame` meanwhile."""
        results = binding.results.copy()
        room = frame.room or room_for(binding.arena)
        try:
            for position, shape, dtype in binding.large:
                results[position] = blocks.take_array(shape, dtype)
            at = binding.enter(arrays, results, frame.slots, room.base)
            if at != binding.end or not binding.makes_all:
                self._complete(binding, frame, room, arrays, results, at)
            return results
        finally:
            if frame.room is None:
                leave(room)

    def _complete(
        self,
        binding: Binding,
        frame: Frame,
        room: Room,
        arrays: list[Array],
        results: list[Any],
        at: int,
    ) -> None:
        """What native code has left to do, which came to time `at`."""
        given = arrays
        if at < 0:
            arrays = self._conform(arrays, binding)
            at = binding.enter(arrays, results, frame.slots, room.base)
        if at != binding.end:
            Rest(binding, frame, room, arrays, results).go_on(at)
        for position, number in binding.passed:
            results[position] = given[number]
        for position, earlier in binding.repeated:
            results[position] = results[earlier]

    def binding(self, arrays: Sequence[Array], donate: Pairs = ()) -> Binding:
        """The program for the sizes of these arrays, kept for when they come again."""
        if self._only and not donate:
            return self._only
        recent = self._recent
        if self._only and donate is recent[0]:  # many pairs take long to look up
            return recent[1]
        key = donate if self._only else (donate, tuple([array.shape for array in arrays]))
        binding = self._bound.get(key)
        if binding is None:
            sizes = solve(self._shapes, [array.shape for array in arrays])
            if len(self._bound) == KEPT_BINDINGS:
                self._bound.clear()
            binding = self._bound[key] = self._bind(sizes, donate)
        self._recent = donate, binding
        return binding

    def _bind(self, sizes: Mapping[str, int], donate: Pairs) -> Binding:
        return Binding(self._numbering, sizes, donate, self._pool.block)

    def _conform(self, arrays: Sequence[Any], binding: Binding) -> list[Array]:
        """The arrays with their memory in order; those that are in order already stay."""
        refuse(arrays)
        arrays = [np.asarray(array) for array in arrays]
        solve(self._shapes, [array.shape for array in arrays])
        conformed = []
        for number, (array, slot) in enumerate(zip(arrays, self.program.inputs, strict=True)):
            dtype = binding.dtype(slot)
            if array.dtype != dtype and array.dtype.newbyteorder("=") != dtype:
                raise DTypeError(
                    f"argument {number} has dtype {array.dtype}", f"{dtype}", "convert it first"
                )
            if not fits(array, array.shape, dtype):
                array = np.array(array, dtype, order="C")
            conformed.append(array if array.dtype is dtype else array.view(dtype))
        return conformed


class Rest:
    """A run that has stopped for Python: it does the step, and lets native code go on."""

    def __init__(
        self,
        binding: Binding,
        frame: Frame,
        room: Room,
        arrays: list[Array],
        results: list[Any],
    ) -> None:
        self.binding, self.frame, self.room = binding, frame, room
        program = binding.program
        self.results = results
        self.held = dict(binding.numbering.constants)
        self.held.update(zip(program.inputs, arrays, strict=True))
        for position, slot in enumerate(program.outputs):
            if results[position] is not None:
                self.held[slot] = results[position]

    def go_on(self, at: int) -> None:
        """From the stop at time `at` to the end."""
        while at != self.binding.end:
            self.do(at)
            at = self.binding.resume(self.frame.slots, at + 1)

    def do(self, at: int) -> None:
        """What Python has to do at time `at`, where native code has stopped."""
        program = self.binding.program
        number = self.binding.numbering.times.moments[at].steps.start
        step = program.steps[number]
        if self.frame.words[0] == FAILED:
            raise LaunchFailed(number)
        if isinstance(step, GuardStep):
            self._guard(step)
        elif isinstance(step, HostStep):
            self._call(step)
            self._release(at)
        else:
            raise GraphError(f"{program.name}: step {number} stopped for no reason")

    def array(self, slot: int) -> Array:
        """The value of a slot."""
        if (array := self.held.get(slot)) is not None:
            return array
        binding = self.binding
        shape = shape_of(binding.program, slot, binding.sizes)
        if 0 in shape:  # then no step writes it, and it has no place
            return np.empty(shape, binding.dtype(slot))
        offset = self.room.start + binding.layout.offsets[slot]
        return np.ndarray(shape, binding.dtype(slot), self.room.memory, offset)

    def _guard(self, step: GuardStep) -> None:
        actual = type(step.expected)(self.array(step.slot).item())
        if actual != step.expected:
            raise GuardMiss(step.index, actual)

    def _call(self, step: HostStep) -> None:
        binding, program = self.binding, self.binding.program
        made = step.run([self.array(slot) for slot in step.inputs], binding.sizes)
        for slot, value in zip(step.outputs, made, strict=True):
            shape, dtype = shape_of(program, slot, binding.sizes), binding.dtype(slot)
            array = np.asarray(value)
            if array.shape != shape:
                what = f"{step.label or 'a host step'} gave shape {array.shape}"
                raise GraphError(what, f"{shape}", "correct its rule for types")
            if not (array.flags.owndata and fits(array, shape, dtype)):  # else its memory is shared
                array = np.array(array, dtype, order="C")
            self.held[slot] = array
            self.frame.words[slot + 1] = address(array)
            for position, output in enumerate(program.outputs):
                if output == slot:
                    self.results[position] = array

    def _release(self, at: int) -> None:
        """Drops what host steps made and nobody reads after the time `at`."""
        deaths = self.binding.numbering.times.deaths
        for slot in self.binding.numbering.from_host.intersection(self.held):
            if deaths[slot] <= at:
                del self.held[slot]
