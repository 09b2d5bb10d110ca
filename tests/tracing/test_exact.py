"""`exact=True` checks each way through a function once; `fast=True` rounds elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

import dualflow as df
from dualflow.errors import AuditError
from dualflow.tracing.path import Path
from tests.modes import bits, graphs_only
from tests.tracing.both import vector

pytestmark = graphs_only


@pytest.fixture(autouse=True)
def _compiled():
    with df.set_mode("compiled"):
        yield


@pytest.fixture
def wrong(monkeypatch):
    """Makes a path's first output wrong from now on."""

    def make():
        call = Path.call

        def changed(self, arguments, given=(), accept=None):
            def altered(made, outcome):
                made[0] = np.nextafter(made[0], np.float32(np.inf))
                accept(made, outcome)

            return call(self, arguments, given, accept and altered)

        monkeypatch.setattr(Path, "call", changed)

    return make


def branching(x):
    return df.tanh(x) * 2.0 if x.sum() > 0 else df.exp(x) - 1.0


def collatz(n):
    steps = 0
    while n > 1:
        n = 3 * n + 1 if n % 2 == 1 else n // 2
        steps += 1
    return steps


def powers(x, w):
    h = df.tanh(x @ w) ** 3 / 3.0
    return h / (df.abs(h).sum(axis=1, keepdims=True) + 1.0)


def given(*shapes):
    generator = np.random.default_rng(0)
    return [df.asarray(generator.normal(size=shape).astype(np.float32)) for shape in shapes]


def test_each_way_is_checked_by_the_first_call_that_it_serves():
    f = df.function(branching, exact=True, strict=True)
    for k in (1.0, 1.0, 1.0, -1.0, 1.0, -1.0, -1.0, 1.0):
        assert bits(f(vector(k, 2 * k))) == bits(branching(vector(k, 2 * k)))
    assert (f.recordings, f.audited, f.from_graph) == (2, 2, 6)
    assert repr(f).startswith("<Function branching: compiled")


def test_ways_that_join_are_checked_again_when_they_have_grown():
    f = df.function(collatz, exact=True)
    for n in (5, 5, 5, 5, 6, 6, 7, 7, 7):
        assert f(df.asarray(n)) == collatz(n)
    before = f.audited
    assert before >= 1
    for n in (5, 6, 7):
        f(df.asarray(n))
    assert f.audited == before


def test_a_bit_that_differs_is_an_error_and_state_is_pythons(wrong):
    v = df.Variable([1.0], name="v")
    f = df.function(lambda x: v.assign_add(x) * 2.0, exact=True)
    f(vector(1.0))
    wrong()
    with pytest.raises(AuditError, match="1 ULP apart"):
        f(vector(1.0))
    assert v.tolist() == [3.0]


def test_what_was_checked_before_is_not_looked_at_again(wrong):
    f = df.function(lambda x: x * 2.0, exact=True)
    f(vector(1.0)), f(vector(1.0))
    wrong()
    assert f(vector(1.0)).tolist() == [2.0]
    assert f.audited == 1


@pytest.mark.filterwarnings("ignore:.*runs in segments")
def test_segments_and_the_other_modes_go_on_as_they_are():
    f = df.function(lambda x: x * float(x.sum()), exact=True)
    assert [f(vector(1.0, 2.0)).tolist() for _ in range(3)] == [[3.0, 6.0]] * 3
    with df.set_mode("audit"):
        g = df.function(branching, exact=True)
        g(vector(1.0)), g(vector(1.0))
        assert g.audited == 1
    off = df.function(branching, exact=True, mode="eager")
    off(vector(1.0))
    assert off.recordings == 0


@pytest.mark.parametrize(
    ("options", "told"), [({"exact": True}, "exact=True"), ({"audit": 0.5}, "audit=0.5")]
)
def test_what_insists_on_bits_cannot_be_fast(options, told):
    with pytest.raises(ValueError, match=f"fast=True and {told}: one gives bits up"):
        df.function(fast=True, **options)


def test_a_fast_function_is_near_and_its_gradients_are():
    x, w = given((9, 5), (5, 7))
    exact, fast = df.function(powers), df.function(powers, fast=True)
    found = []
    for f in (exact, fast):
        for _ in range(3):
            with df.GradientTape() as tape:
                tape.watch([x, w])
                y = (f(x, w) ** 2).sum()
            slopes = tape.gradient(y, [x, w])
        found.append([f(x, w), *slopes])
    for entry in fast.entries.values():
        assert "pow" not in {node.op.name for node in entry.last.executable.graph.nodes}
    one = fast.concrete(df.TensorSpec((9, 5)), df.TensorSpec((5, 7)))
    assert bits(one(x, w)) == bits(fast(x, w))
    assert bits(found[0][0]) == bits(powers(x, w))
    assert [bits(a) for a in found[0]] != [bits(b) for b in found[1]]
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-7)


def test_audit_mode_leaves_alone_what_asked_to_be_fast():
    x, w = given((9, 5), (5, 7))
    f = df.function(powers, fast=True)
    with df.set_mode("audit"):
        for _ in range(4):
            f(x, w)
    assert (f.audited, f.from_graph) == (0, 3)


def test_the_report_says_what_exactness_costs_and_what_fast_changes():
    x, w = given((9, 5), (5, 7))
    found = df.compare(df.function(powers, exact=True), x, w, calls=3)
    price = found.price
    assert found.identical
    assert price.ways == 1
    assert price.worst is not None
    assert price.worst.relative < 1e-5
    assert price.share == pytest.approx(price.exact.median / price.fast.median - 1)
    text = str(found)
    assert "exact?        yes     1 way through it checked bit by bit" in text
    assert "with fast=True" in text
    assert f"differs by {price.worst.ulp:,} ULP" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 80
    assert len(text.splitlines()) <= 20
    other = df.compare(df.function(powers, fast=True), x, w, calls=3)
    assert other.price is None
    assert (other.same, other.identical) == (True, False)
    line = powers.__code__.co_firstlineno + 1
    assert other.first_difference == f"pow at test_exact.py:{line}"
    named = df.bisect(df.function(powers, fast=True), x, w)
    assert (named.stage, named.op, named.line) == ("fast", "pow", f"test_exact.py:{line}")
