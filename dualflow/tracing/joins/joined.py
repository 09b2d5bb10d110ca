"""Joined: the stretches of a function, and a call that goes from one to the next.

What is written is written by the last stretch, so that a call which comes to where nobody was
before has done nothing, and is recorded from the top.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from dualflow.autodiff.tape import GradientTape
from dualflow.core.context import context, using
from dualflow.core.tensor import Tensor
from dualflow.core.variable import Variable
from dualflow.tracing.guards.check import Check
from dualflow.tracing.guards.places import Key
from dualflow.tracing.joins.cut import Cut, Piece, asked_at
from dualflow.tracing.joins.sites import Crossing, Sites
from dualflow.tracing.joins.tapes import Action
from dualflow.tracing.ledger import doing
from dualflow.tracing.path import Accept, EntryMiss, Path, StateMiss
from dualflow.tracing.recorded import Recorded, entry_check
from dualflow.tracing.settings import Settings
from dualflow.tracing.trace import Trace
from jit.errors import GuardMiss


class Crossroads:
    """A point of the program from which stretches lead on, by the answer that is given there.

    Args:
        place: The user's line; empty where nothing is asked.
        kept: Things that its state knows by identity.
    """

    def __init__(self, place: str = "", kept: Sequence[Any] = ()) -> None:
        self.place = place
        self.kept = kept
        self.ways: dict[Any, list[Stretch]] = {}


class Stretch:
    """A piece of a recording; it is compiled after it was found.

    Args:
        cut: The recording.
        piece: The piece.
        target: Where it ends; None at the end of the call.

    Attributes:
        path: Runs it.
        signature: What Python decides on the way.
        key: Of the crossing where it ends.
        target: Where that leads to.
        routes: For each slot there where its tensor comes from: k for what the path gives, -1 - k
            for what it was given.
        tensors: How many tensors the path gives.
        action: What is done where it ends; None where something is asked.
        tapes: For each tape that is handed over there its number where the stretch begins, or how
            to make one.
        count: How many leaves it gives, before those of its effects.
        act: Does what it does besides computing, at the end of the call.
        result: Makes the result of the call, at its end.
    """

    path: Path

    def __init__(self, cut: Cut, piece: Piece, target: Crossroads | None) -> None:
        self.signature = piece.signature
        self.key = None if piece.target is None else piece.target.key
        self.target = target
        self.routes, self.tensors = ([], 0)
        self.action: Action | None = None
        self.tapes: list[int | Callable[[], GradientTape]] = []
        if piece.target is not None:
            self.routes, self.tensors = routed(cut.given(piece), piece.target)
            self.action = piece.target.action
            self.tapes = routed_tapes(piece.source, piece.target)
        self.count = cut.count(piece)
        self.act = doing(piece.effects) if piece.effects else None
        self.result = cut.result
        self._recorded: Recorded | None = cut.recorded(piece)

    def compile(self) -> None:
        """Makes its path."""
        assert self._recorded is not None
        self.path, self._recorded = Path(self._recorded), None


class Position:
    """Where a call is, and what it has got by then.

    Args:
        node: The point.
        tensors: What is handed over there.
        numbers: Numbers that are.

    Attributes:
        answer: What Python was told there.
        tapes: The tapes of the call that are handed over.
    """

    def __init__(self, node: Crossroads, tensors: Sequence[Tensor], numbers: Sequence[Any]) -> None:
        self.node, self.tensors, self.numbers = node, tensors, numbers
        self.answer: Any = None
        self.tapes: list[GradientTape] = []

    def go(self, way: Stretch, made: Sequence[Any]) -> Sequence[Tensor]:
        """Goes to where a stretch leads.

        Args:
            way: The stretch.
            made: What it has made.

        Returns:
            The tensors that are there since something was done to a tape.
        """
        assert way.target is not None
        self.node, before = way.target, self.tensors
        tensors = [made[k] if k >= 0 else before[-1 - k] for k in way.routes]
        self.numbers = made[way.tensors : way.count]
        self.tapes = [self.tapes[k] if isinstance(k, int) else k() for k in way.tapes]
        if way.action is None:
            self.answer, self.tensors = made[0].raw.item(), tensors
        else:
            self.answer, self.tensors = way.action.run(tensors, self.tapes)
        return self.tensors[len(tensors) :]


class Joined:
    """What a function does, for calls of one kind, as stretches between crossroads.

    Args:
        sites: What is known of the function's crossings.

    Attributes:
        hits: How many calls it has served.
    """

    answers: tuple[bool | int, ...] = ()

    def __init__(self, sites: Sites) -> None:
        self.hits = 0
        self.decided: list[str] = []
        self.checks: list[tuple[Check, Settings]] = []
        self._guards: set[Hashable] = set()
        self._equals: list[Any] = []
        self._sites = sites
        self._clear()

    def _clear(self) -> None:
        self._start = Crossroads()
        self._nodes: dict[Any, Crossroads] = {}
        self._new: list[tuple[list[Stretch], Stretch]] = []  # ways that are not compiled yet

    # ----- growing -----

    def add(self, trace: Trace, result: Any) -> Callable[[], Joined]:
        """Learns the way of a recording.

        Args:
            trace: The finished recording.
            result: What the call returned.

        Returns:
            What compiles it, so that calls can go this way.
        """
        self._learn_guards(entry_check(trace), trace.settings)
        if trace.equals:
            self._equals.append(trace.equals)
        self.decided += [x for x in trace.scalars.decided() if x not in self.decided]
        assert trace.crossings is not None
        if trace.crossings.learned:  # its own states were not told apart rightly
            self._clear()
            return self._compiled
        while not self._add(Cut(trace, result, self._sites.blocked)):
            self._clear()
        return self._compiled

    def _compiled(self) -> Joined:
        """Compiles what was learned last; itself."""
        new, self._new = self._new, []
        for _, way in new:
            way.compile()
        for ways, way in new:
            ways.append(way)
        return self

    def _add(self, cut: Cut) -> bool:
        """Learns the pieces of a recording; whether it was cut at no wrong place."""
        known = set(self._sites.blocked)
        self._sites.blocked.update(dict.fromkeys(cut.hidden))
        if any(site in self._sites.blocked for site, *_ in self._nodes):
            return False
        for piece in cut.pieces:
            self._learn(cut, piece)
        return known.issuperset(self._sites.blocked.keys() - set(cut.hidden))

    def _learn(self, cut: Cut, piece: Piece) -> None:
        node = self._start if piece.source is None else self._node(piece.source)
        answer = None if piece.source is None else piece.source.answer
        ways = node.ways.setdefault(answer, [])
        for way in (*ways, *[new for there, new in self._new if there is ways]):
            if way.signature == piece.signature:
                if way.key != (piece.target and piece.target.key):  # no state tells them apart
                    self._block(way.key, piece.target)
                return
        target = None if piece.target is None else self._node(piece.target)
        self._new.append((ways, Stretch(cut, piece, target)))

    def _block(self, key: Any, target: Crossing | None) -> None:
        if key is not None:
            self._sites.blocked[key[0]] = None
        if target is not None:
            self._sites.blocked[target.site] = None

    def _node(self, crossing: Crossing) -> Crossroads:
        node = self._nodes.get(crossing.key)
        if node is None:
            place = "" if crossing.asked is None else crossing.place
            node = self._nodes[crossing.key] = Crossroads(place, crossing.kept)
        return node

    def _learn_guards(self, check: Check, settings: Settings) -> None:
        """Guards that are not known yet: all of all recordings must hold, as ways mix."""
        new = [
            g for g in check.guards if (key := check.identity(g)) is None or key not in self._guards
        ]
        self._guards.update(check.identity(g) for g in new)
        if new:
            self.checks.append((check.only(new), settings))

    # ----- running -----

    def holds(self) -> bool:
        """Whether Python state is as it was in all recordings."""
        return all(check.missed() < 0 for check, _ in self.checks)

    def admit(self, leaves: Sequence[Any]) -> None:
        """Looks at arguments that are not the recorded objects, but equal them.

        Args:
            leaves: Of all arguments.

        Raises:
            StateMiss: They differ in something that was read.
        """
        for equals in self._equals:
            if (what := equals.other(leaves)) is not None:
                raise StateMiss(f"{what} is another".format)

    def call(
        self,
        arguments: Sequence[Tensor],
        given: Sequence[Any] = (),
        accept: Accept | None = None,
    ) -> Any:
        """Runs a call.

        Args:
            arguments: Its tensor arguments.
            given: Those of its Python numbers that vary.
            accept: Looks at what each stretch has computed; it may raise.

        Raises:
            EntryMiss: Nobody was there before, or state has changed; nothing was done.
        """
        for check, settings in self.checks:
            if (missed := check.missed()) >= 0:
                raise StateMiss(
                    partial(check.reason, missed),
                    partial(places_of, check, settings),
                )
        waiting: list[tuple[Any, list[Any]]] = []  # what is done when all guards have held
        with using(tapes=context.tapes):  # those of the call are gone after it, however it ends
            way, made = self._followed(arguments, given, accept, waiting)
        self.hits += 1
        for act, leaves in waiting:
            act(leaves)
        return way.result(made)

    def _followed(
        self,
        tensors: Sequence[Tensor],
        numbers: Sequence[Any],
        accept: Accept | None,
        waiting: list[tuple[Any, list[Any]]],
    ) -> tuple[Stretch, Any]:
        """Goes from stretch to stretch; the last one, and what it has made.

        Args:
            tensors: The tensor arguments of the call.
            numbers: Those of its Python numbers that vary.
            accept: Looks at what each stretch has computed.
            waiting: Gets what is to be done in the end, with what that is given.
        """
        at = Position(self._start, tensors, numbers)
        while True:
            way, made = step(at, tensors, accept)
            if way.act is not None:
                waiting.append((way.act, made[way.count :]))
            if way.target is None:
                return way, made
            gained = at.go(way, made)
            if accept is not None and gained:
                accept([x.raw for x in gained], None)

    def walk(
        self, arguments: Sequence[Tensor], given: Sequence[Any] = ()
    ) -> Iterator[tuple[Path, list[Any]]]:
        """The stretches that a call goes through, each with the arrays that its graph is given.

        Nothing is written, and nothing done besides computing.

        Args:
            arguments: Its tensor arguments.
            given: Those of its Python numbers that vary.

        Raises:
            EntryMiss: Nobody was there before.
        """
        at, tapes = Position(self._start, arguments, given), context.tapes
        while True:
            with using(tapes=tapes):  # those of the call, which concern nobody who looks at it
                way, inputs, made = look_ahead(at, arguments)
                if way.target is not None:
                    at.go(way, made)
                tapes = context.tapes
            yield way.path, inputs
            if way.target is None:
                return

    # ----- looking inside -----

    @property
    def variables(self) -> list[Variable]:
        """Those that are read."""
        return list(dict.fromkeys(v for path in self.parts for v in path.variables))

    @property
    def parts(self) -> list[Path]:
        """All stretches."""
        return [way.path for _, _, way in self.stretches()]

    def stretches(self) -> list[tuple[Crossroads, Any, Stretch]]:
        """All stretches, each with the point and the answer from which it leads on."""
        nodes = [self._start, *list(self._nodes.values())]
        return [
            (node, answer, way)
            for node in nodes
            for answer, ways in list(node.ways.items())
            for way in list(ways)
        ]

    @property
    def checks_types(self) -> bool:
        """Whether a call refuses tensors of other types than the recorded ones."""
        return all(
            way.path.checks_types for ways in list(self._start.ways.values()) for way in ways
        )

    def texts(self) -> list[str]:
        """The guards on values, in words, and the questions at which ways join or part."""
        nodes = list(self._nodes.values())
        asked = [f"{x.place}: {' or '.join(map(str, x.ways))}" for x in nodes if x.ways and x.place]
        return [*asked, *[text for check, _ in self.checks for text in check.texts()]]


def places_of(check: Check, settings: Settings) -> set[Key]:
    """Where Python keeps values that are others than recorded."""
    return {*check.places(), *settings.places()}


def in_the_middle(accept: Accept, made: list[Any], outcome: Any) -> None:
    """Looks at what a stretch has computed from which others lead on."""
    del outcome  # that of the call is not known yet
    accept(made, None)


def step(at: Position, arguments: Sequence[Tensor], accept: Accept | None) -> tuple[Stretch, Any]:
    """Runs the stretch that leads on from where a call is.

    Raises:
        EntryMiss: There is none.
    """
    node, answer = at.node, at.answer
    ways = node.ways.get(answer, ())
    for k, way in enumerate(ways):
        try:
            look = partial(in_the_middle, accept) if way.target and accept else accept
            made = way.path.call(at.tensors, at.numbers, look, arguments)
        except (GuardMiss, EntryMiss):
            continue
        if k:  # the next call is likely to come this way too
            node.ways[answer] = [way, *[x for x in ways if x is not way]]
        return way, made
    raise EntryMiss


def look_ahead(at: Position, arguments: Sequence[Tensor]) -> tuple[Stretch, list[Any], Any]:
    """The stretch that leads on from where a call is, what its graph is given, and what it gives.

    Raises:
        EntryMiss: There is none.
    """
    for way in at.node.ways.get(at.answer, ()):
        with suppress(GuardMiss, EntryMiss):
            inputs = way.path.inputs(at.tensors, at.numbers)
            if way.target is not None:  # it writes nothing
                return way, inputs, way.path.call(at.tensors, at.numbers, None, arguments)
            return way, inputs, way.path.executable(list(inputs))
    raise EntryMiss


def routed(given: Sequence[Any], target: Crossing) -> tuple[list[int], int]:
    """Where the tensors in the slots of a crossing come from, and how many the path gives."""
    places = {x: -1 - k for k, x in enumerate(given)}
    count = len(asked_at(target))  # that comes first
    routes: list[int] = []
    for x in target.tensors:
        if x in places:
            routes.append(places[x])
        else:
            routes.append(count)
            count += 1
    return routes, count


def routed_tapes(
    source: Crossing | None, target: Crossing
) -> list[int | Callable[[], GradientTape]]:
    """Where the tapes that are handed over come from; those that are new are made."""
    numbers = {} if source is None else {id(x): k for k, (x, _) in enumerate(source.tapes)}
    return [
        numbers[id(x)]
        if id(x) in numbers
        else partial(GradientTape, x.persistent, x.watch_accessed_variables)
        for x, _ in target.tapes
    ]
