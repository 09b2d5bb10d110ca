"""Calls: the launches of a body, planned once, on the slots of each who calls it."""

from __future__ import annotations

from collections.abc import Sequence

from jit.runtime.program import USED, Launch, Program, Slot, Step


class Calls:
    """Bodies in a program.

    Args:
        slots: Those of the program; what bodies need besides is appended.
    """

    def __init__(self, slots: list[Slot]) -> None:
        self._slots = slots
        self._constants: dict[tuple[Program, int], int] = {}

    def launches(self, body: Program, given: Sequence[int], results: Sequence[int]) -> list[Step]:
        """The steps of a body.

        Args:
            body: Launches only; each output has a slot of its own, that a launch writes.
            given: The slots of its inputs.
            results: The slots of its outputs.
        """
        slot_of = dict(zip(body.inputs, given, strict=True))
        slot_of.update(zip(body.outputs, results, strict=True))
        for number, slot in enumerate(body.slots):
            if number not in slot_of:
                slot_of[number] = self._own(body, number, slot)
        steps = list[Step]()
        for step in body.steps:
            assert isinstance(step, Launch)
            steps.append(step.on(slot_of))
        return steps

    def _own(self, body: Program, number: int, slot: Slot) -> int:
        """A slot for what the body computes on the way; its constants are the same each time."""
        known = self._constants.get((body, number))
        if known is not None:
            return known
        self._slots.append(slot)
        if slot.role != USED:
            self._constants[body, number] = len(self._slots) - 1
        return len(self._slots) - 1
