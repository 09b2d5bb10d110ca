"""Networks: which edges to cut so that nothing flows, at the least capacity (Dinic's algorithm)."""

from __future__ import annotations


class Network:
    """Places, numbered from 0, and edges that let something through.

    Edges lie in pairs, one for each direction: what flows along one can flow back along the other.

    Args:
        places: How many there are.
    """

    def __init__(self, places: int) -> None:
        self._edges: list[list[int]] = [[] for _ in range(places)]
        self._to: list[int] = []
        self._room: list[int] = []

    def add(self, start: int, end: int, capacity: int) -> None:
        """An edge."""
        for place, to, room in ((start, end, capacity), (end, start, 0)):
            self._edges[place].append(len(self._to))
            self._to.append(to)
            self._room.append(room)

    def cut(self, source: int, sink: int) -> set[int]:
        """The places on the sink's side of a minimum cut: of all these the one next to the sink."""
        while (levels := self._levels(source))[sink] >= 0:
            tried = [0] * len(self._edges)
            while self._send(source, sink, levels, tried):
                pass
        return self._before(sink)

    def _levels(self, source: int) -> list[int]:
        """How many edges with room lead from the source to each place; -1 where none do."""
        levels = [-1] * len(self._edges)
        levels[source], reached = 0, [source]
        for place in reached:  # which grows
            for edge in self._edges[place]:
                to = self._to[edge]
                if self._room[edge] and levels[to] < 0:
                    levels[to] = levels[place] + 1
                    reached.append(to)
        return levels

    def _send(self, source: int, sink: int, levels: list[int], tried: list[int]) -> bool:
        """Sends as much as one shortest way holds; False if all of them are full.

        Args:
            source: Where it begins.
            sink: Where it ends.
            levels: How far from the source places are.
            tried: How many edges of each place lead nowhere any more.
        """
        way: list[int] = []
        place = source
        while place != sink:
            edges = self._edges[place]
            while tried[place] < len(edges):
                edge = edges[tried[place]]
                if self._room[edge] and levels[self._to[edge]] == levels[place] + 1:
                    break
                tried[place] += 1
            if tried[place] < len(edges):
                way.append(edges[tried[place]])
                place = self._to[way[-1]]
            elif way:
                place = self._to[way.pop() ^ 1]
                tried[place] += 1
            else:
                return False
        amount = min(self._room[edge] for edge in way)
        for edge in way:
            self._room[edge] -= amount
            self._room[edge ^ 1] += amount
        return True

    def _before(self, sink: int) -> set[int]:
        """The places from which something could still flow to the sink."""
        found, reached = {sink}, [sink]
        for place in reached:  # which grows
            for edge in self._edges[place]:
                start = self._to[edge]
                if self._room[edge ^ 1] and start not in found:
                    found.add(start)
                    reached.append(start)
        return found
