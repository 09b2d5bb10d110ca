"""Eager gradients that keep coming in one form are compiled; only the time tells."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

import dualflow as df
from dualflow.tracing import sweeps
from jit.config import configure


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    """The second sweep of a form is compiled, also where the suite runs in the interpreter."""
    monkeypatch.setattr(sweeps, "SECONDS_A_RECORD", 0.0)
    monkeypatch.setattr(sweeps, "by_kind", {})
    unknown(monkeypatch)
    with configure(target="cpu"):
        yield


def unknown(monkeypatch):
    """No sweep has come before."""
    monkeypatch.setattr(sweeps, "forms", {})
    monkeypatch.setattr(sweeps, "by_walk", {})


def compiled():
    """How many forms are."""
    return sum(form.compiled is not None for form in sweeps.forms.values())


def descend(steps, rate=0.1):
    """The losses of a small net."""
    generator = np.random.default_rng(0)
    x, y = (df.asarray(generator.standard_normal(s, dtype="f")) for s in ((8, 5), (8, 3)))
    w, b = df.Variable(np.full((5, 3), 0.1, "f")), df.Variable(np.zeros(3, "f"))
    losses = []
    for _ in range(steps):
        with df.GradientTape() as tape:
            loss = ((df.tanh(x @ w) + b - y) ** 2).mean()
        for v, g in zip((w, b), tape.gradient(loss, [w, b]), strict=True):
            v.assign_sub(rate * g)
        losses.append(loss.item())
    return losses, w.tolist(), b.tolist()


def test_a_loop_computes_the_same_and_compiles_one_sweep(monkeypatch):
    found = descend(20)
    assert compiled() == 1
    monkeypatch.setattr(sweeps, "SECONDS_A_RECORD", 1e9)
    unknown(monkeypatch)
    assert descend(20) == found
    assert compiled() == 0


def test_backward_uses_it_too():
    w = df.Variable([1.0, 2.0])
    for k in range(4):
        (w * w * w).sum().backward()
        assert w.grad.tolist() == [3.0 * (k + 1), 12.0 * (k + 1)]
    assert compiled() == 1


def test_a_sweep_is_compiled_only_when_it_has_cost_as_much(monkeypatch):
    monkeypatch.setattr(sweeps, "SECONDS_A_RECORD", 1e9)
    descend(20)
    (form,) = sweeps.forms.values()
    assert form.compiled is None
    assert form.spent > 0


def test_forms_of_the_same_kinds_pay_for_their_code_together(monkeypatch):
    def chain(length):
        x = df.asarray([0.5, 2.0])
        with df.GradientTape() as tape:
            tape.watch(x)
            y = x
            for _ in range(length):
                y = y * y
        tape.gradient(y, x)

    monkeypatch.setattr(sweeps, "SECONDS_A_RECORD", 1e-9)
    monkeypatch.setattr(sweeps, "AGAIN", 1e9)  # a record takes a second, its kind 1e-9
    for length in (2, 3):
        chain(length)
    assert compiled() == 0
    (spent,) = sweeps.by_kind.values()
    assert spent == pytest.approx(sum(form.spent for form in sweeps.forms.values()))
    kinds = [form.kinds for form in sweeps.forms.values()]
    assert [list(counts.values()) for counts in kinds] == [[2], [3]]
    assert list(map(sweeps.price, kinds)) == [2.0, 3.0]
    monkeypatch.setattr(sweeps, "AGAIN", 0.0)
    chain(2)
    assert compiled() == 1
    assert list(sweeps.by_kind.values()) == [np.inf]
    assert sweeps.price(kinds[1]) == 0.0


def slope(f, *xs):
    """The gradient of a sum by its first argument."""
    xs = [df.asarray(x) for x in xs]
    with df.GradientTape() as tape:
        tape.watch(xs)
        y = f(*xs)
    return tape.gradient(y, xs[0]).tolist()


def test_other_numbers_shapes_dtypes_and_attrs_are_other_forms():
    for _ in range(3):
        assert slope(lambda x: x * 2.0, [1.0, 2.0]) == [2.0, 2.0]
        assert slope(lambda x: x * 3.0, [1.0, 2.0]) == [3.0, 3.0]
        assert slope(lambda x: x * 2.0, [1.0, 2.0, 3.0]) == [2.0, 2.0, 2.0]
        assert slope(lambda x: x * 2.0, np.ones(2)) == [2.0, 2.0]
        assert slope(lambda x: df.sum(x, axis=0), np.ones((1, 2))) == [[1.0, 1.0]]
        assert slope(lambda x: df.sum(x, axis=1), np.ones((1, 2))) == [[1.0, 1.0]]
        assert slope(lambda x: x * 0.0, [np.inf]) == [0.0]
        assert slope(lambda x: x * -0.0, [np.inf]) == [-0.0]
    assert compiled() == len(sweeps.forms) == 8


def test_tensors_that_are_one_and_the_same_are_another_form():
    a, b = df.asarray([2.0]), df.asarray([5.0])
    for _ in range(3):
        assert slope(lambda x: x * b, a) == [5.0]
        assert slope(lambda x: x * x, a) == [4.0]
        assert slope(lambda x, y: x * y, a, b) == [5.0]


def test_who_comes_a_third_time_is_known_by_the_walk(monkeypatch):
    for k in range(3):
        assert slope(lambda x: x * x, [3.0]) == [6.0]
        assert len(sweeps.by_walk) == (k > 0)
    monkeypatch.setattr(sweeps, "Outline", None)  # nobody looks at records one by one
    assert slope(lambda x: x * x, [5.0]) == [10.0]


def test_what_was_recorded_besides_makes_another_walk_of_one_form():
    def f(x, extra=0):
        y = x * x
        for _ in range(extra):
            y * 2.0
        return y * x

    for extra in (0, 0, 1, 2):
        assert slope(lambda x, extra=extra: f(x, extra), [2.0]) == [12.0]
    assert compiled() == 1


def test_cotangents_are_summed_in_the_order_of_the_records():
    x = df.asarray(np.float32([1.0, 3.0]))
    for _ in range(4):
        for order in (0, 1):
            with df.GradientTape() as tape:
                tape.watch(x)
                if order:
                    b, a, c = x * 1e8, x * 1.0, x * -1e8
                else:
                    a, b, c = x * 1.0, x * 1e8, x * -1e8
                y = a + b + c
            by_hand = np.float32(0.0)
            for step in [-1e8, 1.0, 1e8] if order else [-1e8, 1e8, 1.0]:
                by_hand = np.float32(by_hand + np.float32(step))
            assert tape.gradient(y, x).tolist() == [by_hand, by_hand]


def test_many_keys_are_dropped(monkeypatch):
    monkeypatch.setattr(sweeps, "KEPT_BYTES", 0)
    for _ in range(4):
        for k in (2, 3):
            assert slope(lambda x: x * 2.0, np.ones(k)) == [2.0] * k
    assert len(sweeps.by_walk) <= 1


def test_other_threads_remember_sweeps_meanwhile(monkeypatch):
    known: dict = {}

    class Key(tuple):
        """While somebody looks into it, another thread adds a key."""

        def __iter__(self):
            known.setdefault(("float32", b"another"), None)
            return super().__iter__()

    monkeypatch.setattr(sweeps, "by_walk", known)
    known[Key(("float32", b"one"))] = None
    sweeps.remember(("float32", b"two"), None)
    assert [words for _, words in known] == [b"one", b"another", b"two"]


def test_a_source_in_the_middle():
    for _ in range(3):
        x = df.asarray([3.0])
        with df.GradientTape() as tape:
            tape.watch(x)
            y = x * x
            z = y * y
        found = tape.gradient(z, [y, x])
        assert [g.tolist() for g in found] == [[18.0], [108.0]]
    assert compiled() == 1


def test_several_targets_and_cotangents():
    for scale in (1.0, 2.0, 3.0):
        x = df.asarray([1.0, 2.0])
        with df.GradientTape() as tape:
            tape.watch(x)
            a, b = x * 2.0, x * x
        given = [df.asarray([scale, 1.0]), None]
        assert tape.gradient([a, b], x, given).tolist() == [2.0 * scale + 2.0, 6.0]
    assert compiled() == 1


def test_outputs_of_one_op_are_told_apart():
    for _ in range(3):
        for which, wanted in ((0, [[1.0], [0.0]]), (1, [[0.0], [1.0]])):
            x = df.asarray([[2.0], [3.0]])
            with df.GradientTape() as tape:
                tape.watch(x)
                y = df.unstack(x)[which]
            assert tape.gradient(y, x).tolist() == wanted


def test_basic_indices_are_told_apart_and_compiled():
    def of(index):
        return slope(lambda x: (x[index] * x[index]).sum(), np.arange(12.0).reshape(3, 4))

    for _ in range(2):
        for index in (1, -1, slice(1, 3), slice(None, None, -2), (slice(None), 2), (..., None, 0)):
            wanted = np.zeros((3, 4))
            wanted[index] = 2 * np.arange(12.0).reshape(3, 4)[index]
            assert of(index) == wanted.tolist()
    assert len(sweeps.forms) == compiled() == 6


def test_rules_of_the_users_own_are_not_compiled():
    @df.custom_gradient
    def half(x):
        return x / 2.0, lambda g: 10.0 * g

    for _ in range(3):
        assert slope(half, [1.0]) == [10.0]
    assert compiled() == 0


def test_higher_orders_stay_right():
    for _ in range(4):
        x = df.asarray(2.0)
        with df.GradientTape() as outer:
            outer.watch(x)
            with df.GradientTape() as inner:
                inner.watch(x)
                y = x**4
            first = inner.gradient(y, x)
        assert (first.item(), outer.gradient(first, x).item()) == (32.0, 48.0)


def test_transposed_arrays_are_taken():
    x = df.asarray(np.arange(6.0).reshape(2, 3))
    for _ in range(3):
        assert slope(lambda t: df.sum(t * x.T), np.ones((3, 2))) == x.T.tolist()


def test_without_kernels_nothing_is_compiled():
    with configure(target="interpreter"):
        descend(5)
    assert not sweeps.forms


def test_what_a_sweep_was_about_is_not_kept():
    held = []
    for _ in range(3):
        x = df.asarray(np.ones(1000))
        held.append(weakref.ref(x))
        slope(lambda t: t * t, x)
        del x
    gc.collect()
    assert compiled() == 1
    assert [ref() for ref in held] == [None] * 3


def test_forms_do_not_pile_up(monkeypatch):
    monkeypatch.setattr(sweeps, "KEPT", 4)
    for k in range(1, 12):
        slope(lambda x: x * 2.0, np.ones(k))
        assert len(sweeps.forms) <= 4
