"""What the rooms of a row hold between its passes: that which later passes are cheapest with.

A pass reads what rooms hold, computes what is folded and stored, and may leave something else
there for the passes behind it: x, then (x - m) / d, then its exponential. What no room holds is
computed again, or loaded. The rooms are planned one after the other, each by dynamic programming
over the passes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

from jit.dataclass import dataclass
from jit.forms.expression import Expression, walk

MOST = 16  # expressions that are looked at
AGAIN = 2  # additions that it takes, an element, to go along the row once more
KEEP = 1  # additions that it takes to store a number in a room, or to load it
FOLDERS = 2  # how many times more threads there are than those that fold blocks


@dataclass
class Pass:
    """What a pass over a row computes.

    Attributes:
        folds: What is folded.
        maps: What is stored.
        made: The stored values themselves, as later passes read them.
    """

    folds: Sequence[Expression]
    maps: Sequence[Expression]
    made: Collection[Expression]


@dataclass
class Contents:
    """What rooms hold when a pass begins, and what they are filled with in it.

    Attributes:
        held: By room.
        filled: By room; what is left out stays as it was.
    """

    held: dict[int, Expression]
    filled: dict[int, Expression]

    @property
    def after(self) -> dict[int, Expression]:
        """What rooms hold behind the pass."""
        return {**self.held, **self.filled}


class Rooms:
    """A plan of rooms. Within it expressions are numbers, as they are compared very often.

    Args:
        passes: In their order.
        since: From which pass on something can be computed.
        price: What an expression takes once its parts are there, in additions.
        apart: Whether few of the threads fold, once all have filled rooms.
    """

    def __init__(
        self,
        passes: Sequence[Pass],
        since: Callable[[Expression], int],
        price: Callable[[Expression], int],
        *,
        apart: bool,
    ) -> None:
        self.apart = apart
        self.every = [*walk(*[x for one in passes for x in (*one.folds, *one.maps, *one.made)])]
        self.number = {x: k for k, x in enumerate(self.every)}
        self.parts = [self._of(x.children) for x in self.every]
        self.since = [since(x) for x in self.every]
        self.price = [price(x) for x in self.every]
        self.folds = [self._of(one.folds) for one in passes]
        self.maps = [self._of(one.maps) for one in passes]
        self.made = [frozenset(self._of(one.made)) for one in passes]
        self._costs: dict[object, int] = {}

    def _of(self, every: Iterable[Expression]) -> tuple[int, ...]:
        return tuple([self.number[x] for x in every])

    def planned(self, count: int, candidates: Iterable[Expression]) -> list[Contents]:
        """What so many rooms hold in each pass, of some expressions."""
        found = self.worth(self._of(dict.fromkeys(candidates)))
        tracks = list[list[int | None]]()
        for _ in range(count if found else 0):
            tracks.append(self._track(found, tracks))
        contents = [Contents({}, {}) for _ in self.folds]
        for room, track in enumerate(tracks):
            for content, before, after in zip(contents, track, track[1:]):
                if before is not None:
                    content.held[room] = self.every[before]
                if after is not None and after != before:
                    content.filled[room] = self.every[after]
        return contents

    def again(self, x: Expression, k: int, held: Iterable[Expression]) -> int:
        """What it takes a pass to compute an expression, with some in rooms; 0: it need not."""
        number, there = self.number.get(x), frozenset(self._of(held))
        if number is None or number in there or number not in self._below(self._roots(k), there):
            return 0
        return self.work((number,), there)

    def _roots(self, k: int) -> tuple[int, ...]:
        return self.folds[k] + self.maps[k]

    def worth(self, candidates: Sequence[int]) -> list[int]:
        """Those that several passes need, or few threads fold; most expensive ones first.

        Where all that is made of one is something else, which is as well known, that lies better.
        """
        below = [self._below(self._roots(k)) for k in range(len(self.folds))]
        passes = [
            {k for k, found in enumerate(below) if x in found} for x in range(len(self.every))
        ]
        folded = self._below([x for folds in self.folds for x in folds]) if self.apart else ()
        found = {x for x in candidates if len(passes[x]) > 1 or x in folded}
        makes: dict[int, set[int]] = {}
        for x, parts in enumerate(self.parts):
            for part in parts:
                makes.setdefault(part, set()).add(x)

        def lies_better(x: int) -> bool:
            """Whether the only thing that is made of `x` may lie in its place."""
            if len(makes.get(x, ())) != 1:
                return False
            (made,) = makes[x]
            alike = made in found and passes[made] == passes[x]
            return alike and self.since[made] == self.since[x]

        kept = [x for x in candidates if x in found and not lies_better(x)]
        return sorted(kept, key=lambda x: -self.work((x,)))[:MOST]

    def _track(
        self, candidates: Sequence[int], others: Sequence[Sequence[int | None]]
    ) -> list[int | None]:
        """What one more room holds before each pass, and behind the last one."""
        best: dict[int | None, tuple[int, list[int | None]]] = {None: (0, [None])}
        last = len(self.folds) - 1
        for k in range(last + 1):
            following: dict[int | None, tuple[int, list[int | None]]] = {}
            new = [x for x in candidates if self.since[x] <= k and (self.apart or k < last)]
            before, behind = ({track[at] for track in others} - {None} for at in (k, k + 1))
            for held, (cost, track) in best.items():
                for x in dict.fromkeys((held, None, *new)):
                    if x in behind or (x in before and x != held):
                        continue  # what two rooms held would be read from either
                    total = cost + self.cost(k, before | {held}, behind | {x})
                    if x not in following or total < following[x][0]:
                        following[x] = total, [*track, x]
            best = following
        return min(best.values(), key=lambda found: found[0])[1]

    def cost(self, k: int, before: set[int | None], behind: set[int | None]) -> int:
        """What a pass takes with this in rooms, before it and behind it."""
        held, after = (frozenset([x for x in xs if x is not None]) for xs in (before, behind))
        key = k, held, after
        if key not in self._costs:
            self._costs[key] = self._of_pass(k, held, after)
        return self._costs[key]

    def _of_pass(self, k: int, held: frozenset[int], after: frozenset[int]) -> int:
        filled = tuple(after - held)
        stores = KEEP * len(filled)
        if not self.apart:
            return stores + self.work((*self._roots(k), *filled), held, self.made[k])
        first = self.work((*self.maps[k], *filled), held, self.made[k])
        first += AGAIN if self.maps[k] or filled else 0
        return stores + first + FOLDERS * self.work(self.folds[k], after)

    def work(
        self,
        roots: Iterable[int],
        held: frozenset[int] = frozenset(),
        made: frozenset[int] = frozenset(),
    ) -> int:
        """What expressions take where some lie in rooms, and some are at hand."""
        total = 0
        for x in self._below(roots, held | made):
            total += KEEP if x in held else 0 if x in made else self.price[x]
        return total

    def _below(self, roots: Iterable[int], held: frozenset[int] = frozenset()) -> set[int]:
        """Every expression that is needed, down to those that are there."""
        found, stack = set[int](), [*roots]
        while stack:
            x = stack.pop()
            if x not in found:
                found.add(x)
                if x not in held:
                    stack += self.parts[x]
        return found
