"""`vectorize`: the turns of a loop become the lanes of vectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias, TypeGuard

from jit.dataclass import dataclass
from jit.loops.affine import Form, Forms, encounters, from_data, is_written_once
from jit.loops.fold import literal
from jit.loops.ir import (
    INDEX,
    Alloc,
    Buffer,
    Check,
    For,
    If,
    Kernel,
    Let,
    Lit,
    Load,
    Operand,
    Prefetch,
    Store,
    Var,
    VType,
    index,
    walk,
)
from jit.loops.rewrite import Rewrite, refusal, rewrite_loops, zero
from jit.types import bool_, int64

NAME = "vectorize"
WIDE = 32  # bytes of a vector from which on two loads and a choice take less than single elements
NEAR = 4  # places from an element to the next up to which this is so of as many loads


def vectorize(kernel: Kernel, loop: str, lanes: int, tail: str = "mask") -> Kernel:
    """The turns of the loops called `loop` become lanes.

        for i in 0 .. n step 1 {         rest = rest(n, 8); full = subtract(n, rest)
          x = load X[i]                  for i in 0 .. full step 8 {
          store Y[i] = x         ->        x: float32x8 = load X[i]
        }                                  store Y[i] = x
                                         }
                                         if less(full, n) { the same where less(iota, rest) }

    What is equal in all lanes stays scalar. Memory that the body allocates becomes memory for each
    lane. An `if` on what differs becomes a mask.

    Args:
        kernel: Where the loop is.
        loop: The hint of its variable; its step is 1.
        lanes: How many turns run together.
        tail: "mask": what is left over runs masked; "none": nothing may be left over.

    Raises:
        ScheduleError: A lane may need what another one stores, all lanes store to one place, an
            inner loop has other bounds in each lane, or turns are left over.
    """
    return vectorize_each(kernel, {loop: lanes}, tail)


def vectorize_each(kernel: Kernel, loops: Mapping[str, int], tail: str = "mask") -> Kernel:
    """`vectorize` of several loops, which costs no more than of one; none is inside another.

    Args:
        kernel: Where the loops are.
        loops: The hints of their variables, and how many turns of each run together.
        tail: As for `vectorize`.

    Raises:
        ScheduleError: As `vectorize` does.
    """
    loops = {name: lanes for name, lanes in loops.items() if lanes > 1}
    if not loops:
        return kernel
    rewrite = Vectorize(kernel, loops, tail)
    return rewrite_loops(kernel, loops, NAME, rewrite, rewrite.spread)


@dataclass(frozen=True, slots=True)
class Row:
    """An index in lanes: base, base + stride, base + 2 * stride, ... from two scalars.

    Attributes:
        base: In the first lane.
        stride: From one index to the next.
        each: How many neighbours have the same one.
    """

    base: Operand
    stride: Operand
    each: int = 1


Laned: TypeAlias = "Operand | Row"


class Vectorize(Rewrite):
    """Writes vector statements.

    Attributes:
        loops: Which ones, and in how many lanes.
        lanes: Of the loop that is being written.
        running: The lanes that run, where not all do.
        certain: Some lane does run: `running` is the rest of a loop, not a condition.
        spreading: The loop.
        choosy: It holds conditions or masks.
        private: Memory that each lane has for itself -> what was `running` where it came to be.
    """

    directive = NAME

    def __init__(self, kernel: Kernel, loops: Mapping[str, int], tail: str) -> None:
        super().__init__(kernel)
        self.loops = loops
        self.lanes = 1
        self.tail = tail
        self.forms = Forms(kernel)
        self.running: Operand | None = None
        self.certain = True
        self.private: dict[Buffer, Operand | None] = {}
        self.spreading: For | None = None
        self.choosy = False
        self._types: dict[Any, VType] = {}

    # ----- the loop -----

    def spread(self, s: For) -> None:
        """Writes all of a loop in lanes."""
        self.spreading, self.lanes = s, self.loops[s.var.hint]
        self.choosy = any(isinstance(x, If) or getattr(x, "mask", None) for x in walk(s.body))
        if s.step != 1:
            raise self.refused(f"{s.var.hint} goes in steps of {s.step}", "a step of 1")
        self._check_independent(s)
        trip, lanes = self.forms.trip(s), self.lanes
        if trip is not None:
            rest: Operand = index(trip % lanes)
            full = self.index("add", s.start, trip - trip % lanes)
        elif self.forms.multiple(s.stop, lanes) and self.forms.multiple(s.start, lanes):
            rest, full = index(0), s.stop
        else:
            rest = self.index("rest", self.index("subtract", s.stop, s.start), index(lanes))
            full = self.index("subtract", s.stop, rest)
        if self.tail == "none" and not (type(rest) is Lit and rest.value == 0):
            raise self.refused(f"turns of {s.var.hint} may be left over", f"a multiple of {lanes}")
        if trip is None or trip >= lanes:
            self._main(s, full, once=trip is not None and trip < 2 * lanes)
        if type(rest) is not Lit:
            condition = self.value("less", (full, s.stop), VType(bool_))
            body = self.within(lambda: self._rest(s, full, rest))
            self.body.append(If(condition, body))
        elif rest.value:
            self._rest(s, full, rest)

    def _main(self, s: For, full: Operand, *, once: bool) -> None:
        if once:
            return self._turn(s, s.start)
        var = Var(INDEX, s.var.hint)
        body = self.within(lambda: self._turn(s, var))
        return self.body.append(For(var, s.start, full, self.lanes, body))

    def _rest(self, s: For, full: Operand, rest: Operand) -> None:
        self.running = self.value("less", (self.iota(), self.wide(rest)), self.type(bool_))
        self._turn(s, full)
        self.running = None

    def _turn(self, s: For, base: Operand) -> None:
        self.env[s.var] = Row(base, index(1))
        self.copy(s.body)

    def _check_independent(self, s: For) -> None:
        """Refuses a loop whose lanes may touch one element, where the order of turns matters."""
        trip = self.forms.trip(s)
        turns = self.lanes if trip is None else min(trip, self.lanes)
        loaded = {x.buffer for x in walk(s.body) if isinstance(x, Load)}
        for store, met in encounters(s.body, self.forms, {s.var: turns - 1}):
            if met.get(s.var) == 0:
                continue
            once = is_written_once(store.buffer, loaded)
            if s.var in met or not once or from_data(store.index, self.forms):
                why = f"one lane may need what another one stores in {store.buffer.name}"
                raise self.refused(why, "lanes that share no element")

    def refused(self, why: str, expected: str = "", remedy: str = "") -> Exception:
        """The error that the loop cannot be spread."""
        return refusal(self.directive, self.kernel, self.spreading, why, expected, remedy)

    # ----- values in lanes -----

    def type(self, dtype: Any) -> VType:
        """Vectors of a dtype."""
        found = self._types.get((dtype, self.lanes))
        if found is None:
            found = self._types[dtype, self.lanes] = VType(dtype, self.lanes)
        return found

    def iota(self) -> Operand:
        """The number of each lane."""
        return self.value("iota", (), self.type(int64))

    def wide(self, x: Laned) -> Operand:
        """`x` as a vector."""
        if isinstance(x, Row):
            steps = self.iota()
            if x.each > 1:
                each = self.wide(index(x.each))
                steps = self.value("quotient", (steps, each), self.type(int64))
            steps = self.value("multiply", (steps, self.wide(x.stride)), self.type(int64))
            return self.value("add", (self.wide(x.base), steps), self.type(int64))
        if x.type.lanes == self.lanes:
            return x
        if isinstance(x, Lit):
            return Lit(x.value, self.type(x.type.dtype))
        return self.value("splat", (x,), self.type(x.type.dtype))

    def let(self, s: Let) -> None:
        """A value: scalar where it is equal in all lanes."""
        args = [self.operand(x) for x in s.args]
        if not any(map(_differs, args)):
            if s.op in ("quotient", "rest") and not self.certain:
                args[1] = self._divisor(args[1])
            self.env[s.var] = self.value(s.op, tuple(args), s.var.type, s.immediates, s.var.hint)
            return
        if s.var.type.lanes > 1 or s.op in ("splat", "shuffle", "extract"):
            raise self.refused(f"the loop holds vectors already ({s.op})", "scalar statements")
        row = self._row(s.op, args) if s.var.type == INDEX else None
        row = self._repeated(s, args) if row is None else row
        if row is not None:
            self.env[s.var] = row
            return
        wide = [self.wide(x) for x in args]
        if s.op in ("quotient", "rest") and self.running is not None and type(args[1]) is not Lit:
            one = literal(1, wide[1].type)
            wide[1] = self.value("where", (self.running, wide[1], one), wide[1].type)
        type_ = self.type(s.var.type.dtype)
        self.env[s.var] = self.value(s.op, tuple(wide), type_, s.immediates, s.var.hint)

    def _divisor(self, x: Operand) -> Operand:
        """`x`, or 1 instead of 0: the original may not have divided at all."""
        is_zero = self.value("equal", (x, literal(0, x.type)), VType(bool_))
        return self.value("where", (is_zero, literal(1, x.type), x), x.type)

    def _row(self, op: str, args: list[Laned]) -> Laned | None:
        """Index arithmetic done once on the base and once on the stride."""
        if any(not isinstance(x, Row) and x.type.lanes > 1 for x in args):
            return None
        if op == "negative":
            return self._row("subtract", [index(0), *args])
        each = max([x.each for x in args if isinstance(x, Row)])
        if op in ("add", "subtract"):
            x, y = [x if isinstance(x, Row) else Row(x, index(0), each) for x in args]
            if x.each != y.each:
                return None
            base, stride = self.index(op, x.base, y.base), self.index(op, x.stride, y.stride)
            return base if stride == index(0) else Row(base, stride, each)
        if op == "multiply":
            x, y = args if isinstance(args[0], Row) else args[::-1]
            if isinstance(x, Row) and not isinstance(y, Row):
                base, stride = self.index(op, x.base, y), self.index(op, x.stride, y)
                return base if stride == index(0) else Row(base, stride, each)
        return None

    def _repeated(self, s: Let, args: list[Laned]) -> Laned | None:
        """A row divided by what the lanes are a multiple of, or a part: neighbours get one index.

        The first lane's index has to be divisible, so that all begin together. Where the lanes are
        part of what is divided by, they have one quotient, and rests that follow each other.
        """
        if s.op not in ("quotient", "rest") or type(args[1]) is not Lit:
            return None
        row, size = args[0], int(args[1].value)
        if not isinstance(row, Row) or row.each != 1 or size < 1:
            return None
        if size % self.lanes == 0 and self._begins_at(s.args[0], self.lanes):
            base = self.index(s.op, row.base, size)
            return base if s.op == "quotient" else Row(base, index(1))
        if s.op == "rest" or self.lanes % size or not self._begins_at(s.args[0], size):
            return None
        return Row(self.index("quotient", row.base, size), index(1), size)

    def _begins_at(self, x: Operand, size: int) -> bool:
        """Whether an index goes up by 1 from lane to lane, from a multiple on."""
        assert self.spreading is not None
        form, loop = self.forms.of(x), self.spreading
        others = Form(form.constant, {x: f for x, f in form.terms.items() if x is not loop.var})
        if form.terms.get(loop.var) != 1 or not self.forms.multiple(loop.start, size):
            return False
        return self.forms.divides(size, others)

    # ----- memory -----

    def alloc(self, s: Alloc) -> None:
        """Memory of a turn becomes memory for each lane, side by side."""
        made = self.allocate(s.buffer, s.buffer.size * self.lanes)
        self.private[made] = self.running
        if made.scope == "register" and self.choosy:  # lanes may be read that were not written
            for k in range(0, made.size, self.lanes):
                self.body.append(Store(made, index(k), zero(self.type(made.dtype))))

    def prefetch(self, s: Prefetch) -> None:
        """Asks for the first lane's element: what lies in a row comes with it, or soon after."""
        at = self.operand(s.index)
        if isinstance(at, Row):
            at = at.base
        if at.type.lanes == 1:
            self.body.append(Prefetch(self.buffers.get(s.buffer, s.buffer), at))

    def load(self, s: Load) -> None:
        """A scalar, lanes in a row, or a gather."""
        buffer, at = self._place(s.buffer, s.index)
        mask, other = self._optional(s.mask), self._optional(s.other)
        if s.var.type.lanes > 1:
            raise self.refused("the loop holds vectors already", "scalar statements")
        safe = self.certain or self._fits(s.buffer, s.index)
        if safe and not isinstance(at, Row) and not any(map(_differs, (at, mask, other))):
            self.env[s.var] = self.fetch(buffer, at, s.var.type, mask, other, s.var.hint)
            return
        lanes = self._lanes_of(s, buffer, mask)
        if other is not None:
            other = self.wide(other)
        if lanes is None and self._is_near(at, buffer):
            self.env[s.var] = self._spaced(buffer, at)
            return
        if lanes is None and self._is_repeated(at, buffer):
            self.env[s.var] = self._each_again(buffer, at)
            return
        type_ = self.type(buffer.dtype)
        self.env[s.var] = self.fetch(buffer, self._address(at), type_, lanes, other, s.var.hint)

    def _is_near(self, at: Laned, buffer: Buffer) -> TypeGuard[Row]:
        """Whether wide vectors hold elements with few between them, and none is a lane's own."""
        if not isinstance(at, Row) or type(at.stride) is not Lit or at.each > 1:
            return False
        near = at.stride.value != 1 and 1 <= abs(at.stride.value) <= NEAR
        return near and self.lanes * buffer.dtype.itemsize >= WIDE and self.is_shared(buffer)

    def _spaced(self, buffer: Buffer, at: Row) -> Operand:
        """Elements with few between them: vectors from the first of them in memory to the last.

        A gather would fetch them one by one.
        """
        assert type(at.stride) is Lit
        lanes, stride, type_ = self.lanes, int(at.stride.value), self.type(buffer.dtype)
        step, least = abs(stride), min(0, stride * (lanes - 1))
        places = [lane * stride - least for lane in range(lanes)]
        # The last vector begins early: nothing lies behind.
        starts = [*range(0, (step - 1) * lanes, lanes), (lanes - 1) * (step - 1)]
        first = self.index("add", at.base, least)
        found = self.fetch(buffer, first, type_)
        if step == 1:
            return self.value("shuffle", (found, found), type_, tuple(places))
        for part, start in enumerate(starts[1:], 1):
            more = self.fetch(buffer, self.index("add", first, start), type_)
            behind = [x // lanes >= part for x in places]
            inside = [x - start if x // lanes == part else x % lanes for x in places]
            kept = range(lanes) if part > 1 else [x % lanes for x in places]
            chosen = [lanes + i if b else k for b, i, k in zip(behind, inside, kept)]
            found = self.value("shuffle", (found, more), type_, tuple(chosen))
        return found

    def _is_repeated(self, at: Laned, buffer: Buffer) -> TypeGuard[Row]:
        """Whether neighbours read the same element of those in a row."""
        return (
            isinstance(at, Row) and at.each > 1 and at.stride == index(1) and self.is_shared(buffer)
        )

    def _each_again(self, buffer: Buffer, at: Row) -> Operand:
        """A shorter vector, each element of it in several lanes."""
        type_ = VType(buffer.dtype, self.lanes // at.each)
        few = self.fetch(buffer, at.base, type_)
        chosen = tuple([k // at.each for k in range(self.lanes)])
        return self.value("shuffle", (few, few), self.type(buffer.dtype), chosen)

    def is_shared(self, buffer: Buffer) -> bool:
        """Whether a buffer is one for all lanes."""
        return buffer not in self.private

    def store(self, s: Store) -> None:
        """Lanes in a row, or a scatter; never all lanes to one place."""
        buffer, at = self._place(s.buffer, s.index)
        mask, value = self._optional(s.mask), self.wide(self.operand(s.value))
        if not _differs(at):
            raise self.refused("all lanes store to one place", "an index that differs")
        at = self._address(at)
        lanes = self._lanes_of(s, buffer, mask)
        chosen = self._both(self.running, mask)
        if lanes is None and chosen is not None and not self._unseen(buffer, mask):
            old = self.fetch(buffer, at, value.type)
            value = self.value("where", (chosen, value, old), value.type)
        self.body.append(Store(buffer, at, value, lanes, s.nontemporal))

    def _place(self, buffer: Buffer, at: Operand) -> tuple[Buffer, Laned]:
        """The buffer and the index, or Row of indices, of what was at `at`."""
        found, new = self.buffers.get(buffer, buffer), self.operand(at)
        if found not in self.private:
            return found, new
        if not isinstance(new, Row) and not _differs(new):
            new = Row(new, index(0))
        if isinstance(new, Row) and new.each > 1:
            new = self.wide(new)
        if isinstance(new, Row):
            base, stride = [self.index("multiply", x, self.lanes) for x in (new.base, new.stride)]
            return found, Row(base, self.index("add", stride, 1))
        times = self.wide(index(self.lanes))
        scaled = self.value("multiply", (new, times), self.type(int64))
        return found, self.value("add", (scaled, self.iota()), self.type(int64))

    def _address(self, at: Laned) -> Operand:
        """A scalar for lanes in a row, else a vector."""
        if isinstance(at, Row) and at.stride == index(1) and at.each == 1:
            return at.base
        return self.wide(at)

    def _lanes_of(self, s: Load | Store, buffer: Buffer, mask: Operand | None) -> Operand | None:
        """The mask of an access; None where all lanes may run."""
        if self._unseen(buffer, mask):
            return None
        plain = s.mask is None or isinstance(s, Store)
        if plain and self._fits(s.buffer, s.index):
            return None
        return self._both(self.running, mask)

    def _unseen(self, buffer: Buffer, mask: Operand | None) -> bool:
        """Whether the lanes that do not run may be accessed all the same: nobody will look."""
        return mask is None and self.private.get(buffer, False) is self.running

    def _fits(self, buffer: Buffer, at: Operand) -> bool:
        """Whether an index is inside of a register buffer whichever lanes run.

        Such buffers stay in registers only if no access of theirs is masked.
        """
        loop = self.spreading
        assert loop is not None
        trip = self.forms.trip(loop)
        if buffer.scope != "register" or trip is None:
            return False
        found = self.forms.interval(at, {loop.var: -(-trip // self.lanes) * self.lanes})
        return found is not None and found[0] >= 0 and found[1] < buffer.size

    def _both(self, a: Operand | None, b: Operand | None) -> Operand | None:
        if a is None or b is None:
            found = a if b is None else b
            return None if found is None else self.wide(found)
        return self.value("logical_and", (self.wide(a), self.wide(b)), self.type(bool_))

    # ----- control -----

    def loop(self, s: For) -> None:
        """An inner loop runs for all lanes together."""
        if _differs(self.operand(s.start)) or _differs(self.operand(s.stop)):
            raise self.refused(f"lanes run {s.var.hint} between different bounds", "equal bounds")
        super().loop(s)

    def when(self, s: If) -> None:
        """A condition that differs is a mask for what it holds."""
        condition = self.operand(s.condition)
        if not _differs(condition):
            return super().when(s)
        running, certain = self.running, self.certain
        self.running, self.certain = self._both(running, condition), False
        self.copy(s.body)
        self.running, self.certain = running, certain
        return None

    def check(self, s: Check) -> None:
        """A demand on the lanes that run."""
        condition, mask = self.operand(s.condition), self._optional(s.mask)
        if self.certain and not _differs(condition) and not _differs(mask):
            return super().check(s)
        lanes = self._both(self.running, mask)
        return self.body.append(Check(self.wide(condition), lanes))


def _differs(x: Laned | None) -> bool:
    """Whether a value is not the same in all lanes."""
    return isinstance(x, Row) or (x is not None and x.type.lanes > 1)
