"""Choice: at which of its crossings a recording is cut, if tapes live there.

A question that is asked during the life of a tape is a place to join if all that is done with the
tape is known: then the recording is cut at each of these things too. A sweep back over what came
before a question is one of them, whoever asks for it; else ways do not join there.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from dualflow.tracing.joins.crossings import Crossings
from dualflow.tracing.joins.sites import Crossing, Site


class Choice:
    """Chooses crossings of one recording.

    Args:
        crossings: All that were noted.
        blocked: Sites at which ways do not join.

    Attributes:
        dropped: More such sites that were found.
    """

    def __init__(self, crossings: Crossings, blocked: Iterable[Site]) -> None:
        self._found = crossings.found
        self._sweeps = crossings.sweeps
        self._unseen = {id(tape) for tape in crossings.unseen}
        self._blocked = set(blocked)
        self.dropped: dict[Site, None] = {}

    def crossings(self) -> list[Crossing]:
        """Those to cut at, in program order."""
        while True:
            chosen = self._chosen()
            bad = self._bad(chosen)
            if not bad:
                return chosen
            self.drop(bad)

    def drop(self, crossings: Iterable[Crossing]) -> None:
        """Does not cut at some of them, from now on."""
        self.dropped.update(dict.fromkeys(x.site for x in crossings))

    def _is_open(self, crossing: Crossing) -> bool:
        return crossing.site not in self._blocked and crossing.site not in self.dropped

    def _chosen(self) -> list[Crossing]:
        """All open questions, and what is done with the tapes that live at one of them."""
        chosen = {x for x in self._found if x.action is None and self._is_open(x)}
        known = -1
        while known < len(chosen):
            known = len(chosen)
            live = {id(tape) for x in chosen for tape, started in x.tapes if started}
            chosen.update(
                x for x in self._found if self._is_open(x) and live.intersection(acting(x))
            )
            chosen.update(
                sweep.crossing
                for sweep in self._sweeps
                if sweep.tape is None and sweep.crossing is not None
                if self._is_open(sweep.crossing)
                if any(sweep.oldest < x.tick < sweep.tick for x in chosen)
            )
        return sorted(chosen, key=lambda x: x.number)

    def _bad(self, chosen: list[Crossing]) -> list[Crossing]:
        """Those after which something is done to a tape, or with records, that no call can do."""
        unseen = self._unseen.union(
            key for x in self._found if not self._is_open(x) for key in acting(x)
        )
        bad = [x for x in chosen if any(id(tape) in unseen for tape, started in x.tapes if started)]
        there = {*chosen}
        for sweep in self._sweeps:
            if sweep.crossing not in there:
                bad += [x for x in chosen if sweep.oldest < x.tick < sweep.tick]
        for before, x in pairwise(chosen):
            handed = {id(tape) for tape, _ in before.tapes}
            if any(started and id(tape) not in handed for tape, started in x.tapes):
                bad.append(before)
        if chosen and any(started for _, started in chosen[0].tapes):
            bad.append(chosen[0])
        return bad


def acting(crossing: Crossing) -> list[int]:
    """The id of the tape with which something is done."""
    tape = None if crossing.action is None else crossing.action.tape
    return [] if tape is None else [id(crossing.tapes[tape][0])]
