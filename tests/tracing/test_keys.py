"""Python numbers among the arguments: run-time scalars from the second value on, always right."""

from __future__ import annotations

import collections
import dataclasses
import decimal
import enum
import functools
import gc
import itertools
import json
import math
import pickle
import warnings
import weakref

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import dualflow as df
from tests.modes import bits, graphs_only, if_graphs
from tests.tracing.both import agree, outcome, vector

X = vector(1.5, -2.0, 0.1)
DTYPES = ["bool", "int8", "uint8", "int32", "int64", "float16", "bfloat16", "float32", "float64"]
INTS = [2, 3, -5, 0, 1, 100, 1 << 40, -(1 << 63), 1 << 70]
FLOATS = [0.1, 2.5, -0.0, 0.0, math.inf, math.nan, 1e300, 1e-320, 16777217.0, 1 / 3]


def traced(f, calls, traces, **options):
    """The Function of `f`, after calls that all were as eager, with at most so many traces."""
    made = agree(lambda: (f, None), calls, **options)
    assert len(made.entries) <= traces, made.explain()
    return made


# ----- arithmetic -----


@graphs_only
def test_r3_ten_ints_are_two_traces():
    f = traced(lambda x, k: x * k + (k - 1) / 2, [(X, k) for k in range(10)], 2)
    assert (f.from_graph, len(f.graphs)) == (8, 2)


@graphs_only
def test_r3_ten_floats_are_two_traces():
    f = traced(lambda x, k: x / k - k, [(X, 0.1 + k) for k in range(10)], 2)
    assert (f.from_graph, len(f.graphs)) == (8, 2)


@graphs_only
def test_r3_a_new_type_of_number_is_a_trace_of_its_own():
    calls = [(X, k) for k in (1, 2, 3, 1.5, 2.5, 3.5, True, False, 4, 4.5, True)]
    f = traced(lambda x, k: x * k, calls, 6)
    assert f.from_graph == len(calls) - 6


def test_r3_bools_are_two_traces():
    traced(lambda x, k: x * 2.0 if k else x, [(X, k) for k in (True, False) * 3], 2)


@graphs_only
def test_r3_numbers_in_nests_and_keywords():
    def f(batch, *, options):
        return batch["x"] * options["rate"] + options["shift"][0]

    g, x = df.function(f, strict=True), vector(1, 2)
    for k in range(6):
        kwargs = {"options": {"rate": 0.1 * k, "shift": [k, "name"]}}
        assert bits(g({"x": x}, **kwargs)) == bits(f({"x": x}, **kwargs))
    assert (len(g.entries), g.from_graph) == (2, 4)


@graphs_only
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("numbers", [INTS, FLOATS], ids=["ints", "floats"])
def test_r3_weak_numbers_have_the_bits_of_eager(dtype, numbers):
    x = df.asarray([1, 0, 1]).astype(dtype)
    f = df.function(lambda x, k: (x + k, k - x, x * k, x < k, df.asarray(k)), strict=True)
    for k in [*numbers, *numbers]:
        assert outcome(f, (x, k)) == outcome(f.python, (x, k)), k
    assert len(f.entries) == 2


SHARED = st.sampled_from([-3, -1, 0, 1, 2, 7, 255, 0.5, -0.0, 1e10, 3.0, math.inf])
OPERATIONS = [
    lambda x, a, b: x * (a + b),
    lambda x, a, b: (x + a) * (b - a),
    lambda x, a, b: x * (a / b),
    lambda x, a, b: x - a // b,
    lambda x, a, b: x + a % b,
    lambda x, a, b: x * a**2 - b,
    lambda x, a, b: x * abs(-a) + (+b),
    lambda x, a, b: x + max(a, b) - min(a, 1),
    lambda x, a, b: x * a if a > b else x * b,
    lambda x, a, b: x * round(a) if a == a and abs(a) < 1e9 else x,
    lambda x, a, b: (x * a, a + b, [b, a * 2]),
    lambda x, a, b: df.full((2,), a) + b,
    lambda x, a, b: df.where(x > a, b, x),
    lambda x, a, b: x ** (a if a == a and 0 <= a < 5 else 2) + b,
    lambda x, a, b: sum(x * k for k in range(3) if k < b) + a,
    lambda x, a, b: x[min(int(abs(a)), 2) if a == a and abs(a) < 1e9 else 0] * b,
    lambda x, a, b: df.grad(lambda y: (y * a / 3 + b * y * y).sum())(x),
    lambda x, a, b: x * np.float32(b) + math.copysign(1, a),
    lambda x, a, b: df.asarray([a, b]) + x[0],
    lambda x, a, b: df.maximum(x, a) if a and not math.isinf(b) else b,
]


@pytest.mark.slow  # a minute in a process that holds many objects
@given(
    st.integers(0, len(OPERATIONS) - 1),
    st.lists(st.tuples(SHARED, SHARED), min_size=2, max_size=12),
)
def test_r3_any_numbers_in_any_order(which, pairs):
    f = df.function(OPERATIONS[which], strict=True)
    for a, b in [*pairs, *pairs]:
        assert outcome(f, (X, a, b)) == outcome(f.python, (X, a, b)), (a, b)
    types = {(type(a), type(b)) for a, b in pairs}
    assert len(f.entries) <= 3 * len(types)


# ----- what Python decides by a number -----


def sliced(x, k):
    return x[k:]


def ranged(x, k):
    for j in range(k):
        x = x + j
    return x


DECIDED = {
    "a branch": lambda x, k: x * k if k > 3 else x - k,
    "its truth": lambda x, k: x if k else x + 1.0,
    "range": ranged,
    "an index": lambda x, k: x[k % 3],
    "a slice": sliced,
    "a power": lambda x, k: x**k,
    "an axis": lambda x, k: df.sum(x[None] * 2.0, axis=k % 2),
    "a shape": lambda x, k: df.ones((k + 1, 3)) * x,
    "a key": lambda x, k: x * {k: 2.0}.get(k, 0.0) + {0: 1.0, 1: 5.0}.get(k, 7.0),
    "a string": lambda x, k: x * len(f"{k:03d} {k}" + str(k) * k),
    "a repeated list": lambda x, k: df.stack([x] * (k + 1)),
    "float()": lambda x, k: x * float(k),
    "math": lambda x, k: x * math.sqrt(k),
    "NumPy": lambda x, k: x * np.float32(np.sqrt(k)) + np.arange(3) * k + np.full(3, k),
    "its type": lambda x, k: x * k if type(k) is int else x,
    "its class": lambda x, k: x * k if k.__class__ is int and isinstance(k, int) else x,
    "a method": lambda x, k: x * k.bit_length(),
    "divmod": lambda x, k: x * divmod(k, 3)[0] + divmod(10, k + 1)[1],
    "a chain": lambda x, k: x if 1 < k * 2 - 1 <= 7 != k else -x,
    "a sort": lambda x, k: x * sorted([3, k, 1])[1],
    "a comparison with a tensor": lambda x, k: x * (x.sum() > k),
    "a set": lambda x, k: x * (2.0 if k in {1, 4, 9} else 3.0),
    "json": lambda x, k: x * len(json.dumps({"k": k * 10})),
    "decimal": lambda x, k: x * float(decimal.Decimal(k) / 2),
    "pickle": lambda x, k: x * pickle.loads(pickle.dumps(k)),
    "in another structure": lambda x, k: [x] if k < 2 else (x, k),
    "a format": lambda x, k: x * len("%d" % k),  # noqa: UP031
}


@graphs_only
@pytest.mark.parametrize("name", DECIDED)
def test_r3_what_python_decides_stays_right(name):
    f = df.function(DECIDED[name], strict=True, max_traces=100)
    for k in (1, 2, 3, 4, 5, 0, 9, 3, 1, 12):
        assert outcome(f, (X, k)) == outcome(f.python, (X, k)), k
    assert f.from_graph > 0


@graphs_only
def test_r3_a_branch_is_guarded_by_its_answer():
    f = traced(DECIDED["a branch"], [(X, k) for k in range(10)], 2)
    assert (len(f.graphs), f.from_graph) == (3, 7)


@graphs_only
def test_r3_an_error_at_one_value_is_eagers():
    f = df.function(lambda x, k: x * (1 / (k - 3)), strict=True)
    for k in (1, 2, 3, 4, 3, 5):
        assert outcome(f, (X, k)) == outcome(f.python, (X, k))
    assert len(f.entries) == 2


@pytest.mark.filterwarnings("ignore:.*runs in segments")
def test_r3_numbers_from_a_trace_are_plain_afterwards():
    kept = []

    def f(x, k):
        kept.append(k * 2)
        return [x * k, k, {"twice": k * 2}]

    g = df.function(f)
    for k in (1, 2, 3):
        _, same, rest = g(X, k)
        assert (type(same), same, rest) == (int, k, {"twice": 2 * k})
    assert kept == [2, 4, 6]
    assert {type(x) for x in kept} == {int}
    assert g(X, 4)[1] == 4


@graphs_only
def test_r3_state_from_numbers():
    def program():
        v = df.Variable([1.0, 2.0], name="v")

        def f(x, rate, k):
            v.assign_sub(rate * v)
            v.assign(v * k + x)
            return v[0]

        return f, v

    calls = [(vector(1, 2), 0.1 * k, k) for k in range(8)]
    f = agree(program, calls)
    assert (len(f.entries), f.from_graph) == (2, 6)


@graphs_only
def test_r3_gradients_inside_and_outside():
    def f(x, k, p):
        return (df.tanh(x * k) ** 2 * (p + 1)).sum()

    g = df.function(f, strict=True)
    for k, p in ((1, 0.5), (2, 1.5), (3, 2.5), (4, 0.25)):
        found = []
        for call in (f, g, lambda x, k, p: df.function(f)(x, k, p)):
            with df.GradientTape() as tape:
                tape.watch(X)
                y = call(X, k, p)
            found.append(bits(tape.gradient(y, X)))
        assert found[0] == found[1] == found[2]
    assert len(g.entries) == 2


# ----- keywords -----


@graphs_only
def test_r7_by_keyword_is_by_position():
    def f(x, k=1, *, scale=1.0):
        return x * k + scale

    g = df.function(f, strict=True)
    for _ in range(2):
        g(X, 2)
        g(X, k=2)
        g(x=X, k=2)
        g(k=2, x=X)
    assert len(g.entries) == 1
    assert g.from_graph == 7
    assert outcome(lambda: g(X, x=X), ()) == outcome(lambda: f(X, x=X), ())
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        g(k=2)


# ----- arguments that are equal -----


class Color(enum.Enum):
    RED = 2
    BLUE = 3


@dataclasses.dataclass
class Config:
    rate: float
    names: list = dataclasses.field(default_factory=list)
    inner: Config | None = None


@dataclasses.dataclass(frozen=True)
class Frozen:
    rate: float


class Scaler:
    """Its methods are equal when they are of the same instance."""

    def __init__(self, factor):
        self.factor = factor

    def scale(self, x):
        return x * self.factor

    @df.function
    def decorated(self, x):
        return x * self.factor


def scaled(x, factor, shift=0.0):
    return x * factor + shift


def closure(factor):
    return lambda x: x * factor


SCALER = Scaler(2.0)
HELD = vector(4.0)
# Twice the same, and one that differs.
EQUAL = {
    "bound method": lambda k: (SCALER if k else Scaler(3.0)).scale,
    "decorated method": lambda k: (SCALER if k else Scaler(3.0)).decorated,
    "partial": lambda k: functools.partial(scaled, factor=2.0 + (not k), shift=1.0),
    "lambda": lambda k: (lambda x: x * 2.0) if k else (lambda x: x * 3.0),
    "closure": lambda k: closure(2.0 if k else 3.0),
    "closure of a closure": lambda k: functools.partial(closure(2.0 if k else 3.0)),
    "closure of a tensor": lambda k: closure(HELD if k else vector(5.0)),
    "default": lambda k: with_default(2.0 if k else 3.0),
    "dict": lambda k: {"a": {"b": "text" if k else "other"}, "c": [Color.RED]},
    "dict in another order": lambda k: {"a": 1, "b": "x"} if k else {"b": "y", "a": 1},
    "dataclass": lambda k: Config(0.1, ["a"], Config(0.5 if k else 0.25)),
    "frozen dataclass": lambda k: Frozen(0.1 if k else 0.2),
    "NumPy scalar": lambda k: np.float32(0.1 if k else 0.2),
    "NumPy int": lambda k: np.int64(3 if k else 4),
    "enum": lambda k: Color.RED if k else Color.BLUE,
    "set": lambda k: {1, 2, "a"} if k else {1, 3},
    "frozenset": lambda k: frozenset([1, 2]) if k else frozenset([2, 3]),
    "range": lambda k: range(3 if k else 4),
    "slice": lambda k: slice(0, 2 if k else 3),
    "dtype": lambda k: np.dtype("float32" if k else "float64"),
    "tuple": lambda k: ("a", ("b" if k else "c", None)),
    "complex": lambda k: 1j if k else 2j,
    "bytes": lambda k: b"a" if k else b"b",
    "a type": lambda k: int if k else float,
}


def with_default(factor):
    return lambda x, factor=factor, *, shift=1.0: x * factor + shift


def use(x, thing):
    """Something that depends on the argument."""
    if callable(thing) and not isinstance(thing, type):
        return thing(x)
    return x * float(len(repr(thing))) + (ord(repr(thing)[-2]) if repr(thing) else 0.0)


class Answers:
    """Compares as arrays do: by an answer for each element."""

    def __init__(self, *numbers):
        self.numbers = numbers

    def __eq__(self, other):
        return [a == b for a, b in zip(self.numbers, other.numbers, strict=True)]

    def __hash__(self):
        return 1


DIFFERENT = {
    "dataclass of a tensor": lambda k: Config(vector(k, 1.0), "a"),
    "closure of a tensor": lambda k: closure(vector(k, 1.0)),
    "partial of a tensor": lambda k: functools.partial(scaled, factor=vector(k, 1.0), shift=1.0),
    "answers for each element": lambda k: Answers(k, 1),
}


@pytest.mark.filterwarnings("ignore:.*recorded again")
@pytest.mark.parametrize("name", DIFFERENT)
def test_r7_what_does_not_compare_as_a_whole_counts_by_identity(name):
    def python(x, thing):
        if isinstance(thing, Config):
            return x * thing.rate
        return thing(x) if callable(thing) else x * thing.numbers[0]

    f = df.function(python)
    things = [DIFFERENT[name](k) for k in range(4)]
    for thing in (*things, *things):
        assert f(vector(1.0, 2.0), thing).tolist() == python(vector(1.0, 2.0), thing).tolist()
    assert f.recordings <= len(things)


@graphs_only
@pytest.mark.parametrize("name", EQUAL)
def test_r7_equal_arguments_hit_the_cache(name):
    f, make = df.function(use, strict=True), EQUAL[name]
    f(X, make(True))
    for _ in range(2):
        thing = make(True)
        assert bits(f(X, thing)) == bits(use(X, thing))
    assert (len(f.entries), f.from_graph) == (1, 2)
    assert bits(f(X, make(False))) == bits(use(X, make(False)))
    assert len(f.entries) == 2
    assert bits(f(X, make(True))) == bits(use(X, make(True)))
    assert len(f.entries) == 2


@graphs_only
def test_r7_contents_that_change_are_seen():
    config, bag = Config(2.0, ["a"]), {1}
    f = df.function(lambda x, config, bag: x * config.rate + len(config.names) + len(bag))
    for change in (
        lambda: None,
        lambda: setattr(config, "rate", 3.0),
        lambda: config.names.append("b"),
        lambda: bag.add(2),
        lambda: None,
    ):
        change()
        assert bits(f(X, config, bag)) == bits(f.python(X, config, bag))
    assert len(f.entries) == 4


def test_r7_an_argument_that_is_returned_is_the_callers_own():
    f = df.function(lambda x, thing: (x * 2.0, thing))
    for make in (lambda: Config(1.0), lambda: closure(2.0), lambda: Scaler(2.0)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", df.errors.FunctionWarning)
            for _ in range(3):
                thing = make()
                assert f(X, thing)[1] is thing


def test_r7_functions_that_contain_themselves():
    def make():
        def inner(x, n):
            return x if n == 0 else inner(x * 2.0, n - 1)

        return lambda x: inner(x, 3)

    f = df.function(lambda x, g: g(x), strict=True)
    for _ in range(3):
        assert f(X, make()).tolist() == (X * 8.0).tolist()


@graphs_only
def test_r7_objects_in_keys_are_not_kept_alive():
    f = df.function(lambda x, method: method(x), strict=True)
    scaler = Scaler(2.0)
    f(X, scaler.scale)
    ref = weakref.ref(scaler)
    del scaler
    gc.collect()
    assert ref() is None
    f(X, Scaler(3.0).scale)
    assert len(f.entries) == 1


@pytest.mark.parametrize("strict", [True, False])
def test_the_order_of_keys_and_of_names_counts(strict):
    def python(x, table, **named):
        for number, (name, k) in enumerate([*table.items(), *named.items()]):
            x = x * k + number * len(str(name))
        return x, [*table], [*named]

    f = df.function(python, strict=strict)
    tables = [{"a": 2.0, "bb": 3.0}, {"bb": 3.0, "a": 2.0}, {1: 2.0, 0: 3.0}, {True: 2.0, 0: 3.0}]
    names = [{"p": 2.0, "qq": 1.0}, {"qq": 1.0, "p": 2.0}]
    for _ in range(3):
        for table, named in itertools.product(tables, names):
            (found, *keys), (wanted, *known) = f(X, table, **named), python(X, table, **named)
            assert bits(found) == bits(wanted)
            assert repr(keys) == repr(known)
    assert f.from_graph >= if_graphs(16)


def test_the_order_of_keys_counts_inside_of_lists_and_of_nodes_of_ones_own():
    f = df.function(lambda x, table: x + next(iter(table[0].values())))
    for _ in range(3):
        for table in ({"a": X, "b": X * 2.0}, {"b": X * 2.0, "a": X}):
            for holder in ([table], (table,), collections.deque([table])):
                assert bits(f(X, holder)) == bits(f.python(X, holder))


def test_a_list_that_is_given_twice_is_one_list_inside():
    def python(x, a, b):
        return x + 1.0 if a is b else x - 1.0

    f, x, one, other = df.function(python), df.ones(2), [1], [1]
    for lists in [(one, one), (one, other), (other, other), (other, one), ([], []), ((), ())] * 3:
        assert f(x, *lists).tolist() == python(x, *lists).tolist()
    assert f.from_graph >= if_graphs(8)
