"""Attention on tensor cores: kernels that never write the matrix of scores.

For each row of the queries, with s = q . k of every key that the row may see:

    y = sum(exp(scale s) v) / sum(exp(scale s));   total = log(sum(exp(scale s)))

Keys come in blocks of `BLOCK`, in their order (Milakov and Gimelshein, 2018; Dao et al., 2022):

    new = max(m, max s);  p = 2**(c s - c new);  f = 2**(c (m - new));  c = scale / log 2
    l = f l + sum p;  acc = f acc + (p in half precision) v;  m = new

Products are sums in float32, 16 inner indices a step. A block of threads skips the blocks of keys
that none of its rows sees: there p would be 0 and f 1, so that no bit depends on it. Powers are the
machine's. Eager and compiled code run these very kernels: so their bits are equal, whatever stands
around a call.

What flows back needs p = 2**(c s - total / log 2) again. One kernel holds rows of queries, for what
flows to these, another one rows of keys: no sum is of several blocks, and each has one order.

By estimate, for a block of keys and 128 rows of 64 elements a multiprocessor of an H100 multiplies
for 830 cycles, beside 730 instructions, 540 cycles of exponentials, and 510 for reading shared
memory: 30 to 50 us for 8 x 12 heads of 1,024 causal rows. What flows back to queries multiplies for
1,240 cycles a block; to keys and values it is bound by reading: 100 to 150 us together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from jit.dims import Extent
from jit.forms import nodes
from jit.forms.expression import Access, Domain, Extractor
from jit.forms.nodes import FormValue
from jit.forms.staging import memory_of
from jit.forms.tasks import WholeTask
from jit.loops.elements import Elements, decoded
from jit.loops.gpu_parts import THREADS, Line, Part, Rows, Tile, streamed
from jit.loops.gpu_warps import ACROSS, FOUR, INTS, PANEL, STEP, Held, Warps
from jit.loops.ir import INDEX, Buffer, Kernel, Operand, Var, VType, index
from jit.loops.nests import Naive
from jit.target import Target
from jit.types import TensorType, float32, product

BLOCK = 64  # rows of a part; of keys, those that have one maximum
INFINITY, LOG = math.inf, 1 / math.log(2)
NUMBER, TWO = VType(float32), VType(float32, 2)


class AttentionNest:
    """What these kernels share.

    Args:
        form: The form; its first three operands are queries, keys, values.
        elements: An element of each operand, in the loops over it.
        extractor: Elements of values.
        base: The value that owns a value's memory.

    Attributes:
        factor: Scores are multiplied by it, and become exponents of 2.
    """

    backwards = False  # whether the rows that come first see most

    def __init__(
        self,
        form: nodes.Attention | nodes.AttentionFlow,
        elements: Sequence[Access],
        extractor: Extractor,
        base: Callable[[FormValue], FormValue],
    ) -> None:
        self.form = form
        self.w, self.item = Elements(extractor, base), Var(INDEX, "item")
        self.query, self.key, self.value = form.inputs[:3]
        self.factor = form.scale * LOG
        self._elements = dict(zip(form.inputs, elements, strict=True))
        length = self.query.shape[-1]
        assert isinstance(length, int)
        self.length = length
        self.warps = Warps(self.w, self.query.dtype, length, self.squares(length))

    @staticmethod
    def squares(length: int) -> int:
        """Squares of 16 rows that a warp holds: as many as registers have room for."""
        return 2 if length <= PANEL else 1

    def build(self, name: str) -> Naive:
        """The kernel."""
        w, height = self.w, self.warps.height
        batch = Domain.of(self.query.shape[:-2])
        count = self.held.shape[-2]
        tiles = -(-count // height)
        tile, *at = decoded(w, self.item, [tiles, *batch.extents])
        if self.form.is_causal and not self.backwards:  # the longest first
            tile = w.let("subtract", w.at(tiles - 1), tile)
        self.first = w.let("multiply", tile, index(height))
        with w.bound(dict(zip([name for name, _ in batch.loops], at, strict=True))):
            self.write()
        grid, thread = product([tiles, *batch.extents]), self.warps.thread
        buffers, sizes = tuple(w.buffers.values()), tuple(w.sizes.values())
        body = tuple(w.body)
        kernel = Kernel(name, buffers, sizes, grid, self.item, body, THREADS, thread)
        return Naive(kernel, tuple(w.buffers), tuple(w.sizes), 0.0)

    # ----- what differs -----

    @property
    def held(self) -> FormValue:
        """The rows that a block of threads holds some of."""
        return self.query

    def write(self) -> None:
        """The body."""
        raise NotImplementedError

    # ----- rows -----

    def rows(self, value: FormValue, *, single: bool = False) -> Rows:
        """The rows of an operand."""
        return Rows.read(self.w, self._elements[value], Domain.of(value.shape), single=single)

    def hold(self, value: FormValue) -> Held:
        """The rows of an operand that the warp holds."""
        return self.warps.held(self.rows(value), self.first)

    def tile(self, name: str, value: FormValue) -> Tile:
        """Room for parts of an operand."""
        return Tile(self.w, self.warps.thread, name, self.rows(value), self.length, BLOCK)

    def line(self, name: str, rows: Rows) -> Line:
        """Room for a number for each row of a part."""
        return Line(self.w, self.warps.thread, name, rows, BLOCK)

    def loads(self, rows: Rows) -> list[tuple[Operand, Operand]]:
        """A number for each row that the thread holds."""
        w, warps = self.w, self.warps
        found = list[tuple[Operand, Operand]]()
        for numbers in warps.numbers(self.first):
            places = [rows.at(warps.nearest(rows, number)) for number in numbers]
            low, high = (w.load(rows.buffer, place) for place in places)
            found.append((low, high))
        return found

    def stores(self, rows: Rows, values: Sequence[Sequence[Operand]]) -> None:
        """Stores a number for each row: the first of four threads does."""
        w, warps = self.w, self.warps
        with w.when(w.let("equal", warps.t, index(0))):
            for numbers, pair in zip(warps.numbers(self.first), values, strict=True):
                for number, value in zip(numbers, pair, strict=True):
                    with w.when(w.let("less", number, w.at(rows.count))):
                        w.store(rows.buffer, rows.at(number), value)

    # ----- what rows see -----

    @cached_property
    def keys(self) -> Extent:
        """How many keys there are."""
        return self.key.shape[-2]

    @property
    def hides(self) -> bool:
        """Whether some block of keys has keys that not all rows see."""
        return self.form.is_causal or not isinstance(self.keys, int) or self.keys % BLOCK > 0

    def stop(self) -> Operand:
        """The first key that no row of the block sees."""
        w = self.w
        every = w.at(self.keys)
        if not self.form.is_causal:
            return every
        return w.least_of(w.let("add", self.first, index(self.warps.height)), every)

    def seen(self) -> list[Operand]:
        """For each sum of a square its row's number of keys, less the sum's column."""
        w, found = self.w, list[Operand]()
        for numbers in self.warps.numbers(self.first):
            if not self.form.is_causal:
                found.append(self.warps.columns(w.at(self.keys)))
                continue
            limits = [w.least_of(w.let("add", x, index(1)), w.at(self.keys)) for x in numbers]
            low, high = (self.warps.columns(limit) for limit in limits)
            found.append(w.let("shuffle", low, high, immediates=(0, 1, 6, 7)))
        return found

    def visible(self, seen: Operand, first: Operand, n: int) -> Operand:
        """Whether columns 8 n, .. of a part are below the limits of a square's sums."""
        w = self.w
        start = w.cast(w.let("add", first, index(n * ACROSS)), INTS)
        return w.let("less", w.splat(start, 4), seen)

    def without(self, visible: Operand, scores: Operand) -> Operand:
        """Scores, where there are any."""
        return self.w.let("where", visible, scores, self.w.number(-INFINITY, FOUR))

    @contextmanager
    def parts(
        self, parts: Sequence[Part], start: Operand, stop: Operand
    ) -> Iterator[list[Operand]]:
        """Parts in turn: the first row of each, and where it begins in the rooms of tiles."""
        with streamed(self.w, parts, start, stop, BLOCK) as (first, half):
            yield [first, half, self.w.let("multiply", half, index(BLOCK * self.warps.width))]

    def flow(self, share: Operand, steep: Operand, mean: Operand) -> Operand:
        """What flows to scores, by the shares and slopes of values."""
        return self.w.let("multiply", share, self.w.let("subtract", steep, mean))

    def exponents(self, scores: Operand, less: Operand) -> Operand:
        """2 to the power of scaled scores less something."""
        w = self.w
        return w.let("near_exp2", w.let("fma", scores, w.number(self.factor, FOUR), less))


class Forward(AttentionNest):
    """The kernel of means, and of the logarithms of totals."""

    def write(self) -> None:
        """The body."""
        w, warps = self.w, self.warps
        queries = warps.operands("rows", self.hold(self.query))
        tiles = [self.tile("keys", self.key), self.tile("values", self.value)]
        warps.readers(tiles[0])
        most, totals = self._numbers("most", -INFINITY, 2), self._numbers("totals", 0.0, 4)
        scores, sums = self._numbers("scores", 0.0, BLOCK // 2), warps.sums("sums")
        seen = self.seen() if self.hides else []
        with self.parts(tiles, index(0), self.stop()) as (first, _, start):
            for n in range(BLOCK // ACROSS):
                for k, x in enumerate(warps.along(tiles[0], start, n, queries)):
                    w.store(scores, self._at(k, n), x)
            if self.hides:
                self._hide(scores, seen, first)
            shares = [self._shares(scores, most, totals, sums, k) for k in range(warps.squares)]
            for m in range(BLOCK // STEP):
                a = [warps.joined(each[2 * m], each[2 * m + 1]) for each in shares]
                warps.across(tiles[1], start, m, a, sums)
        self._finish(most, totals, sums)

    def _numbers(self, name: str, value: float, each: int) -> Buffer:
        """Registers for some numbers of each square."""
        w, lanes = self.w, min(each, 4)
        room = w.alloc(name, float32, each * self.warps.squares)
        for k in range(0, room.size, lanes):
            w.store(room, index(k), w.number(value, VType(float32, lanes)))
        return room

    def _at(self, square: int, n: int) -> Operand:
        return index((square * (BLOCK // ACROSS) + n) * 4)

    def _hide(self, scores: Buffer, seen: list[Operand], first: Operand) -> None:
        """Scores of keys that rows do not see, in blocks that have such keys."""
        w = self.w
        shown = w.at(self.keys)
        if self.form.is_causal:
            shown = w.least_of(w.let("add", self.first, index(1)), shown)
        behind = w.let("add", first, index(BLOCK))
        with w.when(w.let("less", shown, behind)):
            for n in range(BLOCK // ACROSS):
                for square, limits in enumerate(seen):
                    at = self._at(square, n)
                    found = self.without(self.visible(limits, first, n), w.load(scores, at, 4))
                    w.store(scores, at, found)

    def _shares(
        self, scores: Buffer, most: Buffer, totals: Buffer, sums: Buffer, square: int
    ) -> list[Operand]:
        """The exponentials of a square; what was added up before is brought to their maximum."""
        w, warps = self.w, self.warps
        found = [w.load(scores, self._at(square, n), 4) for n in range(BLOCK // ACROSS)]
        highest = found[0]
        for x in found[1:]:
            highest = warps.larger(highest, x)
        even, odd = (w.let("shuffle", highest, highest, immediates=(k, k + 2)) for k in (0, 1))
        both = warps.larger(even, odd)
        low, high = (warps.together(warps.larger, warps.one(both, k)) for k in (0, 1))
        block = w.let("shuffle", w.splat(low, 2), w.splat(high, 2), immediates=(0, 2))
        before = w.load(most, index(2 * square), 2)
        now = warps.larger(before, block)
        w.store(most, index(2 * square), now)
        less = w.let("negative", w.let("multiply", now, w.number(self.factor, TWO)))
        lost = w.let("subtract", before, now)  # 0 where the maximum stays: then nothing fades
        fading = w.let("near_exp2", w.let("multiply", lost, w.number(self.factor, TWO)))
        less, fading = (w.let("shuffle", x, x, immediates=(0, 0, 1, 1)) for x in (less, fading))
        shares = [self.exponents(x, less) for x in found]
        total = shares[0]
        for x in shares[1:]:
            total = w.let("add", total, x)
        old = w.load(totals, index(4 * square), 4)
        w.store(totals, index(4 * square), w.let("fma", old, fading, total))
        warps.scale(sums, square, fading)
        return shares

    def _finish(self, most: Buffer, totals: Buffer, sums: Buffer) -> None:
        """The means, and the logarithms of totals."""
        w, warps = self.w, self.warps
        factors, logarithms = list[list[Operand]](), list[list[Operand]]()
        for square in range(warps.squares):
            total = w.load(totals, index(4 * square), 4)
            highest = w.load(most, index(2 * square), 2)
            factors.append([])
            logarithms.append([])
            for k in (0, 1):
                both = w.let("add", warps.one(total, 2 * k), warps.one(total, 2 * k + 1))
                whole = warps.together(warps.added, both)
                factors[-1].append(w.let("divide", w.number(1.0, NUMBER), whole))
                scaled = w.let("multiply", warps.one(highest, k), w.number(self.form.scale, NUMBER))
                logarithms[-1].append(w.let("add", scaled, w.let("log", whole)))
        result, rows = (
            Rows.written(w, x, single=single)
            for x, single in zip(self.form.outputs, (False, True), strict=True)
        )
        warps.finish(sums, result, self.first, factors)
        self.stores(rows, logarithms)


class QueryFlow(AttentionNest):
    """The kernel of what flows to queries, and of the means of slopes, which the other one needs.

    Args:
        means: Where these go, a number for each row of the queries.
    """

    def __init__(self, means: FormValue, *given: Any) -> None:
        super().__init__(*given)
        self.means = means

    def write(self) -> None:
        """The body."""
        w, warps = self.w, self.warps
        _, _, _, slopes, results, totals = self.form.inputs
        held = self.hold(slopes)
        queries = warps.operands("rows", self.hold(self.query))
        slopes_of = warps.operands("slopes_of_rows", held)
        means = self._means(held, self.hold(results))
        self.stores(Rows.written(w, self.means, single=True), means)
        less = [
            warps.pairs(*[w.let("multiply", x, w.number(-LOG, NUMBER)) for x in pair])
            for pair in self.loads(self.rows(totals, single=True))
        ]
        mean = [warps.pairs(*pair) for pair in means]
        tiles = [self.tile("keys", self.key), self.tile("values", self.value)]
        warps.readers(tiles[0])
        sums, seen = warps.sums("sums"), self.seen() if self.hides else []
        with self.parts(tiles, index(0), self.stop()) as (first, _, start):
            for m in range(BLOCK // STEP):
                flows = list[list[Operand]]()
                for n in (2 * m, 2 * m + 1):
                    scores = warps.along(tiles[0], start, n, queries)
                    if self.hides:
                        shown = [self.visible(x, first, n) for x in seen]
                        scores = list(map(self.without, shown, scores))
                    shares = list(map(self.exponents, scores, less))
                    steep = warps.along(tiles[1], start, n, slopes_of)
                    flows.append(list(map(self.flow, shares, steep, mean)))
                warps.across(tiles[0], start, m, list(map(warps.joined, *flows)), sums)
        scale = [(w.number(self.form.scale, NUMBER),) * 2] * warps.squares
        warps.finish(sums, Rows.written(w, self.form.outputs[0]), self.first, scale)

    def _means(self, slopes: Held, results: Held) -> list[tuple[Operand, Operand]]:
        """For each row of the warp the sum of products of two."""
        found = list[tuple[Operand, Operand]]()
        for square in zip(slopes, results, strict=True):
            low, high = (
                self._mean([(a[k], b[k]) for a, b in zip(*square, strict=True)]) for k in (0, 1)
            )
            found.append((low, high))
        return found

    def _mean(self, chunks: Sequence[tuple[Operand, Operand]]) -> Operand:
        w, warps = self.w, self.warps
        total: Operand | None = None
        for pair in chunks:
            a, b = (w.cast(x, float32) for x in pair)
            total = w.let("multiply", a, b) if total is None else w.let("fma", a, b, total)
        assert total is not None
        for half in (4, 2):
            ends = range(half), range(half, 2 * half)
            total = w.let("add", *[w.let("shuffle", total, total, immediates=x) for x in ends])
        return warps.together(warps.added, w.let("add", warps.one(total, 0), warps.one(total, 1)))


class KeyFlow(AttentionNest):
    """The kernel of what flows to keys and values.

    Args:
        means: What the other kernel gives.
    """

    backwards = True

    def __init__(self, means: FormValue, *given: Any) -> None:
        super().__init__(*given)
        self.means = means

    @staticmethod
    def squares(length: int) -> int:
        """One: there are twice as many sums."""
        del length
        return 1

    @property
    def held(self) -> FormValue:
        """The rows that a block of threads holds some of."""
        return self.key

    def write(self) -> None:
        """The body."""
        w, warps = self.w, self.warps
        _, _, _, slopes, _, totals = self.form.inputs
        keys = warps.operands("rows", self.hold(self.key))
        values = warps.operands("values", self.hold(self.value))
        tiles = [self.tile("queries", self.query), self.tile("slopes", slopes)]
        domain = Domain.of(self.means.shape)
        means = Rows.read(w, Access(self.means, domain.indices, ()), domain, single=True)
        lines = [self.line("totals", self.rows(totals, single=True)), self.line("means", means)]
        warps.readers(tiles[0])
        to_keys, to_values = warps.sums("to_keys"), warps.sums("to_values")
        limits = self._limits()
        column = w.let("multiply", warps.t, index(2))
        with self.parts([*tiles, *lines], self.start(), w.at(self.query.shape[-2])) as given:
            first, half, start = given
            column = w.let("add", w.let("multiply", half, index(BLOCK)), column)
            for m in range(BLOCK // STEP):
                shares, flows = list[Operand](), list[Operand]()
                for n in (2 * m, 2 * m + 1):
                    (scores,) = warps.along(tiles[0], start, n, keys)
                    scores = self._shown(scores, limits, first, n)
                    total, mean = (self._of_columns(x, column, n) for x in lines)
                    less = w.let("multiply", total, w.number(-LOG, FOUR))
                    shares.append(self.exponents(scores, less))
                    (steep,) = warps.along(tiles[1], start, n, values)
                    flows.append(self.flow(shares[-1], steep, mean))
                warps.across(tiles[1], start, m, [warps.joined(*shares)], to_values)
                warps.across(tiles[0], start, m, [warps.joined(*flows)], to_keys)
        _, *results = self.form.outputs
        for sums, value, scale in zip((to_keys, to_values), results, (self.form.scale, 1.0)):
            factors = [(w.number(scale, NUMBER),) * 2]
            warps.finish(sums, Rows.written(w, value), self.first, factors)

    def start(self) -> Operand:
        """The first part of the queries with one that sees a row: a block is a part high."""
        return self.first if self.form.is_causal else index(0)

    def _limits(self) -> tuple[Operand | None, Operand | None]:
        """Below which columns a row is not seen, and behind which there are no queries."""
        w, warps, count = self.w, self.warps, self.query.shape[-2]
        low = high = None
        if self.form.is_causal:
            ((one, other),) = warps.numbers(self.first)
            pair = (warps.columns(x) for x in (one, other))
            low = w.let("shuffle", *pair, immediates=(0, 1, 6, 7))
        if not isinstance(count, int) or count % BLOCK:
            high = warps.columns(w.at(count))
        return low, high

    def _shown(
        self, scores: Operand, limits: Sequence[Operand | None], first: Operand, n: int
    ) -> Operand:
        """Scores of queries that see the row."""
        w, (low, high) = self.w, limits
        if high is not None:
            scores = self.without(self.visible(high, first, n), scores)
        if low is not None:
            hidden = self.visible(low, first, n)
            scores = w.let("where", hidden, w.number(-INFINITY, FOUR), scores)
        return scores

    def _of_columns(self, line: Line, column: Operand, n: int) -> Operand:
        """Numbers of a part's rows, for each of the thread's sums."""
        w = self.w
        pair = w.load(line.room, w.let("add", column, index(n * ACROSS)), 2)
        return w.let("shuffle", pair, pair, immediates=(0, 1, 0, 1))


def attention_kernels(
    task: WholeTask,
    extractor: Extractor,
    base: Callable[[FormValue], FormValue],
    target: Target,
    name: str,
) -> list[Naive]:
    """The kernels of attention, or of what flows back through it, in their order.

    Args:
        task: Its elements are plain accesses.
        extractor: Elements of values.
        base: The value that owns a value's memory.
        target: The machine.
        name: Of the kernels.
    """
    del target  # they are the same for all that have tensor cores
    form, elements = task.form, [x for x in task.elements if isinstance(x, Access)]
    if isinstance(form, nodes.Attention):
        return [Forward(form, elements, extractor, base).build(name)]
    assert isinstance(form, nodes.AttentionFlow)
    means = memory_of(TensorType(form.inputs[-1].shape, float32))
    given = means, form, elements, extractor, base
    return [QueryFlow(*given).build(name), KeyFlow(*given).build(name)]
