"""The rules that every kernel obeys, checked around every rewrite."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from jit.dims import free_symbols
from jit.errors import DualflowError, KernelError
from jit.loops.ir import (
    ASSIGNING,
    EXTRAS,
    INDEX,
    TRUTH,
    WARP,
    Alloc,
    Buffer,
    Check,
    Choose,
    Exchange,
    For,
    If,
    Kernel,
    Let,
    Lit,
    Load,
    Mma,
    Operand,
    Prefetch,
    Statement,
    Store,
    Sync,
    Var,
    VType,
    operands,
)
from jit.loops.text import NAMES, format_statement
from jit.loops.writer import Writer
from jit.types import bool_, dtypes, float32, int64, kind

ACCESSES = ("in", "out", "inout")
MULTIPLIED = ("float32", "float16", "bfloat16")  # by tensor cores
ROOMS = ("register", "stack", "shared")


def verify(kernel: Kernel) -> None:
    """Check that `kernel` is well formed.

    Values are assigned once, before they are used, in a block around the use; so are buffers
    allocated. Operands have the types that an instruction takes, places those of their buffer.

    Raises:
        KernelError: The first rule that is broken, with the text of the statement.
    """
    try:
        _Verifier(kernel).body(kernel.body)
    except _Broken as broken:
        raise KernelError(f"kernel {kernel.name} breaks a rule: {broken}") from None


class _Broken(Exception):  # noqa: N818 - becomes a KernelError
    """Which rule a kernel breaks."""


def _demand(holds: object, why: str, *about: object) -> None:
    if not holds:
        raise _Broken(why.format(*about))


class _Verifier:
    """What is assigned and allocated so far.

    Attributes:
        assigned: Every value so far; no value is assigned twice.
        scope: Values and buffers that the next statement may use.
    """

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.assigned: set[Var | Buffer] = set()
        self.scope: set[Var | Buffer] = set()
        self.rules: dict[type, Callable[..., None]] = {
            Let: _let,
            Load: self._load,
            Store: self._store,
            For: self._for,
            If: self._if,
            Alloc: self._alloc,
            Choose: self._choose,
            Check: _check,
            Prefetch: self._prefetch,
            Sync: self._sync,
            Exchange: self._exchange,
            Mma: self._mma,
        }
        for buffer in kernel.buffers:
            self._assign(buffer, buffer.name)
            _demand(buffer.scope == "param", "parameter {} has scope {}", buffer.name, buffer.scope)
            _demand(buffer.access in ACCESSES, "parameter {}: {!r}", buffer.name, buffer.access)
            _demand(buffer.dtype.char in NAMES, "{} is of {}", buffer.name, buffer.dtype)
        self._threads(kernel)
        for var in (*kernel.sizes, kernel.item, *([kernel.thread] if kernel.thread else [])):
            self._assign(var, var.hint)
            _demand(var.type == INDEX, "{} is {}, not {}", var.hint, var.type, INDEX)
        missing = {s.name for s in free_symbols(kernel.grid)} - {n.hint for n in kernel.sizes}
        _demand(not missing, "no size is called {}", ", ".join(sorted(missing)))

    def body(self, body: tuple[Statement, ...]) -> None:
        """Checks a block, whose values end with it."""
        outer = set(self.scope)
        for statement in body:
            try:
                self._statement(statement)
            except (_Broken, DualflowError) as error:
                if isinstance(error, KernelError):
                    raise
                text = format_statement(self.kernel, statement)
                raise KernelError(
                    f"`{text}` in kernel {self.kernel.name} breaks a rule: {_what(error)}"
                ) from None
        self.scope = outer

    def _statement(self, statement: Statement) -> None:
        for x in operands(statement):
            if isinstance(x, Lit):
                _number(x)
            else:
                _demand(x in self.scope, "{} is not assigned before, or not in a block around", x)
        self.rules[type(statement)](statement)
        if isinstance(statement, ASSIGNING):
            self._assign(statement.var, "the value")

    def _assign(self, what: Var | Buffer, name: str) -> None:
        _demand(what not in self.assigned, "{} is assigned twice", name)
        self.assigned.add(what)
        self.scope.add(what)

    # ----- threads -----

    def _threads(self, kernel: Kernel) -> None:
        several = kernel.threads > 1
        _demand(kernel.threads >= 1, "it has {} threads", kernel.threads)
        _demand(several == (kernel.thread is not None), "threads have no number, or need none")

    def _sync(self, sync: Sync) -> None:
        whole = sync.threads in (WARP, self.kernel.threads)
        fits = self.kernel.threads % sync.threads == 0
        _demand(whole and fits, "{} of {} threads wait", sync.threads, self.kernel.threads)

    def _exchange(self, s: Exchange) -> None:
        _demand(self.kernel.threads % WARP == 0, "there are {} threads", self.kernel.threads)
        _demand(s.thread.type == INDEX, "a thread's number is {}, not {}", s.thread.type, INDEX)
        _demand(s.value.type == s.var.type, "it gives {}, not {}", s.value.type, s.var.type)

    def _mma(self, s: Mma) -> None:
        _demand(self.kernel.threads % WARP == 0, "there are {} threads", self.kernel.threads)
        _demand(s.a.type.dtype.name in MULTIPLIED, "it multiplies {}", s.a.type.dtype)
        word = 4 // s.a.type.dtype.itemsize
        types = VType(s.a.type.dtype, 4 * word), VType(s.a.type.dtype, 2 * word), VType(float32, 4)
        for x, type_ in zip((s.a, s.b, s.c), types):
            _demand(x.type == type_, "an operand is {}, not {}", x.type, type_)
        _demand(s.var.type == types[2], "it gives {}, not {}", types[2], s.var.type)

    # ----- statements -----

    def _load(self, load: Load) -> None:
        type_ = load.var.type
        self._place(load, type_)
        _demand(load.buffer.access != "out", "the buffer is for output only")
        if load.other is not None:
            _demand(load.mask is not None, "there is no mask that `else` belongs to")
            _demand(load.other.type == type_, "`else` is {}, not {}", load.other.type, type_)

    def _store(self, store: Store) -> None:
        self._place(store, store.value.type)
        _demand(store.buffer.access != "in", "the buffer is for input only")

    def _prefetch(self, s: Prefetch) -> None:
        buffer, at = s.buffer, s.index
        _demand(buffer in self.scope, "buffer {} is no parameter", buffer.name)
        _demand(buffer.scope == "param", "the buffer is of scope {}", buffer.scope)
        _demand(at.type == INDEX, "the index is {}, not {}", at.type, INDEX)

    def _choose(self, s: Choose) -> None:
        buffer, among, every = s.buffer, s.among, self.kernel.buffers
        first = every.index(among[0]) if among and among[0] in every else len(every)
        in_a_row = bool(among) and every[first : first + len(among)] == among
        _demand(in_a_row, "what it chooses from are no parameters in a row")
        alike = all((b.dtype, b.access) == (buffer.dtype, buffer.access) for b in among)
        _demand(alike and buffer.scope == "param", "the buffer is unlike those parameters")
        _demand(s.index.type == INDEX, "the index is {}, not {}", s.index.type, INDEX)
        self._assign(buffer, buffer.name)

    def _place(self, access: Load | Store, type_: VType) -> None:
        """A place for lanes of `type_`."""
        buffer, at = access.buffer, access.index
        _demand(
            buffer in self.scope, "buffer {} is no parameter, nor allocated before", buffer.name
        )
        _demand(
            buffer.dtype == type_.dtype, "the buffer holds {}, not {}", buffer.dtype, type_.dtype
        )
        _demand(at.type.dtype == int64, "the index is {}, not int64", at.type)
        _demand(
            at.type.lanes in (1, type_.lanes), "{} indices, {} lanes", at.type.lanes, type_.lanes
        )
        _mask(access.mask, type_)
        if isinstance(at, Lit) and access.mask is None and buffer.scope != "param":
            last = int(at.value) + (type_.lanes if at.type.lanes == 1 else 1)
            _demand(
                at.value >= 0 and last <= buffer.size, "the buffer has {} elements", buffer.size
            )

    def _for(self, loop: For) -> None:
        for x in (loop.var, loop.start, loop.stop):
            _demand(x.type == INDEX, "a bound or the variable is {}, not {}", x.type, INDEX)
        _demand(loop.step > 0, "the step is {}, not positive", loop.step)
        outer = set(self.scope)
        self._assign(loop.var, "the variable")
        self.body(loop.body)
        self.scope = outer

    def _if(self, when: If) -> None:
        _demand(
            when.condition.type == TRUTH, "the condition is {}, not a bool", when.condition.type
        )
        self.body(when.body)

    def _alloc(self, alloc: Alloc) -> None:
        buffer = alloc.buffer
        _demand(buffer.scope in ROOMS, "the scope is {!r}, not one of {}", buffer.scope, ROOMS)
        _demand(buffer.access == "inout", "the access is {!r}, not 'inout'", buffer.access)
        _demand(buffer.size > 0, "the size is {}", buffer.size)
        _demand(buffer.dtype.char in NAMES, "the elements are of {}", buffer.dtype)
        self._assign(buffer, buffer.name)


def _what(error: Exception) -> str:
    return error.what if isinstance(error, DualflowError) else str(error)


def _check(check: Check) -> None:
    type_ = check.condition.type
    _demand(type_.dtype == bool_, "the condition is {}, not bool", type_)
    _mask(check.mask, type_)


def _mask(mask: Operand | None, type_: VType) -> None:
    wanted = type_.of(bool_)
    _demand(mask is None or mask.type == wanted, "the mask is not {}", wanted)


def _number(x: Lit) -> None:
    """A literal that its dtype can hold."""
    dtype, value = x.type.dtype, x.value
    if dtype == bool_:
        _demand(isinstance(value, bool | np.bool_), "{!r} is not a bool", value)
    elif dtype.kind in "iu":
        limits = np.iinfo(dtype)
        _demand(
            not isinstance(value, bool | float) and limits.min <= value <= limits.max,
            "{!r} is not {}",
            value,
            dtype,
        )
    else:
        _demand(isinstance(value, int | float), "{!r} is not {}", value, dtype)


# ----- instructions -----


def _let(let: Let) -> None:
    """An instruction whose operands and result have the types that it takes and gives."""
    args, result, immediates = let.args, let.var.type, let.immediates
    _demand(result.dtype.char in NAMES and kind(result.dtype) != "complex", "of {}", result.dtype)
    if let.op in RULES:
        RULES[let.op](args, result, immediates)
        return
    _demand(not immediates, "{} has no immediates", let.op)
    lanes = {x.type.lanes for x in args}
    _demand(len(lanes) == 1, "operands have {} lanes", sorted(lanes))
    if let.op in EXTRAS:
        arity, kinds = SAME[let.op]
        _demand(len(args) == arity, "{} takes {} operands", let.op, arity)
        _demand(len({x.type for x in args}) == 1, "the operands differ in type")
        _demand(kind(args[0].type.dtype) == kinds, "{} is for {} dtypes", let.op, kinds)
    dtype = result.dtype if let.op == "astype" else None
    gives = Writer.result(let.op, args, dtype, immediates)
    _demand(gives == result, "it gives {}, not {}", gives, result)


# Extras that are done lane by lane: how many operands of one type, and of which kind.
SAME = {
    "fma": (3, "floating"),
    "inverse": (1, "floating"),
    "larger": (2, "floating"),
    "near_exp2": (1, "floating"),
    "tf32": (1, "floating"),
    "quotient": (2, "integer"),
    "rest": (2, "integer"),
    "shift_left": (2, "integer"),
    "shift_right": (2, "integer"),
}

Args = tuple[Operand, ...]
Immediates = tuple[int, ...]


def _bitcast(args: Args, result: VType, immediates: Immediates) -> None:
    _demand(len(args) == 1 and not immediates, "bitcast takes one operand")
    (x,) = args
    same = x.type.dtype.itemsize == result.dtype.itemsize and x.type.lanes == result.lanes
    _demand(same, "{} and {} differ in width", x.type, result)
    _demand(bool_ not in (x.type.dtype, result.dtype), "bools have no bits to cast")


def _splat(args: Args, result: VType, immediates: Immediates) -> None:
    _demand(len(args) == 1 and not immediates, "splat takes one operand")
    _demand(args[0].type == VType(result.dtype), "the operand is not a scalar {}", result.dtype)


def _iota(args: Args, result: VType, immediates: Immediates) -> None:
    _demand(not args and not immediates, "iota takes no operands")
    _demand(result.dtype == int64, "iota gives int64, not {}", result.dtype)


def _extract(args: Args, result: VType, immediates: Immediates) -> None:
    _demand(len(args) == 1 and len(immediates) == 1, "extract takes an operand and an immediate")
    (x,) = args
    _demand(0 <= immediates[0] < x.type.lanes, "there is no lane {} of {}", immediates[0], x.type)
    _demand(result == VType(x.type.dtype), "it gives {}, not {}", x.type.dtype, result)


def _shuffle(args: Args, result: VType, immediates: Immediates) -> None:
    _demand(len(args) == 2 and args[0].type == args[1].type, "shuffle takes two of one type")
    lanes = 2 * args[0].type.lanes
    _demand(all(0 <= k < lanes for k in immediates), "immediates {} of {} lanes", immediates, lanes)
    gives = VType(args[0].type.dtype, len(immediates))
    _demand(gives == result, "it gives {}, not {}", gives, result)


def _pairs(args: Args, result: VType, immediates: Immediates) -> None:
    _demand(len(args) == 3 and not immediates, "pairs takes three operands")
    words = VType(dtypes["uint32"], result.lanes)
    for x, type_ in zip(args, (words, words, VType(float32, result.lanes))):
        _demand(x.type == type_, "an operand is {}, not {}", x.type, type_)
    _demand(result.dtype == float32, "it gives float32, not {}", result.dtype)


RULES: dict[str, Callable[[Args, VType, Immediates], None]] = {
    "bitcast": _bitcast,
    "splat": _splat,
    "iota": _iota,
    "extract": _extract,
    "shuffle": _shuffle,
    "pairs": _pairs,
}
