"""A run with a clock: native code gets one moment at a time. Only for people who look."""

from __future__ import annotations

import copy
import time
from typing import Any

from jit.dataclass import dataclass
from jit.runtime.binding import Binding
from jit.runtime.executable import Executable
from jit.runtime.program import Array, Step
from jit.runtime.tables import byte_size


@dataclass(frozen=True)
class Timing:
    """What one moment of a run took.

    Attributes:
        steps: What was done: a step, or launches of one kernel that do not wait for each other.
        seconds: How long.
        bytes: What lies in the memory that was read and written, each slot counted once.
    """

    steps: tuple[Step, ...]
    seconds: float
    bytes: int


def timed(executable: Executable, arrays: list[Array]) -> tuple[list[Array], list[Timing]]:
    """A run of `executable`, and its times.

    Raises:
        GuardMiss: As a call does.
        LaunchFailed: As a call does.
    """
    clock = Clock(executable.binding(arrays))
    results = executable.run(clock.binding, clock.binding.new_frame(), arrays)
    return results, clock.timings()


class Clock:
    """Times the moments of one run.

    Attributes:
        binding: As the given one, but it looks at the clock between moments.
    """

    def __init__(self, binding: Binding) -> None:
        self.binding = copy.copy(binding)
        self._enter, self._step = binding.stepwise()
        self.binding.enter, self.binding.resume = self.enter, self.resume
        self._seconds = [0.0] * binding.end
        self._stopped = 0.0

    def enter(self, arrays: list[Array], results: list[Any], slots: int, base: int) -> int:
        """As `Binding.enter`."""
        misfit = self._enter(arrays, results, slots, base)
        self._stopped = time.perf_counter()
        return misfit or self._go_on(slots, 0)

    def resume(self, slots: int, first: int) -> int:
        """As `Binding.resume`; what Python has done since the stop is the moment before."""
        self._seconds[first - 1] = time.perf_counter() - self._stopped
        return self._go_on(slots, first)

    def _go_on(self, slots: int, first: int) -> int:
        for at in range(first, self.binding.end):
            start = time.perf_counter()
            reached = self._step[at](slots, at)
            self._stopped = time.perf_counter()
            if reached == at:
                return at
            self._seconds[at] = self._stopped - start
        return self.binding.end

    def timings(self) -> list[Timing]:
        """A Timing for each moment."""
        program, sizes = self.binding.program, self.binding.sizes
        found = []
        for moment, seconds in zip(self.binding.numbering.times.moments, self._seconds):
            touched = dict.fromkeys((*moment.reads, *moment.writes))
            steps = tuple(program.steps[moment.steps.start : moment.steps.stop])
            size = sum(byte_size(program, slot, sizes) for slot in touched)
            found.append(Timing(steps, seconds, size))
        return found
