"""Random functions that read Python state, and random changes of it: as eager at every call."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dualflow as df
from tests.modes import graphs_only
from tests.tracing.both import vector
from tests.tracing.state_programs import program

WORLD = """
import collections, functools, types

class B:
    def __init__(self, c): self.c = c
    def double(self): return self.c * 2.0

class Base: s = 1.5

class A(Base):
    def __init__(self): self.a, self.b, self.n, self._p = 1.0, B(2.0), 0, 3.0
    def m(self): return self.a + g1
    @property
    def p(self): return self._p
    def __getitem__(self, i): return k[i] + self.a
    def __len__(self): return len(k)

class Slot:
    __slots__ = ('v',)

def make():
    c = 1.0
    def h(v): return v * c + g1
    def put(v):
        nonlocal c
        c = v
    return h, put

g0, g1, g2 = 1.0, 2.0, 0
o, sl = A(), Slot()
sl.v = 1.0
k, d, q = [1.0, 2.0], {'x': 1.0, 'y': {'z': 2.0}}, collections.deque([1.0, 2.0], maxlen=3)
arr = np.arange(1.0, 4.0, dtype='float32')
ns = types.SimpleNamespace(v=1.0, w=[1.0])
h, put = make()
part = functools.partial(h, 2.0)
def gen():
    for v in k: yield v + g0
def helper(x, z=1.0): return x * z + o.a
"""

ATOMS = (
    "g0",
    "g1",
    "o.a",
    "o.b.c",
    "o.b.double()",
    "o.m()",
    "o.p",
    "o.s",
    "o[0]",
    "float(len(o))",
    "k[0]",
    "k[-1]",
    "sum(k)",
    "d['x']",
    "d.get('w', 0.5)",
    "d['y']['z']",
    "float(len(d))",
    "q[-1]",
    "float(arr[0])",
    "float(arr.sum())",
    "h(2.0)",
    "part()",
    "sl.v",
    "ns.v",
    "ns.w[0]",
    "getattr(ns, 'u', 0.25)",
    "max(gen())",
    "sorted(k)[0]",
    "(lambda v: v * g0)(2.0)",
)
atoms = st.sampled_from(ATOMS)
LINES = (
    "x = x * {} + {}",
    "if {} > {}: x = x + {}",
    "for v in k: x = x + v * {}",
    "x = x + sum([v * {} for v in q])",
    "x = helper(x) + {}",
    "x = helper(x, {})",
    "x = x + arr[:1] * {}",
    "b = B({}); b.c += {}; x = x + b.double()",
    "try: x = x * ns.t\n    except AttributeError: x = x + {}",
)
EFFECTS = ("o.n += 1", "k.append({})", "d['x'] = {}", "g2 = {}", "q.append({})", "sl.v = {}")
CHANGES = (
    "g0 = {}",
    "g1 = {}",
    "g1 = int({})",
    "o.a = {}",
    "o.b.c = {}",
    "o.b = B({})",
    "o._p = {}",
    "o.s = {}",
    "A.s = {}",
    "Base.s = {}",
    "A.m = lambda self: {}",
    "B.double = lambda self: self.c * {}",
    "A.__len__ = lambda self: 4",
    "k[0] = {}",
    "k.append({})",
    "k = [{}]",
    "k.reverse()",
    "d['x'] = {}",
    "d['w'] = {}",
    "d['y']['z'] = {}",
    "d = {{'x': {}, 'y': {{'z': 1.0}}}}",
    "q.append({})",
    "arr[0] = {}",
    "arr = arr * {}",
    "put({})",
    "h = lambda v: v + {}",
    "sl.v = {}",
    "ns.v = {}",
    "ns.u = {}",
    "ns.t = {}",
    "ns.w[0] = {}",
    "helper.__defaults__ = ({},)",
    "max = min",
    "unrelated = {}",
    "o.unrelated = {}",
)
numbers = st.sampled_from(("0.0", "-0.0", "1.0", "2.0", "-1.5", "3.0"))


@st.composite
def sources(draw, lines):
    """The source of `f`."""
    body = []
    for line in draw(st.lists(st.sampled_from(lines), min_size=1, max_size=4)):
        body.append("    " + line.format(*(draw(atoms) for _ in range(line.count("{}")))))
    return "\n".join([WORLD, "def f(x):", "    global g2", *body, "    return x"])


changes = st.builds(lambda change, number: change.format(number), st.sampled_from(CHANGES), numbers)


def outcome(f, x):
    """The bits of the result, or the class of the exception."""
    try:
        return f(x).numpy().tobytes()
    except Exception as error:
        return type(error)


@graphs_only
@given(sources(LINES), st.lists(changes, min_size=1, max_size=6))
def test_r9_random_reads_and_random_changes(source, steps):
    eager, compiled = program(source), program(source)
    f, x = df.function(compiled.function, strict=True), vector(0.5)
    for step in ("pass", *steps):
        for each in (eager, compiled):
            exec(step, each.scope)
        wanted = outcome(eager.function, x)
        assert outcome(f, x) == wanted, step
        served = f.from_graph
        assert outcome(f, x) == wanted, f"{step}, again"
        assert isinstance(wanted, type) or f.from_graph == served + 1, f"{step} recorded again"


@given(sources((*LINES, *EFFECTS)), st.lists(changes, min_size=1, max_size=6))
@pytest.mark.filterwarnings("ignore:.*runs in segments")
def test_r9_r10_random_reads_changes_and_effects(source, steps):
    eager, compiled = program(source), program(source)
    f, x = df.function(compiled.function), vector(0.5)
    for step in ("pass", *steps, "pass", "pass"):
        for each in (eager, compiled):
            exec(step, each.scope)
        assert outcome(f, x) == outcome(eager.function, x), step
        states = [
            repr([s[n] for n in ("k", "d", "q", "g2")] + [s["o"].n, s["sl"].v])
            for s in (eager.scope, compiled.scope)
        ]
        assert states[0] == states[1], step
