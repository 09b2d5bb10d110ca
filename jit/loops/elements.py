"""Elements: writes element expressions and index arithmetic as the statements of a kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from jit.dims import Atom, Dim, Extent, Symbol, decide
from jit.dims.algebra import FloorDiv, Mod
from jit.forms.expression import (
    Access,
    Apply,
    Checked,
    Coordinate,
    Expression,
    Extractor,
    Guard,
    Inside,
    Number,
    linear,
    parted,
)
from jit.forms.index import Load, is_inside
from jit.forms.nodes import FormValue
from jit.loops.ir import INDEX, TRUTH, Buffer, Lit, Operand, Store, Var, VType, index
from jit.loops.nontemporal import is_large
from jit.loops.writer import Writer
from jit.types import int64

TRUE = Lit(value=True, type=TRUTH)


class Elements(Writer):
    """A writer that knows where values lie and which loops run.

    Args:
        extractor: Follows index tables to what lies in memory.
        base: For a value in memory the one that owns the memory.
        cache: As `Target.cache`.

    Attributes:
        buffers: The parameter of each value that is read or written, in order of appearance.
        sizes: The parameter of each symbol of the graph, by name, and of each offset.
        loops: The value of each loop symbol, by name; outer loops first.
        runs: Positions within several loops together, and their values: what is made of them as a
            whole needs no index of each loop.
        staged: Values that lie in a buffer of the kernel, and where the current element does.
        held: Likewise, of values in memory what is read at an index.
    """

    def __init__(
        self, extractor: Extractor, base: Callable[[FormValue], FormValue], cache: int = 0
    ) -> None:
        super().__init__()
        self.extractor = extractor
        self.base = base
        self.cache = cache
        self.buffers: dict[FormValue, Buffer] = {}
        self.sizes: dict[str | int, Var] = {}
        self.loops: dict[str, Operand] = {}
        self.runs: list[tuple[Dim, Operand]] = []
        self.staged: dict[FormValue, tuple[Buffer, Callable[[], Operand]]] = {}
        self.held: dict[tuple[FormValue, Any], tuple[Buffer, Callable[[], Operand]]] = {}
        self._known: list[dict[Any, Operand]] = [{}]
        self._large: set[Buffer] = set()

    # ----- scopes: what was computed in a block is known up to its end -----

    @contextmanager
    def scope(self) -> Iterator[None]:
        """A block inside of which things are computed anew, and forgotten behind it."""
        self._known.append({})
        yield
        self._known.pop()

    @contextmanager
    def loop(self, start: Operand, stop: Operand, step: int = 1, hint: str = "i") -> Iterator[Var]:
        with super().loop(start, stop, step, hint) as var, self.scope():
            yield var

    @contextmanager
    def when(self, condition: Operand) -> Iterator[None]:
        with super().when(condition), self.scope():
            yield

    @contextmanager
    def bound(self, values: Mapping[str, Operand]) -> Iterator[None]:
        """Gives loop symbols their values for a block."""
        before = self.loops
        self.loops = {**before, **values}
        with self.scope():
            yield
        self.loops = before

    @contextmanager
    def running(self, position: Extent, value: Operand) -> Iterator[None]:
        """Gives a row-major position within several loops its value for a block."""
        before = self.runs
        self.runs = [*before, (position, value)] if isinstance(position, Dim) else before
        yield
        self.runs = before

    def _remember(self, key: Any, compute: Callable[[], Operand]) -> Operand:
        for known in reversed(self._known):
            if key in known:
                return known[key]
        found = self._known[-1][key] = compute()
        return found

    def provide(self, value: FormValue, at: tuple[Extent, ...], operand: Operand) -> None:
        """Says that `value[at]` is at hand, up to the end of the block."""
        self._known[-1][value, at] = operand

    # ----- elements -----

    def emit(self, x: Expression) -> Operand:
        """The value of an expression at the current index."""
        if isinstance(x, Number):
            return self.number(x.value, VType(x.dtype))
        return self._remember(x, lambda: self._emit(x))

    def _emit(self, x: Expression) -> Operand:
        match x:
            case Apply(name="astype", args=(inner,), dtype=dtype):
                return self.cast(self.emit(inner), dtype)
            case Apply(name=name, args=args):
                return self.let(name, *[self.emit(arg) for arg in args])
            case Access():
                return self._access(x)
            case Coordinate(at=at, dtype=dtype, guard=guard):
                return self.cast(self.at(at, guard), dtype)
            case Inside(conditions=conditions, guard=guard):
                return self.holds(conditions, guard) or TRUE
            case Checked(inner=inner, conditions=conditions, guard=guard):
                condition = self.holds(conditions, guard)
                if condition is not None:
                    self.check(condition, self.holds(guard))
                return self.emit(inner)
            case _:
                raise TypeError(x)

    def _access(self, x: Access) -> Operand:
        for known in reversed(self._known):
            if (given := known.get((x.value, x.at))) is not None:
                return given
        found = self.staged.get(x.value) or self.held.get((x.value, x.at))
        if found is not None:
            room, position = found
            return super().load(room, position())
        buffer = self.buffer(x.value)
        at = self.place(linear(x.value.shape, x.at), x.guard)
        return super().load(buffer, at, mask=self.holds(x.guard))

    def place(self, x: Extent, guard: Guard) -> Operand:
        """Where an element lies."""
        offset, rest = self.apart(x)
        at = self.at(rest, guard)
        return at if offset is None else self._known_let("add", offset, at)

    def apart(self, x: Extent) -> tuple[Operand | None, Extent]:
        """The offset of a place, and the rest.

        It is a parameter, so that slices of an array share a kernel.
        """
        offset, rest = parted(x)
        if not offset:
            return None, x
        return self.sizes.setdefault(offset, Var(INDEX, f"offset{len(self.sizes)}")), rest

    def cast(self, x: Operand, dtype: Any) -> Operand:
        """`x` in another dtype."""
        if x.type.dtype == dtype:
            return x
        return self.let("astype", x, dtype=dtype)

    def buffer(self, value: FormValue, access: str = "in") -> Buffer:
        """The parameter in which `value` lies."""
        owner = self.base(value)
        found = self.buffers.get(owner)
        if found is None:
            found = Buffer(f"b{len(self.buffers)}", owner.dtype, "param", access)
            self.buffers[owner] = found
            if access == "out" and is_large(owner.shape, owner.dtype.itemsize, self.cache):
                self._large.add(found)
        return found

    def store(
        self, buffer: Buffer, at: Operand, value: Operand, mask: Operand | None = None
    ) -> None:
        """Writes an element, past the caches where it belongs to a large result."""
        self.body.append(Store(buffer, at, value, mask, buffer in self._large))

    # ----- index arithmetic -----

    def holds(self, guard: Guard, before: Guard = ()) -> Operand | None:
        """Whether all conditions hold; None if there are none.

        Args:
            guard: The conditions.
            before: What is known to hold where they are needed, for loads inside of them.
        """
        found: Operand | None = None
        for position, pair in enumerate(guard):
            inner = (*before, *guard[:position])
            part = self._remember((pair, inner), lambda p=pair, i=inner: self._condition(p, i))
            found = part if found is None else self._both(found, part)
        return found

    def _both(self, a: Operand, b: Operand) -> Operand:
        return self._remember(("both", a, b), lambda: self.let("logical_and", a, b))

    def _condition(self, pair: tuple[Extent, Extent], before: Guard) -> Operand:
        x, n = pair
        value = self.at(x, before)
        parts = []
        if decide(-1, "<", x) is not True:
            parts.append(self.let("greater_equal", value, index(0)))
        if decide(x, "<", n) is not True:
            parts.append(self.let("less", value, self.at(n)))
        if not parts:
            return TRUE
        return parts[0] if len(parts) == 1 else self.let("logical_and", *parts)

    def at(self, x: Extent, guard: Guard = ()) -> Operand:
        """The value of an index expression; loads inside of it happen where `guard` holds."""
        if isinstance(x, int):
            return index(x)
        return self._remember(("at", x, guard if has_loads(x) else ()), lambda: self._sum(x, guard))

    def _sum(self, x: Dim, guard: Guard) -> Operand:
        """Terms of outer loops first: they are computed outside of inner ones."""
        for position, value in self.runs:
            factor, rest = multiple(x, position)
            if factor is not None:
                part = self._known_let("multiply", value, self.at(factor)) if factor != 1 else value
                if isinstance(rest, int) and rest == 0:
                    return part
                return self._known_let("add", self.at(rest, guard), part)
        terms = sorted(x.terms.items(), key=lambda term: self._depth(term[0]))
        total: Operand | None = None
        for monomial, factor in terms:
            if any(self._is_zero(atom) for atom, _ in monomial):
                continue
            part: Operand = index(factor)
            for atom, power in sorted(monomial, key=self._rank):
                for _ in range(power):
                    value = self._atom(atom, guard)
                    one = isinstance(part, Lit) and part.value == 1
                    part = value if one else self._known_let("multiply", part, value)
            total = part if total is None else self._known_let("add", total, part)
        return index(0) if total is None else total

    def _is_zero(self, atom: Atom) -> bool:
        value = self.loops.get(atom.name) if isinstance(atom, Symbol) else None
        return isinstance(value, Lit) and value.value == 0

    def _known_let(self, op: str, a: Operand, b: Operand) -> Operand:
        return self._remember((op, a, b), lambda: self.let(op, a, b))

    def _depth(self, monomial: Any) -> int:
        return max((self._depth_of(atom) for atom, _ in monomial), default=-1)

    def _rank(self, factor: tuple[Atom, int]) -> tuple[int, str]:
        """Factors of outer loops first, others by name: a set has another order each time."""
        return self._depth_of(factor[0]), str(factor[0])

    def _depth_of(self, atom: Atom) -> int:
        if isinstance(atom, Symbol):
            return list(self.loops).index(atom.name) if atom.name in self.loops else -1
        found = [-1]
        atom.rebuild(lambda x: found.append(self._deepest(x)) or x)
        return max(found)

    def _deepest(self, x: Extent) -> int:
        return max(map(self._depth_of, x.atoms()), default=-1) if isinstance(x, Dim) else -1

    def _atom(self, atom: Atom, guard: Guard) -> Operand:
        match atom:
            case Symbol(name=name):
                return self.loops[name] if name in self.loops else self.size(name)
            case FloorDiv(x=x, k=k):
                op = "quotient" if decide(-1, "<", x) else "floor_divide"
                return self._known_let(op, self.at(x, guard), self.at(k))
            case Mod(x=x, k=k):
                op = "rest" if decide(-1, "<", x) else "remainder"
                return self._known_let(op, self.at(x, guard), self.at(k))
            case Load():
                return self._table(atom, guard)
            case _:
                raise TypeError(atom)

    def _table(self, load: Load, guard: Guard) -> Operand:
        table: Any = load.table
        pairs = zip(load.at, table.shape)
        unproven = tuple([pair for pair in pairs if is_inside(*pair) is not True])
        if unproven:
            condition = self.holds(unproven, guard)
            assert condition is not None
            self.check(condition, self.holds(guard))
        element = self.extractor.element(table, load.at, (*guard, *unproven))
        return self.cast(self.emit(element), int64)

    def size(self, name: str) -> Var:
        """The parameter that holds the size called `name`."""
        return self.sizes.setdefault(name, Var(INDEX, name))

    def least_of(self, a: Operand, b: Operand) -> Operand:
        """The smaller of two indices."""
        if isinstance(a, Lit) and isinstance(b, Lit):
            return index(min(int(a.value), int(b.value)))
        return self.let("where", self.let("less", a, b), a, b)


def multiple(x: Dim, position: Dim) -> tuple[int | None, Extent]:
    """(k, rest) with x == rest + k * position, where `rest` has none of the loops in `position`."""
    lead, unit = next(iter(position.terms.items()))
    if unit != 1 and x.terms.get(lead, 0) % unit:
        return None, x
    factor = x.terms.get(lead, 0) // unit
    rest = x - factor * position
    loops = {symbol.name for symbol in position.symbols()}
    mentioned = {s.name for s in rest.symbols()} if isinstance(rest, Dim) else set[str]()
    return (factor, rest) if factor and loops.isdisjoint(mentioned) else (None, x)


def has_loads(x: Extent) -> bool:
    """Whether an index expression reads tables."""
    found: list[Load] = []

    def visit(y: Extent) -> Extent:
        for atom in y.atoms() if isinstance(y, Dim) else ():
            found.extend([atom] if isinstance(atom, Load) else [])
            atom.rebuild(visit)
        return y

    visit(x)
    return bool(found)


def decoded(writer: Elements, position: Operand, extents: Sequence[Extent]) -> list[Operand]:
    """The index whose row-major position within `extents` is given."""
    at: list[Operand] = []
    for extent in reversed(extents[1:]):
        size = writer.at(extent)
        at.append(writer.let("rest", position, size))
        position = writer.let("quotient", position, size)
    return [position, *reversed(at)] if extents else []
