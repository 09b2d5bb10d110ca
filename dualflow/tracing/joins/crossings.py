"""Crossings: the questions of one recording, each with the state of the program at that point.

What is done with the tapes of the call is noted in the same way, for the case that ways join during
the life of one.

A number that may vary is planted in the frame in place of the plain one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import replace
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any

from dualflow.autodiff.sweep import Sweep
from dualflow.autodiff.tape import GradientTape
from dualflow.core.context import checks_ops, context
from dualflow.core.number import refuses
from dualflow.core.record import Leaf, clock
from dualflow.core.source import is_users, line_of
from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable
from dualflow.tracing.guards.places import Untold
from dualflow.tracing.history import is_tracked
from dualflow.tracing.joins import acts, frames
from dualflow.tracing.joins.frames import Opaque, Point
from dualflow.tracing.joins.keys import State
from dualflow.tracing.joins.sites import Crossing, Sites, Swept
from dualflow.tracing.joins.tapes import Action, answered, roots
from jit.ir import builtin
from jit.ir.graph import Value

if TYPE_CHECKING:
    from dualflow.tracing.guards.reach import Reach
    from dualflow.tracing.trace import Trace

Place = tuple[Point, list[Any]]  # an instruction, and the operands that are left then
LOOPING = "dualflow.tracing.control.looping"
LOOPS = 3  # visits of one state after which a recording is taken to be a loop


class Crossings:
    """Notes the crossings of one recording.

    Args:
        sites: What is known of the function.
        root: The frame that calls it.
        python: What is called there.

    Attributes:
        found: The crossings, in program order.
        sweeps: What was swept over to find gradients.
        unseen: Tapes with which something was done where the state cannot be seen.
        uses: For all that was done with tapes and records the tick of the first that it is about.
        loops: Whether Python comes to the same state again and again.
        learned: Whether it came out that more numbers vary than were known to.
    """

    def __init__(self, sites: Sites, root: FrameType, python: Any) -> None:
        self.found: list[Crossing] = []
        self.sweeps: list[Swept] = []
        self.unseen: list[GradientTape] = []
        self.loops = self.learned = False
        self._tapes = context.tapes
        self.uses: list[int] = []
        self._sweeping = False
        self._sites = sites
        self._root = root
        self._python = python
        self._visits: dict[Hashable, int] = {}
        self._planted = False
        self._mode = mode()

    def note(self, trace: Trace, asked: Value, answer: bool | int, node: int) -> None:  # noqa: FBT001
        """Python has asked for a value.

        Args:
            trace: The recording.
            asked: The value.
            answer: What it is.
            node: How many nodes come before.
        """
        if self._sweeping:
            return
        try:
            around, _ = self._frames()
            seen = self._seen(trace, around, frames.innermost(around[0]))
            crossing = self._crossing(trace, around, seen, node, asked=asked, answer=answer)
        except (Opaque, Untold):
            return
        if self._add(trace, crossing):
            visits = self._visits[crossing.key] = self._visits.get(crossing.key, 0) + 1
            self.loops = self.loops or visits > LOOPS

    def note_tape(self, trace: Trace, tape: GradientTape, what: str, given: Sequence[Any]) -> None:
        """Python does something with a tape.

        Args:
            trace: The recording.
            tape: The tape.
            what: "start", "stop" or "watch"; anything else is more than a call can do again.
            given: What it is to watch.
        """
        self.uses.append(tape.born)
        if self._sweeping:
            return
        try:
            acting = acts.MAKERS.get(what)
            if acting is None:
                raise Opaque
            crossing = self._acting(trace, lambda state: acting(state, tape, given))
        except (Opaque, Untold):
            crossing = None
        if crossing is None or not self._add(trace, crossing):
            self.unseen.append(tape)

    def note_sweep(
        self,
        trace: Trace,
        sweep: Sweep,
        cotangents: Sequence[Tensor],
        sources: Sequence[Any] | None,
        tape: GradientTape | None,
    ) -> Callable[[dict[Any, Tensor]], None] | None:
        """Gradients are asked for.

        Args:
            trace: The recording.
            sweep: What finds them.
            cotangents: Of its targets.
            sources: By what; None: by all Variables.
            tape: Who is asked; None: `backward()`.

        Returns:
            What is to be told the gradients.
        """
        if self._sweeping:
            return None
        oldest = min([x.tick for x in sweep.records], default=next(clock))
        self.uses.append(oldest)
        swept = Swept(oldest, next(clock), tape)
        self.sweeps.append(swept)
        draft = None
        try:
            acts.check_orders(tape, oldest)
            asking = partial(acts.asks, sweep=sweep, cotangents=cotangents, sources=sources)
            draft = self._acting(trace, partial(asking, tape=tape))
        except (Opaque, Untold):
            self.unseen += [] if tape is None else [tape]
        self._sweeping = True

        def done(found: dict[Any, Tensor]) -> None:
            self._sweeping = False
            if draft is not None:
                with context.aside():
                    swept.crossing = self._swept(trace, draft, sweep, sources, tape, found)

        return done

    def _swept(
        self,
        trace: Trace,
        draft: Crossing,
        sweep: Sweep,
        sources: Sequence[Any] | None,
        tape: GradientTape | None,
        found: dict[Any, Tensor],
    ) -> Crossing | None:
        """The crossing of a sweep that is over; None where no call can do it again."""
        keys: list[Any] = list(roots(sweep))
        if sources is not None:
            assert tape is not None
            keys = [tape.key_of(x) for x in sources]
        answer, made = answered(found, keys, by_name=sources is not None)
        nodes = trace.graph.nodes[draft.node :]
        crossing = replace(
            draft,
            answer=answer,
            after=draft.node + len(nodes),
            line=trace.scalars.begin(),
            gained=tuple(map(trace.value_of, made)),
            kept=(*draft.kept, *keys),
        )
        asked = trace.custom_rules or any(x.op is builtin.guard for x in nodes)
        if asked or not self._add(trace, crossing):
            self.unseen += [] if tape is None else [tape]
            return None
        return crossing

    def _add(self, trace: Trace, crossing: Crossing) -> bool:
        """Adds a crossing, unless ways do not join there, or never again in such a state."""
        made = trace.variables.made
        if crossing.site in self._sites.blocked or any(
            isinstance(x, Variable) and made(x) for x in crossing.kept
        ):
            return False
        trace.variables.forget_aliases()
        self.found.append(crossing)
        trace.ledger.crossing = len(self.found)
        return True

    def take_back(self, trace: Trace, node: int) -> None:
        """Python has asked for nothing after all since there were so many nodes."""
        while self.found and self.found[-1].node >= node:
            crossing = self.found.pop()
            if crossing.action is None:
                self._visits[crossing.key] -= 1
            else:  # it was done, but what the graph has of it is moved
                self.unseen += [tape for tape, _ in crossing.tapes]
            trace.ledger.crossing = len(self.found)
        for swept in self.sweeps:
            if swept.crossing is not None and swept.crossing.node >= node:
                swept.crossing = None

    def check_grown(self, reach: Reach) -> None:
        """Forgets all, where something else was done to lists than to append to them."""
        if other := reach.moved.grown.keys() - reach.grown_lists():
            self._sites.read.update(other)
            self.found.clear()

    def may_cause(self, error: Exception) -> bool:
        """Whether an error may be there because a number was planted; none are from now on."""
        if not self._planted or not refuses(error):
            return False
        self._sites.plants = False
        self._sites.varying.clear()
        return True

    def _acting(self, trace: Trace, made: Callable[[State], Action]) -> Crossing:
        """The crossing where Python does something with a tape."""
        around, callee = self._frames()
        if callee.f_code not in acts.ACTS:
            raise Opaque
        self._plant(trace, around)
        seen = self._state(trace, around, self._places(around, frames.acting(around[0], callee)))
        state, entries = seen
        given = callee.f_locals
        names = acts.arguments(callee.f_code)
        entries = (*entries, *[(-1, name, state.part(given[name])) for name in names])
        action = made(state)
        entries = (*entries, acts.named(action))
        return self._crossing(
            trace, around, (state, entries), len(trace.graph.nodes), action=action
        )

    def _crossing(
        self,
        trace: Trace,
        around: list[FrameType],
        seen: tuple[State, tuple[Any, ...]],
        node: int,
        *,
        asked: Value | None = None,
        answer: Any = None,
        action: Action | None = None,
    ) -> Crossing:
        """A crossing in a state that was seen."""
        if mode() != self._mode:
            raise Opaque
        state, entries = seen
        carriers = {name: state.slot_of(x) for name, (x, _) in trace.extents.items()}
        recording = tuple(map(state.number_of, self._recording()))
        outside = around_frames(trace, state, self._sites.read), recording, state.of_tapes()
        site = tuple((id(frame.f_code), frame.f_lasti) for frame in around)
        tensors = enumerate(state.tensors.values())
        return Crossing(
            number=len(self.found),
            key=(site, context.recording, entries, outside, *carriers.values()),
            site=site,
            asked=asked,
            action=action,
            answer=answer,
            node=node,
            line=trace.scalars.begin(),
            after=node + (action is None),
            cells=len(trace.cells),
            gained=(),
            tapes=tuple([(x, x.started) for x in state.tapes]),
            tick=next(clock),
            tensors=tuple(state.tensors),
            tracked=tuple([k for k, x in tensors if self._is_tracked(trace, x)]),
            numbers=tuple(state.numbers),
            extents={name: (slot, trace.extents[name][1]) for name, slot in carriers.items()},
            grown=trace.growth(),
            kept=(*state.kept, *[x.f_code for x in around], *trace.variables.written),
            place=line_of(around[0]),
        )

    def _recording(self) -> list[GradientTape]:
        """The tapes of the call that record now.

        Raises:
            Opaque: Somebody else watches, too.
        """
        count = len(self._tapes)
        own = context.tapes[count:]
        if context.tapes[:count] != self._tapes or any(type(x) is not GradientTape for x in own):
            raise Opaque
        return list(own)

    def _is_tracked(self, trace: Trace, x: Tensor) -> bool:
        """Whether gradients can flow back from a tensor."""
        return is_tracked(x, trace.start) if self.sweeps else x.record is not None

    def _flow(self, trace: Trace, x: Tensor) -> Hashable:
        """What tells a tensor from others by its history."""
        record = x.record
        if record is None or not self.uses:
            return record is not None
        if record.__class__ is Leaf:
            return "leaf", id(record.owner and record.owner())
        return self._is_tracked(trace, x), record.rooted

    def _seen(
        self, trace: Trace, around: list[FrameType], innermost: Place
    ) -> tuple[State, tuple[Any, ...]]:
        """What the frames hold, once all numbers vary that are known to."""
        places = self._places(around, innermost)
        self._plant(trace, around)
        state, entries = self._state(trace, around, places)
        site = tuple((id(frame.f_code), frame.f_lasti) for frame in around)
        if self._sites.learn(site, entries, around):
            self.learned = True
            self._plant(trace, around)
            state, entries = self._state(trace, around, places)
            self._sites.learn(site, entries, around)
        return state, entries

    def _frames(self) -> tuple[list[FrameType], FrameType]:
        """From the one that asks to the one that the recording calls; what the first one calls."""
        callee = frame = sys._getframe(1)
        while frame is not None and not (is_users(frame) or is_looping(frame)):
            callee, frame = frame, frame.f_back
        found: list[FrameType] = []
        while frame is not None and frame is not self._root:
            found.append(frame)
            frame = frame.f_back
        if frame is None or not found or not frames.runs(self._python, found[-1].f_code):
            raise Opaque
        return found, callee

    @staticmethod
    def _places(around: list[FrameType], innermost: Place) -> list[tuple[list[str], list[Any]]]:
        """For each frame the variables that are read later, and its operands."""
        places = [innermost]
        places += [frames.calling(frame, around[k]) for k, frame in enumerate(around[1:])]
        return [(sorted(point.live), operands) for point, operands in places]

    def _state(
        self, trace: Trace, around: list[FrameType], places: list[tuple[list[str], list[Any]]]
    ) -> tuple[State, tuple[Any, ...]]:
        """What there is: (frame, variable, what it holds), operands without a name."""
        flow = partial(self._flow, trace)
        grads = trace.variables.owners()
        state = State(trace.computed, trace.scalars, trace.existed, flow, grads)
        entries: list[Any] = []
        for k, (frame, (names, operands)) in enumerate(zip(around, places, strict=True)):
            for name, x in frames.variables(frame, names):
                entries.append((k, name, state.part(x)))
            entries += [(k, "", state.part(x)) for x in operands]
        return state, tuple(entries)

    def _plant(self, trace: Trace, around: list[FrameType]) -> None:
        """Makes numbers vary that are known to do so."""
        for frame in around:
            code = frame.f_code
            names = [name for key, name in self._sites.varying if key == id(code)]
            if names:
                found = {
                    name: trace.scalars.vary(x)
                    for name, x in frames.variables(frame, names)
                    if type(x) in (int, float)
                }
                if found:
                    self._planted = True
                    frames.plant(frame, found)


def around_frames(trace: Trace, state: State, read: Collection[int]) -> tuple[Any, ...]:
    """What makes a state beside the frames: Variables that were assigned, Python's own values.

    Args:
        trace: The recording.
        state: Gives slots.
        read: Ids of lists that are not only appended to.

    Raises:
        Untold: Nobody can say what has changed.
    """
    return *own_state(trace, state), *python_state(trace, state, read)


def own_state(trace: Trace, state: State) -> tuple[Any, ...]:
    """The Variables that were assigned, and the gradients that were replaced."""
    variables, owners = trace.variables, trace.variables.owners()
    written = tuple(
        (("grad", id(owners[id(v)])) if id(v) in owners else id(v), state.value(variables.held(v)))
        for v in variables.written
    )
    replaced = [v for v, before in variables.grads.items() if v._grad is not before]
    grads = tuple((id(v), state_of_grad(trace, state, v)) for v in sorted(replaced, key=id))
    return written, grads


def python_state(trace: Trace, state: State, read: Collection[int]) -> tuple[Any, ...]:
    """What Python keeps, as far as it is not as it was; the rest as for `around_frames`."""
    planted = tuple((key, same, state.part(now)) for key, same, now in trace.states.now())
    changes = tuple((key, state.part(now)) for key, now in trace.changes(read))
    passed = () if trace.passed is None else trace.passed.parts()
    return planted, changes, tuple((k, state.part(x)) for k, x in passed)


def state_of_grad(trace: Trace, state: State, variable: Variable) -> Hashable:
    """What a `.grad` is that was replaced: none, or one that the call has made."""
    grad = variable._grad
    if grad is not None and not trace.variables.made(grad):
        raise Opaque
    return None if grad is None else state.value(grad.tensor)


def is_looping(frame: FrameType) -> bool:
    """Whether a frame is a loop of ours around functions of the user's."""
    return frame.f_globals.get("__name__") == LOOPING


def mode() -> tuple[Any, ...]:
    """What of this thread's state no way changes where it joins others."""
    return context.device, checks_ops()
