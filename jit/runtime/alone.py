"""Launches alone: what runs in the place of a library's call, as a program of its own.

Kernels of our own are timed with it, before a library takes their place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from jit.dataclass import dataclass
from jit.dims import evaluate
from jit.runtime.program import Launch, Program, Slot


@dataclass(frozen=True)
class Alone:
    """Launches in the place of one that a library may compute.

    Attributes:
        program: What they are of.
        launch: The one.
        sizes: The value of each symbol.
    """

    program: Program
    launch: Launch
    sizes: Mapping[str, int]

    @property
    def own(self) -> Program:
        """What kernels of our own do, from what the launch reads to what it writes."""
        launches, whole = [*innermost(self.launch)], self.program
        read, written = whole.reads(self.launch), whole.writes(self.launch)
        used = dict.fromkeys([*read, *written, *(x for each in launches for x in each.buffers)])
        slot_of = {slot: number for number, slot in enumerate(used)}
        slots = [self._slot(slot, "input" if slot in read else "temporary") for slot in used]
        inputs = [slot_of[slot] for slot in dict.fromkeys(read)]
        steps = [
            replace(each.on(slot_of), sizes=tuple([self._known(x) for x in each.sizes]))
            for each in launches
        ]
        outputs = [slot_of[slot] for slot in written]
        return Program(f"{self.launch.label}, alone", slots, inputs, [*steps], outputs)

    def _slot(self, number: int, role: str) -> Slot:
        type_ = self.program.slots[number].type
        return Slot(type_.with_shape([self._known(x) for x in type_.shape]), role)

    def _known(self, extent: object) -> int:
        return int(evaluate(extent, self.sizes))  # type: ignore[arg-type]


def innermost(launch: Launch) -> Iterator[Launch]:
    """The launches in the place of one, and in their place, if no library computes anything."""
    if not launch.apart:
        yield launch
    for each in launch.apart:
        yield from innermost(each)
