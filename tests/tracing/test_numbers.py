"""Numbers that vary do all that Python's own do: what is written with one gives what it gives."""

from __future__ import annotations

import collections
import datetime
import functools
import types
from typing import Any

import numpy as np
import pytest

import dualflow as df
from tests.modes import bits, graphs_only
from tests.tracing.both import agree, vector

pytestmark = pytest.mark.usefixtures("own_holders")
EXPRESSIONS = """
x / k, x // k, x ** k, k - x, k / x, x % (k + 0.5)
1 // k
7 % k
2**k * (1 << abs(k))
divmod(7, k), divmod(k, 3)
round(k / 3, 2), round(k), round(k, -1), math.floor(k / 2), math.trunc(k)
f"{k}|{k!r:>4}|{k:5.2f}", "%d" % k, "{:,}".format(k), str(k).zfill(4)
k.bit_length() if isinstance(k, int) else k.is_integer()
[x] * abs(k), "ab" * k, (1, 2) * k
[1, 2, 3][k]
"abc"[k]
[*range(5)][k:], x[:k], x[-k:], x[slice(0, k)]
slice(k), {"a": [slice(0, k)]}, np.s_[1:k]
k in (1, 2), k == 1.0, k != 2, k is not None, not k, k or 7, k and x
hash(k), {1: 2.0, 3: 4.0}.get(k, x), {k: x}, {k}
sorted([k, 2, 0]), min(k, 3), max([k, 1.5]), sum([k, k]), abs(-k), -k, +k
~k, k ^ 3, k & 6, k >> 1
complex(k), float(k), int(k), operator.index(k)
isinstance(k, int), isinstance(k, (float, complex)), k.__class__.__name__, issubclass(type(k), int)
np.float32(k), np.array([k, 1]), np.arange(5)[k], np.full(2, k), np.sin(k)
df.asarray(k), df.asarray([k, 2.0]), df.full((2,), k), df.full_like(x, k), df.maximum(x, k)
df.arange(k), df.zeros(abs(k)), df.eye(abs(k)), df.roll(x, k), df.tile(x, (abs(k),))
df.where(x > k, x, k), df.clip(x, 0, abs(k)), x * k == k, x < k
x.astype("int32") * k, x.astype("bool") + k, x.astype("float64") * k, x.astype("int8") - k
fractions.Fraction(k)
decimal.Decimal(k)
json.dumps({"k": k}), pickle.loads(pickle.dumps(k)), copy.deepcopy([k]), struct.pack("d", k)
getattr(k, "real"), k.conjugate(), k.__add__(1), k.__radd__(1), getattr(k, "numerator", 0)
hasattr(k, "value"), hasattr(k, "name"), hasattr(k, "owner"), hasattr(k, "dim"), hasattr(k, "fixed")
k.value
k.foo
1 < k * 2 - 1 <= 7 != k
math.factorial(k), math.gcd(k, 12)
math.isclose(k, 1), math.hypot(k, 1), math.copysign(1, k)
math.log(k)
statistics.mean([k, 1]), statistics.median([k, 2, 3])
bisect.bisect([1, 2, 3], k), datetime.timedelta(seconds=k)
functools.reduce(lambda a, b: a * b, [k, k, 2]), (lambda z=k: z * x)(), [z * k for z in (1, 2)]
dict(collections.Counter([k, 1])), collections.OrderedDict([(k, x), (9, x)])
collections.deque([k, x], maxlen=1), vars(types.SimpleNamespace(k=k))
random.Random(k).random(), next(itertools.islice(itertools.count(), abs(k), None))
(k,) < (2,), [k] == [2], k > 1 > k - 1
k.to_bytes(8, "little", signed=True)
type(k)(3), type(k) is int
chr(abs(k) + 65), list("abc")[:k], [1, 2, 3].index(k)
k * k * k * k * x, x * (k / 7.0) ** 0.5, k // 2 * x + k % 2
""".strip().splitlines()
INTS, FLOATS = (1, 2, 0, -1, 5, 2, 40), (2.5, 0.0, -0.0, True, -1.5)
X = vector(0.5, -1.5, 2.0)


def described(x: Any) -> Any:
    """A result with the types of all that is in it; all NaNs are one."""
    if isinstance(x, df.Tensor | np.ndarray | np.generic):
        array = np.array(x)
        if array.dtype.kind == "f":
            array[np.isnan(array)] = np.nan
        return type(x), bits(array)
    if isinstance(x, dict):
        return type(x), [(described(key), described(item)) for key, item in x.items()]
    if isinstance(x, list | tuple | collections.deque):
        return type(x), [*map(described, x)]
    if isinstance(x, slice):
        return type(x), [*map(described, (x.start, x.stop, x.step))]
    return type(x), repr(x)


def outcome(f: Any, *args: Any) -> Any:
    """What a call gives, or raises."""
    try:
        return described(f(*args))
    except Exception as error:
        return type(error), str(error).partition("\n")[0]


@graphs_only
@pytest.mark.filterwarnings("ignore:.*runs in segments", "ignore:.*recorded again")
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_r3_r12_an_argument_that_varies_is_a_number(expression):
    python = eval(f"lambda x, k: ({expression})", {**globals()})
    f = df.function(python, max_traces=100)
    for k in (*INTS, *FLOATS):
        assert outcome(f, X, k) == outcome(python, X, k), k


@graphs_only
@pytest.mark.filterwarnings("ignore:.*runs in segments", "ignore:.*recorded again")
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_r9_r12_a_global_that_varies_is_a_number(expression):
    scope = {**globals()}
    python = eval(f"lambda x: ({expression})", scope)
    f = df.function(python, max_traces=100)
    for k in INTS:
        scope["k"] = k
        assert outcome(f, X) == outcome(python, X), k


# ----- what takes plain numbers only -----


def learns(x, k, learned):
    return x * learned(k)


def learns_in_vain(x, k, learned):
    try:
        return x * learned(k)
    except Exception:  # sees nothing of what ends a recording
        return x - 1.0


def learns_by_name(x, k, learned):
    return x * learned(**{"k": k}) + learned((k, 1)[0])


@graphs_only
@pytest.mark.filterwarnings("ignore:.*runs in segments", "ignore:.*recorded again")
@pytest.mark.parametrize("python", [learns, learns_in_vain, learns_by_name])
@pytest.mark.parametrize("source", ["argument", "extent", "state"])
def test_a_function_that_remembers_learns_each_value_once(python, source):
    """Python looks a plain int up by itself, and by a tuple what is like one."""

    def program():
        asked, state = [], {"k": 0}

        @functools.lru_cache(maxsize=8)
        def learned(k):
            asked.append(k)
            return {"twice": k * 2.0}["twice"]

        def f(x, k):
            if source == "state":
                state["k"] = k = (state["k"] + 1) % 3
            return python(x, x.shape[0] if source == "extent" else k, learned)

        return f, [asked, state]

    ks = [2, 3, 4, 3, 2, 4, 3, 5, 5, 2]
    f = agree(program, [(df.ones(k), k) for k in ks], strict=False)
    assert f.from_graph >= 1 or source == "state"


@pytest.mark.filterwarnings("ignore:.*runs in segments", "ignore:.*recorded again")
def test_a_call_that_wants_plain_numbers_late_is_run_again_from_its_state():
    """C code refuses the number when the call has changed something that lasts already."""

    def program():
        state = types.SimpleNamespace(seen=collections.OrderedDict(), names=[], last=None)

        def f(x, k):
            state.seen[k] = len(state.seen)
            state.names.append(f"{len(state.names)}")
            state.last = x
            return x * datetime.timedelta(days=k).days

        return f, [state.__dict__]

    agree(program, [(vector(1.0), k) for k in (1, 2, 3, 2, 5)], strict=False)
